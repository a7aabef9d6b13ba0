//! From NBImageInfo.plist, and what the site says instead, to a [`BootSet`], or to the key that is wrong.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::overrides::Overrides;
use super::plist::Value;
use super::program::{Program, Width};
use super::root::{self, NfsExport};
use super::{Access, BootFile, BootSet, LONGEST_PLIST, Type};
use crate::netboot::bsdp::{BadImageId, ImageId};
use crate::netboot::dhcp::{FileName, FileNameTooLong};
use crate::value::MacAddr;

/// Longest name that a list can carry (bsdp.md section 3: 255 bytes of option 43 without what stands around it).
const LONGEST_NAME: usize = 246;
/// Architectures, models or addresses in one list.
const MOST_ACCESS: usize = 5000;

/// What lies in the folder, as the set sees it.
pub struct Surroundings<'a> {
    /// What the site says instead of the property list.
    pub overrides: &'a Overrides,
    /// The export for NFS sets, if the site has one.
    pub nfs: Option<&'a NfsExport>,
    /// A file of the folder by its path, judged; none when it is not there.
    pub look: &'a dyn Fn(&str) -> Option<Program>,
}

/// Why a `.nbi` folder cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum BadSet {
    /// Longer than any real one.
    #[error("NBImageInfo.plist has {0} bytes, at most {LONGEST_PLIST} are read")]
    Long(usize),
    /// Neither XML nor binary property list.
    #[error("NBImageInfo.plist is neither an XML nor a binary property list")]
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
    #[error("no image id: {0}; give the set another Index")]
    Id(BadImageId),
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
    #[error("root path `{path}` would take {length} bytes, option 17 holds 255; shorten the names")]
    RootPath {
        /// As written.
        path: String,
        /// Bytes on the wire, with the longest address.
        length: usize,
    },
    /// Needs an export that the settings do not name.
    #[error(
        "its root image is for NFS: export the boot folder and set `nbi.nfs` to the export, or name another server's image \
         with --root-path ADDRESS:EXPORT:IMAGE"
    )]
    NoExport,
    /// Needs a share that this server does not have.
    #[error("type `{0}` is not served; HTTP, NFS and BootFileOnly are")]
    Type(String),
    /// Names would be cut, or lists are absurd.
    #[error("`{key}` has {found}, at most {most} are served")]
    TooMuch {
        /// The key.
        key: &'static str,
        /// Bytes or entries.
        found: usize,
        /// Bound.
        most: usize,
    },
    /// An architecture without its booter.
    #[error("its boot file {0} is missing")]
    NoBootFile(String),
    /// A booter that ends too early.
    #[error("its boot file {path} has not all of its {need} bytes: it is still being copied, or was cut off")]
    CutBootFile {
        /// Which.
        path: String,
        /// Bytes that it must have.
        need: u64,
    },
}

impl BootSet {
    /// Reads the NBImageInfo.plist (XML or binary) of the folder named `folder`, as if its boot files were there.
    pub fn read(folder: &str, plist: &[u8]) -> Result<BootSet, BadSet> {
        let overrides = &Overrides::default();
        let look = &|path: &str| (!path.ends_with("-ia32")).then_some(Program::Unknown);
        BootSet::read_with(folder, plist, &Surroundings { overrides, nfs: None, look })
    }

    /// Reads the NBImageInfo.plist of the folder named `folder` with what the site says and what lies in the folder.
    pub fn read_with(folder: &str, plist: &[u8], around: &Surroundings<'_>) -> Result<BootSet, BadSet> {
        if plist.len() > LONGEST_PLIST {
            return Err(BadSet::Long(plist.len()));
        }
        let Value::Dictionary(mut keys) = Value::read(plist).map_err(BadSet::Plist)? else {
            return Err(BadSet::NoDictionary);
        };
        overlay(&mut keys, around.overrides);
        let keys = Keys(keys);
        let kind = Type::read(keys.text("Type")?.ok_or(BadSet::Missing("Type"))?)?;
        let (root, root_file) = match kind {
            Type::BootFileOnly => (None, None),
            Type::Http | Type::Nfs => {
                let path = keys.text("RootPath")?.ok_or(BadSet::Missing("RootPath"))?;
                let (root, file) = root::read(folder, kind.as_str(), path, around.nfs)?;
                (Some(root), file)
            }
        };
        let number = keys.number("Kind")?.or(root.is_some().then_some(1)).ok_or(BadSet::Missing("Kind"))?;
        let index = keys.number("Index")?.ok_or(BadSet::Missing("Index"))?;
        let name = keys.text("Name")?.ok_or(BadSet::Missing("Name"))?.to_owned();
        bounded("Name", name.len(), LONGEST_NAME)?;
        if name.chars().any(char::is_control) {
            return Err(BadSet::Wrong { key: "Name", want: "text without control characters" });
        }
        Ok(BootSet {
            folder: folder.to_owned(),
            name,
            id: ImageId::new(keys.flag("IsInstall", false)?, number, index).map_err(BadSet::Id)?,
            kind,
            is_enabled: keys.flag("IsEnabled", true)?,
            is_default: keys.flag("IsDefault", false)?,
            filter_only: keys.flag("FilterOnly", number == 3)?,
            root,
            root_file,
            load_balance: load_balance(&keys)?,
            boot_files: boot_files(folder, &keys, around.look)?,
            access: Access {
                enabled_systems: keys.texts("EnabledSystemIdentifiers")?,
                disabled_systems: keys.texts("DisabledSystemIdentifiers")?,
                enabled_macs: keys.macs("EnabledMACAddresses")?,
                disabled_macs: keys.macs("DisabledMACAddresses")?,
            },
        })
    }
}

/// Puts the site's values in the place of the list's, so that one set of rules holds for both.
fn overlay(keys: &mut BTreeMap<String, Value>, own: &Overrides) {
    let texts = |list: &[String]| Value::List(list.iter().cloned().map(Value::Text).collect());
    let macs = |list: &[MacAddr]| Value::List(list.iter().map(|mac| Value::Text(mac.to_string())).collect());
    let values = [
        ("Name", own.name.clone().map(Value::Text)),
        ("Index", own.index.map(Value::Number)),
        ("IsDefault", own.default.map(Value::Flag)),
        ("IsEnabled", own.enabled.map(Value::Flag)),
        ("EnabledSystemIdentifiers", own.models.as_deref().map(texts)),
        ("EnabledMACAddresses", own.macs.as_deref().map(macs)),
        ("RootPath", own.root_path.clone().map(Value::Text)),
    ];
    for (key, value) in values {
        if let Some(value) = value {
            keys.insert(key.to_owned(), value);
        }
    }
}

/// Apple's rule: every architecture must have its boot file, that of `ppc` may lie at the top; without the key it is
/// `ppc`. Where that file is absent and `i386` has one, the set is taken for one of Intel Macs: Apple's server would
/// not offer it to anybody.
fn boot_files(
    folder: &str,
    keys: &Keys,
    look: &dyn Fn(&str) -> Option<Program>,
) -> Result<Vec<BootFile>, BadSet> {
    let name = inside("BootFile", keys.text("BootFile")?.ok_or(BadSet::Missing("BootFile"))?)?;
    let mut architectures = keys.texts("Architectures")?;
    if architectures.is_empty() {
        if keys.0.contains_key("Architectures") {
            return Err(BadSet::Wrong { key: "Architectures", want: "a list that is not empty" });
        }
        let at = |arch: &str| look(&format!("{arch}/{name}")).is_some();
        let intel = !at("ppc") && look(name).is_none() && at("i386");
        architectures.push(if intel { "i386" } else { "ppc" }.to_owned());
    }
    bounded("Architectures", architectures.len(), 8)?;
    let file = |arch: String| {
        let path = format!("{}/{name}", inside("Architectures", &arch)?);
        let (path, program) = match look(&path) {
            Some(program) => (path, program),
            None if arch == "ppc" && look(name).is_some() => (name.to_owned(), Program::Unknown),
            None => return Err(BadSet::NoBootFile(path)),
        };
        whole(&path, program)?;
        let narrow = format!("{path}-ia32");
        let narrow = match look(&narrow) {
            Some(program) if arch == "i386" => {
                whole(&narrow, program)?;
                program.starts_on(Width::Bits32).then_some(narrow)
            }
            _ => None,
        };
        let named = |path: String| FileName::try_from(format!("{folder}/{path}"));
        Ok(BootFile { arch, program, file: named(path)?, ia32: narrow.map(named).transpose()? })
    };
    architectures.into_iter().map(file).collect()
}

fn whole(path: &str, program: Program) -> Result<(), BadSet> {
    match program {
        Program::Cut { need } => Err(BadSet::CutBootFile { path: path.to_owned(), need }),
        _ => Ok(()),
    }
}

fn bounded(key: &'static str, found: usize, most: usize) -> Result<(), BadSet> {
    if found > most { Err(BadSet::TooMuch { key, found, most }) } else { Ok(()) }
}

impl Type {
    fn read(text: &str) -> Result<Type, BadSet> {
        [Type::Http, Type::Nfs, Type::BootFileOnly]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| BadSet::Type(text.escape_debug().take(40).collect()))
    }
}

fn load_balance(keys: &Keys) -> Result<Option<Ipv4Addr>, BadSet> {
    let wrong =
        BadSet::Wrong { key: "LoadBalanceServer", want: "an IPv4 address (the firmware resolves no names)" };
    keys.text("LoadBalanceServer")?.map(|text| text.parse().map_err(|_| wrong)).transpose()
}

/// A path that stays in its folder.
pub(super) fn inside<'p>(key: &'static str, path: &'p str) -> Result<&'p str, BadSet> {
    let stays = !path.starts_with('/')
        // TFTP clients write slashes as backslashes: one in a name would never be found.
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if stays { Ok(path) } else { Err(BadSet::Outside { key, path: path.escape_debug().take(200).collect() }) }
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
            Some(Value::List(list)) => {
                bounded(key, list.len(), MOST_ACCESS)?;
                list.iter().map(text).collect()
            }
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
        assert_eq!(set.boot_file("i386", "iMac14,2").unwrap().as_str(), "x.nbi/i386/booter");
        assert_eq!(
            (set.root.as_ref(), set.is_enabled, set.is_default, set.filter_only),
            (None, true, false, false)
        );
        assert_eq!(set.boot_file("ppc", "PowerMac3,1"), None);
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

    fn read_in(files: &[(&str, Program)], overrides: &Overrides, keys: &str) -> Result<BootSet, BadSet> {
        let look = &|path: &str| files.iter().find(|(own, _)| *own == path).map(|(_, program)| *program);
        BootSet::read_with("x.nbi", &xml(keys), &Surroundings { overrides, nfs: None, look })
    }

    const NARROW: Program = Program::Efi { ia32: true, x64: false };
    const WIDE: Program = Program::Efi { ia32: false, x64: true };

    #[test]
    fn a_boot_file_is_wanted_for_every_architecture_and_that_of_ppc_may_lie_at_the_top() {
        let own = Overrides::default();
        let keys = BOOTER.replace("<string>i386</string>", "<string>i386</string><string>ppc</string>");
        let set = read_in(&[("i386/booter", WIDE), ("booter", Program::Unknown)], &own, &keys).unwrap();
        assert_eq!(set.boot_file("ppc", "PowerMac3,1").unwrap().as_str(), "x.nbi/booter");
        let error = read_in(&[("i386/booter", WIDE)], &own, &keys).unwrap_err().to_string();
        assert_eq!(error, "its boot file ppc/booter is missing");
    }

    #[test]
    fn without_architectures_a_set_is_for_ppc_unless_only_intel_macs_could_start_it() {
        let own = Overrides::default();
        let start = BOOTER.find("<key>BootFile").unwrap();
        let ppc = read_in(&[("ppc/booter", Program::Unknown), ("i386/booter", WIDE)], &own, &BOOTER[start..]);
        assert!(ppc.unwrap().boot_file("i386", "iMac14,2").is_none());
        let intel = read_in(&[("i386/booter", WIDE)], &own, &BOOTER[start..]).unwrap();
        assert!(intel.boot_file("i386", "iMac14,2").is_some());
        let none = read_in(&[], &own, &BOOTER[start..]).unwrap_err().to_string();
        assert_eq!(none, "its boot file ppc/booter is missing");
    }

    #[test]
    fn a_mac_with_32_bit_firmware_gets_what_it_can_start_or_nothing() {
        let own = Overrides::default();
        let file = |files: &[(&str, Program)], model: &str| {
            let set = read_in(files, &own, BOOTER).unwrap();
            set.boot_file("i386", model).map(|file| file.as_str().to_owned())
        };
        let both = [("i386/booter", WIDE), ("i386/booter-ia32", NARROW)];
        assert_eq!(file(&both, "MacBook1,1").as_deref(), Some("x.nbi/i386/booter-ia32"));
        assert_eq!(file(&both, "iMac14,2").as_deref(), Some("x.nbi/i386/booter"));
        for (unconfirmed, booter) in
            [("Macmini2,1", "x.nbi/i386/booter-ia32"), ("MacBook3,1", "x.nbi/i386/booter")]
        {
            assert_eq!(file(&both, unconfirmed).as_deref(), Some(booter), "the best that is known");
        }
        assert_eq!(file(&both[..1], "MacBook1,1"), None);
        assert_eq!(file(&[("i386/booter", NARROW)], "iMac14,2"), None);
        assert!(file(&both[..1], "Unheard1,1").is_some(), "what is not known is not ruled out");
        let fat = [("i386/booter", Program::Efi { ia32: true, x64: true })];
        assert!(file(&fat, "MacBook1,1").is_some() && file(&fat, "iMac14,2").is_some());
        let set = read_in(&both[..1], &own, BOOTER).unwrap();
        assert!(!set.allows("i386", "MacBook1,1", "00:1b:63:aa:0f:02".parse().unwrap()));
    }

    #[test]
    fn a_boot_file_that_is_cut_off_is_no_boot_file() {
        let cut = Program::Cut { need: 77 };
        let error = read_in(&[("i386/booter", cut)], &Overrides::default(), BOOTER).unwrap_err().to_string();
        assert!(error.contains("i386/booter has not all of its 77 bytes"), "{error}");
        let files = [("i386/booter", WIDE), ("i386/booter-ia32", cut)];
        assert!(matches!(read_in(&files, &Overrides::default(), BOOTER), Err(BadSet::CutBootFile { .. })));
    }

    #[test]
    fn what_the_site_says_wins_and_obeys_the_same_rules() {
        let mut own = Overrides {
            name: Some("Lab".into()),
            index: Some(77),
            default: Some(true),
            enabled: Some(false),
            models: Some(vec!["iMac14,2".into()]),
            macs: Some(vec!["0:1b:63:aa:f:1".parse().unwrap()]),
            root_path: None,
        };
        let files = [("i386/booter", WIDE)];
        let set = read_in(&files, &own, BOOTER).unwrap();
        assert_eq!((set.name.as_str(), set.id.to_string().as_str()), ("Lab", "0x8100004d"));
        assert_eq!((set.is_default, set.is_enabled), (true, false));
        assert_eq!((set.access.enabled_systems.len(), set.access.enabled_macs.len()), (1, 1));
        for index in [0, 65536, -1] {
            own.index = Some(index);
            let error = read_in(&files, &own, BOOTER).unwrap_err().to_string();
            assert!(error.contains(&format!("index {index} is outside 1 to 65535")), "{error}");
        }
        own = Overrides { name: Some(" ".into()), ..Overrides::default() };
        assert!(matches!(read_in(&files, &own, BOOTER), Err(BadSet::Missing("Name"))));
        own.name = Some("n".repeat(247));
        assert!(matches!(read_in(&files, &own, BOOTER), Err(BadSet::TooMuch { .. })));
    }
}
