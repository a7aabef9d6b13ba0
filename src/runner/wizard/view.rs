//! A state as widgets. Pure. Readable without colour: marks and words carry the meaning, bold and reverse only help.
//! Drawn with characters that the Linux console's fonts have.
//!
//! Must not know: the terminal.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Padding, Paragraph, Wrap};

use super::form_view;
use super::state::{Page, Running, State};
use super::{rate, spoken};
use crate::api::runner::{Failure, Offer, Outcome, Progress};
use crate::value::ByteSize;

pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const REVERSE: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws the state.
pub fn view(state: &State, frame: &mut Frame<'_>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(head_line(state, head.width)).style(REVERSE), head);
    frame.render_widget(Paragraph::new(format!(" {}", keys(state))).style(REVERSE), foot);
    let block = Block::new().padding(Padding::new(2, 2, 1, 0));
    let area = block.inner(body);
    if let Some(page) = &state.network {
        let text =
            Paragraph::new(form_view::network(page, &state.page, area.width)).wrap(Wrap { trim: false });
        return frame.render_widget(text, area);
    }
    match &state.page {
        Page::Running(running) => run_page(state, running, area, frame),
        page => {
            let text = Paragraph::new(text(state, page)).wrap(Wrap { trim: false });
            frame.render_widget(text.scroll((scroll(page, area.height), 0)), area);
        }
    }
}

/// Lines to leave out at the top so that the marked offer is on screen.
fn scroll(page: &Page, height: u16) -> u16 {
    let Page::Choose { offers, marked, .. } = page else { return 0 };
    let lines = |offer: &Offer| if offer.description.is_empty() { 2 } else { 3 };
    let end: usize = 2 + offers.iter().take(marked + 1).map(lines).sum::<usize>();
    u16::try_from(end.saturating_sub(usize::from(height))).unwrap_or(u16::MAX)
}

fn head_line(state: &State, width: u16) -> String {
    // An appliance without a name of its own is called like the product.
    let left = match state.appliance.as_str() {
        "Rootstock" | "" => " Rootstock".to_owned(),
        name => format!(" Rootstock  {name}"),
    };
    let machine = state.machine.as_ref().map(|machine| {
        let model = machine.model.as_ref().map_or("unknown model", |model| model.as_str());
        let serial = machine.serial.as_ref().map_or("no serial number", |serial| serial.as_str());
        format!("{model}  {serial} ")
    });
    let right = machine.unwrap_or_default();
    let room = usize::from(width).saturating_sub(left.chars().count());
    format!("{left}{right:>room$}")
}

/// What can be pressed on this page.
fn keys(state: &State) -> &'static str {
    if state.network.is_some() {
        return "Up/Down line   Left/Right choose   Enter apply   Esc back";
    }
    match &state.page {
        Page::Connecting { .. } => "It goes on by itself.   N network   R restart",
        Page::Appliances(page) if page.typed.is_some() => "Enter use this address   Esc back",
        Page::Appliances(_) => "Up/Down mark   Enter use it   N network   R restart",
        Page::Choose { offers, .. } if offers.is_empty() => "A ask again   N network   R restart",
        Page::Choose { .. } => "Up/Down mark   Enter look at it   A ask again   N network   R restart",
        Page::Confirm { starts_at: Some(_), .. } => "ANY KEY stops the countdown",
        Page::Confirm { .. } => "Y start   Esc back",
        Page::Running(_) if state.offers_network() => "It goes on by itself.   N network",
        Page::Running(_) => "Leave cable and power connected.",
        Page::Result { .. } => "R restart   Enter back to the list",
        Page::Problem(_) => "Enter try again   N network   R restart",
        Page::Restarting => "",
    }
}

fn text<'a>(state: &'a State, page: &'a Page) -> Vec<Line<'a>> {
    match page {
        Page::Connecting { what, since, error } => connecting(state, what, *since, error.as_deref()),
        Page::Appliances(page) => form_view::appliances(page),
        Page::Choose { offers, marked, why_empty } => choose(offers, *marked, why_empty.as_deref()),
        Page::Confirm { offer, starts_at, .. } => confirm(state, offer, *starts_at),
        Page::Result { sequence, outcome, message } => result(state, sequence, *outcome, message),
        Page::Problem(failure) => {
            let mut lines = vec![Line::styled("PROBLEM", BOLD), Line::default()];
            lines.extend(problem(failure));
            lines.push("It is tried again every minute.".into());
            lines
        }
        Page::Restarting => {
            vec![Line::styled("Restarting", BOLD), Line::default(), "This Mac starts again now.".into()]
        }
        Page::Running(_) => Vec::new(),
    }
}

fn connecting<'a>(state: &State, what: &'a str, since: Duration, error: Option<&'a str>) -> Vec<Line<'a>> {
    let waited = state.now.saturating_sub(since);
    let mut lines = vec![
        Line::styled(what, BOLD),
        Line::default(),
        format!("For {} now. It is tried again and again.", spoken(waited)).into(),
    ];
    if let Some(error) = error {
        lines.extend([Line::default(), "Last error:".into(), format!("  {error}").into()]);
    }
    lines.extend([Line::default(), "This Mac:".into()]);
    match &state.machine {
        None => lines.push("  being looked at".into()),
        Some(machine) => {
            let macs: Vec<_> = machine.macs.iter().map(ToString::to_string).collect();
            let macs =
                if macs.is_empty() { "none: connect a wired adapter".to_owned() } else { macs.join("  ") };
            lines.push(format!("  Ethernet  {macs}").into());
            lines.extend(machine.disks.iter().map(|disk| {
                let number = disk.number.map_or("not used".into(), |number| format!("Disk {number}"));
                format!("  {number:<9} {}, {}", disk.model, ByteSize(disk.size)).into()
            }));
        }
    }
    lines
}

fn choose<'a>(offers: &'a [Offer], marked: usize, why_empty: Option<&'a str>) -> Vec<Line<'a>> {
    if offers.is_empty() {
        let why = why_empty
            .unwrap_or("No task sequence is deployed to this Mac. Deploy one to a collection that it is in.");
        return vec![Line::styled("Nothing to run here", BOLD), Line::default(), why.into()];
    }
    let mut lines = vec![Line::styled("Choose a task sequence", BOLD), Line::default()];
    for (number, offer) in offers.iter().enumerate() {
        let (mark, style) = if number == marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
        lines.push(Line::from(vec![mark.into(), Span::styled(format!(" {} ", offer.sequence), style)]));
        if !offer.description.is_empty() {
            lines.push(format!("   {}", offer.description).into());
        }
        lines.push(Line::default());
    }
    lines
}

fn confirm<'a>(state: &'a State, offer: &'a Offer, starts_at: Option<Duration>) -> Vec<Line<'a>> {
    let mut lines = vec![Line::styled(offer.sequence.as_str(), BOLD)];
    if !offer.description.is_empty() {
        lines.push(offer.description.as_str().into());
    }
    lines.push(Line::default());
    // Above the list of what is lost, which may be longer than the screen.
    match starts_at {
        Some(at) => {
            let left = at.saturating_sub(state.now) + Duration::from_millis(999);
            lines.push(Line::styled(format!("Starts by itself in {}.", spoken(left)), BOLD));
        }
        None => lines.push("Press Y to start. There is no way back after that.".into()),
    }
    lines.push(Line::default());
    let disks = state.erased(offer);
    if disks.is_empty() && offer.erases.is_empty() {
        lines.push("It erases no disk.".into());
    }
    for disk in &disks {
        let number = disk.number.unwrap_or_default();
        let head = format!("Disk {number} is ERASED: {}, {}", disk.model, ByteSize(disk.size));
        lines.push(Line::styled(head, BOLD));
        lines.push("This is lost:".into());
        if disk.contents.is_empty() {
            lines.push("   no partitions were found on it".into());
        }
        lines.extend(disk.contents.iter().map(|content| format!("   {content}").into()));
        lines.push(Line::default());
    }
    for number in &offer.erases {
        if !disks.iter().any(|disk| disk.number == Some(*number)) {
            lines.push(Line::styled(
                format!("Disk {number} would be erased, and this Mac has none with that number."),
                BOLD,
            ));
        }
    }
    lines
}

fn result<'a>(state: &'a State, sequence: &'a str, outcome: Outcome, message: &'a str) -> Vec<Line<'a>> {
    let word = match outcome {
        Outcome::Succeeded => "DONE",
        Outcome::Failed => "FAILED",
        Outcome::Cancelled => "CANCELLED",
    };
    let mut lines = vec![
        Line::styled(format!("{word}: {sequence}"), BOLD),
        Line::default(),
        message.into(),
        Line::default(),
    ];
    if outcome != Outcome::Succeeded && !state.log.is_empty() {
        lines.push("The last lines of its log:".into());
        let skip = state.log.len().saturating_sub(10);
        lines.extend(state.log.iter().skip(skip).map(|line| format!("  {line}").into()));
    }
    lines
}

fn problem(failure: &Failure) -> Vec<Line<'_>> {
    let parts = [("Cause", &failure.cause), ("Seen", &failure.evidence), ("Next step", &failure.next_step)];
    let told = parts.into_iter().filter(|(_, text)| !text.is_empty());
    told.flat_map(|(head, text)| {
        let mut lines = vec![Line::styled(head, BOLD)];
        lines.extend(text.lines().map(|line| Line::from(format!("  {line}"))));
        lines.push(Line::default());
        lines
    })
    .collect()
}

fn run_page(state: &State, running: &Running, area: Rect, frame: &mut Frame<'_>) {
    let [title, bar, numbers, news, log] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Length(if running.waiting.is_some() || running.failed.is_some() { 6 } else { 0 }),
        Constraint::Fill(1),
    ])
    .areas(area);
    let step = match running.step {
        0 => format!("{} steps", running.steps),
        step => format!("Step {step} of {}: {}", running.steps, running.name),
    };
    let spent = spoken(state.now.saturating_sub(running.began));
    let phase = running.progress.as_ref().map_or("working", |progress| progress.phase.as_str());
    let lines = vec![
        Line::styled(running.sequence.as_str(), BOLD),
        Line::default(),
        step.into(),
        format!("{phase}, for {spent}").into(),
    ];
    frame.render_widget(Paragraph::new(lines), title);
    if let Some(progress) = &running.progress {
        frame.render_widget(Paragraph::new(bar_of(progress.done, progress.total, bar.width)), bar);
        frame.render_widget(Paragraph::new(figures(progress, running.limit.as_deref())), numbers);
    }
    frame.render_widget(Paragraph::new(bad_news(running)).wrap(Wrap { trim: false }), news);
    let skip = state.log.len().saturating_sub(usize::from(log.height));
    let tail: Vec<Line<'_>> = state.log.iter().skip(skip).map(|line| line.as_str().into()).collect();
    frame.render_widget(Paragraph::new(tail), log);
}

/// A bar of `width` columns with the percentage behind it, drawn with characters: a console without colours shows
/// ratatui's own gauge the wrong way round.
fn bar_of(done: u64, total: u64, width: u16) -> String {
    let room = u64::from(width.saturating_sub(6));
    let part = |of: u64| {
        if total == 0 { 0 } else { (u128::from(done.min(total)) * u128::from(of) / u128::from(total)) as u64 }
    };
    let full = part(room);
    let bar: String = (0..room).map(|column| if column < full { '█' } else { '░' }).collect();
    format!("{bar} {:>3} %", part(100))
}

fn figures(progress: &Progress, limit: Option<&str>) -> Vec<Line<'static>> {
    let left = progress.seconds_left.map_or("not known yet".to_owned(), |seconds| {
        format!("about {}", spoken(Duration::from_secs(seconds.into())))
    });
    // The engine's own word for the phase in which the disk is read.
    let way = if progress.phase.starts_with("reading") { "from" } else { "to" };
    let mut lines: Vec<Line<'static>> = vec![
        format!("{} of {}", ByteSize(progress.done), ByteSize(progress.total)).into(),
        format!(
            "{} from the network · {} {way} the disk",
            rate(progress.network_rate),
            rate(progress.disk_rate)
        )
        .into(),
        format!("Time left: {left}").into(),
    ];
    lines.extend(limit.map(|limit| Line::from(limit.to_owned())));
    lines
}

fn bad_news(running: &Running) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    if let Some(waiting) = &running.waiting {
        lines.push(Line::styled("WAITING", BOLD));
        lines.push(waiting.as_str().into());
    }
    if let Some(failure) = &running.failed {
        lines.push(Line::styled(format!("A step failed: {}", failure.cause), BOLD));
        lines.push(failure.evidence.as_str().into());
        lines.push(failure.next_step.as_str().into());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::state::{Event, Key, Told, update};
    use super::*;
    use crate::api::runner::{DeviceFacts, DiskFacts, Purpose};
    use crate::client::{Found, Verdict};
    use crate::runner::network::{Interface, NetworkNews, Seen};
    use std::net::Ipv4Addr;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn machine() -> DeviceFacts {
        let disk = |number, node: &str, model: &str, contents: &[&str]| DiskFacts {
            number,
            node: node.into(),
            model: model.into(),
            serial: "S1".into(),
            size: 500_107_862_016,
            block_size: 512,
            external: number.is_none(),
            contents: contents.iter().map(|text| (*text).to_owned()).collect(),
            health: None,
        };
        DeviceFacts {
            serial: Some("C02FEAS00001".parse().unwrap()),
            uuid: None,
            model: Some("MacBookPro11,1".parse().unwrap()),
            manufacturer: None,
            macs: vec!["0a:1b:2c:3d:4e:5f".parse().unwrap()],
            memory: 8 << 30,
            cpu: None,
            firmware: None,
            disks: vec![
                disk(
                    Some(0),
                    "/dev/sda",
                    "APPLE SSD SM0512F",
                    &["1 EFI System Partition 200.0 MiB", "2 Macintosh HD 465.1 GiB"],
                ),
                disk(None, "/dev/sdb", "USB Flash Disk", &[]),
            ],
            inventory: Default::default(),
        }
    }

    fn told(told: Told) -> Event {
        Event::Told(told)
    }

    fn seconds(seconds: u64) -> Event {
        Event::Tick(Duration::from_secs(seconds))
    }

    fn failure() -> Failure {
        Failure {
            cause: "the EFI System Partition of disk 0 could not be made".into(),
            evidence:
                "mkfs.fat ended with exit status: 1: unable to open /dev/sda1: No such file or directory"
                    .into(),
            next_step: "Try again; if it stays, replace the disk.".into(),
            exit_code: None,
        }
    }

    fn offer(deployment: i64, purpose: Purpose) -> Offer {
        Offer {
            deployment,
            sequence: format!("Lab Mac {deployment}"),
            description: "macOS 10.15 with the lab's applications".into(),
            purpose,
            countdown: 30,
            erases: vec![0],
        }
    }

    /// Both screen sizes one below the other, each line closed by a bar so that blanks at the end show.
    fn screens(events: Vec<Event>) -> String {
        let mut state = State::new(Some("https://10.0.0.2"), false);
        for event in [told(Told::Machine(Box::new(machine())))].into_iter().chain(events) {
            state = update(state, event).0;
        }
        let mut all = String::new();
        for (width, height) in [(80, 25), (100, 37)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view(&state, frame)).unwrap();
            let buffer = terminal.backend().buffer().clone();
            for row in 0..height {
                let line: String = (0..width).map(|column| buffer[(column, row)].symbol()).collect();
                all.push_str(line.trim_end());
                all.push('\n');
            }
            all.push_str("----\n");
        }
        all
    }

    fn offers(purpose: Purpose) -> Event {
        told(Told::Offers {
            appliance: "Lab".into(),
            offers: vec![offer(1, purpose), offer(2, Purpose::Available)],
            why_empty: None,
        })
    }

    fn progress(phase: &str) -> Event {
        told(Told::Progress {
            progress: Progress {
                phase: phase.into(),
                done: 7 << 30,
                total: 20 << 30,
                network: 4 << 30,
                network_rate: 112_400_000,
                disk_rate: 231_900_000,
                seconds_left: Some(130),
                delta: None,
            },
            limit: Some("The network limits.".into()),
        })
    }

    #[test]
    fn connecting() {
        let wait = Told::Waiting {
            what: "Looking for the appliance at https://10.0.0.2".into(),
            error: Some(
                "connection refused; check the network cable, and that rootstockd runs at that address"
                    .into(),
            ),
        };
        insta::assert_snapshot!(screens(vec![told(wait), seconds(75)]));
    }

    #[test]
    fn choosing() {
        insta::assert_snapshot!(screens(vec![offers(Purpose::Available), Event::Key(Key::Down)]));
    }

    #[test]
    fn the_marked_offer_stays_on_screen_in_a_long_list() {
        let offers = (0..40).map(|number| offer(number, Purpose::Available)).collect();
        let mut events = vec![told(Told::Offers { appliance: "Lab".into(), offers, why_empty: None })];
        events.extend((0..30).map(|_| Event::Key(Key::Down)));
        assert_eq!(screens(events).matches(">  Lab Mac 30").count(), 2);
    }

    #[test]
    fn nothing_to_choose() {
        let why = "This Mac is in no collection with a deployment. Deploy a sequence to Unknown Macs.";
        let empty = Told::Offers { appliance: "Lab".into(), offers: Vec::new(), why_empty: Some(why.into()) };
        insta::assert_snapshot!(screens(vec![told(empty)]));
    }

    #[test]
    fn confirming_names_the_disk_and_what_is_lost() {
        insta::assert_snapshot!(screens(vec![offers(Purpose::Available), Event::Key(Key::Enter)]));
    }

    #[test]
    fn counting_down() {
        insta::assert_snapshot!(screens(vec![offers(Purpose::Required), seconds(9)]));
    }

    #[test]
    fn running() {
        let events = vec![
            told(Told::Started { sequence: "Lab Mac".into(), steps: 3 }),
            told(Told::Step { step: 2, steps: 3, name: "Apply Image".into() }),
            seconds(65),
            progress("writing"),
            told(Told::Lines(vec!["image lab-mac 3, 20.0 GiB".into()])),
        ];
        insta::assert_snapshot!(screens(events));
    }

    #[test]
    fn running_without_a_network_and_after_a_failed_step() {
        let events = vec![
            told(Told::Started { sequence: "Lab Mac".into(), steps: 3 }),
            told(Told::StepFailed(failure())),
            told(Told::Step { step: 2, steps: 3, name: "Apply Image".into() }),
            progress("writing"),
            told(Told::Waiting {
                what: "Waiting for the appliance".into(),
                error: Some("no route to host".into()),
            }),
        ];
        insta::assert_snapshot!(screens(events));
    }

    #[test]
    fn ended_well_and_ended_badly() {
        let end = |outcome, message: &str| {
            vec![
                told(Told::Started { sequence: "Lab Mac".into(), steps: 3 }),
                told(Told::Lines(vec!["first line".into(), "last line".into()])),
                told(Told::Ended { outcome, message: message.into() }),
            ]
        };
        let good = screens(end(Outcome::Succeeded, "3 of 3 steps done."));
        let bad =
            screens(end(Outcome::Failed, "Step 2, Apply Image: the target is too small. Use a larger disk."));
        insta::assert_snapshot!(format!("{good}{bad}"));
    }

    #[test]
    fn a_problem_shows_cause_evidence_and_next_step() {
        insta::assert_snapshot!(screens(vec![told(Told::Trouble(failure()))]));
    }

    fn found() -> Vec<Found> {
        let at = |name: &str, address: &str, verdict| Found {
            name: name.into(),
            address: format!("https://{address}"),
            verdict,
        };
        vec![
            at("Lab", "10.0.0.2", Verdict::Trusted),
            at("Lab (2)", "10.0.0.3:8443", Verdict::Trusted),
            at("Old", "10.0.0.9", Verdict::OtherProtocol(0)),
            at("Somebody's", "10.0.0.66", Verdict::OtherAuthority),
        ]
    }

    #[test]
    fn choosing_an_appliance() {
        insta::assert_snapshot!(screens(vec![
            told(Told::Appliances(found())),
            Event::Key(Key::Down),
            Event::Key(Key::Down),
            Event::Key(Key::Enter),
        ]));
    }

    #[test]
    fn no_appliance_and_an_address_is_typed() {
        let mut events = vec![told(Told::Appliances(Vec::new())), Event::Key(Key::Enter)];
        events.extend("10.0.0".chars().map(|letter| Event::Key(Key::Char(letter))));
        insta::assert_snapshot!(screens(events));
    }

    fn seen() -> NetworkNews {
        let interface = |name: &str, link, speed, addresses: &[Ipv4Addr]| Interface {
            name: name.into(),
            mac: "0a:1b:2c:3d:4e:5f".into(),
            driver: Some("tg3".into()),
            below: None,
            link,
            speed,
            addresses: addresses.iter().map(|address| (*address, 24)).collect(),
            router: (!addresses.is_empty()).then_some(Ipv4Addr::new(10, 0, 0, 1)),
        };
        let vlan = Interface {
            below: Some("eth0".into()),
            driver: None,
            ..interface("vlan5", Some(true), None, &[])
        };
        NetworkNews::Seen(Seen {
            interfaces: vec![
                interface("enx0a1b2c3d4e5f", Some(false), None, &[]),
                interface("eth0", Some(true), Some(1000), &[Ipv4Addr::new(10, 0, 0, 57)]),
                interface("eth1", None, None, &[]),
                vlan,
            ],
            dns: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)],
        })
    }

    fn network(more: Vec<Event>) -> String {
        let wait = Told::Waiting {
            what: "Looking for the appliance at https://10.0.0.2".into(),
            error: Some("connection refused; check the network cable".into()),
        };
        let mut events = vec![told(wait), Event::Key(Key::Char('n')), told(Told::Network(seen()))];
        events.extend(more);
        screens(events)
    }

    fn typed(text: &str) -> impl Iterator<Item = Event> {
        text.chars().map(|letter| Event::Key(Key::Char(letter)))
    }

    #[test]
    fn the_network_page_shows_what_is_there() {
        insta::assert_snapshot!(network(Vec::new()));
    }

    #[test]
    fn the_network_page_takes_a_static_address_in_and_says_what_came_of_it() {
        let mut events = vec![Event::Key(Key::Down), Event::Key(Key::Left), Event::Key(Key::Down)];
        events.extend(typed("10.0.0.5/24"));
        events.push(Event::Key(Key::Down));
        events.extend(typed("10.0.0.1"));
        events.push(Event::Key(Key::Enter));
        let text = "10.0.0.5 is in use already, by 0a:00:00:00:00:09: take another address";
        events.push(told(Told::Network(NetworkNews::Failed(text.into()))));
        insta::assert_snapshot!(network(events));
    }

    #[test]
    fn the_network_page_names_the_line_that_is_wrong() {
        let mut events = vec![Event::Key(Key::Down), Event::Key(Key::Left), Event::Key(Key::Down)];
        events.extend(typed("10.0.0.5"));
        events.push(Event::Key(Key::Enter));
        insta::assert_snapshot!(network(events));
    }

    #[test]
    fn a_screen_of_any_size_is_drawn() {
        let mut state = State::new(Some("https://10.0.0.2"), false);
        let events = [
            told(Told::Machine(Box::new(machine()))),
            told(Told::Appliances(found())),
            offers(Purpose::Required),
            progress("x"),
            Event::Key(Key::Char('x')),
            Event::Key(Key::Char('n')),
            told(Told::Network(seen())),
        ];
        for event in events {
            state = update(state, event).0;
            for (width, height) in [(1, 1), (3, 2), (20, 5), (300, 100)] {
                let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                terminal.draw(|frame| view(&state, frame)).unwrap();
            }
        }
    }
}
