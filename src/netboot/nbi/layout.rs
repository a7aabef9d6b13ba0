//! Where in a folder or an archive the set is, and which names its files may have.
//!
//! Must not know: what kind of archive it is, what the property list says.

/// What makes a folder a set.
pub const INFO: &str = "NBImageInfo.plist";
/// What the site says of a set, beside Apple's files.
pub const SIDE_FILE: &str = "rootstock.toml";

/// Longest path in a set. TFTP requests of firmware have less.
const LONGEST_PATH: usize = 255;
/// Deepest folder; Apple's sets have three.
const DEEPEST: usize = 8;

/// What the systems that packed it leave beside the files: AppleDouble, Finder's and the archiver's own.
pub fn is_clutter(path: &str) -> bool {
    path.split('/').any(|part| {
        matches!(
            part,
            ".DS_Store" | "__MACOSX" | ".Trashes" | ".fseventsd" | ".Spotlight-V100" | ".TemporaryItems"
        ) || part.starts_with("._")
            || part.starts_with(".HFS+ Private")
            || part.starts_with("\u{0}\u{0}\u{0}\u{0}HFS+")
    })
}

/// Brings the path of an entry to the form `i386/booter`; the empty path is the top. None: it leads elsewhere, or could
/// not be asked for by TFTP (backslashes are slashes there).
pub fn entry_path(path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains('\\') || path.chars().any(char::is_control) {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let joined = parts.join("/");
    let good = !parts.contains(&"..") && parts.len() <= DEEPEST && joined.len() <= LONGEST_PATH;
    good.then_some(joined)
}

/// Where a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Folder that it lies in, with a slash at its end; empty: at the top.
    pub prefix: String,
    /// Name of its folder, `NetInstall.nbi`; none at the top.
    pub folder: Option<String>,
}

/// There is no set, or not where it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// No property list.
    #[error(
        "there is no {INFO} in it; name the .nbi folder that System Image Utility made, or an archive of it"
    )]
    None,
    /// More than one.
    #[error("it holds several sets, {}; name one of them", .0.join(", "))]
    Several(Vec<String>),
    /// Folders around it.
    #[error("{INFO} lies too deep, in {0}; name that folder")]
    Deep(String),
}

/// Finds the set among paths as [`entry_path`] gives them. It may lie at the top or, in an archive, in one folder.
pub fn locate<'p>(paths: impl Iterator<Item = &'p str>, depth: usize) -> Result<Place, Misplaced> {
    let mut found: Vec<&str> = paths
        .filter_map(|path| path.strip_suffix(INFO))
        .filter(|at| at.is_empty() || at.ends_with('/'))
        .collect();
    found.sort_by_key(|at| at.len());
    let folder = |at: &str| at.trim_end_matches('/').to_owned();
    match found.as_slice() {
        [] => Err(Misplaced::None),
        // What lies in a set is its own affair.
        ["", ..] => Ok(Place { prefix: String::new(), folder: None }),
        [at] if at.matches('/').count() <= depth => {
            let name = folder(at).rsplit('/').next().unwrap_or_default().to_owned();
            Ok(Place { prefix: (*at).to_owned(), folder: Some(name) })
        }
        [at] => Err(Misplaced::Deep(folder(at))),
        several => Err(Misplaced::Several(several.iter().take(10).map(|at| folder(at)).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_lies_at_the_top_or_in_one_folder_and_nowhere_else() {
        let at = |paths: &[&str], depth| locate(paths.iter().copied(), depth);
        let top = Place { prefix: String::new(), folder: None };
        assert_eq!(at(&["i386/booter", "NBImageInfo.plist", "x/NBImageInfo.plist"], 0), Ok(top));
        let one = Place { prefix: "a.nbi/".into(), folder: Some("a.nbi".into()) };
        assert_eq!(at(&["a.nbi/NBImageInfo.plist", "a.nbi/i386"], 1), Ok(one));
        assert_eq!(at(&["a.nbi/NBImageInfo.plist"], 0), Err(Misplaced::Deep("a.nbi".into())));
        assert_eq!(at(&["a/a.nbi/NBImageInfo.plist"], 1), Err(Misplaced::Deep("a/a.nbi".into())));
        assert_eq!(at(&["notNBImageInfo.plist"], 1), Err(Misplaced::None));
        let two = at(&["a.nbi/NBImageInfo.plist", "b.nbi/NBImageInfo.plist"], 1).unwrap_err().to_string();
        assert!(two.contains("a.nbi, b.nbi"), "{two}");
    }

    #[test]
    fn paths_that_lead_elsewhere_are_no_paths() {
        assert_eq!(entry_path("./a//b/").as_deref(), Some("a/b"));
        assert_eq!(entry_path("./").as_deref(), Some(""));
        for bad in ["/etc/passwd", "a/../b", "..", "a\\b", "a\nb", "1/2/3/4/5/6/7/8/9"] {
            assert_eq!(entry_path(bad), None, "{bad}");
        }
        assert_eq!(entry_path(&"a".repeat(256)), None);
    }

    #[test]
    fn what_macos_leaves_in_archives_is_no_part_of_a_set() {
        for path in ["._booter", "i386/._booter", "__MACOSX/x.nbi/a", ".DS_Store"] {
            assert!(is_clutter(path), "{path}");
        }
        assert!(!is_clutter("i386/com.apple.Boot.plist"));
    }
}
