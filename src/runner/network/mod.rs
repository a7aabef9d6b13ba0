//! The network of the boot environment, as a technician sets it up where DHCP does not do it: a static address, a VLAN, another
//! interface, a proxy. Nothing is kept beyond the next boot.
//!
//! | file | what |
//! |---|---|
//! | `wire` | settings as values, checked; the steps that bring them into force, as data |
//! | `facts` | interfaces as they are |
//! | `act` | the steps, done with busybox |
//! | `kept` | what a restarted runner still knows |
//!
//! This file: the thread between the network page and all that. It never waits for the appliance, so the page works while the
//! worker does.
//!
//! Must not know: the appliance, how the page looks.

mod act;
mod facts;
mod kept;
mod wire;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};

pub use act::{ActError, NotApplied, System};
pub use facts::{Interface, Seen};
pub use kept::{Kept, Place};
pub use wire::{Addressing, BadWire, Part, Step, Steps, Wire, fixed, vlan};

use super::failure::chain;
use super::wizard::Told;

/// What the network page wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkOrder {
    /// Look at the interfaces.
    Look,
    /// Bring this into force.
    Apply {
        /// The interface's settings.
        wire: Wire,
        /// Where the appliance is then: handed back when it is done.
        place: Place,
    },
}

/// What the network page is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkNews {
    /// Interfaces as they are.
    Seen(Seen),
    /// What is being done.
    Doing(String),
    /// It is in force. The text says what came of it.
    Applied {
        /// What.
        wire: Wire,
        /// Where the appliance is now.
        place: Place,
        /// Address, or what is wrong although it is in force.
        text: String,
    },
    /// It is not.
    Failed(String),
}

/// The network thread.
pub struct Network {
    /// Interfaces, programs, files.
    pub system: System,
    /// Where settings are kept for a restarted runner.
    pub state: PathBuf,
    /// Whether this program runs the machine: on anybody's workstation, the network is not ours to change.
    pub owned: bool,
}

impl Network {
    /// Does what the page wants until nobody is left to want something.
    pub fn serve(&self, orders: &Receiver<NetworkOrder>, news: &Sender<Told>) {
        let tell = |said| {
            // A screen that is gone needs no news.
            let _ = news.send(Told::Network(said));
        };
        for order in orders {
            match order {
                NetworkOrder::Look => {}
                NetworkOrder::Apply { .. } if !self.owned => {
                    tell(NetworkNews::Failed(
                        "this program does not run the machine: its network is left alone".into(),
                    ));
                }
                NetworkOrder::Apply { wire, place } => tell(self.apply(wire, place, &tell)),
            }
            tell(NetworkNews::Seen(self.system.seen()));
        }
    }

    fn apply(&self, wire: Wire, place: Place, tell: &dyn Fn(NetworkNews)) -> NetworkNews {
        let old = Kept::wire(&self.state);
        let doing = |text: String| {
            tracing::info!("network: {text}");
            tell(NetworkNews::Doing(text));
        };
        let done = self.system.apply(&Steps::new(old.as_ref(), &wire), &doing);
        let text = match done {
            Ok(()) => self.system.seen().spoken(&wire.name()),
            Err(error) => {
                tracing::warn!("network: {error}");
                let text = error.to_string();
                match error {
                    NotApplied::Unchanged(_) => return NetworkNews::Failed(text),
                    // What is set in part is taken back by the next settings.
                    NotApplied::Partly(_) => {
                        self.keep(&wire);
                        return NetworkNews::Failed(text);
                    }
                    NotApplied::Useless(_) => text,
                }
            }
        };
        self.keep(&wire);
        NetworkNews::Applied { wire, place, text }
    }

    fn keep(&self, wire: &Wire) {
        if let Err(error) = Kept::keep_wire(&self.state, wire) {
            tracing::warn!("{}", chain(&error));
        }
    }
}
