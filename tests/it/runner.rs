//! The runner's program against a small appliance, with a disk in a file: whole runs, and what goes wrong on the way.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rootstock::api::runner::*;
use rootstock::client::{Client, ClientError, Patience, appliance_time};
use rootstock::value::Secret;

use crate::api::appliance::Appliance as RealAppliance;
use crate::runner_appliance::{Appliance, Fault, Image, PATIENCE};

const MIB: u64 = 1 << 20;

/// Stands behind the last line of a program that has closed its output.
const ENDED: &str = "\0ended";

/// A Mac: a made folder of kernel files with one disk.
pub struct Mac {
    root: tempfile::TempDir,
}

impl Mac {
    pub fn with_disk(size: u64) -> Mac {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: String| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("sys/class/dmi/id/product_serial", "C02FEAS00001\n".into());
        put("sys/class/dmi/id/product_name", "MacBookPro11,1\n".into());
        put("sys/block/sda/size", (size / 512).to_string());
        put("sys/block/sda/device/model", "APPLE SSD\n".into());
        put("sys/block/sda/device/serial", "S1\n".into());
        put("dev/sda", String::new());
        File::options().write(true).open(root.path().join("dev/sda")).unwrap().set_len(size).unwrap();
        Mac { root }
    }

    /// Root of the made file system.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn disk(&self) -> PathBuf {
        self.root.path().join("dev/sda")
    }

    /// Bytes of partition 2 of the disk, which starts after the EFI System Partition.
    pub fn volume(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        File::open(self.disk()).unwrap().read_exact_at(&mut bytes, 201 * MIB).unwrap();
        bytes
    }

    fn boot(&self, appliance: &Appliance, flags: &[&str]) -> Runner {
        self.boot_with(&appliance.url(), &appliance.ca, flags)
    }

    pub fn boot_with(&self, url: &str, ca: &Path, flags: &[&str]) -> Runner {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rootstock-runner"))
            .args(["--server", url, "--keep-running", "--console", "none"])
            .args([Path::new("--ca"), ca])
            .args([Path::new("--sysfs"), self.root.path()])
            .args([Path::new("--state"), &self.root.path().join("state")])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let Words(lines) = Words::read(child.stdout.take().unwrap());
        Runner { child, lines }
    }

    /// With its wizard on a terminal of 30 by 100 characters; and where keys are typed.
    pub fn on_terminal(&self, url: &str, ca: &Path) -> (Runner, ChildStdin) {
        let program = env!("CARGO_BIN_EXE_rootstock-runner");
        let (ca, root) = (ca.display(), self.root.path().display());
        let line = format!(
            "stty cols 100 rows 30; exec {program} --server {url} --ca {ca} --sysfs {root} --state {root}/state --console /dev/tty --keep-running"
        );
        let mut child: Child = Command::new("script")
            .args(["-qfec", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "linux")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let Words(lines) = Words::on_screen(child.stdout.take().unwrap());
        (Runner { child, lines }, keys)
    }
}

/// What a program writes, line by line.
struct Words(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Words {
    fn read(out: impl Read + Send + 'static) -> Words {
        let words = Words(Arc::default());
        let seen = words.0.clone();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                seen.0.lock().unwrap().push(line);
                seen.1.notify_all();
            }
            seen.0.lock().unwrap().push(ENDED.into());
            seen.1.notify_all();
        });
        words
    }

    /// The rows of a screen of 30 by 100 characters: only what changes is sent, so cursor movements have to be followed.
    fn on_screen(mut out: impl Read + Send + 'static) -> Words {
        let words = Words(Arc::default());
        let seen = words.0.clone();
        thread::spawn(move || {
            let (mut bytes, mut waiting) = ([0; 4096], Vec::new());
            let mut screen = vec![vec![' '; 100]; 30];
            let (mut row, mut column) = (0, 0);
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                waiting.extend_from_slice(&bytes[..count]);
                let Ok(text) = String::from_utf8(waiting.clone()) else { continue };
                let mut rest = text.as_str();
                while let Some(letter) = rest.chars().next() {
                    if let Some(sequence) = rest.strip_prefix("\x1b[") {
                        let Some(end) = sequence.find(|c: char| c.is_ascii_alphabetic()) else { break };
                        if let (Some((r, c)), Some('H')) =
                            (sequence[..end].split_once(';'), sequence[end..].chars().next())
                        {
                            (row, column) =
                                (r.parse::<usize>().unwrap() - 1, c.parse::<usize>().unwrap() - 1);
                        }
                        rest = &sequence[end + 1..];
                    } else if letter == '\x1b' {
                        break;
                    } else {
                        if let Some(cell) = screen.get_mut(row).and_then(|line| line.get_mut(column)) {
                            *cell = letter;
                        }
                        column += 1;
                        rest = &rest[letter.len_utf8()..];
                    }
                }
                waiting = rest.as_bytes().to_vec();
                *seen.0.lock().unwrap() = screen.iter().map(|line| line.iter().collect()).collect();
                seen.1.notify_all();
            }
            seen.0.lock().unwrap().push(ENDED.into());
            seen.1.notify_all();
        });
        words
    }
}

pub struct Runner {
    child: Child,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Runner {
    pub fn says(&self, what: &str) {
        let lines = self.lines.0.lock().unwrap();
        let absent = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(what));
        let (lines, waited) = self.lines.1.wait_timeout_while(lines, PATIENCE, absent).unwrap();
        assert!(!waited.timed_out(), "`{what}` was never said:\n{}", lines.join("\n"));
    }

    pub fn ends(&mut self) -> ExitStatus {
        self.says(ENDED);
        self.child.wait().unwrap()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn format(format: VolumeFormat) -> Action {
    let partition =
        PartitionRequest { name: "Macintosh HD".into(), format, size: PartitionSize::Percent(100) };
    Action::FormatDisk { disk: 0, partitions: vec![partition] }
}

fn apply(image: &Image) -> Action {
    Action::ApplyImage {
        manifest: image.digest,
        image: "lab-mac 1".into(),
        source_partition: None,
        destination: Destination::Partition { disk: 0, partition: 2 },
        chosen: None,
        free: Default::default(),
    }
}

fn image() -> Image {
    Image::new("ddzddddddzzddddddddddzdz")
}

fn receipt(appliance: &Appliance) -> (Receipt, SignedReceipt, String) {
    appliance.change(|state| {
        let signed = state.reports.iter().rev().find_map(|report| match &report.event {
            ReportEvent::Done(done) => done.receipt.clone(),
            _ => None,
        });
        let signed = signed.expect("a receipt");
        let receipt = serde_json::from_str(&signed.receipt).unwrap();
        (receipt, signed, state.hellos.last().unwrap().receipt_key.clone())
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn section_2_a_whole_run_formats_runs_a_script_applies_an_image_and_restarts() {
    let image = image();
    let (want, pack) = (image.bytes.clone(), image.pack.len() as u64);
    let script = Action::ExecuteScript {
        script: "#!/bin/sh\necho \"$Greeting, s3cret\"; echo two >&2\n".into(),
        environment: vec![("Greeting".into(), "hello".into())],
        success_codes: vec![0],
        secrets: vec![Secret::new("s3cret")],
        secret_names: vec![],
    };
    let appliance = Appliance::start(image, |image| {
        vec![format(VolumeFormat::HfsJournaled), script, apply(image), Action::Restart]
    });
    let mac = Mac::with_disk(600 * MIB);
    let mut runner = mac.boot(&appliance, &["--unattended"]);
    assert!(runner.ends().success());
    runner.says("restarting");

    assert!(mac.volume(want.len()) == want, "the volume differs from the image");
    let (receipt, signed, key) = receipt(&appliance);
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, unhex(&key));
    assert!(key.verify(signed.receipt.as_bytes(), &unhex(&signed.signature)).is_ok());
    assert_eq!((receipt.run, receipt.number, receipt.bytes), (7, 3, want.len() as u64));
    assert_eq!((receipt.fetched, receipt.chunks_read_back, receipt.rewritten), (pack, 24 * 16, 0));
    assert_eq!((receipt.disk.as_str(), receipt.serial.unwrap().as_str()), ("APPLE SSD S1", "C02FEAS00001"));
    appliance.change(|state| {
        assert_eq!(state.ended, 4);
        let done = |number| {
            state.reports.iter().find_map(|report| match &report.event {
                ReportEvent::Done(done) if report.number == number => Some(done.clone()),
                _ => None,
            })
        };
        assert_eq!(done(1).unwrap().nodes, [mac.disk().with_file_name("sda2").display().to_string()]);
        assert_eq!(done(2).unwrap().exit_code, Some(0));
        let log: Vec<_> = state.reports.iter().filter(|report| report.number == 2).collect();
        let text = format!("{log:?}");
        assert!(text.contains("hello, ") && text.contains("two") && !text.contains("s3cret"), "{text}");
        let progress =
            |report: &Report| matches!(&report.event, ReportEvent::Progress(progress) if progress.total > 0);
        assert!(state.reports.iter().any(progress));
    });
}

#[test]
fn section_3_a_script_reads_and_sets_variables_through_the_tool_and_they_arrive_also_when_it_fails() {
    let script = "#!/bin/sh
[ \"$(\"$PMM_TS_VARIABLE_UTIL\" --get greeting)\" = 'hello  *' ] || exit 5
eval `\"$PMM_TS_VARIABLE_UTIL\" --get Greeting Key`
[ \"$Greeting\" = 'hello  *' ] || exit 6
\"$PMM_TS_VARIABLE_UTIL\" --get Nobody && exit 7
\"$PMM_TS_VARIABLE_UTIL\" --set Room=\"$Greeting $Key\" Lines=\"$(printf 'a\\nb')\" || exit 8
\"$PMM_TS_VARIABLE_UTIL\" --set SerialNumber=x && exit 9
[ \"$(\"$PMM_TS_VARIABLE_UTIL\" --get ROOM)\" = 'hello  * s3cret' ] || exit 10
\"$PMM_TS_VARIABLE_UTIL\" --set Pin=sw0rdfish || exit 11
echo \"the pin is sw0rdfish, the key $(printf %s \"$Key\" | od -An -tx1 | tr -d ' ')\"
\"$PMM_TS_VARIABLE_UTIL\" --get; [ $? = 2 ] || exit 12
exit 3
";
    let script = Action::ExecuteScript {
        script: script.into(),
        environment: vec![("Greeting".into(), "hello  *".into()), ("Key".into(), "s3cret".into())],
        success_codes: vec![0],
        secrets: vec![Secret::new("s3cret")],
        secret_names: vec!["Key".into(), "Pin".into()],
    };
    let appliance = Appliance::start(image(), |_| vec![script]);
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("run FAILED");
    appliance.change(|state| {
        assert_eq!(state.failed.as_ref().unwrap().exit_code, Some(3), "{:?}", state.failed);
        let values = state.reports.iter().find_map(|report| match &report.event {
            ReportEvent::Variables { values } => Some(values.clone()),
            _ => None,
        });
        let want = [("Room", "hello  * s3cret"), ("Lines", "a\nb"), ("Pin", "sw0rdfish")];
        let logged = state.reports.iter().filter_map(|report| match &report.event {
            ReportEvent::Log { lines, .. } => Some(lines.join("\n")),
            _ => None,
        });
        let logged = logged.collect::<Vec<_>>().join("\n");
        assert!(logged.contains("the pin is ••••••••, the key ••••••••"), "{logged}");
        assert_eq!(values.unwrap(), want.map(|(name, value)| (name.to_owned(), value.to_owned())));
    });
}

fn format_and_apply(image: &Image) -> Vec<Action> {
    vec![format(VolumeFormat::HfsJournaled), apply(image)]
}

#[test]
fn an_appliance_that_dies_in_the_middle_and_comes_back_is_waited_for() {
    let image = image();
    let want = image.bytes.clone();
    let appliance = Appliance::start(image, format_and_apply);
    appliance.change(|state| state.faults.insert(3, Fault::Die));
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("waiting: Waiting for the appliance");
    appliance.up();
    runner.says("goes on");
    runner.says("SUCCEEDED");
    assert!(mac.volume(want.len()) == want, "the volume differs from the image");
    assert_eq!(appliance.change(|state| state.hellos.len()), 1);
}

#[test]
fn a_byte_that_flips_on_the_way_is_noticed_and_fetched_again() {
    let image = image();
    let (want, pack) = (image.bytes.clone(), image.pack.len() as u64);
    let appliance = Appliance::start(image, format_and_apply);
    appliance.change(|state| state.faults.extend([(1, Fault::Flip), (3, Fault::Flip)]));
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("SUCCEEDED");
    assert!(mac.volume(want.len()) == want, "the volume differs from the image");
    let fetched = receipt(&appliance).0.fetched;
    assert!(fetched > pack, "{fetched} of {pack}");
}

#[test]
fn a_collection_in_the_middle_of_a_restore_is_survived() {
    let image = image();
    let want = image.bytes.clone();
    let appliance = Appliance::start(image, format_and_apply);
    appliance.change(|state| state.faults.insert(3, Fault::Move));
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("SUCCEEDED");
    assert!(appliance.change(|state| state.moved));
    assert!(mac.volume(want.len()) == want, "the volume differs from the image");
}

#[test]
fn a_runner_that_was_killed_leaves_a_disk_that_does_not_start_and_the_next_one_goes_on() {
    // The first request is for the head; then at most 8 workers ask for 4 MiB each, and ask again when that is written. So
    // when the tenth comes, some of the image lies on the disk, however fast or slow anybody is.
    let image = Image::new(&format!("d{}", "dddd".repeat(10)));
    let (want, pack) = (image.bytes.clone(), image.pack.len() as u64);
    let appliance = Appliance::start(image, format_and_apply);
    appliance.change(|state| state.faults.insert(10, Fault::Die));
    let mac = Mac::with_disk(600 * MIB);
    let mut first = mac.boot(&appliance, &["--unattended"]);
    first.says("waiting: Waiting for the appliance");
    first.child.kill().unwrap();
    first.ends();
    assert!(mac.volume(MIB as usize).iter().all(|byte| *byte == 0), "the half-written volume has a head");
    assert!(mac.volume(want.len()) != want);

    appliance.up();
    let second = mac.boot(&appliance, &["--unattended"]);
    second.says("SUCCEEDED");
    assert!(mac.volume(want.len()) == want, "the volume differs from the image");
    let fetched = receipt(&appliance).0.fetched;
    assert!(fetched < pack, "all was fetched again: {fetched} of {pack}");
    let keys = appliance
        .change(|state| state.hellos.iter().map(|hello| hello.receipt_key.clone()).collect::<Vec<_>>());
    assert!(keys.len() == 2 && keys[0] != keys[1]);
}

#[test]
fn section_2_too_small_a_disk_is_refused_with_both_sizes_before_the_first_write() {
    let appliance = Appliance::start(image(), format_and_apply);
    let mac = Mac::with_disk(100 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("run FAILED");
    let failure = appliance.change(|state| state.failed.clone()).unwrap();
    assert!(failure.cause.contains("nothing was written"), "{failure:?}");
    assert!(failure.evidence.contains("200.0 MiB") && failure.evidence.contains("100.0 MiB"), "{failure:?}");
    assert!(fs::read(mac.disk()).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn section_2_an_image_that_does_not_fit_the_partition_is_refused_with_both_sizes_before_the_first_write() {
    let partition = PartitionRequest {
        name: "Small".into(),
        format: VolumeFormat::Raw,
        size: PartitionSize::Bytes(8 * MIB),
    };
    let appliance = Appliance::start(image(), |image| {
        vec![Action::FormatDisk { disk: 0, partitions: vec![partition] }, apply(image)]
    });
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("run FAILED");
    let failure = appliance.change(|state| state.failed.clone()).unwrap();
    assert!(failure.evidence.contains("8.0 MiB") && failure.evidence.contains("24.0 MiB"), "{failure:?}");
    assert!(mac.volume(24 * MIB as usize).iter().all(|byte| *byte == 0));
}

#[test]
fn a_manifest_that_somebody_else_signed_is_not_applied() {
    let mut image = image();
    image.key = "00".repeat(32);
    let appliance = Appliance::start(image, format_and_apply);
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("run FAILED");
    let failure = appliance.change(|state| state.failed.clone()).unwrap();
    assert!(failure.cause.contains("not trusted"), "{failure:?}");
    assert_eq!(appliance.change(|state| state.pack_requests), 0);
}

#[test]
fn a_manifest_without_a_signature_is_not_applied() {
    let mut image = image();
    image.signed[40..104].fill(0);
    let appliance = Appliance::start(image, format_and_apply);
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("run FAILED");
    let failure = appliance.change(|state| state.failed.clone()).unwrap();
    let said = format!("{} {}", failure.cause, failure.evidence);
    assert!(
        said.contains("not trusted; nothing was written") && said.contains("signature does not fit"),
        "{failure:?}"
    );
    assert_eq!(appliance.change(|state| state.pack_requests), 0);
}

#[test]
fn a_required_run_without_a_screen_starts_after_its_countdown() {
    let appliance = Appliance::start(image(), |_| vec![Action::Restart]);
    let mac = Mac::with_disk(600 * MIB);
    let mut runner = mac.boot(&appliance, &[]);
    assert!(runner.ends().success());
    assert!(appliance.change(|state| state.started));
}

#[test]
fn an_available_sequence_waits_for_a_person() {
    let appliance = Appliance::start(image(), |_| vec![Action::Restart]);
    appliance.change(|state| state.purpose = Some(Purpose::Available));
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot(&appliance, &["--unattended"]);
    runner.says("Available: Lab Mac");
    assert!(!appliance.change(|state| state.started));
    drop(runner);
}

#[test]
fn this_mac_says_who_it_is_and_what_it_has() {
    let appliance = Appliance::start(image(), |_| vec![Action::Restart]);
    let mac = Mac::with_disk(600 * MIB);
    let mut runner = mac.boot(&appliance, &["--unattended"]);
    runner.ends();
    let hello = appliance.change(|state| state.hellos[0].clone());
    assert_eq!((hello.protocol, hello.boot), (PROTOCOL, BootMethod::Netboot));
    assert_eq!(hello.device.model.unwrap().as_str(), "MacBookPro11,1");
    let disk = &hello.device.disks[0];
    assert_eq!((disk.number, disk.size, disk.model.as_str()), (Some(0), 600 * MIB, "APPLE SSD"));
}

#[test]
fn on_a_terminal_a_person_chooses_reads_what_is_lost_and_starts() {
    let appliance = Appliance::start(image(), |_| vec![Action::Restart]);
    appliance.change(|state| state.purpose = Some(Purpose::Available));
    let mac = Mac::with_disk(600 * MIB);
    let (mut script, mut keys) = mac.on_terminal(&appliance.url(), &appliance.ca);
    script.says("Choose a task sequence");
    script.says("MacBookPro11,1  C02FEAS00001");
    keys.write_all(b"\r").unwrap();
    script.says("Disk 0 is ERASED: APPLE SSD, 600.0 MiB");
    script.says("Press Y to start.");
    keys.write_all(b"y").unwrap();
    assert!(script.ends().success());
    assert!(appliance.change(|state| state.started));
}

#[test]
fn another_appliance_is_not_trusted_and_the_next_step_is_said() {
    let (right, wrong) = (Appliance::start(image(), |_| vec![]), Appliance::start(image(), |_| vec![]));
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot_with(&right.url(), &wrong.ca, &["--unattended"]);
    runner.says("cannot go on: the appliance does not take this Mac");
    runner.says("take ca.pem again");
    assert!(right.change(|state| state.hellos.is_empty()));
}

#[test]
fn the_time_is_told_by_an_appliance_whose_certificate_is_not_valid_yet_and_by_no_stranger() {
    let future = |certificate: &mut rcgen::CertificateParams| {
        certificate.not_before = rcgen::date_time_ymd(2190, 1, 1);
        certificate.not_after = rcgen::date_time_ymd(2191, 1, 1);
    };
    let appliance = Appliance::with_certificate(image(), |_| vec![], future);
    let ca = fs::read(&appliance.ca).unwrap();
    let client = Client::https(&appliance.url(), &ca, None).unwrap().with_patience(Patience::NONE);
    let refused = client.get::<u8>("/runner/v1/hello").unwrap_err();
    assert!(matches!(refused, ClientError::Untrusted { clock: true, .. }), "{refused}");

    let limit = Duration::from_secs(20);
    let time = appliance_time(&appliance.url(), &ca, limit).unwrap();
    assert_eq!(time, std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_251_199));
    let stranger = Appliance::start(image(), |_| vec![]);
    let other = fs::read(&stranger.ca).unwrap();
    assert!(appliance_time(&appliance.url(), &other, limit).is_err());
}

#[test]
fn the_program_explains_itself_and_refuses_what_it_does_not_know() {
    let run =
        |flags: &[&str]| Command::new(env!("CARGO_BIN_EXE_rootstock-runner")).args(flags).output().unwrap();
    assert!(String::from_utf8(run(&["--help"]).stdout).unwrap().contains("--unattended"));
    let wrong = run(&["--sever", "x"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("unknown option `--sever`"));
    let root = tempfile::tempdir().unwrap();
    let nowhere = run(&["--sysfs", root.path().to_str().unwrap()]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        String::from_utf8(nowhere.stderr)
            .unwrap()
            .starts_with("error: the appliance's certificate authority")
    );
}

#[test]
fn the_real_appliance_and_the_runner_put_an_image_on_a_disk_together() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = RealAppliance::start(&folder.path().join("data"));
    appliance.with_sequence(&folder);
    // The image is signed with the key before this one; the boot files know none of the two.
    let _: Vec<rootstock::api::admin::SigningKey> =
        appliance.admin().post("/api/v1/keys/rotate", &()).unwrap();
    let mac = Mac::with_disk(600 * MIB);
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let mut runner = mac.boot_with(&url, &appliance.data.join("keys/ca.pem"), &["--unattended"]);
    assert!(runner.ends().success());
    let image = fs::read(folder.path().join("lab.img")).unwrap();
    assert!(mac.volume(3 << 20) == image[1 << 20..], "the volume differs from the image's partition");
    let run = appliance.run(1);
    assert_eq!(run.summary.outcome, Some(Outcome::Succeeded), "{run:?}");
    let receipt: Receipt = serde_json::from_str(&run.receipts[0].receipt).unwrap();
    assert_eq!((receipt.bytes, receipt.serial.unwrap().as_str()), (3 << 20, "C02FEAS00001"));
}

const CAPTURES: &str = "\
name: Keep
steps:
  - capture_image: {image: 'disk-%SerialNumber%', note: before, source: {disk: 0}}
  - capture_image: {image: macos}
";

/// An appliance that lets every Mac capture, and a Mac with files on its disk; what an image of that disk has.
fn capturing(folder: &tempfile::TempDir) -> (RealAppliance, Mac, Vec<u8>) {
    let appliance = RealAppliance::start(&folder.path().join("data"));
    appliance.apply(CAPTURES);
    appliance.deploy("Keep", Purpose::Required);
    let (disk, want) = crate::capture::disk::mac_disk(folder.path(), 20 * MIB, 21);
    let mac = Mac::with_disk(20 * MIB);
    fs::write(mac.disk(), disk).unwrap();
    (appliance, mac, want)
}

fn restored(appliance: &RealAppliance, image: &str, to: &Path) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_rootstock"))
        .arg("--socket")
        .arg(appliance.data.join("rootstock.sock"))
        .args(["image", "restore", image, "--to"])
        .arg(to)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(to).unwrap()
}

#[test]
fn the_real_appliance_and_the_runner_take_images_from_a_disk_together() {
    let folder = tempfile::tempdir().unwrap();
    let (appliance, mac, want) = capturing(&folder);
    let before = fs::read(mac.disk()).unwrap();
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let runner = mac.boot_with(&url, &appliance.data.join("keys/ca.pem"), &["--unattended"]);
    runner.says("captured as disk-C02FEAS00001 1");
    runner.says("captured as macos 1");
    runner.says("SUCCEEDED");
    let run = appliance.run(1);
    assert_eq!(run.summary.outcome, Some(Outcome::Succeeded), "{run:?}");
    let events: Vec<rootstock::api::admin::RunEvent> =
        appliance.admin().get("/api/v1/runs/1/events").unwrap();
    let lines = format!("{events:?}");
    assert!(lines.contains("action 1 done, read "), "{lines}");
    assert!(lines.contains(", captured as disk-C02FEAS00001 1"), "{lines}");
    let image = restored(&appliance, "disk-C02FEAS00001", &folder.path().join("back.img"));
    assert!(image == want, "the image differs from the disk");
    assert!(fs::read(mac.disk()).unwrap() == before, "the disk was written to");
    // The volume alone, in a disk of its own, has no chunk that the whole disk did not bring.
    let macos: rootstock::api::admin::Image = appliance.admin().get("/api/v1/images/macos").unwrap();
    let partitions: Vec<_> = macos.versions[0].partitions.iter().map(|part| part.r#type.as_str()).collect();
    assert_eq!(partitions, ["Apple_HFS"]);
    assert!(macos.versions[0].source.contains("C02FEAS00001"), "{:?}", macos.versions[0].source);
    assert!(macos.versions[0].added < 4096, "{:?}", macos.versions[0]);
}

#[test]
fn a_runner_that_was_killed_while_it_captured_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (appliance, mac, want) = capturing(&folder);
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let ca = appliance.data.join("keys/ca.pem");
    let mut first = mac.boot_with(&url, &ca, &["--unattended"]);
    first.says("capturing");
    first.child.kill().unwrap();
    first.ends();
    let second = mac.boot_with(&url, &ca, &["--unattended"]);
    second.says("SUCCEEDED");
    let image = restored(&appliance, "disk-C02FEAS00001", &folder.path().join("back.img"));
    assert!(image == want, "the image differs from the disk");
    // Whenever it was killed, one version was made of it.
    let images: rootstock::api::admin::Image =
        appliance.admin().get("/api/v1/images/disk-C02FEAS00001").unwrap();
    assert_eq!(images.versions.len(), 1);
}

fn at_work(folder: &tempfile::TempDir, script: &str) -> (RealAppliance, String) {
    let appliance = RealAppliance::start(&folder.path().join("data"));
    appliance.apply(&format!("name: Script\nsteps:\n  - execute_script: {{script: {script:?}}}\n"));
    appliance.deploy("Script", Purpose::Required);
    let url = format!("https://127.0.0.1:{}", appliance.https);
    (appliance, url)
}

#[test]
fn section_8_a_script_that_says_nothing_is_ended_when_its_run_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let (appliance, url) = at_work(&folder, "#!/bin/sh\necho at work\nexec sleep 600\n");
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot_with(&url, &appliance.data.join("keys/ca.pem"), &["--unattended"]);
    runner.says("at work");
    let _: serde_json::Value =
        appliance.admin().post("/api/v1/runs/1/cancel", &serde_json::json!({})).unwrap();
    runner.says("CANCELLED");
}

#[test]
fn section_8_more_lines_than_one_report_takes_arrive_in_order_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (appliance, url) = at_work(&folder, "#!/bin/sh\nexec seq 6000\n");
    let mac = Mac::with_disk(600 * MIB);
    let runner = mac.boot_with(&url, &appliance.data.join("keys/ca.pem"), &["--unattended"]);
    runner.says("SUCCEEDED");
    let (mut lines, mut after): (Vec<String>, _) = (Vec::new(), 0);
    loop {
        let path = format!("/api/v1/runs/1/events?after={after}");
        let events: Vec<rootstock::api::admin::RunEvent> = appliance.admin().get(&path).unwrap();
        let Some(last) = events.last() else { break };
        after = last.number;
        let logged = events.iter().filter(|event| event.kind == "log");
        lines.extend(logged.flat_map(|event| event.detail.lines().map(str::to_owned)));
    }
    assert!(lines.iter().cloned().eq((1..=6000).map(|number| number.to_string())), "{} lines", lines.len());
}

#[test]
fn section_8_a_person_who_restarts_the_mac_by_a_key_is_told_to_the_audit_log() {
    let appliance_folder = tempfile::tempdir().unwrap();
    let appliance = RealAppliance::start(&appliance_folder.path().join("data"));
    appliance.apply("name: Restart\nsteps: [{restart: }]\n");
    appliance.deploy("Restart", Purpose::Available);
    let mac = Mac::with_disk(600 * MIB);
    let url = format!("https://127.0.0.1:{}", appliance.https);
    let (mut script, mut keys) = mac.on_terminal(&url, &appliance.data.join("keys/ca.pem"));
    script.says("Choose a task sequence");
    keys.write_all(b"r").unwrap();
    assert!(script.ends().success());
    let audit: Vec<rootstock::api::admin::AuditEntry> =
        appliance.admin().get("/api/v1/audit?action=device.restart").unwrap();
    let said: Vec<_> = audit.iter().map(|entry| (entry.object.as_str(), entry.who.as_str())).collect();
    assert_eq!(said, [("device 1", "the technician at the Mac")]);
    assert_eq!(audit[0].after, Some(serde_json::json!({ "mac": "C02FEAS00001", "run": null })));
}
