//! The API cannot change silently: its document is checked in. `UPDATE=1` writes it anew.

use std::path::Path;

#[test]
fn the_openapi_document_is_the_one_that_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi.snapshot.json");
    let now = rootstock::server::http::admin::document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_default();
    let change = now.lines().zip(then.lines().chain(std::iter::repeat(""))).find(|(now, then)| now != then);
    assert!(
        now == then,
        "the API changed; if that is meant, run again with UPDATE=1. First change: {change:?}"
    );
}
