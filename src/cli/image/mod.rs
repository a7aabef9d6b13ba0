//! `rootstock image …`: one file a verb.

use std::process::ExitCode;

use clap::Subcommand;

/// Verbs of `rootstock image`.
#[derive(Subcommand)]
pub enum Command {}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops the verb, with the file or image that it was about.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {}
    }
}
