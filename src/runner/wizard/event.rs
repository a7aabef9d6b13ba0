//! What happens to the wizard, and what it wants done: the words between it, the worker, the desk and the screen.
//!
//! Must not know: pages.

use std::time::Duration;

use crate::api::runner::{
    ChooseDestination, DeviceFacts, FailedStep, Failure, Offer, Outcome, Progress, RunQuestion, SeenOffer,
};
use crate::api::sign_in::{SignIn, SignInAsked};
use crate::api::wizard::{RemoteOrder, TechnicianMessage};
use crate::client::Found;
use crate::runner::network::{NetworkNews, NetworkOrder, Place};
use crate::value::{Role, Secret};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time went on; this is it.
    Tick(Duration),
    /// A key.
    Key(Key),
    /// Somebody told something.
    Told(Told),
    /// Lines for the log page.
    Logged(Vec<String>),
}

/// Keys that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Return.
    Enter,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Tabulator.
    Tab,
    /// Tabulator with shift.
    BackTab,
    /// Deletes the last letter.
    Backspace,
    /// Escape.
    Escape,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// F1 and so on.
    Function(u8),
    /// A letter as it was typed.
    Char(char),
}

impl Key {
    /// A letter that is a command means the same in either case.
    pub fn folded(self) -> Key {
        match self {
            Key::Char(letter) => Key::Char(letter.to_ascii_lowercase()),
            other => other,
        }
    }
}

/// News from the worker, the desk and the network thread.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Who this Mac is.
    Machine(Box<DeviceFacts>),
    /// Something is waited for.
    Waiting {
        /// What.
        what: String,
        /// What was seen last.
        error: Option<String>,
    },
    /// What was waited for came.
    GoesOn,
    /// Appliances on the networks, and nothing says which to take.
    Appliances(Vec<Found>),
    /// For the network page.
    Network(NetworkNews),
    /// The appliance said what may run here.
    Offers {
        /// Its name.
        appliance: String,
        /// What may run.
        offers: Vec<Offer>,
        /// Why nothing may.
        why_empty: Option<String>,
        /// What the log in page asks for, where a technician has to log in.
        log_in: Option<SignInAsked>,
    },
    /// A technician is logged in.
    LoggedIn {
        /// Who.
        name: String,
        /// What they may do.
        role: Role,
    },
    /// Nobody is logged in any more.
    LoggedOut {
        /// Why, when nobody wanted it.
        why: Option<String>,
    },
    /// A run began or goes on.
    Started {
        /// Its number.
        run: i64,
        /// Which sequence.
        sequence: String,
        /// Number of steps.
        steps: u32,
    },
    /// A step began.
    Step {
        /// Its place, from 1.
        step: u32,
        /// Number of steps.
        steps: u32,
        /// Its name.
        name: String,
    },
    /// How far the step is.
    Progress {
        /// Numbers.
        progress: Progress,
        /// What limits the speed, when it is known.
        limit: Option<String>,
    },
    /// Lines for the log.
    Lines(Vec<String>),
    /// The run asks a person something; told again and again while it does.
    Asked(RunQuestion),
    /// The appliance did not take what a person said: why.
    NotTaken(String),
    /// A step failed; the appliance decides what that means.
    StepFailed(Failure),
    /// The run ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// What the appliance said.
        message: String,
        /// Why a step failed.
        failure: Option<Box<Failure>>,
        /// Whether it can go on with the step that failed.
        can_resume: bool,
        /// The step that it failed at.
        failed_step: Option<Box<FailedStep>>,
    },
    /// The worker cannot go on; it waits for an order.
    Trouble(Failure),
    /// The machine goes down.
    GoingDown(Down),
    /// Somebody said something from afar.
    Remote(RemoteOrder),
    /// A message to whoever stands here.
    Message(TechnicianMessage),
    /// The keyboard layout that a person chose on this Mac before.
    Keyboard(String),
}

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It starts again.
    Restart,
    /// It stays off.
    ShutDown,
}

/// What a person, or a countdown, wants of the worker, the network thread, the desk or the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start this deployment, as it was shown.
    Start(i64, SeenOffer),
    /// A person wants the appliance to be asked again.
    Again,
    /// Something has changed at the appliance: look whether it concerns this Mac.
    Look,
    /// A technician says who they are.
    LogIn(SignIn),
    /// The technician leaves.
    LogOut,
    /// The machine shall go down.
    Down(Down),
    /// The same, by a key that was pressed here: the appliance is told before.
    DownByKey(Down),
    /// The appliance is there, and this is the way.
    Moved(Place),
    /// For the network thread.
    Network(NetworkOrder),
    /// For the desk: to be said to the appliance.
    Say(Say),
    /// For the terminal: this keyboard layout.
    Keyboard(String),
    /// For the terminal: a shell.
    Shell,
}

/// What a person says to the appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Values of variables.
    Answers(Vec<(String, Secret)>),
    /// Where an image goes.
    Destination(ChooseDestination),
    /// The run may go on.
    Confirm,
    /// The run shall stop.
    Cancel,
    /// The run shall go on with the step that failed.
    Resume,
    /// A message was read.
    Read(i64),
}
