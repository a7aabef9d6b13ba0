//! Sequences that sequences run, read from the database; secrets in them are sealed there and opened here.
//!
//! Must not know: HTTP, what a run does with them.

use super::secrets::{CannotUnseal, SecretKey, is_sealed};
use crate::db::{Db, DbError, DeploymentRow};
use crate::sequence::model::{Kind, Node, Section, Sequence};
use crate::sequence::program::Others;

/// What a secret value of a sequence is sealed for.
const CONTEXT: &str = "sequence";

/// Places of a text where a secret value is replaced; one that stands in more is a common word.
const MOST_PLACES: usize = 8;
/// Sequences that one may run, whatever is written there: more are not read.
const MOST_OTHERS: usize = 200;

/// Every sequence that `sequence` runs, directly or through another, in its newest revision. One that is absent or
/// unreadable is left away: whoever puts them together finds that out.
pub async fn others(db: &Db, sequence: &Sequence) -> Result<Others, DbError> {
    let mut found = Others::new();
    let mut wanted: Vec<String> = sequence.nested().map(|(_, name)| name.to_owned()).collect();
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) || found.len() >= MOST_OTHERS {
            continue;
        }
        let Some(row) = db.sequence(&name, None).await? else { continue };
        let Ok(other) = Sequence::from_yaml(&row.yaml) else { continue };
        wanted.extend(other.nested().map(|(_, name)| name.to_owned()));
        found.insert(name, other);
    }
    Ok(found)
}

/// Every sequence that one of these deployments may run.
pub async fn of_deployments(db: &Db, rows: &[DeploymentRow]) -> Result<Others, DbError> {
    let mut found = Others::new();
    for row in rows.iter().filter(|row| row.yaml.contains("run_sequence")) {
        let Ok(sequence) = Sequence::from_yaml(&row.yaml) else { continue };
        found.extend(others(db, &sequence).await?);
    }
    Ok(found)
}

/// The text of a sequence with its secret values sealed. Comments are kept where the text can be changed in place.
pub fn sealed(yaml: &str, sequence: &Sequence, key: &SecretKey) -> Result<String, CannotUnseal> {
    let mut text = yaml.to_owned();
    let mut sealed = sequence.clone();
    let mut changed = false;
    change_secrets(&mut sealed.steps, &mut |value| {
        if is_sealed(value) {
            return key.unseal(CONTEXT, value).map(|_| None);
        }
        let words = key.seal(CONTEXT, value);
        if text.matches(value).nth(MOST_PLACES).is_none() {
            text = text.replace(value, &words);
        }
        changed = true;
        Ok(Some(words))
    })?;
    if !changed {
        return Ok(text);
    }
    match Sequence::from_yaml(&text) {
        Ok(read) if read == sealed => Ok(text),
        // The value stands somewhere else, too, or is written in another way: the text is written anew.
        _ => Ok(sealed.to_yaml().unwrap_or(text)),
    }
}

/// The sequence with its secret values as they were typed.
pub fn unsealed(mut sequence: Sequence, key: &SecretKey) -> Result<Sequence, CannotUnseal> {
    change_secrets(&mut sequence.steps, &mut |value| match is_sealed(value) {
        true => key.unseal(CONTEXT, value).map(Some),
        false => Ok(None),
    })?;
    Ok(sequence)
}

fn change_secrets(
    nodes: &mut [Node],
    change: &mut impl FnMut(&str) -> Result<Option<String>, CannotUnseal>,
) -> Result<(), CannotUnseal> {
    for node in nodes {
        match node {
            Node::Group(group) => {
                for section in Section::ALL {
                    let nodes = match section {
                        Section::Steps => &mut group.steps,
                        Section::Catch => &mut group.catch,
                        Section::Finally => &mut group.finally,
                    };
                    change_secrets(nodes, change)?;
                }
            }
            Node::Step(step) => {
                let Kind::SetVariables(set) = &mut step.kind else { continue };
                for one in set.iter_mut().filter(|one| one.secret && one.value.literal() != Some("")) {
                    // A value that only names other variables holds nothing secret itself.
                    let names_only = one
                        .value
                        .pieces()
                        .iter()
                        .all(|piece| matches!(piece, crate::sequence::template::Piece::Variable(_)));
                    if names_only {
                        continue;
                    }
                    if let Some(text) = change(one.value.as_str())? {
                        one.value = text.parse().map_err(|_| CannotUnseal::Damaged)?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretKey {
        let folder = tempfile::tempdir().unwrap();
        SecretKey::open(&folder.path().join("secrets.key")).unwrap()
    }

    #[test]
    fn secret_values_are_sealed_in_place_and_comments_stay() {
        let yaml = "name: x # a comment\nsteps:\n  - set_variables:\n      - {name: Key, value: hunter2, secret: true} # why\n      - {name: Copy, value: '%Key%', secret: true}\n      - {name: Room, value: b12}\n";
        let (sequence, key) = (Sequence::from_yaml(yaml).unwrap(), key());
        let text = sealed(yaml, &sequence, &key).unwrap();
        assert!(text.contains("# a comment") && text.contains("# why") && text.contains("%Key%"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let read = Sequence::from_yaml(&text).unwrap();
        assert_eq!(unsealed(read.clone(), &key).unwrap(), sequence);
        assert_eq!(sealed(&text, &read, &key).unwrap(), text, "what is sealed stays as it is");
        assert_eq!(sealed(yaml, &sequence, &key).unwrap(), text, "the same text makes no new revision");
    }

    #[test]
    fn a_value_that_stands_elsewhere_too_is_sealed_only_where_it_is_secret() {
        let yaml = "name: lab # gone\nsteps:\n  - group: [{set_variables: [{name: Key, value: lab, secret: true}]}]\n";
        let (sequence, key) = (Sequence::from_yaml(yaml).unwrap(), key());
        let text = sealed(yaml, &sequence, &key).unwrap();
        let read = Sequence::from_yaml(&text).unwrap();
        assert_eq!((read.name.as_str(), unsealed(read.clone(), &key).unwrap()), ("lab", sequence));
        assert!(matches!(sealed(&text, &read, &self::key()), Err(CannotUnseal::OtherKey { .. })));
    }
}
