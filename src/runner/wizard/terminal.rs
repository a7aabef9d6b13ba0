//! The edge: draws on a tty and reads its keys.
//!
//! Must not know: what the pages mean.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpgrp, tcsetpgrp};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};

use super::event::Key;
use super::state::State;
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
        if key.kind == KeyEventKind::Release {
            return Ok(None);
        }
        Ok(meaning(key.code, key.modifiers.contains(KeyModifiers::CONTROL)))
    }

    /// Gives the tty back as it was, for another program.
    ///
    /// # Errors
    /// When the tty is gone.
    pub fn leave(&mut self) -> io::Result<()> {
        execute!(self.drawing.backend_mut(), terminal::LeaveAlternateScreen, cursor::Show)?;
        terminal::disable_raw_mode()
    }

    /// Takes the tty over again after [`Terminal::leave`].
    ///
    /// # Errors
    /// When the tty is gone.
    pub fn come_back(&mut self) -> io::Result<()> {
        // A shell that was killed leaves the tty to a group of processes that is no more: who reads then is stopped. Taking the
        // tty back is a signal too, which this thread does not want to hear.
        let mut block = SigSet::empty();
        block.add(Signal::SIGTTOU);
        let taken = block.thread_block().and_then(|()| tcsetpgrp(std::io::stdin(), getpgrp()));
        if let Err(error) = taken.and(block.thread_unblock()) {
            tracing::debug!(%error, "the terminal is not ours alone");
        }
        self.begin()?;
        // What is on screen now is not what was drawn last: everything is drawn anew.
        self.drawing.swap_buffers();
        Ok(())
    }
}

/// What a key means to the wizard. Where a keyboard has no function keys (a Touch Bar), Ctrl and a letter stand for them.
fn meaning(code: KeyCode, control: bool) -> Option<Key> {
    if let (KeyCode::Char(letter), true) = (code, control) {
        return match letter.to_ascii_lowercase() {
            'a' => Some(Key::Function(1)),
            'l' => Some(Key::Function(2)),
            'n' => Some(Key::Function(3)),
            'k' => Some(Key::Function(4)),
            't' => Some(Key::Function(5)),
            'b' => Some(Key::Escape),
            _ => None,
        };
    }
    Some(match code {
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace | KeyCode::Delete => Key::Backspace,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::F(number) => Key::Function(number),
        KeyCode::Char(letter) => Key::Char(letter),
        _ => return None,
    })
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A tty that is gone needs no tidying.
        let _ = execute!(self.drawing.backend_mut(), terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyboard_without_function_keys_has_ctrl_and_letters_and_what_is_typed_keeps_its_case() {
        assert_eq!(meaning(KeyCode::F(2), false), Some(Key::Function(2)));
        assert_eq!(meaning(KeyCode::Char('l'), true), Some(Key::Function(2)));
        assert_eq!(meaning(KeyCode::Char('b'), true), Some(Key::Escape));
        assert_eq!(meaning(KeyCode::Char('x'), true), None);
        assert_eq!(meaning(KeyCode::Char('L'), false), Some(Key::Char('L')));
    }
}
