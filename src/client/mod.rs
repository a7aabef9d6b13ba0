//! One request to the appliance, one typed answer: over HTTPS with the appliance's own CA, or over its Unix socket.
//!
//! Owns: connections, time-outs, repeating what may be repeated, resuming ranges, bounds on answers, readable errors.
//! Must not know: what the answers are used for; disks; terminals.
//!
//! | file | what |
//! |---|---|
//! | `tls` | roots, cipher order for the processor at hand |
//! | `socket` | HTTP over a Unix socket |
//! | `error` | what went wrong, and what to do |
//! | `request` | the requests |
//! | `upload` | resumable uploads (tus) |
//! | `frames` | frames of a restore, from packs on the appliance |
//! | `capture` | frames of a capture, to the appliance |
//! | `dhcp` | the one that is no HTTP: asks on a wire as a DHCP client, and says who answered |
//! | `tftp`, `plain` | boot files as firmware and iPXE fetch them |
//! | `certificate` | how long a certificate is valid |
//! | `hook` | webhooks: programs of others |
//! | `dnssd` | appliances that announce themselves |
//! | `clock` | the appliance's time, trusted through the CA even when our own clock is wrong |

mod capture;
pub mod certificate;
mod clock;
pub mod dhcp;
mod dnssd;
mod error;
mod frames;
#[cfg(feature = "server")]
pub mod hook;
pub mod plain;
mod request;
mod socket;
pub mod tftp;
mod tls;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use ureq::config::{Config, ConfigBuilder};
use ureq::typestate::AgentScope;
use ureq::{Agent, Proxy};

use crate::value::Secret;

pub use capture::{HttpLibrary, SendError};
pub use clock::{ClockError, appliance_time};
pub use dnssd::{Discovery, DiscoveryError, Found, Verdict, fingerprints};
pub use error::ClientError;
pub use frames::{HttpFrames, Watch};
pub use upload::Taken;

/// Longest JSON or text answer that is read: bounds memory against a server that never stops.
pub const LONGEST_ANSWER: u64 = 64 << 20;

/// How often a request is sent again when nothing answered, and how long to pause before the next try.
/// The pause doubles after every try, up to `longest_pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Tries in all; at least one is made.
    pub tries: u32,
    /// Before the second try.
    pub first_pause: Duration,
    /// Upper bound of a pause.
    pub longest_pause: Duration,
}

impl Patience {
    /// One try: the caller repeats by itself.
    pub const NONE: Patience =
        Patience { tries: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };

    /// For a person who waits for the answer: three tries within about two seconds.
    pub const SHORT: Patience =
        Patience { tries: 3, first_pause: Duration::from_millis(250), longest_pause: Duration::from_secs(1) };

    /// Pause before the try with this number (the first is 0 and waits for nothing).
    pub fn pause(&self, attempt: u32) -> Duration {
        match attempt {
            0 => Duration::ZERO,
            n => self.first_pause.saturating_mul(1 << (n - 1).min(16)).min(self.longest_pause),
        }
    }
}

/// A connection to one appliance. Cheap to clone; clones share kept-alive connections.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    /// Scheme, host and port, without a slash at the end.
    base: String,
    /// What error messages call the appliance.
    address: String,
    token: Option<Secret>,
    patience: Patience,
    /// What to do when nothing answers.
    remedy: &'static str,
}

impl Client {
    /// The local daemon, on its Unix socket: no token, the socket's permissions decide.
    pub fn unix(path: impl Into<PathBuf>) -> Client {
        let path = path.into();
        let address = path.display().to_string();
        let agent = Agent::with_parts(settings().build(), socket::UnixConnector { path }, socket::NoResolver);
        Client {
            agent,
            base: "http://rootstock".into(),
            address,
            token: None,
            patience: Patience::SHORT,
            remedy: "start rootstockd on this machine, or name another appliance",
        }
    }

    /// An appliance at `base` (`https://10.0.0.2` or `10.0.0.2:8443`) whose certificate one of the authorities in `ca_pem` signed.
    ///
    /// # Errors
    /// The address is no HTTPS address, or the text has no certificate in it.
    pub fn https(base: &str, ca_pem: &[u8], token: Option<Secret>) -> Result<Client, ClientError> {
        Client::https_through(None, base, ca_pem, token)
    }

    /// As [`Client::https`], through an HTTP proxy (CONNECT, RFC 9110 section 9.3.6) when one is given: TLS goes from end to
    /// end, the proxy sees the address and nothing else.
    ///
    /// # Errors
    /// As [`Client::https`], and when the proxy's address is none.
    pub fn https_through(
        proxy: Option<&str>,
        base: &str,
        ca_pem: &[u8],
        token: Option<Secret>,
    ) -> Result<Client, ClientError> {
        let base = https_base(base)?;
        let tunnel = proxy.map(proxy_address).transpose()?;
        let remedy = match proxy {
            None => "check the network cable, and that rootstockd runs at that address",
            Some(_) => {
                "check the network cable, the proxy's address, and that it lets HTTPS through to rootstockd"
            }
        };
        let config = settings().proxy(tunnel).https_only(true).tls_config(tls::config(ca_pem)?).build();
        Ok(Client {
            agent: config.new_agent(),
            address: base.clone(),
            base,
            token,
            patience: Patience::SHORT,
            remedy,
        })
    }

    /// The same appliance with another token.
    pub fn with_token(&self, token: Secret) -> Client {
        Client { token: Some(token), ..self.clone() }
    }

    /// The same appliance, asked more or less often when nothing answers.
    pub fn with_patience(&self, patience: Patience) -> Client {
        Client { patience, ..self.clone() }
    }

    /// What the appliance is called in messages: its address, or the path of its socket.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Brings an address to the form `https://host[:port]`.
fn https_base(text: &str) -> Result<String, ClientError> {
    let bad = |why: &str| ClientError::BadAddress { address: text.to_owned(), why: why.to_owned() };
    let host = match text.trim().split_once("://") {
        Some(("https", host)) => host,
        Some((scheme, _)) => return Err(bad(&format!("`{scheme}` is not https"))),
        None => text.trim(),
    };
    let host = host.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', '@']) || host.contains(char::is_whitespace) {
        return Err(bad("it must be a host name or IP address with an optional port"));
    }
    let base = format!("https://{host}");
    match base.parse::<ureq::http::Uri>() {
        Ok(_) => Ok(base),
        Err(error) => Err(bad(&error.to_string())),
    }
}

/// The address of an appliance as it is kept: `https://host[:port]`.
///
/// # Errors
/// When it is none.
pub fn appliance_address(text: &str) -> Result<String, ClientError> {
    https_base(text)
}

/// Reads the address of an HTTP proxy: `proxy.example:3128`, `http://10.0.0.9:3128`.
fn proxy_address(text: &str) -> Result<Proxy, ClientError> {
    let bad = |why: &str| ClientError::BadProxy { address: text.to_owned(), why: why.to_owned() };
    let host = match text.trim().split_once("://") {
        None => text.trim(),
        Some(("http", host)) => host.trim_end_matches('/'),
        Some((scheme, _)) => return Err(bad(&format!("`{scheme}` is not http"))),
    };
    let (name, port) = host.rsplit_once(':').ok_or_else(|| bad("it has no port"))?;
    let legible =
        !name.is_empty() && !name.contains(['/', '?', '#', '@']) && !name.contains(char::is_whitespace);
    if !legible || !port.parse().is_ok_and(|port: u16| port > 0) {
        return Err(bad("it must be a host name or IP address, a colon and a port"));
    }
    Proxy::new(&format!("http://{host}")).map_err(|error| bad(&error.to_string()))
}

/// The address of a proxy as it is kept: `http://host:port`.
///
/// # Errors
/// When it is none.
pub fn checked_proxy(text: &str) -> Result<String, ClientError> {
    proxy_address(text).map(|proxy| format!("http://{}:{}", proxy.host(), proxy.port()))
}

/// The appliance is a neighbour: no proxy unless one is named, no redirects, an answer within a minute or a new try.
fn settings() -> ConfigBuilder<AgentScope> {
    Config::builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("rootstock/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(90)))
        .timeout_per_read(Some(Duration::from_secs(20)))
        .timeout_per_write(Some(Duration::from_secs(20)))
        .max_idle_connections(16)
        .max_idle_connections_per_host(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_stand_with_or_without_its_scheme() {
        for (text, want) in [
            ("https://10.0.0.2/", "https://10.0.0.2"),
            ("10.0.0.2:8443", "https://10.0.0.2:8443"),
            (" mac.example \n", "https://mac.example"),
            ("[fd00::1]:443", "https://[fd00::1]:443"),
        ] {
            assert_eq!(https_base(text).unwrap(), want);
        }
    }

    #[test]
    fn an_address_without_tls_or_with_a_path_is_refused_by_name() {
        for text in ["http://10.0.0.2", "", "a b", "https://user@host", "https://host/x", "https://"] {
            let error = https_base(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for text in ["10.0.0.9:3128", "http://10.0.0.9:3128/", " 10.0.0.9:3128 "] {
            assert_eq!(checked_proxy(text).unwrap(), "http://10.0.0.9:3128");
        }
        for text in
            ["10.0.0.9", "https://10.0.0.9:1", "socks5://a:1", "a:0", "a:x", ":3128", "u@a:1", "a b:1", ""]
        {
            let error = checked_proxy(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let pauses: Vec<_> = (0..5).map(|n| Patience::SHORT.pause(n).as_millis()).collect();
        assert_eq!(pauses, [0, 250, 500, 1000, 1000]);
        assert_eq!(Patience { tries: 99, ..Patience::SHORT }.pause(u32::MAX), Duration::from_secs(1));
    }
}
