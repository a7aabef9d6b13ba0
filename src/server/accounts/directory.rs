//! A directory (LDAP, Active Directory) that people sign in with: whom a name means there, which role their groups give, and
//! whether a password is theirs.
//!
//! Never without TLS: `ldaps`, or StartTLS before anything else is said. Three steps: the account that searches binds, finds one
//! person and their groups; then, on a connection of its own, the person binds. An empty password is never tried: a server
//! takes it for an anonymous bind and says yes (RFC 4513 section 5.1.2). Must not know: accounts of the appliance.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{
    Ldap as Connection, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry,
    ldap_escape,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::server::config::Ldap;
use crate::value::{Role, Secret};

/// "Invalid credentials", RFC 4511 appendix A.1.
const INVALID_CREDENTIALS: u32 = 49;
/// "No such object": a group that is gone, or that the searching account may not see.
const NO_SUCH_OBJECT: u32 = 32;
/// A group counts through the groups that it is in: Active Directory's LDAP_MATCHING_RULE_IN_CHAIN.
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

/// Somebody in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Distinguished name.
    pub dn: String,
    /// What the account is called, in lower case.
    pub name: String,
    /// `displayName`, else `cn`; may be empty.
    pub full_name: String,
    /// Of the first group in the settings that they are in.
    pub role: Option<Role>,
    /// All groups of the settings that they are in.
    pub groups: Vec<String>,
}

/// Why the directory says nothing.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Its authority.
    #[error("the certificates {} of the directory's authority cannot be used: {why}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No connection, no TLS, no answer.
    #[error("the directory {url} cannot be reached: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// The account that searches was refused.
    #[error("the directory {url} refuses {dn}: {why}")]
    Bind {
        /// Where.
        url: String,
        /// Who.
        dn: String,
        /// Why.
        why: String,
    },
    /// A search was refused.
    #[error("the directory {url} refuses the search below {base}: {why}")]
    Search {
        /// Where.
        url: String,
        /// Below what.
        base: String,
        /// Why.
        why: String,
    },
    /// Nobody can tell who signs in.
    #[error("{name:?} means more than one person in the directory: make `ldap.user-filter` narrower")]
    Ambiguous {
        /// As typed.
        name: String,
    },
}

/// A directory.
pub struct Directory {
    settings: Ldap,
}

impl Directory {
    /// As the settings say.
    pub fn new(settings: Ldap) -> Directory {
        Directory { settings }
    }

    /// As the settings say.
    pub fn settings(&self) -> &Ldap {
        &self.settings
    }

    /// Whom a name means, and what they may here.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub async fn look_up(&self, name: &str, bind: Option<&Secret>) -> Result<Option<Person>, DirectoryError> {
        let mut ldap = self.connect().await?;
        let found = self.find(&mut ldap, name, bind).await;
        let _ = ldap.unbind().await;
        found
    }

    /// The person, when this is their password.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub async fn authenticate(
        &self,
        name: &str,
        password: &Secret,
        bind: Option<&Secret>,
    ) -> Result<Option<Person>, DirectoryError> {
        if password.expose().is_empty() {
            return Ok(None);
        }
        let Some(person) = self.look_up(name, bind).await? else { return Ok(None) };
        let mut ldap = self.connect().await?;
        let bound = ldap
            .simple_bind(&person.dn, password.expose())
            .await
            .map_err(|error| self.unreachable(&error))?;
        let _ = ldap.unbind().await;
        match bound.rc {
            0 => Ok(Some(person)),
            INVALID_CREDENTIALS => {
                tracing::info!("the directory refuses {}: {}", person.dn, said(&bound));
                Ok(None)
            }
            _ => {
                Err(DirectoryError::Bind { url: self.settings.url.clone(), dn: person.dn, why: said(&bound) })
            }
        }
    }

    async fn connect(&self) -> Result<Connection, DirectoryError> {
        let settings = &self.settings;
        let patience = Duration::from_secs(settings.timeout.into());
        let tls = LdapConnSettings::new()
            .set_conn_timeout(patience)
            .set_starttls(settings.url.starts_with("ldap://"))
            .set_config(Arc::new(self.tls()?));
        let connected = LdapConnAsync::with_settings(tls, &settings.url).await;
        let (connection, mut ldap) = connected.map_err(|error| self.unreachable(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!("the connection to the directory ended: {error}");
            }
        });
        ldap.with_timeout(patience);
        Ok(ldap)
    }

    fn tls(&self) -> Result<ClientConfig, DirectoryError> {
        let path = &self.settings.ca;
        let bad = |why: String| DirectoryError::Authority { path: path.clone(), why };
        let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        let (mut good, mut last) = (0, None);
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            match added {
                Ok(()) => good += 1,
                Err(error) => last = Some(error),
            }
        }
        if good == 0 {
            return Err(bad(last.unwrap_or_else(|| "there is no certificate in it (PEM)".to_owned())));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(error.to_string()))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    async fn find(
        &self,
        ldap: &mut Connection,
        typed: &str,
        bind: Option<&Secret>,
    ) -> Result<Option<Person>, DirectoryError> {
        let settings = &self.settings;
        if let Some(dn) = &settings.bind_dn {
            let password = bind.map(Secret::expose).unwrap_or_default();
            if password.is_empty() {
                return Err(DirectoryError::Bind {
                    url: settings.url.clone(),
                    dn: dn.clone(),
                    why: "its password is not set: rootstock ldap password".to_owned(),
                });
            }
            let bound = ldap.simple_bind(dn, password).await.map_err(|error| self.unreachable(&error))?;
            if bound.rc != 0 {
                return Err(DirectoryError::Bind {
                    url: settings.url.clone(),
                    dn: dn.clone(),
                    why: said(&bound),
                });
            }
        }
        let filter = settings.user_filter.replace("{user}", &ldap_escape(typed));
        let attributes = ["sAMAccountName", "uid", "displayName", "cn"];
        let entries = self.search(ldap, &settings.base, Scope::Subtree, &filter, &attributes).await?;
        let mut entries = entries.into_iter();
        let Some(entry) = entries.next() else { return Ok(None) };
        if entries.next().is_some() {
            return Err(DirectoryError::Ambiguous { name: typed.chars().take(64).collect() });
        }
        let text = |keys: [&str; 2]| keys.iter().find_map(|key| first(&entry.attrs, key)).unwrap_or_default();
        let name = text(["sAMAccountName", "uid"]);
        let name = if name.is_empty() { typed.to_owned() } else { name };
        let mut person = Person {
            name: name.to_lowercase(),
            full_name: text(["displayName", "cn"]).chars().filter(|c| !c.is_control()).take(128).collect(),
            dn: entry.dn,
            role: None,
            groups: Vec::new(),
        };
        for (group, role) in &settings.groups {
            if self.is_member(ldap, &person, &name, group).await? {
                person.role = person.role.or(Some(*role));
                person.groups.push(group.clone());
            }
        }
        Ok(Some(person))
    }

    async fn is_member(
        &self,
        ldap: &mut Connection,
        person: &Person,
        uid: &str,
        group: &str,
    ) -> Result<bool, DirectoryError> {
        let dn = ldap_escape(person.dn.as_str());
        let found = if self.settings.nested_groups {
            self.search(ldap, &person.dn, Scope::Base, &in_chain(group), &["1.1"]).await?
        } else {
            let filter = format!("(|(member={dn})(uniqueMember={dn})(memberUid={}))", ldap_escape(uid));
            self.search(ldap, group, Scope::Base, &filter, &["1.1"]).await?
        };
        Ok(!found.is_empty())
    }

    /// Entries, two at most: more than one is too many everywhere.
    async fn search(
        &self,
        ldap: &mut Connection,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
    ) -> Result<Vec<SearchEntry>, DirectoryError> {
        let patience = Duration::from_secs(self.settings.timeout.into());
        let options = ldap3::SearchOptions::new().sizelimit(2);
        let searching = ldap.with_timeout(patience).with_search_options(options);
        let found = searching.search(base, scope, filter, attributes.to_vec()).await;
        let ldap3::SearchResult(entries, result) = found.map_err(|error| self.unreachable(&error))?;
        match result.rc {
            // 4: there are more than two.
            0 | 4 => Ok(entries
                .into_iter()
                // References to other servers are none of our people.
                .filter(|entry| !entry.is_ref() && !entry.is_intermediate())
                .take(2)
                .map(SearchEntry::construct)
                .collect()),
            NO_SUCH_OBJECT if scope == Scope::Base => Ok(Vec::new()),
            _ => Err(DirectoryError::Search {
                url: self.settings.url.clone(),
                base: base.to_owned(),
                why: said(&result),
            }),
        }
    }

    fn unreachable(&self, error: &LdapError) -> DirectoryError {
        let why = match error {
            LdapError::Io { source } => source.to_string(),
            LdapError::Timeout { .. } => format!("no answer within {} s", self.settings.timeout),
            other => other.to_string(),
        };
        DirectoryError::Unreachable { url: self.settings.url.clone(), why }
    }
}

fn first(attributes: &HashMap<String, Vec<String>>, key: &str) -> Option<String> {
    let values = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    values.and_then(|(_, values)| values.first()).filter(|value| !value.is_empty()).cloned()
}

fn said(result: &LdapResult) -> String {
    let text: String = result.text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() {
        format!("result code {}", result.rc)
    } else {
        format!("result code {}: {text}", result.rc)
    }
}

/// Asked of a person's entry: whether they are in the group, or in one that is in it, however deep.
fn in_chain(group: &str) -> String {
    format!("(memberOf:{IN_CHAIN}:={})", ldap_escape(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Microsoft writes it in "Search Filter Syntax"; that it is a filter is the LDAP library's to say.
    #[test]
    fn nested_groups_are_asked_for_by_active_directorys_rule_and_no_name_is_part_of_the_filter() {
        let filter = in_chain("CN=Lab (techs)*,OU=x,DC=example,DC=org");
        assert_eq!(
            filter,
            r"(memberOf:1.2.840.113556.1.4.1941:=CN=Lab \28techs\29\2a,OU=x,DC=example,DC=org)"
        );
        assert!(ldap3::parse_filter(&filter).is_ok());
    }
}
