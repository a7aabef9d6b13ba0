//! What must hold for any bytes that a stranger sends, or an admin hands over. Each law takes an input and panics when it is broken.
//!
//! | law | input | holds for |
//! |---|---|---|
//! | `dhcp` | a datagram | packets are read within their bounds, replies are read back as written |
//! | `offer` | facts of the site, then a request | every answer obeys BSDP, PXE and the client's limits, or silence has a reason |
//! | `lease` | what clients of a DHCP server say, and time | no address is two clients', none is given that the plan has not |
//! | `list` | a list of images and a packet's room | the image list is read back by a client as it was meant |
//! | `tftp` | a packet to port 69 or of a transfer | requests are read within bounds, what is sent is well-formed |
//! | `transfer` | a read request, then ACKs and time | sends stay in proportion, only what was sent can arrive, it ends |
//! | `admission` | requests of several clients, then time | places are never more than there are, readers keep theirs |
//! | `path` | a TFTP path or what follows `/boot/` | nothing leads out of the boot folder |
//! | `nbi` | an NBImageInfo.plist | what is accepted fits its packets, and costs no more than it should |
//! | `volume` | a volume | it is read within bounds, and its map of used bytes covers it |
//! | `inventory` | a rule of a collection, and what a Mac says of itself | rules are read within bounds, faults lie in their text, inventories are read back as written |
//! | `bzip2` | a bzip2 stream, or a text and how it is packed | our decoder and the library agree, texts come back |
//! | `source` | an image file | it is decoded within bounds, in order, and reads the same wherever one looks |
//!
//! Two programs use them: `fuzz.rs` looks for inputs that break one, `replay.rs` is an ordinary test over the kept corpus.

mod admission;
mod bzip2;
mod bzip2_writer;
mod dhcp;
mod input;
mod inventory;
mod lease;
mod list;
mod nbi;
mod offer;
mod path;
mod source;
mod tftp;
mod transfer;
mod volume;

#[allow(unused_imports, reason = "the test of the laws' own tools")]
pub use offer::{entries, tlv};

/// One law.
#[derive(Clone, Copy)]
pub struct Law {
    /// Name of the law and of its folder in `corpus/`.
    pub name: &'static str,
    /// Longest input worth trying.
    #[allow(dead_code, reason = "only the fuzzer makes inputs")]
    pub longest: usize,
    /// Most memory that one check may hold at a time, in bytes, inputs and the law's own included.
    #[allow(dead_code, reason = "only the fuzzer counts memory")]
    pub memory: usize,
    /// Panics when the law is broken.
    pub check: fn(&[u8]),
}

/// All laws.
pub const LAWS: [Law; 13] = [
    Law { name: "dhcp", longest: 1500, memory: 256 << 10, check: dhcp::check },
    Law { name: "offer", longest: 1024, memory: 256 << 10, check: offer::check },
    Law { name: "lease", longest: 512, memory: 128 << 10, check: lease::check },
    Law { name: "list", longest: 2048, memory: 256 << 10, check: list::check },
    Law { name: "tftp", longest: 1600, memory: 64 << 10, check: tftp::check },
    Law { name: "transfer", longest: 512, memory: 64 << 10, check: transfer::check },
    Law { name: "admission", longest: 512, memory: 64 << 10, check: admission::check },
    Law { name: "path", longest: 1024, memory: 64 << 10, check: path::check },
    Law { name: "nbi", longest: 8192, memory: 4 << 20, check: nbi::check },
    Law { name: "volume", longest: 160 << 10, memory: 64 << 20, check: volume::check },
    Law { name: "inventory", longest: 8192, memory: 64 << 20, check: inventory::check },
    Law { name: "bzip2", longest: 16 << 10, memory: 64 << 20, check: bzip2::check },
    Law { name: "source", longest: 64 << 10, memory: 256 << 20, check: source::check },
];

/// A line for people: short, and free of control characters that a stranger could write into a log or a terminal.
fn assert_fit_for_a_log(text: &str) {
    assert!(text.len() <= 2000, "a reason of {} bytes: {text}", text.len());
    assert!(!text.chars().any(char::is_control), "control characters in a reason: {text:?}");
}
