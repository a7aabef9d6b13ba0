//! A sequence as a YAML file, in and out without loss.
//!
//! A step is a mapping of its properties and one key that is the step type:
//!
//! | key | step type |
//! |---|---|
//! | `format_disk` | Format and Partition Disk |
//! | `apply_image` | Apply Image |
//! | `capture_image` | Capture Image |
//! | `set_variables` | Set Variables |
//! | `execute_script` | Execute Script |
//! | `restart` | Restart |
//! | `wait_for_technician` | Wait for technician |
//! | `run_sequence` | Run Sequence |
//! | `verify_image` | Verify Image |
//! | `copy_files` | Copy Files |
//! | `set_startup_disk` | Set Startup Disk |
//! | `notify` | Notify |
//! | `join_domain` | Join Domain |
//! | `set_hostname` | Set Hostname |
//! | `install_package` | Install Package |
//! | `install_application` | Install Application |
//! | `apply_profile` | Apply Configuration Profile |
//! | `enroll` | Install Management Client |
//!
//! A group has `group`, the list of its steps, in the place of a step type, and may have `catch` and `finally` beside it.
//! Steps and groups may have a condition, `if` (see [`super::condition`]).
//!
//! A key that is unknown is an error that names it: a misspelt property must not be dropped silently.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::condition::If;
use super::model::{Group, Kind, Node, Retry, Section, Sequence, Step};
use super::quantity::Duration;

/// Bytes of the longest file: scripts of 16 KiB in a hundred steps fit well.
pub const LONGEST_FILE: usize = 2 << 20;

/// The text is no sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadYaml {
    /// Wrong at a place.
    #[error("line {line}, column {column}: {message}")]
    At {
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// Wrong as a whole.
    #[error("{0}")]
    Whole(String),
    /// Too long.
    #[error("a file of {0} bytes: a sequence has at most {LONGEST_FILE}")]
    TooLong(usize),
}

impl Sequence {
    /// Reads a file.
    ///
    /// # Errors
    /// Where the text is wrong, with line and column, and how.
    pub fn from_yaml(text: &str) -> Result<Sequence, BadYaml> {
        if text.len() > LONGEST_FILE {
            return Err(BadYaml::TooLong(text.len()));
        }
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! { max_documents: 1, max_aliases: 1000, max_depth: 64 },
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let message = serde_saphyr::MessageFormatter::format_message(
                &serde_saphyr::UserMessageFormatter,
                error.without_snippet(),
            )
            .into_owned();
            match error.location() {
                Some(at) => BadYaml::At { line: at.line(), column: at.column(), message },
                None => BadYaml::Whole(message),
            }
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Never for a sequence that was read from a file; the writer's own limits otherwise.
    pub fn to_yaml(&self) -> Result<String, BadYaml> {
        serde_saphyr::to_string(self).map_err(|error| BadYaml::Whole(error.to_string()))
    }
}

/// Keys of properties that steps and groups have.
pub const COMMON: [&str; 5] = ["name", "description", "disabled", "continue_on_error", "if"];

/// Keys of properties that only steps have.
pub const OF_STEPS: [&str; 2] = ["timeout", "retry"];

/// Keys of a step that are its type.
pub const TYPES: [&str; 18] = [
    "format_disk",
    "apply_image",
    "capture_image",
    "set_variables",
    "execute_script",
    "restart",
    "wait_for_technician",
    "run_sequence",
    "verify_image",
    "copy_files",
    "set_startup_disk",
    "notify",
    "join_domain",
    "set_hostname",
    "install_package",
    "install_application",
    "apply_profile",
    "enroll",
];

/// Keys of the parts of a group.
const SECTIONS: [&str; 3] = [Section::Steps.key(), Section::Catch.key(), Section::Finally.key()];

/// The value of `restart`: nothing, or a mapping without keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Step(step) => step.serialize(serializer),
            Node::Group(group) => group.serialize(serializer),
        }
    }
}

fn common<M: SerializeMap>(
    map: &mut M,
    name: &str,
    description: &str,
    flags: [bool; 2],
    condition: Option<&If>,
) -> Result<(), M::Error> {
    map.serialize_entry("name", name)?;
    if !description.is_empty() {
        map.serialize_entry("description", description)?;
    }
    for (key, set) in ["disabled", "continue_on_error"].into_iter().zip(flags) {
        if set {
            map.serialize_entry(key, &true)?;
        }
    }
    condition.map_or(Ok(()), |condition| map.serialize_entry("if", condition))
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let flags = [self.disabled, self.continue_on_error];
        common(&mut map, &self.name, &self.description, flags, self.condition.as_ref())?;
        map.serialize_entry(Section::Steps.key(), &self.steps)?;
        for section in [Section::Catch, Section::Finally] {
            if !self.section(section).is_empty() {
                map.serialize_entry(section.key(), self.section(section))?;
            }
        }
        map.end()
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let flags = [self.disabled, self.continue_on_error];
        common(&mut map, &self.name, &self.description, flags, self.condition.as_ref())?;
        if let Some(timeout) = &self.timeout {
            map.serialize_entry("timeout", timeout)?;
        }
        if let Some(retry) = &self.retry {
            map.serialize_entry("retry", retry)?;
        }
        match &self.kind {
            Kind::FormatDisk(format) => map.serialize_entry("format_disk", format)?,
            Kind::ApplyImage(apply) => map.serialize_entry("apply_image", apply)?,
            Kind::CaptureImage(capture) => map.serialize_entry("capture_image", capture)?,
            Kind::SetVariables(variables) => map.serialize_entry("set_variables", variables)?,
            Kind::ExecuteScript(script) => map.serialize_entry("execute_script", script)?,
            Kind::Restart => map.serialize_entry("restart", &Nothing {})?,
            Kind::WaitForTechnician(wait) => map.serialize_entry("wait_for_technician", wait)?,
            Kind::RunSequence(run) => map.serialize_entry("run_sequence", run)?,
            Kind::VerifyImage(verify) => map.serialize_entry("verify_image", verify)?,
            Kind::CopyFiles(copy) => map.serialize_entry("copy_files", copy)?,
            Kind::SetStartupDisk(set) => map.serialize_entry("set_startup_disk", set)?,
            Kind::Notify(notify) => map.serialize_entry("notify", notify)?,
            Kind::JoinDomain(join) => map.serialize_entry("join_domain", join)?,
            Kind::SetHostname(set) => map.serialize_entry("set_hostname", set)?,
            Kind::InstallPackage(install) => map.serialize_entry("install_package", install)?,
            Kind::InstallApplication(install) => map.serialize_entry("install_application", install)?,
            Kind::ApplyProfile(apply) => map.serialize_entry("apply_profile", apply)?,
            Kind::Enroll(enroll) => map.serialize_entry("enroll", enroll)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_map(NodeVisitor)
    }
}

struct NodeVisitor;

/// An entry while its keys are read.
#[derive(Default)]
struct Reading {
    name: Option<String>,
    description: Option<String>,
    disabled: Option<bool>,
    continue_on_error: Option<bool>,
    condition: Option<If>,
    timeout: Option<Duration>,
    retry: Option<Retry>,
    kind: Option<(String, Kind)>,
    steps: Option<Vec<Node>>,
    catch: Option<Vec<Node>>,
    finally: Option<Vec<Node>>,
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a step: a mapping with one of the step types {}; or a group", TYPES.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut reading = Reading::default();
        while let Some(key) = map.next_key::<Key>()? {
            reading.take(&key.0, &mut map)?;
        }
        reading.node()
    }
}

/// A key that an entry may have; refused while the reader still stands on it, so that the error has its place.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let key = String::deserialize(deserializer)?;
        let known: [&[&str]; 4] = [&COMMON, &OF_STEPS, &TYPES, &SECTIONS];
        if known.iter().any(|keys| keys.contains(&key.as_str())) {
            return Ok(Key(key));
        }
        Err(D::Error::custom(format!(
            "`{}` is neither a step type ({}) nor a part of a group ({}) nor a property ({}, {})",
            key.chars().take(40).collect::<String>(),
            TYPES.join(", "),
            SECTIONS.join(", "),
            COMMON.join(", "),
            OF_STEPS.join(", ")
        )))
    }
}

fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    slot: &mut Option<T>,
    key: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::custom(format!("`{key}` stands twice in one entry")));
    }
    *slot = map.next_value()?;
    Ok(())
}

/// The value of a step all of whose properties may be left out: nothing is a mapping without keys.
fn or_empty<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A) -> Result<T, A::Error> {
    match map.next_value::<Option<T>>()? {
        Some(value) => Ok(value),
        None => {
            let nothing = std::iter::empty::<(&str, &str)>();
            T::deserialize(serde::de::value::MapDeserializer::<_, A::Error>::new(nothing))
        }
    }
}

impl Reading {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => return once(&mut self.name, key, map),
            "description" => return once(&mut self.description, key, map),
            "disabled" => return once(&mut self.disabled, key, map),
            "continue_on_error" => return once(&mut self.continue_on_error, key, map),
            "if" => return once(&mut self.condition, key, map),
            "timeout" => return once(&mut self.timeout, key, map),
            "retry" => return once(&mut self.retry, key, map),
            "group" => return once(&mut self.steps, key, map),
            "catch" => return once(&mut self.catch, key, map),
            "finally" => return once(&mut self.finally, key, map),
            _ => {}
        }
        if let Some((first, _)) = &self.kind {
            return Err(A::Error::custom(format!(
                "a step does one thing: this one has `{first}` and `{key}`"
            )));
        }
        let kind = match key {
            "format_disk" => Kind::FormatDisk(map.next_value()?),
            "apply_image" => Kind::ApplyImage(map.next_value()?),
            "capture_image" => Kind::CaptureImage(map.next_value()?),
            "set_variables" => Kind::SetVariables(map.next_value()?),
            "execute_script" => Kind::ExecuteScript(map.next_value()?),
            "restart" => map.next_value::<Option<Nothing>>().map(|_| Kind::Restart)?,
            "wait_for_technician" => Kind::WaitForTechnician(map.next_value()?),
            "run_sequence" => Kind::RunSequence(map.next_value()?),
            "verify_image" => Kind::VerifyImage(or_empty(map)?),
            "copy_files" => Kind::CopyFiles(map.next_value()?),
            "set_startup_disk" => Kind::SetStartupDisk(or_empty(map)?),
            "notify" => Kind::Notify(map.next_value()?),
            "join_domain" => Kind::JoinDomain(or_empty(map)?),
            "set_hostname" => Kind::SetHostname(or_empty(map)?),
            "install_package" => Kind::InstallPackage(map.next_value()?),
            "install_application" => Kind::InstallApplication(map.next_value()?),
            "apply_profile" => Kind::ApplyProfile(map.next_value()?),
            "enroll" => Kind::Enroll(map.next_value()?),
            other => {
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::unknown_field(other, &TYPES));
            }
        };
        self.kind = Some((key.to_owned(), kind));
        Ok(())
    }

    fn node<E: serde::de::Error>(self) -> Result<Node, E> {
        let name = self.name;
        let (description, condition) = (self.description.unwrap_or_default(), self.condition);
        let (disabled, continue_on_error) =
            (self.disabled.unwrap_or_default(), self.continue_on_error.unwrap_or_default());
        match (self.kind, self.steps) {
            (Some((key, _)), Some(_)) => {
                Err(E::custom(format!("an entry is a step or a group: this one has `{key}` and `group`")))
            }
            (Some(_), None) if self.catch.is_some() || self.finally.is_some() => {
                Err(E::custom("only a group has `catch` and `finally`: put the step into a group"))
            }
            (Some((_, kind)), None) => Ok(Node::Step(Step {
                name: name.unwrap_or_else(|| kind.title().to_owned()),
                description,
                disabled,
                continue_on_error,
                condition,
                timeout: self.timeout,
                retry: self.retry,
                kind,
            })),
            (None, Some(_)) if self.timeout.is_some() || self.retry.is_some() => {
                Err(E::custom("a group has neither `timeout` nor `retry`: give them to its steps"))
            }
            (None, Some(steps)) => Ok(Node::Group(Group {
                name: name.unwrap_or_else(|| "Group".to_owned()),
                description,
                disabled,
                continue_on_error,
                condition,
                steps,
                catch: self.catch.unwrap_or_default(),
                finally: self.finally.unwrap_or_default(),
            })),
            (None, None) => {
                let types = TYPES.join(", ");
                Err(E::custom(format!("a step without a type: one of {types}; or `group` for a group")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequence::condition::{Clause, Operator, Quantity, Test};
    use crate::sequence::model::{
        ApplyImage, Destination, ExecuteScript, FormatDisk, Partition, Phase, RunSequence, SetVariable,
        VolumeFormat, WaitForTechnician,
    };
    use crate::sequence::quantity::PartitionSize;
    use crate::value::{FreeSpace, Pick, Ring};

    const EVERYTHING: &str = r#"
name: Lab Macs
description: Puts the lab image on the first disk.
category: Labs
maximum_run_time: 2 h
download_size: 20 GB
steps:
  - name: Wipe
    format_disk:
      disk: 0
      partitions:
        - name: Macintosh HD
          format: hfs+ journaled
          size: 60%
          variable: SystemDisk
        - {name: Data, format: exfat, size: 20 GB}
  - name: Put the image on it
    timeout: 90 min
    retry: {count: 2, delay: 30 s}
    apply_image:
      image: lab-%Model%
      version: 3
      destination: {variable: SystemDisk}
      free: leave
  - name: Keep it
    capture_image:
      image: lab-%Model%
      note: after the summer
      source: {disk: 1, partition: 2}
  - capture_image: {image: whole, source: {disk: 0}}
  - capture_image: {image: mac}
  - set_variables:
      - {name: OSDComputerName, value: "mac-%SerialNumber%"}
      - {name: Token, value: x, secret: true}
  - name: Notes
    continue_on_error: true
    disabled: true
    execute_script:
      success_codes: [0, 3]
      script: |
        #!/bin/sh
        date +%Y
  - name: Only on laptops
    if: {all: [{variable: Model, like: "MacBook*"}, {any: [{variable: MemoryGB, greater: 8}]}]}
    continue_on_error: true
    group:
      - run_sequence: {sequence: Battery}
      - name: Deeper
        group:
          - wait_for_technician: {message: "Plug %SerialNumber% in", button: Done}
    catch:
      - {if: {none: [{variable: LastActionExitCode, equals: 3}]}, restart: {}}
    finally:
      - wait_for_technician: {message: bye}
  - verify_image:
  - verify_image: {image: lab, ring: test, volume: {disk: 0, partition: 2}}
  - copy_files: {from: labs/%Model%, to: /Users/Shared, volume: {variable: SystemDisk}}
  - set_startup_disk:
  - set_startup_disk: {volume: {disk: 0, partition: 2}, required: true}
  - notify: {webhook: 'https://hooks.example/x', secret: '%Token%', mail: [lab@example.org], subject: Done, message: '%SerialNumber%'}
  - join_domain:
  - join_domain: {domain: ad.example, ou: 'OU=Labs', account: join, password: '%Token%', admin_groups: [labs], mobile_accounts: true, confirm_mobile_account: true}
  - set_hostname:
  - set_hostname: {name: 'mac-%SerialNumber%'}
  - install_package: {package: office.pkg, program: ':office.pkg::', disk_space: 4 GB, after: restart}
  - install_application: {package: ff.zip, program: ':ff.dmg/Firefox.app:/Applications:', detect: {bundle: org.mozilla.firefox, version_is: greater_or_equal, version: '8.0'}}
  - apply_profile: {profile: '<plist/>'}
  - enroll: {server: 'https://mdm.example', enrollment_profile: labs, package: client.pkg}
  - execute_script: {phase: macos, script: '#!/bin/sh'}
  - capture_image: {image: mac, destination: share}
  - capture_image:
      image: mac
      destination: {share: '\\files\images', folder: 'Lab %SerialNumber%', account: 'DOM\ana', password: '%Key%'}
  - restart:
"#;

    fn refused(text: &str) -> String {
        Sequence::from_yaml(text).expect_err(text).to_string()
    }

    #[test]
    fn section_1_a_file_with_every_step_type_is_read_and_written_without_loss() {
        let sequence = Sequence::from_yaml(EVERYTHING).unwrap();
        let names: Vec<_> = sequence.walk().map(|(_, step)| step.name.as_str()).collect();
        assert_eq!(names[..3], ["Wipe", "Put the image on it", "Keep it"]);
        assert_eq!(names[3..7], ["Capture Image", "Capture Image", "Set Variables", "Notes"]);
        let places: Vec<_> = sequence.nodes().iter().map(|visited| visited.place.to_string()).collect();
        assert_eq!(
            places[7..11],
            ["steps[7]", "steps[7].group[0]", "steps[7].group[1]", "steps[7].group[1].group[0]"]
        );
        assert_eq!(places[11..14], ["steps[7].catch[0]", "steps[7].finally[0]", "steps[8]"]);
        let text = sequence.to_yaml().unwrap();
        assert_eq!(Sequence::from_yaml(&text).unwrap(), sequence, "{text}");
    }

    #[test]
    fn section_1_a_sequence_survives_json_too() {
        let sequence = Sequence::from_yaml(EVERYTHING).unwrap();
        let json = serde_json::to_string(&sequence).unwrap();
        assert_eq!(serde_json::from_str::<Sequence>(&json).unwrap(), sequence);
    }

    #[test]
    fn section_1_a_misspelt_key_is_refused_by_name_with_its_line_and_column() {
        let error = refused("name: x\nsteps:\n  - name: a\n    apply_imgae: {image: y}\n");
        assert!(error.starts_with("line 4, column 5: ") && error.contains("`apply_imgae`"), "{error}");
        let error = refused("name: x\nsteps:\n  - apply_image:\n      imgae: y\n");
        assert!(error.starts_with("line 4, column 7: ") && error.contains("imgae"), "{error}");
        let error = refused("name: x\nstepps: []\n");
        assert!(error.starts_with("line 2, column 1: ") && error.contains("stepps"), "{error}");
    }

    #[test]
    fn section_1_values_that_mean_nothing_are_refused_where_they_stand() {
        for (text, place, what) in [
            ("name: x\nsteps:\n  - timeout: 90\n    restart:\n", "line 3, column 14", "`90` is no duration"),
            ("name: x\nsteps:\n  - apply_image: {image: 50%}\n", "line 3, column 26", "single `%`"),
            (
                "name: x\nsteps:\n  - set_variables: [{name: 1a, value: b}]\n",
                "line 3, column 28",
                "`1a` is no variable name",
            ),
            ("name: x\nsteps:\n  - restart: {now: true}\n", "line 3", "now"),
            ("name: x\nsteps:\n  - capture_image: {image: a, source: tape}\n", "line 3", "`macos`"),
            ("name: x\nsteps:\n  - capture_image: {image: a, source: {partition: 2}}\n", "line 3", "`disk`"),
            ("name: x\nsteps:\n  - execute_script: {phase: dos, script: x}\n", "line 3", "dos"),
            ("name: x\nsteps:\n  - apply_image: {image: a, ring: prod}\n", "line 3", "prod"),
            ("name: x\nsteps:\n  - apply_image: {image: a, free: trim}\n", "line 3", "trim"),
            ("name: x\nsteps:\n  - apply_image: {image: a, version: 1, ring: test}\n", "line 3", "not both"),
            ("name: x\nsteps:\n  - verify_image: {image: a}\n", "line 3", "`volume`"),
            ("name: x\nsteps:\n  - verify_image: {version: 3}\n", "line 3", "belong to an `image`"),
            ("name: x\nsteps:\n  - set_hostname: {nmae: a}\n", "line 3", "nmae"),
            (
                "name: x\nsteps:\n  - install_package: {package: a, program: b, after: sleep}\n",
                "line 3",
                "sleep",
            ),
            (
                "name: x\nsteps:\n  - apply_image: {image: a, destination: {disk: 0}}\n",
                "line 3",
                "`disk` and `partition`",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(place) && error.contains(what), "{text}{error}");
        }
    }

    #[test]
    fn section_1_a_step_has_exactly_one_type() {
        assert!(refused("name: x\nsteps:\n  - name: a\n").contains("without a type"));
        for (entry, what) in [
            ("{group: [], restart: }", "`restart` and `group`"),
            ("{catch: [], restart: }", "only a group"),
            ("{group: [], timeout: 1 s}", "neither `timeout` nor `retry`"),
            ("{catch: []}", "without a type"),
            ("{group: [], group: []}", "group"),
        ] {
            let error = refused(&format!("name: x\nsteps: [{entry}]\n"));
            assert!(error.contains(what), "{entry}: {error}");
        }
        let both = refused("name: x\nsteps:\n  - restart:\n    set_variables: []\n");
        assert!(both.contains("`restart` and `set_variables`"), "{both}");
    }

    #[test]
    fn broken_doubled_and_endless_texts_are_refused() {
        for text in [
            "",
            "[",
            "name: x\nname: y\nsteps: []\n",
            "name: x\nsteps: []\n---\nname: y\nsteps: []\n",
            "\u{0}",
        ] {
            refused(text);
        }
        assert!(refused(&"x".repeat(LONGEST_FILE + 1)).contains("at most"));
        assert!(refused(&format!("name: {}", "[".repeat(100_000))).contains("line 1"));
    }

    fn condition() -> impl Strategy<Value = If> {
        let test = (0..Operator::KEYS.len(), "[ -~]{0,8}").prop_map(|(index, value)| {
            let operator = Operator::KEYS[index].1;
            let value = if operator == Operator::Exists { String::new() } else { value.replace('%', "%%") };
            Clause::Test(Test { variable: "A_b".parse().unwrap(), operator, value: value.parse().unwrap() })
        });
        let quantity = prop_oneof![Just(Quantity::All), Just(Quantity::Any), Just(Quantity::None)];
        let nested = test.prop_recursive(3, 8, 3, move |inner| {
            (quantity.clone(), prop::collection::vec(inner, 0..3))
                .prop_map(|(quantity, clauses)| Clause::If(If { quantity, clauses }))
        });
        prop::collection::vec(nested, 0..3).prop_map(|clauses| If { quantity: Quantity::Any, clauses })
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = step().prop_map(Node::Step);
        leaf.prop_recursive(3, 12, 3, |inner| {
            let list = || prop::collection::vec(inner.clone(), 0..3);
            ("[ -~]{0,10}", any::<bool>(), prop::option::of(condition()), list(), list(), list()).prop_map(
                |(name, disabled, condition, steps, catch, finally)| {
                    let (description, continue_on_error) = (String::new(), !disabled);
                    Node::Group(Group {
                        name,
                        description,
                        disabled,
                        continue_on_error,
                        condition,
                        steps,
                        catch,
                        finally,
                    })
                },
            )
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        let text = "[ -~äß\n\t]{0,30}";
        let kind = prop_oneof![
            (text, any::<i32>(), any::<bool>()).prop_map(|(script, code, plain)| {
                let success_codes = if plain { vec![0] } else { vec![code, 0] };
                Kind::ExecuteScript(ExecuteScript { phase: Phase::Runner, success_codes, script })
            }),
            (text, any::<bool>()).prop_map(|(value, secret)| {
                let value = value.replace('%', "%%").parse().unwrap();
                Kind::SetVariables(vec![SetVariable { name: "Some_Name".parse().unwrap(), value, secret }])
            }),
            (any::<(Option<u32>, bool)>(), any::<Option<(u32, u32)>>()).prop_map(
                |((number, ring), place)| {
                    let destination = place.map_or(Destination::NextFormatted, |(disk, partition)| {
                        Destination::Partition { disk, partition }
                    });
                    let image = "lab %Model%".parse().unwrap();
                    let pick =
                        if ring { Pick::Ring(Ring::Test) } else { number.map_or(Pick::Usual, Pick::Version) };
                    let free = if ring { FreeSpace::Zero } else { FreeSpace::Discard };
                    Kind::ApplyImage(ApplyImage { image, pick, source_partition: number, destination, free })
                }
            ),
            (any::<u32>(), any::<u64>()).prop_map(|(disk, bytes)| {
                let partition = Partition {
                    name: "Macintosh HD".parse().unwrap(),
                    format: VolumeFormat::HfsCaseSensitive,
                    size: PartitionSize::Bytes(bytes),
                    variable: Some("A".parse().unwrap()),
                };
                Kind::FormatDisk(FormatDisk { disk, partitions: vec![partition] })
            }),
            Just(Kind::Restart),
            "[ -~]{0,9}".prop_map(|sequence| Kind::RunSequence(RunSequence { sequence })),
            ("[ -$&-~]{0,9}", "[ -~]{0,9}").prop_map(|(message, button)| {
                Kind::WaitForTechnician(WaitForTechnician { message: message.parse().unwrap(), button })
            }),
        ];
        let condition = prop::option::of(condition());
        (text, text, any::<(bool, bool)>(), any::<Option<u32>>(), condition, kind).prop_map(
            |(name, description, (disabled, continue_on_error), count, condition, kind)| Step {
                name,
                description,
                disabled,
                continue_on_error,
                condition,
                timeout: count.map(|_| "7 min".parse().unwrap()),
                retry: count.map(|count| Retry { count, delay: None }),
                kind,
            },
        )
    }

    proptest! {
        #[test]
        fn section_1_whatever_is_written_is_read_back_as_the_same(name in "[ -~]{0,20}", steps in prop::collection::vec(node(), 0..4)) {
            let sequence = Sequence {
                name,
                description: String::new(),
                category: String::new(),
                disabled: false,
                maximum_run_time: None,
                download_size: None,
                prompts: Vec::new(),
                steps,
            };
            let text = sequence.to_yaml().unwrap();
            prop_assert_eq!(Sequence::from_yaml(&text), Ok(sequence), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "[-{}\\[\\]:&*!|>%@`\"' \nname steps restart]{0,80}") {
            let _ = Sequence::from_yaml(&text);
        }
    }
}
