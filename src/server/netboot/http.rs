//! Plain HTTP: boot files with ranges, and the script for iPXE. Nothing here is secret and nothing can be changed.

use std::fs::Metadata;
use std::io::{self, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Context;
use crate::api::timeline::Stage;
use crate::netboot::ipxe::{INITRAMFS, KERNEL, Script};
use crate::netboot::tftp::BootPath;
use crate::value::{ByteSize, MacAddr};

/// Bytes read from a file at once: few enough to hold for every connection, enough to fill a 10 Gbit/s wire.
const READ: usize = 256 * 1024;
/// A client that sends no request for so long is let go; iPXE and firmware open a new connection.
const IDLE: Duration = Duration::from_secs(60);

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
struct Ends {
    local: SocketAddrV4,
    peer: Ipv4Addr,
}

pub(super) async fn serve(
    listener: TcpListener,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(context.settings.http_connections));
    let tracker = TaskTracker::new();
    let router = Router::new()
        .route("/boot/ipxe", get(script))
        .route("/boot/{*path}", get(file))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "boot files are under /boot/") })
        .with_state(context);
    loop {
        let accept = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await?))
        };
        let Some(accepted) = stop.run_until_cancelled(accept).await else { break };
        match accepted {
            Ok((place, (stream, _))) => {
                let (router, stop) = (router.clone(), stop.clone());
                tracker.spawn(async move {
                    connection(stream, router, stop).await;
                    drop(place);
                });
            }
            // Out of file descriptors, or the client went away between SYN and accept.
            Err(error) => {
                warn!(%error, "an HTTP connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tracker.close();
    tracker.wait().await;
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let (Ok(SocketAddr::V4(local)), Ok(SocketAddr::V4(peer))) = (stream.local_addr(), stream.peer_addr())
    else {
        return;
    };
    // A failure costs latency, nothing else.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.layer(Extension(Ends { local, peer: *peer.ip() })));
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    // GRUB 2.06 knows `Content-Length` in this spelling only, and without it waits for the end of the connection.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).title_case_headers(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // A large file is not waited for: whoever fetches it resumes or starts again.
            tokio::time::timeout(Duration::from_secs(2), connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "HTTP connection of {peer} broke off: {error}");
    }
}

#[derive(Deserialize)]
struct Asker {
    mac: Option<String>,
}

/// `GET /boot/ipxe?mac=…`
async fn script(
    State(context): State<Arc<Context>>,
    Extension(ends): Extension<Ends>,
    Query(asker): Query<Asker>,
) -> Response<Body> {
    let address = context.settings.advertise.unwrap_or(*ends.local.ip());
    let files = match ends.local.port() {
        80 => format!("http://{address}"),
        port => format!("http://{address}:{port}"),
    };
    let missing: Vec<&str> =
        [KERNEL, INITRAMFS].into_iter().filter(|name| !context.folder.has(name)).collect();
    let pair = context.folder.pair();
    let text = Script {
        files: &files,
        pair: &pair,
        server: &format!("https://{address}:{}", context.settings.https_port),
        arguments: &context.settings.kernel_arguments.to_string(),
        missing: &missing,
    }
    .text();
    let mac = asker.mac.and_then(|mac| mac.parse().ok());
    let detail = match missing.is_empty() {
        true => "iPXE fetched its script".to_owned(),
        false => format!("iPXE was told to wait: no {} in the boot folder", missing.join(" and ")),
    };
    tell(&context, ends, mac, missing.is_empty(), detail);
    answer(StatusCode::OK, "text/plain; charset=utf-8", Body::from(text))
}

/// `GET` and `HEAD /boot/{path}`
async fn file(
    State(context): State<Arc<Context>>,
    Extension(ends): Extension<Ends>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    let path = match BootPath::parse(path.as_bytes()) {
        Ok(path) => path,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let opened = {
        let (context, path) = (context.clone(), path.clone());
        tokio::task::spawn_blocking(move || context.folder.open(&path))
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)))
    };
    let (file, metadata) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tell(&context, ends, None, false, format!("HTTP {path}: {error}"));
            return refusal(StatusCode::NOT_FOUND, &format!("{path} is not in the boot folder"));
        }
    };
    let tag = entity_tag(&metadata);
    let range = match wanted_range(&headers, &tag, metadata.len()) {
        Ok(range) => range,
        Err(Unsatisfiable) => {
            let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "the range begins behind the end");
            insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", metadata.len()));
            return response;
        }
    };
    // A disk image attached by its ranges would fill the timeline: only its beginning is told.
    if range.is_none_or(|range| range.first == 0) && method == Method::GET {
        tell(&context, ends, None, true, format!("HTTP {path}: {}", ByteSize(metadata.len())));
    }
    deliver(&context, tokio::fs::File::from_std(file), &path, metadata.len(), &tag, range, &method).await
}

async fn deliver(
    context: &Context,
    mut file: tokio::fs::File,
    path: &BootPath,
    size: u64,
    tag: &str,
    range: Option<ByteRange>,
    method: &Method,
) -> Response<Body> {
    let ByteRange { first, length } = range.unwrap_or(ByteRange { first: 0, length: size });
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        if let Err(error) = file.seek(SeekFrom::Start(first)).await {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
        }
        context.clients.counters.http_bytes.fetch_add(length, Ordering::Relaxed);
        Body::from_stream(ReaderStream::with_capacity(file.take(length), READ))
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = answer(status, content_type(path.as_str()), body);
    insert(&mut response, header::CONTENT_LENGTH, &length.to_string());
    insert(&mut response, header::ACCEPT_RANGES, "bytes");
    insert(&mut response, header::ETAG, tag);
    if range.is_some() {
        let last = first + length - 1;
        insert(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    }
    response
}

fn tell(context: &Context, ends: Ends, mac: Option<MacAddr>, good: bool, detail: String) {
    match mac.or_else(|| context.clients.mac_of(ends.peer)) {
        Some(mac) => {
            info!(%mac, peer = %ends.peer, "{mac}: {detail}");
            context.clients.tell(mac, Stage::Http, good, detail);
        }
        None => info!(peer = %ends.peer, "{}: {detail}", ends.peer),
    }
}

fn answer(status: StatusCode, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    insert(&mut response, header::CONTENT_TYPE, content_type);
    response
}

fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", Body::from(format!("{reason}\n")))
}

/// Adds a header whose value was written here; one that is no header value is left out.
fn insert(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = header::HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// UEFI HTTP boot decides by the type whether it got a program or a disk image.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("efi") => "application/efi",
        Some("iso") => "application/vnd.efi-iso",
        Some("img") => "application/vnd.efi-img",
        Some("plist") => "application/xml",
        _ => "application/octet-stream",
    }
}

/// Changes whenever `media boot` writes the file anew.
fn entity_tag(metadata: &Metadata) -> String {
    format!(
        "\"{:x}-{:x}-{:x}.{:x}\"",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    )
}

/// Part of a file, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ByteRange {
    first: u64,
    length: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// The one range that a request asks for. Several ranges, another unit, a range that is no range or an If-Range of
/// another file: the whole file is sent (RFC 9110 sections 13.1.5 and 14.2).
fn wanted_range(headers: &HeaderMap, tag: &str, size: u64) -> Result<Option<ByteRange>, Unsatisfiable> {
    if headers.get(header::IF_RANGE).is_some_and(|own| own.as_bytes() != tag.as_bytes()) {
        return Ok(None);
    }
    let text = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    text.and_then(|text| text.strip_prefix("bytes=")).map_or(Ok(None), |text| read_range(text.trim(), size))
}

fn read_range(text: &str, size: u64) -> Result<Option<ByteRange>, Unsatisfiable> {
    let Some((first, last)) = text.split_once('-') else { return Ok(None) };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..=last.min(size.saturating_sub(1)),
        (Some(first), None) if last.is_empty() => first..=size.saturating_sub(1),
        (None, Some(most)) if first.is_empty() => {
            if most == 0 {
                return Err(Unsatisfiable);
            }
            size.saturating_sub(most)..=size.saturating_sub(1)
        }
        _ => return Ok(None),
    };
    if *range.start() >= size {
        return Err(Unsatisfiable);
    }
    Ok(Some(ByteRange { first: *range.start(), length: range.end() - range.start() + 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_means_them() {
        let range = |first, length| Ok(Some(ByteRange { first, length }));
        for (text, want) in [
            ("0-0", range(0, 1)),
            ("10-19", range(10, 10)),
            ("90-", range(90, 10)),
            ("90-1000", range(90, 10)),
            ("-5", range(95, 5)),
            ("-500", range(0, 100)),
            ("100-", Err(Unsatisfiable)),
            ("100-200", Err(Unsatisfiable)),
            ("-0", Err(Unsatisfiable)),
            ("9-3", Ok(None)),
            ("a-b", Ok(None)),
            ("0-1,5-6", Ok(None)),
            ("+1-2", Ok(None)),
            ("-", Ok(None)),
            ("18446744073709551616-", Ok(None)),
        ] {
            assert_eq!(read_range(text, 100), want, "{text}");
        }
        assert_eq!(read_range("0-", 0), Err(Unsatisfiable));
        assert_eq!(read_range("-5", 0), Err(Unsatisfiable));
    }

    #[test]
    fn a_range_of_another_version_of_the_file_gives_the_whole_file() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=5-9".parse().unwrap());
        assert_eq!(wanted_range(&headers, "\"a\"", 100), Ok(Some(ByteRange { first: 5, length: 5 })));
        headers.insert(header::IF_RANGE, "\"b\"".parse().unwrap());
        assert_eq!(wanted_range(&headers, "\"a\"", 100), Ok(None));
        headers.insert(header::IF_RANGE, "\"a\"".parse().unwrap());
        assert!(wanted_range(&headers, "\"a\"", 100).unwrap().is_some());
    }
}
