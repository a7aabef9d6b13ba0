//! A POST to a program of somebody else: a webhook. Not the appliance; trusted by the given certificates.
//!
//! Must not know: what is told, who asked for it.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::tls;

/// Time of one try, from the name's look-up to the end of the answer.
const TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer that are kept, for the log.
const ANSWER: u64 = 512;

/// A webhook did not take it.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// No answer.
    #[error("{host} does not answer")]
    Unreachable {
        /// Host of the address.
        host: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// An answer that is not 2xx.
    #[error("{host} answered {status}: {said}")]
    Refused {
        /// Host of the address.
        host: String,
        /// HTTP status.
        status: u16,
        /// The beginning of what it said, printable.
        said: String,
    },
}

impl HookError {
    /// Whether the same may be taken a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            HookError::Unreachable { .. } => true,
            HookError::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        }
    }
}

/// Posts `body` with further headers. Redirects are not followed: a signed message goes where it was meant to go.
///
/// # Errors
/// See [`HookError`].
pub fn post(
    url: &str,
    headers: &[(&str, String)],
    body: &str,
    roots: &[CertificateDer<'static>],
) -> Result<(), HookError> {
    let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(std::sync::Arc::new(roots)))
        .unversioned_rustls_crypto_provider(tls::provider())
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(TIME))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("rootstock/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut request = Agent::new_with_config(config).post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let host = host_of(url);
    let unreachable = |source| HookError::Unreachable { host: host.clone(), source: Box::new(source) };
    let mut answer = request.send(body).map_err(unreachable)?;
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let said = answer.body_mut().with_config().limit(ANSWER).read_to_vec().unwrap_or_default();
    let said = String::from_utf8_lossy(&said).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(HookError::Refused { host, status, said })
}

/// The host of an address; the rest of it may be somebody's secret.
pub fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().chars().take(255).collect()
}
