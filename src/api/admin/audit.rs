//! The audit log: who did what to what, in a chain that shows when a line is missing.
//!
//! The hash of an entry is SHA-256 of the JSON list `[1, number, at_ms, who, how, from, action, object, before, after, prev]`, written without
//! blanks and with the keys of objects sorted; `prev` is the hash of the entry before it, empty for the first. So anybody can
//! count it again from an export. Who can write to the database could count the whole chain anew; against that the last hash
//! is kept elsewhere (it stands in the log of the daemon every day) and given to [`Chain::known`].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub number: i64,
    /// Milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// `ana`, `ana@EXAMPLE`, `ana (token ci)`, `root on the appliance`, `admin.token`, `the appliance`.
    pub who: String,
    /// How they were known: `session`, `token`, `admin-token`, `socket`, `mac`, `appliance`, `nobody`.
    pub how: String,
    /// Address; none: on the appliance itself.
    pub from: Option<String>,
    /// What, `image.promote`.
    pub action: String,
    /// To what, `image lab`.
    pub object: String,
    /// What was so before, as far as it is told; secrets masked.
    pub before: Option<Value>,
    /// What is so now, or what was asked for; secrets masked.
    pub after: Option<Value>,
    /// Hash of the entry before this one; empty for the first.
    pub prev: String,
    /// Of this entry.
    pub hash: String,
}

impl AuditEntry {
    /// The hash that this entry must have.
    pub fn counted(&self) -> String {
        let list = json!([
            1,
            self.number,
            self.at_ms,
            self.who,
            self.how,
            self.from,
            self.action,
            self.object,
            self.before,
            self.after,
            self.prev
        ]);
        let mut text = String::new();
        canonical(&list, &mut text);
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// JSON without blanks, keys sorted: the same text on both sides whatever library wrote it.
fn canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            into.push('{');
            for (place, (key, value)) in pairs.into_iter().enumerate() {
                if place > 0 {
                    into.push(',');
                }
                into.push_str(&Value::from(key.as_str()).to_string());
                into.push(':');
                canonical(value, into);
            }
            into.push('}');
        }
        Value::Array(list) => {
            into.push('[');
            for (place, value) in list.iter().enumerate() {
                if place > 0 {
                    into.push(',');
                }
                canonical(value, into);
            }
            into.push(']');
        }
        plain => into.push_str(&plain.to_string()),
    }
}

/// Entries in order, looked at one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    number: i64,
    hash: String,
    known: Option<(i64, String)>,
}

/// Where the log is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// One is gone, or stands in another place.
    #[error("entry {expected} is missing: entry {found} follows on entry {}", .expected - 1)]
    Missing {
        /// The number that comes next.
        expected: i64,
        /// The number that came.
        found: i64,
    },
    /// It was changed.
    #[error("entry {0} was changed: its hash is not that of its content")]
    Changed(i64),
    /// One before it was changed, or put in.
    #[error("entry {0} does not follow on the one before it: one of the two was replaced")]
    Unlinked(i64),
    /// What was noted elsewhere stands no longer there.
    #[error("entry {0} is not the one whose hash was noted: the log was written anew")]
    Rewritten(i64),
    /// The end is gone.
    #[error("entry {noted} was noted, and the log ends with entry {last}: its end was cut off")]
    CutOff {
        /// The one that was noted.
        noted: i64,
        /// The last that is there.
        last: i64,
    },
}

impl Chain {
    /// From the first entry on.
    pub fn new() -> Chain {
        Chain::default()
    }

    /// With an entry that was noted elsewhere: it must be there, as it was.
    pub fn known(self, number: i64, hash: String) -> Chain {
        Chain { known: Some((number, hash)), ..self }
    }

    /// The next entry.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn follow(&mut self, entry: &AuditEntry) -> Result<(), Broken> {
        let expected = self.number + 1;
        if entry.number != expected {
            return Err(Broken::Missing { expected, found: entry.number });
        }
        if entry.counted() != entry.hash {
            return Err(Broken::Changed(entry.number));
        }
        if entry.prev != self.hash {
            return Err(Broken::Unlinked(entry.number));
        }
        if self.known.as_ref().is_some_and(|(number, hash)| *number == entry.number && *hash != entry.hash) {
            return Err(Broken::Rewritten(entry.number));
        }
        self.number = entry.number;
        self.hash.clone_from(&entry.hash);
        Ok(())
    }

    /// After the last entry: its number and hash, to be noted.
    ///
    /// # Errors
    /// [`Broken::CutOff`].
    pub fn end(self) -> Result<(i64, String), Broken> {
        match self.known {
            Some((noted, _)) if noted > self.number => Err(Broken::CutOff { noted, last: self.number }),
            _ => Ok((self.number, self.hash)),
        }
    }
}

/// What a look at the whole log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AuditVerdict {
    /// Entries that are as they were written.
    pub entries: i64,
    /// Hash of the last of them.
    pub hash: String,
    /// Where the log is not what it was; none: nowhere.
    pub broken: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: i64) -> Vec<AuditEntry> {
        let mut prev = String::new();
        let entry = |number| {
            let mut entry = AuditEntry {
                number,
                at_ms: 1_000 * number,
                who: "ana".into(),
                how: "session".into(),
                from: Some("10.0.0.7".into()),
                action: "image.promote".into(),
                object: "image lab".into(),
                before: None,
                after: Some(json!({"b": 1, "a": [null, "ü\n"]})),
                prev: std::mem::take(&mut prev),
                hash: String::new(),
            };
            entry.hash = entry.counted();
            prev.clone_from(&entry.hash);
            entry
        };
        (1..=count).map(entry).collect()
    }

    fn verdict(log: &[AuditEntry], chain: Chain) -> Result<(i64, String), Broken> {
        let mut chain = chain;
        log.iter().try_for_each(|entry| chain.follow(entry))?;
        chain.end()
    }

    #[test]
    fn the_hash_is_that_of_the_text_that_the_documentation_says() {
        let entry = &log(1)[0];
        let text = r#"[1,1,1000,"ana","session","10.0.0.7","image.promote","image lab",null,{"a":[null,"ü\n"],"b":1},""]"#;
        let hash: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry.hash, hash);
    }

    #[test]
    fn a_line_that_is_removed_changed_or_replaced_is_found() {
        let whole = log(5);
        assert_eq!(verdict(&whole, Chain::new()).unwrap().0, 5);
        let mut removed = whole.clone();
        removed.remove(2);
        assert_eq!(verdict(&removed, Chain::new()), Err(Broken::Missing { expected: 3, found: 4 }));
        let mut changed = whole.clone();
        changed[1].who = "bo".into();
        assert_eq!(verdict(&changed, Chain::new()), Err(Broken::Changed(2)));
        changed[1].hash = changed[1].counted();
        assert_eq!(verdict(&changed, Chain::new()), Err(Broken::Unlinked(3)));
    }

    #[test]
    fn a_log_that_was_cut_off_or_written_anew_is_found_by_a_hash_that_was_noted() {
        let whole = log(5);
        let noted = || Chain::new().known(4, whole[3].hash.clone());
        assert!(verdict(&whole, noted()).is_ok());
        assert_eq!(verdict(&whole[..3], noted()), Err(Broken::CutOff { noted: 4, last: 3 }));
        let mut anew = log(5);
        let mut prev = String::new();
        for entry in &mut anew {
            entry.who = "bo".into();
            entry.prev = prev;
            entry.hash = entry.counted();
            prev = entry.hash.clone();
        }
        assert!(verdict(&anew, Chain::new()).is_ok(), "by itself it looks whole");
        assert_eq!(verdict(&anew, noted()), Err(Broken::Rewritten(4)));
    }

    #[test]
    fn an_entry_keeps_its_hash_on_its_way_through_json() {
        let entry = &log(1)[0];
        let back: AuditEntry = serde_json::from_str(&serde_json::to_string(entry).unwrap()).unwrap();
        assert_eq!(back.counted(), entry.hash);
    }
}
