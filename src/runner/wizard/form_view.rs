//! The pages with a form, as lines: found appliances, the network.
//!
//! Must not know: the terminal, what keys do.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::appliances::{Appliances, verdict};
use super::network::{Field, NetworkPage, Said, Source};
use super::state::Page;
use super::view::{BOLD, REVERSE};
use crate::runner::network::Interface;

/// Interfaces that are shown at once.
const ROWS: usize = 5;

/// Which appliance?
pub(super) fn appliances(page: &Appliances) -> Vec<Line<'_>> {
    let usable = page.found.iter().any(|found| found.verdict == crate::client::Verdict::Trusted);
    let head = match (page.found.is_empty(), usable) {
        (true, _) => "No appliance announces itself here",
        (false, true) => "Choose an appliance",
        (false, false) => "No appliance was found that this boot medium can use",
    };
    let mut lines = vec![Line::styled(head, BOLD), Line::default()];
    if !usable {
        let next = "It is looked for all the time, and taken when it comes. Check the cable, that rootstockd runs in the same \
                    network, and that the network lets multicast DNS (UDP port 5353) through; or enter its address.";
        lines.extend([next.into(), Line::default()]);
    }
    for (number, found) in page.found.iter().enumerate() {
        lines.push(marked(number == page.marked, format!(" {}  {} ", found.name, found.address)));
        lines.push(format!("   {}", verdict(found.verdict)).into());
        lines.push(Line::default());
    }
    let at_end = page.marked == page.found.len();
    lines.push(match &page.typed {
        None => marked(at_end, " Enter the address of an appliance ".to_owned()),
        Some(typed) => {
            Line::from(vec![">  Address of the appliance: ".into(), Span::styled(format!("{typed}_"), BOLD)])
        }
    });
    if let Some(error) = &page.error {
        lines.extend([Line::default(), error.as_str().into()]);
    }
    lines
}

fn marked(is_marked: bool, text: String) -> Line<'static> {
    let (mark, style) = if is_marked { ("> ", REVERSE) } else { ("  ", Style::new()) };
    Line::from(vec![mark.into(), Span::styled(text, style)])
}

/// The network page. `under` is the page below it: it tells whether the appliance answers by now.
pub(super) fn network<'a>(page: &'a NetworkPage, under: &'a Page, width: u16) -> Vec<Line<'a>> {
    let mut lines = vec![Line::styled("Network", BOLD), Line::default()];
    lines.extend(table(page));
    lines.push(Line::default());
    let fields = page.fields();
    lines.extend(fields.into_iter().map(|field| field_line(page, field, usize::from(width))));
    lines.push(Line::default());
    match &page.said {
        Said::Nothing => {
            lines.push("Nothing changes before Enter is pressed. It holds until this Mac restarts.".into())
        }
        Said::Wrong(field, why) => {
            lines.push(Line::styled(format!("{}: {why}.", label(*field)), BOLD));
        }
        Said::Doing(text) => lines.push(Line::styled(format!("{text} ..."), BOLD)),
        Said::Failed(text) => lines.push(Line::styled(format!("FAILED: {text}."), BOLD)),
        Said::Applied(text) => {
            lines.push(Line::styled(format!("SET: {text}"), BOLD));
            lines.push(below(under));
        }
    }
    lines
}

fn below(under: &Page) -> Line<'_> {
    match under {
        Page::Connecting { what, error: Some(error), .. } => format!("{what}: {error}").into(),
        Page::Connecting { what, .. } => what.as_str().into(),
        Page::Appliances(_) => "The appliance is still looked for.".into(),
        Page::Problem(failure) => failure.cause.as_str().into(),
        Page::Running(running) => match &running.waiting {
            Some(waiting) => waiting.as_str().into(),
            None => "The run goes on.".into(),
        },
        _ => "The appliance answers. Esc leads to its list.".into(),
    }
}

fn table(page: &NetworkPage) -> Vec<Line<'_>> {
    let Some(seen) = &page.seen else { return vec!["The interfaces are being looked at.".into()] };
    if seen.interfaces.is_empty() {
        return vec![
            "There is no wired interface: connect an Ethernet adapter. It shows up by itself.".into(),
        ];
    }
    let chosen = seen.interfaces.iter().position(|interface| interface.name == page.form.interface);
    let skip = chosen.unwrap_or(0).saturating_sub(ROWS - 1);
    let mut lines = vec![row("", "Interface", "Hardware", "Driver", "Link", "Address")];
    for interface in seen.interfaces.iter().skip(skip).take(ROWS) {
        let mark = if interface.name == page.form.interface { ">" } else { "" };
        let driver = match &interface.below {
            Some(below) => format!("on {below}"),
            None => interface.driver.clone().unwrap_or_else(|| "-".into()),
        };
        lines.push(row(
            mark,
            &interface.name,
            &interface.mac,
            &driver,
            &link(interface),
            &address(interface),
        ));
    }
    let router = chosen.and_then(|at| seen.interfaces[at].router);
    let dns: Vec<String> = seen.dns.iter().map(ToString::to_string).collect();
    lines.push(
        format!(
            "  Router of {}: {}   DNS: {}",
            page.form.interface,
            router.map_or("none".to_owned(), |router| router.to_string()),
            if dns.is_empty() { "none".to_owned() } else { dns.join(" ") }
        )
        .into(),
    );
    lines
}

/// Fits 76 columns: what an 80 column screen leaves.
fn row(mark: &str, name: &str, mac: &str, driver: &str, link: &str, address: &str) -> Line<'static> {
    format!("{mark:<2}{name:<16}{mac:<18}{driver:<9}{link:<11}{address}").into()
}

fn link(interface: &Interface) -> String {
    match (interface.link, interface.speed) {
        (None, _) => "off".into(),
        (Some(false), _) => "no cable".into(),
        (Some(true), None) => "up".into(),
        (Some(true), Some(speed)) => format!("{speed} Mb/s"),
    }
}

fn address(interface: &Interface) -> String {
    match &interface.addresses[..] {
        [] => "none".into(),
        [(address, prefix)] => format!("{address}/{prefix}"),
        [(address, prefix), rest @ ..] => format!("{address}/{prefix} +{}", rest.len()),
    }
}

fn label(field: Field) -> &'static str {
    match field {
        Field::Interface => "Interface",
        Field::Source => "Its address",
        Field::Address => "Address/prefix",
        Field::Router => "Router",
        Field::Dns => "DNS servers",
        Field::Vlan => "VLAN id",
        Field::Proxy => "HTTP proxy",
        Field::Appliance => "Appliance",
    }
}

/// What an empty field means.
fn example(field: Field) -> &'static str {
    match field {
        Field::Address => "like 10.0.0.5/24",
        Field::Router => "none: only this network",
        Field::Dns => "none: as they are",
        Field::Vlan => "none: not tagged",
        Field::Proxy => "none; for HTTPS to the appliance, like 10.0.0.9:3128",
        Field::Appliance => "none: as the boot medium says, else looked for",
        Field::Interface | Field::Source => "",
    }
}

fn field_line(page: &NetworkPage, field: Field, width: usize) -> Line<'_> {
    let form = &page.form;
    let is_marked = page.field == Some(field);
    let text = match field {
        Field::Interface => return choice(is_marked, field, &form.interface),
        Field::Source => {
            let source = match form.source {
                Source::Unchanged => "stays as it is",
                Source::Dhcp => "from DHCP",
                Source::Static => "static",
            };
            return choice(is_marked, field, source);
        }
        Field::Address => &form.address,
        Field::Router => &form.router,
        Field::Dns => &form.dns,
        Field::Vlan => &form.vlan,
        Field::Proxy => &form.proxy,
        Field::Appliance => &form.appliance,
    };
    // The end of a long text is where one types.
    let room = width.saturating_sub(20);
    let shown: String = text.chars().skip(text.chars().count().saturating_sub(room)).collect();
    let value = match (is_marked, text.is_empty()) {
        (true, true) => vec![Span::styled("_", BOLD), format!("  ({})", example(field)).into()],
        (true, false) => vec![Span::styled(format!("{shown}_"), BOLD)],
        (false, true) => vec![format!("({})", example(field)).into()],
        (false, false) => vec![shown.into()],
    };
    let mut line = Line::from(head(is_marked, field));
    line.extend(value);
    line
}

fn choice(is_marked: bool, field: Field, value: &str) -> Line<'static> {
    let value = if value.is_empty() { "none" } else { value };
    let mut line = Line::from(head(is_marked, field));
    line.push_span(match is_marked {
        true => Span::styled(format!("< {value} >"), BOLD),
        false => Span::from(value.to_owned()),
    });
    line
}

fn head(is_marked: bool, field: Field) -> Vec<Span<'static>> {
    let style = if is_marked { REVERSE } else { Style::new() };
    vec![
        if is_marked { "> " } else { "  " }.into(),
        Span::styled(format!("{:<15}", label(field)), style),
        " ".into(),
    ]
}
