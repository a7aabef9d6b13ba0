//! `rootstock device screen|start|message|messages|hold|restart|shutdown`: what a Mac shows its technician, and what is said to it from
//! here.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::connection::Appliance;
use super::device::find;
use super::output::{Table, printable, say, say_json, span, stamp};
use super::watch;
use crate::api::admin::Run;
use crate::api::runner::Purpose;
use crate::api::wizard::{Screen, SendMessage, StartOnDevice, TechnicianMessage};

/// Seconds that the appliance may hold a question back while nothing changes.
const WAIT: u32 = 15;

/// `rootstock device screen`
#[derive(Args, Debug)]
pub struct Show {
    /// The Mac: its serial number, or its number
    device: String,
    /// Print it again each time it changes
    #[arg(long)]
    follow: bool,
}

/// `rootstock device start`
#[derive(Args, Debug)]
pub struct Start {
    /// The Mac: its serial number, or its number
    device: String,
    /// Name of a sequence that is deployed to it, or number of a deployment [default: the only one]
    sequence: Option<String>,
    /// Follow the run until it ends
    #[arg(long)]
    watch: bool,
}

/// `rootstock device message`
#[derive(Args, Debug)]
pub struct Message {
    /// The Mac: its serial number, or its number
    device: String,
    /// What to say to whoever stands in front of it
    text: String,
    /// Wait until somebody there has acknowledged it
    #[arg(long)]
    wait: bool,
}

/// `rootstock device messages`, `hold`, `restart`, `shutdown`
#[derive(Args, Debug)]
pub struct One {
    /// The Mac: its serial number, or its number
    device: String,
}

/// Prints what a Mac shows.
///
/// # Errors
/// Whatever the appliance refuses.
pub fn show(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?.summary.id;
    let mut after = 0;
    loop {
        let path = format!("/api/v1/devices/{device}/screen?after={after}&wait={WAIT}");
        let screen: Screen = appliance.client.get(&path)?;
        if screen.change != after {
            print(&screen, appliance)?;
        }
        if !verb.follow {
            return Ok(ExitCode::SUCCESS);
        }
        after = screen.change;
    }
}

fn print(screen: &Screen, appliance: &Appliance) -> anyhow::Result<()> {
    if appliance.json {
        return say_json(screen);
    }
    let width = screen.text.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let rule = "-".repeat(width.max(20));
    say(&rule)?;
    for line in &screen.text {
        say(printable(line))?;
    }
    say(&rule)?;
    let spent = screen.seen_ms.saturating_sub(screen.since_ms).max(0) as u64 / 1000;
    let here =
        if screen.here { String::new() } else { format!(" · NOT THERE since {}", stamp(screen.seen_ms)) };
    say(format!("{} for {}, since {}{here}", screen.page.in_words(), span(spent), stamp(screen.since_ms)))?;
    if let Some(run) = screen.run {
        say(format!("run {run}: rootstock run show {run}"))?;
    }
    for message in &screen.messages {
        say(format!("not acknowledged: {}", printable(&message.text)))?;
    }
    if screen.page.takes_a_run() {
        for offer in &screen.offers {
            let purpose = if offer.purpose == Purpose::Required { "required" } else { "available" };
            say(format!(
                "can start {} ({purpose}): rootstock device start {} {}",
                printable(&offer.sequence),
                screen.device,
                offer.deployment
            ))?;
        }
    }
    Ok(())
}

/// Starts a deployment on a Mac.
///
/// # Errors
/// When it is not there, offers no choice, or whatever the appliance refuses.
pub fn start(verb: Start, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?.summary.id;
    let screen: Screen = appliance.client.get(&format!("/api/v1/devices/{device}/screen"))?;
    let names = || {
        let names = screen.offers.iter().map(|offer| format!("{} ({})", offer.sequence, offer.deployment));
        names.collect::<Vec<_>>().join(", ")
    };
    let offer = match &verb.sequence {
        Some(word) => screen
            .offers
            .iter()
            .find(|offer| offer.sequence.eq_ignore_ascii_case(word) || offer.deployment.to_string() == *word)
            .with_context(|| format!("{word} is not offered to this Mac; offered: {}", names()))?,
        None => match screen.offers.as_slice() {
            [offer] => offer,
            [] => bail!("nothing is offered to this Mac: deploy a sequence to it (rootstock deploy --help)"),
            _ => bail!("name one of {}", names()),
        },
    };
    let body = StartOnDevice { deployment: offer.deployment };
    let run: Run = appliance.client.post(&format!("/api/v1/devices/{device}/start"), &body)?;
    if verb.watch {
        return watch::run(Some(run.summary.id), false, appliance);
    }
    if appliance.json {
        say_json(&run)?;
    } else {
        let id = run.summary.id;
        say(format!("run {id} of {} is started; follow it: rootstock run watch {id}", run.summary.sequence))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a message.
///
/// # Errors
/// Whatever the appliance refuses.
pub fn message(verb: Message, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?.summary.id;
    let path = format!("/api/v1/devices/{device}/messages");
    let mut sent: TechnicianMessage = appliance.client.post(&path, &SendMessage { text: verb.text })?;
    if verb.wait && !appliance.json {
        say("sent; waiting until somebody at the Mac has read it (Ctrl-C stops waiting, not the message)")?;
    }
    let mut shown = 0;
    while verb.wait && sent.acknowledged_ms.is_none() {
        shown = changed(device, shown, appliance)?;
        let all: Vec<TechnicianMessage> = appliance.client.get(&path)?;
        let found = all.into_iter().find(|message| message.id == sent.id);
        sent = found.context("the message was pushed out by newer ones")?;
    }
    if appliance.json {
        say_json(&sent)?;
    } else {
        match sent.acknowledged_ms {
            Some(at) => say(format!("read at {}", stamp(at)))?,
            None => say("sent: it is shown until somebody at the Mac acknowledges it")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until the screen of a Mac is another one than `shown`: an acknowledged message changes it. A Mac that has not spoken since
/// the appliance was started, and an appliance that is being started, are asked again.
fn changed(device: i64, shown: u64, appliance: &Appliance) -> anyhow::Result<u64> {
    let path = format!("/api/v1/devices/{device}/screen?after={shown}&wait={WAIT}");
    match appliance.client.get::<Screen>(&path) {
        Ok(screen) => Ok(screen.change),
        Err(error) if error.may_pass() || error.status() == Some(404) => {
            std::thread::sleep(std::time::Duration::from_secs(1));
            Ok(0)
        }
        Err(error) => Err(error.into()),
    }
}

/// Lists messages.
///
/// # Errors
/// Whatever the appliance refuses.
pub fn messages(verb: One, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?.summary.id;
    let all: Vec<TechnicianMessage> = appliance.client.get(&format!("/api/v1/devices/{device}/messages"))?;
    if appliance.json {
        say_json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["SENT", "BY", "READ", "MESSAGE"]);
    for message in &all {
        table.row([
            stamp(message.sent_ms),
            printable(&message.by),
            message.acknowledged_ms.map_or_else(|| "not yet".to_owned(), stamp),
            printable(&message.text),
        ]);
    }
    table.print("no messages: rootstock device message DEVICE TEXT")?;
    Ok(ExitCode::SUCCESS)
}

/// Tells a Mac to hold, to restart or to shut down.
///
/// # Errors
/// When it is not there, or at something else.
pub fn order(verb: &One, what: &str, said: &str, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?.summary.id;
    let path = format!("/api/v1/devices/{device}/{what}");
    let screen: Screen = appliance.client.post(&path, &serde_json::json!({}))?;
    if appliance.json {
        say_json(&screen)?;
    } else {
        say(format!("device {device} {said}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
