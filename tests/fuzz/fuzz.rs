//! Looks for inputs that break a law: libFuzzer, led by coverage. `ROOTSTOCK_LAW` names the law.
//! `./dev fuzz` builds and runs it.
//!
//! Memory is part of each law: an allocator counts what one check holds at a time.

#![no_main]

mod laws;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::LazyLock;

use laws::{LAWS, Law};
use libfuzzer_sys::{Corpus, fuzz_target};

/// The system's allocator, which counts for its thread.
struct Counting;

thread_local! {
    /// Bytes held now, relative to the beginning of the check, and the most there were.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // No counter while a thread ends.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The law that was asked for. Without one the program lists them with their longest inputs, and ends.
static LAW: LazyLock<Law> = LazyLock::new(|| {
    let wanted = std::env::var("ROOTSTOCK_LAW").unwrap_or_else(|_| {
        LAWS.iter().for_each(|law| println!("{} {}", law.name, law.longest));
        std::process::exit(0)
    });
    let found = LAWS.into_iter().find(|law| law.name == wanted);
    found.unwrap_or_else(|| panic!("there is no law `{wanted}`"))
});

// An empty input first: what a law makes once and keeps is not counted.
fuzz_target!(init: (LAW.check)(&[]), |bytes: &[u8]| -> Corpus {
    let law = *LAW;
    if bytes.len() > law.longest {
        return Corpus::Reject;
    }
    HELD.set((0, 0));
    (law.check)(bytes);
    let (_, most) = HELD.get();
    assert!(most <= law.memory as isize, "{most} bytes were held at once, at most {} are due", law.memory);
    Corpus::Keep
});
