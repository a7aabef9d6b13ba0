//! Everything that is wrong with a sequence, all findings at once: a sequence with a finding is not saved as one that
//! may be deployed. What exists around it (images, variables of collections) comes in as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::capture::{CaptureImage, CaptureSource};
use super::model::{
    ApplyImage, Destination, ExecuteScript, FormatDisk, Kind, Partition, Place, Sequence, SetVariable, Step,
    VolumeFormat,
};
use super::name::VariableName;
use super::quantity::PartitionSize;
use super::template::Template;
use crate::value::{IMAGE_NAME_RULE, Pick, Rings, is_image_name};

/// Bytes of the longest script (task-sequences section 2: 16 KB).
pub const LONGEST_SCRIPT: usize = 16_384;

/// What a sequence may refer to.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Images of the library; none: not known here, images are not checked.
    pub images: Option<BTreeMap<String, KnownImage>>,
    /// Variables that collections and devices define.
    pub variables: BTreeSet<VariableName>,
}

/// What may be asked of an image of the library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownImage {
    /// Its versions.
    pub versions: BTreeSet<u32>,
    /// Where its rings point.
    pub rings: Rings,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule.
    pub code: Code,
    /// `steps[2]`, as the file counts; empty for the sequence as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.code, self.message)
        } else {
            write!(f, "{}: {}: {}", self.path, self.code, self.message)
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The rules.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Code::$variant => $text,)* })
            }
        }
    };
}

codes! {
    /// A sequence or step without a name.
    EmptyName = "empty-name",
    /// A name that cannot be shown or stand in an address.
    BadName = "bad-name",
    /// Nothing to do.
    NoSteps = "no-steps",
    /// Something stands before a format step.
    FormatNotFirst = "format-not-first",
    /// A format step after an image was applied.
    FormatAfterApply = "format-after-apply",
    /// Two format steps for one disk.
    DiskFormattedTwice = "disk-formatted-twice",
    /// A format step that makes nothing.
    NoPartition = "no-partition",
    /// Percent out of 1 to 100, or less than a MiB.
    PartitionSize = "partition-size",
    /// A partition after one that takes all that is left.
    NoSpaceLeft = "no-space-left",
    /// A partition name that its format or a GPT cannot hold.
    PartitionName = "partition-name",
    /// A step without the entries that it is made for.
    NothingToSet = "nothing-to-set",
    /// A variable set twice in one step.
    VariableSetTwice = "variable-set-twice",
    /// A fact of the Mac is set.
    ReadOnlyVariable = "read-only-variable",
    /// A variable that nothing before the step sets.
    UnknownVariable = "unknown-variable",
    /// An image that the library does not hold.
    UnknownImage = "unknown-image",
    /// A capture of a disk that was formatted before, or of a partition that cannot be.
    NothingToCapture = "nothing-to-capture",
    /// A destination that nothing before the step defines.
    UndefinedDestination = "undefined-destination",
    /// A script whose first line does not say what runs it.
    ScriptWithoutShebang = "script-without-shebang",
    /// A script over 16,384 bytes.
    ScriptTooLong = "script-too-long",
    /// No exit code means success.
    NoSuccessCode = "no-success-code",
}

/// Finds everything that is wrong with `sequence`, in the order of its steps.
pub fn check(sequence: &Sequence, around: &Surroundings) -> Vec<Finding> {
    let mut checking = Checking::new(around);
    checking.name("", "the sequence", &sequence.name);
    if sequence.enabled().next().is_none() {
        checking.add("", Code::NoSteps, "the sequence has no step that is not disabled: add one".to_owned());
    }
    for (place, step) in sequence.walk() {
        checking.step(place, step);
    }
    checking.findings
}

/// What the steps so far have done.
struct Checking<'a> {
    around: &'a Surroundings,
    findings: Vec<Finding>,
    known: BTreeSet<VariableName>,
    /// Disks formatted so far, with their partitions.
    formatted: BTreeMap<u32, usize>,
    /// Partitions formatted and not applied to yet.
    unused: usize,
    /// Name of the first step that is no format step.
    other: Option<String>,
    /// Name of the first step that applied an image.
    applied: Option<String>,
}

impl<'a> Checking<'a> {
    fn new(around: &'a Surroundings) -> Checking<'a> {
        Checking {
            around,
            findings: Vec::new(),
            known: around.variables.clone(),
            formatted: BTreeMap::new(),
            unused: 0,
            other: None,
            applied: None,
        }
    }

    fn add(&mut self, path: &str, code: Code, message: String) {
        self.findings.push(Finding { code, path: path.to_owned(), message });
    }

    fn name(&mut self, path: &str, what: &str, name: &str) {
        if name.trim().is_empty() {
            self.add(path, Code::EmptyName, format!("{what} has no name: give it one"));
        } else if name.trim() != name
            || name.chars().count() > 100
            || name.chars().any(|c| c.is_control() || c == '/')
        {
            let shown: String = name.chars().take(40).collect();
            let rule = "at most 100 characters, no `/`, no control characters, no space at either end";
            self.add(path, Code::BadName, format!("{what} cannot be called {shown:?}: {rule}"));
        }
    }

    fn step(&mut self, place: Place, step: &Step) {
        let path = place.to_string();
        self.name(&path, "the step", &step.name);
        match &step.kind {
            Kind::FormatDisk(format) => {
                self.format(&path, format);
                if !step.disabled {
                    self.format_in_order(&path, format);
                }
            }
            Kind::ApplyImage(apply) => {
                self.image(&path, apply);
                if !step.disabled {
                    self.destination(&path, &apply.destination);
                    self.applied.get_or_insert_with(|| step.name.clone());
                }
            }
            Kind::CaptureImage(capture) => self.capture(&path, capture, step.disabled),
            Kind::SetVariables(variables) => self.set_variables(&path, variables, step.disabled),
            Kind::ExecuteScript(script) => self.script(&path, script),
            Kind::Restart => {}
        }
        if !step.disabled && !matches!(step.kind, Kind::FormatDisk(_)) {
            self.other.get_or_insert_with(|| step.name.clone());
        }
    }

    fn text(&mut self, path: &str, field: &str, text: &Template) {
        let unknown: BTreeSet<&VariableName> =
            text.variables().filter(|name| !name.is_read_only() && !self.known.contains(name)).collect();
        for name in unknown {
            let message = format!(
                "{field} uses %{name}%, which nothing defines before this step: set it in an earlier Set Variables step"
            );
            self.add(path, Code::UnknownVariable, message);
        }
    }

    fn settable(&mut self, path: &str, name: &VariableName) {
        if name.is_read_only() {
            let message = format!("{name} is a fact of the Mac and cannot be set: take another name");
            self.add(path, Code::ReadOnlyVariable, message);
        }
    }

    fn format(&mut self, path: &str, format: &FormatDisk) {
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
        self.text(path, "the partition's name", &partition.name);
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

    fn format_in_order(&mut self, path: &str, format: &FormatDisk) {
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
        self.known.extend(format.partitions.iter().filter_map(|partition| partition.variable.clone()));
    }

    fn image(&mut self, path: &str, apply: &ApplyImage) {
        self.text(path, "the image's name", &apply.image);
        let Some(name) = apply.image.literal() else { return };
        if name.trim().is_empty() {
            self.add(
                path,
                Code::EmptyName,
                "the step names no image: write the name of one in the library".to_owned(),
            );
            return;
        }
        let Some(images) = &self.around.images else { return };
        let message = match (images.get(name), apply.pick) {
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

    fn capture(&mut self, path: &str, capture: &CaptureImage, disabled: bool) {
        self.text(path, "the image's name", &capture.image);
        if let Some(note) = &capture.note {
            self.text(path, "the note", note);
        }
        if let Some(name) = capture.image.literal().filter(|name| !is_image_name(name)) {
            let shown: String = name.chars().take(64).collect();
            self.add(path, Code::BadName, format!("an image cannot be called {shown:?}: {IMAGE_NAME_RULE}"));
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

    fn destination(&mut self, path: &str, destination: &Destination) {
        let message = match destination {
            Destination::NextFormatted if self.unused > 0 => {
                self.unused -= 1;
                return;
            }
            Destination::NextFormatted => {
                "there is no formatted partition left for it: add a partition to a format step before it, or name a destination"
                    .to_owned()
            }
            Destination::Variable(name) if name.is_read_only() || !self.known.contains(name) => {
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
                    self.unused = self.unused.saturating_sub(1);
                    return;
                }
                None => return,
            },
            Destination::Variable(_) => {
                self.unused = self.unused.saturating_sub(1);
                return;
            }
        };
        self.add(path, Code::UndefinedDestination, message);
    }

    fn set_variables(&mut self, path: &str, variables: &[SetVariable], disabled: bool) {
        if variables.is_empty() {
            self.add(
                path,
                Code::NothingToSet,
                "the step sets no variable: add one, or remove the step".to_owned(),
            );
        }
        let before = self.known.clone();
        let mut set = BTreeSet::new();
        for variable in variables {
            self.settable(path, &variable.name);
            self.text(path, &format!("the value of {}", variable.name), &variable.value);
            if !set.insert(&variable.name) {
                let message =
                    format!("{} is set twice in this step: only the last value would count", variable.name);
                self.add(path, Code::VariableSetTwice, message);
            }
            self.known.insert(variable.name.clone());
        }
        if disabled {
            self.known = before;
        }
    }

    fn script(&mut self, path: &str, script: &ExecuteScript) {
        let interpreter = script.script.lines().next().and_then(|line| line.strip_prefix("#!"));
        if !interpreter.is_some_and(|interpreter| interpreter.trim_start().starts_with('/')) {
            let message =
                "the script's first line does not say what runs it: begin with one like `#!/bin/sh`"
                    .to_owned();
            self.add(path, Code::ScriptWithoutShebang, message);
        }
        if script.script.len() > LONGEST_SCRIPT {
            let message = format!("the script has {} bytes: at most {LONGEST_SCRIPT}", script.script.len());
            self.add(path, Code::ScriptTooLong, message);
        }
        if script.success_codes.is_empty() {
            self.add(
                path,
                Code::NoSuccessCode,
                "no exit code means success: leave success_codes out for [0]".to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(steps: &str) -> Vec<(String, String)> {
        codes_in(steps, &Surroundings::default())
    }

    fn codes_in(steps: &str, around: &Surroundings) -> Vec<(String, String)> {
        let sequence = Sequence::from_yaml(&format!("name: x\nsteps:\n{steps}")).unwrap();
        check(&sequence, around).into_iter().map(|finding| (finding.code.to_string(), finding.path)).collect()
    }

    fn finds(steps: &str, code: &str, path: &str) {
        assert_eq!(codes(steps), [(code.to_owned(), path.to_owned())], "{steps}");
    }

    const FORMAT: &str =
        "  - format_disk: {partitions: [{name: HD, format: apfs, size: 100%, variable: HD}]}\n";

    #[test]
    fn a_sequence_that_formats_applies_and_restarts_has_no_finding() {
        let rest = "  - apply_image: {image: lab}\n  - restart:\n";
        assert_eq!(codes(&format!("{FORMAT}{rest}")), []);
    }

    #[test]
    fn all_findings_are_told_at_once_in_the_order_of_the_steps() {
        let steps = "  - {name: ' ', restart: }\n  - execute_script: {script: echo}\n  - apply_image: {image: '%No%'}\n";
        let found: Vec<_> = codes(steps).into_iter().map(|(code, path)| format!("{path} {code}")).collect();
        assert_eq!(
            found,
            [
                "steps[0] empty-name",
                "steps[1] script-without-shebang",
                "steps[2] unknown-variable",
                "steps[2] undefined-destination"
            ]
        );
    }

    #[test]
    fn names_that_cannot_be_shown_or_addressed_are_found() {
        for (name, code) in
            [("''", "empty-name"), ("a/b", "bad-name"), ("' a'", "bad-name"), (&"x".repeat(101), "bad-name")]
        {
            let sequence = Sequence::from_yaml(&format!("name: {name}\nsteps: [{{restart: }}]")).unwrap();
            let found = check(&sequence, &Surroundings::default());
            assert_eq!(
                found.iter().map(|finding| finding.code.to_string()).collect::<Vec<_>>(),
                [code],
                "{name}"
            );
        }
    }

    #[test]
    fn format_steps_come_first_once_a_disk() {
        finds(
            &format!("  - set_variables: [{{name: A, value: b}}]\n{FORMAT}"),
            "format-not-first",
            "steps[1]",
        );
        let apply = "  - apply_image: {image: a, destination: {disk: 1, partition: 2}}\n";
        finds(&format!("{apply}{FORMAT}"), "format-after-apply", "steps[1]");
        finds(&format!("{FORMAT}{FORMAT}"), "disk-formatted-twice", "steps[1]");
        let second = FORMAT.replace("{partitions", "{disk: 1, partitions");
        assert_eq!(codes(&format!("{FORMAT}{second}")), []);
        let disabled = "  - {disabled: true, restart: }\n";
        assert_eq!(
            codes(&format!("{disabled}{FORMAT}")),
            [],
            "a step that is left out stands before nothing"
        );
    }

    #[test]
    fn partitions_that_cannot_be_made_are_found() {
        finds("  - format_disk: {partitions: []}\n", "no-partition", "steps[0]");
        for (partitions, code, index) in [
            ("{name: a, format: apfs, size: 0%}", "partition-size", 0),
            ("{name: a, format: apfs, size: 101%}", "partition-size", 0),
            ("{name: a, format: apfs, size: 4 KiB}", "partition-size", 0),
            ("{name: a, format: apfs, size: 100%}, {name: b, format: apfs, size: 1 GB}", "no-space-left", 1),
            ("{name: abcdefghijkl, format: fat32, size: 1 GB}", "partition-name", 0),
            ("{name: '', format: hfs+, size: 1 GB}", "partition-name", 0),
            ("{name: a, format: hfs+, size: 1 GB, variable: uuid}", "read-only-variable", 0),
        ] {
            let path = format!("steps[0].format_disk.partitions[{index}]");
            finds(&format!("  - format_disk: {{partitions: [{partitions}]}}\n"), code, &path);
        }
    }

    #[test]
    fn a_variable_is_known_after_the_step_that_sets_it_and_not_before() {
        let set =
            "  - set_variables: [{name: Room, value: '%SerialNumber%'}, {name: Host, value: '%room%-1'}]\n";
        assert_eq!(codes(set), []);
        let uses = "  - set_variables: [{name: A, value: '%Host% %HOST%'}]\n";
        assert_eq!(codes(&format!("{set}{uses}")), []);
        finds(&format!("{uses}{set}"), "unknown-variable", "steps[0]");
        let around =
            Surroundings { variables: BTreeSet::from(["host".parse().unwrap()]), ..Surroundings::default() };
        assert_eq!(codes_in(uses, &around), []);
        let disabled = set.replace("- set", "- disabled: true\n    set");
        finds(&format!("{disabled}{uses}"), "unknown-variable", "steps[1]");
    }

    #[test]
    fn set_variables_sets_each_name_once_and_no_fact() {
        finds("  - set_variables: []\n", "nothing-to-set", "steps[0]");
        finds(
            "  - set_variables: [{name: a, value: b}, {name: A, value: c}]\n",
            "variable-set-twice",
            "steps[0]",
        );
        finds("  - set_variables: [{name: SERIALNUMBER, value: b}]\n", "read-only-variable", "steps[0]");
    }

    #[test]
    fn an_image_that_the_library_does_not_hold_is_found_when_the_library_is_known() {
        let lab = KnownImage {
            versions: BTreeSet::from([1, 3]),
            rings: Rings { test: Some(1), ..Rings::default() },
        };
        let images = BTreeMap::from([("lab".to_owned(), lab)]);
        let around = Surroundings { images: Some(images), ..Surroundings::default() };
        for (image, found) in [
            ("lab", false),
            ("lab, version: 3", false),
            ("lab, version: 2", true),
            ("Lab", true),
            ("lab, ring: test", false),
            ("lab, ring: production", true),
        ] {
            let steps = format!("{FORMAT}  - apply_image: {{image: {image}}}\n");
            assert_eq!(codes(&steps), []);
            let want: &[_] = if found { &[("unknown-image".to_owned(), "steps[1]".to_owned())] } else { &[] };
            assert_eq!(codes_in(&steps, &around), want, "{image}");
        }
    }

    #[test]
    fn a_destination_must_be_defined_before_it_is_used() {
        let apply = |destination: &str| format!("  - apply_image: {{image: lab{destination}}}\n");
        finds(&apply(""), "undefined-destination", "steps[0]");
        finds(&apply(", destination: {variable: HD}"), "undefined-destination", "steps[0]");
        finds(&format!("{FORMAT}{}{}", apply(""), apply("")), "undefined-destination", "steps[2]");
        assert_eq!(codes(&format!("{FORMAT}{}", apply(", destination: {variable: hd}"))), []);
        assert_eq!(codes(&format!("{FORMAT}{}", apply(", destination: {disk: 0, partition: 2}"))), []);
        for partition in [0, 1, 3] {
            let steps =
                format!("{FORMAT}{}", apply(&format!(", destination: {{disk: 0, partition: {partition}}}")));
            finds(&steps, "undefined-destination", "steps[1]");
        }
    }

    #[test]
    fn a_capture_has_a_name_that_an_image_can_have_and_something_to_take() {
        let capture = |rest: &str| format!("  - capture_image: {{image: {rest}}}\n");
        assert_eq!(codes(&capture("'lab %SerialNumber%'")), []);
        assert_eq!(codes(&capture("a, source: {disk: 0, partition: 2}")), []);
        finds(&capture("'a/b'"), "bad-name", "steps[0]");
        finds(&capture("'%No%'"), "unknown-variable", "steps[0]");
        finds(&capture("a, note: '%No%'"), "unknown-variable", "steps[0]");
        finds(&capture("a, source: {disk: 0, partition: 0}"), "nothing-to-capture", "steps[0]");
        let disk = capture("a, source: {disk: 0}");
        finds(&format!("{FORMAT}{disk}"), "nothing-to-capture", "steps[1]");
        let apply = "  - apply_image: {image: lab}\n";
        assert_eq!(codes(&format!("{FORMAT}{apply}{disk}")), []);
        finds(&format!("{disk}{FORMAT}"), "format-not-first", "steps[1]");
    }

    #[test]
    fn a_script_says_what_runs_it_and_is_not_too_long() {
        let script = |text: &str| {
            format!("  - execute_script: {{script: {}}}\n", serde_json::to_string(text).unwrap())
        };
        for text in ["", "echo", " #!/bin/sh\n", "#!\n", "#!sh\n"] {
            finds(&script(text), "script-without-shebang", "steps[0]");
        }
        let longest = format!("#!/bin/sh\n{}", "x".repeat(LONGEST_SCRIPT - 10));
        assert_eq!(codes(&script(&longest)), []);
        finds(&script(&format!("{longest}x")), "script-too-long", "steps[0]");
        finds(
            "  - execute_script: {script: '#!/bin/sh', success_codes: []}\n",
            "no-success-code",
            "steps[0]",
        );
    }
}
