//! The machine's clock: set from the NTP servers given, else from the appliance.
//!
//! A Mac whose battery is empty wakes up in 2001, and no certificate is valid then.
//!
//! Must not know: what needs the time.

use std::time::{Duration, SystemTime};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::ntp;
use crate::client::appliance_time;

/// A clock that differs by less is left alone.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How long the appliance has for its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the edge: receipts and volumes bear the time")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Asks the NTP servers in turn until one answers, sets the clock, says what came of it.
pub fn from_ntp(servers: &[String]) -> Option<String> {
    let mut silent = Vec::new();
    for server in servers {
        match ntp::ask(server, since_1970) {
            Ok(time) => return Some(set(SystemTime::UNIX_EPOCH + time, &format!("by NTP from {server}"))),
            Err(error) => silent.push(format!("{server}: {error}")),
        }
    }
    (!silent.is_empty()).then(|| format!("no NTP server gave the time ({})", silent.join("; ")))
}

/// Asks the appliance and sets the clock when it differs; says what came of it.
pub fn from_appliance(server: &str, ca: &[u8]) -> String {
    match appliance_time(server, ca, LIMIT) {
        Ok(time) => set(time, "from the appliance"),
        Err(error) => format!("the clock could not be set from the appliance: {error}"),
    }
}

/// Sets the clock to `time`, milliseconds since 1970, when it differs by more than a few seconds.
pub fn adjust(time_ms: i64) -> Option<String> {
    let off = time_ms.abs_diff(now_ms());
    (u128::from(off) > TOLERANCE.as_millis()).then(|| {
        let time = Duration::from_millis(u64::try_from(time_ms).unwrap_or(0));
        set(SystemTime::UNIX_EPOCH + time, "from the appliance")
    })
}

fn set(time: SystemTime, source: &str) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(since)) {
        Ok(()) => format!("the clock was set {source}"),
        Err(error) => format!("the clock is wrong and could not be set: {error}"),
    }
}
