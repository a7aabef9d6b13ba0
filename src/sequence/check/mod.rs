//! Everything that is wrong with a sequence, all findings at once: a sequence with a finding is not saved as one that
//! may be deployed. What exists around it (images, variables, other sequences) comes in as a value.
//!
//! This file: the findings and the walk through the tree. `disk`: formatting and images. `text`: variables, conditions, scripts.
//! `further`: what comes back to a volume, tells somebody, or is done on macOS. `secret`: secrets in scripts.

mod disk;
mod further;
mod secret;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::model::{Group, Kind, Node, Phase, RunSequence, Section, Sequence, Step};
use super::name::VariableName;
use super::program::{MOST_STEPS, Others};
use super::quantity::PartitionSize;
use super::tree::Place;
use super::uses;
use crate::value::Rings;

pub use text::LONGEST_SCRIPT;

/// How deep sequences run each other.
const DEEPEST: usize = 16;

/// What a sequence may refer to.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Images of the library; none: not known here, images are not checked.
    pub images: Option<BTreeMap<String, KnownImage>>,
    /// Variables that collections and devices define.
    pub variables: BTreeSet<VariableName>,
    /// Those of them that are secret.
    pub secrets: BTreeSet<VariableName>,
    /// Sequences that steps may run; none: not known here, what they define is not known either.
    pub others: Option<Others>,
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
    /// `steps[2].group[0]`, as the file counts; empty for the sequence as a whole.
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

        impl Code {
            /// Every rule.
            pub const ALL: &[Code] = &[$(Code::$variant),*];
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
    /// A variable that nothing defines.
    UnknownVariable = "unknown-variable",
    /// A variable that only a later step sets.
    VariableUsedBeforeSet = "variable-used-before-set",
    /// A secret where it can be read.
    SecretInPlainField = "secret-in-plain-field",
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
    /// A group without steps.
    EmptyGroup = "empty-group",
    /// An If without clauses.
    EmptyCondition = "empty-condition",
    /// A text that is no regular expression.
    BadPattern = "bad-pattern",
    /// A property that this step type cannot have.
    OptionWithoutEffect = "option-without-effect",
    /// A sequence that does not exist.
    UnknownSequence = "unknown-sequence",
    /// A sequence that starts nowhere.
    DisabledSequence = "disabled-sequence",
    /// A sequence that would run itself.
    SequenceCircle = "sequence-circle",
    /// More steps than a run can have.
    TooManySteps = "too-many-steps",
    /// A path that leads out of where it belongs.
    BadPath = "bad-path",
    /// A volume that the run applied no image to.
    NothingApplied = "nothing-applied",
    /// A notification without a receiver that can be told.
    BadReceiver = "bad-receiver",
    /// No folder of an SMB share, or no account of one.
    BadShare = "bad-share",
    /// A package's command line that means nothing.
    BadProgram = "bad-program",
    /// An application that nothing can detect.
    BadDetection = "bad-detection",
    /// A text that is no configuration profile.
    BadProfile = "bad-profile",
    /// A secret in the text of a script.
    SecretInScript = "secret-in-script",
    /// Work of the boot environment behind a step of macOS.
    RunnerStepAfterMacos = "runner-step-after-macos",
    /// A step that a sequence without an operating system may not hold.
    StepNotInNonOs = "step-not-in-non-os",
    /// A value that means nothing here.
    BadValue = "bad-value",
    /// A prompt that cannot be answered, or twice one for a variable.
    BadPrompt = "bad-prompt",
}

/// Finds everything that is wrong with `sequence`, in the order of its steps.
pub fn check(sequence: &Sequence, around: &Surroundings) -> Vec<Finding> {
    let mut checking = Checking::new(sequence, around);
    checking.name("", "the sequence", &sequence.name);
    if sequence.enabled().next().is_none() {
        checking.add("", Code::NoSteps, "the sequence has no step that is not disabled: add one".to_owned());
    }
    if matches!(sequence.download_size, Some(PartitionSize::Percent(_))) {
        checking.add("", Code::BadValue, "the download size is a size: write 20 GB".to_owned());
    }
    checking.prompts(sequence);
    checking.nodes(&sequence.steps, Place::root, Way::default());
    checking.phases();
    checking.findings
}

/// What stands around an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// It is disabled, or what it is in.
    left_out: bool,
    /// A condition or a failure decides whether it is done.
    perhaps: bool,
}

/// What the steps so far have done.
struct Checking<'a> {
    around: &'a Surroundings,
    findings: Vec<Finding>,
    known: BTreeSet<VariableName>,
    secret: BTreeSet<VariableName>,
    /// What steps set, wherever they stand.
    anywhere: BTreeSet<VariableName>,
    /// A step ran a sequence that is not known here: it may have set anything.
    opaque: bool,
    /// Disks formatted so far, with their partitions.
    formatted: BTreeMap<u32, usize>,
    /// Partitions formatted and not applied to yet.
    unused: usize,
    /// Name of the first step that is no format step.
    other: Option<String>,
    /// Name of the first step that applied an image.
    applied: Option<String>,
    /// Name of the first step that macOS does.
    macos: Option<String>,
    /// Whether a step brings an operating system.
    brings_os: bool,
    /// Places and names of the steps that need the boot environment.
    in_boot_environment: Vec<(String, &'static str)>,
    /// Names of the sequences that the walk is in, outermost first.
    chain: Vec<&'a str>,
    steps: usize,
}

impl<'a> Checking<'a> {
    fn new(sequence: &'a Sequence, around: &'a Surroundings) -> Checking<'a> {
        let mut anywhere = BTreeSet::new();
        let (mut known, mut secret) = (around.variables.clone(), around.secrets.clone());
        let others = around.others.iter().flat_map(BTreeMap::values);
        for one in std::iter::once(sequence).chain(others) {
            anywhere.extend(one.enabled().flat_map(|(_, step)| uses::sets(&step.kind)));
        }
        for prompt in &sequence.prompts {
            known.insert(prompt.variable.clone());
            secret.extend(prompt.secret.then(|| prompt.variable.clone()));
        }
        Checking {
            around,
            findings: Vec::new(),
            known,
            secret,
            anywhere,
            opaque: false,
            formatted: BTreeMap::new(),
            unused: 0,
            other: None,
            applied: None,
            macos: None,
            brings_os: false,
            in_boot_environment: Vec::new(),
            chain: vec![&sequence.name],
            steps: 0,
        }
    }

    fn prompts(&mut self, sequence: &Sequence) {
        let mut asked = BTreeSet::new();
        for (index, prompt) in sequence.prompts.iter().enumerate() {
            let path = format!("prompts[{index}]");
            for flaw in prompt.flaws() {
                self.add(&path, Code::BadPrompt, flaw);
            }
            if !asked.insert(&prompt.variable) {
                let message = format!("{} has a prompt already: remove one of the two", prompt.variable);
                self.add(&path, Code::BadPrompt, message);
            }
            if !prompt.secret && text::is_called_like_a_secret(prompt.variable.as_str()) {
                let message = format!(
                    "{} looks like a secret, and what is typed for it would be shown and kept in plain: give it `secret: true`",
                    prompt.variable
                );
                self.add(&path, Code::SecretInPlainField, message);
            }
            if let Some(default) = &prompt.default {
                self.text(&path, "the default", default);
            }
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

    fn nodes(&mut self, nodes: &'a [Node], place: impl Fn(usize) -> Place, way: Way) {
        for (index, node) in nodes.iter().enumerate() {
            let place = place(index);
            let way = Way {
                left_out: way.left_out || node.disabled(),
                perhaps: way.perhaps || node.condition().is_some(),
            };
            if let Some(condition) = node.condition() {
                self.condition(place.as_str(), condition);
            }
            match node {
                Node::Step(step) => self.step(&place, step, way),
                Node::Group(group) => self.group(&place, group, way),
            }
        }
    }

    fn group(&mut self, place: &Place, group: &'a Group, way: Way) {
        self.name(place.as_str(), "the group", &group.name);
        if group.steps.is_empty() {
            self.add(
                place.as_str(),
                Code::EmptyGroup,
                "the group has no steps: add one, or remove it".to_owned(),
            );
        }
        for section in Section::ALL {
            let perhaps = way.perhaps || section == Section::Catch;
            self.nodes(group.section(section), |index| place.inside(section, index), Way { perhaps, ..way });
        }
    }

    fn step(&mut self, place: &Place, step: &'a Step, way: Way) {
        let path = place.as_str();
        self.steps += 1;
        if self.steps == MOST_STEPS + 1 {
            let message =
                format!("the sequence and those that it runs have more than {MOST_STEPS} steps: split it");
            self.add(path, Code::TooManySteps, message);
        }
        self.name(path, "the step", &step.name);
        self.texts(path, &step.kind);
        match &step.kind {
            Kind::FormatDisk(format) => {
                self.format(path, format);
                if !way.left_out {
                    self.format_in_order(path, format);
                }
            }
            Kind::ApplyImage(apply) => {
                self.image(path, apply);
                if !way.left_out {
                    self.destination(path, &apply.destination, way.perhaps);
                    self.applied.get_or_insert_with(|| step.name.clone());
                }
            }
            Kind::CaptureImage(capture) => self.capture(path, capture, way.left_out),
            Kind::SetVariables(variables) => self.set_variables(path, variables, way.left_out),
            Kind::ExecuteScript(script) => self.script(path, script),
            Kind::RunSequence(run) => self.run_sequence(place, step, run, way),
            Kind::Restart | Kind::WaitForTechnician(_) => {}
            Kind::VerifyImage(_) | Kind::CopyFiles(_) | Kind::SetStartupDisk(_) | Kind::Notify(_) => {
                self.further(path, &step.kind, way.left_out);
            }
            _ => self.on_macos(path, &step.kind),
        }
        if !way.left_out {
            self.phase_of(path, step);
            self.known.extend(uses::sets(&step.kind));
            if !matches!(step.kind, Kind::FormatDisk(_) | Kind::RunSequence(_)) {
                self.other.get_or_insert_with(|| step.name.clone());
            }
        }
    }

    /// Where a step is done, and whether the Mac is still there when it is reached.
    fn phase_of(&mut self, path: &str, step: &Step) {
        self.brings_os |= step.kind.is_of_os_deployment();
        if step.kind.needs_macos() {
            self.macos.get_or_insert_with(|| step.name.clone());
            return;
        }
        let runner_script =
            matches!(&step.kind, Kind::ExecuteScript(script) if script.phase == Phase::Runner);
        if step.kind.needs_boot_environment() {
            self.in_boot_environment.push((path.to_owned(), step.kind.title()));
        }
        let bound = step.kind.needs_boot_environment() || runner_script && self.brings_os;
        if let Some(macos) = self.macos.clone().filter(|_| bound) {
            let message = format!(
                "is done in the boot environment, and `{macos}` before it on macOS: the Mac has left the boot environment then; move this step before it{}",
                if runner_script { ", or give it `phase: macos`" } else { "" }
            );
            self.add(path, Code::RunnerStepAfterMacos, message);
        }
    }

    /// What can only be told of the whole: a sequence that brings no operating system begins on a live macOS where it has steps
    /// for macOS.
    fn phases(&mut self) {
        let Some(macos) = self.macos.clone().filter(|_| !self.brings_os) else { return };
        for (path, title) in std::mem::take(&mut self.in_boot_environment) {
            let message = format!(
                "{title} needs the boot environment; this sequence brings no operating system, and `{macos}` is done on a live macOS: put one of them into a sequence of its own"
            );
            self.add(&path, Code::StepNotInNonOs, message);
        }
    }

    fn run_sequence(&mut self, place: &Place, step: &Step, run: &'a RunSequence, way: Way) {
        let (path, name) = (place.as_str(), run.sequence.as_str());
        if step.timeout.is_some() || step.retry.is_some() {
            let message = "a step that runs a sequence has neither `timeout` nor `retry`: give them to the steps of that sequence";
            self.add(path, Code::OptionWithoutEffect, message.to_owned());
        }
        if way.left_out {
            return;
        }
        if self.chain.contains(&name) {
            let circle: Vec<&str> = self.chain.iter().copied().chain([name]).collect();
            let message = format!("the sequence would run itself: {}", circle.join(" → "));
            return self.add(path, Code::SequenceCircle, message);
        }
        let Some(others) = &self.around.others else {
            self.opaque = true;
            return;
        };
        let Some(other) = others.get(name) else {
            let message = format!("there is no sequence `{name}`: save it first, or correct the name");
            return self.add(path, Code::UnknownSequence, message);
        };
        if other.disabled {
            let message = format!(
                "the sequence `{name}` is disabled, so it starts nowhere: enable it, or disable this step"
            );
            return self.add(path, Code::DisabledSequence, message);
        }
        if self.chain.len() >= DEEPEST || self.steps > MOST_STEPS {
            let message =
                format!("sequences run each other {DEEPEST} deep at most, with {MOST_STEPS} steps in all");
            return self.add(path, Code::TooManySteps, message);
        }
        for prompt in &other.prompts {
            self.known.insert(prompt.variable.clone());
            self.secret.extend(prompt.secret.then(|| prompt.variable.clone()));
        }
        self.chain.push(name);
        self.nodes(&other.steps, |index| place.nested(index), Way { left_out: false, ..way });
        self.chain.pop();
    }
}

#[cfg(test)]
mod tests_of_codes;

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

    /// Programs go by them: a code may come, none may go or change.
    #[test]
    fn codes_are_stable() {
        let mut codes: Vec<String> = Code::ALL.iter().map(ToString::to_string).collect();
        codes.sort();
        let known = "bad-detection bad-name bad-path bad-pattern bad-profile bad-program bad-prompt bad-receiver bad-share bad-value \
                     disabled-sequence disk-formatted-twice empty-condition empty-group empty-name format-after-apply format-not-first no-partition \
                     no-space-left no-steps no-success-code nothing-applied nothing-to-capture nothing-to-set option-without-effect \
                     partition-name partition-size read-only-variable runner-step-after-macos script-too-long script-without-shebang \
                     secret-in-plain-field secret-in-script sequence-circle step-not-in-non-os too-many-steps undefined-destination \
                     unknown-image unknown-sequence unknown-variable variable-set-twice variable-used-before-set";
        assert_eq!(codes, known.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_sequence_that_formats_applies_and_restarts_has_no_finding() {
        let rest = "  - apply_image: {image: lab}\n  - restart:\n";
        assert_eq!(codes(&format!("{FORMAT}{rest}")), []);
    }

    #[test]
    fn section_1_all_findings_are_told_at_once_in_the_order_of_the_steps() {
        let steps = "  - {name: ' ', restart: }\n  - execute_script: {script: echo}\n  - apply_image: {image: '%No%', destination: {variable: HD}}\n";
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
    fn section_1_names_that_cannot_be_shown_or_addressed_are_found() {
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
    fn section_2_format_steps_come_first_once_a_disk() {
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
    fn section_2_partitions_that_cannot_be_made_are_found() {
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
    fn section_3_a_variable_is_known_after_the_step_that_sets_it_and_not_before() {
        let set =
            "  - set_variables: [{name: Room, value: '%SerialNumber%'}, {name: Host, value: '%room%-1'}]\n";
        assert_eq!(codes(set), []);
        let uses = "  - set_variables: [{name: A, value: '%Host% %HOST%'}]\n";
        assert_eq!(codes(&format!("{set}{uses}")), []);
        finds(uses, "unknown-variable", "steps[0]");
        finds(&format!("{uses}{set}"), "variable-used-before-set", "steps[0]");
        let around =
            Surroundings { variables: BTreeSet::from(["host".parse().unwrap()]), ..Surroundings::default() };
        assert_eq!(codes_in(uses, &around), []);
        let disabled = set.replace("- set", "- disabled: true\n    set");
        finds(&format!("{disabled}{uses}"), "unknown-variable", "steps[1]");
    }

    #[test]
    fn section_2_set_variables_sets_each_name_once_and_no_fact() {
        finds("  - set_variables: []\n", "nothing-to-set", "steps[0]");
        finds(
            "  - set_variables: [{name: a, value: b}, {name: A, value: c}]\n",
            "variable-set-twice",
            "steps[0]",
        );
        finds("  - set_variables: [{name: SERIALNUMBER, value: b}]\n", "read-only-variable", "steps[0]");
    }

    #[test]
    fn section_2_an_image_that_the_library_does_not_hold_is_found_when_the_library_is_known() {
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
    fn section_3_a_prompt_defines_its_variable_and_is_itself_checked() {
        let steps = "  - wait_for_technician: {message: 'Go to %Room%'}\n";
        let findings = |prompts: &str| {
            let yaml = format!("name: x\nprompts: {prompts}\nsteps:\n{steps}");
            let sequence = Sequence::from_yaml(&yaml).unwrap();
            check(&sequence, &Surroundings::default()).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(findings("[{variable: Room, default: '%Model%'}]"), [""; 0]);
        let wrong = findings("[{variable: room}, {variable: Room, type: choice, default: '%Nobody%'}]");
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong.iter().all(|finding| finding.starts_with("prompts[1]: ")), "{wrong:?}");
        let shown = findings("[{variable: Room, secret: true}]");
        assert!(shown[0].contains("secret-in-plain-field"), "{shown:?}");
    }

    #[test]
    fn section_2_a_destination_must_be_defined_before_it_is_used() {
        let apply = |destination: &str| format!("  - apply_image: {{image: lab{destination}}}\n");
        // Where nothing is formatted the technician selects one.
        assert_eq!(codes(&apply("")), []);
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
    fn section_2_a_capture_has_a_name_that_an_image_can_have_and_something_to_take() {
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
    fn section_2_a_script_says_what_runs_it_and_is_not_too_long() {
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

    #[test]
    fn section_1_groups_are_walked_in_order_and_their_places_named() {
        let steps = "  - name: G\n    group:\n      - {name: '', restart: }\n      - group: []\n    catch: [{execute_script: {script: x}}]\n";
        assert_eq!(
            codes(steps),
            [
                ("empty-name".to_owned(), "steps[0].group[0]".to_owned()),
                ("empty-group".to_owned(), "steps[0].group[1]".to_owned()),
                ("script-without-shebang".to_owned(), "steps[0].catch[0]".to_owned()),
            ]
        );
        let inside = "  - group: [{set_variables: [{name: A, value: b}]}]\n  - set_variables: [{name: B, value: '%A%'}]\n";
        assert_eq!(codes(inside), []);
        let disabled = inside.replace("- group", "- disabled: true\n    group");
        finds(&disabled, "unknown-variable", "steps[1]");
    }

    #[test]
    fn section_4_conditions_name_variables_that_exist_and_patterns_that_are_some() {
        let when = |condition: &str| format!("  - {{if: {condition}, restart: }}\n");
        finds(&when("{all: [{variable: Nobody, equals: x}]}"), "unknown-variable", "steps[0]");
        finds(&when("{all: [{variable: Model, equals: '%Nobody%'}]}"), "unknown-variable", "steps[0]");
        finds(&when("{all: [{any: []}]}"), "empty-condition", "steps[0]");
        finds(&when("{all: [{variable: Model, matches: '['}]}"), "bad-pattern", "steps[0]");
        for fine in [
            "{all: [{variable: Nobody, exists: true}]}",
            "{all: [{variable: Nobody, exists: true}, {variable: nobody, equals: x}]}",
            "{none: [{variable: Model, matches: '^iMac'}, {variable: LastActionSucceeded, equals: 'true'}]}",
        ] {
            assert_eq!(codes(&when(fine)), [], "{fine}");
        }
    }

    #[test]
    fn section_3_a_script_may_set_variables_for_the_steps_after_it() {
        let steps = "  - execute_script: {script: \"#!/bin/sh\\n$PMM_TS_VARIABLE_UTIL --set Room=12\"}\n  - set_variables: [{name: A, value: '%Room%'}]\n";
        assert_eq!(codes(steps), []);
    }

    #[test]
    fn section_2_images_for_one_partition_under_different_conditions_are_no_finding() {
        let apply = |like: &str| {
            format!(
                "  - {{if: {{all: [{{variable: Model, like: '{like}'}}]}}, apply_image: {{image: lab}}}}\n"
            )
        };
        assert_eq!(codes(&format!("{FORMAT}{}{}", apply("iMac*"), apply("MacBook*"))), []);
    }

    #[test]
    fn section_2_a_sequence_that_is_run_is_checked_in_its_place() {
        let call = "  - run_sequence: {sequence: Inner}\n";
        let others = |text: &str| {
            let inner = Sequence::from_yaml(text).unwrap();
            let others = Some(BTreeMap::from([(inner.name.clone(), inner)]));
            Surroundings { others, ..Surroundings::default() }
        };
        let set = others("name: Inner\nsteps: [{set_variables: [{name: A, value: b}]}]\n");
        assert_eq!(codes_in(&format!("{call}  - set_variables: [{{name: B, value: '%A%'}}]\n"), &set), []);
        let after = codes_in(&format!("{call}{FORMAT}"), &set);
        assert_eq!(after, [("format-not-first".to_owned(), "steps[1]".to_owned())]);
        for (inner, code, path) in [
            ("name: Other\nsteps: []\n", "unknown-sequence", "steps[0]"),
            ("name: Inner\ndisabled: true\nsteps: []\n", "disabled-sequence", "steps[0]"),
            (
                "name: Inner\nsteps: [{run_sequence: {sequence: x}}]\n",
                "sequence-circle",
                "steps[0].run_sequence.steps[0]",
            ),
            (
                "name: Inner\nsteps: [{execute_script: {script: x}}]\n",
                "script-without-shebang",
                "steps[0].run_sequence.steps[0]",
            ),
        ] {
            assert_eq!(codes_in(call, &others(inner)), [(code.to_owned(), path.to_owned())], "{inner}");
        }
        assert_eq!(
            codes(&format!("{call}  - set_variables: [{{name: B, value: '%A%'}}]\n")),
            [],
            "not known here"
        );
        finds("  - {retry: {count: 1}, run_sequence: {sequence: y}}\n", "option-without-effect", "steps[0]");
    }

    #[test]
    fn section_3_secrets_in_plain_fields_are_found() {
        finds(
            "  - set_variables: [{name: PmmOSDJoinPassword, value: hunter2}]\n",
            "secret-in-plain-field",
            "steps[0]",
        );
        for fine in [
            "{name: AdminPassword, value: x, secret: true}",
            "{name: AdminPassword, value: ''}",
            "{name: Room, value: x}",
        ] {
            assert_eq!(codes(&format!("  - set_variables: [{fine}]\n")), [], "{fine}");
        }
        let told = "  - set_variables: [{name: Key, value: x, secret: true}, {name: Copy, value: '%Key%'}]\n  - wait_for_technician: {message: 'type %Copy%'}\n";
        finds(told, "secret-in-plain-field", "steps[1]");
        let secrets = BTreeSet::from(["Key".parse().unwrap()]);
        let around = Surroundings { variables: secrets.clone(), secrets, ..Surroundings::default() };
        let label = "  - format_disk: {partitions: [{name: 'HD %key%', format: apfs, size: 100%}]}\n";
        assert_eq!(codes_in(label, &around), [("secret-in-plain-field".to_owned(), "steps[0]".to_owned())]);
    }
}
