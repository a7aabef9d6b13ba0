//! Who has to wait after failed sign-ins: per account and per address, longer each time.
//!
//! Pure but for the key of the table. A try is counted as failed before the password is looked at, and taken back when it was
//! right: tries that come at the same time do not slip through. The memory is a table of fixed size, two places for every
//! name; so a stranger who makes names up can make no entry go away and needs no room. What they share costs somebody
//! else's name a delay at worst, and the address bound comes long before that.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Places of each table.
const PLACES: usize = 4096;
/// How long after the last failure all is forgotten, in milliseconds.
const FORGET_MS: i64 = 3_600_000;

/// How much one name may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Failures without a delay.
    pub free: u32,
    /// Delay after the next one; it doubles with each.
    pub first_ms: i64,
    /// The longest.
    pub most_ms: i64,
}

/// For an account: 5 failures, then 2 s, 4 s … 15 minutes.
pub const ACCOUNT: Rule = Rule { free: 5, first_ms: 2_000, most_ms: 900_000 };
/// For an address, behind which many people may be: 20 failures, then 2 s, 4 s … 15 minutes.
pub const ADDRESS: Rule = Rule { free: 20, first_ms: 2_000, most_ms: 900_000 };

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    failures: u32,
    last_ms: i64,
}

/// One table: accounts or addresses.
struct Table {
    rule: Rule,
    hash: RandomState,
    places: Vec<Place>,
}

/// Both tables.
pub struct Lockout {
    tables: Mutex<(Table, Table)>,
}

/// A try that was counted as failed; [`Lockout::forgive`] takes it back.
#[derive(Debug)]
pub struct Try {
    account: u64,
    address: Option<u64>,
    /// Failures of the account with this one.
    pub failures: u32,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Whole seconds.
    pub seconds: u32,
    /// Whether the address is why, not the account.
    pub address: bool,
}

impl Default for Lockout {
    fn default() -> Lockout {
        Lockout { tables: Mutex::new((Table::new(ACCOUNT), Table::new(ADDRESS))) }
    }
}

impl Lockout {
    /// A try to sign in, or how long to wait. `address` is none where the caller is on the machine itself.
    pub fn attempt(&self, account: &str, address: Option<IpAddr>, now_ms: i64) -> Result<Try, Wait> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let (accounts, addresses) = &mut *tables;
        let account = accounts.hash.hash_one(account);
        let address = address.map(|address| addresses.hash.hash_one(network(address)));
        if let Some(left) = address.and_then(|address| addresses.wait(address, now_ms)) {
            return Err(Wait { seconds: seconds(left), address: true });
        }
        if let Some(left) = accounts.wait(account, now_ms) {
            return Err(Wait { seconds: seconds(left), address: false });
        }
        let failures = accounts.fail(account, now_ms);
        if let Some(address) = address {
            addresses.fail(address, now_ms);
        }
        Ok(Try { account, address, failures })
    }

    /// The try was right: nothing of the account counts any more, and the address gets its try back.
    pub fn forgive(&self, attempt: &Try) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let (accounts, addresses) = &mut *tables;
        accounts.change(attempt.account, |_| 0);
        if let Some(address) = attempt.address {
            addresses.change(address, |failures| failures.saturating_sub(1));
        }
    }

    /// The try says nothing: the directory could not be asked.
    pub fn undo(&self, attempt: &Try) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let (accounts, addresses) = &mut *tables;
        accounts.change(attempt.account, |failures| failures.saturating_sub(1));
        if let Some(address) = attempt.address {
            addresses.change(address, |failures| failures.saturating_sub(1));
        }
    }
}

impl Table {
    fn new(rule: Rule) -> Table {
        Table { rule, hash: RandomState::new(), places: vec![Place::default(); PLACES] }
    }

    /// The two places of a name: it has failed as often as the lower one says.
    fn at(&self, name: u64) -> [usize; 2] {
        let half = u64::try_from(PLACES / 2).unwrap_or(1);
        let place = |bits: u64| usize::try_from(bits % half).unwrap_or(0);
        [place(name), PLACES / 2 + place(name >> 32)]
    }

    fn known(&self, name: u64, now_ms: i64) -> Place {
        let fresh = |at: usize| {
            let place = self.places.get(at).copied().unwrap_or_default();
            if now_ms - place.last_ms >= FORGET_MS { Place::default() } else { place }
        };
        let [one, other] = self.at(name).map(fresh);
        if one.failures <= other.failures { one } else { other }
    }

    /// Milliseconds that are left to wait.
    fn wait(&self, name: u64, now_ms: i64) -> Option<i64> {
        let place = self.known(name, now_ms);
        let over = place.failures.checked_sub(self.rule.free + 1)?;
        let delay = self.rule.first_ms.saturating_mul(1_i64 << over.min(20)).min(self.rule.most_ms);
        let left = place.last_ms + delay - now_ms;
        // A clock that was set back shall lock nobody out for longer.
        (left > 0).then_some(left.min(delay))
    }

    fn fail(&mut self, name: u64, now_ms: i64) -> u32 {
        let failures = self.known(name, now_ms).failures.saturating_add(1);
        for at in self.at(name) {
            if let Some(place) = self.places.get_mut(at) {
                let old = if now_ms - place.last_ms >= FORGET_MS { 0 } else { place.failures };
                *place = Place { failures: old.max(failures), last_ms: now_ms };
            }
        }
        failures
    }

    fn change(&mut self, name: u64, change: impl Fn(u32) -> u32) {
        for at in self.at(name) {
            if let Some(place) = self.places.get_mut(at) {
                place.failures = change(place.failures);
            }
        }
    }
}

fn seconds(left_ms: i64) -> u32 {
    u32::try_from((left_ms + 999) / 1000).unwrap_or(u32::MAX)
}

/// What one person can have of addresses: of IPv6 a /64 (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    /// Fails until there is something to wait for; how many tries that took, and how long to wait.
    fn until_locked(lockout: &Lockout, name: &str, address: u8, now: i64) -> (u32, Wait) {
        for tries in 0.. {
            if let Err(wait) = lockout.attempt(name, from(address), now) {
                return (tries, wait);
            }
        }
        unreachable!()
    }

    #[test]
    fn part_7_an_account_is_locked_after_some_failures_and_longer_each_time() {
        let lockout = Lockout::default();
        let (tries, wait) = until_locked(&lockout, "ana", 1, 0);
        assert_eq!((tries, wait), (6, Wait { seconds: 2, address: false }));
        let mut now = 2_000;
        for seconds in [4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            lockout.attempt("ana", from(2), now).unwrap();
            let Err(wait) = lockout.attempt("ana", from(3), now) else { panic!("locked") };
            assert_eq!(wait.seconds, seconds);
            now += i64::from(seconds) * 1000;
        }
        assert!(lockout.attempt("bo", from(1), now).is_ok(), "others are not");
        assert!(lockout.attempt("ana", from(1), now + FORGET_MS).is_ok());
    }

    #[test]
    fn an_address_is_locked_whatever_names_it_tries_and_a_whole_ipv6_network_with_it() {
        let lockout = Lockout::default();
        let address = |low: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, low]));
        for low in 0..=20 {
            lockout.attempt(&format!("name {low}"), address(low), 0).unwrap();
        }
        let locked = lockout.attempt("somebody", address(9), 0).unwrap_err();
        assert_eq!(locked, Wait { seconds: 2, address: true });
        assert!(lockout.attempt("somebody", from(1), 0).is_ok());
        assert!(lockout.attempt("on the box", None, 0).is_ok());
    }

    #[test]
    fn the_right_password_clears_the_account_but_no_more_than_one_try_of_the_address() {
        let lockout = Lockout::default();
        for _ in 0..5 {
            lockout.attempt("ana", from(1), 0).unwrap();
        }
        let last = lockout.attempt("ana", from(1), 0).unwrap();
        lockout.forgive(&last);
        let (tries, wait) = until_locked(&lockout, "ana", 1, 0);
        assert_eq!((tries, wait.address), (6, false));
        let (tries, wait) = until_locked(&lockout, "bo", 1, 0);
        assert!(wait.address || tries == 6, "{tries} {wait:?}");
    }

    #[test]
    fn names_that_are_made_up_neither_free_a_locked_account_nor_take_memory() {
        let lockout = Lockout::default();
        until_locked(&lockout, "ana", 1, 0);
        for made_up in 0..20_000_u32 {
            let from = IpAddr::from(made_up.to_be_bytes());
            let _ = lockout.attempt(&made_up.to_string(), Some(from), 0);
        }
        assert!(lockout.attempt("ana", from(2), 0).is_err());
        assert_eq!(lockout.tables.lock().unwrap().0.places.len(), PLACES);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_the_delay() {
        let lockout = Lockout::default();
        until_locked(&lockout, "ana", 1, 10_000_000);
        assert_eq!(lockout.attempt("ana", from(2), 0).unwrap_err().seconds, 2);
    }
}
