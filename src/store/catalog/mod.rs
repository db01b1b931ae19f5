//! The backup directory as a catalog: slots, names, manifests, pointers and listings.

mod archive;
mod directory;
mod discard;
mod error;
mod held;
mod link;
mod listing;
mod manifest;
mod manifests;
mod name;
mod namesakes;
mod pointer;
mod slot;
mod spelling;
mod workplace;

pub use archive::{Archive, END};
pub use directory::{BackupDirectory, Opened};
pub use error::DirectoryError;
pub(crate) use link::link_or_copy;
pub(crate) use listing::directory_size;
pub use listing::{Entry, Listed};
pub use manifest::{
    Appearance, Counts, Described, Dump, Format, Grant, Label, Locale, Manifest, Method, Origin, Proof,
    Properties, Provider, Recorded, Scope, SealedSettings, Setting, Settings, Verification,
};
pub use name::{BackupName, DatabaseName, NameError, NameParts, Suffix};
pub use pointer::Latest;
pub use slot::Slot;
pub(crate) use workplace::free_space;
pub use workplace::{LOCK_NAME, NOTE_PREFIX};
