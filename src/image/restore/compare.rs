//! What a restore would find and do, without writing.
//!
//! Owns: the figures. Must not know: how they are shown.

use crate::image::plan::Plan;
use crate::image::restore::seen::{Seen, old_backup};
use crate::image::restore::survey::survey;
use crate::image::restore::{Fetched, Options, Phase, Progress, RestoreError, Survey, Target};
use crate::value::FreeSpace;

/// How an image and a target differ. Space that the image says nothing about is not looked at, unless it is to be zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes that are at their places.
    pub equal: u64,
    /// Bytes that are not.
    pub differing: u64,
    /// Of these, bytes that a restore would copy from elsewhere on the target.
    pub elsewhere: u64,
    /// Compressed bytes that a restore would fetch.
    pub to_fetch: u64,
    /// Bytes that a restore would write.
    pub to_write: u64,
    /// Bytes that the image says nothing about.
    pub unallocated: u64,
}

/// Reads all of `target` and compares it with what `plan` says. `options.survey` does not matter.
///
/// # Errors
/// [`RestoreError::TooSmall`]; [`RestoreError::Stopped`]. What cannot be read differs.
pub fn compare<T: Target + ?Sized>(
    mut plan: Plan<'_>,
    target: &T,
    options: Options,
    progress: &Progress,
) -> Result<Compared, RestoreError> {
    if target.size() < plan.size {
        return Err(RestoreError::TooSmall { have: target.size(), need: plan.size });
    }
    if options.free == FreeSpace::Zero {
        plan.zero_free();
    }
    let mut seen = Seen::nothing(&plan);
    seen.look_at_edge(&plan, target);
    let options = Options { survey: Survey::Full, ..options };
    let surveyed = survey(&plan, target, &seen, Fetched::default(), options, progress)?;
    plan.found(seen.data());
    plan.zero = seen.zero_runs();
    progress.enter(Phase::Done, 0);
    let edge: u64 = plan.edge.iter().map(|cell| cell.span.length).sum();
    let edge_holds = seen.edge_bytes();
    // Only this is left to differ when all else is equal: an old partition table where the image has none.
    let stale = old_backup(&plan, target.size()).filter(|_| !seen.is_clear_behind());
    let mut compared = Compared {
        bytes: plan.size,
        equal: plan.present_to_check() + edge_holds,
        differing: plan.to_check() - plan.present_to_check()
            + (edge - edge_holds)
            + stale.map_or(0, |span| span.length),
        unallocated: plan.free.iter().map(|span| span.length).sum(),
        ..Compared::default()
    };
    if !seen.is_all() {
        let mut moved = vec![false; plan.cells() as usize];
        for one in &surveyed.moves {
            moved[one.cell as usize] = true;
            compared.elsewhere += plan.cell(one.cell).span.length;
        }
        let absent = (0..plan.cells()).filter(|cell| !plan.is_present(*cell) && !moved[*cell as usize]);
        let edge_work = plan.edge_work(|cell| !seen.has_edge(cell));
        compared.to_fetch =
            plan.work_for(absent).frame_bytes(plan.places()) + edge_work.frame_bytes(plan.places());
        compared.to_write = plan.to_write();
    }
    Ok(compared)
}
