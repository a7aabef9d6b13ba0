//! Secrets taken out of texts: as they are, and as programs commonly write them.
//!
//! Finds each secret, and each line of one with several, in these forms: itself; Base64 of both alphabets, at any place in what was
//! encoded; hexadecimal; as part of a URL; escaped for JSON or XML; quoted for a shell. A secret that is spread over lines, or
//! hidden by a program that means to, is not told. Must not know: where texts come from.

use super::encode_base64;

/// What takes the place of a secret.
pub const MASK: &str = "••••••••";
/// Bytes of the shortest secret that is looked for in other forms: shorter ones would be found in anything.
const SHORTEST: usize = 4;
/// Characters of a line of Base64, of the programs base64 and openssl.
const WIDTHS: [usize; 2] = [76, 64];

/// Texts that must not appear.
#[derive(Clone, Default)]
pub struct Mask {
    /// Longest first, by their first byte.
    needles: Vec<Vec<Vec<u8>>>,
    longest: usize,
}

impl Mask {
    /// Masks these secrets; an empty one is none.
    pub fn of_bytes(secrets: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Mask {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let secret = secret.as_ref().trim_ascii_end();
            parts.extend(secret.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec()));
            parts.push(secret.to_vec());
        }
        Mask::of_parts(parts)
    }

    /// The same, where lines of a secret are not looked for by themselves.
    pub fn of_parts(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Mask {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for part in parts {
            all.extend(Some(part.as_ref()).filter(|part| !part.is_empty()).into_iter().flat_map(forms));
        }
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return Mask::default();
        }
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        let mut needles = vec![Vec::new(); 256];
        all.into_iter().for_each(|needle| needles[usize::from(needle[0])].push(needle));
        needles.iter_mut().for_each(|same| same.sort_by_key(|needle| std::cmp::Reverse(needle.len())));
        Mask { needles, longest }
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.longest == 0
    }

    /// `text` without them.
    pub fn apply(&self, text: &str) -> String {
        match self.bytes(text.as_bytes(), false) {
            Some(masked) => String::from_utf8_lossy(&masked).into_owned(),
            None => text.to_owned(),
        }
    }

    /// A line without them, what is no UTF-8 replaced. `cut`: the line went on; a secret that begins at its end goes, too.
    pub fn apply_to_line(&self, line: &[u8], cut: bool) -> String {
        let masked = self.bytes(line, cut);
        String::from_utf8_lossy(masked.as_deref().unwrap_or(line)).into_owned()
    }

    /// None: there was nothing to mask.
    fn bytes(&self, text: &[u8], cut: bool) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        // Where what is covered last ends.
        let mut until: Option<usize> = None;
        let mut masked: Option<Vec<u8>> = None;
        for (at, first) in text.iter().enumerate() {
            let rest = &text[at..];
            let same = &self.needles[usize::from(*first)];
            let found = match same.iter().find(|needle| rest.starts_with(needle)) {
                Some(needle) => Some(needle.len()),
                None if cut && rest.len() < self.longest => {
                    same.iter().any(|needle| needle.starts_with(rest)).then_some(rest.len())
                }
                None => None,
            };
            if let Some(length) = found {
                let masked = masked.get_or_insert_with(|| text[..at].to_vec());
                if until.is_none_or(|end| at > end) {
                    masked.extend_from_slice(MASK.as_bytes());
                }
                until = until.max(Some(at + length));
            } else if until.is_none_or(|end| at >= end)
                && let Some(masked) = &mut masked
            {
                masked.push(*first);
            }
        }
        masked
    }
}

/// How a secret may be written.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    if secret.len() < SHORTEST {
        return forms;
    }
    for inside in base64(secret) {
        let url_safe = inside.replace('+', "-").replace('/', "_");
        forms.extend([inside.into_bytes(), url_safe.into_bytes()]);
    }
    let hex = |digits: fn(u8) -> String| secret.iter().map(|byte| digits(*byte)).collect::<String>();
    forms.push(hex(|byte| format!("{byte:02x}")).into_bytes());
    forms.push(hex(|byte| format!("{byte:02X}")).into_bytes());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    for (space, digits) in [("%20", true), ("+", true), ("%20", false)] {
        forms.push(each(secret, |byte| match (byte, digits) {
            (b' ', _) => Some(space.to_owned()),
            (byte, _) if plain(byte) => None,
            (byte, true) => Some(format!("%{byte:02X}")),
            (byte, false) => Some(format!("%{byte:02x}")),
        }));
    }
    // JSON, of writers that escape the slash and of others.
    for slash in [None, Some("\\/".to_owned())] {
        forms.push(each(secret, |byte| match byte {
            b'"' | b'\\' => Some(format!("\\{}", char::from(byte))),
            b'\n' => Some("\\n".to_owned()),
            b'\t' => Some("\\t".to_owned()),
            b'\r' => Some("\\r".to_owned()),
            b'/' => slash.clone(),
            0..0x20 => Some(format!("\\u{byte:04x}")),
            _ => None,
        }));
    }
    for quotes in [true, false] {
        forms.push(each(secret, |byte| match byte {
            b'&' => Some("&amp;".to_owned()),
            b'<' => Some("&lt;".to_owned()),
            b'>' => Some("&gt;".to_owned()),
            b'"' if quotes => Some("&quot;".to_owned()),
            b'\'' if quotes => Some("&#39;".to_owned()),
            _ => None,
        }));
    }
    // A shell that shows what it runs (`set -x`), `printf %q`, and what people write by hand.
    for quote in ["'\\''", "'\"'\"'"] {
        forms.push(each(secret, |byte| (byte == b'\'').then(|| quote.to_owned())));
    }
    forms.push(each(secret, |byte| b"\"$`\\".contains(&byte).then(|| format!("\\{}", char::from(byte)))));
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:,@%+=".contains(&byte) || byte >= 0x80;
    forms.push(each(secret, |byte| (!bare(byte)).then(|| format!("\\{}", char::from(byte)))));
    forms
}

fn each(secret: &[u8], escape: impl Fn(u8) -> Option<String>) -> Vec<u8> {
    let mut written = Vec::with_capacity(secret.len());
    for byte in secret {
        match escape(*byte) {
            Some(text) => written.extend_from_slice(text.as_bytes()),
            None => written.push(*byte),
        }
    }
    written
}

/// What of Base64 depends on the secret alone, at each of the three places in a group of three bytes where it may begin; whole, it
/// may also be broken into lines.
fn base64(secret: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for before in 0..3 {
        let bytes = [&vec![0; before][..], secret].concat();
        let text = encode_base64(&bytes);
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        let inside = &text[from..to];
        if inside.len() >= SHORTEST {
            found.push(inside.to_owned());
        }
        if before == 0 {
            for width in WIDTHS.into_iter().filter(|width| text.len() > *width) {
                let lines = text.as_bytes().chunks(width).filter(|line| line.len() >= 2 * SHORTEST);
                found.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[&str], text: &str) -> String {
        Mask::of_bytes(secrets).apply(text)
    }

    #[test]
    fn section_3_a_secret_is_masked_in_every_form_that_programs_commonly_write() {
        let secret = r#"p4ss "w/o"&<rd> it's $1+"#;
        for form in [
            secret,
            // base64; of user:secret; of xx:secret
            "cDRzcyAidy9vIiY8cmQ+IGl0J3MgJDEr",
            "dXNlcjpwNHNzICJ3L28iJjxyZD4gaXQncyAkMSs",
            "eHg6cDRzcyAidy9vIiY8cmQ+IGl0J3MgJDEr",
            "cDRzcyAidy9vIiY8cmQ-IGl0J3MgJDEr",
            &secret.bytes().map(|byte| format!("{byte:02x}")).collect::<String>(),
            &secret.bytes().map(|byte| format!("{byte:02X}")).collect::<String>(),
            "p4ss%20%22w%2Fo%22%26%3Crd%3E%20it%27s%20%241%2B",
            "p4ss+%22w%2Fo%22%26%3Crd%3E+it%27s+%241%2B",
            r#"p4ss \"w/o\"&<rd> it's $1+"#,
            r#"p4ss \"w\/o\"&<rd> it's $1+"#,
            "p4ss &quot;w/o&quot;&amp;&lt;rd&gt; it&#39;s $1+",
            r#"p4ss "w/o"&amp;&lt;rd&gt; it's $1+"#,
            r#"p4ss "w/o"&<rd> it'\''s $1+"#,
            r#"p4ss "w/o"&<rd> it'"'"'s $1+"#,
            r#"p4ss\ \"w/o\"\&\<rd\>\ it\'s\ \$1+"#,
        ] {
            let said = masked(&[secret], &format!("<{form}>"));
            assert!(said.contains(MASK), "{form}: {said}");
            for part in ["p4ss", "it", "cDRz", "cmQ", "7034"] {
                assert!(!said.contains(part), "{form}: {said}");
            }
        }
    }

    #[test]
    fn section_3_secrets_that_overlap_or_hold_each_other_leave_nothing_over() {
        assert_eq!(masked(&["pass", "password"], "the password is pass"), format!("the {MASK} is {MASK}"));
        assert_eq!(masked(&["abcd", "cdef"], "xabcdefx"), format!("x{MASK}x"));
        assert_eq!(masked(&["one\ntwo "], "two, onetwo"), format!("{MASK}, {MASK}"));
        assert_eq!(masked(&["", "\n"], "as it is"), "as it is");
        assert_eq!(masked(&["ab"], "YWI= ab"), format!("YWI= {MASK}"), "too short for other forms");
    }

    #[test]
    fn section_3_a_secret_of_any_bytes_is_masked_and_so_is_one_that_a_cut_leaves_half() {
        let mask = Mask::of_bytes([&b"\xffkey\xfe"[..]]);
        assert_eq!(mask.apply_to_line(b"a \xffkey\xfe b", false), format!("a {MASK} b"));
        assert_eq!(mask.apply_to_line(b"a \xffke", true), format!("a {MASK}"));
        assert_eq!(mask.apply_to_line(b"a \xfd", false), "a \u{fffd}");
    }

    proptest! {
        #[test]
        fn section_3_base64_of_anything_around_a_secret_does_not_give_it_back(before in "[a-z]{0,7}", secret in "[!-~]{8,90}", after in "[a-z]{0,7}") {
            let text = encode_base64(format!("{before}{secret}{after}").as_bytes());
            let said = masked(&[&secret], &text);
            prop_assert!(said.contains(MASK), "{}", said);
            // Nothing but what shares a group with its neighbours is left of it.
            let left = said.replace(MASK, "").len();
            prop_assert!(left <= encode_base64(format!("{before}{after}").as_bytes()).len() + 8, "{}", said);
        }

        #[test]
        fn section_3_no_text_holds_the_secret_after_it_was_masked(secret in "[a-c]{2,5}", text in "[a-c]{0,40}") {
            let said = masked(&[&secret], &text);
            prop_assert!(!said.contains(&secret), "{}", said);
            prop_assert_eq!(said.contains(MASK), text.contains(&secret));
        }
    }
}
