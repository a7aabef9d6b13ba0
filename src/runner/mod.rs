//! The program that a booted Mac runs: says who it is, asks for one action at a time, does it, reports.
pub mod format;
pub mod identity;
pub mod place;
pub mod rates;
pub mod script;
pub mod settings;
