//! Where plain lines go: serial consoles and standard output.
//!
//! Must not know: what the lines say.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

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
