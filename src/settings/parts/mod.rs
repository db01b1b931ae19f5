//! The parts of the settings, each validated separately.

mod api;
mod notices;
mod policy;
mod storage;
mod subject;

pub use api::{ApiSettings, SchedulerSettings};
pub use notices::{Notices, WebhookFormat};
pub use storage::Storage;
pub use subject::{Databases, Subject};
