//! `rootstock-runner`: the program that a booted Mac runs.

fn main() {}
