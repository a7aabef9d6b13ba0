//! The admin API, `/api/v1/…`: what the command line and the console say and are told.
//!
//! Spoken on the Unix socket of the daemon (who may open it is the sign-in: root, or the account the daemon runs as)
//! and over HTTPS with a session or a token as `Authorization: Bearer …`; `<data>/keys/admin.token` is the owner's. JSON both ways.
//! Which role a request needs stands in the OpenAPI document.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /api/v1/status` | | [`Status`] |
//! | `GET /api/v1/openapi.json` | | this API as an OpenAPI document |
//! | `GET /api/v1/users` | | `[`[`User`]`]`, the appliance's own first |
//! | `POST /api/v1/users` | [`CreateUser`] | 201 [`User`]; 409 when the name is taken |
//! | `GET /api/v1/users/{user}` | | [`User`] |
//! | `PATCH /api/v1/users/{user}` | [`ChangeUser`] | [`User`]; 409 for the last owner |
//! | `PUT /api/v1/users/{user}/password` | [`SetPassword`] | 204: its sessions end |
//! | `DELETE /api/v1/users/{user}` | | 204; 409 for the last owner |
//! | `GET /api/v1/sessions` | | `[`[`SignedInSession`]`]`: who is signed in |
//! | `DELETE /api/v1/users/{user}/sessions` | | 204: all of an account end |
//! | `POST /api/v1/session` (nobody signed in) | [`BeginSession`] | [`BegunSession`]; 401 wrong, 429 wait |
//! | `GET /api/v1/session` | | [`WhoAmI`] |
//! | `DELETE /api/v1/session` | | 204: it ends |
//! | `PUT /api/v1/session/password` | [`SetPassword`] with `old` | 204: of one's own account |
//! | `GET`, `POST /api/v1/setup` (nobody signed in) | [`SetUp`] | [`SetupState`], 201 [`User`] |
//! | `GET /api/v1/tokens` | | `[`[`ApiToken`]`]`: one's own; an owner sees all |
//! | `POST /api/v1/tokens` | [`CreateToken`] | 201 [`CreatedToken`] |
//! | `DELETE /api/v1/tokens/{token}` | | [`ApiToken`]: revoked |
//! | `GET /api/v1/ldap` | | [`LdapState`]; 404 without a directory |
//! | `PUT /api/v1/ldap/password` | [`SetLdapPassword`] | 204: kept sealed |
//! | `POST /api/v1/ldap/test` | [`TestLdap`] | [`LdapPerson`]; 503 with the cause |
//! | `GET /api/v1/audit` `?who=&action=&object=&since_ms=&before=&limit=` | | `[`[`AuditEntry`]`]`, newest first |
//! | `GET /api/v1/audit/export` `?after=N` | | JSON lines of [`AuditEntry`], oldest first |
//! | `GET /api/v1/audit/verify` `?number=N&hash=H` | | [`AuditVerdict`] |
//! | `GET /api/v1/images` | | `[`[`ImageSummary`]`]`, by name |
//! | `POST /api/v1/images` | [`ImportImage`] | 202 [`Job`] |
//! | `GET /api/v1/images/{name}` | | [`Image`], every version, newest first |
//! | `POST /api/v1/images/{name}/verify` | [`VerifyImage`] | 202 [`Job`] |
//! | `GET /api/v1/images/{name}/rings` | | [`ImageRings`] |
//! | `POST /api/v1/images/{name}/promote` | [`PromoteImage`] | [`ImageRings`]; 409 when there is nothing to promote |
//! | `POST /api/v1/images/{name}/rollback` | [`RollBackImage`] | [`ImageRings`]; 409 when the ring had nothing before |
//! | `PUT /api/v1/images/{name}/versions/{version}/note` | [`NoteImage`] | [`Image`] |
//! | `PUT /api/v1/images/{name}/retention` | [`SetRetention`] | [`RetentionPlan`]: what will go; nothing has gone yet |
//! | `POST /api/v1/library/retention` | [`ApplyRetention`] | `[`[`RetentionPlan`]`]` |
//! | `DELETE /api/v1/images/{name}/versions/{version}` | | [`Deleted`]; 409 while something needs it |
//! | `GET /api/v1/uploads` | | `[`[`Upload`]`]`, newest first |
//! | `OPTIONS /api/v1/uploads`, `POST /api/v1/uploads` | | tus 1.0.0, see [`tus`](crate::api::tus) |
//! | `GET /api/v1/uploads/{upload}` | | [`Upload`] |
//! | `HEAD`, `PATCH`, `DELETE /api/v1/uploads/{upload}` | | tus 1.0.0 |
//! | `POST /api/v1/uploads/{upload}/import` | [`ImportUpload`] | 202 [`Job`]: again after it failed, or at last |
//! | `GET /api/v1/captures` | | `[`[`Capture`](crate::api::capture::Capture)`]`, newest first |
//! | `POST /api/v1/captures` | [`CreateCapture`](crate::api::capture::CreateCapture) | [`Capture`](crate::api::capture::Capture) |
//! | `GET /api/v1/captures/{capture}` | | [`Capture`](crate::api::capture::Capture) |
//! | `POST /api/v1/captures/{capture}/lacking`, `…/frames`, `…/finish` | binary | see [`crate::api::capture`] |
//! | `DELETE /api/v1/captures/{capture}` | | 204: given up |
//! | `GET /api/v1/jobs` | | `[`[`Job`]`]`, newest first |
//! | `GET /api/v1/jobs/{job}` `?after=N&wait=S` | | [`Job`] |
//! | `DELETE /api/v1/jobs/{job}` | | [`Job`]: asked to stop; nothing of it stays in the library |
//! | `GET /api/v1/sequences` | | `[`[`SequenceSummary`]`]`, by name |
//! | `POST /api/v1/sequences` | [`SequenceText`] | [`SavedSequence`]; 422 lists every finding |
//! | `POST /api/v1/sequence-checks` | [`SequenceText`] | `[`[`Finding`]`]` |
//! | `GET /api/v1/sequence-checks` | | `[`[`SequenceFindings`]`]`: what is wrong with the saved ones as things are now |
//! | `POST /api/v1/sequences/{name}/copy` | [`CopySequence`] | [`SavedSequence`] |
//! | `GET /api/v1/sequences/{name}` `?revision=N` | | [`Sequence`] |
//! | `DELETE /api/v1/sequences/{name}` | | 204; 409 while it is deployed or running |
//! | `POST /api/v1/shares/verify` | [`VerifyShare`] | [`ShareVerdict`]: green or red; 503 when the program that tries it is missing |
//! | `GET /api/v1/collections` | | `[`[`Collection`]`]`, the built-in ones first |
//! | `POST /api/v1/collections` | [`CreateCollection`] | 201 [`CollectionDetails`]; 409 names the count that a rule for every Mac needs |
//! | `GET /api/v1/collections/facts` | | `[`[`RuleFact`]`]` |
//! | `POST /api/v1/collections/preview` | [`RuleText`] | [`RulePreview`] |
//! | `GET /api/v1/collections/{collection}` | | [`CollectionDetails`] |
//! | `PATCH /api/v1/collections/{collection}` | [`EditCollection`] | [`CollectionDetails`] |
//! | `DELETE /api/v1/collections/{collection}` | | 204; 409 while something is deployed to it or another one names it |
//! | `GET /api/v1/deployments` | | `[`[`Deployment`]`]` |
//! | `POST /api/v1/deployments` | [`CreateDeployment`] | 201 [`Deployment`]; 422 when the sequence does not check |
//! | `PATCH /api/v1/deployments/{deployment}` | [`EditDeployment`] | [`Deployment`] |
//! | `DELETE /api/v1/deployments/{deployment}` | | 204; runs that were started go on |
//! | `GET /api/v1/devices` `?search=…&known=…&tag=…&collection=…&name=…&after=…&limit=N` | | `[`[`DeviceSummary`]`]`, last seen first |
//! | `POST /api/v1/devices` | [`CreateDevice`] | 201 [`Device`]: known before it comes |
//! | `GET /api/v1/devices/conflicts` | | `[`[`DeviceConflict`]`]` |
//! | `GET /api/v1/devices/export` | | CSV (RFC 4180) |
//! | `POST /api/v1/devices/import` `?dry_run=true` | CSV | [`RosterReport`]; nothing is changed while a line is wrong |
//! | `GET /api/v1/devices/{device}` | | [`Device`] |
//! | `PATCH /api/v1/devices/{device}` | [`EditDevice`] | [`Device`] |
//! | `DELETE /api/v1/devices/{device}` | | 204; 409 while it has runs |
//! | `POST /api/v1/devices/{device}/merge` | [`MergeDevice`] | [`Device`]: the same Mac, with another board |
//! | `POST /api/v1/devices/{device}/distinct` | [`MergeDevice`] | [`Device`]: two Macs, whatever they share |
//! | `GET /api/v1/devices/{device}/offers` `?boot=netboot` | | `[`[`ExplainedOffer`]`]` |
//! | `GET /api/v1/devices/{device}/scope` | | [`DeviceScope`] |
//! | `GET /api/v1/runs` `?limit=N` | | `[`[`RunSummary`]`]`, newest first |
//! | `GET /api/v1/runs/{run}` `?after=N&wait=S` | | [`Run`] |
//! | `GET /api/v1/runs/{run}/events` `?after=N&wait=S` | | `[`[`RunEvent`]`]`, oldest first, at most 1000; with `wait`, as soon as there is one |
//! | `POST /api/v1/runs/{run}/cancel` | | [`Run`] |
//! | `POST /api/v1/runs/{run}/resume` | | [`Run`]: a failed run goes on with the step that failed; 409 when it cannot |
//! | `GET /api/v1/runs/{run}/report` | | the run as one HTML file, `text/html` |
//! | `GET /api/v1/step-times` `?step=NAME&sequence=NAME&limit=N` | | [`StepTimes`]: a step across runs that have ended |
//! | `GET /api/v1/problem-report` `?run=N` | | `application/zstd`: a `.tar.zst` for whoever helps, without secrets |
//! | `POST /api/v1/runs/{run}/close` | [`CloseRun`] | [`Run`]: ends one that waits for macOS; 409 when it does not |
//! | `POST /api/v1/runs/{run}/retry` | | 201 [`Run`]: a new run of the same deployment on the same Mac, which must be at its wizard |
//! | `POST /api/v1/runs/{run}/answers` | [`RunAnswers`] | [`Run`]; 409 when nobody asked, or somebody answered before |
//! | `POST /api/v1/runs/{run}/confirm` | | [`Run`]: a Wait for technician step ends; 409 when none waits |
//! | `/api/v1/devices/{device}/screen`, `…/start`, `…/restart`, `…/shutdown`, `…/messages` | | see [`crate::api::wizard`] |
//! | `GET /api/v1/devices/{device}/variables` | | `[`[`Variable`]`]`, by name; values of secrets are not given away |
//! | `PUT /api/v1/devices/{device}/variables/{name}` | [`VariableValue`] | [`Variable`] |
//! | `DELETE /api/v1/devices/{device}/variables/{name}` | | 204 |
//! | `GET`, `PUT`, `DELETE /api/v1/collections/{collection}/variables…` | | the same of a collection |
//! | `GET /api/v1/schemas/sequence` | | JSON Schema of a sequence's file |
//! | `GET /api/v1/clients` | | `[`[`ClientSummary`]`]`, last seen first |
//! | `GET /api/v1/clients/{mac}` | | [`Client`] |
//! | `GET /api/v1/bindings` | | `[`[`Binding`]`]`, by hardware address |
//! | `DELETE /api/v1/bindings/{mac}` `?system=MODEL` | | `[`[`Binding`]`]`: what was forgotten; 404 when there was none |
//! | `GET /api/v1/nbi` | | `[`[`NbiSummary`]`]`, by folder |
//! | `POST /api/v1/nbi` `?folder=X.nbi&…` [`ImportNbi`] | tar | 201 [`Nbi`] |
//! | `GET /api/v1/nbi/{folder}` | | [`Nbi`] |
//! | `PUT /api/v1/nbi/{folder}/overrides` | [`NbiOverrides`] | [`Nbi`] |
//! | `DELETE /api/v1/nbi/{folder}` | | 204 |
//! | `GET /api/v1/leases` | | `[`[`Lease`]`]`, by address; none when addresses are the site's matter |
//! | `DELETE /api/v1/leases/{address}` | | [`Lease`]: given back; 404 when nobody has it |
//! | `GET /api/v1/transfers` | | `[`[`Transfer`]`]`, TFTP, longest first |
//! | `DELETE /api/v1/transfers/{transfer}` | | [`Transfer`]: stopped, and how far it was |
//! | `GET /api/v1/keys` | | `[`[`SigningKey`]`]`, newest first |
//! | `POST /api/v1/keys/rotate` | | `[`[`SigningKey`]`]` |
//! | `POST /api/v1/keys/{key}/retire` | | 202 [`Job`]: manifests are signed again; 409 for the key that signs |
//! | `GET /api/v1/receipts` `?run=N&after_run=N&after_number=N` | | `[`[`KeptReceipt`](crate::api::trust::KeptReceipt)`]` |
//! | `GET /api/v1/library/folder` `?path=P` | | [`FolderListing`]: what may be imported from the appliance's disk |
//! | `GET /api/v1/library` | | [`Library`] |
//! | `POST /api/v1/library/check` | [`CheckLibrary`] | 202 [`Job`]: fails when something is damaged at its end |
//! | `GET /api/v1/library/check` | | [`CheckReport`] of the last check; 404 when there was none since the start |
//! | `GET /api/v1/library/manifests/{digest}` | | the signed manifest, binary |
//! | `GET /api/v1/library/manifests/{digest}/locations` | | where its chunks lie now, binary |
//! | `GET /api/v1/library/packs/{digest}` | | a pack, by range |
//! | `POST /api/v1/library/collect` | | 202 [`Job`]: removes chunks that no manifest names |
//!
//! **Watching.** A [`Job`] and a [`Run`] carry `change`, a number that grows with everything that happens to them.
//! `?after=N&wait=S` is answered as soon as `change` is greater than N, else after S seconds (at most 15) with what
//! is so then. So a watcher asks again and again with the last `change`; it misses states in between, never the last one.
//!
//! A request that fails is answered with [`Problem`](crate::api::runner::Problem): 400 unreadable, 401 no or wrong token,
//! 404 no such thing, 409 the state of things forbids it, 422 readable but wrong, 503 not now, 500 our fault.
//! Sets of words that may grow end in `Unknown`; a reader shows what it knows.

mod account;
mod audit;
mod binding;
mod check;
mod collection;
mod deployment;
mod device;
mod doctor;
mod history;
mod key;
mod ldap;
mod lease;
mod library;
mod nbi;
mod ring;
mod run;
mod sequence;
mod share;
mod transfer;
mod upload;
mod variable;

pub use account::{
    ApiToken, BeginSession, BegunSession, ChangeUser, CreateToken, CreateUser, CreatedToken, SetPassword,
    SetUp, SetupState, SignedInSession, User, WhoAmI,
};
pub use audit::{AuditEntry, AuditVerdict, Broken, Chain};
pub use binding::Binding;
pub use check::{CheckFinding, CheckLibrary, CheckReport, DamagedVersion};
pub use collection::{
    Collection, CollectionDetails, CreateCollection, DeviceCollection, DeviceScope, EditCollection,
    InheritedVariable, RuleFact, RuleFinding, RulePreview, RuleText,
};
pub use deployment::{
    BadTerms, CreateDeployment, Deployment, DeploymentTerms, EditDeployment, ExplainedOffer,
};
pub use device::{
    Client, ClientSummary, CreateDevice, Device, DeviceConflict, DeviceSummary, EditDevice, InventoryChange,
    MergeDevice, RosterFault, RosterReport,
};
pub use doctor::{ImageFinding, ImageSeverity, ImageSystem};
pub use history::{Spread, StepTime, StepTimes};
pub use key::SigningKey;
pub use ldap::{LdapGroup, LdapPerson, LdapState, SetLdapPassword, TestLdap};
pub use lease::{Lease, LeaseState};
pub use library::{
    Deleted, Image, ImagePartition, ImageSummary, ImageVersion, ImageVolume, ImportImage, Job, JobKind,
    JobState, Library, VerifyImage,
};
pub use nbi::{ImportNbi, Nbi, NbiBootFile, NbiFacts, NbiFile, NbiOverrides, NbiState, NbiSummary};
pub use ring::{
    ApplyRetention, ImageEvent, ImageEventKind, ImageRings, NoteImage, PromoteImage, Retention,
    RetentionLine, RetentionPlan, RollBackImage, SetRetention,
};
pub use run::{
    AskedDestination, AskedKind, AskedVariable, ChooseDestination, CloseRun, DestinationDisk,
    DestinationPartition, FailedStep, Run, RunAnswers, RunEvent, RunQuestion, RunStep, RunSummary, RunWait,
    StepState,
};
pub use sequence::{
    CopySequence, EditSequence, EditedSequence, EntryOf, Finding, PasteEntry, PutEntry, PutProfile,
    SavedSequence, Sequence, SequenceEdit, SequenceFindings, SequenceSummary, SequenceText,
};
pub use share::{ShareFinding, ShareVerdict, VerifyShare};
pub use transfer::Transfer;
pub use upload::{FolderEntry, FolderListing, ImportUpload, Upload, UploadState};
pub use variable::{Variable, VariableValue};

use serde::{Deserialize, Serialize};

/// The appliance itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Status {
    /// Name of the appliance.
    pub appliance: String,
    /// Version of rootstockd.
    pub version: String,
    /// Milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// Seconds since the daemon started.
    pub uptime: u64,
    /// Folder that holds everything the appliance keeps.
    pub data: String,
    /// Address that Macs are told.
    pub address: Option<String>,
    /// What listens where.
    pub listeners: Vec<Listener>,
    /// SHA-256 of the CA certificate (DER), hexadecimal: compare it before trusting `ca.pem`.
    pub ca_fingerprint: String,
    /// Runs that have not ended.
    pub active_runs: u32,
    /// Clients that were heard in the last hour.
    pub clients: u32,
}

/// One open port or socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Listener {
    /// `https`, `http`, `socket`, `dhcp`, `proxy-dhcp`, `tftp`.
    pub service: String,
    /// Address and port, or the path of the socket.
    pub address: String,
}
