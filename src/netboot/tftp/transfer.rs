//! One read transfer as a state machine: told what arrived and when, it says what to send.
//!
//! Blocks are counted from 1 without wrapping; only on the wire is the number cut to 16 bits (65535 is followed by 0,
//! as every client in use expects). Block 0 stands for the OACK.
//!
//! A doubled ACK is not answered by data, or two copies of everything would travel to the end (the Sorcerer's
//! Apprentice, RFC 1123 section 4.2.3.1). With a window there is one exception: a client that lost the first block
//! acknowledges the block before it once more (RFC 7440 section 4), so that the first repetition in a window sends
//! it again. The client may then double one ACK itself; that one is owed and left unanswered.

use std::time::{Duration, Instant};

use super::pace::Pace;
use super::packet::{FromClient, ReadRequest, option_ack};

/// What a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest block. 1428 keeps IP packets whole even in a tunnel; firmware of 2016 asks for more than its MTU.
    pub block_size: u16,
    /// Most blocks in flight.
    pub window: u16,
    /// Wait for the first ACK; from then on round trips are measured, and waits are doubled with each silent one.
    pub retry: Duration,
    /// Shortest wait for an ACK, however short the round trips.
    pub least: Duration,
    /// Times that a window is sent in all: with the doubled waits, half a minute and more.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            block_size: 1428,
            window: 64,
            retry: Duration::from_secs(1),
            // Firmware pauses to draw and to allocate. What is sent too early costs one block and is not answered twice.
            least: Duration::from_millis(60),
            tries: 10,
        }
    }
}

/// RFC 1350, without options.
const PLAIN_BLOCK: u16 = 512;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the OACK again or for the first time.
    SendOptions,
    /// Send blocks `first` to `first + count - 1`.
    Send {
        /// First block, counted from 1.
        first: u64,
        /// How many.
        count: u16,
    },
    /// Nothing until the next packet or the deadline.
    Wait,
    /// The transfer is over.
    End(End),
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The last block was acknowledged.
    #[error("complete")]
    Complete,
    /// The client sent an ERROR: an ordinary end for one that only wanted the size.
    #[error("the client ended it with error {code} `{message}`")]
    Client {
        /// Error code.
        code: u16,
        /// Its words.
        message: String,
    },
    /// Every block was sent, and the ACK of the last never came. A client that has all may leave before its ACK arrives.
    #[error("all {blocks} blocks were sent, the last acknowledgement did not come")]
    Unconfirmed {
        /// Blocks in all.
        blocks: u64,
    },
    /// No ACK any more.
    #[error("no answer to block {block} of {blocks} after {tries} tries")]
    Silent {
        /// First block without ACK; 0 is the OACK.
        block: u64,
        /// Blocks in all.
        blocks: u64,
        /// Times that it was sent.
        tries: u32,
    },
}

/// A read transfer.
#[derive(Debug)]
pub struct Transfer {
    size: u64,
    block_size: u16,
    window: u16,
    /// Blocks in all; the last one is shorter than the others and may be empty.
    blocks: u64,
    options: Option<Vec<u8>>,
    /// Everything up to this block has arrived; none before the OACK is acknowledged.
    acked: Option<u64>,
    /// Last block of the window.
    sent: u64,
    /// Last block that was ever sent.
    highest: u64,
    /// Blocks and OACKs that were sent again.
    resent: u64,
    tries: u32,
    most_tries: u32,
    pace: Pace,
    /// The window was sent again because of a repeated ACK.
    repeated: bool,
    /// A repetition that the client owes us for that.
    owed: bool,
}

impl Transfer {
    /// Begins a transfer of `size` bytes and says what to send first.
    pub fn begin(request: &ReadRequest, size: u64, limits: &Limits, now: Instant) -> (Transfer, Step) {
        let block_size = request.block_size.map_or(PLAIN_BLOCK, |wanted| wanted.min(limits.block_size));
        let window = request.window.unwrap_or(1).min(limits.window.max(1));
        let mut granted: Vec<(&str, u64)> = Vec::new();
        granted.extend(request.block_size.map(|_| ("blksize", block_size.into())));
        granted.extend(request.wants_size.then_some(("tsize", size)));
        granted.extend(request.timeout.map(|seconds| ("timeout", seconds.into())));
        granted.extend(request.window.map(|_| ("windowsize", window.into())));
        let mut transfer = Transfer {
            size,
            block_size,
            window,
            blocks: size / u64::from(block_size) + 1,
            options: (!granted.is_empty()).then(|| option_ack(&granted)),
            acked: None,
            sent: 0,
            highest: 0,
            resent: 0,
            tries: 1,
            most_tries: limits.tries.max(1),
            pace: Pace::begin(limits, request.timeout, now),
            repeated: false,
            owed: false,
        };
        if transfer.options.is_some() {
            return (transfer, Step::SendOptions);
        }
        transfer.sent = u64::from(transfer.window).min(transfer.blocks);
        let first = transfer.outstanding();
        (transfer, first)
    }

    /// The OACK packet; empty when the client asked for no option.
    pub fn options(&self) -> &[u8] {
        self.options.as_deref().unwrap_or_default()
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Blocks in all.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Whether every block was sent, and the client is known to have some.
    pub fn has_sent_all(&self) -> bool {
        self.sent == self.blocks && self.acked > Some(0)
    }

    /// Bytes in a full block.
    pub fn block_size(&self) -> u16 {
        self.block_size
    }

    /// Most blocks sent in one step.
    pub fn window(&self) -> u16 {
        self.window
    }

    /// Where a block lies in the file, and how long it is.
    pub fn extent(&self, block: u64) -> (u64, u16) {
        let start = (block - 1) * u64::from(self.block_size);
        let left = self.size.saturating_sub(start);
        (start, u16::try_from(left).unwrap_or(u16::MAX).min(self.block_size))
    }

    /// When [`Transfer::on_time`] is to be called, should nothing arrive.
    pub fn deadline(&self) -> Instant {
        self.pace.deadline()
    }

    /// Blocks and OACKs that were sent more than once.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Bytes that certainly arrived.
    pub fn arrived(&self) -> u64 {
        (self.acked.unwrap_or(0) * u64::from(self.block_size)).min(self.size)
    }

    /// Whether the client has answered at all.
    pub fn has_begun(&self) -> bool {
        self.acked.is_some()
    }

    /// A packet of the client.
    pub fn on_packet(&mut self, packet: FromClient, now: Instant) -> Step {
        match packet {
            FromClient::Error { code, message } => Step::End(End::Client { code, message }),
            FromClient::Ack(block) => self.on_ack(block, now),
        }
    }

    fn on_ack(&mut self, wire: u16, now: Instant) -> Step {
        let base = self.acked.unwrap_or(0);
        // The number is cut to 16 bits; at most a window is outstanding, so the distance tells which block is meant.
        let distance = u64::from(wire.wrapping_sub(base as u16));
        if distance > self.sent - base {
            return Step::Wait;
        }
        if distance == 0 && (self.acked.is_some() || self.options.is_none()) {
            return self.on_repetition(now);
        }
        self.owed = std::mem::take(&mut self.repeated);
        self.advance(base + distance, now)
    }

    /// An ACK that acknowledges nothing new.
    fn on_repetition(&mut self, now: Instant) -> Step {
        if std::mem::take(&mut self.owed) || self.repeated || self.window == 1 {
            return Step::Wait;
        }
        self.repeated = true;
        self.pace.resent(now);
        self.outstanding()
    }

    /// Everything up to `block` arrived: the next window.
    fn advance(&mut self, block: u64, now: Instant) -> Step {
        if block == self.blocks {
            self.acked = Some(block);
            return Step::End(End::Complete);
        }
        self.acked = Some(block);
        self.sent = (block + u64::from(self.window)).min(self.blocks);
        self.tries = 1;
        self.pace.answered(now);
        self.outstanding()
    }

    /// The deadline has come: sends again what is outstanding, or gives up. Does nothing before the deadline.
    pub fn on_time(&mut self, now: Instant) -> Step {
        if now < self.pace.deadline() {
            return Step::Wait;
        }
        if self.tries >= self.most_tries {
            if self.has_sent_all() {
                return Step::End(End::Unconfirmed { blocks: self.blocks });
            }
            let block = if self.sent == 0 { 0 } else { self.acked.unwrap_or(0) + 1 };
            return Step::End(End::Silent { block, blocks: self.blocks, tries: self.tries });
        }
        self.tries += 1;
        self.pace.expired(now);
        if self.sent == 0 {
            self.resent += 1;
            return Step::SendOptions;
        }
        self.outstanding()
    }

    fn outstanding(&mut self) -> Step {
        let acked = self.acked.unwrap_or(0);
        self.resent += self.highest.min(self.sent).saturating_sub(acked);
        self.highest = self.highest.max(self.sent);
        Step::Send { first: acked + 1, count: u16::try_from(self.sent - acked).unwrap_or(u16::MAX) }
    }
}

#[cfg(test)]
mod tests {
    //! A transfer against a client that follows the RFCs, over a wire that loses, doubles and delays.

    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::netboot::tftp::packet::{Mode, read_opening};

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning; tests only add to it")]
    fn start() -> Instant {
        Instant::now()
    }

    fn request(options: &str) -> ReadRequest {
        let options = options.replace([' ', '='], "\0");
        let text = format!("\0\u{1}x\0octet\0{options}{}", if options.is_empty() { "" } else { "\0" });
        let request = read_opening(text.as_bytes()).unwrap();
        assert_eq!(request.mode, Mode::Octet);
        request
    }

    fn ack(transfer: &mut Transfer, block: u16, now: Instant) -> Step {
        transfer.on_packet(FromClient::Ack(block), now)
    }

    #[test]
    fn without_options_data_comes_at_once_in_blocks_of_512() {
        let now = start();
        let (mut transfer, first) = Transfer::begin(&request(""), 1000, &Limits::default(), now);
        assert_eq!(first, Step::Send { first: 1, count: 1 });
        assert_eq!(transfer.extent(1), (0, 512));
        assert_eq!(ack(&mut transfer, 1, now), Step::Send { first: 2, count: 1 });
        assert_eq!(transfer.extent(2), (512, 488));
        assert_eq!(ack(&mut transfer, 2, now), Step::End(End::Complete));
        assert_eq!(transfer.arrived(), 1000);
    }

    #[test]
    fn options_are_granted_within_the_limits_and_nothing_else_is() {
        let now = start();
        let all = request("blksize=1468 tsize=0 timeout=3 windowsize=900 odd=1");
        let (mut transfer, first) = Transfer::begin(&all, 5_000, &Limits::default(), now);
        assert_eq!(first, Step::SendOptions);
        assert_eq!(
            transfer.options(),
            b"\0\x06blksize\x001428\0tsize\x005000\0timeout\x003\0windowsize\x0064\0"
        );
        assert_eq!(transfer.deadline(), now + Duration::from_secs(3));
        assert_eq!(ack(&mut transfer, 0, now), Step::Send { first: 1, count: 4 });
        let (transfer, _) = Transfer::begin(&request("blksize=512"), 0, &Limits::default(), now);
        assert_eq!(transfer.options(), b"\0\x06blksize\x00512\0");
    }

    #[test]
    fn a_file_that_fills_its_last_block_ends_in_an_empty_one() {
        let now = start();
        let (mut transfer, _) = Transfer::begin(&request(""), 512, &Limits::default(), now);
        assert_eq!(ack(&mut transfer, 1, now), Step::Send { first: 2, count: 1 });
        assert_eq!(transfer.extent(2), (512, 0));
        assert_eq!(ack(&mut transfer, 2, now), Step::End(End::Complete));
        let (mut empty, first) = Transfer::begin(&request(""), 0, &Limits::default(), now);
        assert_eq!((first, empty.extent(1)), (Step::Send { first: 1, count: 1 }, (0, 0)));
        assert_eq!(ack(&mut empty, 1, now), Step::End(End::Complete));
    }

    #[test]
    fn a_doubled_ack_sends_nothing_twice() {
        let now = start();
        let (mut transfer, _) = Transfer::begin(&request(""), 5000, &Limits::default(), now);
        assert_eq!(ack(&mut transfer, 1, now), Step::Send { first: 2, count: 1 });
        assert_eq!(ack(&mut transfer, 1, now), Step::Wait);
        assert_eq!(ack(&mut transfer, 1, now), Step::Wait);
        assert_eq!(ack(&mut transfer, 7, now), Step::Wait, "a block never sent");
    }

    #[test]
    fn a_size_probe_ends_the_transfer_at_once() {
        let now = start();
        let (mut transfer, _) = Transfer::begin(&request("tsize=0"), 5000, &Limits::default(), now);
        let abort = FromClient::Error { code: 8, message: "User aborted".into() };
        let end = transfer.on_packet(abort, now);
        assert_eq!(end, Step::End(End::Client { code: 8, message: "User aborted".into() }));
        assert!(!transfer.has_begun());
    }

    #[test]
    fn silence_is_met_with_growing_patience_and_an_end() {
        let mut now = start();
        let (mut transfer, _) = Transfer::begin(&request("tsize=0"), 5000, &Limits::default(), now);
        let mut waits = Vec::new();
        let end = loop {
            waits.push((transfer.deadline() - now).as_secs());
            assert_eq!(transfer.on_time(now), Step::Wait, "before the deadline nothing is sent");
            now = transfer.deadline();
            match transfer.on_time(now) {
                Step::SendOptions => {}
                step => break step,
            }
        };
        assert_eq!(waits, [1, 2, 4, 8, 8, 8, 8, 8, 8, 8]);
        assert_eq!(end, Step::End(End::Silent { block: 0, blocks: 10, tries: 10 }));
        assert_eq!(transfer.resent(), 9);
    }

    #[test]
    fn a_last_acknowledgement_that_never_comes_is_no_silence() {
        let mut now = start();
        let (mut transfer, _) = Transfer::begin(&request(""), 700, &Limits::default(), now);
        assert_eq!(ack(&mut transfer, 1, now), Step::Send { first: 2, count: 1 });
        let end = loop {
            now = transfer.deadline();
            match transfer.on_time(now) {
                Step::Send { first: 2, count: 1 } => {}
                step => break step,
            }
        };
        assert_eq!(end, Step::End(End::Unconfirmed { blocks: 2 }));
    }

    #[test]
    fn a_lost_first_block_of_a_window_is_sent_again_on_the_repeated_ack() {
        let now = start();
        let (mut transfer, _) = Transfer::begin(&request("windowsize=4"), 20_000, &Limits::default(), now);
        assert_eq!(ack(&mut transfer, 0, now), Step::Send { first: 1, count: 4 });
        assert_eq!(ack(&mut transfer, 4, now), Step::Send { first: 5, count: 4 });
        assert_eq!(ack(&mut transfer, 4, now), Step::Send { first: 5, count: 4 });
        assert_eq!(ack(&mut transfer, 4, now), Step::Wait, "once in a window");
        assert_eq!(ack(&mut transfer, 8, now), Step::Send { first: 9, count: 4 });
        assert_eq!(ack(&mut transfer, 8, now), Step::Wait, "the repetition that it owed");
        assert_eq!(ack(&mut transfer, 8, now), Step::Send { first: 9, count: 4 });
    }

    #[test]
    fn a_gap_inside_a_window_is_sent_from_the_gap_on() {
        let now = start();
        let (mut transfer, _) = Transfer::begin(&request("windowsize=4"), 20_000, &Limits::default(), now);
        ack(&mut transfer, 0, now);
        assert_eq!(ack(&mut transfer, 2, now), Step::Send { first: 3, count: 4 });
    }

    #[test]
    fn block_numbers_wrap_to_zero() {
        let now = start();
        let size = 512 * 70_000;
        let (mut transfer, mut step) = Transfer::begin(&request(""), size, &Limits::default(), now);
        let mut expected = 1;
        while let Step::Send { first, count: 1 } = step {
            assert_eq!(first, expected);
            expected += 1;
            step = ack(&mut transfer, first as u16, now);
        }
        assert_eq!(step, Step::End(End::Complete));
        assert_eq!(transfer.arrived(), size);
    }

    /// A client after RFC 7440: acknowledges a full window, the last block, and what it has when a block is out of turn.
    struct Client {
        window: u64,
        got: u64,
        in_window: u64,
        blocks: u64,
        begun: bool,
    }

    impl Client {
        fn receive(&mut self, block: u64) -> Option<u16> {
            self.begun = true;
            if block == self.got + 1 {
                self.got = block;
                self.in_window += 1;
                let full = self.in_window == self.window || block == self.blocks;
                return full.then(|| {
                    self.in_window = 0;
                    block as u16
                });
            }
            self.in_window = 0;
            Some(self.got as u16)
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Arrives,
        Lost,
        Doubled,
    }

    fn fates() -> impl Strategy<Value = Vec<Fate>> {
        let fate = prop_oneof![8 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::Doubled)];
        prop::collection::vec(fate, 400)
    }

    proptest! {
        /// However the wire behaves for a while, the file arrives whole, and what is sent stays in proportion.
        #[test]
        fn a_file_arrives_over_a_bad_wire(size in 0u64..20_000, window in 1u64..9, fates in fates()) {
            let mut now = start();
            let options = format!("blksize=128 windowsize={window}");
            let limits = Limits { tries: 200, ..Limits::default() };
            let (mut transfer, first) = Transfer::begin(&request(&options), size, &limits, now);
            let mut client =
                Client { window, got: 0, in_window: 0, blocks: size / 128 + 1, begun: false };
            let mut fates = fates.into_iter();
            let mut copies = || match fates.next() {
                None | Some(Fate::Arrives) => 1,
                Some(Fate::Lost) => 0,
                Some(Fate::Doubled) => 2,
            };
            let mut todo = VecDeque::from([first]);
            let mut sent = 0;
            loop {
                let step = todo.pop_front().unwrap_or_else(|| {
                    now = transfer.deadline();
                    transfer.on_time(now)
                });
                let mut acks: Vec<u16> = Vec::new();
                match step {
                    Step::SendOptions => {
                        if copies() > 0 && !client.begun {
                            acks.push(0);
                        }
                    }
                    Step::Send { first, count } => {
                        for block in first..first + u64::from(count) {
                            sent += 1;
                            for _ in 0..copies() {
                                acks.extend(client.receive(block));
                            }
                        }
                    }
                    Step::Wait => {}
                    Step::End(end) => {
                        prop_assert_eq!(end, End::Complete);
                        break;
                    }
                }
                for ack in acks {
                    for _ in 0..copies() {
                        todo.push_back(transfer.on_packet(FromClient::Ack(ack), now));
                    }
                }
                prop_assert!(sent < 20_000, "an avalanche");
            }
            prop_assert_eq!(client.got, client.blocks);
            prop_assert_eq!(transfer.arrived(), size);
        }

        #[test]
        fn any_acks_in_any_order_leave_a_transfer_within_its_file(
            acks in prop::collection::vec(any::<u16>(), 0..50),
            window in 1u16..100,
            size in 0u64..100_000_000,
        ) {
            let now = start();
            let (mut transfer, _) =
                Transfer::begin(&request(&format!("windowsize={window}")), size, &Limits::default(), now);
            for block in acks {
                if let Step::Send { first, count } = ack(&mut transfer, block, now) {
                    prop_assert!(count <= window && first >= 1);
                    let (start, length) = transfer.extent(first + u64::from(count) - 1);
                    prop_assert!(start + u64::from(length) <= size);
                }
            }
        }
    }
}
