//! The parts of a file that was split: `split`, FOG and Clonezilla name them `.aa .ab …`, `.000 .001 …` or `.001 .002 …`.
//!
//! A name only finds siblings. Whether they are parts of one file, what is in them says: a part that is an image of its
//! own is opened alone. Owns: the rule.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::joined::Part;
use crate::image::source::{Looks, Source};

/// Parts of one file.
const MOST_PARTS: usize = 10_000;

/// Parts in a row that may be missing; what comes after more of them is no part.
const MOST_MISSING: u32 = 16;

/// How the parts of a file are called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    /// All before the number.
    stem: String,
    number: u32,
    /// Digits or letters in the number.
    width: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Digits,
    Lower,
    Upper,
}

impl Name {
    fn parse(name: &str) -> Option<Name> {
        let at = name.rfind(['.', '-', '_'])? + 1;
        let suffix = &name[at..];
        let all = |test: fn(&u8) -> bool| suffix.as_bytes().iter().all(test);
        let kind = match () {
            () if all(u8::is_ascii_digit) => Kind::Digits,
            () if all(u8::is_ascii_lowercase) => Kind::Lower,
            () if all(u8::is_ascii_uppercase) => Kind::Upper,
            () => return None,
        };
        let width = suffix.len();
        if !(2..=5).contains(&width) {
            return None;
        }
        let (base, zero) = match kind {
            Kind::Digits => (10, b'0'),
            Kind::Lower => (26, b'a'),
            Kind::Upper => (26, b'A'),
        };
        let number = suffix.bytes().fold(0, |number, byte| number * base + u32::from(byte - zero));
        Some(Name { stem: name[..at].to_owned(), number, width, kind })
    }

    fn is_sibling(&self, other: &Name) -> bool {
        (&self.stem, self.width, self.kind) == (&other.stem, other.width, other.kind)
    }

    /// The name of another part.
    fn of(&self, number: u32) -> String {
        let digits = match self.kind {
            Kind::Digits => format!("{number:0width$}", width = self.width),
            Kind::Lower | Kind::Upper => {
                let zero = if self.kind == Kind::Lower { b'a' } else { b'A' };
                let digit = |place: u32| char::from(zero + (number / 26_u32.pow(place) % 26) as u8);
                (0..self.width as u32).rev().map(digit).collect()
            }
        };
        format!("{}{digits}", self.stem)
    }

    /// Numbers that a first part may have.
    fn may_be_first(&self) -> bool {
        self.number == 0 || self.kind == Kind::Digits && self.number == 1
    }
}

/// The name of the file that a part with this name belongs to.
pub(super) fn stem(name: &str) -> String {
    let stem = Name::parse(name).map(|name| name.stem).unwrap_or_default();
    match stem.trim_end_matches(['.', '-', '_']) {
        "" => name.to_owned(),
        stem => stem.to_owned(),
    }
}

/// Names that may be those of all parts of a file, by the first; also of one that has a single part by now. What is in the files
/// says whether they are.
pub fn sets<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut all: BTreeMap<(String, usize, Kind), BTreeMap<u32, &str>> = BTreeMap::new();
    for text in names {
        if let Some(Name { stem, number, width, kind }) = Name::parse(text) {
            all.entry((stem, width, kind)).or_default().insert(number, text);
        }
    }
    let mut sets = BTreeMap::new();
    for ((stem, width, kind), mut found) in all {
        let Some((&first, &text)) = found.first_key_value() else { continue };
        if !(Name { stem, number: first, width, kind }).may_be_first() {
            continue;
        }
        let last = near(&found, first);
        found.retain(|number, _| *number <= last);
        sets.insert(text, found.into_values().collect());
    }
    sets
}

/// All parts of the file that the one at `path` belongs to; none where it is a file of its own.
pub(super) fn of(path: &Path) -> Result<Vec<Part>, OpenError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(Name::parse) else {
        return Ok(Vec::new());
    };
    if !fs::metadata(path).map_err(OpenError::open(path))?.is_file() {
        return Ok(Vec::new());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = siblings(folder, &name)?;
    let first = found.keys().next().copied().unwrap_or(name.number);
    let is_first = Name { number: first, ..name.clone() }.may_be_first();
    if is_first {
        let near = near(&found, first);
        found.retain(|number, _| *number <= near);
    }
    if found.len() < 2 || !found.contains_key(&name.number) {
        return Ok(Vec::new());
    }
    if first == name.number && is_first {
        if stands_alone(path, found.values().nth(1))? {
            return Ok(Vec::new());
        }
    } else if looks(path)?.is_none_or(|looks| !looks.unknown()) {
        // A later part begins anywhere in its file, so it looks like nothing.
        return Ok(Vec::new());
    }
    if !is_first {
        let neighbours = [name.number.checked_sub(1), name.number.checked_add(1)];
        if !neighbours.into_iter().flatten().any(|number| found.contains_key(&number)) {
            return Ok(Vec::new());
        }
        let missing = folder.join(name.of(u32::from(name.kind == Kind::Digits)));
        return Err(OpenError::MissingPart { missing, first: path.to_owned(), count: found.len() });
    }
    checked(&found, &name, folder)
}

/// The last number that belongs together with the first: `lab.gz` is no 181st part beside `lab.aa` and `lab.ab`.
fn near<T>(found: &BTreeMap<u32, T>, first: u32) -> u32 {
    found.keys().fold(first, |last, number| if number - last <= MOST_MISSING + 1 { *number } else { last })
}

/// Files beside it whose names differ by the number alone. Links are no parts: they could lead anywhere.
fn siblings(folder: &Path, name: &Name) -> Result<BTreeMap<u32, PathBuf>, OpenError> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(OpenError::open(folder))? {
        let entry = entry.map_err(OpenError::open(folder))?;
        let Some(other) = entry.file_name().to_str().and_then(Name::parse) else { continue };
        if name.is_sibling(&other) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            found.insert(other.number, entry.path());
        }
        if found.len() > MOST_PARTS {
            return Err(OpenError::TooMany { path: folder.join(name.of(0)), most: MOST_PARTS });
        }
    }
    Ok(found)
}

/// Whether the first part is an image of its own, and the one beside it another.
fn stands_alone(first: &Path, second: Option<&PathBuf>) -> Result<bool, OpenError> {
    let Some(second) = second else { return Ok(true) };
    let (Some(one), Some(other)) = (looks(first)?, looks(second)?) else { return Ok(false) };
    if one.udif() {
        return Ok(true);
    }
    if one.unknown() || other.unknown() {
        return Ok(false);
    }
    if one.raw() {
        let whole = |path: &Path| File::open(path).is_ok_and(|file| Source::open(file).is_ok());
        return Ok(other.raw() && whole(first) && whole(second));
    }
    Ok(one == other)
}

/// What a file looks like; none where it is empty.
fn looks(path: &Path) -> Result<Option<Looks>, OpenError> {
    let mut file = File::open(path).map_err(OpenError::open(path))?;
    if file.metadata().map_err(OpenError::open(path))?.len() == 0 {
        return Ok(None);
    }
    Ok(Some(Looks::at(&mut file)?))
}

/// Parts from the first on without a gap, all of one length but the last.
fn checked(found: &BTreeMap<u32, PathBuf>, name: &Name, folder: &Path) -> Result<Vec<Part>, OpenError> {
    let mut parts: Vec<Part> = Vec::with_capacity(found.len());
    let mut want = None;
    for (number, path) in found {
        let expected = want.unwrap_or(*number);
        if *number != expected {
            let first = parts.first().map_or_else(|| path.clone(), |part| part.path.clone());
            let missing = folder.join(name.of(expected));
            return Err(OpenError::MissingPart { missing, first, count: found.len() });
        }
        want = Some(expected + 1);
        let part = measured(path)?;
        if let [first, ..] = parts.as_slice() {
            let is_last = parts.len() + 1 == found.len();
            let fits =
                if is_last { (1..=first.length).contains(&part.length) } else { part.length == first.length };
            if !fits {
                return Err(OpenError::PartLength {
                    path: path.clone(),
                    have: part.length,
                    want: first.length,
                });
            }
        }
        parts.push(part);
    }
    Ok(parts)
}

/// A part with its length.
pub(super) fn measured(path: &Path) -> Result<Part, OpenError> {
    let length = fs::metadata(path).map_err(OpenError::open(path))?.len();
    Ok(Part { path: path.to_owned(), length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_letters_or_digits_behind_a_separator() {
        let of = |name: &str| Name::parse(name).map(|name| (name.stem, name.number, name.width));
        assert_eq!(of("d1p1.img.000"), Some(("d1p1.img.".into(), 0, 3)));
        assert_eq!(of("sda2.hfsplus-ptcl-img.gz.ab"), Some(("sda2.hfsplus-ptcl-img.gz.".into(), 1, 2)));
        assert_eq!(of("lab.img-AC"), Some(("lab.img-".into(), 2, 2)));
        for name in ["lab", "lab.dmg7", "lab.a", "lab.Aa", "lab.000000", ""] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_differ_by_their_number_are_a_set_behind_the_first() {
        let names =
            ["lab.img.aa", "lab.img.ab", "lab.img.gz", "a.001", "a.002", "b.dmg", "b.iso", "c.ab", "d.00"];
        let sets: Vec<_> = sets(names).into_values().collect();
        assert_eq!(sets, [vec!["a.001", "a.002"], vec!["d.00"], vec!["lab.img.aa", "lab.img.ab"]]);
        assert_eq!(
            (stem("lab.img.aa").as_str(), stem("x.dmg").as_str(), stem(".aa").as_str()),
            ("lab.img", "x", ".aa")
        );
    }

    #[test]
    fn the_name_of_another_part_is_read_back_as_its_number() {
        for name in ["a.000", "a.aa", "a.AA", "a.aaa", "a.0001"] {
            let name = Name::parse(name).unwrap();
            for number in [0, 1, 25, 26, 99, 675] {
                let other = Name { number, ..name.clone() };
                if name.width > 2 || number < 100 {
                    assert_eq!(Name::parse(&name.of(number)), Some(other));
                }
            }
        }
    }
}
