//! Names of images: which one a file's name gives.
//!
//! Must not know: where the file is.

use std::fmt;

use crate::value::is_image_name;

/// What a [`NameRule`] may be.
pub const RULE_OF_RULES: &str =
    "a name of 1 to 64 letters, digits, space, `.`, `_`, `-` with `{stem}` or `{series}` for the file's name";

const LONGEST: usize = 64;

/// Endings that say what a file is, not what is in it.
const ENDINGS: [&str; 20] = [
    ".gz",
    ".xz",
    ".zst",
    ".bz2",
    ".tar",
    ".aa",
    ".000",
    ".00",
    ".part1",
    ".dmg",
    ".img",
    ".raw",
    ".iso",
    ".sparseimage",
    ".sparsebundle",
    ".partclone",
    ".pcl",
    ".bin",
    ".dd",
    ".hfs",
];

/// How the name of a file becomes the name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRule(String);

impl Default for NameRule {
    fn default() -> NameRule {
        NameRule("{stem}".to_owned())
    }
}

impl NameRule {
    /// `{stem}`: the file's name without its endings. `{series}`: the same without numbers and dates at its end, so that
    /// `lab-2026-05-01.dmg` and `lab-2026-06-01.dmg` become versions of one image. Anything else stands for itself.
    pub fn new(text: &str) -> Option<NameRule> {
        let plain = text.replace("{stem}", "x").replace("{series}", "x");
        is_image_name(&plain).then(|| NameRule(text.to_owned()))
    }

    /// The image that a file becomes; none when nothing of its name is left.
    pub fn apply(&self, file: &str) -> Option<String> {
        let stem = clean(stem(file));
        let name = self.0.replace("{series}", series(&stem)).replace("{stem}", &stem);
        let name: String = name.chars().take(LONGEST).collect();
        let name = name.trim_end().to_owned();
        (!stem.is_empty() && is_image_name(&name)).then_some(name)
    }
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn stem(file: &str) -> &str {
    let mut stem = file;
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| {
        let cut = stem.len().checked_sub(ending.len())?;
        let fits = stem.is_char_boundary(cut) && stem[cut..].eq_ignore_ascii_case(ending);
        fits.then(|| &stem[..cut])
    }) {
        stem = shorter;
    }
    stem
}

/// What may not stand in a name becomes one `-`.
fn clean(stem: &str) -> String {
    let mut name = String::new();
    for c in stem.chars() {
        if c.is_ascii_alphanumeric() || " ._-".contains(c) {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
        .trim_end_matches([' ', '-', '.', '_'])
        .to_owned()
}

fn series(stem: &str) -> &str {
    let parts = stem.trim_end_matches(|c: char| c.is_ascii_digit() || " ._-".contains(c));
    // `lab-v3`: the v belongs to the number.
    let shorter = parts.strip_suffix(['v', 'V']).filter(|rest| rest.ends_with([' ', '.', '_', '-']));
    let rest = match shorter {
        Some(rest) if parts.len() < stem.len() => rest,
        _ => parts,
    };
    // A name that is all number, or a number stuck to a word (`iMac14`), is kept.
    let cut = &stem[rest.len()..];
    match rest.is_empty() || !cut.starts_with([' ', '.', '_', '-']) && !rest.ends_with([' ', '.', '_', '-']) {
        true => stem,
        false => rest.trim_end_matches([' ', '.', '_', '-']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(rule: &str, file: &str) -> Option<String> {
        NameRule::new(rule).unwrap().apply(file)
    }

    #[test]
    fn the_name_of_a_file_without_its_endings_names_the_image() {
        for (file, want) in [
            ("lab-mac.dmg", "lab-mac"),
            ("Lab Mac.img.GZ", "Lab Mac"),
            ("büro (neu).raw.zst", "b-ro -neu"),
            ("__x.sparsebundle", "x"),
            ("10.13.6", "10.13.6"),
            ("lab.partclone.zst.aa", "lab"),
        ] {
            assert_eq!(named("{stem}", file).as_deref(), Some(want), "{file}");
        }
        assert_eq!(named("{stem}", ".dmg"), None);
        assert_eq!(named("{stem}", "日本.dmg"), None);
        assert_eq!(named("{stem}", &"a".repeat(200)).unwrap().len(), 64);
    }

    #[test]
    fn a_series_is_the_name_without_numbers_and_dates() {
        for (file, want) in [
            ("lab-2026-05-01.dmg", "lab"),
            ("lab_mac v3.1.dmg", "lab_mac"),
            ("iMac14.dmg", "iMac14"),
            ("2026-05.dmg", "2026-05"),
            ("lab.dmg", "lab"),
            ("hv-2.dmg", "hv"),
        ] {
            assert_eq!(named("{series}", file).as_deref(), Some(want), "{file}");
        }
        assert_eq!(named("school {series}", "lab-3.dmg").as_deref(), Some("school lab"));
    }

    #[test]
    fn a_rule_that_gives_no_good_name_is_none() {
        for rule in ["", "-{stem}", "{name}", "a/b", " "] {
            assert_eq!(NameRule::new(rule), None, "{rule}");
        }
    }
}
