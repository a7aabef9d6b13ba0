//! Power cuts: the data folder lies on ext4 on a disk that remembers; the file system is what the kernel's own journal makes of
//! a disk that was cut.

use std::fs;

use crate::appliance::Appliance;
use crate::disk::{self, Disk};
use crate::mounts::{Mounted, ext4, private};
use crate::random::Random;
use crate::setting;
use crate::work::{Promises, Sources, check};

const SIZE: u64 = 96 << 20;
/// Acts on one disk, and cuts that are made of it.
const ACTS: usize = 8;
const CUTS_OF_ONE: u64 = 10;

/// What was promised when so many events had reached the disk.
type History = Vec<(usize, Promises)>;

/// Works on a disk, and gives what reached it and what was promised meanwhile.
fn recorded(content: Vec<u8>, random: &mut Random) -> (Vec<disk::Event>, History) {
    let disk = Disk::new(content);
    let mounted = Mounted::image(&disk.path());
    let (sources, mut promises) = (Sources::new(), Promises::default());
    // The first start, when keys and database are made, can be cut as well.
    let mut history = vec![(0, promises.clone())];
    let appliance = Appliance::start(&mounted.path().join("data"));
    for _ in 0..ACTS {
        let act = promises.choose(random);
        promises.begun(act);
        history.push((disk.position(), promises.clone()));
        let done = sources.command(&appliance, act, mounted.path()).status().unwrap();
        assert!(done.success(), "{act:?} was refused: {}", sources.said());
        promises.kept(act);
        history.push((disk.position(), promises.clone()));
        println!("{} events: {act:?}", disk.position());
    }
    drop(appliance);
    let events = disk.events();
    drop(mounted);
    (events, history)
}

#[test]
fn the_power_goes_at_any_write_and_nothing_acknowledged_is_lost_and_nothing_is_there_by_half() {
    private();
    let (cuts, seed) = (setting("ROOTSTOCK_CUTS", 5), setting("ROOTSTOCK_SEED", 1));
    let content = ext4(SIZE);
    let mut done = 0;
    while done < cuts {
        let mut random = Random(seed << 32 | done);
        let (events, history) = recorded(content.clone(), &mut random);
        for _ in 0..CUTS_OF_ONE.min(cuts - done) {
            // One in eight while all is made for the first time.
            let work = history[1].0;
            let (from, to) = if random.below(8) == 0 { (0, work) } else { (work, events.len() + 1) };
            let position = from + random.below((to - from) as u64) as usize;
            let known = history.iter().rfind(|(when, _)| *when <= position).unwrap();
            let mut promises = known.1.clone();
            println!("cut {done} (seed {seed}): at {position} of {} events, {promises:?}", events.len());
            let folder = tempfile::tempdir().unwrap();
            let image = folder.path().join("disk");
            fs::write(&image, disk::cut(content.clone(), &events, position, &mut random)).unwrap();
            let mounted = Mounted::image(&image);
            let appliance = Appliance::start(&mounted.path().join("data"));
            check(&appliance, &mut promises, mounted.path());
            // All goes on: the next act succeeds.
            let act = promises.choose(&mut random);
            promises.begun(act);
            let sources = Sources::new();
            let next = sources.command(&appliance, act, mounted.path()).status().unwrap();
            assert!(next.success(), "after the cut, {act:?} was refused: {}", sources.said());
            promises.kept(act);
            check(&appliance, &mut promises, mounted.path());
            drop(appliance);
            drop(mounted);
            done += 1;
        }
    }
}
