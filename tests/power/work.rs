//! What is done to a library, and what must be true of it afterwards, wherever it ended.
//!
//! Owns: the acts, what each promises when it has succeeded, the check. Must not know: how an end is made.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::appliance::Appliance;
use crate::random::Random;

const MIB: usize = 1 << 20;
/// All ways to a new image.
pub const MAKERS: [fn(u32) -> Act; 3] = [Act::Import, Act::Upload, Act::Capture];

/// One act: one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Import(u32),
    Upload(u32),
    Capture(u32),
    Delete(u32),
    Collect,
    /// The image, and the number of the target.
    Restore(u32, u32),
}

impl Act {
    /// Its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Act::Import(_) => "import",
            Act::Upload(_) => "upload",
            Act::Capture(_) => "capture",
            Act::Delete(_) => "delete",
            Act::Collect => "collect",
            Act::Restore(..) => "restore",
        }
    }
}

/// What is known of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It may be there.
    Making,
    There,
    /// It may be gone.
    Going,
    Gone,
}

/// What has been promised so far.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    images: BTreeMap<u32, State>,
    /// Targets of restores: the image, and whether the restore has succeeded.
    targets: BTreeMap<u32, (u32, bool)>,
    next: u32,
}

impl Promises {
    fn those(&self, state: State) -> Vec<u32> {
        self.images.iter().filter(|(_, its)| **its == state).map(|(image, _)| *image).collect()
    }

    /// What to do next: few images at a time, all kinds of acts.
    pub fn choose(&mut self, random: &mut Random) -> Act {
        let there = self.those(State::There);
        let chance = random.below(16);
        if there.len() >= 2 {
            match chance {
                0..=2 => return Act::Delete(*random.pick(&there)),
                3..=5 => return Act::Collect,
                6..=8 => {
                    self.next += 1;
                    return Act::Restore(*random.pick(&there), self.next);
                }
                _ if there.len() >= 5 => return Act::Delete(*random.pick(&there)),
                _ => {}
            }
        }
        self.next += 1;
        random.pick(&MAKERS)(self.next)
    }

    /// The act is about to begin.
    pub fn begun(&mut self, act: Act) {
        self.now(act, State::Making, State::Going, false);
    }

    /// The act has succeeded.
    pub fn kept(&mut self, act: Act) {
        self.now(act, State::There, State::Gone, true);
    }

    fn now(&mut self, act: Act, made: State, deleted: State, restored: bool) {
        match act {
            Act::Import(image) | Act::Upload(image) | Act::Capture(image) => {
                self.images.insert(image, made);
            }
            Act::Delete(image) => {
                self.images.insert(image, deleted);
            }
            Act::Restore(image, target) => {
                self.targets.insert(target, (image, restored));
            }
            Act::Collect => {}
        }
    }
}

/// Where images come from.
pub struct Sources(TempDir);

impl Sources {
    pub fn new() -> Sources {
        Sources(tempfile::tempdir().unwrap())
    }

    /// Content of an image: a disk with an MBR and one partition, in which is a part of its own, one that some others have too,
    /// and zeros.
    pub fn content(image: u32) -> Vec<u8> {
        let mut head = vec![0; MIB];
        let own = Random(u64::from(image)).bytes(MIB + (68 << 10));
        let shared = Random(u64::from(image % 3) << 40).bytes(MIB);
        let sectors = (own.len() + 2 * MIB) / 512;
        head[450] = 0xaf;
        head[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        head[458..462].copy_from_slice(&(sectors as u32).to_le_bytes());
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        [head, own, shared, vec![0; MIB]].concat()
    }

    fn file(&self, image: u32) -> PathBuf {
        let path = self.0.path().join(format!("{image}.img"));
        if !path.exists() {
            fs::write(&path, Sources::content(image)).unwrap();
        }
        path
    }

    /// The command of an act. Targets of restores lie in `targets`.
    pub fn command(&self, appliance: &Appliance, act: Act, targets: &Path) -> Command {
        let file = |image| self.file(image).display().to_string();
        let mut command = match act {
            Act::Import(image) => {
                appliance.command(&["image", "import", &file(image), "--name", &name(image)])
            }
            Act::Upload(image) => {
                appliance.command(&["image", "upload", &file(image), "--name", &name(image)])
            }
            Act::Capture(image) => {
                appliance.command(&["image", "capture", "--from", &file(image), "--name", &name(image)])
            }
            Act::Delete(image) => appliance.command(&["image", "delete", &format!("{}@1", name(image))]),
            Act::Collect => appliance.command(&["image", "collect"]),
            Act::Restore(image, target) => {
                let target = target_file(targets, target).display().to_string();
                appliance.command(&["image", "restore", &name(image), "--to", &target])
            }
        };
        command.stdout(Stdio::null()).stderr(fs::File::create(self.0.path().join("said")).unwrap());
        command
    }

    /// What the last command had to say.
    pub fn said(&self) -> String {
        fs::read_to_string(self.0.path().join("said")).unwrap_or_default()
    }
}

fn name(image: u32) -> String {
    format!("image-{image}")
}

fn target_file(targets: &Path, target: u32) -> PathBuf {
    targets.join(format!("{target}.target"))
}

/// All that was promised is so, nothing is there by half, and all can go on. What was being deleted is known afterwards.
pub fn check(appliance: &Appliance, promises: &mut Promises, targets: &Path) {
    let listed = appliance.json(&["image", "list"]);
    let listed: Vec<&str> =
        listed.as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap()).collect();
    for (image, state) in &mut promises.images {
        let there = listed.contains(&name(*image).as_str());
        match *state {
            State::There => assert!(there, "image {image} was acknowledged and is lost"),
            State::Gone => assert!(!there, "image {image} was deleted and is back"),
            State::Going => *state = if there { State::There } else { State::Gone },
            State::Making if there => *state = State::There,
            // An upload that was received whole is imported after the restart, perhaps in a moment.
            State::Making => {}
        }
        if there {
            // Read back through the library, and compared with what was put in.
            let back = tempfile::tempdir().unwrap();
            let file = back.path().join("restored");
            appliance.must(&["image", "verify", &name(*image)]);
            appliance.must(&["image", "restore", &name(*image), "--to", file.to_str().unwrap()]);
            assert!(fs::read(file).unwrap() == Sources::content(*image), "image {image} has other bytes");
        }
    }
    let known: Vec<String> = promises.images.keys().map(|image| name(*image)).collect();
    assert!(listed.iter().all(|name| known.iter().any(|known| known == name)), "{listed:?}");
    appliance.must(&["store", "check"]);
    for (target, (image, done)) in &mut promises.targets {
        let file = target_file(targets, *target);
        let content = Sources::content(*image);
        let whole = fs::read(&file).is_ok_and(|bytes| bytes == content);
        assert!(whole || !*done, "the target {target} was restored and has other bytes");
        // What makes a disk bootable is its head: where that is there, all is.
        assert!(
            whole || !has_head(&file, &content),
            "the target {target} has its head, and not all behind it"
        );
    }
    // What was not finished is begun anew by whoever wants it.
    for target in std::mem::take(&mut promises.targets).into_keys() {
        drop(fs::remove_file(target_file(targets, target)));
    }
}

fn has_head(file: &Path, content: &[u8]) -> bool {
    let mut head = vec![0; MIB];
    fs::File::open(file).and_then(|file| file.read_exact_at(&mut head, 0)).is_ok() && head == content[..MIB]
}
