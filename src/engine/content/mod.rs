//! What is in a backup, told by its bytes and never by its name, and whether all of it is there.

mod directory;
mod error;
mod examine;
mod header;
mod inspector;
mod kind;
mod reading;
mod snapshot;
mod tar_walk;
mod unpacked;
mod watcher;

pub(crate) use header::without_compression;
pub(crate) use kind::CONTENTS_NAME;
pub(crate) use tar_walk::TarWalk;

pub use directory::{Listing, inspect_directory};
pub use error::ContentError;
pub use examine::{Examination, Whole, bytes_to_examine, examine, examine_watched, peek};
pub use inspector::{Findings, Inspector};
pub use kind::{Content, Wrapping};
pub use snapshot::Snapshot;
pub use unpacked::{Keys, Unpacked};
pub use watcher::{Nobody, Watcher};
