//! Encrypted disk images: made here by the format's rules, and made by Macs where the corpus is.

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::num::NonZeroU32;
use std::process::Output;

use aes::cipher::{Array, BlockCipherEncrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use proptest::prelude::*;
use ring::{hmac, pbkdf2};
use rootstock::image::source::{Format, Source, SourceError};
use rootstock::input;
use rootstock::value::Secret;
use serde_json::Value;

use crate::image_source_build::*;

const BLOCK: usize = 512;

/// What to encrypt and how.
pub struct Sealed<'a> {
    plain: &'a [u8],
    key_bits: u32,
    iterations: u32,
    /// Type of each key; those of type 1 are for these passwords.
    keys: &'a [(u32, &'a str)],
}

impl<'a> Sealed<'a> {
    pub fn new(plain: &'a [u8]) -> Sealed<'a> {
        Sealed { plain, key_bits: 256, iterations: 3, keys: &[(1, "open sesame")] }
    }

    fn bytes(&self) -> Vec<u8> {
        let (header, data) = self.parts(usize::MAX);
        [header, data].concat()
    }

    /// Header and data; `recount`: bytes after which blocks are counted from 0 again.
    pub fn parts(&self, recount: usize) -> (Vec<u8>, Vec<u8>) {
        let secret: Vec<u8> = (0..self.key_bits / 8 + 20).map(|k| (k * 7 + 3) as u8).collect();
        let (data_key, mac_key) = secret.split_at(self.key_bits as usize / 8);
        let data_at = 4096;
        let mut file = vec![0; data_at];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"encrcdsa");
        for (at, value) in [(8, 2), (12, 16), (16, 5), (20, 0x8000_0001), (24, self.key_bits)] {
            put(at, &u32::to_be_bytes(value));
        }
        put(52, &(BLOCK as u32).to_be_bytes());
        put(56, &(self.plain.len() as u64).to_be_bytes());
        put(64, &(data_at as u64).to_be_bytes());
        put(72, &(self.keys.len() as u32).to_be_bytes());
        for (index, (kind, password)) in self.keys.iter().enumerate() {
            let (entry, at) = (76 + 20 * index, 1024 + 616 * index);
            put(entry, &kind.to_be_bytes());
            put(entry + 4, &(at as u64).to_be_bytes());
            put(entry + 12, &616_u64.to_be_bytes());
            let wrapped = self.wrap(&secret, password);
            for (field, value) in [(0, 103), (8, self.iterations), (12, 20), (48, 8), (84, 192), (88, 17)] {
                put(at + field, &u32::to_be_bytes(value));
            }
            put(at + 16, &[0x5a; 20]);
            put(at + 52, &[0x11; 8]);
            put(at + 100, &(wrapped.len() as u32).to_be_bytes());
            put(at + 104, &wrapped);
        }
        let mac = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, mac_key);
        let mut sealed = Vec::new();
        for (index, block) in self.plain.chunks(BLOCK).enumerate() {
            let index = index % (recount / BLOCK);
            let mut block = block.to_vec();
            block.resize(BLOCK, 0);
            let iv = hmac::sign(&mac, &(index as u32).to_be_bytes());
            let iv = &iv.as_ref()[..16];
            match self.key_bits {
                128 => encrypt(aes::Aes128::new_from_slice(data_key).unwrap(), iv, &mut block),
                _ => encrypt(aes::Aes256::new_from_slice(data_key).unwrap(), iv, &mut block),
            }
            sealed.extend(block);
        }
        (file, sealed)
    }

    fn wrap(&self, secret: &[u8], password: &str) -> Vec<u8> {
        let mut key = [0; 24];
        let rounds = NonZeroU32::new(self.iterations.min(1000)).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, rounds, &[0x5a; 20], password.as_bytes(), &mut key);
        let mut wrapped = [secret, b"CKIE\0"].concat();
        let padding = 8 - wrapped.len() % 8;
        wrapped.resize(wrapped.len() + padding, padding as u8);
        encrypt(des::TdesEde3::new_from_slice(&key).unwrap(), &[0x11; 8], &mut wrapped);
        wrapped
    }
}

fn encrypt<C: BlockCipherEncrypt>(cipher: C, iv: &[u8], bytes: &mut [u8]) {
    let mut encryptor = cbc::Encryptor::inner_iv_slice_init(cipher, iv).unwrap();
    encryptor.encrypt_blocks(Array::slice_as_chunks_mut(bytes).0);
}

fn open(bytes: Vec<u8>, password: &str) -> Result<Source, SourceError> {
    Source::open_with(Cursor::new(bytes), Some(&Secret::new(password)))
}

fn refused(bytes: Vec<u8>) -> SourceError {
    open(bytes, "open sesame").err().unwrap()
}

#[test]
fn every_packing_opens_with_its_password_in_both_key_lengths() {
    for key_bits in [128, 256] {
        for (name, plain) in udif_fixtures() {
            let mut source = open(Sealed { key_bits, ..Sealed::new(&plain) }.bytes(), "open sesame").unwrap();
            assert!(source.is_encrypted() && source.format() == Format::Udif);
            let whole = gather(&mut source, 2).unwrap();
            assert_eq!(whole.digest, fixture_digest(), "{name}, {key_bits} bits");
            assert!(whole.decoded.checksums.present);
        }
    }
}

#[test]
fn a_second_key_opens_too_and_a_certificate_is_passed_over() {
    let plain = stored_fixture();
    let sealed = Sealed { keys: &[(2, ""), (1, "first"), (1, "zwölf")], ..Sealed::new(&plain) };
    for password in ["first", "zwölf"] {
        assert!(open(sealed.bytes(), password).is_ok(), "{password}");
    }
    assert!(matches!(open(sealed.bytes(), "third"), Err(SourceError::WrongPassword)));
    let sealed = Sealed { keys: &[(2, "")], ..sealed };
    assert!(matches!(open(sealed.bytes(), "first"), Err(SourceError::NoPasswordKey)));
}

#[test]
fn without_a_password_the_error_says_where_to_put_one() {
    let error = Source::open(Cursor::new(Sealed::new(&fixture("disk-udzo.dmg")).bytes())).err().unwrap();
    assert!(matches!(error, SourceError::PasswordNeeded));
    assert!(error.to_string().contains("--password-file"), "{error}");
}

#[test]
fn work_and_sizes_that_the_header_claims_are_bounded() {
    let plain = fixture("disk-udzo.dmg");
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = Sealed::new(&plain).bytes();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        refused(file)
    };
    let most = u32::MAX.to_be_bytes();
    assert!(matches!(patched(1024 + 8, &most), SourceError::TooLarge { .. }));
    for at in [8, 20, 24, 52, 72, 1024, 1024 + 12, 1024 + 48, 1024 + 84, 1024 + 88, 1024 + 100] {
        let error = patched(at, &most);
        assert!(
            matches!(error, SourceError::Malformed { at: found, .. } if found == at as u64),
            "{at}: {error}"
        );
    }
    for at in [1024 + 8, 52] {
        assert!(matches!(patched(at, &[0; 4]), SourceError::Malformed { .. }));
    }
    for at in [56, 64, 80] {
        assert!(matches!(patched(at, &[0xff; 8]), SourceError::Truncated { .. }), "{at}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused_at_every_length() {
    let file = Sealed::new(&fixture("disk-udzo.dmg")).bytes();
    for length in [8, 75, 76, 95, 1023, 1030, 1127, 4096, file.len() - 1] {
        let error = refused(file[..length].to_vec());
        assert!(
            matches!(error, SourceError::Truncated { .. } | SourceError::Malformed { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn an_encrypted_image_in_an_encrypted_image_is_not_followed() {
    let inner = Sealed::new(&fixture("disk-udzo.dmg")).bytes();
    assert!(matches!(refused(Sealed::new(&inner).bytes()), SourceError::Unsupported(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_access_gives_what_a_decode_gives(reads in prop::collection::vec((0..2_000_000_u64, 1..300_000_usize), 1..6)) {
        let plain = stored_fixture();
        let mut encrypted = open(Sealed::new(&plain).bytes(), "open sesame").unwrap().into_reader().unwrap();
        let mut clear = Source::open(Cursor::new(plain)).unwrap().into_reader().unwrap();
        for (at, length) in reads {
            let [a, b] = [&mut encrypted, &mut clear].map(|reader| {
                let mut bytes = Vec::new();
                reader.seek(SeekFrom::Start(at)).unwrap();
                reader.take(length as u64).read_to_end(&mut bytes).unwrap();
                bytes
            });
            prop_assert!(a == b, "{length} bytes at {at}");
        }
    }

    #[test]
    fn a_mutated_header_never_panics(flips in prop::collection::vec((0..1200_usize, any::<u8>()), 1..6)) {
        let mut file = Sealed::new(&fixture("disk-udzo.dmg")).bytes();
        for (at, byte) in flips {
            // Rounds of key derivation up to the limit are right and slow.
            if !(1032..1036).contains(&at) {
                file[at] = byte;
            }
        }
        if let Ok(mut source) = open(file, "open sesame") {
            drop(gather(&mut source, 1));
        }
    }
}

fn rootstock(arguments: &[&str]) -> Output {
    Command::new(cargo_bin!("rootstock")).arg("image").args(arguments).output().unwrap()
}

#[test]
fn inspect_and_decode_take_the_password_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("a.dmg"), Sealed::new(&fixture("disk-ulfo.dmg")).bytes()).unwrap();
    fs::write(path("right"), "open sesame\n").unwrap();
    fs::write(path("wrong"), "open barley\n").unwrap();

    let output = rootstock(&["inspect", &path("a.dmg"), "--password-file", &path("right"), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["encrypted"], &report["format"]), (&Value::Bool(true), &Value::from("udif")));
    assert_eq!(report["warnings"], Value::Array(Vec::new()));

    let output = rootstock(&["decode", &path("a.dmg"), &path("out"), "--password-file", &path("wrong")]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("the password is wrong"), "{error}");
    assert!(!fs::exists(path("out")).unwrap());

    let output = rootstock(&["decode", &path("a.dmg"), &path("out"), "--password-file", &path("right")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sha256(&fs::read(path("out")).unwrap()), fixture_digest());
}

#[test]
fn encrypted_images_that_macs_made_open_and_their_checksums_hold() {
    let Some(corpus) = corpus() else {
        println!("skipped: no shared corpus; the made images test the same code");
        return;
    };
    for (name, password, size) in [
        ("dmgwiz-input_aes256.dmg", "test123", 10_510_336),
        ("Sparkle-SparkleTestCodeSignApp.enc.dmg", "testpass", 9_437_184),
    ] {
        let image = || File::open(corpus.join(name)).unwrap();
        let mut source = Source::open_with(image(), Some(&Secret::new(password))).unwrap();
        let decoded = gather(&mut source, 2).unwrap().decoded;
        assert!(decoded.size == size && decoded.checksums.present, "{name}: {decoded:?}");
        let wrong = Source::open_with(image(), Some(&Secret::new("testpasS"))).err().unwrap();
        assert!(matches!(wrong, SourceError::WrongPassword), "{name}: {wrong}");
    }
}

/// Encrypts with another program: tests/it/seal.py, which has the format from its description and does the work with openssl.
fn seal(words: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/seal.py");
    let done = std::process::Command::new("python3").arg(script).args(words).output();
    let done = done.unwrap_or_else(|error| panic!("this test needs python3: {error}"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn what_another_program_encrypted_opens_as_image_sparse_image_and_sparse_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // A disk with much that was never written; bands of it begin in the middle of the blocks of an image.
    let mut disk: Vec<u8> = (0..320 << 10).map(|at| (at / 7 % 251) as u8).collect();
    disk[70 << 10..200 << 10].fill(0);
    fs::write(path("disk"), &disk).unwrap();
    fs::write(path("lab.dmg"), fixture("disk-udzo.dmg")).unwrap();
    for bits in ["128", "256"] {
        seal(&["image", &path("lab.dmg"), &path(&format!("{bits}.dmg")), "open sesame", bits]);
        seal(&["sparse", &path("disk"), &path(&format!("{bits}.sparseimage")), "open sesame", bits]);
        let bundle = format!("{bits}.sparsebundle");
        seal(&["bundle", &path("disk"), &path(&bundle), "open sesame", bits, "65536"]);
        for (name, format, digest) in [
            (format!("{bits}.dmg"), Format::Udif, fixture_digest()),
            (format!("{bits}.sparseimage"), Format::SparseImage, sha256(&disk)),
            (bundle, Format::SparseBundle, sha256(&disk)),
        ] {
            let file = path(&name);
            let open = |password: &str| input::open(file.as_ref(), Some(&Secret::new(password)), None);
            let mut source = open("open sesame").unwrap_or_else(|error| panic!("{name}: {error}")).source;
            assert!(source.is_encrypted() && source.format() == format, "{name}");
            assert_eq!(gather(&mut source, 2).unwrap().digest, digest, "{name}");
            let wrong = open("open barley").err().unwrap().to_string();
            assert!(wrong.contains("the password is wrong"), "{name}: {wrong}");
        }
    }
}

/// A command at a terminal, which `keys` are typed into when it asks. Everything that the terminal showed, and whether the command
/// succeeded.
fn at_a_terminal(command: &str, keys: &[u8]) -> (bool, String) {
    let mut child = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", command, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs script: {error}"));
    let (mut shown, mut piece) = (Vec::new(), [0; 512]);
    let mut out = child.stdout.take().unwrap();
    let mut typed = child.stdin.take();
    while let Ok(count @ 1..) = out.read(&mut piece) {
        shown.extend_from_slice(&piece[..count]);
        if String::from_utf8_lossy(&shown).contains("Password of ")
            && let Some(mut terminal) = typed.take()
        {
            std::io::Write::write_all(&mut terminal, keys).unwrap();
            // Open until the end: a terminal whose other side is gone is a hang-up.
            std::mem::forget(terminal);
        }
    }
    (child.wait().unwrap().success(), String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn a_person_at_a_terminal_is_asked_for_the_password_and_nobody_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("a.dmg"), Sealed::new(&fixture("disk-udzo.dmg")).bytes()).unwrap();
    let program = cargo_bin!("rootstock").display().to_string();
    for (asked, keys, right) in [
        ("", "open sesame\n", true),
        ("--ask-password", "opem\u{7f}n sesame\r", true),
        ("--ask-password", "open barley\n", false),
        ("--ask-password", "open\u{3}", false),
    ] {
        let command = format!("{program} image decode {} {} {asked}", path("a.dmg"), path("out"));
        let (good, shown) = at_a_terminal(&command, keys.as_bytes());
        assert_eq!(good, right, "{shown}");
        assert!(shown.contains(&format!("Password of {}: ", path("a.dmg"))), "{shown}");
        assert!(!shown.contains("sesame") && !shown.contains("barley"), "what is typed is shown: {shown}");
        if right {
            assert_eq!(sha256(&fs::read(path("out")).unwrap()), fixture_digest());
            fs::remove_file(path("out")).unwrap();
        }
    }
}
