//! How a run begins: the offer checked, images pinned, the first event recorded, a token given.

use axum::http::StatusCode;

use super::auth::Session;
use super::error::{Refusal, chain};
use super::sign_in;
use crate::api::runner::{BootMethod, DeviceFacts, Offer, Purpose, RunTicket, SeenOffer};
use crate::db::{self, Acting, NewRun, Started, StoredVersion};
use crate::sequence::run::event::{PinnedImage, Start};
use crate::sequence::run::{Run, images_wanted};
use crate::sequence::variable::{Facts, Scope};
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::offer::{Judged, Offered, why_empty};
use crate::server::secrets::CannotUnseal;
use crate::server::variables::VariablesError;
use crate::server::{nested, targets, token, variables, wire};
use crate::value::{Digest, Pick, Secret};

/// Who starts a run.
#[derive(Clone, Copy, Debug)]
pub enum Starter<'a> {
    /// Whoever stands in front of the Mac, with the pass of a technician who signed in there, and what they were shown.
    AtTheMac(Option<&'a Secret>, Option<&'a SeenOffer>),
    /// Somebody who may start runs, through the API.
    Afar(&'a str),
}

/// Starts a run of a deployment on the session's device, or answers with the one that it started before.
pub async fn run(
    app: &App,
    session: &Session,
    deployment: i64,
    starter: Starter<'_>,
) -> Result<RunTicket, Refusal> {
    let (facts, known) = app
        .db
        .device_facts(session.device)
        .await?
        .ok_or_else(|| Refusal::absent(format!("there is no device {}", session.device), ""))?;
    let offered = find_offer(app, session, deployment).await?;
    let by = match starter {
        Starter::AtTheMac(pass, seen) => {
            must_be_as_shown(&offered, seen)?;
            let technician = sign_in::starter(app, session, &offered.offer, pass).await?;
            technician.map(|account| account.shown())
        }
        Starter::Afar(by) => Some(by.to_owned()),
    };
    let starts_by_itself =
        matches!(starter, Starter::AtTheMac(..)) && offered.offer.purpose == Purpose::Required;
    let start_facts = wire::facts(&facts, session.boot);
    let collection = variables::of_collections(&app.db, &app.secrets, session.device, known).await?.0;
    let device = variables::of_device(&app.db, &app.secrets, session.device).await?;
    let images = pin(app, &offered, &start_facts, &collection, &device).await?;
    let others = nested::others(&app.db, &offered.sequence).await?;
    let unsealed = |sequence| nested::unsealed(sequence, &app.secrets).map_err(|error| cannot_open(&error));
    let others = others.into_iter().map(|(name, other)| Ok::<_, Refusal>((name, unsealed(other)?)));
    let others = others.collect::<Result<_, _>>()?;
    let name = offered.sequence.name.clone();
    let start = Start {
        sequence: unsealed(offered.sequence)?,
        facts: start_facts,
        collection,
        device,
        others,
        images: images.iter().map(|(pin, _)| pin.clone()).collect(),
        by: by.clone(),
        unattended: starts_by_itself && session.boot == BootMethod::Macos,
    };
    let now = now_ms();
    let (run, first) = Run::start(start, now).map_err(|error| {
        Refusal::conflict(format!("{name} cannot start: {error}"), "correct the sequence, then try again")
    })?;
    let steps = u32::try_from(run.program().len()).unwrap_or(u32::MAX);
    let (token, digest) = new_token()?;
    let new = NewRun {
        device: session.device,
        deployment,
        sequence: name.clone(),
        revision: offered.row.revision,
        images: images.into_iter().map(|(_, version)| version).collect(),
        token: digest,
        receipt_key: session.receipt_key.clone(),
        steps,
        event: app.runs.body(&first).map_err(|error| Refusal::fault(&error))?,
        started_ms: now,
    };
    let made = match starter {
        Starter::AtTheMac(..) => {
            let who = by.clone().unwrap_or_else(|| format!("the Mac {}", device_name(&facts)));
            let acting = Acting::new(who, "mac", session.from.clone(), "run.start".to_owned(), now_ms);
            db::acting(acting, app.db.create_run(&new)).await?
        }
        // Whoever asked through the API acts already.
        Starter::Afar(_) => app.db.create_run(&new).await?,
    };
    match made {
        Started::Created(run) => {
            let by = by.map_or(String::new(), |by| format!(" by {by}"));
            let line = format!("run {run} of {name} started{by}");
            tracing::info!(run, device = session.device, "{line}");
            app.timeline.runner(facts.macs.first(), true, line);
            Ok(RunTicket { run, token, sequence: name, steps })
        }
        Started::Active(run) => match starter {
            Starter::AtTheMac(..) => again(app, session, deployment, run).await,
            // Its runner has a token already, which must stay good.
            Starter::Afar(_) => Err(Refusal::conflict(
                format!("this Mac has run {run}, which has not ended"),
                format!("wait for its end, or cancel it: rootstock run cancel {run}"),
            )),
        },
        Started::ImageGone => Err(Refusal::conflict(
            format!("an image version that {name} applies was deleted just now"),
            "try again",
        )),
    }
}

/// Nobody starts what they were not shown: a sequence that was changed between offer, summary and start.
fn must_be_as_shown(offered: &Offered, seen: Option<&SeenOffer>) -> Result<(), Refusal> {
    let now = offered.offer.seen();
    let Some(seen) = seen.filter(|seen| **seen != now) else { return Ok(()) };
    let what = match seen.revision == now.revision {
        false => format!("revision {} was shown, now it is revision {}", seen.revision, now.revision),
        true => format!("it erased the disks {:?} when it was shown, now {:?}", seen.erases, now.erases),
    };
    Err(Refusal::conflict(
        format!("{} was changed since it was shown: {what}; nothing was started", offered.offer.sequence),
        "look at the list again, then confirm what the sequence does now",
    ))
}

/// The answer to the first request got lost: the same runner asks for the same deployment again.
async fn again(app: &App, session: &Session, deployment: i64, run: i64) -> Result<RunTicket, Refusal> {
    let row = app.db.run(run).await?;
    if row.is_some_and(|row| row.deployment == deployment && row.receipt_key == session.receipt_key)
        && let Some(ticket) = ticket(app, run, &session.receipt_key).await?
    {
        return Ok(ticket);
    }
    Err(Refusal::conflict(
        format!("this Mac has run {run}, which has not ended"),
        format!("say hello again to go on with it, or cancel it: rootstock run cancel {run}"),
    ))
}

/// A new token for a run. Also for one that ended just now, because its Mac was started anew: the runner asks `next` and shows
/// how it ended.
pub async fn ticket(app: &App, run: i64, receipt_key: &str) -> Result<Option<RunTicket>, Refusal> {
    let Some(row) = app.db.run(run).await? else { return Ok(None) };
    let (token, digest) = new_token()?;
    app.db.renew_token(run, digest, receipt_key).await?;
    Ok(Some(RunTicket { run, token, sequence: row.summary.sequence, steps: row.summary.steps }))
}

/// Everything that may be chosen at the session's device, and why that is nothing.
pub async fn all_offers(app: &App, session: &Session) -> Result<(Vec<Offer>, Option<String>), Refusal> {
    let judged = judged(app, session).await?;
    let (facts, _) = app.db.device_facts(session.device).await?.ok_or_else(|| no_device(session.device))?;
    let why = judged.offers.is_empty().then(|| why_empty(&judged.explained, &device_name(&facts)));
    Ok((judged.offers.into_iter().map(|offered| offered.offer).collect(), why))
}

async fn judged(app: &App, session: &Session) -> Result<Judged, Refusal> {
    targets::judged(app, session.device, session.boot).await?.ok_or_else(|| no_device(session.device))
}

fn no_device(device: i64) -> Refusal {
    Refusal::absent(format!("there is no device {device}"), "say hello again: `POST /runner/v1/hello`")
}

/// What people call a Mac: its serial number, else its UUID, else an address.
pub fn device_name(facts: &DeviceFacts) -> String {
    facts
        .serial
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| facts.uuid.map(|uuid| uuid.to_string()))
        .or_else(|| facts.macs.first().map(ToString::to_string))
        .unwrap_or_else(|| "a Mac without a name".to_owned())
}

async fn find_offer(app: &App, session: &Session, deployment: i64) -> Result<Offered, Refusal> {
    let judged = judged(app, session).await?;
    if let Some(found) = judged.offers.into_iter().find(|offered| offered.offer.deployment == deployment) {
        return Ok(found);
    }
    let why = judged.explained.into_iter().find(|line| line.deployment == deployment);
    let why = why.map_or_else(|| "it was taken back".to_owned(), |line| line.reason);
    Err(Refusal::conflict(
        format!("deployment {deployment} is not, or no longer, offered to this Mac: {why}"),
        "say hello again and choose from the new list",
    ))
}

/// Why a run of an offer would be refused at once; none: it would begin.
pub async fn would_not_start(
    app: &App,
    device: i64,
    boot: BootMethod,
    offered: &Offered,
) -> Result<Option<String>, Refusal> {
    let (facts, known) = app.db.device_facts(device).await?.ok_or_else(|| no_device(device))?;
    let (collection, _) = variables::of_collections(&app.db, &app.secrets, device, known).await?;
    let own = variables::of_device(&app.db, &app.secrets, device).await?;
    let pinned = pin(app, offered, &wire::facts(&facts, boot), &collection, &own).await;
    Ok(pinned.err().map(|refusal| refusal.problem().error.clone()))
}

/// The versions that this run applies, whatever is imported or chosen later.
async fn pin(
    app: &App,
    offered: &Offered,
    facts: &Facts,
    collection: &Scope,
    device: &Scope,
) -> Result<Vec<(PinnedImage, StoredVersion)>, Refusal> {
    let wanted = images_wanted(&offered.program, facts, collection, device).map_err(|(step, why)| {
        Refusal::wrong(
            format!("step `{step}` cannot be prepared: {why}"),
            "correct the sequence, then try again",
        )
    })?;
    let mut pins: Vec<(PinnedImage, StoredVersion)> = Vec::new();
    for image in wanted {
        let found = app.db.version(&image.name, image.pick).await?;
        // Also one that an answer or a script decides on: when that is known, disks may be erased already.
        let applies = if image.certain { "applies" } else { "may apply" };
        let found = found.ok_or_else(|| {
            let name = &image.name;
            let (asked, next) = match image.pick {
                Pick::Ring(ring) => (
                    format!(" in ring {ring}, where it has no version"),
                    format!("put one there: rootstock image promote {name:?} --to {ring}"),
                ),
                pick => (
                    pick.version().map_or(String::new(), |version| format!(" version {version}"))
                        + ", which is not in the library",
                    format!("import it: rootstock image import FILE --name {name:?}"),
                ),
            };
            Refusal::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("step `{}` {applies} the image {name}{asked}", image.step),
                next,
            )
        })?;
        if let Some(damage) = &found.damage {
            return Err(Refusal::conflict(
                format!(
                    "step `{}` applies {} {}, which is damaged: {damage}",
                    image.step, found.image, found.version
                ),
                "import it again, then let it be checked: rootstock store check; or choose another version",
            ));
        }
        let pin = PinnedImage {
            name: image.name,
            asked: image.pick.version(),
            ring: image.pick.ring(),
            version: found.version,
            manifest: found.manifest,
        };
        pins.push((pin, found));
    }
    Ok(pins)
}

fn cannot_open(error: &CannotUnseal) -> Refusal {
    Refusal::conflict(
        format!("a secret of the sequence cannot be used: {error}"),
        "apply the sequence again with its secrets",
    )
}

impl From<VariablesError> for Refusal {
    fn from(error: VariablesError) -> Refusal {
        match error {
            VariablesError::Db(error) => error.into(),
            VariablesError::Sealed { .. } => {
                Refusal::conflict(chain(&error), "set it anew: rootstock variable set")
            }
        }
    }
}

/// A token and what of it is kept.
fn new_token() -> Result<(Secret, Digest), Refusal> {
    let secret = token::random()?;
    let digest = token::digest(secret.expose());
    Ok((secret, digest))
}
