//! The try of an SMB share: with Samba's `smbclient`, as the account that a capture would use.
//!
//! Owns: what is tried, what the program's words mean. A file is written, renamed and deleted: a capture does all three. Name and
//! password go to its standard input, where no other process sees them. Must not know: HTTP.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::lookup_host;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::api::admin::{ShareFinding, ShareVerdict};
use crate::value::{Secret, ShareAccount, SharePath};

/// The program, and the package that has it.
const PROGRAM: &str = "smbclient";
/// How long it may take in all.
const PATIENCE: Duration = Duration::from_secs(25);
/// Tries at a time.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Why nothing can be said of a share.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// The appliance lacks the program.
    #[error("this appliance has no {PROGRAM}")]
    NoProgram,
    /// It does not run.
    #[error("{PROGRAM} cannot be run")]
    Run(#[source] io::Error),
    /// Too much at a time.
    #[error("four shares are being tried already")]
    Busy,
    /// A password that the program cannot be told.
    #[error(
        "{PROGRAM} cannot be told a password that begins or ends with a space, or has a line break in it"
    )]
    Password,
}

/// Tries it.
///
/// # Errors
/// See [`TryError`]; whatever is wrong with the share is a verdict.
pub async fn verify(
    path: &SharePath,
    account: &ShareAccount,
    password: &Secret,
) -> Result<ShareVerdict, TryError> {
    let secret = password.expose();
    if secret.trim() != secret || secret.contains(['\n', '\r', '\0']) {
        return Err(TryError::Password);
    }
    let _turn = TURNS.try_acquire().map_err(|_| TryError::Busy)?;
    if let Err(error) = lookup_host((path.server(), path.port())).await {
        return Ok(verdict(ShareFinding::HostNotFound, error.to_string(), None, path, account));
    }
    let Ok(output) = timeout(PATIENCE, ask(path, account, secret)).await else {
        let evidence = format!("no end within {} seconds", PATIENCE.as_secs());
        return Ok(verdict(ShareFinding::NoAnswer, evidence, None, path, account));
    };
    let (ended_well, text) = output?;
    let (finding, evidence) = meaning(ended_well, &text);
    Ok(verdict(finding, evidence, free(&text), path, account))
}

/// Runs the program: how it ended, and all that it says.
async fn ask(path: &SharePath, account: &ShareAccount, password: &str) -> Result<(bool, String), TryError> {
    let name = format!(".rootstock-{}", Uuid::new_v4().simple());
    // A short file that is there wherever Linux is.
    let work = format!("put /proc/self/comm {name}; rename {name} {name}.x; ls {name}.x; rm {name}.x");
    let folder: String = path.folders().iter().map(|name| format!(r"\{name}")).collect();
    let mut command = Command::new(PROGRAM);
    command
        .args(["-s", "/dev/null", "-A", "/dev/stdin", "-t", "10"])
        .args(["-p", &path.port().to_string()])
        .arg(format!("//{}/{}", path.server(), path.share()))
        .args(["-D", if folder.is_empty() { r"\" } else { &folder }, "-c", &work])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TryError::NoProgram,
        _ => TryError::Run(error),
    })?;
    let domain = account.domain().map(|domain| format!("domain={domain}\n")).unwrap_or_default();
    let words = format!("username={}\n{domain}password={password}\n", account.user());
    if let Some(mut input) = child.stdin.take() {
        // Who ends before reading it says why.
        let _ = input.write_all(words.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(TryError::Run)?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text[..text.len().min(16 << 10)]).into_owned();
    Ok((output.status.success(), text))
}

/// What the program's words mean, and those that tell.
fn meaning(ended_well: bool, text: &str) -> (ShareFinding, String) {
    let Some(line) = text.lines().find(|line| line.contains("NT_STATUS_")).map(str::trim) else {
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return match ended_well {
            true => (ShareFinding::Good, String::new()),
            false => (ShareFinding::Unknown, last.trim().to_owned()),
        };
    };
    let is = |codes: &[&str]| codes.iter().any(|code| line.contains(&format!("NT_STATUS_{code}")));
    let finding = if line.contains("do_connect: Connection to") {
        ShareFinding::NoAnswer
    } else if line.contains("negotiation failed") {
        ShareFinding::NoSmb
    } else if is(&[
        "ACCOUNT_DISABLED",
        "ACCOUNT_LOCKED_OUT",
        "ACCOUNT_EXPIRED",
        "PASSWORD_EXPIRED",
        "PASSWORD_MUST_CHANGE",
        "ACCOUNT_RESTRICTION",
        "INVALID_LOGON_HOURS",
        "LOGON_TYPE_NOT_GRANTED",
    ]) {
        ShareFinding::AccountBarred
    } else if line.contains("session setup failed") {
        match is(&[
            "LOGON_FAILURE",
            "ACCESS_DENIED",
            "NO_SUCH_USER",
            "WRONG_PASSWORD",
            "NO_SUCH_DOMAIN",
            "INVALID_PARAMETER",
        ]) {
            true => ShareFinding::WrongAccount,
            false => ShareFinding::Unknown,
        }
    } else if line.contains("tree connect failed") {
        match () {
            () if is(&["BAD_NETWORK_NAME"]) => ShareFinding::NoShare,
            () if is(&["ACCESS_DENIED"]) => ShareFinding::NoAccess,
            () => ShareFinding::Unknown,
        }
    } else if line.starts_with("cd ") {
        match is(&["ACCESS_DENIED"]) {
            true => ShareFinding::NoAccess,
            false => ShareFinding::NoFolder,
        }
    } else {
        ShareFinding::NotWritable
    };
    (finding, line.to_owned())
}

/// `264212084 blocks of size 1024. 66571092 blocks available`
fn free(text: &str) -> Option<u64> {
    let line =
        text.lines().find(|line| line.contains(" blocks of size ") && line.contains(" blocks available"))?;
    let (_, rest) = line.split_once(" blocks of size ")?;
    let (size, rest) = rest.split_once(". ")?;
    let (blocks, _) = rest.split_once(' ')?;
    size.trim().parse::<u64>().ok()?.checked_mul(blocks.trim().parse().ok()?)
}

fn verdict(
    finding: ShareFinding,
    evidence: String,
    free: Option<u64>,
    path: &SharePath,
    account: &ShareAccount,
) -> ShareVerdict {
    let (server, share) = (path.server(), path.share());
    let (message, next_step) = match finding {
        ShareFinding::Good => {
            (format!("{account} wrote, renamed and deleted a file in {path}"), String::new())
        }
        ShareFinding::HostNotFound => (
            format!("the server {server} was not found"),
            "correct its name, or have the site's DNS know it; an IP address does, too".to_owned(),
        ),
        ShareFinding::NoAnswer => (
            format!("{server} does not answer at port {}", path.port()),
            "see that the server is on, serves SMB, and that no firewall stands between it and the appliance".to_owned(),
        ),
        ShareFinding::NoSmb => (
            format!("{server} answers at port {}, and not with SMB 2 or 3", path.port()),
            "see that the server speaks SMB 2.1 or later".to_owned(),
        ),
        ShareFinding::WrongAccount => (
            format!("{server} does not know {account} with this password"),
            r"correct name and password; of a domain, the name is DOMAIN\user".to_owned(),
        ),
        ShareFinding::AccountBarred => (
            format!("{server} does not let {account} in now: disabled, locked, or its password has expired"),
            "have the account unlocked, or set a new password".to_owned(),
        ),
        ShareFinding::NoShare => {
            (format!("{server} has no share {share}"), "correct its name, or make the share".to_owned())
        }
        ShareFinding::NoAccess => (
            format!("{account} may not use {path}"),
            "give the account the right to read and change there, on the share and on the folder".to_owned(),
        ),
        ShareFinding::NoFolder => {
            (format!("there is no folder {path}"), "correct the path, or make the folder".to_owned())
        }
        ShareFinding::NotWritable => (
            format!("{account} may not write, rename and delete in {path}"),
            "give the account the right to change there, on the share and on the folder; see that there is room".to_owned(),
        ),
        ShareFinding::Unknown => {
            (format!("{path} could not be tried to the end"), "see what the server's log says".to_owned())
        }
    };
    let good = finding == ShareFinding::Good;
    let evidence: String = evidence.chars().filter(|c| !c.is_control()).take(300).collect();
    ShareVerdict { good, finding, message, next_step, evidence, free_bytes: free.filter(|_| good) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of smbclient 4.17.
    #[test]
    fn section_2_what_smbclient_says_of_a_share_is_told_in_one_word() {
        use ShareFinding::*;
        for (text, finding) in [
            ("do_connect: Connection to 127.0.0.1 failed (Error NT_STATUS_CONNECTION_REFUSED)", NoAnswer),
            ("protocol negotiation failed: NT_STATUS_CONNECTION_DISCONNECTED", NoSmb),
            ("session setup failed: NT_STATUS_LOGON_FAILURE", WrongAccount),
            ("session setup failed: NT_STATUS_ACCOUNT_LOCKED_OUT", AccountBarred),
            ("session setup failed: NT_STATUS_PASSWORD_MUST_CHANGE", AccountBarred),
            ("tree connect failed: NT_STATUS_BAD_NETWORK_NAME", NoShare),
            ("tree connect failed: NT_STATUS_ACCESS_DENIED", NoAccess),
            (r"cd \no such\: NT_STATUS_OBJECT_NAME_NOT_FOUND", NoFolder),
            (r"cd \barred\: NT_STATUS_ACCESS_DENIED", NoAccess),
            (r"NT_STATUS_ACCESS_DENIED opening remote file \.rootstock-1", NotWritable),
            ("NT_STATUS_ACCESS_DENIED renaming files .rootstock-1 -> .rootstock-1.x", NotWritable),
            ("", Unknown),
        ] {
            let (found, evidence) = meaning(false, text);
            assert_eq!((found, evidence.as_str()), (finding, text));
        }
        let good = "putting file x as \\x (0.7 kb/s)\n  x  AH 10  Tue\n\n\t\t100 blocks of size 1024. 7 blocks available\n";
        assert_eq!((meaning(true, good).0, free(good)), (Good, Some(7 * 1024)));
        assert_eq!(free("1 blocks of size 99999999999999999. 99999999999 blocks available"), None);
    }
}
