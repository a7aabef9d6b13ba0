//! How every page looks: as text for snapshots, as pictures for the documents (`docs/wizard`). `UPDATE=1` draws the pictures anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ratatui::buffer::Buffer;
use ratatui::style::Modifier;

use super::event::{Event, Key};
use super::report::{drawn, rows};
use super::scenes::{after, many, scenes};

/// A console of 80 by 25 characters, and one of 800 by 600 pixels with letters of 8 by 16.
const SIZES: [(u16, u16); 2] = [(80, 25), (100, 37)];

/// Pixels of a letter.
const CELL: (u16, u16) = (8, 16);

/// Both screen sizes one below the other.
fn screens(events: Vec<Event>) -> String {
    let state = after(events);
    let mut all = String::new();
    for size in SIZES {
        all.push_str(&rows(&drawn(&state, size).unwrap()).join("\n"));
        all.push_str("\n----\n");
    }
    all
}

/// A screen as a picture.
fn svg(buffer: &Buffer) -> String {
    let (width, height) = (buffer.area.width, buffer.area.height);
    let (w, h) = (width * CELL.0, height * CELL.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\">\n\
         <rect width=\"{w}\" height=\"{h}\" fill=\"#101010\"/>\n\
         <g font-family=\"Terminus,DejaVu Sans Mono,Menlo,monospace\" font-size=\"13\" fill=\"#d8d8d8\" xml:space=\"preserve\">\n"
    );
    for row in 0..height {
        let cells: Vec<_> = (0..width).map(|column| &buffer[(column, row)]).collect();
        let mut column = 0;
        for same in cells.chunk_by(|one, other| one.modifier == other.modifier) {
            let text: String = same.iter().map(|cell| cell.symbol()).collect();
            let (x, y) = (column * CELL.0, row * CELL.1);
            let long = same.len() as u16 * CELL.0;
            column += same.len() as u16;
            let reversed = same[0].modifier.contains(Modifier::REVERSED);
            let bold = if same[0].modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
            if reversed {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{long}\" height=\"16\" fill=\"#d8d8d8\"/>"
                );
            }
            let shown = text.trim_end();
            if shown.is_empty() {
                continue;
            }
            let fill = if reversed { " fill=\"#101010\"" } else { "" };
            let long = shown.chars().count() * usize::from(CELL.0);
            let shown = shown.replace('&', "&amp;").replace('<', "&lt;");
            let y = y + 12;
            let _ =
                writeln!(svg, "<text x=\"{x}\" y=\"{y}\" textLength=\"{long}\"{fill}{bold}>{shown}</text>");
        }
    }
    svg + "</g>\n</svg>\n"
}

#[test]
fn section_7_every_page_looks_as_it_did() {
    for (name, events) in scenes() {
        insta::assert_snapshot!(name, screens(events));
    }
}

#[test]
fn section_7_no_line_of_any_page_is_cut_at_80_columns() {
    for (name, events) in scenes() {
        let state = after(events);
        let foot = |size: (u16, u16)| {
            let rows = rows(&drawn(&state, size).unwrap());
            rows[rows.len() - 2..].to_vec()
        };
        assert_eq!(foot(SIZES[0]), foot((200, 25)), "{name}: its keys do not fit");
    }
}

#[test]
fn section_7_the_pictures_in_the_documents_are_those_of_the_pages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wizard");
    let update = std::env::var_os("UPDATE").is_some();
    if update {
        fs::create_dir_all(&folder).unwrap();
    }
    let mut wanted = Vec::new();
    for (name, events) in scenes() {
        let picture = svg(&drawn(&after(events), SIZES[1]).unwrap());
        let path = folder.join(format!("{name}.svg"));
        if update {
            fs::write(&path, &picture).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == picture,
            "{} is not how the page looks: UPDATE=1 draws it anew",
            path.display()
        );
        wanted.push(format!("{name}.svg"));
    }
    let mut there: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".svg"))
        .collect();
    there.sort();
    assert_eq!(there, wanted, "pictures of pages that are no more");
}

#[test]
fn the_marked_offer_stays_on_screen_in_a_long_list() {
    let mut events = vec![many(40)];
    events.extend((0..30).map(|_| Event::Key(Key::Down)));
    assert_eq!(screens(events).matches(">  Lab Mac 30").count(), 2);
}

#[test]
fn section_7_a_screen_of_any_size_is_drawn() {
    for (_, events) in scenes() {
        let state = after(events);
        for size in [(1, 1), (3, 2), (20, 5), (300, 100)] {
            drawn(&state, size).unwrap();
        }
    }
}
