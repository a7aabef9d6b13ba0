//! Format and Partition Disk: plan as data, then do.
//!
//! | file | what |
//! |---|---|
//! | `plan` | where every partition goes; refuses what does not fit; pure |
//! | `table` | the plan as a GPT on the disk |
//! | `volume` | a file system in each partition |
//!
//! Must not know: the appliance, terminals.

mod plan;
mod table;
mod volume;

pub use plan::{Kind, Plan, PlanError, Slot, plan};
pub use table::{TableError, erase_and_write, set_partition_type};
pub use volume::{VolumeDevice, VolumeError, make_volume};
