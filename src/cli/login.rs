//! `rootstock login`, `logout`, `whoami`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::connection::{Connection, Online};
use super::image::password;
use super::kept::Kept;
use super::output::{say, say_json, stamp};
use crate::api::admin::{self, BeginSession, BegunSession};
use crate::client::appliance_address;

/// `rootstock login`
#[derive(Args, Debug)]
#[command(after_help = "\
The session is kept in ~/.local/state/rootstock/sessions.json, readable by you only, with the certificate of the appliance: later \
commands need --server only.\n\
  rootstock login --server https://10.0.0.2 --ca ca.pem --user ana\n\
  rootstock --server https://10.0.0.2 run list")]
pub struct Login {
    /// Name of the account [default: that of this machine's account]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// `local`, or the directory's domain [default: wherever the name is found]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// File with the password; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// `rootstock logout`
#[derive(Args, Debug)]
pub struct Logout {
    #[command(flatten)]
    connection: Connection,
}

/// `rootstock whoami`
#[derive(Args, Debug)]
pub struct WhoAmI {}

/// Signs in at another appliance.
///
/// # Errors
/// Whatever stops it.
pub fn login(verb: Login, before: &Connection) -> anyhow::Result<ExitCode> {
    let (address, client, ca) = verb.connection.stranger(before)?;
    let name = match verb.user {
        Some(name) => name,
        None => std::env::var("USER").context("say who you are: --user NAME")?,
    };
    let password = match &verb.password_file {
        Some(file) => password::read(file)?,
        None => password::ask(&format!("Password of {name} at {address}"))?,
    };
    let wanted = BeginSession { domain: verb.domain, name, password };
    let begun: BegunSession = client.post("/api/v1/session", &wanted)?;
    let who = begun.who;
    Kept { token: begun.token, name: who.name.clone(), ca, ends_ms: begun.ends_ms }.write(&address)?;
    say(format!(
        "{} is signed in at {address}, {}, until {} at the latest",
        who.name,
        who.role,
        stamp(begun.ends_ms)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Ends the session at another appliance. It is forgotten here whatever the appliance says.
///
/// # Errors
/// Whatever stops it.
pub fn logout(verb: Logout, before: &Connection) -> anyhow::Result<ExitCode> {
    let (address, client, _) = verb.connection.stranger(before)?;
    let Some(kept) = Kept::forget(&appliance_address(&address)?)? else {
        bail!("nobody is signed in at {address}");
    };
    match client.with_token(kept.token).delete("/api/v1/session") {
        // It had ended before.
        Err(error) if error.status() == Some(401) => {}
        ended => ended.context("forgotten here, but not ended there: it ends when it has idled")?,
    }
    say(format!("{} is signed out at {address}", kept.name))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints who one is.
///
/// # Errors
/// Whatever stops it.
pub fn who_am_i(verb: Online<WhoAmI>, before: &Connection) -> anyhow::Result<ExitCode> {
    verb.run(before, |_, appliance| {
        let who: admin::WhoAmI = appliance.client.get("/api/v1/session")?;
        if appliance.json {
            say_json(&who)?;
        } else {
            say(format!("{}, {}", who.shown, who.role))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
