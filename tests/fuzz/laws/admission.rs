//! Places for TFTP transfers: never more than there are, no address has them all, and who reads is ended by nobody else.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use rootstock::netboot::tftp::{Admission, Running, admit, read_opening, share};

use super::input::Input;

struct Held {
    from: SocketAddrV4,
    file: u8,
    opened: Instant,
    heard: Option<Instant>,
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning; the law only adds to it")]
pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let requests = [b'a', b'b'].map(|file| {
        read_opening(&[0, 1, file, 0, b'o', b'c', b't', b'e', b't', 0]).expect("a request of the law's own")
    });
    let most = usize::from(input.byte() % 12) + 1;
    let mut now = Instant::now();
    let mut held: Vec<Held> = Vec::new();
    while !input.is_empty() {
        let (kind, which) = (input.byte(), input.byte());
        let from = SocketAddrV4::new([10, 0, 0, which & 7].into(), u16::from(which >> 3 & 3) + 1);
        match kind % 4 {
            0 => now += Duration::from_millis(u64::from(which) * 8),
            1 => held.iter_mut().filter(|one| one.from == from).for_each(|one| one.heard = Some(now)),
            2 if kind & 0x80 != 0 => held.retain(|one| one.from != from),
            _ => asked(&mut held, from, which >> 7, &requests, most, now),
        }
        assert!(held.len() <= most, "{} transfers in {most} places", held.len());
        for one in &held {
            assert_eq!(held.iter().filter(|other| other.from == one.from).count(), 1, "two for one client");
            let of_address = held.iter().filter(|other| other.from.ip() == one.from.ip()).count();
            assert!(of_address <= share(most), "one address holds {of_address} of {most}");
        }
    }
}

fn asked(
    held: &mut Vec<Held>,
    from: SocketAddrV4,
    file: u8,
    requests: &[rootstock::netboot::tftp::ReadRequest; 2],
    most: usize,
    now: Instant,
) {
    let request = |file: u8| &requests[usize::from(file)];
    let running: Vec<Running<'_>> = held
        .iter()
        .map(|one| Running {
            from: one.from,
            request: request(one.file),
            opened: one.opened,
            heard: one.heard,
        })
        .collect();
    match admit(from, request(file), &running, most, now) {
        Admission::Repeated => {
            assert!(held.iter().any(|one| one.from == from && one.file == file), "a repetition of nothing");
        }
        Admission::Refused(_) => {
            let is_full = held.len() == most;
            let of_address = || held.iter().filter(|one| one.from.ip() == from.ip());
            assert!(is_full || of_address().count() >= share(most), "refused while there is room");
            assert!(of_address().all(|one| one.from != from), "a client's own place is free for it");
        }
        Admission::Deferred => {
            let of_address = || held.iter().filter(|one| one.from.ip() == from.ip());
            assert!(held.len() == most || of_address().count() >= share(most), "put off while there is room");
            assert!(
                of_address().any(|one| one.heard.is_none()),
                "put off though its address has all it asked for"
            );
        }
        Admission::Open { ends } => {
            if let Some(ends) = ends {
                let at = held.iter().position(|one| one.from == ends).expect("what is ended runs");
                let ended = held.swap_remove(at);
                assert!(ends == from || ended.heard.is_none(), "a client that reads is ended for another");
            }
            held.push(Held { from, file, opened: now, heard: None });
        }
    }
}
