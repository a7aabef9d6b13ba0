//! Variables of devices and collections. The values of secret ones come in sealed and go out so.

use serde_json::{Value, json};
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{Change, record};
use super::{Db, DbError, parsed};
use crate::sequence::name::VariableName;

/// What a variable belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A device by its number.
    Device(i64),
    /// A collection by its name.
    Collection(String),
}

impl Owner {
    fn columns(&self) -> (&'static str, String) {
        match self {
            Owner::Device(device) => ("device", device.to_string()),
            Owner::Collection(name) => ("collection", name.clone()),
        }
    }
}

/// One variable as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableRow {
    /// Name as typed.
    pub name: VariableName,
    /// Its value; sealed when it is secret.
    pub value: String,
    /// Whether it is.
    pub secret: bool,
}

impl Db {
    /// Variables of one owner, by name.
    pub async fn variables(&self, owner: &Owner) -> Result<Vec<VariableRow>, DbError> {
        let (scope, owner) = owner.columns();
        let rows = sqlx::query(
            "SELECT spelling, value, secret FROM variable WHERE scope = $1 AND owner = $2 ORDER BY name",
        )
        .bind(scope)
        .bind(owner)
        .fetch_all(&self.read)
        .await?;
        let row = |row: &sqlx::sqlite::SqliteRow| {
            Ok(VariableRow {
                name: parsed("name of a variable", row.try_get(0)?)?,
                value: row.try_get(1)?,
                secret: row.try_get(2)?,
            })
        };
        rows.iter().map(row).collect()
    }

    /// Names of all variables that anything defines, and whether one of them is secret.
    pub async fn variable_names(&self) -> Result<Vec<(VariableName, bool)>, DbError> {
        let rows = sqlx::query(
            "SELECT MIN(spelling), MAX(CASE WHEN secret THEN 1 ELSE 0 END) FROM variable GROUP BY name ORDER BY name",
        )
        .fetch_all(&self.read)
        .await?;
        let row = |row: &sqlx::sqlite::SqliteRow| {
            Ok((parsed("name of a variable", row.try_get(0)?)?, row.try_get::<i64, _>(1)? > 0))
        };
        rows.iter().map(row).collect()
    }

    /// Everything that has variables.
    pub async fn variable_owners(&self) -> Result<Vec<Owner>, DbError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT DISTINCT scope, owner FROM variable ORDER BY scope, owner")
                .fetch_all(&self.read)
                .await?;
        let owner = |(scope, owner): (String, String)| match scope.as_str() {
            "device" => owner.parse().ok().map(Owner::Device),
            _ => Some(Owner::Collection(owner)),
        };
        Ok(rows.into_iter().filter_map(owner).collect())
    }

    /// How many variables an owner has.
    pub async fn count_variables(&self, owner: &Owner) -> Result<i64, DbError> {
        let (scope, owner) = owner.columns();
        Ok(sqlx::query_scalar("SELECT COUNT(*) FROM variable WHERE scope = $1 AND owner = $2")
            .bind(scope)
            .bind(owner)
            .fetch_one(&self.read)
            .await?)
    }

    /// Sets a variable; the spelling of the last setting counts.
    pub async fn set_variable(&self, owner: &Owner, row: &VariableRow) -> Result<(), DbError> {
        let (scope, owner) = owner.columns();
        let mut tx = self.begin().await?;
        let before = standing(&mut tx, scope, &owner, &row.name).await?;
        sqlx::query(
            "INSERT INTO variable (scope, owner, name, spelling, value, secret) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (scope, owner, name) DO UPDATE SET spelling = excluded.spelling, value = excluded.value,
             secret = excluded.secret",
        )
        .bind(scope)
        .bind(&owner)
        .bind(row.name.as_str().to_ascii_lowercase())
        .bind(row.name.as_str())
        .bind(&row.value)
        .bind(row.secret)
        .execute(&mut *tx)
        .await?;
        let after = Some(shown(&row.value, row.secret));
        let object = format!("variable {} of {scope} {owner}", row.name.as_str());
        record(&mut tx, Change { action: Some("variable.set"), before, after, ..Change::of(object, 0) })
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes a variable away; false when there is none.
    pub async fn unset_variable(&self, owner: &Owner, name: &VariableName) -> Result<bool, DbError> {
        let (scope, owner) = owner.columns();
        let mut tx = self.begin().await?;
        let before = standing(&mut tx, scope, &owner, name).await?;
        if before.is_none() {
            return Ok(false);
        }
        sqlx::query("DELETE FROM variable WHERE scope = $1 AND owner = $2 AND name = $3")
            .bind(scope)
            .bind(&owner)
            .bind(name.as_str().to_ascii_lowercase())
            .execute(&mut *tx)
            .await?;
        let object = format!("variable {} of {scope} {owner}", name.as_str());
        record(&mut tx, Change { action: Some("variable.unset"), before, ..Change::of(object, 0) }).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// What the audit log is told of a value.
fn shown(value: &str, secret: bool) -> Value {
    if secret { json!({ "secret": true }) } else { json!({ "value": value }) }
}

async fn standing(
    tx: &mut Transaction<'static, Sqlite>,
    scope: &str,
    owner: &str,
    name: &VariableName,
) -> Result<Option<Value>, DbError> {
    let row = sqlx::query("SELECT value, secret FROM variable WHERE scope = $1 AND owner = $2 AND name = $3")
        .bind(scope)
        .bind(owner)
        .bind(name.as_str().to_ascii_lowercase())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| Ok(shown(row.try_get(0)?, row.try_get(1)?))).transpose()
}
