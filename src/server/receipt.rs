//! Receipts: believed only with the signature of the runner that said hello, for the run and action that they name.

use crate::api::runner::{Receipt, SignedReceipt};
use crate::api::trust::{NotVouched, runners_receipt};
use crate::image::manifest::ManifestKey;

/// Why a receipt is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    /// Not signed by the runner that said hello, changed, or no receipt.
    #[error(transparent)]
    Runner(#[from] NotVouched),
    /// Of another run or action.
    #[error("it is for action {number} of run {run}")]
    Other {
        /// Run that it names.
        run: i64,
        /// Action that it names.
        number: u32,
    },
}

/// Checks everything that can be checked without the Mac.
pub fn check(signed: &SignedReceipt, key: &str, run: i64, number: u32) -> Result<Receipt, BadReceipt> {
    let receipt = runners_receipt(&signed.receipt, &signed.signature, key)?;
    if (receipt.run, receipt.number) != (run, number) {
        return Err(BadReceipt::Other { run: receipt.run, number: receipt.number });
    }
    Ok(receipt)
}

/// Whether a text can be a receipt key.
pub fn is_key(text: &str) -> bool {
    text.parse::<ManifestKey>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Digest;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref())
            .unwrap()
    }

    fn signed(pair: &Ed25519KeyPair) -> SignedReceipt {
        let receipt = serde_json::to_string(&Receipt::of_a_test()).unwrap();
        SignedReceipt { signature: hex(pair.sign(receipt.as_bytes()).as_ref()), receipt }
    }

    #[test]
    fn a_receipt_is_believed_for_its_run_and_action_with_its_runners_key_only() {
        let (pair, stranger) = (pair(), pair());
        let (key, other) = (hex(pair.public_key().as_ref()), hex(stranger.public_key().as_ref()));
        let receipt = signed(&pair);
        assert_eq!(check(&receipt, &key, 7, 2).unwrap().manifest, Digest::of(b"m"));
        assert_eq!(check(&receipt, &other, 7, 2), Err(NotVouched::Runner.into()));
        assert_eq!(check(&receipt, &key, 8, 2), Err(BadReceipt::Other { run: 7, number: 2 }));
        let mut changed = receipt.clone();
        changed.receipt = changed.receipt.replace("\"rewritten\":0", "\"rewritten\":9");
        assert_eq!(check(&changed, &key, 7, 2), Err(NotVouched::Runner.into()));
        let short = SignedReceipt { signature: "ab".into(), ..receipt };
        assert_eq!(check(&short, &key, 7, 2), Err(NotVouched::Spelling("signature").into()));
        assert_eq!(check(&short, "é", 7, 2), Err(NotVouched::Spelling("public key").into()));
    }
}
