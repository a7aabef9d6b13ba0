//! NetBoot sets from the admin's file to the boot folder: every kind of source, every refusal, kill and delete on the way.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use assert_cmd::Command;
use fstool::block::MemoryBackend;
use fstool::fs::hfs_plus::HfsPlus;
use fstool::fs::hfs_plus::writer::FormatOpts;
use rootstock::api::admin::{Listener, Nbi, NbiState, NbiSummary, Status};
use rootstock::client::{Client, ClientError, Patience};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::api::appliance::{Appliance, FREE_PORTS, refused};
use crate::nbi_set::{Made, disk, plain};

const SEVEN: &str = "<integer>7</integer>";

/// Exit code and everything that was said.
fn rootstock(data: &Path, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    let output = command.arg("--socket").arg(data.join("rootstock.sock")).args(words).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap(), said)
}

fn import(appliance: &Appliance, source: &Path, more: &[&str]) -> (i32, String) {
    rootstock(&appliance.data, &[&["nbi", "import", source.to_str().unwrap()], more].concat())
}

pub fn imported(appliance: &Appliance, source: &Path, more: &[&str]) -> Nbi {
    let (code, said) = import(appliance, source, &[more, &["--json"]].concat());
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

pub fn is_refused(appliance: &Appliance, source: &Path, more: &[&str], with: &str) {
    let (code, said) = import(appliance, source, more);
    assert!(code == 1 && said.contains(with), "exit code {code}, without `{with}`: {said}");
    assert!(said.lines().last().unwrap().starts_with("error: "), "{said}");
}

pub fn sets(appliance: &Appliance) -> Vec<NbiSummary> {
    appliance.admin().get("/api/v1/nbi").unwrap()
}

/// An appliance and a folder for sources.
pub fn start() -> (TempDir, Appliance) {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    (folder, appliance)
}

fn tar_of(files: &[(&str, Vec<u8>)], prefix: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("{prefix}{path}"), bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A zip as Finder makes it, with what it leaves in there.
fn zip_of(files: &[(&str, Vec<u8>)], prefix: &str) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (path, bytes) in files {
        writer.start_file(format!("{prefix}{path}"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.start_file(format!("__MACOSX/{prefix}._booter"), options).unwrap();
    writer.write_all(b"AppleDouble").unwrap();
    writer.finish().unwrap().into_inner()
}

/// An HFS+ volume with the files in a folder of its root.
pub fn volume_of(files: &[(&str, Vec<u8>)], folder: &str) -> Vec<u8> {
    let mut device = MemoryBackend::new(16 << 20);
    let mut options = FormatOpts::default();
    options.volume_name = "Sets".into();
    let mut volume = HfsPlus::format(&mut device, &options).unwrap();
    for path in ["", "/i386", "/i386/x86_64"] {
        volume.create_dir(&mut device, &format!("/{folder}{path}"), 0o755, 0, 0, 0).unwrap();
    }
    for (path, bytes) in files {
        let (path, length) = (format!("/{folder}/{path}"), bytes.len() as u64);
        volume.create_file(&mut device, &path, &mut bytes.as_slice(), length, 0o644, 0, 0, 0).unwrap();
    }
    volume.flush(&mut device).unwrap();
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut device).unwrap();
    device.read_to_end(&mut bytes).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_set_comes_unchanged_from_a_folder_a_tar_a_zip_and_a_disk_image() {
    let (folder, appliance) = start();
    let set = plain("Install Sierra", "<string> 7</string>");
    let files = set.files();
    set.write(&folder.path().join("Sierra.nbi"));
    let tar = tar_of(&files, "Sierra.nbi/");
    let sources = [
        ("a.tar", tar.clone()),
        ("a.tar.gz", gzip(&tar)),
        ("a.tar.xz", xz(&tar)),
        ("a.tar.zst", zstd::encode_all(tar.as_slice(), 1).unwrap()),
        ("a.zip", zip_of(&files, "Sierra.nbi/")),
        ("a.dmg", volume_of(&files, "Sierra.nbi")),
        // What is in the folder without the folder: the name of the file is the set's.
        ("Sierra.nbi.tgz", gzip(&tar_of(&files, "./"))),
    ];
    let paths = sources.map(|(name, bytes)| {
        fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name)
    });
    for source in paths.iter().chain([&folder.path().join("Sierra.nbi")]) {
        let nbi = imported(&appliance, source, &[]);
        let facts = nbi.summary.facts.unwrap();
        assert_eq!(nbi.summary.state, NbiState::Offered, "{}: at once", source.display());
        assert_eq!((facts.name.as_str(), facts.id.as_str()), ("Install Sierra", "0x81000007"));
        assert_eq!(nbi.root_path.as_deref(), Some("http://SERVER/boot/Sierra.nbi/NetInstall.dmg"));
        assert_eq!(nbi.boot_files[0].firmware, "64-bit EFI");
        for (path, bytes) in &files {
            let there = fs::read(appliance.data.join("boot/Sierra.nbi").join(path)).unwrap();
            assert!(there == *bytes, "{path} from {} is not what it was", source.display());
        }
        let names: Vec<&str> = nbi.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names.len(), files.len() + 1, "{names:?}");
        let (code, said) = rootstock(&appliance.data, &["nbi", "delete", "Install Sierra"]);
        assert_eq!((code, said.as_str()), (0, "Sierra.nbi is deleted\n"));
        assert!(!appliance.data.join("boot/Sierra.nbi").exists());
    }
}

#[test]
fn a_set_that_no_mac_could_start_is_refused_with_the_reason_and_leaves_nothing() {
    let (folder, appliance) = start();
    let at = |name: &str| folder.path().join(name);
    let make = |name: &str, made: Made<'_>| {
        made.write(&at(name));
        at(name)
    };
    let set = |index| plain("Set", index);
    let long = format!("{}.nbi", "long".repeat(29));
    for (source, with) in [
        (make("zero.nbi", set("<integer>0</integer>")), "index 0 is outside 1 to 65535"),
        (make("large.nbi", set("<string>65536</string>")), "index 65536 is outside 1 to 65535"),
        (make("unnamed.nbi", plain(" ", SEVEN)), "NBImageInfo.plist has no `Name`"),
        (make(&long, set(SEVEN)), "127 bytes"),
        (
            make("host.nbi", Made { more: "<key>LoadBalanceServer</key><string>srv</string>", ..set(SEVEN) }),
            "`LoadBalanceServer` must be an IPv4 address",
        ),
    ] {
        is_refused(&appliance, &source, &[], with);
    }
    let broken = |name: &str, breaks: &dyn Fn(&Path), with: &str| {
        breaks(&make(name, set(SEVEN)));
        is_refused(&appliance, &at(name), &[], with);
    };
    broken(
        "a.nbi",
        &|set| fs::remove_file(set.join("i386/booter")).unwrap(),
        "its boot file i386/booter is missing",
    );
    broken("b.nbi", &|set| fs::remove_file(set.join("NetInstall.dmg")).unwrap(), "NetInstall.dmg is missing");
    broken(
        "c.nbi",
        &|set| fs::write(set.join("NBImageInfo.plist"), [0xff; 90]).unwrap(),
        "neither an XML nor",
    );
    let cut = |path: &'static str, length| {
        move |set: &Path| {
            fs::File::options().write(true).open(set.join(path)).unwrap().set_len(length).unwrap()
        }
    };
    broken("d.nbi", &cut("NetInstall.dmg", 2 << 20), "NetInstall.dmg is not whole");
    broken("e.nbi", &cut("i386/booter", 149_999), "i386/booter has not all of its 150000 bytes");
    broken("f.nbi", &|set| symlink("/etc/passwd", set.join("i386/x")).unwrap(), "is a symbolic link");
    broken(
        "g.nbi",
        &|set| fs::remove_file(set.join("NBImageInfo.plist")).unwrap(),
        "there is no NBImageInfo.plist",
    );
    broken(
        "h.nbi",
        &|set| fs::write(set.join("rootstock.toml"), "[overrides]\nx = 1").unwrap(),
        "rootstock.toml is wrong",
    );
    let bytes = plain("Bad \u{1}", SEVEN).plist().replace('\u{1}', "\u{fffd}").into_bytes();
    let bytes: Vec<u8> = bytes
        .windows(3)
        .position(|three| three == "\u{fffd}".as_bytes())
        .map_or(vec![], |at| [&bytes[..at], &[0xff, 0xfe], &bytes[at + 3..]].concat());
    broken("i.nbi", &|set| fs::write(set.join("NBImageInfo.plist"), &bytes).unwrap(), "error: importing");

    // Nesting.
    set(SEVEN).write(&at("outer.nbi/outer.nbi"));
    is_refused(&appliance, &at("outer.nbi"), &[], "NBImageInfo.plist lies too deep, in outer.nbi");
    fs::write(at("deep.tar"), tar_of(&set(SEVEN).files(), "share/x.nbi/")).unwrap();
    is_refused(&appliance, &at("deep.tar"), &[], "lies too deep, in share/x.nbi");
    let two = [tar_of(&set(SEVEN).files(), "x.nbi/"), tar_of(&set(SEVEN).files(), "y.nbi/")];
    let end = two[0].len() - 1024;
    fs::write(at("two.tar"), [&two[0][..end], &two[1]].concat()).unwrap();
    is_refused(&appliance, &at("two.tar"), &[], "it holds several sets, x.nbi, y.nbi");
    fs::write(at("cut.tar"), &two[0][..1 << 20]).unwrap();
    is_refused(&appliance, &at("cut.tar"), &[], "is cut off");
    fs::write(at("cut.zip"), &zip_of(&set(SEVEN).files(), "x.nbi/")[..40_000]).unwrap();
    is_refused(&appliance, &at("cut.zip"), &[], "the zip is damaged or cut off");
    fs::write(at("disk.dmg"), disk(1 << 20)).unwrap();
    is_refused(&appliance, &at("disk.dmg"), &[], "holds no HFS+ volume");

    assert!(sets(&appliance).is_empty());
    assert_eq!(fs::read_dir(appliance.data.join("boot")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(appliance.data.join("boot.incoming")).unwrap().count(), 0);
}

#[test]
fn a_second_set_of_the_same_name_or_image_id_is_refused_until_it_gets_its_own() {
    let (folder, appliance) = start();
    let source = folder.path().join("a.nbi");
    plain("One", SEVEN).write(&source);
    imported(&appliance, &source, &[]);
    is_refused(&appliance, &source, &[], "there is a boot set a.nbi already; delete it first");
    is_refused(&appliance, &source, &["--folder", "b"], "b.nbi has the image id 0x81000007 of a.nbi");
    let options = ["--folder", "b", "--index", "8", "--name", "Two", "--default", "--disabled"];
    let more = ["--model", "iMac14,2", "--model", "iMac14,1", "--mac", "0:1b:63:aa:f:1"];
    let nbi = imported(&appliance, &source, &[&options[..], &more].concat());
    let (now, then) = (nbi.summary.facts.unwrap(), nbi.plist.unwrap());
    assert_eq!((now.name.as_str(), now.id.as_str(), now.default), ("Two", "0x81000008", true));
    assert_eq!(nbi.summary.state, NbiState::Disabled);
    assert_eq!((now.models.len(), now.macs[0].as_str()), (2, "00:1b:63:aa:0f:01"));
    assert_eq!((then.name.as_str(), then.id.as_str(), then.default), ("One", "0x81000007", false));
}

#[test]
fn an_edit_takes_effect_beside_the_property_list_and_can_be_taken_back() {
    let (folder, appliance) = start();
    let source = folder.path().join("a.nbi");
    let plist = plain("One", SEVEN).plist();
    plain("One", SEVEN).write(&source);
    imported(&appliance, &source, &[]);
    let edit = |words: &[&str]| rootstock(&appliance.data, &[&["nbi", "edit", "a"], words].concat());
    let facts = || sets(&appliance)[0].facts.clone().unwrap();
    let (code, said) = edit(&["--name", "Lab 3", "--index", "4000", "--models", "iMac14,2", "iMac14,1"]);
    let names =
        said.lines().find(|line| line.starts_with("name ")).map(|line| line.split_whitespace().collect());
    assert_eq!((code, names), (0, Some(vec!["name", "Lab", "3", "One"])), "{said}");
    assert_eq!((facts().name.as_str(), facts().id.as_str()), ("Lab 3", "0x81000fa0"));
    assert_eq!(edit(&["--disable"]).0, 0);
    assert_eq!((sets(&appliance)[0].state.clone(), facts().models.len()), (NbiState::Disabled, 2));
    assert_eq!(edit(&["--enable", "--models", "any"]).0, 0);
    assert_eq!((sets(&appliance)[0].state.clone(), facts().models.len()), (NbiState::Offered, 0));
    for (words, with) in [
        (&["--index", "0"][..], "index 0 is outside 1 to 65535"),
        (&["--name", ""], "has no `Name`"),
        (&["--root-path", "http://server/x.dmg"], "resolves no names"),
        (&["--macs", "nonsense"], "`nonsense`"),
        (&[], "nothing would change"),
    ] {
        let (code, said) = edit(words);
        assert!(code == 1 && said.contains(with), "{words:?}: {said}");
    }
    assert_eq!(facts().name, "Lab 3", "what was refused changed nothing");
    assert_eq!(fs::read_to_string(appliance.data.join("boot/a.nbi/NBImageInfo.plist")).unwrap(), plist);
    assert_eq!(edit(&["--reset"]).0, 0);
    assert_eq!((facts().name.as_str(), facts().id.as_str()), ("One", "0x81000007"));
    let (code, said) = rootstock(&appliance.data, &["nbi", "show", "nothing"]);
    assert!(code == 1 && said.contains("there is no boot set `nothing`"), "{said}");
}

#[test]
fn a_set_copied_by_hand_is_listed_with_what_is_wrong_with_it() {
    let (_folder, appliance) = start();
    let boot = appliance.data.join("boot");
    plain("Good", SEVEN).write(&boot.join("good.nbi"));
    plain("Twin", SEVEN).write(&boot.join("twin.nbi"));
    plain("Deep", SEVEN).write(&boot.join("deep.nbi/deep.nbi"));
    plain("Aside", SEVEN).write(&boot.join("NetBootSP0/aside.nbi"));
    plain("Half", "<integer>9</integer>").write(&boot.join("half.nbi"));
    fs::remove_file(boot.join("half.nbi/NetInstall.dmg")).unwrap();
    let (code, said) = rootstock(&appliance.data, &["nbi", "list"]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "good.nbi is",
        "twin.nbi is not offered: good.nbi has the same image id 0x81000007",
        "deep.nbi is not offered: NBImageInfo.plist lies too deep, in deep.nbi/deep.nbi",
        "NetBootSP0/aside.nbi is not offered: it lies in a folder of the boot folder",
        "half.nbi is not offered: its root image NetInstall.dmg is missing",
    ] {
        assert_eq!(said.contains(line), line != "good.nbi is", "`{line}` in:\n{said}");
    }
    fs::write(boot.join("half.nbi/NetInstall.dmg"), disk(1 << 20)).unwrap();
    let half = sets(&appliance).into_iter().find(|set| set.folder == "half.nbi").unwrap();
    assert_eq!(half.state, NbiState::Offered, "without a restart");
}

fn upload(client: &Client, folder: &str, bytes: &[u8]) -> Result<Value, ClientError> {
    let path = format!("/api/v1/nbi?folder={folder}");
    client.upload(&path, "application/x-tar", bytes.len() as u64, &mut &*bytes)
}

#[test]
fn archives_that_lead_elsewhere_and_names_that_are_none_are_refused_by_the_daemon_itself() {
    let (folder, appliance) = start();
    let (admin, good) = (appliance.admin(), plain("Set", SEVEN).files());
    let evil = |kind, path: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..4].copy_from_slice(b"/etc");
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        builder.into_inner().unwrap()
    };
    for (kind, path, with) in [
        (tar::EntryType::Regular, "../../escaped", "`../../escaped`"),
        (tar::EntryType::Regular, "/escaped", "`/escaped`"),
        (tar::EntryType::Symlink, "i386", "a symbolic link"),
        (tar::EntryType::Link, "i386", "a hard link"),
        (tar::EntryType::Char, "null", "a device"),
        (tar::EntryType::GNUSparse, "NetInstall.dmg", "a sparse file"),
    ] {
        let (status, problem) = refused(upload(&admin, "x.nbi", &evil(kind, path)));
        assert!(status == 422 && problem.error.contains(with), "{problem:?}");
    }
    for name in ["x", ".nbi", "a%2F..%2Fb.nbi", "..%2Fx.nbi", ".x.nbi", "a%0Ab.nbi", "a%5Cb.nbi"] {
        let (status, problem) = refused(upload(&admin, name, &tar_of(&good, "")));
        assert!(status == 422 && problem.error.contains("cannot be the name"), "{name}: {problem:?}");
    }
    let (status, problem) = refused(upload(&admin, "x.nbi", &tar_of(&good, "x.nbi/")));
    assert!(status == 422 && problem.error.contains("lies too deep, in x.nbi"), "{problem:?}");
    let twice = [tar_of(&good, ""), tar_of(&good, "")];
    let twice = [&twice[0][..twice[0].len() - 1024], &twice[1]].concat();
    assert!(upload(&admin, "x.nbi", &twice).is_err(), "two files of one name");
    let path = "/api/v1/nbi?folder=x.nbi";
    let none: Result<Value, ClientError> = admin.upload(path, "application/x-tar", 1 << 60, &mut io::empty());
    assert_eq!(refused(none).0, 507, "no room, before anything was sent");
    assert_eq!(fs::read_dir(appliance.data.join("boot")).unwrap().count(), 0);
    assert!(!folder.path().join("escaped").exists() && !appliance.data.join("escaped").exists());
    upload(&admin, "x.nbi", &tar_of(&good, "")).unwrap();
}

/// Gives the first part, says so, and then nothing until it is dropped.
struct Half {
    bytes: io::Cursor<Vec<u8>>,
    given: Option<mpsc::Sender<()>>,
    resume: mpsc::Receiver<()>,
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(buffer)? {
            0 => {
                drop(self.given.take());
                let _ = self.resume.recv();
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            count => Ok(count),
        }
    }
}

/// Looks again until it is so.
#[expect(clippy::disallowed_methods, reason = "a test that waits gives up at some time")]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let clock = std::time::Instant::now();
    while !is_so() {
        assert!(clock.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::yield_now();
    }
}

/// Begins an import that does not end; runs `then` when a part of it is on the disk.
fn interrupted(client: &Client, data: &Path, then: impl FnOnce() + Send) {
    let tar = tar_of(&plain("Set", SEVEN).files(), "");
    let (given, _) = mpsc::channel();
    let (stop, resume) = mpsc::channel::<()>();
    let mut half = Half { bytes: io::Cursor::new(tar[..tar.len() / 2].to_vec()), given: Some(given), resume };
    let arrived = data.join("boot.incoming/new/x.nbi/NBImageInfo.plist");
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let length = tar.len() as u64;
            client.upload::<Value>("/api/v1/nbi?folder=x.nbi", "application/x-tar", length, &mut half)
        });
        wait_until("the first file", || arrived.exists());
        then();
        drop(stop);
        assert!(sending.join().unwrap().is_err());
    });
}

#[test]
fn kill_in_the_middle_of_an_import_leaves_no_set_and_the_next_import_works() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let mut daemon = daemon(&folder);
    let client = Client::unix(data.join("rootstock.sock")).with_patience(Patience::NONE);
    interrupted(&client, &data, || {
        // SIGKILL: nothing is flushed, no destructor runs.
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    });
    assert!(data.join("boot.incoming/new/x.nbi").exists(), "the kill came in the middle");
    assert!(!data.join("boot/x.nbi").exists());
    let appliance = Appliance::start(&data);
    assert!(!data.join("boot.incoming").exists(), "the rest is swept at the start");
    assert!(sets(&appliance).is_empty());
    let source = folder.path().join("x.nbi");
    plain("Set", SEVEN).write(&source);
    imported(&appliance, &source, &[]);
}

fn daemon(folder: &TempDir) -> std::process::Child {
    use std::io::BufRead;
    let settings = folder.path().join("settings.toml");
    fs::write(&settings, FREE_PORTS).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootstockd"));
    command.arg("--config").arg(settings).arg("--data").arg(folder.path().join("data"));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = io::BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("is ready")), "rootstockd did not start");
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn an_import_that_breaks_off_leaves_nothing_and_keeps_nobody_else_waiting_after_it() {
    let (folder, appliance) = start();
    let source = folder.path().join("y.nbi");
    plain("Set", SEVEN).write(&source);
    interrupted(&appliance.admin(), &appliance.data, || {
        is_refused(&appliance, &source, &[], "another boot set is being taken in");
    });
    let incoming = appliance.data.join("boot.incoming");
    wait_until("the end of the import", || fs::read_dir(&incoming).unwrap().count() == 0);
    wait_until("the turn", || import(&appliance, &source, &[]).0 == 0);
    assert_eq!(sets(&appliance).len(), 1);
}

/// Begins to fetch a file over the boot services' HTTP; gives the stream and the head of the answer.
fn fetch(appliance: &Appliance, path: &str) -> (TcpStream, String) {
    let status: Status = appliance.admin().get("/api/v1/status").unwrap();
    let http: Vec<Listener> = status.listeners.into_iter().filter(|own| own.service == "http").collect();
    let port = http[0].address.rsplit(':').next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /boot/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[test]
fn who_fetches_a_file_of_a_set_that_is_deleted_gets_it_whole() {
    let (folder, appliance) = start();
    let source: PathBuf = folder.path().join("a.nbi");
    plain("Set", SEVEN).write(&source);
    // More than the sockets hold between them.
    let image = disk(24 << 20);
    fs::write(source.join("NetInstall.dmg"), &image).unwrap();
    imported(&appliance, &source, &[]);
    let (mut stream, head) = fetch(&appliance, "a.nbi/NetInstall.dmg");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(rootstock(&appliance.data, &["nbi", "delete", "a"]).0, 0);
    assert!(sets(&appliance).is_empty());
    let mut body = Vec::new();
    stream.read_to_end(&mut body).unwrap();
    assert!(body == image, "{} of {} bytes came", body.len(), image.len());
    assert!(fetch(&appliance, "a.nbi/NetInstall.dmg").1.starts_with("HTTP/1.1 404"));
    imported(&appliance, &source, &[]);
    assert!(fetch(&appliance, "a.nbi/NetInstall.dmg").1.starts_with("HTTP/1.1 200"));
}
