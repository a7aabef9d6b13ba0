//! API tokens and accounts over the network, and by command.

use rootstock::api::admin::{ApiToken, CreateToken, CreatedToken, SetPassword, User, WhoAmI};
use rootstock::client::ClientError;
use rootstock::value::{Role, Secret};
use serde_json::Value;

use super::{PASSWORD, add_user, as_user, rootstock, sign_in};
use crate::api::appliance::{Appliance, json, refused};

fn wanted(name: &str, role: Option<Role>, areas: &[&str]) -> CreateToken {
    let areas = areas.iter().map(|area| (*area).to_owned()).collect();
    CreateToken { name: name.into(), user: None, role, areas, days: Some(1) }
}

#[test]
fn part_7_a_token_may_what_it_was_made_for_and_never_more_than_its_account() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(folder.path());
    add_user(&appliance, "ana", Role::Administrator);
    add_user(&appliance, "olga", Role::Owner);
    let ana = as_user(&appliance, "ana");
    let (status, problem) =
        refused(ana.post::<_, CreatedToken>("/api/v1/tokens", &wanted("more", Some(Role::Owner), &[])));
    assert_eq!(status, 403, "{problem:?}");
    let narrow: CreatedToken =
        ana.post("/api/v1/tokens", &wanted("ci", Some(Role::Auditor), &["images"])).unwrap();
    assert!(narrow.token.expose().starts_with("rootstock_"));
    let ci = appliance.network(Some(&narrow.token));
    let who: WhoAmI = ci.get("/api/v1/session").unwrap();
    assert_eq!((who.shown.as_str(), who.role), ("ana (token ci)", Role::Auditor));
    assert_eq!(json(&ci, "/api/v1/images"), serde_json::json!([]));
    let (status, problem) = refused(ci.get::<Value>("/api/v1/runs"));
    assert!(status == 403 && problem.error.contains("is for images only"), "{problem:?}");
    assert_eq!(refused(ci.post::<_, Value>("/api/v1/images", &Value::Null)).0, 403, "an auditor reads");
    assert_eq!(refused(ci.post::<_, Value>("/api/v1/tokens", &wanted("next", None, &[]))).0, 403);
    let whole: CreatedToken = ana.post("/api/v1/tokens", &wanted("whole", None, &[])).unwrap();
    let whole = appliance.network(Some(&whole.token));
    assert!(whole.get::<Value>("/api/v1/users").is_ok());
    let change = serde_json::json!({ "role": "technician" });
    let _: User = as_user(&appliance, "olga").patch("/api/v1/users/ana", &change).unwrap();
    assert_eq!(refused(whole.get::<Value>("/api/v1/users")).0, 403, "the account is a technician's now");
    let listed: Vec<ApiToken> = as_user(&appliance, "olga").get("/api/v1/tokens").unwrap();
    let used = listed.iter().find(|token| token.name == "ci").unwrap();
    assert_eq!(used.used_from.as_deref(), Some("127.0.0.1"));
    let _: ApiToken = as_user(&appliance, "olga").remove(&format!("/api/v1/tokens/{}", used.id)).unwrap();
    assert_eq!(refused(ci.get::<Value>("/api/v1/images")).0, 401);
}

#[test]
fn another_role_a_lock_and_a_new_password_end_sessions_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(folder.path());
    add_user(&appliance, "olga", Role::Owner);
    add_user(&appliance, "ana", Role::Technician);
    let alive = |client: &rootstock::client::Client| client.get::<WhoAmI>("/api/v1/session").is_ok();
    let ana = as_user(&appliance, "ana");
    assert!(alive(&ana));
    let _: User =
        appliance.admin().patch("/api/v1/users/ana", &serde_json::json!({"role": "auditor"})).unwrap();
    assert!(!alive(&ana));
    let ana = as_user(&appliance, "ana");
    let wrong = SetPassword { old: Some(Secret::new("wrong")), new: Secret::new("battery staple") };
    assert_eq!(refused(ana.put::<_, ()>("/api/v1/session/password", &wrong)).0, 403);
    let right = SetPassword { old: Some(Secret::new(PASSWORD)), ..wrong };
    let () = ana.put("/api/v1/session/password", &right).unwrap();
    assert!(!alive(&ana));
    let begun = sign_in(&appliance, "ana", "battery staple").unwrap();
    let ana = appliance.network(Some(&begun.token));
    let _: User =
        appliance.admin().patch("/api/v1/users/ana", &serde_json::json!({"disabled": true})).unwrap();
    assert!(!alive(&ana));
    let (status, problem) = refused(sign_in(&appliance, "ana", "battery staple"));
    assert!(status == 403 && problem.error == "the account ana is disabled", "{problem:?}");
    let last: Result<(), ClientError> = appliance.admin().delete("/api/v1/users/olga");
    let (status, problem) = refused(last);
    assert!(status == 409 && problem.error.contains("last owner"), "{problem:?}");
}

#[test]
fn secrets_are_set_by_owners_only() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(folder.path());
    add_user(&appliance, "ana", Role::Administrator);
    let ana = as_user(&appliance, "ana");
    let path = "/api/v1/collections/All%20Macs/variables/Key";
    let set = |client: &rootstock::client::Client, secret: bool| {
        client.put::<_, Value>(path, &serde_json::json!({ "value": "hunter2", "secret": secret }))
    };
    set(&ana, false).unwrap();
    let (status, problem) = refused(set(&ana, true));
    assert!(status == 403 && problem.error.contains("may not set a secret"), "{problem:?}");
    set(&appliance.admin(), true).unwrap();
    assert_eq!(refused(set(&ana, false)).0, 403, "nor put something in its place");
    assert_eq!(refused(ana.delete(path)).0, 403);
}

#[test]
fn the_command_line_makes_accounts_and_tokens_and_prints_a_token_alone() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::start(&folder.path().join("data"));
    let (socket, file) = (appliance.data.join("rootstock.sock"), folder.path().join("password"));
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let says = |words: &[&str], parts: &[&str]| {
        let (code, text) =
            rootstock(folder.path(), &[&["--socket", socket.to_str().unwrap()], words].concat());
        for part in parts {
            assert!(text.contains(part), "{words:?} (exit {code}) does not say `{part}`:\n{text}");
        }
        text
    };
    let file = ["--password-file", file.to_str().unwrap()];
    says(&[&["user", "setup", "olga"][..], &file].concat(), &["olga is the owner"]);
    says(&[&["user", "setup", "eve"][..], &file].concat(), &["there are accounts already"]);
    says(&[&["user", "add", "ana", "--role", "technician"][..], &file].concat(), &["ana, technician"]);
    says(&["user", "set-role", "ana", "auditor"], &["ana, auditor"]);
    says(&["user", "disable", "ana"], &["ana, auditor, disabled"]);
    says(&["user", "enable", "ana"], &["ana, auditor\n"]);
    says(&[&["user", "password", "ana"][..], &file].concat(), &["given a new password"]);
    says(&["user", "list"], &["NAME", "olga", "owner", "never"]);
    says(&["whoami"], &["on the appliance, owner"]);
    says(&["token", "create", "ci"], &["say whose"]);
    says(&["token", "create", "ci", "--user", "ana", "--only", "mages"], &["no area \"mages\"", "images"]);
    let token = says(&["token", "create", "ci", "--user", "ana", "--days", "7"], &["rootstock_"]);
    assert_eq!(token.lines().count(), 1, "{token}");
    says(&["token", "list"], &["ci", "auditor", "all"]);
    says(&["token", "revoke", "1"], &["the token ci of ana is revoked"]);
    says(&["user", "remove", "ana"], &["ana is removed"]);
    says(&["user", "remove", "olga"], &["last owner"]);
    says(&["user", "remove", "nobody"], &["there is no account nobody"]);
    says(&["ldap", "show"], &["uses no directory"]);
    says(&["login"], &["its socket is the owner's"]);
}
