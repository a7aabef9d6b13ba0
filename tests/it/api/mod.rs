//! The appliance from outside: runs, tokens, restarts, the library, the command line of the daemon.

pub mod appliance;
mod authoring;
mod binding;
mod bounds;
mod check;
mod cli;
mod compare;
pub mod daemon;
mod destination;
mod ends;
mod export;
mod library;
mod openapi;
mod ring;
mod robust;
mod run;
mod screen;
mod sequences;
mod share;
mod verdict;
