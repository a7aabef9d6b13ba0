//! `kill -9` of the daemon or the command line at any place of any act.

use std::collections::BTreeMap;

use crate::appliance::{Appliance, writes};
use crate::random::Random;
use crate::setting;
use crate::work::{Act, Promises, Sources, check};

/// Whom it hits.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Daemon,
    Client,
}

/// How the act ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Killed,
    Succeeded,
    Refused,
}

/// Runs the act until `victim` has written `after` times, and kills it then.
fn interrupted(
    sources: &Sources,
    appliance: Appliance,
    act: Act,
    victim: Victim,
    after: u64,
    targets: &std::path::Path,
) -> End {
    let before = writes(appliance.id()).unwrap();
    let mut client = sources.command(&appliance, act, targets).spawn().unwrap();
    let end = loop {
        if let Some(status) = client.try_wait().unwrap() {
            break if status.success() { End::Succeeded } else { End::Refused };
        }
        let so_far = match victim {
            Victim::Daemon => writes(appliance.id()).map(|now| now - before),
            Victim::Client => writes(client.id()),
        };
        if so_far.is_some_and(|so_far| so_far >= after) {
            break End::Killed;
        }
        std::thread::yield_now();
    };
    // SIGKILL, the victim first; the other one does not outlive it for long.
    match victim {
        Victim::Daemon => {
            drop(appliance);
            drop(client.kill());
        }
        Victim::Client => {
            drop(client.kill());
            drop(appliance);
        }
    }
    drop(client.wait());
    end
}

#[test]
fn whoever_is_killed_at_any_point_loses_nothing_acknowledged_and_leaves_nothing_half() {
    let (rounds, seed) = (setting("ROOTSTOCK_KILLS", 12), setting("ROOTSTOCK_SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let (data, targets) = (folder.path().join("data"), folder.path());
    let (sources, mut random, mut promises) = (Sources::new(), Random(seed), Promises::default());
    // The most that was written in an act of this kind: how far there is to go.
    let mut lengths: BTreeMap<(&str, bool), u64> = BTreeMap::new();
    let mut counts: BTreeMap<(&str, String), u64> = BTreeMap::new();
    let mut killed = 0;
    while killed < rounds {
        let appliance = Appliance::start(&data);
        check(&appliance, &mut promises, targets);
        let act = promises.choose(&mut random);
        let victim = *random.pick(&[Victim::Daemon, Victim::Daemon, Victim::Client]);
        let length = lengths.entry((act.kind(), matches!(victim, Victim::Daemon))).or_insert(12);
        let after = random.below(*length + *length / 4);
        promises.begun(act);
        let end = interrupted(&sources, appliance, act, victim, after, targets);
        println!("kill {killed}: {act:?}, {victim:?} after {after} writes: {end:?}");
        *counts.entry((act.kind(), format!("{end:?}"))).or_default() += 1;
        match end {
            End::Killed => {
                killed += 1;
                *length = (*length).max(after + after / 2);
            }
            // It ended before that many writes: not so far the next time.
            End::Succeeded => {
                promises.kept(act);
                *length = (after * 3 / 4).max(2);
            }
            End::Refused => {
                panic!("after {killed} kills (seed {seed}) {act:?} was refused: {}", sources.said())
            }
        }
    }
    check(&Appliance::start(&data), &mut promises, targets);
    println!("{killed} kills with seed {seed}: {counts:?}");
}
