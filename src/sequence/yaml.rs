//! A sequence as a YAML file, in and out without loss.
//!
//! A step is a mapping of its properties and one key that is the step type:
//!
//! | key | step type |
//! |---|---|
//! | `format_disk` | Format and Partition Disk |
//! | `apply_image` | Apply Image |
//! | `capture_image` | Capture Image |
//! | `set_variables` | Set Variables |
//! | `execute_script` | Execute Script |
//! | `restart` | Restart |
//!
//! A key that is unknown is an error that names it: a misspelt property must not be dropped silently.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::model::{Kind, Node, Retry, Sequence, Step};
use super::quantity::Duration;

/// Bytes of the longest file: scripts of 16 KiB in a hundred steps fit well.
pub const LONGEST_FILE: usize = 2 << 20;

/// The text is no sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadYaml {
    /// Wrong at a place.
    #[error("line {line}, column {column}: {message}")]
    At {
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// Wrong as a whole.
    #[error("{0}")]
    Whole(String),
    /// Too long.
    #[error("a file of {0} bytes: a sequence has at most {LONGEST_FILE}")]
    TooLong(usize),
}

impl Sequence {
    /// Reads a file.
    ///
    /// # Errors
    /// Where the text is wrong, with line and column, and how.
    pub fn from_yaml(text: &str) -> Result<Sequence, BadYaml> {
        if text.len() > LONGEST_FILE {
            return Err(BadYaml::TooLong(text.len()));
        }
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! { max_documents: 1, max_aliases: 1000, max_depth: 64 },
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let message = serde_saphyr::MessageFormatter::format_message(
                &serde_saphyr::UserMessageFormatter,
                error.without_snippet(),
            )
            .into_owned();
            match error.location() {
                Some(at) => BadYaml::At { line: at.line(), column: at.column(), message },
                None => BadYaml::Whole(message),
            }
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Never for a sequence that was read from a file; the writer's own limits otherwise.
    pub fn to_yaml(&self) -> Result<String, BadYaml> {
        serde_saphyr::to_string(self).map_err(|error| BadYaml::Whole(error.to_string()))
    }
}

/// Keys of a step that every type has.
const PROPERTIES: [&str; 6] = ["name", "description", "disabled", "continue_on_error", "timeout", "retry"];

/// Keys of a step that are its type.
const TYPES: [&str; 6] =
    ["format_disk", "apply_image", "capture_image", "set_variables", "execute_script", "restart"];

/// The value of `restart`: nothing, or a mapping without keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Node::Step(step) = self;
        step.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        Step::deserialize(deserializer).map(Node::Step)
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        if !self.description.is_empty() {
            map.serialize_entry("description", &self.description)?;
        }
        for (key, set) in [("disabled", self.disabled), ("continue_on_error", self.continue_on_error)] {
            if set {
                map.serialize_entry(key, &true)?;
            }
        }
        if let Some(timeout) = &self.timeout {
            map.serialize_entry("timeout", timeout)?;
        }
        if let Some(retry) = &self.retry {
            map.serialize_entry("retry", retry)?;
        }
        match &self.kind {
            Kind::FormatDisk(format) => map.serialize_entry("format_disk", format)?,
            Kind::ApplyImage(apply) => map.serialize_entry("apply_image", apply)?,
            Kind::CaptureImage(capture) => map.serialize_entry("capture_image", capture)?,
            Kind::SetVariables(variables) => map.serialize_entry("set_variables", variables)?,
            Kind::ExecuteScript(script) => map.serialize_entry("execute_script", script)?,
            Kind::Restart => map.serialize_entry("restart", &Nothing {})?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Step, D::Error> {
        deserializer.deserialize_map(StepVisitor)
    }
}

struct StepVisitor;

/// A step while its keys are read.
#[derive(Default)]
struct Reading {
    name: Option<String>,
    description: Option<String>,
    disabled: Option<bool>,
    continue_on_error: Option<bool>,
    timeout: Option<Duration>,
    retry: Option<Retry>,
    kind: Option<(String, Kind)>,
}

impl<'de> Visitor<'de> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a step: a mapping with one of the step types {}", TYPES.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Step, A::Error> {
        let mut reading = Reading::default();
        while let Some(key) = map.next_key::<Key>()? {
            reading.take(&key.0, &mut map)?;
        }
        let Some((_, kind)) = reading.kind else {
            return Err(A::Error::custom(format!("a step without a type: one of {}", TYPES.join(", "))));
        };
        Ok(Step {
            name: reading.name.unwrap_or_else(|| kind.title().to_owned()),
            description: reading.description.unwrap_or_default(),
            disabled: reading.disabled.unwrap_or_default(),
            continue_on_error: reading.continue_on_error.unwrap_or_default(),
            timeout: reading.timeout,
            retry: reading.retry,
            kind,
        })
    }
}

/// A key that a step may have; refused while the reader still stands on it, so that the error has its place.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let key = String::deserialize(deserializer)?;
        if PROPERTIES.contains(&key.as_str()) || TYPES.contains(&key.as_str()) {
            return Ok(Key(key));
        }
        Err(D::Error::custom(format!(
            "`{}` is neither a step type ({}) nor a property of a step ({})",
            key.chars().take(40).collect::<String>(),
            TYPES.join(", "),
            PROPERTIES.join(", ")
        )))
    }
}

impl Reading {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
            slot: &mut Option<T>,
            key: &str,
            map: &mut A,
        ) -> Result<(), A::Error> {
            if slot.is_some() {
                return Err(A::Error::custom(format!("`{key}` stands twice in one step")));
            }
            *slot = map.next_value()?;
            Ok(())
        }
        match key {
            "name" => return once(&mut self.name, key, map),
            "description" => return once(&mut self.description, key, map),
            "disabled" => return once(&mut self.disabled, key, map),
            "continue_on_error" => return once(&mut self.continue_on_error, key, map),
            "timeout" => return once(&mut self.timeout, key, map),
            "retry" => return once(&mut self.retry, key, map),
            _ => {}
        }
        if let Some((first, _)) = &self.kind {
            return Err(A::Error::custom(format!(
                "a step does one thing: this one has `{first}` and `{key}`"
            )));
        }
        let kind = match key {
            "format_disk" => Kind::FormatDisk(map.next_value()?),
            "apply_image" => Kind::ApplyImage(map.next_value()?),
            "capture_image" => Kind::CaptureImage(map.next_value()?),
            "set_variables" => Kind::SetVariables(map.next_value()?),
            "execute_script" => Kind::ExecuteScript(map.next_value()?),
            "restart" => map.next_value::<Option<Nothing>>().map(|_| Kind::Restart)?,
            other => {
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::unknown_field(other, &TYPES));
            }
        };
        self.kind = Some((key.to_owned(), kind));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequence::model::{
        ApplyImage, Destination, ExecuteScript, FormatDisk, Partition, Phase, SetVariable, VolumeFormat,
    };
    use crate::sequence::quantity::PartitionSize;
    use crate::value::{FreeSpace, Pick, Ring};

    const EVERYTHING: &str = r#"
name: Lab Macs
description: Puts the lab image on the first disk.
category: Labs
maximum_run_time: 2 h
steps:
  - name: Wipe
    format_disk:
      disk: 0
      partitions:
        - name: Macintosh HD
          format: hfs+ journaled
          size: 60%
          variable: SystemDisk
        - {name: Data, format: exfat, size: 20 GB}
  - name: Put the image on it
    timeout: 90 min
    retry: {count: 2, delay: 30 s}
    apply_image:
      image: lab-%Model%
      version: 3
      destination: {variable: SystemDisk}
      free: leave
  - name: Keep it
    capture_image:
      image: lab-%Model%
      note: after the summer
      source: {disk: 1, partition: 2}
  - capture_image: {image: whole, source: {disk: 0}}
  - capture_image: {image: mac}
  - set_variables:
      - {name: OSDComputerName, value: "mac-%SerialNumber%"}
      - {name: Token, value: x, secret: true}
  - name: Notes
    continue_on_error: true
    disabled: true
    execute_script:
      success_codes: [0, 3]
      script: |
        #!/bin/sh
        date +%Y
  - restart:
"#;

    fn refused(text: &str) -> String {
        Sequence::from_yaml(text).expect_err(text).to_string()
    }

    #[test]
    fn a_file_with_every_step_type_is_read_and_written_without_loss() {
        let sequence = Sequence::from_yaml(EVERYTHING).unwrap();
        let names: Vec<_> = sequence.walk().map(|(_, step)| step.name.as_str()).collect();
        assert_eq!(names[..3], ["Wipe", "Put the image on it", "Keep it"]);
        assert_eq!(names[3..], ["Capture Image", "Capture Image", "Set Variables", "Notes", "Restart"]);
        let text = sequence.to_yaml().unwrap();
        assert_eq!(Sequence::from_yaml(&text).unwrap(), sequence, "{text}");
    }

    #[test]
    fn a_sequence_survives_json_too() {
        let sequence = Sequence::from_yaml(EVERYTHING).unwrap();
        let json = serde_json::to_string(&sequence).unwrap();
        assert_eq!(serde_json::from_str::<Sequence>(&json).unwrap(), sequence);
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name_with_its_line_and_column() {
        let error = refused("name: x\nsteps:\n  - name: a\n    apply_imgae: {image: y}\n");
        assert!(error.starts_with("line 4, column 5: ") && error.contains("`apply_imgae`"), "{error}");
        let error = refused("name: x\nsteps:\n  - apply_image:\n      imgae: y\n");
        assert!(error.starts_with("line 4, column 7: ") && error.contains("imgae"), "{error}");
        let error = refused("name: x\nstepps: []\n");
        assert!(error.starts_with("line 2, column 1: ") && error.contains("stepps"), "{error}");
    }

    #[test]
    fn values_that_mean_nothing_are_refused_where_they_stand() {
        for (text, place, what) in [
            ("name: x\nsteps:\n  - timeout: 90\n    restart:\n", "line 3, column 14", "`90` is no duration"),
            ("name: x\nsteps:\n  - apply_image: {image: 50%}\n", "line 3, column 26", "single `%`"),
            (
                "name: x\nsteps:\n  - set_variables: [{name: 1a, value: b}]\n",
                "line 3, column 28",
                "`1a` is no variable name",
            ),
            ("name: x\nsteps:\n  - restart: {now: true}\n", "line 3", "now"),
            ("name: x\nsteps:\n  - capture_image: {image: a, source: tape}\n", "line 3", "`macos`"),
            ("name: x\nsteps:\n  - capture_image: {image: a, source: {partition: 2}}\n", "line 3", "`disk`"),
            ("name: x\nsteps:\n  - execute_script: {phase: dos, script: x}\n", "line 3", "dos"),
            ("name: x\nsteps:\n  - apply_image: {image: a, ring: prod}\n", "line 3", "prod"),
            ("name: x\nsteps:\n  - apply_image: {image: a, free: trim}\n", "line 3", "trim"),
            ("name: x\nsteps:\n  - apply_image: {image: a, version: 1, ring: test}\n", "line 3", "not both"),
            (
                "name: x\nsteps:\n  - apply_image: {image: a, destination: {disk: 0}}\n",
                "line 3",
                "`disk` and `partition`",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(place) && error.contains(what), "{text}{error}");
        }
    }

    #[test]
    fn a_step_has_exactly_one_type() {
        assert!(refused("name: x\nsteps:\n  - name: a\n").contains("without a type"));
        let both = refused("name: x\nsteps:\n  - restart:\n    set_variables: []\n");
        assert!(both.contains("`restart` and `set_variables`"), "{both}");
    }

    #[test]
    fn broken_doubled_and_endless_texts_are_refused() {
        for text in [
            "",
            "[",
            "name: x\nname: y\nsteps: []\n",
            "name: x\nsteps: []\n---\nname: y\nsteps: []\n",
            "\u{0}",
        ] {
            refused(text);
        }
        assert!(refused(&"x".repeat(LONGEST_FILE + 1)).contains("at most"));
        assert!(refused(&format!("name: {}", "[".repeat(100_000))).contains("line 1"));
    }

    fn step() -> impl Strategy<Value = Step> {
        let text = "[ -~äß\n\t]{0,30}";
        let kind = prop_oneof![
            (text, any::<i32>(), any::<bool>()).prop_map(|(script, code, plain)| {
                let success_codes = if plain { vec![0] } else { vec![code, 0] };
                Kind::ExecuteScript(ExecuteScript { phase: Phase::Runner, success_codes, script })
            }),
            (text, any::<bool>()).prop_map(|(value, secret)| {
                let value = value.replace('%', "%%").parse().unwrap();
                Kind::SetVariables(vec![SetVariable { name: "Some_Name".parse().unwrap(), value, secret }])
            }),
            (any::<(Option<u32>, bool)>(), any::<Option<(u32, u32)>>()).prop_map(
                |((number, ring), place)| {
                    let destination = place.map_or(Destination::NextFormatted, |(disk, partition)| {
                        Destination::Partition { disk, partition }
                    });
                    let image = "lab %Model%".parse().unwrap();
                    let pick =
                        if ring { Pick::Ring(Ring::Test) } else { number.map_or(Pick::Usual, Pick::Version) };
                    let free = if ring { FreeSpace::Zero } else { FreeSpace::Discard };
                    Kind::ApplyImage(ApplyImage { image, pick, source_partition: number, destination, free })
                }
            ),
            (any::<u32>(), any::<u64>()).prop_map(|(disk, bytes)| {
                let partition = Partition {
                    name: "Macintosh HD".parse().unwrap(),
                    format: VolumeFormat::HfsCaseSensitive,
                    size: PartitionSize::Bytes(bytes),
                    variable: Some("A".parse().unwrap()),
                };
                Kind::FormatDisk(FormatDisk { disk, partitions: vec![partition] })
            }),
            Just(Kind::Restart),
        ];
        (text, text, any::<(bool, bool)>(), any::<Option<u32>>(), kind).prop_map(
            |(name, description, (disabled, continue_on_error), count, kind)| Step {
                name,
                description,
                disabled,
                continue_on_error,
                timeout: count.map(|_| "7 min".parse().unwrap()),
                retry: count.map(|count| Retry { count, delay: None }),
                kind,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back_as_the_same(name in "[ -~]{0,20}", steps in prop::collection::vec(step(), 0..4)) {
            let sequence = Sequence {
                name,
                description: String::new(),
                category: String::new(),
                disabled: false,
                maximum_run_time: None,
                steps: steps.into_iter().map(Node::Step).collect(),
            };
            let text = sequence.to_yaml().unwrap();
            prop_assert_eq!(Sequence::from_yaml(&text), Ok(sequence), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "[-{}\\[\\]:&*!|>%@`\"' \nname steps restart]{0,80}") {
            let _ = Sequence::from_yaml(&text);
        }
    }
}
