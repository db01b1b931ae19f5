//! The methods of Telegram's Bot API that are used, each retried where that helps.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use super::exchange::{Body, ExchangeError, Request, exchange};
use super::form::Form;
use super::pace::Pace;
use super::{Chat, TelegramSettings};
use crate::settings::Redactor;
use crate::system::curl::Curl;
use crate::system::process::{Interrupted, ProgramError, Runner};

/// Attempts at a call that fails for a passing reason.
const ATTEMPTS: u32 = 5;
/// The pause after the first of them; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often a call waits because the server asks for it.
const WAITS: u32 = 20;
/// The most bytes that are read of an answer.
const LONGEST_ANSWER: usize = 1 << 20;

/// Why a call has failed.
#[derive(Debug, Error)]
pub enum BotError {
    /// curl could not be run, or a stop signal came.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The server was not reached, in any attempt.
    #[error("Telegram cannot be reached: {0}")]
    Network(String),
    /// The server refused: its status and description.
    #[error("Telegram refuses: {1} ({0})")]
    Refused(u16, String),
    /// The server wants us to wait, for so many seconds.
    #[error("Telegram limits the requests: it asks to wait {0} s")]
    Busy(u64),
    /// The server's answer is not one of the Bot API.
    #[error("Telegram's answer cannot be understood: {0}")]
    Answer(String),
    /// What was to be sent could not be read, or what came could not be written.
    #[error(transparent)]
    Io(io::Error),
    /// There are no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[source] getrandom::Error),
}

impl From<Interrupted> for BotError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Program(ProgramError::Interrupted(interrupted))
    }
}

impl BotError {
    /// The stop signal behind the error, if that is what ended the call.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Program(ProgramError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }

    fn is_passing(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Refused(500.., _))
    }
}

/// A message that was sent.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// Its number in its chat.
    pub message_id: i64,
    /// The document in it.
    pub document: Option<Document>,
}

/// A document on Telegram's servers.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// The id by which it is sent again or fetched.
    pub file_id: String,
    /// The id that is the same in every chat.
    pub file_unique_id: String,
    /// What it was called when it was sent.
    #[serde(default)]
    pub file_name: Option<String>,
    /// Its bytes.
    #[serde(default)]
    pub file_size: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Fetchable {
    file_path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    result: Option<Value>,
    description: Option<String>,
    error_code: Option<u16>,
    parameters: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

/// A file to upload: opened anew for each attempt.
pub struct UploadFile<'a> {
    /// What it is to be called.
    pub name: &'a str,
    /// Its bytes.
    pub size: u64,
    /// Opens it at its beginning.
    pub open: &'a (dyn Fn() -> io::Result<Box<dyn Read + Send + 'a>> + Sync),
}

/// Calls the Bot API for the bot of the settings.
pub struct Bot<'a> {
    settings: &'a TelegramSettings,
    runner: &'a Runner,
    redactor: Redactor,
    pace: Pace,
    /// Whether the server was not reached in all attempts. Then a call makes one attempt only.
    is_down: AtomicBool,
}

impl<'a> Bot<'a> {
    /// The bot of these settings.
    pub fn new(settings: &'a TelegramSettings, runner: &'a Runner) -> Self {
        Self {
            settings,
            runner,
            redactor: Redactor::new([&settings.token]),
            pace: Pace::default(),
            is_down: AtomicBool::new(false),
        }
    }

    /// Sends text, in Telegram's HTML.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send_message(&self, chat: &Chat, html: &str) -> Result<Message, BotError> {
        let mut fields = json!({
            "chat_id": chat.as_str(), "text": html, "parse_mode": "HTML", "disable_web_page_preview": true,
        });
        self.add_thread(&mut fields);
        self.call_in_turn(chat, "sendMessage", &fields)
    }

    /// Uploads a document into a chat.
    ///
    /// # Errors
    /// When it cannot be read or sent.
    pub fn upload_document(
        &self,
        chat: &Chat,
        caption: &str,
        file: &UploadFile,
    ) -> Result<Message, BotError> {
        let mut fields = vec![
            ("chat_id", chat.as_str().to_owned()),
            ("caption", caption.to_owned()),
            ("disable_content_type_detection", "true".to_owned()),
        ];
        fields.extend(self.settings.thread.iter().map(|thread| ("message_thread_id", thread.to_string())));
        self.persist(|| {
            self.pace.turn(chat, self.runner)?;
            let opened = (file.open)().map_err(BotError::Io)?;
            let form =
                Form::new(&fields, "document", file.name, opened, file.size).map_err(BotError::Random)?;
            let body = Body::Stream(form.body, form.length);
            self.ask("sendDocument", &form.content_type, body, file.size)
        })
    }

    /// Sends a document that is on the servers already into a chat.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send_again(&self, chat: &Chat, caption: &str, file_id: &str) -> Result<Message, BotError> {
        let mut fields = json!({"chat_id": chat.as_str(), "caption": caption, "document": file_id});
        self.add_thread(&mut fields);
        self.call_in_turn(chat, "sendDocument", &fields)
    }

    /// Changes the caption of a document.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub fn edit_caption(&self, chat: &Chat, message: i64, caption: &str) -> Result<(), BotError> {
        let fields = json!({"chat_id": chat.as_str(), "message_id": message, "caption": caption});
        self.call_in_turn::<Value>(chat, "editMessageCaption", &fields).map(drop)
    }

    /// The document in a message of a chat. A bot cannot read a message by its number, but it can forward it within its
    /// chat, look at the copy, and delete that.
    ///
    /// # Errors
    /// When there is no such message, or it cannot be forwarded.
    pub fn document_in(&self, chat: &Chat, message: i64) -> Result<Option<Document>, BotError> {
        let id = chat.as_str();
        let mut fields =
            json!({"chat_id": id, "from_chat_id": id, "message_id": message, "disable_notification": true});
        self.add_thread(&mut fields);
        let copy: Message = self.call_in_turn(chat, "forwardMessage", &fields)?;
        let deleted =
            self.call::<Value>("deleteMessage", &json!({"chat_id": id, "message_id": copy.message_id}));
        if let Err(error) = deleted {
            log::warn!("cannot delete the copy of message {message} in chat {chat}: {error}");
        }
        Ok(copy.document)
    }

    /// Where a document can be fetched.
    ///
    /// # Errors
    /// When it cannot, because it is too big for this server or not there any more.
    pub fn file_path(&self, file_id: &str) -> Result<String, BotError> {
        let found: Fetchable = self.call("getFile", &json!({"file_id": file_id}))?;
        found.file_path.ok_or_else(|| BotError::Answer("getFile names no path".into()))
    }

    /// Fetches a file from byte `from` on, without retries. `take` gets the bytes as they come.
    ///
    /// # Errors
    /// When it breaks off.
    pub fn download(
        &self,
        file_path: &str,
        from: u64,
        size: u64,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), BotError> {
        let url = format!("{}/file/bot{}/{file_path}", self.settings.api_url, self.settings.token.expose());
        let mut curl = Curl::default().url(&url).lines(["fail".to_owned()]);
        if from > 0 {
            curl = curl.setting("range", &format!("{from}-"));
        }
        let request = Request { curl, body: Body::None, size };
        match exchange(request, self.runner, take).map_err(|error| self.failure(error))? {
            200 if from == 0 => Ok(()),
            206 if from > 0 => Ok(()),
            status => Err(BotError::Refused(status, "the interrupted download cannot be resumed".into())),
        }
    }

    fn add_thread(&self, fields: &mut Value) {
        if let Some(thread) = self.settings.thread {
            fields["message_thread_id"] = json!(thread);
        }
    }

    fn call_in_turn<T: DeserializeOwned>(
        &self,
        chat: &Chat,
        method: &str,
        fields: &Value,
    ) -> Result<T, BotError> {
        self.persist(|| {
            self.pace.turn(chat, self.runner)?;
            self.ask_json(method, fields)
        })
    }

    fn call<T: DeserializeOwned>(&self, method: &str, fields: &Value) -> Result<T, BotError> {
        self.persist(|| self.ask_json(method, fields))
    }

    fn ask_json<T: DeserializeOwned>(&self, method: &str, fields: &Value) -> Result<T, BotError> {
        self.ask(method, "application/json", Body::Text(fields.to_string()), 0)
    }

    /// Retries a call while that may help.
    pub fn persist<T>(&self, mut ask: impl FnMut() -> Result<T, BotError>) -> Result<T, BotError> {
        let (mut failures, mut waits, mut pause) = (0, 0, FIRST_PAUSE);
        loop {
            match ask() {
                Err(BotError::Busy(seconds)) if waits < WAITS => {
                    waits += 1;
                    log::info!("Telegram asks to wait {seconds} s");
                    self.runner.sleep(Duration::from_secs(seconds))?;
                }
                Err(error)
                    if error.is_passing()
                        && failures + 1 < ATTEMPTS
                        && !self.is_down.load(Ordering::Relaxed) =>
                {
                    failures += 1;
                    log::debug!("{error}; trying again in {} s", pause.as_secs());
                    self.runner.sleep(pause)?;
                    pause *= 2;
                }
                result => {
                    self.is_down.store(matches!(result, Err(BotError::Network(_))), Ordering::Relaxed);
                    return result;
                }
            }
        }
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        content_type: &str,
        body: Body,
        size: u64,
    ) -> Result<T, BotError> {
        let url = format!("{}/bot{}/{method}", self.settings.api_url, self.settings.token.expose());
        let mut text = Vec::new();
        let mut take = |bytes: &[u8]| {
            let room = LONGEST_ANSWER.saturating_sub(text.len()).min(bytes.len());
            text.extend_from_slice(&bytes[..room]);
            Ok(())
        };
        let request =
            Request { curl: Curl::default().url(&url).header("Content-Type", content_type), body, size };
        let status = exchange(request, self.runner, &mut take).map_err(|error| self.failure(error))?;
        self.understand(status, &text)
    }

    fn understand<T: DeserializeOwned>(&self, status: u16, text: &[u8]) -> Result<T, BotError> {
        let answer: Answer = match serde_json::from_slice(text) {
            Ok(answer) => answer,
            // A proxy in between may answer with something else.
            Err(_) if status != 200 => {
                return Err(BotError::Refused(status, "not an answer of the Bot API".into()));
            }
            Err(error) => return Err(BotError::Answer(error.to_string())),
        };
        if let Some(result) = answer.result.filter(|_| answer.ok) {
            return serde_json::from_value(result).map_err(|error| BotError::Answer(error.to_string()));
        }
        let code = answer.error_code.unwrap_or(status);
        let parameters = answer.parameters.unwrap_or_default();
        if let (429, Some(seconds)) = (code, parameters.retry_after) {
            return Err(BotError::Busy(seconds));
        }
        let mut description = answer.description.unwrap_or_else(|| "no reason given".into());
        if let Some(chat) = parameters.migrate_to_chat_id {
            description += &format!("; its new number is {chat}");
        }
        Err(BotError::Refused(code, self.redactor.clean(&description)))
    }

    fn failure(&self, error: ExchangeError) -> BotError {
        match error {
            ExchangeError::Program(error) => BotError::Program(error),
            ExchangeError::Network(said) => BotError::Network(self.redactor.clean(&said)),
            ExchangeError::Read(error) | ExchangeError::Take(error) => BotError::Io(error),
        }
    }
}
