//! Ordinary clients: PXE 2.1 ROMs, UEFI PXE, iPXE, UEFI HTTP boot; what proxyDHCP tells each (RFC 4578, PXE 2.1).
//!
//! | client | on port 67 | on port 4011 |
//! |---|---|---|
//! | BIOS PXE | offer with boot file and option 43 `06 01 08`: use it, no menu | the same |
//! | UEFI PXE | offer without boot file: it comes back on 4011 | ACK with boot file |
//! | iPXE | offer with the URL of our script | ACK with that URL |
//! | UEFI HTTP | offer with the URL of the loader in option 67 | |
//!
//! Owns: client architectures, who is iPXE, which reply fits whom. Must not know: BSDP, where loaders lie.

use std::fmt;
use std::net::Ipv4Addr;

use super::dhcp::{FileName, MessageType, Packet, Reply, code};
use crate::value::MacAddr;

mod policy;

pub use policy::{LeftAlone, MacPrefix, Policy, Serve};

/// Where proxyDHCP servers listen for clients that have an address already.
pub const PROXY_PORT: u16 = 4011;

/// What fetches the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Class `PXEClient`.
    Tftp,
    /// Class `HTTPClient`.
    Http,
}

/// Processor and firmware of a client (option 93, IANA's registry of RFC 4578 types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// BIOS.
    Bios,
    /// 32-bit UEFI.
    Ia32,
    /// 64-bit UEFI; also type 9 (EFI byte code), which some x64 firmware sends.
    X64,
    /// 64-bit ARM UEFI.
    Arm64,
    /// Anything else.
    Other(u16),
}

impl From<u16> for Architecture {
    fn from(code: u16) -> Architecture {
        match code {
            0 => Architecture::Bios,
            6 | 15 => Architecture::Ia32,
            7 | 9 | 16 | 17 => Architecture::X64,
            11 | 19 => Architecture::Arm64,
            other => Architecture::Other(other),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Architecture::Bios => f.write_str("BIOS"),
            Architecture::Ia32 => f.write_str("32-bit UEFI"),
            Architecture::X64 => f.write_str("64-bit UEFI"),
            Architecture::Arm64 => f.write_str("ARM64 UEFI"),
            Architecture::Other(code) => write!(f, "architecture {code}"),
        }
    }
}

/// The first program for each architecture, relative to the TFTP root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaders {
    /// For BIOS.
    pub bios: Option<FileName>,
    /// For 32-bit UEFI.
    pub ia32: Option<FileName>,
    /// For 64-bit UEFI.
    pub x64: Option<FileName>,
    /// For ARM64 UEFI.
    pub arm64: Option<FileName>,
}

impl Loaders {
    /// The loader for one architecture.
    pub fn get(&self, architecture: Architecture) -> Option<&FileName> {
        match architecture {
            Architecture::Bios => self.bios.as_ref(),
            Architecture::Ia32 => self.ia32.as_ref(),
            Architecture::X64 => self.x64.as_ref(),
            Architecture::Arm64 => self.arm64.as_ref(),
            Architecture::Other(_) => None,
        }
    }
}

/// A PXE or HTTP boot client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// By its class.
    pub transport: Transport,
    /// The first architecture it names that can be served, else the first that is known here, else the first.
    pub architecture: Architecture,
    /// iPXE is running already: it gets the script, or it would load iPXE for ever.
    pub is_ipxe: bool,
    /// Option 97, to be repeated in the reply. Some ROMs leave it out.
    pub uuid: Option<Vec<u8>>,
}

/// Why a client of this class cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPxe {
    /// Not Ethernet.
    #[error("hardware type {0} is not Ethernet")]
    Hardware(u8),
    /// Neither option 93 nor `Arch:` in option 60.
    #[error("it names no architecture, neither in option 93 nor in option 60")]
    NoArchitecture,
}

impl Client {
    /// The class that option 60 claims.
    pub fn claimed_by(packet: &Packet<'_>) -> Option<Transport> {
        let class = packet.option(code::CLASS_ID)?;
        if class.starts_with(b"PXEClient") {
            Some(Transport::Tftp)
        } else {
            class.starts_with(b"HTTPClient").then_some(Transport::Http)
        }
    }

    /// Reads a client of the class `transport`. Of several architectures it is the first that `loaders` serve.
    pub fn read(packet: &Packet<'_>, transport: Transport, loaders: &Loaders) -> Result<Client, NotPxe> {
        let mac = packet.mac().ok_or(NotPxe::Hardware(packet.htype))?;
        let listed = packet.option(code::CLIENT_ARCHITECTURE).unwrap_or_default();
        let listed: Vec<Architecture> =
            listed.as_chunks::<2>().0.iter().map(|word| u16::from_be_bytes(*word).into()).collect();
        let served = listed.iter().find(|architecture| loaders.get(**architecture).is_some());
        let known = || listed.iter().find(|architecture| !matches!(architecture, Architecture::Other(_)));
        let architecture = served.or_else(known).or(listed.first()).copied().or_else(|| in_class(packet));
        let is_ipxe = packet.option(code::USER_CLASS).is_some_and(|user| is_ipxe(&user));
        let uuid =
            packet.option(code::CLIENT_UUID).filter(|uuid| uuid.len() == 17).map(|uuid| uuid.into_owned());
        Ok(Client {
            mac,
            transport,
            architecture: architecture.ok_or(NotPxe::NoArchitecture)?,
            is_ipxe,
            uuid,
        })
    }

    /// A reply from `server` with everything but the boot file.
    fn reply(&self, packet: &Packet<'_>, kind: MessageType, server: Ipv4Addr) -> Reply {
        let class: &[u8] = match self.transport {
            Transport::Tftp => b"PXEClient",
            Transport::Http => b"HTTPClient",
        };
        let reply = Reply::to(packet, kind, server)
            .ciaddr(packet.ciaddr)
            .next_server(server)
            .option(code::CLASS_ID, class);
        let reply = if packet.ciaddr.is_unspecified() { reply.broadcast() } else { reply };
        match &self.uuid {
            Some(uuid) => reply.option(code::CLIENT_UUID, uuid.clone()),
            None => reply,
        }
    }

    /// The reply that names `file`: a TFTP path or a URL.
    pub fn tell(&self, packet: &Packet<'_>, kind: MessageType, server: Ipv4Addr, file: &FileName) -> Reply {
        let reply = self.reply(packet, kind, server);
        match (self.transport, self.architecture) {
            // An HTTPClient offer without a URI in option 67 or `file` is discarded (edk2 HttpBootDxe).
            (Transport::Http, _) => reply.option(code::BOOT_FILE, file.as_str()),
            // PXE 2.1 table 2-1, tag 6 bit 3: use the boot file, no discovery, no menu.
            (Transport::Tftp, Architecture::Bios) => {
                reply.file(file).option(code::VENDOR, [0x06, 0x01, 0x08, code::END])
            }
            (Transport::Tftp, _) => reply.file(file),
        }
    }

    /// The offer that sends UEFI PXE to port 4011: edk2 takes an offer without option 43 for a boot server's
    /// (ProxyBinl) and asks there, whether the offer named a file or not.
    pub fn invite(&self, packet: &Packet<'_>, server: Ipv4Addr) -> Reply {
        self.reply(packet, MessageType::Offer, server)
    }
}

/// iPXE writes `iPXE` plainly; RFC 3004 section 4 has a length before each of several classes.
fn is_ipxe(user: &[u8]) -> bool {
    let mut rest = user;
    while let [length, more @ ..] = rest {
        match more.split_at_checked(usize::from(*length)) {
            Some((b"iPXE", _)) => return true,
            Some((_, next)) if *length > 0 => rest = next,
            _ => break,
        }
    }
    user == b"iPXE"
}

/// The architecture in `PXEClient:Arch:00007:UNDI:003000`.
fn in_class(packet: &Packet<'_>) -> Option<Architecture> {
    let class = packet.option(code::CLASS_ID)?;
    let text = std::str::from_utf8(&class).ok()?;
    let digits = text.split_once(":Arch:")?.1.split(':').next()?;
    digits.parse::<u16>().ok().map(Architecture::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netboot::fixture;

    fn read(options: &[(u8, Vec<u8>)]) -> Result<Client, NotPxe> {
        let bytes = fixture::packet([0; 4], options);
        Client::read(&Packet::parse(&bytes).unwrap(), Transport::Tftp, &Loaders::default())
    }

    #[test]
    fn the_architecture_is_the_first_known_one_of_option_93() {
        assert_eq!(read(&[(93, vec![0, 7])]).unwrap().architecture, Architecture::X64);
        assert_eq!(read(&[(93, vec![0, 2, 0, 9, 0, 0])]).unwrap().architecture, Architecture::X64);
        assert_eq!(read(&[(93, vec![0, 0x27])]).unwrap().architecture, Architecture::Other(0x27));
    }

    #[test]
    fn of_several_architectures_the_first_that_can_be_served_is_taken() {
        let file = || FileName::try_from("x.efi".to_owned()).ok();
        let (x64, both) = (
            Loaders { x64: file(), ..Loaders::default() },
            Loaders { x64: file(), ia32: file(), ..Loaders::default() },
        );
        for (words, loaders, want) in [
            (vec![0, 6, 0, 7], &x64, Architecture::X64),
            (vec![0, 6, 0, 7], &both, Architecture::Ia32),
            (vec![0, 0, 0, 15, 0, 16], &x64, Architecture::X64),
            (vec![0, 6, 0, 11], &x64, Architecture::Ia32),
            (vec![0, 0x27, 0, 11], &x64, Architecture::Arm64),
        ] {
            let bytes = fixture::packet([0; 4], &[(93, words.clone())]);
            let read = Client::read(&Packet::parse(&bytes).unwrap(), Transport::Tftp, loaders).unwrap();
            assert_eq!(read.architecture, want, "{words:?}");
        }
    }

    #[test]
    fn the_words_of_option_93_are_those_of_the_registry() {
        let architecture = |word: u16| Architecture::from(word);
        assert_eq!(architecture(0), Architecture::Bios);
        assert_eq!([6, 15].map(architecture), [Architecture::Ia32; 2]);
        assert_eq!([7, 9, 16, 17].map(architecture), [Architecture::X64; 4]);
        assert_eq!([11, 19].map(architecture), [Architecture::Arm64; 2]);
        assert!(
            [1, 2, 10, 18, 20, 27, 39].map(architecture).iter().all(|a| matches!(a, Architecture::Other(_)))
        );
    }

    #[test]
    fn without_option_93_the_class_tells_the_architecture() {
        let class = b"PXEClient:Arch:00006:UNDI:003000".to_vec();
        assert_eq!(read(&[(60, class)]).unwrap().architecture, Architecture::Ia32);
        assert_eq!(read(&[(60, b"PXEClient".to_vec())]), Err(NotPxe::NoArchitecture));
    }

    #[test]
    fn ipxe_is_known_by_its_user_class_in_both_spellings() {
        for user in [&b"iPXE"[..], b"\x04iPXE", b"\x03lab\x04iPXE\x01x"] {
            assert!(read(&[(93, vec![0, 7]), (77, user.to_vec())]).unwrap().is_ipxe, "{user:?}");
        }
        for user in [&b"other"[..], b"not-iPXE", b"\x09iPXE", b"\x00\x04iPXE", b"\x08not-iPXE", b""] {
            assert!(!read(&[(93, vec![0, 7]), (77, user.to_vec())]).unwrap().is_ipxe, "{user:?}");
        }
    }

    #[test]
    fn the_uuid_is_repeated_only_when_it_is_one() {
        assert_eq!(read(&[(93, vec![0, 7]), (97, vec![0; 17])]).unwrap().uuid, Some(vec![0; 17]));
        assert_eq!(read(&[(93, vec![0, 7]), (97, vec![0; 40])]).unwrap().uuid, None);
    }

    proptest! {
        #[test]
        fn any_options_give_a_client_or_a_reason(
            values in prop::collection::vec((prop::sample::select(vec![60u8, 77, 93, 97]),
                prop::collection::vec(any::<u8>(), 0..40)), 0..5),
        ) {
            let _ = read(&values);
        }
    }
}
