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
        told.iter().flat_map(events).for_each(|(name, event)| watch.note(&name, event));
        for name in watch.look(&found, now_ms()) {
            if !take(&app, &folder, &name, &found) {
                watch.again(&name);
            }
        }
    }
    Ok(())
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
fn list(folder: &Path) -> io::Result<Vec<(String, Sign)>> {
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
                found.push((name, sign));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
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
fn take(app: &App, folder: &DropFolder, name: &str, found: &[(String, Sign)]) -> bool {
    let sign = found.iter().find(|(found, _)| found == name).map(|(_, sign)| *sign);
    let image = folder.name.apply(name);
    let subject = format!("{} from the drop folder: {name}", image.as_deref().unwrap_or("?"));
    let (worker, dropped) = (app.clone(), Dropped { folder: folder.clone(), name: name.to_owned() });
    let received = sign.map(|sign| format!("drop {name} {} {}", sign.size, sign.changed)).unwrap_or_default();
    let started = app.jobs.start(JobKind::Import, subject, |work| async move {
        let done = match image {
            Some(image) => dropped.import(&worker, image, received, &work).await,
            None => Err(Problem {
                error: format!("`{}` gives no name for an image", dropped.name),
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
    name: String,
}

impl Dropped {
    fn path(&self) -> PathBuf {
        self.folder.path.join(&self.name)
    }

    async fn import(&self, app: &App, image: String, received: String, work: &Work) -> Result<Made, Problem> {
        let order =
            ImportImage { name: image, path: self.path().display().to_string(), ..ImportImage::default() };
        let from = Provenance { file: self.name.clone(), uploader: "the drop folder".to_owned(), received };
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
                    "{why}\n{next}\nTo try again, move the file back into {}.\n",
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
                self.path().display()
            );
        }
    }

    fn remove(&self) -> io::Result<()> {
        let path = self.path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    }

    /// Under a name that nothing has there.
    fn move_to(&self, place: &str) -> io::Result<PathBuf> {
        let folder = self.folder.path.join(place);
        fs::create_dir_all(&folder)?;
        let free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
        let mut names =
            std::iter::once(self.name.clone()).chain((2..1000).map(|n| format!("{n}-{}", self.name)));
        let path = names.by_ref().map(|name| folder.join(name)).find(free);
        let path =
            path.ok_or_else(|| io::Error::other(format!("{} has too many of that name", folder.display())))?;
        fs::rename(self.path(), &path)?;
        Ok(path)
    }
}
