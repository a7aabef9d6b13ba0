//! Whether a target is read before anything is fetched.
//!
//! Owns: the decision and its words. Pure: told what was measured. Must not know: how.

use std::fmt;
use std::time::Duration;

use crate::value::ByteSize;

/// What a sample of the target and the fetches so far showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Cells looked at.
    pub cells: u64,
    /// Those that hold a chunk of the image, at its place or elsewhere.
    pub there: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long reading them took.
    pub reading: Duration,
    /// Bytes of the image that were fetched so far, uncompressed, by one connection.
    pub fetched: u64,
    /// How long that took.
    pub fetching: Duration,
    /// Connections that will fetch.
    pub workers: u64,
}

/// What was decided, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The caller wanted nothing to be read.
    Nothing,
    /// The caller wanted everything to be read.
    All,
    /// It is no larger than a sample.
    Small,
    /// The target holds nothing of the image, so everything is fetched.
    Stranger {
        /// Bytes looked at.
        bytes: u64,
    },
    /// Rates in bytes of the image a second.
    Measured {
        /// Whether the target is read first.
        read: bool,
        /// Percent of the sample that lies on the target.
        there: u8,
        /// Reading and digesting the target.
        reading: Option<u64>,
        /// Fetching and writing, at most as fast as the target is read.
        fetching: Option<u64>,
    },
}

/// Bytes a second; none when too little was measured to tell.
fn rate(bytes: u64, time: Duration) -> Option<u64> {
    (bytes > 0 && time > Duration::from_micros(50)).then(|| (bytes as f64 / time.as_secs_f64()) as u64)
}

/// Reading costs one pass over the target. It spares, for what is there, the fetch and the read-back: what was seen is not
/// read twice. No disk is taken to be written faster than it is read.
pub(super) fn decide(sample: Sample) -> Decision {
    let Sample { cells, there, bytes, .. } = sample;
    if there == 0 {
        return Decision::Stranger { bytes };
    }
    let share = there as f64 / cells.max(1) as f64;
    let reading = rate(bytes, sample.reading);
    let fetched =
        rate(sample.fetched, sample.fetching).map(|rate| rate.saturating_mul(sample.workers.max(1)));
    let fetching = match (fetched, reading) {
        (Some(fetched), Some(reading)) => Some(fetched.min(reading)),
        _ => None,
    };
    // Seconds a byte. Without measurements both are taken to be alike.
    let (read_cost, fetch_cost) = match (reading, fetching) {
        (Some(reading), Some(fetching)) => (1.0 / reading.max(1) as f64, 1.0 / fetching.max(1) as f64),
        _ => (1.0, 1.0),
    };
    let read = read_cost <= share * (fetch_cost + read_cost);
    Decision::Measured { read, there: (share * 100.0) as u8, reading, fetching }
}

/// Whether it pays to look through free space in which a sample found this much of what is missing: what is found there must
/// be written all the same.
pub(super) fn worth_searching(cells: u64, found: u64, decision: Decision) -> bool {
    let share = found as f64 / cells.max(1) as f64;
    match decision {
        Decision::Measured { reading: Some(reading), fetching: Some(fetching), .. } => {
            fetching as f64 <= share * reading as f64
        }
        _ => share >= 0.5,
    }
}

impl Decision {
    /// Whether the target was read first.
    pub fn reads(self) -> bool {
        match self {
            Decision::All | Decision::Small => true,
            Decision::Nothing | Decision::Stranger { .. } => false,
            Decision::Measured { read, .. } => read,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Decision::Nothing => f.write_str("everything is written, as asked"),
            Decision::All => f.write_str("the disk is read first, as asked"),
            Decision::Small => f.write_str("the disk is read first: it is no larger than a sample"),
            Decision::Stranger { bytes } => {
                write!(f, "everything is fetched: {} of samples hold nothing of the image", ByteSize(bytes))
            }
            Decision::Measured { read, there, reading, fetching } => {
                let what = if read { "the disk is read first" } else { "everything is fetched" };
                write!(f, "{what}: {there} % of a sample is there")?;
                match (reading, fetching) {
                    (Some(reading), Some(fetching)) => write!(
                        f,
                        ", reading goes at {}/s, fetching and writing at {}/s or less",
                        ByteSize(reading),
                        ByteSize(fetching)
                    ),
                    _ => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A sample of 64 MiB: percent there, MiB/s of reading, MiB/s of one of four connections.
    fn sample(there: u64, reading: u64, fetching: u64) -> Sample {
        Sample {
            cells: 100,
            there,
            bytes: 64 * MIB,
            reading: Duration::from_secs_f64(64.0 / reading as f64),
            fetched: MIB,
            fetching: Duration::from_secs_f64(1.0 / fetching as f64),
            workers: 4,
        }
    }

    #[test]
    fn a_disk_that_is_read_faster_than_the_image_is_fetched_is_read_when_enough_of_it_is_there() {
        for (there, reading, fetching, reads) in
            [(100, 400, 10, true), (20, 400, 10, true), (5, 400, 10, false), (1, 400, 1, true)]
        {
            assert_eq!(
                decide(sample(there, reading, fetching)).reads(),
                reads,
                "{there} {reading} {fetching}"
            );
        }
    }

    #[test]
    fn a_slow_disk_is_read_when_half_of_the_image_is_there_however_fast_the_network_is() {
        assert!(decide(sample(60, 100, 5000)).reads());
        assert!(!decide(sample(40, 100, 5000)).reads());
    }

    #[test]
    fn a_stranger_s_disk_is_not_read_and_the_words_say_why() {
        let decision = decide(sample(0, 400, 10));
        assert_eq!(decision, Decision::Stranger { bytes: 64 * MIB });
        assert_eq!(
            decision.to_string(),
            "everything is fetched: 64.0 MiB of samples hold nothing of the image"
        );
        let words = decide(sample(90, 400, 20)).to_string();
        assert!(
            words.starts_with(
                "the disk is read first: 90 % of a sample is there, reading goes at 400.0 MiB/s"
            ),
            "{words}"
        );
    }

    #[test]
    fn without_a_clock_half_of_it_decides() {
        let blind =
            |there| Sample { reading: Duration::ZERO, fetching: Duration::ZERO, ..sample(there, 1, 1) };
        assert!(decide(blind(50)).reads() && !decide(blind(49)).reads());
    }

    #[test]
    fn free_space_is_searched_when_that_is_faster_than_fetching_what_is_found() {
        let fast_disk = decide(sample(100, 400, 10));
        assert!(worth_searching(100, 20, fast_disk) && !worth_searching(100, 5, fast_disk));
    }
}
