//! Which of the known Macs speaks: serial number and UUID decide. An address never does: one dongle serves many Macs.
//!
//! | serial | UUID | the Mac that speaks is |
//! |---|---|---|
//! | same | same, or one side has none | this one |
//! | same | another | a new one, in conflict: its logic board was changed, or two Macs bear one serial number |
//! | another | same | a new one, in conflict: the board sits in another Mac, or a serial number was written anew |
//! | none, or another | none, or another | a new one |
//!
//! Where several fit, only one that fits in both is taken; else nobody can tell them apart, and the Mac is a new one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::value::Serial;

/// A known Mac whose serial number or UUID is that of the one that speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub id: i64,
    /// Its serial number.
    pub serial: Option<Serial>,
    /// Its UUID.
    pub uuid: Option<Uuid>,
}

/// What two Macs that cannot both be right share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shared {
    /// The serial number; their UUIDs differ.
    Serial,
    /// The UUID; their serial numbers differ.
    Uuid,
}

impl Shared {
    /// What it is called.
    pub fn in_words(self) -> &'static str {
        match self {
            Shared::Serial => "serial number",
            Shared::Uuid => "UUID",
        }
    }
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// This known Mac.
    Known(i64),
    /// A new one; with whom it cannot both be right.
    New(Vec<(i64, Shared)>),
}

/// Who speaks, among those that share its serial number or UUID.
pub fn identify(serial: Option<&Serial>, uuid: Option<Uuid>, candidates: &[Candidate]) -> Identity {
    let same_serial = |other: &Candidate| serial.is_some() && other.serial.as_ref() == serial;
    let same_uuid = |other: &Candidate| uuid.is_some() && other.uuid == uuid;
    let agrees = |other: &&Candidate| {
        (same_serial(other) || same_uuid(other))
            && (same_serial(other) || serial.is_none() || other.serial.is_none())
            && (same_uuid(other) || uuid.is_none() || other.uuid.is_none())
    };
    if let Some(exact) = candidates.iter().find(|other| other.serial.as_ref() == serial && other.uuid == uuid)
        && (serial.is_some() || uuid.is_some())
    {
        return Identity::Known(exact.id);
    }
    let fitting: Vec<&Candidate> = candidates.iter().filter(agrees).collect();
    if let [one] = fitting.as_slice() {
        return Identity::Known(one.id);
    }
    let in_conflict = candidates.iter().filter_map(|other| match (same_serial(other), same_uuid(other)) {
        (true, _) => Some((other.id, Shared::Serial)),
        (false, true) => Some((other.id, Shared::Uuid)),
        (false, false) => None,
    });
    Identity::New(in_conflict.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(id: i64, serial: &str, uuid: u128) -> Candidate {
        Candidate {
            id,
            serial: (!serial.is_empty()).then(|| serial.parse().unwrap()),
            uuid: (uuid != 0).then(|| Uuid::from_u128(uuid)),
        }
    }

    fn who(serial: &str, uuid: u128, known: &[Candidate]) -> Identity {
        let Candidate { serial, uuid, .. } = mac(0, serial, uuid);
        identify(serial.as_ref(), uuid, known)
    }

    #[test]
    fn section_6_both_decide_where_both_sides_have_both_and_either_does_where_one_is_lacking() {
        let known = [mac(1, "A", 1), mac(2, "B", 0)];
        assert_eq!(who("A", 1, &known), Identity::Known(1));
        assert_eq!(who("A", 0, &known), Identity::Known(1));
        assert_eq!(who("", 1, &known), Identity::Known(1));
        assert_eq!(who("B", 9, &known), Identity::Known(2), "registered by its serial number before it came");
        assert_eq!(who("C", 3, &known), Identity::New(Vec::new()));
        assert_eq!(who("", 0, &known), Identity::New(Vec::new()));
    }

    #[test]
    fn section_6_a_new_logic_board_and_a_serial_number_of_two_macs_are_conflicts_that_are_named() {
        let known = [mac(1, "A", 1), mac(2, "B", 2)];
        assert_eq!(who("A", 3, &known), Identity::New(vec![(1, Shared::Serial)]));
        assert_eq!(who("C", 2, &known), Identity::New(vec![(2, Shared::Uuid)]));
        assert_eq!(who("A", 2, &known), Identity::New(vec![(1, Shared::Serial), (2, Shared::Uuid)]));
    }

    #[test]
    fn section_6_one_that_fits_in_both_is_taken_before_one_that_fits_in_one() {
        let known = [mac(1, "A", 0), mac(2, "A", 2)];
        assert_eq!(who("A", 2, &known), Identity::Known(2));
        assert_eq!(who("A", 3, &known), Identity::Known(1), "registered, and not yet taken by another");
        assert_eq!(who("A", 0, &known), Identity::Known(1));
        let twins = [mac(1, "A", 1), mac(2, "A", 2)];
        assert_eq!(
            who("A", 0, &twins),
            Identity::New(vec![(1, Shared::Serial), (2, Shared::Serial)]),
            "nobody can tell which"
        );
    }
}
