//! `rootstock nbi edit`: the site's own values for a set.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::show::tell;
use super::{folder_of, macs, words};
use crate::api::admin::{Nbi, NbiOverrides};
use crate::cli::connection::Appliance;
use crate::cli::output::segment;

/// `rootstock nbi edit`
#[derive(Args, Debug)]
pub struct Edit {
    /// Its folder, NetInstall.nbi or NetInstall, or its name in the picker
    #[arg(value_name = "NAME")]
    set: String,
    /// First drop every value of the site: NBImageInfo.plist holds again
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    values: Values,
}

/// Values that win over NBImageInfo.plist.
#[derive(Args, Debug)]
pub struct Values {
    /// Name in the picker
    #[arg(long = "name", value_name = "NAME")]
    picker: Option<String>,
    /// Index: 1 to 4095 for this server alone, 4096 to 65535 where several servers have the same set
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    index: Option<i64>,
    /// Make it the set that Macs start whose user does not choose
    #[arg(long, overrides_with = "no_default")]
    default: bool,
    /// Make it a set that is only started when somebody chooses it
    #[arg(long)]
    no_default: bool,
    /// Offer it
    #[arg(long, conflicts_with_all = ["disable", "disabled"])]
    enable: bool,
    /// Same as --enable
    #[arg(long, conflicts_with_all = ["disable", "disabled"], hide = true)]
    enabled: bool,
    /// Do not offer it
    #[arg(long)]
    disable: bool,
    /// Same as --disable
    #[arg(long, hide = true)]
    disabled: bool,
    /// Models that may have it, as in --models iMac14,2 iMac14,1; `any`: every model
    #[arg(long, visible_alias = "model", value_name = "MODEL", num_args = 1..)]
    models: Option<Vec<String>>,
    /// MAC addresses that may have it; `any`: every address
    #[arg(long, visible_alias = "mac", value_name = "MAC", num_args = 1..)]
    macs: Option<Vec<String>>,
    /// What the kernel mounts: a file of the set, http://ADDRESS/…, or for type NFS ADDRESS:EXPORT:IMAGE
    #[arg(long, value_name = "PATH")]
    root_path: Option<String>,
}

impl Values {
    /// These values, and those of before where the options are silent.
    pub fn over(self, before: NbiOverrides) -> anyhow::Result<NbiOverrides> {
        let switch = |on: bool, off: bool| (on || off).then_some(on);
        Ok(NbiOverrides {
            name: self.picker.or(before.name),
            index: self.index.or(before.index),
            default: switch(self.default, self.no_default).or(before.default),
            enabled: switch(self.enable || self.enabled, self.disable || self.disabled).or(before.enabled),
            models: self.models.map(|list| words(&list)).or(before.models),
            macs: self.macs.map(|list| macs(&list)).transpose()?.or(before.macs),
            root_path: self.root_path.or(before.root_path),
        })
    }
}

/// Edits.
pub fn run(verb: Edit, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let folder = folder_of(appliance, &verb.set)?;
    let path = format!("/api/v1/nbi/{}", segment(&folder));
    let now: Nbi = appliance.client.get(&path)?;
    let before = if verb.reset { NbiOverrides::default() } else { now.overrides.clone() };
    let after = verb.values.over(before)?;
    if after == now.overrides && !verb.reset {
        bail!("nothing would change: name what is to be changed, as in --index 7 or --disable");
    }
    let nbi: Nbi = appliance.client.put(&format!("{path}/overrides"), &after)?;
    tell(&nbi, appliance)
}
