//! `rootstock ldap …`: the directory that people sign in with.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::image::password;
use super::output::{Table, say, say_json};
use crate::api::admin::{LdapPerson, LdapState, SetLdapPassword, TestLdap};

/// Verbs of `rootstock ldap`.
#[derive(Subcommand)]
pub enum Command {
    /// How the directory is set up, and which group is which role
    #[command(after_help = "\
The directory itself stands in the settings, [ldap]; its bind password does not: rootstock ldap password.")]
    Show(Online<Show>),
    /// Set the password of the account that searches; it is kept sealed and never shown
    Password(Online<Password>),
    /// Ask the directory whom a name means, and what they may here
    #[command(
        after_help = "Exit code: 0 they have a role here · 1 they have none, or why the directory says nothing."
    )]
    Test(Online<Test>),
}

/// `rootstock ldap show`
#[derive(Args, Debug)]
pub struct Show {}

/// `rootstock ldap password`
#[derive(Args, Debug)]
pub struct Password {
    /// File with the password; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// `rootstock ldap test`
#[derive(Args, Debug)]
pub struct Test {
    /// As they would type it
    user: String,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Show(verb) => verb.run(before, show),
            Command::Password(verb) => verb.run(before, set_password),
            Command::Test(verb) => verb.run(before, test),
        }
    }
}

fn show(_: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let state: LdapState = appliance.client.get("/api/v1/ldap")?;
    if appliance.json {
        say_json(&state)?;
        return Ok(ExitCode::SUCCESS);
    }
    let bind = match (&state.bind_dn, state.password_set) {
        (None, _) => "anonymous".to_owned(),
        (Some(dn), true) => dn.clone(),
        (Some(dn), false) => format!("{dn}, whose password is not set: rootstock ldap password"),
    };
    say(format!("{} at {}, searched by {bind}", state.domain, state.url))?;
    let mut table = Table::new(["ROLE", "GROUP"]);
    for group in state.groups {
        table.row([group.role.to_string(), group.dn]);
    }
    table.print("no group has a role")?;
    Ok(ExitCode::SUCCESS)
}

fn set_password(verb: Password, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let password = password::new(verb.password_file.as_deref(), "the account that searches")?;
    let () = appliance.client.put("/api/v1/ldap/password", &SetLdapPassword { password })?;
    say("the password is set; try it: rootstock ldap test NAME")?;
    Ok(ExitCode::SUCCESS)
}

fn test(verb: Test, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let person: LdapPerson = appliance.client.post("/api/v1/ldap/test", &TestLdap { user: verb.user })?;
    let known = person.role.is_some();
    if appliance.json {
        say_json(&person)?;
    } else {
        let role = person.role.map_or("no role: in none of the groups".to_owned(), |role| role.to_string());
        say(format!("{} ({}), {role}", person.name, person.dn))?;
        for group in &person.groups {
            say(format!("  in {group}"))?;
        }
    }
    Ok(if known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
