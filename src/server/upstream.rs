//! Another appliance that has the same images: what is lost here is fetched from there.
//!
//! Owns: asking for manifests, places and frames. What comes is believed by its digest only, so nothing of the other appliance
//! has to be trusted but its certificate. Blocking. Must not know: what is damaged here.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use super::config::Upstream as Settings;
use crate::client::{Client, ClientError};
use crate::image::chunk::{Frame, Opener, Slot, Verified};
use crate::image::manifest::{
    BadLocations, Location, Locations, MAX_SIGNED, Manifest, SignedManifest, Untrusted,
};
use crate::store::StoreError;
use crate::value::{Digest, Secret};

/// Longest token.
const LONGEST_TOKEN: usize = 256;

/// The other appliance.
pub struct Upstream {
    client: Client,
}

/// Why nothing came from there.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The token or the certificate cannot be read.
    #[error("reading {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No token.
    #[error("{} holds no token", .0.display())]
    Token(PathBuf),
    /// No answer, or a refusal.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its manifest is another.
    #[error("the upstream appliance sent another manifest than {0}")]
    Other(Digest),
    /// Its manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] Untrusted),
    /// Its table of places cannot be read.
    #[error(transparent)]
    Places(#[from] BadLocations),
    /// What came could not be kept here.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Upstream {
    /// The appliance of the settings; nothing is asked yet.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub fn open(settings: &Settings) -> Result<Upstream, UpstreamError> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|source| UpstreamError::File { path: path.clone(), source })
        };
        let (ca, token) = (read(&settings.ca)?, read(&settings.token_file)?);
        let token = String::from_utf8(token).ok().map(|text| text.trim().to_owned());
        let token = token.filter(|text| !text.is_empty() && text.len() <= LONGEST_TOKEN);
        let token = token.ok_or_else(|| UpstreamError::Token(settings.token_file.clone()))?;
        Ok(Upstream { client: Client::https(&settings.url, &ca, Some(Secret::new(token)))? })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.client.address()
    }

    /// The content of a manifest.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub fn manifest(&self, digest: Digest) -> Result<Manifest, UpstreamError> {
        let bytes = self.client.download(&format!("/api/v1/library/manifests/{digest}"), MAX_SIGNED)?;
        let signed = SignedManifest::from_bytes(bytes)?;
        if signed.digest() != digest {
            return Err(UpstreamError::Other(digest));
        }
        Ok(signed.contents()?)
    }

    /// Fetches chunks of a manifest and gives each to `keep`. Those that the other appliance does not have whole are left in
    /// `missing`.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub fn chunks(
        &self,
        digest: Digest,
        manifest: &Manifest,
        missing: &mut HashSet<Digest>,
        mut keep: impl FnMut(&Verified<'_>) -> Result<(), StoreError>,
    ) -> Result<(), UpstreamError> {
        let cells = manifest.digests().count() as u64;
        let path = format!("/api/v1/library/manifests/{digest}/locations");
        let places = Locations::decode(&self.client.download(&path, Locations::longest(cells))?, cells)?;
        let mut wanted: BTreeMap<u32, Vec<(Slot, Digest)>> = BTreeMap::new();
        for (chunk, slot) in
            manifest.digests().zip(places.cells()).filter(|(chunk, _)| missing.contains(chunk))
        {
            wanted.entry(slot.frame()).or_default().push((*slot, *chunk));
        }
        let mut opener = Opener::default();
        for (frame, chunks) in wanted {
            let place = places.frames().get(frame as usize);
            let Some(Location { pack, offset, length, .. }) = place.copied() else { continue };
            let Some(pack) = places.packs().get(pack as usize) else { continue };
            let range = offset..offset + u64::from(length);
            let bytes = self.client.bytes(&format!("/api/v1/library/packs/{pack}"), range)?;
            // Damaged there too: these chunks stay missing.
            let Ok(mut contents) = opener.open(Frame(&bytes)) else { continue };
            for (slot, chunk) in chunks {
                if let Ok(verified) = contents.chunk(slot.chunk(), chunk)
                    && missing.remove(&chunk)
                {
                    keep(&verified)?;
                }
            }
        }
        Ok(())
    }
}
