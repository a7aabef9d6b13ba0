//! Steps that the appliance does itself, ends that no step brings, and history: over the wire, with other programs as judges.
//! Section numbers are those of the task sequences' specification.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rootstock::api::admin::{self, StepState, VariableValue};
use rootstock::api::runner::*;
use serde_json::{Value, json as value};
use tempfile::tempdir;

use super::appliance::{Appliance, Mac, Work, json, refused};

const PATIENCE: Duration = Duration::from_secs(60);

fn exit(code: i32) -> Done {
    Done { exit_code: Some(code), ..Done::default() }
}

fn post(appliance: &Appliance, path: &str, body: &Value) -> admin::Run {
    appliance.admin().post(path, body).unwrap()
}

fn start<'a>(appliance: &'a Appliance, yaml: &str) -> Work<'a> {
    let saved = appliance.apply(yaml);
    let purpose = Purpose::Available;
    let body = admin::CreateDeployment::new(saved.name, "all macs", purpose);
    let deployment: admin::Deployment = appliance.admin().post("/api/v1/deployments", &body).unwrap();
    let mac = Mac::boot(appliance, "C02SPINE0001");
    Work { appliance, ticket: mac.try_start(appliance, deployment.id).unwrap() }
}

/// The run as it stands once it has ended.
fn ended(appliance: &Appliance, run: i64) -> admin::Run {
    let mut change = 0;
    loop {
        let seen: admin::Run =
            appliance.admin().get(&format!("/api/v1/runs/{run}?after={change}&wait=20")).unwrap();
        if seen.summary.outcome.is_some() {
            return seen;
        }
        change = seen.change;
    }
}

#[test]
fn section_4_a_cancelled_run_does_its_finally_on_the_mac_and_then_ends() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let script = |name: &str| format!("{{name: {name}, execute_script: {{script: '#!/bin/sh'}}}}");
    let yaml = format!(
        "name: Tidy\nsteps: [{{name: G, group: [{}, {}], finally: [{}]}}]\n",
        script("a"),
        script("b"),
        script("tidy")
    );
    let work = start(&appliance, &yaml);
    let first = work.act();
    let run = post(&appliance, "/api/v1/runs/1/cancel", &value!({}));
    assert_eq!(run.summary.outcome, None, "its finally is to be done");
    let lines = ReportEvent::Log { first: None, lines: vec!["x".into()] };
    assert!(work.try_report(first.number, lines).unwrap().stop, "what was at work must end");
    work.done(first.number, exit(0));
    let tidy = work.act();
    assert_eq!((tidy.name.as_str(), tidy.number), ("tidy", 2));
    let lines = ReportEvent::Log { first: None, lines: vec!["x".into()] };
    assert!(!work.try_report(tidy.number, lines).unwrap().stop);
    work.done(tidy.number, exit(0));
    assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Cancelled, .. }));
    assert_eq!(refused(appliance.admin().post::<_, admin::Run>("/api/v1/runs/1/cancel", &value!({}))).0, 409);
}

#[test]
fn section_2_a_run_with_steps_of_macos_stays_open_says_so_goes_on_there_and_can_be_closed() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let yaml = "name: Later\nsteps:\n  - {name: Look, execute_script: {script: '#!/bin/sh'}}\n  - {name: Host, set_hostname: {name: 'mac-%SerialNumber%'}}\n  - {name: Ask, execute_script: {phase: macos, script: '#!/bin/zsh'}}\n";
    let work = start(&appliance, yaml);
    work.done(work.act().number, exit(0));
    let restart = work.act();
    assert!(matches!(restart.action, Action::Restart), "{restart:?}");
    work.done(restart.number, Done::default());
    let Next::Wait { why, .. } = work.try_next().unwrap() else { panic!() };
    assert!(why.contains("waits for the Mac's agent on macOS"), "{why}");
    let waits = appliance.run(1).waits.unwrap();
    assert!(waits.for_macos && waits.why.contains("`Host`"), "{waits:?}");

    let hello = Hello { boot: BootMethod::Macos, ..Mac::words("C02SPINE0001") };
    let welcome: Welcome = appliance.network(None).post("/runner/v1/hello", &hello).unwrap();
    let agent = Work { appliance: &appliance, ticket: welcome.run.expect("the run goes on") };
    let host = agent.act();
    let Action::OnMacos { act } = host.action else { panic!("{host:?}") };
    assert_eq!(act, MacosAct::SetHostname { name: "mac-C02SPINE0001".into() });
    agent.done(host.number, Done::default());
    assert!(matches!(agent.act().action, Action::ExecuteScript { .. }));
    let refusal = refused(appliance.admin().post::<_, admin::Run>("/api/v1/runs/1/close", &value!({})));
    assert_eq!(refusal.0, 409, "it is at work");
    post(&appliance, "/api/v1/runs/1/cancel", &value!({}));

    let work = start(&appliance, &yaml.replace("Later", "Later 2"));
    work.done(work.act().number, exit(0));
    work.done(work.act().number, Done::default());
    let run = post(&appliance, "/api/v1/runs/2/close", &value!({"done": true}));
    assert_eq!(run.summary.outcome, Some(Outcome::Succeeded));
    assert!(run.message.unwrap().contains("closed by"), "it says that macOS did not report");
    let states: Vec<StepState> = run.step_list.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Succeeded, StepState::Skipped, StepState::Skipped]);
}

/// Takes webhooks: refuses as often as it is told, then accepts. Gives each request as it came.
fn webhook(refusals: usize) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &line;
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = if number < refusals { "503 Busy" } else { "204 Fine" };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            if told.send(format!("{head}{}", String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, heard)
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request
        .lines()
        .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
    line.unwrap_or_else(|| panic!("no {name} in {request}")).1.trim()
}

#[test]
fn section_2_a_webhook_is_signed_tried_again_and_its_secret_stays_secret() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let (url, heard) = webhook(1);
    let key = VariableValue { value: "hunter2-of-hook".into(), secret: true };
    let _set: admin::Variable =
        appliance.admin().put("/api/v1/collections/All%20Macs/variables/HookKey", &key).unwrap();
    let yaml = format!(
        "name: Told\nsteps: [{{name: Tell, notify: {{webhook: '{url}', secret: '%HookKey%', message: 'done %SerialNumber%'}}}}]\n"
    );
    let work = start(&appliance, &yaml);
    assert!(matches!(work.try_next().unwrap(), Next::Wait { .. }), "the appliance does it");
    assert!(matches!(work.try_next().unwrap(), Next::Wait { .. } | Next::Finished { .. }));
    let first = heard.recv_timeout(PATIENCE).unwrap();
    let second = heard.recv_timeout(PATIENCE).unwrap();
    let run = ended(&appliance, 1);
    assert_eq!(run.summary.outcome, Some(Outcome::Succeeded), "{run:?}");
    assert_eq!(header(&first, "x-rootstock-delivery"), header(&second, "x-rootstock-delivery"));
    let (_, body) = second.split_once("\r\n\r\n").unwrap();
    let note: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&note["message"], &note["run"], &note["version"]),
        (&"done C02SPINE0001".into(), &1.into(), &1.into())
    );
    // Another program counts the signature.
    let text = format!("{}.{body}", header(&second, "x-rootstock-timestamp"));
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", "hunter2-of-hook"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    let want = output.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(header(&second, "x-rootstock-signature"), format!("v1={want}"));
    assert!(
        !second.contains("hunter2")
            && !json(&appliance.admin(), "/api/v1/runs/1/events").to_string().contains("hunter2")
    );
}

#[test]
fn section_2_a_webhook_that_refuses_for_good_fails_the_step_with_what_it_said() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let unsigned = "name: Bare\nsteps: [{notify: {webhook: 'http://127.0.0.1:9/x', message: m}}]\n";
    let work = start(&appliance, unsigned);
    let _ = work.try_next().unwrap();
    let run = ended(&appliance, 1);
    let failure = run.failure.unwrap();
    assert!(failure.evidence.contains("neither the step nor `notify.webhook-secret-file`"), "{failure:?}");
    assert!(run.can_resume);
}

/// Whatever the other end says is recorded without the secrets of the run, wherever it is read.
#[test]
fn section_3_a_webhook_that_says_a_secret_back_is_quoted_without_it() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut first).unwrap();
        let said = format!("nothing lies at {}", first.split(' ').nth(1).unwrap());
        let length = said.len();
        write!(stream, "HTTP/1.1 404 No\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{said}")
            .unwrap();
        let _ = stream.read(&mut [0; 4096]);
    });
    let key = VariableValue { value: "hunter2-of-hook".into(), secret: true };
    let _set: admin::Variable =
        appliance.admin().put("/api/v1/collections/All%20Macs/variables/HookKey", &key).unwrap();
    let yaml = format!(
        "name: Told\nsteps: [{{name: Tell, notify: {{webhook: '{url}/%HookKey%', secret: '%HookKey%', message: done}}}}]\n"
    );
    let work = start(&appliance, &yaml);
    let _ = work.try_next().unwrap();
    let run = ended(&appliance, 1);
    answers.join().unwrap();
    assert!(run.failure.unwrap().evidence.contains("answered 404: nothing lies at /••••••••"));
    for path in ["/api/v1/runs/1", "/api/v1/runs/1/events"] {
        let text = json(&appliance.admin(), path).to_string();
        assert!(text.contains("nothing lies at") && !text.contains("hunter2"), "{path}: {text}");
    }
    let page = appliance.admin().text("/api/v1/runs/1/report").unwrap();
    assert!(page.contains("nothing lies at") && !page.contains("hunter2"), "{page}");
}

/// A mail server of another project on a port of its own choice; a mail a line of JSON.
struct MailServer {
    child: Child,
    port: u16,
    mails: Receiver<String>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mail_server(folder: &Path) -> MailServer {
    let program = r#"
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
class Handler:
    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
                          "text": envelope.content.decode()}), flush=True)
        return "250 taken"
def check(server, session, envelope, mechanism, data):
    return AuthResult(success=data == LoginPassword(b"lab", b"hunter2-of-smtp"))
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[1], sys.argv[2])
async def main():
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(Handler(), tls_context=context, require_starttls=True, authenticator=check, auth_required=True)
    server = await loop.create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"#;
    let (cert, key) = (folder.join("mail.pem"), folder.join("mail.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    // The system's Python has the system's packages, whatever another one stands before it in the path.
    let mut child = Command::new("/usr/bin/python3")
        .args(["-W", "ignore", "-c", program])
        .args([&cert, &key])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.next().expect("the mail server starts").unwrap().parse().unwrap();
    let (told, mails) = channel();
    std::thread::spawn(move || lines.map_while(Result::ok).all(|line| told.send(line).is_ok()));
    MailServer { child, port, mails }
}

#[test]
fn section_2_a_mail_goes_by_starttls_with_a_login_to_everybody_it_names() {
    let folder = tempdir().unwrap();
    let server = mail_server(folder.path());
    fs::write(folder.path().join("password"), "hunter2-of-smtp\n").unwrap();
    let settings = format!(
        "[notify]\nca-file = '{0}/mail.pem'\nsmtp-server = '127.0.0.1'\nsmtp-port = {1}\nsmtp-user = 'lab'\nsmtp-password-file = '{0}/password'\nmail-from = 'rootstock@example.org'\n",
        folder.path().display(),
        server.port
    );
    let appliance = Appliance::start_with(&folder.path().join("data"), &settings);
    let yaml = "name: Mailed\nsteps: [{name: Tell, notify: {mail: [a@example.org, b@example.org], subject: 'Mäc %SerialNumber%', message: \"one\\n.\\ntwo\"}}]\n";
    let work = start(&appliance, yaml);
    let _ = work.try_next().unwrap();
    let run = ended(&appliance, 1);
    assert_eq!(run.summary.outcome, Some(Outcome::Succeeded), "{run:?}");
    let mail: Value = serde_json::from_str(&server.mails.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!((&mail["from"], &mail["tls"]), (&"rootstock@example.org".into(), &true.into()));
    assert_eq!(mail["to"], value!(["a@example.org", "b@example.org"]));
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("one\r\n.\r\ntwo") && text.contains("Subject: =?utf-8?"), "{text}");
    assert!(text.contains("run 1 of Mailed") && !text.contains("hunter2"), "{text}");
}

#[test]
fn section_4_a_stopped_run_whose_mac_is_gone_still_tells_who_is_to_be_told() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let (url, heard) = webhook(0);
    let key = VariableValue { value: "k-of-hook".into(), secret: true };
    let _set: admin::Variable =
        appliance.admin().put("/api/v1/collections/All%20Macs/variables/HookKey", &key).unwrap();
    let yaml = format!(
        "name: Gone\nsteps: [{{name: G, group: [{{name: a, execute_script: {{script: '#!/bin/sh'}}}}], finally: [{{name: Tell, notify: {{webhook: '{url}', secret: '%HookKey%', message: 'stopped at %LastActionName%'}}}}]}}]\n"
    );
    let work = start(&appliance, &yaml);
    work.act();
    post(&appliance, "/api/v1/runs/1/cancel", &value!({}));
    assert!(heard.recv_timeout(PATIENCE).unwrap().contains("stopped at a"));
    assert_eq!(ended(&appliance, 1).summary.outcome, Some(Outcome::Cancelled));
}

fn rootstock(data: &Path, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    let output = command.arg("--socket").arg(data.join("rootstock.sock")).args(words).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn part_9_times_exit_codes_and_the_report_of_a_run_and_a_step_across_runs() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let yaml = "name: Timed\nsteps:\n  - {name: Look <b>, retry: {count: 1}, execute_script: {script: '#!/bin/sh', success_codes: [0, 3]}}\n  - {name: Never, if: {all: [{variable: Model, equals: x}]}, restart: }\n";
    for code in [3, 0] {
        let work = start(&appliance, yaml);
        work.act();
        let failure = Failure {
            cause: "it broke".into(),
            evidence: String::new(),
            next_step: String::new(),
            exit_code: Some(9),
        };
        work.try_report(1, ReportEvent::Failed(failure)).unwrap();
        work.act();
        let lines = vec!["<script>alert(1)</script>".to_owned()];
        work.try_report(2, ReportEvent::Log { first: None, lines }).unwrap();
        work.done(2, exit(code));
        assert!(matches!(work.try_next().unwrap(), Next::Finished { outcome: Outcome::Succeeded, .. }));
    }
    let step = &appliance.run(1).step_list[0];
    assert_eq!((step.exit_code, step.tries, step.kind.as_str()), (Some(3), 2, "Execute Script"));
    let times: admin::StepTimes =
        appliance.admin().get("/api/v1/step-times?step=Look%20%3Cb%3E&sequence=Timed").unwrap();
    assert_eq!((times.succeeded, times.failed, times.runs.len()), (2, 0, 2));
    assert_eq!((times.runs[0].run, times.runs[0].exit_code, times.runs[1].exit_code), (2, Some(0), Some(3)));
    assert!(times.times.is_some_and(|spread| spread.least <= spread.median && spread.median <= spread.most));
    let none: admin::StepTimes =
        appliance.admin().get("/api/v1/step-times?step=Look%20%3Cb%3E&sequence=Other").unwrap();
    assert_eq!((none.runs.len(), none.times), (0, None));
    let data = &appliance.data;
    let (code, text) = rootstock(data, &["run", "compare", "Look <b>", "Never"]);
    assert!(code == 0 && text.contains("median") && text.contains("2 times done"), "{text}");
    let (code, text) = rootstock(data, &["run", "steps", "1"]);
    assert!(code == 0 && text.contains("left out") && text.contains("Execute Script"), "{text}");
    let path = folder.path().join("run.html");
    let (code, text) = rootstock(data, &["run", "report", "1", "-o", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let page = fs::read_to_string(&path).unwrap();
    assert!(
        page.contains("Look &lt;b&gt;") && page.contains("&lt;script&gt;") && !page.contains("<script"),
        "{page}"
    );
    // Another program reads it: one tree, no reference to anything outside.
    let judge = "
import sys, html.parser
class Judge(html.parser.HTMLParser):
    def __init__(self): super().__init__(); self.open = []; self.bad = []
    def handle_starttag(self, tag, attributes):
        if tag in ('script', 'iframe', 'link', 'img', 'object'): self.bad.append(tag)
        self.bad += [value for name, value in attributes if name in ('src', 'href') and not value.startswith('#')]
        if tag not in ('meta', 'br'): self.open.append(tag)
    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag: self.bad.append('/' + tag)
judge = Judge(); judge.feed(open(sys.argv[1]).read()); judge.close()
print(judge.bad + judge.open)";
    let output = Command::new("python3").args(["-c", judge]).arg(&path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]", "{output:?}");
}

#[test]
fn part_9_a_problem_report_holds_what_helps_and_none_of_the_secrets_that_were_planted_everywhere() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("hook"), "planted-hook-file\n").unwrap();
    fs::write(path("smtp"), "planted-smtp-file\n").unwrap();
    let authority = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
    fs::write(path("ldap-ca.pem"), authority).unwrap();
    let settings = format!(
        "[ldap]\nurl = 'ldap://127.0.0.1:9'\ndomain = 'EX'\nca = '{0}/ldap-ca.pem'\nbase = 'dc=ex'\nbind-dn = 'cn=a,dc=ex'\n[[ldap.group]]\ndn = 'cn=g,dc=ex'\nrole = 'auditor'\n[notify]\nwebhook-secret-file = '{0}/hook'\nsmtp-server = 'mail.example'\nsmtp-user = 'u'\nsmtp-password-file = '{0}/smtp'\nmail-from = 'a@b'\n[bsdp]\nshadow-mount = 'afp://u:planted-in-settings@10.0.0.5/S'\nshadow-file = 'x'\n",
        folder.path().display()
    );
    let appliance = Appliance::start_with(&path("data"), &settings);
    Mac::boot(&appliance, "C02SPINE0001");
    let admin = appliance.admin();
    let set = |at: &str, value: &str| {
        let body = VariableValue { value: value.into(), secret: true };
        let _set: admin::Variable = admin.put(&format!("/api/v1/{at}"), &body).unwrap();
    };
    set("devices/1/variables/DeviceKey", "planted-on-device");
    set("devices/1/variables/Odd", "planted \"quoted\" \\ <odd>");
    set("collections/All%20Macs/variables/CollectionKey", "planted-on-collection");
    set("devices/1/variables/Pin", "7z1");
    let body = value!({"password": "planted-of-directory"});
    let () = admin.put("/api/v1/ldap/password", &body).unwrap();
    let user = value!({"name": "ana", "role": "auditor", "password": "planted horse"});
    let _user: Value = admin.post("/api/v1/users", &user).unwrap();
    let body = value!({"name": "ci", "user": "ana"});
    let api_token: admin::CreatedToken = admin.post("/api/v1/tokens", &body).unwrap();
    let api_token = api_token.token.expose().to_owned();
    // A revision that is not the newest any more, of a sequence that never ran; and the run of another Mac.
    for secret in ["planted-in-an-old-revision", "planted-in-a-new-revision"] {
        appliance.apply(&format!(
            "name: Older\nsteps: [{{set_variables: [{{name: A, value: {secret}, secret: true}}]}}]\n"
        ));
    }
    let asks = "name: Asks\nprompts: [{variable: Said, secret: true}]\nsteps: [{execute_script: {script: \"#!/bin/sh\\necho $Said\\n\"}}]\n";
    let saved = appliance.apply(asks);
    let body = admin::CreateDeployment::new(saved.name, "all macs", Purpose::Available);
    let deployment: admin::Deployment = admin.post("/api/v1/deployments", &body).unwrap();
    let other = Mac::boot(&appliance, "C02SPINE0002").try_start(&appliance, deployment.id).unwrap();
    let other = Work { appliance: &appliance, ticket: other };
    let _ = other.try_next().unwrap();
    let body = value!({"values": {"Said": "planted-answer"}});
    let _run: admin::Run = admin.post("/api/v1/runs/1/answers", &body).unwrap();
    other.act();
    let yaml = "name: Planted\nsteps:\n  - set_variables: [{name: Own, value: planted-in-sequence, secret: true}]\n  - {name: Echo, execute_script: {script: '#!/bin/sh'}}\n";
    let work = start(&appliance, yaml);
    let number = work.act().number;
    let values = vec![("Own".into(), "planted-by-script".into())];
    work.try_report(number, ReportEvent::Variables { values }).unwrap();
    let token = fs::read_to_string(appliance.data.join("keys/admin.token")).unwrap();
    let key = fs::read_to_string(appliance.data.join("keys/secrets.key")).unwrap();
    let echo = [
        "planted-on-device",
        "planted \"quoted\" \\ <odd>",
        "planted-on-collection",
        "planted-by-script",
        token.trim(),
    ];
    let lines: Vec<String> =
        echo.iter().map(|secret| format!("echo {secret}")).chain(["pin 7z1".to_owned()]).collect();
    work.try_report(number, ReportEvent::Log { first: None, lines: lines.clone() }).unwrap();
    let failure = Failure {
        cause: format!("it said {}", echo[0]),
        evidence: echo[1].into(),
        next_step: "planted-hook-file".into(),
        exit_code: Some(1),
    };
    work.try_report(number, ReportEvent::Failed(failure)).unwrap();
    // Lines of the log that some library wrote.
    rootstock::server::recent::keep(&format!(
        "GET /x authorization: Bearer planted0bearer0token\npassword=planted-in-log planted-smtp-file\n\
         bind planted-of-directory, planted-in-an-old-revision, planted-answer, -H {api_token}\n"
    ));
    // The report of the run is for whoever may look, and is not cleaned once more.
    let page = admin.text("/api/v1/runs/2/report").unwrap();
    for secret in [
        "planted-on-device",
        "planted &quot;",
        "planted-on-collection",
        "planted-in-sequence",
        "planted-by-script",
    ] {
        assert!(page.contains("echo ••••••••") && !page.contains(secret), "{secret}: {page}");
    }

    let file = path("problem.tar.zst");
    let (code, text) =
        rootstock(&appliance.data, &["problem-report", "--run", "2", "-o", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let out = path("out");
    fs::create_dir(&out).unwrap();
    let tar = Command::new("tar").arg("--zstd").arg("-xf").arg(&file).arg("-C").arg(&out).output().unwrap();
    assert!(tar.status.success(), "{tar:?}");
    let root = out.join("rootstock-problem");
    for name in [
        "versions.json",
        "config.toml",
        "status.json",
        "clients.json",
        "rootstockd.log",
        "run/run.json",
        "run/events.json",
        "run/report.html",
        "REDACTED",
    ] {
        assert!(root.join(name).is_file(), "{name}");
    }
    let grep = |word: &str| {
        let found = Command::new("grep").args(["-r", "-F", "-e", word]).arg(&root).output().unwrap();
        String::from_utf8_lossy(&found.stdout).into_owned()
    };
    for secret in [
        "planted-",
        "planted0bearer",
        "planted \\\"",
        "planted &quot;",
        "planted \"",
        "7z1",
        token.trim(),
        key.trim(),
        api_token.as_str(),
        "sealed.v1.",
        "PRIVATE KEY",
    ] {
        assert_eq!(grep(secret), "", "{secret}");
    }
    let config = fs::read_to_string(root.join("config.toml")).unwrap();
    assert!(config.contains("10.0.0.5/S") && config.contains("smtp-password-file"), "{config}");
    assert!(grep("C02SPINE0001").contains("run.json") && grep("Echo").contains("report.html"));
}

#[test]
fn part_9_details_of_old_runs_go_and_their_line_and_receipts_stay() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let work = start(&appliance, "name: Old\nsteps: [{execute_script: {script: '#!/bin/sh'}}]\n");
    work.done(work.act().number, exit(0));
    let data = appliance.data.clone();
    appliance.stop();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = rootstock::db::Db::open(&data.join("db.sqlite3")).await.unwrap();
        assert_eq!(db.old_runs(0, 10).await.unwrap(), Vec::<i64>::new());
        assert_eq!(db.old_runs(i64::MAX, 10).await.unwrap(), [1]);
        db.forget_run(1, 5).await.unwrap();
        assert_eq!(db.old_runs(i64::MAX, 10).await.unwrap(), Vec::<i64>::new());
        db.close().await;
    });
    let appliance = Appliance::start(&data);
    let (status, problem) = refused(appliance.admin().get::<admin::Run>("/api/v1/runs/1"));
    assert!(status == 404 && problem.error.contains("history.keep-days"), "{problem:?}");
    assert_eq!(json(&appliance.admin(), "/api/v1/runs")[0]["outcome"], "succeeded");
}

#[test]
fn part_1_a_sequence_called_check_is_like_any_other_copies_keep_comments_and_secrets_and_all_are_checked_anew()
 {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let admin = appliance.admin();
    appliance.apply("name: check # the name\nsteps:\n  - set_variables: [{name: Key, value: hunter2, secret: true}] # why\n");
    let shown: admin::Sequence = admin.get("/api/v1/sequences/check").unwrap();
    assert_eq!(shown.name, "check");
    let copy = |to: &str, replace: bool| {
        let body = admin::CopySequence { to: to.into(), revision: None, replace };
        admin.post::<_, admin::SavedSequence>("/api/v1/sequences/check/copy", &body)
    };
    assert_eq!(copy("Other: \"odd\"", false).unwrap().revision, 1);
    assert_eq!(refused(copy("check", false)).0, 409);
    assert_eq!(refused(copy("a/b", false)).0, 422);
    let other: admin::Sequence = admin.get("/api/v1/sequences/Other%3A%20%22odd%22").unwrap();
    assert!(
        other.yaml.contains("# why") && other.yaml.contains("sealed.v1.") && !other.yaml.contains("hunter2"),
        "{}",
        other.yaml
    );
    let body = VariableValue { value: "x".into(), secret: false };
    let _set: admin::Variable = admin.put("/api/v1/collections/All%20Macs/variables/Room", &body).unwrap();
    appliance.apply("name: Rooms\nsteps: [{set_variables: [{name: A, value: '%Room%'}]}]\n");
    admin.delete("/api/v1/collections/All%20Macs/variables/Room").unwrap();
    let all: Vec<admin::SequenceFindings> = admin.get("/api/v1/sequence-checks").unwrap();
    let codes: Vec<_> = all
        .iter()
        .map(|one| {
            (one.name.as_str(), one.findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(codes, [("Other: \"odd\"", vec![]), ("Rooms", vec!["unknown-variable"]), ("check", vec![])]);
    let (code, text) = rootstock(&appliance.data, &["sequence", "check-all"]);
    assert!(code == 1 && text.contains("unknown-variable"), "{text}");
    let (code, text) = rootstock(&appliance.data, &["sequence", "copy", "Rooms@1", "Rooms 2"]);
    assert!(code == 0 && text.contains("Rooms 2 revision 1"), "{text}");
}
