//! The appliance's own certificate authority, made on first start, and the server certificate that it signs.
//!
//! Boot files carry `keys/ca.pem`, so the CA outlives everything else; the server's key and certificate are made anew at
//! each start and whenever the machine's addresses change, and never written down. Must not know: listeners, requests.
//!
//! Both begin in 1970: a Mac whose clock battery is empty starts at that date, and must still reach its appliance.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::data::{read_small, write_durably};

/// The authority of one appliance.
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key file cannot be read or written.
    #[error("the key file {} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no key or certificate, or they do not belong together.
    #[error("{} holds no {what}; restore it from a backup, or remove `ca.key` and `ca.pem` and build all boot files anew", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A certificate cannot be made.
    #[error("a certificate for {names} cannot be made")]
    Make {
        /// Names that it should hold.
        names: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS library refuses what was made.
    #[error("the server certificate is unusable")]
    Tls(#[from] rustls::Error),
}

impl Authority {
    /// Reads `ca.key` and `ca.pem` of the key folder, or makes them.
    pub fn open(keys: &Path) -> Result<Authority, AuthorityError> {
        let (key_path, pem_path) = (keys.join("ca.key"), keys.join("ca.pem"));
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { path, source }
        };
        let content = |path: &Path, what| AuthorityError::Content { path: path.to_owned(), what };
        let key = match read_small(&key_path).map_err(file(&key_path))? {
            Some(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(|text| KeyPair::from_pem(text).ok())
                .ok_or_else(|| content(&key_path, "private key"))?,
            None => {
                let key = KeyPair::generate().map_err(made("the authority"))?;
                write_durably(&key_path, key.serialize_pem().as_bytes(), 0o600).map_err(file(&key_path))?;
                key
            }
        };
        // The certificate can be made again from the key: subject and key, which clients trust, stay the same.
        let certificate = match read_small(&pem_path).map_err(file(&pem_path))? {
            Some(text) => {
                CertificateDer::from_pem_slice(&text).map_err(|_| content(&pem_path, "certificate"))?
            }
            None => {
                let certificate = parameters(&key).self_signed(&key).map_err(made("the authority"))?;
                write_durably(&pem_path, certificate.pem().as_bytes(), 0o644).map_err(file(&pem_path))?;
                certificate.der().clone()
            }
        };
        let authority = Authority { key, certificate };
        if !authority.is_whole() {
            return Err(content(&pem_path, "certificate of the key in `ca.key`"));
        }
        Ok(authority)
    }

    /// SHA-256 of the CA certificate, hexadecimal.
    pub fn fingerprint(&self) -> String {
        digest(&SHA256, &self.certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A server with a new certificate for these names and addresses.
    pub fn server(&self, names: &[String]) -> Result<ServerConfig, AuthorityError> {
        let listed = names.join(", ");
        let key = KeyPair::generate().map_err(made(&listed))?;
        let mut params = CertificateParams::new(names).map_err(made(&listed))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Rootstock");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (date_time_ymd(1970, 1, 1), date_time_ymd(2069, 12, 31));
        let parameters = parameters(&self.key);
        let issuer = Issuer::from_params(&parameters, &self.key);
        let leaf = params.signed_by(&key, &issuer).map_err(made(&listed))?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A runner resumes its session on every new connection: no second key exchange for thirty Macs at once.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(config)
    }

    /// Whether the certificate is for the key: it must contain its public key.
    fn is_whole(&self) -> bool {
        let key = self.key.der_bytes();
        self.certificate.windows(key.len()).any(|window| window == key)
    }
}

fn made(names: &str) -> impl FnOnce(rcgen::Error) -> AuthorityError {
    let names = names.to_owned();
    move |source| AuthorityError::Make { names, source }
}

/// The CA certificate's content: a function of its key, so that it need not be parsed back.
fn parameters(key: &KeyPair) -> CertificateParams {
    let name = digest(&SHA256, key.der_bytes());
    let short: String = name.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Rootstock CA {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(1970, 1, 1), date_time_ymd(2069, 12, 31));
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_made_once_and_a_lost_certificate_is_made_again_for_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path()).unwrap();
        let again = Authority::open(folder.path()).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
        let rebuilt = Authority::open(folder.path()).unwrap();
        assert_eq!(rebuilt.key.der_bytes(), first.key.der_bytes());
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Authority::open(one.path()).unwrap();
        Authority::open(other.path()).unwrap();
        std::fs::copy(other.path().join("ca.pem"), one.path().join("ca.pem")).unwrap();
        let error = Authority::open(one.path()).err().unwrap().to_string();
        assert!(error.contains("ca.pem holds no certificate of the key"), "{error}");
    }

    #[test]
    fn names_and_addresses_both_get_into_the_server_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        authority.server(&["10.1.2.3".into(), "fd00::1".into(), "lab.example".into()]).unwrap();
    }
}
