//! Accounts on a real server: at the Mac, on the page, by token, on record, from a directory.

mod access;
mod audit;
mod ldap;
mod page;
mod token;
mod walk;
mod wizard;

use std::process::Command;

use rootstock::api::admin::{BeginSession, BegunSession, CreateUser, User};
use rootstock::client::{Client, ClientError};
use rootstock::value::{Role, Secret};

use crate::api::appliance::Appliance;

/// Good enough for all of them.
pub const PASSWORD: &str = "correct horse";

/// An account of the appliance's own.
pub fn add_user(appliance: &Appliance, name: &str, role: Role) -> User {
    let body =
        CreateUser { name: name.into(), full_name: String::new(), role, password: Secret::new(PASSWORD) };
    appliance.admin().post("/api/v1/users", &body).unwrap()
}

/// Signs in over the network.
pub fn sign_in(appliance: &Appliance, name: &str, password: &str) -> Result<BegunSession, ClientError> {
    let wanted = BeginSession { domain: None, name: name.into(), password: Secret::new(password) };
    appliance.network(None).post("/api/v1/session", &wanted)
}

/// Over the network, signed in.
pub fn as_user(appliance: &Appliance, name: &str) -> Client {
    let begun = sign_in(appliance, name, PASSWORD).unwrap();
    appliance.network(Some(&begun.token))
}

/// Exit code, standard output and error of `rootstock`, with a home of its own.
pub fn rootstock(home: &std::path::Path, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    let output = command.args(words).env("XDG_STATE_HOME", home).env("USER", "nobody").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}
