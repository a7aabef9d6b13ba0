//! What Macs are given: whether the boot files are there, whole, and lead to this appliance; whether each `.nbi` can be offered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Ward;
use crate::api::admin::{NbiState, NbiSummary};
use crate::cli::finding::{Finding, Verdict, chain};
use crate::netboot::bsdp::ImageId;
use crate::netboot::nbi::{BootFile, BootSet, LONGEST_PLIST};

/// Longest list of boot files that is read.
const LONGEST_CONTENTS: u64 = 4 << 20;
/// Most entries of the boot folder that are looked at.
const MOST_ENTRIES: usize = 1000;

/// `contents.json`, as far as it is checked.
#[derive(Debug, Deserialize)]
struct Contents {
    server: String,
    files: Vec<Made>,
}

#[derive(Debug, Deserialize)]
struct Made {
    path: String,
    size: u64,
    sha256: String,
}

/// A boot file to fetch through the network, and what it must be.
#[derive(Clone, Debug)]
pub struct Booter {
    /// Below the boot folder.
    pub path: String,
    /// On this machine.
    pub file: PathBuf,
}

/// Every check of the boot folder, and a booter for the check of TFTP.
pub fn check(ward: &Ward) -> (Vec<Finding>, Option<Booter>) {
    let boot = ward.data.join("boot");
    let mut findings = vec![made(&boot, ward)];
    let (sets, booter) = sets(&boot, ward.sets.as_deref());
    findings.extend(sets);
    (findings, booter)
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut file = File::open(path)?;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `rootstock media boot` made.
fn made(boot: &Path, ward: &Ward) -> Finding {
    const TOPIC: &str = "boot files";
    const REMEDY: &str = "make them: rootstock media boot";
    let path = boot.join("contents.json");
    let read = || -> io::Result<Contents> {
        let mut text = String::new();
        File::open(&path)?.take(LONGEST_CONTENTS).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    let contents = match read() {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::fails(TOPIC, format!("there are none in {}", boot.display()), REMEDY);
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Finding::warning(
                TOPIC,
                format!("{} may not be read by this account", path.display()),
                "run it as root",
            );
        }
        Err(error) => return Finding::fails(TOPIC, format!("{}: {}", path.display(), chain(&error)), REMEDY),
    };
    let wrong: Vec<String> = contents.files.iter().filter_map(|file| differs(boot, file)).collect();
    if !wrong.is_empty() {
        return Finding::fails(
            TOPIC,
            "they are not as they were made",
            "make them again: rootstock media boot",
        )
        .with(wrong);
    }
    let own: Vec<Ipv4Addr> = ward.addresses().chain(ward.address()).collect();
    if let Some(text) = leads_elsewhere(&contents.server, &own) {
        return Finding::fails(
            TOPIC,
            text,
            "make them for the present address: rootstock media boot --server ADDRESS",
        );
    }
    Finding::ok(
        TOPIC,
        format!("{} files as they were made; Macs are led to {}", contents.files.len(), contents.server),
    )
}

/// How a file differs from what was made, if it does.
fn differs(boot: &Path, made: &Made) -> Option<String> {
    let relative = Path::new(&made.path);
    // A list that was changed by hand must not lead out of the folder.
    if relative.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Some(format!("{} is no path of a boot file", made.path));
    }
    let path = boot.join(relative);
    match fs::metadata(&path) {
        Err(error) => return Some(format!("{}: {error}", made.path)),
        Ok(there) if there.len() != made.size => {
            return Some(format!("{} has {} bytes, {} were made", made.path, there.len(), made.size));
        }
        Ok(_) => {}
    }
    match sha256(&path) {
        Ok(own) if own == made.sha256 => None,
        Ok(own) => Some(format!("{} has SHA-256 {own}, not {}", made.path, made.sha256)),
        Err(error) => Some(format!("{}: {error}", made.path)),
    }
}

/// The address in the boot files, when it is not one of ours. A name is left to the site.
fn leads_elsewhere(server: &str, own: &[Ipv4Addr]) -> Option<String> {
    let rest = server.trim_start_matches("https://");
    let host = rest.rsplit_once(':').filter(|(host, _)| !host.ends_with(':')).map_or(rest, |(host, _)| host);
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(baked)) if !own.contains(&baked) => {
            let own: Vec<String> = own.iter().map(Ipv4Addr::to_string).collect();
            Some(format!("they lead Macs to {baked}, but this machine has {}", own.join(", ")))
        }
        _ => None,
    }
}

/// How the sets stand: by the daemon's own judgement where it runs, else by what can be seen without it.
fn sets(boot: &Path, judged: Option<&[NbiSummary]>) -> (Vec<Finding>, Option<Booter>) {
    let mut names: Vec<String> = fs::read_dir(boot)
        .into_iter()
        .flatten()
        .take(MOST_ENTRIES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".nbi") && !name.starts_with('.'))
        .collect();
    names.sort();
    let seen: Vec<(String, Result<BootSet, String>)> =
        names.into_iter().map(|name| (name.clone(), set(boot, &name))).collect();
    let booter = seen.iter().find_map(|(_, set)| {
        let set = set.as_ref().ok().filter(|set| set.is_enabled && set.load_balance.is_none())?;
        let path = set.boot_files.first()?.file.as_str().to_owned();
        Some(Booter { file: boot.join(&path), path })
    });
    let states: Vec<(String, State)> = match judged {
        Some(judged) => judged.iter().map(of_daemon).collect(),
        None => of_folder(seen),
    };
    (judge(states), booter)
}

/// How a set stands.
enum State {
    Offered(String),
    SwitchedOff(String),
    Waiting(String),
    Refused(String),
}

fn of_daemon(set: &NbiSummary) -> (String, State) {
    let name = set.facts.as_ref().map_or(&set.folder, |facts| &facts.name).clone();
    let state = match &set.state {
        NbiState::Offered => State::Offered(name),
        NbiState::Disabled => State::SwitchedOff(name),
        NbiState::Waiting { reason } => State::Waiting(reason.clone()),
        NbiState::Refused { reason } => State::Refused(reason.clone()),
        NbiState::Unknown => State::Waiting("its state is not known to this version".to_owned()),
    };
    (set.folder.clone(), state)
}

fn of_folder(seen: Vec<(String, Result<BootSet, String>)>) -> Vec<(String, State)> {
    let mut ids: BTreeMap<ImageId, String> = BTreeMap::new();
    let mut states = Vec::new();
    for (folder, set) in seen {
        let state = match set {
            Err(why) => State::Refused(why),
            Ok(set) => match ids.get(&set.id) {
                Some(other) => State::Refused(format!("it has the same id as {other} ({})", set.id)),
                None => {
                    ids.insert(set.id, folder.clone());
                    if set.is_enabled { State::Offered(set.name) } else { State::SwitchedOff(set.name) }
                }
            },
        };
        states.push((folder, state));
    }
    states
}

/// One finding for each set that cannot be offered, one for those that can.
fn judge(states: Vec<(String, State)>) -> Vec<Finding> {
    const TOPIC: &str = "boot sets";
    let (mut findings, mut good) = (Vec::new(), Vec::new());
    for (folder, state) in states {
        match state {
            State::Offered(name) => good.push(name),
            State::SwitchedOff(name) => good.push(format!("{name} (switched off)")),
            State::Waiting(why) => {
                findings.push(Finding::warning(TOPIC, format!("{folder}: {why}"), "wait until it is copied"));
            }
            State::Refused(why) => {
                let remedy =
                    "Macs are not offered it; rootstock nbi show tells more; copy it again, or correct it";
                findings.push(Finding::fails(TOPIC, format!("{folder}: {why}"), remedy));
            }
        }
    }
    // What is still being copied is told above, and is no failure.
    let waits = findings.iter().all(|one| one.verdict == Verdict::Warning);
    if good.is_empty() && waits && !findings.is_empty() {
        return findings;
    }
    findings.push(match (good.is_empty(), findings.is_empty()) {
        (false, _) => Finding::ok(TOPIC, good.join(", ")),
        (true, true) => Finding::fails(
            TOPIC,
            "there is none: no Mac is offered anything",
            "make one: rootstock media boot",
        ),
        (true, false) => Finding::fails(TOPIC, "none can be offered", "see the lines above"),
    });
    findings
}

fn set(boot: &Path, folder: &str) -> Result<BootSet, String> {
    let path = boot.join(folder).join("NBImageInfo.plist");
    let mut plist = Vec::new();
    let most = LONGEST_PLIST as u64 + 1;
    File::open(&path).and_then(|file| file.take(most).read_to_end(&mut plist)).map_err(|error| {
        format!("its NBImageInfo.plist cannot be read ({error}); is the set one folder too deep?")
    })?;
    let set = BootSet::read(folder, &plist).map_err(|error| chain(&error))?;
    let is_missing = |own: &&BootFile| set.load_balance.is_none() && !boot.join(own.file.as_str()).is_file();
    match (set.boot_files.is_empty(), set.boot_files.iter().find(is_missing)) {
        (true, _) => Err("it names no boot file".to_owned()),
        (_, Some(own)) => Err(format!("its boot file for {}, {}, is not there", own.arch, own.file.as_str())),
        (_, None) => Ok(set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const PLIST: &str = "<plist version=\"1.0\"><dict><key>Name</key><string>Lab</string><key>Index</key>
        <integer>1</integer><key>Kind</key><integer>1</integer>
        <key>BootFile</key><string>booter</string><key>Type</key><string>BootFileOnly</string>
        <key>Architectures</key><array><string>i386</string></array></dict></plist>";

    fn folder(sets: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for set in sets {
            fs::create_dir_all(folder.path().join(set).join("i386")).unwrap();
            fs::write(folder.path().join(set).join("NBImageInfo.plist"), PLIST).unwrap();
            fs::write(folder.path().join(set).join("i386/booter"), "x").unwrap();
        }
        folder
    }

    #[test]
    fn good_sets_are_named_and_each_bad_one_with_its_reason() {
        let boot = folder(&["a.nbi"]);
        let (found, booter) = sets(boot.path(), None);
        assert_eq!((found.len(), found[0].verdict, found[0].text.as_str()), (1, Verdict::Ok, "Lab"));
        assert_eq!(booter.unwrap().path, "a.nbi/i386/booter");
        let boot = folder(&["a.nbi", "b.nbi", "c.nbi"]);
        fs::remove_file(boot.path().join("a.nbi/i386/booter")).unwrap();
        fs::create_dir(boot.path().join("d.nbi")).unwrap();
        let (found, _) = sets(boot.path(), None);
        let text = found.iter().map(|one| one.text.clone()).collect::<Vec<_>>().join("\n");
        for words in [
            "a.nbi: its boot file for i386, a.nbi/i386/booter, is not there",
            "c.nbi: it has the same id as b.nbi",
            "d.nbi: its NBImageInfo.plist cannot be read",
            "Lab",
        ] {
            assert!(text.contains(words), "{text}");
        }
        let refused = NbiSummary {
            folder: "x.nbi".to_owned(),
            state: NbiState::Refused { reason: "its booter is cut off".to_owned() },
            size: 0,
            facts: None,
        };
        let (found, _) = sets(boot.path(), Some(&[refused]));
        assert!(found[0].text.contains("x.nbi: its booter is cut off") && found[1].verdict == Verdict::Fails);
        assert_eq!(sets(folder(&[]).path(), None).0[0].verdict, Verdict::Fails);
    }

    #[test]
    fn files_that_changed_since_they_were_made_are_named() {
        let boot = folder(&[]);
        fs::write(boot.path().join("vmlinuz"), "kernel").unwrap();
        let made = |path: &str, size, sha256: &str| Made { path: path.into(), size, sha256: sha256.into() };
        let good = sha256(&boot.path().join("vmlinuz")).unwrap();
        assert_eq!(differs(boot.path(), &made("vmlinuz", 6, &good)), None);
        for (made, words) in [
            (made("vmlinuz", 7, &good), "has 6 bytes, 7 were made"),
            (made("vmlinuz", 6, "00"), "SHA-256"),
            (made("gone", 6, &good), "gone:"),
            (made("../x", 6, &good), "no path of a boot file"),
        ] {
            assert!(differs(boot.path(), &made).unwrap().contains(words));
        }
    }

    #[test]
    fn an_address_that_is_baked_in_must_be_ours() {
        let own = [Ipv4Addr::new(10, 0, 0, 1)];
        for server in
            ["https://10.0.0.1", "https://10.0.0.1:8443", "https://boot.example.org", "https://[fd00::1]"]
        {
            assert_eq!(leads_elsewhere(server, &own), None, "{server}");
        }
        let text = leads_elsewhere("https://10.0.0.7:8443", &own).unwrap();
        assert!(text.contains("10.0.0.7") && text.contains("this machine has 10.0.0.1"), "{text}");
    }
}
