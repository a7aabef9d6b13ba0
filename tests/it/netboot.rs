//! The boot services on loopback: real sockets on ports that the system chose, real files, no root.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rootstock::api::timeline::{ClientEvent, Stage};
use rootstock::db::Db;
use rootstock::netboot::bsdp::{NotBsdp, Request};
use rootstock::netboot::dhcp::{MessageType, Packet};
use rootstock::server::netboot::{BindError, Bindings, Counters, Ports, Settings, Shared, Sockets, run};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const MAC: [u8; 6] = [0x80, 0xe6, 0x50, 0x09, 0xed, 0xa2];
const NBI: &str = "<plist version=\"1.0\"><dict><key>Name</key><string>Rootstock</string><key>Index</key>
    <integer>1</integer><key>Kind</key><integer>1</integer><key>IsInstall</key><true/>
    <key>BootFile</key><string>booter</string><key>Type</key><string>BootFileOnly</string>
    <key>Architectures</key><array><string>i386</string></array></dict></plist>";

/// A running server and its boot folder; stopped and joined when dropped.
struct Served {
    runtime: Runtime,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    events: mpsc::Receiver<ClientEvent>,
    counters: Arc<Counters>,
    folder: tempfile::TempDir,
    dhcp: SocketAddr,
    proxy: SocketAddr,
    tftp: SocketAddr,
    http: SocketAddr,
}

fn serve(change: impl FnOnce(&mut Settings)) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let boot = folder.path().join("boot");
    fs::create_dir_all(boot.join("rootstock.nbi/i386")).unwrap();
    fs::create_dir_all(boot.join("ipxe")).unwrap();
    fs::write(boot.join("rootstock.nbi/NBImageInfo.plist"), NBI).unwrap();
    fs::write(boot.join("rootstock.nbi/i386/booter"), pattern(250_000)).unwrap();
    fs::write(boot.join("ipxe/snponly.efi"), pattern(100_000)).unwrap();
    let mut settings = Settings::new(boot);
    settings.listen = Ipv4Addr::LOCALHOST;
    settings.ports = Ports { dhcp: 0, proxy: 0, tftp: 0, http: 0 };
    change(&mut settings);
    let runtime = Runtime::new().unwrap();
    let (sender, events) = mpsc::channel(100);
    let (stop, counters) = (CancellationToken::new(), Arc::new(Counters::default()));
    let sockets = runtime.block_on(async { Sockets::bind(&settings) }).unwrap();
    let (dhcp, proxy) = (sockets.dhcp_address().unwrap(), sockets.proxy_address().unwrap());
    let (tftp, http) = (sockets.tftp_address().unwrap(), sockets.http_address().unwrap());
    let db = runtime.block_on(Db::open(&folder.path().join("db.sqlite3"))).unwrap();
    let bindings = Arc::new(runtime.block_on(Bindings::open(db.clone(), 30)).unwrap());
    let shared = Shared { db, bindings, leases: None, timeline: sender, counters: counters.clone() };
    let task = runtime.spawn(run(sockets, settings, shared, stop.clone()));
    Served { runtime, stop, task: Some(task), events, counters, folder, dhcp, proxy, tftp, http }
}

impl Served {
    fn boot(&self) -> std::path::PathBuf {
        self.folder.path().join("boot")
    }

    fn event(&mut self) -> ClientEvent {
        let waiting = async { tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await };
        self.runtime.block_on(waiting).expect("no timeline entry came").unwrap()
    }

    fn http(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase(), bytes[end + 4..].to_vec())
    }
}

impl Served {
    /// Stops it and waits for its end.
    fn end(&mut self) {
        self.stop.cancel();
        let Some(task) = self.task.take() else { return };
        let ended = self.runtime.block_on(task).unwrap();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn request(ciaddr: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
    bytes[12..16].copy_from_slice(&ciaddr);
    bytes[28..34].copy_from_slice(&MAC);
    bytes[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    for (code, value) in options {
        bytes.extend([*code, value.len() as u8]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes
}

const LOCAL: [u8; 4] = [127, 0, 0, 1];
const IMAC: &[u8] = b"AAPLBSDPC/i386/iMac14,2";

fn ask(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let socket = socket();
    socket.send_to(bytes, to).unwrap();
    let mut buffer = vec![0; 9000];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, to, "the answer comes from the port that was asked");
    buffer.truncate(length);
    buffer
}

#[test]
fn a_mac_walks_from_list_to_select_to_its_booter() {
    let mut served = serve(|_| {});
    let list = ask(served.dhcp, &request(LOCAL, &[(53, &[8]), (60, IMAC), (43, &[1, 1, 1, 2, 2, 1, 1])]));
    let list = Packet::parse(&list).unwrap();
    let vendor = list.option(43).unwrap().into_owned();
    assert!(vendor.ends_with(b"\x09\x0e\x81\0\0\x01\x09Rootstock"), "{vendor:?}");
    let server = list.option(54).unwrap().into_owned();
    let event = served.event();
    assert_eq!((event.stage, event.answered, event.mac.as_bytes()), (Stage::List, true, &MAC));

    let body = [&[1, 1, 2, 2, 2, 1, 1, 3, 4][..], &server, &[8, 4, 0x81, 0, 0, 1]].concat();
    let select = ask(served.dhcp, &request(LOCAL, &[(53, &[8]), (60, IMAC), (43, &body)]));
    let select = Packet::parse(&select).unwrap();
    assert_eq!((select.file, select.siaddr), (&b"rootstock.nbi/i386/booter"[..], Ipv4Addr::LOCALHOST));
    assert_eq!(served.event().stage, Stage::Select);

    let booter = fetch(served.tftp, "rootstock.nbi\\i386\\booter", &[("blksize", "1468")], |_| true).unwrap();
    assert_eq!(booter, pattern(250_000));
    let event = served.event();
    assert_eq!((event.stage, event.answered, event.mac.as_bytes()), (Stage::Tftp, true, &MAC));
    assert!(event.detail.contains("250000 bytes in blocks of 1428"), "{}", event.detail);
}

#[test]
fn a_set_made_while_the_server_runs_is_offered_at_once_and_silence_has_a_reason() {
    let mut served = serve(|_| {});
    let list = request(LOCAL, &[(53, &[8]), (60, IMAC), (43, &[1, 1, 1, 2, 2, 1, 1])]);
    fs::rename(served.boot().join("rootstock.nbi"), served.folder.path().join("away")).unwrap();
    let socket = socket();
    socket.send_to(&list, served.dhcp).unwrap();
    let event = served.event();
    assert!(!event.answered && event.detail.contains("rootstock media boot"), "{}", event.detail);
    fs::rename(served.folder.path().join("away"), served.boot().join("rootstock.nbi")).unwrap();
    ask(served.dhcp, &list);
    assert!(served.event().answered);
}

#[test]
fn under_load_the_boot_folder_is_looked_at_seldom_and_a_change_takes_effect_all_the_same() {
    let served = serve(|_| {});
    let list = |mac: u8| {
        let mut ask_list = request(LOCAL, &[(53, &[8]), (60, IMAC), (43, &[1, 1, 1, 2, 2, 1, 1])]);
        ask_list[33] = mac;
        let reply = ask(served.dhcp, &ask_list);
        Packet::parse(&reply).unwrap().option(43).unwrap().into_owned()
    };
    for mac in 0..100 {
        assert!(list(mac).ends_with(b"Rootstock"));
    }
    let second = served.folder.path().join("second");
    fs::create_dir_all(second.join("i386")).unwrap();
    fs::write(second.join("i386/booter"), "booter").unwrap();
    let info = NBI
        .replace("Rootstock", "Second")
        .replace("<integer>1</integer><key>Kind", "<integer>2</integer><key>Kind");
    fs::write(second.join("NBImageInfo.plist"), info).unwrap();
    fs::rename(second, served.boot().join("second.nbi")).unwrap();
    // It is seen by whoever asks half a second later; the bound only ends the test.
    let seen = (0..=u8::MAX).cycle().take(200_000).position(|mac| list(mac).ends_with(b"Second"));
    assert!(seen.is_some());
}

#[test]
fn uefi_pxe_is_told_its_loader_on_the_proxy_port() {
    let mut served = serve(|_| {});
    let class: &[u8] = b"PXEClient:Arch:00007:UNDI:003000";
    let bytes = request(LOCAL, &[(53, &[3]), (60, class), (93, &[0, 7]), (97, &[0; 17])]);
    let told = ask(served.proxy, &bytes);
    let told = Packet::parse(&told).unwrap();
    assert_eq!((told.message_type(), told.file), (Some(MessageType::Ack), &b"ipxe/snponly.efi"[..]));
    let event = served.event();
    assert_eq!((event.stage, event.answered), (Stage::Pxe, true));
}

#[test]
fn malformed_packets_are_dropped_and_counted_and_the_next_is_answered() {
    let served = serve(|_| {});
    let socket = socket();
    let good = request(LOCAL, &[(53, &[8]), (60, IMAC), (43, &[1, 1, 1, 2, 2, 1, 1])]);
    let mut hlen = good.clone();
    hlen[2] = 255;
    for bad in [&b""[..], &[0; 100], &hlen, &good[..250]] {
        socket.send_to(bad, served.dhcp).unwrap();
        socket.send_to(bad, served.proxy).unwrap();
        socket.send_to(bad, served.tftp).unwrap();
    }
    ask(served.dhcp, &good);
    assert!(served.counters.malformed.load(std::sync::atomic::Ordering::Relaxed) >= 4);
    assert_eq!(fetch(served.tftp, "ipxe/snponly.efi", &[], |_| true).unwrap().len(), 100_000);
}

/// A client after RFC 7440. `takes` says which datagrams it sees; the others are lost on the way.
fn fetch(
    to: SocketAddr,
    path: &str,
    options: &[(&str, &str)],
    mut takes: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, String> {
    let socket = socket();
    let mut opening = format!("\0\u{1}{path}\0octet\0");
    options.iter().for_each(|(name, value)| opening.push_str(&format!("{name}\0{value}\0")));
    socket.send_to(opening.as_bytes(), to).unwrap();
    let (mut block_size, mut window, mut next, mut in_window) = (512, 1, 1u64, 0);
    let mut received = Vec::new();
    let mut buffer = vec![0; 70_000];
    for datagram in 0.. {
        let (length, from) = socket.recv_from(&mut buffer).map_err(|error| error.to_string())?;
        assert_ne!(from, to, "a transfer has a port of its own");
        if !takes(datagram) {
            continue;
        }
        let ack = |block: u64| {
            let [high, low] = (block as u16).to_be_bytes();
            socket.send_to(&[0, 4, high, low], from).unwrap();
        };
        match &buffer[..length] {
            [0, 6, rest @ ..] => {
                let words: Vec<_> = rest.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
                for pair in words.chunks(2).filter(|pair| pair.len() == 2) {
                    match pair[0].as_ref() {
                        "blksize" => block_size = pair[1].parse().unwrap(),
                        "windowsize" => window = pair[1].parse().unwrap(),
                        _ => {}
                    }
                }
                ack(0);
            }
            [0, 3, high, low, bytes @ ..] => {
                if u16::from_be_bytes([*high, *low]) != next as u16 {
                    in_window = 0;
                    ack(next - 1);
                    continue;
                }
                received.extend_from_slice(bytes);
                next += 1;
                in_window += 1;
                let is_last = bytes.len() < block_size;
                if in_window == window || is_last {
                    in_window = 0;
                    ack(next - 1);
                }
                if is_last {
                    return Ok(received);
                }
            }
            [0, 5, code @ .., 0] => return Err(String::from_utf8_lossy(&code[2..]).into_owned()),
            other => panic!("unexpected {other:?}"),
        }
    }
    unreachable!()
}

#[test]
fn tftp_serves_every_block_size_and_window() {
    let served = serve(|_| {});
    for size in [0, 1, 511, 512, 513, 1428 * 8, 70_000 * 8] {
        fs::write(served.boot().join("file"), pattern(size)).unwrap();
        let cases: [&[(&str, &str)]; 5] = [
            &[],
            &[("blksize", "8")],
            &[("blksize", "65464"), ("tsize", "0")],
            &[("blksize", "1428"), ("windowsize", "16")],
            &[("windowsize", "65535"), ("timeout", "1")],
        ];
        for options in cases {
            assert!(
                fetch(served.tftp, "/private/tftpboot//file", options, |_| true).unwrap() == pattern(size)
            );
        }
    }
}

#[test]
fn tftp_recovers_from_lost_packets() {
    let served = serve(|settings| settings.tftp.retry = Duration::from_millis(100));
    let booter = "rootstock.nbi/i386/booter";
    // The OACK, the first block, one in the middle of a window, the first of a window.
    let windowed = fetch(served.tftp, booter, &[("blksize", "1428"), ("windowsize", "8")], |datagram| {
        ![0, 1, 14, 33].contains(&datagram)
    });
    assert!(windowed.unwrap() == pattern(250_000));
    let plain = fetch(served.tftp, booter, &[], |datagram| datagram % 100 != 0);
    assert!(plain.unwrap() == pattern(250_000));
}

#[test]
fn tftp_refuses_what_is_not_in_the_boot_folder() {
    let served = serve(|_| {});
    fs::write(served.folder.path().join("secret"), "secret").unwrap();
    symlink("../secret", served.boot().join("link")).unwrap();
    for path in ["../secret", "link", "nothing", "rootstock.nbi", "", "ipxe/../../secret"] {
        assert!(fetch(served.tftp, path, &[], |_| true).is_err(), "{path}");
    }
    let refused = fetch(served.tftp, "nothing", &[], |_| true).unwrap_err();
    assert!(refused.contains("nothing is not in the boot folder"), "{refused}");
}

#[test]
fn a_size_probe_is_no_failure_and_leaves_nothing_behind() {
    let mut served = serve(|_| {});
    // The server learns whose address this is.
    ask(served.dhcp, &request(LOCAL, &[(53, &[8]), (60, IMAC), (43, &[1, 1, 1, 2, 2, 1, 1])]));
    served.event();
    let client = socket();
    let opening = b"\0\x01ipxe/snponly.efi\0octet\0tsize\x000\0blksize\x001468\0";
    let mut buffer = [0; 2000];
    client.send_to(opening, served.tftp).unwrap();
    let (length, transfer) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"\0\x06blksize\x001428\0tsize\x00100000\0");
    client.send_to(b"\0\x05\0\x08User aborted the transfer\0", transfer).unwrap();
    let event = served.event();
    assert!(event.answered && event.detail.contains("asked for the size"), "{}", event.detail);
    // The same port asks anew, as UEFI does, and is served.
    client.send_to(opening, served.tftp).unwrap();
    let (_, again) = client.recv_from(&mut buffer).unwrap();
    assert_ne!(again, transfer);
    client.send_to(&[0, 4, 0, 0], again).unwrap();
    let (length, _) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((length, &buffer[..4]), (1432, &[0, 3, 0, 1][..]));
}

#[test]
fn a_request_repeated_before_its_answer_opens_one_transfer() {
    let served = serve(|settings| settings.tftp.retry = Duration::from_secs(30));
    let client = socket();
    let opening = b"\0\x01ipxe/snponly.efi\0octet\0";
    let mut buffer = [0; 2000];
    for _ in 0..3 {
        client.send_to(opening, served.tftp).unwrap();
    }
    let (_, transfer) = client.recv_from(&mut buffer).unwrap();
    let mut block = 1u16;
    loop {
        let [high, low] = block.to_be_bytes();
        client.send_to(&[0, 4, high, low], transfer).unwrap();
        if block == 196 {
            break;
        }
        let (_, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from, transfer, "a second transfer");
        block += 1;
        assert_eq!(buffer[2..4], block.to_be_bytes());
    }
}

/// A client at 127.0.0.`address` that has read `blocks` blocks of the loader and then waits.
fn reader(served: &Served, address: u8, blocks: u16) -> (UdpSocket, SocketAddr) {
    let client = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, address), 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.send_to(b"\0\x01ipxe/snponly.efi\0octet\0", served.tftp).unwrap();
    let mut buffer = [0; 2000];
    let (_, mut transfer) = client.recv_from(&mut buffer).unwrap();
    for block in 1..=blocks {
        let [high, low] = block.to_be_bytes();
        client.send_to(&[0, 4, high, low], transfer).unwrap();
        transfer = client.recv_from(&mut buffer).unwrap().1;
    }
    (client, transfer)
}

#[test]
fn more_transfers_than_allowed_are_refused_with_the_reason() {
    let served = serve(|settings| settings.tftp_transfers = 1);
    let _first = reader(&served, 2, 1);
    let refused = fetch(served.tftp, "ipxe/snponly.efi", &[], |_| true).unwrap_err();
    assert!(refused.contains("1 transfers are running, ask again"), "{refused}");
}

#[test]
fn one_address_cannot_hold_all_transfers() {
    let served = serve(|settings| settings.tftp_transfers = 3);
    let _readers = [reader(&served, 2, 1), reader(&served, 2, 1)];
    let client = UdpSocket::bind("127.0.0.2:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.send_to(b"\0\x01ipxe/snponly.efi\0octet\0", served.tftp).unwrap();
    let mut buffer = [0; 2000];
    let (length, _) = client.recv_from(&mut buffer).unwrap();
    let told = String::from_utf8_lossy(&buffer[4..length]);
    assert!(buffer[1] == 5 && told.contains("2 transfers are running for this address"), "{told}");
    assert!(fetch(served.tftp, "ipxe/snponly.efi", &[], |_| true).is_ok(), "another address is served");
}

#[test]
fn a_flood_of_requests_that_nobody_answers_keeps_no_client_out() {
    let served = serve(|settings| {
        settings.tftp_transfers = 6;
        settings.tftp.retry = Duration::from_secs(30);
    });
    let (client, transfer) = reader(&served, 2, 1);
    // Forged sources never answer; each gets its first block, so that its place is surely taken.
    let forged: Vec<_> = (0..40).map(|source| reader(&served, 10 + source, 0)).collect();
    assert!(fetch(served.tftp, "ipxe/snponly.efi", &[], |_| true).unwrap() == pattern(100_000));
    client.send_to(&[0, 4, 0, 2], transfer).unwrap();
    let mut buffer = [0; 2000];
    let (_, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((from, &buffer[..4]), (transfer, &[0, 3, 0, 3][..]), "the reader was not displaced");
    drop(forged);
}

#[test]
fn a_request_repeated_within_a_transfer_does_not_disturb_it() {
    let served = serve(|settings| settings.tftp.retry = Duration::from_secs(30));
    let (client, transfer) = reader(&served, 1, 2);
    // A copy that the network delayed, and behind it the next ACK.
    client.send_to(b"\0\x01ipxe/snponly.efi\0octet\0", served.tftp).unwrap();
    assert!(fetch(served.tftp, "ipxe/snponly.efi", &[], |_| true).is_ok(), "the copy has been read by now");
    client.send_to(&[0, 4, 0, 3], transfer).unwrap();
    let mut buffer = [0; 2000];
    let (_, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((from, &buffer[..4]), (transfer, &[0, 3, 0, 4][..]));
}

#[test]
fn netascii_is_converted_and_writing_is_refused() {
    let served = serve(|_| {});
    fs::write(served.boot().join("text"), "a\nb\n").unwrap();
    let (client, mut buffer) = (socket(), [0; 2000]);
    client.send_to(b"\0\x01text\0netascii\0", served.tftp).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"\0\x03\0\x01a\r\nb\r\n");
    client.send_to(&[0, 4, 0, 1], from).unwrap();
    client.send_to(b"\0\x02text\0octet\0", served.tftp).unwrap();
    let (length, _) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"\0\x05\0\x02writing is not allowed here\0");
}

#[test]
fn http_serves_whole_files_ranges_and_heads() {
    let served = serve(|_| {});
    let (head, body) = served.http("GET /boot/ipxe/snponly.efi HTTP/1.1");
    assert!(head.starts_with("http/1.1 200") && body == pattern(100_000), "{head}");
    assert!(
        head.contains("content-length: 100000") && head.contains("content-type: application/efi"),
        "{head}"
    );
    let (head, body) = served.http("GET /boot/ipxe/snponly.efi HTTP/1.1\r\nRange: bytes=99990-");
    assert!(head.starts_with("http/1.1 206") && body == pattern(100_000)[99_990..], "{head}");
    assert!(head.contains("content-range: bytes 99990-99999/100000"), "{head}");
    let (head, body) = served.http("HEAD /boot/ipxe/snponly.efi HTTP/1.1");
    assert!(head.contains("content-length: 100000") && body.is_empty(), "{head}");
    let (head, _) = served.http("GET /boot/ipxe/snponly.efi HTTP/1.1\r\nRange: bytes=100000-");
    assert!(head.starts_with("http/1.1 416") && head.contains("content-range: bytes */100000"), "{head}");
}

#[test]
fn http_serves_nothing_outside_the_boot_folder() {
    let served = serve(|_| {});
    fs::write(served.folder.path().join("secret"), "secret").unwrap();
    symlink("../secret", served.boot().join("link")).unwrap();
    for path in
        ["/boot/../secret", "/boot/%2e%2e/secret", "/boot/link", "/boot/..%5csecret", "/etc/passwd", "/"]
    {
        let (head, body) = served.http(&format!("GET {path} HTTP/1.1"));
        assert!(head.starts_with("http/1.1 40") && body != b"secret", "{path}: {head}");
    }
    let (head, _) = served.http("POST /boot/ipxe/snponly.efi HTTP/1.1\r\nContent-Length: 0");
    assert!(head.starts_with("http/1.1 405"), "{head}");
}

#[test]
fn the_ipxe_script_names_this_server_and_what_is_missing() {
    let mut served = serve(|settings| {
        settings.https_port = 8443;
        settings.kernel_arguments = "console=ttyS0".parse().unwrap();
    });
    let (_, body) = served.http("GET /boot/ipxe?mac=80:e6:50:09:ed:a2 HTTP/1.1");
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains("has no vmlinuz and initramfs.cpio.zst"), "{text}");
    let event = served.event();
    assert_eq!((event.stage, event.answered, event.mac.as_bytes()), (Stage::Http, false, &MAC));
    fs::write(served.boot().join("vmlinuz"), "kernel").unwrap();
    fs::write(served.boot().join("initramfs.cpio.zst"), "initramfs").unwrap();
    let (head, body) = served.http("GET /boot/ipxe HTTP/1.1");
    let text = String::from_utf8(body).unwrap();
    let kernel = format!("kernel http://{}/boot/vmlinuz initrd=initramfs.cpio.zst", served.http);
    assert!(head.contains("text/plain") && text.contains(&kernel), "{head}\n{text}");
    assert!(text.contains("rootstock.server=https://127.0.0.1:8443 console=ttyS0"), "{text}");
}

#[test]
fn an_offer_that_is_held_back_does_not_outlive_the_services() {
    let mut served = serve(|settings| settings.offer_delay = Duration::from_secs(3600));
    let pxe: &[(u8, &[u8])] =
        &[(53, &[1]), (60, b"PXEClient:Arch:00007:UNDI:003016"), (93, &[0, 7]), (97, &[0; 17])];
    let discover = request([0; 4], pxe);
    let socket = socket();
    socket.send_to(&discover, served.dhcp).unwrap();
    // Answered after it, so it was taken in.
    let list = request(LOCAL, &[(53, &[8]), (60, IMAC), (43, &[1, 1, 1, 2, 2, 1, 1])]);
    ask(served.dhcp, &list);
    assert_eq!(served.event().stage, Stage::List);
    served.end();
    // Whoever still waited would hold the other end of the timeline.
    assert_eq!(served.events.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_holder_and_the_remedy() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut settings = Settings::new(Path::new("/nonexistent").into());
    settings.listen = Ipv4Addr::LOCALHOST;
    settings.ports = Ports { dhcp: 0, proxy: 0, tftp: port, http: 0 };
    let error = Runtime::new().unwrap().block_on(async { Sockets::bind(&settings) }).unwrap_err();
    assert!(matches!(error, BindError::Taken { service: "TFTP", port: at, .. } if at == port));
    let holder = format!("(process {}); stop it", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let mut settings = Settings::new(Path::new("/nonexistent").into());
    settings.ports = Ports { dhcp: 0, proxy: 0, tftp: 0, http: 0 };
    settings.interfaces = vec!["lo".into(), "eth99".into()];
    let error = Runtime::new().unwrap().block_on(async { Sockets::bind(&settings) }).unwrap_err().to_string();
    assert!(error.contains("no interface `eth99`") && error.contains("lo"), "{error}");
}

/// Names tell what each vector must do; the folder beside the checkout holds more of them than the fixtures.
#[test]
fn every_bsdp_vector_is_read_or_refused_as_its_name_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("ROOTSTOCK_SHARED").map_or_else(|| root.join("../shared"), Into::into);
    let mut seen = 0;
    for folder in [root.join("tests/fixtures/bsdp"), shared.join("vectors/bsdp")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
            let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let bytes = || (0..digits.len()).step_by(2).map(byte).collect::<Vec<_>>();
            let read = |class: &[u8], body: &[u8]| {
                let bytes = request(LOCAL, &[(53, &[8]), (60, class), (43, body)]);
                Request::read(&Packet::parse(&bytes).unwrap())
            };
            let list = [1, 1, 1, 2, 2, 1, 1];
            let parts: Vec<_> = name.split(['-', '.']).collect();
            match parts[..] {
                [.., "txt"] | ["README"] | ["image" | "imagelist" | "macnc", ..] => continue,
                ["opt60", "apple", "bad", ..] => {
                    assert!(matches!(read(&bytes(), &list), Err(NotBsdp::Class(_))), "{name}");
                }
                ["opt60", ..] => assert!(read(&bytes(), &list).is_ok(), "{name}"),
                ["opt43", .., "diskless", "hex"] => {
                    assert!(matches!(read(IMAC, &bytes()), Err(NotBsdp::Truncated { .. })), "{name}");
                }
                ["opt43", "client", ..] => assert!(read(IMAC, &bytes()).is_ok(), "{name}"),
                // A server's body parses; what it lacks to be a request is the version.
                ["opt43", ..] => assert_eq!(read(IMAC, &bytes()), Err(NotBsdp::NoVersion), "{name}"),
                ["full", ..] => assert!(Packet::parse(&bytes()).is_ok(), "{name}"),
                // A kind that this test has no expectation for: as a packet and as a body it is read or refused, no more.
                _ => {
                    let _ = (Packet::parse(&bytes()), read(IMAC, &bytes()));
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen} vectors");
}
