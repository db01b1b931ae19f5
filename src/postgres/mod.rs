//! The PostgreSQL server: how to reach it, what it says, and its programs.

mod client;
mod connect;
mod properties;
pub mod quote;
mod server;

pub(crate) use client::WRITES;
pub use client::{Client, DatabaseError, Version};
pub use properties::setting_statements;
pub use server::{Login, Server, Setting};
