//! The PostgreSQL server: connection, queries and client programs.

mod client;
mod connect;
mod database_settings;
mod properties;
pub mod quote;
mod server;
pub mod waits;

pub(crate) use client::WRITES;
pub use client::{Client, DatabaseError, Version, parsed};
pub use database_settings::{changes_rights, setting_statements, setting_value};
pub use properties::PROPERTIES;
pub use server::{Login, Server, Setting, named};
