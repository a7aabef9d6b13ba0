//! Steps that only the installed macOS can do: they stand in the sequence, are checked and planned here, and are handed out when
//! the Mac's agent says hello.
//!
//! What is left out takes the value of the guide's variable of that name, where somebody defines it (task-sequences sections 2
//! and 3). Must not know: how macOS does any of it.

use serde::{Deserialize, Serialize};

use super::profile::Profile;
use super::quantity::PartitionSize;
use super::template::Template;

/// Binds the Mac to a directory domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinDomain {
    /// Domain, `ad.example.org`.
    #[serde(default = "domain", skip_serializing_if = "is_domain")]
    pub domain: Template,
    /// Organisational unit; none: `%OSDJoinDomainOUName%` where it is defined, else the domain's usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ou: Option<Template>,
    /// Account that may join Macs.
    #[serde(default = "account", skip_serializing_if = "is_account")]
    pub account: Template,
    /// Its password: a secret variable.
    #[serde(default = "password", skip_serializing_if = "is_password")]
    pub password: Template,
    /// Groups whose members may administer the Mac; empty: `%PmmOSDAdminGroups%` where it is defined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin_groups: Vec<Template>,
    /// Make a mobile account at login; none: `%PmmOSDCreateMobileAccounts%` where it is defined, else no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobile_accounts: Option<bool>,
    /// Ask the user before a mobile account is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirm_mobile_account: bool,
}

/// Sets ComputerName, HostName and LocalHostName.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetHostname {
    /// The name.
    #[serde(default = "computer_name", skip_serializing_if = "is_computer_name")]
    pub name: Template,
}

/// Installs a package by its command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallPackage {
    /// The package: a path below the appliance's folder of files.
    pub package: Template,
    /// Its command line (task-sequences section 5): a shell command, `:SRC:DST:`, or `:PKG::`.
    pub program: String,
    /// With less free space it is not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_space: Option<PartitionSize>,
    /// What happens after it.
    #[serde(default, skip_serializing_if = "After::is_nothing")]
    pub after: After,
}

/// Installs an application and looks whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallApplication {
    /// The package that brings it.
    pub package: Template,
    /// Its command line.
    pub program: String,
    /// With less free space it is not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_space: Option<PartitionSize>,
    /// What happens after it.
    #[serde(default, skip_serializing_if = "After::is_nothing")]
    pub after: After,
    /// Holds when it is there.
    pub detect: Detection,
}

impl InstallApplication {
    /// The installation alone.
    pub fn install(&self) -> InstallPackage {
        let InstallApplication { package, program, disk_space, after, .. } = self.clone();
        InstallPackage { package, program, disk_space, after }
    }
}

/// Tells whether an application is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// Bundle identifier; its short version string is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// Identifier of a package receipt; its version is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// How versions are compared.
    #[serde(default, skip_serializing_if = "VersionTest::is_exists")]
    pub version_is: VersionTest,
    /// With what.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// How an installed version is compared with a given one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionTest {
    /// Any version.
    #[default]
    Exists,
    /// This one.
    Equals,
    /// Another one.
    NotEquals,
    /// A newer one.
    Greater,
    /// This one or a newer one.
    GreaterOrEqual,
    /// An older one.
    Less,
    /// This one or an older one.
    LessOrEqual,
}

impl VersionTest {
    fn is_exists(&self) -> bool {
        *self == VersionTest::Exists
    }
}

/// What happens after a package was installed (task-sequences section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// The next step.
    #[default]
    Nothing,
    /// The sequence restarts the Mac.
    Restart,
    /// Ignored in a sequence: nobody is logged in.
    LogOff,
}

impl After {
    fn is_nothing(&self) -> bool {
        *self == After::Nothing
    }
}

/// Installs a configuration profile that lies in the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyProfile {
    /// The `.mobileconfig`: its XML text, or base64 of a signed one, whose signature is kept.
    pub profile: Profile,
}

/// Gives the Mac to a management server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The management server: its address.
    pub server: Template,
    /// Enrollment profile that is assigned to the Mac.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_profile: Option<Template>,
    /// Package that enrolls it: a path below the appliance's folder of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Template>,
}

/// The value of a variable of the guide.
pub(super) fn variable(name: &str) -> Template {
    // Names of the guide between percent signs are well formed.
    format!("%{name}%").parse().unwrap_or_else(|_| unreachable!("%{name}% is a text with a variable"))
}

pub(super) fn is_variable(text: &Template, name: &str) -> bool {
    text.as_str().strip_prefix('%').and_then(|rest| rest.strip_suffix('%')) == Some(name)
}

fn domain() -> Template {
    variable("OSDJoinDomainName")
}

fn is_domain(text: &Template) -> bool {
    is_variable(text, "OSDJoinDomainName")
}

fn account() -> Template {
    variable("OSDJoinAccount")
}

fn is_account(text: &Template) -> bool {
    is_variable(text, "OSDJoinAccount")
}

fn password() -> Template {
    variable("PmmOSDJoinPassword")
}

fn is_password(text: &Template) -> bool {
    is_variable(text, "PmmOSDJoinPassword")
}

fn computer_name() -> Template {
    variable("OSDComputerName")
}

fn is_computer_name(text: &Template) -> bool {
    is_variable(text, "OSDComputerName")
}

/// What a package's command line means (task-sequences section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum CommandLine {
    /// A shell command in the unpacked package.
    Command {
        /// As it is run.
        line: String,
    },
    /// A directory of the package goes into one of the Mac.
    Copy {
        /// In the package; may lead through a `.dmg` or `.iso`.
        source: String,
        /// On the Mac.
        destination: String,
    },
    /// installer(8) with a package.
    Installer {
        /// In the package; may lead through a `.dmg` or `.iso`.
        package: String,
    },
}

/// A command line that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCommandLine {
    /// Nothing to run.
    #[error("the package has no command line: write what installs it")]
    Empty,
    /// `:::…`
    #[error(
        "`:::` is another product's form: write `:SRC:DST:` to copy, `:PKG::` for installer, or a shell command"
    )]
    Foreign,
    /// Neither form.
    #[error("`{0}` begins with a colon and is neither `:SRC:DST:` nor `:PKG::`")]
    Form(String),
    /// A path that leads out.
    #[error("`{0}` leads out of the package: write a path in it")]
    Outside(String),
}

impl CommandLine {
    /// Reads a command line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<CommandLine, BadCommandLine> {
        let line = line.trim();
        if line.is_empty() {
            return Err(BadCommandLine::Empty);
        }
        let Some(rest) = line.strip_prefix(':') else {
            return Ok(CommandLine::Command { line: line.to_owned() });
        };
        if rest.starts_with("::") {
            return Err(BadCommandLine::Foreign);
        }
        let form = || BadCommandLine::Form(line.chars().take(80).collect());
        let inner = rest.strip_suffix(':').ok_or_else(form)?;
        let (source, destination) = inner.split_once(':').ok_or_else(form)?;
        let source = source.trim_start_matches('/');
        if source.is_empty() || destination.contains(':') {
            return Err(form());
        }
        if source.split('/').any(|part| part == "..") {
            return Err(BadCommandLine::Outside(source.chars().take(80).collect()));
        }
        let source = source.to_owned();
        Ok(match destination {
            "" => CommandLine::Installer { package: source },
            path if path.starts_with('/') => CommandLine::Copy { source, destination: path.to_owned() },
            _ => return Err(form()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_5_a_command_line_is_a_command_a_copy_or_an_installer() {
        let copy = |source: &str, destination: &str| CommandLine::Copy {
            source: source.into(),
            destination: destination.into(),
        };
        for (line, want) in [
            ("./install.sh -q", CommandLine::Command { line: "./install.sh -q".into() }),
            (
                ":firefox-8.0.1.dmg/Firefox.app:/Applications:",
                copy("firefox-8.0.1.dmg/Firefox.app", "/Applications"),
            ),
            (":My App.app:/Applications/Utilities:", copy("My App.app", "/Applications/Utilities")),
            (
                ":/MySoft/MySoft-1.0.dmg/packages/mysoft_v1.pkg::",
                CommandLine::Installer { package: "MySoft/MySoft-1.0.dmg/packages/mysoft_v1.pkg".into() },
            ),
        ] {
            assert_eq!(CommandLine::parse(line), Ok(want), "{line}");
        }
        assert_eq!(CommandLine::parse(":::x"), Err(BadCommandLine::Foreign));
        assert_eq!(CommandLine::parse("  "), Err(BadCommandLine::Empty));
        assert!(matches!(CommandLine::parse(":../x::"), Err(BadCommandLine::Outside(_))));
        for line in [":x", ":x:", "::", ":x:Applications:", ":a:/b:c:", ":a:/b"] {
            assert!(matches!(CommandLine::parse(line), Err(BadCommandLine::Form(_))), "{line}");
        }
    }
}
