//! Bindings: which Mac took which image from this server (BSDP.doc, "client binding"). A bound Mac is offered its image
//! in answer to its DISCOVER and marked in its list; the number of bindings lowers our priority among several servers.
//!
//! The key is the MAC address *and* the model: one dongle serves many Macs, and what one of them chose is not offered to
//! another. Two Macs of one model that share a dongle cannot be told apart by anything that BSDP carries.
//!
//! Owns: what a change means, who is forgotten first. Must not know: the clock, the database, when a change is due.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::ImageId;
use crate::value::MacAddr;

/// Most bindings that are kept: at this number the priority has fallen to 0.
pub const MOST_BINDINGS: usize = 32_768;

/// A selection that is repeated within this time changes nothing: the Mac did not hear the answer, or its person tries again.
const RETRANSMISSION_MS: i64 = 60_000;
/// How coarse `seen_ms` is where nothing else changes: every write is flushed to disk.
const SEEN_MS: i64 = 3_600_000;

/// One Mac and the image that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The Mac's, or its dongle's, Ethernet address.
    pub mac: MacAddr,
    /// Model identifier, as option 60 names it.
    pub system: String,
    /// BSDP architecture.
    pub arch: String,
    /// What it took last.
    pub image: ImageId,
    /// The address that it had last.
    pub address: Ipv4Addr,
    /// The name that it was given (BSDP option 130).
    pub name: String,
    /// When it selected last, milliseconds since 1970 UTC.
    pub bound_ms: i64,
    /// When it was heard last, at an hour's accuracy.
    pub seen_ms: i64,
}

/// What a packet changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A selection was confirmed.
    Bind {
        /// Who.
        mac: MacAddr,
        /// Model identifier.
        system: String,
        /// BSDP architecture.
        arch: String,
        /// Which image.
        image: ImageId,
        /// The client's address.
        address: Ipv4Addr,
        /// The name that it is given.
        name: String,
    },
    /// The client went to another server.
    Forget {
        /// Who.
        mac: MacAddr,
        /// Model identifier.
        system: String,
    },
    /// The client was heard.
    Seen {
        /// Who.
        mac: MacAddr,
        /// Model identifier; none when an ordinary DHCP packet says nothing about it.
        system: Option<String>,
        /// The address that it asks its DHCP server for.
        address: Option<Ipv4Addr>,
    },
}

impl Change {
    /// Whose binding it is.
    pub fn mac(&self) -> MacAddr {
        match self {
            Change::Bind { mac, .. } | Change::Forget { mac, .. } | Change::Seen { mac, .. } => *mac,
        }
    }
}

/// What is to be written, first to disk, then to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A binding, new or in place of the one with the same key.
    Put(Binding),
    /// It is forgotten.
    Delete(MacAddr, String),
}

/// Every binding, in the order of addresses.
#[derive(Clone, Debug, Default)]
pub struct BindingTable {
    bindings: BTreeMap<(MacAddr, String), Binding>,
}

impl BindingTable {
    /// What one Mac is bound to.
    pub fn of(&self, mac: MacAddr, system: &str) -> Option<&Binding> {
        self.with(mac).find(|binding| binding.system == system)
    }

    /// The bindings of every Mac that used this address.
    pub fn with(&self, mac: MacAddr) -> impl Iterator<Item = &Binding> {
        let of_mac = self.bindings.range((mac, String::new())..);
        of_mac.take_while(move |((own, _), _)| *own == mac).map(|(_, binding)| binding)
    }

    /// All, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.values()
    }

    /// How many Macs are remembered.
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// What a change asks to be written; none when everything is so already.
    pub fn plan(&self, change: &Change, now_ms: i64) -> Option<Write> {
        match change {
            Change::Bind { mac, system, arch, image, address, name } => {
                let binding = Binding {
                    mac: *mac,
                    system: system.clone(),
                    arch: arch.clone(),
                    image: *image,
                    address: *address,
                    name: name.clone(),
                    bound_ms: now_ms,
                    seen_ms: now_ms,
                };
                let is_repeated = |old: &Binding| {
                    let same = Binding { bound_ms: now_ms, seen_ms: now_ms, ..old.clone() };
                    same == binding && is_within(old.bound_ms, RETRANSMISSION_MS, now_ms)
                };
                (!self.of(*mac, system).is_some_and(is_repeated)).then_some(Write::Put(binding))
            }
            Change::Forget { mac, system } => {
                self.of(*mac, system).map(|binding| Write::Delete(binding.mac, binding.system.clone()))
            }
            Change::Seen { mac, system, address } => {
                let old = match system {
                    Some(system) => self.of(*mac, system)?,
                    // An ordinary DHCP client names no model. When several Macs share the address it could be any of them.
                    None => {
                        let mut all = self.with(*mac);
                        all.next().filter(|_| all.next().is_none())?
                    }
                };
                let address = address.unwrap_or(old.address);
                let is_news = address != old.address || !is_within(old.seen_ms, SEEN_MS, now_ms);
                is_news.then(|| Write::Put(Binding { address, seen_ms: now_ms, ..old.clone() }))
            }
        }
    }

    /// Whether a write adds to the table.
    pub fn is_new(&self, write: &Write) -> bool {
        matches!(write, Write::Put(binding) if self.of(binding.mac, &binding.system).is_none())
    }

    /// Makes room for `new` more within `most`: those that were heard longest ago go.
    pub fn make_room(&self, new: usize, most: usize) -> Vec<Write> {
        let over = (self.len() + new).saturating_sub(most).min(self.len());
        if over == 0 {
            return Vec::new();
        }
        let mut all: Vec<&Binding> = self.iter().collect();
        all.select_nth_unstable_by_key(over - 1, |binding| binding.seen_ms);
        all[..over].iter().map(|binding| Write::Delete(binding.mac, binding.system.clone())).collect()
    }

    /// Those that selected before a moment.
    pub fn older_than(&self, bound_ms: i64) -> Vec<Write> {
        let old = self.iter().filter(|binding| binding.bound_ms < bound_ms);
        old.map(|binding| Write::Delete(binding.mac, binding.system.clone())).collect()
    }

    /// Writes.
    pub fn apply(&mut self, write: Write) {
        match write {
            Write::Put(binding) => {
                self.bindings.insert((binding.mac, binding.system.clone()), binding);
            }
            Write::Delete(mac, system) => {
                self.bindings.remove(&(mac, system));
            }
        }
    }
}

/// Whether `then` lies at most `most` before `now`. A clock that was set back makes it news.
fn is_within(then: i64, most: i64, now: i64) -> bool {
    (0..=most).contains(&now.saturating_sub(then))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DONGLE: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    fn bind(mac: MacAddr, system: &str, image: u32) -> Change {
        Change::Bind {
            mac,
            system: system.into(),
            arch: "i386".into(),
            image: ImageId::from(image),
            address: Ipv4Addr::new(10, 0, 1, 93),
            name: "NetBoot-000001".into(),
        }
    }

    fn seen(system: Option<&str>, address: u8) -> Change {
        let address = Some(Ipv4Addr::new(10, 0, 1, address));
        Change::Seen { mac: DONGLE, system: system.map(str::to_owned), address }
    }

    fn after(changes: &[(Change, i64)]) -> BindingTable {
        let mut table = BindingTable::default();
        for (change, now) in changes {
            if let Some(write) = table.plan(change, *now) {
                table.apply(write);
            }
        }
        table
    }

    #[test]
    fn two_macs_on_one_dongle_keep_what_each_of_them_chose() {
        let table = after(&[(bind(DONGLE, "MacBook10,1", 1), 0), (bind(DONGLE, "MacBookPro14,1", 2), 0)]);
        assert_eq!(table.of(DONGLE, "MacBook10,1").unwrap().image, ImageId::from(1));
        assert_eq!(table.of(DONGLE, "MacBookPro14,1").unwrap().image, ImageId::from(2));
        assert_eq!(table.of(DONGLE, "MacBook9,1"), None);
        assert_eq!(table.with(DONGLE).count(), 2);
        assert_eq!(table.plan(&seen(None, 7), 0), None, "an ordinary DHCP packet could be of either");
        let one = table.plan(&seen(Some("MacBook10,1"), 7), 0).unwrap();
        assert!(matches!(one, Write::Put(binding) if binding.system == "MacBook10,1"));
    }

    #[test]
    fn a_retransmission_writes_nothing_and_a_later_or_another_selection_does() {
        let table = after(&[(bind(DONGLE, "a", 1), 1000)]);
        assert_eq!(table.plan(&bind(DONGLE, "a", 1), 4000), None);
        assert!(table.plan(&bind(DONGLE, "a", 2), 4000).is_some());
        assert!(table.plan(&bind(DONGLE, "a", 1), 1001 + RETRANSMISSION_MS).is_some());
        assert!(table.plan(&bind(DONGLE, "a", 1), 0).is_some(), "the clock was set back");
    }

    #[test]
    fn a_request_for_an_address_is_remembered_and_leaves_the_choice_as_it_is() {
        let table = after(&[(bind(DONGLE, "a", 1), 0), (seen(None, 44), 10)]);
        let binding = table.of(DONGLE, "a").unwrap();
        assert_eq!((binding.address, binding.bound_ms), (Ipv4Addr::new(10, 0, 1, 44), 0));
        assert_eq!(table.plan(&seen(Some("a"), 44), 20), None);
        assert!(table.plan(&seen(Some("a"), 44), 11 + SEEN_MS).is_some());
        assert_eq!(table.plan(&seen(Some("b"), 44), 20), None, "another model is not bound by this");
    }

    #[test]
    fn who_goes_elsewhere_is_forgotten() {
        let forget = Change::Forget { mac: DONGLE, system: "a".into() };
        let table = after(&[(bind(DONGLE, "a", 1), 0), (bind(DONGLE, "b", 1), 0), (forget.clone(), 5)]);
        assert_eq!((table.of(DONGLE, "a"), table.len()), (None, 1));
        assert_eq!(table.plan(&forget, 6), None);
    }

    #[test]
    fn those_that_selected_before_a_moment_are_found() {
        let table = after(&[(bind(DONGLE, "a", 1), 0), (bind(DONGLE, "b", 1), 50), (seen(Some("a"), 9), 70)]);
        assert_eq!(table.older_than(50), [Write::Delete(DONGLE, "a".into())]);
        assert_eq!(table.older_than(0), []);
    }

    proptest! {
        #[test]
        fn room_is_made_by_forgetting_who_was_heard_longest_ago(
            times in prop::collection::vec(0i64..1000, 0..60),
            new in 0usize..10,
            most in 10usize..50,
        ) {
            let mut table = BindingTable::default();
            for (n, at) in times.iter().enumerate() {
                let change = bind(MacAddr::new([2, 0, 0, 0, 0, n as u8]), "a", 1);
                table.apply(table.plan(&change, *at).unwrap());
            }
            let mut kept = table.clone();
            let gone = table.make_room(new, most);
            let newest_gone = gone.iter().map(|write| match write {
                Write::Delete(mac, system) => table.of(*mac, system).unwrap().seen_ms,
                Write::Put(_) => panic!("nothing is added"),
            }).max();
            gone.into_iter().for_each(|write| kept.apply(write));
            prop_assert!(kept.len() + new <= most.max(new));
            prop_assert!(kept.len() == table.len() || kept.len() + new == most, "no more than needed");
            if let (Some(gone), Some(stays)) = (newest_gone, kept.iter().map(|one| one.seen_ms).min()) {
                prop_assert!(gone <= stays);
            }
        }
    }
}
