//! `rootstock`: the admin's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    rootstock::cli::main()
}
