//! The admin API: `/api/v1/…`, see `crate::api::admin` for the table. One file a noun; the OpenAPI document is put
//! together from the handlers' own descriptions.

mod audit;
mod authoring;
mod binding;
mod capture;
mod check;
mod collection;
mod deployment;
mod device;
mod edit_device;
mod edit_sequence;
mod export;
pub mod history;
mod image;
mod job;
mod key;
mod ldap;
mod lease;
mod nbi;
mod receipt;
mod ring;
mod roster;
pub(super) mod run;
mod screen;
mod sequence;
pub(super) mod session;
mod share;
mod status;
mod token;
mod transfer;
mod upload;
mod user;
mod variable;

use axum::Json as Answer;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::{access, packs};
use crate::server::app::App;
use crate::value::{Right, Role};

/// Longest request: a sequence with its scripts.
const LONGEST_BODY: usize = 4 << 20;
/// Longest request of somebody who has not signed in.
const LONGEST_OPEN_BODY: usize = 16 << 10;

#[derive(OpenApi)]
#[openapi(info(
    title = "Rootstock",
    description = "Admin API of the Rootstock network boot and imaging appliance. On the daemon's Unix socket without a token, \
                       over HTTPS with a session or a token. `security` of a request names the roles that may ask it.",
    license(name = "MIT OR Apache-2.0")
))]
struct Document;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status::status))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(audit::export))
        .routes(routes!(session::show, session::end))
        .routes(routes!(session::set_password))
        .routes(routes!(session::list))
        .routes(routes!(session::end_all))
        .routes(routes!(ldap::show))
        .routes(routes!(ldap::set_password))
        .routes(routes!(ldap::test))
        .routes(routes!(token::list, token::create))
        .routes(routes!(token::revoke))
        .routes(routes!(user::list, user::create))
        .routes(routes!(user::show, user::change, user::remove))
        .routes(routes!(user::set_password))
        .routes(routes!(status::library))
        .routes(routes!(status::collect))
        .routes(routes!(check::start, check::last))
        .routes(routes!(image::list, image::import))
        .routes(routes!(image::show))
        .routes(routes!(image::folder))
        .routes(routes!(upload::list, upload::create, upload::options))
        .routes(routes!(upload::show, upload::head, upload::patch, upload::remove, upload::overridden))
        .routes(routes!(upload::import))
        .routes(routes!(key::list))
        .routes(routes!(key::rotate))
        .routes(routes!(key::retire))
        .routes(routes!(receipt::list))
        .routes(routes!(image::verify))
        .routes(routes!(image::delete))
        .routes(routes!(export::export))
        .routes(routes!(capture::list, capture::create))
        .routes(routes!(capture::show, capture::abandon))
        .routes(routes!(capture::lacking))
        .routes(routes!(capture::frames))
        .routes(routes!(capture::finish))
        .routes(routes!(ring::show))
        .routes(routes!(ring::promote))
        .routes(routes!(ring::rollback))
        .routes(routes!(ring::note))
        .routes(routes!(ring::set_retention))
        .routes(routes!(ring::apply_retention))
        .routes(routes!(job::list))
        .routes(routes!(job::show, job::cancel))
        .routes(routes!(sequence::list, sequence::save))
        .routes(routes!(authoring::check, authoring::check_all))
        .routes(routes!(authoring::copy))
        .routes(routes!(edit_sequence::edit))
        .routes(routes!(sequence::show, sequence::delete))
        .routes(routes!(share::verify))
        .routes(routes!(collection::list, collection::create))
        .routes(routes!(collection::facts))
        .routes(routes!(collection::preview))
        .routes(routes!(collection::show, collection::edit, collection::delete))
        .routes(routes!(deployment::list, deployment::deploy))
        .routes(routes!(deployment::show, deployment::edit, deployment::undeploy))
        .routes(routes!(device::list, edit_device::create))
        .routes(routes!(edit_device::conflicts))
        .routes(routes!(roster::export))
        .routes(routes!(roster::import).layer(DefaultBodyLimit::max(roster::LONGEST_LIST)))
        .routes(routes!(device::show, edit_device::edit, edit_device::delete))
        .routes(routes!(edit_device::merge))
        .routes(routes!(edit_device::distinct))
        .routes(routes!(device::offers))
        .routes(routes!(device::scope))
        .routes(routes!(device::clients))
        .routes(routes!(device::client))
        .routes(routes!(binding::list))
        .routes(routes!(binding::forget))
        .routes(routes!(nbi::list, nbi::import))
        .routes(routes!(nbi::show, nbi::delete))
        .routes(routes!(nbi::edit))
        .routes(routes!(lease::list))
        .routes(routes!(lease::release))
        .routes(routes!(transfer::list))
        .routes(routes!(transfer::stop))
        .routes(routes!(run::list))
        .routes(routes!(run::show))
        .routes(routes!(run::events))
        .routes(routes!(run::cancel))
        .routes(routes!(run::resume))
        .routes(routes!(run::answer))
        .routes(routes!(run::choose_destination))
        .routes(routes!(run::confirm))
        .routes(routes!(run::close))
        .routes(routes!(history::report))
        .routes(routes!(history::step_times))
        .routes(routes!(history::problem_report))
        .routes(routes!(run::retry))
        .routes(routes!(screen::show))
        .routes(routes!(screen::start))
        .routes(routes!(screen::restart))
        .routes(routes!(screen::shut_down))
        .routes(routes!(screen::messages, screen::send))
        .routes(routes!(variable::of_device))
        .routes(routes!(variable::set_of_device, variable::unset_of_device))
        .routes(routes!(variable::of_collection))
        .routes(routes!(variable::set_of_collection, variable::unset_of_collection))
        .routes(routes!(sequence::schema))
}

/// A run as the API shows it, masked.
pub async fn run_view(app: &App, run: i64) -> Result<crate::api::admin::Run, super::error::Refusal> {
    run::view(app, run, 0, std::time::Duration::ZERO).await
}

/// What may be asked by whoever has not signed in yet.
fn open_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(session::sign_in))
        .routes(routes!(session::setup_state, session::set_up))
}

/// The API as an OpenAPI document. What each request needs is written into it from the one table (`access`).
pub fn document() -> utoipa::openapi::OpenApi {
    let (_, mut document) = routes().merge(open_routes()).split_for_parts();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("account", scheme);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let right = access::TABLE.iter().find(|line| line.method == method && line.path == path);
            operation.security = Some(match right.map_or(Some(Right::Own), |line| line.right) {
                // OpenAPI 3.1: for a scheme without scopes, the list holds the roles.
                Some(right) => vec![SecurityRequirement::new("account", right.roles().map(Role::name))],
                None => Vec::new(),
            });
        }
    }
    document
}

/// The operations of a path with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, .. } = item;
    let all = [
        ("GET", get),
        ("PUT", put),
        ("POST", post),
        ("DELETE", delete),
        ("OPTIONS", options),
        ("HEAD", head),
        ("PATCH", patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The routes of [`open_routes`].
pub fn open_router() -> Router<App> {
    let (router, _) = open_routes().split_for_parts();
    router.layer(DefaultBodyLimit::max(LONGEST_OPEN_BODY))
}

/// The routes; who may use them is decided by whoever mounts them.
pub fn router() -> Router<App> {
    let (router, _) = routes().split_for_parts();
    router
        .route("/api/v1/openapi.json", get(async || Answer(document())))
        .route("/api/v1/library/manifests/{digest}", get(packs::stored_manifest))
        .route("/api/v1/library/manifests/{digest}/locations", get(packs::stored_locations))
        .route("/api/v1/library/packs/{digest}", get(packs::stored_pack))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
}
