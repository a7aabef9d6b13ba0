//! A step with everything filled in: variables, image, destination. What is handed out to a runner.

use crate::sequence::capture::{
    self, CaptureDestination, CaptureImage, CaptureSource, ShareDestination, ShareFolder,
};
use crate::sequence::model::{
    ApplyImage, Destination, ExecuteScript, FormatDisk, Kind, SetVariable, VolumeFormat,
};
use crate::sequence::name::VariableName;
use crate::sequence::quantity::PartitionSize;
use crate::sequence::template::{ExpandError, Template};
use crate::sequence::variable::{Value, Variables};
use crate::value::{
    BadShareAccount, BadSharePath, Digest, FreeSpace, IMAGE_NAME_RULE, Pick, Secret, SharePath, is_image_name,
};

use super::Chosen;
use super::event::{Failure, PinnedImage};
pub use super::fill::{Applied, MacosAct, Message};

/// One action of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Number of this action in the run, from 1.
    pub number: u32,
    /// The step's place, from 1.
    pub step: u32,
    /// Number of steps.
    pub steps: u32,
    /// Name of the step.
    pub name: String,
    /// Seconds after which the action is stopped and has failed.
    pub timeout: Option<u32>,
    /// What to do.
    pub act: Act,
}

/// What to do, with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Write a new GPT and format its partitions.
    FormatDisk {
        /// Disk number.
        disk: u32,
        /// Partitions in order.
        partitions: Vec<NewPartition>,
    },
    /// Write an image to a partition, verified.
    ApplyImage {
        /// Digest of the signed manifest.
        manifest: Digest,
        /// Name and version for people, `lab-mac 3`.
        image: String,
        /// Which partition of the image; none: its main volume.
        source_partition: Option<u32>,
        /// Where to.
        target: Target,
        /// What happens to space that the image says nothing about.
        free: FreeSpace,
    },
    /// Take an image from this Mac into the library.
    CaptureImage {
        /// Name of the image.
        image: String,
        /// A note for its version; may be empty.
        note: String,
        /// What is taken.
        source: CaptureSource,
    },
    /// Take an image from this Mac as a file on a share.
    CaptureToShare {
        /// Name of the image: of the file without its ending.
        image: String,
        /// What is taken.
        source: CaptureSource,
        /// Where to.
        share: Box<ShareFolder>,
    },
    /// Run a script.
    ExecuteScript {
        /// The text.
        script: String,
        /// The run's variables.
        environment: Vec<(String, String)>,
        /// Exit codes that mean success.
        success_codes: Vec<i32>,
        /// Values that must not appear in logs.
        secrets: Vec<Secret>,
        /// Names of secret variables, also of those that are empty still.
        secret_names: Vec<String>,
    },
    /// Restart the machine.
    Restart,
    /// Read images back from the disk and compare them with their manifests.
    VerifyImage(Vec<Applied>),
    /// Copy a file or folder of the appliance to a volume.
    CopyFiles {
        /// Path below the appliance's folder of files.
        from: String,
        /// Folder on the volume.
        to: String,
        /// The volume.
        target: Target,
    },
    /// Have the firmware start a volume from now on.
    SetStartupDisk {
        /// The volume.
        target: Target,
        /// A firmware that does not take it is a failure.
        required: bool,
    },
    /// Tell somebody. The appliance's own work.
    Notify(Box<Message>),
    /// What only macOS can do.
    OnMacos(Box<MacosAct>),
}

impl Act {
    /// Whether only the boot environment can do it.
    pub fn needs_boot_environment(&self) -> bool {
        match self {
            Act::FormatDisk { .. }
            | Act::ApplyImage { .. }
            | Act::CaptureImage { .. }
            | Act::CaptureToShare { .. }
            | Act::VerifyImage(_)
            | Act::CopyFiles { .. }
            | Act::SetStartupDisk { .. } => true,
            Act::ExecuteScript { .. } | Act::Restart | Act::Notify(_) | Act::OnMacos(_) => false,
        }
    }
}

/// One partition to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// GPT name and volume label.
    pub name: String,
    /// File system.
    pub format: VolumeFormat,
    /// How much room.
    pub size: PartitionSize,
}

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A device node that the runner named.
    Node(String),
    /// A partition by its number.
    Partition {
        /// Disk number.
        disk: u32,
        /// Partition number in the GPT.
        partition: u32,
    },
    /// The partition that a person chose.
    Chosen(Chosen),
}

impl Target {
    /// Disk and partition number, where the target names them.
    pub fn numbers(&self) -> Option<(u32, u32)> {
        match self {
            Target::Node(_) => None,
            Target::Partition { disk, partition } => Some((*disk, *partition)),
            Target::Chosen(chosen) => Some((chosen.disk, chosen.partition)),
        }
    }
}

/// A partition that a format step of this run made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Formatted {
    pub disk: u32,
    /// Number in the GPT: the EFI System Partition is 1, the first of the step is 2.
    pub partition: u32,
    pub node: String,
    /// An image was applied to it.
    pub used: bool,
}

/// A step cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotBegin {
    /// A text cannot be filled in.
    #[error("{field}: {source}")]
    Text {
        /// Which.
        field: String,
        /// Why.
        source: ExpandError,
    },
    /// The image was not among those that the run was pinned to.
    #[error("the image `{image}` was not in the library when the run started")]
    Image {
        /// Name, and version if one is asked for.
        image: String,
    },
    /// The text that should name an image of the library cannot be its name.
    #[error("an image cannot be called {name:?}: {IMAGE_NAME_RULE}")]
    ImageName {
        /// As filled in, shortened.
        name: String,
    },
    /// Every formatted partition has its image.
    #[error("there is no formatted partition left for the image")]
    NoPartition,
    /// The variable that should hold the destination holds nothing.
    #[error("the destination should be in the variable {0}, which is empty")]
    EmptyDestination(VariableName),
    /// A percentage out of 1 to 100.
    #[error("a partition of {0}% of the free space cannot be made")]
    Percent(u32),
    /// The image is named by a variable whose value only the run will know.
    #[error(
        "the image's name uses %{0}%, which gets its value during the run: which image is needed must be known before"
    )]
    OpenImage(VariableName),
    /// There is no volume that the run applied an image to.
    #[error("this run has applied no image there")]
    NothingApplied,
    /// A path that leads out of where it belongs.
    #[error("`{path}` is no path that can be used here: it must not lead out of its folder")]
    Path {
        /// As filled in.
        path: String,
    },
    /// The texts name no folder of a share.
    #[error(transparent)]
    Share(#[from] BadSharePath),
    /// The text names no account.
    #[error(transparent)]
    ShareAccount(#[from] BadShareAccount),
    /// Nobody can be told there.
    #[error("`{receiver}` is neither the address of a webhook nor of mail")]
    Receiver {
        /// As filled in, shortened.
        receiver: String,
    },
    /// A command line that means nothing.
    #[error("the package's command line: {0}")]
    Program(crate::sequence::macos::BadCommandLine),
    /// The run was started on macOS.
    #[error("`{0}` needs the boot environment, and this run was started on a live macOS")]
    OnLiveMacos(&'static str),
}

impl CannotBegin {
    /// The failure of the step, for people.
    pub(super) fn failure(&self, step: u32, name: &str) -> Failure {
        let next_step = match self {
            CannotBegin::Text { .. } => "set the variable in an earlier step, then start the sequence again",
            CannotBegin::Image { .. } => {
                "import the image or correct its name in the sequence, then start again"
            }
            CannotBegin::ImageName { .. } => "correct the name in the step, then start again",
            CannotBegin::NoPartition => "add a partition to the format step, then start again",
            CannotBegin::EmptyDestination(_) => {
                "give a partition of the format step this variable, then start again"
            }
            CannotBegin::Percent(_) => "write 1% to 100% in the format step, then start again",
            CannotBegin::OpenImage(_) => {
                "give the variable its value on the device, on its collection, or in a Set Variables step before"
            }
            CannotBegin::NothingApplied => {
                "name the volume in the step, or move it behind an Apply Image step that is done"
            }
            CannotBegin::Path { .. }
            | CannotBegin::Share(_)
            | CannotBegin::ShareAccount(_)
            | CannotBegin::Receiver { .. }
            | CannotBegin::Program(_) => {
                "correct it in the step, or the variable that it comes from, then start again"
            }
            CannotBegin::OnLiveMacos(_) => "start the Mac from the network and run the sequence there",
        };
        Failure {
            cause: self.to_string(),
            evidence: format!("found before step {step} (`{name}`) began; the step changed nothing"),
            next_step: next_step.to_owned(),
            exit_code: None,
        }
    }
}

/// What filling in needs.
pub(super) struct Filling<'a> {
    pub variables: &'a Variables,
    pub images: &'a [PinnedImage],
    pub formatted: &'a [Formatted],
    pub applied: &'a [Applied],
    /// What a person chose for the step.
    pub chosen: Option<&'a Chosen>,
}

impl Filling<'_> {
    /// The action of a step, or none for a step that the engine does by itself.
    pub fn act(&self, kind: &Kind) -> Result<Option<Act>, CannotBegin> {
        match kind {
            Kind::FormatDisk(format) => self.format(format).map(Some),
            Kind::ApplyImage(apply) => self.apply(apply).map(Some),
            Kind::CaptureImage(capture) => self.capture(capture).map(Some),
            Kind::ExecuteScript(script) => Ok(Some(self.script(script))),
            Kind::Restart => Ok(Some(Act::Restart)),
            Kind::SetVariables(_) | Kind::WaitForTechnician(_) | Kind::RunSequence(_) => Ok(None),
            further => self.further(further),
        }
    }

    pub fn text(&self, field: &str, text: &Template) -> Result<String, CannotBegin> {
        expand(self.variables, field, text).map(|value| value.text)
    }

    fn format(&self, format: &FormatDisk) -> Result<Act, CannotBegin> {
        let partitions = format.partitions.iter().map(|partition| {
            if let PartitionSize::Percent(percent @ (0 | 101..)) = partition.size {
                return Err(CannotBegin::Percent(percent));
            }
            let name = self.text("the partition's name", &partition.name)?;
            Ok(NewPartition { name, format: partition.format, size: partition.size })
        });
        Ok(Act::FormatDisk { disk: format.disk, partitions: partitions.collect::<Result<_, _>>()? })
    }

    fn apply(&self, apply: &ApplyImage) -> Result<Act, CannotBegin> {
        let pinned = self.pinned(&apply.image, apply.pick)?;
        Ok(Act::ApplyImage {
            manifest: pinned.manifest,
            image: format!("{} {}", pinned.name, pinned.version),
            source_partition: apply.source_partition,
            target: self.target(&apply.destination)?,
            free: apply.free,
        })
    }

    /// The image that a step asks for, as it was when the run started.
    pub(super) fn pinned(&self, image: &Template, pick: Pick) -> Result<&PinnedImage, CannotBegin> {
        let name = self.text("the image's name", image)?;
        let pinned = self.images.iter().find(|image| image.is_for(&name, pick));
        pinned.ok_or_else(|| CannotBegin::Image { image: format!("{name} {pick}").trim_end().to_owned() })
    }

    /// The partition that a step names.
    pub(super) fn target(&self, destination: &Destination) -> Result<Target, CannotBegin> {
        Ok(match destination {
            Destination::Partition { disk, partition } => {
                Target::Partition { disk: *disk, partition: *partition }
            }
            Destination::NextFormatted => match self.chosen {
                Some(chosen) => Target::Chosen(chosen.clone()),
                None => {
                    let next = self.formatted.iter().find(|partition| !partition.used);
                    Target::Node(next.ok_or(CannotBegin::NoPartition)?.node.clone())
                }
            },
            Destination::Variable(name) => match self.variables.get(name) {
                Some(value) if !value.text.is_empty() => Target::Node(value.text.clone()),
                _ => return Err(CannotBegin::EmptyDestination(name.clone())),
            },
        })
    }

    fn capture(&self, capture: &CaptureImage) -> Result<Act, CannotBegin> {
        let image = self.text("the image's name", &capture.image)?;
        if !is_image_name(&image) {
            return Err(CannotBegin::ImageName { name: image.chars().take(64).collect() });
        }
        if let CaptureDestination::Share(share) = &capture.destination {
            let share = Box::new(self.share(share)?);
            return Ok(Act::CaptureToShare { image, source: capture.source, share });
        }
        let note = match &capture.note {
            Some(note) => self.text("the note", note)?,
            None => String::new(),
        };
        Ok(Act::CaptureImage { image, note, source: capture.source })
    }

    fn share(&self, share: &ShareDestination) -> Result<ShareFolder, CannotBegin> {
        let path: SharePath = self.text("the share", &share.share)?.parse()?;
        let folder = match &share.folder {
            Some(folder) => self.text("the folder", folder)?,
            None => self.defined(capture::FOLDER),
        };
        Ok(ShareFolder {
            folder: path.inside(&folder)?,
            path,
            account: self.text("the account", &share.account)?.parse()?,
            password: Secret::new(self.text("the password", &share.password)?),
        })
    }

    fn script(&self, script: &ExecuteScript) -> Act {
        let all = self.variables.all();
        let secrets = all.values().filter(|value| value.secret && !value.text.is_empty());
        Act::ExecuteScript {
            script: script.script.clone(),
            secrets: secrets.map(|value| Secret::new(value.text.clone())).collect(),
            secret_names: all
                .iter()
                .filter(|(_, value)| value.secret)
                .map(|(name, _)| name.as_str().to_owned())
                .collect(),
            environment: all.into_iter().map(|(name, value)| (name.into(), value.text)).collect(),
            success_codes: script.success_codes.clone(),
        }
    }
}

pub(super) fn expand(variables: &Variables, field: &str, text: &Template) -> Result<Value, CannotBegin> {
    variables.expand(text).map_err(|source| CannotBegin::Text { field: field.to_owned(), source })
}

/// Names and values that a Set Variables step sets; later ones may use earlier ones.
pub(super) fn values_of(
    step: &[SetVariable],
    variables: &Variables,
) -> Result<Vec<(VariableName, Value)>, CannotBegin> {
    let mut so_far = variables.clone();
    let mut values = Vec::with_capacity(step.len());
    for variable in step {
        let mut value = expand(&so_far, &format!("the value of {}", variable.name), &variable.value)?;
        value.secret |= variable.secret;
        so_far.set(variable.name.clone(), value.clone());
        values.push((variable.name.clone(), value));
    }
    Ok(values)
}
