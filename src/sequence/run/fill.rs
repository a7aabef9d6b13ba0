//! Filling in the steps that come back to a volume, tell somebody, or wait for macOS.

use serde::{Deserialize, Serialize};

use super::act::{Act, CannotBegin, Filling, Target};
use crate::sequence::macos::{After, CommandLine, Detection, Enroll, InstallPackage, JoinDomain};
use crate::sequence::model::{CopyFiles, Destination, Kind, SetStartupDisk, VerifyImage};
use crate::sequence::name::VariableName;
use crate::sequence::notify::{Notify, is_mail_address, is_webhook};
use crate::sequence::place::{is_inner_path, is_volume_path};
use crate::sequence::quantity::PartitionSize;
use crate::value::{Digest, Secret};

/// An image that a step of this run applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Digest of its signed manifest.
    pub manifest: Digest,
    /// Name and version for people.
    pub image: String,
    /// Which partition of the image; none: its main volume.
    pub source_partition: Option<u32>,
    /// Where it lies.
    pub target: Target,
}

/// What is said to whom, with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Address of the webhook.
    pub webhook: Option<String>,
    /// Key of its signature; none: the appliance's own.
    pub secret: Option<Secret>,
    /// Receivers of the mail.
    pub mail: Vec<String>,
    /// Subject of the mail.
    pub subject: String,
    /// What is said.
    pub text: String,
}

/// What the agent on macOS does, with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum MacosAct {
    /// Bind to a domain.
    JoinDomain {
        /// Domain.
        domain: String,
        /// Organisational unit; may be empty.
        ou: String,
        /// Account that may join Macs.
        account: String,
        /// Its password.
        password: Secret,
        /// Groups that may administer the Mac.
        admin_groups: Vec<String>,
        /// Make a mobile account at login.
        mobile_accounts: bool,
        /// Ask before.
        confirm_mobile_account: bool,
    },
    /// Name the Mac.
    SetHostname {
        /// The name.
        name: String,
    },
    /// Install a package; with `detect`, done when it holds afterwards.
    Install {
        /// Path below the appliance's folder of files.
        package: String,
        /// What its command line means.
        program: CommandLine,
        /// Free bytes that it needs; 0: not known.
        disk_space: u64,
        /// What happens after it.
        after: After,
        /// Tells whether the application is there.
        detect: Option<Detection>,
    },
    /// Install a configuration profile.
    ApplyProfile {
        /// As it lies in the sequence.
        profile: String,
    },
    /// Enroll at a management server.
    Enroll {
        /// Its address.
        server: String,
        /// Enrollment profile.
        enrollment_profile: String,
        /// Package that enrolls; may be empty.
        package: String,
    },
}

impl MacosAct {
    /// What people call it.
    pub fn title(&self) -> &'static str {
        match self {
            MacosAct::JoinDomain { .. } => "joins the domain",
            MacosAct::SetHostname { .. } => "sets the name",
            MacosAct::Install { .. } => "installs",
            MacosAct::ApplyProfile { .. } => "applies the profile",
            MacosAct::Enroll { .. } => "enrolls",
        }
    }
}

impl Filling<'_> {
    /// The action of a step that [`super::act`] does not fill in itself.
    pub(super) fn further(&self, kind: &Kind) -> Result<Option<Act>, CannotBegin> {
        match kind {
            Kind::VerifyImage(verify) => self.verify(verify).map(Some),
            Kind::CopyFiles(copy) => self.copy(copy).map(Some),
            Kind::SetStartupDisk(set) => self.startup(set).map(Some),
            Kind::Notify(notify) => self.notify(notify).map(Some),
            _ => Ok(self.on_macos(kind)?.map(|act| Act::OnMacos(Box::new(act)))),
        }
    }

    fn verify(&self, verify: &VerifyImage) -> Result<Act, CannotBegin> {
        if let (Some(image), Some(volume)) = (&verify.image, &verify.volume) {
            let pinned = self.pinned(image, verify.pick)?;
            return Ok(Act::VerifyImage(vec![Applied {
                manifest: pinned.manifest,
                image: format!("{} {}", pinned.name, pinned.version),
                source_partition: verify.source_partition,
                target: self.target(volume)?,
            }]));
        }
        let wanted = verify.volume.as_ref().map(|volume| self.target(volume)).transpose()?;
        let lies_there =
            |one: &&Applied| wanted.as_ref().is_none_or(|wanted| self.is_same(wanted, &one.target));
        let all: Vec<Applied> = self.applied.iter().filter(lies_there).cloned().collect();
        if all.is_empty() { Err(CannotBegin::NothingApplied) } else { Ok(Act::VerifyImage(all)) }
    }

    fn copy(&self, copy: &CopyFiles) -> Result<Act, CannotBegin> {
        let (from, to) = (self.text("what is copied", &copy.from)?, self.text("the folder", &copy.to)?);
        if !is_inner_path(&from) {
            return Err(CannotBegin::Path { path: from });
        }
        if !is_volume_path(&to) {
            return Err(CannotBegin::Path { path: to });
        }
        Ok(Act::CopyFiles { from, to, target: self.volume(copy.volume.as_ref())? })
    }

    fn startup(&self, set: &SetStartupDisk) -> Result<Act, CannotBegin> {
        Ok(Act::SetStartupDisk { target: self.volume(set.volume.as_ref())?, required: set.required })
    }

    /// The named volume, or that of the image that was applied last.
    fn volume(&self, named: Option<&Destination>) -> Result<Target, CannotBegin> {
        match named {
            Some(named) => self.target(named),
            None => self.applied.last().map(|last| last.target.clone()).ok_or(CannotBegin::NothingApplied),
        }
    }

    /// A node and a number may name the same partition: that of a format step of this run.
    fn is_same(&self, one: &Target, other: &Target) -> bool {
        let node = |target: &Target| match target {
            Target::Node(node) => Some(node.clone()),
            target => {
                let made =
                    |made: &&super::act::Formatted| target.numbers() == Some((made.disk, made.partition));
                self.formatted.iter().find(made).map(|made| made.node.clone())
            }
        };
        one == other
            || one.numbers().is_some_and(|numbers| Some(numbers) == other.numbers())
            || node(one).is_some_and(|named| Some(named) == node(other))
    }

    fn notify(&self, notify: &Notify) -> Result<Act, CannotBegin> {
        let webhook = notify.webhook.as_ref().map(|text| self.text("the webhook", text)).transpose()?;
        if let Some(url) = webhook.as_ref().filter(|url| !is_webhook(url)) {
            return Err(CannotBegin::Receiver { receiver: url.chars().take(80).collect() });
        }
        let secret =
            notify.secret.as_ref().map(|text| self.text("the webhook's secret", text)).transpose()?;
        let mut mail = Vec::with_capacity(notify.mail.len());
        for receiver in &notify.mail {
            let receiver = self.text("the receiver", receiver)?;
            if !is_mail_address(&receiver) {
                return Err(CannotBegin::Receiver { receiver: receiver.chars().take(80).collect() });
            }
            mail.push(receiver);
        }
        let subject = notify.subject.as_ref().map(|text| self.text("the subject", text)).transpose()?;
        let subject = subject.unwrap_or_default().replace(char::is_control, " ");
        let text = self.text("the message", &notify.message)?;
        Ok(Act::Notify(Box::new(Message { webhook, secret: secret.map(Secret::new), mail, subject, text })))
    }

    fn on_macos(&self, kind: &Kind) -> Result<Option<MacosAct>, CannotBegin> {
        Ok(Some(match kind {
            Kind::JoinDomain(join) => self.join(join)?,
            Kind::SetHostname(set) => MacosAct::SetHostname { name: self.text("the name", &set.name)? },
            Kind::InstallPackage(install) => self.install(install, None)?,
            Kind::InstallApplication(application) => {
                self.install(&application.install(), Some(application.detect.clone()))?
            }
            Kind::ApplyProfile(apply) => MacosAct::ApplyProfile { profile: apply.profile.0.clone() },
            Kind::Enroll(enroll) => self.enroll(enroll)?,
            _ => return Ok(None),
        }))
    }

    fn join(&self, join: &JoinDomain) -> Result<MacosAct, CannotBegin> {
        let ou = match &join.ou {
            Some(ou) => self.text("the organisational unit", ou)?,
            None => self.defined("OSDJoinDomainOUName"),
        };
        let mut admin_groups = Vec::new();
        for group in &join.admin_groups {
            admin_groups.push(self.text("the group", group)?);
        }
        if admin_groups.is_empty() {
            let groups = self.defined("PmmOSDAdminGroups");
            admin_groups = groups
                .split([',', ';'])
                .map(str::trim)
                .filter(|group| !group.is_empty())
                .map(str::to_owned)
                .collect();
        }
        let mobile = || {
            matches!(self.defined("PmmOSDCreateMobileAccounts").to_lowercase().as_str(), "true" | "yes" | "1")
        };
        Ok(MacosAct::JoinDomain {
            domain: self.text("the domain", &join.domain)?,
            ou,
            account: self.text("the account", &join.account)?,
            password: Secret::new(self.text("the password", &join.password)?),
            admin_groups,
            mobile_accounts: join.mobile_accounts.unwrap_or_else(mobile),
            confirm_mobile_account: join.confirm_mobile_account,
        })
    }

    fn install(&self, install: &InstallPackage, detect: Option<Detection>) -> Result<MacosAct, CannotBegin> {
        let package = self.text("the package", &install.package)?;
        if !is_inner_path(&package) {
            return Err(CannotBegin::Path { path: package });
        }
        let disk_space = match install.disk_space {
            Some(PartitionSize::Bytes(bytes)) => bytes,
            _ => 0,
        };
        let program = CommandLine::parse(&install.program).map_err(CannotBegin::Program)?;
        Ok(MacosAct::Install { package, program, disk_space, after: install.after, detect })
    }

    fn enroll(&self, enroll: &Enroll) -> Result<MacosAct, CannotBegin> {
        let text = |field: &str, text: &Option<_>| {
            text.as_ref().map_or(Ok(String::new()), |text| self.text(field, text))
        };
        Ok(MacosAct::Enroll {
            server: self.text("the server", &enroll.server)?,
            enrollment_profile: text("the enrollment profile", &enroll.enrollment_profile)?,
            package: text("the package", &enroll.package)?,
        })
    }

    /// The value of a variable of the guide, empty where nobody defines it.
    pub(super) fn defined(&self, name: &str) -> String {
        let name: Option<VariableName> = name.parse().ok();
        name.and_then(|name| Some(self.variables.get(&name)?.text.clone())).unwrap_or_default()
    }
}
