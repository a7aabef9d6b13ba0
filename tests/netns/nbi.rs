//! A simulated Mac and Apple's own NetBoot sets: LIST, SELECT, the booter and its siblings by TFTP, the root image by HTTP.

use std::fs;
use std::net::Ipv4Addr;

use rootstock::netboot::dhcp::Packet;

use crate::discovery::{client, exchange, packet};
use crate::lab::Lab;
use crate::nbi_set::{Made, plain};
use crate::served::{Served, serve};

const SIERRA: &str = "<string>1322</string>";

/// A server with ours and two sets of Apple's kind.
fn lab() -> (Lab, Served) {
    let mut lab = Lab::new();
    lab.plug("server", "eth0", "lan", &["10.77.0.1/24"]);
    lab.plug("mac", "eth0", "lan", &["10.77.0.50/24"]);
    let served = serve(&lab, "server", |settings| {
        sierra().write(&settings.boot.join("Install macOS Sierra.nbi"));
        // As DeployStudio writes it: a binary list.
        let other = settings.boot.join("yosemite.nbi");
        plain("NetInstall of Yosemite ü", "<integer>4097</integer>").write(&other);
        let list: plist::Value = plist::from_file(other.join("NBImageInfo.plist")).unwrap();
        list.to_file_binary(other.join("NBImageInfo.plist")).unwrap();
    });
    (lab, served)
}

fn sierra() -> Made<'static> {
    plain("Install macOS Sierra", SIERRA)
}

fn class(model: &str) -> Vec<u8> {
    format!("AAPLBSDPC/i386/{model}").into_bytes()
}

/// Asks as a Mac of this model; gives the answer.
fn ask(lab: &Lab, model: &str, body: &[u8]) -> Vec<u8> {
    lab.inside("mac", || {
        let socket = client(68);
        let bytes = packet(1, [10, 77, 0, 50], &[(53, &[8]), (60, &class(model)), (43, body)]);
        let is_bsdp =
            |packet: &Packet<'_>, _| packet.option(60).is_some_and(|class| class.as_ref() == b"AAPLBSDPC");
        exchange(&socket, (Ipv4Addr::BROADCAST, 67), &bytes, is_bsdp).0
    })
}

/// Names and ids of BSDP option 9.
fn images(list: &[u8]) -> Vec<(u32, String)> {
    let packet = Packet::parse(list).unwrap();
    let mut images = Vec::new();
    for vendor in packet.instances(43) {
        let mut rest = vendor;
        while let [code, length, after @ ..] = rest {
            let (mut value, after) = after.split_at(usize::from(*length));
            while let (9, [a, b, c, d, length, after @ ..]) = (*code, value) {
                let (name, after) = after.split_at(usize::from(*length));
                images
                    .push((u32::from_be_bytes([*a, *b, *c, *d]), String::from_utf8(name.to_vec()).unwrap()));
                value = after;
            }
            rest = after;
        }
    }
    images
}

const LIST: &[u8] = &[1, 1, 1, 2, 2, 1, 1];

fn select(id: u32) -> Vec<u8> {
    [&[1, 1, 2, 2, 2, 1, 1, 8, 4][..], &id.to_be_bytes(), &[3, 4, 10, 77, 0, 1]].concat()
}

#[test]
fn the_picker_shows_the_real_name_of_every_set() {
    let (lab, _served) = lab();
    let images = images(&ask(&lab, "iMac14,2", LIST));
    assert_eq!(
        images,
        [
            (0x8100_052a, "Install macOS Sierra".to_owned()),
            (0x8100_0001, "Rootstock".to_owned()),
            (0x8100_1001, "NetInstall of Yosemite ü".to_owned()),
        ]
    );
}

#[test]
fn a_mac_walks_through_an_apple_set_from_its_choice_to_its_root_image() {
    let (lab, served) = lab();
    let answer = ask(&lab, "iMac14,2", &select(0x8100_052a));
    let answer = Packet::parse(&answer).unwrap();
    let file = std::str::from_utf8(answer.file).unwrap().to_owned();
    assert_eq!(file, "Install macOS Sierra.nbi/i386/booter");
    assert_eq!(answer.siaddr, Ipv4Addr::new(10, 77, 0, 1));
    let root = String::from_utf8(answer.option(17).unwrap().into_owned()).unwrap();
    assert_eq!(root, "http://10.77.0.1/boot/Install%20macOS%20Sierra.nbi/NetInstall.dmg");

    // boot.efi puts its siblings' names in the place of its own, the kernel cache with a backslash.
    let out = served.output("out");
    let folder = file.strip_suffix("booter").unwrap().to_owned();
    let prefixed = format!("/private/tftpboot/{folder}");
    for (asked, path) in [
        (format!("{folder}booter"), "i386/booter"),
        (format!("{folder}PlatformSupport.plist"), "i386/PlatformSupport.plist"),
        (format!("{folder}com.apple.Boot.plist"), "i386/com.apple.Boot.plist"),
        (format!("{folder}x86_64\\kernelcache"), "i386/x86_64/kernelcache"),
        (format!("{prefixed}x86_64\\kernelcache"), "i386/x86_64/kernelcache"),
        (folder.replace('/', "\\") + "booter", "i386/booter"),
    ] {
        let escaped = asked.replace(' ', "%20").replace('\\', "%5C");
        let url = format!("tftp://10.77.0.1/{escaped}");
        lab.must("mac", "curl", &["-sS", "--tftp-blksize", "1428", "-o", out.to_str().unwrap(), &url]);
        let want = sierra().files().into_iter().find(|(own, _)| *own == path).unwrap().1;
        assert!(fs::read(&out).unwrap() == want, "{asked} is not {path}");
    }

    let image = sierra().files().into_iter().find(|(own, _)| *own == "NetInstall.dmg").unwrap().1;
    let curl = |words: &[&str]| lab.must("mac", "curl", &[words, &[root.as_str()]].concat());
    let path = out.to_str().unwrap();
    // The kernel attaches the image and reads it here and there.
    for (range, part) in [("0-511", &image[..512]), ("1000000-1999999", &image[1_000_000..2_000_000])] {
        let code = curl(&["-sSf", "-r", range, "-o", path, "-w", "%{http_code}"]);
        assert!(code == "206" && fs::read(&out).unwrap() == part, "{range}: {code}");
    }
    let head = curl(&["-sSfI"]).to_lowercase();
    assert!(head.contains(&format!("content-length: {}", image.len())), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let if_range = |tag: &str| {
        let header = format!("If-Range: {tag}");
        curl(&["-sSf", "-r", "5-9", "-H", &header, "-o", path, "-w", "%{http_code} %{size_download}"])
    };
    assert_eq!(if_range(&tag), "206 5");
    assert_eq!(if_range("\"another\""), format!("200 {}", image.len()));
    let beyond = format!("{}-", image.len());
    assert_eq!(curl(&["-sS", "-r", &beyond, "-o", path, "-w", "%{http_code}"]), "416");
}

#[test]
fn a_mac_with_32_bit_firmware_sees_only_what_it_can_start() {
    let (lab, served) = lab();
    // The booters of both sets are 64-bit programs; ours is no EFI program in this test, and left to the Mac.
    let names = |model: &str| -> Vec<String> {
        images(&ask(&lab, model, LIST)).into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(names("MacBook2,1"), ["Rootstock"]);
    let narrow = served.folder.path().join("boot/yosemite.nbi/i386/booter-ia32");
    fs::write(narrow, b"a program for 32-bit firmware").unwrap();
    assert_eq!(names("MacBook2,1"), ["Rootstock", "NetInstall of Yosemite ü"]);
    let answer = ask(&lab, "MacBook2,1", &select(0x8100_1001));
    assert_eq!(Packet::parse(&answer).unwrap().file, b"yosemite.nbi/i386/booter-ia32");
    let answer = ask(&lab, "iMac14,2", &select(0x8100_1001));
    assert_eq!(Packet::parse(&answer).unwrap().file, b"yosemite.nbi/i386/booter");
}
