//! The appliance's time, for a machine whose own clock is wrong (an empty battery says 2001 or 1970).
//!
//! A certificate is refused when the clock stands outside its validity, so the time cannot be asked for over an
//! ordinary HTTPS connection, and over plain HTTP anybody could answer. So: the chain, the name and the handshake's
//! signature are checked against our CA as always, only the date is taken from the certificate itself. The answer's
//! `Date` header (RFC 9110 section 6.6.1) is then the appliance's word.
//!
//! Must not know: how a clock is set.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
};

use super::error::ClientError;
use super::{https_base, tls};

/// The appliance's time could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// Address or authority are unusable.
    #[error(transparent)]
    Settings(#[from] ClientError),
    /// No connection, or no trust.
    #[error("asking {address} for the time failed: {cause}")]
    Connection {
        /// Where.
        address: String,
        /// What was seen.
        cause: String,
    },
    /// An answer without a date.
    #[error("{0} sends no date with its answers")]
    NoDate(String),
}

/// Longest head of an answer that is read.
const LONGEST_HEAD: usize = 16 << 10;

/// Asks the appliance at `base` for its time. Good to a second.
///
/// # Errors
/// See [`ClockError`].
pub fn appliance_time(base: &str, ca_pem: &[u8], limit: Duration) -> Result<SystemTime, ClockError> {
    let base = https_base(base)?;
    let failed = |cause: String| ClockError::Connection { address: base.clone(), cause };
    let authority = base.trim_start_matches("https://").to_owned();
    let (host, port) = host_and_port(&authority);
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
    let config = timeless(tls::root_store(ca_pem)?).map_err(|error| failed(error.to_string()))?;

    let address = (host, port)
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?
        .next()
        .ok_or_else(|| failed("its name is not known".into()))?;
    let exchange = || -> std::io::Result<Vec<u8>> {
        let socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        write!(stream, "HEAD / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
        read_head(&mut stream)
    };
    let head = exchange().map_err(|error| failed(error.to_string()))?;
    date_in(&head).ok_or(ClockError::NoDate(base))
}

pub(super) fn host_and_port(authority: &str) -> (&str, u16) {
    let split = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.unwrap_or((authority, 443));
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

fn read_head(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < LONGEST_HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => head.extend_from_slice(&piece[..count]),
            // A server that closes without a TLS goodbye has said all it will.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

fn date_in(head: &[u8]) -> Option<SystemTime> {
    let head = String::from_utf8_lossy(head);
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim().to_owned())
    })?;
    parse_date(&value)
}

/// IMF-fixdate, the only form that servers may write (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, clock, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days of the Gregorian calendar, counted in years that begin on 1 March so that the leap day is a year's last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

fn timeless(roots: rustls::RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = tls::provider();
    let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyTime { strict }))
        .with_no_client_auth())
}

/// The strict verifier, asked about a time at which the certificates are valid.
#[derive(Debug)]
struct AnyTime {
    strict: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut time = now;
        let mut left = 4; // leaf and authority may each name one border
        loop {
            let checked =
                self.strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time);
            time = match checked {
                Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if left > 0 => not_before,
                Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) if left > 0 => not_after,
                done => return done,
            };
            left -= 1;
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_servers_write_them() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
        ] {
            assert_eq!(
                parse_date(text),
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "now",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 88:49:37 GMT",
            "a, 1 Jan 0 0:0:0 GMT",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn the_date_is_found_among_the_headers_whatever_its_case() {
        let head = b"HTTP/1.1 404 Not Found\r\nserver: x\r\ndAte: Thu, 01 Jan 1970 00:00:09 GMT\r\n\r\n";
        assert_eq!(date_in(head), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
    }

    #[test]
    fn the_port_is_443_unless_named_and_brackets_are_no_part_of_the_host() {
        assert_eq!(host_and_port("a.example"), ("a.example", 443));
        assert_eq!(host_and_port("10.0.0.1:8443"), ("10.0.0.1", 8443));
        assert_eq!(host_and_port("[fd00::1]:1"), ("fd00::1", 1));
        assert_eq!(host_and_port("[fd00::1]"), ("fd00::1", 443));
    }
}
