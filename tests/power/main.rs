//! `kill -9`, power cuts and full disks over everything that changes the library. Needs root and FUSE.
//!
//! `disk` records what reaches a disk and rebuilds it as a power cut leaves it, `appliance` runs the real programs, `work` says
//! what is done and what must be true afterwards, whenever it ended. `faults` breaks things at the steps of a run, `thirty` is that
//! run and what must be true of it, `mac` its Mac. Counts: `ROOTSTOCK_KILLS`, `ROOTSTOCK_CUTS`, `ROOTSTOCK_FAULTS`; where the dice
//! begin: `ROOTSTOCK_SEED`, `ROOTSTOCK_FAULT_SEED`.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod appliance;
mod cut;
mod disk;
mod faults;
mod full;
mod kill;
mod mac;
mod mounted;
mod mounts;
mod random;
mod thirty;
mod work;

/// A number that the environment may set.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
