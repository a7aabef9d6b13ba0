//! A problem report: what somebody who helps needs to see, as one `.tar.zst`, without secrets.
//!
//! | file | what |
//! |---|---|
//! | `versions.json` | rootstockd, kernel, distribution, processors, memory |
//! | `config.toml` | the settings in force |
//! | `status.json` | what listens, what is going on |
//! | `sequences.json`, `deployments.json` | names, revisions, findings |
//! | `clients.json` | timelines of network clients |
//! | `rootstockd.log` | the last lines of the log |
//! | `run/` | the run: steps, events with its log, report |
//! | `REDACTED` | what was taken out, by kind and number |
//!
//! Nothing of `keys/` is read but to find it elsewhere: every secret that the appliance can open is looked for in every file and
//! replaced; so is what looks like one. Must not know: HTTP paths.

mod redact;

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use self::redact::Redactor;
use super::app::App;
use super::clock::now_ms;
use super::http::admin::history;
use super::http::error::{Refusal, chain};
use super::secrets::is_sealed;
use super::{nested, recent, variables};
use crate::sequence::model::{Kind, Sequence};
use crate::sequence::template::Piece;

/// Network clients whose timelines go along.
const MOST_CLIENTS: usize = 200;
/// Revisions of sequences whose secrets are looked for.
const MOST_REVISIONS: u32 = 2_000;
/// Of these in memory at a time: each may have 2 MiB.
const AT_ONCE: u32 = 20;
/// Runs whose secrets are looked for: what scripts set and people answered stands nowhere else.
const MOST_RUNS: u32 = 50;
const LEVEL: i32 = 9;

/// The bundle; with one run, when it is about one.
pub async fn bundle(app: &App, run: Option<i64>) -> Result<Vec<u8>, Refusal> {
    let mut files: Vec<(String, String)> = vec![
        ("versions.json".to_owned(), pretty(&versions())),
        ("config.toml".to_owned(), app.config.to_string()),
        ("status.json".to_owned(), pretty(&status(app).await?)),
        ("sequences.json".to_owned(), pretty(&sequences(app).await?)),
        ("deployments.json".to_owned(), pretty(&deployments(app).await?)),
        ("clients.json".to_owned(), pretty(&clients(app).await?)),
        ("rootstockd.log".to_owned(), recent::lines()),
    ];
    let mut redactor = Redactor::default();
    if let Some(run) = run {
        let shown = super::http::admin::run_view(app, run).await?;
        let (events, _) = history::events(app, run).await?;
        files.push(("run/run.json".to_owned(), pretty(&shown)));
        files.push(("run/events.json".to_owned(), pretty(&events)));
        files.push(("run/report.html".to_owned(), history::page(app, run).await?));
        app.runs.secrets(run).await?.iter().for_each(|secret| redactor.know(secret));
    }
    know_everything(app, &mut redactor).await?;
    let packed = spawn_blocking(move || {
        let clean: Vec<(String, String)> =
            files.into_iter().map(|(name, text)| (name, redactor.clean(&text))).collect();
        pack(&clean, &redactor.account())
    });
    packed.await.map_err(|error| Refusal::fault(&error))?.map_err(|error| Refusal::fault(&error))
}

fn pack(files: &[(String, String)], account: &str) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
    let account = [("REDACTED".to_owned(), account.to_owned())];
    let seconds = u64::try_from(now_ms() / 1000).unwrap_or(0);
    for (name, text) in files.iter().chain(&account) {
        let mut head = tar::Header::new_gnu();
        head.set_size(text.len() as u64);
        head.set_mode(0o600);
        head.set_mtime(seconds);
        tar.append_data(&mut head, format!("rootstock-problem/{name}"), text.as_bytes())?;
    }
    let mut encoder = tar.into_inner()?;
    encoder.flush()?;
    encoder.finish()
}

/// Tells the redactor every secret that the appliance can open.
async fn know_everything(app: &App, redactor: &mut Redactor) -> Result<(), Refusal> {
    let keys = app.data.join("keys");
    let mut paths: Vec<std::path::PathBuf> =
        super::notify::Notifier::new(app.config.notify.clone(), String::new()).secret_files();
    paths.extend(app.config.library.upstream.iter().map(|upstream| upstream.token_file.clone()));
    let texts = spawn_blocking(move || {
        let of_folder = std::fs::read_dir(&keys).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_public = |path: &Path| {
            path.extension().is_some_and(|end| end == "pem")
                && path.file_stem().is_some_and(|name| name == "ca")
        };
        let files = of_folder.filter(|path| !is_public(path)).chain(paths);
        files
            .filter_map(|path| std::fs::read(path).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect::<Vec<_>>()
    });
    for text in texts.await.map_err(|error| Refusal::fault(&error))? {
        redactor.know(text.trim());
    }
    for owner in app.db.variable_owners().await? {
        // One that does not open is sealed wherever it stands.
        let Ok(scope) = variables::scope(&app.db, &app.secrets, &owner).await else { continue };
        scope.values().filter(|value| value.secret).for_each(|value| redactor.know(&value.text));
    }
    // One that does not open is sealed wherever it stands.
    if let Ok(Some(password)) = app.accounts.bind_password().await {
        redactor.know(password.expose());
    }
    for run in app.db.runs(MOST_RUNS).await? {
        // Details of old runs are gone, and what cannot be read cannot be shown either.
        let secrets = app.runs.secrets(run.id).await.unwrap_or_default();
        secrets.iter().for_each(|secret| redactor.know(secret));
    }
    for after in (0..MOST_REVISIONS).step_by(AT_ONCE as usize) {
        let texts = app.db.sequence_texts(AT_ONCE, after).await?;
        texts.iter().for_each(|yaml| know_sequence(yaml, app, redactor));
        if texts.len() < AT_ONCE as usize {
            break;
        }
    }
    Ok(())
}

fn know_sequence(yaml: &str, app: &App, redactor: &mut Redactor) {
    let Ok(sequence) = Sequence::from_yaml(yaml) else { return };
    let name = sequence.name.clone();
    let sequence = match nested::unsealed(sequence, &app.secrets) {
        Ok(sequence) => sequence,
        Err(error) => {
            tracing::warn!("a secret of {name} is not looked for in the problem report: {}", chain(&error));
            return;
        }
    };
    for (_, step) in sequence.walk() {
        let Kind::SetVariables(set) = &step.kind else { continue };
        for piece in set.iter().filter(|one| one.secret).flat_map(|one| one.value.pieces()) {
            if let Piece::Text(text) = piece
                && !is_sealed(text)
            {
                redactor.know(text);
            }
        }
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn versions() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key));
        found.map(|value| value.trim_matches(['"', ' ', '\t', ':']).to_owned())
    };
    let (release, memory) = (read("/etc/os-release"), read("/proc/meminfo"));
    json!({
        "rootstockd": env!("CARGO_PKG_VERSION"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "distribution": line(&release, "PRETTY_NAME="),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": line(&memory, "MemTotal:"),
        "made_ms": now_ms(),
    })
}

async fn status(app: &App) -> Result<Value, Refusal> {
    let usage = app.library.store().usage();
    let (devices, unknown) = app.db.count_devices().await?;
    Ok(json!({
        "appliance": app.config.name,
        "started_ms": app.started_ms,
        "now_ms": now_ms(),
        "listeners": app.listeners,
        "ca_fingerprint": app.ca_fingerprint,
        "active_runs": app.db.active_runs().await?,
        "last_runs": app.db.runs(50).await?,
        "jobs": app.jobs.list(),
        "devices": devices,
        "unknown_devices": unknown,
        "library": {"chunks": usage.chunks, "bytes": usage.bytes},
    }))
}

async fn sequences(app: &App) -> Result<Value, Refusal> {
    let rows = app.db.sequences().await?;
    let one = |row: &crate::db::RevisionRow| {
        let steps = Sequence::from_yaml(&row.yaml).map(|sequence| sequence.walk().count());
        json!({"name": row.name, "revision": row.revision, "saved_ms": row.saved_ms, "steps": steps.ok()})
    };
    Ok(rows.iter().map(one).collect())
}

async fn deployments(app: &App) -> Result<Value, Refusal> {
    let rows = app.db.deployments().await?;
    Ok(rows.iter().map(|row| json!(row.deployment)).collect())
}

async fn clients(app: &App) -> Result<Value, Refusal> {
    let mut all = Vec::new();
    for client in app.db.clients().await?.into_iter().take(MOST_CLIENTS) {
        if let Some(client) = app.db.client(client.last.mac).await? {
            all.push(json!(client));
        }
    }
    Ok(Value::Array(all))
}
