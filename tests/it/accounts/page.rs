//! The log in page as a browser uses it: curl keeps the cookies, an independent judge of their rules.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use rootstock::api::admin::AuditEntry;
use rootstock::client::{Client, Patience};
use rootstock::value::Role;
use tempfile::TempDir;

use super::{PASSWORD, add_user, rootstock};
use crate::api::appliance::{Appliance, FREE_PORTS};

/// A browser: its jar of cookies.
struct Browser<'a> {
    folder: &'a TempDir,
    ca: PathBuf,
    base: String,
}

impl Browser<'_> {
    /// Status, head and body of an answer.
    fn ask(&self, path: &str, words: &[&str]) -> (u16, String) {
        let jar = self.folder.path().join("jar");
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "--cacert"]).arg(&self.ca).arg("-b").arg(&jar).arg("-c").arg(&jar);
        let output = curl.args(words).arg(format!("{}{path}", self.base)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let status = text.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        (status.unwrap_or_else(|| panic!("{path}: {text}")), text)
    }

    fn post(&self, path: &str, fields: &[&str]) -> (u16, String) {
        let origin = format!("Origin: {}", self.base);
        let mut words = vec!["-H", origin.as_str()];
        fields.iter().for_each(|field| words.extend(["--data-urlencode", *field]));
        self.ask(path, &words)
    }
}

fn browser<'a>(folder: &'a TempDir, appliance: &Appliance) -> Browser<'a> {
    let base = format!("https://127.0.0.1:{}", appliance.https);
    Browser { folder, ca: appliance.data.join("keys/ca.pem"), base }
}

#[test]
fn a_person_logs_in_on_the_page_uses_the_api_by_cookie_and_logs_out() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    add_user(&appliance, "ana", Role::Owner);
    let browser = browser(&folder, &appliance);
    let (status, page) = browser.ask("/login", &[]);
    assert_eq!(status, 200);
    for part in ["<label for=\"password\">", "lang=\"en\"", "content-security-policy: default-src 'none'"] {
        assert!(page.contains(part), "no `{part}` in {page}");
    }
    assert!(
        !page.contains("<script") && !page.contains("http:"),
        "nothing from elsewhere, no script: {page}"
    );
    let (status, page) = browser.post("/login", &["name=ana", "password=wrong"]);
    assert!(status == 401 && page.contains("role=\"alert\">The name or the password is wrong."), "{page}");
    assert!(page.contains("value=\"ana\""), "the name stays: {page}");
    let (status, head) = browser.post("/login", &["name=ana", &format!("password={PASSWORD}")]);
    assert_eq!(status, 303);
    let cookie = head.lines().find(|line| line.starts_with("set-cookie: __Host-rootstock=")).unwrap();
    for part in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(browser.ask("/login", &[]).1.contains("signed in as <strong>ana</strong>, an owner"));
    assert!(browser.ask("/api/v1/session", &[]).1.contains("\"how\":\"session\""));
    // What changes something must come from a page of ours.
    let end = ["-X", "DELETE"];
    assert_eq!(browser.ask("/api/v1/session", &end).0, 403, "the browser does not say where it comes from");
    let elsewhere = ["-X", "DELETE", "-H", "Origin: https://evil.example"];
    assert_eq!(browser.ask("/api/v1/session", &elsewhere).0, 403);
    assert_eq!(browser.ask("/logout", &["-X", "POST", "-H", "Sec-Fetch-Site: cross-site"]).0, 403);
    assert_eq!(browser.post("/logout", &["x=y"]).0, 303);
    assert_eq!(browser.ask("/api/v1/session", &[]).0, 401);
    let told: Vec<AuditEntry> = appliance.admin().get("/api/v1/audit?action=session.end").unwrap();
    assert_eq!(told.iter().map(|entry| entry.who.as_str()).collect::<Vec<_>>(), ["ana"]);
}

#[test]
fn part_7_who_guesses_is_told_to_wait_and_a_form_of_another_site_signs_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    add_user(&appliance, "ana", Role::Owner);
    let browser = browser(&folder, &appliance);
    let right = format!("password={PASSWORD}");
    let elsewhere = ["-H", "Origin: https://evil.example", "-d", "name=ana", "-d", right.as_str()];
    assert_eq!(browser.ask("/login", &elsewhere).0, 403);
    for _ in 0..6 {
        assert_eq!(browser.post("/login", &["name=ana", "password=wrong"]).0, 401);
    }
    let (status, page) = browser.post("/login", &["name=ana", &right]);
    assert!(
        status == 429 && page.contains("\nretry-after: ") && page.contains("Too many sign-ins"),
        "{page}"
    );
    let locked: Vec<AuditEntry> = appliance.admin().get("/api/v1/audit?action=session.locked").unwrap();
    assert_eq!((locked.len(), locked[0].object.as_str()), (1, "user ana"), "{locked:?}");
}

/// The program itself; what it says of set-up is the code.
struct Daemon(Child, String);

impl Daemon {
    fn start(folder: &TempDir) -> Daemon {
        let file = folder.path().join("rootstock.toml");
        std::fs::write(&file, FREE_PORTS).unwrap();
        let mut command = Command::cargo_bin("rootstockd").unwrap();
        command.arg("--config").arg(file).arg("--data").arg(folder.path().join("data"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.find(|line| line.contains("set-up code")).expect("a set-up code is said");
        std::thread::spawn(move || lines.for_each(drop));
        let code = said.split("hours: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        Daemon(child, code)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn listener(socket: &Path) -> String {
    let client = Client::unix(socket).with_patience(Patience::NONE);
    let status: rootstock::api::admin::Status = client.get("/api/v1/status").unwrap();
    let https = status.listeners.iter().find(|listener| listener.service == "https").unwrap();
    format!("https://127.0.0.1:{}", https.address.rsplit(':').next().unwrap())
}

#[test]
fn part_7_the_first_start_says_a_code_that_makes_one_owner_on_the_page_or_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder);
    let data = folder.path().join("data");
    let base = listener(&data.join("rootstock.sock"));
    let ca = data.join("keys/ca.pem");
    let browser = Browser { folder: &folder, ca: ca.clone(), base: base.clone() };
    let (status, head) = browser.ask("/login", &[]);
    assert!(status == 303 && head.contains("location: /setup"), "{head}");
    let owner = |code: &str, name: &str| {
        let password = format!("password={PASSWORD}");
        let again = format!("again={PASSWORD}");
        browser.post("/setup", &[&format!("code={code}"), &format!("name={name}"), &password, &again])
    };
    let (status, page) = owner("AAAAA-AAAAA-AAAAA-AAAAA", "ana");
    assert!(status == 403 && page.contains("The set-up code is wrong"), "{page}");
    let (status, page) = owner(&daemon.1.to_lowercase(), "ana");
    assert_eq!(status, 303, "{page}");
    let (status, _) = owner(&daemon.1, "eve");
    assert_eq!(status, 403, "a code works once");
    let admin = Client::unix(data.join("rootstock.sock")).with_patience(Patience::NONE);
    let told: Vec<AuditEntry> = admin.get("/api/v1/audit?action=user.setup").unwrap();
    assert!(told.len() == 1 && told[0].object == "user ana" && told[0].who == "the set-up code", "{told:?}");
    let file = folder.path().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let (code, said) = rootstock(
        folder.path(),
        &[
            "user",
            "setup",
            "eve",
            "--server",
            &base,
            "--ca",
            ca.to_str().unwrap(),
            "--password-file",
            file.to_str().unwrap(),
        ],
    );
    assert!(code == 1 && said.contains("there are accounts already"), "{said}");
    let there = ["--server", base.as_str()];
    let login =
        ["login", "--user", "ana", "--ca", ca.to_str().unwrap(), "--password-file", file.to_str().unwrap()];
    let (code, said) = rootstock(folder.path(), &[&login[..], &there].concat());
    assert!(code == 0 && said.contains("ana is signed in"), "{said}");
    let (code, said) = rootstock(folder.path(), &[&["whoami"][..], &there].concat());
    assert!(code == 0 && said == "ana, owner\n", "{said}");
    let (code, said) = rootstock(folder.path(), &[&["logout"][..], &there].concat());
    assert!(code == 0 && said.contains("ana is signed out"), "{said}");
    let (code, said) = rootstock(folder.path(), &[&["whoami"][..], &there].concat());
    assert!(code == 1 && said.contains("rootstock login --server"), "{said}");
}
