//! The HTTP API behind the gate: from a request to its response.

mod app;
mod auth;
mod backend;
pub mod download;
mod exposition;
pub mod handlers;
mod json;
mod plan;
pub mod request;
mod router;
mod server;
mod service;
mod traffic;
mod volume;

pub use app::App;
pub use auth::{AuthLimiter, Rights, Token};
pub use backend::Semaphore;
pub use plan::Planned;
pub use router::{ROUTES, Route, paths};
pub use server::{LOCK_WAITERS, Server};
pub use traffic::Traffic;
pub use volume::VolumeReader;
