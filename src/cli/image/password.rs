//! The password of an encrypted image: from a file, or typed at the terminal; never from the command line.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

use crate::value::Secret;

/// Bytes of a password file, and of a password.
const MOST_PASSWORD: u64 = 4096;

/// Where the password comes from.
#[derive(Args, Clone, Debug, Default)]
pub struct Password {
    /// File with the password of an encrypted image; a newline at its end does not count. Without it, and at a terminal,
    /// the password is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Ask for the password at the terminal, whatever the image looks like
    #[arg(long, conflicts_with = "password_file")]
    ask_password: bool,
}

impl Password {
    /// The password that the command line leads to.
    pub fn given(&self, image: &Path) -> anyhow::Result<Option<Secret>> {
        match &self.password_file {
            Some(path) => read(path).map(Some),
            None if self.ask_password => self.ask(image).map(Some),
            None => Ok(None),
        }
    }

    /// Whether one was named or asked for.
    pub fn is_given(&self) -> bool {
        self.password_file.is_some() || self.ask_password
    }

    /// Whether a person is there to be asked.
    pub fn may_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks, without showing what is typed.
    pub fn ask(&self, image: &Path) -> anyhow::Result<Secret> {
        ask(&format!("Password of {}", image.display()))
    }
}

/// Asks at the terminal, without showing what is typed.
pub fn ask(what: &str) -> anyhow::Result<Secret> {
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .context("there is no terminal to ask for the password on; name a file: --password-file FILE")?;
    let _hidden = Hidden::new(&terminal)?;
    let mut line = &terminal;
    write!(line, "{what}: ")?;
    let typed = typed(&mut line);
    writeln!(line)?;
    let password = typed?;
    ensure!(!password.is_empty(), "no password was typed");
    Ok(Secret::new(password))
}

/// A new password: from a file, or typed twice.
pub fn new(file: Option<&Path>, of: &str) -> anyhow::Result<Secret> {
    if let Some(file) = file {
        return read(file);
    }
    let (one, again) = (ask(&format!("New password of {of}"))?, ask("The same again")?);
    ensure!(one == again, "the two passwords are not the same");
    Ok(one)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Hidden<'_> {
    fn new(terminal: &File) -> anyhow::Result<Hidden<'_>> {
        let before = tcgetattr(terminal).context("the terminal")?;
        let mut hidden = before.clone();
        // Ctrl-C comes as a byte too: a terminal that stays mute behind a program that ended helps nobody.
        hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        hidden.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        hidden.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(terminal, SetArg::TCSAFLUSH, &hidden).context("the terminal")?;
        Ok(Hidden { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// One line, byte by byte; backspace takes back a letter, Ctrl-U all, Ctrl-C and Ctrl-D end it.
fn typed(terminal: &mut impl Read) -> anyhow::Result<String> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match terminal.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading from the terminal"),
            Ok(0) => bail!("the terminal was closed"),
            Ok(_) => {}
        }
        match byte[0] {
            b'\n' | b'\r' => break,
            3 | 4 => bail!("no password was typed"),
            8 | 127 => {
                // A letter may have several bytes, of which only the first is no continuation.
                while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            21 => line.clear(),
            byte => line.push(byte),
        }
        ensure!(line.len() as u64 <= MOST_PASSWORD, "longer than any password");
    }
    String::from_utf8(line).context("the password is not UTF-8: set the terminal to it")
}

/// The password in a file, without the newline that editors put at its end.
pub fn read(path: &Path) -> anyhow::Result<Secret> {
    let of_file = || format!("the password file {}", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST_PASSWORD + 1).read_to_string(&mut text))
        .with_context(of_file)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    ensure!(!password.is_empty(), "{}: it is empty", of_file());
    ensure!(text.len() as u64 <= MOST_PASSWORD, "{}: it is longer than any password", of_file());
    Ok(Secret::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_password_is_what_the_file_holds_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, password) in [("a b", "a b"), (" x \n", " x "), ("é\r\n", "é"), ("two\n\n", "two\n")] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap().expose(), password);
        }
        for text in ["", "\n", &"a".repeat(5000)] {
            fs::write(&path, text).unwrap();
            assert!(read(&path).is_err());
        }
    }

    #[test]
    fn what_is_typed_can_be_taken_back() {
        let of = |keys: &str| typed(&mut keys.as_bytes());
        assert_eq!(of("zwö\u{7f}ö lf\n").unwrap(), "zwö lf");
        assert_eq!(of("wrong\u{15}right\rmore").unwrap(), "right");
        for keys in ["half\u{3}", "\u{4}", "no end"] {
            assert!(of(keys).is_err(), "{keys:?}");
        }
    }
}
