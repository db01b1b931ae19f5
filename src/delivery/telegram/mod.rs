//! Uploads backups to Telegram and fetches them back, by the Bot API alone: large ones are sent in parts.
//!
//! Nothing that goes wrong here changes the result of a backup.

mod bot;
mod byte_source;
mod exchange;
mod fetch;
mod form;
mod pace;
mod parallel;
mod parts;
mod settings;
mod summary;
mod test;
mod upload_state;
mod uploader;

pub use bot::{Bot, BotError};
pub use fetch::{FetchError, fetch};
pub use parts::PartsManifest;
pub use settings::{Chat, NO_CHAT, NotifyOn, TelegramSettings, remarks};
pub use test::{Trial, try_chats};
pub use uploader::Uploader;
