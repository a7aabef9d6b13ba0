//! Variables of devices and collections between the database, where secrets are sealed, and runs, which need them.

use super::offer::Collection;
use super::secrets::{CannotUnseal, SecretKey};
use crate::db::{Db, DbError, Owner, VariableRow};
use crate::sequence::name::VariableName;
use crate::sequence::variable::{Scope, Value};

/// What a secret value is sealed for.
const CONTEXT: &str = "variable";

/// A value could not be told.
#[derive(Debug, thiserror::Error)]
pub enum VariablesError {
    /// The database did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A secret does not open.
    #[error("the variable {name}")]
    Sealed {
        /// Which.
        name: VariableName,
        /// Why.
        #[source]
        source: CannotUnseal,
    },
}

/// Variables of one owner, secrets opened.
pub async fn scope(db: &Db, key: &SecretKey, owner: &Owner) -> Result<Scope, VariablesError> {
    let mut scope = Scope::new();
    for VariableRow { name, value, secret } in db.variables(owner).await? {
        let text = match secret {
            true => key
                .unseal(CONTEXT, &value)
                .map_err(|source| VariablesError::Sealed { name: name.clone(), source })?,
            false => value,
        };
        scope.insert(name, Value { text, secret });
    }
    Ok(scope)
}

/// Variables of the collections that a Mac belongs to; the more special collection wins.
pub async fn of_collections(db: &Db, key: &SecretKey, known: bool) -> Result<Scope, VariablesError> {
    let mut all = Scope::new();
    for collection in Collection::BUILT_IN.into_iter().filter(|collection| collection.holds_a_mac(known)) {
        for (name, value) in scope(db, key, &Owner::Collection(collection.name().to_owned())).await? {
            all.remove(&name);
            all.insert(name, value);
        }
    }
    Ok(all)
}

/// A value as it is kept.
pub fn row(key: &SecretKey, name: VariableName, value: String, secret: bool) -> VariableRow {
    let value = if secret { key.seal(CONTEXT, &value) } else { value };
    VariableRow { name, value, secret }
}

/// Whether the value of a row is empty.
pub fn is_empty(key: &SecretKey, row: &VariableRow) -> bool {
    match row.secret {
        true => key.unseal(CONTEXT, &row.value).is_ok_and(|text| text.is_empty()),
        false => row.value.is_empty(),
    }
}
