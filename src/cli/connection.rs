//! Which appliance a command talks to: the daemon on this machine through its Unix socket, or another one over HTTPS.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::kept::Kept;
use crate::client::{Client, appliance_address};
use crate::value::Secret;

/// Names the socket when `--socket` is not given.
const SOCKET_VARIABLE: &str = "ROOTSTOCK_SOCKET";

/// Where the socket is looked for when nothing names it: a service's run folder, then the default data folder.
const SOCKETS: [&str; 2] = ["/run/rootstock/rootstock.sock", "/var/lib/rootstock/rootstock.sock"];

/// Options that name the appliance. They may stand before the command or after it; after it wins.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which appliance")]
pub struct Connection {
    /// Socket of rootstockd on this machine [default: $ROOTSTOCK_SOCKET, else
    /// /run/rootstock/rootstock.sock or /var/lib/rootstock/rootstock.sock]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["server", "token_file", "ca"])]
    socket: Option<PathBuf>,
    /// Another appliance: https://10.0.0.2 or 10.0.0.2:8443
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// With --server: file with a token, where rootstock login is not wanted
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// With --server: certificate of the appliance's authority (its keys/ca.pem); kept by rootstock login
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Connection {
    /// These options, completed by those that stood before the command.
    fn or(self, before: &Connection) -> Connection {
        if self.socket.is_some() {
            return self;
        }
        let before = before.clone();
        let socket = before.socket.filter(|_| self.server.is_none());
        Connection {
            socket,
            server: self.server.or(before.server),
            token_file: self.token_file.or(before.token_file),
            ca: self.ca.or(before.ca),
        }
    }

    /// Whether the appliance is this machine, so that paths mean the same on both sides.
    pub fn is_local(&self) -> bool {
        self.server.is_none()
    }

    fn client(&self) -> anyhow::Result<Client> {
        let Some(server) = &self.server else {
            if self.token_file.is_some() || self.ca.is_some() {
                bail!("--token-file and --ca belong to another appliance: name it with --server");
            }
            return Ok(Client::unix(self.socket.clone().unwrap_or_else(default_socket)));
        };
        let address = appliance_address(server)?;
        let kept = Kept::read(&address)?;
        let token = match (&self.token_file, &kept) {
            (Some(file), _) => token_in(file)?,
            (None, Some(kept)) => kept.token.clone(),
            (None, None) => bail!(
                "nobody is signed in at {server}: rootstock login --server {server} --ca FILE, or give --token-file and --ca \
                 (copy keys/ca.pem from its data folder)"
            ),
        };
        Ok(Client::https(server, self.authority(kept.as_ref())?.as_bytes(), Some(token))?)
    }

    /// The authority of another appliance: named, or kept from the last log in.
    fn authority(&self, kept: Option<&Kept>) -> anyhow::Result<String> {
        match (&self.ca, kept) {
            (Some(file), _) => {
                fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
            }
            (None, Some(kept)) => Ok(kept.ca.clone()),
            (None, None) => bail!("--ca is missing: copy keys/ca.pem from the appliance's data folder"),
        }
    }

    /// Another appliance, before anybody is signed in there: its address, a connection to it, its authority.
    ///
    /// # Errors
    /// When none is named, or its authority is not known.
    pub fn stranger(self, before: &Connection) -> anyhow::Result<(String, Client, String)> {
        let connection = self.or(before);
        let Some(server) = &connection.server else {
            bail!(
                "on the appliance itself nobody signs in: its socket is the owner's; name another with --server"
            )
        };
        let address = appliance_address(server)?;
        let ca = connection.authority(Kept::read(&address)?.as_ref())?;
        Ok((address, Client::https(server, ca.as_bytes(), None)?, ca))
    }

    /// The appliance on this machine.
    ///
    /// # Errors
    /// Options that do not go together.
    pub fn here(self, before: &Connection) -> anyhow::Result<Client> {
        self.or(before).client()
    }

    /// Whether another appliance is named.
    pub fn is_elsewhere(&self, before: &Connection) -> bool {
        self.server.is_some() || (self.socket.is_none() && before.server.is_some())
    }
}

fn default_socket() -> PathBuf {
    if let Some(path) = env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()) {
        return path.into();
    }
    let known = SOCKETS.map(PathBuf::from);
    known.iter().find(|path| path.exists()).unwrap_or(&known[0]).clone()
}

fn token_in(path: &Path) -> anyhow::Result<Secret> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    match text.trim() {
        "" => bail!("{} has no token in it", path.display()),
        token => Ok(Secret::new(token)),
    }
}

/// A verb that talks to an appliance.
#[derive(Args, Debug)]
pub struct Online<V: Args> {
    #[command(flatten)]
    verb: V,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What a verb works with.
pub struct Appliance {
    /// Asks it.
    pub client: Client,
    /// Whether it is this machine.
    pub local: bool,
    /// Whether output is JSON.
    pub json: bool,
}

impl<V: Args> Online<V> {
    /// Connects as the options say and runs the verb.
    ///
    /// # Errors
    /// Options that do not go together, and whatever stops the verb.
    pub fn run(
        self,
        before: &Connection,
        verb: impl FnOnce(V, &Appliance) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        let connection = self.connection.or(before);
        let appliance =
            Appliance { client: connection.client()?, local: connection.is_local(), json: self.json };
        verb(self.verb, &appliance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(path: &str) -> Connection {
        Connection { socket: Some(path.into()), ..Connection::default() }
    }

    fn server(url: &str) -> Connection {
        Connection { server: Some(url.into()), ..Connection::default() }
    }

    #[test]
    fn what_stands_after_the_command_wins() {
        assert_eq!(socket("/a").or(&socket("/b")).socket, Some("/a".into()));
        assert_eq!(socket("/a").or(&server("x")).server, None);
        assert_eq!(server("x").or(&socket("/a")).socket, None);
        assert_eq!(Connection::default().or(&socket("/b")).socket, Some("/b".into()));
    }

    #[test]
    fn half_of_what_another_appliance_needs_is_refused_with_the_other_half() {
        let error = server("10.0.0.2").client().err().unwrap().to_string();
        assert!(error.contains("--token-file and --ca"), "{error}");
        let lonely = Connection { ca: Some("/x".into()), ..Connection::default() };
        assert!(lonely.client().err().unwrap().to_string().contains("--server"));
    }
}
