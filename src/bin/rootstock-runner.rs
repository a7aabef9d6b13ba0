//! `rootstock-runner`: the program that a booted Mac runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    rootstock::runner::main()
}
