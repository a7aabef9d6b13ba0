//! `rootstock image verify`: every chunk of a version is read and compared with its manifest.

use std::process::ExitCode;

use clap::Args;

use super::version::ImageName;
use crate::api::admin::{Job, VerifyImage};
use crate::cli::connection::Appliance;
use crate::cli::output::segment;
use crate::cli::watch;
use crate::value::Pick;

/// `rootstock image verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// Name of the image, name@version or name@ring [default: what production points to, else the newest version]
    image: ImageName,
}

/// Verifies and waits for the end.
pub fn run(verb: Verify, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let version = match verb.image.pick {
        Pick::Usual => None,
        Pick::Version(version) => Some(version),
        Pick::Ring(_) => Some(verb.image.find(appliance)?.1.version),
    };
    let name = verb.image.name;
    let job: Job = appliance
        .client
        .post(&format!("/api/v1/images/{}/verify", segment(&name)), &VerifyImage { version })?;
    watch::job(job, appliance)
}
