//! What is asked of all Macs at once: their number, their models and largest disks, kept beside their inventories so that these need not be read.

use sqlx::Row;

use super::{Db, DbError, big, from_json, number};
use crate::api::runner::DeviceFacts;

/// The model as it is kept beside the inventory; empty where there is none.
pub(super) fn model(facts: &DeviceFacts) -> String {
    facts.model.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// Bytes of the largest disk that sequences may touch; 0: there is none.
pub(super) fn largest_disk(facts: &DeviceFacts) -> i64 {
    let disks = facts.disks.iter().filter(|disk| disk.number.is_some() && !disk.external);
    disks.map(|disk| big(disk.size)).max().unwrap_or(0)
}

impl Db {
    /// Number of devices, and of those the unknown ones.
    pub async fn count_devices(&self) -> Result<(u32, u32), DbError> {
        let count = async |known: bool| -> Result<u32, DbError> {
            let count = "SELECT COUNT(*) FROM device WHERE known = $1";
            number("number of devices", sqlx::query_scalar(count).bind(known).fetch_one(&self.read).await?)
        };
        let (known, unknown) = (count(true).await?, count(false).await?);
        Ok((known.saturating_add(unknown), unknown))
    }

    /// Models of the known Macs with how many of them there are, and the bytes of the largest disk that sequences may touch in any of
    /// them.
    pub async fn macs(&self) -> Result<(Vec<(String, u32)>, Option<u64>), DbError> {
        self.fill_models().await?;
        let rows = sqlx::query(
            "SELECT model, COUNT(*), MAX(largest_disk) FROM device WHERE known = $1 GROUP BY model ORDER BY model",
        )
        .bind(true)
        .fetch_all(&self.read)
        .await?;
        let (mut models, mut largest) = (Vec::new(), None);
        for row in rows {
            let disk: Option<i64> = row.try_get(2)?;
            let disk: Option<u64> = disk.map(|bytes| number("size of a disk", bytes)).transpose()?;
            largest = largest.max(disk.filter(|bytes| *bytes > 0));
            let model: Option<String> = row.try_get(0)?;
            if let Some(model) = model.filter(|model| !model.is_empty()) {
                models.push((model, number("number of Macs", row.try_get(1)?)?));
            }
        }
        Ok((models, largest))
    }

    /// Once, for inventories of an earlier version; a few at a time.
    async fn fill_models(&self) -> Result<(), DbError> {
        loop {
            let old =
                sqlx::query("SELECT id, facts FROM device WHERE known = $1 AND model IS NULL LIMIT 500");
            let old = old.bind(true).fetch_all(&self.read).await?;
            if old.is_empty() {
                return Ok(());
            }
            let mut tx = self.begin().await?;
            for row in old {
                let facts: DeviceFacts = from_json("inventory of a device", row.try_get(1)?)?;
                sqlx::query(
                    "UPDATE device SET model = $2, largest_disk = $3 WHERE id = $1 AND model IS NULL",
                )
                .bind(row.try_get::<i64, _>(0)?)
                .bind(model(&facts))
                .bind(largest_disk(&facts))
                .execute(&mut *tx)
                .await?;
            }
            tx.commit().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runner::DiskFacts;

    async fn greet(db: &Db, mac: u8, disks: Vec<DiskFacts>) {
        let facts = DeviceFacts {
            serial: Some(format!("C02A{mac}").parse().unwrap()),
            model: Some("iMac14,2".parse().unwrap()),
            disks,
            ..DeviceFacts::default()
        };
        db.greeted(facts).await;
    }

    #[tokio::test]
    async fn known_macs_are_counted_by_model_also_those_of_an_earlier_version() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let disk = |number, size, external| DiskFacts { number, size, external, ..disk() };
        for (mac, disks) in [
            (1, vec![disk(Some(0), 500, false), disk(Some(1), 9000, true), disk(None, 8000, false)]),
            (2, vec![disk(Some(0), 700, false)]),
            (3, vec![disk(Some(0), 6000, false)]),
        ] {
            greet(&db, mac, disks).await;
        }
        assert_eq!(db.macs().await.unwrap(), (vec![], None), "nobody is known");
        sqlx::query("UPDATE device SET known = true WHERE id < 3").execute(&db.write).await.unwrap();
        let both = (vec![("iMac14,2".to_owned(), 2)], Some(700));
        assert_eq!(db.macs().await.unwrap(), both);
        sqlx::query("UPDATE device SET model = NULL, largest_disk = NULL").execute(&db.write).await.unwrap();
        assert_eq!(db.macs().await.unwrap(), both);
    }

    fn disk() -> DiskFacts {
        DiskFacts {
            number: None,
            node: "/dev/sda".into(),
            model: String::new(),
            serial: String::new(),
            size: 0,
            block_size: 512,
            external: false,
            contents: Vec::new(),
            health: None,
        }
    }
}
