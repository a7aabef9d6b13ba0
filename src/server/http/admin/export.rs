//! An image as a file, made while it is sent.

use std::io::{self, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::image::absent;
use crate::api::runner::Problem;
use crate::image::export::{self, Format, Out, Shape};
use crate::image::manifest::Manifest;
use crate::server::app::App;
use crate::server::http::error::{Refusal, chain};
use crate::server::http::extract::{Path, Query};
use crate::server::library::Library;
use crate::store::StoredImage;

/// Bytes in one piece.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the network.
const AHEAD: usize = 8;

/// Exports at a time: each takes every core that it gets.
static TURNS: Semaphore = Semaphore::const_new(2);

/// What is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    format: String,
    partition: Option<u32>,
    #[serde(default)]
    from: u64,
}

/// An image version as a file: `raw`, `raw.zst`, `udzo`, `ulfo` or, of one volume, `partclone`.
///
/// It is made while it is sent, so its length is not known before. An answer that ends early is an export that failed; the log says
/// why. `raw.zst` is frames of zstd, each with its length and checksum: whoever has some whole ones goes on behind them, `from` the
/// number of bytes that are in them. The others begin anew.
#[utoipa::path(get, path = "/api/v1/images/{name}/versions/{version}/export", tag = "images",
    params(("name" = String, Path), ("version" = u32, Path),
        ("format" = String, Query, description = "`raw`, `raw.zst`, `udzo`, `ulfo`, `partclone`"),
        ("partition" = Option<u32>, Query, description = "Only this partition"),
        ("from" = Option<u64>, Query, description = "Of `raw.zst`: the first byte of the image that is wanted")),
    responses((status = 200, description = "The file", content_type = "application/octet-stream"),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn export(
    State(app): State<App>,
    Path((name, version)): Path<(String, u32)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refusal> {
    let format: Format = wanted.format.parse().map_err(|error: export::BadFormat| {
        Refusal::wrong(format!("`{}` is no format of exports", wanted.format), error.to_string())
    })?;
    let found = app.db.version(&name, Some(version)).await?.ok_or_else(|| absent(&name, Some(version)))?;
    let turn = TURNS.try_acquire().map_err(|_| {
        Refusal::conflict("two images are being exported already", "try again when one of them is done")
    })?;
    // Not deleted meanwhile; where a collection of garbage moves chunks, they are found again.
    let hold = app.holds.hold(&found.image, found.version, "an export").ok_or_else(|| {
        Refusal::conflict(format!("{name} {version} is being deleted"), "export another version")
    })?;
    let library = app.library.clone();
    let read = spawn_blocking(move || library.manifest(found.manifest));
    let read = read.await.map_err(|error| Refusal::fault(&error))?;
    let (_, manifest) = read.map_err(|error| Refusal::fault(&error))?;
    let shape = Shape::new(&manifest, wanted.partition)
        .and_then(|shape| {
            shape.fits(format).and_then(|()| shape.may_begin(wanted.from, format)).map(|()| shape)
        })
        .map_err(|error| Refusal::wrong(error.to_string(), "rootstock image show lists its partitions"))?;
    let (give, pieces) = mpsc::channel(AHEAD);
    let (library, from) = (app.library.clone(), wanted.from);
    spawn_blocking(move || {
        let (_turn, _hold) = (turn, hold);
        let label = format!("export of {name} {version} as {format}");
        if let Err(error) = send(&library, &manifest, (&shape, from), format, &give) {
            tracing::warn!("the {label} ended early: {}", chain(&error));
            // Who hung up does not want to know.
            let _ = give.blocking_send(Err(error));
        } else {
            tracing::info!("{label} was sent");
        }
    });
    let body = stream::unfold(pieces, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces)));
    let kind = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "no-store")];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// Blocks its thread.
fn send(
    library: &Library,
    manifest: &Manifest,
    (shape, from): (&Shape, u64),
    format: Format,
    give: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut image = StoredImage::new(library.store(), manifest.regions());
    let mut out = Pieces { give, held: Vec::with_capacity(PIECE) };
    export::export_from(from, shape, &mut image, format, library.workers(), &mut out, &mut |_| true)
        .map_err(io::Error::other)?;
    out.flush()
}

/// Collects what is written into pieces for the network.
struct Pieces<'a> {
    give: &'a mpsc::Sender<io::Result<Bytes>>,
    held: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let step = bytes.len().min(PIECE - self.held.len());
        self.held.extend_from_slice(&bytes[..step]);
        if self.held.len() == PIECE {
            self.flush()?;
        }
        Ok(step)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.held, Vec::with_capacity(PIECE));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked has hung up");
        self.give.blocking_send(Ok(piece.into())).map_err(gone)
    }
}

impl Out for Pieces<'_> {}
