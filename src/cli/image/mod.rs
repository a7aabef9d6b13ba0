//! `rootstock image …`: one file a verb.

mod decode;
mod file;
mod inspect;

use std::process::ExitCode;

use clap::Subcommand;

/// Verbs of `rootstock image`.
#[derive(Subcommand)]
pub enum Command {
    /// Look into an image file: format, partitions, volumes, checksums
    Inspect(inspect::Inspect),
    /// Write the bytes of the disk or volume in an image to a file or block device
    Decode(decode::Decode),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops the verb, with the file or image that it was about.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Inspect(inspect) => inspect.run(),
            Command::Decode(decode) => decode.run(),
        }
    }
}
