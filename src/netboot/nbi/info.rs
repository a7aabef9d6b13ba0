//! From NBImageInfo.plist to a [`BootSet`], or to the key that is wrong.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::plist::Value;
use super::{Access, BootSet, LONGEST_PLIST, RootPath};
use crate::netboot::bsdp::{BadImageId, ImageId};
use crate::netboot::dhcp::{FileName, FileNameTooLong};
use crate::value::MacAddr;

/// Option 17 has 255 bytes; `http://255.255.255.255:65535/boot/` takes 34 of them.
const LONGEST_ROOT: usize = 220;

/// Why a `.nbi` folder cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum BadSet {
    /// Longer than any real one.
    #[error("NBImageInfo.plist has {0} bytes, at most {LONGEST_PLIST} are read")]
    Long(usize),
    /// Neither XML nor binary property list.
    #[error("NBImageInfo.plist is no property list")]
    Plist(#[source] plist::Error),
    /// The outermost value is no dictionary.
    #[error("NBImageInfo.plist holds no dictionary")]
    NoDictionary,
    /// A required key is missing or empty.
    #[error("NBImageInfo.plist has no `{0}`")]
    Missing(&'static str),
    /// A key holds another type, or a value outside its range.
    #[error("NBImageInfo.plist: `{key}` must be {want}")]
    Wrong {
        /// The key.
        key: &'static str,
        /// What it must be.
        want: &'static str,
    },
    /// `Index` or `Kind` make no image id.
    #[error("NBImageInfo.plist makes no image id")]
    Id(#[from] BadImageId),
    /// A path with `..` or an absolute one.
    #[error("NBImageInfo.plist: `{key}` is `{path}`, which leads out of the folder")]
    Outside {
        /// The key.
        key: &'static str,
        /// Its value.
        path: String,
    },
    /// The reply could not carry the boot file.
    #[error(transparent)]
    FileName(#[from] FileNameTooLong),
    /// Option 17 is one option of 255 bytes.
    #[error("root path `{0}` is longer than {LONGEST_ROOT} bytes, option 17 would not hold its URL")]
    RootPath(String),
    /// Needs a share that this server does not have.
    #[error("type `{0}` needs a share that this server does not have; HTTP and BootFileOnly sets are served")]
    Type(String),
}

impl BootSet {
    /// Reads the NBImageInfo.plist (XML or binary) of the folder named `folder`.
    pub fn read(folder: &str, plist: &[u8]) -> Result<BootSet, BadSet> {
        if plist.len() > LONGEST_PLIST {
            return Err(BadSet::Long(plist.len()));
        }
        let Value::Dictionary(keys) = Value::read(plist).map_err(BadSet::Plist)? else {
            return Err(BadSet::NoDictionary);
        };
        let keys = Keys(keys);
        let root = root_path(folder, &keys)?;
        let kind = keys.number("Kind")?.or(root.is_some().then_some(1)).ok_or(BadSet::Missing("Kind"))?;
        let index = keys.number("Index")?.ok_or(BadSet::Missing("Index"))?;
        Ok(BootSet {
            folder: folder.to_owned(),
            name: name(&keys)?,
            id: ImageId::new(keys.flag("IsInstall", false)?, kind, index)?,
            is_enabled: keys.flag("IsEnabled", true)?,
            is_default: keys.flag("IsDefault", false)?,
            filter_only: keys.flag("FilterOnly", kind == 3)?,
            root,
            load_balance: load_balance(&keys)?,
            boot_files: boot_files(folder, &keys)?,
            access: Access {
                enabled_systems: keys.texts("EnabledSystemIdentifiers")?,
                disabled_systems: keys.texts("DisabledSystemIdentifiers")?,
                enabled_macs: keys.macs("EnabledMACAddresses")?,
                disabled_macs: keys.macs("DisabledMACAddresses")?,
            },
        })
    }
}

/// Shown in pickers, terminals and logs.
fn name(keys: &Keys) -> Result<String, BadSet> {
    let name = keys.text("Name")?.ok_or(BadSet::Missing("Name"))?;
    let wrong = BadSet::Wrong { key: "Name", want: "text without control characters" };
    if name.contains(char::is_control) { Err(wrong) } else { Ok(name.to_owned()) }
}

fn boot_files(folder: &str, keys: &Keys) -> Result<Vec<(String, FileName)>, BadSet> {
    let boot_file = inside("BootFile", keys.text("BootFile")?.ok_or(BadSet::Missing("BootFile"))?)?;
    let mut architectures = keys.texts("Architectures")?;
    if architectures.is_empty() {
        if keys.0.contains_key("Architectures") {
            return Err(BadSet::Wrong { key: "Architectures", want: "a list that is not empty" });
        }
        architectures.push("ppc".to_owned());
    }
    let file = |arch: String| {
        let path = format!("{folder}/{}/{boot_file}", inside("Architectures", &arch)?);
        Ok((arch, FileName::try_from(path)?))
    };
    architectures.into_iter().map(file).collect()
}

fn root_path(folder: &str, keys: &Keys) -> Result<Option<RootPath>, BadSet> {
    let kind = keys.text("Type")?.ok_or(BadSet::Missing("Type"))?;
    if kind == "BootFileOnly" {
        return Ok(None);
    }
    let path = keys.text("RootPath")?.ok_or(BadSet::Missing("RootPath"))?;
    // The kernel resolves no names: NFS and HTTP roots elsewhere must begin with an address.
    let has_address =
        |rest: &str| rest.split([':', '/']).next().is_some_and(|host| host.parse::<Ipv4Addr>().is_ok());
    let root = match kind {
        "HTTP" if path.strip_prefix("http://").is_some_and(has_address) => {
            RootPath::Elsewhere(path.to_owned())
        }
        "HTTP" if path.contains("://") => {
            return Err(BadSet::Wrong { key: "RootPath", want: "a URL with an IPv4 address" });
        }
        "HTTP" => RootPath::Ours(format!("{}/{}", escape(folder), escape(inside("RootPath", path)?))),
        "NFS" if path.contains(':') && has_address(path) => RootPath::Elsewhere(format!("nfs:{path}")),
        other => return Err(BadSet::Type(other.escape_debug().take(40).collect())),
    };
    let (RootPath::Ours(text) | RootPath::Elsewhere(text)) = &root;
    let long = || BadSet::RootPath(text.escape_debug().take(300).collect());
    if text.len() > LONGEST_ROOT { Err(long()) } else { Ok(Some(root)) }
}

fn load_balance(keys: &Keys) -> Result<Option<Ipv4Addr>, BadSet> {
    let wrong =
        BadSet::Wrong { key: "LoadBalanceServer", want: "an IPv4 address (the firmware resolves no names)" };
    keys.text("LoadBalanceServer")?.map(|text| text.parse().map_err(|_| wrong)).transpose()
}

/// A path that stays in its folder.
fn inside<'p>(key: &'static str, path: &'p str) -> Result<&'p str, BadSet> {
    let stays = !path.starts_with('/')
        // TFTP clients write slashes as backslashes: one in a name would never be found.
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if stays { Ok(path) } else { Err(BadSet::Outside { key, path: path.escape_debug().take(200).collect() }) }
}

/// Percent-escapes everything but unreserved characters and slashes (RFC 3986 section 2.3).
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(byte.into())
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

struct Keys(BTreeMap<String, Value>);

impl Keys {
    fn text(&self, key: &'static str) -> Result<Option<&str>, BadSet> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(_) => Err(BadSet::Wrong { key, want: "a string" }),
        }
    }

    fn flag(&self, key: &'static str, absent: bool) -> Result<bool, BadSet> {
        match self.0.get(key) {
            None => Ok(absent),
            Some(Value::Flag(flag)) => Ok(*flag),
            Some(_) => Err(BadSet::Wrong { key, want: "true or false" }),
        }
    }

    /// Some tools write numbers as strings.
    fn number(&self, key: &'static str) -> Result<Option<i64>, BadSet> {
        let wrong = BadSet::Wrong { key, want: "a whole number" };
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(Value::Text(text)) => text.trim().parse().map(Some).map_err(|_| wrong),
            Some(_) => Err(wrong),
        }
    }

    fn texts(&self, key: &'static str) -> Result<Vec<String>, BadSet> {
        let wrong = || BadSet::Wrong { key, want: "a list of strings" };
        let text = |value: &Value| match value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(wrong()),
        };
        match self.0.get(key) {
            None => Ok(Vec::new()),
            Some(Value::List(list)) => list.iter().map(text).collect(),
            Some(_) => Err(wrong()),
        }
    }

    fn macs(&self, key: &'static str) -> Result<Vec<MacAddr>, BadSet> {
        let wrong = |_| BadSet::Wrong { key, want: "a list of MAC addresses" };
        self.texts(key)?.iter().map(|text| text.parse().map_err(wrong)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(keys: &str) -> Vec<u8> {
        format!("<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>{keys}</dict></plist>").into_bytes()
    }

    const BOOTER: &str = "<key>Architectures</key><array><string>i386</string></array>
        <key>BootFile</key><string>booter</string><key>Index</key><integer>1</integer>
        <key>IsInstall</key><true/><key>Kind</key><integer>1</integer><key>Name</key><string>Rootstock</string>
        <key>Type</key><string>BootFileOnly</string>";

    fn read(keys: &str) -> Result<BootSet, BadSet> {
        BootSet::read("x.nbi", &xml(keys))
    }

    fn wrong(keys: &str) -> String {
        read(keys).unwrap_err().to_string()
    }

    #[test]
    fn a_booter_needs_no_root_path() {
        let set = read(BOOTER).unwrap();
        assert_eq!((set.name.as_str(), set.id.to_string().as_str()), ("Rootstock", "0x81000001"));
        assert_eq!(set.boot_file("i386").unwrap().as_str(), "x.nbi/i386/booter");
        assert_eq!(
            (set.root.as_ref(), set.is_enabled, set.is_default, set.filter_only),
            (None, true, false, false)
        );
        assert_eq!(set.boot_file("ppc"), None);
    }

    #[test]
    fn a_binary_property_list_says_the_same_as_its_xml() {
        let value: plist::Value = plist::from_bytes(&xml(BOOTER)).unwrap();
        let mut binary = Vec::new();
        value.to_writer_binary(&mut binary).unwrap();
        assert_eq!(BootSet::read("x.nbi", &binary).unwrap(), read(BOOTER).unwrap());
    }

    #[test]
    fn an_index_written_as_a_string_is_accepted() {
        let text =
            BOOTER.replace("<key>Index</key><integer>1</integer>", "<key>Index</key><string> 1322</string>");
        assert_eq!(read(&text).unwrap().id.to_string(), "0x8100052a");
    }

    #[test]
    fn restrictions_by_model_and_address_are_kept() {
        let keys = format!(
            "{BOOTER}<key>EnabledSystemIdentifiers</key><array><string>iMac14,2</string></array>
             <key>DisabledMACAddresses</key><array><string>0:1b:63:aa:f:1</string></array>"
        );
        let set = read(&keys).unwrap();
        let mac = |text: &str| text.parse().unwrap();
        assert!(set.allows("i386", "iMac14,2", mac("00:1b:63:aa:0f:02")));
        assert!(!set.allows("i386", "iMac14,2", mac("00:1b:63:aa:0f:01")));
        assert!(!set.allows("i386", "iMac14,1", mac("00:1b:63:aa:0f:02")));
        assert!(!set.allows("ppc", "iMac14,2", mac("00:1b:63:aa:0f:02")));
    }

    #[test]
    fn diagnostics_are_shown_only_to_clients_that_filter_for_them() {
        let set = read(&BOOTER.replace("<key>Kind</key><integer>1", "<key>Kind</key><integer>3")).unwrap();
        assert!(set.filter_only && !set.passes(&[]));
        assert!(set.passes(&[set.id.attributes()]));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(wrong(&BOOTER.replace("Rootstock", " ")), "NBImageInfo.plist has no `Name`");
        assert!(wrong(&BOOTER.replace("Rootstock", "Root\nstock")).contains("`Name` must be text without"));
        assert_eq!(wrong(&BOOTER.replace("BootFileOnly", "HTTP")), "NBImageInfo.plist has no `RootPath`");
        assert_eq!(
            wrong(&format!("{BOOTER}<key>IsEnabled</key><string>yes</string>")),
            "NBImageInfo.plist: `IsEnabled` must be true or false"
        );
        assert!(wrong(&BOOTER.replace("booter", "../../etc/passwd")).contains("leads out of the folder"));
        assert!(wrong(&BOOTER.replace("booter", "x\\booter")).contains("leads out of the folder"));
        assert!(wrong(&BOOTER.replace("booter", &"b".repeat(120))).contains("127 bytes"));
        assert!(wrong(&BOOTER.replace("<string>i386</string>", "")).contains("Architectures"));
        assert!(BootSet::read("x.nbi", b"not a plist").is_err());
        assert!(BootSet::read("x.nbi", &vec![b' '; LONGEST_PLIST + 1]).is_err());
    }

    #[test]
    fn root_paths_are_ours_or_begin_with_an_address() {
        let root = |kind: &str, path: &str| {
            let text = BOOTER.replace("BootFileOnly", kind);
            read(&format!("{text}<key>RootPath</key><string>{path}</string>")).map(|set| set.root.unwrap())
        };
        assert_eq!(
            root("HTTP", "Net Install.dmg").unwrap(),
            RootPath::Ours("x.nbi/Net%20Install.dmg".into())
        );
        let url = "http://10.0.1.7/NetBoot/x.dmg";
        assert_eq!(root("HTTP", url).unwrap(), RootPath::Elsewhere(url.into()));
        assert!(root("HTTP", "http://server/x.dmg").is_err());
        assert_eq!(
            root("NFS", "10.0.1.7:/nb:x.dmg").unwrap(),
            RootPath::Elsewhere("nfs:10.0.1.7:/nb:x.dmg".into())
        );
        assert!(matches!(root("NFS", "NetBoot.dmg"), Err(BadSet::Type(_))));
    }
}
