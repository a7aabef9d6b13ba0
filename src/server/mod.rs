//! server

pub mod netboot;
