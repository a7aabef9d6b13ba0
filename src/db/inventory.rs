//! Inventories over time: one is kept when it differs from the one before in more than what changes by itself.

use sqlx::{Row, Sqlite, Transaction};

use super::{Db, DbError, from_json, json};
use crate::api::admin::InventoryChange;
use crate::api::inventory::BatteryFacts;
use crate::api::runner::{DeviceFacts, DiskFacts};
use crate::value::ByteSize;

/// Inventories that are kept of a device, the newest.
const MOST: i64 = 10;

/// Keeps an inventory where it is news.
pub(super) async fn keep(
    tx: &mut Transaction<'static, Sqlite>,
    device: i64,
    facts: &DeviceFacts,
    now_ms: i64,
) -> Result<(), DbError> {
    let lasting = json(&lasting(facts));
    let last: Option<String> = sqlx::query_scalar(
        "SELECT facts FROM device_inventory WHERE device = $1 ORDER BY at_ms DESC LIMIT 1",
    )
    .bind(device)
    .fetch_optional(&mut **tx)
    .await?;
    if last.as_ref() == Some(&lasting) {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO device_inventory (device, at_ms, facts) VALUES ($1, $2, $3)
         ON CONFLICT (device, at_ms) DO UPDATE SET facts = excluded.facts",
    )
    .bind(device)
    .bind(now_ms)
    .bind(lasting)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM device_inventory WHERE device = $1 AND at_ms NOT IN
         (SELECT at_ms FROM device_inventory WHERE device = $1 ORDER BY at_ms DESC LIMIT $2)",
    )
    .bind(device)
    .bind(MOST)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// An inventory without what changes by itself: counters, addresses, cables, what lies on disks.
fn lasting(facts: &DeviceFacts) -> DeviceFacts {
    let mut facts = facts.clone();
    facts.macs.sort();
    for disk in &mut facts.disks {
        disk.contents.clear();
        if let Some(health) = &mut disk.health {
            (health.hours, health.starts, health.temperature, health.written) = (None, None, None, None);
            // A word that stands for it is enough; reasons have numbers in them.
            health.why.clear();
        }
    }
    for nic in &mut facts.inventory.nics {
        nic.addresses.clear();
        (nic.link, nic.speed) = (false, None);
    }
    if let Some(battery) = &mut facts.inventory.battery {
        *battery =
            BatteryFacts { design: battery.design, model: battery.model.take(), ..BatteryFacts::default() };
    }
    facts
}

impl Db {
    /// How the inventory of a device changed, newest first.
    pub async fn inventory_changes(&self, device: i64) -> Result<Vec<InventoryChange>, DbError> {
        let rows = sqlx::query("SELECT at_ms, facts FROM device_inventory WHERE device = $1 ORDER BY at_ms")
            .bind(device)
            .fetch_all(&self.read)
            .await?;
        let mut changes = Vec::new();
        let mut before: Option<DeviceFacts> = None;
        for row in &rows {
            let facts: DeviceFacts = from_json("inventory of a device", row.try_get(1)?)?;
            if let Some(before) = before {
                changes.push(InventoryChange { at_ms: row.try_get(0)?, what: differences(&before, &facts) });
            }
            before = Some(facts);
        }
        changes.reverse();
        Ok(changes)
    }
}

/// What differs, one line a part.
fn differences(before: &DeviceFacts, after: &DeviceFacts) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, old: String, new: String| {
        if old != new {
            let shown = |text: String| if text.is_empty() { "none".to_owned() } else { text };
            lines.push(format!("{name}: {} → {}", shown(old), shown(new)));
        }
    };
    fn text(value: &Option<impl ToString>) -> String {
        value.as_ref().map(ToString::to_string).unwrap_or_default()
    }
    line("serial", text(&before.serial), text(&after.serial));
    line("UUID", text(&before.uuid), text(&after.uuid));
    line("model", text(&before.model), text(&after.model));
    line("memory", ByteSize(before.memory).to_string(), ByteSize(after.memory).to_string());
    line("processor", text(&before.cpu), text(&after.cpu));
    line("firmware", text(&before.firmware), text(&after.firmware));
    line("board", text(&before.inventory.board), text(&after.inventory.board));
    let disks = |facts: &DeviceFacts| {
        let one = |disk: &DiskFacts| {
            let health = disk
                .health
                .as_ref()
                .map(|health| format!(", {}", health.verdict.as_str()))
                .unwrap_or_default();
            format!("{} {} {}{health}", disk.model, disk.serial, ByteSize(disk.size))
        };
        facts.disks.iter().filter(|disk| !disk.external).map(one).collect::<Vec<_>>().join("; ")
    };
    line("disks", disks(before), disks(after));
    let macs =
        |facts: &DeviceFacts| facts.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    line("addresses", macs(before), macs(after));
    let battery = |facts: &DeviceFacts| {
        facts.inventory.battery.as_ref().map(|battery| text(&battery.model)).unwrap_or_default()
    };
    line("battery", battery(before), battery(after));
    if lines.is_empty() {
        lines.push("details of its parts".to_owned());
    }
    lines
}
