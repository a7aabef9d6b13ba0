//! The admin's command line: words in, words out. One file a noun, one struct a verb.
//!
//! Owns: arguments, help texts, what is printed, exit codes. Talks to the daemon through [`crate::client`]
//! and works on image files and media itself. Must not know: SQL, handlers, how a run is decided.
//!
//! Exit codes: 0 done · 1 failed, with one `error:` line that names the thing · 2 the command line was wrong.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod image;
pub mod media;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Network boot and imaging for Macs: images, task sequences, deployments, runs.
#[derive(Parser)]
#[command(name = "rootstock", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Disk images: look into files, and keep a library of them
    #[command(subcommand)]
    Image(image::Command),
    /// Boot files that Macs are started with
    #[command(subcommand)]
    Media(media::Command),
}

/// Runs the command line of this process and prints its error, if any.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Image(command) => command.run(),
        Command::Media(command) => command.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
