//! Capture Image to an SMB share: a `.dmg` (UDIF with zlib) that appears under its name when all of it was read back.
//!
//! | on the share | |
//! |---|---|
//! | `NAME.dmg.SERIAL.part` | while it grows, and after a try that failed: this Mac's next try goes on with it |
//! | `NAME.dmg` | complete; never replaced. Its trailer bears a number of this action, so that it is known again when the word of its end was lost |
//!
//! UDZO: every macOS and hdiutil, asr, 7z, qemu-img and dmg2img read it, and it has a checksum of each partition and of all; LZFSE packs as
//! well and faster, and is read by macOS 10.11 and later alone. Free blocks are "ignore" runs.
//!
//! Reading order: `mount` (the share as a folder) · `file` (the file while it grows) · here (what surrounds them).
//! Must not know: the format, how a disk is read.

pub mod file;
pub mod mount;

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;

use self::file::{Counters, FileError, Lost, Reach, is_final, write};
use self::mount::{MountError, Mounted};
use super::attend::{Outage, attended};
use super::capture::{Chosen, choose, now};
use super::failure::{chain, failure};
use super::identity::called;
use super::link::Interrupted;
use super::perform::{Failed, Work};
use super::rates::{self, Rates};
use crate::api::runner::{CaptureSource, Done, Failure};
use crate::client::Watch;
use crate::image::capture::{Changed, Picture, Shape, Witness};
use crate::image::export::{self, ExportError, Format, dmg_id};
use crate::sequence::capture::{ShareFolder, file_name, saved_as};
use crate::value::{ByteSize, Digest, SharePath};

/// Tries before a share that was never there is given up, and the pause between them.
const FIRST_TRIES: usize = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(3);
/// Refusals in a row of a share that was there before it is given up: a server that starts may refuse for a while.
const MOST_REFUSALS: usize = 24;

/// Why there is no file of this name.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("{doing} on the share")]
    Folder {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{0} is there already")]
    Exists(String),
    #[error("{name} is on the share, {} of another Mac's capture of the same name", ByteSize(*length))]
    Foreign { name: String, length: u64 },
    #[error("the share has {} free{}, and {need} bytes ({}) are needed: twice the {used} bytes that are in use on the source and its Recovery",
        free_text(*have), kept_text(*kept), ByteSize(*need))]
    NoRoom { have: u64, kept: u64, need: u64, used: u64 },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Changed(#[from] Changed),
    #[error("stopped")]
    Stopped,
}

fn free_text(bytes: u64) -> String {
    format!("{bytes} bytes ({})", ByteSize(bytes))
}

fn kept_text(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(" and {bytes} bytes from an earlier try") }
}

/// The bytes that a share must have free (task-sequences section 2): twice what is used on the source and its Recovery.
pub fn needed(shape: &Shape) -> u64 {
    shape.used().saturating_mul(2)
}

/// Captures an image to a share.
///
/// # Errors
/// [`Failed`] says whether the action failed or the runner shall stop.
pub fn save(
    work: &Work<'_>,
    image: &str,
    source: CaptureSource,
    share: &ShareFolder,
) -> Result<Done, Failed> {
    let chosen = choose(&work.machine.disks, source)?;
    let saved = saved_as(image, share);
    let done = || Done { nodes: vec![chosen.node()], saved: Some(saved.clone()), ..Done::default() };
    let failed = |error: &SaveError| of_save(work, &saved, share, error);
    let mut shelf = Shelf::open(work, image, share).map_err(|error| failed(&error))?;
    match shelf.look(needed(&chosen.shape), chosen.shape.used()).map_err(|error| failed(&error))? {
        Found::Finished => {
            work.reporter.log(vec![format!("{saved} was captured before")]);
            return Ok(done());
        }
        Found::Part(length) => work.reporter.log(begin(&chosen, &saved, length)),
    }
    let (watch, left, at) = (Watch::default(), Cell::new(false), State::default());
    let mut teller = Teller::new(work, chosen.shape.used());
    let result = attended(
        work,
        &watch,
        &|| at.stop.store(true, Ordering::Relaxed),
        &left,
        &mut |outage| teller.tell(&at, outage),
        || engine(&chosen, &mut shelf, &watch, &at),
    );
    match result {
        _ if left.get() => Err(Failed::Left(Interrupted::Moved)),
        Err(error) => Err(failed(&error).into()),
        Ok(length) => {
            work.reporter.log(vec![format!(
                "captured as {saved}: {} read, a file of {}, {} of it written now and read back, {} from an earlier try; the disk did not change meanwhile",
                ByteSize(at.read.load(Ordering::Relaxed)),
                ByteSize(length),
                ByteSize(at.counters.written()),
                ByteSize(at.counters.kept()),
            )]);
            Ok(done())
        }
    }
}

fn begin(chosen: &Chosen<'_>, saved: &str, part: u64) -> Vec<String> {
    let Chosen { disk, shape, .. } = chosen;
    let mut lines = vec![format!(
        "capturing {} of {} in use from {} as {saved}",
        ByteSize(shape.used()),
        ByteSize(shape.size()),
        called(disk)
    )];
    if part > 0 {
        lines.push(format!(
            "going on with {} that an earlier try left; what is right of it is not written again",
            ByteSize(part)
        ));
    }
    lines.extend(shape.warnings().iter().map(|warning| format!("warning: {warning}")));
    lines
}

/// What the engine does, for others to look at.
#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    /// Bytes of the disk read.
    read: AtomicU64,
    to_read_back: AtomicU64,
    counters: Counters,
    stop: AtomicBool,
}

const PHASES: [&str; 3] = ["capturing", "checking that the disk is unchanged", "reading the file back"];

/// The whole walk: read, write, prove, read back, give it its name. Bytes of the file.
fn engine(chosen: &Chosen<'_>, shelf: &mut Shelf<'_>, watch: &Watch, at: &State) -> Result<u64, SaveError> {
    let Chosen { source, shape, .. } = chosen;
    let witness = Witness::of(source, shape)?;
    let mut picture = Picture::new(source, shape, &at.read);
    let plan = shape.to_export(source, shelf.id);
    let plan = plan.map_err(|source| Changed::Read { at: 0, source })?;
    let workers = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let whole = write(shelf, watch, &at.counters, |sink| {
        let mut go_on = |_| !at.stop.load(Ordering::Relaxed);
        export::export(&plan, &mut picture, Format::Udzo, workers, sink, &mut go_on).map(drop)?;
        Ok::<(), SaveError>(())
    })?;
    at.phase.store(1, Ordering::Relaxed);
    witness.check(source, shape)?;
    picture.check()?;
    at.to_read_back.store(whole.to_read_back(), Ordering::Relaxed);
    at.phase.store(2, Ordering::Relaxed);
    let length = whole.read_back()?;
    if at.stop.load(Ordering::Relaxed) {
        return Err(SaveError::Stopped);
    }
    shelf.publish(watch)?;
    Ok(length)
}

/// What is on the share before anything is read.
enum Found {
    /// This very action's file, complete.
    Finished,
    /// Bytes that an earlier try left; 0 when there was none.
    Part(u64),
}

/// The folder on the share, and the names in it.
struct Shelf<'a> {
    share: &'a ShareFolder,
    /// Where the share is mounted.
    at: PathBuf,
    mounted: Option<Mounted>,
    /// Refusals in a row since it was mounted last.
    refused: usize,
    /// The folder, and the two names in it.
    folder: PathBuf,
    part: String,
    name: String,
    id: u128,
}

impl<'a> Shelf<'a> {
    /// Opens the share; a few tries, since a network may still be coming up.
    fn open(work: &Work<'_>, image: &str, share: &'a ShareFolder) -> Result<Shelf<'a>, SaveError> {
        let at = work.state.join("share");
        // A runner that was killed left it mounted.
        let _ = umount2(&at, MntFlags::MNT_DETACH);
        let below = share.folder.folders().iter().skip(share.path.folders().len());
        let folder = below.fold(at.clone(), |folder, name| folder.join(name));
        let serial = work.machine.serial.as_ref().map(ToString::to_string);
        let mac = serial.or_else(|| work.machine.macs.first().map(ToString::to_string)).unwrap_or_default();
        let plain: String = mac.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = file_name(image);
        let this = format!("{}\n{mac}\n{}\n{}", share.folder, work.run.run, work.number);
        let id = Digest::of(this.as_bytes());
        let id = id.as_bytes().iter().take(16).fold(0, |id, byte| id << 8 | u128::from(*byte));
        let part = format!("{name}.{plain}.part");
        let mut shelf = Shelf { share, at, mounted: None, refused: 0, folder, part, name, id };
        for tried in 1.. {
            match shelf.connect() {
                Ok(()) => break,
                Err(error) if error.may_pass() && tried < FIRST_TRIES && !work.stopped() => {
                    work.reporter.log(vec![format!("waiting for the share: {}", chain(&error))]);
                    thread::sleep(FIRST_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(shelf)
    }

    /// Mounts it, anew where it was.
    fn connect(&mut self) -> Result<(), MountError> {
        self.mounted = None;
        self.mounted = Some(Mounted::open(self.share, &self.at)?);
        Ok(())
    }

    /// Mounts it anew and says what an error means for whoever waits.
    fn connect_again(&mut self) -> Result<(), Lost> {
        match self.connect() {
            Ok(()) => {
                self.refused = 0;
                Ok(())
            }
            Err(error) if error.may_pass() => Err(Lost::Now(chain(&error))),
            Err(error) => {
                self.refused += 1;
                match self.refused < MOST_REFUSALS {
                    true => Err(Lost::Now(chain(&error))),
                    false => Err(Lost::Forever(error.into())),
                }
            }
        }
    }

    /// Looks for files of these names and for room, before anything is read; makes the folder.
    fn look(&mut self, need: u64, used: u64) -> Result<Found, SaveError> {
        let of = |doing| move |source| SaveError::Folder { doing, source };
        fs::create_dir_all(&self.folder).map_err(of("making the folder"))?;
        if let Some(id) = id_of(&self.folder.join(&self.name)).map_err(of("looking for the file"))? {
            return match id == Some(self.id) {
                true => Ok(Found::Finished),
                false => Err(SaveError::Exists(self.name.clone())),
            };
        }
        let before = format!("{}.", self.name);
        for entry in fs::read_dir(&self.folder).map_err(of("reading the folder"))? {
            let entry = entry.map_err(of("reading the folder"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&before) && name.ends_with(".part") && name != self.part {
                let length = entry.metadata().map_or(0, |found| found.len());
                return Err(SaveError::Foreign { name, length });
            }
        }
        let kept = fs::metadata(self.folder.join(&self.part)).map_or(0, |found| found.len());
        let room = statvfs(&self.folder).map_err(|number| of("asking for free space")(number.into()))?;
        // The types differ between architectures.
        #[allow(clippy::unnecessary_cast)]
        let have = (room.blocks_available() as u64).saturating_mul(room.fragment_size() as u64);
        if have.saturating_add(kept) < need {
            return Err(SaveError::NoRoom { have, kept, need, used });
        }
        Ok(Found::Part(kept))
    }

    /// Gives the file its name, as long as it takes. One that is there already stays.
    fn publish(&mut self, watch: &Watch) -> Result<(), SaveError> {
        let doing = "giving the file its name";
        loop {
            let (part, name) = (self.folder.join(&self.part), self.folder.join(&self.name));
            let error = match rename_new(&part, &name) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // A connection that was lost behind the renaming.
            if matches!(id_of(&name), Ok(Some(Some(id))) if id == self.id) && !part.exists() {
                return Ok(());
            }
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Err(SaveError::Exists(self.name.clone()));
            }
            if is_final(&error) || error.kind() == io::ErrorKind::NotFound {
                return Err(SaveError::Folder { doing, source: error });
            }
            if !watch.pause(format!("the share: {error}"), FIRST_PAUSE) {
                return Err(SaveError::Stopped);
            }
            match self.connect_again() {
                Ok(()) => watch.over(),
                Err(Lost::Now(_)) => {}
                Err(Lost::Forever(error)) => return Err(FileError::Gone(error).into()),
            }
        }
    }
}

impl Reach for Shelf<'_> {
    fn open(&mut self) -> Result<File, Lost> {
        // The first time it is mounted already.
        if self.mounted.as_ref().is_none_or(Mounted::was_used) {
            self.connect_again()?;
        }
        if let Some(mounted) = &mut self.mounted {
            mounted.use_it();
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        file.open(self.folder.join(&self.part)).map_err(|error| match is_final(&error) {
            true => Lost::Forever(error.into()),
            false => Lost::Now(format!("the share: {error}")),
        })
    }
}

/// The number of a complete `.dmg`; the outer none when nothing is there, the inner one when it has no such number.
fn id_of(path: &Path) -> io::Result<Option<Option<u128>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let length = file.metadata()?.len();
    let mut trailer = [0; 512];
    let Some(at) = length.checked_sub(512) else { return Ok(Some(None)) };
    file.read_exact_at(&mut trailer, at)?;
    Ok(Some(dmg_id(&trailer)))
}

/// Renames to a name that nobody has. Where the server cannot promise that, it is looked for first.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) if !to.exists() => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

fn of_save(work: &Work<'_>, saved: &str, share: &ShareFolder, error: &SaveError) -> Failure {
    let cause = match error {
        _ if work.timed_out() => format!("capturing to {saved} took longer than the step's limit"),
        SaveError::Mount(_) => format!("the share {} cannot be used", share.path),
        SaveError::Exists(_) | SaveError::Foreign { .. } | SaveError::NoRoom { .. } => {
            format!("{saved} cannot be written; nothing was read")
        }
        _ => format!("capturing to {saved} failed; there is no file of that name"),
    };
    let next = match error {
        _ if work.timed_out() => "Raise the step's limit, or find what makes it slow; what was written is kept.".to_owned(),
        SaveError::Mount(error) => of_mount(error, &share.path),
        SaveError::Exists(name) => format!(
            "Move {name} away, or give the image another name, such as one with %SerialNumber% or a folder of its own."
        ),
        SaveError::Foreign { name, .. } => format!(
            "Wait for the other Mac, or delete {name} if it does not go on; give each Mac's image its own name, such as one with %SerialNumber%."
        ),
        SaveError::NoRoom { .. } => "Make room on the share, or name another one.".to_owned(),
        SaveError::File(FileError::Refused(_)) => {
            "Look at the space and the quota on the share and at what the account may do there; then resume: what was written is kept.".to_owned()
        }
        SaveError::File(FileError::Lost { .. }) => "See that nothing else uses the file, then start a new run.".to_owned(),
        SaveError::File(FileError::Damaged { .. }) => {
            "Check the server's disk and memory, then start a new run: what is wrong in the file is written anew.".to_owned()
        }
        SaveError::Changed(Changed::Read { .. }) | SaveError::Export(ExportError::Read { .. }) => {
            "Check the disk; replace it if it stays.".to_owned()
        }
        SaveError::Changed(_) => {
            "Start a new run; if it stays, the disk or this Mac's memory does not keep what it holds.".to_owned()
        }
        SaveError::Folder { .. } => format!("See what {} may do in {}: it makes folders, writes, reads and renames.", share.account, share.path),
        _ => "Start a new run; what was written is kept and compared.".to_owned(),
    };
    failure(cause, chain(error), next)
}

fn of_mount(error: &MountError, path: &SharePath) -> String {
    match error {
        MountError::NoHost { .. } => {
            "Correct the server's name, or have the site's DNS know it; an IP address does, too.".to_owned()
        }
        MountError::Silent { .. } => format!(
            "See that the server is on, that it serves SMB at port {} and that no firewall stands between.",
            path.port()
        ),
        MountError::Account { .. } => {
            "Correct account and password; `rootstock share verify` tries them.".to_owned()
        }
        MountError::Expired(_) => "Set a new password for the account.".to_owned(),
        MountError::NoFolder(_) => {
            "Correct the path, or make the share and the folder on the server.".to_owned()
        }
        MountError::NoClient(_) => "Build the boot files again: `rootstock media boot`.".to_owned(),
        MountError::Other { .. } => {
            "See that the server speaks SMB 2.1 or later, and look into its log.".to_owned()
        }
    }
}

/// Turns looks at the engine into news.
struct Teller<'a> {
    work: &'a Work<'a>,
    began: Instant,
    rates: Rates,
    used: u64,
    outage: Outage,
}

impl<'a> Teller<'a> {
    fn new(work: &'a Work<'a>, used: u64) -> Teller<'a> {
        Teller { work, began: now(), rates: Rates::default(), used, outage: Outage::of("the share") }
    }

    fn tell(&mut self, seen: &State, outage: Option<String>) {
        let at = now().duration_since(self.began);
        self.outage.tell(self.work, outage);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (phase, read) = (usize::from(seen.phase.load(Ordering::Relaxed)), of(&seen.read));
        let (done, total) = match phase {
            0 => (read.min(self.used), self.used),
            2 => (seen.counters.read_back(), of(&seen.to_read_back)),
            _ => (0, 0),
        };
        let network = seen.counters.written() + seen.counters.read_back();
        let counters = rates::Counters { done, total, network, disk: read, after: 0 };
        let progress = self.rates.progress(at, PHASES[phase.min(PHASES.len() - 1)], counters);
        self.work.reporter.progress(progress, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_2_a_share_without_room_is_told_with_all_numbers() {
        let error =
            SaveError::NoRoom { have: 31 << 30, kept: 0, need: 2 * 15_650_000_000, used: 15_650_000_000 };
        let text = error.to_string();
        for number in ["33285996544", "31300000000", "15650000000"] {
            assert!(text.contains(number), "{text}");
        }
        assert!(!text.contains("earlier"), "{text}");
    }

    #[test]
    fn section_2_a_file_gets_a_name_that_nobody_has_and_is_known_again_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let (part, name) = (folder.path().join("a.part"), folder.path().join("a"));
        fs::write(&part, [0; 600]).unwrap();
        assert!(matches!(id_of(&name), Ok(None)));
        rename_new(&part, &name).unwrap();
        assert!(matches!(id_of(&name), Ok(Some(None))));
        fs::write(&part, b"other").unwrap();
        assert_eq!(rename_new(&part, &name).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&part).unwrap(), b"other");
        let mut trailer = [0; 512];
        trailer[..4].copy_from_slice(b"koly");
        trailer[79] = 7;
        fs::write(&name, [[1; 512], trailer].concat()).unwrap();
        assert!(matches!(id_of(&name), Ok(Some(Some(7)))));
    }
}
