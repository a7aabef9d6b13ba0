//! The schema of the database, as the steps that led to it.
//!
//! Owns: which files of `migrations/` there are, and their order. Must not know: what the tables mean.
//!
//! A file that was released never changes: the digest of its text stands in every database that it made.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

macro_rules! files {
    ($($name:literal)+) => { [$(($name, include_str!(concat!("migrations/", $name)))),+] };
}

/// Name and text of each.
const FILES: &[(&str, &str)] = &files! {
    "0001_spine.sql"
    "0002_logged.sql"
    "0003_binding.sql"
    "0004_lease.sql"
    "0010_receipt.sql"
    "0020_ring.sql"
    "0021_damage.sql"
    "0030_capture.sql"
    "0040_variable.sql"
    "0050_account.sql"
    "0051_audit.sql"
    "0060_targets.sql"
    "0070_wizard.sql"
    "0080_run_step.sql"
    "0100_runner_start.sql"
    "0110_device_model.sql"
    "0111_receipt_unsigned.sql"
    "0112_search.sql"
    "0170_many_macs.sql"
};

/// What brings a database up to date.
pub(super) fn migrations() -> Migrator {
    let migration = |&(name, text): &(&str, &'static str)| {
        let (number, about) = name.split_once('_').unwrap_or((name, name));
        let version = number.parse().unwrap_or_default();
        let about = Cow::Owned(about.trim_end_matches(".sql").replace('_', " "));
        Migration::new(version, about, MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(FILES.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_list_and_has_a_number_of_its_own() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/db/migrations");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        assert!(there.iter().eq(FILES.iter().map(|(name, _)| name)), "{there:?}");
        let versions: Vec<i64> = migrations().iter().map(|migration| migration.version).collect();
        assert!(versions[0] > 0 && versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    }

    /// Beginnings of the SHA-384 that databases in use have of them: add to the list, never change it.
    #[test]
    fn a_released_file_never_changes() {
        let released = [
            "9bf2583f", "7273792c", "a2262ded", "9e42c1b6", "f0781334", "4a726b5c", "873e6a47", "8bae62bf",
            "dae26425", "636d6991", "0cc5c8c4", "32cfcd59", "8d9e2125", "8ab50758", "dc1d5b31", "0718db9f",
            "02e7d14b", "b88bd7f3", "79f77b7f",
        ];
        for (migration, digest) in migrations().iter().zip(released) {
            let now: String = migration.checksum.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(now, digest, "{} {}", migration.version, migration.description);
        }
    }
}
