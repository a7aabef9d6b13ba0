//! Who sends a request, as far as the connection tells: a peer address, or a local account.
//!
//! Must not know: what is asked for.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// The account at the other end of the Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAccount {
    /// User number; none where the system does not say.
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for LocalAccount {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> LocalAccount {
        LocalAccount { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Who sends a request, for people: `root`, `token from 10.0.0.7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Infallible> {
        let network = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let local = parts.extensions.get::<ConnectInfo<LocalAccount>>();
        Ok(Caller(match (network, local) {
            (Some(ConnectInfo(peer)), _) => format!("token from {}", peer.ip().to_canonical()),
            (None, Some(ConnectInfo(LocalAccount { uid: Some(uid) }))) => account(*uid),
            (None, _) => "this machine".to_owned(),
        }))
    }
}

/// Name of a user number. Read from the file itself: a static program cannot load the modules of the C library.
fn account(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(uid, &users).unwrap_or_else(|| format!("user {uid}"))
}

fn name_of(uid: u32, users: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_number_is_told_by_its_name_where_it_has_one() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(name_of(1000, users).as_deref(), Some("ana"));
        assert_eq!(name_of(7, users), None);
    }
}
