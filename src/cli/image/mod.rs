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
    ///
    /// Works without a daemon, and reads all of FILE to verify its checksums. A compressed raw image is unpacked into a
    /// temporary file without a name, in $TMPDIR or else /var/tmp. Exit code 1 when the image is damaged, cut off,
    /// unknown or of a kind that is not read.
    Inspect(inspect::Inspect),
    /// Write the bytes of the disk or volume in an image to a file or block device
    ///
    /// OUT may be a file: it becomes sparse, and appears, or is replaced, only when it is complete. Or a block device,
    /// which is overwritten from its first byte on. Checksums in FILE are verified. On any error, exit code 1, and a
    /// file OUT stays as it was.
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
