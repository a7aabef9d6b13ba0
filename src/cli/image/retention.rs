//! `rootstock image retention`: which old versions go by themselves.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::api::admin::{ApplyRetention, Retention as Rules, RetentionPlan, SetRetention};
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, say, say_json, segment};

/// `rootstock image retention`
#[derive(Args, Debug)]
pub struct Retention {
    /// Name of the image [default: all images]
    name: Option<String>,
    /// Keep the newest so many versions
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keep: Option<u32>,
    /// Keep versions younger than so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Keep all versions of this image
    #[arg(long, conflicts_with_all = ["keep", "days"])]
    keep_all: bool,
    /// Back to the rules of the settings: library.keep-versions and library.keep-days
    #[arg(long, conflicts_with_all = ["keep", "days", "keep_all"])]
    default: bool,
    /// Delete now what the rules let go [default: after the next import, and every day]
    #[arg(long)]
    now: bool,
    /// Say what would be deleted, and change nothing
    #[arg(long, conflicts_with = "now")]
    dry_run: bool,
}

/// Shows, sets or applies the rules.
pub fn run(verb: Retention, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let rules = Rules { keep_versions: verb.keep, keep_days: verb.days };
    let given = rules != Rules::default() || verb.keep_all;
    if given || verb.default {
        let Some(name) = &verb.name else {
            bail!("name the image that these rules are for; rules for all images are settings of rootstockd");
        };
        if verb.dry_run {
            bail!("--dry-run shows the rules in force: set them first, nothing is deleted by that alone");
        }
        let path = format!("/api/v1/images/{}/retention", segment(name));
        let body = SetRetention { retention: given.then_some(rules) };
        let plan: RetentionPlan = appliance.client.put(&path, &body)?;
        if !verb.now {
            return tell(&[plan], false, appliance);
        }
    }
    let body = ApplyRetention { image: verb.name, dry_run: !verb.now };
    let plans: Vec<RetentionPlan> = appliance.client.post("/api/v1/library/retention", &body)?;
    tell(&plans, verb.now, appliance)
}

fn tell(plans: &[RetentionPlan], done: bool, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(&plans)?;
        return Ok(ExitCode::SUCCESS);
    }
    for plan in plans {
        let whose = if plan.own { "its own" } else { "the settings" };
        say(format!("{}: {} (by {whose})", plan.name, words(plan.retention)))?;
        let mut table = Table::new(["VERSION", "", "WHY"]);
        for line in &plan.versions {
            let what = match (line.delete, done) {
                (false, _) => "stays",
                (true, false) => "will go",
                (true, true) => "deleted",
            };
            table.row([line.version.to_string(), what.to_owned(), line.why.clone()]);
        }
        table.print("no versions")?;
    }
    if plans.is_empty() {
        say("the library is empty")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn words(rules: Rules) -> String {
    match (rules.keep_versions, rules.keep_days) {
        (None, None) => "all versions are kept".to_owned(),
        (Some(count), None) => format!("the newest {count} versions are kept"),
        (None, Some(days)) => format!("versions younger than {days} days are kept"),
        (Some(count), Some(days)) => {
            format!("the newest {count} versions are kept, and those younger than {days} days")
        }
    }
}
