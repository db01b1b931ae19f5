//! Restores a dump of a whole server, or of its roles. None of its databases may exist yet. They get their names when all of
//! them are loaded, and what was created by then is dropped again when anything fails.

mod contents;
mod dump;
mod editors;
mod feed;
mod globals;
mod load;
mod membership;
mod naming;
mod referenced_roles;
mod survey;
#[cfg(test)]
mod test_dump;

pub use dump::ClusterDump;
pub use globals::{CreatedGlobals, in_place_tablespace};
pub use load::{ClusterLoad, Purpose};
