//! Which variables a step reads and which ones it sets, as far as its properties tell.
//!
//! What a script does with variables is told by its text: `$Name` and `--get Name` read, `--set Name=` sets. A script that
//! builds names at run time says nothing here.

use super::capture::{self, CaptureDestination, CaptureImage};
use super::macos::JoinDomain;
use super::model::{Destination, Kind};
use super::name::VariableName;
use super::notify::Notify;
use super::template::Template;

/// Every text of a step that may use variables, with what it is called.
pub fn texts(kind: &Kind) -> Vec<(String, &Template)> {
    match kind {
        Kind::FormatDisk(format) => format
            .partitions
            .iter()
            .map(|partition| ("the partition's name".to_owned(), &partition.name))
            .collect(),
        Kind::ApplyImage(apply) => vec![("the image's name".to_owned(), &apply.image)],
        Kind::CaptureImage(capture) => of_capture(capture),
        Kind::SetVariables(set) => {
            set.iter().map(|one| (format!("the value of {}", one.name), &one.value)).collect()
        }
        Kind::WaitForTechnician(wait) => vec![("the message".to_owned(), &wait.message)],
        Kind::VerifyImage(verify) => {
            verify.image.iter().map(|image| ("the image's name".to_owned(), image)).collect()
        }
        Kind::CopyFiles(copy) => {
            vec![("what is copied".to_owned(), &copy.from), ("the folder".to_owned(), &copy.to)]
        }
        Kind::Notify(notify) => of_notify(notify),
        Kind::JoinDomain(join) => of_join(join),
        Kind::SetHostname(set) => vec![("the name".to_owned(), &set.name)],
        Kind::InstallPackage(install) => vec![("the package".to_owned(), &install.package)],
        Kind::InstallApplication(install) => vec![("the package".to_owned(), &install.package)],
        Kind::Enroll(enroll) => {
            let named = |name: &str, text| (name.to_owned(), text);
            let profile = enroll.enrollment_profile.iter().map(|text| named("the enrollment profile", text));
            let package = enroll.package.iter().map(|text| named("the package", text));
            std::iter::once(named("the server", &enroll.server)).chain(profile).chain(package).collect()
        }
        Kind::ExecuteScript(_)
        | Kind::Restart
        | Kind::RunSequence(_)
        | Kind::SetStartupDisk(_)
        | Kind::ApplyProfile(_) => Vec::new(),
    }
}

fn of_capture(capture: &CaptureImage) -> Vec<(String, &Template)> {
    let named = |name: &str, text| (name.to_owned(), text);
    let note = capture.note.iter().map(|note| named("the note", note));
    let mut texts: Vec<_> = std::iter::once(named("the image's name", &capture.image)).chain(note).collect();
    if let CaptureDestination::Share(share) = &capture.destination {
        texts.push(named("the share", &share.share));
        texts.extend(share.folder.iter().map(|folder| named("the folder", folder)));
        texts.push(named("the account", &share.account));
        texts.push(named(PASSWORD, &share.password));
    }
    texts
}

fn of_notify(notify: &Notify) -> Vec<(String, &Template)> {
    let named = |name: &str, text| (name.to_owned(), text);
    let webhook = notify.webhook.iter().map(|text| named("the webhook", text));
    let secret = notify.secret.iter().map(|text| named(SECRET_OF_WEBHOOK, text));
    let mail = notify.mail.iter().map(|text| named("the receiver", text));
    let subject = notify.subject.iter().map(|text| named("the subject", text));
    let message = std::iter::once(named("the message", &notify.message));
    webhook.chain(secret).chain(mail).chain(subject).chain(message).collect()
}

fn of_join(join: &JoinDomain) -> Vec<(String, &Template)> {
    let named = |name: &str, text| (name.to_owned(), text);
    let ou = join.ou.iter().map(|text| named("the organisational unit", text));
    let groups = join.admin_groups.iter().map(|text| named("the group", text));
    let first = [
        named("the domain", &join.domain),
        named("the account", &join.account),
        named(PASSWORD, &join.password),
    ];
    first.into_iter().chain(ou).chain(groups).collect()
}

/// Texts of a step that are secret by what they are for.
pub fn is_secret_field(field: &str) -> bool {
    field == SECRET_OF_WEBHOOK || field == PASSWORD
}

const SECRET_OF_WEBHOOK: &str = "the webhook's secret";
const PASSWORD: &str = "the password";

/// Whether the step needs a value of `name`.
pub fn reads(kind: &Kind, name: &VariableName) -> bool {
    let in_texts = texts(kind).iter().any(|(_, text)| text.variables().any(|used| used == name));
    in_texts
        || match kind {
            Kind::CaptureImage(capture) => is_folder_of(&capture.destination, name),
            Kind::ApplyImage(apply) => apply.destination == Destination::Variable(name.clone()),
            Kind::VerifyImage(verify) => is_in(&verify.volume, name),
            Kind::CopyFiles(copy) => is_in(&copy.volume, name),
            Kind::SetStartupDisk(set) => is_in(&set.volume, name),
            Kind::ExecuteScript(script) => script_reads(&script.script, name),
            _ => false,
        }
}

/// The folder that a share leaves out is in the guide's variable.
fn is_folder_of(destination: &CaptureDestination, name: &VariableName) -> bool {
    matches!(destination, CaptureDestination::Share(share) if share.folder.is_none())
        && name.as_str().eq_ignore_ascii_case(capture::FOLDER)
}

fn is_in(volume: &Option<Destination>, name: &VariableName) -> bool {
    matches!(volume, Some(Destination::Variable(held)) if held == name)
}

/// Variables that the step gives values to when it ends well; not those that it sets to nothing.
pub fn sets(kind: &Kind) -> Vec<VariableName> {
    match kind {
        Kind::FormatDisk(format) => {
            format.partitions.iter().filter_map(|partition| partition.variable.clone()).collect()
        }
        Kind::SetVariables(set) => {
            set.iter().filter(|one| !one.value.as_str().is_empty()).map(|one| one.name.clone()).collect()
        }
        Kind::ExecuteScript(script) => script_sets(&script.script),
        _ => Vec::new(),
    }
}

/// Whether a script's text uses the variable: `$Name`, `${Name…`, or its name behind `--get`, on its line or on lines that go on
/// with a backslash. Case counts for a shell, not for the tool.
fn script_reads(script: &str, name: &VariableName) -> bool {
    let name = name.as_str();
    let dollar = script.match_indices(name).any(|(at, _)| {
        let (before, after) = (&script[..at], &script[at + name.len()..]);
        !after.starts_with(is_part_of_name) && (before.ends_with('$') || before.ends_with("${"))
    });
    let got = || {
        let joined = script.replace("\\\n", " ");
        joined.lines().filter_map(|line| line.split_once("--get")).any(|(_, words)| {
            words.split(|c| !is_part_of_name(c)).any(|word| word.eq_ignore_ascii_case(name))
        })
    };
    dollar || got()
}

/// Names that stand as `Name=` behind `--set`, on its line or on lines that go on with a backslash.
fn script_sets(script: &str) -> Vec<VariableName> {
    let joined = script.replace("\\\n", " ");
    let mut names = Vec::new();
    for line in joined.lines() {
        let Some((_, words)) = line.split_once("--set") else { continue };
        for (at, _) in words.match_indices('=') {
            let before = &words[..at];
            let start = before.rfind(|c| !is_part_of_name(c)).map_or(0, |at| at + 1);
            let begins_a_word = before[..start].ends_with([' ', '\t', '"', '\'']);
            if let Ok(name) = before[start..].parse::<VariableName>()
                && begins_a_word
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
    }
    names
}

fn is_part_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VariableName {
        text.parse().unwrap()
    }

    #[test]
    fn section_3_a_script_reads_what_it_names_with_a_dollar_sign_or_gets_whatever_its_case() {
        let script = "#!/bin/sh\necho \"$Room-${Host}\"\neval `\"$PMM_TS_VARIABLE_UTIL\" --get Desk chair \\\n  Lamp`\n# Floor\nx=$room2\n";
        for (variable, read) in [
            ("Room", true),
            ("Host", true),
            ("Desk", true),
            ("Chair", true),
            ("LAMP", true),
            ("ROOM2", false),
            ("Floor", false),
            ("Roo", false),
            ("hair", false),
        ] {
            assert_eq!(script_reads(script, &name(variable)), read, "{variable}");
        }
    }

    #[test]
    fn section_3_a_script_sets_what_stands_behind_set() {
        let script =
            "#!/bin/sh\n\"$U\" --set Room=\"a b\" \\\n  Host='x' \"Quoted=$y\"\n\"$U\" --get a\nOther=3\n";
        assert_eq!(script_sets(script), [name("Room"), name("Host"), name("Quoted")]);
    }
}
