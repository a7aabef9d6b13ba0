//! From facts to findings.
//!
//! Owns: thresholds and words. Each check looks at one thing; the order of the findings is by severity, then by code.

use super::{Code, Finding, Place, Severity, Subject, Surroundings};
use crate::image::partition::{Oddity, PartitionType, Scheme};
use crate::image::source::Checksums;
use crate::image::volume::{Distrust, Kind, Startup};
use crate::value::ByteSize;
use crate::value::model::{self, Imaging, Model};

/// Fewer files are no system and hardly somebody's data.
const FEW_FILES: u64 = 20;

/// What everybody's installed macOS is larger than: 10.4 had 1.5 GB.
const SMALLEST_SYSTEM: u64 = 512 << 20;

/// Volumes that Apple's installers are made of.
const INSTALLER_LABELS: [&str; 6] = [
    "os x base system",
    "mac os x base system",
    "macos base system",
    "os x install esd",
    "shared support",
    "installassistant",
];

/// What lies in the root folder of an installer.
const INSTALLER_FILES: [&str; 4] =
    ["BaseSystem.dmg", "InstallESD.dmg", ".IABootFiles", "AppleDiagnostics.dmg"];

type Findings = Vec<Finding>;

/// Everything that there is to say about an image, the worst first.
pub fn examine(subject: &Subject, around: &Surroundings) -> Vec<Finding> {
    let mut found = Vec::new();
    table(subject, &mut found);
    for place in subject.places.iter().filter(|place| place.is_mac()) {
        state(place, &mut found);
    }
    match subject.main() {
        Some(main) => content(subject, main, around, &mut found),
        None => found.push(no_volume(subject)),
    }
    size(subject, around, &mut found);
    if let Some(Checksums { present: false, .. }) = subject.checksums {
        say(
            &mut found,
            Code::NoChecksums,
            Severity::Note,
            "the file carries no checksum: nothing in it tells whether it came here whole",
            "compare its SHA-256 with that of the original",
        );
    }
    found.sort_by_key(|finding| (finding.severity, finding.code));
    found
}

fn say(
    found: &mut Findings,
    code: Code,
    severity: Severity,
    message: impl Into<String>,
    next_step: impl Into<String>,
) {
    found.push(Finding { code, severity, message: message.into(), next_step: next_step.into() });
}

fn table(subject: &Subject, found: &mut Findings) {
    for oddity in &subject.oddities {
        let code = match oddity {
            Oddity::BackupUsed => Code::BackupTableUsed,
            Oddity::BackupMissing => Code::BackupTableMissing,
        };
        let step = "repair the table with gdisk on a copy of the disk, or make the image again";
        say(found, code, Severity::Warning, oddity.to_string(), step);
    }
}

fn no_volume(subject: &Subject) -> Finding {
    let kinds: Vec<String> = subject
        .places
        .iter()
        .map(|place| match (&place.partition, place.facts.kind) {
            (Some(kind), Kind::Unknown) => format!("{kind}, nothing known in it"),
            (Some(kind), volume) => format!("{kind}, {volume}"),
            (None, volume) => volume.to_string(),
        })
        .collect();
    let what = if kinds.is_empty() { "no partition".to_owned() } else { kinds.join("; ") };
    Finding {
        code: Code::NoMacVolume,
        severity: Severity::Error,
        message: format!("there is no volume of a Mac in it ({what})"),
        next_step:
            "take an image of the volume or of the whole disk with macOS; data can be restored all the same"
                .to_owned(),
    }
}

/// What a volume says of its own health.
fn state(place: &Place, found: &mut Findings) {
    let (title, facts) = (place.title(), &place.facts);
    if let Some(reason) = &facts.unclean {
        say(
            found,
            Code::UncleanVolume,
            Severity::Warning,
            format!("{title}: {reason}"),
            "macOS repairs it at the first start; better, shut the Mac down, run First Aid in Recovery, capture again",
        );
    }
    if facts.size > place.size && facts.kind.is_mac() {
        say(
            found,
            Code::ShortenedVolume,
            Severity::Error,
            format!(
                "{title} has {} ({} bytes) by its own header, its place in the image only {} bytes",
                ByteSize(facts.size),
                facts.size,
                place.size
            ),
            "the image was cut off, or the partition made smaller than the volume: make it again",
        );
    } else if let Err(Distrust::Damaged(what)) = &place.blocks
        && facts.unclean.is_none()
    {
        say(
            found,
            Code::DamagedVolume,
            Severity::Warning,
            format!("{title}: its map of used blocks is not to be believed: {what}"),
            "all of its blocks are kept; check the volume with First Aid and make the image again",
        );
    }
    if facts.is_fusion {
        say(
            found,
            Code::FusionHalf,
            Severity::Error,
            format!("{title} is one half of a Fusion Drive"),
            "without the other half nothing can be read; image a Mac with a single disk",
        );
    }
    if place.partition == Some(PartitionType::AppleCoreStorage) {
        say(
            found,
            Code::Encrypted,
            Severity::Warning,
            format!("{title} is a Core Storage volume: FileVault, or part of a Fusion Drive"),
            "turn FileVault off on the Mac before the image is made: what is in it cannot be checked",
        );
    }
    if !facts.encrypted.is_empty() {
        let names: Vec<String> = facts.encrypted.iter().map(|name| format!("`{name}`")).collect();
        say(
            found,
            Code::Encrypted,
            Severity::Warning,
            format!("encrypted (FileVault): {}", names.join(", ")),
            "it is restored as it is and needs its password on the Mac; from a Mac with a T2 chip it opens nowhere else",
        );
    }
    if let Some(sealed) = facts.volumes.iter().find(|volume| volume.is_sealed) {
        let snapshots = match sealed.snapshots {
            0 => "without a snapshot, from which macOS would start".to_owned(),
            count => format!("snapshots: {count}"),
        };
        say(
            found,
            Code::SealedSystem,
            Severity::Note,
            format!("`{}` is a sealed system volume ({snapshots})", sealed.name),
            "restore the whole container: the seal stays whole only while no block of it changes",
        );
    }
}

/// What is on the main volume.
fn content(subject: &Subject, main: &Place, around: &Surroundings, found: &mut Findings) {
    let (title, facts) = (main.title(), &main.facts);
    if let Some(set) = netboot_set(&facts.top) {
        return say(
            found,
            Code::NetbootSet,
            Severity::Error,
            format!("{title} holds one of Apple's NetBoot sets ({set}), not an installed macOS"),
            "import it as what it is: rootstock nbi import FILE",
        );
    }
    if let Some(sign) = installer(main) {
        return say(
            found,
            Code::Installer,
            Severity::Error,
            format!("{title} is an installer of macOS, not an installed one: {sign}"),
            "install macOS on a Mac or a volume, start it once if you like, and take the image of that",
        );
    }
    let readable = !facts.top.is_empty() || facts.encrypted.is_empty() && facts.files.is_some();
    match &facts.system {
        Some(system) => {
            if facts.startup == Startup::Absent {
                let why = match facts.kind {
                    Kind::Apfs => "its container has no Preboot volume with a boot.efi",
                    _ => "no folder of it is blessed, or the blessed one has no boot.efi",
                };
                say(
                    found,
                    Code::NotBootable,
                    Severity::Error,
                    format!("a Mac does not start {} {} from {title}: {why}", system.product, system.version),
                    "choose the volume in Startup Disk (or bless it) before the image is made, and take the whole container",
                );
            }
            newer_mac(&system.version, around, found);
            recovery(subject, &system.version, found);
        }
        None if !readable || facts.is_fusion => {}
        None if is_nearly_empty(main) => {
            let files = facts.files.map(|files| format!(", {files} files and folders")).unwrap_or_default();
            let used = facts.used.unwrap_or(0);
            say(
                found,
                Code::NearlyEmpty,
                Severity::Error,
                format!("{title} is nearly empty: {} in use{files}", ByteSize(used)),
                "look whether the right volume was captured, and whether it was captured to its end",
            );
        }
        None => say(
            found,
            Code::NoMacos,
            Severity::Warning,
            format!(
                "there is no macOS on {title}: /System/Library/CoreServices/SystemVersion.plist is not there or \
                 cannot be read"
            ),
            "right for data; for a Mac that is to start from it, take the image of an installed system",
        ),
    }
}

fn is_nearly_empty(main: &Place) -> bool {
    let facts = &main.facts;
    let nothing = facts.files.is_some_and(|files| files < FEW_FILES);
    nothing && facts.used.is_none_or(|used| used < SMALLEST_SYSTEM)
}

fn netboot_set(top: &[String]) -> Option<&str> {
    let is_set = |name: &&String| {
        let name = name.to_ascii_lowercase();
        name == "nbimageinfo.plist" || name.ends_with(".nbi")
    };
    top.iter().find(is_set).map(String::as_str)
}

fn installer(main: &Place) -> Option<String> {
    let facts = &main.facts;
    let label = facts.label.as_deref().unwrap_or_default();
    if INSTALLER_LABELS.contains(&label.to_lowercase().as_str()) {
        return Some(format!("it is named `{label}`"));
    }
    let is_sign = |name: &&String| {
        let application = name.starts_with("Install ") && name.ends_with(".app") && name.contains("OS");
        application || INSTALLER_FILES.iter().any(|file| name.eq_ignore_ascii_case(file))
    };
    facts.top.iter().find(is_sign).map(|name| format!("`{name}` is in its root folder"))
}

/// A release of macOS: 10.15 is (10, 15), 11.7 is (11, 0).
fn release(version: &str) -> Option<(u16, u16)> {
    let mut numbers = version.split('.').map(|part| part.parse::<u16>().ok());
    let major = numbers.next()??;
    let minor = numbers.next().flatten().unwrap_or(0);
    Some(match (major, minor) {
        (10, 16) => (11, 0),
        (10, minor) => (10, minor),
        (major, _) => (major, 0),
    })
}

/// Whether Apple lets a Mac run a release; true where that is not known.
fn runs(model: &Model, wanted: (u16, u16)) -> bool {
    model.newest_macos.and_then(release).is_none_or(|newest| newest >= wanted)
}

fn newer_mac(version: &str, around: &Surroundings, found: &mut Findings) {
    let Some(wanted) = release(version) else { return };
    let known = around.models.iter().filter_map(|(model, macs)| Some((model::by_identifier(model)?, macs)));
    let (mut unable, mut count) = (Vec::new(), 0_u64);
    for (model, macs) in known.filter(|(model, _)| !runs(model, wanted)) {
        count += u64::from(*macs);
        if !unable.contains(&model.identifier) {
            unable.push(model.identifier);
        }
    }
    let step = "deploy it to Macs that can run it; rootstock models shows the newest macOS of each";
    if count > 0 {
        unable.sort_unstable();
        let more = if unable.len() > 8 { ", …" } else { "" };
        let names = unable[..unable.len().min(8)].join(", ");
        let message = format!("macOS {version} does not run on {count} of the known Macs: {names}{more}");
        return say(found, Code::NeedsNewerMac, Severity::Warning, message, step);
    }
    let by_network: Vec<&Model> =
        model::all().iter().filter(|model| model.imaging() == Imaging::NKey).collect();
    let able: Vec<&&Model> = by_network.iter().filter(|model| runs(model, wanted)).collect();
    match able.iter().min_by_key(|model| model.years) {
        Some(_) if able.len() == by_network.len() => {}
        Some(oldest) => say(
            found,
            Code::NeedsNewerMac,
            Severity::Note,
            format!(
                "macOS {version} runs on {} of the {} Mac models that start with N held; the oldest is {} of {}",
                able.len(),
                by_network.len(),
                oldest.identifier,
                oldest.years.0
            ),
            step,
        ),
        None => say(
            found,
            Code::NeedsNewerMac,
            Severity::Warning,
            format!("macOS {version} runs on no Mac that starts with N held"),
            "Macs with a T2 chip get it from the USB stick; Apple silicon takes no disk image",
        ),
    }
}

fn recovery(subject: &Subject, version: &str, found: &mut Findings) {
    // Mac OS X 10.7 was the first with one.
    if subject.scheme == Scheme::None && !subject.places.iter().any(|place| place.facts.kind == Kind::Apfs)
        || release(version).is_some_and(|release| release < (10, 7))
    {
        return;
    }
    let has = subject.places.iter().any(|place| {
        place.partition == Some(PartitionType::AppleBoot)
            || place.facts.volumes.iter().any(|volume| volume.role == Some("recovery"))
    });
    if !has {
        say(
            found,
            Code::NoRecovery,
            Severity::Note,
            "there is no Recovery in it: Command-R leads to Internet Recovery, and FileVault up to 10.12 cannot be turned on",
            "capture the whole disk, or the whole APFS container, of a Mac with Recovery",
        );
    }
}

fn size(subject: &Subject, around: &Surroundings, found: &mut Findings) {
    if let Some(largest) = around.largest_disk.filter(|largest| *largest < subject.size) {
        say(
            found,
            Code::LargerThanTargets,
            Severity::Warning,
            format!(
                "it needs {} ({} bytes), the largest disk of any known Mac has {} ({largest} bytes)",
                ByteSize(subject.size),
                subject.size,
                ByteSize(largest)
            ),
            "make the volume smaller before it is captured (Disk Utility resizes), or use larger disks",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::doctor::Blocks;
    use crate::image::volume::{ApfsVolume, Facts, System};

    fn facts(kind: Kind) -> Facts {
        Facts {
            label: Some("Macintosh HD".into()),
            files: Some(300_000),
            used: Some(9 << 30),
            ..Facts::of(kind, 20 << 30)
        }
    }

    fn with_system(kind: Kind, version: &str) -> Facts {
        let system = System { product: "macOS".into(), version: version.into(), build: "1A1".into() };
        Facts { system: Some(system), startup: Startup::Present, ..facts(kind) }
    }

    fn place(partition: Option<PartitionType>, facts: Facts) -> Place {
        let blocks = Ok(Blocks { used: 9 << 30, needed: 10 << 30 });
        let number = partition.is_some().then_some(2);
        Place { number, partition, name: String::new(), start: 0, size: 20 << 30, facts, blocks }
    }

    fn disk(places: Vec<Place>) -> Subject {
        Subject { size: 20 << 30, scheme: Scheme::Gpt, oddities: Vec::new(), places, checksums: None }
    }

    /// A disk with macOS 10.13 as it should be: every N-key Mac of 64 bits since 2010 runs it.
    fn sound() -> Vec<Place> {
        vec![
            place(Some(PartitionType::AppleHfs), with_system(Kind::HfsPlus, "10.7.5")),
            place(Some(PartitionType::AppleBoot), Facts::of(Kind::HfsPlus, 1 << 30)),
        ]
    }

    fn codes(subject: &Subject, around: &Surroundings) -> Vec<(Code, Severity)> {
        examine(subject, around).iter().map(|finding| (finding.code, finding.severity)).collect()
    }

    fn of(places: Vec<Place>) -> Vec<(Code, Severity)> {
        codes(&disk(places), &Surroundings::default())
    }

    fn main(change: impl FnOnce(&mut Place)) -> Vec<(Code, Severity)> {
        let mut places = sound();
        change(&mut places[0]);
        of(places)
    }

    #[test]
    fn a_sound_disk_gives_no_finding() {
        assert_eq!(of(sound()), []);
    }

    #[test]
    fn each_defect_has_its_code() {
        use Severity::{Error, Note, Warning};
        let empty = |place: &mut Place| {
            place.facts = Facts { files: Some(3), used: Some(1 << 20), ..facts(Kind::HfsPlus) };
        };
        assert_eq!(main(empty), [(Code::NearlyEmpty, Error)]);
        assert_eq!(main(|place| place.facts.system = None), [(Code::NoMacos, Warning)]);
        assert_eq!(main(|place| place.facts.startup = Startup::Absent), [(Code::NotBootable, Error)]);
        assert_eq!(
            main(|place| place.facts.unclean = Some(Distrust::Journal)),
            [(Code::UncleanVolume, Warning)]
        );
        assert_eq!(
            main(|place| place.blocks = Err(Distrust::Damaged("x"))),
            [(Code::DamagedVolume, Warning)]
        );
        assert_eq!(main(|place| place.facts.size = 21 << 30), [(Code::ShortenedVolume, Error)]);
        for name in ["Install macOS Mojave.app", "BaseSystem.dmg", "Install OS X Yosemite.app"] {
            assert_eq!(main(|place| place.facts.top.push(name.into())), [(Code::Installer, Error)], "{name}");
        }
        let label = |place: &mut Place| place.facts.label = Some("OS X Base System".into());
        assert_eq!(main(label), [(Code::Installer, Error)]);
        let set = |place: &mut Place| place.facts.top = vec!["NetInstall of X.nbi".into()];
        assert_eq!(main(set), [(Code::NetbootSet, Error)]);
        let fusion = |place: &mut Place| (place.facts.is_fusion, place.facts.system) = (true, None);
        assert_eq!(main(fusion), [(Code::FusionHalf, Error)]);
        let core = |place: &mut Place| {
            place.partition = Some(PartitionType::AppleCoreStorage);
            place.facts = Facts::of(Kind::Unknown, 0);
        };
        assert_eq!(main(core), [(Code::Encrypted, Warning)]);
        let mut alone = sound();
        alone.pop();
        assert_eq!(of(alone), [(Code::NoRecovery, Note)]);
        let linux = place(Some(PartitionType::Other("Linux".into())), Facts::of(Kind::Unknown, 0));
        assert_eq!(of(vec![linux]), [(Code::NoMacVolume, Error)]);
        let odd = Subject { oddities: vec![Oddity::BackupUsed, Oddity::BackupMissing], ..disk(sound()) };
        let want = [(Code::BackupTableUsed, Warning), (Code::BackupTableMissing, Warning)];
        assert_eq!(codes(&odd, &Surroundings::default()), want);
        let sums = Some(Checksums { present: false, ok: true });
        let bare = Subject { checksums: sums, ..disk(sound()) };
        assert_eq!(codes(&bare, &Surroundings::default()), [(Code::NoChecksums, Note)]);
    }

    #[test]
    fn an_apfs_container_is_judged_by_its_volumes() {
        let volume = |name: &str, role, is_sealed| ApfsVolume {
            name: name.into(),
            role: Some(role),
            used: 1,
            is_encrypted: false,
            is_sealed,
            is_case_sensitive: false,
            snapshots: 1,
            files: 9,
        };
        let mut facts = with_system(Kind::Apfs, "10.13.6");
        facts.volumes = vec![volume("Macintosh HD", "system", true), volume("Recovery", "recovery", false)];
        facts.encrypted = vec!["Data".into()];
        let container = || place(Some(PartitionType::AppleApfs), facts.clone());
        let codes = |places| of(places).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
        assert_eq!(codes(vec![container()]), [Code::Encrypted, Code::SealedSystem, Code::NeedsNewerMac]);
        // All of it encrypted: nothing more can be said, and nothing is made up.
        let closed = Facts { system: None, top: Vec::new(), startup: Startup::Unknown, ..facts.clone() };
        assert_eq!(codes(vec![place(None, closed)]), [Code::Encrypted, Code::SealedSystem]);
    }

    #[test]
    fn known_macs_decide_what_is_too_large_and_too_new() {
        let subject = disk(vec![
            place(Some(PartitionType::AppleHfs), with_system(Kind::HfsPlus, "10.14.6")),
            place(Some(PartitionType::AppleBoot), Facts::of(Kind::HfsPlus, 1)),
        ]);
        let models = [("MacBookPro8,1", 2), ("VMware7,1", 1), ("iMac18,1", 1)];
        let models = models.map(|(model, macs)| (model.to_owned(), macs)).to_vec();
        let around = Surroundings { largest_disk: Some(10 << 30), models };
        let found = examine(&subject, &around);
        assert_eq!(
            found.iter().map(|finding| finding.code).collect::<Vec<_>>(),
            [Code::LargerThanTargets, Code::NeedsNewerMac]
        );
        assert!(found[1].message.contains("2 of the known Macs: MacBookPro8,1"), "{}", found[1].message);
        let around = Surroundings { largest_disk: Some(20 << 30), models: vec![("iMac18,1".into(), 1)] };
        assert_eq!(codes(&subject, &around), [(Code::NeedsNewerMac, Severity::Note)]);
    }

    #[test]
    fn releases_are_compared_as_apple_numbers_them() {
        assert_eq!(release("10.15.7"), Some((10, 15)));
        assert_eq!(release("10.16"), Some((11, 0)));
        assert_eq!(release("11.7.10"), Some((11, 0)));
        assert_eq!(release("26"), Some((26, 0)));
        assert_eq!(release("x"), None);
        let all = Subject { places: vec![place(None, with_system(Kind::HfsPlus, "26.1"))], ..disk(vec![]) };
        assert!(codes(&all, &Surroundings::default()).contains(&(Code::NeedsNewerMac, Severity::Warning)));
    }

    #[test]
    fn codes_are_kebab_case_and_differ() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
