//! `lab-mac` and `lab-mac@3`: how an image and a version are named on the command line.

use std::str::FromStr;

/// An image, or one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Name of the image.
    pub name: String,
    /// A certain version.
    pub version: Option<u32>,
}

/// The text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the name of an image, or name@version with a version from 1")]
pub struct BadImageName;

impl FromStr for ImageName {
    type Err = BadImageName;

    fn from_str(text: &str) -> Result<ImageName, BadImageName> {
        let (name, version) = match text.rsplit_once('@') {
            Some((name, version)) => {
                let version = version.parse().ok().filter(|version| *version > 0).ok_or(BadImageName)?;
                (name, Some(version))
            }
            None => (text, None),
        };
        if name.trim().is_empty() {
            return Err(BadImageName);
        }
        Ok(ImageName { name: name.to_owned(), version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_follows_an_at_sign() {
        let parsed = |text: &str| text.parse::<ImageName>().map(|image| (image.name, image.version));
        assert_eq!(parsed("lab-mac@3"), Ok(("lab-mac".into(), Some(3))));
        assert_eq!(parsed("lab mac"), Ok(("lab mac".into(), None)));
        for text in ["", "@3", "lab@", "lab@0", "lab@x", "lab@-1", "lab@99999999999"] {
            assert_eq!(parsed(text), Err(BadImageName), "{text}");
        }
    }
}
