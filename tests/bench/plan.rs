//! How long a plan of many nested steps takes: `cargo run --release --example plan -- [STEPS [TIMES]]`.
//!
//! One line of JSON: steps, times, and of the times in milliseconds least, median and most. The goal is a median below 50 for
//! 1,000 steps.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;

use rootstock::sequence::model::Sequence;
use rootstock::sequence::rehearsal::{Input, plan};
use rootstock::sequence::variable::Facts;

/// Steps of the sequence that is run again and again.
const INNER: usize = 100;

fn main() {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<usize>().expect("a number"));
    let (steps, times) = (words.next().unwrap_or(1000), words.next().unwrap_or(21));
    let calls = steps.div_ceil(INNER).max(1);
    let inner: String = (0..INNER)
        .map(|n| format!("  - {{name: s{n}, if: {{all: [{{variable: Model, like: 'iMac*'}}]}}, execute_script: {{script: '#!/bin/sh'}}}}\n"))
        .collect();
    let outer: String = (0..calls)
        .map(|n| format!("  - {{name: g{n}, group: [{{run_sequence: {{sequence: Inner}}}}]}}\n"))
        .collect();
    let inner = Sequence::from_yaml(&format!("name: Inner\nsteps:\n{inner}")).unwrap();
    let outer = Sequence::from_yaml(&format!("name: Outer\nsteps:\n{outer}")).unwrap();
    let facts = Facts { model: Some("iMac14,2".parse().unwrap()), ..Facts::default() };
    let input = Input { others: BTreeMap::from([("Inner".to_owned(), inner)]), facts, ..Input::default() };
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let now = std::time::Instant::now;
    let mut took: Vec<f64> = (0..times.max(1))
        .map(|_| {
            let began = now();
            let made = plan(&outer, &input).unwrap();
            let time = (now() - began).as_secs_f64() * 1000.0;
            assert_eq!((made.steps.len(), made.findings.len()), (calls * INNER, 0));
            time
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let (least, median, most) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{{\"steps\": {}, \"times\": {}, \"least_ms\": {least:.2}, \"median_ms\": {median:.2}, \"most_ms\": {most:.2}}}",
        calls * INNER,
        took.len()
    );
}
