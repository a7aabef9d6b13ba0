//! One mail by SMTP (RFC 5321), with lettre.
//!
//! Must not know: when mail is sent.

use std::time::Duration;

use lettre::address::AddressError;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message as Mail, SmtpTransport, Transport};
use rustls_pki_types::CertificateDer;

use super::Note;
use crate::sequence::run::act::Message;
use crate::server::config::{self, Security};

/// Time of each word of the conversation.
const TIME: Duration = Duration::from_secs(10);

/// A mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// An address that the server could not be told.
    #[error("{address} is no mail address")]
    Address {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: AddressError,
    },
    /// It cannot be written down.
    #[error("the mail cannot be written")]
    Form(#[from] lettre::error::Error),
    /// The server or the way to it.
    #[error("the mail server {server} did not take it")]
    Server {
        /// Which.
        server: String,
        /// Why.
        #[source]
        source: lettre::transport::smtp::Error,
    },
}

impl MailError {
    /// Whether the same may be taken a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            MailError::Server { source, .. } => !source.is_permanent() && !source.is_tls(),
            _ => false,
        }
    }
}

/// Sends; blocks, for a bounded time.
pub fn send(
    settings: &config::Mail,
    password: Option<&str>,
    roots: &[CertificateDer<'static>],
    message: &Message,
    note: &Note,
) -> Result<(), MailError> {
    let mailbox = |address: &str| -> Result<Mailbox, MailError> {
        let parsed = address.parse();
        let parsed = parsed.map_err(|source| MailError::Address { address: address.to_owned(), source })?;
        Ok(Mailbox::new(None, parsed))
    };
    let mut mail = Mail::builder().from(mailbox(&settings.from)?).header(ContentType::TEXT_PLAIN);
    for receiver in &message.mail {
        mail = mail.to(mailbox(receiver)?);
    }
    let mac = if note.serial.is_empty() { "a Mac" } else { &note.serial };
    let subject = match message.subject.is_empty() {
        true => format!("{}: {} on {mac}", note.appliance, note.sequence),
        false => message.subject.clone(),
    };
    let text = format!(
        "{}\r\n\r\n-- \r\n{}, run {} of {}, step {}, {mac} {}\r\n",
        note.message.replace("\r\n", "\n").replace('\n', "\r\n"),
        note.appliance,
        note.run,
        note.sequence,
        note.step,
        note.model
    );
    let mail = mail.subject(subject).body(text)?;
    let failed = |source| MailError::Server { server: settings.server.clone(), source };
    let tls = match settings.security {
        Security::None => Tls::None,
        Security::StartTls => Tls::Required(parameters(settings, roots).map_err(failed)?),
        Security::Tls => Tls::Wrapper(parameters(settings, roots).map_err(failed)?),
    };
    let mut server =
        SmtpTransport::builder_dangerous(&settings.server).port(settings.port).timeout(Some(TIME)).tls(tls);
    if let (Some((user, _)), Some(password)) = (&settings.login, password) {
        server = server.credentials(Credentials::new(user.clone(), password.to_owned()));
    }
    server.build().send(&mail).map(drop).map_err(failed)
}

fn parameters(
    settings: &config::Mail,
    roots: &[CertificateDer<'static>],
) -> Result<TlsParameters, lettre::transport::smtp::Error> {
    let mut builder =
        TlsParameters::builder(settings.server.clone()).certificate_store(CertificateStore::None);
    for root in roots {
        builder = builder.add_root_certificate(Certificate::from_der(root.to_vec())?);
    }
    builder.build_rustls()
}
