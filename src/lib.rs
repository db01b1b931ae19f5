//! Backs up a PostgreSQL server on a schedule and on request over HTTP, and restores all or nothing.
//!
//! The modules are layers, drawn in docs/architecture.md: each imports from its own and from those below it only.

mod cli;
mod daemon;
pub mod delivery;
pub mod engine;
pub mod formats;
pub mod gate;
pub mod http;
pub mod postgres;
pub mod program;
pub mod service;
pub mod settings;
pub mod store;
pub mod system;
mod util;
