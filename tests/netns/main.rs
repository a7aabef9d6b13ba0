//! Boot services on real ports between network namespaces, with clients of other projects.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod bsdp;
mod bsdp_flood;
mod clients;
mod dhcp;
mod dhcp_neighbours;
mod discovery;
mod lab;
mod served;
