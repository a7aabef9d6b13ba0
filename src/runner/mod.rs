//! The program that a booted Mac runs: says who it is, asks for one action at a time, does it, reports.
pub mod clock;
pub mod failure;
pub mod format;
pub mod identity;
pub mod link;
pub mod place;
pub mod rates;
pub mod receipt;
pub mod report;
pub mod restart;
pub mod script;
pub mod settings;
pub mod wizard;
