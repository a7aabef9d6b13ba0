//! Variables of devices and collections between the database, where secrets are sealed, and runs, which need them.

use std::collections::BTreeMap;

use super::offer::Collection;
use super::secrets::{CannotUnseal, SecretKey};
use crate::db::{Db, DbError, Owner, VariableRow};
use crate::sequence::name::VariableName;
use crate::sequence::target::layer::{Layer, Origin, merged};
use crate::sequence::variable::{Scope, Value};

/// The variable that names a computer (task-sequences section 3).
const COMPUTER_NAME: &str = "OSDComputerName";
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

/// Variables of the collections that a Mac belongs to, secrets opened: which is in force, and where it comes from.
pub async fn of_collections(
    db: &Db,
    key: &SecretKey,
    device: i64,
    known: bool,
) -> Result<(Scope, BTreeMap<VariableName, Origin>), VariablesError> {
    let built_in = Collection::BUILT_IN.into_iter().filter(|collection| collection.holds_a_mac(known));
    let mut collections: Vec<(String, i64)> =
        built_in.map(|collection| (collection.name().to_owned(), collection.priority())).collect();
    collections.extend(db.collections_of(device).await?);
    let mut layers = Vec::with_capacity(collections.len());
    for (collection, priority) in collections {
        let scope = scope(db, key, &Owner::Collection(collection.clone())).await?;
        if !scope.is_empty() {
            layers.push(Layer { collection, priority, scope });
        }
    }
    Ok(merged(layers))
}

/// Variables of a Mac, secrets opened. The name that an administrator gave it counts as the computer's name where no variable
/// gives another.
pub async fn of_device(db: &Db, key: &SecretKey, device: i64) -> Result<Scope, VariablesError> {
    let mut own = scope(db, key, &Owner::Device(device)).await?;
    let hostname = db.device_hostname(device).await?;
    if let (Some(hostname), Ok(name)) = (hostname, COMPUTER_NAME.parse::<VariableName>()) {
        own.entry(name).or_insert_with(|| Value::plain(hostname));
    }
    Ok(own)
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
