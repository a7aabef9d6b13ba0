//! Leases: who holds which address until when. Bounded by the plan's addresses.
//!
//! Must not know: who asks for what; how leases are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::value::MacAddr;

/// Longest client identifier that is told apart; RFC 2132 section 9.14 gives it one option of at most 255 bytes.
const LONGEST_ID: usize = 255;

/// Who a client is to a DHCP server (RFC 2131 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// By its Ethernet address: no option 61, or one that only repeats the address, as most firmware sends it. So a Mac's
    /// firmware and its loader are one client.
    Mac(MacAddr),
    /// By option 61.
    Id(Vec<u8>),
}

/// The text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no DHCP client: `mac:` and an Ethernet address, or `id:` and hexadecimal digits")]
pub struct BadKey(String);

impl Key {
    /// From the hardware address and option 61.
    pub fn new(mac: MacAddr, id: Option<&[u8]>) -> Key {
        match id {
            Some(id) if (2..=LONGEST_ID).contains(&id.len()) && id != [&[1][..], mac.as_bytes()].concat() => {
                Key::Id(id.to_owned())
            }
            _ => Key::Mac(mac),
        }
    }

    /// Spreads clients over a pool, so that each finds its own address again even when every lease was forgotten (FNV-1a).
    pub(super) fn spread(&self) -> u64 {
        let bytes: &[u8] = match self {
            Key::Mac(mac) => mac.as_bytes(),
            Key::Id(id) => id,
        };
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Mac(mac) => write!(f, "mac:{mac}"),
            Key::Id(id) => {
                f.write_str("id:")?;
                id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Key, BadKey> {
        let bad = || BadKey(text.chars().take(80).collect());
        if let Some(mac) = text.strip_prefix("mac:") {
            return mac.parse().map(Key::Mac).map_err(|_| bad());
        }
        let digits = text.strip_prefix("id:").filter(|digits| digits.is_ascii()).ok_or_else(bad)?;
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || !(2..=LONGEST_ID).contains(&pairs.len()) {
            return Err(bad());
        }
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        pairs.iter().map(byte).collect::<Option<_>>().map(Key::Id).ok_or_else(bad)
    }
}

/// How an address is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Offered, not yet taken; never written to disk.
    Offered,
    /// Leased.
    Bound,
    /// Given back; remembered for the client that had it.
    Released,
    /// Another machine uses it without asking: set aside.
    Declined,
}

/// One address and its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Who holds it.
    pub key: Key,
    /// The holder's Ethernet address.
    pub mac: MacAddr,
    /// What it calls itself (option 12).
    pub host_name: Option<String>,
    /// How.
    pub state: State,
    /// Since when, in milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Until when.
    pub until_ms: i64,
}

impl Lease {
    /// Whether nobody else may have the address now.
    pub fn is_held(&self, now_ms: i64) -> bool {
        self.state != State::Released && now_ms < self.until_ms
    }
}

/// All leases, by address and by client.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    leases: BTreeMap<Ipv4Addr, Lease>,
    of: HashMap<Key, BTreeSet<Ipv4Addr>>,
}

impl Table {
    /// Enters a lease; whoever had the address has it no more.
    pub fn put(&mut self, lease: Lease) {
        self.remove(lease.address);
        self.of.entry(lease.key.clone()).or_default().insert(lease.address);
        self.leases.insert(lease.address, lease);
    }

    pub fn remove(&mut self, address: Ipv4Addr) -> Option<Lease> {
        let lease = self.leases.remove(&address)?;
        if let Some(own) = self.of.get_mut(&lease.key) {
            own.remove(&address);
            if own.is_empty() {
                self.of.remove(&lease.key);
            }
        }
        Some(lease)
    }

    pub fn get(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address)
    }

    /// What a client holds or held, newest first; an address that was declined is not among them.
    pub fn of(&self, key: &Key) -> Vec<&Lease> {
        let mut own: Vec<_> = self
            .of
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(|address| self.leases.get(address))
            .filter(|lease| lease.state != State::Declined)
            .collect();
        own.sort_by_key(|lease| std::cmp::Reverse(lease.since_ms));
        own
    }

    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    pub fn len(&self) -> usize {
        self.leases.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_identifier_that_only_repeats_the_address_is_the_address() {
        assert_eq!(Key::new(MAC, None), Key::Mac(MAC));
        assert_eq!(Key::new(MAC, Some(&[1, 2, 0, 0, 0, 0, 1])), Key::Mac(MAC));
        assert_eq!(Key::new(MAC, Some(&[1, 2, 0, 0, 0, 0, 2])), Key::Id(vec![1, 2, 0, 0, 0, 0, 2]));
        assert_eq!(Key::new(MAC, Some(&[0])), Key::Mac(MAC), "too short to be one (RFC 2132 section 9.14)");
        assert_eq!(Key::new(MAC, Some(&[7; 256])), Key::Mac(MAC));
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_printed(id in prop::collection::vec(any::<u8>(), 2..=255)) {
            for key in [Key::Mac(MAC), Key::Id(id)] {
                prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
            }
        }

        #[test]
        fn any_text_is_a_key_or_is_refused(text in ".{0,40}") {
            let _ = text.parse::<Key>();
            let _ = format!("id:{text}").parse::<Key>();
        }
    }
}
