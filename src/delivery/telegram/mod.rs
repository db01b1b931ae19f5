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
mod summary;
mod test;
mod upload_state;
mod uploader;

use std::fmt;

use crate::settings::{Reader, Secret};

pub use bot::{Bot, BotError};
pub use fetch::{FetchError, fetch};
pub use parts::PartsManifest;
pub use test::{Trial, try_chats};
pub use uploader::Uploader;

/// The server of the Bot API that Telegram runs.
const TELEGRAMS_OWN: &str = "api.telegram.org";
/// The most that Telegram's own server gives back by getFile is 20 MB; a part has a little less
/// (Bot API, "getFile").
const PART: u64 = 19_500_000;
/// A server that one runs oneself takes 2000 MB, and gives back what it takes (Bot API, "Using a Local Bot API Server").
const PART_OF_OWN_SERVER: u64 = 1_990_000_000;

/// What is said when nothing can be sent for want of a chat.
pub const NO_CHAT: &str = "TELEGRAM_BOT_TOKEN is set, but TELEGRAM_CHAT_ID names no chat to send to";

/// What there is to say of the settings, if anything.
pub fn remarks(reader: &mut Reader) -> Vec<&'static str> {
    let wants_mtproto = reader.word("TELEGRAM_UPLOAD_METHOD") == Some("mtproto");
    let has_no_chat =
        TelegramSettings::read(reader).flatten().is_some_and(|settings| settings.chats.is_empty());
    let mtproto = "TELEGRAM_UPLOAD_METHOD=mtproto: what is too big for the Bot API goes in parts, which has made MTProto unnecessary";
    [wants_mtproto.then_some(mtproto), has_no_chat.then_some(NO_CHAT)].into_iter().flatten().collect()
}

/// A chat, by its number or its public name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chat(String);

impl Chat {
    /// Reads a number or an @name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let is_chat = text.strip_prefix('@').map_or_else(|| text.parse::<i64>().is_ok(), is_name);
        is_chat.then(|| Self(text.to_owned()))
    }

    /// As the Bot API takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a group or channel, which have negative numbers.
    fn is_group(&self) -> bool {
        self.0.starts_with(['-', '@'])
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Of which runs a summary is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyOn {
    /// All.
    All,
    /// Those that went well.
    Success,
    /// Those that did not.
    Failure,
    /// None.
    None,
}

/// Where and how to send.
#[derive(Debug, Clone)]
pub struct TelegramSettings {
    token: Secret,
    chats: Vec<Chat>,
    thread: Option<i64>,
    api_url: String,
    notify_on: NotifyOn,
    project: String,
}

impl TelegramSettings {
    /// Reads the part; without a token there is none, but what is wrong is told all the same.
    pub fn read(reader: &mut Reader) -> Option<Option<Self>> {
        let token = reader.secret("TELEGRAM_BOT_TOKEN");
        let chats = reader.text("TELEGRAM_CHAT_ID").unwrap_or_default();
        let thread = reader.text("TELEGRAM_THREAD_ID");
        let api_url = reader.text("TELEGRAM_API_URL");
        let notify_on = reader.word("TELEGRAM_NOTIFY_ON");
        let words = chats.split(',').map(str::trim).filter(|word| !word.is_empty());
        let parsed: Option<Vec<Chat>> = words.map(Chat::parse).collect();
        let Some(chats) = parsed else {
            reader.fault("TELEGRAM_CHAT_ID", "must be numbers or @names of chats, separated by commas");
            return None;
        };
        let number = thread.as_ref().map(|thread| thread.parse::<i64>());
        if matches!(number, Some(Err(_))) {
            reader.fault("TELEGRAM_THREAD_ID", "must be the number of a topic");
            return None;
        }
        let Some(token) = token else { return Some(None) };
        Some(Some(Self {
            token,
            // A topic is one of a single chat's.
            thread: number.and_then(Result::ok).filter(|_| chats.len() == 1),
            chats,
            api_url: api_url?.trim_end_matches('/').to_owned(),
            notify_on: match notify_on? {
                "success" => NotifyOn::Success,
                "failure" => NotifyOn::Failure,
                "none" => NotifyOn::None,
                _ => NotifyOn::All,
            },
            project: reader.text("PROJECT_NAME").unwrap_or_default(),
        }))
    }

    /// The chats.
    pub fn chats(&self) -> &[Chat] {
        &self.chats
    }

    /// The most that is sent in one document.
    fn part(&self) -> u64 {
        let host = self.api_url.split("://").nth(1).unwrap_or_default().split(['/', ':']).next();
        if host == Some(TELEGRAMS_OWN) { PART } else { PART_OF_OWN_SERVER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Environment;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TelegramSettings>, String> {
        let environment = Environment::of(&[&[("TELEGRAM_BOT_TOKEN", "1:a")], variables].concat());
        Reader::resolve(&environment, TelegramSettings::read).map_err(|faults| faults.to_string())
    }

    #[test]
    fn chats_are_numbers_or_names() {
        for good in ["5", "-100123", "@channel_1"] {
            assert!(Chat::parse(good).is_some(), "{good}");
        }
        for bad in ["", "@", "channel", "1.5", "@a b", "5;6"] {
            assert!(Chat::parse(bad).is_none(), "{bad}");
        }
        assert!(read(&[("TELEGRAM_CHAT_ID", "5, me")]).unwrap_err().starts_with("TELEGRAM_CHAT_ID must be"));
        assert!(read(&[("TELEGRAM_CHAT_ID", "5"), ("TELEGRAM_THREAD_ID", "x")]).is_err());
        assert!(read(&[("TELEGRAM_BOT_TOKEN", ""), ("TELEGRAM_CHAT_ID", "me")]).is_err());
    }

    #[test]
    fn a_topic_counts_with_one_chat_only() {
        let thread = |chats| {
            let settings = read(&[("TELEGRAM_CHAT_ID", chats), ("TELEGRAM_THREAD_ID", "7")]);
            settings.unwrap().unwrap().thread
        };
        assert_eq!((thread("5"), thread("5,6")), (Some(7), None));
    }

    #[test]
    fn how_much_goes_at_once_depends_on_whose_server_it_is() {
        let part = |url| read(&[("TELEGRAM_API_URL", url)]).unwrap().unwrap().part();
        assert_eq!(part("https://api.telegram.org/"), PART);
        assert_eq!(part("http://api.telegram.org:80"), PART);
        assert_eq!(part("http://127.0.0.1:8081"), PART_OF_OWN_SERVER);
    }
}
