//! Boot services on real ports between network namespaces, with clients of other projects.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod clients;
mod discovery;
mod doctor;
mod lab;
mod nbi;
#[path = "../it/nbi_set.rs"]
mod nbi_set;
mod probe;
mod served;
