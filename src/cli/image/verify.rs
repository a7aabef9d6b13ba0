//! `rootstock image verify`: every chunk of a version is read and compared with its manifest.

use std::process::ExitCode;

use clap::Args;

use super::version::ImageName;
use crate::api::admin::{Job, VerifyImage};
use crate::cli::connection::Appliance;
use crate::cli::output::segment;
use crate::cli::watch;

/// `rootstock image verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// Name of the image, or name@version [default: its newest version]
    image: ImageName,
}

/// Verifies and waits for the end.
pub fn run(verb: Verify, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let ImageName { name, version } = verb.image;
    let job: Job = appliance
        .client
        .post(&format!("/api/v1/images/{}/verify", segment(&name)), &VerifyImage { version })?;
    watch::job(job, appliance)
}
