//! The database that is replaced or made: what is there, what the server must have for it, the scratch database, and the
//! moment in which that takes the target's name.

mod cleanup;
mod current;
mod journal;
mod making;
mod preflight;
mod rename;
mod replace;
mod replication;
mod requirements;
mod requirements_query;
mod scratch;
mod swap;

pub use cleanup::cleanup_databases;
pub use current::Target;
pub use journal::{Journal, MARK, is_anything_left, is_unfinished};
pub use making::Making;
pub use preflight::RoleCapabilities;
pub use rename::Renaming;
pub use replace::Replacement;
pub use replication::Replication;
pub use requirements::Requirements;
