//! Who sends a request: a person who signed in, a program with a token, or an account of this machine.
//!
//! Must not know: what is asked for.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::Connected;
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use super::http::error::Refusal;
use crate::value::{Right, Role};

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

impl LocalAccount {
    /// Its name: `root`, `user 1000`.
    pub fn name(self) -> String {
        self.uid.map_or_else(|| "somebody".to_owned(), account)
    }
}

/// How the one who asks is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// By the Unix socket: who may open it is the owner of the box.
    Socket,
    /// By `keys/admin.token`: who has read it is, too.
    AdminToken,
    /// Signed in with name and password.
    Session,
    /// By an API token of this name.
    Token(String),
}

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Number of their account; none: by the socket or the admin token.
    pub account: Option<i64>,
    /// `ana`, `ana@EXAMPLE`, `root`.
    pub name: String,
    /// Roles that must all have a right: that of the account, and that of its token.
    pub roles: Vec<Role>,
    /// Parts of the API that their token is for; empty: all.
    pub areas: Vec<String>,
    /// How they are known.
    pub how: How,
    /// From where; none: on this machine.
    pub from: Option<IpAddr>,
}

impl Caller {
    /// Through the Unix socket.
    pub fn on_this_machine(account: LocalAccount) -> Caller {
        Caller {
            account: None,
            name: account.name(),
            roles: vec![Role::Owner],
            areas: Vec::new(),
            how: How::Socket,
            from: None,
        }
    }

    /// With `keys/admin.token`.
    pub fn with_admin_token(from: Option<IpAddr>) -> Caller {
        let name = "admin.token".to_owned();
        Caller {
            account: None,
            name,
            roles: vec![Role::Owner],
            areas: Vec::new(),
            how: How::AdminToken,
            from,
        }
    }

    /// Whether they may.
    pub fn may(&self, right: Right) -> bool {
        self.roles.iter().all(|role| role.may(right))
    }

    /// What they are, for people: the lesser role where there are two.
    pub fn role(&self) -> Role {
        let least =
            self.roles.iter().copied().find(|role| self.roles.iter().all(|other| role.is_within(*other)));
        least.or(self.roles.last().copied()).unwrap_or(Role::Technician)
    }

    /// Who did it, for records: `ana`, `ana (token ci)`, `root on the appliance`, `admin.token from 10.0.0.7`.
    pub fn by(&self) -> String {
        match &self.how {
            How::Socket => format!("{} on the appliance", self.name),
            How::AdminToken => match self.from {
                Some(from) => format!("{} from {}", self.name, from.to_canonical()),
                None => self.name.clone(),
            },
            How::Session => self.name.clone(),
            How::Token(token) => format!("{} (token {token})", self.name),
        }
    }

    /// The same without the address, which the audit log has in a column.
    pub fn who(&self) -> String {
        match self.how {
            How::AdminToken => self.name.clone(),
            _ => self.by(),
        }
    }

    /// How they are known, in one word.
    pub fn how(&self) -> &'static str {
        match self.how {
            How::Socket => "socket",
            How::AdminToken => "admin-token",
            How::Session => "session",
            How::Token(_) => "token",
        }
    }

    /// Refuses who may not.
    ///
    /// # Errors
    /// 403.
    pub fn must(&self, right: Right, what: impl FnOnce() -> String) -> Result<(), Refusal> {
        if self.may(right) {
            return Ok(());
        }
        let roles: Vec<_> = right.roles().map(Role::name).collect();
        Err(Refusal::forbidden(
            format!("{} is {} and may not {}", self.by(), with_article(self.role()), what()),
            format!("that needs the role {}", listed(&roles)),
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Refusal> {
        parts.extensions.get().cloned().ok_or_else(|| Refusal::unauthorized("nobody is signed in", ""))
    }
}

/// `an auditor`.
pub fn with_article(role: Role) -> String {
    let article = if role == Role::Technician { "a" } else { "an" };
    format!("{article} {role}")
}

/// `a, b or c`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
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

    #[test]
    fn a_token_may_neither_more_than_itself_nor_more_than_its_account() {
        let caller = |roles: &[Role]| Caller {
            account: Some(1),
            name: "ana".into(),
            roles: roles.to_vec(),
            areas: Vec::new(),
            how: How::Token("ci".into()),
            from: None,
        };
        let narrowed = caller(&[Role::Owner, Role::Auditor]);
        assert!(narrowed.may(Right::Read) && !narrowed.may(Right::Run));
        let was_owner = caller(&[Role::Auditor, Role::Owner]);
        assert!(!was_owner.may(Right::Own));
        assert_eq!((was_owner.role(), was_owner.by().as_str()), (Role::Auditor, "ana (token ci)"));
        let problem = was_owner.must(Right::Own, || "rotate keys".into()).unwrap_err().problem().clone();
        assert_eq!(problem.error, "ana (token ci) is an auditor and may not rotate keys");
    }
}
