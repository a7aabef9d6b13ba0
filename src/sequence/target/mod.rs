//! Which Macs, when (task-sequences section 6): who a Mac is, what is known of it, which collections it belongs to, and
//! whether a deployment holds for it now.
//!
//! Pure: Macs, definitions and the time come in as values. Must not know SQL, HTTP, the wire.
//!
//! In reading order:
//! * [`identity`]: which of the known Macs speaks
//! * [`fact`]: what rules may ask of a Mac
//! * [`rule`]: the language of collections
//! * [`collection`]: rules, direct members, collections in collections
//! * [`layer`]: variables of several collections as one scope
//! * [`schedule`]: local times, zones, weekly windows
//! * [`terms`]: purpose, times, rerun: does a deployment hold for this Mac now, and why not

pub mod collection;
pub mod fact;
pub mod identity;
pub mod layer;
pub mod rule;
pub mod schedule;
pub mod terms;
