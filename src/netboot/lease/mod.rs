//! Addresses for networks that have no other DHCP server (RFC 2131): who is given which, for how long, and what they are
//! told. In reading order:
//!
//! * [`Plan`]: subnets, pools, reservations; what fits together and what does not
//! * [`Lease`] and the table of them: who holds which address until when
//! * [`Book`]: one request, one decision
//! * `answer`: the words of OFFER, ACK and NAK
//!
//! | the client says | and the book answers (RFC 2131 section 4.3) |
//! |---|---|
//! | DISCOVER | OFFER: reserved, else the one it had, else the one it asks for, else a free one; probed first |
//! | REQUEST naming us | ACK, or NAK when that address is no longer free |
//! | REQUEST naming another server | silence; what was offered is free again |
//! | REQUEST after a restart (INIT-REBOOT) | ACK; NAK on the wrong network; silence when it was never seen here |
//! | REQUEST with its address (RENEWING, REBINDING) | ACK, or NAK when the address is another's or of no pool |
//! | DECLINE | the address is set aside for a while |
//! | RELEASE | the address is free; the client gets it again while nobody else needed it |
//! | INFORM | ACK with options, no lease |
//!
//! Owns: the plan, the table, the decisions. Must not know: sockets, the clock, the database, how a wire is probed.
//! The only code that writes `yiaddr` and the options of a lease.

mod answer;
mod book;
mod decision;
mod plan;
mod table;

pub use answer::{Answer, Boot};
pub use book::Book;
pub use decision::{Ground, Identity, Silence, Step, Told};
pub use plan::{Network, Plan, PlanError, Range, Reservation, Subnet, Who};
pub use table::{BadKey, Key, Lease, State};

#[cfg(test)]
mod tests;
