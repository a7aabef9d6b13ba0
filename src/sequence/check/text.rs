//! Texts with variables in them, conditions, scripts.

use std::collections::BTreeSet;

use super::{Checking, Code, secret};
use crate::sequence::condition::{If, Operator, compare};
use crate::sequence::model::{ExecuteScript, Kind, SetVariable};
use crate::sequence::name::VariableName;
use crate::sequence::template::{Piece, Template};
use crate::sequence::uses;

/// Bytes of the longest script (task-sequences section 2: 16 KB).
pub const LONGEST_SCRIPT: usize = 16_384;

/// Parts of names that secrets have.
const SECRET_NAMES: [&str; 6] = ["password", "passwd", "passphrase", "secret", "token", "privatekey"];

pub(super) fn is_called_like_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "");
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

impl Checking<'_> {
    /// Every text of a step; those of Set Variables may use what stands before them in the same step.
    pub(super) fn texts(&mut self, path: &str, kind: &Kind) {
        let before = self.known.clone();
        for (index, (field, text)) in uses::texts(kind).into_iter().enumerate() {
            self.text(path, &field, text);
            match kind {
                Kind::SetVariables(set) => {
                    self.known.insert(set[index].name.clone());
                }
                _ if uses::is_secret_field(&field) => self.must_be_variable(path, &field, text),
                _ => self.no_secret(path, &field, text),
            }
        }
        self.known = before;
    }

    pub(super) fn text(&mut self, path: &str, field: &str, text: &Template) {
        let names: BTreeSet<&VariableName> = text.variables().collect();
        for name in names {
            self.defined(path, field, name);
        }
    }

    /// A secret is given by a variable, never written out.
    fn must_be_variable(&mut self, path: &str, field: &str, text: &Template) {
        if text.pieces().iter().any(|piece| matches!(piece, Piece::Text(text) if !text.trim().is_empty())) {
            let message = format!(
                "{field} can be read by whoever reads the sequence: put it into a secret variable and name that here, %Name%"
            );
            self.add(path, Code::SecretInPlainField, message);
        }
    }

    /// What stands here can be seen by whoever looks at the Mac or at the run.
    fn no_secret(&mut self, path: &str, field: &str, text: &Template) {
        if let Some(name) = text.variables().find(|name| self.secret.contains(name)) {
            let message =
                format!("{field} shows the value of %{name}%, which is secret: use another variable");
            self.add(path, Code::SecretInPlainField, message);
        }
    }

    pub(super) fn is_known(&self, name: &VariableName) -> bool {
        self.opaque || self.known.contains(name)
    }

    fn defined(&mut self, path: &str, field: &str, name: &VariableName) {
        if name.is_read_only() || self.is_known(name) {
            return;
        }
        let (code, message) = if self.anywhere.contains(name) {
            let message = format!(
                "{field} uses %{name}%, which only a later step sets: move that step before this one"
            );
            (Code::VariableUsedBeforeSet, message)
        } else {
            let message = format!(
                "{field} uses %{name}%, which nothing defines: set it in an earlier Set Variables step, or on a device or collection"
            );
            (Code::UnknownVariable, message)
        };
        self.add(path, code, message);
    }

    pub(super) fn condition(&mut self, path: &str, condition: &If) {
        if condition.is_hollow() {
            let message = "the condition has an If without clauses: add a test, or remove the If".to_owned();
            self.add(path, Code::EmptyCondition, message);
        }
        let tests = condition.tests();
        let asks = |operator| matches!(operator, Operator::Exists | Operator::NotExists);
        // Who asks whether a variable exists knows that it may not.
        let guarded: BTreeSet<&VariableName> =
            tests.iter().filter(|test| asks(test.operator)).map(|test| &test.variable).collect();
        for test in &tests {
            if !guarded.contains(&test.variable) {
                self.defined(path, "the condition", &test.variable);
            }
            self.text(path, "the condition", &test.value);
            if test.operator == Operator::Matches
                && let Some(Err(error)) = test.value.literal().map(compare::pattern)
            {
                self.add(path, Code::BadPattern, error.to_string());
            }
        }
    }

    pub(super) fn settable(&mut self, path: &str, name: &VariableName) {
        if name.is_read_only() {
            let message = format!("{name} is a fact of the Mac and cannot be set: take another name");
            self.add(path, Code::ReadOnlyVariable, message);
        }
    }

    pub(super) fn set_variables(&mut self, path: &str, variables: &[SetVariable], left_out: bool) {
        if variables.is_empty() {
            self.add(
                path,
                Code::NothingToSet,
                "the step sets no variable: add one, or remove the step".to_owned(),
            );
        }
        let mut set = BTreeSet::new();
        for variable in variables {
            self.settable(path, &variable.name);
            if !set.insert(&variable.name) {
                let message =
                    format!("{} is set twice in this step: only the last value would count", variable.name);
                self.add(path, Code::VariableSetTwice, message);
            }
            let literal = variable.value.literal().is_some_and(|text| !text.is_empty());
            if literal && !variable.secret && is_called_like_a_secret(variable.name.as_str()) {
                let message = format!(
                    "{} looks like a secret, and its value can be read by whoever reads the sequence: give it `secret: true`",
                    variable.name
                );
                self.add(path, Code::SecretInPlainField, message);
            }
        }
        if !left_out {
            self.known.extend(variables.iter().map(|variable| variable.name.clone()));
            let of_secrets = |text: &Template| text.variables().any(|name| self.secret.contains(name));
            let mut secret = BTreeSet::new();
            for variable in variables {
                let inherits = variable.value.variables().any(|name| secret.contains(name));
                if variable.secret || inherits || of_secrets(&variable.value) {
                    secret.insert(variable.name.clone());
                }
            }
            self.secret.extend(secret);
        }
    }

    pub(super) fn script(&mut self, path: &str, script: &ExecuteScript) {
        let first = script.script.split('\n').next().unwrap_or_default();
        let interpreter = first.strip_prefix("#!");
        if first.ends_with('\r') {
            let message = "the script's lines end with a carriage return, as Windows writes them: the kernel would look for an \
                           interpreter with that in its name; save it with line ends of Unix";
            self.add(path, Code::ScriptWithoutShebang, message.to_owned());
        } else if !interpreter.is_some_and(|interpreter| interpreter.trim_start().starts_with('/')) {
            let message =
                "the script's first line does not say what runs it: begin with one like `#!/bin/sh`"
                    .to_owned();
            self.add(path, Code::ScriptWithoutShebang, message);
        }
        if script.script.len() > LONGEST_SCRIPT {
            let message = format!("the script has {} bytes: at most {LONGEST_SCRIPT}", script.script.len());
            self.add(path, Code::ScriptTooLong, message);
        }
        for (line, what) in secret::in_script(&script.script) {
            let message = format!(
                "line {line} of the script holds {what}, which can be read by whoever reads the sequence: put it into a secret variable, and use that"
            );
            self.add(path, Code::SecretInScript, message);
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
