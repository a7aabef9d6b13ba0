//! Where the booted machine finds its appliance.
//!
//! Owns: spelling of the address and the two URLs that come from it. Must not know: sockets.

use std::fmt;
use std::str::FromStr;

/// Host and ports of an appliance, as a person writes them: `192.0.2.10`, `boot.example.org:8443`,
/// `https://192.0.2.10:8443`, `[2001:db8::1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    https_port: u16,
    http_port: u16,
}

/// The text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of an appliance: write 192.0.2.10, boot.example.org or https://192.0.2.10:8443")]
pub struct BadServer(String);

impl Server {
    /// The same appliance, its boot files on another port than 80.
    #[must_use]
    pub fn with_http_port(self, http_port: u16) -> Server {
        Server { http_port, ..self }
    }

    /// Name or address alone; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port of the boot files.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// Base of the runner protocol, `https://192.0.2.10`.
    pub fn https(&self) -> String {
        with_port("https", &self.host, self.https_port, 443)
    }

    /// Base of the boot files, `http://192.0.2.10`.
    pub fn http(&self) -> String {
        with_port("http", &self.host, self.http_port, 80)
    }
}

fn with_port(scheme: &str, host: &str, port: u16, usual: u16) -> String {
    if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
}

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Server, BadServer> {
        let bad = || BadServer(text.to_owned());
        let rest = text.trim().strip_prefix("https://").unwrap_or(text.trim()).trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (rest, 443),
        };
        let name = |host: &str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name(host),
        };
        if !valid || port == 0 {
            return Err(bad());
        }
        Ok(Server { host: host.to_owned(), https_port: port, http_port: 80 })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.https())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_both_bases() {
        for (text, https, http) in [
            ("192.0.2.10", "https://192.0.2.10", "http://192.0.2.10"),
            ("https://192.0.2.10:8443/", "https://192.0.2.10:8443", "http://192.0.2.10"),
            ("boot.example.org", "https://boot.example.org", "http://boot.example.org"),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "http://[2001:db8::1]"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.https().as_str(), server.http().as_str()), (https, http), "{text}");
        }
        let server = "192.0.2.10".parse::<Server>().unwrap().with_http_port(8080);
        assert_eq!(server.http(), "http://192.0.2.10:8080");
    }

    #[test]
    fn what_would_break_a_script_or_a_url_is_refused() {
        for text in ["", "http://192.0.2.10", "a b", "x/y", "a:0", "a:99999", "a\nb", "[::1", "${net0/ip}"] {
            assert!(text.parse::<Server>().is_err(), "{text:?}");
        }
    }
}
