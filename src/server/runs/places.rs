//! Where an image may go, when a run asks: what its Mac says that it has, and what the image needs. In memory only: a Mac that is
//! asked says it again with each question.
//!
//! Must not know: how big an image is, who chooses.

use std::sync::PoisonError;

use super::{Held, RunError, Runs};
use crate::api::runner::DestinationDisk;
use crate::sequence::run::Chosen;
use crate::sequence::run::Question;
use crate::sequence::run::event::Event;
use crate::server::clock::now_ms;
use crate::value::Digest;

/// What is known of one question.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The Mac's disks.
    pub disks: Vec<DestinationDisk>,
    /// Bytes that an image needs: its manifest and partition, and how many.
    pub needs: Option<(Wanted, u64)>,
}

/// What is put there: manifest, and which partition of the image.
pub type Wanted = (Digest, Option<u32>);

impl Held {
    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    /// The Mac of this run says which disks it has.
    pub async fn has_disks(&self, id: i64, disks: Vec<DestinationDisk>) -> Result<(), RunError> {
        let held = self.open(id).await?;
        let other = held.places().disks != disks;
        if other {
            held.places().disks = disks;
            held.seen.send_modify(|seen| seen.change += 1);
        }
        Ok(())
    }

    /// What the run wants to put where a person says, and what is known of the places; none: it does not ask.
    pub async fn wants_place(&self, id: i64) -> Result<Option<(Option<Wanted>, Places)>, RunError> {
        let (held, machine) = self.enter(id).await?;
        let Some(Question::Destination { manifest, source_partition, .. }) = machine.run.question(now_ms())
        else {
            return Ok(None);
        };
        Ok(Some((manifest.map(|manifest| (manifest, source_partition)), held.places().clone())))
    }

    /// So many bytes it needs.
    pub async fn needs(&self, id: i64, wanted: Wanted, bytes: u64) -> Result<(), RunError> {
        self.open(id).await?.places().needs = Some((wanted, bytes));
        Ok(())
    }

    /// A person chose where the image of a step goes.
    pub async fn choose(&self, id: i64, by: &str, step: u32, chosen: Chosen) -> Result<(), RunError> {
        let (held, mut machine) = self.enter(id).await?;
        let event = Event::DestinationChosen { step, by: by.to_owned(), chosen };
        self.record(&held, &mut machine, event, None).await
    }
}
