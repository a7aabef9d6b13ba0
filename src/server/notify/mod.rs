//! Notify steps: what they say is delivered from here, by webhook and by mail, with few tries in bounded time.
//!
//! | | |
//! |---|---|
//! | webhook | `POST`, JSON ([`Note`]); `X-Rootstock-Timestamp`: seconds since 1970 UTC; `X-Rootstock-Signature`: `v1=` and the HMAC-SHA256 (RFC 2104), hexadecimal, of timestamp, `.` and body; `X-Rootstock-Delivery`: the same for every try of one delivery |
//! | mail | SMTP with STARTTLS or TLS, see `mail` |
//!
//! Must not know: runs, how they go on.

mod mail;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::clock::now_ms;
use super::config;
use super::http::error::chain;
use crate::client::hook::{self, HookError};
use crate::sequence::run::act::Message;
use crate::value::Secret;

pub use mail::MailError;

/// Pauses between tries: four tries within about half a minute, with ten seconds a try.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(8)];

/// Delivers.
#[derive(Debug)]
pub struct Notifier {
    settings: config::Notify,
    appliance: String,
}

/// What a webhook is told.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// Version of this form.
    pub version: u32,
    /// What happened: `notify`.
    pub event: &'static str,
    /// Name of the appliance.
    pub appliance: String,
    /// Number of the run.
    pub run: i64,
    /// Name of the sequence.
    pub sequence: String,
    /// Name of the step.
    pub step: String,
    /// Serial number of the Mac; may be empty.
    pub serial: String,
    /// Its model; may be empty.
    pub model: String,
    /// What the step says.
    pub message: String,
    /// Milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// Somebody was not told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The webhook.
    #[error("the webhook was not taken")]
    Hook(#[from] HookError),
    /// The mail.
    #[error("the mail was not sent")]
    Mail(#[from] MailError),
    /// A file of the settings.
    #[error("{} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No key for a signature.
    #[error("the webhook cannot be signed: neither the step nor `notify.webhook-secret-file` gives a key")]
    Unsigned,
    /// Mail without a server.
    #[error("there is no mail server: set `notify.smtp-server` and `notify.mail-from`")]
    NoMail,
    /// The appliance stops.
    #[error("the appliance was stopped")]
    Stopped,
}

impl NotifyError {
    fn is_passing(&self) -> bool {
        match self {
            NotifyError::Hook(error) => error.is_passing(),
            NotifyError::Mail(error) => error.is_passing(),
            _ => false,
        }
    }

    /// What to do.
    pub fn next_step(&self) -> &'static str {
        match self {
            NotifyError::Hook(_) => {
                "look at the program behind the address; give the step `continue_on_error` if the run matters more"
            }
            NotifyError::Mail(_) => "check `[notify]` of the appliance against what the mail server wants",
            NotifyError::File { .. } | NotifyError::Unsigned | NotifyError::NoMail => {
                "correct `[notify]` in the appliance's settings, restart it, then resume the run"
            }
            NotifyError::Stopped => "resume the run",
        }
    }
}

impl Notifier {
    /// With these settings.
    pub fn new(settings: config::Notify, appliance: String) -> Notifier {
        Notifier { settings, appliance }
    }

    /// Name of the appliance.
    pub fn appliance(&self) -> &str {
        &self.appliance
    }

    /// Files of the settings whose content is secret.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let mail = self.settings.mail.iter().filter_map(|mail| Some(mail.login.as_ref()?.1.clone()));
        self.settings.webhook_secret_file.iter().cloned().chain(mail).collect()
    }

    /// Tells everybody whom the message names; the same `delivery` at every try.
    pub async fn deliver(
        self: &Arc<Self>,
        message: &Message,
        note: Note,
        delivery: &str,
    ) -> Result<(), NotifyError> {
        if let Some(url) = &message.webhook {
            let body = serde_json::to_string(&note).unwrap_or_default();
            let (this, url, delivery) = (self.clone(), url.clone(), delivery.to_owned());
            let secret = message.secret.clone();
            retried(move || this.hook(&url, secret.as_ref(), &body, &delivery)).await?;
        }
        if !message.mail.is_empty() {
            let (this, message) = (self.clone(), message.clone());
            retried(move || this.mail(&message, &note)).await?;
        }
        Ok(())
    }

    fn hook(
        &self,
        url: &str,
        secret: Option<&Secret>,
        body: &str,
        delivery: &str,
    ) -> Result<(), NotifyError> {
        let own = match (secret, &self.settings.webhook_secret_file) {
            (None, Some(path)) => Some(Secret::new(read(path)?.trim())),
            _ => None,
        };
        let secret = secret.or(own.as_ref()).filter(|secret| !secret.expose().is_empty());
        let timestamp = (now_ms() / 1000).to_string();
        let signature = signature(secret.ok_or(NotifyError::Unsigned)?, &timestamp, body);
        let headers = [
            ("x-rootstock-timestamp", timestamp),
            ("x-rootstock-signature", signature),
            ("x-rootstock-delivery", delivery.to_owned()),
        ];
        Ok(hook::post(url, &headers, body, &self.roots()?)?)
    }

    fn mail(&self, message: &Message, note: &Note) -> Result<(), NotifyError> {
        let settings = self.settings.mail.as_ref().ok_or(NotifyError::NoMail)?;
        let password = match &settings.login {
            Some((_, file)) => Some(read(file)?.trim_end_matches(['\r', '\n']).to_owned()),
            None => None,
        };
        Ok(mail::send(settings, password.as_deref(), &self.roots()?, message, note)?)
    }

    /// The system's certificates and those of the settings.
    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, NotifyError> {
        let mut roots = rustls_native_certs::load_native_certs().certs;
        if let Some(path) = &self.settings.ca_file {
            let text = read(path)?;
            roots.extend(CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok));
        }
        Ok(roots)
    }
}

/// `v1=` and the HMAC of timestamp, `.` and body.
pub fn signature(secret: &Secret, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={digits}")
}

fn read(path: &Path) -> Result<String, NotifyError> {
    std::fs::read_to_string(path).map_err(|source| NotifyError::File { path: path.to_owned(), source })
}

/// Tries until it is taken, refused for good, or tried often enough. Each try blocks, and ends by its own time limit.
async fn retried(
    work: impl Fn() -> Result<(), NotifyError> + Clone + Send + 'static,
) -> Result<(), NotifyError> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let once = work.clone();
        let error = match spawn_blocking(once).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => NotifyError::Stopped,
        };
        match pauses.next() {
            Some(pause) if error.is_passing() => {
                tracing::info!("a notification is tried again in {pause:?}: {}", chain(&error));
                tokio::time::sleep(pause).await;
            }
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_2_the_signature_is_the_hmac_of_timestamp_and_body() {
        let first = signature(&Secret::new("Jefe"), "1700000000", "{}");
        assert!(first.starts_with("v1=") && first.len() == 3 + 64);
        assert_ne!(first, signature(&Secret::new("Jefe"), "1700000001", "{}"));
        assert_ne!(first, signature(&Secret::new("jefe"), "1700000000", "{}"));
        // Judged by another program: printf '1700000000.{}' | openssl dgst -sha256 -hmac Jefe
        assert_eq!(first, format!("v1={}", OPENSSL));
    }

    const OPENSSL: &str = "d3793e2b4103edfbd98cc19591832f5fad701d413db9fcae0ae7dab8184ed207";
}
