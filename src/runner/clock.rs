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

/// The clock, and whose word it follows: that of an NTP server goes before the appliance's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    by_ntp: bool,
}

impl Clock {
    /// Asks the NTP servers in turn until one answers, sets the clock, says what came of it.
    pub fn from_ntp(servers: &[String]) -> (Clock, Option<String>) {
        match first_of(servers) {
            Ok((server, time)) => {
                let line = set(SystemTime::UNIX_EPOCH + time, &format!("by NTP from {server}"));
                (Clock { by_ntp: true }, Some(line))
            }
            Err(silent) if silent.is_empty() => (Clock::default(), None),
            Err(silent) => {
                let line =
                    format!("no NTP server gave the time ({}); the appliance's is taken", silent.join("; "));
                (Clock::default(), Some(line))
            }
        }
    }

    /// Sets the clock to the appliance's, milliseconds since 1970, when it differs by more than a few seconds and no NTP server
    /// set it.
    pub fn follow(self, appliance_ms: i64) -> Option<String> {
        self.leaves(appliance_ms, now_ms()).then(|| {
            let time = Duration::from_millis(u64::try_from(appliance_ms).unwrap_or(0));
            set(SystemTime::UNIX_EPOCH + time, "from the appliance")
        })
    }

    /// Whether the time that it shows is given up for the appliance's.
    fn leaves(self, appliance_ms: i64, now_ms: i64) -> bool {
        !self.by_ntp && u128::from(appliance_ms.abs_diff(now_ms)) > TOLERANCE.as_millis()
    }
}

/// The time since 1970 from the first server that gives one; else why each does not.
fn first_of(servers: &[String]) -> Result<(&str, Duration), Vec<String>> {
    let mut silent = Vec::new();
    for server in servers {
        match ntp::ask(server, since_1970) {
            Ok(time) => return Ok((server, time)),
            Err(error) => silent.push(format!("{server}: {error}")),
        }
    }
    Err(silent)
}

/// Asks the appliance and sets the clock when it differs; says what came of it.
pub fn from_appliance(server: &str, ca: &[u8]) -> String {
    match appliance_time(server, ca, LIMIT) {
        Ok(time) => set(time, "from the appliance"),
        Err(error) => format!("the clock could not be set from the appliance: {error}"),
    }
}

fn set(time: SystemTime, source: &str) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(since)) {
        Ok(()) => format!("the clock was set {source}"),
        Err(error) => format!("the clock is wrong and could not be set: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;

    use super::*;

    #[test]
    fn section_7_the_time_of_an_ntp_server_is_kept_and_without_one_it_is_the_appliances() {
        let (now, hour) = (1_795_000_000_000, 3_600_000);
        let by_ntp = Clock { by_ntp: true };
        assert!(!by_ntp.leaves(now + hour, now), "an appliance whose own clock is wrong changes nothing");
        let own = Clock::default();
        assert!(own.leaves(now + hour, now) && own.leaves(now - hour, now) && own.leaves(now, 0));
        assert!(!own.leaves(now + 4_000, now), "what takes the way is no difference");
        assert_eq!(Clock::from_ntp(&[]), (own, None), "nobody was given, nothing is said");
    }

    #[test]
    fn section_7_of_the_ntp_servers_given_the_first_that_answers_is_believed() {
        // A port that nobody listens on refuses at once.
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let open = server.local_addr().unwrap().to_string();
        let serving = thread::spawn(move || {
            let mut packet = [0; 48];
            let (_, from) = server.recv_from(&mut packet).unwrap();
            // Version 4, server, stratum 2; our time stamp given back; 1 January 2027 as its own.
            packet.copy_within(40.., 24);
            (packet[0], packet[1]) = (0x24, 2);
            let then = (1_798_761_600_u64 + 2_208_988_800) << 32;
            packet[32..40].copy_from_slice(&then.to_be_bytes());
            packet[40..].copy_from_slice(&then.to_be_bytes());
            server.send_to(&packet, from).unwrap();
        });
        let servers = [closed.clone(), open.clone()];
        let (from, time) = first_of(&servers).unwrap();
        serving.join().unwrap();
        assert_eq!((from, time.as_secs()), (open.as_str(), 1_798_761_600));
        let silent = first_of(&servers[..1]).unwrap_err();
        assert!(silent.len() == 1 && silent[0].starts_with(&closed), "{silent:?}");
    }
}
