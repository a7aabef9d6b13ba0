//! Which ring may move where. Pure: what is so comes in as a value, the move goes out as one.
//!
//! Must not know: how pointers are kept.

use crate::api::admin::{ImageEvent, ImageEventKind};
use crate::db::{Move, Standing};
use crate::value::{Ring, Rings};

/// Why no ring moves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMove {
    /// There is no such version.
    #[error("it has no version {0}")]
    NoVersion(u32),
    /// There is nothing in the rings before it.
    #[error("no ring before {0} points to a version")]
    Nothing(Ring),
    /// It cannot go further.
    #[error("version {0} is in production already, and no ring comes after that")]
    AtTheEnd(u32),
    /// The ring never pointed anywhere else, or only to versions that are deleted.
    #[error("{0} pointed to no other version before that is still there")]
    NothingBefore(Ring),
}

/// The move of a promotion. None: the ring points there already.
///
/// # Errors
/// See [`NoMove`].
pub fn promotion(
    standing: &Standing,
    version: Option<u32>,
    ring: Option<Ring>,
) -> Result<Option<Move>, NoMove> {
    let Standing { rings, versions, .. } = standing;
    let (ring, version) = match (version, ring) {
        (Some(version), Some(ring)) => (ring, version),
        (Some(version), None) => (after(rings, version)?, version),
        (None, Some(ring)) => {
            let before = Ring::ALL.into_iter().rev().filter(|other| *other < ring);
            let version = before.filter_map(|other| rings.get(other)).next();
            (ring, version.ok_or(NoMove::Nothing(ring))?)
        }
        (None, None) => {
            let version = rings.draft.ok_or(NoMove::Nothing(Ring::Test))?;
            (after(rings, version)?, version)
        }
    };
    if !versions.contains(&version) {
        return Err(NoMove::NoVersion(version));
    }
    let kind = ImageEventKind::Promoted;
    Ok((rings.get(ring) != Some(version)).then_some(Move { ring, version, kind }))
}

/// The ring after the last one that a version is in.
fn after(rings: &Rings, version: u32) -> Result<Ring, NoMove> {
    let last = rings.of(version).pop().unwrap_or(Ring::Draft);
    last.next().ok_or(NoMove::AtTheEnd(version))
}

/// The move of a ring back to what it pointed to before; asked again, it goes back further.
///
/// # Errors
/// [`NoMove::NothingBefore`].
pub fn rollback(standing: &Standing, ring: Ring) -> Result<Option<Move>, NoMove> {
    let now = standing.rings.get(ring);
    let trail = trail(standing.history.iter().filter(|event| event.ring == Some(ring)));
    let before = trail
        .into_iter()
        .rev()
        .skip_while(|version| Some(*version) == now)
        .find(|version| standing.versions.contains(version) && Some(*version) != now);
    let version = before.ok_or(NoMove::NothingBefore(ring))?;
    Ok(Some(Move { ring, version, kind: ImageEventKind::RolledBack }))
}

/// The versions that a ring went through to where it is, without the detours that were rolled back.
fn trail<'a>(moves: impl Iterator<Item = &'a ImageEvent>) -> Vec<u32> {
    let mut trail: Vec<u32> = Vec::new();
    for event in moves {
        if trail.is_empty() {
            trail.extend(event.from);
        }
        let Some(to) = event.to else { continue };
        if event.kind == ImageEventKind::RolledBack {
            let place = trail.iter().rposition(|version| *version == to);
            trail.truncate(place.unwrap_or(0));
        }
        if trail.last() != Some(&to) {
            trail.push(to);
        }
    }
    trail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(rings: [Option<u32>; 3], versions: &[u32]) -> Standing {
        let [draft, test, production] = rings;
        Standing {
            rings: Rings { draft, test, production },
            versions: versions.to_vec(),
            history: Vec::new(),
        }
    }

    /// Does a move, as the database would.
    fn act(standing: &mut Standing, decided: Result<Option<Move>, NoMove>) -> Option<u32> {
        let Move { ring, version, kind } = decided.unwrap()?;
        let from = standing.rings.get_mut(ring).replace(version);
        let number = standing.history.len() as i64;
        let (by, detail, ring, to) = (String::new(), String::new(), Some(ring), Some(version));
        standing.history.push(ImageEvent { number, at_ms: 0, by, kind, ring, from, to, detail });
        to
    }

    #[test]
    fn without_words_the_draft_goes_one_ring_further_each_time() {
        let mut now = standing([Some(3), None, None], &[1, 2, 3]);
        for ring in [Ring::Test, Ring::Production] {
            let decided = promotion(&now, None, None);
            assert_eq!(act(&mut now, decided), Some(3));
            assert_eq!(now.rings.get(ring), Some(3));
        }
        assert_eq!(promotion(&now, None, None), Err(NoMove::AtTheEnd(3)));
        assert_eq!(promotion(&now, Some(3), Some(Ring::Production)), Ok(None), "it is there");
    }

    #[test]
    fn a_ring_takes_the_version_of_the_ring_before_it_or_the_one_that_is_named() {
        let now = standing([Some(3), Some(2), None], &[1, 2, 3]);
        let to =
            |version, ring| promotion(&now, version, ring).unwrap().map(|moved| (moved.ring, moved.version));
        assert_eq!(to(None, Some(Ring::Production)), Some((Ring::Production, 2)));
        assert_eq!(to(None, Some(Ring::Test)), Some((Ring::Test, 3)));
        assert_eq!(to(Some(1), None), Some((Ring::Test, 1)));
        assert_eq!(to(Some(2), None), Some((Ring::Production, 2)));
        assert_eq!(
            to(Some(1), Some(Ring::Production)),
            Some((Ring::Production, 1)),
            "restore is a move of the pointer"
        );
        assert_eq!(promotion(&now, Some(9), None), Err(NoMove::NoVersion(9)));
        assert_eq!(promotion(&now, None, Some(Ring::Draft)), Err(NoMove::Nothing(Ring::Draft)));
        let untested = standing([Some(3), None, None], &[3]);
        let moved = promotion(&untested, None, Some(Ring::Production)).unwrap().unwrap();
        assert_eq!(moved.version, 3, "an empty test ring is passed over");
    }

    #[test]
    fn a_ring_rolls_back_step_by_step_and_a_new_promotion_starts_from_there() {
        let mut now = standing([Some(4), None, None], &[1, 2, 3, 4]);
        for version in [1, 2, 3] {
            let decided = promotion(&now, Some(version), Some(Ring::Production));
            act(&mut now, decided);
        }
        let mut back = || {
            let decided = rollback(&now, Ring::Production);
            decided.is_ok().then(|| act(&mut now, decided)).flatten()
        };
        assert_eq!([back(), back(), back()], [Some(2), Some(1), None]);
        let decided = promotion(&now, Some(4), Some(Ring::Production));
        act(&mut now, decided);
        assert_eq!(rollback(&now, Ring::Production).unwrap().unwrap().version, 1);
        assert_eq!(rollback(&now, Ring::Test), Err(NoMove::NothingBefore(Ring::Test)));
    }

    #[test]
    fn a_rollback_passes_over_versions_that_were_deleted() {
        let mut now = standing([Some(3), None, None], &[1, 2, 3]);
        for version in [1, 2, 3] {
            let decided = promotion(&now, Some(version), Some(Ring::Production));
            act(&mut now, decided);
        }
        now.versions = vec![1, 3];
        assert_eq!(rollback(&now, Ring::Production).unwrap().unwrap().version, 1);
        now.versions = vec![3];
        assert_eq!(rollback(&now, Ring::Production), Err(NoMove::NothingBefore(Ring::Production)));
    }
}
