//! Which PXE and HTTP boot clients are left to other servers on the wire.
//!
//! Must not know: which devices are known; the caller says.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::value::MacAddr;

/// Who is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serve {
    /// Everyone.
    #[default]
    All,
    /// Machines that were imaged or inventoried here before.
    Known,
    /// Nobody: PXE is another server's. Macs that hold N are answered all the same.
    None,
}

impl fmt::Display for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Serve::All => "all",
            Serve::Known => "known",
            Serve::None => "none",
        })
    }
}

/// The beginning of an Ethernet address, one to six bytes: `52:54:00` is QEMU's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MacPrefix(Vec<u8>);

/// The text is no beginning of an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no beginning of a MAC address: one to six bytes in hexadecimal, as in 52:54:00")]
pub struct BadPrefix(String);

impl MacPrefix {
    /// Whether an address begins so.
    pub fn is_of(&self, mac: MacAddr) -> bool {
        mac.as_bytes().starts_with(&self.0)
    }
}

impl FromStr for MacPrefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<MacPrefix, BadPrefix> {
        let byte = |piece: &str| {
            let good = matches!(piece.len(), 1 | 2) && piece.bytes().all(|b| b.is_ascii_hexdigit());
            good.then(|| u8::from_str_radix(piece, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = text.split([':', '-']).take(7).map(byte).collect();
        let bytes = bytes.filter(|bytes| bytes.len() <= 6);
        bytes.map(MacPrefix).ok_or_else(|| BadPrefix(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for MacPrefix {
    type Error = BadPrefix;

    fn try_from(text: String) -> Result<MacPrefix, BadPrefix> {
        text.parse()
    }
}

impl fmt::Display for MacPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&bytes.join(":"))
    }
}

/// What the site chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who is answered.
    pub serve: Serve,
    /// And who is not in any case: virtual machines whose host starts them.
    pub ignored: Vec<MacPrefix>,
}

/// Why a PXE client is left to others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftAlone {
    /// `none`
    #[error("PXE and HTTP boot are left to another server (pxe.serve is \"none\")")]
    Everyone,
    /// `known`
    #[error(
        "it was never imaged or inventoried here (pxe.serve is \"known\"); a Mac is, once it started with N held or from the USB stick"
    )]
    Unknown,
    /// By its address.
    #[error("its address begins with {0} (pxe.ignore-macs)")]
    Ignored(MacPrefix),
}

impl Policy {
    /// Whether an answer depends on who is known: the caller looks it up only then.
    pub fn asks_who_is_known(&self) -> bool {
        self.serve == Serve::Known
    }

    /// Why a client is not answered, if it is not.
    pub fn leaves_alone(&self, mac: MacAddr, is_known: bool) -> Option<LeftAlone> {
        if let Some(prefix) = self.ignored.iter().find(|prefix| prefix.is_of(mac)) {
            return Some(LeftAlone::Ignored(prefix.clone()));
        }
        match self.serve {
            Serve::All => None,
            Serve::Known => (!is_known).then_some(LeftAlone::Unknown),
            Serve::None => Some(LeftAlone::Everyone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_addresses_are_read_in_both_spellings() {
        let mac = |text: &str| text.parse::<MacAddr>().unwrap();
        let prefix = |text: &str| text.parse::<MacPrefix>().unwrap();
        assert!(prefix("52:54:0").is_of(mac("52:54:00:12:34:56")));
        assert!(!prefix("52-54-00").is_of(mac("52:54:01:12:34:56")));
        assert!(prefix("0a:1b:2c:3d:4e:5f").is_of(mac("0a:1b:2c:3d:4e:5f")));
        assert_eq!(prefix("0-50-56").to_string(), "00:50:56");
        for wrong in ["", ":", "5254", "g0", "1:2:3:4:5:6:7", "52:54:"] {
            assert!(wrong.parse::<MacPrefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_policy_says_who_is_left_alone_and_why() {
        let mac: MacAddr = "52:54:00:12:34:56".parse().unwrap();
        let policy = |serve| Policy { serve, ignored: Vec::new() };
        assert_eq!(policy(Serve::All).leaves_alone(mac, false), None);
        assert_eq!(policy(Serve::Known).leaves_alone(mac, false), Some(LeftAlone::Unknown));
        assert_eq!(policy(Serve::Known).leaves_alone(mac, true), None);
        assert_eq!(policy(Serve::None).leaves_alone(mac, true), Some(LeftAlone::Everyone));
        let ignored = Policy { ignored: vec!["52:54".parse().unwrap()], ..Policy::default() };
        let told = ignored.leaves_alone(mac, true).unwrap().to_string();
        assert!(told.contains("52:54 (pxe.ignore-macs)"), "{told}");
    }
}
