//! Integration tests that need no root: real server on port 0, temporary folders, real files.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod api;
mod client;
mod store;
