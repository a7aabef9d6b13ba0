//! Where plain lines go: serial consoles, standard output, and a log file that does not grow without end (it lies in memory).
//!
//! Must not know: what the lines say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Size at which the log becomes `runner.1.log` (task-sequences section 8: 1 MB).
const LARGEST: u64 = 1_000_000;
/// Lines that wait for a slow console; more are dropped.
const WAITING: usize = 1000;
/// How long the last lines have to get out.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A place for lines, written by a thread of its own: a serial line that nobody reads blocks its writer.
pub struct Console {
    lines: Option<SyncSender<String>>,
    ended: Receiver<()>,
}

impl Console {
    /// Lines go to `out`, each with `end` behind it (a raw serial line needs a carriage return).
    pub fn new(mut out: impl Write + Send + 'static, end: &'static str) -> Console {
        let (lines, waiting) = mpsc::sync_channel::<String>(WAITING);
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            for line in waiting {
                if write!(out, "{line}{end}").and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
            drop(done);
        });
        Console { lines: Some(lines), ended }
    }

    /// A serial console. A port that is not there is no error: kernel command lines name more than machines have.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn serial(path: &Path) -> io::Result<Console> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Console::new(file, "\r\n"))
    }

    /// Takes a line; drops it when too many wait.
    pub fn line(&self, line: &str) {
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(line.to_owned());
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.lines = None;
        // Ends when the writer is through, at the latest when the time is over.
        let _ = self.ended.recv_timeout(LAST_WORDS);
    }
}

/// The log file, for `tracing`.
#[derive(Clone)]
pub struct LogFile(Arc<Mutex<Open>>);

struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    /// Opens `runner.log` in `folder`.
    ///
    /// # Errors
    /// When folder or file cannot be made.
    pub fn open(folder: &Path) -> io::Result<LogFile> {
        fs::create_dir_all(folder)?;
        let path = folder.join("runner.log");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(LogFile(Arc::new(Mutex::new(Open { path, file, size }))))
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.size >= LARGEST {
            fs::rename(&open.path, open.path.with_extension("1.log"))?;
            open.file = OpenOptions::new().create(true).append(true).open(&open.path)?;
            open.size = 0;
        }
        let count = open.file.write(bytes)?;
        open.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LogFile;

    fn make_writer(&'a self) -> LogFile {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_one_old_and_one_new_file_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(folder.path()).unwrap();
        let line = [b'x'; 1000];
        for _ in 0..2500 {
            log.write_all(&line).unwrap();
        }
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert_eq!((size("runner.log"), size("runner.1.log")), (500_000, LARGEST));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn all_lines_are_out_when_a_console_is_dropped() {
        #[derive(Clone, Default)]
        struct Shared(Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let out = Shared::default();
        let console = Console::new(out.clone(), "\r\n");
        console.line("one");
        console.line("two");
        drop(console);
        assert_eq!(out.0.lock().unwrap().as_slice(), b"one\r\ntwo\r\n");
    }
}
