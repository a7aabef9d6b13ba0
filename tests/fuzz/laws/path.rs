//! Paths from TFTP requests and from URLs: what is accepted names one place inside the boot folder.

use std::path::{Component, Path};

use rootstock::netboot::tftp::BootPath;
use rootstock::value::MacAddr;

use super::assert_fit_for_a_log;

pub fn check(bytes: &[u8]) {
    stays_inside(bytes);
    // As a URL, after the one decoding that the HTTP server does; a second one must not happen anywhere.
    if let Ok(decoded) = std::str::from_utf8(&percent_decoded(bytes)) {
        stays_inside(decoded.as_bytes());
        if let Ok(mac) = decoded.parse::<MacAddr>() {
            assert_eq!(mac.to_string().parse(), Ok(mac), "`?mac=` of the iPXE script");
        }
    }
}

fn stays_inside(bytes: &[u8]) {
    let path = match BootPath::parse(bytes) {
        Ok(path) => path,
        Err(reason) => return assert_fit_for_a_log(&reason.to_string()),
    };
    let text = path.as_str();
    assert_fit_for_a_log(text);
    assert!(!text.is_empty() && text.len() <= bytes.len());
    assert!(!text.contains(['\\', '\0']));
    let folder = Path::new("/srv/boot");
    let inside = folder.join(text);
    let below = inside.strip_prefix(folder).expect("below the boot folder");
    assert!(below.components().all(|part| matches!(part, Component::Normal(_))), "{text}");
    assert_eq!(below.components().count(), text.split('/').count(), "every part counts: {text}");
    assert_eq!(BootPath::parse(text.as_bytes()).as_ref(), Ok(&path), "its own spelling");
}

/// RFC 3986 section 2.1; a percent sign without two digits stands for itself.
pub fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}
