//! The machine's clock: set from the NTP servers given, else from the appliance.
//!
//! A Mac whose battery is empty wakes up in 2001, and no certificate is valid then.
//!
//! Must not know: what needs the time.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::settings::Settings;
use crate::client::appliance_time;

/// How long NTP servers have for their answers.
const NTP_SECONDS: &str = "15";
/// A clock that differs by less is left alone.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How long the appliance has for its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Now, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the edge: receipts and volumes bear the time")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Asks the NTP servers once, by busybox `ntpd -q`; says what came of it.
pub fn from_ntp(servers: &[String]) -> Option<String> {
    if servers.is_empty() {
        return None;
    }
    let mut command = Command::new("timeout");
    command.args([NTP_SECONDS, "ntpd", "-n", "-q"]);
    servers.iter().for_each(|server| {
        command.args(["-p", server]);
    });
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let names = servers.join(", ");
    Some(match ended {
        Ok(status) if status.success() => format!("the clock was set by NTP from {names}"),
        Ok(_) => format!("no NTP server answered within {NTP_SECONDS} seconds: {names}"),
        Err(error) => format!("NTP cannot be used, ntpd could not be started: {error}"),
    })
}

/// Asks the appliance and sets the clock when it differs; says what came of it.
pub fn from_appliance(settings: &Settings) -> String {
    match appliance_time(&settings.server, &settings.ca, LIMIT) {
        Ok(time) => set(time),
        Err(error) => format!("the clock could not be set from the appliance: {error}"),
    }
}

/// Sets the clock to `time`, milliseconds since 1970, when it differs by more than a few seconds.
pub fn adjust(time_ms: i64) -> Option<String> {
    let off = time_ms.abs_diff(now_ms());
    (u128::from(off) > TOLERANCE.as_millis()).then(|| {
        let time = Duration::from_millis(u64::try_from(time_ms).unwrap_or(0));
        set(SystemTime::UNIX_EPOCH + time)
    })
}

fn set(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(since)) {
        Ok(()) => "the clock was set from the appliance".to_owned(),
        Err(error) => format!("the clock is wrong and could not be set: {error}"),
    }
}
