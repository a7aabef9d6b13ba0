//! Takes secrets out of texts: known ones in every spelling that they may have ([`Mask`]), and what looks like one.
//!
//! Must not know: where texts and secrets come from.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::value::{MASK, Mask};

/// Secrets of fewer characters are only replaced as whole words: else half a text would be dots.
const SHORT: usize = 4;

/// What looks like a secret, and what it is called in the account.
const FORMS: [(&str, &str); 8] = [
    // Only their digests are kept, so they are known by how they begin (`door::TOKEN_HEAD`).
    ("api-token", r"\brootstock_[A-Za-z0-9_-]{16,}"),
    ("sealed", r"sealed\.v1\.[0-9a-f]+\.[0-9a-f]+"),
    ("private-key", r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"),
    ("account-in-address", r"://[^/\s@\x22']+:[^/\s@\x22']+@"),
    ("bearer", r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{8,}"),
    ("basic", r"(?i)\bbasic\s+[A-Za-z0-9+/=]{8,}"),
    ("password-hash", r"\$argon2[a-z]*\$[^\s\x22']+"),
    (
        "named",
        r#"(?i)\b([a-z0-9_-]*(?:password|passwd|passphrase|secret|token)\\?["']?\s*[:=]\s*\\?["']?)[^\s"'\\,}{]{3,}"#,
    ),
];

/// Knows secrets, and counts what it took out.
#[derive(Default)]
pub struct Redactor {
    known: BTreeSet<String>,
    short: BTreeSet<String>,
    /// Of what is known; none: something became known since.
    mask: Option<Mask>,
    counts: BTreeMap<&'static str, u64>,
}

impl Redactor {
    /// A secret, as a whole and line by line.
    pub fn know(&mut self, secret: &str) {
        for part in std::iter::once(secret).chain(secret.lines()).map(str::trim) {
            let all = if part.chars().count() < SHORT { &mut self.short } else { &mut self.known };
            if !part.is_empty() && all.insert(part.to_owned()) {
                self.mask = None;
            }
        }
    }

    /// The text without secrets.
    pub fn clean(&mut self, text: &str) -> String {
        let dots = |text: &str| text.matches(MASK).count();
        let before = dots(text);
        let mask = self.mask.get_or_insert_with(|| Mask::of_parts(&self.known));
        let mut text = mask.apply(text);
        for word in &self.short {
            text = replace_words(&text, word);
        }
        *self.counts.entry("known").or_default() += dots(&text).saturating_sub(before) as u64;
        for (name, form) in FORMS {
            let Ok(form) = Regex::new(form) else { continue };
            let mut count = 0;
            let keep_head = |found: &regex::Captures<'_>| {
                let whole = &found[0];
                // Paths of files with secrets, and what is masked already, say nothing.
                if whole.contains(MASK) || name == "named" && is_harmless(whole) {
                    return whole.to_owned();
                }
                count += 1;
                match name {
                    "account-in-address" => format!("://{MASK}@"),
                    "named" => format!("{}{MASK}", &found[1]),
                    _ => MASK.to_owned(),
                }
            };
            text = form.replace_all(&text, keep_head).into_owned();
            *self.counts.entry(name).or_default() += count;
        }
        text
    }

    /// What was taken out so far.
    pub fn account(&self) -> String {
        let mut lines = "Taken out of this report, by kind:\n".to_owned();
        for (name, count) in &self.counts {
            lines += &format!("{name}: {count}\n");
        }
        lines
            + "\nLook through the files before you send them on: what nobody called a secret is still in them.\n"
    }
}

/// Values that are no secrets although their names sound so: paths of files, flags, numbers of things.
fn is_harmless(found: &str) -> bool {
    let Some(at) = found.find([':', '=']) else { return true };
    let (name, value) = (found[..at].to_lowercase(), found[at + 1..].trim_matches([' ', '"', '\'', '\\']));
    name.trim_matches(['"', '\'', '\\', ' ']).ends_with("-file")
        || value.starts_with('/')
        || matches!(value, "true" | "false" | "null" | "none")
}

fn replace_words(text: &str, word: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut clean, mut from) = (String::with_capacity(text.len()), 0);
    for (at, _) in text.match_indices(word) {
        if at < from {
            continue;
        }
        let alone = !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part);
        clean.push_str(&text[from..at]);
        clean.push_str(if alone { MASK } else { word });
        from = at + word.len();
    }
    clean.push_str(&text[from..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http::door::TOKEN_HEAD;

    #[test]
    fn a_known_secret_goes_in_every_spelling_and_a_short_one_as_a_word() {
        let mut redactor = Redactor::default();
        redactor.know("hun\"ter<2>");
        redactor.know("first line\nsecond line");
        redactor.know("x1");
        let clean = redactor
            .clean("a hun\"ter<2> b hun\\\"ter<2> c hun&quot;ter&lt;2&gt; second line pin x1, x10, ax1");
        assert_eq!(clean, format!("a {MASK} b {MASK} c {MASK} {MASK} pin {MASK}, x10, ax1"));
        assert_eq!(
            redactor.clean("basic aHVuInRlcjwyPg== %22"),
            format!("basic {MASK}g== %22"),
            "Base64, but for what it shares with its neighbours"
        );
        assert!(redactor.account().contains("known: 6"), "{}", redactor.account());
    }

    #[test]
    fn what_looks_like_a_secret_goes_and_names_of_files_stay() {
        let mut redactor = Redactor::default();
        for (text, want) in [
            ("afp://u:p@10.0.0.5/S", format!("afp://{MASK}@10.0.0.5/S")),
            ("Authorization: Bearer abcdef0123456789", format!("Authorization: {MASK}")),
            ("value: sealed.v1.0011aabb.deadbeef", format!("value: {MASK}")),
            (&format!("curl -H x {TOKEN_HEAD}0123456789abcdef0123"), format!("curl -H x {MASK}")),
            ("the user rootstock_admin", "the user rootstock_admin".to_owned()),
            ("ADMIN_PASSWORD=hunter2 x", format!("ADMIN_PASSWORD={MASK} x")),
            ("\"password\": \"hunter2\"", format!("\"password\": \"{MASK}\"")),
            ("smtp-password-file = \"/etc/pw\"", "smtp-password-file = \"/etc/pw\"".to_owned()),
            ("token-file = \"/etc/token\"", "token-file = \"/etc/token\"".to_owned()),
            ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", MASK.to_owned()),
            ("hash $argon2id$v=19$m=1$abc$def.", format!("hash {MASK}")),
        ] {
            assert_eq!(redactor.clean(text), want, "{text}");
        }
        assert!(redactor.account().contains("bearer: 1"), "{}", redactor.account());
    }
}
