//! Which variables a step reads and which ones it sets, as far as its properties tell.
//!
//! What a script does with variables is told by its text: `$Name` and `--get Name` read, `--set Name=` sets. A script that
//! builds names at run time says nothing here.

use super::model::{Destination, Kind};
use super::name::VariableName;
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
        Kind::CaptureImage(capture) => {
            let note = capture.note.iter().map(|note| ("the note".to_owned(), note));
            std::iter::once(("the image's name".to_owned(), &capture.image)).chain(note).collect()
        }
        Kind::SetVariables(set) => {
            set.iter().map(|one| (format!("the value of {}", one.name), &one.value)).collect()
        }
        Kind::WaitForTechnician(wait) => vec![("the message".to_owned(), &wait.message)],
        Kind::ExecuteScript(_) | Kind::Restart | Kind::RunSequence(_) => Vec::new(),
    }
}

/// Whether the step needs a value of `name`.
pub fn reads(kind: &Kind, name: &VariableName) -> bool {
    let in_texts = texts(kind).iter().any(|(_, text)| text.variables().any(|used| used == name));
    in_texts
        || match kind {
            Kind::ApplyImage(apply) => apply.destination == Destination::Variable(name.clone()),
            Kind::ExecuteScript(script) => script_reads(&script.script, name),
            _ => false,
        }
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

/// Whether a script's text uses the variable: `$Name`, `${Name…`, or its name on a line with `--get`. Case counts: it does
/// for a shell.
fn script_reads(script: &str, name: &VariableName) -> bool {
    let name = name.as_str();
    script.match_indices(name).any(|(at, _)| {
        let (before, after) = (&script[..at], &script[at + name.len()..]);
        let ends = !after.starts_with(is_part_of_name);
        let dollar = before.ends_with('$') || before.ends_with("${");
        let line = before.rsplit('\n').next().unwrap_or_default();
        ends && (dollar || (line.contains("--get") && !before.ends_with(is_part_of_name)))
    })
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
    fn a_script_reads_what_it_names_with_a_dollar_sign_or_gets() {
        let script =
            "#!/bin/sh\necho \"$Room-${Host}\"\neval `\"$PMM_TS_VARIABLE_UTIL\" --get Desk Chair`\n# Floor\n";
        for (variable, read) in [
            ("Room", true),
            ("Host", true),
            ("Desk", true),
            ("Chair", true),
            ("Floor", false),
            ("Roo", false),
            ("hair", false),
        ] {
            assert_eq!(script_reads(script, &name(variable)), read, "{variable}");
        }
    }

    #[test]
    fn a_script_sets_what_stands_behind_set() {
        let script =
            "#!/bin/sh\n\"$U\" --set Room=\"a b\" \\\n  Host='x' \"Quoted=$y\"\n\"$U\" --get a\nOther=3\n";
        assert_eq!(script_sets(script), [name("Room"), name("Host"), name("Quoted")]);
    }
}
