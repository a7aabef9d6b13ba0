//! What an image of the library may be called: the name stands in paths, addresses and lists.
//!
//! Must not know: which images there are.

/// What the rule is, for messages.
pub const IMAGE_NAME_RULE: &str =
    "1 to 64 of letters, digits, space, `.`, `_`, `-`, beginning with a letter or digit";

/// Whether an image may have this name.
pub fn is_image_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.ends_with(' ')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || " ._-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        for good in ["lab", "Lab Mac 10.13", "a", "7_b-c", &"x".repeat(64)] {
            assert!(is_image_name(good), "{good}");
        }
        for bad in ["", " a", "a ", "-a", ".a", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_image_name(bad), "{bad}");
        }
    }
}
