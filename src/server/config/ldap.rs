//! `[ldap]`: a directory that people sign in with. Its bind password is no setting: it is kept sealed, `rootstock ldap password`.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use super::rule::{check, is_host, printable, within};
use crate::value::Role;

/// Groups that may be named.
const MOST_GROUPS: usize = 64;
/// Authorities that Debian's `ca-certificates` trusts.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Whom a name means, in Active Directory and elsewhere.
const USER_FILTER: &str =
    "(&(objectClass=person)(|(sAMAccountName={user})(uid={user})(userPrincipalName={user})))";

/// `[ldap]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LdapFragment {
    /// `ldaps://HOST[:PORT]`, or `ldap://HOST[:PORT]` with StartTLS.
    pub url: Option<String>,
    /// Name of the domain, as people type it.
    pub domain: Option<String>,
    /// Certificates of the authority, PEM.
    pub ca: Option<PathBuf>,
    /// Account that searches; none: anonymous.
    pub bind_dn: Option<String>,
    /// Where people are.
    pub base: Option<String>,
    /// Whom a name means; `{user}` is what was typed.
    pub user_filter: Option<String>,
    /// Whether groups in groups count (Active Directory).
    pub nested_groups: Option<bool>,
    /// Seconds that the directory may take for an answer.
    pub timeout: Option<u32>,
    /// Which group is which role; the first that a person is in counts.
    pub group: Option<Vec<GroupFragment>>,
}

/// `[[ldap.group]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GroupFragment {
    /// Its distinguished name.
    pub dn: String,
    /// What its members may.
    pub role: Role,
}

/// A directory that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ldap {
    /// `ldaps://HOST[:PORT]` or `ldap://HOST[:PORT]`.
    pub url: String,
    /// Name of the domain.
    pub domain: String,
    /// Certificates of the authority.
    pub ca: PathBuf,
    /// Account that searches.
    pub bind_dn: Option<String>,
    /// Where people are.
    pub base: String,
    /// Whom a name means.
    pub user_filter: String,
    /// Whether groups in groups count.
    pub nested_groups: bool,
    /// Seconds for an answer.
    pub timeout: u32,
    /// Which group is which role.
    pub groups: Vec<(String, Role)>,
}

impl LdapFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: LdapFragment) -> LdapFragment {
        LdapFragment {
            url: self.url.or(earlier.url),
            domain: self.domain.or(earlier.domain),
            ca: self.ca.or(earlier.ca),
            bind_dn: self.bind_dn.or(earlier.bind_dn),
            base: self.base.or(earlier.base),
            user_filter: self.user_filter.or(earlier.user_filter),
            nested_groups: self.nested_groups.or(earlier.nested_groups),
            timeout: self.timeout.or(earlier.timeout),
            group: self.group.or(earlier.group),
        }
    }

    /// None: no directory.
    pub(super) fn validate(self) -> Result<Option<Ldap>, ConfigError> {
        let Some(url) = self.url else {
            let rest = self.domain.or(self.base).or(self.bind_dn);
            check(
                "ldap.url",
                &"",
                rest.is_none() && self.group.is_none(),
                "names the server, where the rest of [ldap] stands",
            )?;
            return Ok(None);
        };
        check("ldap.url", &url, is_url(&url), "ldaps://HOST[:PORT], or ldap://HOST[:PORT] (then StartTLS)")?;
        let domain = self.domain.unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let good =
            printable(&domain, 64) && domain.chars().all(plain) && !domain.eq_ignore_ascii_case("local");
        check("ldap.domain", &domain, good, "1 to 64 letters, digits, dots and dashes; not `local`")?;
        let base = self.base.unwrap_or_default();
        check(
            "ldap.base",
            &base,
            is_dn(&base),
            "the distinguished name that people are below, dc=example,dc=org",
        )?;
        if let Some(dn) = &self.bind_dn {
            check("ldap.bind-dn", dn, is_dn(dn), "a distinguished name")?;
        }
        let ca = self.ca.unwrap_or_else(|| SYSTEM_CA.into());
        check("ldap.ca", &ca.display(), ca.is_absolute(), "must be an absolute path")?;
        let filter = self.user_filter.unwrap_or_else(|| USER_FILTER.to_owned());
        let good = printable(&filter, 1000) && filter.contains("{user}") && filter.starts_with('(');
        check("ldap.user-filter", &filter, good, "a filter in parentheses that holds {user}")?;
        let groups = self.group.unwrap_or_default();
        check(
            "ldap.group",
            &groups.len(),
            (1..=MOST_GROUPS).contains(&groups.len()),
            "1 to 64 groups have a role",
        )?;
        for group in &groups {
            check("ldap.group.dn", &group.dn, is_dn(&group.dn), "a distinguished name")?;
        }
        Ok(Some(Ldap {
            url: url.trim_end_matches('/').to_owned(),
            domain,
            ca,
            bind_dn: self.bind_dn,
            base,
            user_filter: filter,
            nested_groups: self.nested_groups.unwrap_or(false),
            timeout: within("ldap.timeout", self.timeout.unwrap_or(5), 1, 60, "1 to 60 seconds")?,
            groups: groups.into_iter().map(|group| (group.dn, group.role)).collect(),
        }))
    }
}

fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("ldaps://").or_else(|| url.strip_prefix("ldap://"));
    let Some(rest) = rest.map(|rest| rest.trim_end_matches('/')) else { return false };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    is_host(host) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_dn(text: &str) -> bool {
    printable(text, 1000) && text.contains('=')
}

/// For [`super::Config`]'s text.
pub(super) struct Shown<'a>(pub &'a Option<Ldap>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ldap) = self.0 else { return writeln!(f, "# [ldap]: no directory") };
        writeln!(f, "[ldap]\nurl = {:?}\ndomain = {:?}", ldap.url, ldap.domain)?;
        writeln!(f, "ca = {:?}\nbase = {:?}", ldap.ca.display().to_string(), ldap.base)?;
        if let Some(dn) = &ldap.bind_dn {
            writeln!(f, "bind-dn = {dn:?}")?;
        }
        writeln!(f, "user-filter = {:?}\nnested-groups = {}", ldap.user_filter, ldap.nested_groups)?;
        writeln!(f, "timeout = {}", ldap.timeout)?;
        for (dn, role) in &ldap.groups {
            writeln!(f, "\n[[ldap.group]]\ndn = {dn:?}\nrole = \"{role}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Ldap>, ConfigError> {
        toml::from_str::<LdapFragment>(text).unwrap().validate()
    }

    const WHOLE: &str = "url = 'ldaps://dc.example.org'\ndomain = 'EXAMPLE'\nbase = 'dc=example,dc=org'\n\
                         bind-dn = 'cn=\"x\",dc=example'\n[[group]]\ndn = 'cn=techs,dc=example'\nrole = 'technician'\n";

    #[test]
    fn what_is_shown_of_it_gives_the_same_again() {
        let ldap = parsed(WHOLE).unwrap();
        let text = Shown(&ldap).to_string().replace("[ldap]\n", "").replace("[[ldap.group]]", "[[group]]");
        assert_eq!(parsed(&text).unwrap(), ldap);
        assert_eq!(parsed("").unwrap(), None);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_key() {
        for (from, to, key) in [
            ("ldaps://", "http://", "ldap.url"),
            ("ldaps://dc.example.org", "ldap://:389", "ldap.url"),
            ("EXAMPLE", "local", "ldap.domain"),
            ("dc=example,dc=org", "example", "ldap.base"),
            ("cn=techs,dc=example", "techs", "ldap.group.dn"),
            ("url = 'ldaps://dc.example.org'\n", "", "ldap.url"),
        ] {
            let error = parsed(&WHOLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        for good in ["ldap://10.0.0.5:3890", "ldaps://[2001:db8::1]:636", "ldaps://dc/"] {
            assert!(is_url(good), "{good}");
        }
    }
}
