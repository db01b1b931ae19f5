//! The backup directory as a catalog: slots, names, manifests, pointers and what is there.

mod archive;
mod contents;
mod described;
mod directory;
mod discard;
mod held;
mod link;
mod listing;
mod manifest;
mod name;
mod pointer;
mod properties;
mod slot;
mod spelling;
mod workplace;

pub use archive::{Archive, END};
pub use described::{Appearance, Described};
pub use directory::{BackupDirectory, DirectoryError, Opened};
pub(crate) use link::link_or_copy;
pub(crate) use listing::directory_size;
pub use listing::{Entry, Listed};
pub use manifest::{Counts, Dump, Format, Manifest, Method, Origin, Proof, Scope, Verification};
pub use name::{BackupName, DatabaseName, NameError, NameParts, Suffix};
pub use pointer::Latest;
pub use properties::{
    Grant, Label, Locale, Properties, Provider, Recorded, SealedSettings, Setting, Settings,
};
pub use slot::Slot;
pub(crate) use workplace::free_space;
pub use workplace::{LOCK_NAME, NOTE_PREFIX};
