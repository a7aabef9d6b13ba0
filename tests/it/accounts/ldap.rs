//! People of a directory sign in: a real slapd on loopback, started by the test, with StartTLS and LDAPS.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rootstock::api::admin::{AuditEntry, LdapPerson, LdapState, SetLdapPassword, TestLdap, WhoAmI};
use rootstock::api::runner::Purpose;
use rootstock::db::NewSession;
use rootstock::server::Server;
use rootstock::server::accounts::{Attempt, SignInError};
use rootstock::server::config::Fragment;
use rootstock::value::{Digest, Role, Secret};
use tempfile::TempDir;

use super::{PASSWORD, add_user, as_user, sign_in};
use crate::api::appliance::{Appliance, FREE_PORTS, Mac, refused};

const BIND: &str = "bind secret";

/// A directory; stopped when dropped.
struct Slapd {
    child: Child,
    ldap: u16,
    ldaps: u16,
}

impl Slapd {
    /// None where there is no slapd; in CI there must be one.
    fn start(folder: &TempDir) -> Option<Slapd> {
        let Some(program) =
            ["/usr/sbin/slapd", "/usr/lib/ldap/slapd"].into_iter().find(|path| Path::new(path).exists())
        else {
            assert!(std::env::var_os("CI").is_none(), "slapd is missing: apt-get install slapd");
            println!("skipped: slapd is missing");
            return None;
        };
        let home = folder.path().join("slapd");
        fs::create_dir_all(home.join("db")).unwrap();
        let ca =
            rcgen::CertifiedIssuer::self_signed(authority(), rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let server =
            rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &*ca).unwrap();
        fs::write(folder.path().join("ldap-ca.pem"), ca.pem()).unwrap();
        fs::write(home.join("server.pem"), server.pem()).unwrap();
        fs::write(home.join("server.key"), key.serialize_pem()).unwrap();
        fs::write(home.join("slapd.conf"), config(&home)).unwrap();
        fs::write(home.join("people.ldif"), PEOPLE).unwrap();
        let added = Command::new("/usr/sbin/slapadd")
            .arg("-f")
            .arg(home.join("slapd.conf"))
            .arg("-l")
            .arg(home.join("people.ldif"))
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        // Ports that are free now; where somebody takes one meanwhile, slapd says so and the test fails with its words.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other) = (free(), free());
        let (ldap, ldaps) = (one.local_addr().unwrap().port(), other.local_addr().unwrap().port());
        drop((one, other));
        let child = Command::new(program)
            .args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{ldap} ldaps://127.0.0.1:{ldaps}"), "-f"])
            .arg(home.join("slapd.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut slapd = Slapd { child, ldap, ldaps };
        #[expect(clippy::disallowed_methods, reason = "another program is waited for")]
        let now = Instant::now;
        let until = now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", ldaps)).is_err() {
            assert!(slapd.child.try_wait().unwrap().is_none(), "slapd ended");
            assert!(now() < until, "slapd does not listen");
            std::thread::yield_now();
        }
        Some(slapd)
    }

    /// Changes the directory, with OpenLDAP's own program.
    fn modify(&self, folder: &TempDir, ldif: &str) {
        let file = folder.path().join("change.ldif");
        fs::write(&file, ldif).unwrap();
        let url = format!("ldaps://127.0.0.1:{}", self.ldaps);
        let output = Command::new("ldapmodify")
            .args(["-x", "-H", &url, "-D", "cn=root,dc=example,dc=org", "-w", "root", "-f"])
            .arg(file)
            .env("LDAPTLS_CACERT", folder.path().join("ldap-ca.pem"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `[ldap]` for it, by StartTLS or LDAPS.
    fn settings(&self, folder: &TempDir, ldaps: bool) -> String {
        let url = if ldaps {
            format!("ldaps://127.0.0.1:{}", self.ldaps)
        } else {
            format!("ldap://127.0.0.1:{}", self.ldap)
        };
        format!(
            "[ldap]\nurl = '{url}'\ndomain = 'EXAMPLE'\nca = '{}'\nbase = 'ou=people,dc=example,dc=org'\n\
             bind-dn = 'cn=rootstock,dc=example,dc=org'\n\
             [[ldap.group]]\ndn = 'cn=admins,ou=groups,dc=example,dc=org'\nrole = 'administrator'\n\
             [[ldap.group]]\ndn = 'cn=techs,ou=groups,dc=example,dc=org'\nrole = 'technician'\n",
            folder.path().join("ldap-ca.pem").display()
        )
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn authority() -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Directory CA");
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params
}

/// Without TLS nobody is bound: a password in the clear would fail the test.
fn config(home: &Path) -> String {
    let home = home.display();
    format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/nis.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n\
         modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {home}/pid\n\
         TLSCACertificateFile {home}/../ldap-ca.pem\nTLSCertificateFile {home}/server.pem\nTLSCertificateKeyFile {home}/server.key\n\
         security simple_bind=128\n\
         database mdb\nsuffix \"dc=example,dc=org\"\ndirectory {home}/db\nmaxsize 16777216\n\
         rootdn \"cn=root,dc=example,dc=org\"\nrootpw root\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by dn.exact=\"cn=rootstock,dc=example,dc=org\" read by * none\n"
    )
}

const PEOPLE: &str = "\
dn: dc=example,dc=org
objectClass: domain
dc: example

dn: cn=rootstock,dc=example,dc=org
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: rootstock
userPassword: bind secret

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=tina,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: tina
cn: Tina Tech
sn: Tech
userPassword: correct horse

dn: uid=adam,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: adam
cn: Adam Admin
displayName: Adam A.
sn: Admin
userPassword: correct horse

dn: uid=norbert,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: norbert
cn: Norbert Nobody
sn: Nobody
userPassword: correct horse

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: cn=admins,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: admins
member: uid=adam,ou=people,dc=example,dc=org

dn: cn=techs,ou=groups,dc=example,dc=org
objectClass: posixGroup
cn: techs
gidNumber: 500
memberUid: tina
memberUid: adam
";

fn set_bind_password(appliance: &Appliance, password: &str) {
    let body = SetLdapPassword { password: Secret::new(password) };
    let () = appliance.admin().put("/api/v1/ldap/password", &body).unwrap();
}

#[test]
fn part_7_people_of_a_directory_sign_in_by_starttls_and_ldaps_with_the_role_of_their_group() {
    let folder = tempfile::tempdir().unwrap();
    let Some(slapd) = Slapd::start(&folder) else { return };
    for ldaps in [false, true] {
        let data = folder.path().join(format!("data {ldaps}"));
        let appliance = Appliance::start_with(&data, &slapd.settings(&folder, ldaps));
        let (status, problem) = refused(sign_in(&appliance, "tina", PASSWORD));
        assert!(status == 503 && problem.error.contains("rootstock ldap password"), "{problem:?}");
        set_bind_password(&appliance, BIND);
        let state: LdapState = appliance.admin().get("/api/v1/ldap").unwrap();
        assert!(state.password_set && state.domain == "EXAMPLE", "{state:?}");
        let adam = as_user(&appliance, "EXAMPLE\\Adam");
        let who: WhoAmI = adam.get("/api/v1/session").unwrap();
        assert_eq!(
            (who.name.as_str(), who.role),
            ("adam@EXAMPLE", Role::Administrator),
            "the first group counts"
        );
        let who: WhoAmI = as_user(&appliance, "tina").get("/api/v1/session").unwrap();
        assert_eq!(who.role, Role::Technician);
        assert_eq!(refused(sign_in(&appliance, "tina", "wrong")).0, 401);
        assert_eq!(refused(sign_in(&appliance, "tina", "")).0, 401, "an anonymous bind is nobody");
        assert_eq!(refused(sign_in(&appliance, "*", PASSWORD)).0, 401, "a filter is not to be typed");
        let (status, problem) = refused(sign_in(&appliance, "norbert", PASSWORD));
        assert!(status == 403 && problem.error.contains("norbert@EXAMPLE is in no group"), "{problem:?}");
    }
}

#[test]
fn a_technician_of_the_directory_logs_in_at_a_mac_and_is_told_apart_from_one_of_the_appliance() {
    let folder = tempfile::tempdir().unwrap();
    let Some(slapd) = Slapd::start(&folder) else { return };
    let appliance = Appliance::start_with(&folder.path().join("data"), &slapd.settings(&folder, false));
    set_bind_password(&appliance, BIND);
    appliance.apply("name: Restart\nsteps: [{restart: }]\n");
    appliance.deploy("Restart", Purpose::Available);
    let mac = Mac::boot(&appliance, "C02A");
    assert_eq!(mac.welcome.sign_in.as_ref().unwrap().domains, ["EXAMPLE", "local"]);
    let signed_in = mac.sign_in(&appliance, "tina", PASSWORD).unwrap();
    assert_eq!(signed_in.name, "tina@EXAMPLE");
    mac.try_start_as(&appliance, 1, Some(signed_in.pass)).unwrap();
    let started: Vec<AuditEntry> = appliance.admin().get("/api/v1/audit?action=run.start").unwrap();
    assert_eq!((started[0].who.as_str(), started[0].how.as_str()), ("tina@EXAMPLE", "mac"));
    add_user(&appliance, "tina", Role::Auditor);
    let who: WhoAmI = as_user(&appliance, "tina").get("/api/v1/session").unwrap();
    assert_eq!((who.name.as_str(), who.role), ("tina", Role::Auditor), "the appliance's own come first");
    let person: LdapPerson =
        appliance.admin().post("/api/v1/ldap/test", &TestLdap { user: "adam".into() }).unwrap();
    assert_eq!((person.full_name.as_str(), person.groups.len()), ("Adam A.", 2));
    let text =
        serde_json::to_string(&appliance.admin().get::<Vec<AuditEntry>>("/api/v1/audit").unwrap()).unwrap();
    assert!(!text.contains(BIND) && text.contains("ldap.password") && text.contains("ldap.test"), "{text}");
}

#[tokio::test]
async fn who_loses_the_group_in_the_directory_is_signed_out_here_when_it_is_asked_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let Some(slapd) = Slapd::start(&folder) else { return };
    let settings = format!("{FREE_PORTS}{}", slapd.settings(&folder, true));
    let config = toml::from_str::<Fragment>(&settings).unwrap().validate().unwrap();
    let server = Server::open(config, &folder.path().join("data")).await.unwrap();
    let app = server.app();
    app.accounts.set_bind_password(&Secret::new(BIND)).await.unwrap();
    let now_ms = 1_000_000_000;
    let password = Secret::new(PASSWORD);
    let attempt = Attempt { domain: None, name: "adam", password: &password, from: None, now_ms };
    let adam = app.accounts.sign_in(&attempt).await.unwrap();
    let token = Digest::of(b"session");
    let new = NewSession { token, account: adam.id, how: "api", address: "", ends_ms: i64::MAX };
    app.db.add_session(&new, "adam", now_ms).await.unwrap();
    let role = async |now| {
        let account = app.db.session_account(token, i64::MAX / 4, now).await.unwrap();
        account.map(|account| account.role)
    };
    let later = now_ms + 16 * 60_000;
    app.accounts.ask_after_people(later).await;
    assert_eq!(role(later).await, Some(Role::Administrator));
    let gone = "dn: cn=techs,ou=groups,dc=example,dc=org\nchangetype: modify\ndelete: memberUid\nmemberUid: adam\n\n\
                dn: cn=admins,ou=groups,dc=example,dc=org\nchangetype: delete\n";
    slapd.modify(&folder, gone);
    let later = later + 16 * 60_000;
    app.accounts.ask_after_people(later).await;
    assert_eq!(role(later).await, None);
    assert!(matches!(app.accounts.sign_in(&attempt).await, Err(SignInError::NoRole(_))));
}

#[test]
fn what_is_wrong_with_a_directory_is_told_and_never_lets_anybody_in() {
    let folder = tempfile::tempdir().unwrap();
    let Some(slapd) = Slapd::start(&folder) else { return };
    let ask = |settings: &str, bind: &str| {
        let data = tempfile::tempdir().unwrap();
        let appliance = Appliance::start_with(data.path(), settings);
        set_bind_password(&appliance, bind);
        add_user(&appliance, "olga", Role::Owner);
        as_user(&appliance, "olga");
        refused(sign_in(&appliance, "tina", PASSWORD))
    };
    let good = slapd.settings(&folder, false);
    let (status, problem) = ask(&good, "another");
    assert!(status == 503 && problem.error.contains("refuses cn=rootstock,dc=example,dc=org"), "{problem:?}");
    // An authority that did not sign the directory's certificate: nothing is said to it.
    let foreign =
        rcgen::CertifiedIssuer::self_signed(authority(), rcgen::KeyPair::generate().unwrap()).unwrap();
    let path = folder.path().join("foreign.pem");
    fs::write(&path, foreign.pem()).unwrap();
    for ldaps in [false, true] {
        let settings = slapd.settings(&folder, ldaps).replace("ldap-ca.pem", "foreign.pem");
        let (status, problem) = ask(&settings, BIND);
        assert!(status == 503 && problem.error.contains("certificate"), "{problem:?}");
    }
    let (status, problem) = ask(&good.replace("ou=people,dc=example", "ou=nowhere,dc=example"), BIND);
    assert!(status == 503 && problem.error.contains("ou=nowhere"), "{problem:?}");
    drop(slapd);
    let (status, problem) = ask(&good, BIND);
    assert!(status == 503 && problem.error.contains("cannot be reached"), "{problem:?}");
}
