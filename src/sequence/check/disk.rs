//! Formatting and images: what can be made, in which order, and where an image can go.

use std::collections::BTreeSet;

use super::{Checking, Code};
use crate::sequence::capture::{CaptureDestination, CaptureImage, CaptureSource, ShareDestination};
use crate::sequence::model::{ApplyImage, Destination, FormatDisk, Partition, VolumeFormat};
use crate::sequence::quantity::PartitionSize;
use crate::sequence::template::Template;
use crate::value::{BadSharePath, IMAGE_NAME_RULE, Pick, ShareAccount, SharePath, is_image_name};

impl Checking<'_> {
    pub(super) fn format(&mut self, path: &str, format: &FormatDisk) {
        if format.partitions.is_empty() {
            let message = format!("disk {} gets no partition: a format step makes at least one", format.disk);
            self.add(path, Code::NoPartition, message);
        }
        let mut all_taken = false;
        let mut set = BTreeSet::new();
        for (index, partition) in format.partitions.iter().enumerate() {
            let path = format!("{path}.format_disk.partitions[{index}]");
            self.partition(&path, partition);
            if all_taken {
                let message =
                    "the partition before this one takes 100% of the free space: give it less".to_owned();
                self.add(&path, Code::NoSpaceLeft, message);
            }
            all_taken |= partition.size == PartitionSize::Percent(100);
            if let Some(name) = &partition.variable {
                self.settable(&path, name);
                if !set.insert(name.clone()) {
                    let message =
                        format!("{name} receives two partitions of this step: give each its own variable");
                    self.add(&path, Code::VariableSetTwice, message);
                }
            }
        }
    }

    fn partition(&mut self, path: &str, partition: &Partition) {
        match partition.size {
            PartitionSize::Percent(1..=100) | PartitionSize::Bytes(0x10_0000..) => {}
            PartitionSize::Percent(percent) => {
                self.add(
                    path,
                    Code::PartitionSize,
                    format!("{percent}% of the remaining free space: write 1% to 100%"),
                );
            }
            PartitionSize::Bytes(bytes) => {
                self.add(
                    path,
                    Code::PartitionSize,
                    format!("a partition of {bytes} bytes: the least is 1 MiB"),
                );
            }
        }
        let Some(name) = partition.name.literal() else { return };
        let (units, longest) = (name.encode_utf16().count(), partition.format.longest_label());
        if name.trim().is_empty() && partition.format != VolumeFormat::Raw {
            self.add(
                path,
                Code::PartitionName,
                "the partition has no name: its volume is called by it".to_owned(),
            );
        } else if units > longest || name.chars().any(char::is_control) {
            let message = format!(
                "{:?} has {units} characters: this format has names of at most {longest}, without control characters",
                name.chars().take(60).collect::<String>()
            );
            self.add(path, Code::PartitionName, message);
        }
    }

    pub(super) fn format_in_order(&mut self, path: &str, format: &FormatDisk) {
        if let Some(applied) = &self.applied {
            let message = format!(
                "formats disk {} after `{applied}` applied an image: move it to the front",
                format.disk
            );
            self.add(path, Code::FormatAfterApply, message);
        } else if let Some(other) = &self.other {
            let message =
                format!("`{other}` stands before it: format steps come first, move it to the front");
            self.add(path, Code::FormatNotFirst, message);
        }
        if self.formatted.insert(format.disk, format.partitions.len()).is_some() {
            let message =
                format!("disk {} is formatted by an earlier step: one format step a disk", format.disk);
            self.add(path, Code::DiskFormattedTwice, message);
        }
        self.unused += format.partitions.len();
    }

    pub(super) fn image(&mut self, path: &str, apply: &ApplyImage) {
        self.known_image(path, &apply.image, apply.pick);
    }

    /// Finds an image that the library does not hold.
    pub(super) fn known_image(&mut self, path: &str, image: &Template, pick: Pick) {
        let Some(name) = image.literal() else { return };
        if name.trim().is_empty() {
            self.add(
                path,
                Code::EmptyName,
                "the step names no image: write the name of one in the library".to_owned(),
            );
            return;
        }
        let Some(images) = &self.around.images else { return };
        let message = match (images.get(name), pick) {
            (None, _) => format!("the library has no image `{name}`: import it, or correct the name"),
            (Some(image), Pick::Version(version)) if !image.versions.contains(&version) => {
                let has: Vec<String> = image.versions.iter().map(u32::to_string).collect();
                format!("the image `{name}` has no version {version}: it has {}", has.join(", "))
            }
            (Some(image), Pick::Ring(ring)) if image.rings.get(ring).is_none() => {
                format!(
                    "the image `{name}` has no version in {ring}: put one there, rootstock image promote {name} --to {ring}"
                )
            }
            _ => return,
        };
        self.add(path, Code::UnknownImage, message);
    }

    pub(super) fn destination(&mut self, path: &str, destination: &Destination, perhaps: bool) {
        // Of steps that a condition decides on, one may take the place of another.
        let taken = usize::from(!perhaps);
        let message = match destination {
            Destination::NextFormatted if self.unused > 0 => {
                self.unused -= taken;
                return;
            }
            // The technician is asked: the page that selects a destination.
            Destination::NextFormatted if self.formatted.is_empty() => return,
            Destination::NextFormatted => {
                "there is no formatted partition left for it: add a partition to a format step before it, or name a destination"
                    .to_owned()
            }
            Destination::Variable(name) if name.is_read_only() || !self.is_known(name) => {
                format!("the destination is in %{name}%, which nothing defines before this step: name it as the variable of a partition in a format step")
            }
            Destination::Partition { disk, partition } => match self.formatted.get(disk) {
                Some(_) if *partition == 1 => {
                    format!("partition 1 of disk {disk} is its EFI System Partition: the first partition of the format step is 2")
                }
                Some(made) if !(2..=*made as u64 + 1).contains(&u64::from(*partition)) => {
                    format!("disk {disk} has no partition {partition}: the format step makes 2 to {}", made + 1)
                }
                Some(_) => {
                    self.unused = self.unused.saturating_sub(taken);
                    return;
                }
                None => return,
            },
            Destination::Variable(_) => {
                self.unused = self.unused.saturating_sub(taken);
                return;
            }
        };
        self.add(path, Code::UndefinedDestination, message);
    }

    pub(super) fn capture(&mut self, path: &str, capture: &CaptureImage, disabled: bool) {
        if let Some(name) = capture.image.literal().filter(|name| !is_image_name(name)) {
            let shown: String = name.chars().take(64).collect();
            self.add(path, Code::BadName, format!("an image cannot be called {shown:?}: {IMAGE_NAME_RULE}"));
        }
        if let CaptureDestination::Share(share) = &capture.destination {
            self.share(path, share, capture.note.is_some());
        }
        if let CaptureSource::Partition { partition: 0, .. } = capture.source {
            let message = "there is no partition 0: the first partition of a disk is 1".to_owned();
            self.add(path, Code::NothingToCapture, message);
        }
        let disk = match capture.source {
            CaptureSource::Macos => None,
            CaptureSource::Disk { disk } | CaptureSource::Partition { disk, .. } => Some(disk),
        };
        let formatted = disk.filter(|disk| self.formatted.contains_key(disk));
        if let Some(disk) = formatted.filter(|_| !disabled && self.applied.is_none()) {
            let message = format!(
                "disk {disk} was formatted by an earlier step, and nothing was put on it: capture it in a sequence of its own"
            );
            self.add(path, Code::NothingToCapture, message);
        }
    }

    fn share(&mut self, path: &str, share: &ShareDestination, note: bool) {
        let bad_path = |error: BadSharePath| {
            let code = match error {
                BadSharePath::Account => Code::SecretInPlainField,
                _ => Code::BadShare,
            };
            (code, error.to_string())
        };
        let base = share.share.literal().map(str::parse::<SharePath>);
        let folder = share.folder.as_ref().and_then(Template::literal);
        let found = match (&base, folder) {
            (Some(Err(error)), _) => Some(bad_path(error.clone())),
            (Some(Ok(base)), Some(folder)) => base.inside(folder).err().map(bad_path),
            _ => None,
        };
        if let Some((code, message)) = found {
            self.add(path, code, message);
        }
        if let Some(Err(error)) = share.account.literal().map(str::parse::<ShareAccount>) {
            self.add(path, Code::BadShare, error.to_string());
        }
        if note {
            let message = "the note is kept with a version in the library, and a file on a share has none: leave it out";
            self.add(path, Code::OptionWithoutEffect, message.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sequence::check::{Surroundings, check};
    use crate::sequence::model::Sequence;

    fn found(capture: &str, variables: &[&str]) -> Vec<String> {
        let yaml = format!("name: x\nsteps:\n  - capture_image: {{image: lab, {capture}}}\n");
        let around = Surroundings {
            variables: variables.iter().map(|name| name.parse().unwrap()).collect(),
            ..Surroundings::default()
        };
        let found = check(&Sequence::from_yaml(&yaml).unwrap(), &around);
        found.into_iter().map(|finding| finding.code.to_string()).collect()
    }

    #[test]
    fn section_2_a_share_is_a_path_with_an_account_whose_password_is_a_variable() {
        let guide = ["OSDCaptureDestination", "OSDCaptureAccount", "PmmOSDCaptureAccountPassword"];
        assert_eq!(found("destination: share", &guide), [""; 0]);
        assert_eq!(found("destination: share", &guide[..2]), ["unknown-variable"]);
        assert_eq!(found("destination: share", &[]), ["unknown-variable"; 3]);
        let share =
            |rest: &str| found(&format!("destination: {{account: ana, password: '', {rest}}}"), &["Key"]);
        assert_eq!(share(r"share: '\\s\a', folder: 'b/%SerialNumber%'"), [""; 0]);
        for (rest, code) in [
            (r"share: 's\a'", "bad-share"),
            (r"share: '\\s'", "bad-share"),
            (r"share: '\\s\a', folder: ../b", "bad-share"),
            (r"share: 'smb://ana:hunter2@s/a'", "secret-in-plain-field"),
        ] {
            assert_eq!(share(rest), [code], "{rest}");
        }
        let whole = |rest: &str| found(&format!(r"destination: {{share: '\\s\a', {rest}}}"), &["Key"]);
        assert_eq!(whole(r"account: 'D\ana', password: '%Key%'"), [""; 0]);
        assert_eq!(whole("account: ana, password: hunter2"), ["secret-in-plain-field"]);
        assert_eq!(whole("account: a%%b, password: '%Key%'"), ["bad-share"]);
        assert_eq!(found("note: x, destination: share", &guide), ["option-without-effect"]);
    }
}
