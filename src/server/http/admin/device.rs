//! Macs, and network clients with their timelines.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;

use crate::api::admin::{
    Client, ClientSummary, Device, DeviceCollection, DeviceScope, DeviceSummary, ExplainedOffer,
    InheritedVariable, Variable,
};
use crate::api::conclusion::conclude;
use crate::api::runner::{BootMethod, Problem};
use crate::api::timeline::ClientEvent;
use crate::db::Search;
use crate::sequence::name::VariableName;
use crate::sequence::target::collection::Why;
use crate::sequence::target::layer::Origin;
use crate::sequence::variable::Value;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::Refusal;
use crate::server::http::extract::{Path, Query};
use crate::server::http::start;
use crate::server::{offer, targets, variables};
use crate::value::MacAddr;

/// Runs that are shown with their device.
const RUNS_SHOWN: u32 = 50;

/// Events by which the list of clients tells how a start went: enough for one with many retries.
const EVENTS_OF_A_START: i64 = 64;

/// Which Macs.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Words that all stand in what is known of the Mac: serial number, model, addresses, disks, name, tags.
    search: Option<String>,
    /// Only known ones, or only unknown ones.
    known: Option<bool>,
    /// Only those with this tag.
    tag: Option<String>,
    /// Only members of this collection.
    collection: Option<String>,
    /// Exactly this serial number, UUID or name.
    name: Option<String>,
    /// Only those that follow this one: its `seen_ms` and `id` with a `-` between them.
    after: Option<String>,
    /// At most so many, up to 1000; 1000 when left out.
    limit: Option<u32>,
}

/// Most Macs in an answer.
const MOST_DEVICES: u32 = 1000;
/// Most words of a search, and their length.
const MOST_WORDS: (usize, usize) = (8, 100);

/// Macs that said hello or were registered, last seen first.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", params(Wanted), responses(
    (status = 200, body = Vec<DeviceSummary>),
    (status = 404, body = Problem, description = "No such collection"),
))]
pub async fn list(
    State(app): State<App>,
    Query(wanted): Query<Wanted>,
) -> Result<Answer<Vec<DeviceSummary>>, Refusal> {
    let text = wanted.search.unwrap_or_default();
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words.len() > MOST_WORDS.0 || words.iter().any(|word| word.len() > MOST_WORDS.1) {
        return Err(Refusal::wrong(
            format!("a search has at most {} words", MOST_WORDS.0),
            "search for less",
        ));
    }
    let mut search = Search {
        words,
        known: wanted.known,
        tag: wanted.tag,
        name: wanted.name,
        limit: wanted.limit.unwrap_or(MOST_DEVICES).clamp(1, MOST_DEVICES),
        ..Search::default()
    };
    if let Some(after) = wanted.after {
        let parts =
            after.rsplit_once('-').and_then(|(seen, id)| Some((seen.parse().ok()?, id.parse().ok()?)));
        search.after =
            Some(parts.ok_or_else(|| {
                Refusal::unreadable("`after` is `seen_ms` and `id` with a `-` between them")
            })?);
    }
    match wanted.collection.as_deref().map(|name| (name, offer::Collection::named(name))) {
        None | Some((_, Some(offer::Collection::AllMacs))) => {}
        Some((_, Some(offer::Collection::UnknownMacs))) => search.known = Some(false),
        Some((name, None)) => search.collection = Some(super::collection::find(&app, name).await?.0.id),
    }
    Ok(Answer(app.db.devices(&search).await?))
}

/// One Mac with its inventory and its last runs.
#[utoipa::path(get, path = "/api/v1/devices/{device}", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 200, body = Device),
    (status = 404, body = Problem),
))]
pub async fn show(State(app): State<App>, Path(id): Path<i64>) -> Result<Answer<Device>, Refusal> {
    shown(&app, id).await.map(Answer)
}

/// A device as it is shown.
pub(super) async fn shown(app: &App, id: i64) -> Result<Device, Refusal> {
    let device = app.db.device(id).await?.ok_or_else(|| absent(id))?;
    Ok(Device { runs: app.db.runs_of(id, RUNS_SHOWN).await?, ..device })
}

pub(super) fn absent(device: i64) -> Refusal {
    Refusal::absent(format!("there is no device {device}"), "list them: rootstock device list")
}

/// How the Mac is started.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Started {
    /// `netboot`, `usb` or `macos`; as it was started last when left out.
    boot: Option<BootMethod>,
}

/// Every deployment judged for a Mac: what it is offered now, in which order, and why not the rest.
#[utoipa::path(get, path = "/api/v1/devices/{device}/offers", tag = "devices", params(("device" = i64, Path), Started), responses(
    (status = 200, body = Vec<ExplainedOffer>),
    (status = 404, body = Problem),
))]
pub async fn offers(
    State(app): State<App>,
    Path(id): Path<i64>,
    Query(started): Query<Started>,
) -> Result<Answer<Vec<ExplainedOffer>>, Refusal> {
    let device = app.db.device(id).await?.ok_or_else(|| absent(id))?;
    let boot = match started.boot.unwrap_or(device.boot) {
        BootMethod::Unknown => BootMethod::Netboot,
        boot => boot,
    };
    let mut judged = targets::judged(&app, id, boot).await?.unwrap_or_default();
    for offered in &judged.offers {
        let why = start::would_not_start(&app, id, boot, offered).await?;
        let line = judged.explained.iter_mut().find(|line| line.deployment == offered.offer.deployment);
        if let (Some(why), Some(line)) = (why, line) {
            line.code = "would-not-start".to_owned();
            line.reason = format!("a run would be refused before anything is erased: {why}");
        }
    }
    Ok(Answer(judged.explained))
}

/// Collections of a Mac, and the variables that it has from them.
#[utoipa::path(get, path = "/api/v1/devices/{device}/scope", tag = "devices", params(("device" = i64, Path)), responses(
    (status = 200, body = DeviceScope),
    (status = 404, body = Problem),
))]
pub async fn scope(State(app): State<App>, Path(id): Path<i64>) -> Result<Answer<DeviceScope>, Refusal> {
    let (_, known) = app.db.device_facts(id).await?.ok_or_else(|| absent(id))?;
    let mut collections: Vec<DeviceCollection> = offer::Collection::BUILT_IN
        .into_iter()
        .map(|built_in| DeviceCollection {
            name: built_in.name().to_owned(),
            priority: built_in.priority(),
            member: built_in.holds_a_mac(known),
            why: if built_in.holds_a_mac(known) { built_in.description() } else { "it is known" }.to_owned(),
        })
        .collect();
    let explained = app.db.explain_collections(id).await?;
    let name =
        |id: i64| explained.iter().find(|(one, _)| one.id == id).map_or("", |(one, _)| one.name.as_str());
    let rows = app.db.all_collections().await?;
    for row in rows {
        let Some((_, why)) = explained.iter().find(|(one, _)| one.id == row.id) else { continue };
        let words = match why {
            Why::Direct => "it was put into it".to_owned(),
            Why::Rule => "the rule holds for it".to_owned(),
            Why::Included(other) => format!("it belongs to {}, which is included", name(*other)),
            Why::Excluded(other) => format!("it belongs to {}, which is excluded", name(*other)),
            Why::Nothing => "it was not put into it, and no rule holds for it".to_owned(),
        };
        collections.push(DeviceCollection {
            name: row.name,
            priority: row.priority,
            member: why.is_member(),
            why: words,
        });
    }
    let (variables, origins) = variables::of_collections(&app.db, &app.secrets, id, known).await?;
    let collection_variables = variables.into_iter().map(|(name, value)| {
        let origin = origins.get(&name).cloned();
        let origin = origin.unwrap_or(Origin { collection: String::new(), tied_with: Vec::new() });
        InheritedVariable {
            variable: shown_variable(name, value),
            collection: origin.collection,
            tied_with: origin.tied_with,
        }
    });
    let own = variables::of_device(&app.db, &app.secrets, id).await?;
    Ok(Answer(DeviceScope {
        collections,
        collection_variables: collection_variables.collect(),
        device_variables: own.into_iter().map(|(name, value)| shown_variable(name, value)).collect(),
    }))
}

fn shown_variable(name: VariableName, value: Value) -> Variable {
    let empty = value.text.is_empty();
    Variable { name: name.into(), value: (!value.secret).then_some(value.text), secret: value.secret, empty }
}

/// Every network client that was heard, last seen first.
#[utoipa::path(get, path = "/api/v1/clients", tag = "devices", responses((status = 200, body = Vec<ClientSummary>)))]
pub async fn clients(State(app): State<App>) -> Result<Answer<Vec<ClientSummary>>, Refusal> {
    let (mut clients, events) = (app.db.clients().await?, app.db.last_events(EVENTS_OF_A_START).await?);
    let now = now_ms();
    let starts: BTreeMap<MacAddr, &[ClientEvent]> =
        events.chunk_by(|one, other| one.mac == other.mac).map(|events| (events[0].mac, events)).collect();
    for client in &mut clients {
        client.conclusion = starts.get(&client.last.mac).and_then(|events| conclude(events, now));
    }
    Ok(Answer(clients))
}

/// The timeline of one network client.
#[utoipa::path(get, path = "/api/v1/clients/{mac}", tag = "devices", params(("mac" = String, Path)), responses(
    (status = 200, body = Client),
    (status = 404, body = Problem, description = "Nothing was heard of it"),
))]
pub async fn client(State(app): State<App>, Path(mac): Path<MacAddr>) -> Result<Answer<Client>, Refusal> {
    let client = app.db.client(mac).await?.ok_or_else(|| {
        Refusal::absent(
            format!("nothing was heard of {mac}"),
            "check that it is in the same network, and that its packets reach the appliance: rootstock client list",
        )
    })?;
    Ok(Answer(Client { conclusion: conclude(&client.events, now_ms()), ..client }))
}
