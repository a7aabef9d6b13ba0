//! TLS settings: which authorities are trusted, which ciphers come first.
//!
//! Must not know: requests.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, RootCertStore};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::error::ClientError;

/// Trusts the authorities in `ca_pem` and nobody else.
pub(super) fn config(ca_pem: &[u8]) -> Result<TlsConfig, ClientError> {
    let roots = authorities(ca_pem)?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(provider())
        .build())
}

/// The same authorities for a plain rustls connection.
pub(super) fn root_store(ca_pem: &[u8]) -> Result<RootCertStore, ClientError> {
    let mut store = RootCertStore::empty();
    for authority in authorities(ca_pem)? {
        store
            .add(authority.der().to_vec().into())
            .map_err(|error| ClientError::BadAuthority(error.to_string()))?;
    }
    Ok(store)
}

/// The certificates of a PEM file: at least one.
pub(super) fn authorities(ca_pem: &[u8]) -> Result<Vec<Certificate<'static>>, ClientError> {
    let mut found = Vec::new();
    for item in parse_pem(ca_pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(ClientError::BadAuthority(error.to_string())),
        }
    }
    match found.is_empty() {
        true => Err(ClientError::BadAuthority("no BEGIN CERTIFICATE in it".into())),
        false => Ok(found),
    }
}

/// ring's algorithms, the fastest cipher of this processor first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    let aes = has_aes();
    provider.cipher_suites.sort_by_key(|suite| rank(suite.suite(), aes));
    Arc::new(provider)
}

/// Penryn and older (MacBook of 2008) and some Westmere Macs compute AES in software, several times slower than
/// ChaCha20 with SSE; from Sandy Bridge on AES-128-GCM is the fastest. Servers take the client's order.
fn rank(suite: CipherSuite, aes: bool) -> u8 {
    use CipherSuite as Suite;
    let chacha = matches!(
        suite,
        Suite::TLS13_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    );
    let aes_128 = matches!(
        suite,
        Suite::TLS13_AES_128_GCM_SHA256
            | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    );
    match (chacha, aes) {
        (true, false) => 0,
        (false, _) if aes_128 => 1,
        (false, _) => 2,
        (true, true) => 3,
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_aes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_aes_offers_chacha20_first() {
        let mut suites: Vec<_> =
            rustls::crypto::ring::default_provider().cipher_suites.iter().map(|s| s.suite()).collect();
        suites.sort_by_key(|suite| rank(*suite, false));
        assert!(suites[..3].iter().all(|suite| format!("{suite:?}").contains("CHACHA20")), "{suites:?}");
        suites.sort_by_key(|suite| rank(*suite, true));
        assert!(suites[..3].iter().all(|suite| format!("{suite:?}").contains("AES_128")), "{suites:?}");
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        for pem in ["", "rubbish", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(config(pem.as_bytes()), Err(ClientError::BadAuthority(_))), "{pem}");
        }
    }
}
