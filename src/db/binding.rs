//! BSDP bindings: read once at start, written before a Mac is answered.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Db, DbError, number, parsed};
use crate::netboot::bsdp::{Binding, ImageId, Write};

impl Db {
    /// Every binding, those heard last first, at most `most`.
    pub async fn bindings(&self, most: usize) -> Result<Vec<Binding>, DbError> {
        let rows = sqlx::query(
            "SELECT mac, system, arch, image, address, name, bound_ms, seen_ms FROM binding
             ORDER BY seen_ms DESC, mac, system LIMIT $1",
        )
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(binding).collect()
    }

    /// Writes all in one transaction; on return they are on the disk.
    pub async fn write_bindings(&self, writes: &[Write]) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        for write in writes {
            let query = match write {
                Write::Put(binding) => sqlx::query(
                    "INSERT INTO binding (mac, system, arch, image, address, name, bound_ms, seen_ms)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                     ON CONFLICT (mac, system) DO UPDATE SET arch = $3, image = $4, address = $5, name = $6,
                     bound_ms = $7, seen_ms = $8",
                )
                .bind(binding.mac.to_string())
                .bind(&binding.system)
                .bind(&binding.arch)
                .bind(i64::from(u32::from_be_bytes(binding.image.to_bytes())))
                .bind(binding.address.to_string())
                .bind(&binding.name)
                .bind(binding.bound_ms)
                .bind(binding.seen_ms),
                Write::Delete(mac, system) => {
                    sqlx::query("DELETE FROM binding WHERE mac = $1 AND system = $2")
                        .bind(mac.to_string())
                        .bind(system)
                }
            };
            query.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

fn binding(row: &SqliteRow) -> Result<Binding, DbError> {
    Ok(Binding {
        mac: parsed("MAC address", row.try_get(0)?)?,
        system: row.try_get(1)?,
        arch: row.try_get(2)?,
        image: ImageId::from(number::<u32>("image id", row.try_get(3)?)?),
        address: parsed("IPv4 address", row.try_get(4)?)?,
        name: row.try_get(5)?,
        bound_ms: row.try_get(6)?,
        seen_ms: row.try_get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::value::MacAddr;

    fn bound(mac: u8, system: &str, seen_ms: i64) -> Binding {
        Binding {
            mac: MacAddr::new([2, 0, 0, 0, 0, mac]),
            system: system.into(),
            arch: "i386".into(),
            image: ImageId::from(0x8100_0001),
            address: Ipv4Addr::new(10, 0, 1, 93),
            name: "NetBoot-000001".into(),
            bound_ms: 5,
            seen_ms,
        }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart_and_the_newest_are_read_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Db::open(&path).await.unwrap();
        let all = [bound(1, "iMac14,2", 10), bound(1, "Macmini7,1", 30), bound(2, "iMac14,2", 20)];
        db.write_bindings(&all.clone().map(Write::Put)).await.unwrap();
        let changed = Binding { image: ImageId::from(u32::MAX), ..all[0].clone() };
        let gone = Write::Delete(all[2].mac, all[2].system.clone());
        db.write_bindings(&[Write::Put(changed.clone()), gone]).await.unwrap();
        db.close().await;
        let db = Db::open(&path).await.unwrap();
        assert_eq!(db.bindings(9).await.unwrap(), [all[1].clone(), changed]);
        assert_eq!(db.bindings(1).await.unwrap(), [all[1].clone()]);
    }
}
