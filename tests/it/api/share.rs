//! The try of an SMB share against Samba's own server on loopback, and what the command line says of it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rootstock::api::admin::{AuditEntry, Run, ShareFinding, ShareVerdict, VerifyShare};
use rootstock::api::capture::{Capture, StartCapture};
use rootstock::api::runner::{Action, CaptureSource, Done, Purpose};
use rootstock::value::Secret;
use tempfile::TempDir;

use super::appliance::{Appliance, Mac, Work, json, refused};

const PASSWORD: &str = "Share #1, \"ö\" = \\";

/// Samba's server; stopped when dropped.
struct Smbd {
    child: Child,
    port: u16,
    user: String,
}

impl Smbd {
    /// None where there is no Samba, or nobody to be root for it; in CI there must be.
    fn start(home: &Path) -> Option<Smbd> {
        let lacking = ["/usr/sbin/smbd", "/usr/bin/smbclient", "/usr/bin/pdbedit"]
            .into_iter()
            .find(|program| !Path::new(program).exists());
        if let Some(program) = lacking {
            assert!(
                std::env::var_os("CI").is_none(),
                "{program} is missing: apt-get install samba smbclient"
            );
            println!("skipped: {program} is missing");
            return None;
        }
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let user = user.trim().to_owned();
        for folder in ["private", "lock", "state", "cache", "pid", "ncalrpc", "images/lab", "fixed", "barred"]
        {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        // A port that is free now; where somebody takes it meanwhile, smbd ends and the test fails.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let settings = home.join("smb.conf");
        fs::write(&settings, config(home, port, &user)).unwrap();
        let mut added = Command::new("pdbedit")
            .arg("-s")
            .arg(&settings)
            .args(["-a", "-t", "-u", &user])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(
            &mut added.stdin.take().unwrap(),
            format!("{PASSWORD}\n{PASSWORD}\n").as_bytes(),
        )
        .unwrap();
        assert!(added.wait().unwrap().success());
        let child = Command::new("/usr/sbin/smbd")
            .args(["-F", "-s"])
            .arg(&settings)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut smbd = Smbd { child, port, user };
        #[expect(clippy::disallowed_methods, reason = "another program is waited for")]
        let now = Instant::now;
        let until = now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(smbd.child.try_wait().unwrap().is_none(), "smbd ended");
            assert!(now() < until, "smbd does not listen");
            std::thread::yield_now();
        }
        Some(smbd)
    }

    fn path(&self, below: &str) -> String {
        format!("smb://127.0.0.1:{}/{below}", self.port)
    }
}

impl Drop for Smbd {
    fn drop(&mut self) {
        // Asked first: it has children.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn config(home: &Path, port: u16, user: &str) -> String {
    let home = home.display();
    let share = |name: &str, more: &str| format!("[{name}]\npath = {home}/{name}\n{more}\n");
    format!(
        "[global]\nserver role = standalone server\ninterfaces = lo\nbind interfaces only = yes\nsmb ports = {port}\n\
         private dir = {home}/private\nlock directory = {home}/lock\nstate directory = {home}/state\n\
         cache directory = {home}/cache\npid directory = {home}/pid\nncalrpc dir = {home}/ncalrpc\n\
         passdb backend = tdbsam:{home}/private/passdb.tdb\nlog file = {home}/log\nload printers = no\n\
         disable spoolss = yes\nmap to guest = never\nserver min protocol = SMB2\n{}{}{}",
        share("images", "read only = no"),
        share("fixed", "read only = yes"),
        share("barred", &format!("read only = no\ninvalid users = {user}")),
    )
}

#[test]
fn section_2_verify_says_green_or_red_and_why_and_keeps_no_password() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("samba");
    let Some(smbd) = Smbd::start(&home) else { return };
    let data = folder.path().join("data");
    let appliance = Appliance::start(&data);
    let admin = appliance.admin();
    let try_it = |share: String, account: &str, password: &str| {
        let (account, password) = (account.to_owned(), Secret::new(password));
        let body = VerifyShare { share, account, password };
        admin.post::<_, ShareVerdict>("/api/v1/shares/verify", &body)
    };
    let user = smbd.user.as_str();
    for below in ["images", "images/lab"] {
        let green = try_it(smbd.path(below), user, PASSWORD).unwrap();
        assert!(green.good && green.finding == ShareFinding::Good, "{green:?}");
        assert!(green.free_bytes.is_some_and(|free| free > 0) && green.message.contains(user), "{green:?}");
        assert_eq!(
            fs::read_dir(home.join(below))
                .unwrap()
                .filter(|one| one.as_ref().unwrap().path().is_file())
                .count(),
            0
        );
    }
    assert!(try_it(smbd.path("images"), &format!(r"ANYWHERE\{user}"), PASSWORD).unwrap().good);
    for (share, account, password, finding) in [
        (smbd.path("images"), user, "wrong", ShareFinding::WrongAccount),
        (smbd.path("images"), user, "", ShareFinding::WrongAccount),
        (smbd.path("images"), "nobody-here", PASSWORD, ShareFinding::WrongAccount),
        (smbd.path("nothing"), user, PASSWORD, ShareFinding::NoShare),
        (smbd.path("images/no%20such"), user, PASSWORD, ShareFinding::NoFolder),
        (smbd.path("fixed"), user, PASSWORD, ShareFinding::NotWritable),
        (smbd.path("barred"), user, PASSWORD, ShareFinding::NoAccess),
        ("smb://no-such-host.invalid/images".to_owned(), user, PASSWORD, ShareFinding::HostNotFound),
        ("smb://127.0.0.1:1/images".to_owned(), user, PASSWORD, ShareFinding::NoAnswer),
    ] {
        let red = try_it(share.clone(), account, password).unwrap();
        assert_eq!((red.good, red.finding), (false, finding), "{share} {account}: {red:?}");
        assert!(!red.next_step.is_empty() && red.free_bytes.is_none(), "{red:?}");
    }
    let (status, problem) = refused(try_it(r"\\server".to_owned(), user, PASSWORD));
    assert!(status == 422 && problem.error.contains("names the share"), "{problem:?}");
    assert_eq!(refused(try_it(smbd.path("images"), "a%b", PASSWORD)).0, 422);
    assert_eq!(refused(try_it(smbd.path("images"), user, " blank")).0, 422);
    let audit: Vec<AuditEntry> = admin.get("/api/v1/audit?action=share.verify").unwrap();
    assert!(!audit.is_empty() && !format!("{audit:?}").contains("Share #1"), "{audit:?}");
    by_command_line(&smbd, &data, folder.path());
    appliance.stop();
}

fn by_command_line(smbd: &Smbd, data: &Path, folder: &Path) {
    let file = folder.join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let verify = |below: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_rootstock"))
            .arg("--socket")
            .arg(data.join("rootstock.sock"))
            .args(["share", "verify", &smbd.path(below), "--account", &smbd.user, "--password-file"])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = verify("images");
    assert!(code == Some(0) && text.starts_with("green: ") && text.contains("are free there"), "{text}");
    let (code, text) = verify("fixed");
    assert!(code == Some(1) && text.starts_with("red: ") && text.contains("\nnext: "), "{text}");
}

const CAPTURE: &str = r"name: Capture
steps:
  - set_variables:
      - {name: OSDCaptureDestination, value: '\\files\Images'}
      - {name: PmmOSDCaptureDestinationDir, value: 'OSX-%SerialNumber%'}
      - {name: OSDCaptureAccount, value: 'pmm12.dom\Administrator'}
      - {name: PmmOSDCaptureAccountPassword, value: hunter2, secret: true}
  - capture_image: {image: lab, source: {disk: 0, partition: 2}, destination: share}
  - execute_script: {script: '#!/bin/sh'}
";

/// Task-sequences section 2: the four variables are public, PmmOSDSourceDisk is what the capture says.
#[test]
fn section_2_a_capture_to_a_share_is_handed_out_by_the_variables_of_the_guide_and_believed_when_it_is_that_file()
 {
    let folder = TempDir::new().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    appliance.apply(CAPTURE);
    appliance.deploy("Capture", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02SPINE0001");
    let work = Work { appliance: &appliance, ticket: mac.start(&appliance) };
    let assignment = work.act();
    let Action::CaptureToShare { image, source, share } = &assignment.action else {
        panic!("{assignment:?}")
    };
    assert_eq!((image.as_str(), *source), ("lab", CaptureSource::Partition { disk: 0, partition: 2 }));
    assert_eq!(share.path.to_string(), r"\\files\Images");
    assert_eq!(share.folder.to_string(), r"\\files\Images\OSX-C02SPINE0001");
    assert_eq!((share.account.domain(), share.account.user()), (Some("pmm12.dom"), "Administrator"));
    assert_eq!(share.password.expose(), "hunter2");
    // It is no capture into the library.
    let path = format!("/runner/v1/runs/{}/captures/{}", work.ticket.run, assignment.number);
    let start = StartCapture { source: "x".into(), size: 1, used: 1 };
    assert_eq!(refused(work.client().post::<_, Capture>(&path, &start)).0, 409);
    let done = |saved: Option<&str>| {
        let nodes = vec!["/dev/sda2".to_owned()];
        work.done(work.act().number, Done { nodes, saved: saved.map(str::to_owned), ..Done::default() });
    };
    done(Some(r"\\files\Images\other.dmg"));
    let run = appliance.run(work.ticket.run);
    let failure = run.failure.unwrap();
    assert!(failure.cause.contains("not say that lab is on the share"), "{failure:?}");
    assert!(failure.evidence.contains(r"OSX-C02SPINE0001\lab.dmg"), "{failure:?}");
    let resume = format!("/api/v1/runs/{}/resume", work.ticket.run);
    let _: Run = appliance.admin().post(&resume, &serde_json::json!({})).unwrap();
    done(Some(r"\\files\Images\OSX-C02SPINE0001\lab.dmg"));
    let Action::ExecuteScript { environment, .. } = work.act().action else { panic!() };
    assert!(environment.contains(&("PmmOSDSourceDisk".into(), "/dev/sda2".into())), "{environment:?}");
    for path in ["/api/v1/runs/1", "/api/v1/runs/1/events", "/api/v1/sequences/Capture"] {
        let text = json(&appliance.admin(), path).to_string();
        assert!(!text.contains("hunter2"), "{path}: {text}");
    }
}
