//! Every code that a check can give, with a sequence that gets it: a code without one fails the test.

use std::collections::{BTreeMap, BTreeSet};

use super::{Code, KnownImage, LONGEST_SCRIPT, Surroundings, check};
use crate::sequence::model::Sequence;

const FORMAT: &str = "{format_disk: {partitions: [{name: HD, format: apfs, size: 100%}]}}";
const APPLY: &str = "{apply_image: {image: lab}}";

/// Steps, or a whole file where the sequence itself is wrong; where the finding stands.
fn examples() -> Vec<(Code, String, &'static str)> {
    let partition = |partition: &str| format!("{{format_disk: {{partitions: [{{name: A, {partition}}}]}}}}");
    let script =
        |text: &str| format!("{{execute_script: {{script: {}}}}}", serde_json::to_string(text).unwrap());
    let whole = |rest: &str| format!("name: x\n{rest}\nsteps: [{{restart: }}]\n");
    let mut found = vec![
        (Code::BadName, "name: a/b\nsteps: [{restart: }]\n".to_owned(), ""),
        (Code::NoSteps, "name: x\nsteps: [{disabled: true, restart: }]\n".to_owned(), ""),
        (Code::BadValue, whole("download_size: 5%"), ""),
        (Code::BadPrompt, whole("prompts: [{variable: A, type: choice}]"), "prompts[0]"),
        (Code::FormatNotFirst, format!("{{restart: }}, {FORMAT}"), "steps[1]"),
        (
            Code::FormatAfterApply,
            format!("{{apply_image: {{image: lab, destination: {{disk: 1, partition: 2}}}}}}, {FORMAT}"),
            "steps[1]",
        ),
        (Code::DiskFormattedTwice, format!("{FORMAT}, {FORMAT}"), "steps[1]"),
        (Code::PartitionSize, partition("format: apfs, size: 0%"), "steps[0].format_disk.partitions[0]"),
        (
            Code::PartitionName,
            partition("format: fat32, size: 1 GB").replace("name: A", "name: a name too long"),
            "steps[0].format_disk.partitions[0]",
        ),
        (Code::ScriptTooLong, script(&format!("#!/bin/sh\n{}", "é".repeat(LONGEST_SCRIPT / 2))), "steps[0]"),
        (Code::ScriptWithoutShebang, script("echo"), "steps[0]"),
        (Code::SecretInScript, script("#!/bin/sh\nPASSWORD=hunter2"), "steps[0]"),
        (
            Code::NothingToCapture,
            format!("{FORMAT}, {{capture_image: {{image: a, source: {{disk: 0}}}}}}"),
            "steps[1]",
        ),
        (Code::UndefinedDestination, format!("{FORMAT}, {APPLY}, {APPLY}"), "steps[2]"),
        (
            Code::RunnerStepAfterMacos,
            format!("{FORMAT}, {APPLY}, {{set_hostname: {{name: a}}}}, {{verify_image: }}"),
            "steps[3]",
        ),
        (
            Code::VariableUsedBeforeSet,
            "{set_variables: [{name: A, value: '%B%'}]}, {set_variables: [{name: B, value: x}]}".to_owned(),
            "steps[0]",
        ),
        (
            Code::StepNotInNonOs,
            "{verify_image: {image: lab, volume: {disk: 0, partition: 2}}}, {set_hostname: {name: a}}"
                .to_owned(),
            "steps[0]",
        ),
        (
            Code::TooManySteps,
            format!("{{group: [{}]}}", vec!["{run_sequence: {sequence: Hundred}}"; 100].join(", ")),
            "steps[0].group[99].run_sequence.steps[0]",
        ),
        (Code::SequenceCircle, "{run_sequence: {sequence: x}}".to_owned(), "steps[0]"),
    ];
    let one = [
        (Code::EmptyName, "{name: ' ', restart: }"),
        (Code::NoPartition, "{format_disk: {partitions: []}}"),
        (Code::NothingToSet, "{set_variables: []}"),
        (Code::VariableSetTwice, "{set_variables: [{name: A, value: x}, {name: a, value: y}]}"),
        (Code::ReadOnlyVariable, "{set_variables: [{name: model, value: x}]}"),
        (Code::UnknownVariable, "{wait_for_technician: {message: '%Nobody%'}}"),
        (Code::SecretInPlainField, "{set_variables: [{name: JoinPassword, value: hunter2}]}"),
        (Code::UnknownImage, "{apply_image: {image: gone}}"),
        (Code::NoSuccessCode, "{execute_script: {success_codes: [], script: '#!/bin/sh'}}"),
        (Code::EmptyGroup, "{group: []}, {restart: }"),
        (Code::EmptyCondition, "{if: {all: []}, restart: }"),
        (Code::BadPattern, "{if: {all: [{variable: Model, matches: '('}]}, restart: }"),
        (Code::OptionWithoutEffect, "{timeout: 1 min, run_sequence: {sequence: Inner}}"),
        (Code::UnknownSequence, "{run_sequence: {sequence: Gone}}"),
        (Code::DisabledSequence, "{run_sequence: {sequence: Off}}"),
        (Code::NothingApplied, "{set_startup_disk: }"),
        (Code::BadReceiver, "{notify: {message: done}}"),
        (Code::BadProgram, "{install_package: {package: a, program: ':::x'}}"),
        (Code::BadDetection, "{install_application: {package: a, program: x, detect: {}}}"),
        (Code::BadProfile, "{apply_profile: {profile: hello}}"),
        (
            Code::BadShare,
            r"{capture_image: {image: a, destination: {share: 's\a', account: ana, password: ''}}}",
        ),
    ];
    found.extend(one.map(|(code, steps)| (code, steps.to_owned(), "steps[0]")));
    found.push((
        Code::NoSpaceLeft,
        FORMAT.replace("]}", ", {name: B, format: apfs, size: 1 GB}]}"),
        "steps[0].format_disk.partitions[1]",
    ));
    let escape = format!("{FORMAT}, {APPLY}, {{copy_files: {{from: ../keys}}}}");
    found.push((Code::BadPath, escape, "steps[2]"));
    found
}

#[test]
fn section_1_every_code_of_a_check_has_a_sequence_that_gets_it_at_its_step() {
    let sequence = |text: &str| Sequence::from_yaml(text).expect(text);
    let hundred = format!("name: Hundred\nsteps: [{}]\n", vec!["{restart: }"; 100].join(", "));
    let others = [
        "name: Inner\nsteps: [{restart: }]\n",
        "name: Off\ndisabled: true\nsteps: [{restart: }]\n",
        hundred.as_str(),
    ];
    let others = others.map(|text| (sequence(text).name.clone(), sequence(text)));
    let lab = KnownImage { versions: BTreeSet::from([1]), ..KnownImage::default() };
    let around = Surroundings {
        images: Some(BTreeMap::from([("lab".to_owned(), lab)])),
        others: Some(BTreeMap::from(others)),
        ..Surroundings::default()
    };
    let mut provoked = BTreeSet::new();
    for (code, text, path) in examples() {
        let whole = if text.starts_with("name:") { text } else { format!("name: x\nsteps: [{text}]\n") };
        let found: Vec<_> = check(&sequence(&whole), &around)
            .into_iter()
            .map(|finding| (finding.code, finding.path))
            .collect();
        assert_eq!(found, [(code, path.to_owned())], "{}", whole.chars().take(300).collect::<String>());
        provoked.insert(code);
    }
    let never: Vec<String> =
        Code::ALL.iter().filter(|code| !provoked.contains(code)).map(ToString::to_string).collect();
    assert_eq!(never, [""; 0], "codes without an example here");
}

#[test]
fn section_2_a_script_has_at_most_16_384_bytes_whatever_its_characters() {
    let code = |text: &str| {
        let text = serde_json::to_string(text).unwrap();
        let sequence = format!("name: x\nsteps: [{{execute_script: {{script: {text}}}}}]\n");
        let found = check(&Sequence::from_yaml(&sequence).unwrap(), &Surroundings::default());
        found.first().map(|finding| finding.code)
    };
    let head = "#!/bin/sh\n";
    let fits = format!("{head}{}", "é".repeat((16_384 - head.len()) / 2));
    assert_eq!((fits.len(), code(&fits)), (16_384, None));
    assert_eq!(code(&format!("{fits}x")), Some(Code::ScriptTooLong));
}

/// A file that was written on Windows: YAML's own line ends are read as the others, so a script in it has none of them.
#[test]
fn section_2_a_script_from_a_file_of_windows_is_read_with_line_ends_of_unix() {
    let text = "name: x\r\nsteps:\r\n  - execute_script:\r\n      script: |\r\n        #!/bin/sh\r\n        echo a\r\n";
    let sequence = Sequence::from_yaml(text).unwrap();
    assert_eq!(check(&sequence, &Surroundings::default()), []);
    assert!(sequence.to_yaml().unwrap().contains("echo a\n"), "{:?}", sequence.to_yaml());
    let escaped = r#"{"name": "x", "steps": [{"execute_script": {"script": "\#!/bin/sh\r\necho a\r\n"}}]}"#;
    let found = check(&Sequence::from_yaml(&escaped.replace("\\#", "#")).unwrap(), &Surroundings::default());
    assert!(
        found.len() == 1 && found[0].code == Code::ScriptWithoutShebang && found[0].message.contains("Unix"),
        "{found:?}"
    );
}

#[test]
fn section_3_a_sequence_that_another_runs_brings_its_prompts_along() {
    let inner = "name: Inner\nprompts: [{variable: Room}]\nsteps: [{wait_for_technician: {message: 'Go to %Room%'}}]\n";
    let inner = Sequence::from_yaml(inner).unwrap();
    let around = Surroundings {
        others: Some(BTreeMap::from([(inner.name.clone(), inner)])),
        ..Surroundings::default()
    };
    let outer = Sequence::from_yaml("name: x\nsteps: [{run_sequence: {sequence: Inner}}]\n").unwrap();
    assert_eq!(check(&outer, &around), []);
}

#[test]
fn section_3_a_prompt_for_a_secret_is_a_secret_one() {
    let found = |rest: &str| {
        let text = format!("name: x\nprompts: [{{variable: JoinPassword{rest}}}]\nsteps: [{{restart: }}]\n");
        check(&Sequence::from_yaml(&text).unwrap(), &Surroundings::default())
    };
    assert_eq!(found(", secret: true"), []);
    assert_eq!(found("")[0].code, Code::SecretInPlainField);
}
