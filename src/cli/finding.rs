//! What a check found: one line for people with its remedy, the same as JSON.

use serde::Serialize;

use super::output::{printable, say};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, or may work; somebody should look.
    Warning,
    /// Does not work.
    Fails,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// What was looked at, in one or two words.
    pub topic: String,
    /// What was found.
    pub text: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
    /// Packets and numbers behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(topic: &str, text: impl Into<String>) -> Finding {
        Finding::new(Verdict::Ok, topic, text, "")
    }

    /// Somebody should look.
    pub fn warning(topic: &str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(Verdict::Warning, topic, text, remedy)
    }

    /// It does not work.
    pub fn fails(topic: &str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(Verdict::Fails, topic, text, remedy)
    }

    fn new(verdict: Verdict, topic: &str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let (text, remedy) = (text.into(), remedy.into());
        Finding { verdict, topic: topic.to_owned(), text, remedy, facts: Vec::new() }
    }

    /// The same with what is behind it.
    #[must_use]
    pub fn with(mut self, facts: impl IntoIterator<Item = String>) -> Finding {
        self.facts.extend(facts);
        self
    }

    /// Prints the line, its facts and its remedy below it.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn print(&self) -> anyhow::Result<()> {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Fails => "FAILS",
        };
        say(format!("{verdict:<8} {:<12} {}", self.topic, printable(&self.text)))?;
        for fact in &self.facts {
            say(format!("{:<21} - {}", "", printable(fact)))?;
        }
        if !self.remedy.is_empty() {
            say(format!("{:<21} -> {}", "", printable(&self.remedy)))?;
        }
        Ok(())
    }
}

/// An error with everything behind it, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
