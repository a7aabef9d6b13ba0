//! The image library: files become signed manifests in the store. Blocking; the daemon calls it from threads of its own.
//!
//! Owns: the signing key, the walk from file to manifest, the room that is left free on the disk.
//! Must not know: SQL, HTTP, names and versions.

use std::io::{self, Cursor};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::keys::{KeyError, Keys};
use crate::image::chunk::{Packed, chunk_length};
use crate::image::doctor::Subject;
use crate::image::ingest::{Halt, IngestError, Ingested, Keeper, Progress, Sink, ingest};
use crate::image::manifest::{Locations, MAX_IMAGE, Manifest, ManifestKey, NoImage, PartitionFacts, Region};
use crate::image::manifest::{SignedManifest, Untrusted, VolumeFacts};
use crate::image::partition::{self, Layout, PartitionError};
use crate::image::source::{Checksums, DecodeError, Decoded, Format, Source, SourceError};
use crate::image::volume;
use crate::input::{self, OpenError, Room};
use crate::store::{GetError, Import, ManifestError, Store, StoreError, StoredImage, Verification};
use crate::value::{ByteSize, Digest, Secret};

/// The library of one appliance.
pub struct Library {
    store: Store,
    keys: Keys,
    workers: usize,
    keep_free: u64,
}

/// An image that is in the library now.
#[derive(Debug)]
pub struct Imported {
    /// Name of the manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// What the file was; none: a disk that was captured.
    pub format: Option<Format>,
    /// The file's own checksums.
    pub checksums: Checksums,
    /// Chunks that the store did not have.
    pub new_chunks: u64,
    /// Bytes of their frames.
    pub new_bytes: u64,
    /// What was odd and stopped nobody.
    pub warnings: Vec<String>,
}

/// Why the library cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a file did not become an image; nothing was added to the library.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Opening it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its format, its content, its checksums.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its partition table.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// Its partition table names more than there is.
    #[error("the image ends before partition {number} does: it was cut off; copy or download it again")]
    CutOff {
        /// The partition.
        number: u32,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk would become too full.
    #[error(
        "the library's disk has {} left, and {} must stay free; free some room, or set library.keep-free lower",
        ByteSize(*.free), ByteSize(*.keep)
    )]
    Room {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        keep: u64,
    },
    /// Reading back what was stored.
    #[error("looking into the volumes of the image")]
    Facts(#[source] io::Error),
    /// The image is empty.
    #[error("the image is empty")]
    Empty,
    /// No memory to compress.
    #[error("compressing a chunk")]
    Compress(#[source] io::Error),
    /// The decoder broke its contract.
    #[error("the decoder gave pieces that do not follow each other: {0}")]
    Decoder(String),
    /// The regions do not add up.
    #[error(transparent)]
    NoImage(#[from] NoImage),
    /// A captured cell names a chunk of another length.
    #[error("the cell of {length} bytes at byte {at} of the image names a chunk of {chunk} bytes")]
    Cell {
        /// Where.
        at: u64,
        /// Bytes of the cell.
        length: u64,
        /// Bytes of the chunk.
        chunk: u32,
    },
    /// Somebody asked to stop.
    #[error("the import was stopped")]
    Stopped,
}

/// Why a manifest is not handed out.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Not there, damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There, and not to be believed.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A chunk of it is missing.
    #[error(transparent)]
    Chunk(#[from] GetError),
    /// It cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its partition table.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// Reading what is on it.
    #[error("looking into the volumes of the image")]
    Look(#[source] io::Error),
}

impl Library {
    /// Opens the store in the folder `store` with the signing key in the folder `keys`; makes what is missing.
    ///
    /// # Errors
    /// See [`LibraryError`].
    pub fn open(store: &Path, keys: &Path, workers: usize, keep_free: u64) -> Result<Library, LibraryError> {
        let keys = Keys::open(keys)?;
        Ok(Library { store: Store::open(store)?, keys, workers: workers.max(1), keep_free })
    }

    /// Public key that manifests are signed with now.
    pub fn key(&self) -> ManifestKey {
        self.keys.signer().key()
    }

    /// Every key, and how one follows another.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Signs a manifest again with the key that signs now. Its name stays.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn sign_again(&self, digest: Digest) -> Result<(), LookupError> {
        let (_, manifest) = self.manifest(digest)?;
        Ok(self.store.replace_manifest(&self.keys.signer().sign(&manifest))?)
    }

    /// Threads that one piece of work may use.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Opens the image at `path`. What must be unpacked first goes beside the store; `go_on` is told how much that is, and says
    /// whether to go on.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn source(
        &self,
        path: &Path,
        password: Option<&Secret>,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<Source, ImportError> {
        let room = Room { folder: self.store.folder(), keep_free: self.keep_free, go_on };
        match input::open(path, password, Some(room)) {
            Err(OpenError::Stopped) => Err(ImportError::Stopped),
            opened => Ok(opened?.source),
        }
    }

    /// Takes in the image file at `path`. When this returns, the image survives a power cut.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn import(&self, path: &Path, progress: &Progress) -> Result<Imported, ImportError> {
        self.take(self.source(path, None, &|_| true)?, path, progress)
    }

    /// Takes in an image that was opened. `path` is for the log.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn take(
        &self,
        mut source: Source,
        path: &Path,
        progress: &Progress,
    ) -> Result<Imported, ImportError> {
        let (format, warnings) = (source.format(), source.warnings().to_vec());
        let layout = match source.size() {
            Some(size) => Some(partition::read(&mut source.reader()?, size)?),
            None => None,
        };
        let import = self.store.import()?;
        let made = self.take_in(&mut source, layout.clone(), &import, progress);
        let made = made.and_then(|(ingested, decoded)| Ok((self.describe(&import, ingested)?, decoded)));
        let ((manifest, new_chunks, new_bytes), decoded) = match made {
            Ok(made) => made,
            Err(error) => {
                let path = path.display();
                if let Err(left) = import.abandon() {
                    tracing::warn!("what the failed import of {path} stored is garbage now: {left}");
                }
                return Err(error);
            }
        };
        let digest = import.finish(&manifest, &self.keys.signer().sign(&manifest))?;
        let odd = layout.into_iter().flat_map(|layout| layout.warnings).map(|oddity| oddity.to_string());
        let warnings = warnings.into_iter().chain(odd).collect();
        Ok(Imported {
            digest,
            manifest,
            format: Some(format),
            checksums: decoded.checksums,
            new_chunks,
            new_bytes,
            warnings,
        })
    }

    /// The manifest of what was taken in, with the number and bytes of new chunks.
    fn describe(
        &self,
        import: &Import<'_>,
        mut ingested: Ingested,
    ) -> Result<(Manifest, u64, u64), ImportError> {
        if let Some(PartitionFacts { number, .. }) = ingested.left_out.first() {
            return Err(ImportError::CutOff { number: *number });
        }
        import.settle()?;
        let facts = self.volume_facts(&ingested.regions, ingested.scheme).map_err(ImportError::Facts)?;
        ingested.regions.iter_mut().zip(facts).for_each(|(region, facts)| region.volume = facts);
        let (new_chunks, new_bytes) = (ingested.new_chunks, ingested.new_bytes);
        Ok((ingested.into_manifest()?, new_chunks, new_bytes))
    }

    /// Decodes into the store.
    fn take_in(
        &self,
        source: &mut Source,
        layout: Option<Layout>,
        import: &Import<'_>,
        progress: &Progress,
    ) -> Result<(Ingested, Decoded), ImportError> {
        let keeper = Roomy { import, folder: self.store.folder(), keep: self.keep_free };
        let (mut decoded, mut bad_table) = (None, None);
        let feed = |sink: Sink<'_>| {
            decoded = Some(source.decode(self.workers, sink)?);
            Ok::<(), DecodeError<Halt>>(())
        };
        let layout = |head: &[u8]| match layout {
            Some(layout) => Ok(layout),
            // A stream is read once, so its table must be in front; whether the partitions are all there is seen at
            // the end.
            None => partition::read(&mut Cursor::new(head), STREAM).map_err(|error| {
                bad_table = Some(error);
                Halt
            }),
        };
        let result = ingest(feed, layout, &keeper, self.workers, progress);
        if let Some(error) = bad_table {
            return Err(error.into());
        }
        let ingested = result.map_err(|error| match error {
            IngestError::Source(DecodeError::Source(error)) => ImportError::Source(error),
            IngestError::Source(DecodeError::Sink(Halt)) | IngestError::Stopped => ImportError::Stopped,
            IngestError::Keep(error) => error,
            IngestError::Compress(error) => ImportError::Compress(error),
            IngestError::Empty => ImportError::Empty,
            error @ IngestError::OutOfOrder { .. } => ImportError::Decoder(error.to_string()),
        })?;
        Ok((ingested, decoded.ok_or(ImportError::Stopped)?))
    }

    /// Whether so many bytes more leave the room free that must stay so.
    ///
    /// # Errors
    /// [`ImportError::Room`] when they do not.
    pub fn room(&self, bytes: u64) -> Result<(), ImportError> {
        room(self.store.folder(), self.keep_free, bytes)
    }

    /// Chunks of a manifest that no closed pack has, doubles counted.
    pub fn lacking(&self, manifest: &Manifest) -> u64 {
        manifest.digests().filter(|digest| !self.store.holds(digest)).count() as u64
    }

    /// Makes an image of chunks that were captured: every one is there and as long as its cell, volumes say what they are,
    /// the manifest is signed and durable. `added`: bytes of their frames. `captured` says nothing of volumes yet.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn finish_capture(
        &self,
        import: Import<'_>,
        captured: Manifest,
        added: u64,
    ) -> Result<Imported, ImportError> {
        import.settle()?;
        let locations = self.store.locations(&captured).map_err(StoreError::Incomplete)?;
        for (slot, (span, _)) in locations.cells().iter().zip(captured.cells()) {
            let frame = locations.frames().get(slot.frame() as usize);
            let length = frame.map_or(0, |frame| chunk_length(frame.raw, slot.chunk()));
            if u64::from(length) != span.length {
                return Err(ImportError::Cell { at: span.offset, length: span.length, chunk: length });
            }
        }
        let facts = self.volume_facts(captured.regions(), captured.scheme()).map_err(ImportError::Facts)?;
        let mut regions = captured.regions().to_vec();
        regions.iter_mut().zip(facts).for_each(|(region, facts)| region.volume = facts);
        let manifest = Manifest::new(captured.source(), captured.scheme(), regions)?;
        let digest = import.finish(&manifest, &self.keys.signer().sign(&manifest))?;
        Ok(Imported {
            digest,
            manifest,
            format: None,
            checksums: Checksums { present: false, ok: true },
            new_chunks: 0,
            new_bytes: added,
            warnings: Vec::new(),
        })
    }

    /// What the volumes say of themselves: one entry a region.
    fn volume_facts(
        &self,
        regions: &[Region],
        scheme: partition::Scheme,
    ) -> io::Result<Vec<Option<VolumeFacts>>> {
        let mut image = StoredImage::new(&self.store, regions);
        let volumes = regions.iter().map(|region| {
            if region.partition.is_none() && scheme != partition::Scheme::None {
                return Ok(None);
            }
            let facts = volume::read(&mut image, region.start, region.size)?;
            Ok((facts.kind != volume::Kind::Unknown).then(|| VolumeFacts {
                kind: facts.kind.to_string(),
                label: facts.label.unwrap_or_default(),
                size: facts.size,
                used: facts.used,
                block_size: facts.block_size.unwrap_or(0),
            }))
        });
        volumes.collect()
    }

    /// What the image doctor needs to know of an image; `checksums` are those of the file that it came from,
    /// if it came from one.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn subject(&self, digest: Digest, checksums: Option<Checksums>) -> Result<Subject, LookupError> {
        let (_, manifest) = self.manifest(digest)?;
        let mut image = StoredImage::new(&self.store, manifest.regions());
        let layout = partition::read(&mut image, manifest.size())?;
        Subject::gather(&mut image, manifest.size(), &layout, checksums).map_err(LookupError::Look)
    }

    /// A manifest, checked against this appliance's own key.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn manifest(&self, digest: Digest) -> Result<(SignedManifest, Manifest), LookupError> {
        let signed = self.store.manifest(digest)?;
        let manifest = signed.verify(digest, &self.keys.believed())?;
        Ok((signed, manifest))
    }

    /// Where the chunks of a manifest lie.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn locations(&self, digest: Digest) -> Result<Locations, LookupError> {
        Ok(self.store.locations(&self.manifest(digest)?.1)?)
    }

    /// Signs a manifest whose content is known to be right.
    pub fn sign(&self, manifest: &Manifest) -> SignedManifest {
        self.keys.signer().sign(manifest)
    }

    /// Reads every chunk of an image and compares it with the manifest. `done` counts bytes.
    ///
    /// # Errors
    /// See [`LookupError`]; damaged chunks are no error but the result.
    pub fn verify(&self, digest: Digest, done: &AtomicU64) -> Result<Verification, LookupError> {
        let (_, manifest) = self.manifest(digest)?;
        Ok(self.store.verify(&manifest, self.workers, done))
    }
}

/// Size that is assumed of a stream until its end.
const STREAM: u64 = MAX_IMAGE;

/// An import that leaves room on the disk.
struct Roomy<'a> {
    import: &'a Import<'a>,
    folder: &'a Path,
    keep: u64,
}

impl Keeper for Roomy<'_> {
    type Error = ImportError;

    fn holds(&self, digest: &Digest) -> bool {
        self.import.holds(digest)
    }

    fn keep(&self, packed: &Packed) -> Result<(), ImportError> {
        room(self.folder, self.keep, packed.frame.len() as u64)?;
        Ok(self.import.keep(packed)?)
    }
}

/// Whether `bytes` more in `folder` leave `keep` free. Where this cannot be asked, the write says whether there is room.
fn room(folder: &Path, keep: u64, bytes: u64) -> Result<(), ImportError> {
    let Ok(disk) = nix::sys::statvfs::statvfs(folder) else { return Ok(()) };
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free < keep.saturating_add(bytes) { Err(ImportError::Room { free, keep }) } else { Ok(()) }
}
