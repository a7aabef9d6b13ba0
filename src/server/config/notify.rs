//! `[notify]`: how Notify steps reach people and programs.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use super::rule::{check, is_host, within};
use crate::sequence::notify::is_mail_address;

/// `[notify]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NotifyFragment {
    /// File with the key that webhooks are signed with, where a step names no other.
    pub webhook_secret_file: Option<PathBuf>,
    /// Certificates that webhooks and the mail server may be signed by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Mail server.
    pub smtp_server: Option<String>,
    /// Its port.
    pub smtp_port: Option<u16>,
    /// `starttls`, `tls` or `none`.
    pub smtp_security: Option<String>,
    /// Account at the mail server.
    pub smtp_user: Option<String>,
    /// File with its password.
    pub smtp_password_file: Option<PathBuf>,
    /// Sender of mails.
    pub mail_from: Option<String>,
}

/// `[notify]` in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// File with the key of webhooks.
    pub webhook_secret_file: Option<PathBuf>,
    /// Further certificates.
    pub ca_file: Option<PathBuf>,
    /// How mail leaves; none: no mail is sent.
    pub mail: Option<Mail>,
}

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Server.
    pub server: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// Account and the file with its password.
    pub login: Option<(String, PathBuf)>,
    /// Sender.
    pub from: String,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Begun in plain, protected before anything is said (RFC 3207); nothing is sent without.
    StartTls,
    /// Protected from the first byte (RFC 8314).
    Tls,
    /// Not: for a server on this machine.
    None,
}

impl Security {
    const ALL: [(&'static str, Security, u16); 3] =
        [("starttls", Security::StartTls, 587), ("tls", Security::Tls, 465), ("none", Security::None, 25)];
}

impl NotifyFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: NotifyFragment) -> NotifyFragment {
        NotifyFragment {
            webhook_secret_file: self.webhook_secret_file.or(earlier.webhook_secret_file),
            ca_file: self.ca_file.or(earlier.ca_file),
            smtp_server: self.smtp_server.or(earlier.smtp_server),
            smtp_port: self.smtp_port.or(earlier.smtp_port),
            smtp_security: self.smtp_security.or(earlier.smtp_security),
            smtp_user: self.smtp_user.or(earlier.smtp_user),
            smtp_password_file: self.smtp_password_file.or(earlier.smtp_password_file),
            mail_from: self.mail_from.or(earlier.mail_from),
        }
    }

    pub(super) fn validate(self) -> Result<Notify, ConfigError> {
        let path = |key, path: Option<PathBuf>| match path {
            Some(path) if !path.is_absolute() => Err(ConfigError::Value {
                key,
                value: format!("`{}`", path.display()),
                rule: "must be an absolute path",
            }),
            path => Ok(path),
        };
        let mail = match &self.smtp_server {
            Some(server) => Some(self.mail(server)?),
            None => None,
        };
        Ok(Notify {
            webhook_secret_file: path("notify.webhook-secret-file", self.webhook_secret_file)?,
            ca_file: path("notify.ca-file", self.ca_file)?,
            mail,
        })
    }

    fn mail(&self, server: &str) -> Result<Mail, ConfigError> {
        check("notify.smtp-server", &server, is_host(server), "a host name or an address")?;
        let word = self.smtp_security.as_deref().unwrap_or("starttls");
        let found = Security::ALL.iter().find(|(name, _, _)| *name == word);
        check("notify.smtp-security", &word, found.is_some(), "`starttls`, `tls` or `none`")?;
        let (_, security, usual) = found.copied().unwrap_or(Security::ALL[0]);
        let port =
            within("notify.smtp-port", u32::from(self.smtp_port.unwrap_or(usual)), 1, 65_535, "1 to 65535")?;
        let from = self.mail_from.clone().unwrap_or_default();
        check(
            "notify.mail-from",
            &from,
            is_mail_address(&from),
            "the address that mails come from, name@host",
        )?;
        let login = match (&self.smtp_user, &self.smtp_password_file) {
            (Some(user), Some(file)) if file.is_absolute() => Some((user.clone(), file.clone())),
            (None, None) => None,
            _ => {
                let rule = "belongs together with `notify.smtp-user`: name the account and, by an absolute path, a file with its password";
                let value = self
                    .smtp_password_file
                    .as_ref()
                    .map_or("absent".to_owned(), |file| file.display().to_string());
                return Err(ConfigError::Value { key: "notify.smtp-password-file", value, rule });
            }
        };
        Ok(Mail {
            server: server.to_owned(),
            port: u16::try_from(port).unwrap_or(usual),
            security,
            login,
            from,
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[notify]")?;
        for (key, path) in [("webhook-secret-file", &self.webhook_secret_file), ("ca-file", &self.ca_file)] {
            match path {
                Some(path) => writeln!(f, "{key} = {:?}", path.display().to_string())?,
                None => writeln!(f, "# {key}: none")?,
            }
        }
        let Some(Mail { server, port, security, login, from }) = &self.mail else {
            return writeln!(f, "# smtp-server: none, no mail is sent");
        };
        let word = Security::ALL.iter().find(|(_, one, _)| one == security).map_or("", |(word, _, _)| *word);
        writeln!(
            f,
            "smtp-server = {server:?}\nsmtp-port = {port}\nsmtp-security = {word:?}\nmail-from = {from:?}"
        )?;
        if let Some((user, file)) = login {
            writeln!(f, "smtp-user = {user:?}\nsmtp-password-file = {:?}", file.display().to_string())?;
        }
        Ok(())
    }
}
