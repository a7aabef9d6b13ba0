//! A TFTP transfer between a client that may say anything and a clock that only moves on: sends stay in proportion,
//! nothing arrives that was not sent, repeated ACKs do not double the traffic, and it ends.

use std::time::{Duration, Instant};

use rootstock::netboot::tftp::{End, FromClient, Limits, ReadRequest, Step, Transfer, read_opening};

use super::input::Input;

pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let request = request(&mut input);
    let limits = Limits {
        block_size: u16::from(input.byte()).max(1) * 8,
        window: input.byte().into(),
        retry: Duration::from_millis(u64::from(input.word()).max(1)),
        least: Duration::from_millis(u64::from(input.byte()) + 1),
        tries: u32::from(input.byte() % 8),
    };
    let size = u64::from(input.quad()) >> (input.byte() % 32);
    let mut wire = Wire::begin(&request, size, &limits);
    let ends_well = input.byte() & 1 == 0;
    while !wire.over && !input.is_empty() {
        match input.byte() % 5 {
            0 => wire.ack(input.word()),
            // What a client would say: the last block sent, or some before or after it.
            1 => wire.ack((wire.sent as u16).wrapping_add(u16::from(input.byte())).wrapping_sub(128)),
            2 => wire.pass(Duration::from_millis(input.word().into())),
            3 => wire.pass(wire.transfer.deadline().saturating_duration_since(wire.now)),
            _ => wire.ack(wire.sent as u16),
        }
    }
    if !wire.over && ends_well && wire.blocks < 5000 {
        wire.finishes_with_a_good_client();
    } else if !wire.over {
        wire.gives_up_on_silence();
    }
}

fn request(input: &mut Input<'_>) -> ReadRequest {
    let flags = input.byte();
    let mut text = String::from("\0\u{1}file\0octet\0");
    let mut option = |is_there: bool, name: &str, value: u16| {
        if is_there {
            text.push_str(&format!("{name}\0{value}\0"));
        }
    };
    option(flags & 1 != 0, "blksize", input.word());
    option(flags & 2 != 0, "windowsize", input.byte().into());
    option(flags & 4 != 0, "timeout", input.byte().into());
    option(flags & 8 != 0, "tsize", 0);
    read_opening(text.as_bytes()).expect("a request of the law's own")
}

/// A transfer, and what went over the wire so far.
struct Wire {
    transfer: Transfer,
    now: Instant,
    most_tries: u32,
    window: u64,
    blocks: u64,
    /// Highest block that was ever sent.
    sent: u64,
    /// Windows sent again because of an ACK that acknowledged nothing new, and how often something new was.
    repeated: u64,
    advanced: u64,
    over: bool,
}

impl Wire {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant has no other beginning; the law only adds to it"
    )]
    fn begin(request: &ReadRequest, size: u64, limits: &Limits) -> Wire {
        let now = Instant::now();
        let (transfer, first) = Transfer::begin(request, size, limits, now);
        assert_eq!(transfer.size(), size);
        assert!(transfer.block_size() >= 8 && (1..=limits.window.max(1)).contains(&transfer.window()));
        assert!(
            request.block_size.is_none_or(|wanted| transfer.block_size() <= wanted.min(limits.block_size))
        );
        assert!(transfer.window() <= request.window.unwrap_or(1));
        assert_eq!(!transfer.options().is_empty(), request.has_options());
        let blocks = size / u64::from(transfer.block_size()) + 1;
        let window = transfer.window().into();
        let most_tries = limits.tries.max(1);
        let mut wire = Wire {
            transfer,
            now,
            most_tries,
            window,
            blocks,
            sent: 0,
            repeated: 0,
            advanced: 0,
            over: false,
        };
        assert!(!matches!(first, Step::Wait | Step::End(_)), "it begins with something to send");
        wire.obeys(first);
        wire
    }

    fn ack(&mut self, block: u16) {
        let before = self.transfer.arrived();
        let had_begun = self.transfer.has_begun();
        let step = self.transfer.on_packet(FromClient::Ack(block), self.now);
        if self.transfer.arrived() > before || self.transfer.has_begun() != had_begun {
            self.advanced += 1;
        } else if matches!(step, Step::Send { .. }) {
            self.repeated += 1;
            assert!(self.window > 1, "in lockstep a repeated ACK sends nothing");
            assert!(self.repeated <= self.advanced + 1, "the Sorcerer's Apprentice is at work");
        }
        self.obeys(step);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let is_due = self.now >= self.transfer.deadline();
        let step = self.transfer.on_time(self.now);
        assert!(is_due || step == Step::Wait, "sent before its time");
        assert!(!is_due || step != Step::Wait, "the deadline passed without effect");
        self.obeys(step);
    }

    /// One step: what is sent is in the file and in the window, and leads to a deadline that comes.
    fn obeys(&mut self, step: Step) {
        let Wire { transfer, now, sent, blocks, window, over, .. } = self;
        let block_size = u64::from(transfer.block_size());
        match step {
            Step::SendOptions => {
                assert!(!transfer.options().is_empty() && !transfer.has_begun() && *sent == 0)
            }
            Step::Send { first, count } => {
                assert!(count >= 1 && u64::from(count) <= *window, "{count} blocks in a window of {window}");
                let last = first + u64::from(count) - 1;
                assert!(first >= 1 && first <= *sent + 1 && last <= *blocks, "blocks {first} to {last}");
                for block in [first, last] {
                    let (start, length) = transfer.extent(block);
                    let left = transfer.size() - start;
                    assert_eq!(start, (block - 1) * block_size);
                    assert_eq!(u64::from(length), left.min(block_size));
                    assert!((u64::from(length) < block_size) == (block == *blocks), "only the last is short");
                }
                *sent = (*sent).max(last);
            }
            Step::Wait => {}
            Step::End(end) => {
                *over = true;
                match end {
                    End::Complete => assert_eq!((transfer.arrived(), *sent), (transfer.size(), *blocks)),
                    End::Unconfirmed { .. } => assert_eq!(*sent, *blocks, "not all was sent"),
                    End::Silent { .. } => {}
                    other => panic!("{other}, and the client said no such thing"),
                }
            }
        }
        assert!(
            transfer.arrived() <= (*sent * block_size).min(transfer.size()),
            "arrived before it was sent"
        );
        if !*over {
            let wait = transfer.deadline().saturating_duration_since(*now);
            assert!(wait <= Duration::from_secs(255), "nothing for {wait:?}");
        }
    }

    /// However it was left: a client that acknowledges what it was last sent gets everything.
    fn finishes_with_a_good_client(&mut self) {
        for _ in 0..2 * self.blocks + 3 {
            if self.over {
                break;
            }
            self.ack(self.sent as u16);
        }
        assert_eq!(self.transfer.arrived(), self.transfer.size(), "a good client was left waiting");
        assert!(self.over);
    }

    fn gives_up_on_silence(&mut self) {
        for _ in 0..=self.most_tries {
            if self.over {
                return;
            }
            self.pass(self.transfer.deadline().saturating_duration_since(self.now));
        }
        assert!(self.over, "it goes on for ever");
    }
}
