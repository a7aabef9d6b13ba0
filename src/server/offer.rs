//! What a Mac may run: deployments → collections → offers. Pure: the Mac and the deployments come in as values.

use std::fmt;

use crate::api::runner::{BootMethod, Offer, Purpose};
use crate::db::DeploymentRow;
use crate::sequence::model::Sequence;
use crate::sequence::program::{Others, Program};

/// A set of Macs.
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
            Collection::AllMacs => "All Macs",
            Collection::UnknownMacs => "Unknown Macs",
        }
    }

    /// Who belongs to it.
    pub fn description(self) -> &'static str {
        match self {
            Collection::AllMacs => "every Mac",
            Collection::UnknownMacs => "every Mac that no run has ended well on yet",
        }
    }

    fn holds(self, mac: &Mac<'_>) -> bool {
        self.holds_a_mac(mac.known)
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
#[derive(Clone, Copy, Debug)]
pub struct Mac<'a> {
    /// Whether it is known.
    pub known: bool,
    /// How it was started.
    pub boot: BootMethod,
    /// Deployments that ended well on it before.
    pub succeeded: &'a [i64],
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

/// What this Mac may run now, Required first.
///
/// A Required deployment that ended well on the Mac before is offered as Available: it never starts by itself twice, else a
/// Mac that boots from the network would be imaged at every start.
pub fn offers(
    deployments: Vec<DeploymentRow>,
    others: &Others,
    mac: &Mac<'_>,
    countdown: u32,
) -> Vec<Offered> {
    let mut offers: Vec<Offered> =
        deployments.into_iter().filter_map(|row| offered(row, others, mac, countdown)).collect();
    offers.sort_by_key(|offered| (offered.offer.purpose != Purpose::Required, offered.offer.deployment));
    // The same sequence through two collections is one line; the Required one, if any, is before the other.
    let mut seen = Vec::new();
    offers.retain(|offered| {
        let new = !seen.contains(&offered.offer.sequence);
        seen.push(offered.offer.sequence.clone());
        new
    });
    offers
}

fn offered(row: DeploymentRow, others: &Others, mac: &Mac<'_>, countdown: u32) -> Option<Offered> {
    if !Collection::named(&row.deployment.collection)?.holds(mac) {
        return None;
    }
    // A revision that this version cannot read any more starts nowhere; `sequence list` shows why.
    let sequence = Sequence::from_yaml(&row.yaml).ok()?;
    // Neither does one whose sequences cannot be put together; `sequence check` shows why.
    let program = Program::of(&sequence, others).ok()?;
    if sequence.disabled || (mac.boot == BootMethod::Macos && program.deploys_an_os()) {
        return None;
    }
    let purpose = match row.deployment.purpose {
        Purpose::Required if mac.succeeded.contains(&row.deployment.id) => Purpose::Available,
        purpose => purpose,
    };
    let offer = Offer {
        deployment: row.deployment.id,
        sequence: sequence.name.clone(),
        description: sequence.description.clone(),
        purpose,
        countdown,
        erases: program.erases(),
    };
    Some(Offered { offer, row, sequence, program })
}

/// Why a Mac is offered nothing, and what to do.
pub fn why_empty(deployments: &[DeploymentRow], mac: &Mac<'_>, name: &str) -> String {
    if deployments.is_empty() {
        return "no task sequence is deployed on this appliance; deploy one: \
                rootstock deploy SEQUENCE --to \"Unknown Macs\" --purpose available"
            .to_owned();
    }
    let applies = |row: &&DeploymentRow| {
        Collection::named(&row.deployment.collection).is_some_and(|collection| collection.holds(mac))
    };
    if deployments.iter().any(|row| applies(&row)) {
        return format!(
            "every task sequence that is deployed to this Mac ({name}) is disabled, runs one that is, or cannot run from where it was started; \
             look at them: rootstock sequence list"
        );
    }
    format!(
        "no task sequence is deployed to this Mac ({name}): it is known to the appliance, because a run ended well on it \
         before; deploy one for it: rootstock deploy SEQUENCE --to \"All Macs\" --purpose available"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::Deployment;

    const OS: &str = "steps:\n  - format_disk: {partitions: [{name: HD, format: apfs, size: 100%}]}\n";

    fn row(id: i64, name: &str, collection: &str, purpose: Purpose, rest: &str) -> DeploymentRow {
        DeploymentRow {
            deployment: Deployment {
                id,
                sequence: name.to_owned(),
                collection: collection.to_owned(),
                purpose,
                created_ms: 0,
            },
            revision: 1,
            yaml: format!("name: {name}\n{rest}"),
        }
    }

    fn names(rows: Vec<DeploymentRow>, mac: Mac<'_>) -> Vec<(i64, Purpose)> {
        offers(rows, &Others::new(), &mac, 30)
            .iter()
            .map(|offered| (offered.offer.deployment, offered.offer.purpose))
            .collect()
    }

    const NEW: Mac<'_> = Mac { known: false, boot: BootMethod::Netboot, succeeded: &[] };

    #[test]
    fn unknown_macs_get_what_is_deployed_to_unknown_macs_and_known_ones_do_not() {
        let rows = || {
            vec![
                row(1, "a", "Unknown Macs", Purpose::Available, OS),
                row(2, "b", "all macs", Purpose::Required, OS),
                row(3, "c", "Mars", Purpose::Required, OS),
            ]
        };
        assert_eq!(names(rows(), NEW), [(2, Purpose::Required), (1, Purpose::Available)]);
        assert_eq!(names(rows(), Mac { known: true, ..NEW }), [(2, Purpose::Required)]);
    }

    #[test]
    fn a_required_deployment_that_ended_well_before_does_not_start_by_itself_again() {
        let rows = vec![row(2, "b", "All Macs", Purpose::Required, OS)];
        assert_eq!(names(rows, Mac { known: true, succeeded: &[2], ..NEW }), [(2, Purpose::Available)]);
    }

    #[test]
    fn disabled_sequences_and_os_sequences_on_a_live_macos_are_not_offered() {
        let restart = "steps: [{restart: }]\n";
        let rows = vec![
            row(1, "a", "All Macs", Purpose::Required, OS),
            row(2, "b", "All Macs", Purpose::Required, restart),
            row(3, "c", "All Macs", Purpose::Required, &format!("disabled: true\n{restart}")),
        ];
        assert_eq!(names(rows, Mac { boot: BootMethod::Macos, ..NEW }), [(2, Purpose::Required)]);
    }

    #[test]
    fn one_sequence_through_two_collections_is_offered_once_as_required() {
        let rows = vec![
            row(1, "a", "All Macs", Purpose::Available, OS),
            row(2, "a", "Unknown Macs", Purpose::Required, OS),
        ];
        assert_eq!(names(rows, NEW), [(2, Purpose::Required)]);
    }

    #[test]
    fn an_empty_list_says_why() {
        assert!(why_empty(&[], &NEW, "C02").contains("no task sequence is deployed on this appliance"));
        let unknown = [row(1, "a", "Unknown Macs", Purpose::Available, OS)];
        assert!(why_empty(&unknown, &Mac { known: true, ..NEW }, "C02").contains("known to the appliance"));
        let disabled = [row(1, "a", "All Macs", Purpose::Available, "disabled: true\nsteps: [{restart: }]")];
        assert!(why_empty(&disabled, &NEW, "C02").contains("is disabled"));
    }
}
