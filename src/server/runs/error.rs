//! Why a run did not move.
//!
//! Must not know: what a caller is answered.

use std::net::IpAddr;

use crate::db::DbError;
use crate::sequence::name::VariableName;
use crate::sequence::run::{BadRecord, OutOfOrder};
use crate::server::secrets::CannotUnseal;

/// Why a run did not move.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No such run.
    #[error("there is no run {0}")]
    Absent(i64),
    /// It is old, and only its line in lists is left.
    #[error("the details of run {0} were removed, as `history.keep-days` says")]
    Forgotten(i64),
    /// The event does not follow from where the run is.
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
    /// The rows make no run.
    #[error("the record of run {run} is damaged")]
    Damaged {
        /// Which run.
        run: i64,
        /// Why.
        #[source]
        source: BadRecord,
    },
    /// A row is no event of any version.
    #[error("event {number} of run {run} is unreadable")]
    Unreadable {
        /// Which run.
        run: i64,
        /// Which event.
        number: i64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A row is packed, and does not unpack.
    #[error("event {number} of run {run} is damaged: it does not unpack; restore the database from a backup")]
    Packed {
        /// Which run.
        run: i64,
        /// Which event.
        number: i64,
    },
    /// The engine did not come to an answer.
    #[error("run {0} decides without end")]
    Endless(i64),
    /// A row is sealed, and the key does not open it.
    #[error("event {number} of run {run} cannot be opened")]
    Sealed {
        /// Which run.
        run: i64,
        /// Which event.
        number: i64,
        /// Why.
        #[source]
        source: CannotUnseal,
    },
    /// A person's answer is none.
    #[error("{name}: {why}")]
    NoAnswer {
        /// Which variable.
        name: VariableName,
        /// Why.
        why: String,
    },
    /// The Mac is at another run.
    #[error("run {run} cannot go on: its Mac is at run {other}, which has not ended")]
    Busy {
        /// Which run.
        run: i64,
        /// The other.
        other: i64,
    },
    /// Another runner is at work at it.
    #[error("this Mac has run {run}, and another runner is at work at it{}, heard {} s ago", .by.map_or(String::new(), |by| format!(" from {by}")), .silent_ms / 1000)]
    Taken {
        /// Which run.
        run: i64,
        /// Where the other speaks from.
        by: Option<IpAddr>,
        /// How long ago it was heard.
        silent_ms: i64,
    },
    /// Another process moved the run at the same time.
    #[error("run {0} was moved by another process at the same time")]
    Moved(i64),
    /// The database did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
}
