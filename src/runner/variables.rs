//! Variables for scripts: the tool that `PMM_TS_VARIABLE_UTIL` names, and the folder through which it and the runner meet.
//!
//! The tool is this program itself, called with `--get` or `--set` (task-sequences section 3). The folder holds `given` (the
//! run's variables when the script began) and `set` (what the script set, in order); both are lists of pairs, each text
//! closed by a NUL, so any bytes survive. A value that is no UTF-8 travels in messages with each such byte as one character of a
//! private plane ([`to_text`]).
//!
//! Must not know: the appliance, how scripts run.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::sequence::name::VariableName;

/// Names the tool for scripts.
pub const TOOL: &str = "PMM_TS_VARIABLE_UTIL";
/// Names the folder for the tool.
pub const FOLDER: &str = "ROOTSTOCK_VARIABLES";
/// Bytes of the longest value.
const LONGEST: usize = 65_536;
/// Bytes that all files of the folder may have.
const MOST_BYTES: u64 = 16 << 20;
/// Stands for the byte 0; the bytes from 0x80 on are this far behind it. Plane 15 is private: no text of people uses it.
const ESCAPE: u32 = 0xF_0000;

/// A folder of one script's variables, gone when dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes it in `state` and writes down what the script is given.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(state: &Path, given: &[(String, String)]) -> io::Result<Folder> {
        let path = state.join(format!("variables-{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let folder = Folder { path };
        let mut bytes = Vec::new();
        for (name, value) in given {
            put(&mut bytes, name, &from_text(value));
        }
        private(&folder.path.join("given"))?.write_all(&bytes)?;
        private(&folder.path.join("set"))?;
        Ok(folder)
    }

    /// What the script's environment needs to find the tool and this folder; empty where this program cannot find itself.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        match std::env::current_exe() {
            Ok(tool) => vec![(TOOL.into(), tool.into()), (FOLDER.into(), self.path.clone().into())],
            Err(_) => Vec::new(),
        }
    }

    /// Where the tool writes what the script sets.
    pub fn of_set(&self) -> PathBuf {
        self.path.join("set")
    }

    /// What the script set, in order, the last value of each name only.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn set(&self) -> io::Result<Vec<(String, String)>> {
        let mut values: Vec<(String, String)> = Vec::new();
        for (name, value) in values_in(&self.of_set())? {
            values.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            values.push((name, to_text(&value)));
        }
        Ok(values)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The folder is in memory and ours; nothing else can be done about one that stays.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn put(bytes: &mut Vec<u8>, name: &str, value: &OsStr) {
    for part in [name.as_bytes(), value.as_bytes()] {
        bytes.extend(part.iter().filter(|byte| **byte != 0));
        bytes.push(0);
    }
}

/// Names and values in a file of the folder.
///
/// # Errors
/// When it cannot be read.
pub fn values_in(path: &Path) -> io::Result<Vec<(String, OsString)>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if let Ok(name) = String::from_utf8(name.to_vec()) {
            pairs.push((name, OsString::from_vec(value.to_vec())));
        }
    }
    Ok(pairs)
}

/// A value as messages carry it: UTF-8; each byte of what is none becomes one private character. A text that uses those
/// characters itself is carried byte by byte, so [`from_text`] gives every value back as it was.
pub fn to_text(value: &OsStr) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match unescaped(c) {
                Some(_) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.extend(escaped(byte))),
                None => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.extend(escaped(*byte)));
    }
    text
}

/// The value that [`to_text`] was given.
pub fn from_text(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match unescaped(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    OsString::from_vec(bytes)
}

fn escaped(byte: u8) -> Option<char> {
    char::from_u32(ESCAPE + u32::from(byte))
}

fn unescaped(c: char) -> Option<u8> {
    u8::try_from(u32::from(c).checked_sub(ESCAPE)?).ok().filter(|byte| *byte >= 0x80)
}

/// Whether the words of a command line are for the tool.
pub fn is_for_tool(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == "--get" || word == "--set")
}

/// The tool. Exit codes: 0 done · 1 a name is unknown, cannot be set, or no script runs · 2 the command line was wrong.
pub fn tool(words: &[OsString], out: &mut impl Write, complain: &mut impl Write) -> u8 {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    match work(folder.as_deref(), words, out) {
        Ok(code) => code,
        Err(Wrong { code, why }) => {
            // Nobody is left to tell when standard error is gone too.
            let _ = writeln!(complain, "error: {why}");
            code
        }
    }
}

/// Why the tool does nothing.
#[derive(Debug)]
struct Wrong {
    code: u8,
    why: String,
}

impl Wrong {
    fn words(why: impl Into<String>) -> Wrong {
        Wrong { code: 2, why: why.into() }
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Wrong {
        Wrong { code: 1, why }
    }
}

fn work(folder: Option<&Path>, words: &[OsString], out: &mut impl Write) -> Result<u8, Wrong> {
    let folder = folder.ok_or_else(|| "this works inside a script of a task sequence only".to_owned())?;
    let failed = |error: io::Error| Wrong::from(format!("the variables in {}: {error}", folder.display()));
    match words.split_first() {
        Some((verb, names)) if verb == "--get" && !names.is_empty() => {
            get(folder, names, out).map_err(failed)
        }
        Some((verb, settings)) if verb == "--set" && !settings.is_empty() => set(folder, settings),
        _ => Err(Wrong::words("say --get NAME… or --set NAME=VALUE…")),
    }
}

fn get(folder: &Path, names: &[OsString], out: &mut impl Write) -> io::Result<u8> {
    let mut known = values_in(&folder.join("given"))?;
    known.extend(values_in(&folder.join("set"))?);
    let find = |name: &OsStr| {
        let named = |(known, _): &&(String, OsString)| known.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        known.iter().rev().find(named).map(|(_, value)| value.as_os_str())
    };
    let mut code = 0;
    if let [name] = names {
        let found = find(name);
        code = u8::from(found.is_none());
        out.write_all(found.unwrap_or_default().as_bytes())?;
        return out.flush().map(|()| code);
    }
    for name in names {
        // What `eval` would run as something else than an assignment is not printed.
        let valid = name.to_str().filter(|name| name.parse::<VariableName>().is_ok());
        let Some(valid) = valid else {
            code = 1;
            continue;
        };
        let found = find(name);
        code |= u8::from(found.is_none());
        out.write_all(&assignment(valid, found.unwrap_or_default().as_bytes()))?;
    }
    out.flush().map(|()| code)
}

/// `NAME=…` for a POSIX shell, so that the value comes out whole of `eval "$(…)"` and of eval `…` without quotes, whose words
/// are split at spaces and line ends and expanded like file names (XCU 2.6). So nothing stands in it that is split or expanded but
/// single spaces: a value of more than plain characters is put together by `printf %b`, each byte as `\0ooo`. Command
/// substitution drops line ends at the end: a value that ends with one is closed with an `x`, which is taken away again.
fn assignment(name: &str, value: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:,@%+".contains(byte);
    if value.iter().all(plain) {
        return [name.as_bytes(), b"='", value, b"'\n"].concat();
    }
    let octal = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("\\0{byte:03o}"),
    };
    let octal: String = value.iter().map(octal).collect();
    let (close, then) = match value.last() {
        Some(b'\n') => ("x", format!(";{name}=${{{name}%x}}")),
        _ => ("", String::new()),
    };
    format!("{name}=$(printf %b '{octal}{close}'){then}\n").into_bytes()
}

fn set(folder: &Path, settings: &[OsString]) -> Result<u8, Wrong> {
    let mut bytes = Vec::new();
    for setting in settings {
        let words = setting.as_bytes();
        let shown = || String::from_utf8_lossy(words).chars().take(64).collect::<String>();
        let at = words.iter().position(|byte| *byte == b'=');
        let at = at.ok_or_else(|| Wrong::words(format!("`{}` is no NAME=VALUE", shown())))?;
        let name = std::str::from_utf8(&words[..at]).unwrap_or_default();
        let name: VariableName = name.parse().map_err(|error| Wrong::from(format!("{error}")))?;
        if name.is_read_only() {
            return Err(format!("{name} is a fact of the Mac and cannot be set").into());
        }
        let value = OsStr::from_bytes(&words[at + 1..]);
        if to_text(value).len() > LONGEST {
            return Err(format!("the value of {name} is too long: at most {LONGEST} bytes").into());
        }
        put(&mut bytes, name.as_str(), value);
    }
    let path = folder.join("set");
    let failed = |error: io::Error| Wrong::from(format!("{}: {error}", path.display()));
    let file = private(&path).map_err(failed)?;
    let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| failed(error.into()))?;
    let before = file.metadata().map_err(failed)?.len();
    if before + bytes.len() as u64 > MOST_BYTES {
        return Err(format!("the script set more than {MOST_BYTES} bytes").into());
    }
    file.write_all(&bytes).map_err(failed)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn folder(given: &[(&str, &str)]) -> (tempfile::TempDir, Folder) {
        let state = tempfile::tempdir().unwrap();
        let given: Vec<_> =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = Folder::make(state.path(), &given).unwrap();
        (state, folder)
    }

    fn call(folder: &Folder, words: &[&OsStr]) -> (Result<u8, u8>, Vec<u8>) {
        let words: Vec<OsString> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut out = Vec::new();
        (work(Some(&folder.path), &words, &mut out).map_err(|wrong| wrong.code), out)
    }

    fn say(folder: &Folder, words: &[&str]) -> (Result<u8, u8>, String) {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let (code, out) = call(folder, &words);
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn section_3_one_name_is_printed_bare_and_several_as_assignments() {
        let (_state, folder) = folder(&[("Room", "B 12"), ("Host", "mac")]);
        assert_eq!(say(&folder, &["--get", "room"]), (Ok(0), "B 12".into()));
        assert_eq!(
            say(&folder, &["--get", "Nobody"]),
            (Ok(1), String::new()),
            "nothing, not even a line end"
        );
        let (code, text) = say(&folder, &["--get", "Host", "room", "Nobody"]);
        assert_eq!((code, text.as_str()), (Ok(1), "Host='mac'\nroom=$(printf %b 'B\\004012')\nNobody=''\n"));
        let (code, text) = say(&folder, &["--get", "Host", "x;reboot"]);
        assert_eq!((code, text.as_str()), (Ok(1), "Host='mac'\n"));
    }

    #[test]
    fn section_3_several_are_set_at_once_and_the_last_value_counts() {
        let (_state, folder) = folder(&[("Room", "old")]);
        assert_eq!(say(&folder, &["--set", "a=1", "ROOM=x=y", "a="]).0, Ok(0));
        assert_eq!(say(&folder, &["--get", "Room"]), (Ok(0), "x=y".into()));
        assert_eq!(folder.set().unwrap(), [("ROOM".into(), "x=y".into()), ("a".into(), String::new())]);
    }

    #[test]
    fn section_3_what_cannot_be_set_is_refused_and_nothing_of_the_call_is_taken() {
        let (_state, folder) = folder(&[]);
        let long = format!("a={}", "x".repeat(LONGEST + 1));
        for (words, code) in [
            (&["--set", "ok=1", "SerialNumber=x"][..], 1),
            (&["--set", "ok=1", "pmmosdsourcedisk=x"], 1),
            (&["--set", "1a=x"], 1),
            (&["--set", "ok=1", &long], 1),
            (&["--set", "a"], 2),
            (&["--set"], 2),
            (&["--get"], 2),
            (&["x"], 2),
        ] {
            assert_eq!(say(&folder, words).0, Err(code), "{words:?}");
        }
        assert_eq!(folder.set().unwrap(), []);
        assert_eq!(say(&folder, &["--set", &long[..long.len() - 1]]).0, Ok(0), "one byte less");
        let outside = work(None, &["--get".into(), "a".into()], &mut Vec::new()).unwrap_err();
        assert!(outside.code == 1 && outside.why.contains("inside a script"), "{outside:?}");
    }

    /// What a shell makes of the assignments, through `eval` with and without quotes.
    fn evaluated(shell: &[&str], text: &[u8], quoted: bool) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let eval = if quoted { "eval \"$(cat \"$1\")\"" } else { "eval `cat \"$1\"`" };
        let script = format!("{eval}; printf %s. \"$a\" \"$b\"");
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", &script, "sh"]).arg(file.path()).env("LC_ALL", "C.UTF-8");
        command.output().unwrap().stdout
    }

    #[test]
    fn section_3_any_bytes_survive_every_shell_with_and_without_quotes() {
        let all: Vec<u8> = (1..=255).collect();
        let values: [&[u8]; 8] = [
            &all,
            b"",
            b"\n\n",
            b"a  b\t*?[a-z]\\ $HOME `id` \"'\n",
            b"-n",
            b"\xc3",
            b"\xc3\n",
            b"~ 12\\012",
        ];
        for shell in [&["sh"][..], &["bash"], &["busybox", "sh"]] {
            for value in values {
                let text = [assignment("a", value), assignment("b", value)].concat();
                for quoted in [true, false] {
                    let want = [value, b".", value, b"."].concat();
                    assert_eq!(evaluated(shell, &text, quoted), want, "{shell:?} {quoted} {value:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn section_3_any_bytes_travel_as_text_and_come_back(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[\u{f007e}-\u{f0082}a\u{f00ff}-\u{f0101}]{0,8}") {
            for value in [OsString::from_vec(bytes), OsString::from(text)] {
                prop_assert_eq!(from_text(&to_text(&value)), value);
            }
        }

        #[test]
        fn section_3_what_is_set_is_got(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let (_state, folder) = folder(&[]);
            let setting = [b"a=", bytes.as_slice()].concat();
            prop_assert_eq!(call(&folder, &[OsStr::new("--set"), OsStr::from_bytes(&setting)]).0, Ok(0));
            prop_assert_eq!(call(&folder, &[OsStr::new("--get"), OsStr::new("a")]), (Ok(0), bytes));
        }
    }
}
