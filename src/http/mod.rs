//! The HTTP API: from a connection to an answer.

mod auth;
mod crew;
mod date;
mod download;
pub mod error;
mod exposition;
pub mod gate;
pub mod handlers;
mod json;
mod line;
mod lines;
mod lister;
pub mod message;
pub mod permits;
mod pulse;
mod queue;
pub mod range;
mod relay;
mod router;
mod server;
mod throttle;
mod traffic;
mod version;

pub use auth::{Rights, Token};
pub use handlers::{App, Planned};
pub use lister::{Lister, ListerError};
pub use router::{ROUTES, Route};
pub use server::Server;
pub use throttle::Throttle;
pub use traffic::Traffic;
