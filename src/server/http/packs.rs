//! Manifests, locations and packs for runners: bytes from files, by range.
//!
//! A pack is immutable and named by its content, so a range of it never changes: whoever cuts a transfer goes on with
//! another range. Read in large pieces, the next while the last is being sent.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::auth::RunToken;
use super::error::Refusal;
use super::extract::Path;
use crate::image::manifest::SignedManifest;
use crate::server::app::App;
use crate::server::library::LookupError;
use crate::store::ManifestError;
use crate::value::Digest;

/// Bytes in one piece: large, so that a system call and a TLS write carry much.
const PIECE: u64 = 512 << 10;
/// Pieces that are read ahead.
const AHEAD: usize = 2;

const BINARY: &str = "application/octet-stream";
const FOREVER: &str = "private, max-age=31536000, immutable";

/// A signed manifest that the run is pinned to.
pub async fn manifest(
    State(app): State<App>,
    token: RunToken,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    may_read(&app, token, digest).await?;
    stored_manifest(State(app), Path(digest), headers).await
}

/// Any signed manifest, for administrators and for appliances that fetch what they lost.
pub async fn stored_manifest(
    State(app): State<App>,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let path = app.library.store().manifest_path(&digest);
    let (file, size) = open(path).await?.ok_or_else(|| {
        Refusal::absent(
            format!("manifest {digest} is not in the library"),
            "import the image again, then start a new run",
        )
    })?;
    // The name stays when it is signed again with another key: so that nobody puts parts of two files together, the tag has the
    // signature in it, and a kept copy is asked about.
    let mut head = [0; SignedManifest::HEAD];
    let signed = file.read_exact_at(&mut head, 0).map(|()| Digest::of(&head));
    let signed = signed.map_err(|error| Refusal::fault(&error))?;
    let mut answer = answer(file, size, &format!("{digest}-{signed}"), &headers);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(answer)
}

/// Where the chunks of a manifest lie now. Changes when garbage is collected: asked again when a pack is gone.
pub async fn locations(
    State(app): State<App>,
    token: RunToken,
    Path(digest): Path<Digest>,
) -> Result<Response, Refusal> {
    may_read(&app, token, digest).await?;
    stored_locations(State(app), Path(digest)).await
}

/// Where the chunks of any manifest lie now.
pub async fn stored_locations(
    State(app): State<App>,
    Path(digest): Path<Digest>,
) -> Result<Response, Refusal> {
    // A large manifest takes memory while it is read; a room of Macs asks at the same time.
    static TURNS: Semaphore = Semaphore::const_new(2);
    let _turn = TURNS.acquire().await.map_err(|error| Refusal::fault(&error))?;
    let library = app.library.clone();
    let table =
        spawn_blocking(move || library.locations(digest)).await.map_err(|error| Refusal::fault(&error))?;
    let table = table.map_err(|error| match error {
        LookupError::Manifest(ManifestError::Missing(_)) => Refusal::absent(error.to_string(), ""),
        error => Refusal::fault(&error),
    })?;
    let table = table.encode();
    Ok(([(CONTENT_TYPE, BINARY), (CACHE_CONTROL, "no-store")], table).into_response())
}

/// Bytes of a pack.
pub async fn pack(
    State(app): State<App>,
    _token: RunToken,
    path: Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    stored_pack(State(app), path, headers).await
}

/// Bytes of a pack, for administrators.
pub async fn stored_pack(
    State(app): State<App>,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let path = app.library.store().pack_path(&digest);
    let (file, size) = open(path).await?.ok_or_else(|| {
        Refusal::absent(
            format!("pack {digest} is not in the library any more"),
            "ask for the manifest's locations again",
        )
    })?;
    Ok(answer(file, size, &digest.to_string(), &headers))
}

/// Opens a file; none when it is not there.
async fn open(path: PathBuf) -> Result<Option<(File, u64)>, Refusal> {
    let opened = spawn_blocking(move || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok::<_, io::Error>((file, size))
    });
    match opened.await.map_err(|error| Refusal::fault(&error))? {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::fault(&error)),
    }
}

async fn may_read(app: &App, token: RunToken, manifest: Digest) -> Result<(), Refusal> {
    if app.db.run_may_read(token.run, manifest).await? {
        return Ok(());
    }
    Err(Refusal::forbidden(
        format!("run {} does not apply manifest {manifest}", token.run),
        "ask `next` what it applies",
    ))
}

/// What of a file is asked for (RFC 9110 section 14.2).
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All of it: no range, or one that may be ignored (several ranges, another unit).
    Whole,
    /// This part.
    Part(Range<u64>),
    /// Nothing that exists.
    Nothing,
}

fn asked(headers: &HeaderMap, size: u64, name: &str) -> Asked {
    // A range of another file is no range of this one (RFC 9110 section 13.1.5).
    let other = headers.get(IF_RANGE).is_some_and(|tag| tag.as_bytes() != format!("\"{name}\"").as_bytes());
    let Some(text) = headers.get(RANGE).filter(|_| !other).and_then(|value| value.to_str().ok()) else {
        return Asked::Whole;
    };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first, last) {
        (first, "") => match number(first) {
            Some(first) if first < size => Asked::Part(first..size),
            Some(_) => Asked::Nothing,
            None => Asked::Whole,
        },
        ("", last) => match number(last) {
            Some(0) => Asked::Nothing,
            Some(count) if size > 0 => Asked::Part(size.saturating_sub(count)..size),
            Some(_) => Asked::Nothing,
            None => Asked::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => Asked::Whole,
            (Some(first), Some(_)) if first >= size => Asked::Nothing,
            (Some(first), Some(last)) => Asked::Part(first..last.saturating_add(1).min(size)),
            _ => Asked::Whole,
        },
    }
}

fn answer(file: File, size: u64, name: &str, headers: &HeaderMap) -> Response {
    let (status, range) = match asked(headers, size, name) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => {
            let refusal = Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                format!("{name} has {size} bytes, the range begins after them"),
                "ask for the manifest's locations again",
            );
            return ([(CONTENT_RANGE, format!("bytes */{size}"))], refusal).into_response();
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, BINARY)
        .header(CONTENT_LENGTH, range.end - range.start)
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, FOREVER)
        .header(ETAG, format!("\"{name}\""));
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.header(CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    response
        .body(Body::from_stream(pieces(file, range)))
        .unwrap_or_else(|error| Refusal::fault(&error).into_response())
}

fn pieces(file: File, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
    let file = Arc::new(file);
    let starts = stream::iter(range.clone().step_by(PIECE as usize));
    let read = move |start: u64| {
        let (file, length) = (file.clone(), PIECE.min(range.end - start));
        async move {
            let read = move || {
                let mut piece = vec![0; length as usize];
                file.read_exact_at(&mut piece, start)?;
                Ok(Bytes::from(piece))
            };
            spawn_blocking(read).await.unwrap_or_else(|error| Err(io::Error::other(error)))
        }
    };
    starts.map(read).buffered(AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, size: u64) -> Asked {
        asked(&HeaderMap::from_iter([(RANGE, range.parse().unwrap())]), size, "n")
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(of("bytes=0-99", 1000), Asked::Part(0..100));
        assert_eq!(of("bytes=900-", 1000), Asked::Part(900..1000));
        assert_eq!(of("bytes=-100", 1000), Asked::Part(900..1000));
        assert_eq!(of("bytes=-5000", 1000), Asked::Part(0..1000));
        assert_eq!(of("bytes=10-18446744073709551615", 1000), Asked::Part(10..1000));
        for nothing in ["bytes=1000-", "bytes=1000-1001", "bytes=-0"] {
            assert_eq!(of(nothing, 1000), Asked::Nothing, "{nothing}");
        }
        assert_eq!(of("bytes=-1", 0), Asked::Nothing);
        for whole in
            ["bytes=5-4", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=-", "bytes=99999999999999999999-"]
        {
            assert_eq!(of(whole, 1000), Asked::Whole, "{whole}");
        }
    }

    #[test]
    fn a_range_of_another_file_is_answered_with_the_whole() {
        let mut headers = HeaderMap::from_iter([(RANGE, "bytes=0-1".parse().unwrap())]);
        headers.insert(IF_RANGE, "\"other\"".parse().unwrap());
        assert_eq!(asked(&headers, 10, "n"), Asked::Whole);
        headers.insert(IF_RANGE, "\"n\"".parse().unwrap());
        assert_eq!(asked(&headers, 10, "n"), Asked::Part(0..2));
    }

    #[tokio::test]
    async fn a_part_of_a_file_arrives_as_it_lies_there() {
        let content: Vec<u8> = (0..3 * PIECE + 17).map(|n| (n * 7 % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, &content).unwrap();
        let headers = HeaderMap::from_iter([(RANGE, "bytes=5-".parse().unwrap())]);
        let response = answer(File::open(path).unwrap(), content.len() as u64, "n", &headers);
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        let got = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(got == content[5..]);
    }
}
