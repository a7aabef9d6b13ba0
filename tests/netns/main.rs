//! Boot services on real ports between network namespaces, with clients of other projects.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod bsdp;
mod bsdp_flood;
mod clients;
mod dhcp;
mod dhcp_neighbours;
mod dhcp_site;
mod dhcp_states;
mod directory;
mod discovery;
mod dnssd;
mod doctor;
mod lab;
mod nbi;
#[path = "../it/nbi_set.rs"]
mod nbi_set;
mod network;
mod probe;
mod relay;
mod served;
mod stick;
mod tftp;
