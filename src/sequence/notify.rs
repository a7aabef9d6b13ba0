//! What a Notify step tells whom. The appliance itself does it; no Mac is needed.
//!
//! Must not know: how messages travel.

use serde::{Deserialize, Serialize};

use super::template::Template;

/// Receivers of one mail.
pub const MOST_RECEIVERS: usize = 20;

/// Tells somebody about the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Address that gets a signed POST, `https://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Template>,
    /// Key of the webhook's signature: a secret variable; none: the appliance's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Template>,
    /// Who gets a mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mail: Vec<Template>,
    /// Subject of the mail; none: sequence and Mac.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Template>,
    /// What is said.
    pub message: Template,
}

/// Whether a text can be the address of a webhook: HTTP, a host, no account in it.
pub fn is_webhook(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty()
            && !host.contains('@')
            && url.len() <= 2048
            && url.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// Whether a text can be an address of mail (RFC 5321 section 4.1.2, without quoted names).
pub fn is_mail_address(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>()[],;:\\\"@".contains(&byte))
    };
    text.len() <= 254 && text.split_once('@').is_some_and(|(name, host)| plain(name) && plain(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for (url, good) in [
            ("https://hooks.example/rootstock?x=1", true),
            ("http://10.0.0.1:8080", true),
            ("https://", false),
            ("https://user:pw@host/", false),
            ("ftp://host/", false),
            ("https://host/a b", false),
        ] {
            assert_eq!(is_webhook(url), good, "{url}");
        }
        for (address, good) in [
            ("a@b", true),
            ("lab+x@example.org", true),
            ("a", false),
            ("a@b@c", false),
            ("A <a@b>", false),
            ("a@b\r\nBcc: c@d", false),
            ("", false),
        ] {
            assert_eq!(is_mail_address(address), good, "{address}");
        }
    }
}
