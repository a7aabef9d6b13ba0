//! `rootstock device list`: page by page, so that the appliance never puts together a list of all.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::text;
use crate::api::admin::{DeviceSummary, RulePreview, RuleText};
use crate::cli::collection::print_rule_findings;
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, say, say_json, segment, stamp};
use crate::value::MacAddr;

/// Macs in one answer.
const PAGE: usize = 500;

/// `rootstock device list`
#[derive(Args, Debug)]
pub struct List {
    /// Words that all stand in what is known of the Mac: serial number, model, addresses, disks, name, tags
    words: Vec<String>,
    /// Only those for which a rule holds: 'memory < 8 GiB and disk.health != good'
    #[arg(long = "where", value_name = "RULE", conflicts_with_all = ["words", "tag", "collection", "known", "unknown"])]
    rule: Option<String>,
    /// Only those with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only members of this collection
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Only known ones
    #[arg(long, conflicts_with = "unknown")]
    known: bool,
    /// Only unknown ones
    #[arg(long)]
    unknown: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
}

pub(super) fn list(verb: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let limit = verb.limit;
    let (devices, all) = match &verb.rule {
        Some(rule) => {
            let preview: RulePreview =
                appliance.client.post("/api/v1/collections/preview", &RuleText { rule: rule.clone() })?;
            if !preview.findings.is_empty() {
                print_rule_findings(rule, &preview.findings)?;
                bail!("the rule is wrong");
            }
            let all = preview.matches as usize;
            let mut members = preview.members;
            members.truncate(limit);
            (members, all)
        }
        None => {
            let devices = pages(&verb, appliance)?;
            let all = devices.len();
            (devices, all)
        }
    };
    if appliance.json {
        say_json(&devices)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(["DEVICE", "SERIAL", "NAME", "MODEL", "KNOWN", "LAST SEEN", "TAGS", "ADDRESSES"]);
    for device in &devices {
        table.row([
            device.id.to_string(),
            text(&device.serial),
            device.hostname.clone(),
            text(&device.model),
            if device.known { "yes" } else { "no" }.to_owned(),
            if device.seen_ms == 0 { "never".to_owned() } else { stamp(device.seen_ms) },
            device.tags.join(" "),
            addresses(&device.macs),
        ]);
    }
    table.print(
        "no such Mac has booted from this appliance or was registered; rootstock client list shows who asked on the network",
    )?;
    if all > devices.len() {
        say(format!("{} more: put them into a collection to see them all", all - devices.len()))?;
    } else if devices.len() >= limit && verb.rule.is_none() {
        say(format!("there may be more than {limit}: --limit N"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn pages(verb: &List, appliance: &Appliance) -> anyhow::Result<Vec<DeviceSummary>> {
    let mut filter = String::new();
    let mut add = |name: &str, value: &str| filter.push_str(&format!("&{name}={}", segment(value)));
    if !verb.words.is_empty() {
        add("search", &verb.words.join(" "));
    }
    if let Some(tag) = &verb.tag {
        add("tag", tag);
    }
    if let Some(collection) = &verb.collection {
        add("collection", collection);
    }
    if verb.known || verb.unknown {
        add("known", if verb.known { "true" } else { "false" });
    }
    let mut devices: Vec<DeviceSummary> = Vec::new();
    while devices.len() < verb.limit {
        let page = PAGE.min(verb.limit - devices.len());
        let after =
            devices.last().map(|last| format!("&after={}-{}", last.seen_ms, last.id)).unwrap_or_default();
        let more: Vec<DeviceSummary> =
            appliance.client.get(&format!("/api/v1/devices?limit={page}{filter}{after}"))?;
        let last = more.len() < page;
        devices.extend(more);
        if last {
            break;
        }
    }
    Ok(devices)
}

pub(super) fn addresses(macs: &[MacAddr]) -> String {
    macs.iter().map(MacAddr::to_string).collect::<Vec<_>>().join(", ")
}
