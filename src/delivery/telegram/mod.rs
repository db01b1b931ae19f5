//! Backups to Telegram, and back from there, by the Bot API alone: what is too big for it goes in parts.
//!
//! Nothing that goes wrong here changes the result of a backup.

mod bot;
mod deliver;
mod exchange;
mod fetch;
mod form;
mod pace;
mod package;
mod parallel;
mod parts;
mod pending;
mod settings;
mod summary;
mod test;

pub use bot::{Bot, BotError};
pub use deliver::Courier;
pub use fetch::{FetchError, fetch};
pub use parts::PartsManifest;
pub use settings::{Chat, NO_CHAT, NotifyOn, TelegramSettings, remarks};
pub use test::{Trial, try_chats};
