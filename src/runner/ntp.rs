//! SNTP: the time from one server, asked once (RFC 5905 section 14, client side).
//!
//! Owns: the 48 bytes of question and answer, what makes an answer credible, the offset of our clock.
//! Must not know: what is done with the time.

use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// Seconds from 1900, where NTP counts from, to 1970 (RFC 5905 figure 4).
const TO_UNIX: u64 = 2_208_988_800;
const PORT: u16 = 123;
const PACKET: usize = 48;
/// How long one address has for its answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a server's answer gives no time.
#[derive(Debug, thiserror::Error)]
pub enum NtpError {
    /// Name, route, port, time-out.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// The name has no address.
    #[error("its name has no address")]
    NoAddress,
    /// Not an answer to our question, or from a server that says that its own clock is not set.
    #[error("its answer is no time: {0}")]
    NoTime(&'static str),
}

/// Asks `server` (`name` or `name:port`) for the time. `now` is our clock: time since 1970, read at each call.
///
/// # Errors
/// See [`NtpError`]; all addresses of the server were tried.
pub fn ask(server: &str, now: impl Fn() -> Duration) -> Result<Duration, NtpError> {
    let addresses = match server.parse::<std::net::IpAddr>() {
        Ok(address) => vec![(address, PORT).into()],
        Err(_) if server.contains(':') => server.to_socket_addrs()?.collect::<Vec<_>>(),
        Err(_) => (server, PORT).to_socket_addrs()?.collect(),
    };
    let mut last = NtpError::NoAddress;
    for address in addresses.into_iter().take(8) {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let asked = UdpSocket::bind(any).and_then(|socket| {
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(address)?;
            let sent = now();
            socket.send(&question(sent))?;
            let mut answer = [0; PACKET];
            let length = socket.recv(&mut answer)?;
            Ok((answer, length, sent, now()))
        });
        match asked {
            Ok((answer, length, sent, received)) => match time(&answer[..length], sent, received) {
                Ok(time) => return Ok(time),
                Err(why) => last = NtpError::NoTime(why),
            },
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// A question: version 4, mode 3 (client), our clock as transmit timestamp.
fn question(sent: Duration) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&timestamp(sent).to_be_bytes());
    packet
}

/// The time at which the answer arrived, by the server's clock: its transmit time and half of the way.
fn time(answer: &[u8], sent: Duration, received: Duration) -> Result<Duration, &'static str> {
    let answer: &[u8; PACKET] =
        answer.get(..PACKET).and_then(|bytes| bytes.try_into().ok()).ok_or("too short")?;
    let field = |at: usize| answer[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    if answer[0] & 7 != 4 {
        return Err("it is not from a server");
    }
    if field(24) != timestamp(sent) {
        return Err("it answers another question");
    }
    if answer[0] >> 6 == 3 || answer[1] == 0 || answer[1] > 15 || field(40) == 0 {
        return Err("the server's own clock is not set");
    }
    let there = from_timestamp(field(40)).saturating_sub(from_timestamp(field(32)));
    let way = received.saturating_sub(sent).saturating_sub(there) / 2;
    Ok(from_timestamp(field(40)) + way)
}

/// 32 bits of seconds since 1900, 32 bits of fraction.
fn timestamp(since_1970: Duration) -> u64 {
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    (since_1970.as_secs().wrapping_add(TO_UNIX) & 0xffff_ffff) << 32 | fraction
}

/// The seconds wrap in 2036: values below those of 1970 belong to the next era.
fn from_timestamp(timestamp: u64) -> Duration {
    let seconds = timestamp >> 32;
    let since_1900 = if seconds < TO_UNIX { seconds + (1 << 32) } else { seconds };
    let nanos = ((timestamp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Duration::new(since_1900 - TO_UNIX, nanos as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const SENT: Duration = Duration::new(1_000_000, 500_000_000);

    /// An answer to a question sent at `SENT`, from a server whose clock says `then`.
    fn answer(then: Duration) -> [u8; PACKET] {
        let mut packet = [0; PACKET];
        packet[0] = 4 << 3 | 4;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&timestamp(SENT).to_be_bytes());
        packet[32..40].copy_from_slice(&timestamp(then).to_be_bytes());
        packet[40..].copy_from_slice(&timestamp(then).to_be_bytes());
        packet
    }

    fn near(time: Duration, want: Duration) -> bool {
        time.abs_diff(want) < Duration::from_micros(1)
    }

    #[test]
    fn the_time_is_the_server_s_and_half_of_the_way() {
        let then = Duration::from_secs(1_795_000_000);
        let got = time(&answer(then), SENT, SENT + Duration::from_millis(40)).unwrap();
        assert!(near(got, then + Duration::from_millis(20)), "{got:?}");
    }

    #[test]
    fn times_after_the_wrap_of_2036_are_told() {
        let then = Duration::from_secs(2_200_000_000);
        assert!(near(time(&answer(then), SENT, SENT).unwrap(), then));
    }

    #[test]
    fn what_is_no_credible_answer_gives_no_time() {
        let good = answer(Duration::from_secs(1_795_000_000));
        let with = |at: usize, value: u8| {
            let mut packet = good;
            packet[at] = value;
            packet
        };
        let bad = [with(0, 4 << 3 | 3), with(0, 0xe4), with(1, 0), with(1, 16), with(27, 1)];
        assert!(bad.iter().all(|packet| time(packet, SENT, SENT).is_err()));
        assert!((0..PACKET).all(|length| time(&good[..length], SENT, SENT).is_err()));
    }

    #[test]
    fn section_7_a_time_server_on_the_wire_is_asked_and_believed() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let then = Duration::from_secs(1_795_000_000);
        let serving = thread::spawn(move || {
            let mut question = [0; PACKET];
            let (length, from) = server.recv_from(&mut question).unwrap();
            assert_eq!((length, question[0]), (PACKET, 0x23));
            server.send_to(&answer(then), from).unwrap();
        });
        let got = ask(&address, || SENT);
        serving.join().unwrap();
        assert!(near(got.unwrap(), then));
    }
}
