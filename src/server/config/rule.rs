//! What values may be: the checks that every section shares.

use std::net::IpAddr;

use super::ConfigError;

/// Whether a text has at least one and at most `most` characters, none of them a control character.
pub(super) fn printable(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && text.chars().all(|c| !c.is_control())
}

/// What this machine is called.
pub fn host_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(text.trim().to_owned()).filter(|name| is_host(name) && printable(name, 64))
}

/// Whether a text is an IP address or a DNS name (RFC 1123 section 2.1).
pub fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (1..=253).contains(&text.len())
            && text.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            })
}

/// A value that is allowed, or the error that names key, value and rule.
pub(super) fn check(
    key: &'static str,
    value: &impl ToString,
    good: bool,
    rule: &'static str,
) -> Result<(), ConfigError> {
    if good {
        Ok(())
    } else {
        Err(ConfigError::Value { key, value: format!("`{}`", value.to_string()), rule })
    }
}

/// A number from `least` to `most`.
pub(super) fn within<T: PartialOrd + ToString + Copy>(
    key: &'static str,
    value: T,
    least: T,
    most: T,
    rule: &'static str,
) -> Result<T, ConfigError> {
    check(key, &value, value >= least && value <= most, rule)?;
    Ok(value)
}
