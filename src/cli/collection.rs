//! `rootstock collection …`: sets of Macs, by hand and by rule.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::device::find;
use super::output::{Table, printable, say, say_json, segment, stamp};
use crate::api::admin::{
    Collection, CollectionDetails, CreateCollection, DeviceSummary, EditCollection, RuleFact, RuleFinding,
    RulePreview, RuleText,
};

/// Verbs of `rootstock collection`.
#[derive(Subcommand)]
pub enum Command {
    /// Collections and how many Macs belong to each
    List(Online<List>),
    /// One collection: rule, direct members, collections in it
    Show(Online<Show>),
    /// Make a collection
    #[command(after_help = RULES)]
    Create(Online<Create>),
    /// Change a collection
    #[command(after_help = RULES)]
    Edit(Online<Edit>),
    /// Put Macs into a collection by hand
    Add(Online<Put>),
    /// Take Macs out of a collection into which they were put by hand
    Remove(Online<Put>),
    /// Macs that belong to a collection
    Members(Online<Show>),
    /// Look at a rule without keeping it: what is wrong with it, and for which Macs it holds
    #[command(after_help = RULES)]
    Preview(Online<Preview>),
    /// What rules may ask of a Mac
    Facts(Online<List>),
    /// Delete a collection with its variables
    Delete(Online<Show>),
}

const RULES: &str = "\
A rule: FACT OPERATOR VALUE, put together by and, or, not, ( ).
  model like \"iMac*\" and memory >= 8 GiB
  serial between C02FEA00 and C02FEAZZ
  ip in 10.1.0.0/16 or tag in (lab-3, lab-4)
  disk.health != good or battery.cycles > 1000
Operators: = != < <= > >= like matches in between exists, and not before the last five. Facts: rootstock collection facts";

/// `list`, `facts`
#[derive(Args, Debug)]
pub struct List {}

/// One collection.
#[derive(Args, Debug)]
pub struct Show {
    /// Name of the collection
    name: String,
}

/// `rootstock collection create`
#[derive(Args, Debug)]
pub struct Create {
    /// Name of the collection
    name: String,
    /// Macs for which this rule holds belong to it
    #[arg(long)]
    rule: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Of two collections that give a Mac the same variable, the one with the higher number wins
    #[arg(long, value_name = "N", default_value_t = 0)]
    priority: i64,
    /// The Macs of this collection belong to it, too; may be given several times
    #[arg(long, value_name = "COLLECTION")]
    include: Vec<String>,
    /// The Macs of this collection never belong to it; may be given several times
    #[arg(long, value_name = "COLLECTION")]
    exclude: Vec<String>,
    /// A Mac that is put into it; may be given several times
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// The number of Macs, where the rule holds for every one: without it such a rule is refused
    #[arg(long, value_name = "COUNT")]
    confirm: Option<u32>,
}

/// `rootstock collection edit`
#[derive(Args, Debug)]
pub struct Edit {
    /// Name of the collection
    name: String,
    /// Another name; deployments and variables follow
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,
    /// Another rule; "" takes it away
    #[arg(long)]
    rule: Option<String>,
    /// Another description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Another priority
    #[arg(long, value_name = "N")]
    priority: Option<i64>,
    /// Included collections, all of them; "" for none
    #[arg(long, value_name = "COLLECTION")]
    include: Option<Vec<String>>,
    /// Excluded collections, all of them; "" for none
    #[arg(long, value_name = "COLLECTION")]
    exclude: Option<Vec<String>>,
    /// The number of Macs, where the new rule holds for every one: without it such a rule is refused
    #[arg(long, value_name = "COUNT")]
    confirm: Option<u32>,
}

/// `rootstock collection add`, `remove`
#[derive(Args, Debug)]
pub struct Put {
    /// Name of the collection
    name: String,
    /// Macs: serial number, UUID, name or number
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
}

/// `rootstock collection preview`
#[derive(Args, Debug)]
pub struct Preview {
    /// The rule
    rule: String,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Show(verb) => verb.run(before, show),
            Command::Create(verb) => verb.run(before, create),
            Command::Edit(verb) => verb.run(before, edit),
            Command::Add(verb) => verb.run(before, |verb, appliance| put(verb, appliance, true)),
            Command::Remove(verb) => verb.run(before, |verb, appliance| put(verb, appliance, false)),
            Command::Members(verb) => verb.run(before, members),
            Command::Preview(verb) => verb.run(before, preview),
            Command::Facts(verb) => verb.run(before, facts),
            Command::Delete(verb) => verb.run(before, delete),
        }
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/collections/{}", segment(name))
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let collections: Vec<Collection> = appliance.client.get("/api/v1/collections")?;
    if appliance.json {
        say_json(&collections)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["NAME", "MACS", "PRIORITY", "WHO BELONGS TO IT"]);
    for collection in collections {
        let who = collection
            .rule
            .clone()
            .filter(|_| collection.description.is_empty())
            .unwrap_or(collection.description);
        let priority =
            if collection.built_in { "lowest".to_owned() } else { collection.priority.to_string() };
        table.row([collection.name, counted(collection.applies_to, collection.stale), priority, who]);
    }
    table.print("no collections")?;
    Ok(ExitCode::SUCCESS)
}

fn counted(macs: u32, stale: bool) -> String {
    if stale { format!("{macs} (being judged)") } else { macs.to_string() }
}

fn show(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let details: CollectionDetails = appliance.client.get(&path(&verb.name))?;
    print_details(&details, appliance)
}

fn print_details(details: &CollectionDetails, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(details)?;
        return Ok(ExitCode::SUCCESS);
    }
    let summary = &details.summary;
    let dashed = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let direct: Vec<String> = details.direct.iter().map(|device| format!("#{device}")).collect();
    for (name, value) in [
        ("name", summary.name.clone()),
        ("for", dashed(summary.description.clone())),
        ("rule", dashed(summary.rule.clone().unwrap_or_default())),
        ("put in", dashed(direct.join(" "))),
        ("includes", dashed(details.includes.join(", "))),
        ("excludes", dashed(details.excludes.join(", "))),
        ("priority", summary.priority.to_string()),
        ("Macs", counted(summary.applies_to, summary.stale)),
        ("changed", details.changed_ms.map_or("-".to_owned(), stamp)),
    ] {
        say(format!("{name:<9} {}", printable(&value)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn numbers(appliance: &Appliance, devices: &[String]) -> anyhow::Result<Vec<i64>> {
    devices.iter().map(|device| Ok(find(appliance, device)?.summary.id)).collect()
}

fn create(verb: Create, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let body = CreateCollection {
        name: verb.name,
        description: verb.description.unwrap_or_default(),
        rule: verb.rule.unwrap_or_default(),
        priority: verb.priority,
        includes: verb.include,
        excludes: verb.exclude,
        direct: numbers(appliance, &verb.device)?,
        confirm: verb.confirm,
    };
    let details: CollectionDetails = appliance.client.post("/api/v1/collections", &body)?;
    print_details(&details, appliance)
}

fn edit(verb: Edit, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let names = |names: Option<Vec<String>>| {
        names.map(|names| names.into_iter().filter(|name| !name.is_empty()).collect())
    };
    let body = EditCollection {
        name: verb.rename,
        description: verb.description,
        rule: verb.rule,
        priority: verb.priority,
        includes: names(verb.include),
        excludes: names(verb.exclude),
        confirm: verb.confirm,
        ..EditCollection::default()
    };
    let details: CollectionDetails = appliance.client.patch(&path(&verb.name), &body)?;
    print_details(&details, appliance)
}

fn put(verb: Put, appliance: &Appliance, into: bool) -> anyhow::Result<ExitCode> {
    let devices = numbers(appliance, &verb.devices)?;
    let body = match into {
        true => EditCollection { add: devices, ..EditCollection::default() },
        false => EditCollection { remove: devices, ..EditCollection::default() },
    };
    let details: CollectionDetails = appliance.client.patch(&path(&verb.name), &body)?;
    print_details(&details, appliance)
}

fn members(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut devices: Vec<DeviceSummary> = Vec::new();
    loop {
        let after =
            devices.last().map(|last| format!("&after={}-{}", last.seen_ms, last.id)).unwrap_or_default();
        let path = format!("/api/v1/devices?limit=1000&collection={}{after}", segment(&verb.name));
        let page: Vec<DeviceSummary> = appliance.client.get(&path)?;
        let last = page.len() < 1000;
        devices.extend(page);
        if last {
            break;
        }
    }
    print_members(&devices, appliance, "nobody belongs to it")
}

fn print_members(
    devices: &[DeviceSummary],
    appliance: &Appliance,
    when_empty: &str,
) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(&devices)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["DEVICE", "SERIAL", "NAME", "MODEL", "TAGS"]);
    for device in devices {
        table.row([
            device.id.to_string(),
            device.serial.as_ref().map_or("-".to_owned(), ToString::to_string),
            device.hostname.clone(),
            device.model.as_ref().map_or("-".to_owned(), ToString::to_string),
            device.tags.join(" "),
        ]);
    }
    table.print(when_empty)?;
    Ok(ExitCode::SUCCESS)
}

fn preview(verb: Preview, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let preview: RulePreview =
        appliance.client.post("/api/v1/collections/preview", &RuleText { rule: verb.rule.clone() })?;
    if !preview.findings.is_empty() {
        if appliance.json {
            say_json(&preview)?;
        } else {
            print_rule_findings(&verb.rule, &preview.findings)?;
        }
        bail!("the rule is wrong");
    }
    if appliance.json {
        say_json(&preview)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_members(&preview.members, appliance, "it holds for no Mac")?;
    let more = preview.matches as usize - preview.members.len().min(preview.matches as usize);
    let more = if more > 0 { format!(", {more} of them not shown") } else { String::new() };
    say(format!("it holds for {} of {} Macs{more}", preview.matches, preview.total))?;
    if preview.total > 0 && preview.matches == preview.total {
        say("these are all: a collection with this rule has to be confirmed")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each thing that is wrong, with a mark under its place.
///
/// # Errors
/// When nobody reads it any more.
pub fn print_rule_findings(rule: &str, findings: &[RuleFinding]) -> anyhow::Result<()> {
    use crate::sequence::target::rule;
    let place = |one: &RuleFinding| rule::RuleFinding {
        at: one.at as usize,
        length: one.length as usize,
        message: printable(&one.message),
    };
    say(rule::BadRule { text: rule.to_owned(), findings: findings.iter().map(place).collect() }.to_string())
}

fn facts(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let facts: Vec<RuleFact> = appliance.client.get("/api/v1/collections/facts")?;
    if appliance.json {
        say_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["FACT", "VALUES", "WHAT"]);
    for fact in facts {
        table.row([fact.name, fact.kind, fact.about]);
    }
    table.print("no facts")?;
    Ok(ExitCode::SUCCESS)
}

fn delete(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    appliance.client.delete(&path(&verb.name))?;
    if appliance.json {
        say_json(&serde_json::json!({ "deleted": verb.name }))?;
    } else {
        say(format!("the collection {} is deleted", verb.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
