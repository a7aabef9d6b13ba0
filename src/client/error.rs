//! What can go wrong with a request, one variant for each thing that the caller can do about it.
//!
//! Must not know: tokens and bodies. No message can contain one, because no variant holds one.

use std::error::Error as StdError;
use std::io;

use crate::api::runner::Problem;

/// A request did not give its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The appliance answered, with a refusal. Do what the problem says.
    #[error("{request}: refused with status {status}: {}", sentence(problem))]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// What the appliance said.
        problem: Problem,
    },
    /// Nothing answered, or the answer broke off. May be tried again later.
    #[error("{address} did not answer {request}: {cause} ({tries} {}); {remedy}", if *tries == 1 { "try" } else { "tries" })]
    Unreachable {
        /// Address or socket.
        address: String,
        /// Method and path.
        request: String,
        /// What was seen last.
        cause: String,
        /// How often it was tried.
        tries: u32,
        /// What to do next.
        remedy: &'static str,
    },
    /// The other side is not the appliance that we trust, or a clock is wrong. A repetition gives the same.
    #[error("{address} is not trusted: {cause}; {remedy}")]
    Untrusted {
        /// Address.
        address: String,
        /// What is wrong with its certificate.
        cause: String,
        /// What to do next.
        remedy: &'static str,
        /// Whether the certificate is good and only the time is wrong, here or there.
        clock: bool,
    },
    /// The answer is not what this version understands.
    #[error(
        "{address} answered {request} with something unreadable: {cause}; update both sides to the same version"
    )]
    Unreadable {
        /// Address or socket.
        address: String,
        /// Method and path.
        request: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The address cannot be used.
    #[error("`{address}` is no address of an appliance: {why}")]
    BadAddress {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The proxy's address cannot be used.
    #[error("`{address}` is no address of an HTTP proxy: {why}")]
    BadProxy {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate authority's file cannot be used.
    #[error(
        "the certificate authority's file holds no usable certificate: {0}; take ca.pem from the appliance's keys folder"
    )]
    BadAuthority(String),
}

fn sentence(problem: &Problem) -> String {
    match problem.next_step.as_str() {
        "" => problem.error.clone(),
        next => format!("{}; {next}", problem.error),
    }
}

impl ClientError {
    /// Whether the same request may succeed later without anybody doing anything: nobody answered, or the
    /// appliance said that it is busy or starting (502, 503, 504), or asked for patience (408, 429).
    pub fn may_pass(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } => true,
            ClientError::Refused { status, .. } => matches!(status, 408 | 429 | 502..=504),
            _ => false,
        }
    }

    /// Status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// What a failed exchange means: a matter of trust, or of reaching each other.
pub(super) enum Cause {
    Unreachable(String),
    Untrusted { cause: String, remedy: &'static str, clock: bool },
    Unreadable(String),
}

impl From<ureq::Error> for Cause {
    fn from(error: ureq::Error) -> Cause {
        match error {
            ureq::Error::Rustls(error) => tls(&error),
            ureq::Error::Io(error) => io_cause(&error),
            ureq::Error::Timeout(what) => Cause::Unreachable(format!("it took too long ({what})")),
            ureq::Error::HostNotFound => Cause::Unreachable("its name is not known to the DNS server".into()),
            error @ (ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..)) => {
                Cause::Unreadable(format!("it does not speak HTTP as expected: {error}"))
            }
            other => Cause::Unreachable(other.to_string()),
        }
    }
}

/// TLS errors come wrapped in the error of the socket that they were found on, at times twice.
pub(super) fn io_cause(error: &io::Error) -> Cause {
    let mut inner: Option<&(dyn StdError + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(error) = inner {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return tls(error);
        }
        if let Some(ureq::Error::Rustls(error)) = error.downcast_ref::<ureq::Error>() {
            return tls(error);
        }
        inner = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(deeper) => Some(deeper),
            None => error.source(),
        };
    }
    Cause::Unreachable(error.to_string())
}

fn tls(error: &rustls::Error) -> Cause {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        return match error {
            // Cut off, or no TLS at all on that port: the network or the port, not trust.
            rustls::Error::InvalidMessage(_) => Cause::Unreadable(format!("no TLS on that port ({error})")),
            other => Cause::Unreachable(format!("the TLS connection failed: {other}")),
        };
    };
    let (remedy, clock) = match bad {
        Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            ("set this machine's clock, or renew the appliance's certificate", true)
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => (
            "use an address that the appliance's certificate names, or restart rootstockd to renew it",
            false,
        ),
        Bad::UnknownIssuer | Bad::BadSignature => (
            "this is another appliance, or its keys were made anew: build the boot files or take ca.pem again",
            false,
        ),
        _ => ("restart rootstockd to renew its certificate", false),
    };
    Cause::Untrusted { cause: format!("its certificate is not accepted: {bad}"), remedy, clock }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_error_is_found_under_two_layers_of_socket_errors() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, bad));
        assert!(matches!(io_cause(&wrapped), Cause::Untrusted { clock: false, .. }));
    }

    #[test]
    fn only_time_makes_a_clock_error() {
        for (bad, want) in
            [(rustls::CertificateError::Expired, true), (rustls::CertificateError::BadSignature, false)]
        {
            let Cause::Untrusted { clock, .. } = tls(&rustls::Error::InvalidCertificate(bad)) else {
                panic!()
            };
            assert_eq!(clock, want);
        }
    }
}
