//! Configuration profiles: whether a text is one, and what it calls itself. A signed one is kept byte by byte.
//!
//! Must not know: who installs it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::variable::MASK;
use crate::value::{decode_base64, encode_base64};

/// Bytes of the longest profile.
pub const LONGEST: usize = 1 << 20;

/// A profile as it lies in the sequence: XML, or base64 of a signed one. Whether it is one is asked by [`Profile::facts`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile(pub String);

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a profile of {} bytes", self.0.len())
    }
}

/// What a profile says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `PayloadIdentifier`.
    pub identifier: String,
    /// `PayloadDisplayName`; may be empty.
    pub name: String,
    /// Types of its payloads, in order.
    pub payloads: Vec<String>,
    /// Whether it is signed.
    pub signed: bool,
}

/// A text that is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProfile {
    /// Too long.
    #[error("a profile of {0} bytes: at most {LONGEST}")]
    TooLong(usize),
    /// Neither form.
    #[error("the text is neither an XML property list nor base64 of a signed profile")]
    Neither,
    /// A property list in binary form.
    #[error("the property list is in binary form: write it as XML, plutil -convert xml1 FILE")]
    Binary,
    /// Not readable.
    #[error("the property list cannot be read: {0}")]
    Unreadable(String),
    /// Another property list.
    #[error("the property list is no configuration profile: {0}")]
    Another(&'static str),
}

impl Profile {
    /// What it says of itself.
    ///
    /// # Errors
    /// Why it is no profile.
    pub fn facts(&self) -> Result<Facts, NoProfile> {
        if self.0.len() > LONGEST {
            return Err(NoProfile::TooLong(self.0.len()));
        }
        let text = self.0.trim();
        if text.starts_with("<?xml") || text.starts_with("<!DOCTYPE plist") || text.starts_with("<plist") {
            return facts(text.as_bytes(), false);
        }
        // A signed profile is CMS (RFC 5652): a DER sequence that holds the property list as it is.
        let bytes = decode(text).filter(|bytes| bytes.first() == Some(&0x30)).ok_or(NoProfile::Neither)?;
        let begin = find(&bytes, b"<?xml").ok_or(NoProfile::Neither)?;
        let end = find(&bytes[begin..], b"</plist>").ok_or(NoProfile::Neither)?;
        facts(&bytes[begin..begin + end + b"</plist>".len()], true)
    }
}

impl Profile {
    /// A `.mobileconfig` as a file; the bytes of a signed one are kept as they are.
    ///
    /// # Errors
    /// Why it is no profile.
    pub fn from_bytes(bytes: &[u8]) -> Result<Profile, NoProfile> {
        if bytes.len() > LONGEST {
            return Err(NoProfile::TooLong(bytes.len()));
        }
        if bytes.starts_with(b"bplist") {
            return Err(NoProfile::Binary);
        }
        let profile = match std::str::from_utf8(bytes) {
            // A byte order mark is no part of the text.
            Ok(text) if !text.trim_start_matches('\u{feff}').trim_start().is_empty() => {
                Profile(text.trim_start_matches('\u{feff}').to_owned())
            }
            _ => Profile(encode_base64(bytes)),
        };
        profile.facts().map(|_| profile)
    }

    /// The `.mobileconfig` as a file: what [`Profile::from_bytes`] took.
    ///
    /// # Errors
    /// Why it is no profile.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NoProfile> {
        match self.facts()?.signed {
            true => decode(self.0.trim()).ok_or(NoProfile::Neither),
            false => Ok(self.0.as_bytes().to_vec()),
        }
    }

    /// What is in it, line by line, for people: values that look like secrets are left out.
    ///
    /// # Errors
    /// Why it is no profile.
    pub fn preview(&self) -> Result<Vec<String>, NoProfile> {
        let facts = self.facts()?;
        let bytes = self.to_bytes()?;
        let begin = find(&bytes, b"<plist").ok_or(NoProfile::Neither)?;
        let end = find(&bytes[begin..], b"</plist>").ok_or(NoProfile::Neither)?;
        let list: plist::Value = plist::from_bytes(&bytes[begin..begin + end + b"</plist>".len()])
            .map_err(|error| NoProfile::Unreadable(error.to_string()))?;
        let signed = if facts.signed { "signed; its signature is kept" } else { "not signed" };
        let mut lines = vec![format!("{} ({}), {signed}", facts.identifier, facts.name)];
        lines_of(&list, "", 0, &mut lines);
        Ok(lines)
    }
}

/// Lines of the longest preview.
const MOST_LINES: usize = 2000;
/// Letters of a value that a preview shows.
const SHOWN: usize = 200;

fn lines_of(value: &plist::Value, key: &str, depth: usize, lines: &mut Vec<String>) {
    if lines.len() >= MOST_LINES || depth > 32 {
        return;
    }
    let indent = "  ".repeat(depth);
    let head = if key.is_empty() { "-".to_owned() } else { format!("{key}:") };
    let mut say = |text: String| {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
        lines.push(format!("{indent}{head} {text}"));
    };
    let secret = ["password", "passphrase", "secret", "sharedkey", "pin"];
    let is_secret = secret.iter().any(|word| key.to_lowercase().ends_with(word));
    match value {
        plist::Value::Dictionary(dictionary) => {
            if depth > 0 || !key.is_empty() {
                lines.push(format!("{indent}{head}"));
            }
            for (key, value) in dictionary {
                lines_of(value, key, depth + 1, lines);
            }
        }
        plist::Value::Array(array) => {
            lines.push(format!("{indent}{head}"));
            array.iter().for_each(|value| lines_of(value, "", depth + 1, lines));
        }
        plist::Value::String(_) | plist::Value::Data(_) if is_secret => say(MASK.to_owned()),
        plist::Value::String(text) => say(text.clone()),
        plist::Value::Boolean(flag) => say(flag.to_string()),
        plist::Value::Integer(number) => say(number.to_string()),
        plist::Value::Real(number) => say(number.to_string()),
        plist::Value::Date(date) => say(date.to_xml_format()),
        plist::Value::Data(data) => say(format!("{} bytes", data.len())),
        _ => say("?".to_owned()),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn facts(xml: &[u8], signed: bool) -> Result<Facts, NoProfile> {
    let list: plist::Value = plist::from_bytes(xml)
        .map_err(|error| NoProfile::Unreadable(error.to_string().chars().take(200).collect()))?;
    let top = list.as_dictionary().ok_or(NoProfile::Another("it is no dictionary"))?;
    let text = |dictionary: &plist::Dictionary, key: &str| {
        dictionary.get(key).and_then(plist::Value::as_string).map(str::to_owned)
    };
    if text(top, "PayloadType").as_deref() != Some("Configuration") {
        return Err(NoProfile::Another("its PayloadType is not `Configuration`"));
    }
    let identifier = text(top, "PayloadIdentifier").filter(|text| !text.is_empty());
    let identifier = identifier.ok_or(NoProfile::Another("it has no PayloadIdentifier"))?;
    if text(top, "PayloadUUID").is_none() {
        return Err(NoProfile::Another("it has no PayloadUUID"));
    }
    let content = top.get("PayloadContent").and_then(plist::Value::as_array);
    let content = content.ok_or(NoProfile::Another("it has no PayloadContent"))?;
    let payloads =
        content.iter().filter_map(plist::Value::as_dictionary).filter_map(|one| text(one, "PayloadType"));
    let name = text(top, "PayloadDisplayName").unwrap_or_default();
    Ok(Facts { identifier, name, payloads: payloads.collect(), signed })
}

/// With line ends in it.
fn decode(text: &str) -> Option<Vec<u8>> {
    decode_base64(&text.split_ascii_whitespace().collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub const WIFI: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.example.wifi</string><key>PayloadUUID</key><string>5F1C</string>
<key>PayloadDisplayName</key><string>Wi-Fi</string>
<key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.wifi.managed</string></dict></array>
</dict></plist>"#;

    #[test]
    fn section_2_a_profile_tells_what_it_is_and_a_signed_one_keeps_its_bytes() {
        let facts = Profile(WIFI.into()).facts().unwrap();
        assert_eq!(
            (facts.identifier.as_str(), facts.name.as_str(), facts.signed),
            ("org.example.wifi", "Wi-Fi", false)
        );
        assert_eq!(facts.payloads, ["com.apple.wifi.managed"]);
        let mut cms = vec![0x30, 0x82, 1, 2, 6, 9];
        cms.extend_from_slice(WIFI.as_bytes());
        cms.extend_from_slice(&[0xa0, 0x82, 0, 0]);
        let signed = Profile(encode_base64(&cms));
        assert_eq!(signed.facts().unwrap(), Facts { signed: true, ..facts });
    }

    #[test]
    fn section_2_a_profile_is_imported_exported_and_previewed_and_a_signature_is_kept_to_the_byte() {
        let mut cms = vec![0x30, 0x82, 0xff, 0xfe, 6, 9];
        cms.extend_from_slice(WIFI.as_bytes());
        cms.extend_from_slice(&[0xa0, 0x82, 0, 0x80, 0xff]);
        for file in [WIFI.as_bytes(), &cms, WIFI.replace('\n', "\r\n").as_bytes()] {
            let kept = Profile::from_bytes(file).unwrap();
            assert_eq!(kept.to_bytes().unwrap(), file);
        }
        let password = "<key>Password</key><string>hunter2</string><key>EncryptionType</key><string>WPA2</string></dict></array>";
        let wifi = WIFI.replace("</dict></array>", password);
        let preview = Profile::from_bytes(wifi.as_bytes()).unwrap().preview().unwrap().join("\n");
        assert!(preview.starts_with("org.example.wifi (Wi-Fi), not signed"), "{preview}");
        assert!(preview.contains("EncryptionType: WPA2") && !preview.contains("hunter2"), "{preview}");
        let signed = Profile::from_bytes(&cms).unwrap().preview().unwrap();
        assert!(signed[0].contains("its signature is kept"), "{signed:?}");
        for (bytes, why) in [
            (&b"bplist00"[..], "plutil"),
            (&b"\x30\x80\xff"[..], "neither"),
            (&b"hello"[..], "neither"),
            (&b""[..], "neither"),
        ] {
            let error = Profile::from_bytes(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn section_2_what_is_no_profile_is_refused_with_the_reason() {
        let facts = |text: &str| Profile(text.into()).facts().unwrap_err().to_string();
        assert!(facts("hello").contains("neither"));
        assert!(facts("<plist version=\"1.0\"><array/></plist>").contains("no dictionary"));
        assert!(facts(&WIFI.replace("Configuration", "x")).contains("PayloadType"));
        assert!(facts(&WIFI.replace("PayloadIdentifier", "x")).contains("PayloadIdentifier"));
        assert!(facts(&WIFI.replace("PayloadContent", "x")).contains("PayloadContent"));
        assert!(facts(&WIFI.replace("</dict></plist>", "")).contains("cannot be read"));
        assert!(facts(&"x".repeat(LONGEST + 1)).contains("at most"));
    }

    proptest! {
        #[test]
        fn base64_comes_back_and_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "[ -~]{0,60}") {
            prop_assert_eq!(decode(&encode_base64(&bytes)), Some(bytes));
            let _ = Profile(text).facts();
        }
    }
}
