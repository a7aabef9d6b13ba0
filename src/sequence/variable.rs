//! Variables: where values come from, which one is in force, and facts of the Mac.
//!
//! Precedence, highest last (task-sequences section 3): built-in < collection < device < sequence. The facts of the
//! Mac and the outcome of the last action are read-only: no scope can cover them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::name::{READ_ONLY, VariableName};
use super::template::{ExpandError, LONGEST, Piece, Template};
use crate::value::{MacAddr, Model, Serial};

/// What people are shown of a secret.
pub use crate::value::MASK;

/// Value of a variable.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Value {
    /// The text.
    pub text: String,
    /// Shown as dots, masked in logs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl Value {
    /// A value that anybody may see.
    pub fn plain(text: impl Into<String>) -> Value {
        Value { text: text.into(), secret: false }
    }

    /// What people are shown.
    pub fn shown(&self) -> &str {
        if self.secret { MASK } else { &self.text }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

/// Values of one origin.
pub type Scope = BTreeMap<VariableName, Value>;

/// Where a Mac executes actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// Over the network.
    #[default]
    Netboot,
    /// From a stick.
    Usb,
    /// From the installed macOS.
    Macos,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

impl BootMethod {
    /// The word that variables and records have for it; empty when unknown.
    pub fn as_str(self) -> &'static str {
        match self {
            BootMethod::Netboot => "netboot",
            BootMethod::Usb => "usb",
            BootMethod::Macos => "macos",
            BootMethod::Unknown => "",
        }
    }
}

/// What is known of the Mac itself. A fact that the firmware does not give is an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// SMBIOS serial number.
    pub serial: Option<Serial>,
    /// Model identifier.
    pub model: Option<Model>,
    /// SMBIOS system UUID.
    pub uuid: Option<Uuid>,
    /// Address of the interface that booted.
    pub mac: Option<MacAddr>,
    /// Main memory in bytes.
    pub memory: u64,
    /// Bytes of disk 0.
    pub disk0_size: Option<u64>,
    /// How it was started.
    pub boot: BootMethod,
}

/// How the last step that was not skipped ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAction {
    /// Name of the step.
    pub name: String,
    /// Whether it ended well.
    pub succeeded: bool,
    /// Exit code of its script; 0 or 1 for steps that have none.
    pub exit_code: i32,
}

/// Every variable of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables {
    /// The Mac.
    pub facts: Facts,
    /// The last action; before the first one its variables are empty.
    pub last: Option<LastAction>,
    /// Node of the partition or disk that the last Capture Image step read.
    pub source_disk: Option<String>,
    /// Of the collections that the Mac belongs to.
    pub collection: Scope,
    /// Of the Mac.
    pub device: Scope,
    /// Set by steps.
    pub sequence: Scope,
}

impl Variables {
    /// The value in force, or none when nothing defines the name.
    pub fn get(&self, name: &VariableName) -> Option<Cow<'_, Value>> {
        if let Some(text) = self.read_only(name) {
            return Some(Cow::Owned(Value::plain(text)));
        }
        [&self.sequence, &self.device, &self.collection]
            .into_iter()
            .find_map(|scope| scope.get(name))
            .map(Cow::Borrowed)
    }

    /// Every variable with its value in force, by name.
    pub fn all(&self) -> Scope {
        let mut all = Scope::new();
        for scope in [&self.collection, &self.device, &self.sequence] {
            for (name, value) in scope {
                // The winner's spelling of the name counts, too.
                all.remove(name);
                all.insert(name.clone(), value.clone());
            }
        }
        for name in READ_ONLY.iter().filter_map(|name| name.parse::<VariableName>().ok()) {
            let text = self.read_only(&name).unwrap_or_default();
            all.remove(&name);
            all.insert(name, Value::plain(text));
        }
        all
    }

    /// Sets `name` in the sequence's own scope; the spelling of the last setting counts.
    pub fn set(&mut self, name: VariableName, value: Value) {
        self.sequence.remove(&name);
        self.sequence.insert(name, value);
    }

    /// `text` with every `%Name%` replaced; secret when one of the values is.
    ///
    /// # Errors
    /// When nothing defines a name, or the result would be longer than a value may be.
    pub fn expand(&self, text: &Template) -> Result<Value, ExpandError> {
        let mut whole = Value::default();
        for piece in text.pieces() {
            match piece {
                Piece::Text(part) => whole.text.push_str(part),
                Piece::Variable(name) => {
                    let value = self.get(name).ok_or_else(|| ExpandError::Unknown(name.clone()))?;
                    whole.text.push_str(&value.text);
                    whole.secret |= value.secret;
                }
            }
            if whole.text.len() > LONGEST {
                return Err(ExpandError::TooLong);
            }
        }
        Ok(whole)
    }

    fn read_only(&self, name: &VariableName) -> Option<String> {
        fn text(fact: &Option<impl ToString>) -> String {
            fact.as_ref().map(ToString::to_string).unwrap_or_default()
        }
        let (facts, last) = (&self.facts, self.last.as_ref());
        let place = READ_ONLY.iter().position(|known| name.as_str().eq_ignore_ascii_case(known))?;
        Some(match READ_ONLY[place] {
            "SerialNumber" => text(&facts.serial),
            "Model" => text(&facts.model),
            // In capitals, as macOS and the firmware's own set-up pages print it.
            "UUID" => text(&facts.uuid).to_uppercase(),
            "MACAddress" => text(&facts.mac),
            // Memory is sold in powers of two, disks in powers of ten.
            "MemoryGB" => rounded(facts.memory, 1 << 30).to_string(),
            "Disk0SizeGB" => {
                facts.disk0_size.map(|size| rounded(size, 1_000_000_000).to_string()).unwrap_or_default()
            }
            "BootMethod" => facts.boot.as_str().to_owned(),
            "LastActionSucceeded" => last.map(|last| last.succeeded.to_string()).unwrap_or_default(),
            "LastActionName" => last.map(|last| last.name.clone()).unwrap_or_default(),
            "PmmOSDSourceDisk" => self.source_disk.clone().unwrap_or_default(),
            _ => last.map(|last| last.exit_code.to_string()).unwrap_or_default(),
        })
    }
}

fn rounded(bytes: u64, unit: u64) -> u64 {
    bytes / unit + u64::from(bytes % unit >= unit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VariableName {
        text.parse().unwrap()
    }

    fn expand(variables: &Variables, text: &str) -> Result<String, ExpandError> {
        variables.expand(&text.parse().unwrap()).map(|value| value.text)
    }

    #[test]
    fn section_3_the_sequence_wins_over_the_device_and_the_device_over_the_collection() {
        let mut variables = Variables::default();
        variables.collection.insert(name("Room"), Value::plain("collection"));
        assert_eq!(expand(&variables, "%ROOM%").unwrap(), "collection");
        variables.device.insert(name("room"), Value::plain("device"));
        assert_eq!(expand(&variables, "%Room%").unwrap(), "device");
        variables.set(name("rOOm"), Value::plain("sequence"));
        assert_eq!(expand(&variables, "%Room%").unwrap(), "sequence");
        assert_eq!(variables.all().keys().filter(|known| **known == name("room")).count(), 1);
        assert!(variables.all().keys().any(|known| known.as_str() == "rOOm"), "the winner's spelling");
    }

    #[test]
    fn section_3_no_scope_covers_a_fact_of_the_mac() {
        let mut variables = Variables {
            facts: Facts { memory: (16 << 30) - 4096, disk0_size: Some(500_107_862_016), ..Facts::default() },
            ..Variables::default()
        };
        variables.set(name("memorygb"), Value::plain("1"));
        assert_eq!(
            expand(&variables, "%MemoryGB% GB, %Disk0SizeGB% GB, [%SerialNumber%]").unwrap(),
            "16 GB, 500 GB, []"
        );
        assert_eq!(variables.all()[&name("MemoryGB")].text, "16");
    }

    #[test]
    fn section_3_every_fact_of_the_mac_and_of_the_last_action_has_its_name() {
        let facts = Facts {
            serial: Some("C02FEAS00001".parse().unwrap()),
            model: Some("iMac14,2".parse().unwrap()),
            uuid: Some("0000abcd-0000-1000-8000-00005e0053ff".parse().unwrap()),
            mac: Some("02:00:5e:00:53:ff".parse().unwrap()),
            memory: 8 << 30,
            disk0_size: Some(121_332_826_112),
            boot: BootMethod::Usb,
        };
        let mut variables = Variables { facts, ..Variables::default() };
        let known = |variables: &Variables| {
            READ_ONLY.map(|read_only| {
                let value = variables.get(&name(&read_only.to_uppercase())).unwrap().into_owned();
                assert_eq!(variables.all()[&name(read_only)], value, "{read_only}");
                value.text
            })
        };
        let of_mac = [
            "C02FEAS00001",
            "iMac14,2",
            "0000ABCD-0000-1000-8000-00005E0053FF",
            "02:00:5e:00:53:ff",
            "8",
            "121",
            "usb",
        ];
        assert_eq!(known(&variables)[..7], of_mac);
        assert_eq!(known(&variables)[7..], ["", "", "", ""], "before the first action");
        variables.last = Some(LastAction { name: "Try".into(), succeeded: false, exit_code: -1 });
        variables.source_disk = Some("/dev/sda2".into());
        assert_eq!(known(&variables)[7..], ["false", "Try", "-1", "/dev/sda2"]);
        for (boot, word) in
            [(BootMethod::Netboot, "netboot"), (BootMethod::Macos, "macos"), (BootMethod::Unknown, "")]
        {
            variables.facts.boot = boot;
            assert_eq!(variables.get(&name("BootMethod")).unwrap().text, word);
        }
        assert_eq!(known(&Variables::default())[..4], ["", "", "", ""], "what the firmware does not give");
    }

    #[test]
    fn section_3_a_percent_sign_is_written_twice_also_around_a_name() {
        let mut variables = Variables::default();
        variables.set(name("Room"), Value::plain("50%"));
        for (text, want) in [
            ("%%", "%"),
            ("%Room%", "50%"),
            ("%Room%%%", "50%%"),
            ("%%Room%%", "%Room%"),
            ("%%%Room%%%", "%50%%"),
            ("%room%%ROOM%", "50%50%"),
        ] {
            assert_eq!(expand(&variables, text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn section_3_a_text_with_a_secret_in_it_is_secret() {
        let mut variables = Variables::default();
        variables.set(name("Password"), Value { text: "hunter2".into(), secret: true });
        let value = variables.expand(&"pw=%Password%".parse().unwrap()).unwrap();
        assert!(value.secret);
        assert!(!format!("{value:?} {variables:?}").contains("hunter2"));
    }

    #[test]
    fn section_3_an_unknown_name_is_an_error_that_names_it() {
        assert_eq!(expand(&Variables::default(), "a%Nobody%b"), Err(ExpandError::Unknown(name("Nobody"))));
    }

    #[test]
    fn a_value_that_doubles_itself_meets_a_limit() {
        let mut variables = Variables::default();
        variables.set(name("A"), Value::plain("0123456789abcdef"));
        let error = (0..64).find_map(|_| {
            match expand(&variables, "%A%%A%") {
                Ok(text) => variables.set(name("A"), Value::plain(text)),
                Err(error) => return Some(error),
            }
            None
        });
        assert_eq!(error, Some(ExpandError::TooLong));
    }
}
