//! The admin's command line: words in, words out. One file a noun, one struct a verb.
//!
//! Owns: arguments, help texts, what is printed, exit codes. Talks to the daemon through [`crate::client`]
//! and works on image files and media itself. Must not know: SQL, handlers, how a run is decided.
//!
//! Exit codes: 0 done · 1 failed, with one `error:` line that names the thing · 2 the command line was wrong.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod audit;
pub mod binding;
pub mod client;
pub mod collection;
mod connection;
pub mod deploy;
pub mod device;
pub mod doctor;
mod finding;
pub mod history;
pub mod image;
mod interfaces;
mod kept;
pub mod key;
pub mod ldap;
pub mod lease;
pub mod login;
pub mod media;
pub mod model;
pub mod nbi;
pub mod netboot;
mod output;
mod progress;
pub mod receipt;
pub mod run;
mod screen;
pub mod sequence;
pub mod share;
pub mod status;
pub mod store;
pub mod token;
pub mod transfer;
pub mod upload;
pub mod user;
pub mod variable;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use connection::{Connection, Online};

/// Network boot and imaging for Macs: images, task sequences, deployments, runs.
#[derive(Parser)]
#[command(name = "rootstock", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
From nothing to an imaged Mac:
  rootstock image import lab.dmg --name lab-mac
  rootstock sequence apply lab-mac.yaml
  rootstock deploy \"Lab Mac\" --to \"Unknown Macs\" --purpose available
  (boot the Mac with N held)
  rootstock run watch --wait

Exit codes: 0 done · 1 failed, with a line that begins with `error:` · 2 the command line was wrong";

#[derive(Subcommand)]
enum Command {
    /// Disk images: look into files, and keep a library of them
    #[command(subcommand)]
    Image(image::Command),
    /// The library as a whole: find damage in it and mend it
    #[command(subcommand)]
    Store(store::Command),
    /// Task sequences: what is done to a Mac, step by step
    #[command(subcommand)]
    Sequence(sequence::Command),
    /// Let the Macs of a collection run a sequence
    #[command(after_help = "\
A Mac starts what is deployed to it when it boots from the appliance. Every run takes the sequence's newest revision. The same \
sequence, collection and purpose again changes the terms. Why a Mac is offered what, and what not: rootstock device offers SERIAL\n\
Available in the nights of one week:\n  \
rootstock deploy \"Lab Mac\" --to Lab --purpose available --from \"2026-12-01 18:00\" --expires 2026-12-08 --zone Europe/Berlin \
--window \"mon-fri 18:00-06:00, sat,sun 00:00-24:00\"")]
    Deploy(Online<deploy::Deploy>),
    /// Deployments: what is deployed to whom
    #[command(subcommand)]
    Deployment(deploy::Command),
    /// Collections: sets of Macs
    #[command(subcommand)]
    Collection(collection::Command),
    /// Runs: what Macs are doing and have done
    #[command(subcommand)]
    Run(run::Command),
    /// Macs as they described themselves
    #[command(subcommand)]
    Device(device::Devices),
    /// Variables of Macs and collections, for the sequences that run there
    #[command(subcommand)]
    Variable(variable::Command),
    /// Network clients: who asked for what, what was answered, and why not
    #[command(subcommand)]
    Client(client::Clients),
    /// Addresses that the appliance's own DHCP server gave
    #[command(subcommand)]
    Lease(lease::Command),
    /// TFTP transfers that run now: how far they are, and an end to one that hangs
    #[command(subcommand)]
    Transfer(transfer::Command),
    /// Keys that the appliance signs manifests and receipts with
    #[command(subcommand)]
    Key(key::Command),
    /// Receipts: what was put on which Mac, signed
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Uploads: image files on their way into the library
    #[command(subcommand)]
    Upload(upload::Command),
    /// Boot files that Macs are started with
    #[command(subcommand)]
    Media(media::Command),
    /// The way of a Mac through the network, walked from here
    #[command(subcommand)]
    Netboot(netboot::Command),
    /// What a Mac is, and how it can be imaged: N key, USB stick, or Apple's tools
    Model(model::Show),
    /// Look for what keeps Macs from starting: ports, network, firewall, boot files, certificates
    #[command(after_help = "\
Run it as root on the appliance, beside the running daemon. Each line is ok, warning or FAILS, with what to do; exit code 1 when \
something fails.")]
    Doctor(Online<doctor::Doctor>),
    /// Boot sets: .nbi folders that Macs see in their picker
    #[command(subcommand)]
    Nbi(nbi::Command),
    /// Versions, settings, logs and timelines without secrets, as one file for whoever helps
    #[command(after_help = "\
The file holds names of Macs, sequences and people, and no value that the appliance knows to be secret.")]
    ProblemReport(Online<history::Problem>),
    /// Sign in at another appliance, so that later commands need no token
    Login(login::Login),
    /// Leave another appliance
    Logout(login::Logout),
    /// Who one is for the appliance, and what one may
    Whoami(Online<login::WhoAmI>),
    /// Accounts: who may do what
    #[command(subcommand)]
    User(user::Command),
    /// Tokens for programs
    #[command(subcommand)]
    Token(token::Command),
    /// The directory that people sign in with (LDAP, Active Directory)
    #[command(subcommand)]
    Ldap(ldap::Command),
    /// SMB shares that captures are written to
    #[command(subcommand)]
    Share(share::Command),
    /// Who did what, in a log that shows when a line is missing
    #[command(subcommand)]
    Audit(audit::Command),
    /// How the appliance stands
    Status(Online<status::Show>),
}

impl Command {
    fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Image(command) => command.run(before),
            Command::Store(command) => command.run(before),
            Command::Sequence(command) => command.run(before),
            Command::Deploy(verb) => deploy::deploy(verb, before),
            Command::Deployment(command) => command.run(before),
            Command::Collection(command) => command.run(before),
            Command::Run(command) => command.run(before),
            Command::Device(command) => command.run(before),
            Command::Variable(command) => command.run(before),
            Command::Client(command) => command.run(before),
            Command::Lease(command) => command.run(before),
            Command::Transfer(command) => command.run(before),
            Command::Key(command) => command.run(before),
            Command::Receipt(command) => command.run(before),
            Command::Upload(command) => command.run(before),
            Command::Media(command) => command.run(),
            Command::Netboot(command) => command.run(),
            Command::Model(verb) => model::model(verb),
            Command::Doctor(verb) => doctor::doctor(verb, before),
            Command::Nbi(command) => command.run(before),
            Command::ProblemReport(verb) => history::problem(verb, before),
            Command::Login(verb) => login::login(verb, before),
            Command::Logout(verb) => login::logout(verb, before),
            Command::Whoami(verb) => login::who_am_i(verb, before),
            Command::User(command) => command.run(before),
            Command::Token(command) => command.run(before),
            Command::Ldap(command) => command.run(before),
            Command::Share(command) => command.run(before),
            Command::Audit(command) => command.run(before),
            Command::Status(verb) => status::status(verb, before),
        }
    }
}

/// Runs the command line of this process and prints its error, if any.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.run(&arguments.connection) {
        Ok(code) => code,
        // `rootstock run list | head -1`: nobody is left to read the rest.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<output::Unread>().is_some()
        && error
            .root_cause()
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    fn every(command: &clap::Command, path: &str, seen: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            seen.push((path.clone(), sub.clone()));
            every(sub, &path, seen);
        }
    }

    #[test]
    fn every_command_and_every_argument_says_what_it_is() {
        let mut commands = Vec::new();
        every(&Arguments::command(), "rootstock", &mut commands);
        assert!(commands.len() > 20, "{}", commands.len());
        for (path, command) in commands {
            assert!(command.get_about().is_some(), "{path} has no description");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} has no description", argument.get_id());
            }
        }
    }
}
