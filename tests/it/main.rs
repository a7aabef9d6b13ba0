//! Integration tests that need no root: real server on port 0, temporary folders, real files.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod accounts;
pub mod api;
mod capture;
mod cli;
mod client;
mod doctor;
mod image_doctor;
mod image_export;
mod image_source;
mod image_source_build;
mod image_source_bundle;
mod image_source_cli;
mod image_source_damage;
mod image_source_encrypted;
mod image_source_partclone;
mod image_source_split;
mod image_volume;
mod media;
mod nbi;
mod nbi_dmg;
mod nbi_set;
mod netboot;
mod restore;
mod runner;
mod runner_appliance;
mod runner_delta;
mod runner_format;
mod runner_volume;
mod sequence;
mod stick;
mod store;
mod targets;
mod trust;
mod upload;
mod wizard;
