//! What the appliance vouches for: receipts are countersigned and handed out, manifests are signed again when a key is
//! retired.
//!
//! Must not know: how keys lie on the disk (`keys`), SQL, HTTP.

use tokio::task::spawn_blocking;

use super::app::App;
use super::clock::now_ms;
use super::http::error::chain;
use super::jobs::{Made, Work};
use super::keys::KeyError;
use super::library::LookupError;
use crate::api::runner::Problem;
use crate::api::trust::{FORMAT, KeptReceipt};
use crate::db::{Countersignature, DbError, ReceiptRow};
use crate::image::manifest::ManifestKey;
use crate::store::{ManifestError, StoreError};
use crate::value::Digest;

/// Receipts that are signed in one go.
const BATCH: u32 = 500;

/// Countersigns every receipt that was kept and is not countersigned yet. What goes wrong is logged and tried again. One at a time:
/// who waits finds that his was signed with those of others, also when a whole lab ends its step at the same moment.
pub async fn countersign(app: &App) {
    let _one = app.countersigning.lock().await;
    loop {
        match countersign_some(app).await {
            Ok(count) if count < BATCH as usize => return,
            Ok(_) => {}
            Err(error) => return tracing::error!("receipts were not countersigned: {}", chain(&error)),
        }
    }
}

async fn countersign_some(app: &App) -> Result<usize, DbError> {
    let rows = app.db.unsigned_receipts(BATCH).await?;
    let signer = app.library.keys().signer();
    let word = |row: &ReceiptRow| {
        let signed = (row.receipt.clone(), row.signature.clone(), row.public_key.clone());
        let kept = KeptReceipt::new(signed, now_ms(), &signer, Vec::new());
        let word = Countersignature {
            kept_ms: kept.kept_ms,
            signature: kept.countersignature,
            by: kept.countersigned_by,
        };
        (row.run, row.assignment, word)
    };
    let words: Vec<_> = rows.iter().map(word).collect();
    app.db.countersign(&words).await?;
    Ok(rows.len())
}

/// Receipts as they are exported.
pub async fn receipts(
    app: &App,
    run: Option<i64>,
    after: (i64, u32),
    limit: u32,
) -> Result<Vec<KeptReceipt>, DbError> {
    countersign(app).await;
    let chain = app.library.keys().chain();
    let rows = app.db.kept_receipts(run, after, limit).await?;
    let kept = rows.into_iter().filter_map(|row| {
        let ReceiptRow { receipt, signature, public_key, counter, .. } = row;
        let Countersignature { kept_ms, signature: countersignature, by: countersigned_by } = counter?;
        Some(KeptReceipt {
            format: FORMAT,
            receipt,
            signature,
            public_key,
            kept_ms,
            countersignature,
            countersigned_by,
            chain: chain.clone(),
        })
    });
    Ok(kept.collect())
}

/// Why a key was not retired.
#[derive(Debug, thiserror::Error)]
enum RetireError {
    #[error("manifest {0} cannot be signed again")]
    Manifest(Digest, #[source] Box<LookupError>),
    #[error(transparent)]
    Read(#[from] ManifestError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("it was stopped")]
    Stopped,
}

/// Signs every manifest of a key again with the one that signs now, then the key is not believed any more. Names stay: a
/// signature is no part of a manifest's name.
pub async fn retire(app: &App, key: ManifestKey, work: &Work) -> Result<Made, Problem> {
    // No import and no sweep in between.
    let _settled = app.settling.lock().await;
    let (library, working) = (app.library.clone(), work.clone());
    let retiring = spawn_blocking(move || {
        let manifests = library.store().manifests()?;
        working.phase("signing", manifests.len() as u64);
        let mut signed = 0_u64;
        for (place, digest) in manifests.into_iter().enumerate() {
            if working.is_stopped() {
                return Err(RetireError::Stopped);
            }
            if library.store().manifest(digest)?.signed_by() == key {
                library.sign_again(digest).map_err(|error| RetireError::Manifest(digest, error.into()))?;
                signed += 1;
            }
            working.set_done(place as u64 + 1);
        }
        library.keys().retire(key)?;
        Ok(signed)
    });
    let failed = |error: String| Problem {
        error: format!("key {key} is still believed: {error}"),
        next_step: "mend that, then retire it again; what was signed again stays so".to_owned(),
    };
    let signed =
        retiring.await.map_err(|panic| failed(panic.to_string()))?.map_err(|error| failed(chain(&error)))?;
    tracing::info!("key {key} was retired; {signed} manifests were signed again");
    Ok(Made { message: format!("key {key} is retired; {signed} manifests were signed again"), version: None })
}
