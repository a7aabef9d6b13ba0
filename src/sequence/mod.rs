//! Task sequences: what they are, what is wrong with them, how a run of one moves.
//!
//! Pure: values in, values out. Must not know SQL, HTTP, or how an action is done; time comes in as an argument.
//!
//! In reading order:
//! * [`quantity`]: durations and partition sizes as people write them
//! * [`name`]: names of variables
//! * [`template`]: texts with `%Name%` in them
//! * [`variable`]: scopes and their precedence, facts of the Mac
//! * [`condition`]: when a step or group is done
//! * [`capture`]: what a Capture Image step takes
//! * [`place`]: which image goes where; [`notify`]: who is told; [`macos`], [`profile`]: steps that only macOS can do
//! * [`prompt`]: how a person is asked for a variable
//! * [`model`]: the sequence itself
//! * [`tree`]: its entries with their places, what it erases, which images it needs
//! * [`edit`]: entries copied, cut, pasted, moved
//! * [`yaml`]: the sequence as a file, in and out
//! * [`uses`]: variables that a step reads and sets
//! * [`program`]: the sequence with those that it runs, as one tree with numbered steps
//! * [`check`]: everything that is wrong with a sequence, at once
//! * [`schema`]: the file as a JSON Schema; [`difference`]: what differs between two
//! * [`run`]: one run: events in, the next action out
//! * [`rehearsal`]: a run without a Mac: what it would do, what if
//! * [`target`]: which Macs, when: identity, collections and their rules, deployments

pub mod capture;
pub mod check;
pub mod condition;
pub mod difference;
pub mod edit;
pub mod macos;
pub mod model;
pub mod name;
pub mod notify;
pub mod place;
pub mod profile;
pub mod program;
pub mod prompt;
pub mod quantity;
pub mod rehearsal;
pub mod run;
pub mod schema;
pub mod target;
pub mod template;
pub mod tree;
pub mod uses;
pub mod variable;
pub mod yaml;
