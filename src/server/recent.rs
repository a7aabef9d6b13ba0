//! The last lines of the daemon's log, in memory: what a problem report takes along, wherever the log goes otherwise; and its files.
//!
//! Bounded in lines and bytes. Must not know: what is logged.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::host::{Limits, LogFile};

/// Lines that are kept.
const MOST_LINES: usize = 10_000;
/// Bytes that are kept.
const MOST_BYTES: usize = 4 << 20;

static RECENT: Mutex<Recent> = Mutex::new(Recent { lines: VecDeque::new(), bytes: 0 });

/// Where the log lies on disk, once the data folder is ours.
static FILE: OnceLock<LogFile> = OnceLock::new();

struct Recent {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Recent {
    fn add(&mut self, text: &str) {
        for line in text.lines() {
            self.bytes += line.len();
            self.lines.push_back(line.to_owned());
        }
        while self.lines.len() > MOST_LINES || self.bytes > MOST_BYTES {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.len();
        }
    }
}

/// From now on the log is in files of `folder`, too, beginning with what was said before.
///
/// # Errors
/// When they cannot be made.
pub fn keep_in(folder: &Path, limits: Limits) -> io::Result<()> {
    let mut file = LogFile::open(folder, "rootstockd", limits)?;
    file.write_all(lines().as_bytes())?;
    // Once a process.
    let _ = FILE.set(file);
    Ok(())
}

/// Writes to standard error, and keeps what it wrote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tee;

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stderr().write(bytes)?;
        keep(&String::from_utf8_lossy(&bytes[..written]));
        if let Some(mut file) = FILE.get().cloned() {
            // A full disk takes no lines; the journal has them.
            let _ = file.write_all(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Keeps lines.
pub fn keep(text: &str) {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).add(text);
}

/// Everything that is kept, oldest first.
pub fn lines() -> String {
    let recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.lines.iter().fold(String::with_capacity(recent.bytes + recent.lines.len()), |mut text, line| {
        text.push_str(line);
        text.push('\n');
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_within_their_bounds() {
        let mut recent = Recent { lines: VecDeque::new(), bytes: 0 };
        for number in 0..MOST_LINES + 5 {
            recent.add(&format!("line {number}\n"));
        }
        assert_eq!((recent.lines.len(), recent.lines[0].as_str()), (MOST_LINES, "line 5"));
        recent.add(&"x".repeat(MOST_BYTES));
        assert!(recent.lines.len() == 1 && recent.bytes <= MOST_BYTES);
    }
}
