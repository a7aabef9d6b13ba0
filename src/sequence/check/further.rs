//! Steps that come back to a volume, tell somebody, or are done on macOS.

use super::{Checking, Code};
use crate::sequence::macos::{CommandLine, Detection, Enroll, InstallPackage, VersionTest};
use crate::sequence::model::{CopyFiles, Destination, Kind, VerifyImage};
use crate::sequence::notify::{MOST_RECEIVERS, Notify, is_mail_address, is_webhook};
use crate::sequence::place::{SOURCE_RULE, is_inner_path, is_volume_path};
use crate::sequence::quantity::PartitionSize;
use crate::sequence::template::Template;

impl Checking<'_> {
    pub(super) fn further(&mut self, path: &str, kind: &Kind, left_out: bool) {
        match kind {
            Kind::VerifyImage(verify) => self.verify(path, verify, left_out),
            Kind::CopyFiles(copy) => self.copy(path, copy, left_out),
            Kind::SetStartupDisk(set) => self.volume(path, set.volume.as_ref(), left_out),
            Kind::Notify(notify) => self.notify(path, notify),
            _ => {}
        }
    }

    fn verify(&mut self, path: &str, verify: &VerifyImage, left_out: bool) {
        match &verify.image {
            Some(image) => {
                self.known_image(path, image, verify.pick);
                if let Some(Destination::Variable(_)) = &verify.volume {
                    self.volume(path, verify.volume.as_ref(), left_out);
                }
            }
            None => self.volume(path, verify.volume.as_ref(), left_out),
        }
    }

    /// A volume that the step comes back to: named, or that of the image before it.
    fn volume(&mut self, path: &str, volume: Option<&Destination>, left_out: bool) {
        match volume {
            None if self.applied.is_none() && !left_out && !self.opaque => {
                let message = "no step before it applies an image: move it behind one, or name a `volume`";
                self.add(path, Code::NothingApplied, message.to_owned());
            }
            Some(Destination::Variable(name)) if name.is_read_only() || !self.is_known(name) => {
                let message = format!(
                    "the volume is in %{name}%, which nothing defines before this step: name it as the variable of a partition in a format step"
                );
                self.add(path, Code::UndefinedDestination, message);
            }
            Some(Destination::Partition { partition: 0, .. }) => {
                let message = "there is no partition 0: the first partition of a disk is 1".to_owned();
                self.add(path, Code::UndefinedDestination, message);
            }
            _ => {}
        }
    }

    fn copy(&mut self, path: &str, copy: &CopyFiles, left_out: bool) {
        self.inner_path(path, "what is copied", &copy.from);
        if copy.to.literal().is_some_and(|to| !is_volume_path(to)) {
            let message = "the folder is a path on the volume, from `/` on, without `..`".to_owned();
            self.add(path, Code::BadPath, message);
        }
        self.volume(path, copy.volume.as_ref(), left_out);
    }

    fn inner_path(&mut self, path: &str, field: &str, text: &Template) {
        if text.literal().is_some_and(|text| !is_inner_path(text)) {
            self.add(path, Code::BadPath, format!("{field} is {SOURCE_RULE}"));
        }
    }

    fn notify(&mut self, path: &str, notify: &Notify) {
        if notify.webhook.is_none() && notify.mail.is_empty() {
            let message = "nobody is told: name a `webhook` or addresses for `mail`".to_owned();
            self.add(path, Code::BadReceiver, message);
        }
        if let Some(url) = notify.webhook.as_ref().and_then(Template::literal).filter(|url| !is_webhook(url))
        {
            let code = if url.contains('@') { Code::SecretInPlainField } else { Code::BadReceiver };
            let message =
                "the webhook is an address that begins with https:// or http://, without an account in it";
            self.add(path, code, message.to_owned());
        }
        for receiver in notify.mail.iter().filter_map(Template::literal).filter(|text| !is_mail_address(text))
        {
            let shown: String = receiver.chars().take(60).collect();
            self.add(path, Code::BadReceiver, format!("{shown:?} is no mail address: write name@host"));
        }
        if notify.mail.len() > MOST_RECEIVERS {
            let message = format!("{} receivers: at most {MOST_RECEIVERS}, use a list", notify.mail.len());
            self.add(path, Code::BadReceiver, message);
        }
        if notify.secret.is_some() && notify.webhook.is_none() {
            let message = "the secret signs a webhook, and there is none".to_owned();
            self.add(path, Code::OptionWithoutEffect, message);
        }
        if notify.subject.is_some() && notify.mail.is_empty() {
            let message = "the subject is that of a mail, and nobody gets one".to_owned();
            self.add(path, Code::OptionWithoutEffect, message);
        }
    }

    pub(super) fn on_macos(&mut self, path: &str, kind: &Kind) {
        match kind {
            Kind::InstallPackage(install) => self.install(path, install),
            Kind::InstallApplication(application) => {
                self.install(path, &application.install());
                self.detection(path, &application.detect);
            }
            Kind::ApplyProfile(apply) => {
                if let Err(error) = apply.profile.facts() {
                    let message = format!("{error}: export the profile again and put its text here");
                    self.add(path, Code::BadProfile, message);
                }
            }
            Kind::Enroll(enroll) => self.enroll(path, enroll),
            _ => {}
        }
    }

    fn install(&mut self, path: &str, install: &InstallPackage) {
        self.inner_path(path, "the package", &install.package);
        if let Err(error) = CommandLine::parse(&install.program) {
            self.add(path, Code::BadProgram, error.to_string());
        }
        if let Some(PartitionSize::Percent(_)) = install.disk_space {
            let message = "the disk space is a size, not a part of the disk: write 4 GB".to_owned();
            self.add(path, Code::BadValue, message);
        }
    }

    fn detection(&mut self, path: &str, detect: &Detection) {
        if detect.bundle.is_some() == detect.receipt.is_some() {
            let message =
                "an application is detected by its `bundle` or by its `receipt`: name one".to_owned();
            self.add(path, Code::BadDetection, message);
        }
        let compares = detect.version_is != VersionTest::Exists;
        if compares == detect.version.is_empty() {
            let message = "`version_is` and `version` belong together: give both, or neither for any version";
            self.add(path, Code::BadDetection, message.to_owned());
        }
    }

    fn enroll(&mut self, path: &str, enroll: &Enroll) {
        if enroll.server.literal().is_some_and(|server| server.trim().is_empty()) {
            let message = "the step names no management server: write its address".to_owned();
            self.add(path, Code::EmptyName, message);
        }
        if enroll.enrollment_profile.is_none() && enroll.package.is_none() {
            let message = "nothing enrolls the Mac: name an `enrollment_profile` or a `package`".to_owned();
            self.add(path, Code::BadValue, message);
        }
        if let Some(package) = &enroll.package {
            self.inner_path(path, "the package", package);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sequence::check::{Surroundings, check};
    use crate::sequence::model::Sequence;

    fn codes(steps: &str) -> Vec<String> {
        let sequence = Sequence::from_yaml(&format!("name: x\nsteps:\n{steps}")).unwrap();
        let around = Surroundings {
            variables: [
                "Key",
                "OSDComputerName",
                "OSDJoinDomainName",
                "OSDJoinAccount",
                "PmmOSDJoinPassword",
            ]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect(),
            ..Surroundings::default()
        };
        check(&sequence, &around)
            .into_iter()
            .map(|finding| format!("{} {}", finding.path, finding.code))
            .collect()
    }

    const APPLY: &str = "  - format_disk: {partitions: [{name: HD, format: raw, size: 100%, variable: HD}]}\n  - apply_image: {image: lab}\n";

    fn behind(step: &str) -> Vec<String> {
        codes(&format!("{APPLY}  - {step}\n"))
    }

    #[test]
    fn section_2_steps_that_come_back_to_a_volume_name_one_that_is_there() {
        for step in [
            "verify_image:",
            "verify_image: {volume: {variable: HD}}",
            "verify_image: {image: lab, version: 2, volume: {disk: 0, partition: 2}}",
            "set_startup_disk:",
            "copy_files: {from: labs/a, to: /Users/Shared}",
            "copy_files: {from: 'labs/%Model%', volume: {variable: HD}}",
        ] {
            assert_eq!(behind(step), [""; 0], "{step}");
        }
        for (step, code) in [
            ("verify_image: {volume: {variable: Nobody}}", "undefined-destination"),
            ("set_startup_disk: {volume: {disk: 0, partition: 0}}", "undefined-destination"),
            ("copy_files: {from: ../keys}", "bad-path"),
            ("copy_files: {from: /etc/passwd}", "bad-path"),
            ("copy_files: {from: a, to: Users}", "bad-path"),
            ("copy_files: {from: a, to: /a/../b}", "bad-path"),
        ] {
            assert_eq!(behind(step), [format!("steps[2] {code}")], "{step}");
        }
        for step in ["verify_image:", "set_startup_disk:", "copy_files: {from: a}"] {
            assert_eq!(codes(&format!("  - {step}\n")), ["steps[0] nothing-applied"], "{step}");
        }
    }

    #[test]
    fn section_2_a_notification_has_a_receiver_and_its_secret_is_a_variable() {
        let notify = |rest: &str| codes(&format!("  - notify: {{message: done, {rest}}}\n"));
        assert_eq!(notify("webhook: 'https://h/x', secret: '%Key%'"), [""; 0]);
        assert_eq!(notify("mail: [a@b], subject: x"), [""; 0]);
        for (rest, code) in [
            ("mail: []", "bad-receiver"),
            ("mail: [nobody]", "bad-receiver"),
            ("webhook: 'ftp://h/'", "bad-receiver"),
            ("webhook: 'https://u:p@h/'", "secret-in-plain-field"),
            ("webhook: 'https://h/', secret: hunter2", "secret-in-plain-field"),
            ("mail: [a@b], secret: '%Key%'", "option-without-effect"),
            ("webhook: 'https://h/', subject: x", "option-without-effect"),
        ] {
            assert_eq!(notify(rest), [format!("steps[0] {code}")], "{rest}");
        }
    }

    #[test]
    fn section_2_and_5_steps_of_macos_are_checked_although_they_are_done_later() {
        for step in [
            "set_hostname:",
            "join_domain:",
            "install_package: {package: a.pkg, program: ':a.pkg::', disk_space: 1 GB}",
            "install_application: {package: a, program: ./x, detect: {bundle: org.x}}",
            "install_application: {package: a, program: ./x, detect: {receipt: org.x, version_is: less, version: '2'}}",
            "enroll: {server: 'https://mdm', package: a.pkg}",
            "execute_script: {phase: macos, script: '#!/bin/sh'}",
        ] {
            assert_eq!(behind(step), [""; 0], "{step}");
        }
        for (step, code) in [
            ("set_hostname: {name: '%Nobody%'}", "unknown-variable"),
            ("join_domain: {password: hunter2}", "secret-in-plain-field"),
            ("install_package: {package: a, program: ':::x'}", "bad-program"),
            ("install_package: {package: ../a, program: x}", "bad-path"),
            ("install_package: {package: a, program: x, disk_space: 5%}", "bad-value"),
            ("install_application: {package: a, program: x, detect: {}}", "bad-detection"),
            (
                "install_application: {package: a, program: x, detect: {bundle: b, version: '2'}}",
                "bad-detection",
            ),
            ("apply_profile: {profile: hello}", "bad-profile"),
            ("enroll: {server: ''}", "empty-name"),
        ] {
            assert_eq!(behind(step)[0], format!("steps[2] {code}"), "{step}");
        }
    }

    #[test]
    fn section_1_what_needs_the_boot_environment_stands_before_what_needs_macos() {
        let script = "  - execute_script: {script: '#!/bin/sh'}\n";
        let host = "  - set_hostname:\n";
        assert_eq!(codes(&format!("{APPLY}{script}{host}")), [""; 0]);
        assert_eq!(codes(&format!("{APPLY}{host}{script}")), ["steps[3] runner-step-after-macos"]);
        assert_eq!(
            codes(&format!("{APPLY}{host}  - set_startup_disk:\n")),
            ["steps[3] runner-step-after-macos"]
        );
        assert_eq!(codes(&format!("{host}{script}")), [""; 0], "such a run is started on macOS");
        let verify = "  - verify_image: {image: lab, volume: {disk: 0, partition: 2}}\n";
        assert_eq!(codes(verify), [""; 0], "an audit from the boot environment");
        assert_eq!(codes(&format!("{verify}{host}")), ["steps[0] step-not-in-non-os"]);
    }
}
