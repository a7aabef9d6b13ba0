//! What rules may ask of a Mac: names of facts, their kinds, and one Mac's values.
//!
//! A fact may have several values (addresses, disks, tags) or none (what the firmware does not give). Must not know: where
//! the values come from, how a rule is written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::name::VariableName;

/// What values a fact has, and so how it can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text, compared without regard to case; as a number or version where both sides are one.
    Text,
    /// Bytes.
    Size,
    /// A whole number.
    Number,
    /// Yes or no.
    Flag,
    /// A hardware address.
    Mac,
    /// An IP address.
    Ip,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl Kind {
    /// For lists and messages.
    pub fn in_words(self) -> String {
        match self {
            Kind::Text => "text".to_owned(),
            Kind::Size => "size".to_owned(),
            Kind::Number => "number".to_owned(),
            Kind::Flag => "yes or no".to_owned(),
            Kind::Mac => "hardware address".to_owned(),
            Kind::Ip => "IP address".to_owned(),
            Kind::Word(words) => words.join(", "),
        }
    }
}

macro_rules! facts {
    ($($variant:ident $name:literal $kind:expr, $about:literal;)*) => {
        /// One fact.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fact {
            $(#[doc = $about] $variant,)*
        }

        impl Fact {
            /// Every fact, in the order in which people are shown them.
            pub const ALL: &'static [Fact] = &[$(Fact::$variant,)*];

            /// Its name in rules.
            pub fn name(self) -> &'static str {
                match self { $(Fact::$variant => $name,)* }
            }

            /// How it is compared.
            pub fn kind(self) -> Kind {
                match self { $(Fact::$variant => $kind,)* }
            }

            /// What it is, for people.
            pub fn about(self) -> &'static str {
                match self { $(Fact::$variant => $about,)* }
            }
        }
    };
}

/// What a disk says of its health.
pub const HEALTH: &[&str] = &["good", "worn", "failing", "unknown"];
/// To whom a Mac belongs.
pub const OWNERS: &[&str] = &["organisation", "personal", "shared"];

facts! {
    Serial "serial" Kind::Text, "serial number";
    Uuid "uuid" Kind::Text, "system UUID";
    Model "model" Kind::Text, "model identifier, iMac14,2";
    Manufacturer "manufacturer" Kind::Text, "manufacturer";
    Board "board" Kind::Text, "board identifier, Mac-27ADBB7B4CEE8E61";
    Mac "mac" Kind::Mac, "hardware addresses that it was seen with";
    Ip "ip" Kind::Ip, "IP addresses that it had when it was seen last";
    Hostname "hostname" Kind::Text, "name that an administrator gave it";
    Owner "owner" Kind::Word(OWNERS), "to whom it belongs";
    Note "note" Kind::Text, "an administrator's note";
    Tag "tag" Kind::Text, "its tags";
    Known "known" Kind::Flag, "whether a run ended well on it, or an administrator made it known";
    Boot "boot" Kind::Word(&["netboot", "usb", "macos"]), "how it was started last";
    Memory "memory" Kind::Size, "main memory that the system sees, somewhat less than is built in";
    Cpu "cpu" Kind::Text, "name of the processor";
    Cores "cores" Kind::Number, "processor cores";
    Firmware "firmware" Kind::Text, "version of the firmware";
    Disks "disks" Kind::Number, "number of internal disks";
    DiskSize "disk.size" Kind::Size, "sizes of internal disks";
    DiskModel "disk.model" Kind::Text, "models of internal disks";
    DiskSerial "disk.serial" Kind::Text, "serial numbers of internal disks";
    DiskHealth "disk.health" Kind::Word(HEALTH), "health of internal disks by SMART";
    DiskWear "disk.wear" Kind::Number, "percent of their life that internal SSDs have used";
    DiskHours "disk.hours" Kind::Number, "hours that internal disks have run";
    NicDriver "nic.driver" Kind::Text, "drivers of network interfaces";
    NicSpeed "nic.speed" Kind::Number, "speed of connected network interfaces in Mbit/s";
    Wifi "wifi" Kind::Flag, "whether it has a Wi-Fi interface that the boot environment drives";
    Battery "battery" Kind::Flag, "whether it has a battery";
    BatteryCycles "battery.cycles" Kind::Number, "charge cycles of the battery";
    BatteryHealth "battery.health" Kind::Number, "percent of its first capacity that the battery still holds";
}

impl Fact {
    /// The fact of this name, whatever its case.
    pub fn named(name: &str) -> Option<Fact> {
        Fact::ALL.iter().copied().find(|fact| fact.name().eq_ignore_ascii_case(name))
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of a text, a word or a hardware address.
    Text(String),
    /// Of a size or a number.
    Number(u64),
    /// Of a yes or no.
    Flag(bool),
    /// Of an IP address.
    Ip(IpAddr),
}

/// One Mac as rules see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    values: BTreeMap<Fact, Vec<Value>>,
    variables: BTreeMap<VariableName, String>,
}

impl Subject {
    /// Adds a text; an empty one is none.
    pub fn text(&mut self, fact: Fact, text: impl Into<String>) -> &mut Subject {
        let text = text.into();
        if !text.is_empty() {
            self.values.entry(fact).or_default().push(Value::Text(text));
        }
        self
    }

    /// Adds a number or size.
    pub fn number(&mut self, fact: Fact, number: impl Into<u64>) -> &mut Subject {
        self.values.entry(fact).or_default().push(Value::Number(number.into()));
        self
    }

    /// Sets a yes or no.
    pub fn flag(&mut self, fact: Fact, flag: bool) -> &mut Subject {
        self.values.insert(fact, vec![Value::Flag(flag)]);
        self
    }

    /// Adds an IP address.
    pub fn ip(&mut self, fact: Fact, address: IpAddr) -> &mut Subject {
        self.values.entry(fact).or_default().push(Value::Ip(address));
        self
    }

    /// Sets a variable of the Mac; secret ones stay out.
    pub fn variable(&mut self, name: VariableName, text: String) -> &mut Subject {
        self.variables.insert(name, text);
        self
    }

    /// Values of a fact; none when the Mac does not give it.
    pub fn values(&self, fact: Fact) -> &[Value] {
        self.values.get(&fact).map_or(&[], Vec::as_slice)
    }

    /// A variable of the Mac itself.
    pub fn variable_text(&self, name: &VariableName) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}
