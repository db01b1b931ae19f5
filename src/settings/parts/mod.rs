//! The parts of the settings, each resolved and typed on its own.

mod api;
mod notices;
mod policy;
mod storage;
mod subject;

pub use api::{ApiSettings, SchedulerSettings};
pub use notices::{Notices, WebhookFormat};
pub use storage::Storage;
pub use subject::{Databases, Subject};
