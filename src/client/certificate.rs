//! The validity of a certificate: how long an appliance, or its authority, can still be trusted.
//!
//! Owns: the few fields of X.509 on the way to the validity (RFC 5280 section 4.1), and asking a server for its
//! certificate. Must not know: whether it is to be trusted; that is `tls`.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection};

use super::clock::host_and_port;
use super::{ClientError, https_base, tls};

/// Seconds since 1970 UTC between which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub from: i64,
    /// Last second.
    pub until: i64,
}

impl Validity {
    /// Whole days that are left; negative when it is over.
    pub fn days_left(&self, now: Duration) -> i64 {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.until.saturating_sub(now).div_euclid(86_400)
    }
}

/// The text is no certificate that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no X.509 certificate")]
pub struct BadCertificate;

/// The validity of the first certificate in a PEM file.
///
/// # Errors
/// When there is none, or it is broken.
pub fn validity_in_pem(pem: &[u8]) -> Result<Validity, BadCertificate> {
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| BadCertificate)?;
    validity(&certificate).ok_or(BadCertificate)
}

/// The validity of the certificate that the appliance at `base` shows, once it has been trusted.
///
/// # Errors
/// No connection, no trust, or a certificate that cannot be read.
pub fn of_server(base: &str, ca_pem: &[u8], limit: Duration) -> Result<Validity, ClientError> {
    let base = https_base(base)?;
    let bad = |why: String| ClientError::BadAddress { address: base.clone(), why };
    let (host, port) = host_and_port(base.trim_start_matches("https://"));
    let name = ServerName::try_from(host.to_owned()).map_err(|error| bad(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?
        .with_root_certificates(tls::root_store(ca_pem)?)
        .with_no_client_auth();
    let shown = || -> std::io::Result<Option<Validity>> {
        let address = (host, port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let mut socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(connection.peer_certificates().and_then(|chain| validity(chain.first()?)))
    };
    match shown() {
        Ok(Some(validity)) => Ok(validity),
        Ok(None) => Err(bad(BadCertificate.to_string())),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// The validity of a certificate in DER.
fn validity(der: &[u8]) -> Option<Validity> {
    const SEQUENCE: u8 = 0x30;
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    // [0] version, which may be absent; then serial number, signature algorithm, issuer.
    if rest.first() == Some(&0xa0) {
        rest = element(rest, 0xa0)?.1;
    }
    rest = element(rest, 0x02)?.1;
    rest = element(rest, SEQUENCE)?.1;
    rest = element(rest, SEQUENCE)?.1;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some(Validity { from, until })
}

/// Content of the element with this tag at the front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (own, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let count = length & 0x7f;
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits
            .iter()
            .try_fold(0usize, |sum, digit| sum.checked_mul(256)?.checked_add((*digit).into()))?;
        rest = after;
    }
    (*own == tag).then(|| rest.split_at_checked(length))?
}

/// UTCTime or GeneralizedTime, always in UTC with seconds (RFC 5280 section 4.1.2.5).
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, has_century) = match der.first()? {
        0x17 => element(der, 0x17).map(|(text, rest)| (text, rest, false))?,
        0x18 => element(der, 0x18).map(|(text, rest)| (text, rest, true))?,
        _ => return None,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.is_ascii() {
        return None;
    }
    let (year, rest_of_text) = text.split_at_checked(if has_century { 4 } else { 2 })?;
    let year: i64 = year.parse().ok()?;
    let year = match (has_century, year) {
        (true, year) => year,
        (false, year) if year < 50 => 2000 + year,
        (false, year) => 1900 + year,
    };
    if rest_of_text.len() != 10 {
        return None;
    }
    let mut fields = [0i64; 5];
    for (at, field) in fields.iter_mut().enumerate() {
        *field = rest_of_text.get(2 * at..2 * at + 2)?.parse().ok()?;
    }
    let [month, day, hour, minute, second] = fields;
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    in_range.then(|| (days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second, rest))
}

/// Days since 1970, in years that begin on 1 March so that the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate as far as its validity, around these two times.
    fn certificate(from: &[u8], until: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, body: &[u8]| {
            let mut bytes = vec![tag, 0x82];
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend(body);
            bytes
        };
        let validity = wrap(0x30, &[from, until].concat());
        let body =
            [&wrap(0xa0, &[2, 1, 2])[..], &wrap(0x02, &[1]), &wrap(0x30, &[]), &wrap(0x30, &[]), &validity]
                .concat();
        wrap(0x30, &wrap(0x30, &body))
    }

    #[test]
    fn both_spellings_of_time_are_read() {
        let der = certificate(b"\x17\x0d700101000000Z", b"\x18\x0f20500301120001Z");
        let read = validity(&der).unwrap();
        assert_eq!(read, Validity { from: 0, until: 2_529_748_801 });
        assert_eq!(read.days_left(Duration::from_secs(2_529_748_801 - 86_400)), 1);
        assert_eq!(read.days_left(Duration::from_secs(2_529_748_802)), -1);
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_and_never_panics() {
        let der = certificate(b"\x17\x0d700101000000Z", b"\x17\x0d491231235959Z");
        assert!(validity(&der).is_some());
        for end in 0..der.len() {
            assert!(validity(&der[..end]).is_none(), "{end}");
        }
        for at in 0..der.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[at] = value;
                let _ = validity(&changed);
            }
        }
        assert!(validity(&certificate(b"\x17\x0d701301000000Z", b"\x17\x0d491231235959Z")).is_none());
        assert_eq!(validity_in_pem(b"nothing"), Err(BadCertificate));
    }
}
