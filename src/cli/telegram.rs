//! `backupgram telegram test`.

use lexopt::{Arg, Parser};

use super::context::{Failure, Outcome, environment, print, runner};
use crate::delivery::telegram::{TelegramSettings, Trial, try_chats};
use crate::settings::Reader;

pub(super) const HELP: &str = "\
backupgram telegram test

usage: backupgram telegram test

Sends a message and a small document to each chat of TELEGRAM_CHAT_ID, and says
for each whether they arrived, and what to do if not.

environment: TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID, TELEGRAM_THREAD_ID and
TELEGRAM_API_URL.

exit status: 0 both arrived in all chats; 1 not, or the settings are wrong;
2 usage error; 128 + N stopped by signal N.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let only =
        || Failure::from(lexopt::Error::from("the only telegram command is `backupgram telegram test`"));
    match arguments.next()? {
        Some(Arg::Value(word)) if word == "test" => {}
        _ => return Err(only()),
    }
    if arguments.next()?.is_some() {
        return Err(only());
    }
    let runner = runner()?;
    let settings = Reader::resolve(&environment()?, TelegramSettings::read)?;
    let settings = settings.ok_or_else(|| Failure::new("TELEGRAM_BOT_TOKEN is not set"))?;
    if settings.chats().is_empty() {
        return Err(Failure::new("TELEGRAM_CHAT_ID is not set: it names the chats to send to"));
    }
    let results = try_chats(&settings, &runner).map_err(Failure::interrupted)?;
    let mut failures = Vec::new();
    for Trial { chat, problem } in results {
        match problem {
            None => print(&format!("chat {chat}: a message and a document have arrived")),
            Some(problem) => failures.push(format!("chat {chat}: {problem}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure { status: 1, lines: failures }) }
}
