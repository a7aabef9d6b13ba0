//! `rootstock image compare`: what a restore would find, by exit code, in words and as JSON, without a byte written.

use std::fs;
use std::os::unix::fs::FileExt;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::tempdir;

use super::appliance::{Appliance, image_file};

const CHUNK: u64 = 64 << 10;

fn compare(appliance: &Appliance, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootstock"));
    command.arg("--socket").arg(appliance.data.join("rootstock.sock")).args(["image", "compare"]);
    let output = command.args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn compare_tells_equal_from_different_and_from_trouble_and_writes_nothing() {
    let folder = tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let image = image_file(&folder, 4 << 20);
    appliance.import("lab", &image);
    let disk = folder.path().join("disk").display().to_string();
    fs::copy(&image, &disk).unwrap();
    let json = |words: &[&str]| -> (i32, Value) {
        let (code, out, _) = compare(&appliance, &[words, &["--json"]].concat());
        (code, serde_json::from_str(&out).unwrap())
    };

    let (code, out, _) = compare(&appliance, &["lab", "--with", &disk]);
    assert!(code == 0 && out.contains("holds the image") && out.contains("are equal"), "{out}");
    let (code, said) = json(&["lab", "--with", &disk]);
    assert_eq!((code, &said["same"], said["to_fetch"].as_u64()), (0, &Value::Bool(true), Some(0)), "{said}");

    // One chunk gone bad, one that lies elsewhere on the disk.
    let file = fs::File::options().read(true).write(true).open(&disk).unwrap();
    file.write_all_at(b"changed", 2 << 20).unwrap();
    let mut moved = vec![0; CHUNK as usize];
    file.read_exact_at(&mut moved, 3 << 20).unwrap();
    let mut other = vec![0; CHUNK as usize];
    file.read_exact_at(&mut other, (3 << 20) + CHUNK).unwrap();
    file.write_all_at(&moved, (3 << 20) + CHUNK).unwrap();
    file.write_all_at(&other, 3 << 20).unwrap();
    let before = fs::read(&disk).unwrap();
    let (code, said) = json(&["lab@1", "--with", &disk]);
    let of = |key: &str| said[key].as_u64().unwrap();
    assert_eq!((code, &said["same"]), (1, &Value::Bool(false)), "{said}");
    assert_eq!((of("differing"), of("elsewhere")), (3 * CHUNK, 2 * CHUNK), "{said}");
    assert_eq!(of("equal") + of("differing") + of("unallocated"), of("bytes"), "{said}");
    assert!(of("to_fetch") > 0 && of("to_write") >= 3 * CHUNK, "{said}");
    let (code, out, _) = compare(&appliance, &["lab", "--with", &disk]);
    assert!(code == 1 && out.contains("differs in 192") && out.contains("a restore would write"), "{out}");
    assert!(fs::read(&disk).unwrap() == before, "compare wrote to the disk");

    for words in [["lab", "--with", "/nowhere"], ["lab@9", "--with", &disk], ["none", "--with", &disk]] {
        let (code, out, error) = compare(&appliance, &words);
        assert!(
            code == 2 && out.is_empty() && error.starts_with("error: "),
            "{words:?}: {code} {out}{error}"
        );
    }
}
