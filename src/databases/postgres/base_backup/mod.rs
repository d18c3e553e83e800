//! Base backups: a whole server as it is on disk, saved as one stream and restored as the directory that it is.
//!
//! A server without tablespaces of its own is saved while `pg_basebackup` streams it. The stream is the tar file of the
//! data directory. A server with tablespaces is put into a scratch directory first, one tar file for the data directory
//! and one for each tablespace, as `pg_basebackup --format=tar` writes them. The stream is a tar file of these, the data
//! directory first.
//!
//! An archive is what a backup credential says that a server was: every name in it is checked, only files and directories
//! are made, and no server starts with what is not wholly unpacked.

mod save;
mod tablespaces;
mod unpack;
mod verify;

pub(super) use save::{BaseBackup, no_base_backup};
pub use tablespaces::{Mapping, Tablespace, default_place};
pub use unpack::{UnpackError, UnpackOptions, Unpacked, Unpacking, unpack};
pub use verify::{Verified, Verifier};
