//! What the image doctor found, as programs and people are told.

use serde::{Deserialize, Serialize};

use crate::image::doctor;
use crate::image::volume::System;

/// One thing to know of an image before a Mac gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImageFinding {
    /// What kind of thing: `nearly-empty`, `installer`, `not-bootable`, `encrypted`, …. A code never changes its meaning; there may be
    /// new ones.
    pub code: String,
    /// How bad it is.
    pub severity: ImageSeverity,
    /// What is so, with its evidence.
    pub message: String,
    /// What to do.
    pub next_step: String,
}

/// How bad a finding is. None of them stops an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ImageSeverity {
    /// A Mac that gets this image will not start from it.
    Error,
    /// It may not work, or not on every Mac.
    Warning,
    /// Worth knowing.
    Note,
    /// A severity that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The macOS in an image, by its SystemVersion.plist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImageSystem {
    /// `macOS`, `Mac OS X`.
    pub product: String,
    /// `10.15.7`.
    pub version: String,
    /// `19H2`; may be empty.
    pub build: String,
}

impl From<doctor::Finding> for ImageFinding {
    fn from(finding: doctor::Finding) -> ImageFinding {
        ImageFinding {
            code: finding.code.to_string(),
            severity: match finding.severity {
                doctor::Severity::Error => ImageSeverity::Error,
                doctor::Severity::Warning => ImageSeverity::Warning,
                doctor::Severity::Note => ImageSeverity::Note,
            },
            message: finding.message,
            next_step: finding.next_step,
        }
    }
}

impl From<System> for ImageSystem {
    fn from(System { product, version, build }: System) -> ImageSystem {
        ImageSystem { product, version, build }
    }
}

impl std::fmt::Display for ImageSeverity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ImageSeverity::Error => "error",
            ImageSeverity::Warning => "warning",
            ImageSeverity::Note => "note",
            ImageSeverity::Unknown => "finding",
        })
    }
}

impl std::fmt::Display for ImageSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let product = if self.product.is_empty() { "macOS" } else { &self.product };
        write!(f, "{product} {}", self.version)?;
        if self.build.is_empty() { Ok(()) } else { write!(f, " ({})", self.build) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_of_tomorrow_is_read_today() {
        let json = r#"{"code":"x","severity":"disaster","message":"","next_step":""}"#;
        assert_eq!(serde_json::from_str::<ImageFinding>(json).unwrap().severity, ImageSeverity::Unknown);
    }
}
