//! NBImageInfo.plist, XML or binary: what is accepted fits the packets it goes into, can be written down and read
//! again, and is never much larger than the file it came from.

use std::collections::BTreeMap;

use plist::Value;
use rootstock::netboot::dhcp::FileName;
use rootstock::netboot::nbi::{BadSet, BootFile, BootSet, LONGEST_PLIST, RootPath};
use rootstock::netboot::tftp::BootPath;

use super::assert_fit_for_a_log;
use super::path::percent_decoded;

const FOLDER: &str = "My set.nbi";

pub fn check(bytes: &[u8]) {
    let set = match BootSet::read(FOLDER, bytes) {
        Ok(set) => set,
        // The text inside is the property list library's.
        Err(BadSet::Plist(_)) => return,
        Err(reason) => return assert_fit_for_a_log(&reason.to_string()),
    };
    assert!(bytes.len() <= LONGEST_PLIST);
    assert!(!set.name.trim().is_empty());
    assert_fit_for_a_log(&set.name.chars().take(400).collect::<String>());
    assert!(u32::from_be_bytes(set.id.to_bytes()) & 0xffff != 0, "index 0 is invalid");
    assert!(u32::from_be_bytes(set.id.to_bytes()) & 0x00ff_0000 == 0, "reserved bits");
    assert!(!set.boot_files.is_empty());
    for BootFile { arch, file, .. } in &set.boot_files {
        assert!(file.as_str().len() < 128 && file.as_str().starts_with(&format!("{FOLDER}/{arch}/")));
        let path = BootPath::parse(file.as_str().as_bytes()).expect("TFTP serves what is offered");
        assert!(!file.as_str().contains('\\') && path.as_str() == file.as_str());
        assert_eq!(set.boot_file(arch, "").map(FileName::as_str), Some(file.as_str()));
    }
    match &set.root {
        Some(RootPath::Ours(path)) => {
            assert!(path.len() <= 221 && path.is_ascii() && !path.contains(char::is_whitespace));
            let path = percent_decoded(path.as_bytes());
            let path = BootPath::parse(&path).expect("HTTP serves what option 17 names");
            assert!(path.as_str().starts_with(&format!("{FOLDER}/")));
        }
        // Only with an export of the site's, which no file can say.
        Some(RootPath::OursByNfs(path)) => panic!("an export out of nowhere: {path}"),
        Some(RootPath::Elsewhere(path)) => {
            assert!(path.len() <= 255 && (path.starts_with("http://") || path.starts_with("nfs:")));
        }
        None => {}
    }
    let texts = set.access.enabled_systems.iter().chain(&set.access.disabled_systems).map(String::len);
    assert!(texts.sum::<usize>() <= 8 * LONGEST_PLIST, "a small file that unfolds");
    written_down_it_says_the_same(&set);
}

fn written_down_it_says_the_same(set: &BootSet) {
    let dictionary = Value::Dictionary(keys(set).into_iter().collect());
    let mut binary = Vec::new();
    dictionary.to_writer_binary(&mut binary).expect("written to memory");
    if binary.len() <= LONGEST_PLIST {
        assert_eq!(&BootSet::read(FOLDER, &binary).expect("what was accepted is accepted again"), set);
    }
    let mut xml = Vec::new();
    dictionary.to_writer_xml(&mut xml).expect("written to memory");
    // XML 1.0 has no way to write most control characters.
    if xml.len() <= LONGEST_PLIST && !xml.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\n' | b'\t')) {
        assert_eq!(&BootSet::read(FOLDER, &xml).expect("what was accepted is accepted again"), set);
    }
}

fn keys(set: &BootSet) -> BTreeMap<String, Value> {
    let id = u32::from_be_bytes(set.id.to_bytes());
    let texts = |list: &[String]| Value::Array(list.iter().map(|text| Value::String(text.clone())).collect());
    let macs: fn(&[rootstock::value::MacAddr]) -> Value =
        |list| Value::Array(list.iter().map(|mac| Value::String(mac.to_string())).collect());
    let archs: Vec<String> = set.boot_files.iter().map(|own| own.arch.clone()).collect();
    let boot_file = set.boot_files[0].file.as_str()[FOLDER.len() + archs[0].len() + 2..].to_owned();
    let (kind, root) = match &set.root {
        None | Some(RootPath::OursByNfs(_)) => ("BootFileOnly", None),
        Some(RootPath::Ours(path)) => {
            let path = String::from_utf8(percent_decoded(path.as_bytes())).expect("it was text");
            ("HTTP", Some(path[FOLDER.len() + 1..].to_owned()))
        }
        Some(RootPath::Elsewhere(path)) => match path.strip_prefix("nfs:") {
            Some(path) => ("NFS", Some(path.to_owned())),
            None => ("HTTP", Some(path.clone())),
        },
    };
    let mut keys: BTreeMap<String, Value> = [
        ("Name", Value::String(set.name.clone())),
        ("Index", Value::Integer((id & 0xffff).into())),
        ("Kind", Value::Integer((id >> 24 & 0x7f).into())),
        ("IsInstall", Value::Boolean(id >> 31 == 1)),
        ("IsEnabled", Value::Boolean(set.is_enabled)),
        ("IsDefault", Value::Boolean(set.is_default)),
        ("FilterOnly", Value::Boolean(set.filter_only)),
        ("Type", Value::String(kind.to_owned())),
        ("BootFile", Value::String(boot_file)),
        ("Architectures", texts(&archs)),
        ("EnabledSystemIdentifiers", texts(&set.access.enabled_systems)),
        ("DisabledSystemIdentifiers", texts(&set.access.disabled_systems)),
        ("EnabledMACAddresses", macs(&set.access.enabled_macs)),
        ("DisabledMACAddresses", macs(&set.access.disabled_macs)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    keys.extend(root.map(|root| ("RootPath".to_owned(), Value::String(root))));
    let other = set.load_balance.map(|other| Value::String(other.to_string()));
    keys.extend(other.map(|other| ("LoadBalanceServer".to_owned(), other)));
    keys
}
