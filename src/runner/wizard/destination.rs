//! Where an image goes, when its sequence does not say: a partition is selected, then confirmed with what is lost. Pure.
//!
//! Must not know: how the page is drawn, which disks there are.

use std::time::Duration;

use super::ask::{Reply, SENDING};
use super::event::{Key, Say};
use crate::api::runner::{
    AskedDestination, ChooseDestination, DestinationDisk, DestinationPartition, RunQuestion,
};

/// Lines that a page key moves the mark by.
const PAGE: usize = 5;

/// The page.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// Which sequence asks.
    pub sequence: String,
    /// What is asked, with what there is.
    pub asked: AskedDestination,
    /// Which of the partitions is marked: disk and partition number.
    pub marked: Option<(u32, u32)>,
    /// It is selected, and what is lost is on the screen.
    pub confirming: bool,
    /// Since when it is asked.
    pub since: Duration,
    /// When it was confirmed.
    pub sent: Option<Duration>,
    /// Why it was not taken.
    pub wrong: Option<String>,
    /// The appliance does not answer.
    pub trouble: Option<String>,
}

impl Destination {
    /// The page for a question.
    pub fn new(sequence: String, asked: AskedDestination, now: Duration) -> Destination {
        let mut page = Destination {
            sequence,
            asked,
            marked: None,
            confirming: false,
            since: now,
            sent: None,
            wrong: None,
            trouble: None,
        };
        page.marked = page.choices().first().copied();
        page
    }

    /// What may be selected, in the order in which it is shown.
    fn choices(&self) -> Vec<(u32, u32)> {
        let of_disk = |disk: &DestinationDisk| {
            let number = disk.number.filter(|_| disk.why_not.is_empty())?;
            let free = disk.partitions.iter().filter(|partition| partition.why_not.is_empty());
            Some(free.map(move |partition| (number, partition.number)).collect::<Vec<_>>())
        };
        self.asked.disks.iter().filter_map(of_disk).flatten().collect()
    }

    /// What is marked.
    pub fn selected(&self) -> Option<(&DestinationDisk, &DestinationPartition)> {
        let (disk, partition) = self.marked?;
        self.asked.find(disk, partition)
    }

    /// It is asked again: the mark stays on what it was on; what is not there any more cannot be confirmed.
    pub fn refresh(&mut self, question: RunQuestion, now: Duration) {
        self.trouble = None;
        let Some(asked) = question.destination else { return };
        if asked.step != self.asked.step {
            *self = Destination::new(std::mem::take(&mut self.sequence), asked, now);
            return;
        }
        let seen = |page: &Destination| {
            let (disk, partition) = page.selected()?;
            Some((disk.serial.clone(), disk.node.clone(), partition.clone()))
        };
        let before = seen(self);
        self.asked = asked;
        let choices = self.choices();
        let still_there = self.marked.is_some_and(|marked| choices.contains(&marked)) && seen(self) == before;
        if !still_there {
            if self.confirming {
                self.wrong =
                    Some("what was selected is not there any more as it was: select again".to_owned());
            }
            (self.confirming, self.sent) = (false, None);
            self.marked = self.marked.filter(|marked| choices.contains(marked)).or(choices.first().copied());
        }
        if self.sent.is_some_and(|sent| now.saturating_sub(sent) >= SENDING) {
            self.sent = None;
        }
    }

    /// The appliance says why it does not take it.
    pub fn not_taken(&mut self, why: String) {
        (self.sent, self.confirming, self.wrong) = (None, false, Some(why));
    }

    /// A key.
    pub fn pressed(&mut self, key: Key, now: Duration) -> Reply {
        match (key, self.confirming) {
            (Key::Escape, false) => return Reply::Leave,
            (Key::Escape, true) if self.sent.is_none() => self.confirming = false,
            (key, true) if key.folded() == Key::Char('y') && self.sent.is_none() => return self.send(now),
            (_, true) => {}
            (Key::Enter, false) if self.marked.is_some() => (self.confirming, self.wrong) = (true, None),
            (key, false) => self.move_mark(key),
        }
        Reply::Stay
    }

    fn move_mark(&mut self, key: Key) {
        let choices = self.choices();
        let last = choices.len().saturating_sub(1);
        let at = choices.iter().position(|choice| Some(*choice) == self.marked).unwrap_or(0);
        let to = match key {
            Key::Up | Key::BackTab => at.saturating_sub(1),
            Key::Down | Key::Tab => at + 1,
            Key::PageUp => at.saturating_sub(PAGE),
            Key::PageDown => at + PAGE,
            Key::Home => 0,
            Key::End => last,
            _ => return,
        };
        self.marked = choices.get(to.min(last)).copied();
    }

    fn send(&mut self, now: Duration) -> Reply {
        let Some((disk, partition)) = self.marked else { return Reply::Stay };
        (self.sent, self.wrong) = (Some(now), None);
        Reply::Say(Say::Destination(ChooseDestination { step: self.asked.step, disk, partition }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32, why_not: &str) -> DestinationPartition {
        let size = u64::from(number) << 30;
        DestinationPartition { number, contents: format!("P{number}"), size, why_not: why_not.into() }
    }

    fn disk(number: Option<u32>, serial: &str, partitions: Vec<DestinationPartition>) -> DestinationDisk {
        let why_not = if number.is_some() { String::new() } else { "its medium".into() };
        DestinationDisk { number, serial: serial.into(), why_not, partitions, ..DestinationDisk::default() }
    }

    fn asked(step: u32, disks: Vec<DestinationDisk>) -> AskedDestination {
        AskedDestination { step, image: "lab 1".into(), needs: 1 << 30, disks, ..AskedDestination::default() }
    }

    fn mac() -> Vec<DestinationDisk> {
        vec![
            disk(Some(0), "A", vec![partition(1, "EFI"), partition(2, ""), partition(3, "too small")]),
            disk(Some(1), "B", vec![partition(1, "EFI"), partition(2, "")]),
            disk(None, "C", vec![partition(1, "")]),
        ]
    }

    fn page() -> Destination {
        Destination::new("S".into(), asked(4, mac()), Duration::ZERO)
    }

    fn press(page: &mut Destination, keys: &[Key]) -> Reply {
        keys.iter().fold(Reply::Stay, |_, key| page.pressed(*key, Duration::ZERO))
    }

    fn again(page: &mut Destination, asked: AskedDestination, seconds: u64) {
        let question = RunQuestion { destination: Some(asked), ..RunQuestion::default() };
        page.refresh(question, Duration::from_secs(seconds));
    }

    #[test]
    fn section_7_only_what_can_take_the_image_is_marked_and_y_alone_confirms() {
        let mut page = page();
        assert_eq!(page.marked, Some((0, 2)));
        assert_eq!(press(&mut page, &[Key::Down, Key::Down, Key::Char('y')]), Reply::Stay);
        assert_eq!((page.marked, page.confirming), (Some((1, 2)), false));
        assert_eq!(press(&mut page, &[Key::Enter, Key::Enter, Key::Char(' ')]), Reply::Stay);
        assert!(page.confirming);
        assert_eq!(press(&mut page, &[Key::Escape]), Reply::Stay);
        assert!(!page.confirming);
        assert_eq!(press(&mut page, &[Key::Escape]), Reply::Leave);
        let said = press(&mut page, &[Key::Enter, Key::Char('Y')]);
        let wanted = ChooseDestination { step: 4, disk: 1, partition: 2 };
        assert_eq!(said, Reply::Say(Say::Destination(wanted)));
        assert_eq!(press(&mut page, &[Key::Char('y'), Key::Escape]), Reply::Stay, "said once");
        assert!(page.confirming);
    }

    #[test]
    fn section_7_what_was_selected_and_is_another_now_is_not_confirmed() {
        let mut page = page();
        press(&mut page, &[Key::Down, Key::Enter]);
        again(&mut page, asked(4, mac()), 3);
        assert!(page.confirming && page.wrong.is_none());
        // The first disk has gone: what was disk 1 is disk 0 now.
        let moved =
            vec![disk(Some(0), "B", vec![partition(2, "")]), disk(Some(1), "D", vec![partition(2, "")])];
        again(&mut page, asked(4, moved), 6);
        assert!(!page.confirming && page.wrong.is_some());
        again(&mut page, asked(9, mac()), 9);
        assert_eq!((page.asked.step, page.marked), (9, Some((0, 2))));
    }

    #[test]
    fn where_nothing_can_take_the_image_nothing_can_be_confirmed() {
        let mut page = Destination::new("S".into(), asked(1, Vec::new()), Duration::ZERO);
        let keys = [Key::Down, Key::End, Key::PageDown, Key::Enter, Key::Char('y')];
        assert_eq!(press(&mut page, &keys), Reply::Stay);
        assert!(!page.confirming);
        again(&mut page, asked(1, mac()), 3);
        assert_eq!(page.marked, Some((0, 2)));
    }

    #[test]
    fn an_answer_that_got_lost_can_be_said_again() {
        let mut page = page();
        press(&mut page, &[Key::Enter, Key::Char('y')]);
        again(&mut page, asked(4, mac()), SENDING.as_secs());
        assert!(matches!(press(&mut page, &[Key::Char('y')]), Reply::Say(_)));
        page.not_taken("too late".into());
        assert_eq!((page.confirming, page.wrong.as_deref()), (false, Some("too late")));
    }
}
