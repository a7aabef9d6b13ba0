//! The requests: send, repeat where that is allowed, bound and parse the answer.
//!
//! Must not know: what the answers mean.

use std::io::{self, Read};
use std::ops::Range;
use std::thread;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, header};
use ureq::{Body, SendBody};

use super::error::{Cause, ClientError, io_cause};
use super::{Client, LONGEST_ANSWER};
use crate::api::runner::Problem;

/// From this length on a body is sent only after the appliance said that it will take it in (RFC 9110 section 10.1.1): it
/// takes shorter ones in whole before it refuses, so that the refusal is always read.
const ASKED_BODY: usize = 1 << 20;
/// Longest explanation of a refusal that is read.
const LONGEST_PROBLEM: u64 = 64 << 10;

/// What is sent.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    method: &'static str,
    path: &'a str,
    body: Option<(&'static str, &'a [u8])>,
    range: Option<(u64, u64)>,
    /// Ask the appliance itself, not a cache on the way.
    fresh: bool,
}

impl<'a> Ask<'a> {
    /// Of a request whose body and headers are nobody else's.
    pub(super) fn of(method: &'static str, path: &'a str) -> Ask<'a> {
        Ask { method, path, body: None, range: None, fresh: false }
    }

    pub(super) fn path(&self) -> &str {
        self.path
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// GET, PUT and DELETE may be repeated (RFC 9110 section 9.2.2).
    fn repeatable(&self) -> bool {
        self.method != "POST"
    }
}

impl Client {
    /// `GET`: a typed answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Ask { method: "GET", path, body: None, range: None, fresh: false })
    }

    /// `GET`: the answer as text.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn text(&self, path: &str) -> Result<String, ClientError> {
        let ask = Ask { method: "GET", path, body: None, range: None, fresh: false };
        let bytes = self.answer(ask, LONGEST_ANSWER)?;
        String::from_utf8(bytes).map_err(|error| self.unreadable(&ask, error.to_string()))
    }

    /// `POST` of `body`. Sent once: the caller knows whether it may be repeated.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ClientError> {
        let bytes = serialize(body)?;
        self.json(Ask {
            method: "POST",
            path,
            body: Some(("application/json", &bytes)),
            range: None,
            fresh: false,
        })
    }

    /// `POST` of bytes; the answer is at most `limit` bytes long. Sent once.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post_bytes(&self, path: &str, body: &[u8], limit: u64) -> Result<Vec<u8>, ClientError> {
        let body = Some(("application/octet-stream", body));
        self.answer(Ask { method: "POST", path, body, range: None, fresh: false }, limit)
    }

    /// Reads the JSON that [`Client::post_bytes`] brought.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`].
    pub fn read_json<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(bytes).map_err(|error| self.unreadable_answer(path, &error.to_string()))
    }

    /// The error for an answer to a `POST` that is not what it should be.
    pub fn unreadable_answer(&self, path: &str, why: &str) -> ClientError {
        let ask = Ask { method: "POST", path, body: None, range: None, fresh: false };
        self.unreadable(&ask, why.to_owned())
    }

    /// `POST` of `length` bytes from `body`, sent while they are read.
    ///
    /// # Errors
    /// See [`ClientError`]; `body` failed or was shorter.
    pub fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        length: u64,
        body: &mut dyn Read,
    ) -> Result<T, ClientError> {
        let ask = Ask { method: "POST", path, body: None, range: None, fresh: false };
        let mut request = Request::post(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_LENGTH, length)
            .header(header::EXPECT, "100-continue");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let mut body = Whole { body, left: length };
        let request = request.body(SendBody::from_reader(&mut body)).map_err(|_| self.no_request(path))?;
        let response = self.agent.run(request).map_err(|error| self.failed(&ask, error.into(), 1))?;
        if !response.status().is_success() {
            return Err(self.refusal(&ask, response));
        }
        let bytes = self.body(&ask, response, LONGEST_ANSWER)?;
        serde_json::from_slice(&bytes).map_err(|error| self.unreadable(&ask, error.to_string()))
    }

    /// `PUT` of `body` as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn put<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ClientError> {
        let bytes = serialize(body)?;
        self.json(Ask {
            method: "PUT",
            path,
            body: Some(("application/json", &bytes)),
            range: None,
            fresh: false,
        })
    }

    /// `POST` of `body` as JSON; the answer's body, if any, is not looked at.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn say<B: Serialize>(&self, path: &str, body: &B) -> Result<(), ClientError> {
        let bytes = serialize(body)?;
        let body = Some(("application/json", bytes.as_slice()));
        self.answer(Ask { method: "POST", path, body, range: None, fresh: false }, LONGEST_ANSWER).map(drop)
    }

    /// `PATCH` of `body` as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn patch<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ClientError> {
        let bytes = serialize(body)?;
        self.json(Ask {
            method: "PATCH",
            path,
            body: Some(("application/json", &bytes)),
            range: None,
            fresh: false,
        })
    }

    /// `DELETE`; the answer's body, if any, is not looked at.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.answer(Ask { method: "DELETE", path, body: None, range: None, fresh: false }, LONGEST_ANSWER)
            .map(drop)
    }

    /// `DELETE`; the answer tells what is gone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn remove<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Ask { method: "DELETE", path, body: None, range: None, fresh: false })
    }

    /// `GET` of a whole binary answer of at most `limit` bytes.
    ///
    /// # Errors
    /// See [`ClientError`]; a longer answer is unreadable.
    pub fn download(&self, path: &str, limit: u64) -> Result<Vec<u8>, ClientError> {
        self.answer(Ask { method: "GET", path, body: None, range: None, fresh: false }, limit)
    }

    /// `GET` of an answer of any length, which is made while it is sent: `take` gets it piece after piece. Not resumed.
    ///
    /// # Errors
    /// See [`ClientError`]; what `take` says comes as its own error.
    pub fn stream<E>(
        &self,
        path: &str,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, ClientError> {
        let ask = Ask { method: "GET", path, body: None, range: None, fresh: false };
        let mut response = self.exchange(ask)?;
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(count) => {
                    if let Err(error) = take(&buffer[..count]) {
                        return Ok(Err(error));
                    }
                }
                Err(error) => return Err(self.failed(&ask, io_cause(&error), 1)),
            }
        }
    }

    /// `GET` of the bytes `range` of a resource. Resumed where it broke off, as long as every try brings bytes or
    /// the client's patience lasts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bytes(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, ClientError> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        self.fill(path, range.start, false, &mut bytes, &mut 0)?;
        Ok(bytes)
    }

    /// Fills `into` with the bytes of a resource from `start` on, beginning at `filled`, which tells after an error how
    /// much had come: the next call goes on there. `fresh` passes caches in between by.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn fill(
        &self,
        path: &str,
        start: u64,
        fresh: bool,
        into: &mut [u8],
        filled: &mut usize,
    ) -> Result<(), ClientError> {
        let last = start + (into.len() as u64).saturating_sub(1);
        let mut fruitless = 0;
        while *filled < into.len() {
            let range = Some((start + *filled as u64, last));
            let ask = Ask { method: "GET", path, body: None, range, fresh };
            let before = *filled;
            let outcome = self.fill_once(ask, into, filled);
            if *filled > before {
                fruitless = 0;
            }
            match outcome {
                Ok(()) => {}
                Err(cause) if cause.may_pass() && fruitless + 1 < self.patience.tries => {
                    fruitless += 1;
                    thread::sleep(self.patience.pause(fruitless));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn fill_once(&self, ask: Ask<'_>, into: &mut [u8], filled: &mut usize) -> Result<(), ClientError> {
        let mut response = self.exchange(ask)?;
        self.check_range(&ask, &response)?;
        let mut body = response.body_mut().as_reader();
        let before = *filled;
        while *filled < into.len() {
            match body.read(&mut into[*filled..]) {
                Ok(0) => break,
                Ok(count) => *filled += count,
                Err(error) => return Err(self.failed(&ask, io_cause(&error), 1)),
            }
        }
        match *filled == before {
            true => Err(self.failed(&ask, Cause::Unreachable("the answer was empty".into()), 1)),
            // The end of the body must be seen too, or the connection is not used again.
            false => body.read(&mut [0]).map(drop).map_err(|error| self.failed(&ask, io_cause(&error), 1)),
        }
    }

    /// A server or cache that ignores Range sends the whole resource with 200: taking its head for the middle
    /// would be wrong bytes (RFC 9110 section 14.2).
    fn check_range(&self, ask: &Ask<'_>, response: &Response<Body>) -> Result<(), ClientError> {
        let Some((first, last)) = ask.range else { return Ok(()) };
        let given = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let start =
            given.and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
        if response.status() == 206 && start == Some(first) {
            return Ok(());
        }
        let seen = given.unwrap_or("no Content-Range");
        Err(self.unreadable(
            ask,
            format!("bytes {first}-{last} were asked for, status {} with {seen} came", response.status()),
        ))
    }

    fn json<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, ClientError> {
        let bytes = self.answer(ask, LONGEST_ANSWER)?;
        // An empty body (204) is the JSON null: `()` and `Option` read it.
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text).map_err(|error| self.unreadable(&ask, error.to_string()))
    }

    fn answer(&self, ask: Ask<'_>, limit: u64) -> Result<Vec<u8>, ClientError> {
        let tries = if ask.repeatable() { self.patience.tries.max(1) } else { 1 };
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.exchange(ask).and_then(|response| self.body(&ask, response, limit)) {
                Err(error) if attempt < tries && error.may_pass() => {
                    thread::sleep(self.patience.pause(attempt));
                }
                Err(ClientError::Unreachable { address, request, cause, remedy, .. }) => {
                    return Err(ClientError::Unreachable { address, request, cause, tries: attempt, remedy });
                }
                done => return done,
            }
        }
    }

    fn body(&self, ask: &Ask<'_>, mut response: Response<Body>, limit: u64) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        response
            .body_mut()
            .as_reader()
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.failed(ask, io_cause(&error), 1))?;
        match bytes.len() as u64 > limit {
            true => Err(self.unreadable(ask, format!("the answer is longer than {limit} bytes"))),
            false => Ok(bytes),
        }
    }

    /// One request, one answer with a success status.
    fn exchange(&self, ask: Ask<'_>) -> Result<Response<Body>, ClientError> {
        let mut request = Request::builder()
            .method(Method::from_bytes(ask.method.as_bytes()).unwrap_or(Method::GET))
            .uri(format!("{}{}", self.base, ask.path));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        if ask.fresh {
            request = request.header(header::CACHE_CONTROL, "no-cache");
        }
        if let Some((first, last)) = ask.range {
            request = request.header(header::RANGE, format!("bytes={first}-{last}"));
        }
        if ask.body.is_some_and(|(_, bytes)| bytes.len() > ASKED_BODY) {
            request = request.header(header::EXPECT, "100-continue");
        }
        let sent = match ask.body {
            Some((content_type, bytes)) => request
                .header(header::CONTENT_TYPE, content_type)
                .body(bytes)
                .map(|request| self.agent.run(request)),
            None => request.body(()).map(|request| self.agent.run(request)),
        };
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.failed(&ask, error.into(), 1)),
            Err(_) => return Err(self.no_request(ask.path)),
        };
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(&ask, response)),
        }
    }

    pub(super) fn refusal(&self, ask: &Ask<'_>, mut response: Response<Body>) -> ClientError {
        let status = response.status().as_u16();
        let mut text = Vec::new();
        // A refusal whose explanation breaks off is still a refusal: what came of it is shown.
        let _ = response.body_mut().as_reader().take(LONGEST_PROBLEM).read_to_end(&mut text);
        let problem = serde_json::from_slice(&text).unwrap_or_else(|_| {
            let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
            let reason = response.status().canonical_reason().unwrap_or("no reason given");
            let error = if line.is_empty() { reason.to_owned() } else { line.chars().take(200).collect() };
            Problem { error, next_step: String::new() }
        });
        ClientError::Refused { request: ask.name(), status, problem }
    }

    pub(super) fn failed(&self, ask: &Ask<'_>, cause: Cause, tries: u32) -> ClientError {
        let address = self.address.clone();
        match cause {
            Cause::Unreachable(cause) => {
                ClientError::Unreachable { address, request: ask.name(), cause, tries, remedy: self.remedy }
            }
            Cause::Untrusted { cause, remedy, clock } => {
                ClientError::Untrusted { address, cause, remedy, clock }
            }
            Cause::Unreadable(cause) => ClientError::Unreadable { address, request: ask.name(), cause },
        }
    }

    pub(super) fn no_request(&self, path: &str) -> ClientError {
        let why = format!("`{path}` cannot stand in a request");
        ClientError::BadAddress { address: self.address.clone(), why }
    }

    pub(super) fn unreadable(&self, ask: &Ask<'_>, cause: String) -> ClientError {
        ClientError::Unreadable { address: self.address.clone(), request: ask.name(), cause }
    }
}

/// Types of the protocol always serialise; the error names the type's trouble all the same.
fn serialize<B: Serialize>(body: &B) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(body).map_err(|error| ClientError::BadAddress {
        address: "the request's body".into(),
        why: format!("it cannot be written as JSON: {error}"),
    })
}

/// A body that must have the length that was announced: where it ends early the sender would ask it for the rest for ever.
pub(super) struct Whole<'a> {
    pub(super) body: &'a mut dyn Read,
    pub(super) left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            let why = format!("what is sent ended {} bytes early", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
