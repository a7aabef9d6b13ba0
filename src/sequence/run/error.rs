//! Events that a run cannot take in, and records that make no run.
//!
//! Must not know: how a run moves.

use super::MOST_VARIABLES;
use super::act::CannotBegin;
use crate::sequence::name::VariableName;
use crate::sequence::program::CannotNest;

/// An event that the run cannot take in as it stands. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// A report on an action that was not handed out.
    #[error("action {number} was never handed out; the last one was {last}")]
    NotAssigned {
        /// Reported.
        number: u32,
        /// Handed out last.
        last: u32,
    },
    /// The run is over.
    #[error("the run has ended: {message}")]
    Ended {
        /// How.
        message: String,
    },
    /// An event of the engine that does not follow from where the run is.
    #[error("`{event}` does not follow: the run is at step {step}")]
    DoesNotFollow {
        /// Its kind.
        event: &'static str,
        /// Where the run is.
        step: u32,
    },
    /// The step was handed out, and cannot be.
    #[error(transparent)]
    CannotBegin(#[from] CannotBegin),
    /// Nobody asked for this variable.
    #[error("the run does not ask for {0} now: somebody may have answered already")]
    NotAsked(VariableName),
    /// Nobody asked where the image of this step goes.
    #[error("the run does not ask where step {0} puts its image: somebody may have chosen already")]
    NoDestinationAsked(u32),
    /// It did not fail at a step.
    #[error("only a run that failed can be resumed: {message}")]
    CannotResume {
        /// How it stands.
        message: String,
    },
    /// A script sets without end.
    #[error("the run would hold more than {MOST_VARIABLES} variables")]
    TooManyVariables,
    /// Recorded by a newer version.
    #[error("an event that this version does not know: update the appliance")]
    Unknown,
}

/// Recorded events that make no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The first event is not `started`.
    #[error("the record of a run begins with `started`, this one with {0}")]
    NotStarted(&'static str),
    /// The sequence cannot be put together with those that it runs.
    #[error("the sequence of the run is not whole: {0}")]
    CannotNest(#[from] CannotNest),
    /// An event that does not follow from those before it.
    #[error("event {number} of the record: {source}")]
    OutOfOrder {
        /// From 1.
        number: usize,
        /// Why.
        source: OutOfOrder,
    },
}
