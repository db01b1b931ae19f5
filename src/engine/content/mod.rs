//! Determines what a backup holds, by its bytes and never by its name, and checks that it is whole.

mod directory;
mod dump_checker;
mod dump_reader;
mod error;
mod full_read;
mod header;
mod kind;
mod pg_restore_probe;
mod snapshot;
mod tar_walk;
mod watcher;

pub(crate) use header::without_compression;
pub(crate) use kind::CONTENTS_NAME;
pub(crate) use tar_walk::TarWalk;

pub use directory::{DirectoryDigest, inspect_directory};
pub use dump_checker::{CheckResult, DumpChecker};
pub use dump_reader::{DecryptionContext, DumpReader};
pub use error::ContentError;
pub use full_read::{FullRead, Whole, bytes_to_read, peek, read_fully, read_fully_watched};
pub use kind::{Content, Wrapping};
pub use snapshot::Snapshot;
pub use watcher::{Nobody, Watcher};
