//! `lab-mac`, `lab-mac@3` and `lab-mac@production`: how an image and a version are named on the command line.

use std::fmt;
use std::str::FromStr;

use anyhow::Context;

use crate::api::admin::{Image, ImageVersion};
use crate::cli::connection::Appliance;
use crate::cli::output::segment;
use crate::value::Pick;

/// An image, or one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Name of the image.
    pub name: String,
    /// Which version.
    pub pick: Pick,
}

/// The text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the name of an image, name@version with a version from 1, or name@ring with draft, test or production"
)]
pub struct BadImageName;

impl ImageName {
    /// Asks the appliance which version that is.
    ///
    /// # Errors
    /// There is no such image or version.
    pub fn find(&self, appliance: &Appliance) -> anyhow::Result<(String, ImageVersion)> {
        let ImageName { name, pick } = self;
        let Image { name, rings, versions, .. } =
            appliance.client.get::<Image>(&format!("/api/v1/images/{}", segment(name)))?;
        let wanted = pick.of(&rings, versions.iter().map(|version| version.version));
        let found = versions.into_iter().find(|version| Some(version.version) == wanted);
        let found = found.with_context(|| match pick {
            Pick::Usual => format!("image {name} has no version"),
            Pick::Version(number) => {
                format!("image {name} has no version {number}: see rootstock image show {name:?}")
            }
            Pick::Ring(ring) => format!(
                "image {name} has no version in {ring}: put one there with rootstock image promote {name:?} --to {ring}"
            ),
        })?;
        Ok((name, found))
    }
}

impl FromStr for ImageName {
    type Err = BadImageName;

    fn from_str(text: &str) -> Result<ImageName, BadImageName> {
        let (name, pick) = match text.rsplit_once('@') {
            Some((name, which)) => (name, which.parse().map_err(|_| BadImageName)?),
            None => (text, Pick::Usual),
        };
        if name.trim().is_empty() {
            return Err(BadImageName);
        }
        Ok(ImageName { name: name.to_owned(), pick })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pick {
            Pick::Usual => f.write_str(&self.name),
            pick => write!(f, "{}@{pick}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Ring;

    #[test]
    fn a_version_or_a_ring_follows_an_at_sign() {
        let parsed = |text: &str| text.parse::<ImageName>().map(|image| (image.name, image.pick));
        assert_eq!(parsed("lab-mac@3"), Ok(("lab-mac".into(), Pick::Version(3))));
        assert_eq!(parsed("lab-mac@production"), Ok(("lab-mac".into(), Pick::Ring(Ring::Production))));
        assert_eq!(parsed("lab mac"), Ok(("lab mac".into(), Pick::Usual)));
        for text in ["", "@3", "@test", "lab@", "lab@0", "lab@x", "lab@-1", "lab@99999999999"] {
            assert_eq!(parsed(text), Err(BadImageName), "{text}");
        }
    }
}
