//! Secrets that somebody typed into a script: told by the names that stand before them, or by their form.
//!
//! Finds what people usually write; a secret that looks like any other word is not told. Must not know: steps.

use super::text::is_called_like_a_secret;

/// Findings of one script.
const MOST: usize = 20;

/// Lines, from 1, that hold a secret, and what it is.
pub(super) fn in_script(script: &str) -> Vec<(usize, &'static str)> {
    let lines = (1..).zip(script.lines());
    lines.filter_map(|(number, line)| Some((number, in_line(line)?))).take(MOST).collect()
}

fn in_line(line: &str) -> Option<&'static str> {
    let line = line.trim();
    // A comment is read by everybody, too, but what it says is mostly not meant.
    if line.starts_with('#') {
        return None;
    }
    if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied().unwrap_or_default();
        if let Some(found) = in_word(word, next) {
            return Some(found);
        }
    }
    None
}

fn in_word(word: &str, next: &str) -> Option<&'static str> {
    if let Some((name, value)) = word.split_once('=') {
        let name = name.trim_start_matches(['-', '"', '\'', '{']);
        if is_called_like_a_secret(name) && is_literal(value) {
            return Some("a value for what is called like a secret");
        }
    }
    // Short: `-u account:password` of curl; long: `--password hunter2`.
    if (word == "-u" || word == "--user")
        && let Some((account, password)) = next.split_once(':')
        && !account.is_empty()
        && is_literal(password)
    {
        return Some("a password behind `-u`");
    }
    if word.starts_with("--")
        && !word.contains('=')
        && is_called_like_a_secret(word)
        && is_literal(next)
        && !next.starts_with('-')
    {
        return Some("a value for an option that is called like a secret");
    }
    if word.trim_start_matches(['"', '\'']).eq_ignore_ascii_case("bearer")
        && is_literal(next)
        && next.len() >= 16
    {
        return Some("a bearer token");
    }
    has_account_in_url(word).then_some("a password in an address")
}

/// `https://account:password@host`.
fn has_account_in_url(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '"', '\'']).next().unwrap_or_default();
    let Some((account, _)) = authority.rsplit_once('@') else { return false };
    account.split_once(':').is_some_and(|(_, password)| is_literal(password))
}

/// Whether a value stands there itself: not from a variable, a command, or standard input.
fn is_literal(value: &str) -> bool {
    let bare = value.trim_matches(['"', '\'', ';', '}', ')', ',']);
    !bare.is_empty()
        && !bare.contains('$')
        && !bare.contains('`')
        && bare != "-"
        && !bare.starts_with('<')
        && !bare.starts_with('/')
        && !bare.starts_with('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_3_secrets_that_are_typed_into_a_script_are_told_by_their_line() {
        for line in [
            "PASSWORD=hunter2",
            "export ADMIN_PASSWORD='hunter2'",
            "dsconfigad -add ad.example --password hunter2 -force",
            "joinpass --passphrase=hunter2",
            "curl -u admin:hunter2 https://host/",
            "curl -H \"Authorization: Bearer abcdef0123456789abcdef\" https://host/",
            "wget https://admin:hunter2@host/list",
            "echo '-----BEGIN RSA PRIVATE KEY-----'",
            "API_TOKEN=0123456789abcdef",
        ] {
            assert_eq!(in_script(&format!("#!/bin/sh\n{line}\n")).len(), 1, "{line}");
            assert_eq!(in_script(&format!("#!/bin/sh\n{line}\n"))[0].0, 2, "{line}");
        }
    }

    #[test]
    fn what_only_names_a_secret_is_no_finding() {
        for line in [
            "PASSWORD=\"$JoinPassword\"",
            "PASSWORD=$(\"$PMM_TS_VARIABLE_UTIL\" --get Key)",
            "PASSWORD=",
            "dsconfigad --password \"$Key\"",
            "dsconfigad --password --force",
            "curl -u \"admin:$Key\" https://host/",
            "curl --token-file /etc/token x",
            "curl -H \"Authorization: Bearer $Token\" https://host/",
            "wget https://host/a:b@c",
            "# PASSWORD=hunter2 was here",
            "passwd root",
            "PASSWORD_FILE=/run/password",
        ] {
            assert_eq!(in_script(&format!("#!/bin/sh\n{line}\n")), [], "{line}");
        }
    }
}
