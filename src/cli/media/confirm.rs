//! The question before a disk is erased.
//!
//! Owns: what may be erased without one, what has to be typed, the words. Must not know: sticks, devices' inner life.
//!
//! | | `--yes` | a person at the terminal | neither |
//! |---|---|---|---|
//! | removable | goes on | types `erase` | refused |
//! | not removable | refused, but with `--even-if-internal` | types serial number or size | refused |
//! | a partition, or in use | refused | refused | refused |

use crate::device::Disk;
use crate::value::ByteSize;

/// What the command line says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consent {
    /// `--yes`
    pub yes: bool,
    /// `--even-if-internal`
    pub even_if_internal: bool,
    /// Standard input is a terminal.
    pub person: bool,
}

/// What has to happen before the disk is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more.
    GoOn,
    /// This has to be typed.
    Ask(String),
    /// It must not be erased, for this reason.
    Refuse(String),
}

/// Decides.
pub fn decide(disk: &Disk, consent: Consent) -> Next {
    let name = &disk.name;
    if let Some(whole) = &disk.part_of {
        return Next::Refuse(format!(
            "/dev/{name} is a partition of /dev/{whole}, and a stick is a whole disk: name /dev/{whole}"
        ));
    }
    if !disk.users.is_empty() {
        return Next::Refuse(format!("/dev/{name} is in use: {}", disk.users.join(", ")));
    }
    if consent.yes && (disk.removable || consent.even_if_internal) {
        return Next::GoOn;
    }
    if !disk.removable && consent.yes {
        return Next::Refuse(format!(
            "/dev/{name} is no removable medium ({}): if it is the right one, add --even-if-internal, or leave out --yes \
             and type its serial number when asked",
            in_words(disk)
        ));
    }
    if !consent.person {
        return Next::Refuse(format!(
            "nobody is here to agree that /dev/{name} is erased ({}): add --yes",
            in_words(disk)
        ));
    }
    Next::Ask(match (disk.removable, disk.serial.is_empty()) {
        (true, _) => "erase".to_owned(),
        (false, false) => disk.serial.clone(),
        (false, true) => disk.size.to_string(),
    })
}

/// The disk in a line.
pub fn in_words(disk: &Disk) -> String {
    let mut words = vec![ByteSize(disk.size).to_string(), format!("{} bytes", disk.size)];
    words.extend((!disk.model.is_empty()).then(|| disk.model.clone()));
    words.extend((!disk.serial.is_empty()).then(|| format!("serial {}", disk.serial)));
    words.push(if disk.usb { "on USB" } else { "not on USB" }.to_owned());
    words.push(if disk.removable { "removable" } else { "not removable" }.to_owned());
    words.join(", ")
}

/// The question, and what answers it.
pub fn question(disk: &Disk, answer: &str) -> String {
    let what = match answer {
        "erase" => "Type erase".to_owned(),
        _ if disk.serial.is_empty() => "This is no removable medium. Type its size in bytes".to_owned(),
        _ => "This is no removable medium. Type its serial number".to_owned(),
    };
    format!("Everything on /dev/{} will be lost. {what} to go on: ", disk.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stick() -> Disk {
        Disk { name: "sdb".into(), serial: "4C53".into(), size: 4 << 30, removable: true, ..Disk::default() }
    }

    const YES: Consent = Consent { yes: true, even_if_internal: false, person: false };
    const PERSON: Consent = Consent { yes: false, even_if_internal: false, person: true };

    fn refusal(disk: &Disk, consent: Consent) -> String {
        match decide(disk, consent) {
            Next::Refuse(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_removable_medium_needs_a_yes_or_a_word() {
        assert_eq!(decide(&stick(), YES), Next::GoOn);
        assert_eq!(decide(&stick(), PERSON), Next::Ask("erase".into()));
        assert!(refusal(&stick(), Consent::default()).contains("add --yes"));
    }

    #[test]
    fn for_a_fixed_disk_yes_is_not_enough_and_a_person_types_its_serial_number() {
        let disk = Disk { removable: false, ..stick() };
        assert!(refusal(&disk, YES).contains("--even-if-internal"));
        assert_eq!(decide(&disk, Consent { even_if_internal: true, ..YES }), Next::GoOn);
        assert_eq!(decide(&disk, PERSON), Next::Ask("4C53".into()));
        let disk = Disk { serial: String::new(), ..disk };
        assert_eq!(decide(&disk, PERSON), Next::Ask("4294967296".into()));
        let person = Consent { even_if_internal: true, ..PERSON };
        assert!(matches!(decide(&disk, person), Next::Ask(_)), "the flag alone is no yes");
    }

    #[test]
    fn a_disk_in_use_and_a_partition_are_refused_whatever_is_said() {
        let all = Consent { yes: true, even_if_internal: true, person: true };
        let used = Disk { users: vec!["sdb1 is mounted at /".into()], ..stick() };
        assert!(refusal(&used, all).contains("sdb1 is mounted at /"));
        let part = Disk { name: "sdb1".into(), part_of: Some("sdb".into()), ..stick() };
        assert!(refusal(&part, all).contains("name /dev/sdb"));
    }
}
