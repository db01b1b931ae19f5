//! Tries the settings: one message and one small document to each chat.

use std::io::Cursor;

use super::bot::{Bot, BotError, UploadFile};
use super::{Chat, TelegramSettings};
use crate::system::process::{Interrupted, Runner};

/// Bytes of the document.
const SIZE: usize = 1024;

/// How a chat fared.
#[derive(Debug)]
pub struct Trial {
    /// The chat.
    pub chat: Chat,
    /// What is wrong, and what to do about it.
    pub problem: Option<String>,
}

/// Sends to each chat, and answers for each what is wrong and what to do about it, if anything is.
///
/// # Errors
/// When a stop signal comes.
pub fn try_chats(settings: &TelegramSettings, runner: &Runner) -> Result<Vec<Trial>, Interrupted> {
    let bot = Bot::new(settings, runner);
    let mut results = Vec::new();
    for chat in &settings.chats {
        let tried = bot.send_message(chat, "backupgram can write here.").and_then(|_| {
            let open = || Ok(Box::new(Cursor::new(vec![b'\n'; SIZE])) as _);
            let upload = UploadFile { name: "backupgram-test.txt", size: SIZE as u64, open: &open };
            bot.upload_document(chat, "backupgram can send documents here.", &upload)
        });
        match tried {
            Err(error) if error.interrupted().is_some() => {
                return error.interrupted().map_or(Ok(results), Err);
            }
            tried => {
                results.push(Trial { chat: chat.clone(), problem: tried.err().map(|error| advice(&error)) });
            }
        }
    }
    Ok(results)
}

/// An error, and what to do about it (the descriptions are those of Telegram's Bot API server).
fn advice(error: &BotError) -> String {
    let BotError::Refused(code, description) = error else { return error.to_string() };
    let says = |text: &str| description.to_ascii_lowercase().contains(text);
    let advice = match code {
        401 | 404 => "TELEGRAM_BOT_TOKEN is not the token of a bot; ask @BotFather for it",
        _ if says("chat not found") => {
            "the number is wrong, or the bot is not in that chat; numbers of groups start with -, those of \
             channels with -100"
        }
        _ if says("bot was kicked") || says("not a member") => "the bot is not in that chat: add it",
        _ if says("blocked by the user") => "that user has blocked the bot",
        _ if says("can't initiate conversation") => "that user must write to the bot first: /start",
        _ if says("not enough rights") || says("need administrator") => {
            "the bot cannot post there: make it an administrator, or allow it messages and documents"
        }
        _ if says("thread not found") => "there is no such topic: TELEGRAM_THREAD_ID is wrong",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}
