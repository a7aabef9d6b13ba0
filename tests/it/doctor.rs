//! `rootstock model`, and `rootstock doctor` where there is neither daemon nor network to ask.

use assert_cmd::Command;
use serde_json::Value;

fn rootstock(words: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_rootstock")).args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_model_is_told_by_identifier_with_how_to_image_it() {
    let (code, out, _) = rootstock(&["model", "MacBookPro15,1"]);
    assert_eq!(code, 0);
    for words in [
        "MacBook Pro (15-inch, 2018 and 2019)",
        "Apple T2",
        "USB stick",
        "Allow booting from external",
        "103265",
    ] {
        assert!(out.contains(words), "no `{words}`: {out}");
    }
    let (_, out, _) = rootstock(&["model", "iMac5,2"]);
    assert!(out.contains("EFI, 32 bits") && out.contains("unconfirmed  width of the firmware"), "{out}");
    let (_, out, _) = rootstock(&["model", "Macmini7,1", "--json"]);
    let read: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&read[0]["imaging"], &read[0]["firmware"]), (&"n-key".into(), &"efi64".into()));
}

#[test]
fn models_are_found_by_words_of_their_names_and_unknown_ones_are_not_guessed() {
    let (_, out, _) = rootstock(&["model", "xserve", "2008"]);
    assert!(out.starts_with("Xserve2,1"), "{out}");
    let (_, all, _) = rootstock(&["model", "--all"]);
    assert!(all.lines().count() > 170 && all.contains("(?) not confirmed"), "{all}");
    let (code, _, error) = rootstock(&["model", "iMac99,1"]);
    assert!(code == 1 && error.starts_with("error: no Mac `iMac99,1` is known"), "{error}");
    assert_eq!(rootstock(&["model"]).0, 2);
}

#[test]
fn a_doctor_without_daemon_checks_the_rest_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (data, socket) = (folder.path().join("data"), folder.path().join("no.sock"));
    let (data, socket) = (data.to_str().unwrap(), socket.to_str().unwrap());
    // Through the machine's own loop nobody is asked: no packet leaves.
    let words = ["doctor", "--socket", socket, "--data", data, "--interface", "lo", "--json"];
    let (code, out, error) = rootstock(&words);
    assert_eq!(code, 1, "{error}");
    let read: Value = serde_json::from_str(&out).unwrap();
    let of = |topic: &str| {
        let all = read["findings"].as_array().unwrap();
        all.iter().find(|one| one["topic"] == topic).unwrap_or_else(|| panic!("no {topic}: {out}"))["verdict"]
            .clone()
    };
    assert_eq!(
        (of("rootstockd"), of("boot files"), of("boot sets")),
        ("fails".into(), "fails".into(), "fails".into())
    );
    assert_eq!(of("network"), "warning");
    let people = rootstock(&words[..words.len() - 1]).1;
    assert!(
        people.contains("FAILS    boot files") && people.contains("-> make them: rootstock media boot"),
        "{people}"
    );
}

#[test]
fn an_interface_that_is_not_there_is_named_by_doctor_and_probe() {
    for words in [&["doctor", "--interface", "nope0"][..], &["netboot", "probe", "--interface", "nope0"]] {
        let (code, _, error) = rootstock(words);
        assert!(code == 1 && error.starts_with("error: there is no network interface `nope0`"), "{error}");
    }
}
