//! How a technician signs in at a Mac, over the runner's TLS link.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /runner/v1/sign-in` (session token) | [`SignIn`] | [`SignedIn`] |
//! | `POST /runner/v1/sign-out` (session token) | [`SignOut`] | 204, whatever the pass was |
//!
//! `sign_in` of [`Welcome`](super::runner::Welcome) says whether a technician is asked for: its `offers` hold then only what
//! starts by itself, the answer to a sign-in holds all. The pass goes with [`StartRun`](super::runner::StartRun); it is good
//! for this Mac and this start of the runner only, also after another hello.
//!
//! | refusal | why | what the wizard does |
//! |---|---|---|
//! | 401, `error` of the session | the session is over | says hello again, keeps its pass |
//! | 403 to a sign-in | name or password are wrong, or this account may not start runs | shows `error`, asks again |
//! | 429 to a sign-in | too many failed; `Retry-After` holds the seconds | shows `error`, asks again |
//! | 503 to a sign-in | the directory cannot be reached | shows `error` and `next_step`, asks again |
//! | 403 to `POST /runner/v1/runs` | no pass, or one that expired | shows the log in page |

use serde::{Deserialize, Serialize};

use super::runner::Offer;
use crate::value::{Role, Secret};

/// What the log in page asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInAsked {
    /// Where accounts may be: [`LOCAL`] and names of directories. The first stands in the field; with one there is nothing to choose.
    pub domains: Vec<String>,
}

/// The domain of the appliance's own accounts.
pub const LOCAL: &str = "local";

/// What a technician typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// One of [`SignInAsked::domains`]; none: the appliance looks in all, in their order. A name `DOMAIN\user` or `user@domain`
    /// says it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Name of the account.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// A technician is signed in at this Mac.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedIn {
    /// Goes with [`StartRun`](super::runner::StartRun).
    pub pass: Secret,
    /// Who, for the head line: `ana`, `ana@EXAMPLE`.
    pub name: String,
    /// What the account may do.
    pub role: Role,
    /// When it ends, milliseconds since 1970 UTC by the appliance's clock.
    pub expires_ms: i64,
    /// Everything that may be chosen here.
    pub offers: Vec<Offer>,
    /// Cause and next step when `offers` is empty.
    pub why_empty: Option<String>,
}

/// A technician leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignOut {
    /// From [`SignedIn::pass`].
    pub pass: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runner::{StartRun, Welcome};

    #[test]
    fn a_runner_and_an_appliance_of_before_still_understand_each_other() {
        let old = r#"{"device":1,"session":"x","appliance":"a","now_ms":0,"manifest_keys":[],"offers":[],"why_empty":null,"run":null}"#;
        assert_eq!(serde_json::from_str::<Welcome>(old).unwrap().sign_in, None);
        let start: StartRun = serde_json::from_str(r#"{"deployment":3}"#).unwrap();
        assert!(start.pass.is_none());
        assert_eq!(serde_json::to_string(&start).unwrap(), r#"{"deployment":3}"#);
    }

    #[test]
    fn a_password_that_was_typed_is_not_printed() {
        let typed = SignIn { domain: None, name: "ana".into(), password: Secret::new("hunter2") };
        assert!(!format!("{typed:?}").contains("hunter2"));
    }
}
