//! APFS containers (Apple File System Reference), little-endian.
//!
//! From block 0 to the newest checkpoint in the descriptor area, from there to the space manager (free blocks) through
//! the checkpoint's mapping blocks, and to the volumes through the container's object map. Every object is held to its
//! Fletcher-64 checksum. Walks are bounded; where one ends early, a fact is missing.
//!
//! Reading order: `object` · `space` · `tree` · `volumes` · `files`. Owns: which volume speaks for the container.

mod files;
mod object;
mod space;
mod tree;
mod volumes;

use std::io;

use super::files::{self as lookup, Files};
use super::{ApfsVolume, Facts, Kind, Startup};
use crate::image::field::{Fields, Window};
use files::Records;
use object::Container;
use volumes::Volume;

pub(super) use space::allocation;

pub(super) fn read(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let Some(mut container) = Container::open(volume)? else { return Ok(None) };
    let (block, blocks) = (container.block as u64, container.blocks());
    let free = space::manager(&mut container)?.map(|manager| space::free_blocks(Fields(&manager)));
    let volumes = volumes::volumes(&mut container)?;
    let names = |wanted: &dyn Fn(&ApfsVolume) -> bool| -> Vec<String> {
        volumes
            .iter()
            .map(|volume| &volume.facts)
            .filter(|facts| wanted(facts))
            .map(|facts| facts.name.clone())
            .collect()
    };
    let label = names(&|_| true).join(", ");
    let mut facts = Facts {
        kind: Kind::Apfs,
        label: (!label.is_empty()).then_some(label),
        size: blocks.saturating_mul(block),
        used: free.and_then(|free| blocks.checked_sub(free)).and_then(|used| used.checked_mul(block)),
        block_size: Some(block as u32),
        encrypted: names(&|facts| facts.is_encrypted),
        files: Some(volumes.iter().fold(0, |all, volume| all.saturating_add(volume.facts.files))),
        volumes: volumes.iter().map(|volume| volume.facts.clone()).collect(),
        is_fusion: container.is_fusion(),
        ..Facts::unknown(0)
    };
    facts.startup = startup(&mut container, &volumes)?;
    for volume in speakers(&volumes) {
        let Some(mut records) = Records::open(&mut container, volume)? else { continue };
        let system = lookup::system(&mut records)?;
        if facts.top.is_empty() || system.is_some() {
            facts.top = lookup::top(&mut records)?;
            facts.case_sensitive = Some(volume.facts.is_case_sensitive);
        }
        if system.is_some() {
            facts.system = system;
            break;
        }
    }
    Ok(Some(facts))
}

/// The volumes that may hold a system: those that say so first, then those that say nothing, then those of people.
fn speakers(volumes: &[Volume]) -> impl Iterator<Item = &Volume> {
    let roles = [Some("system"), None, Some("data"), Some("user"), Some("recovery")];
    roles.into_iter().flat_map(move |role| volumes.iter().filter(move |volume| volume.facts.role == role))
}

/// Whether the Preboot volume has a loader: in a folder that is named by a volume's or a group's UUID.
fn startup(container: &mut Container<'_, '_>, volumes: &[Volume]) -> io::Result<Startup> {
    let Some(preboot) = volumes.iter().find(|volume| volume.facts.role == Some("preboot")) else {
        return Ok(Startup::Absent);
    };
    let Some(mut records) = Records::open(container, preboot)? else { return Ok(Startup::Unknown) };
    for name in lookup::top(&mut records)?.into_iter().filter(|name| name.len() == 36) {
        let loader = format!("{name}/System/Library/CoreServices/boot.efi");
        let root = records.root();
        if lookup::find(&mut records, root, &loader)?.is_some() {
            return Ok(Startup::Present);
        }
    }
    Ok(Startup::Absent)
}

#[cfg(test)]
pub(super) mod make;
#[cfg(test)]
mod tests;
