//! Files on their way into the library: resumable uploads by the protocol's letter, by independent clients and by our own
//! command line; folders of the appliance; the folder that is watched.

mod cli;
mod clients;
mod dropped;
mod folders;
mod protocol;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rootstock::api::admin::{Upload, UploadState};
use rootstock::client::Client;
use rootstock::value::encode_base64;

/// One answer, as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn offset(&self) -> u64 {
        self.header("upload-offset").parse().unwrap()
    }
}

/// A request on the admin's socket, byte for byte. The body is all there is; `Content-Length` is the caller's word.
pub fn ask(data: &Path, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(data.join("rootstock.sock")).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head += &format!("content-length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let _ = stream.write_all(body);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let pairs = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status,
        headers: pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}

pub const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
pub const BODY: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// Begins an upload; gives its path.
pub fn begin(data: &Path, size: usize, metadata: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        metadata.iter().map(|(key, text)| format!("{key} {}", encode_base64(text.as_bytes()))).collect();
    let headers = [TUS, ("Upload-Length", &size.to_string()), ("Upload-Metadata", &pairs.join(","))];
    let answer = ask(data, "POST", "/api/v1/uploads", &headers, b"");
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.header("location").to_owned()
}

/// Sends bytes from an offset on.
pub fn send(data: &Path, path: &str, offset: usize, bytes: &[u8]) -> Answer {
    ask(data, "PATCH", path, &[TUS, BODY, ("Upload-Offset", &offset.to_string())], bytes)
}

/// How far an upload is.
pub fn offset(data: &Path, path: &str) -> u64 {
    let answer = ask(data, "HEAD", path, &[TUS], b"");
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    answer.offset()
}

/// Waits for the end of an upload's import.
pub fn ended(client: &Client, path: &str) -> Upload {
    loop {
        let upload: Upload = client.get(path).unwrap();
        match upload.state {
            UploadState::Done { .. } | UploadState::Failed { .. } => return upload,
            UploadState::Importing { job } => {
                let job: rootstock::api::admin::Job =
                    client.get(&format!("/api/v1/jobs/{job}?after=999999&wait=5")).unwrap();
                assert!(job.state.has_ended() || job.ended_ms.is_none());
            }
            _ => std::thread::yield_now(),
        }
    }
}
