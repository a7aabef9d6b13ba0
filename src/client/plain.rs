//! Plain HTTP, as boot firmware and iPXE fetch boot files: the head of a file and its size, or a short text.
//!
//! Owns: one request with a range, bounds. Must not know: who asks, and why.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::{Request, Uri, header};

use super::settings;

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// Size of the whole file, when the server tells it.
    pub size: Option<u64>,
    /// Whether the server delivers pieces: a root image that is attached by its ranges needs that.
    pub ranges: bool,
    /// From the request to the last byte.
    pub took: Duration,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// No plain HTTP address.
    #[error("`{0}` is no address of the form http://host/path")]
    BadUrl(String),
    /// No connection, or it broke off.
    #[error("{url} cannot be fetched: {cause}")]
    Unreachable {
        /// What.
        url: String,
        /// What was seen.
        cause: String,
    },
}

/// Fetches the first `most` bytes of `url`.
///
/// # Errors
/// See [`PlainError`]. Any HTTP status is an answer.
pub fn head(url: &str, most: u64, limit: Duration) -> Result<Head, PlainError> {
    let uri: Uri = url.parse().map_err(|_| PlainError::BadUrl(url.to_owned()))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(PlainError::BadUrl(url.to_owned()));
    }
    let failed = |cause: String| PlainError::Unreachable { url: url.to_owned(), cause };
    let agent: Agent =
        settings().timeout_connect(Some(limit)).timeout_global(Some(limit * 4)).build().new_agent();
    let asked = now();
    let request = Request::get(uri).header(header::RANGE, format!("bytes=0-{}", most.saturating_sub(1)));
    let request = request.body(()).map_err(|error| failed(error.to_string()))?;
    let mut response = agent.run(request).map_err(|error| failed(error.to_string()))?;
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let of_range = text(header::CONTENT_RANGE).and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    let of_whole = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let (status, ranges) = (response.status().as_u16(), response.status() == 206);
    let size = of_range.or(of_whole.filter(|_| !ranges));
    let mut bytes = Vec::new();
    let body = response.body_mut().as_reader().take(most).read_to_end(&mut bytes);
    body.map_err(|error| failed(error.to_string()))?;
    Ok(Head { status, bytes, size, ranges, took: asked.elapsed() })
}

#[expect(clippy::disallowed_methods, reason = "the edge measures by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn answered(answer: &'static [u8], most: u64) -> (String, Result<Head, PlainError>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/boot/vmlinuz", listener.local_addr().unwrap());
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = vec![0; 2000];
                let length = stream.read(&mut asked).unwrap();
                stream.write_all(answer).unwrap();
                String::from_utf8(asked[..length].to_vec()).unwrap()
            });
            let got = head(&url, most, Duration::from_secs(10));
            (server.join().unwrap(), got)
        })
    }

    #[test]
    fn the_head_of_a_file_and_its_size_are_told() {
        let answer =
            b"HTTP/1.1 206 Partial\r\ncontent-range: bytes 0-3/7000\r\ncontent-length: 4\r\n\r\nMZxx";
        let (asked, got) = answered(answer, 4);
        assert!(asked.to_lowercase().contains("range: bytes=0-3\r\n"), "{asked}");
        let got = got.unwrap();
        assert_eq!((got.status, &got.bytes[..], got.size, got.ranges), (206, &b"MZxx"[..], Some(7000), true));
    }

    #[test]
    fn a_server_without_ranges_is_read_no_further_than_wished() {
        let (_, got) =
            answered(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n0123456789", 4);
        let got = got.unwrap();
        assert_eq!((&got.bytes[..], got.size, got.ranges), (&b"0123"[..], Some(10), false));
        let (_, got) = answered(b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno\n", 400);
        assert_eq!(got.unwrap().status, 404);
    }

    #[test]
    fn what_is_no_plain_http_is_refused_and_a_closed_port_is_named() {
        for url in ["https://10.0.0.1/x", "ftp://x/y", "vmlinuz", "http:///x"] {
            assert!(matches!(head(url, 1, Duration::from_secs(1)), Err(PlainError::BadUrl(_))), "{url}");
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let told = head(&format!("http://127.0.0.1:{port}/x"), 1, Duration::from_secs(5)).unwrap_err();
        assert!(told.to_string().contains(&port.to_string()), "{told}");
    }
}
