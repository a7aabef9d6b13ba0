//! Uploads: the tus protocol 1.0.0 (core, creation, creation with upload, checksum, termination, expiration) beside a JSON
//! view of the same things. What the headers mean: `crate::api::tus`.

use std::time::Duration;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::image::check_name;
use crate::api::admin::{ImportUpload, Job, Upload};
use crate::api::runner::Problem;
use crate::api::tus::{self, Algorithm, Checksum, Metadata, http_date, keys};
use crate::server::app::App;
use crate::server::caller::Caller;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Json, Path};
use crate::server::naming::NameRule;
use crate::server::upload::{Entry, Place, Sent, UploadError, Wanted, work};

/// Pieces that wait for the disk; each is what one read of the connection gave.
const AHEAD: usize = 64;
/// How long a client may send nothing.
const STALLED: Duration = Duration::from_secs(60);
/// How much, and for how long, of a refused body is taken in and dropped, so that the refusal is read.
const MOST_DROPPED: usize = 8 << 20;
const DROPPING: Duration = Duration::from_secs(3);

/// Files on their way in, newest first.
#[utoipa::path(get, path = "/api/v1/uploads", tag = "uploads", responses((status = 200, body = Vec<Upload>)))]
pub async fn list(State(app): State<App>) -> Answer<Vec<Upload>> {
    Answer(app.uploads.list().iter().map(|entry| app.uploads.view(entry)).collect())
}

/// What of tus is spoken.
#[utoipa::path(options, path = "/api/v1/uploads", tag = "uploads", responses((status = 204)))]
pub async fn options(State(app): State<App>) -> Response {
    told(
        StatusCode::NO_CONTENT,
        [
            ("tus-version", tus::VERSION.to_owned()),
            ("tus-extension", tus::EXTENSIONS.to_owned()),
            ("tus-max-size", app.uploads.rules().most.to_string()),
            ("tus-checksum-algorithm", Algorithm::ALL.to_owned()),
        ],
    )
}

/// Begin an upload (tus creation). `Upload-Metadata`: `filename`, `name` (of the image), `note`, `sha256`, `fingerprint`,
/// `import` (`request`: not imported until asked for).
#[utoipa::path(post, path = "/api/v1/uploads", tag = "uploads", responses(
    (status = 201, description = "Begun; `Location` is its address"),
    (status = 400, body = Problem, description = "Headers that cannot be read"),
    (status = 412, body = Problem, description = "Another version of tus"),
    (status = 413, body = Problem, description = "Larger than `library.upload-max`"),
    (status = 429, body = Problem, description = "Too many are unfinished"),
    (status = 507, body = Problem, description = "No room on the disk"),
))]
pub async fn create(State(app): State<App>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    resumable(begin(app, caller, headers, body).await)
}

async fn begin(app: App, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    check_version(&headers)?;
    let size = number(&headers, "upload-length")?
        .ok_or_else(|| Refusal::unreadable("Upload-Length is missing: an upload's size must be known"))?;
    let wanted = wanted(&headers, size, caller)?;
    let with_upload = is_tus_body(&headers).then(|| checksum(&headers)).transpose()?;
    let (shelf, length) = (app.clone(), number(&headers, "content-length")?);
    let entry = spawn_blocking(move || shelf.uploads.create(wanted))
        .await
        .map_err(|error| Refusal::fault(&error))??;
    tracing::info!(upload = entry.id, "the upload of {size} bytes was begun");
    let mut offset = None;
    if let Some(checksum) = with_upload {
        let place = app.uploads.place(&entry.id, 0, length).await?;
        match receive(&app, place, checksum, None, body).await {
            Ok((safe, _)) => offset = Some(safe),
            Err(error @ UploadError::Checksum) => {
                app.uploads.remove(&entry.id).await?;
                return Err(error.into());
            }
            // The upload is there, and goes on where this ended.
            Err(_) => offset = Some(entry.offset()),
        }
    } else {
        work::when_complete(&app, &entry);
    }
    let mut response = told(StatusCode::CREATED, []);
    expires(&app, &entry, &mut response);
    if let Some(offset) = offset {
        put(&mut response, "upload-offset", &offset.to_string());
    }
    put(&mut response, LOCATION.as_str(), &format!("/api/v1/uploads/{}", entry.id));
    Ok(response)
}

/// One upload.
#[utoipa::path(get, path = "/api/v1/uploads/{upload}", tag = "uploads", params(("upload" = String, Path)), responses(
    (status = 200, body = Upload),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(upload): Path<String>) -> Result<Answer<Upload>, Refusal> {
    Ok(Answer(app.uploads.view(&*app.uploads.get(&upload)?)))
}

/// Where to go on (tus core): `Upload-Offset`.
#[utoipa::path(head, path = "/api/v1/uploads/{upload}", tag = "uploads", params(("upload" = String, Path)), responses(
    (status = 200, description = "`Upload-Offset` bytes are safe"),
    (status = 404, description = "Cancelled or expired"),
    (status = 412, description = "Another version of tus"),
))]
pub async fn head(State(app): State<App>, Path(upload): Path<String>, headers: HeaderMap) -> Response {
    resumable(stands(&app, &upload, &headers))
}

fn stands(app: &App, upload: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    check_version(headers)?;
    let entry = app.uploads.get(upload)?;
    let mut response = told(
        StatusCode::OK,
        [("upload-offset", entry.offset().to_string()), ("upload-length", entry.size().to_string())],
    );
    put(&mut response, "upload-metadata", &entry.metadata());
    expires(app, &entry, &mut response);
    Ok(response)
}

/// The next bytes (tus core). With `Upload-Checksum`, all of them or none.
#[utoipa::path(patch, path = "/api/v1/uploads/{upload}", tag = "uploads", params(("upload" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "`Upload-Offset` bytes are safe now; `Rootstock-Job` imports them if that was all"),
        (status = 404, body = Problem, description = "Cancelled or expired"),
        (status = 409, body = Problem, description = "Those are not the next bytes"),
        (status = 412, body = Problem, description = "Another version of tus"),
        (status = 413, body = Problem, description = "More than the file has"),
        (status = 415, body = Problem, description = "Not `application/offset+octet-stream`"),
        (status = 423, body = Problem, description = "Somebody else is sending"),
        (status = 460, body = Problem, description = "Not what `Upload-Checksum` says; nothing of it was kept"),
        (status = 507, body = Problem, description = "No room on the disk; goes on when there is"),
))]
pub async fn patch(
    State(app): State<App>,
    Path(upload): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let done = match go_on(&app, &upload, &headers).await {
        Ok(next) => next.receive(&app, body).await,
        Err(refusal) => {
            // A client that waits for `100 Continue` sends nothing, and must not be asked to.
            if !headers.contains_key(EXPECT) {
                drain(body).await;
            }
            Err(refusal)
        }
    };
    resumable(done)
}

/// A request for the next bytes that was found good.
enum Next {
    Nothing(std::sync::Arc<Entry>),
    Bytes(Box<Place>, Option<Checksum>, Option<crate::value::Digest>),
}

async fn go_on(app: &App, upload: &str, headers: &HeaderMap) -> Result<Next, Refusal> {
    check_version(headers)?;
    if !is_tus_body(headers) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body of an upload has another type",
            format!("send it with `Content-Type: {}`", tus::CONTENT_TYPE),
        ));
    }
    let offset =
        number(headers, "upload-offset")?.ok_or_else(|| Refusal::unreadable("Upload-Offset is missing"))?;
    let (checksum, length) = (checksum(headers)?, number(headers, CONTENT_LENGTH.as_str())?);
    let digest = text(headers, tus::DIGEST_HEADER)?.map(str::parse).transpose();
    let digest = digest.map_err(|error| Refusal::unreadable(format!("{}: {error}", tus::DIGEST_HEADER)))?;
    let entry = app.uploads.get(upload)?;
    if length == Some(0) && digest.is_none() && offset == entry.offset() {
        return Ok(Next::Nothing(entry));
    }
    let place = app.uploads.place(upload, offset, length).await?;
    Ok(Next::Bytes(Box::new(place), checksum, digest))
}

impl Next {
    async fn receive(self, app: &App, body: Body) -> Result<Response, Refusal> {
        let (entry, safe, job) = match self {
            Next::Nothing(entry) => (entry.clone(), entry.offset(), None),
            Next::Bytes(place, checksum, digest) => {
                let entry = place.entry().clone();
                let (safe, job) = receive(app, *place, checksum, digest, body).await?;
                (entry, safe, job)
            }
        };
        let mut response = told(StatusCode::NO_CONTENT, [("upload-offset", safe.to_string())]);
        expires(app, &entry, &mut response);
        if let Some(job) = job {
            put(&mut response, tus::JOB_HEADER, &job.to_string());
        }
        Ok(response)
    }
}

/// Cancel an upload (tus termination): its bytes are gone.
#[utoipa::path(delete, path = "/api/v1/uploads/{upload}", tag = "uploads", params(("upload" = String, Path)), responses(
    (status = 204),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "It is being imported"),
    (status = 412, body = Problem, description = "Another version of tus"),
))]
pub async fn remove(State(app): State<App>, Path(upload): Path<String>, headers: HeaderMap) -> Response {
    // A browser or a script need not know tus to cancel.
    let asked = if headers.contains_key("tus-resumable") { check_version(&headers) } else { Ok(()) };
    let done = match asked {
        Ok(()) => app.uploads.remove(&upload).await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    resumable(done.map(|()| told(StatusCode::NO_CONTENT, [])))
}

/// `X-HTTP-Method-Override`: for clients that can send `POST` only (tus core).
#[utoipa::path(post, path = "/api/v1/uploads/{upload}", tag = "uploads", params(("upload" = String, Path)), responses(
    (status = 204, description = "As the request that `X-HTTP-Method-Override` names: PATCH, HEAD or DELETE"),
    (status = 405, body = Problem),
))]
pub async fn overridden(
    State(app): State<App>,
    Path(upload): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match headers.get("x-http-method-override").map(HeaderValue::as_bytes) {
        Some(b"PATCH") => patch(State(app), Path(upload), headers, body).await,
        Some(b"DELETE") => remove(State(app), Path(upload), headers).await,
        Some(b"HEAD") => head(State(app), Path(upload), headers).await,
        _ => resumable(Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "an upload cannot be asked with POST",
            "send PATCH, or `X-HTTP-Method-Override: PATCH`",
        ))),
    }
}

/// Import what was uploaded: again after it failed, or at last where its metadata say `import request`.
#[utoipa::path(post, path = "/api/v1/uploads/{upload}/import", tag = "uploads", params(("upload" = String, Path)),
    request_body = ImportUpload,
    responses(
        (status = 202, body = Job),
        (status = 404, body = Problem),
        (status = 409, body = Problem, description = "Not complete, being imported, or in the library already"),
        (status = 422, body = Problem, description = "A bad name"),
))]
pub async fn import(
    State(app): State<App>,
    Path(upload): Path<String>,
    Json(request): Json<ImportUpload>,
) -> Result<(StatusCode, Answer<Job>), Refusal> {
    if let Some(name) = &request.name {
        check_name(name)?;
    }
    let entry = app.uploads.get(&upload)?;
    Ok((StatusCode::ACCEPTED, Answer(work::import(&app, &entry, request)?)))
}

/// Moves a body into an upload. The writing goes on to its end even when the client is gone.
async fn receive(
    app: &App,
    place: Place,
    checksum: Option<Checksum>,
    digest: Option<crate::value::Digest>,
    body: Body,
) -> Result<(u64, Option<i64>), UploadError> {
    let (queue, pieces) = mpsc::channel(AHEAD);
    let (entry, give_way) = (place.entry().clone(), place.give_way.clone());
    let (worker, written, keep_free) = (app.clone(), entry.clone(), app.uploads.rules().keep_free);
    let taking = tokio::spawn(async move {
        let taken = spawn_blocking(move || place.take(pieces, checksum, digest, keep_free)).await;
        let taken =
            taken.unwrap_or_else(|panic| Err(UploadError::State(format!("the appliance failed: {panic}"))));
        let job = work::when_complete(&worker, &written).map(|job| job.id);
        Ok::<_, UploadError>((taken?, job))
    });
    let pumping = pump(body, queue, &entry);
    tokio::select! {
        () = pumping => {}
        () = give_way.cancelled() => {}
        () = app.stopping.cancelled() => {}
    }
    taking.await.unwrap_or_else(|panic| Err(UploadError::State(format!("the appliance failed: {panic}"))))
}

/// To the end of the body; a queue that is dropped without [`Sent::End`] says that it broke off.
async fn pump(body: Body, queue: mpsc::Sender<Sent>, entry: &Entry) {
    let mut stream = body.into_data_stream();
    loop {
        let sent = match tokio::time::timeout(STALLED, stream.next()).await {
            Ok(Some(Ok(piece))) => Sent::Bytes(piece),
            Ok(None) => Sent::End,
            Ok(Some(Err(_))) | Err(_) => return,
        };
        entry.touch();
        let over = matches!(sent, Sent::End);
        if queue.send(sent).await.is_err() {
            return drain(Body::from_stream(stream)).await;
        }
        if over {
            return;
        }
    }
}

/// Takes in and drops what a client is still sending, for a while.
async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let dropping = async {
        let mut dropped = 0;
        while let Some(Ok(piece)) = stream.next().await {
            dropped += piece.len();
            if dropped > MOST_DROPPED {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DROPPING, dropping).await;
}

fn wanted(headers: &HeaderMap, size: u64, caller: Caller) -> Result<Wanted, Refusal> {
    let sent = text(headers, "upload-metadata")?.unwrap_or_default();
    let metadata: Metadata =
        sent.parse().map_err(|error: tus::BadHeader| Refusal::unreadable(error.to_string()))?;
    let file = metadata.get(keys::FILE).unwrap_or_default();
    let file: String = file.rsplit(['/', '\\']).next().unwrap_or_default().chars().take(255).collect();
    let file: String = file.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let name = match metadata.get(keys::NAME) {
        Some(name) => name.to_owned(),
        None => NameRule::default().apply(&file).ok_or_else(|| {
            Refusal::unreadable(
                "Upload-Metadata names neither an image (`name`) nor a file that one can be named after",
            )
        })?,
    };
    check_name(&name)?;
    let sha256 = metadata.get(keys::SHA256).map(str::to_ascii_lowercase);
    if sha256.as_ref().is_some_and(|sum| sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(Refusal::unreadable("`sha256` in Upload-Metadata is not 64 hexadecimal digits"));
    }
    let short = |key: &str, most: usize| match metadata.get(key) {
        Some(text) if text.len() > most => {
            Err(Refusal::unreadable(format!("`{key}` in Upload-Metadata is longer than {most} bytes")))
        }
        text => Ok(text.map(str::to_owned)),
    };
    Ok(Wanted {
        file: if file.is_empty() { name.clone() } else { file },
        name,
        note: short(keys::NOTE, 4000)?,
        size,
        sha256,
        fingerprint: short(keys::FINGERPRINT, 200)?,
        on_request: metadata.get(keys::IMPORT) == Some("request"),
        metadata: sent.to_owned(),
        uploader: caller.by(),
    })
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("tus-resumable").map(HeaderValue::as_bytes) {
        Some(version) if version == tus::VERSION.as_bytes() => Ok(()),
        _ => Err(Refusal::new(
            StatusCode::PRECONDITION_FAILED,
            "this version of tus is not spoken here",
            format!("send `Tus-Resumable: {}`", tus::VERSION),
        )),
    }
}

fn is_tus_body(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == tus::CONTENT_TYPE.as_bytes())
}

fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Refusal> {
    let sent = text(headers, "upload-checksum")?.map(str::parse::<Checksum>).transpose();
    sent.map_err(|error| Refusal::unreadable(error.to_string()))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let value = headers.get(name).map(HeaderValue::to_str).transpose();
    value.map_err(|_| Refusal::unreadable(format!("the header {name} is not plain text")))
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Refusal> {
    let value = text(headers, name)?.map(str::parse).transpose();
    value.map_err(|_| Refusal::unreadable(format!("the header {name} is no number of bytes")))
}

fn expires(app: &App, entry: &Entry, response: &mut Response) {
    if let Some(at) = app.uploads.expires_ms(entry) {
        put(response, "upload-expires", &http_date(at));
    }
}

fn told<const N: usize>(status: StatusCode, headers: [(&'static str, String); N]) -> Response {
    let mut response = status.into_response();
    for (name, value) in headers {
        put(&mut response, name, &value);
    }
    response
}

fn put(response: &mut Response, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (axum::http::HeaderName::try_from(name), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

/// Every answer of tus says its version; a wrong version is also told which ones there are.
fn resumable(done: Result<Response, Refusal>) -> Response {
    let mut response = done.into_response();
    put(&mut response, "tus-resumable", tus::VERSION);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        put(&mut response, "tus-version", tus::VERSION);
    }
    response
}
