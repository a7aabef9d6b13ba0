//! Who may open a transfer: places are few, forged sources are many, and no address may hold them all.
//!
//! A transfer whose client never answered may be the work of a forged source: it is the first to give way, and one of
//! the same address before others. One that is answered is ended for nobody.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::ReadRequest;

/// A client that was heard so lately reads still; the same request again is a copy that the network made or delayed.
const READS_STILL: Duration = Duration::from_secs(1);

/// A flood from one address replaces its own transfers no faster than this; what is above it waits for its repetition.
const SETTLE: Duration = Duration::from_millis(250);

/// A transfer that is running.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// Address and port of its client.
    pub from: SocketAddrV4,
    /// What it was opened by.
    pub request: &'a ReadRequest,
    /// When it was opened.
    pub opened: Instant,
    /// When its client was last heard; none before the first answer.
    pub heard: Option<Instant>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It belongs to a transfer that is running.
    Repeated,
    /// It opens a transfer; the transfer of this client is ended for it.
    Open {
        /// Whose transfer is ended.
        ends: Option<SocketAddrV4>,
    },
    /// Its address has its share, and asks faster than anybody could answer: left unanswered, a client repeats it.
    Deferred,
    /// There is no place for it.
    Refused(Crowded),
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// All places are taken by clients that read.
    #[error("{0} transfers are running, ask again later")]
    All(usize),
    /// This address has its share.
    #[error("{0} transfers are running for this address, ask again later")]
    Address(usize),
}

/// Places that one address may hold.
pub fn share(most: usize) -> usize {
    (most * 2 / 3).max(1)
}

/// The decision about a request of `from`, where at most `most` transfers may run.
pub fn admit(
    from: SocketAddrV4,
    request: &ReadRequest,
    running: &[Running<'_>],
    most: usize,
    now: Instant,
) -> Admission {
    if let Some(own) = running.iter().find(|one| one.from == from) {
        let reads_still = own.heard.is_none_or(|heard| now.saturating_duration_since(heard) < READS_STILL);
        return match own.request == request && reads_still {
            true => Admission::Repeated,
            // A client that asks for something else from the same port has given up what it was reading.
            false => Admission::Open { ends: Some(from) },
        };
    }
    let of_address = || running.iter().filter(|one| one.from.ip() == from.ip());
    let own = longest_unanswered(of_address());
    let (oldest, crowded) = if of_address().count() >= share(most) {
        (own, Crowded::Address(share(most)))
    } else if running.len() >= most {
        (own.or_else(|| longest_unanswered(running.iter())), Crowded::All(most))
    } else {
        return Admission::Open { ends: None };
    };
    if own.is_some_and(|own| now.saturating_duration_since(own.opened) < SETTLE) {
        return Admission::Deferred;
    }
    oldest.map_or(Admission::Refused(crowded), |oldest| Admission::Open { ends: Some(oldest.from) })
}

fn longest_unanswered<'a>(among: impl Iterator<Item = &'a Running<'a>>) -> Option<&'a Running<'a>> {
    among.filter(|one| one.heard.is_none()).min_by_key(|one| one.opened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netboot::tftp::read_opening;

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning; tests only add to it")]
    fn start() -> Instant {
        Instant::now()
    }

    fn request() -> ReadRequest {
        read_opening(b"\0\x01booter\0octet\0").unwrap()
    }

    fn client(address: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([10, 0, 0, address].into(), port)
    }

    #[test]
    fn the_same_request_belongs_to_the_transfer_until_its_client_falls_silent() {
        let (now, request) = (start(), request());
        let from = client(1, 2000);
        let asked = |heard, later| {
            let running = [Running { from, request: &request, opened: now, heard }];
            admit(from, &request, &running, 4, now + Duration::from_millis(later))
        };
        assert_eq!(asked(None, 5000), Admission::Repeated, "the answer to it is sent again by itself");
        assert_eq!(asked(Some(now), 999), Admission::Repeated);
        assert_eq!(asked(Some(now), 1000), Admission::Open { ends: Some(from) });
    }

    #[test]
    fn another_request_from_the_same_port_ends_what_was_read_there() {
        let (now, old) = (start(), request());
        let from = client(1, 2000);
        let running = [Running { from, request: &old, opened: now, heard: Some(now) }];
        let new = read_opening(b"\0\x01kernelcache\0octet\0").unwrap();
        assert_eq!(admit(from, &new, &running, 1, now), Admission::Open { ends: Some(from) });
    }

    #[test]
    fn one_address_never_holds_all_places() {
        let (now, request) = (start(), request());
        let held = |port| Running { from: client(1, port), request: &request, opened: now, heard: Some(now) };
        let running: Vec<_> = (0..4).map(held).collect();
        let refused = admit(client(1, 9), &request, &running, 6, now);
        assert_eq!(refused, Admission::Refused(Crowded::Address(4)));
        assert_eq!(admit(client(2, 9), &request, &running, 6, now), Admission::Open { ends: None });
        assert_eq!(share(1), 1);
    }

    #[test]
    fn a_flood_from_one_address_is_served_no_faster_than_it_could_answer() {
        let (now, request) = (start(), request());
        let held = |port| Running { from: client(1, port), request: &request, opened: now, heard: None };
        let running: Vec<_> = (0..4).map(held).collect();
        for most in [4, 6] {
            let asked =
                |later| admit(client(1, 9), &request, &running, most, now + Duration::from_millis(later));
            assert_eq!(asked(249), Admission::Deferred);
            assert!(matches!(asked(250), Admission::Open { ends: Some(_) }));
        }
        let full = admit(client(2, 9), &request, &running, 4, now);
        assert!(matches!(full, Admission::Open { ends: Some(_) }), "another address does not wait: {full:?}");
    }

    #[test]
    fn a_flood_of_forged_sources_gives_way_to_whoever_asks_next_and_readers_stay() {
        let (now, request) = (start(), request());
        let at = |seconds| now + Duration::from_secs(seconds);
        let reads = Running { from: client(1, 1), request: &request, opened: now, heard: Some(now) };
        let forged = |address, seconds| Running {
            from: client(address, 1),
            opened: at(seconds),
            heard: None,
            ..reads
        };
        let running = [reads, forged(2, 3), forged(3, 2)];
        let told = admit(client(4, 1), &request, &running, 3, at(4));
        assert_eq!(told, Admission::Open { ends: Some(client(3, 1)) });
        let readers = [1, 2, 3].map(|address| Running { from: client(address, 1), ..reads });
        let told = admit(client(4, 1), &request, &readers, 3, at(4));
        assert_eq!(told, Admission::Refused(Crowded::All(3)));
    }
}
