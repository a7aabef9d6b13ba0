//! How an appliance announces itself (DNS-Based Service Discovery, RFC 6763): service type and TXT record.
//!
//! | key | what |
//! |---|---|
//! | `txtvers` | version of this record, 1 (RFC 6763 section 6.7) |
//! | `protocol` | version of the runner protocol |
//! | `ca` | SHA-256 of the appliance's CA certificate, hexadecimal |
//! | `name` | name of the appliance |
//!
//! The port of HTTPS stands in the SRV record, the addresses in A records. All of it is hearsay: anybody on the network can
//! announce anything. `ca` saves a vain try, trust comes from the TLS connection alone.
//!
//! Must not know: sockets, who announces or listens.

/// The service type, in the domain of multicast DNS (RFC 6762 section 3).
pub const SERVICE: &str = "_rootstock._tcp.local.";

/// Longest label of a name (RFC 1035 section 2.3.4), less the authority in brackets, less ` (99)` for a name that is taken.
const LONGEST_INSTANCE: usize = 63 - 11 - 5;
/// Longest name that is believed; the daemon's own setting is bounded at 64 characters.
const LONGEST_NAME: usize = 64;

/// What the TXT record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Name of the appliance.
    pub name: String,
    /// Version of the runner protocol.
    pub protocol: u32,
    /// SHA-256 of the CA certificate, 64 lower-case hexadecimal digits.
    pub ca: String,
}

impl Announcement {
    /// Keys and values of the TXT record.
    pub fn txt(&self) -> [(&'static str, String); 4] {
        [
            ("txtvers", "1".to_owned()),
            ("protocol", self.protocol.to_string()),
            ("ca", self.ca.clone()),
            // A TXT string has at most 255 bytes with its key (RFC 6763 section 6.1).
            ("name", cut(&self.name, 255 - "name=".len()).to_owned()),
        ]
    }

    /// Reads a TXT record; none when it is not one of ours.
    pub fn read<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Option<Announcement> {
        let ca = value("ca")?.to_ascii_lowercase();
        let well_formed = ca.len() == 64 && ca.bytes().all(|byte| byte.is_ascii_hexdigit());
        let printable = |text: &str| {
            text.chars().filter(|letter| !letter.is_control()).take(LONGEST_NAME).collect::<String>()
        };
        let name = value("name").map(printable).filter(|name| !name.trim().is_empty());
        well_formed.then_some(Announcement {
            name: name.unwrap_or_else(|| "Rootstock".to_owned()),
            protocol: value("protocol")?.parse().ok()?,
            ca,
        })
    }

    /// Name of the instance: that of the appliance, as long as a label may be, with the beginning of its authority. Two appliances of
    /// one name that start at the same moment may both believe that the name is theirs, and would be taken for one.
    pub fn instance(&self) -> String {
        format!("{} [{}]", cut(&self.name, LONGEST_INSTANCE), cut(&self.ca, 8))
    }

    /// Name of the host in the SRV record. Of its own, so that it does not compete with the machine's own mDNS responder for
    /// the machine's name; from the CA, so that it is the same at every start.
    pub fn host(&self) -> String {
        format!("rootstock-{}.local.", cut(&self.ca, 8))
    }
}

/// The longest beginning of at most `most` bytes that ends between two characters.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(name: &str) -> Announcement {
        Announcement { name: name.into(), protocol: 1, ca: "0a".repeat(32) }
    }

    fn read(txt: &[(&str, &str)]) -> Option<Announcement> {
        Announcement::read(|key| txt.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
    }

    #[test]
    fn what_is_announced_is_read_back() {
        let said = announcement("Lab 1 – groß");
        let txt = said.txt();
        assert_eq!(
            Announcement::read(|key| txt
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.as_str())),
            Some(said)
        );
    }

    #[test]
    fn a_long_name_is_cut_between_characters_to_a_label() {
        let long = announcement(&"ä".repeat(64));
        assert_eq!(long.instance(), "ä".repeat(23) + " [0a0a0a0a]");
        assert_eq!(announcement("Lab").instance(), "Lab [0a0a0a0a]");
        assert_eq!(long.host(), "rootstock-0a0a0a0a.local.");
    }

    #[test]
    fn a_record_without_a_whole_fingerprint_or_protocol_is_not_ours() {
        let ca = "AB".repeat(32);
        assert_eq!(read(&[("ca", &ca), ("protocol", "7")]).unwrap().ca, "ab".repeat(32));
        assert_eq!(read(&[("ca", &ca), ("protocol", "x")]), None);
        assert_eq!(read(&[("ca", &ca[1..]), ("protocol", "1")]), None);
        assert_eq!(read(&[("ca", &"g".repeat(64)), ("protocol", "1")]), None);
        assert_eq!(read(&[("protocol", "1")]), None);
    }

    #[test]
    fn a_name_from_the_network_cannot_draw_on_the_screen_nor_fill_it() {
        let ca = "0".repeat(64);
        let long = "\u{1b}[2J".to_owned() + &"x".repeat(300);
        let name = read(&[("ca", &ca), ("protocol", "1"), ("name", &long)]).unwrap().name;
        assert_eq!((name.chars().count(), name.starts_with("[2J")), (LONGEST_NAME, true));
        assert_eq!(read(&[("ca", &ca), ("protocol", "1"), ("name", "\u{7}")]).unwrap().name, "Rootstock");
    }
}
