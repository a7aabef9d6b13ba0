//! Leases of the DHCP server: on disk before a client is told.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Db, DbError, parsed, unreadable};
use crate::netboot::lease::{Lease, State};
use crate::value::{MacAddr, Serial};

impl Db {
    /// Writes leases in one transaction; the newest word about an address stands.
    pub async fn keep_leases(&self, leases: &[Lease]) -> Result<(), DbError> {
        if leases.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for lease in leases {
            sqlx::query(
                "INSERT INTO lease (address, client, mac, host_name, state, since_ms, until_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (address) DO UPDATE SET client = excluded.client, mac = excluded.mac,
                 host_name = excluded.host_name, state = excluded.state, since_ms = excluded.since_ms,
                 until_ms = excluded.until_ms",
            )
            .bind(lease.address.to_string())
            .bind(lease.key.to_string())
            .bind(lease.mac.to_string())
            .bind(lease.host_name.as_deref())
            .bind(state_word(lease.state))
            .bind(lease.since_ms)
            .bind(lease.until_ms)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Every lease that was kept.
    pub async fn leases(&self) -> Result<Vec<Lease>, DbError> {
        let rows = sqlx::query(
            "SELECT address, client, mac, host_name, state, since_ms, until_ms FROM lease ORDER BY address",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(lease).collect()
    }

    /// Drops what was kept of addresses that are handed out no more.
    pub async fn forget_leases(&self, addresses: &[std::net::Ipv4Addr]) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        for address in addresses {
            sqlx::query("DELETE FROM lease WHERE address = $1")
                .bind(address.to_string())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The serial number of the one Mac that has one of these UUIDs, else of the one Mac that was seen with this address:
    /// none where several were, as a dongle is.
    pub async fn serial_of_client(&self, mac: MacAddr, uuids: &[Uuid]) -> Result<Option<Serial>, DbError> {
        for uuid in uuids.iter().filter(|uuid| !uuid.is_nil() && !uuid.is_max()) {
            let serials: Vec<String> = sqlx::query_scalar(
                "SELECT DISTINCT serial FROM device WHERE uuid = $1 AND serial IS NOT NULL LIMIT 2",
            )
            .bind(uuid.to_string())
            .fetch_all(&self.read)
            .await?;
            if let [serial] = &serials[..] {
                return parsed("serial number", serial).map(Some);
            }
        }
        let serials: Vec<Option<String>> = sqlx::query_scalar(
            "SELECT DISTINCT d.serial FROM device_mac m JOIN device d ON d.id = m.device WHERE m.mac = $1 LIMIT 2",
        )
        .bind(mac.to_string())
        .fetch_all(&self.read)
        .await?;
        match &serials[..] {
            [Some(serial)] => parsed("serial number", serial).map(Some),
            _ => Ok(None),
        }
    }
}

fn lease(row: &SqliteRow) -> Result<Lease, DbError> {
    Ok(Lease {
        address: parsed("leased address", row.try_get(0)?)?,
        key: parsed("DHCP client", row.try_get(1)?)?,
        mac: parsed("MAC address", row.try_get(2)?)?,
        host_name: row.try_get(3)?,
        state: state(row.try_get(4)?)?,
        since_ms: row.try_get(5)?,
        until_ms: row.try_get(6)?,
    })
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Offered => "offered",
        State::Bound => "bound",
        State::Released => "released",
        State::Declined => "declined",
    }
}

fn state(word: &str) -> Result<State, DbError> {
    [State::Offered, State::Bound, State::Released, State::Declined]
        .into_iter()
        .find(|state| state_word(*state) == word)
        .ok_or_else(|| unreadable("state of a lease", word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netboot::lease::Key;

    fn lease(last: u8, state: State, until_ms: i64) -> Lease {
        let mac = MacAddr::new([2, 0, 0, 0, 0, last]);
        let host_name = (last > 1).then(|| format!("mac-{last}"));
        let key = if last > 1 { Key::Id(vec![255, last]) } else { Key::Mac(mac) };
        Lease { address: [10, 0, 0, last].into(), key, mac, host_name, state, since_ms: 5, until_ms }
    }

    #[tokio::test]
    async fn leases_outlive_the_process_and_the_newest_word_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Db::open(&path).await.unwrap();
        let first = [lease(1, State::Bound, 100), lease(2, State::Declined, 200), lease(3, State::Bound, 1)];
        db.keep_leases(&first).await.unwrap();
        db.keep_leases(&[lease(1, State::Released, 50)]).await.unwrap();
        // Not closed: as after kill -9.
        let again = Db::open(&path).await.unwrap();
        let want = [lease(1, State::Released, 50), lease(2, State::Declined, 200), lease(3, State::Bound, 1)];
        assert_eq!(again.leases().await.unwrap(), want);
        again.forget_leases(&[[10, 0, 0, 2].into(), [9, 9, 9, 9].into()]).await.unwrap();
        assert_eq!(db.leases().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_serial_number_is_known_by_uuid_or_by_an_address_of_one_mac_only() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db")).await.unwrap();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (id, serial, uuid) in [(1, "C02A", one), (2, "C02B", other)] {
            sqlx::query(
                "INSERT INTO device (id, serial, uuid, known, boot, facts, first_seen_ms, seen_ms)
                 VALUES ($1, $2, $3, false, '', '', 0, 0)",
            )
            .bind(id)
            .bind(serial)
            .bind(uuid.to_string())
            .execute(&db.write)
            .await
            .unwrap();
        }
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        for (device, last) in [(1, 1), (1, 9), (2, 9)] {
            sqlx::query("INSERT INTO device_mac (device, mac, seen_ms) VALUES ($1, $2, 0)")
                .bind(device)
                .bind(mac(last).to_string())
                .execute(&db.write)
                .await
                .unwrap();
        }
        let serial = async |last, uuids: &[Uuid]| {
            db.serial_of_client(mac(last), uuids).await.unwrap().map(|serial| serial.to_string())
        };
        assert_eq!(serial(1, &[]).await.as_deref(), Some("C02A"));
        assert_eq!(serial(9, &[]).await, None, "a dongle of two Macs");
        assert_eq!(serial(9, &[Uuid::from_u128(7), other]).await.as_deref(), Some("C02B"));
        assert_eq!(serial(5, &[Uuid::nil()]).await, None);
    }
}
