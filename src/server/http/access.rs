//! Who may ask what: one line a route of the admin API.
//!
//! Owns: which right each request needs, and what the audit log calls it. A request that is not in the table needs an owner:
//! a route that somebody forgot here is closed, not open. Must not know: who asks, how they are known.

use axum::http::Method;

use crate::value::Right;

/// One request of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its method.
    pub method: &'static str,
    /// Its path, as the router spells it.
    pub path: &'static str,
    /// What it needs; none: nobody has to be signed in.
    pub right: Option<Right>,
    /// What the audit log calls it; none: it changes nothing that would be told.
    pub action: Option<&'static str>,
}

const fn get(path: &'static str, right: Right) -> Access {
    Access { method: "GET", path, right: Some(right), action: None }
}

const fn on(method: &'static str, path: &'static str, right: Right, action: &'static str) -> Access {
    Access { method, path, right: Some(right), action: Some(action) }
}

/// Changes something that the audit log is not told of: one piece of many of something that it is.
const fn piece(method: &'static str, path: &'static str, right: Right) -> Access {
    Access { method, path, right: Some(right), action: None }
}

const fn open(method: &'static str, path: &'static str) -> Access {
    Access { method, path, right: None, action: None }
}

use Right::{Change, Look, Own, Read, Run};

/// The table. By path, then by method.
#[rustfmt::skip]
pub const TABLE: &[Access] = &[
    get("/api/v1/audit", Read),
    on("GET", "/api/v1/audit/export", Read, "audit.export"),
    get("/api/v1/audit/verify", Read),
    get("/api/v1/bindings", Read),
    on("DELETE", "/api/v1/bindings/{mac}", Change, "binding.forget"),
    get("/api/v1/captures", Read),
    on("POST", "/api/v1/captures", Change, "capture.begin"),
    get("/api/v1/captures/{capture}", Read),
    on("DELETE", "/api/v1/captures/{capture}", Change, "capture.abandon"),
    on("POST", "/api/v1/captures/{capture}/finish", Change, "capture.finish"),
    piece("POST", "/api/v1/captures/{capture}/frames", Change),
    piece("POST", "/api/v1/captures/{capture}/lacking", Change),
    get("/api/v1/clients", Look),
    get("/api/v1/clients/{mac}", Look),
    get("/api/v1/collections", Look),
    on("POST", "/api/v1/collections", Change, "collection.create"),
    get("/api/v1/collections/facts", Look),
    piece("POST", "/api/v1/collections/preview", Read),
    get("/api/v1/collections/{collection}", Look),
    on("DELETE", "/api/v1/collections/{collection}", Change, "collection.delete"),
    on("PATCH", "/api/v1/collections/{collection}", Change, "collection.edit"),
    get("/api/v1/collections/{collection}/variables", Read),
    on("PUT", "/api/v1/collections/{collection}/variables/{name}", Change, "variable.set"),
    on("DELETE", "/api/v1/collections/{collection}/variables/{name}", Change, "variable.unset"),
    get("/api/v1/deployments", Look),
    on("POST", "/api/v1/deployments", Change, "deployment.create"),
    get("/api/v1/deployments/{deployment}", Look),
    on("DELETE", "/api/v1/deployments/{deployment}", Change, "deployment.delete"),
    on("PATCH", "/api/v1/deployments/{deployment}", Change, "deployment.edit"),
    get("/api/v1/devices", Look),
    on("POST", "/api/v1/devices", Change, "device.add"),
    get("/api/v1/devices/conflicts", Look),
    on("GET", "/api/v1/devices/export", Read, "device.export"),
    on("POST", "/api/v1/devices/import", Change, "device.import"),
    get("/api/v1/devices/{device}", Look),
    on("DELETE", "/api/v1/devices/{device}", Change, "device.delete"),
    on("PATCH", "/api/v1/devices/{device}", Change, "device.edit"),
    on("POST", "/api/v1/devices/{device}/distinct", Change, "device.distinct"),
    on("POST", "/api/v1/devices/{device}/merge", Change, "device.merge"),
    on("POST", "/api/v1/devices/{device}/hold", Run, "device.hold"),
    get("/api/v1/devices/{device}/offers", Look),
    get("/api/v1/devices/{device}/scope", Read),
    get("/api/v1/devices/{device}/messages", Look),
    on("POST", "/api/v1/devices/{device}/messages", Run, "device.message"),
    on("POST", "/api/v1/devices/{device}/restart", Run, "device.restart"),
    get("/api/v1/devices/{device}/screen", Look),
    on("POST", "/api/v1/devices/{device}/shutdown", Run, "device.shutdown"),
    on("POST", "/api/v1/devices/{device}/start", Run, "run.start"),
    get("/api/v1/devices/{device}/variables", Read),
    on("PUT", "/api/v1/devices/{device}/variables/{name}", Change, "variable.set"),
    on("DELETE", "/api/v1/devices/{device}/variables/{name}", Change, "variable.unset"),
    get("/api/v1/images", Look),
    on("POST", "/api/v1/images", Change, "image.import"),
    get("/api/v1/images/{name}", Read),
    on("POST", "/api/v1/images/{name}/promote", Change, "image.promote"),
    on("PUT", "/api/v1/images/{name}/retention", Change, "image.retention"),
    get("/api/v1/images/{name}/rings", Read),
    on("POST", "/api/v1/images/{name}/rollback", Change, "image.rollback"),
    on("POST", "/api/v1/images/{name}/verify", Change, "image.verify"),
    on("DELETE", "/api/v1/images/{name}/versions/{version}", Change, "image.delete"),
    on("GET", "/api/v1/images/{name}/versions/{version}/export", Read, "image.export"),
    on("PUT", "/api/v1/images/{name}/versions/{version}/note", Change, "image.note"),
    get("/api/v1/jobs", Read),
    get("/api/v1/jobs/{job}", Read),
    on("DELETE", "/api/v1/jobs/{job}", Change, "job.cancel"),
    get("/api/v1/keys", Read),
    on("POST", "/api/v1/keys/rotate", Own, "key.rotate"),
    on("POST", "/api/v1/keys/{key}/retire", Own, "key.retire"),
    get("/api/v1/leases", Read),
    on("DELETE", "/api/v1/leases/{address}", Change, "lease.release"),
    get("/api/v1/ldap", Own),
    on("PUT", "/api/v1/ldap/password", Own, "ldap.password"),
    on("POST", "/api/v1/ldap/test", Own, "ldap.test"),
    get("/api/v1/library", Read),
    get("/api/v1/library/check", Read),
    on("POST", "/api/v1/library/check", Change, "library.check"),
    on("POST", "/api/v1/library/collect", Change, "library.collect"),
    get("/api/v1/library/folder", Change),
    get("/api/v1/library/manifests/{digest}", Read),
    get("/api/v1/library/manifests/{digest}/locations", Read),
    get("/api/v1/library/packs/{digest}", Read),
    on("POST", "/api/v1/library/retention", Change, "library.retention"),
    get("/api/v1/nbi", Read),
    on("POST", "/api/v1/nbi", Change, "nbi.import"),
    get("/api/v1/nbi/{folder}", Read),
    on("DELETE", "/api/v1/nbi/{folder}", Change, "nbi.delete"),
    on("PUT", "/api/v1/nbi/{folder}/overrides", Change, "nbi.edit"),
    get("/api/v1/openapi.json", Look),
    on("GET", "/api/v1/problem-report", Change, "problem.report"),
    get("/api/v1/receipts", Read),
    get("/api/v1/runs", Look),
    get("/api/v1/runs/{run}", Look),
    on("POST", "/api/v1/runs/{run}/answers", Run, "run.answer"),
    on("POST", "/api/v1/runs/{run}/cancel", Run, "run.cancel"),
    on("POST", "/api/v1/runs/{run}/close", Change, "run.close"),
    on("POST", "/api/v1/runs/{run}/confirm", Run, "run.confirm"),
    on("POST", "/api/v1/runs/{run}/destination", Run, "run.destination"),
    get("/api/v1/runs/{run}/events", Look),
    on("GET", "/api/v1/runs/{run}/report", Look, "run.report"),
    on("POST", "/api/v1/runs/{run}/resume", Run, "run.resume"),
    on("POST", "/api/v1/runs/{run}/retry", Run, "run.start"),
    get("/api/v1/schemas/sequence", Look),
    get("/api/v1/sequence-checks", Read),
    piece("POST", "/api/v1/sequence-checks", Change),
    get("/api/v1/sequences", Look),
    on("POST", "/api/v1/sequences", Change, "sequence.save"),
    get("/api/v1/sequences/{name}", Read),
    on("DELETE", "/api/v1/sequences/{name}", Change, "sequence.delete"),
    on("POST", "/api/v1/sequences/{name}/copy", Change, "sequence.copy"),
    on("POST", "/api/v1/sequences/{name}/entries", Change, "sequence.edit"),
    open("POST", "/api/v1/session"),
    get("/api/v1/session", Look),
    on("DELETE", "/api/v1/session", Look, "session.end"),
    on("PUT", "/api/v1/session/password", Look, "user.password"),
    get("/api/v1/sessions", Own),
    open("GET", "/api/v1/setup"),
    open("POST", "/api/v1/setup"),
    on("POST", "/api/v1/shares/verify", Change, "share.verify"),
    get("/api/v1/status", Look),
    get("/api/v1/step-times", Look),
    get("/api/v1/tokens", Look),
    on("POST", "/api/v1/tokens", Look, "token.create"),
    on("DELETE", "/api/v1/tokens/{token}", Look, "token.revoke"),
    get("/api/v1/transfers", Look),
    on("DELETE", "/api/v1/transfers/{transfer}", Change, "transfer.stop"),
    get("/api/v1/uploads", Read),
    piece("OPTIONS", "/api/v1/uploads", Change),
    on("POST", "/api/v1/uploads", Change, "upload.begin"),
    get("/api/v1/uploads/{upload}", Read),
    piece("HEAD", "/api/v1/uploads/{upload}", Change),
    piece("PATCH", "/api/v1/uploads/{upload}", Change),
    piece("POST", "/api/v1/uploads/{upload}", Change),
    on("DELETE", "/api/v1/uploads/{upload}", Change, "upload.cancel"),
    on("POST", "/api/v1/uploads/{upload}/import", Change, "upload.import"),
    get("/api/v1/users", Read),
    on("POST", "/api/v1/users", Own, "user.create"),
    get("/api/v1/users/{user}", Read),
    on("PATCH", "/api/v1/users/{user}", Own, "user.change"),
    on("DELETE", "/api/v1/users/{user}", Own, "user.remove"),
    on("PUT", "/api/v1/users/{user}/password", Own, "user.password"),
    on("DELETE", "/api/v1/users/{user}/sessions", Own, "session.end-all"),
];

/// The line of a request. `HEAD` is answered where `GET` is (RFC 9110 section 9.3.2) and needs the same.
pub fn of(method: &Method, path: &str) -> Option<&'static Access> {
    let line = |method: &str| TABLE.iter().find(|line| line.method == method && line.path == path);
    line(method.as_str()).or_else(|| (method == Method::HEAD).then(|| line("GET")).flatten())
}

/// The part of the API that a path is in, `images`: what a token may be narrowed to.
pub fn area(path: &str) -> &str {
    path.strip_prefix("/api/v1/").unwrap_or_default().split('/').next().unwrap_or_default()
}

/// Every area there is.
pub fn areas() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    TABLE.iter().map(|line| area(line.path)).filter(move |area| std::mem::replace(&mut last, area) != *area)
}

/// A path as a refusal shows it.
pub fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}

/// What a path is about, for the audit log: `image lab`, `run 7`.
pub fn object(path: &str) -> String {
    let rest = path.strip_prefix("/api/v1/").unwrap_or(path);
    let mut parts = rest.split('/');
    let noun = parts.next().unwrap_or_default();
    let noun = noun.strip_suffix('s').unwrap_or(noun);
    match parts.next() {
        Some(which) => format!("{noun} {}", decoded(which)),
        None => noun.to_owned(),
    }
}

/// A part of a path without its escapes (RFC 3986 section 2.1), of bounded length.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_stands_in_the_table_twice_and_what_changes_things_is_told() {
        for (place, line) in TABLE.iter().enumerate() {
            let same = |other: &Access| other.path == line.path && other.method == line.method;
            assert_eq!(TABLE.iter().position(same), Some(place), "{} {}", line.method, line.path);
        }
        let areas: Vec<_> = areas().collect();
        let places = |one: &&str| areas.iter().filter(|area| *area == one).count();
        assert!(areas.iter().all(|area| places(area) == 1), "the table goes by path: {areas:?}");
    }

    #[test]
    fn what_nobody_entered_is_not_found_and_head_is_as_get() {
        assert_eq!(of(&Method::GET, "/api/v1/new"), None);
        assert_eq!(of(&Method::HEAD, "/api/v1/status"), of(&Method::GET, "/api/v1/status"));
        assert_eq!(of(&Method::HEAD, "/api/v1/uploads/{upload}").unwrap().right, Some(Right::Change));
    }

    #[test]
    fn the_object_of_a_path_is_its_noun_and_its_name() {
        assert_eq!(object("/api/v1/images/Lab%20Mac/promote"), "image Lab Mac");
        assert_eq!(object("/api/v1/keys/rotate"), "key rotate");
        assert_eq!(object("/api/v1/images"), "image");
        assert_eq!(object("/api/v1/images/%zz%"), "image %zz%");
    }
}
