//! The HTTP API: from a connection to an answer.

mod auth;
mod date;
mod download;
mod error;
mod handlers;
mod json;
mod message;
mod range;
mod router;
mod server;

pub use auth::Token;
pub use handlers::App;
pub use server::Server;
