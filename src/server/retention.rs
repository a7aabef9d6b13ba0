//! Which old versions go by themselves, and their going.
//!
//! Owns: the rules, decided purely from facts and the time. Must not know: how a version is deleted.

use super::app::App;
use super::clock::now_ms;
use super::http::error::Refusal;
use super::images;
use crate::api::admin::{Image, ImageVersion, Retention, RetentionLine, RetentionPlan};
use crate::db::{DbError, Removal};
use crate::value::Ring;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Who deletes here, for the history.
const BY: &str = "the retention policy";

/// What becomes of `versions`, newest first.
pub fn plan(rules: Retention, versions: &[ImageVersion], now_ms: i64) -> Vec<RetentionLine> {
    let lines = versions.iter().enumerate().map(|(place, version)| {
        let (delete, why) = decide(rules, place, version, now_ms);
        RetentionLine { version: version.version, delete, why }
    });
    lines.collect()
}

fn decide(rules: Retention, place: usize, version: &ImageVersion, now_ms: i64) -> (bool, String) {
    let age = now_ms.saturating_sub(version.imported_ms).max(0) / DAY_MS;
    if place == 0 {
        return (false, "the newest".to_owned());
    }
    if let Some(user) = version.used_by.first() {
        return (false, format!("needed by {user}"));
    }
    if version.rings.contains(&Ring::Draft) {
        return (false, "in ring draft".to_owned());
    }
    match rules {
        Retention { keep_versions: None, keep_days: None } => (false, "no rule lets it go".to_owned()),
        Retention { keep_versions: Some(count), .. } if place < count as usize => {
            (false, format!("one of the newest {count}"))
        }
        Retention { keep_days: Some(days), .. } if age < i64::from(days) => {
            (false, format!("{age} days old, kept for {days}"))
        }
        Retention { keep_versions: Some(count), keep_days: None } => {
            (true, format!("older than the newest {count}"))
        }
        Retention { keep_days: Some(days), .. } => (true, format!("{age} days old, kept for {days}")),
    }
}

/// What would become of the versions of one image.
pub async fn of(app: &App, name: &str) -> Result<Option<RetentionPlan>, Refusal> {
    let Some(image) = app.db.image(name).await? else { return Ok(None) };
    Ok(Some(plan_of(app, image)))
}

fn plan_of(app: &App, mut image: Image) -> RetentionPlan {
    app.holds.add_users(&mut image);
    let own = image.retention;
    let retention = own.unwrap_or(app.config.library.retention);
    let versions = plan(retention, &image.versions, now_ms());
    RetentionPlan { name: image.name, retention, own: own.is_some(), versions }
}

/// Plans for one image or all, and unless it is a dry run deletes what they say. The answer tells what was done.
pub async fn apply(app: &App, image: Option<&str>, dry_run: bool) -> Result<Vec<RetentionPlan>, Refusal> {
    let names = match image {
        Some(name) => vec![name.to_owned()],
        None => app.db.images().await?.into_iter().map(|image| image.name).collect(),
    };
    let mut plans = Vec::new();
    for name in names {
        let Some(mut plan) = of(app, &name).await? else { continue };
        if !dry_run {
            delete(app, &mut plan).await?;
        }
        plans.push(plan);
    }
    Ok(plans)
}

async fn delete(app: &App, plan: &mut RetentionPlan) -> Result<(), DbError> {
    let mut orphans = false;
    for line in plan.versions.iter_mut().filter(|line| line.delete) {
        match images::remove(app, &plan.name, line.version, BY, &line.why).await? {
            Removal::Removed { orphan } => {
                orphans |= orphan.is_some();
                tracing::info!("{} {} was deleted: {}", plan.name, line.version, line.why);
            }
            Removal::InUse(users) => {
                (line.delete, line.why) = (false, format!("needed by {}", users.join(", ")));
            }
            Removal::Absent => line.why = "it is gone already".to_owned(),
        }
    }
    if orphans {
        images::sweep(app).await;
    }
    Ok(())
}

/// After an import: its image only. What goes wrong is logged; the image is in.
pub async fn after_import(app: &App, image: &str) {
    if let Err(refusal) = apply(app, Some(image), false).await {
        tracing::error!("old versions of {image} were not looked at: {}", refusal.problem().error);
    }
}

/// Of all images, as the clock asks for. What goes wrong is logged.
pub async fn all(app: &App) {
    if let Err(refusal) = apply(app, None, false).await {
        tracing::error!("old versions were not looked at: {}", refusal.problem().error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: u32, age_days: i64, rings: &[Ring], used_by: &[&str]) -> ImageVersion {
        serde_json::from_value(serde_json::json!({
            "version": version, "manifest": "0".repeat(64), "size": 0, "sha256": "", "source": "", "format": "",
            "imported_ms": -age_days * DAY_MS, "chunks": 0, "added": 0, "partition_scheme": "", "partitions": [],
            "rings": rings, "used_by": used_by,
        }))
        .unwrap()
    }

    fn gone(keep_versions: Option<u32>, keep_days: Option<u32>, versions: &[ImageVersion]) -> Vec<u32> {
        let lines = plan(Retention { keep_versions, keep_days }, versions, 0);
        lines.into_iter().filter(|line| line.delete).map(|line| line.version).collect()
    }

    #[test]
    fn what_is_newest_in_a_ring_or_needed_stays_whatever_the_rules_say() {
        let versions = [
            version(6, 900, &[], &[]),
            version(5, 900, &[Ring::Draft], &[]),
            version(4, 900, &[], &["run 1 of sequence a"]),
            version(3, 900, &[Ring::Production], &["ring production"]),
            version(2, 900, &[], &[]),
        ];
        for rules in [(Some(0), None), (None, Some(0)), (Some(0), Some(0)), (Some(1), Some(1))] {
            assert_eq!(gone(rules.0, rules.1, &versions), [2], "{rules:?}");
        }
    }

    #[test]
    fn every_rule_that_is_given_must_let_a_version_go_and_without_one_none_goes() {
        let versions: Vec<_> = (0..6).map(|n| version(6 - n, i64::from(n) * 10, &[], &[])).collect();
        assert_eq!(gone(None, None, &versions), [0_u32; 0]);
        assert_eq!(gone(Some(4), None, &versions), [2, 1]);
        assert_eq!(gone(None, Some(20), &versions), [4, 3, 2, 1], "as old as that is old enough");
        assert_eq!(gone(Some(2), Some(35), &versions), [2, 1]);
        assert_eq!(gone(Some(5), Some(1), &versions), [1]);
        assert_eq!(gone(Some(u32::MAX), Some(u32::MAX), &versions), [0_u32; 0]);
    }

    #[test]
    fn a_clock_that_was_set_back_deletes_nothing_by_age() {
        let versions = [version(2, 0, &[], &[]), version(1, -5, &[], &[])];
        assert_eq!(gone(None, Some(1), &versions), [0_u32; 0]);
    }
}
