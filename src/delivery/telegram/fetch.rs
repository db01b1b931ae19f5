//! Fetches a backup from Telegram, by the message that it was sent in.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::bot::{Bot, BotError, Document};
use super::parallel::try_each;
use super::parts::{LONGEST, PartsManifest, SUFFIX};
use super::{Chat, TelegramSettings};
use crate::store::catalog::BackupName;
use crate::store::record_file;
use crate::system::process::{Interrupted, Runner};
use crate::system::progress::Progress;
use crate::util::open_dir::OpenDir;
use crate::util::units;
use crate::util::units::hexadecimal;

/// Downloads at once.
const DOWNLOADS: usize = 4;

/// Why a backup does not come back.
#[derive(Debug, Error)]
pub enum FetchError {
    /// There is no token, or no chat, in the settings.
    #[error("a restore from Telegram needs {0}")]
    NotConfigured(&'static str),
    /// Telegram does not give it.
    #[error(transparent)]
    Bot(#[from] BotError),
    /// There is no document in the message.
    #[error("there is no document in message {0}")]
    NoDocument(i64),
    /// There is another document in the message of this number in each of several chats.
    #[error("several chats have a document in a message {0}: name the chat (--chat)")]
    Ambiguous(i64),
    /// It is more than the server gives back.
    #[error(
        "{0} has {size}, and bots can download only up to 20 MB from api.telegram.org: use your own Bot API server \
         (TELEGRAM_API_URL) for a file that was not sent in parts",
        size = units::bytes(*.1)
    )]
    TooBig(String, u64),
    /// What leads to its parts cannot be read.
    #[error("{0} is not a valid list of the parts of a backup: {1}")]
    Manifest(String, String),
    /// What came is not what was sent.
    #[error("{0} is not what was sent: its checksum differs")]
    Checksum(String),
    /// It cannot be written.
    #[error("cannot write the file from Telegram: {0}")]
    Write(#[source] io::Error),
}

impl FetchError {
    /// The stop signal behind the error, if that is what ended it.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Bot(error) => error.interrupted(),
            _ => None,
        }
    }
}

/// Fetches the backup of message `id` in a chat, or without one in whichever of the settings has it, into `directory`,
/// and answers it with its name.
///
/// # Errors
/// When it cannot be fetched whole, or a stop signal comes. Nothing is left then.
pub fn fetch(
    settings: Option<&TelegramSettings>,
    chat: Option<&Chat>,
    id: i64,
    directory: &OpenDir,
    runner: &Runner,
) -> Result<(File, String), FetchError> {
    let settings = settings.ok_or(FetchError::NotConfigured("TELEGRAM_BOT_TOKEN"))?;
    let bot = Bot::new(settings, runner);
    let document = find(&bot, chat.map_or(settings.chats.as_slice(), std::slice::from_ref), id)?;
    let name = document.file_name.clone().unwrap_or_default();
    match name.strip_suffix(SUFFIX) {
        Some(_) => {
            let manifest = fetch_manifest(&bot, &document, &name, directory)?;
            log::info!(
                "message {id}: {}, {} in {} parts",
                manifest.name,
                units::bytes(manifest.size),
                manifest.parts.len()
            );
            fetch_parts(&bot, &manifest, directory)
        }
        None => {
            let size = document.file_size.unwrap_or_default();
            if size > settings.part().max(20 << 20) {
                return Err(FetchError::TooBig(name, size));
            }
            log::info!("message {id}: {name}, {}", units::bytes(size));
            let target = Target::create(directory, &name, size)?;
            let progress = Progress::start(format!("fetching {name}"), Some(size));
            fetch_document(&bot, &document.file_id, size, None, &target, 0, &progress)?;
            target.keep()
        }
    }
}

/// The document in message `id` of any chat. Each chat has its own numbers, so several chats may have such a message.
fn find(bot: &Bot, chats: &[Chat], id: i64) -> Result<Document, FetchError> {
    let (mut found, mut failure): (Option<Document>, _) =
        (None, FetchError::NotConfigured("TELEGRAM_CHAT_ID"));
    for chat in chats {
        match (bot.document_in(chat, id), &found) {
            (Ok(Some(document)), Some(other)) if document.file_unique_id != other.file_unique_id => {
                return Err(FetchError::Ambiguous(id));
            }
            (Ok(Some(document)), _) => found = Some(document),
            (Ok(None), _) => failure = FetchError::NoDocument(id),
            (Err(error @ BotError::Refused(400 | 403, _)), _) => failure = error.into(),
            (Err(error), _) => return Err(error.into()),
        }
    }
    found.ok_or(failure)
}

/// A file that is being put together; dropped before it is kept, it is removed.
struct Target {
    file: File,
    directory: OpenDir,
    name: String,
    is_kept: bool,
}

impl Target {
    fn create(directory: &OpenDir, name: &str, size: u64) -> Result<Self, FetchError> {
        // The name was chosen by the sender, so it is checked.
        let name =
            BackupName::parse(name).map_or_else(|_| "backup".to_owned(), |name| name.as_str().to_owned());
        let file = directory.create_file(&name, 0o600).map_err(FetchError::Write)?;
        let target = Self { file, directory: directory.clone(), name, is_kept: false };
        // Reserves the space, so that a full disk fails now.
        target.file.set_len(size).map_err(FetchError::Write)?;
        Ok(target)
    }

    fn keep(mut self) -> Result<(File, String), FetchError> {
        self.is_kept = true;
        Ok((self.file.try_clone().map_err(FetchError::Write)?, self.name.clone()))
    }

    fn digest(&self, offset: u64, length: u64) -> io::Result<String> {
        let (mut digest, mut at, mut chunk) = (Sha256::new(), offset, vec![0; 64 * 1024]);
        while at < offset + length {
            let most = usize::try_from(offset + length - at).unwrap_or(chunk.len()).min(chunk.len());
            match self.file.read_at(&mut chunk[..most], at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    digest.update(&chunk[..read]);
                    at += read as u64;
                }
            }
        }
        Ok(hexadecimal(&digest.finalize()))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = self.directory.remove_file(&self.name);
        }
    }
}

fn fetch_manifest(
    bot: &Bot,
    document: &Document,
    name: &str,
    directory: &OpenDir,
) -> Result<PartsManifest, FetchError> {
    let size = document.file_size.unwrap_or_default();
    let refused = |error: String| FetchError::Manifest(name.to_owned(), error);
    if size > LONGEST {
        return Err(refused("it is too long".into()));
    }
    let target = Target::create(directory, name, size)?;
    let progress = Progress::start(format!("fetching {name}"), Some(size));
    fetch_document(bot, &document.file_id, size, None, &target, 0, &progress)?;
    let text = record_file::read_opened(&target.file, LONGEST).map_err(FetchError::Write)?;
    PartsManifest::parse(&text).map_err(refused)
}

fn fetch_parts(
    bot: &Bot,
    manifest: &PartsManifest,
    directory: &OpenDir,
) -> Result<(File, String), FetchError> {
    let target = Target::create(directory, &manifest.name, manifest.size)?;
    let progress = Progress::start(format!("fetching {}", manifest.name), Some(manifest.size));
    let mut offset = 0;
    let parts = manifest.parts.iter().map(|part| {
        offset += part.size;
        (offset - part.size, part)
    });
    try_each(DOWNLOADS, parts, |(offset, part)| {
        fetch_document(bot, &part.file_id, part.size, Some(&part.sha256), &target, offset, &progress)
    })?;
    if target.digest(0, manifest.size).map_err(FetchError::Write)? == manifest.sha256 {
        target.keep()
    } else {
        Err(FetchError::Checksum(manifest.name.clone()))
    }
}

/// Fetches a document to `offset` of the target. A retry continues where the last attempt broke off.
fn fetch_document(
    bot: &Bot,
    file_id: &str,
    size: u64,
    sha256: Option<&str>,
    target: &Target,
    offset: u64,
    progress: &Progress,
) -> Result<(), FetchError> {
    let path = bot.file_path(file_id).map_err(|error| match error {
        BotError::Refused(400, reason) if reason.contains("too big") => {
            FetchError::TooBig(target.name.clone(), size)
        }
        error => FetchError::Bot(error),
    })?;
    // A Bot API server in local mode answers with a path on its disk, which may be on ours.
    if Path::new(&path).is_absolute() {
        copy_local(&path, size, target, offset, progress)?
    } else {
        let done = AtomicU64::new(0);
        bot.persist(|| {
            let from = done.load(Ordering::Relaxed);
            bot.download(&path, from, size, &mut |bytes: &[u8]| {
                let at = done.load(Ordering::Relaxed);
                let room = usize::try_from(size - at).unwrap_or(usize::MAX).min(bytes.len());
                target.file.write_all_at(&bytes[..room], offset + at)?;
                done.store(at + room as u64, Ordering::Relaxed);
                progress.add(room as u64);
                Ok(())
            })?;
            if done.load(Ordering::Relaxed) == size {
                Ok(())
            } else {
                Err(BotError::Network("the file is shorter than it was".into()))
            }
        })?;
    }
    let Some(sha256) = sha256 else { return Ok(()) };
    if target.digest(offset, size).map_err(FetchError::Write)? == *sha256 {
        Ok(())
    } else {
        Err(FetchError::Checksum("a part".into()))
    }
}

fn copy_local(
    path: &str,
    size: u64,
    target: &Target,
    offset: u64,
    progress: &Progress,
) -> Result<(), FetchError> {
    let mut file = File::open(path).map_err(|error| {
        let what = format!("the Bot API server names {path}, which cannot be read here: {error}");
        FetchError::Write(io::Error::new(error.kind(), what))
    })?;
    let (mut at, mut chunk) = (0, vec![0; 64 * 1024]);
    while at < size {
        let read = file.read(&mut chunk).map_err(FetchError::Write)?;
        if read == 0 {
            return Err(FetchError::Write(io::ErrorKind::UnexpectedEof.into()));
        }
        let room = usize::try_from(size - at).unwrap_or(usize::MAX).min(read);
        target.file.write_all_at(&chunk[..room], offset + at).map_err(FetchError::Write)?;
        progress.add(room as u64);
        at += room as u64;
    }
    Ok(())
}
