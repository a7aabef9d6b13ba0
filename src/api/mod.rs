//! The JSON that crosses the network, as types: nothing here knows a handler, a row or a socket.
//!
//! * [`runner`]: what `rootstock-runner` says and is told (`/runner/v1/…`); [`action`]: what it is told to do; [`sign_in`]: how a technician signs in there
//! * [`timeline`]: what one client did, from DISCOVER to the receipt; [`conclusion`]: where it stopped, and why
//! * [`inventory`]: what a Mac has, as its runner reads it
//! * [`capture`]: how a captured disk comes to the library, under both of them
//! * [`dnssd`]: how an appliance announces itself on its networks
//! * [`admin`]: what the command line and the console say (`/api/v1/…`)
//! * [`report`]: a run as one HTML file; [`moment`]: times as people read them
//! * [`trust`]: keys that follow each other, receipts that are kept
//! * [`tus`]: header values of resumable uploads
//! * [`wizard`]: what a Mac shows its technician, and the same from afar
//!
//! Enums that a newer peer may extend end in `Unknown`.

pub mod action;
pub mod admin;
pub mod capture;
pub mod conclusion;
pub mod dnssd;
pub mod inventory;
pub mod moment;
pub mod report;
pub mod runner;
pub mod sign_in;
pub mod timeline;
mod told;
pub mod trust;
pub mod tus;
pub mod wizard;
