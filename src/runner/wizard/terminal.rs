//! The edge: draws on a tty and reads its keys.
//!
//! Must not know: what the pages mean.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};

use super::state::{Key, State};
use super::view::view;

/// The terminal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// It cannot be opened, or does not do what terminals do.
    #[error("the terminal {} cannot be used", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a file or a pipe.
    #[error("{} is no terminal", .0.display())]
    NoTerminal(PathBuf),
}

/// A tty in raw mode; as it was before when dropped.
pub struct Terminal {
    drawing: ratatui::Terminal<CrosstermBackend<File>>,
}

impl Terminal {
    /// Takes the tty at `path` over. It becomes standard input too, because keys are read there.
    ///
    /// # Errors
    /// See [`TerminalError`].
    pub fn open(path: &Path) -> Result<Terminal, TerminalError> {
        let failed = |source| TerminalError::Open { path: path.to_owned(), source };
        let tty = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        if !tty.is_terminal() {
            return Err(TerminalError::NoTerminal(path.to_owned()));
        }
        // crossterm asks standard input for keys and standard output for the size.
        nix::unistd::dup2_stdin(&tty).map_err(|error| failed(error.into()))?;
        nix::unistd::dup2_stdout(&tty).map_err(|error| failed(error.into()))?;
        let drawing = ratatui::Terminal::new(CrosstermBackend::new(tty)).map_err(failed)?;
        let mut terminal = Terminal { drawing };
        // Dropped on failure, it puts the tty back.
        terminal.begin().map_err(failed)?;
        Ok(terminal)
    }

    /// The page is cleared by us: ratatui's own way asks the terminal where its cursor is, and waits for an answer that a
    /// serial line may never give.
    fn begin(&mut self) -> io::Result<()> {
        terminal::enable_raw_mode()?;
        let clear = terminal::Clear(terminal::ClearType::All);
        execute!(self.drawing.backend_mut(), terminal::EnterAlternateScreen, cursor::Hide, clear)
    }

    /// Draws the state.
    ///
    /// # Errors
    /// When the tty is gone.
    pub fn draw(&mut self, state: &State) -> io::Result<()> {
        self.drawing.draw(|frame| view(state, frame)).map(drop)
    }

    /// Waits for a key that means something, at most this long.
    ///
    /// # Errors
    /// When the tty is gone.
    pub fn key(&mut self, at_most: Duration) -> io::Result<Option<Key>> {
        if !event::poll(at_most)? {
            return Ok(None);
        }
        let event::Event::Key(key) = event::read()? else { return Ok(None) };
        if key.kind == KeyEventKind::Release || key.modifiers.contains(KeyModifiers::CONTROL) {
            return Ok(None);
        }
        Ok(match key.code {
            KeyCode::Up => Some(Key::Up),
            KeyCode::Down => Some(Key::Down),
            KeyCode::Enter => Some(Key::Enter),
            KeyCode::Esc => Some(Key::Escape),
            KeyCode::Left => Some(Key::Left),
            KeyCode::Right => Some(Key::Right),
            KeyCode::Tab => Some(Key::Tab),
            KeyCode::BackTab => Some(Key::BackTab),
            KeyCode::Backspace | KeyCode::Delete => Some(Key::Backspace),
            // Addresses, names and proxies mean the same in either case, and so do commands.
            KeyCode::Char(letter) => Some(Key::Char(letter.to_ascii_lowercase())),
            _ => None,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A tty that is gone needs no tidying.
        let _ = execute!(self.drawing.backend_mut(), terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}
