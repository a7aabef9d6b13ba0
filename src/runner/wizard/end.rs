//! The last page of a run: how it ended, and what may be done now. Pure.
//!
//! Must not know: how it is drawn.

use super::event::{Down, Key, Order, Say};
use super::state::{Page, State, again};
use crate::api::runner::{FailedStep, Failure, Outcome};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Which sequence.
    pub sequence: String,
    /// How.
    pub outcome: Outcome,
    /// What the appliance said.
    pub message: String,
    /// Why a step failed.
    pub failure: Option<Failure>,
    /// Whether it can go on with the step that failed.
    pub can_resume: bool,
    /// The step that failed.
    pub failed_step: Option<FailedStep>,
    /// Which choice is marked.
    pub marked: usize,
    /// The appliance was asked to let it go on.
    pub resuming: bool,
    /// Why the appliance did not take that.
    pub wrong: Option<String>,
}

/// What may be done after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Go on with the step that failed.
    Resume,
    /// Begin the same sequence anew.
    Retry,
    /// Back to the list.
    List,
    /// Restart the Mac.
    Restart,
    /// Shut the Mac down.
    ShutDown,
}

impl Choice {
    /// What people are shown.
    pub fn text(self) -> &'static str {
        match self {
            Choice::Resume => "Resume with the step that failed; what was done before it stays",
            Choice::Retry => "Retry: the whole sequence anew, after a confirmation",
            Choice::List => "Back to the list of sequences",
            Choice::Restart => "Restart this Mac",
            Choice::ShutDown => "Shut this Mac down",
        }
    }
}

impl End {
    /// What may be done, the most useful first.
    pub fn choices(&self) -> Vec<Choice> {
        let failed = self.outcome != Outcome::Succeeded;
        let mut choices = Vec::new();
        choices.extend(self.can_resume.then_some(Choice::Resume));
        choices.extend(failed.then_some(Choice::Retry));
        choices.extend([Choice::List, Choice::Restart, Choice::ShutDown]);
        choices
    }

    /// A key; what was chosen.
    pub fn pressed(&mut self, key: Key) -> Option<Choice> {
        let choices = self.choices();
        match key {
            Key::Up | Key::BackTab => self.marked = self.marked.saturating_sub(1),
            Key::Down | Key::Tab => self.marked = (self.marked + 1).min(choices.len() - 1),
            Key::Home => self.marked = 0,
            Key::End => self.marked = choices.len() - 1,
            Key::Enter => return choices.get(self.marked).copied(),
            Key::Escape => return Some(Choice::List),
            Key::Char(digit @ '1'..='9') => {
                let at = digit as usize - '1' as usize;
                self.marked = at.min(choices.len() - 1);
                return choices.get(at).copied();
            }
            _ => {}
        }
        None
    }
}

/// Does what was chosen.
pub(super) fn choose(state: &mut State, choice: Choice) -> Option<Order> {
    let Page::Result(end) = &mut state.page else { return None };
    match choice {
        Choice::Resume if end.resuming => None,
        Choice::Resume => {
            (end.resuming, end.wrong) = (true, None);
            Some(Order::Say(Say::Resume))
        }
        Choice::Retry => {
            state.retry = Some(std::mem::take(&mut end.sequence));
            again(state)
        }
        Choice::List => again(state),
        Choice::Restart => Some(Order::Down(Down::Restart)),
        Choice::ShutDown => Some(Order::Down(Down::ShutDown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(outcome: Outcome, can_resume: bool) -> End {
        End {
            sequence: "Lab Mac".into(),
            outcome,
            message: String::new(),
            failure: None,
            can_resume,
            failed_step: None,
            marked: 0,
            resuming: false,
            wrong: None,
        }
    }

    fn on(end: End) -> State {
        State { page: Page::Result(end), ..State::new(Some("https://a"), false) }
    }

    #[test]
    fn section_7_what_can_be_done_depends_on_how_it_ended() {
        use Choice::{List, Restart, Resume, Retry, ShutDown};
        assert_eq!(end(Outcome::Failed, true).choices(), [Resume, Retry, List, Restart, ShutDown]);
        assert_eq!(end(Outcome::Cancelled, false).choices(), [Retry, List, Restart, ShutDown]);
        assert_eq!(end(Outcome::Succeeded, false).choices(), [List, Restart, ShutDown]);
    }

    #[test]
    fn a_line_is_chosen_by_its_mark_or_its_number() {
        let mut page = end(Outcome::Failed, true);
        assert_eq!(page.pressed(Key::Down), None);
        assert_eq!(page.pressed(Key::Enter), Some(Choice::Retry));
        assert_eq!(page.pressed(Key::Char('5')), Some(Choice::ShutDown));
        assert_eq!(page.pressed(Key::Char('6')), None);
        assert_eq!(page.pressed(Key::Escape), Some(Choice::List));
    }

    #[test]
    fn to_resume_is_asked_for_once_and_retrying_leads_to_the_confirmation() {
        let mut state = on(end(Outcome::Failed, true));
        assert_eq!(choose(&mut state, Choice::Resume), Some(Order::Say(Say::Resume)));
        assert_eq!(choose(&mut state, Choice::Resume), None);
        let mut state = on(end(Outcome::Failed, true));
        assert_eq!(choose(&mut state, Choice::Retry), Some(Order::Again));
        assert_eq!(state.retry.as_deref(), Some("Lab Mac"));
    }
}
