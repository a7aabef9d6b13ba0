//! A run as one HTML file: no script, nothing from elsewhere, everything from outside escaped; readable aloud, printable.
//!
//! Must not know: where the run is kept. What it is given is shown, so it must be masked before.

use std::fmt::Write;

use super::admin::{Device, Run, RunEvent, StepState};
use super::moment::{duration, stamp, took};
use super::runner::{Outcome, Receipt};

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Name of the appliance.
    pub appliance: &'a str,
    /// Its version.
    pub version: &'a str,
    /// When the report is made, milliseconds since 1970 UTC.
    pub made_ms: i64,
    /// The run.
    pub run: &'a Run,
    /// Its Mac, where it is known yet.
    pub device: Option<&'a Device>,
    /// What was recorded, oldest first.
    pub events: &'a [RunEvent],
    /// Events that are not shown.
    pub cut_off: bool,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8885;--soft:#8882}\
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem 1.5rem}\
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid var(--line)}\
table{border-collapse:collapse;width:100%}caption{text-align:left;color:GrayText;padding:.2rem 0}\
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line)}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:GrayText}dd{margin:0;overflow-wrap:anywhere}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--soft);padding:.6rem;font-size:.85rem}\
.state{font-weight:600}.number{text-align:right;white-space:nowrap}\
a:focus-visible{outline:2px solid}\
@media print{body{font-size:10pt;max-width:none;padding:0}h2{break-after:avoid}tr,dl{break-inside:avoid}\
pre{background:none;border-left:2pt solid #888}nav{display:none}thead{display:table-header-group}}";

/// The file.
pub fn html(report: &Report<'_>) -> String {
    let mut page = Page(String::with_capacity(32 << 10));
    let summary = &report.run.summary;
    let title = format!("Run {}: {} on {}", summary.id, summary.sequence, summary.device_name);
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Also where the file is opened from a disk: nothing in it may run or fetch anything.
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n");
    page.raw("<meta name=\"referrer\" content=\"no-referrer\">\n<title>")
        .text(&title)
        .raw("</title>\n<style>")
        .raw(STYLE);
    page.raw("</style>\n</head>\n<body>\n<header>\n<h1>").text(&title).raw("</h1>\n<p class=\"state\">");
    page.text(&verdict(report.run)).raw("</p>\n</header>\n<nav aria-label=\"Parts of this report\"><p>");
    for (at, (id, name)) in PARTS.iter().enumerate() {
        page.raw(if at == 0 { "" } else { " · " })
            .raw("<a href=\"#")
            .raw(id)
            .raw("\">")
            .raw(name)
            .raw("</a>");
    }
    page.raw("</p></nav>\n<main>\n");
    summary_of(&mut page, report);
    failure_of(&mut page, report.run);
    steps_of(&mut page, report.run);
    receipts_of(&mut page, report.run);
    device_of(&mut page, report.device);
    log_of(&mut page, report);
    page.raw("</main>\n<footer><p>Made ").text(&stamp(report.made_ms)).raw(" by ").text(report.appliance);
    page.raw(", Rootstock ").text(report.version).raw(". Times are UTC.</p></footer>\n</body>\n</html>\n");
    page.0
}

const PARTS: [(&str, &str); 5] =
    [("summary", "Summary"), ("steps", "Steps"), ("receipts", "Receipts"), ("mac", "Mac"), ("log", "Log")];

struct Page(String);

impl Page {
    /// Our own words.
    fn raw(&mut self, text: &str) -> &mut Page {
        self.0.push_str(text);
        self
    }

    /// Anybody's words: what HTML would obey is escaped, what no page may hold is shown as a space.
    fn text(&mut self, text: &str) -> &mut Page {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                // Marks that turn the direction of writing would show another text than there is.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                c if c.is_control() => self.0.push(' '),
                c => self.0.push(c),
            }
        }
        self
    }

    fn row(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.raw("<dt>").text(name).raw("</dt><dd>").text(value).raw("</dd>\n");
        }
    }

    fn head(&mut self, caption: &str, columns: &[&str]) {
        self.raw("<table>\n<caption>").text(caption).raw("</caption>\n<thead><tr>");
        for column in columns {
            self.raw("<th scope=\"col\">").text(column).raw("</th>");
        }
        self.raw("</tr></thead>\n<tbody>\n");
    }

    fn cells(&mut self, cells: &[&str]) {
        self.raw("<tr>");
        for (at, cell) in cells.iter().enumerate() {
            // The second column names the row.
            let (open, close) = if at == 1 { ("<th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
            self.raw(open).text(cell).raw(close);
        }
        self.raw("</tr>\n");
    }
}

fn verdict(run: &Run) -> String {
    let word = match run.summary.outcome {
        Some(Outcome::Succeeded) => "Succeeded",
        Some(Outcome::Failed) => "Failed",
        Some(Outcome::Cancelled) => "Cancelled",
        None => "Still going",
    };
    match &run.message {
        Some(message) => format!("{word}: {message}"),
        None => match &run.waits {
            Some(waits) => format!("{word}: {}", waits.why),
            None => word.to_owned(),
        },
    }
}

fn summary_of(page: &mut Page, report: &Report<'_>) {
    let summary = &report.run.summary;
    page.raw("<section aria-labelledby=\"summary\">\n<h2 id=\"summary\">Summary</h2>\n<dl>\n");
    page.row("Sequence", &format!("{}, revision {}", summary.sequence, summary.revision));
    page.row("Mac", &summary.device_name);
    page.row("Started", &stamp(summary.started_ms));
    page.row("Ended", &summary.ended_ms.map(stamp).unwrap_or_default());
    page.row("Took", &took(summary.started_ms, summary.ended_ms));
    page.row("Steps", &format!("{} of {}", summary.step, summary.steps));
    page.row("Images", &report.run.images.join(", "));
    page.raw("</dl>\n</section>\n");
}

fn failure_of(page: &mut Page, run: &Run) {
    let Some(failure) = &run.failure else { return };
    page.raw("<section aria-labelledby=\"failure\">\n<h2 id=\"failure\">Why it failed</h2>\n<dl>\n");
    page.row("Cause", &failure.cause);
    page.row("Evidence", &failure.evidence);
    page.row("Next step", &failure.next_step);
    page.row("Exit code", &failure.exit_code.map(|code| code.to_string()).unwrap_or_default());
    page.raw("</dl>\n</section>\n");
}

fn steps_of(page: &mut Page, run: &Run) {
    page.raw("<section aria-labelledby=\"steps\">\n<h2 id=\"steps\">Steps</h2>\n");
    page.head(
        "Every step in order",
        &["No.", "Step", "Type", "State", "Began", "Took", "Tries", "Exit code", "Note"],
    );
    for (number, step) in (1_u32..).zip(&run.step_list) {
        let name = step.groups.iter().chain([&step.name]).cloned().collect::<Vec<_>>().join(" / ");
        let time = step.started_ms.zip(step.ended_ms).map(|(began, ended)| duration(ended - began));
        let tries = if step.tries > 0 { step.tries.to_string() } else { String::new() };
        page.cells(&[
            &number.to_string(),
            &name,
            &step.kind,
            state(step.state),
            &step.started_ms.map(stamp).unwrap_or_default(),
            &time.unwrap_or_default(),
            &tries,
            &step.exit_code.map(|code| code.to_string()).unwrap_or_default(),
            step.why.as_deref().unwrap_or_default(),
        ]);
    }
    page.raw("</tbody>\n</table>\n</section>\n");
}

fn state(state: StepState) -> &'static str {
    match state {
        StepState::Pending => "not reached",
        StepState::Running => "at work",
        StepState::Succeeded => "done",
        StepState::Failed => "failed",
        StepState::Skipped => "left out",
        StepState::Unknown => "?",
    }
}

fn receipts_of(page: &mut Page, run: &Run) {
    page.raw("<section aria-labelledby=\"receipts\">\n<h2 id=\"receipts\">Receipts</h2>\n");
    if run.receipts.is_empty() {
        page.raw("<p>No image was applied and proved.</p>\n");
    }
    for signed in &run.receipts {
        page.raw("<dl>\n");
        match serde_json::from_str::<Receipt>(&signed.receipt) {
            Ok(receipt) => {
                page.row("Manifest", &receipt.manifest.to_string());
                page.row("Volume", &format!("{} on {}", receipt.node, receipt.disk));
                page.row("Bytes", &receipt.bytes.to_string());
                page.row(
                    "Read back",
                    &format!("{} chunks, {} written again", receipt.chunks_read_back, receipt.rewritten),
                );
                page.row("At", &stamp(receipt.at_ms));
            }
            Err(_) => page.row("Receipt", &signed.receipt),
        }
        page.row("Signature", &signed.signature);
        page.raw("</dl>\n");
    }
    page.raw("</section>\n");
}

fn device_of(page: &mut Page, device: Option<&Device>) {
    page.raw("<section aria-labelledby=\"mac\">\n<h2 id=\"mac\">Mac</h2>\n");
    let Some(device) = device else {
        page.raw("<p>The appliance does not know this Mac any more.</p>\n</section>\n");
        return;
    };
    let text = |value: Option<String>| value.unwrap_or_default();
    page.raw("<dl>\n");
    page.row("Serial number", &text(device.summary.serial.as_ref().map(ToString::to_string)));
    page.row("Model", &text(device.summary.model.as_ref().map(ToString::to_string)));
    page.row("UUID", &text(device.uuid.map(|uuid| uuid.to_string())));
    let macs: Vec<String> = device.summary.macs.iter().map(ToString::to_string).collect();
    page.row("Addresses", &macs.join(", "));
    page.row("Memory", &format!("{} bytes", device.memory));
    for disk in &device.disks {
        let number = disk.number.map(|number| format!("Disk {number}")).unwrap_or_else(|| "Disk".to_owned());
        page.row(&number, &format!("{} {}, {} bytes", disk.node, disk.model, disk.size));
    }
    page.raw("</dl>\n</section>\n");
}

fn log_of(page: &mut Page, report: &Report<'_>) {
    page.raw("<section aria-labelledby=\"log\">\n<h2 id=\"log\">Log</h2>\n<pre tabindex=\"0\" aria-label=\"Log of the run\">");
    for event in report.events {
        let step = event.step.as_deref().map(|step| format!(" [{step}]")).unwrap_or_default();
        for line in event.detail.lines() {
            let mut whole = String::new();
            let _ = writeln!(whole, "{}{step} {}: {line}", stamp(event.at_ms), event.kind);
            page.text(&whole);
        }
    }
    page.raw("</pre>\n");
    if report.cut_off {
        page.raw("<p>The log is longer; the rest: <code>rootstock run log</code>.</p>\n");
    }
    page.raw("</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::{RunStep, RunSummary};
    use crate::api::runner::Failure;

    fn run(evil: &str) -> Run {
        let step = RunStep {
            name: evil.into(),
            state: StepState::Failed,
            started_ms: Some(0),
            ended_ms: Some(2500),
            place: "steps[0]".into(),
            groups: vec![evil.into()],
            why: Some(evil.into()),
            exit_code: Some(3),
            tries: 2,
            kind: "Execute Script".into(),
        };
        let failure =
            Failure { cause: evil.into(), evidence: evil.into(), next_step: evil.into(), exit_code: Some(3) };
        Run {
            summary: RunSummary {
                id: 7,
                sequence: evil.into(),
                revision: 2,
                device: 1,
                device_name: evil.into(),
                outcome: Some(Outcome::Failed),
                step: 1,
                steps: 1,
                started_ms: 0,
                ended_ms: Some(5000),
            },
            change: 0,
            progress: None,
            at: None,
            step_list: vec![step],
            message: Some(evil.into()),
            failed_step: None,
            failure: Some(failure),
            question: None,
            can_resume: true,
            waits: None,
            images: vec![evil.into()],
            receipts: vec![crate::api::runner::SignedReceipt {
                receipt: evil.into(),
                signature: evil.into(),
            }],
        }
    }

    fn made(evil: &str) -> String {
        let run = run(evil);
        let events = [RunEvent {
            number: 1,
            at_ms: 0,
            kind: "log".into(),
            step: Some(evil.into()),
            detail: evil.into(),
        }];
        html(&Report {
            appliance: evil,
            version: "1",
            made_ms: 0,
            run: &run,
            device: None,
            events: &events,
            cut_off: true,
        })
    }

    #[test]
    fn part_9_what_others_wrote_is_shown_and_never_obeyed() {
        let evil = "</pre><script>alert(1)</script><img src=x onerror=\"y\" '>&\u{1b}\u{202e}";
        let page = made(evil);
        for bad in ["<script", "<img", "onerror=\"", "\u{1b}", "\u{202e}"] {
            assert!(!page.contains(bad), "{bad}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&#39;&gt;&amp;"));
    }

    #[test]
    fn part_9_the_file_needs_nothing_from_elsewhere_and_can_be_read_aloud_and_printed() {
        let page = made("x");
        for outside in ["http://", "https://", "src=", "url(", "@import", "<link", "<iframe", "javascript:"] {
            assert!(!page.contains(outside), "{outside}");
        }
        for part in [
            "<html lang=\"en\">",
            "<title>Run 7: x on x</title>",
            "<caption>",
            "scope=\"col\"",
            "scope=\"row\"",
            "<main>",
            "@media print",
            "default-src 'none'",
            "2.5 s",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let headings: Vec<&str> = page
            .match_indices("<h")
            .map(|(at, _)| &page[at..at + 3])
            .filter(|tag| tag.ends_with(char::is_numeric))
            .collect();
        assert!(headings[0] == "<h1" && headings[1..].iter().all(|tag| *tag == "<h2"), "{headings:?}");
        for (id, _) in PARTS {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
    }
}
