//! Why the daemon does not start, or stopped.
//!
//! Must not know: what it does meanwhile.

use std::io;
use std::path::PathBuf;

use super::authority::AuthorityError;
use super::data::DataError;
use super::listen::ListenError;
use crate::db::DbError;

/// Why the daemon does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Certificates.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Sockets.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Sockets of the boot services.
    #[error(transparent)]
    Boot(#[from] super::netboot::BindError),
    /// The DHCP server.
    #[error(transparent)]
    Leases(#[from] super::netboot::OpenError),
    /// Another DHCP server.
    #[error(transparent)]
    Rival(#[from] super::netboot::RivalError),
    /// The library.
    #[error(transparent)]
    Library(#[from] super::library::LibraryError),
    /// The key of secrets.
    #[error(transparent)]
    Secrets(#[from] super::secrets::KeyError),
    /// Boot sets.
    #[error(transparent)]
    Nbi(#[from] super::nbi::NbiError),
    /// Uploads.
    #[error(transparent)]
    Upload(#[from] super::upload::UploadError),
    /// The admin token.
    #[error("the admin token {} cannot be made or read", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A listener was lost.
    #[error("{what} stopped")]
    Lost {
        /// Which service.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}
