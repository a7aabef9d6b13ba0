//! Judges what came: which server a Mac takes, what a booter can start, what iPXE's script names. Pure.

use std::net::Ipv4Addr;

use crate::client::dhcp::Heard;
use crate::client::tftp::TftpError;
use crate::netboot::bsdp::told::Told;
use crate::netboot::bsdp::{CLASS, ImageId, MessageType};
use crate::netboot::dhcp::code;
use crate::netboot::nbi::{Program, Width};
use crate::value::model::{Firmware, Model};

/// A server that answered LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// BSDP server id, option 54.
    pub server: Ipv4Addr,
    /// What it said.
    pub told: Told,
}

impl Listed {
    /// The image that a Mac without a user takes from this server.
    pub fn image(&self) -> Option<ImageId> {
        self.told.selected.or(self.told.default)
    }

    /// The image's name.
    pub fn name(&self) -> &str {
        let own = |(id, _): &&(ImageId, String)| Some(*id) == self.image();
        self.told.images.iter().find(own).map_or("an image without a name", |(_, name)| name)
    }
}

/// The server that a Mac takes: one with a binding, else the highest priority, else the first heard (bsdp.md section 9).
pub fn winner(listed: &[Listed]) -> Option<&Listed> {
    let usable = |one: &&Listed| one.told.kind == Some(MessageType::List) && one.image().is_some();
    listed.iter().find(|one| usable(one) && one.told.selected.is_some()).or_else(|| {
        let mut best: Option<&Listed> = None;
        for one in listed.iter().filter(usable) {
            if best.is_none_or(|best| one.told.priority > best.told.priority) {
                best = Some(one);
            }
        }
        best
    })
}

/// What a booter is, for people.
pub fn in_words(booter: Program) -> String {
    match booter {
        Program::Efi { ia32: true, x64: true } => "Apple's EFI program for 32 and 64 bits".to_owned(),
        Program::Efi { ia32: true, x64: false } => "an EFI program of 32 bits".to_owned(),
        Program::Efi { ia32: false, x64: true } => "an EFI program of 64 bits".to_owned(),
        Program::Efi { ia32: false, x64: false } => "an EFI program for no Intel Mac".to_owned(),
        Program::Unknown => "no EFI program".to_owned(),
        Program::Cut { need } => format!("an EFI program that was cut off: it has {need} bytes"),
    }
}

/// Why this model's firmware would not start a booter; of a model that nobody knows only what holds for all.
pub fn obstacle(booter: Program, model: Option<&Model>) -> Option<String> {
    let width = match model.map(|model| model.firmware) {
        Some(Firmware::Efi32) => Some(Width::Bits32),
        Some(Firmware::Efi64) => Some(Width::Bits64),
        _ => None,
    };
    match (booter, width, model) {
        (Program::Unknown | Program::Cut { .. }, _, _) => Some(format!("it is {}", in_words(booter))),
        (_, Some(width), Some(model)) if !booter.starts_on(width) => Some(format!(
            "{} has {}, and this is {}",
            model.identifier,
            model.firmware.in_words(),
            in_words(booter)
        )),
        _ => None,
    }
}

/// What iPXE's script names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The kernel's URL.
    pub kernel: Option<String>,
    /// The boot environment's URL.
    pub initrd: Option<String>,
    /// Where the runner reports: `https://10.0.0.1:443`.
    pub server: Option<String>,
    /// What the screen would say.
    pub says: Vec<String>,
}

impl Script {
    /// Reads a script; none when it is no iPXE script.
    pub fn read(text: &str) -> Option<Script> {
        if !text.starts_with("#!ipxe") {
            return None;
        }
        let mut script = Script::default();
        for line in text.lines().take(200) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("kernel") => {
                    script.kernel = words.next().map(str::to_owned);
                    let server = words.find_map(|word| word.strip_prefix("rootstock.server="));
                    script.server = server.map(str::to_owned);
                }
                Some("initrd") => script.initrd = words.next().map(str::to_owned),
                Some("echo") => script.says.push(words.collect::<Vec<_>>().join(" ")),
                _ => {}
            }
        }
        Some(script)
    }
}

/// The HTTP address in a root path (option 17), if it is one: `http://10.0.0.1/boot/a.nbi/NetInstall.dmg`.
pub fn http_root(root: &str) -> Option<&str> {
    root.starts_with("http://").then_some(root)
}

/// Places of Apple's kernel beside a booter, newest systems first (bsdp.md section 13).
pub fn kernelcaches(booter: &str) -> Vec<String> {
    let folder = booter.rsplit_once('/').map_or("", |(folder, _)| folder);
    ["x86_64/kernelcache", "kernelcache", "mach.macosx"]
        .iter()
        .map(|name| if folder.is_empty() { (*name).to_owned() } else { format!("{folder}/{name}") })
        .collect()
}

/// One answer in a line.
pub fn describe(heard: &Heard) -> String {
    let head = format!("{} after {} ms", heard.from, heard.after.as_millis());
    let packet = match heard.packet() {
        Ok(packet) => packet,
        Err(error) => return format!("{head}: {} bytes that are no DHCP: {error}", heard.bytes.len()),
    };
    let kind =
        packet.message_type().map_or("no message type".to_owned(), |kind| format!("{kind:?}").to_uppercase());
    let mut line = format!("{head}: {kind}, {} bytes, server {}", heard.bytes.len(), heard.server());
    let leased = packet.yiaddr;
    if !leased.is_unspecified() {
        line.push_str(&format!(", address {leased}"));
    }
    match packet.option(code::CLASS_ID) {
        Some(class) if class.as_ref() == CLASS => {}
        Some(class) => {
            line.push_str(&format!(", class `{}`", String::from_utf8_lossy(&class).escape_debug()))
        }
        None => line.push_str(", no class"),
    }
    if let Some(told) = Told::read(&packet) {
        line.push_str(&format!(
            ", BSDP {}",
            told.kind.map_or("OFFER", |kind| match kind {
                MessageType::List => "LIST",
                MessageType::Select => "SELECT",
                MessageType::Failed => "FAILED",
            })
        ));
        if told.kind == Some(MessageType::List) {
            line.push_str(&format!(", priority {}", told.priority));
        }
        for (id, name) in told.images.iter().take(20) {
            let is_default = if Some(*id) == told.default { ", default" } else { "" };
            let is_bound = if Some(*id) == told.selected { ", bound" } else { "" };
            line.push_str(&format!(", {name} ({id}{is_default}{is_bound})"));
        }
    }
    line
}

/// What to do about a file that did not come by TFTP.
pub fn tftp_remedy(error: &TftpError) -> &'static str {
    match error {
        TftpError::Silent { .. } => {
            "UDP 69 of the server is blocked, or TFTP does not run there: `rootstock doctor` on the server"
        }
        TftpError::Closed(_) => {
            "start rootstockd on the server; `rootstock doctor` there tells who has the port"
        }
        TftpError::BrokeOff { .. } => {
            "blocks are lost on the way: a smaller `max-block-size` in [tftp], or a firewall that lets only port 69 through"
        }
        TftpError::Refused { .. } => {
            "the file is not in the server's boot folder: rootstock media boot, or copy the .nbi again"
        }
        TftpError::BadPath(_) | TftpError::Socket { .. } => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::model::by_identifier;

    fn listed(last: u8, priority: u16, selected: Option<u32>) -> Listed {
        let image = ImageId::from(0x8100_0001);
        let told = Told {
            kind: Some(MessageType::List),
            priority,
            default: Some(image),
            selected: selected.map(ImageId::from),
            images: vec![(image, "Rootstock".to_owned())],
            machine_name: None,
        };
        Listed { server: Ipv4Addr::new(10, 0, 0, last), told }
    }

    #[test]
    fn a_mac_takes_the_server_that_it_is_bound_to_else_the_highest_priority_else_the_first() {
        let won = |all: &[Listed]| winner(all).map(|one| one.server.octets()[3]);
        assert_eq!(won(&[listed(1, 5, None), listed(2, 9, None), listed(3, 9, None)]), Some(2));
        assert_eq!(won(&[listed(1, 5, Some(7)), listed(2, 9, None)]), Some(1));
        let mut failed = listed(1, 5, None);
        failed.told.kind = Some(MessageType::Failed);
        assert_eq!(won(&[failed]), None);
        assert_eq!(won(&[]), None);
        assert_eq!(listed(1, 5, None).name(), "Rootstock");
    }

    #[test]
    fn a_booter_is_judged_by_the_models_firmware_and_what_is_none_by_nobodys() {
        let (old, new) = (by_identifier("MacBook2,1"), by_identifier("iMac14,2"));
        for (ia32, x64) in [(false, true), (true, false), (true, true), (false, false)] {
            let program = Program::Efi { ia32, x64 };
            assert_eq!((obstacle(program, old).is_none(), obstacle(program, new).is_none()), (ia32, x64));
            assert_eq!(obstacle(program, None), None);
        }
        for program in [Program::Unknown, Program::Cut { need: 9 }] {
            assert!(obstacle(program, None).is_some() && obstacle(program, new).is_some());
        }
    }

    #[test]
    fn the_script_that_we_write_is_read_and_one_that_asks_to_wait_too() {
        let ours = |missing: &'static [&'static str]| crate::netboot::ipxe::Script {
            files: "http://10.0.0.1",
            pair: "",
            server: "https://10.0.0.1:443",
            arguments: "console=tty0",
            missing,
        };
        let read = Script::read(&ours(&[]).text()).unwrap();
        assert_eq!(read.kernel.as_deref(), Some("http://10.0.0.1/boot/vmlinuz"));
        assert_eq!(read.initrd.as_deref(), Some("http://10.0.0.1/boot/initramfs.cpio.zst"));
        assert_eq!(read.server.as_deref(), Some("https://10.0.0.1:443"));
        let waits = Script::read(&ours(&["vmlinuz"]).text()).unwrap();
        assert!(waits.kernel.is_none() && waits.says.join(" ").contains("has no vmlinuz"), "{waits:?}");
        assert_eq!(Script::read("<html>"), None);
    }

    #[test]
    fn apples_kernel_is_looked_for_beside_the_booter() {
        assert_eq!(kernelcaches("a.nbi/i386/booter")[0], "a.nbi/i386/x86_64/kernelcache");
        assert_eq!(kernelcaches("booter")[1], "kernelcache");
    }
}
