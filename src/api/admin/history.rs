//! History: times of a step across runs, and what can be told from them.

use serde::{Deserialize, Serialize};

use super::StepState;

/// A step of one run that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct StepTime {
    /// Number of the run.
    pub run: i64,
    /// Name of the sequence.
    pub sequence: String,
    /// Its revision.
    pub revision: u32,
    /// What the device is called.
    pub device_name: String,
    /// Type of the step.
    pub kind: String,
    /// How it ended.
    pub state: StepState,
    /// When it began, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// From the beginning of the first try to the end of the last.
    pub milliseconds: Option<i64>,
    /// Tries.
    pub tries: u32,
    /// Exit code of its script.
    pub exit_code: Option<i32>,
}

/// One step across runs, newest first, with what its successful times say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct StepTimes {
    /// Name of the step.
    pub step: String,
    /// How often it ended well.
    pub succeeded: u32,
    /// How often it did not.
    pub failed: u32,
    /// Times of those that ended well.
    pub times: Option<Spread>,
    /// Every one.
    pub runs: Vec<StepTime>,
}

/// How times spread, in milliseconds. Between two measured values the mean of both is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Spread {
    /// The shortest.
    pub least: i64,
    /// A quarter is not longer.
    pub quarter: i64,
    /// Half are not longer.
    pub median: i64,
    /// Three quarters are not longer.
    pub three_quarters: i64,
    /// The longest.
    pub most: i64,
}

impl StepTimes {
    /// From the rows of one step.
    pub fn new(step: String, runs: Vec<StepTime>) -> StepTimes {
        let is_well = |one: &&StepTime| one.state == StepState::Succeeded;
        let succeeded = runs.iter().filter(is_well).count() as u32;
        let failed = runs.iter().filter(|one| one.state == StepState::Failed).count() as u32;
        let times = Spread::of(runs.iter().filter(is_well).filter_map(|one| one.milliseconds).collect());
        StepTimes { step, succeeded, failed, times, runs }
    }
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut values: Vec<i64>) -> Option<Spread> {
        values.sort_unstable();
        let (least, most) = (*values.first()?, *values.last()?);
        let half = |values: &[i64]| {
            let middle = values.len() / 2;
            match values.len() % 2 {
                1 => values[middle],
                _ => (values[middle - 1] + values[middle]) / 2,
            }
        };
        // Quartiles: the medians of both halves, the middle value belonging to both.
        let upper = values.len() / 2;
        let lower = values.len().div_ceil(2);
        let (quarter, three_quarters) = (half(&values[..lower]), half(&values[upper..]));
        Some(Spread { least, quarter, median: half(&values), three_quarters, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_spread_around_their_median() {
        let spread = |values: &[i64]| {
            let spread = Spread::of(values.to_vec()).unwrap();
            [spread.least, spread.quarter, spread.median, spread.three_quarters, spread.most]
        };
        assert_eq!(spread(&[5]), [5; 5]);
        assert_eq!(spread(&[4, 2]), [2, 2, 3, 4, 4]);
        assert_eq!(spread(&[5, 1, 3, 2, 4]), [1, 2, 3, 4, 5]);
        assert_eq!(spread(&[1, 2, 3, 4]), [1, 1, 2, 3, 4]);
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
