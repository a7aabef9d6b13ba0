//! `rootstock user …`: accounts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::image::password;
use super::output::{Table, say, say_json, segment, stamp};
use crate::api::admin::{ChangeUser, CreateUser, SetPassword, SetUp, SetupState, SignedInSession, User};
use crate::client::Client;
use crate::value::{Role, Secret};

/// Verbs of `rootstock user`.
#[derive(Subcommand)]
pub enum Command {
    /// Make the first owner, where nobody has an account yet
    #[command(after_help = "\
On the appliance itself no code is needed. Elsewhere it is asked for: the log of the appliance shows it at each start, as long as \
there is no account (journalctl -u rootstockd).\n\
  rootstock user setup ana\n\
  rootstock user setup ana --server https://10.0.0.2 --ca ca.pem")]
    Setup(Setup),
    /// Make an account
    #[command(after_help = "\
technician: starts what is deployed, answers, goes on, stops · auditor: reads, the audit log too · administrator: changes images, \
sequences, deployments · owner: accounts, secrets, keys.\n\
The password is asked for, or read from --password-file; it never stands on the command line.")]
    Add(Online<Add>),
    /// Accounts, and when they were used last
    List(Online<List>),
    /// One account
    Show(Online<Show>),
    /// Give an account another role; its sessions end
    SetRole(Online<SetRole>),
    /// Lock an account: its sessions end at once, its tokens are good for nothing until it is enabled
    Disable(Online<Disable>),
    /// Unlock an account
    Enable(Online<Enable>),
    /// Set a new password; the account's sessions end
    Password(Online<Password>),
    /// Remove an account with its sessions and tokens; what it did stays on record
    Remove(Online<Remove>),
    /// Who is signed in
    Sessions(Online<Sessions>),
    /// End all sessions of an account, at Macs too
    SignOut(Online<SignOut>),
}

/// `rootstock user setup`
#[derive(Args, Debug)]
pub struct Setup {
    /// Name of the account
    name: String,
    /// Name of the person
    #[arg(long, value_name = "TEXT", default_value = "")]
    full_name: String,
    /// File with the password; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with the set-up code; without it, and with --server, it is asked for
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// `rootstock user add`
#[derive(Args, Debug)]
pub struct Add {
    /// Name of the account: small letters, digits, dots, dashes
    name: String,
    /// technician, auditor, administrator or owner
    #[arg(long)]
    role: Role,
    /// Name of the person
    #[arg(long, value_name = "TEXT", default_value = "")]
    full_name: String,
    /// File with the password; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// `rootstock user list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock user show`
#[derive(Args, Debug)]
pub struct Show {
    /// The account
    name: String,
}

/// `rootstock user set-role`
#[derive(Args, Debug)]
pub struct SetRole {
    /// The account
    name: String,
    /// technician, auditor, administrator or owner
    role: Role,
}

/// `rootstock user disable`
#[derive(Args, Debug)]
pub struct Disable {
    /// The account
    name: String,
}

/// `rootstock user enable`
#[derive(Args, Debug)]
pub struct Enable {
    /// The account
    name: String,
}

/// `rootstock user password`
#[derive(Args, Debug)]
pub struct Password {
    /// The account [default: one's own]
    name: Option<String>,
    /// File with the new password; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// For one's own: file with the old password; without it, it is asked for
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    old_password_file: Option<PathBuf>,
}

/// `rootstock user remove`
#[derive(Args, Debug)]
pub struct Remove {
    /// The account
    name: String,
}

/// `rootstock user sessions`
#[derive(Args, Debug)]
pub struct Sessions {}

/// `rootstock user sign-out`
#[derive(Args, Debug)]
pub struct SignOut {
    /// The account
    name: String,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Setup(verb) => setup(verb, before),
            Command::Add(verb) => verb.run(before, add),
            Command::List(verb) => verb.run(before, list),
            Command::Show(verb) => verb.run(before, |verb, appliance| {
                show(&appliance.client.get::<User>(&path(&verb.name))?, appliance)
            }),
            Command::SetRole(verb) => verb.run(before, |verb, appliance| {
                change(&verb.name, ChangeUser { role: Some(verb.role), ..ChangeUser::default() }, appliance)
            }),
            Command::Disable(verb) => verb.run(before, |verb, appliance| {
                change(&verb.name, ChangeUser { disabled: Some(true), ..ChangeUser::default() }, appliance)
            }),
            Command::Enable(verb) => verb.run(before, |verb, appliance| {
                change(&verb.name, ChangeUser { disabled: Some(false), ..ChangeUser::default() }, appliance)
            }),
            Command::Password(verb) => verb.run(before, set_password),
            Command::Remove(verb) => verb.run(before, |verb, appliance| {
                appliance.client.delete(&path(&verb.name))?;
                told(appliance, &verb.name, "removed")
            }),
            Command::Sessions(verb) => verb.run(before, sessions),
            Command::SignOut(verb) => verb.run(before, |verb, appliance| {
                appliance.client.delete(&format!("{}/sessions", path(&verb.name)))?;
                told(appliance, &verb.name, "signed out everywhere")
            }),
        }
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/users/{}", segment(name))
}

fn setup(verb: Setup, before: &Connection) -> anyhow::Result<ExitCode> {
    let Setup { name, full_name, password_file, code_file, connection } = verb;
    if !connection.is_elsewhere(before) {
        let client = connection.here(before)?;
        let state: SetupState = client.get("/api/v1/setup")?;
        anyhow::ensure!(state.needed, "there are accounts already: rootstock user add {name} --role owner");
        let password = password::new(password_file.as_deref(), &name)?;
        let body = CreateUser { name, full_name, role: Role::Owner, password };
        return first(client.post("/api/v1/users", &body)?);
    }
    let (_, client, _): (String, Client, String) = connection.stranger(before)?;
    let state: SetupState = client.get("/api/v1/setup")?;
    anyhow::ensure!(state.needed, "there are accounts already: sign in with rootstock login");
    let code: Secret = match &code_file {
        Some(file) => password::read(file)?,
        None => password::ask("Set-up code")?,
    };
    let password = password::new(password_file.as_deref(), &name)?;
    first(client.post("/api/v1/setup", &SetUp { code, name, full_name, password })?)
}

fn first(user: User) -> anyhow::Result<ExitCode> {
    say(format!("{} is the owner of this appliance", user.name))?;
    Ok(ExitCode::SUCCESS)
}

fn add(verb: Add, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let Add { name, role, full_name, password_file } = verb;
    let password = password::new(password_file.as_deref(), &name)?;
    let user: User =
        appliance.client.post("/api/v1/users", &CreateUser { name, full_name, role, password })?;
    show(&user, appliance)
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let users: Vec<User> = appliance.client.get("/api/v1/users")?;
    if appliance.json {
        say_json(&users)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["NAME", "ROLE", "STATE", "SIGNED IN LAST", "PERSON"]);
    for user in users {
        let state = if user.disabled { "disabled" } else { "" };
        let last = user.signed_in_ms.map_or("never".to_owned(), stamp);
        table.row([user.name, user.role.to_string(), state.to_owned(), last, user.full_name]);
    }
    table.print("no accounts: rootstock user setup NAME")?;
    Ok(ExitCode::SUCCESS)
}

fn show(user: &User, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(user)?;
        return Ok(ExitCode::SUCCESS);
    }
    let from = user.directory.as_ref().map_or(String::new(), |name| format!(", of the directory {name}"));
    let state = if user.disabled { ", disabled" } else { "" };
    say(format!("{}, {}{state}{from}", user.name, user.role))?;
    Ok(ExitCode::SUCCESS)
}

fn change(name: &str, change: ChangeUser, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    show(&appliance.client.patch::<_, User>(&path(name), &change)?, appliance)
}

fn set_password(verb: Password, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let file = verb.password_file.as_deref();
    let Some(name) = verb.name else {
        let old = match &verb.old_password_file {
            Some(file) => password::read(file)?,
            None => password::ask("Old password")?,
        };
        let body = SetPassword { old: Some(old), new: password::new(file, "your account")? };
        let () = appliance.client.put("/api/v1/session/password", &body)?;
        return told(appliance, "your account", "given a new password; sign in again: rootstock login");
    };
    let body = SetPassword { old: None, new: password::new(file, &name)? };
    let () = appliance.client.put(&format!("{}/password", path(&name)), &body)?;
    told(appliance, &name, "given a new password")
}

fn sessions(_: Sessions, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let sessions: Vec<SignedInSession> = appliance.client.get("/api/v1/sessions")?;
    if appliance.json {
        say_json(&sessions)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["USER", "HOW", "FROM", "SINCE", "USED LAST", "ENDS"]);
    for session in sessions {
        table.row([
            session.user,
            session.how,
            session.from,
            stamp(session.began_ms),
            stamp(session.used_ms),
            stamp(session.ends_ms),
        ]);
    }
    table.print("nobody is signed in")?;
    Ok(ExitCode::SUCCESS)
}

fn told(appliance: &Appliance, name: &str, what: &str) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(&serde_json::json!({ "user": name, "done": what }))?;
    } else {
        say(format!("{name} is {what}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
