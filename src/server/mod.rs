//! server

pub mod library;
