//! What a Mac may run: every deployment judged for it, with the reason for every no. Pure: the Mac and the deployments come in as
//! values.
//!
//! The list that a Mac is offered is in a fixed order: what starts by itself first, then the rest, each by the number of its
//! deployment. A sequence that is deployed to it twice stands in the list once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::admin::ExplainedOffer;
use crate::api::runner::{BootMethod, Offer, Purpose};
use crate::db::DeploymentRow;
use crate::sequence::model::Sequence;
use crate::sequence::program::{Others, Program};
use crate::sequence::target::collection::{ALL_MACS, UNKNOWN_MACS};
use crate::sequence::target::identity::Shared;
use crate::sequence::target::layer::{LOW, LOWEST};
use crate::sequence::target::terms::{Past, Reason, Standing};

/// A set of Macs that the appliance makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Every Mac, known or not.
    AllMacs,
    /// Has no members; applies to every Mac that is not known.
    UnknownMacs,
}

impl Collection {
    /// Those that the appliance makes, the more special one last.
    pub const BUILT_IN: [Collection; 2] = [Collection::AllMacs, Collection::UnknownMacs];

    /// The collection of this name, whatever its case.
    pub fn named(name: &str) -> Option<Collection> {
        Collection::BUILT_IN
            .into_iter()
            .find(|collection| collection.name().eq_ignore_ascii_case(name.trim()))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Collection::AllMacs => ALL_MACS,
            Collection::UnknownMacs => UNKNOWN_MACS,
        }
    }

    /// Who belongs to it.
    pub fn description(self) -> &'static str {
        match self {
            Collection::AllMacs => "every Mac",
            Collection::UnknownMacs => {
                "every Mac that no run has ended well on yet, and that nobody made known"
            }
        }
    }

    /// Priority of its variables: below those of every collection that an administrator made.
    pub fn priority(self) -> i64 {
        match self {
            Collection::AllMacs => LOWEST,
            Collection::UnknownMacs => LOW,
        }
    }

    /// Whether a Mac that is known, or is not, belongs to it.
    pub fn holds_a_mac(self, known: bool) -> bool {
        match self {
            Collection::AllMacs => true,
            Collection::UnknownMacs => !known,
        }
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What decides about a Mac.
#[derive(Clone, Debug)]
pub struct Mac {
    /// Whether it is known.
    pub known: bool,
    /// How it was started.
    pub boot: BootMethod,
    /// Names of the collections that it belongs to, in lower case; the built-in ones need not be among them.
    pub collections: BTreeSet<String>,
    /// What happened with deployments on it before.
    pub past: BTreeMap<i64, Past>,
    /// What it shares with another Mac that it must not.
    pub conflict: Option<Shared>,
    /// Milliseconds since 1970 UTC.
    pub now_ms: i64,
}

impl Mac {
    /// Nothing else is known of it.
    pub fn new(known: bool, boot: BootMethod, now_ms: i64) -> Mac {
        Mac { known, boot, collections: BTreeSet::new(), past: BTreeMap::new(), conflict: None, now_ms }
    }

    fn belongs_to(&self, collection: &str) -> bool {
        match Collection::named(collection) {
            Some(built_in) => built_in.holds_a_mac(self.known),
            None => self.collections.contains(&collection.to_lowercase()),
        }
    }
}

/// One thing that a Mac may run, with the revision that it would get.
#[derive(Clone, Debug)]
pub struct Offered {
    /// What the wizard shows.
    pub offer: Offer,
    /// The deployment.
    pub row: DeploymentRow,
    /// Its sequence.
    pub sequence: Sequence,
    /// The same with the sequences that it runs.
    pub program: Program,
}

/// Every deployment, judged for one Mac.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// What it may run, in the order in which it is shown.
    pub offers: Vec<Offered>,
    /// Every deployment with its reason, those that are offered first and in their order.
    pub explained: Vec<ExplainedOffer>,
}

/// Why a deployment is not offered, or does not start by itself.
struct No {
    code: &'static str,
    reason: String,
    until_ms: Option<i64>,
}

impl No {
    fn new(code: &'static str, reason: impl Into<String>) -> No {
        No { code, reason: reason.into(), until_ms: None }
    }

    fn of(reason: &Reason) -> No {
        No { code: reason.code(), reason: reason.to_string(), until_ms: reason.until_ms() }
    }
}

/// Judges every deployment for one Mac. `countdown`: seconds before a Required one starts, where its terms do not say.
pub fn judge(deployments: Vec<DeploymentRow>, others: &Others, mac: &Mac, countdown: u32) -> Judged {
    let mut offers: Vec<(Offered, Option<No>)> = Vec::new();
    let mut refused: Vec<ExplainedOffer> = Vec::new();
    for row in deployments {
        let line = explained(&row);
        match offered(row, others, mac, countdown) {
            Ok(found) => offers.push(found),
            Err(no) => refused.push(with(line, no)),
        }
    }
    offers.sort_by_key(|(offered, _)| (offered.offer.purpose != Purpose::Required, offered.offer.deployment));
    let mut judged = Judged::default();
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    for (offered, why) in offers {
        let mut line = explained(&offered.row);
        // The same sequence through two collections is one line; the one that starts by itself, if any, stands before the other.
        if let Some(first) = seen.get(&offered.offer.sequence) {
            let reason = format!("the same sequence is offered by deployment {first}");
            refused.push(with(line, No::new("shadowed", reason)));
            continue;
        }
        seen.insert(offered.offer.sequence.clone(), offered.offer.deployment);
        line.place = u32::try_from(seen.len()).ok();
        line.starts = offered.offer.purpose == Purpose::Required;
        judged.explained.push(match why {
            Some(no) => with(line, no),
            None => line,
        });
        judged.offers.push(offered);
    }
    refused.sort_by_key(|line| line.deployment);
    judged.explained.extend(refused);
    judged
}

fn explained(row: &DeploymentRow) -> ExplainedOffer {
    let deployment = &row.deployment;
    ExplainedOffer {
        deployment: deployment.id,
        sequence: deployment.sequence.clone(),
        collection: deployment.collection.clone(),
        purpose: deployment.purpose,
        place: None,
        starts: false,
        code: String::new(),
        reason: String::new(),
        until_ms: None,
    }
}

fn with(line: ExplainedOffer, no: No) -> ExplainedOffer {
    ExplainedOffer { code: no.code.to_owned(), reason: no.reason, until_ms: no.until_ms, ..line }
}

fn offered(
    row: DeploymentRow,
    others: &Others,
    mac: &Mac,
    countdown: u32,
) -> Result<(Offered, Option<No>), No> {
    let deployment = &row.deployment;
    if !mac.belongs_to(&deployment.collection) {
        return Err(No::new(
            "not-a-member",
            format!("this Mac does not belong to {}", deployment.collection),
        ));
    }
    let unreadable = |why: String| No::new("unreadable", why);
    // A revision that this version cannot read any more starts nowhere.
    let sequence = Sequence::from_yaml(&row.yaml)
        .map_err(|error| unreadable(format!("the sequence is unreadable: {error}")))?;
    let program = Program::of(&sequence, others).map_err(|error| unreadable(error.to_string()))?;
    if sequence.disabled {
        return Err(No::new("disabled", "the sequence is disabled"));
    }
    if mac.boot == BootMethod::Macos
        && let Some(step) = program.bound_to_boot_environment()
    {
        let reason = format!(
            "its step `{}` brings an operating system or needs the boot environment: it never starts on a live macOS, only over the network or from a stick",
            step.name
        );
        return Err(No::new("needs-boot", reason));
    }
    let terms = deployment
        .terms
        .read(deployment.purpose)
        .map_err(|error| unreadable(format!("its terms are unreadable: {error}")))?;
    let past = mac.past.get(&deployment.id).copied().unwrap_or_default();
    let conflict = mac.conflict.map(Shared::in_words);
    let (purpose, why) = match terms.standing(&past, row.revision, conflict, mac.now_ms) {
        Standing::Starts => (Purpose::Required, None),
        Standing::CanBeChosen(why) => (Purpose::Available, why.as_ref().map(No::of)),
        Standing::No(reason) => return Err(No::of(&reason)),
    };
    let offer = Offer {
        deployment: deployment.id,
        sequence: sequence.name.clone(),
        description: sequence.description.clone(),
        purpose,
        countdown: deployment.terms.countdown.unwrap_or(countdown),
        erases: program.erases(),
        revision: row.revision,
        asks_destination: program.asks_destination(),
        category: sequence.category.clone(),
        download_size: sequence.download_bytes(),
    };
    Ok((Offered { offer, row, sequence, program }, why))
}

/// Why a Mac is offered nothing, and what to do.
pub fn why_empty(explained: &[ExplainedOffer], name: &str) -> String {
    if explained.is_empty() {
        return "no task sequence is deployed on this appliance; deploy one: \
                rootstock deploy SEQUENCE --to \"Unknown Macs\" --purpose available"
            .to_owned();
    }
    let of_others = |line: &&ExplainedOffer| line.code == "not-a-member";
    let mut own = explained.iter().filter(|line| !of_others(line)).collect::<Vec<_>>();
    if own.is_empty() {
        return format!(
            "no task sequence is deployed to this Mac ({name}), which is known to the appliance or belongs to none of the collections; \
             deploy one for it: rootstock deploy SEQUENCE --to \"All Macs\" --purpose available; why: rootstock device offers {name}"
        );
    }
    // What time alone changes is told first, the soonest before the others.
    own.sort_by_key(|line| line.until_ms.unwrap_or(i64::MAX));
    let reasons: Vec<String> =
        own.iter().take(3).map(|line| format!("{}: {}", line.sequence, line.reason)).collect();
    format!(
        "nothing that is deployed to this Mac ({name}) holds now: {}; all reasons: rootstock device offers {name}",
        reasons.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::{Deployment, DeploymentTerms};

    const OS: &str = "steps:\n  - format_disk: {partitions: [{name: HD, format: apfs, size: 100%}]}\n";

    fn row(id: i64, name: &str, collection: &str, purpose: Purpose, rest: &str) -> DeploymentRow {
        DeploymentRow {
            deployment: Deployment {
                id,
                sequence: name.to_owned(),
                collection: collection.to_owned(),
                purpose,
                created_ms: 0,
                terms: DeploymentTerms::default(),
                closed: None,
            },
            revision: 1,
            yaml: format!("name: {name}\n{rest}"),
        }
    }

    fn judged(rows: Vec<DeploymentRow>, mac: &Mac) -> Judged {
        judge(rows, &Others::new(), mac, 30)
    }

    fn names(rows: Vec<DeploymentRow>, mac: &Mac) -> Vec<(i64, Purpose)> {
        judged(rows, mac)
            .offers
            .iter()
            .map(|offered| (offered.offer.deployment, offered.offer.purpose))
            .collect()
    }

    fn code(judged: &Judged, deployment: i64) -> &str {
        &judged.explained.iter().find(|line| line.deployment == deployment).unwrap().code
    }

    fn mac(known: bool) -> Mac {
        Mac::new(known, BootMethod::Netboot, 0)
    }

    #[test]
    fn section_6_unknown_macs_get_what_is_deployed_to_unknown_macs_and_known_ones_do_not() {
        let rows = || {
            vec![
                row(1, "a", "Unknown Macs", Purpose::Available, OS),
                row(2, "b", "all macs", Purpose::Required, OS),
                row(3, "c", "Mars", Purpose::Required, OS),
            ]
        };
        assert_eq!(names(rows(), &mac(false)), [(2, Purpose::Required), (1, Purpose::Available)]);
        assert_eq!(names(rows(), &mac(true)), [(2, Purpose::Required)]);
        let known = judged(rows(), &mac(true));
        assert_eq!([code(&known, 1), code(&known, 2), code(&known, 3)], ["not-a-member", "", "not-a-member"]);
        let martian = Mac { collections: BTreeSet::from(["mars".to_owned()]), ..mac(true) };
        assert_eq!(names(rows(), &martian), [(2, Purpose::Required), (3, Purpose::Required)]);
    }

    #[test]
    fn section_6_a_required_deployment_that_ended_well_before_does_not_start_by_itself_again() {
        let rows = || vec![row(1, "a", "All Macs", Purpose::Required, OS)];
        let past = Past { ran: true, succeeded: true, revision: 1 };
        let again = Mac { past: BTreeMap::from([(1, past)]), ..mac(true) };
        assert_eq!(names(rows(), &again), [(1, Purpose::Available)]);
        assert_eq!(code(&judged(rows(), &again), 1), "succeeded");
        let failed = Mac { past: BTreeMap::from([(1, Past { succeeded: false, ..past })]), ..mac(true) };
        assert_eq!(names(rows(), &failed), [(1, Purpose::Required)]);
        let doubtful = Mac { conflict: Some(Shared::Serial), ..mac(false) };
        assert_eq!(names(rows(), &doubtful), [(1, Purpose::Available)], "nobody can be sure which Mac it is");
    }

    #[test]
    fn section_6_what_is_disabled_cannot_run_there_or_is_closed_is_not_offered_and_says_so() {
        let mut late = row(3, "late", "All Macs", Purpose::Required, OS);
        late.deployment.terms.from = Some("1970-01-02".to_owned());
        let mut paused = row(4, "paused", "All Macs", Purpose::Required, OS);
        paused.deployment.terms.paused = Some(true);
        let rows = vec![
            row(1, "off", "All Macs", Purpose::Available, "disabled: true\nsteps: [{restart: }]\n"),
            row(2, "os", "All Macs", Purpose::Available, OS),
            late,
            paused,
            row(5, "broken", "All Macs", Purpose::Available, "nonsense: 1\n"),
        ];
        let live = Mac::new(true, BootMethod::Macos, 0);
        let judged = judge(rows, &Others::new(), &live, 30);
        assert!(judged.offers.is_empty());
        let codes: Vec<&str> = judged.explained.iter().map(|line| line.code.as_str()).collect();
        assert_eq!(codes, ["disabled", "needs-boot", "needs-boot", "needs-boot", "unreadable"]);
    }

    #[test]
    fn section_6_the_reason_that_time_changes_stands_first_where_nothing_is_offered() {
        let mut late = row(2, "late", "All Macs", Purpose::Required, OS);
        late.deployment.terms.from = Some("1970-01-02".to_owned());
        let rows = vec![
            row(1, "off", "All Macs", Purpose::Available, "disabled: true\nsteps: [{restart: }]\n"),
            late,
        ];
        let judged = judged(rows, &mac(true));
        assert_eq!(judged.explained[1].until_ms, Some(86_400_000));
        let why = why_empty(&judged.explained, "C02");
        assert!(
            why.contains(
                "holds now: late: it is available from 1970-01-02 00:00 (UTC); off: the sequence is disabled"
            ),
            "{why}"
        );
        assert!(why_empty(&[], "C02").contains("no task sequence is deployed on this appliance"));
    }

    #[test]
    fn section_6_a_sequence_that_is_deployed_twice_is_offered_once() {
        let rows = vec![
            row(1, "a", "All Macs", Purpose::Available, OS),
            row(2, "a", "Unknown Macs", Purpose::Required, OS),
        ];
        assert_eq!(names(rows.clone(), &mac(false)), [(2, Purpose::Required)]);
        assert_eq!(code(&judged(rows, &mac(false)), 1), "shadowed");
    }

    #[test]
    fn section_6_the_countdown_is_the_deployments_own_where_it_has_one() {
        let mut own = row(1, "a", "All Macs", Purpose::Required, OS);
        own.deployment.terms.countdown = Some(300);
        let judged = judged(vec![own, row(2, "b", "All Macs", Purpose::Required, OS)], &mac(true));
        let seconds: Vec<u32> = judged.offers.iter().map(|offered| offered.offer.countdown).collect();
        assert_eq!(seconds, [300, 30]);
    }
}
