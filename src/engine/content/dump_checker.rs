//! Checks the bytes of a dump as they stream by, during a backup, a verification or a restore.

use super::error::ContentError;
use super::kind::{CONTENTS_AT, Content, HEAD, foreign, recognise};
use super::pg_restore_probe::PgRestoreProbe;
use super::tar_walk::TarWalk;
use super::watcher::Watcher;
use crate::formats::sql::{self, PREAMBLE, Trailer};
use crate::system::process::Runner;

/// The result of checking a whole dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckResult {
    /// The kind of the dump.
    pub content: Content,
    /// The size of the dump in bytes, decrypted and decompressed.
    pub bytes: u64,
    /// Whether it is SQL with `CREATE DATABASE` and `\connect`, as by `pg_dump --create`.
    pub makes_database: bool,
}

/// Checks a dump piece by piece.
#[derive(Debug)]
pub struct DumpChecker {
    runner: Runner,
    /// The first bytes, kept until the kind is known and, of SQL, as far as its preamble can reach.
    head: Vec<u8>,
    bytes: u64,
    content: Option<Content>,
    /// Bytes that came before the kind was known, and that the watcher has not seen yet.
    unseen: Vec<u8>,
    trailer: Trailer,
    tar: TarWalk,
    reading: Option<PgRestoreProbe>,
}

impl DumpChecker {
    /// A checker that has seen nothing yet.
    pub fn new(runner: Runner) -> Self {
        Self {
            runner,
            head: Vec::new(),
            bytes: 0,
            content: None,
            unseen: Vec::new(),
            trailer: Trailer::default(),
            tar: TarWalk::default(),
            reading: None,
        }
    }

    /// Takes the next bytes. `watcher` gets them as soon as the kind of the dump is known.
    ///
    /// # Errors
    /// When the bytes are no dump, or pg_restore is needed and cannot be started.
    pub fn take(&mut self, bytes: &[u8], watcher: &mut dyn Watcher) -> Result<(), ContentError> {
        self.look_at(bytes)?;
        match self.content {
            Some(content) if self.unseen.is_empty() => watcher.watch(content, bytes),
            told => {
                self.unseen.extend_from_slice(bytes);
                told.into_iter()
                    .for_each(|content| watcher.watch(content, &std::mem::take(&mut self.unseen)));
            }
        }
        Ok(())
    }

    fn look_at(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.bytes += bytes.len() as u64;
        let room = PREAMBLE.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        if self.content.is_some() {
            self.follow(bytes);
        } else if self.head.len() >= HEAD {
            self.decide()?;
            // Nothing was followed before the kind was known. The piece may be longer than what was kept of it.
            let head = std::mem::take(&mut self.head);
            self.follow(&head);
            self.follow(&bytes[room..]);
            self.head = head;
        }
        Ok(())
    }

    fn decide(&mut self) -> Result<(), ContentError> {
        let head = &self.head[..self.head.len().min(HEAD)];
        let content = recognise(head).ok_or_else(|| foreign(head))?;
        if matches!(content, Content::Custom | Content::Tar) {
            self.reading = Some(PgRestoreProbe::start(&self.runner).map_err(ContentError::Program)?);
        }
        self.content = Some(content);
        Ok(())
    }

    fn follow(&mut self, bytes: &[u8]) {
        match self.content {
            Some(Content::Database | Content::Cluster) => self.trailer.take(bytes),
            Some(Content::Tar | Content::PackedDirectory) => self.tar.take(bytes),
            _ => {}
        }
        if let Some(reading) = &mut self.reading {
            reading.take(bytes);
        }
    }

    /// Returns the result for all bytes taken.
    ///
    /// # Errors
    /// When they are no whole dump, or a stop signal came.
    pub fn finish(mut self, watcher: &mut dyn Watcher) -> Result<CheckResult, ContentError> {
        let unseen = std::mem::take(&mut self.unseen);
        let check_result = self.judge()?;
        watcher.watch(check_result.content, &unseen);
        Ok(check_result)
    }

    fn judge(&mut self) -> Result<CheckResult, ContentError> {
        if self.bytes == 0 {
            return Err(ContentError::Empty);
        }
        if self.content.is_none() {
            self.decide()?;
            let head = std::mem::take(&mut self.head);
            self.follow(&head);
            self.head = head;
        }
        let content = self.content.ok_or(ContentError::Foreign)?;
        let is_complete = match content {
            Content::Database => self.trailer.is_complete(),
            Content::Cluster => self.trailer.is_complete_cluster(),
            Content::Tar => self.tar.is_complete(),
            Content::PackedDirectory => self.tar.is_complete() && self.tar.holds_directory(),
            Content::Custom | Content::Directory => true,
        };
        let begin = if content == Content::Tar { CONTENTS_AT } else { 0 };
        match self.reading.take() {
            Some(reading) if is_complete => reading.finish(self.head.get(begin..).unwrap_or_default())?,
            Some(reading) => reading.abandon(),
            None => {}
        }
        if is_complete {
            Ok(CheckResult {
                content,
                bytes: self.bytes,
                makes_database: content == Content::Database && sql::makes_database(&self.head),
            })
        } else {
            Err(ContentError::Truncated)
        }
    }
}

impl Drop for DumpChecker {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.abandon();
        }
    }
}
