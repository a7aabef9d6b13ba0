//! A new set: unpacked beside the boot folder, judged by the same rules as every other, then renamed into it.

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;

use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::statvfs::statvfs;

use super::scan::{Listing, Look, Rules};
use super::side::Side;
use super::unpack::unpack;
use super::{NbiError, Shelf, Turn, check_name, disk, flush, is_good};
use crate::api::admin::{Nbi, NbiOverrides};
use crate::netboot::nbi::{INFO, locate};
use crate::server::clock::now_ms;
use crate::server::netboot::BootFolder;

impl Shelf {
    /// Whether a set of this name and size may come; asked before its first byte is read.
    pub fn may_come(&self, folder: &str, length: u64) -> Result<(), NbiError> {
        check_name(folder)?;
        let path = self.boot.path().join(folder);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(NbiError::Exists(folder.to_owned()));
        }
        let disk = statvfs(self.boot.path()).map_err(|error| disk(self.boot.path())(error.into()))?;
        let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
        if free < length.saturating_add(self.keep_free) {
            return Err(NbiError::Room { need: length, free, keep: self.keep_free });
        }
        Ok(())
    }

    /// Takes a set from a tar stream. Blocks its thread.
    pub fn import(
        &self,
        folder: &str,
        overrides: NbiOverrides,
        input: impl Read,
        _: &Turn,
    ) -> Result<Nbi, NbiError> {
        fs::create_dir_all(&self.incoming).map_err(disk(&self.incoming))?;
        let new = self.incoming.join("new");
        // What an import before left when its disk failed.
        let _ = fs::remove_dir_all(&new);
        let taken = self.take(folder, overrides, input);
        if taken.is_err()
            && let Err(error) = fs::remove_dir_all(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "{} remains until the next start: {error}", new.display());
        }
        taken
    }

    fn take(&self, folder: &str, overrides: NbiOverrides, input: impl Read) -> Result<Nbi, NbiError> {
        let new = self.incoming.join("new");
        let path = new.join(folder);
        DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(disk(&path))?;
        let files = unpack(input, &path)?;
        if !files.iter().any(|file| file == INFO) {
            locate(files.iter().map(String::as_str), 0)?;
        }
        self.judge(folder, overrides)?;
        flush(&path)?;
        flush(&new)?;
        let target = self.boot.path().join(folder);
        let here = nix::fcntl::AT_FDCWD;
        match renameat2(here, &path, here, &target, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {}
            Err(nix::Error::EEXIST) => return Err(NbiError::Exists(folder.to_owned())),
            Err(error) => return Err(disk(&target)(error.into())),
        }
        flush(self.boot.path())?;
        tracing::info!(folder, "{folder} was taken in");
        self.show(folder)
    }

    /// Gives the new folder its side file, and looks at it as a client would see it.
    fn judge(&self, folder: &str, overrides: NbiOverrides) -> Result<(), NbiError> {
        let new = self.incoming.join("new");
        let rules = Rules { settle: std::time::Duration::ZERO, ..self.boot.rules().clone() };
        let boot = BootFolder::with_rules(new.clone(), rules);
        let root = boot.root().map_err(disk(&new))?;
        let look = Look { root: &root, folder, rules: boot.rules(), now_ms: now_ms() };
        // A set that was packed on another appliance brings the values of its site; those of the request win.
        let side = Side { imported: true, overrides: over(overrides, look.side()?.overrides) };
        side.write(&new.join(folder))?;
        let shelved = look.shelve(Listing::of(&new.join(folder)));
        let not_offered = |reason| NbiError::NotOffered { folder: folder.to_owned(), reason };
        is_good(&shelved.state).map_err(not_offered)?;
        shelved.set.iter().try_for_each(|set| self.is_unique(set))
    }
}

/// Values, and those of before where they are silent.
fn over(new: NbiOverrides, old: NbiOverrides) -> NbiOverrides {
    NbiOverrides {
        name: new.name.or(old.name),
        index: new.index.or(old.index),
        default: new.default.or(old.default),
        enabled: new.enabled.or(old.enabled),
        models: new.models.or(old.models),
        macs: new.macs.or(old.macs),
        root_path: new.root_path.or(old.root_path),
    }
}
