//! `[library.upstream]`: another appliance that lost chunks are fetched from.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use super::rule::check;

/// `[library.upstream]` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UpstreamFragment {
    /// Address, `https://10.0.0.2` or `10.0.0.2:8443`.
    pub url: String,
    /// File with its CA certificate (PEM), `keys/ca.pem` of its data folder.
    pub ca: PathBuf,
    /// File with its admin token.
    pub token_file: PathBuf,
}

/// `[library.upstream]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Address.
    pub url: String,
    /// File with its CA certificate (PEM).
    pub ca: PathBuf,
    /// File with its admin token.
    pub token_file: PathBuf,
}

impl UpstreamFragment {
    pub(super) fn validate(self) -> Result<Upstream, ConfigError> {
        let UpstreamFragment { url, ca, token_file } = self;
        let address = crate::client::appliance_address(&url).is_ok();
        check("library.upstream.url", &url, address, "an HTTPS address, as in \"https://10.0.0.2\"")?;
        let path = "an absolute path";
        check("library.upstream.ca", &ca.display(), ca.is_absolute(), path)?;
        check("library.upstream.token-file", &token_file.display(), token_file.is_absolute(), path)?;
        Ok(Upstream { url, ca, token_file })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        writeln!(f, "[library.upstream]")?;
        writeln!(f, "url = {}", quoted(&self.url))?;
        writeln!(f, "ca = {}", quoted(&self.ca.display().to_string()))?;
        writeln!(f, "token-file = {}", quoted(&self.token_file.display().to_string()))
    }
}
