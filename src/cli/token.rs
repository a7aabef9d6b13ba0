//! `rootstock token …`: tokens for programs.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, say, say_json, stamp};
use crate::api::admin::{ApiToken, CreateToken, CreatedToken};
use crate::value::Role;

/// Verbs of `rootstock token`.
#[derive(Subcommand)]
pub enum Command {
    /// Make a token; it is printed this once
    #[command(after_help = "\
A token may never more than its account may at the time, and ends with it.\n\
  rootstock token create backup --user ana --role auditor --days 365 > token\n\
  rootstock token create upload --only images --only uploads --only jobs\n\
  rootstock --server https://10.0.0.2 --ca ca.pem --token-file token status")]
    Create(Online<Create>),
    /// Tokens, and when they were used last: one's own; an owner sees all
    List(Online<List>),
    /// Take a token back
    Revoke(Online<Revoke>),
}

/// `rootstock token create`
#[derive(Args, Debug)]
pub struct Create {
    /// What it is for
    name: String,
    /// Whose it is [default: one's own; on the appliance it must be said]
    #[arg(long, value_name = "ACCOUNT")]
    user: Option<String>,
    /// What it may at most [default: what the account may]
    #[arg(long)]
    role: Option<Role>,
    /// Only this part of the API, `images` for /api/v1/images…; may be given several times
    #[arg(long, value_name = "AREA")]
    only: Vec<String>,
    /// Days after which it ends [default: when it is revoked]
    #[arg(long, value_name = "N")]
    days: Option<u32>,
}

/// `rootstock token list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock token revoke`
#[derive(Args, Debug)]
pub struct Revoke {
    /// Its number, as `rootstock token list` shows it
    id: i64,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Create(verb) => verb.run(before, create),
            Command::List(verb) => verb.run(before, list),
            Command::Revoke(verb) => verb.run(before, revoke),
        }
    }
}

fn create(verb: Create, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let Create { name, user, role, only, days } = verb;
    let body = CreateToken { name, user, role, areas: only, days };
    let made: CreatedToken = appliance.client.post("/api/v1/tokens", &body)?;
    if appliance.json {
        say_json(&made)?;
    } else {
        // Alone on standard output: it goes into a file or a variable.
        say(made.token.expose())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let tokens: Vec<ApiToken> = appliance.client.get("/api/v1/tokens")?;
    if appliance.json {
        say_json(&tokens)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["ID", "USER", "NAME", "ROLE", "ONLY", "EXPIRES", "USED LAST", "FROM"]);
    for token in tokens {
        let only = if token.areas.is_empty() { "all".to_owned() } else { token.areas.join(",") };
        table.row([
            token.id.to_string(),
            token.user,
            token.name,
            token.role.to_string(),
            only,
            token.expires_ms.map_or("never".to_owned(), stamp),
            token.used_ms.map_or("never".to_owned(), stamp),
            token.used_from.unwrap_or_default(),
        ]);
    }
    table.print("no tokens: rootstock token create NAME")?;
    Ok(ExitCode::SUCCESS)
}

fn revoke(verb: Revoke, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let revoked: ApiToken = appliance.client.remove(&format!("/api/v1/tokens/{}", verb.id))?;
    if appliance.json {
        say_json(&revoked)?;
    } else {
        say(format!("the token {} of {} is revoked", revoked.name, revoked.user))?;
    }
    Ok(ExitCode::SUCCESS)
}
