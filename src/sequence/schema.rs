//! The file of a sequence as a JSON Schema (draft 2020-12), for editors and for programs that write sequences.
//!
//! It says what the file may look like; what is sensible is [`super::check`]'s. Kept beside [`super::yaml`] by a test.

use serde_json::{Map, Value, json};

use super::condition::Operator;
use super::name::READ_ONLY;

/// Where the schema says it lives.
const ID: &str = "urn:rootstock:sequence:1";

/// The schema.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Rootstock task sequence",
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "steps"],
        "properties": {
            "name": {"$ref": "#/$defs/name"},
            "description": {"type": "string"},
            "category": {"type": "string", "description": "What it belongs to, shown in lists."},
            "download_size": {"$ref": "#/$defs/size", "description": "How much a run fetches; only shown."},
            "disabled": {"type": "boolean", "description": "A disabled sequence starts nowhere."},
            "maximum_run_time": {"$ref": "#/$defs/duration"},
            "prompts": {"type": "array", "items": prompt()},
            "steps": {"$ref": "#/$defs/entries"},
        },
        "$defs": definitions(),
    })
}

fn definitions() -> Value {
    json!({
        "name": {"type": "string", "maxLength": 100},
        "text": {"type": "string", "maxLength": 65_536, "description": "%Name% is replaced by a variable's value, %% is a percent sign."},
        "value": {"type": ["string", "number", "boolean"], "description": "As text."},
        "variable": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$",
            "description": format!("Compared without regard to case. Cannot be set: {}.", READ_ONLY.join(", ")),
        },
        "duration": {
            "type": "string",
            "pattern": "^\\s*[0-9]+\\s*([sS]|[sS]ec|[sS]econds?|[mM]|[mM]in|[mM]inutes?|[hH]|[hH]ours?|[dD]|[dD]ays?)\\s*$",
            "examples": ["90 s", "30 min", "2 h"],
        },
        "size": {
            "type": "string",
            "pattern": "^\\s*[0-9]+\\s*(%|[kKmMgGtT]?[iI]?[bB])\\s*$",
            "examples": ["100%", "200 GB", "64 GiB"],
        },
        "entries": {"type": "array", "items": {"$ref": "#/$defs/entry"}},
        "entry": {"oneOf": [{"$ref": "#/$defs/group"}, {"$ref": "#/$defs/step"}]},
        "group": group(),
        "step": step(),
        "if": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
            "properties": {
                "all": {"$ref": "#/$defs/clauses"},
                "any": {"$ref": "#/$defs/clauses"},
                "none": {"$ref": "#/$defs/clauses"},
            },
        },
        "clauses": {"type": "array", "items": {"oneOf": [{"$ref": "#/$defs/if"}, {"$ref": "#/$defs/test"}]}},
        "test": test(),
    })
}

fn common() -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert("name".into(), json!({"$ref": "#/$defs/name"}));
    properties.insert("description".into(), json!({"type": "string"}));
    properties.insert("disabled".into(), json!({"type": "boolean"}));
    properties.insert("continue_on_error".into(), json!({"type": "boolean"}));
    properties.insert("if".into(), json!({"$ref": "#/$defs/if"}));
    properties
}

fn group() -> Value {
    let mut properties = common();
    for (key, about) in [
        ("group", "Its steps."),
        ("catch", "What is done when one of them fails; when it ends well, the failure is mended."),
        ("finally", "What is done last, failure or not."),
    ] {
        properties.insert(key.into(), json!({"$ref": "#/$defs/entries", "description": about}));
    }
    json!({"type": "object", "additionalProperties": false, "required": ["group"], "properties": properties})
}

fn step() -> Value {
    let mut properties = common();
    properties.insert("timeout".into(), json!({"$ref": "#/$defs/duration"}));
    properties.insert(
        "retry".into(),
        object(
            json!({"count": {"type": "integer", "minimum": 0}, "delay": {"$ref": "#/$defs/duration"}}),
            &["count"],
        ),
    );
    let types = types();
    let one: Vec<Value> = types.keys().map(|key| json!({"required": [key]})).collect();
    properties.extend(types);
    json!({"type": "object", "additionalProperties": false, "properties": properties, "oneOf": one})
}

fn prompt() -> Value {
    object(
        json!({
            "variable": {"$ref": "#/$defs/variable"},
            "label": {"type": "string", "description": "What people are shown in the place of its name."},
            "help": {"type": "string", "description": "A line that helps to answer."},
            "type": {"enum": ["text", "choice", "yes-no"]},
            "secret": {"type": "boolean"},
            "choices": {"type": "array", "items": {"type": "string"}},
            "default": {"$ref": "#/$defs/text"},
            "pattern": {"type": "string", "description": "A regular expression that the whole answer has to match."},
            "optional": {"type": "boolean", "description": "An empty answer is taken."},
        }),
        &["variable"],
    )
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

/// Every step type by its key.
fn types() -> Map<String, Value> {
    let count = || json!({"type": "integer", "minimum": 0});
    let reference = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let format =
        json!({"enum": ["apfs", "hfs+", "hfs+ journaled", "hfs+ case-sensitive", "exfat", "fat32", "raw"]});
    let partition = object(
        json!({"name": reference("text"), "format": format, "size": reference("size"), "variable": reference("variable")}),
        &["name", "format", "size"],
    );
    let place = object(json!({"disk": count(), "partition": count()}), &["disk", "partition"]);
    let source = object(json!({"disk": count(), "partition": count()}), &["disk"]);
    let share = object(
        json!({"share": reference("text"), "folder": reference("text"), "account": reference("text"), "password": reference("text")}),
        &[],
    );
    let in_variable = object(json!({"variable": reference("variable")}), &["variable"]);
    let set = object(
        json!({"name": reference("variable"), "value": reference("value"), "secret": {"type": "boolean"}}),
        &["name", "value"],
    );
    let types = [
        (
            "format_disk",
            object(
                json!({"disk": count(), "partitions": {"type": "array", "items": partition}}),
                &["partitions"],
            ),
        ),
        (
            "apply_image",
            object(
                json!({
                    "image": reference("text"),
                    "version": count(),
                    "ring": {"enum": ["draft", "test", "production"]},
                    "free": {"enum": ["discard", "leave", "zero"]},
                    "source_partition": count(),
                    "destination": {"oneOf": [place, in_variable]},
                }),
                &["image"],
            ),
        ),
        (
            "capture_image",
            object(
                json!({
                    "image": reference("text"),
                    "note": reference("text"),
                    "source": {"oneOf": [{"const": "macos"}, source]},
                    "destination": {"oneOf": [{"enum": ["appliance", "share"]}, share]},
                }),
                &["image"],
            ),
        ),
        ("set_variables", json!({"type": "array", "items": set})),
        (
            "execute_script",
            object(
                json!({
                    "phase": {"enum": ["runner", "macos"]},
                    "success_codes": {"type": "array", "items": {"type": "integer"}},
                    "script": {"type": "string", "description": "Its first line says what runs it: #!/bin/sh. At most 16,384 bytes."},
                }),
                &["script"],
            ),
        ),
        ("restart", json!({"oneOf": [{"type": "null"}, object(json!({}), &[])]})),
        (
            "wait_for_technician",
            object(json!({"message": reference("text"), "button": {"type": "string"}}), &["message"]),
        ),
        ("run_sequence", object(json!({"sequence": {"type": "string"}}), &["sequence"])),
    ];
    let types = types.into_iter().chain(of_volumes()).chain(of_macos());
    types.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// `properties` without one that must be there: nothing may stand in their place.
fn all_optional(properties: Value) -> Value {
    json!({"oneOf": [{"type": "null"}, object(properties, &[])]})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// Steps that come back to a volume, and Notify.
fn of_volumes() -> Vec<(&'static str, Value)> {
    let count = || json!({"type": "integer", "minimum": 0});
    let volume = || {
        let place = object(json!({"disk": count(), "partition": count()}), &["disk", "partition"]);
        json!({"oneOf": [place, object(json!({"variable": reference("variable")}), &["variable"])]})
    };
    vec![
        (
            "verify_image",
            all_optional(json!({
                "image": reference("text"),
                "version": count(),
                "ring": {"enum": ["draft", "test", "production"]},
                "source_partition": count(),
                "volume": volume(),
            })),
        ),
        (
            "copy_files",
            object(
                json!({"from": reference("text"), "to": reference("text"), "volume": volume()}),
                &["from"],
            ),
        ),
        ("set_startup_disk", all_optional(json!({"volume": volume(), "required": {"type": "boolean"}}))),
        (
            "notify",
            object(
                json!({
                    "webhook": reference("text"),
                    "secret": reference("text"),
                    "mail": {"type": "array", "items": reference("text")},
                    "subject": reference("text"),
                    "message": reference("text"),
                }),
                &["message"],
            ),
        ),
    ]
}

/// Steps that only macOS can do.
fn of_macos() -> Vec<(&'static str, Value)> {
    let text = || json!({"type": "string"});
    let install = || {
        json!({
            "package": reference("text"),
            "program": {"type": "string", "description": "A shell command, `:SRC:DST:` to copy, or `:PKG::` for installer."},
            "disk_space": reference("size"),
            "after": {"enum": ["nothing", "restart", "log_off"]},
        })
    };
    let tests = ["exists", "equals", "not_equals", "greater", "greater_or_equal", "less", "less_or_equal"];
    let detect = object(
        json!({"bundle": text(), "receipt": text(), "version_is": {"enum": tests}, "version": text()}),
        &[],
    );
    let mut application = install();
    application["detect"] = detect;
    vec![
        (
            "join_domain",
            all_optional(json!({
                "domain": reference("text"),
                "ou": reference("text"),
                "account": reference("text"),
                "password": reference("text"),
                "admin_groups": {"type": "array", "items": reference("text")},
                "mobile_accounts": {"type": "boolean"},
                "confirm_mobile_account": {"type": "boolean"},
            })),
        ),
        ("set_hostname", all_optional(json!({"name": reference("text")}))),
        ("install_package", object(install(), &["package", "program"])),
        ("install_application", object(application, &["package", "program", "detect"])),
        (
            "apply_profile",
            object(
                json!({"profile": {"type": "string", "description": "XML of a .mobileconfig, or base64 of a signed one."}}),
                &["profile"],
            ),
        ),
        (
            "enroll",
            object(
                json!({"server": reference("text"), "enrollment_profile": reference("text"), "package": reference("text")}),
                &["server"],
            ),
        ),
    ]
}

fn test() -> Value {
    let mut properties = Map::new();
    properties.insert("variable".into(), json!({"$ref": "#/$defs/variable"}));
    for (key, operator) in Operator::KEYS {
        let value = match operator {
            Operator::Exists => json!({"type": "boolean"}),
            _ => json!({"$ref": "#/$defs/value"}),
        };
        properties.insert(key.into(), value);
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["variable"],
        "minProperties": 2,
        "maxProperties": 2,
        "properties": properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::yaml::{COMMON, OF_STEPS, TYPES};

    #[test]
    fn section_1_the_schema_has_every_key_that_the_reader_has_and_no_other() {
        let schema = schema();
        let keys = |pointer: &str| -> Vec<String> {
            let mut keys: Vec<String> =
                schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let sorted = |lists: &[&[&str]]| -> Vec<String> {
            let mut all: Vec<String> = lists.concat().into_iter().map(str::to_owned).collect();
            all.sort();
            all
        };
        assert_eq!(keys("/$defs/step/properties"), sorted(&[&COMMON, &OF_STEPS, &TYPES]));
        assert_eq!(keys("/$defs/group/properties"), sorted(&[&COMMON, &["group", "catch", "finally"]]));
    }
}
