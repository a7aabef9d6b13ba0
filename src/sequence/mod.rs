//! Task sequences: what they are, what is wrong with them, how a run of one moves.
//!
//! Pure: values in, values out. Must not know SQL, HTTP, or how an action is done; time comes in as an argument.
//!
//! In reading order:
//! * [`quantity`]: durations and partition sizes as people write them
//! * [`name`]: names of variables
//! * [`template`]: texts with `%Name%` in them
//! * [`variable`]: scopes and their precedence, facts of the Mac
//! * [`capture`]: what a Capture Image step takes
//! * [`model`]: the sequence itself, what it erases, which images it needs
//! * [`yaml`]: the sequence as a file, in and out
//! * [`check`]: everything that is wrong with a sequence, at once
//! * [`run`]: one run: events in, the next action out

pub mod capture;
pub mod check;
pub mod model;
pub mod name;
pub mod quantity;
pub mod run;
pub mod template;
pub mod variable;
pub mod yaml;
