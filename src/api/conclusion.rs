//! What a client's timeline says about its way from power-on to the runner: how far it came, and where it stopped.
//!
//! Owns: the conclusions and their patience. Must not know: the clock, rows, packets. Only the last start counts: a
//! DISCOVER or LIST after a client had come further begins a new one.
//!
//! | seen last | and then, for a while | conclusion |
//! |---|---|---|
//! | DISCOVER | no LIST | no address, or it does not look for us |
//! | LIST | no SELECT | our answer does not arrive, or somebody stands before the picker |
//! | SELECT | for another server | it starts from there |
//! | SELECT | no TFTP request | TFTP is blocked |
//! | booter | nothing | block size, adapter, no address for the booter |
//! | kernelcache | no root image over HTTP | root path |
//! | iPXE or its script | no kernel | HTTP is blocked, boot files are missing |
//! | kernel over HTTP | no runner | HTTPS is blocked, driver, memory |

use serde::{Deserialize, Serialize};

use super::timeline::{ClientEvent, Stage};

/// How a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ClientState {
    /// On its way; the next step is not overdue.
    Underway,
    /// The boot environment, or Apple's system, has been started.
    Started,
    /// The next step is overdue.
    Stuck,
    /// It was told no, or left unanswered for a reason.
    Refused,
    /// It chose another server.
    Elsewhere,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What follows from a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Conclusion {
    /// In one word.
    pub state: ClientState,
    /// In a sentence.
    pub text: String,
    /// What to look at; empty when there is nothing to do.
    pub next_step: String,
}

impl ClientState {
    /// For a column of a table.
    pub fn in_words(self) -> &'static str {
        match self {
            ClientState::Underway => "on its way",
            ClientState::Started => "started",
            ClientState::Stuck => "STUCK",
            ClientState::Refused => "refused",
            ClientState::Elsewhere => "other server",
            ClientState::Unknown => "?",
        }
    }
}

/// How far a client came, in the order of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    /// DISCOVER of a Mac.
    Discover,
    /// DISCOVER or REQUEST of a PXE or HTTP boot client.
    Pxe,
    List,
    Select,
    /// First program, by TFTP or HTTP.
    Booter,
    /// Apple's kernel.
    Kernelcache,
    /// iPXE asks for an address.
    Ipxe,
    /// iPXE's script over HTTP.
    Script,
    /// Kernel, boot environment or root image over HTTP.
    Root,
    Runner,
}

/// What one event means for the way.
enum Meaning<'a> {
    Came(Reached),
    /// SELECT for another server.
    Elsewhere(&'a str),
    /// Told no or left unanswered, and why.
    Refused(Reached, &'a str),
    Nothing,
}

/// How long the next step may take: firmware retries within seconds, people stand before a picker, old disks of notebooks spin up.
const fn patience_ms(reached: Reached) -> i64 {
    1000 * match reached {
        Reached::Select => 20,
        Reached::Discover | Reached::Pxe | Reached::List | Reached::Script => 60,
        Reached::Booter | Reached::Kernelcache | Reached::Ipxe => 90,
        Reached::Root | Reached::Runner => 240,
    }
}

/// The conclusion of a timeline, oldest event first; none when it is empty.
pub fn conclude(events: &[ClientEvent], now_ms: i64) -> Option<Conclusion> {
    let last = events.last()?;
    let quiet_ms = now_ms.saturating_sub(last.at_ms);
    let start = last_start(events);
    let mut reached = None;
    let mut by_script = false;
    let mut trouble = None;
    for event in start {
        match meaning(event) {
            Meaning::Came(step) => {
                by_script |= matches!(step, Reached::Script | Reached::Ipxe);
                reached = reached.max(Some(step));
                // Whatever was refused before: it came further.
                trouble = None;
            }
            Meaning::Nothing => {}
            other => trouble = Some(other),
        }
    }
    match trouble {
        Some(Meaning::Elsewhere(server)) => return Some(elsewhere(server)),
        Some(Meaning::Refused(step, why)) if reached.is_none_or(|reached| reached <= step) => {
            return Some(refused(step, why));
        }
        _ => {}
    }
    let reached = reached?;
    let has_ended = reached == Reached::Runner || (reached == Reached::Root && !by_script);
    Some(match has_ended {
        true => started(reached, last),
        false if quiet_ms < patience_ms(reached) => underway(reached),
        false => stuck(reached),
    })
}

/// The events of the last start.
fn last_start(events: &[ClientEvent]) -> &[ClientEvent] {
    let mut begins = 0;
    let mut reached = None;
    for (at, event) in events.iter().enumerate() {
        let is_first = match meaning(event) {
            Meaning::Came(step) | Meaning::Refused(step, _) => step <= Reached::List,
            _ => false,
        };
        if is_first && reached > Some(Reached::List) {
            (begins, reached) = (at, None);
        }
        if let Meaning::Came(step) = meaning(event) {
            reached = reached.max(Some(step));
        }
    }
    &events[begins..]
}

/// Reads an event. Where its stage does not tell, its line does: which file, which server.
fn meaning(event: &ClientEvent) -> Meaning<'_> {
    let detail = event.detail.as_str();
    let why = detail.strip_prefix("unanswered: ").unwrap_or(detail);
    let is_ipxe = detail.starts_with("iPXE");
    match (event.stage, event.answered) {
        (Stage::Discover, _) if is_ipxe => Meaning::Came(Reached::Ipxe),
        (Stage::Discover, answered) if of_pxe(detail) => match answered {
            true => Meaning::Came(Reached::Pxe),
            false => Meaning::Refused(Reached::Pxe, why),
        },
        // An offer to a bound client has all of a SELECT's answer in it.
        (Stage::Discover, true) => Meaning::Came(Reached::Select),
        (Stage::Discover, false) => Meaning::Came(Reached::Discover),
        (Stage::List, true) => Meaning::Came(Reached::List),
        (Stage::List, false) => Meaning::Refused(Reached::List, why),
        (Stage::Select, true) if detail.ends_with("FAILED") => Meaning::Refused(Reached::Select, detail),
        (Stage::Select, true) => Meaning::Came(Reached::Select),
        (Stage::Select, false) => match why.split_once("meant for the server ") {
            Some((_, server)) => Meaning::Elsewhere(server),
            None => Meaning::Refused(Reached::Select, why),
        },
        (Stage::Lease, true) => Meaning::Came(Reached::Discover),
        (Stage::Lease, false) => Meaning::Refused(Reached::Discover, why),
        (Stage::Pxe, true) => Meaning::Came(Reached::Pxe),
        (Stage::Pxe, false) => Meaning::Refused(Reached::Pxe, why),
        (Stage::Tftp, true) => {
            Meaning::Came(match detail.contains("kernelcache") || detail.contains("mach.") {
                true => Reached::Kernelcache,
                false => Reached::Booter,
            })
        }
        (Stage::Tftp, false) => Meaning::Refused(Reached::Booter, why),
        (Stage::Http, true) if is_ipxe => Meaning::Came(Reached::Script),
        (Stage::Http, true) => Meaning::Came(match detail.contains(".efi: ") {
            true => Reached::Booter,
            false => Reached::Root,
        }),
        (Stage::Http, false) => Meaning::Refused(Reached::Root, why),
        (Stage::Runner, _) => Meaning::Came(Reached::Runner),
        (Stage::Unknown, _) => Meaning::Nothing,
    }
}

/// A DISCOVER of PXE or HTTP boot, as told by the wing.
fn of_pxe(detail: &str) -> bool {
    ["PXE DISCOVER", "HTTP boot DISCOVER", "no loader for", "not a PXE request"]
        .iter()
        .any(|words| detail.contains(words))
}

fn conclusion(state: ClientState, text: impl Into<String>, next_step: &str) -> Conclusion {
    Conclusion { state, text: text.into(), next_step: next_step.to_owned() }
}

fn elsewhere(server: &str) -> Conclusion {
    conclusion(
        ClientState::Elsewhere,
        format!("it chose another NetBoot server, {server}"),
        "to have it here, choose this appliance with the Option key, or switch off the other server's image; \
         `rootstock doctor` names the servers that answer on this network",
    )
}

fn refused(step: Reached, why: &str) -> Conclusion {
    let (what, next) = match step {
        Reached::List | Reached::Discover => {
            ("it asked for boot sets and got no answer", "`rootstock doctor` checks the boot files")
        }
        Reached::Select => ("it chose what it may not have", "it must choose again: restart it with N held"),
        Reached::Pxe => {
            ("it asked by PXE or HTTP boot and got no answer", "`rootstock doctor` checks the boot files")
        }
        Reached::Booter | Reached::Kernelcache => (
            "a file did not arrive by TFTP",
            "try the same way from this machine: rootstock netboot probe; try a smaller `max-block-size` in [tftp]",
        ),
        _ => ("a boot file was refused over HTTP", "make the boot files: rootstock media boot"),
    };
    conclusion(ClientState::Refused, format!("{what}: {why}"), next)
}

fn started(reached: Reached, last: &ClientEvent) -> Conclusion {
    let text = match reached {
        Reached::Runner => format!("the runner speaks: {}", last.detail),
        _ => "it fetches its system over HTTP; what happens there is not seen here".to_owned(),
    };
    conclusion(ClientState::Started, text, "")
}

fn underway(reached: Reached) -> Conclusion {
    let text = match reached {
        Reached::Discover => "it has asked for an address; its LIST should follow",
        Reached::Pxe => "it was invited by PXE or HTTP boot; it should fetch the loader",
        Reached::List => "it was told the boot sets; it should choose one",
        Reached::Select => "it was told its boot set; it should fetch the booter by TFTP",
        Reached::Booter => "it has its booter; that should ask for more",
        Reached::Kernelcache => "it has its kernel; the root image should follow over HTTP",
        Reached::Ipxe => "iPXE runs; it should fetch its script over HTTP",
        Reached::Script => "iPXE has its script; it should fetch the kernel",
        Reached::Root | Reached::Runner => {
            "kernel and boot environment are being fetched; the runner should speak"
        }
    };
    conclusion(ClientState::Underway, text, "")
}

fn stuck(reached: Reached) -> Conclusion {
    let (text, next) = match reached {
        Reached::Discover => (
            "DISCOVER was heard, but no LIST followed",
            "no DHCP server gave it an address, or it was not started with N held: `rootstock doctor` names the DHCP servers",
        ),
        Reached::Pxe => (
            "it was invited by PXE or HTTP boot, but fetched nothing",
            "open UDP 4011 and 69 and TCP 80 of this machine; another PXE server may have won: `rootstock doctor`",
        ),
        Reached::List => (
            "LIST was answered, but no SELECT followed",
            "somebody stands before the picker, or the answer does not arrive: UDP port 68 towards the Mac is blocked, \
             or a switch guards DHCP (DHCP snooping: trust this machine's port)",
        ),
        Reached::Select => (
            "SELECT was answered, but no TFTP request came",
            "open UDP 69 of this machine: `rootstock doctor` checks the firewall. After Startup Disk the Mac must be restarted",
        ),
        Reached::Booter => (
            "the booter was fetched, but nothing after it",
            "the network may drop large TFTP blocks (`max-block-size` in [tftp]), or the booter does not see the Ethernet adapter: \
             try another one; a Mac with 32-bit EFI needs the 32-bit booter: rootstock model",
        ),
        Reached::Kernelcache => (
            "the kernel was fetched, but no root image over HTTP",
            "check the set's root path (NFS or HTTP, reachable from the Mac?) and TCP 80 of this machine",
        ),
        Reached::Ipxe => (
            "iPXE runs, but did not fetch its script over HTTP",
            "open TCP 80 of this machine; the address that is baked into the booter must be this machine's: rootstock doctor",
        ),
        Reached::Script => (
            "iPXE fetched its script, but no kernel",
            "its screen says why; the boot files may be missing: rootstock media boot",
        ),
        Reached::Root | Reached::Runner => (
            "kernel and boot environment were fetched, but the runner has not spoken",
            "its screen says why: no address (Ethernet driver), TCP 443 of this machine blocked, or boot files of another \
             appliance: rootstock media boot",
        ),
    };
    conclusion(ClientState::Stuck, text, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::MacAddr;

    const DISCOVER: (Stage, bool, &str) = (
        Stage::Discover,
        false,
        "unanswered: DISCOVER of a Mac, whose LIST will follow, is for the site's DHCP server",
    );
    const LIST: (Stage, bool, &str) =
        (Stage::List, true, "LIST of i386/iMac14,2: 1 offered, default Rootstock");
    const SELECT: (Stage, bool, &str) =
        (Stage::Select, true, "SELECT of i386/iMac14,2: rootstock.nbi/i386/booter");
    const BOOTER: (Stage, bool, &str) =
        (Stage::Tftp, true, "TFTP rootstock.nbi/i386/booter: 990000 bytes in blocks of 1428, window 1");
    const KERNELCACHE: (Stage, bool, &str) =
        (Stage::Tftp, true, "TFTP a.nbi/i386/x86_64/kernelcache: 9 bytes");
    const IPXE: (Stage, bool, &str) =
        (Stage::Discover, true, "iPXE DISCOVER of UEFI x64: offered http://10.0.0.1/boot/ipxe");
    const SCRIPT: (Stage, bool, &str) = (Stage::Http, true, "iPXE fetched its script");
    const KERNEL: (Stage, bool, &str) = (Stage::Http, true, "HTTP vmlinuz: 7.9 MiB");
    const RUNNER: (Stage, bool, &str) = (Stage::Runner, true, "hello of C02, 1 offer");

    /// Events a second apart, and the conclusion `quiet` seconds after the last.
    fn after(quiet: i64, events: &[(Stage, bool, &str)]) -> Conclusion {
        let events: Vec<_> = (0..)
            .zip(events)
            .map(|(at, (stage, answered, detail))| ClientEvent {
                mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
                at_ms: at * 1000,
                stage: *stage,
                answered: *answered,
                detail: (*detail).to_owned(),
            })
            .collect();
        let now = events.last().unwrap().at_ms + quiet * 1000;
        conclude(&events, now).unwrap()
    }

    fn says(quiet: i64, events: &[(Stage, bool, &str)], state: ClientState, words: &str) {
        let told = after(quiet, events);
        assert!(told.state == state && told.text.contains(words), "{told:?}");
        assert_eq!(told.next_step.is_empty(), matches!(state, ClientState::Underway | ClientState::Started));
    }

    #[test]
    fn nothing_heard_gives_no_conclusion() {
        assert_eq!(conclude(&[], 0), None);
    }

    #[test]
    fn every_step_that_is_overdue_is_named_and_none_before_its_time() {
        for (events, words) in [
            (&[DISCOVER][..], "no LIST followed"),
            (&[DISCOVER, LIST], "no SELECT followed"),
            (&[DISCOVER, LIST, SELECT], "no TFTP request came"),
            (&[DISCOVER, LIST, SELECT, BOOTER], "nothing after it"),
            (&[LIST, SELECT, BOOTER, KERNELCACHE], "no root image over HTTP"),
            (&[LIST, SELECT, BOOTER, IPXE], "did not fetch its script"),
            (&[LIST, SELECT, BOOTER, SCRIPT], "but no kernel"),
            (&[LIST, SELECT, BOOTER, SCRIPT, KERNEL], "the runner has not spoken"),
        ] {
            says(600, events, ClientState::Stuck, words);
            assert_eq!(after(5, events).state, ClientState::Underway, "{words}");
        }
    }

    #[test]
    fn a_selection_of_another_server_names_it() {
        let other = (Stage::Select, false, "unanswered: it is meant for the server 10.0.0.9");
        says(0, &[DISCOVER, LIST, other], ClientState::Elsewhere, "10.0.0.9");
    }

    #[test]
    fn refusals_and_silence_give_their_reason_until_the_client_comes_further() {
        let silent = (Stage::List, false, "unanswered: no boot set for i386/iMac4,1");
        says(0, &[DISCOVER, silent], ClientState::Refused, "no boot set for i386/iMac4,1");
        let failed = (Stage::Select, true, "SELECT of i386/iMac14,2: 0x1 is not offered to it, FAILED");
        says(0, &[LIST, failed], ClientState::Refused, "is not offered to it");
        let broken = (Stage::Tftp, false, "TFTP rootstock.nbi/i386/booter: block 7 was never acknowledged");
        says(0, &[LIST, SELECT, broken], ClientState::Refused, "block 7 was never");
        says(0, &[LIST, SELECT, broken, BOOTER], ClientState::Underway, "has its booter");
        let absent = (Stage::Http, false, "HTTP initramfs.cpio.zst: No such file");
        says(0, &[LIST, SELECT, BOOTER, SCRIPT, absent], ClientState::Refused, "No such file");
    }

    #[test]
    fn a_runner_that_spoke_or_a_system_of_apple_is_started_however_long_ago() {
        says(9999, &[LIST, SELECT, BOOTER, SCRIPT, KERNEL, RUNNER], ClientState::Started, "hello of C02");
        let root = (Stage::Http, true, "HTTP a.nbi/NetInstall.dmg: 5.0 GiB");
        says(9999, &[LIST, SELECT, BOOTER, KERNELCACHE, root], ClientState::Started, "over HTTP");
    }

    #[test]
    fn only_the_last_start_counts_and_ipxe_asking_for_an_address_begins_none() {
        let whole = [DISCOVER, LIST, SELECT, BOOTER, IPXE, SCRIPT, KERNEL, RUNNER];
        says(600, &[&whole[..], &[DISCOVER, LIST]].concat(), ClientState::Stuck, "no SELECT followed");
        says(600, &whole[..6], ClientState::Stuck, "but no kernel");
        let silent = (Stage::List, false, "unanswered: no boot set");
        says(600, &[&whole[..], &[silent]].concat(), ClientState::Refused, "no boot set");
    }

    #[test]
    fn pxe_and_http_boot_clients_are_followed_too() {
        let discover =
            (Stage::Discover, true, "PXE DISCOVER of UEFI x64: invited to port 4011 for ipxe/snponly.efi");
        let request = (Stage::Pxe, true, "PXE REQUEST of UEFI x64 on port 4011: told ipxe/snponly.efi");
        says(600, &[discover], ClientState::Stuck, "fetched nothing");
        says(
            600,
            &[discover, request, BOOTER, IPXE, SCRIPT, KERNEL],
            ClientState::Stuck,
            "runner has not spoken",
        );
        let absent = (Stage::Discover, false, "unanswered: no loader for UEFI arm64 in the boot folder");
        says(0, &[absent], ClientState::Refused, "no loader for UEFI arm64");
        let http = (
            Stage::Discover,
            true,
            "HTTP boot DISCOVER of UEFI x64: offered http://10.0.0.1/boot/ipxe/snponly.efi",
        );
        let loader = (Stage::Http, true, "HTTP ipxe/snponly.efi: 300.0 KiB");
        says(600, &[http, loader], ClientState::Stuck, "nothing after it");
    }

    #[test]
    fn an_offer_to_a_bound_client_stands_for_its_selection() {
        let offer = (Stage::Discover, true, "OFFER to i386/iMac14,2: bound to Rootstock");
        says(600, &[offer], ClientState::Stuck, "no TFTP request came");
    }
}
