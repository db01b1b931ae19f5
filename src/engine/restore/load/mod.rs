//! Loads a checked backup into a database by psql or pg_restore, and tells what they say of statements that fail.

mod adapt;
mod complaints;
mod keep_going;
mod linked;
mod listener;
mod loading;
mod places;
mod psql;
mod script;
mod unpack;

pub use loading::Loading;
pub use psql::{Manner, Psql};
pub use script::Scripts;
