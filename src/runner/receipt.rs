//! The key of this start, and receipts signed with it.
//!
//! Must not know: what was applied.

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::api::runner::{Receipt, SignedReceipt};

/// An Ed25519 key (RFC 8032) that lives as long as this process: what it signs was done by the runner that said hello.
pub struct ReceiptKey(Ed25519KeyPair);

/// No key could be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kernel gave no random numbers.
    #[error("the kernel gives no random numbers for a key")]
    NoRandom,
    /// The receipt cannot be written as JSON.
    #[error("the receipt cannot be written")]
    Unwritable(#[source] serde_json::Error),
}

impl ReceiptKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn generate() -> Result<ReceiptKey, KeyError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandom)?;
        Ed25519KeyPair::from_pkcs8(document.as_ref()).map(ReceiptKey).map_err(|_| KeyError::NoRandom)
    }

    /// The public half, hexadecimal.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    /// Signs.
    ///
    /// # Errors
    /// [`KeyError::Unwritable`].
    pub fn sign(&self, receipt: &Receipt) -> Result<SignedReceipt, KeyError> {
        let receipt = serde_json::to_string(receipt).map_err(KeyError::Unwritable)?;
        let signature = hex(self.0.sign(receipt.as_bytes()).as_ref());
        Ok(SignedReceipt { receipt, signature })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_signature_is_over_exactly_the_text_and_fits_the_public_key() {
        let key = ReceiptKey::generate().unwrap();
        let receipt = Receipt::of_a_test();
        let signed = key.sign(&receipt).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, bytes(&key.public()));
        assert!(public.verify(signed.receipt.as_bytes(), &bytes(&signed.signature)).is_ok());
        assert!(public.verify(format!("{} ", signed.receipt).as_bytes(), &bytes(&signed.signature)).is_err());
        assert_eq!(serde_json::from_str::<Receipt>(&signed.receipt).unwrap(), receipt);
    }
}
