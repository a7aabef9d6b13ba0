//! Execute Script: a temporary file that the kernel runs by its shebang, its words streamed as they come.
//!
//! Owns: the child's life (own process group, time limit, stop), masking secrets, bounds on lines.
//! Must not know: the appliance.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::variables::{from_text, values_in};
use crate::value::{Mask, Secret};

/// Longest line that is kept; the rest of it is dropped.
const LONGEST_LINE: usize = 4096;
/// How much of a line is looked at for secrets before it is cut.
const LONGEST_READ: u64 = 64 << 10;
/// Lines handed on at once.
const BATCH: usize = 200;
/// How often the child's state is looked at while it is silent.
const GLANCE: Duration = Duration::from_millis(50);
/// Between the polite signal and the other.
const GRACE: Duration = Duration::from_secs(5);
/// Where a script finds programs when its variables do not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A script to run.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// Its text; the first line is the shebang.
    pub text: &'a str,
    /// Variables.
    pub environment: &'a [(String, String)],
    /// Further environment, as it is: where the tool is that reads and sets variables.
    pub tool: &'a [(OsString, OsString)],
    /// Must not appear in what it says.
    pub secrets: &'a [Secret],
    /// Names of secret variables: what the script gives them must not appear either.
    pub secret_names: &'a [String],
    /// Where the tool writes what the script sets.
    pub set: Option<&'a Path>,
    /// After this long it is ended.
    pub limit: Option<Duration>,
}

/// How a script that was started ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exit(i32),
    /// By a signal that we did not send.
    Signal(i32),
    /// The limit was reached; it was ended.
    TimedOut,
    /// Somebody asked to stop; it was ended.
    Stopped,
}

/// The script could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// No shebang: there is no default interpreter.
    #[error("the script does not begin with `#!` and the path of an interpreter")]
    NoShebang,
    /// The interpreter is not there, or cannot be run.
    #[error("its interpreter `{interpreter}` could not be started")]
    Interpreter {
        /// As the shebang names it.
        interpreter: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The temporary file could not be written.
    #[error("writing the script to {} failed", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Waiting for it failed.
    #[error("waiting for the script failed")]
    Wait(#[source] io::Error),
}

/// Runs a script in `folder`. Lines go to `lines` as they come, secrets masked; `stop` is asked every now and then.
///
/// # Errors
/// See [`ScriptError`].
pub fn run(
    script: Script<'_>,
    folder: &Path,
    mut lines: impl FnMut(Vec<String>),
    stop: impl Fn() -> bool,
) -> Result<Ended, ScriptError> {
    let interpreter = interpreter(script.text).ok_or(ScriptError::NoShebang)?;
    let file = File::write(folder, script.text)?;
    let started = |source| ScriptError::Interpreter { interpreter: interpreter.to_owned(), source };
    let mut child = spawn(&file.0, folder, script).map_err(started)?;
    let said = listen(&mut child, script);
    let deadline = script.limit.and_then(|limit| now().checked_add(limit));
    let ended = loop {
        match said.recv_timeout(GLANCE) {
            Ok(line) => lines(batch(line, &said)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(GLANCE),
        }
        if let Some(status) = child.try_wait().map_err(ScriptError::Wait)? {
            break ended_by_itself(status);
        }
        let timed_out = deadline.is_some_and(|deadline| now() >= deadline);
        if timed_out || stop() {
            end(&mut child).map_err(ScriptError::Wait)?;
            break if timed_out { Ended::TimedOut } else { Ended::Stopped };
        }
    };
    // What stands in the pipes still; a process left in the background may keep them open for ever.
    while let Ok(line) = said.recv_timeout(Duration::from_millis(300)) {
        lines(batch(line, &said));
    }
    Ok(ended)
}

#[expect(clippy::disallowed_methods, reason = "the edge: a child's time limit is measured here")]
fn now() -> Instant {
    Instant::now()
}

fn interpreter(text: &str) -> Option<&str> {
    let line = text.strip_prefix("#!")?.lines().next()?.trim();
    line.split_whitespace().next().filter(|path| path.starts_with('/'))
}

/// The script's file, 0700, gone when dropped.
struct File(PathBuf);

impl File {
    fn write(folder: &Path, text: &str) -> Result<File, ScriptError> {
        let path = folder.join(format!("script-{}", uuid::Uuid::new_v4()));
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?;
            file.write_all(text.as_bytes())
        };
        match write() {
            Ok(()) => Ok(File(path)),
            Err(source) => Err(ScriptError::File { path, source }),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // The folder is in memory and ours; nothing else can be done about a file that stays.
        let _ = fs::remove_file(&self.0);
    }
}

fn spawn(file: &Path, folder: &Path, script: Script<'_>) -> io::Result<Child> {
    let mut tries = 0;
    loop {
        let valid = |(name, value): &&(String, String)| {
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
        };
        let child = Command::new(file)
            .current_dir(folder)
            .env_clear()
            .envs([("PATH", PATH), ("HOME", "/root"), ("LC_ALL", "C.UTF-8")])
            .envs(script.environment.iter().filter(valid).map(|(name, value)| (name, from_text(value))))
            .envs(script.tool.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            // Another thread forked while the file was open for writing; its child lets go of it at once.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 50 => {
                tries += 1;
                thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

fn ended_by_itself(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exit(code),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

/// Ends the whole process group: first asks, then kills.
fn end(child: &mut Child) -> io::Result<()> {
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    // ESRCH: all of it ended in between, which is what is wanted.
    let _ = killpg(group, Signal::SIGTERM);
    let deadline = now() + GRACE;
    while now() < deadline {
        if child.try_wait()?.is_some() {
            break;
        }
        thread::sleep(GLANCE);
    }
    let _ = killpg(group, Signal::SIGKILL);
    child.wait().map(drop)
}

/// One thread for each pipe; the channel is bounded, so a script that floods waits for us.
fn listen(child: &mut Child, script: Script<'_>) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(BATCH);
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for pipe in pipes.into_iter().flatten() {
        let (sender, watch) = (sender.clone(), Watch::of(script));
        thread::spawn(move || pass_on(BufReader::new(pipe), watch, &sender));
    }
    receiver
}

fn pass_on(mut pipe: impl BufRead, mut watch: Watch, sender: &SyncSender<String>) {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut pipe).take(LONGEST_READ).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let is_cut = bytes.last() != Some(&b'\n') && bytes.len() as u64 == LONGEST_READ;
        if is_cut && pipe.skip_until(b'\n').is_err() {
            return;
        }
        let text = watch.apply(bytes.trim_ascii_end(), is_cut);
        if sender.send(cut(&text)).is_err() {
            return;
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_LINE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn batch(first: String, more: &Receiver<String>) -> Vec<String> {
    std::iter::once(first).chain(more.try_iter().take(BATCH - 1)).collect()
}

/// What must not appear in what a script says: also what the script itself gives a secret variable.
struct Watch {
    mask: Mask,
    secrets: Vec<Vec<u8>>,
    /// Names of secret variables, and the file into which the tool writes what a script sets.
    names: Vec<String>,
    set: Option<PathBuf>,
    /// Bytes of it that are known.
    known: u64,
}

impl Watch {
    fn of(script: Script<'_>) -> Watch {
        let secrets: Vec<Vec<u8>> =
            script.secrets.iter().map(|secret| from_text(secret.expose()).into_encoded_bytes()).collect();
        Watch {
            mask: Mask::of_bytes(&secrets),
            secrets,
            names: script.secret_names.to_vec(),
            // Without names nothing that is set is a secret.
            set: script.set.filter(|_| !script.secret_names.is_empty()).map(Path::to_owned),
            known: 0,
        }
    }

    fn apply(&mut self, line: &[u8], cut: bool) -> String {
        // Whoever sets a secret and then says it has written it down before it is read here.
        if let Some(path) = &self.set
            && let length = fs::metadata(path).map_or(0, |file| file.len())
            && length != self.known
        {
            self.known = length;
            let is_secret = |name: &str| self.names.iter().any(|secret| secret.eq_ignore_ascii_case(name));
            for (name, value) in values_in(path).unwrap_or_default() {
                let value = value.into_encoded_bytes();
                if is_secret(&name) && !self.secrets.contains(&value) {
                    self.secrets.push(value);
                }
            }
            self.mask = Mask::of_bytes(&self.secrets);
        }
        self.mask.apply_to_line(line, cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::MASK;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn script<'a>(text: &'a str, secrets: &'a [Secret], limit: Option<Duration>) -> Script<'a> {
        Script { text, environment: &[], tool: &[], secrets, secret_names: &[], set: None, limit }
    }

    fn run_it(script: Script<'_>) -> (Result<Ended, ScriptError>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        let ended = run(script, folder.path(), |lines| seen.extend(lines), || false);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the script's file is left");
        (ended, seen)
    }

    #[test]
    fn section_2_both_streams_and_the_exit_code_come_back() {
        let (ended, mut lines) = run_it(script("#!/bin/sh\necho out\necho err >&2\nexit 7\n", &[], None));
        lines.sort();
        assert_eq!((ended.unwrap(), lines), (Ended::Exit(7), vec!["err".to_owned(), "out".to_owned()]));
    }

    #[test]
    fn section_3_the_environment_is_what_was_given_and_nothing_of_ours() {
        let environment = [("OSDComputerName".to_owned(), "lab 1".to_owned()), ("BAD=".into(), "x".into())];
        let text = "#!/bin/sh\necho \"$OSDComputerName\"\nenv | cut -d= -f1 | sort | tr '\\n' ' '\n";
        let (ended, lines) = run_it(Script { environment: &environment, ..script(text, &[], None) });
        assert_eq!(ended.unwrap(), Ended::Exit(0));
        assert_eq!(lines[0], "lab 1");
        assert!(!lines[1].contains("CARGO") && lines[1].contains("PATH"), "{}", lines[1]);
    }

    #[test]
    fn section_3_a_secret_that_a_script_echoes_is_masked_also_when_one_contains_another() {
        let secrets = [Secret::new("pass"), Secret::new("password"), Secret::new("line one\nline two")];
        let text = "#!/bin/sh\necho the password is pass\necho line two\n";
        let (_, lines) = run_it(script(text, &secrets, None));
        assert_eq!(lines, [format!("the {MASK} is {MASK}"), MASK.to_owned()]);
    }

    #[test]
    fn section_3_a_secret_that_the_script_itself_sets_is_masked_from_then_on_in_any_form() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("set");
        fs::write(&set, b"").unwrap();
        let tool = [("SET".into(), set.clone().into())];
        let text = "#!/bin/sh\nprintf 'KEY\\0swordfish\\0Room\\0lab 12\\0' >>\"$SET\"\necho swordfish in lab 12\necho cm9vdDpzd29yZGZpc2g=\n";
        let names = ["Key".to_owned()];
        let script = Script { secret_names: &names, set: Some(&set), tool: &tool, ..script(text, &[], None) };
        let (ended, lines) = run_it(script);
        assert_eq!(ended.unwrap(), Ended::Exit(0));
        assert_eq!(lines, [format!("{MASK} in lab 12"), format!("cm9vdDp{MASK}g=")]);
    }

    #[test]
    fn section_3_a_secret_of_any_bytes_is_masked_also_where_a_long_line_is_cut() {
        let secrets = [Secret::new("\u{f00ff}key\u{f0080}"), Secret::new("abcdefgh".repeat(2000))];
        let text = "#!/bin/sh\nprintf 'a \\377key\\200 b\\n'\nawk 'BEGIN { for (i = 0; i < 9000; i++) printf \"abcdefgh\" }'\n";
        let (_, lines) = run_it(script(text, &secrets, None));
        assert_eq!(lines, [format!("a {MASK} b"), MASK.to_owned()]);
    }

    #[test]
    fn section_1_a_script_over_its_limit_is_ended_with_its_children() {
        let text = "#!/bin/sh\nsleep 600 &\necho $!\nwait\n";
        let (ended, lines) = run_it(script(text, &[], Some(Duration::from_millis(300))));
        assert_eq!(ended.unwrap(), Ended::TimedOut);
        let child = Pid::from_raw(lines[0].parse().unwrap());
        let deadline = now() + Duration::from_secs(5);
        let gone = || match fs::read_to_string(format!("/proc/{child}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        while !gone() {
            assert!(now() < deadline, "child {child} still runs");
            thread::yield_now();
        }
    }

    #[test]
    fn a_stopped_script_ends() {
        let folder = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let text = "#!/bin/sh\necho ready\nexec sleep 600\n";
        let seen = |_| stop.store(true, Ordering::Relaxed);
        let ended = run(script(text, &[], None), folder.path(), seen, || stop.load(Ordering::Relaxed));
        assert_eq!(ended.unwrap(), Ended::Stopped);
    }

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_is_read() {
        let text = "#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x\necho\necho next\n";
        let (_, lines) = run_it(script(text, &[], None));
        assert_eq!(lines[0].chars().count(), LONGEST_LINE + 1);
        assert_eq!(lines[1..], ["next"]);
    }

    #[test]
    fn section_2_without_a_shebang_or_its_interpreter_nothing_runs() {
        for text in ["echo hi\n", "", "#!\n", "#! sh\n"] {
            assert!(matches!(run_it(script(text, &[], None)).0, Err(ScriptError::NoShebang)), "{text:?}");
        }
        let (ended, _) = run_it(script("#!/no/such/shell -x\n", &[], None));
        assert!(ended.unwrap_err().to_string().contains("`/no/such/shell`"));
    }

    #[test]
    fn a_signal_is_told_from_an_exit_code() {
        let (ended, _) = run_it(script("#!/bin/sh\nkill -KILL $$\n", &[], None));
        assert_eq!(ended.unwrap(), Ended::Signal(9));
    }
}
