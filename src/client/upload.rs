//! Resumable uploads by the tus protocol 1.0.0: begin, ask where to go on, send.
//!
//! Must not know: what is sent, when to try again.

use std::io::Read;

use ureq::http::{Method, Request, Response, header, request};
use ureq::{Body, SendBody};

use super::Client;
use super::error::ClientError;
use super::request::{Ask, Whole};
use crate::api::tus::{self, Metadata};
use crate::value::Digest;

/// What an upload has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes that are safe on the appliance.
    pub offset: u64,
    /// The job that imports it, when that was all.
    pub job: Option<i64>,
}

impl Client {
    /// Begins an upload of `size` bytes at `path`. Gives its own path.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn begin_upload(&self, path: &str, size: u64, metadata: &Metadata) -> Result<String, ClientError> {
        let ask = Ask::of("POST", path);
        let request = self
            .tus(Method::POST, path)
            .header("Upload-Length", size)
            .header("Upload-Metadata", metadata.to_string());
        let response = self.send(&ask, request, SendBody::none())?;
        let location = text(&response, header::LOCATION.as_str()).map(str::to_owned);
        location
            .filter(|location| location.starts_with('/'))
            .ok_or_else(|| self.unreadable(&ask, "the answer does not say where the upload is".to_owned()))
    }

    /// How many bytes of an upload are safe on the appliance.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn upload_offset(&self, path: &str) -> Result<u64, ClientError> {
        let ask = Ask::of("HEAD", path);
        let response = self.send(&ask, self.tus(Method::HEAD, path), SendBody::none())?;
        self.offset_in(&ask, &response)
    }

    /// Sends the next `length` bytes of an upload, from `offset` on, while they are read. With the last of them the
    /// digest of the whole file. Sent once.
    ///
    /// # Errors
    /// See [`ClientError`]; `body` failed or was shorter.
    pub fn send_upload(
        &self,
        path: &str,
        offset: u64,
        length: u64,
        whole: Option<Digest>,
        body: &mut dyn Read,
    ) -> Result<Taken, ClientError> {
        let ask = Ask::of("PATCH", path);
        let mut request = self
            .tus(Method::PATCH, path)
            .header("Upload-Offset", offset)
            .header(header::CONTENT_TYPE, tus::CONTENT_TYPE)
            .header(header::CONTENT_LENGTH, length)
            .header(header::EXPECT, "100-continue");
        if let Some(digest) = whole {
            request = request.header(tus::DIGEST_HEADER, digest.to_string());
        }
        let mut body = Whole { body, left: length };
        let response = self.send(&ask, request, SendBody::from_reader(&mut body))?;
        let job = text(&response, tus::JOB_HEADER).and_then(|job| job.parse().ok());
        Ok(Taken { offset: self.offset_in(&ask, &response)?, job })
    }

    fn tus(&self, method: Method, path: &str) -> request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("Tus-Resumable", tus::VERSION);
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    fn send(
        &self,
        ask: &Ask<'_>,
        request: request::Builder,
        body: SendBody<'_>,
    ) -> Result<Response<Body>, ClientError> {
        let request = request.body(body).map_err(|_| self.no_request(ask.path()))?;
        let response = self.agent.run(request).map_err(|error| self.failed(ask, error.into(), 1))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(ask, response)),
        }
    }

    fn offset_in(&self, ask: &Ask<'_>, response: &Response<Body>) -> Result<u64, ClientError> {
        let offset = text(response, "upload-offset").and_then(|offset| offset.parse().ok());
        offset.ok_or_else(|| self.unreadable(ask, "the answer has no Upload-Offset".to_owned()))
    }
}

fn text<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
