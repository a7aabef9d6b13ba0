//! The drop folder: files that are copied into it become versions of images; then they are moved away.
//!
//! | below `library.drop-folder` | what |
//! |---|---|
//! | `done/` | imported, unless the settings say that they are removed |
//! | `failed/` | not imported; a text of the same name says why and what to do |
//!
//! The folder is looked at again and again, which works on every file system; what the system tells of it (inotify) only
//! makes it certain sooner that a file is complete. `watch` decides. Must not know: how a file is imported.

mod watch;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::watch::{Event, Sign, Watch};
use super::ServerError;
use super::app::App;
use super::clock::now_ms;
use super::config::{DropAfter, DropFolder};
use super::images::{self, Provenance};
use super::jobs::{Made, Work};
use crate::api::admin::{ImportImage, JobKind};
use crate::api::runner::Problem;
use crate::input;

/// Between two looks.
const TICK: Duration = Duration::from_millis(500);
/// Files of one dropped folder.
const MOST_FILES: u64 = 1 << 20;
const DONE: &str = "done";
const FAILED: &str = "failed";

/// Watches until `stop`; returns at once where no folder is set.
pub async fn run(app: App, stop: CancellationToken) -> Result<(), ServerError> {
    let Some(folder) = app.config.library.drop.clone() else { return Ok(()) };
    tracing::info!("files that are dropped into {} are imported", folder.path.display());
    let mut watch = Watch::new(i64::try_from(folder.settle * 1000).unwrap_or(i64::MAX));
    let (mut told, mut troubled) = (None, false);
    while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
        let path = folder.path.clone();
        let listing =
            spawn_blocking(move || list(&path)).await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let found = match listing {
            Ok(found) => found,
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    let path = folder.path.display();
                    tracing::error!("the drop folder {path} cannot be read: {error}; it is tried again");
                }
                told = None;
                continue;
            }
        };
        troubled = false;
        // A folder that went and came again is another one to the system.
        if told.is_none() {
            told = listen(&folder.path);
        }
        for (name, event) in told.iter().flat_map(events) {
            match found.iter().find(|found| found.parts.contains(&name)) {
                Some(set) => watch.note(&set.name, event.of_part()),
                None => watch.note(&name, event),
            }
        }
        let signs: Vec<(String, Sign)> = found.iter().map(|found| (found.name.clone(), found.sign)).collect();
        for name in watch.look(&signs, now_ms()) {
            let Some(complete) = found.iter().find(|found| found.name == name) else { continue };
            if !take(&app, &folder, complete) {
                watch.again(&name);
            }
        }
    }
    Ok(())
}

/// What may become an image: a file, a bundle, the parts of a file that was split.
#[derive(Clone, Debug)]
struct Found {
    /// Its name, or that of its first part.
    name: String,
    sign: Sign,
    /// Names of its parts, where it has any; also of one that is alone by now.
    parts: Vec<String>,
}

impl Found {
    /// Name of the file that it is, or was before it was split.
    fn label(&self) -> String {
        if self.parts.len() < 2 { self.name.clone() } else { input::whole_name(&self.name) }
    }

    /// The names of all that lies there of it.
    fn names(&self) -> Vec<String> {
        if self.parts.is_empty() { vec![self.name.clone()] } else { self.parts.clone() }
    }
}

fn listen(folder: &Path) -> Option<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(folder, flags).ok()?;
    Some(inotify)
}

fn events(inotify: &Inotify) -> Vec<(String, Event)> {
    let mut events = Vec::new();
    while let Ok(more) = inotify.read_events() {
        events.extend(more.into_iter().filter_map(|event| {
            let kind = match event.mask {
                mask if mask.contains(AddWatchFlags::IN_MOVED_TO) => Event::MovedIn,
                mask if mask.contains(AddWatchFlags::IN_CLOSE_WRITE) => Event::Closed,
                _ => Event::Written,
            };
            Some((event.name?.into_string().ok()?, kind))
        }));
    }
    events
}

/// Files, and folders that are images. Links are nobody's image: they could lead anywhere.
fn list(folder: &Path) -> io::Result<Vec<Found>> {
    fs::create_dir_all(folder)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (Ok(name), Ok(facts)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
        let bundle = facts.is_dir() && name.to_ascii_lowercase().ends_with(".sparsebundle");
        if facts.is_file() || bundle {
            let mut sign = Sign { size: 0, changed: 0, files: 0 };
            // What goes away while it is looked at is looked at again.
            if add(&entry.path(), &facts, &mut sign).is_ok() {
                found.push(Found { name, sign, parts: Vec::new() });
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(together(folder, found))
}

/// Puts the parts of a file together, behind its first.
fn together(folder: &Path, mut found: Vec<Found>) -> Vec<Found> {
    let names: Vec<String> = found.iter().map(|found| found.name.clone()).collect();
    for (first, parts) in input::sets(names.iter().map(String::as_str)) {
        if parts.len() > 1 && !input::is_part(&folder.join(first)) {
            continue;
        }
        let others =
            found.extract_if(.., |found| parts.contains(&found.name.as_str()) && found.name != first);
        let others: Vec<Found> = others.collect();
        if let Some(set) = found.iter_mut().find(|found| found.name == first) {
            set.parts = parts.into_iter().map(str::to_owned).collect();
            others.iter().for_each(|part| set.sign.add(part.sign));
        }
    }
    found
}

fn add(path: &Path, facts: &fs::Metadata, sign: &mut Sign) -> io::Result<()> {
    sign.files += 1;
    sign.changed =
        sign.changed.max(i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec()));
    if !facts.is_dir() {
        sign.size += facts.len();
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if sign.files < MOST_FILES {
            add(&entry.path(), &entry.metadata()?, sign)?;
        }
    }
    Ok(())
}

/// Starts the import. False where there is no place among the jobs.
fn take(app: &App, folder: &DropFolder, found: &Found) -> bool {
    let (label, sign) = (found.label(), found.sign);
    let image = folder.name.apply(&label);
    let subject = format!("{} from the drop folder: {label}", image.as_deref().unwrap_or("?"));
    let (worker, dropped) = (app.clone(), Dropped { folder: folder.clone(), found: found.clone() });
    let received = format!("drop {} {} {}", found.name, sign.size, sign.changed);
    let started = app.jobs.start(JobKind::Import, subject, |work| async move {
        let done = match image {
            Some(image) => dropped.import(&worker, image, received, &work).await,
            None => Err(Problem {
                error: format!("`{label}` gives no name for an image"),
                next_step: format!("rename it: {}", crate::value::IMAGE_NAME_RULE),
            }),
        };
        if !worker.stopping.is_cancelled() {
            let moving = spawn_blocking({
                let (problem, stopped) = (done.as_ref().err().cloned(), work.is_stopped());
                move || dropped.put_away(problem, stopped)
            });
            if let Err(panic) = moving.await {
                tracing::error!("a dropped file was not put away: {panic}");
            }
        }
        done
    });
    started.is_ok()
}

struct Dropped {
    folder: DropFolder,
    found: Found,
}

impl Dropped {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    async fn import(&self, app: &App, image: String, received: String, work: &Work) -> Result<Made, Problem> {
        let path = self.path(&self.found.name).display().to_string();
        let order = ImportImage { name: image, path, ..ImportImage::default() };
        let from = Provenance { file: self.found.label(), uploader: "the drop folder".to_owned(), received };
        images::import(app, order, from, work).await
    }

    /// What happens to the file after its import.
    fn put_away(&self, problem: Option<Problem>, stopped: bool) {
        let result = match problem {
            None if self.folder.after == DropAfter::Remove => self.remove(),
            None => self.move_to(DONE).map(drop),
            Some(problem) => self.move_to(FAILED).and_then(|path| {
                let why = if stopped { "the import was stopped" } else { &problem.error };
                let next = if problem.next_step.is_empty() { "" } else { &problem.next_step };
                let text = format!(
                    "{why}\n{next}\nTo try again, move {} back into {}.\n",
                    if self.found.parts.len() > 1 { "all parts" } else { "the file" },
                    self.folder.path.display()
                );
                let mut name = path.file_name().unwrap_or_default().to_os_string();
                name.push(".txt");
                fs::write(path.with_file_name(name), text)
            }),
        };
        if let Err(error) = result {
            tracing::error!(
                "{} stays where it is: {error}; it is not imported again unless it changes",
                self.path(&self.found.name).display()
            );
        }
    }

    fn remove(&self) -> io::Result<()> {
        self.found
            .names()
            .iter()
            .map(|name| self.path(name))
            .try_for_each(|path| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) })
    }

    /// Under names that nothing has there, the parts under names that belong together. Gives the first.
    fn move_to(&self, place: &str) -> io::Result<PathBuf> {
        let (folder, names) = (self.folder.path.join(place), self.found.names());
        fs::create_dir_all(&folder)?;
        let free = |prefix: &String| {
            names.iter().all(|name| fs::symlink_metadata(folder.join(format!("{prefix}{name}"))).is_err())
        };
        let mut prefixes = std::iter::once(String::new()).chain((2..1000).map(|n| format!("{n}-")));
        let prefix = prefixes.find(free);
        let prefix = prefix
            .ok_or_else(|| io::Error::other(format!("{} has too many of that name", folder.display())))?;
        for name in &names {
            fs::rename(self.path(name), folder.join(format!("{prefix}{name}")))?;
        }
        Ok(folder.join(format!("{prefix}{}", self.found.name)))
    }
}
