//! `rootstock image …`: one file a verb.

mod capture;
mod collect;
mod compare;
mod decode;
mod delete;
mod export;
mod file;
mod files;
mod import;
mod inspect;
mod list;
pub mod password;
mod received;
mod restore;
mod retention;
mod ring;
mod show;
mod upload;
mod verify;
mod version;

use std::process::ExitCode;

use clap::Subcommand;

use super::connection::{Connection, Online};
pub use password::Password;
pub use upload::follow as follow_upload;

/// Verbs of `rootstock image`.
#[derive(Subcommand)]
pub enum Command {
    /// Look into an image file: format, partitions, volumes, checksums
    ///
    /// Works without a daemon, and reads all of FILE to verify its checksums. A compressed raw image is unpacked into a
    /// temporary file without a name, in $TMPDIR or else /var/tmp. Exit code 1 when the image is damaged, cut off,
    /// unknown or of a kind that is not read.
    Inspect(inspect::Inspect),
    /// Write the bytes of the disk or volume in an image to a file or block device
    ///
    /// OUT may be a file: it becomes sparse, and appears, or is replaced, only when it is complete. Or a block device,
    /// which is overwritten from its first byte on. Checksums in FILE are verified. On any error, exit code 1, and a
    /// file OUT stays as it was.
    Decode(decode::Decode),
    /// Take an image file into the library
    #[command(after_help = "\
The format is recognised by its content. FILE may be the first part of a file that was split (.aa, .000, .001), the folder of \
a sparse bundle, or a tar archive of it. Only what the library does not hold yet is stored. Ctrl-C stops watching; the import \
goes on.\n\
Exit code: 0 the image is in the library · 1 nothing was added.")]
    Import(Online<import::Import>),
    /// Send an image file of this machine to an appliance, and take it into its library
    #[command(after_help = "\
Works over the socket and with --server from any machine. Goes on by itself when the appliance or the network comes back; \
after Ctrl-C or a restart of this machine run the same command again: what has arrived is not sent again. The whole file is \
compared with its digest before it becomes a version.\n\
Exit code: 0 the image is in the library · 1 not; what has arrived is kept until the upload expires (rootstock upload list).")]
    Upload(Online<upload::Upload>),
    /// Files on the appliance's own disk that can be imported
    Files(Online<files::Files>),
    /// Take a disk of this machine into the library: used blocks only, only what the library lacks
    #[command(after_help = "\
Of HFS+ and APFS volumes only used blocks are read, everything else whole; a FileVault volume needs no password. With --server the \
disk is on this machine and the library elsewhere. The disk is opened for reading, refused while mounted, and looked at again at the \
end: a disk that changed is not captured. Ctrl-C ends it; run again, it reads the disk again and sends what is still lacking.\n\
Exit code: 0 the image is in the library · 1 no version was made.")]
    Capture(Online<capture::Capture>),
    /// Images of the library
    List(Online<list::List>),
    /// One image: versions, partitions, what needs them
    Show(Online<show::Show>),
    /// Read every byte of an image in the library and compare it with the signed manifest
    #[command(
        after_help = "Exit code: 0 all is as it was imported · 1 something is damaged, and what to do."
    )]
    Verify(Online<verify::Verify>),
    /// Write an image of the library to a file or block device of this machine, verified
    #[command(after_help = "\
Every chunk is checked before it is written; all that the image holds is read back; the first MiB is written last, so that a target \
that was interrupted does not boot. Run again, it goes on where it was. What lies on the target already is not written again where \
reading is faster than writing all: a sample is read first, and what was decided is said. A target that holds the image, every byte \
of it, is only read.\n\
Exit code: 0 restored and read back · 1 not: the target does not boot, unless the error says that nothing was written.")]
    Restore(Online<restore::Restore>),
    /// Compare an image of the library with a file or block device of this machine; writes nothing
    #[command(after_help = "\
Tells what is equal, what differs, and what a restore would fetch and write. Space that the image says nothing about is not compared.\n\
  rootstock image compare lab-mac --with /dev/sdb\n\
  rootstock image compare lab-mac@3 --partition 2 --with /dev/sdb2 --json\n\
Exit code: 0 equal · 1 they differ · 2 nothing was compared, and why.")]
    Compare(Online<compare::Compare>),
    /// Put a version into the next ring: draft, test, production
    #[command(after_help = "\
A new version is in draft. Sequences that name neither version nor ring get what production points to; as long as it points nowhere, \
the newest version. To restore an old version, promote it: lab-mac@2 --to production. Runs that go on keep their version.\n\
  rootstock image promote lab-mac                    the draft goes to test, the next time to production\n\
  rootstock image promote lab-mac@2 --to production\n\
Exit code: 0 the ring points there · 1 nothing was moved, and why.")]
    Promote(Online<ring::Promote>),
    /// Put the version that a ring had before back into it
    #[command(after_help = "Again, it goes back one version further. Runs that go on keep their version.")]
    Rollback(Online<ring::Rollback>),
    /// Where the rings of an image point, and who moved them when
    Rings(Online<ring::Rings>),
    /// Change the note of a version; nothing else of a version ever changes
    Note(Online<ring::Note>),
    /// Which old versions go by themselves; without rules none does
    #[command(after_help = "\
A version goes when every rule that is given lets it go. The newest version never goes, nor one that a ring points to, a run is \
applying, or a deployed sequence needs.\n\
  rootstock image retention                          what would go now, of all images\n\
  rootstock image retention lab-mac --keep 5 --days 90\n\
Exit code: 0 done · 1 not, and why.")]
    Retention(Online<retention::Retention>),
    /// Write an image of the library to a file: raw, compressed, .dmg or partclone
    #[command(after_help = export::AFTER_HELP)]
    Export(Online<export::Export>),
    /// Remove one version of an image; not while anything needs it
    #[command(after_help = "\
Refused, with the names of who needs it, while a run that goes on applies it, the ring test or production points to it, a deployed \
sequence names it or would be left without any version, or the appliance itself works with it. Draft moves on to the newest \
version that is left.\n\
Exit code: 0 deleted · 1 nothing was deleted, and why.")]
    Delete(Online<delete::Delete>),
    /// Give back the room that deleted images took
    #[command(after_help = "\
What any image of the library holds stays, and so does what an import counts on. Runs beside imports, uploads, restores and runs: \
what they read is moved, not taken away.\n\
Exit code: 0 done · 1 nothing was removed, and why.")]
    Collect(Online<collect::Collect>),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops the verb, with the file or image that it was about.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Inspect(inspect) => inspect.run(),
            Command::Decode(decode) => decode.run(),
            Command::Import(verb) => verb.run(before, import::run),
            Command::Upload(verb) => verb.run(before, upload::run),
            Command::Files(verb) => verb.run(before, files::run),
            Command::Capture(verb) => verb.run(before, capture::run),
            Command::List(verb) => verb.run(before, list::run),
            Command::Show(verb) => verb.run(before, show::run),
            Command::Verify(verb) => verb.run(before, verify::run),
            Command::Restore(verb) => verb.run(before, restore::run),
            Command::Compare(verb) => verb.run(before, compare::run),
            Command::Promote(verb) => verb.run(before, ring::promote),
            Command::Rollback(verb) => verb.run(before, ring::rollback),
            Command::Rings(verb) => verb.run(before, ring::rings),
            Command::Note(verb) => verb.run(before, ring::note),
            Command::Retention(verb) => verb.run(before, retention::run),
            Command::Export(verb) => verb.run(before, export::run),
            Command::Delete(verb) => verb.run(before, delete::run),
            Command::Collect(verb) => verb.run(before, collect::run),
        }
    }
}
