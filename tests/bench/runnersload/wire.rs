//! HTTPS as a runner's connection, from an address of its own: one kept-alive connection, one request at a time.
//!
//! `rootstock::client` takes the address that the system gives it; here every Mac has its own, as in a lab. Must not know: what is
//! asked.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, Protocol, Socket, Type};

/// As `rootstock::client` waits.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub enum Trouble {
    /// Nobody answered.
    Gone,
    /// The appliance does not take the request: status, and what it says.
    Refused(u16, String),
}

/// One connection; made when it is needed, anew when it broke.
pub struct Wire {
    tls: Arc<ClientConfig>,
    server: SocketAddrV4,
    source: Ipv4Addr,
    open: Option<StreamOwned<ClientConnection, TcpStream>>,
}

impl Wire {
    /// A Mac of its own: nobody shares its TLS sessions.
    pub fn new(roots: &Arc<RootCertStore>, server: SocketAddrV4, source: Ipv4Addr) -> Wire {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        tls.resumption = rustls::client::Resumption::in_memory_sessions(8);
        Wire { tls: Arc::new(tls), server, source, open: None }
    }

    /// Another connection of the same Mac.
    pub fn another(&self) -> Wire {
        Wire { tls: self.tls.clone(), open: None, ..*self }
    }

    pub fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        token: &str,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        let body = serde_json::to_vec(body).unwrap();
        let (status, answer) = self.exchange(path, token, &body).map_err(|_| {
            self.open = None;
            Trouble::Gone
        })?;
        match status {
            200..300 => Ok(serde_json::from_slice(&answer).unwrap()),
            _ => Err(Trouble::Refused(status, String::from_utf8_lossy(&answer).into_owned())),
        }
    }

    fn exchange(&mut self, path: &str, token: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let authorization =
            if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: rootstock/load\r\naccept: */*\r\n{authorization}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.server,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let stream = match &mut self.open {
            Some(stream) => stream,
            None => {
                let fresh = self.connect()?;
                self.open.insert(fresh)
            }
        };
        stream.write_all(&request)?;
        stream.flush()?;
        let mut got = Vec::with_capacity(4096);
        let head = loop {
            if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            more(stream, &mut got)?;
        };
        let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        let text = std::str::from_utf8(&got[..head]).map_err(|_| bad("head"))?.to_ascii_lowercase();
        let status = text.get(9..12).and_then(|word| word.parse().ok()).ok_or_else(|| bad("status"))?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|text| text.trim().parse().ok()).ok_or_else(|| bad("length"))?;
        while got.len() < head + length {
            more(stream, &mut got)?;
        }
        if text.contains("connection: close") {
            self.open = None;
        }
        Ok((status, got.split_off(head)))
    }

    fn connect(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((self.source, 0)).into())?;
        socket.connect_timeout(&SocketAddr::V4(self.server).into(), CONNECT)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER))?;
        let name = ServerName::IpAddress((*self.server.ip()).into());
        let tls = ClientConnection::new(self.tls.clone(), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(tls, socket.into()))
    }
}

fn more(stream: &mut StreamOwned<ClientConnection, TcpStream>, into: &mut Vec<u8>) -> io::Result<()> {
    let before = into.len();
    into.resize(before + 4096, 0);
    let count = stream.read(&mut into[before..])?;
    into.truncate(before + count);
    if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
