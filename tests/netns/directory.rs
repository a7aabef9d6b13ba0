//! People of Active Directory sign in: a domain controller of Samba on its real ports, in a namespace of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rootstock::server::Server;
use rootstock::server::accounts::{Attempt, SignInError};
use rootstock::server::config::Fragment;
use rootstock::value::{Role, Secret};

use crate::dnssd::until;
use crate::lab::{Lab, Running};

const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/domain.py");
/// Of everybody in `domain.py`: long and mixed enough for Samba.
const PASSWORD: &str = "correct Horse 7";

/// Makes the domain and starts its controller in `machine`.
fn controller(lab: &Lab, machine: &str, folder: &Path) -> Running {
    let tls = folder.join("tls");
    fs::create_dir_all(&tls).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let server =
        rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &*ca).unwrap();
    for (name, pem) in [("ca", ca.pem()), ("cert", server.pem()), ("key", key.serialize_pem())] {
        fs::write(tls.join(name).with_extension("pem"), pem).unwrap();
    }
    // Samba refuses a key that others may read.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(tls.join("key.pem"), private).unwrap();
    let made = Command::new(PYTHON).arg(SCRIPT).arg(folder).stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let settings = format!("--configfile={}", folder.join("smb.conf").display());
    lab.start(machine, "samba", &["--interactive", "--model=single", &settings])
}

fn settings(folder: &Path, url: &str, nested: bool) -> String {
    let ca = folder.join("domain/tls/ca.pem");
    format!(
        "[ldap]\nurl = '{url}'\ndomain = 'LAB'\nca = '{}'\nbase = 'CN=Users,DC=lab,DC=test'\nnested-groups = {nested}\n\
         bind-dn = 'CN=rootstock,CN=Users,DC=lab,DC=test'\n\
         [[ldap.group]]\ndn = 'CN=Admins,CN=Users,DC=lab,DC=test'\nrole = 'administrator'\n\
         [[ldap.group]]\ndn = 'CN=Techs,CN=Users,DC=lab,DC=test'\nrole = 'technician'\n",
        ca.display()
    )
}

/// Who `typed` is, with this password, at an appliance with these settings.
async fn sign_in(server: &Server, typed: &str, password: &str) -> Result<(String, Role), SignInError> {
    let password = Secret::new(password);
    let attempt = Attempt { domain: None, name: typed, password: &password, from: None, now_ms: 1_000_000 };
    let account = server.app().accounts.sign_in(&attempt).await?;
    Ok((account.shown(), account.role))
}

/// Specification of task sequences, section 7 (log in with domain, name, password).
#[test]
fn people_of_active_directory_sign_in_by_every_name_they_have_and_groups_in_groups_count_where_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new();
    lab.plug("dc", "eth0", "lan", &["10.77.0.3/24"]);
    let _controller = controller(&lab, "dc", &folder.path().join("domain"));
    lab.inside("dc", || {
        until("the controller's answer", || std::net::TcpStream::connect("127.0.0.1:636").ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (url, nested) in [("ldaps://127.0.0.1", true), ("ldap://127.0.0.1", false)] {
                let text = settings(folder.path(), url, nested);
                let config = toml::from_str::<Fragment>(&text).unwrap().validate().unwrap();
                let data = folder.path().join(format!("data {nested}"));
                let server = Server::open(config, &data).await.unwrap();
                server.app().accounts.set_bind_password(&Secret::new(PASSWORD)).await.unwrap();
                let tina = ("tina@LAB".to_owned(), Role::Technician);
                for typed in ["tina", "LAB\\Tina", "tina@lab", "Tina@LAB.test"] {
                    let found = sign_in(&server, typed, PASSWORD).await;
                    match nested {
                        true => assert_eq!(found.unwrap(), tina, "{typed}"),
                        false => assert!(matches!(found, Err(SignInError::NoRole(_))), "{typed}: {found:?}"),
                    }
                }
                let adam = sign_in(&server, "adam", PASSWORD).await.unwrap();
                assert_eq!(adam, ("adam@LAB".to_owned(), Role::Administrator));
                let norbert = sign_in(&server, "norbert", PASSWORD).await;
                assert!(matches!(norbert, Err(SignInError::NoRole(_))), "{norbert:?}");
                // A wrong password, an account that is disabled there, nobody: one answer.
                for (typed, password) in [("adam", "wrong"), ("gone", PASSWORD), ("nobody", PASSWORD)] {
                    let found = sign_in(&server, typed, password).await;
                    assert!(matches!(found, Err(SignInError::Wrong)), "{typed}: {found:?}");
                }
            }
        });
    });
}
