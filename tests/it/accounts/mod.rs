//! Accounts on a real server: at the Mac, on the page, by token, on record.

mod wizard;

use rootstock::api::admin::{CreateUser, User};
use rootstock::value::{Role, Secret};

use crate::api::appliance::Appliance;

/// Good enough for all of them.
pub const PASSWORD: &str = "correct horse";

/// An account of the appliance's own.
pub fn add_user(appliance: &Appliance, name: &str, role: Role) -> User {
    let body =
        CreateUser { name: name.into(), full_name: String::new(), role, password: Secret::new(PASSWORD) };
    appliance.admin().post("/api/v1/users", &body).unwrap()
}
