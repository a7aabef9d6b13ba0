//! What disks say of their health, asked once: a dying disk takes seconds to answer, and hello is said every few seconds.
//!
//! Must not know: how a disk is asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::api::inventory::DiskHealth;
use crate::api::runner::DiskFacts;
use crate::device;

/// Most disks that are asked.
const MOST: usize = 16;

/// Records by node and serial number: a disk that was changed is asked anew.
#[derive(Debug, Default)]
pub struct Records(BTreeMap<(String, String), Option<DiskHealth>>);

impl Records {
    /// Puts its record to each disk. Disks of a made folder are files and keep none.
    pub fn fill(&mut self, root: &Path, disks: &mut [DiskFacts]) {
        if root != Path::new("/") {
            return;
        }
        // Bridges between USB and ATA hang on commands that they do not know: only what is inside is asked.
        for disk in disks.iter_mut().filter(|disk| !disk.external).take(MOST) {
            let name = disk.node.rsplit('/').next().unwrap_or_default();
            let queue = root.join("sys/block").join(name).join("queue/rotational");
            let rotates = || fs::read_to_string(&queue).is_ok_and(|text| text.trim() == "1");
            let key = (disk.node.clone(), disk.serial.clone());
            let asked = self.0.entry(key).or_insert_with(|| device::health(Path::new(&disk.node), rotates()));
            disk.health = asked.clone();
        }
    }
}
