//! Every route says which roles may ask it, and refuses the others: walked from the OpenAPI document.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use rootstock::db::{Changed, NewAccount, NewSession};
use rootstock::server::Server;
use rootstock::server::config::Fragment;
use rootstock::server::http::access::TABLE;
use rootstock::server::http::{admin, network};
use rootstock::value::{Digest, Role};
use serde_json::Value;
use tower::ServiceExt;

use crate::api::appliance::FREE_PORTS;

const FAR: i64 = i64::MAX / 2;

/// Method, path and roles of every request that the document knows.
fn documented() -> Vec<(String, String, Vec<String>)> {
    let document = serde_json::to_value(admin::document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(security) = operation.get("security").and_then(Value::as_array) else {
                panic!("{method} {path} says nothing of roles");
            };
            let roles = security.iter().flat_map(|one| one["account"].as_array().unwrap().clone());
            let roles = roles.map(|role| role.as_str().unwrap().to_owned()).collect();
            found.push((method.to_uppercase(), path.clone(), roles));
        }
    }
    found
}

#[test]
fn part_7_every_route_of_the_document_stands_in_the_table_of_rights_and_nothing_else_does() {
    let documented = documented();
    for (method, path, _) in &documented {
        let listed = TABLE.iter().any(|line| line.method == method && line.path == path);
        assert!(listed, "enter {method} {path} into src/server/http/access.rs");
    }
    let beside = ["/api/v1/openapi.json", "/api/v1/library/manifests", "/api/v1/library/packs"];
    for line in TABLE {
        let known = documented.iter().any(|(method, path, _)| line.method == method && line.path == path)
            || beside.iter().any(|path| line.path.starts_with(path));
        assert!(known, "{} {} is no route any more", line.method, line.path);
    }
}

#[tokio::test]
async fn part_7_every_route_lets_in_the_roles_that_may_and_refuses_lesser_roles_and_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let config = toml::from_str::<Fragment>(FREE_PORTS).unwrap().validate().unwrap();
    let server = Server::open(config, folder.path()).await.unwrap();
    let app = server.app().clone();
    let sign_in = async |account: i64, role: Role| {
        let token = Digest::of(role.name().as_bytes());
        let new = NewSession { token, account, how: "api", address: "", ends_ms: FAR };
        // Used in the future, so that it does not idle while the test runs.
        app.db.add_session(&new, role.name(), FAR).await.unwrap();
    };
    let mut accounts = Vec::new();
    for role in Role::ALL {
        let new = NewAccount { domain: "", name: role.name(), full_name: "", role, password: Some("x") };
        let Changed::Done(account) = app.db.add_account(&new, 1).await.unwrap() else { panic!("{role}") };
        sign_in(account.id, role).await;
        accounts.push((role, account.id));
    }
    let router = network(app.clone());
    let ask = async |method: &str, path: &str, bearer: Option<&str>| {
        let mut segments: Vec<&str> = path.split('/').collect();
        segments.iter_mut().filter(|part| part.starts_with('{')).for_each(|part| *part = "1");
        let mut request = Request::builder().method(method).uri(segments.join("/"));
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 9))));
        router.clone().oneshot(request).await.unwrap().status()
    };
    let (mut refused, mut let_in) = (0, 0);
    for (method, path, roles) in documented() {
        if roles.is_empty() {
            assert_ne!(ask(&method, &path, None).await, StatusCode::UNAUTHORIZED, "{method} {path} is open");
            continue;
        }
        assert_eq!(ask(&method, &path, None).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(ask(&method, &path, Some("guess")).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        for (which, account) in accounts.iter().copied() {
            let role = which.name();
            if !roles.iter().any(|may| may == role) {
                assert_eq!(
                    ask(&method, &path, Some(role)).await,
                    StatusCode::FORBIDDEN,
                    "{role} {method} {path}"
                );
                refused += 1;
            } else {
                // Without a body most of them do nothing: what they do is tested with what they are for.
                let status = ask(&method, &path, Some(role)).await;
                let good = status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN;
                assert!(good && !status.is_server_error(), "{role} {method} {path}: {status}");
                let_in += 1;
                if (method.as_str(), path.as_str()) == ("DELETE", "/api/v1/session") {
                    sign_in(account, which).await;
                }
            }
        }
    }
    assert!(refused > 100 && let_in > 250, "{refused} {let_in}");
}
