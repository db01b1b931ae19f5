//! Uploads published backups to every chat, and continues uploads that broke off.

use std::io::{self, Cursor};
use std::sync::Mutex;
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use super::bot::{Bot, BotError, Message, UploadFile};
use super::byte_source::ByteSource;
use super::parallel::try_each;
use super::parts::{self, PartsManifest, SUFFIX, SentPart};
use super::upload_state::{Delivery, UploadState};
use super::{Chat, NotifyOn, TelegramSettings, summary};
use crate::store::catalog::{BackupDirectory, BackupName, DirectoryError, Manifest, Slot};
use crate::store::records::{DeliveryReport, Outcome, Report};
use crate::system::process::Runner;
use crate::util::clock;
use crate::util::mutex::lock;
use crate::util::units;

/// Uploads at once.
const UPLOADS: usize = 4;
/// How long the summary of a run that was stopped may take.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Seconds after which a delivery that broke off is given up.
const PATIENCE: i64 = 86_400;

/// Sends backups, and the summary of a run, to the chats of the settings.
pub struct Uploader<'a> {
    settings: &'a TelegramSettings,
    directory: &'a BackupDirectory,
    bot: Bot<'a>,
    runner: &'a Runner,
}

/// A backup that is about to be sent.
struct Upload<'a> {
    source: ByteSource,
    sha256: String,
    caption: String,
    ranges: Vec<(u64, u64)>,
    /// The index of its delivery in the state.
    at: usize,
    state: &'a Mutex<UploadState>,
}

impl<'a> Uploader<'a> {
    /// An uploader to the chats of these settings.
    pub fn new(settings: &'a TelegramSettings, directory: &'a BackupDirectory, runner: &'a Runner) -> Self {
        Self { settings, directory, bot: Bot::new(settings, runner), runner }
    }

    /// Sends what a run has published, what earlier runs could not, and then the summary of the run. Answers how the
    /// documents fared.
    pub fn deliver(&self, report: &Report, previous: Option<&Report>) -> DeliveryReport {
        let errors = self.send_files(report).unwrap_or_else(|error| vec![error.to_string()]);
        errors.iter().for_each(|error| log::warn!("telegram: {error}"));
        self.summarise(report, previous, &errors);
        DeliveryReport::of(&errors)
    }

    fn summarise(&self, report: &Report, previous: Option<&Report>, errors: &[String]) {
        let is_wanted = match self.settings.notify_on {
            NotifyOn::All => true,
            NotifyOn::Success => report.status == Outcome::Ok,
            NotifyOn::Failure => report.status == Outcome::Failed,
            NotifyOn::None => false,
        };
        if !is_wanted {
            return;
        }
        let text = summary::text(report, previous, errors, &self.settings.project);
        // A run that was stopped still sends its summary, with a few seconds for it.
        let respite = self.runner.check().err().and_then(|_| self.runner.respite(LAST_WORDS).ok());
        let last_bot = respite.as_ref().map(|runner| Bot::new(self.settings, runner));
        let bot = last_bot.as_ref().unwrap_or(&self.bot);
        for chat in &self.settings.chats {
            if let Err(error) = bot.send_message(chat, &text) {
                log::warn!("telegram: cannot send the summary to chat {chat}: {error}");
            }
        }
    }

    /// Sends the files. Answers what could not be sent, and why.
    fn send_files(&self, report: &Report) -> io::Result<Vec<String>> {
        let Some(mut state) = UploadState::open(self.directory)? else {
            return Ok(vec!["another run is still sending; the next run sends this".into()]);
        };
        let now = Timestamp::now().as_second();
        state.deliveries.retain_mut(|delivery| {
            if clock::is_future(delivery.began, now) {
                // Else it would never be given up.
                delivery.began = now;
            }
            let is_young = now.saturating_sub(delivery.began) < PATIENCE;
            if !is_young {
                log::warn!("telegram: giving up {}, which could not be sent for a day", delivery.file);
            }
            is_young
        });
        let files = report.databases.iter().filter_map(|database| database.file.clone());
        // A delivery that a killed run has left is continued.
        let is_new = |file: &String| state.deliveries.iter().all(|delivery| delivery.file != *file);
        let new: Vec<String> = files.filter(is_new).collect();
        let begin = |file| Delivery { file, began: now, ..Delivery::default() };
        state.deliveries.extend(new.into_iter().map(begin));
        state.save()?;
        let count = state.deliveries.len();
        let (state, mut errors) = (Mutex::new(state), Vec::new());
        for at in 0..count {
            match self.send_file(&state, at, &mut errors) {
                Err(error) if error.interrupted().is_some() => {
                    errors.push(error.to_string());
                    break;
                }
                Err(error) => errors.push(error.to_string()),
                Ok(()) => {}
            }
        }
        let mut state = lock(&state);
        let chats = &self.settings.chats;
        state.deliveries.retain(|delivery| !chats.iter().all(|chat| delivery.done.contains(&chat.0)));
        state.save()?;
        Ok(errors)
    }

    fn send_file(
        &self,
        state: &Mutex<UploadState>,
        at: usize,
        errors: &mut Vec<String>,
    ) -> Result<(), BotError> {
        let file = lock(state).deliveries[at].file.clone();
        let Some(upload) = self.open(state, at, &file)? else { return Ok(()) };
        for chat in &self.settings.chats {
            if lock(state).deliveries[at].done.contains(&chat.0) {
                continue;
            }
            match self.send_to(chat, &upload) {
                Ok(id) => {
                    log::info!("telegram: {file} sent to chat {chat}, restore id {id}");
                    self.note(&upload, |delivery| delivery.done.push(chat.0.clone()));
                }
                Err(error) if error.interrupted().is_some() => return Err(error),
                Err(error) => errors.push(format!("cannot send {file} to chat {chat}: {error}")),
            }
        }
        Ok(())
    }

    /// Opens a backup for sending. Nothing when the backup has been deleted; its delivery is then done.
    fn open<'p>(
        &self,
        state: &'p Mutex<UploadState>,
        at: usize,
        file: &str,
    ) -> Result<Option<Upload<'p>>, BotError> {
        let failed = |error: DirectoryError| BotError::Io(io::Error::other(error.to_string()));
        let name = file
            .split_once('/')
            .and_then(|(slot, name)| Some((Slot::named(slot)?, BackupName::parse(name).ok()?)));
        let opened = name.map(|(slot, name)| (slot, self.directory.open(slot, &name)));
        let (slot, opened) = match opened {
            Some((slot, Ok(opened))) => (slot, opened),
            Some((_, Err(error))) if !matches!(error, DirectoryError::NotFound(..)) => {
                return Err(failed(error));
            }
            _ => {
                log::warn!("telegram: {file} no longer exists");
                let chats = self.settings.chats.iter().map(|chat| chat.0.clone()).collect();
                lock(state).deliveries[at].done = chats;
                return Ok(None);
            }
        };
        let manifest = self.directory.manifest_of(slot, &opened).map_err(failed)?;
        let is_file = !opened.is_directory();
        let source = ByteSource::of(opened).map_err(BotError::Io)?;
        let sha256 = match &manifest {
            Some(manifest) if is_file => manifest.sha256.clone(),
            _ => source.digest(0, source.size).map_err(BotError::Io)?,
        };
        let mut waiting = lock(state);
        let delivery = &mut waiting.deliveries[at];
        if delivery.sha256 != sha256 {
            // Another backup has the name by now, or nothing was sent yet.
            (delivery.sha256, delivery.chats) = (sha256.clone(), Default::default());
        }
        drop(waiting);
        let caption = self.caption(&source, &sha256, manifest.as_ref());
        let ranges = parts::cut(source.size, self.settings.part());
        Ok(Some(Upload { source, sha256, caption, ranges, at, state }))
    }

    fn caption(&self, source: &ByteSource, sha256: &str, manifest: Option<&Manifest>) -> String {
        let mut lines = vec![source.name.clone()];
        if !self.settings.project.is_empty() {
            lines.push(format!("project: {}", self.settings.project));
        }
        if let Some(manifest) = manifest {
            let created_at = manifest.dump.as_ref().map(|dump| dump.created_at);
            let time = created_at.and_then(|at| Timestamp::from_second(at).ok());
            let time = time.map(|at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z, "));
            let time = time.map(|time| time.to_string()).unwrap_or_default();
            let format = manifest.format.and_then(|format| serde_json::to_value(format).ok());
            let format = format.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown");
            let encrypted = if manifest.encrypted { ", encrypted" } else { "" };
            lines.push(format!("database: {}", manifest.database));
            lines.push(format!("{time}{format}{encrypted}"));
        }
        lines.push(format!("{}, sha256 {}", units::bytes(source.size), &sha256[..sha256.len().min(12)]));
        lines.join("\n")
    }

    /// Sends all of it to a chat, and answers the restore id.
    fn send_to(&self, chat: &Chat, upload: &Upload) -> Result<i64, BotError> {
        let message = match upload.ranges.len() {
            1 => self.send_part(chat, upload, 0, &upload.caption)?,
            _ => {
                self.send_parts(chat, upload)?;
                self.send_manifest(chat, upload)?
            }
        };
        let caption = format!("{}\n\u{1f516} Restore ID: {message}", upload.caption);
        if let Err(error) = self.bot.edit_caption(chat, message, &caption) {
            log::warn!("telegram: cannot write restore id {message} below the document: {error}");
        }
        Ok(message)
    }

    fn send_parts(&self, chat: &Chat, upload: &Upload) -> Result<(), BotError> {
        let count = upload.ranges.len();
        try_each(UPLOADS, 0..count, |part| {
            let caption = format!("{}, part {} of {count}", upload.source.name, part + 1);
            self.send_part(chat, upload, part, &caption).map(drop)
        })
    }

    /// Sends a part unless the chat has it, without another upload if any chat has it. Answers its message.
    fn send_part(&self, chat: &Chat, upload: &Upload, part: usize, caption: &str) -> Result<i64, BotError> {
        let (sent, known) = {
            let state = lock(upload.state);
            let delivery = &state.deliveries[upload.at];
            let sent = delivery.chats.get(&chat.0).and_then(|parts| parts.get(part)?.clone());
            (sent, delivery.known(part).cloned())
        };
        if let Some(sent) = sent {
            return Ok(sent.message_id);
        }
        let (offset, size) = upload.ranges[part];
        let (message, sha256) = match known {
            Some(known) => (self.bot.send_again(chat, caption, &known.file_id)?, known.sha256),
            None => {
                let sha256 = upload.source.digest(offset, size).map_err(BotError::Io)?;
                let name = match upload.ranges.len() {
                    1 => upload.source.name.clone(),
                    _ => format!("{}.{:04}", upload.source.name, part + 1),
                };
                let open = || Ok(Box::new(upload.source.part(offset, size)) as _);
                let upload = UploadFile { name: &name, size, open: &open };
                (self.bot.upload_document(chat, caption, &upload)?, sha256)
            }
        };
        let (message_id, file_id) = (message.message_id, document(message)?);
        self.note(upload, |delivery| {
            let parts = delivery.chats.entry(chat.0.clone()).or_default();
            parts.resize(upload.ranges.len(), None);
            parts[part] = Some(SentPart { file_id, message_id, size, sha256 });
        });
        Ok(message_id)
    }

    /// Sends the document that leads to the parts.
    fn send_manifest(&self, chat: &Chat, upload: &Upload) -> Result<i64, BotError> {
        let sent = lock(upload.state).deliveries[upload.at].chats.get(&chat.0).cloned().unwrap_or_default();
        let parts: Vec<SentPart> = sent.into_iter().flatten().collect();
        if parts.len() != upload.ranges.len() {
            return Err(BotError::Answer("not every part has arrived".into()));
        }
        let manifest = PartsManifest::new(&upload.source.name, upload.source.size, &upload.sha256, parts);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| BotError::Io(error.into()))?;
        let (name, size) = (format!("{}{SUFFIX}", upload.source.name), text.len() as u64);
        let open = || Ok(Box::new(Cursor::new(text.clone())) as _);
        let message = self.bot.upload_document(
            chat,
            &upload.caption,
            &UploadFile { name: &name, size, open: &open },
        )?;
        let id = message.message_id;
        document(message).map(|_| id)
    }

    /// Saves how far a delivery has come. If that fails, some parts may be sent twice.
    fn note(&self, upload: &Upload, change: impl FnOnce(&mut Delivery)) {
        let mut state = lock(upload.state);
        change(&mut state.deliveries[upload.at]);
        if let Err(error) = state.save() {
            log::warn!("telegram: cannot record the progress of the delivery: {error}");
        }
    }
}

fn document(message: Message) -> Result<String, BotError> {
    let document =
        message.document.ok_or_else(|| BotError::Answer("there is no document in what was sent".into()))?;
    Ok(document.file_id)
}
