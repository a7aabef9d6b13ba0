//! The disks: which there are, in which order sequences number them, which must not be touched, what lies on them.
//!
//! Must not know: how a disk is opened or written.

use std::fs;
use std::path::{Path, PathBuf};

use super::{line, names, natural};
use crate::api::runner::DiskFacts;
use crate::value::ByteSize;

/// Kernel block devices that are no disks.
const NO_DISKS: [&str; 9] = ["loop", "ram", "zram", "sr", "fd", "md", "dm-", "nbd", "mtd"];

/// GPT name with which the partitions of our own stick begin.
const MEDIUM: &str = "ROOTSTOCK";

/// All disks, in the order of their numbers; disks without a number last.
pub fn disks(root: &Path) -> Vec<DiskFacts> {
    let mounted = mounted(&line(&root.join("proc/mounts")).unwrap_or_default());
    let mut found = Vec::new();
    for name in names(&root.join("sys/block")) {
        if NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let folder = root.join("sys/block").join(&name);
        let size = line(&folder.join("size")).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 512;
        let flag = |file: &str| line(&folder.join(file)).as_deref() == Some("1");
        // A card reader without a card; one of the paths to an NVMe disk that says it may have several: `nvme0c0n1` has no node,
        // and the disk itself stands beside it as `nvme0n1`.
        if size == 0 || flag("hidden") {
            continue;
        }
        // The place on the bus does not depend on which driver was loaded first, the name does.
        let place = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        let parts = partitions(&folder, &name);
        let forbidden = flag("ro")
            || flag("removable")
            || parts.iter().any(|part| part.name.starts_with(MEDIUM) || mounted.contains(&part.node))
            || mounted.contains(&name);
        let facts = DiskFacts {
            number: None,
            node: root.join("dev").join(&name).display().to_string(),
            model: model(&folder, &name),
            serial: serial(&folder),
            size,
            block_size: line(&folder.join("queue/logical_block_size"))
                .and_then(|text| text.parse().ok())
                .filter(|size| matches!(size, 512 | 4096))
                .unwrap_or(512),
            external: external(&place),
            contents: parts.iter().map(Part::describe).collect(),
            health: None,
        };
        found.push((forbidden, facts.external, natural(&place.display().to_string()), facts));
    }
    found.sort_by(|a: &(_, _, _, DiskFacts), b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    let mut next = 0;
    found
        .into_iter()
        .map(|(forbidden, _, _, mut disk)| {
            if !forbidden {
                disk.number = Some(next);
                next += 1;
            }
            disk
        })
        .collect()
}

/// The kernel's name for partition `number` of a disk: a `p` between when the disk's name ends in a digit.
pub fn partition_node(disk: &str, number: u32) -> String {
    let p = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{p}{number}")
}

struct Part {
    node: String,
    number: u32,
    name: String,
    size: u64,
}

impl Part {
    fn describe(&self) -> String {
        let name = if self.name.is_empty() { "partition" } else { &self.name };
        format!("{} {name} {}", self.number, ByteSize(self.size))
    }
}

fn partitions(disk: &Path, disk_name: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = names(disk)
        .into_iter()
        .filter(|name| name.starts_with(disk_name))
        .filter_map(|node| {
            let folder = disk.join(&node);
            let number = line(&folder.join("partition"))?.parse().ok()?;
            let size = line(&folder.join("size"))?.parse::<u64>().ok()?.saturating_mul(512);
            let uevent = line(&folder.join("uevent")).unwrap_or_default();
            let name = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).unwrap_or_default();
            Some(Part { node, number, name: name.to_owned(), size })
        })
        .collect();
    parts.sort_by_key(|part| part.number);
    parts
}

/// Names under `/dev` that something is mounted from.
fn mounted(mounts: &str) -> Vec<String> {
    mounts
        .lines()
        .filter_map(|line| line.split(' ').next()?.strip_prefix("/dev/"))
        .map(str::to_owned)
        .collect()
}

/// What the disk calls itself; without a text, its node and the bus that it sits on, `vda (virtio)`.
fn model(disk: &Path, name: &str) -> String {
    let device = disk.join("device");
    let vendor = line(&device.join("vendor")).filter(|text| text != "ATA" && !text.starts_with("0x"));
    let model = line(&device.join("model"));
    match (vendor, model) {
        (Some(vendor), Some(model)) if !model.starts_with(&vendor) => format!("{vendor} {model}"),
        (_, Some(model)) => model,
        _ => bus(&device).map_or_else(|| name.to_owned(), |bus| format!("{name} ({bus})")),
    }
}

/// Node and model, the node once: `/dev/sda (APPLE SSD)`, `/dev/vda (virtio)`.
pub fn called(disk: &DiskFacts) -> String {
    let name = disk.node.rsplit('/').next().unwrap_or_default();
    match disk.model.strip_prefix(name) {
        Some(bus) if bus.is_empty() || bus.starts_with(" (") => format!("{}{bus}", disk.node),
        _ => format!("{} ({})", disk.node, disk.model),
    }
}

fn bus(device: &Path) -> Option<String> {
    let link =
        fs::read_link(device.join("subsystem")).or_else(|_| fs::read_link(device.join("driver"))).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// NVMe and virtio give text; SCSI and SATA the unit serial number page (SPC-4 section 7.8.15): four bytes of
/// head, the last of them the length.
fn serial(disk: &Path) -> String {
    let text = line(&disk.join("device/serial")).or_else(|| line(&disk.join("serial")));
    let page = || {
        let page = fs::read(disk.join("device/vpd_pg80")).ok()?;
        let length = usize::from(*page.get(3)?);
        let text = String::from_utf8_lossy(page.get(4..4 + length)?).trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    text.or_else(page).unwrap_or_default()
}

/// USB and FireWire stand in the path; behind Thunderbolt the kernel marks PCI devices as removable.
fn external(place: &Path) -> bool {
    let on_bus = place.components().filter_map(|part| part.as_os_str().to_str()).any(|part| {
        let numbered = |prefix: &str| {
            part.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        numbered("usb") || numbered("fw")
    });
    let marked = |folder: PathBuf| line(&folder.join("removable")).as_deref() == Some("removable");
    on_bus || place.ancestors().skip(1).any(|folder| marked(folder.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn put(&self, path: &str, text: impl AsRef<[u8]>) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn disk(&self, bus: &str, name: &str, mib: u64) -> String {
            let folder = format!("sys/devices/{bus}/block/{name}");
            self.put(&format!("{folder}/size"), (mib * 2048).to_string());
            self.put(&format!("{folder}/device/model"), format!("Model of {name}  \n"));
            fs::create_dir_all(self.0.path().join("sys/block")).unwrap();
            symlink(format!("../devices/{bus}/block/{name}"), self.0.path().join("sys/block").join(name))
                .unwrap();
            folder
        }
    }

    fn numbers(tree: &Tree) -> Vec<(String, Option<u32>)> {
        let short = |disk: &DiskFacts| disk.node.rsplit('/').next().unwrap().to_owned();
        disks(tree.0.path()).iter().map(|disk| (short(disk), disk.number)).collect()
    }

    #[test]
    fn section_2_internal_disks_are_numbered_first_in_the_order_of_the_bus_and_external_ones_after() {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.disk("pci0000:00/0000:00:14.0/usb2/2-1", "sda", 64);
        tree.disk("pci0000:00/0000:00:1f.2/ata10/host9", "sdb", 64);
        tree.disk("pci0000:00/0000:00:1f.2/ata9/host8", "sdc", 64);
        tree.put("sys/devices/pci0000:00/0000:00:1c.0/removable", "removable\n");
        tree.disk("pci0000:00/0000:00:1c.0/nvme0", "nvme0n1", 64);
        assert_eq!(numbers(&tree), [("sdc", 0), ("sdb", 1), ("nvme0n1", 2), ("sda", 3)].map(numbered));
    }

    fn numbered((name, number): (&str, u32)) -> (String, Option<u32>) {
        (name.to_owned(), Some(number))
    }

    #[test]
    fn section_2_the_boot_medium_mounted_read_only_and_removable_disks_have_no_number() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let stick = tree.disk("usb1/1-1", "sda", 64);
        tree.put(&format!("{stick}/sda1/partition"), "1\n");
        tree.put(&format!("{stick}/sda1/size"), "2048\n");
        tree.put(&format!("{stick}/sda1/uevent"), "DEVTYPE=partition\nPARTNAME=ROOTSTOCK-EFI\n");
        let read_only = tree.disk("pci/0", "sdb", 64);
        tree.put(&format!("{read_only}/ro"), "1\n");
        let card = tree.disk("pci/1", "sdc", 64);
        tree.put(&format!("{card}/removable"), "1\n");
        let in_use = tree.disk("pci/2", "sdd", 64);
        tree.put(&format!("{in_use}/sdd2/partition"), "2\n");
        tree.put(&format!("{in_use}/sdd2/size"), "2048\n");
        tree.put("proc/mounts", "proc /proc proc rw 0 0\n/dev/sdd2 /mnt ext4 rw 0 0\n");
        tree.disk("virtual", "loop0", 64);
        tree.disk("pci/3", "sde", 0);
        tree.disk("pci/4", "sdf", 64);
        let found = numbers(&tree);
        assert_eq!(found[0], numbered(("sdf", 0)));
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[1..].iter().all(|(_, number)| number.is_none()), "{found:?}");
    }

    #[test]
    fn section_2_an_nvme_disk_with_several_paths_is_one_disk_and_a_path_without_a_node_is_none() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let path = tree.disk("pci0000:00/0000:00:03.0/nvme/nvme0", "nvme0c0n1", 64);
        tree.put(&format!("{path}/hidden"), "1\n");
        let disk = tree.disk("virtual/nvme-subsystem/nvme-subsys0", "nvme0n1", 64);
        tree.put(&format!("{disk}/hidden"), "0\n");
        assert_eq!(numbers(&tree), [numbered(("nvme0n1", 0))]);
    }

    #[test]
    fn what_lies_on_a_disk_is_listed_one_line_a_partition_in_their_order() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let disk = tree.disk("pci/0", "nvme0n1", 1024);
        for (number, name, mib) in [(10, "", 5), (1, "EFI System Partition", 200), (2, "Macintosh HD", 600)] {
            tree.put(&format!("{disk}/nvme0n1p{number}/partition"), number.to_string());
            tree.put(&format!("{disk}/nvme0n1p{number}/size"), (mib * 2048).to_string());
            tree.put(&format!("{disk}/nvme0n1p{number}/uevent"), format!("PARTNAME={name}"));
        }
        tree.put(&format!("{disk}/device/serial"), "S1234  \n");
        tree.put(&format!("{disk}/queue/logical_block_size"), "4096\n");
        let found = disks(tree.0.path()).remove(0);
        assert_eq!(
            found.contents,
            ["1 EFI System Partition 200.0 MiB", "2 Macintosh HD 600.0 MiB", "10 partition 5.0 MiB"]
        );
        assert_eq!((found.model.as_str(), found.serial.as_str()), ("Model of nvme0n1", "S1234"));
        assert_eq!((found.block_size, found.size, found.external), (4096, 1 << 30, false));
    }

    #[test]
    fn a_disk_without_a_model_text_is_called_by_its_node_and_its_bus() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let disk = tree.disk("pci/0/virtio1", "vda", 64);
        fs::remove_file(tree.0.path().join(&disk).join("device/model")).unwrap();
        assert_eq!(disks(tree.0.path())[0].model, "vda");
        assert!(called(&disks(tree.0.path())[0]).ends_with("/dev/vda"));
        symlink("../../../../bus/virtio", tree.0.path().join(&disk).join("device/subsystem")).unwrap();
        let mut disk = disks(tree.0.path()).remove(0);
        disk.node = "/dev/vda".into();
        assert_eq!((disk.model.as_str(), called(&disk).as_str()), ("vda (virtio)", "/dev/vda (virtio)"));
        disk.model = "vdale".into();
        assert_eq!(called(&disk), "/dev/vda (vdale)");
    }

    #[test]
    fn a_sata_serial_is_read_from_its_page_and_a_page_that_lies_is_not() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let disk = tree.disk("pci/0", "sda", 1);
        tree.put(&format!("{disk}/device/vpd_pg80"), b"\0\x80\0\x06 WD-77");
        assert_eq!(disks(tree.0.path())[0].serial, "WD-77");
        tree.put(&format!("{disk}/device/vpd_pg80"), b"\0\x80\0\xff WD-77");
        assert_eq!(disks(tree.0.path())[0].serial, "");
    }

    #[test]
    fn partitions_are_named_as_the_kernel_names_them() {
        assert_eq!(partition_node("/dev/sda", 2), "/dev/sda2");
        assert_eq!(partition_node("/dev/nvme0n1", 2), "/dev/nvme0n1p2");
    }
}
