//! Reads the dump in a backup's file, decrypted and decompressed, and computes the checksum of the file on the way.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::error::ContentError;
use super::kind::{HEAD, Wrapping};
use crate::formats::compress::Decompressor;
use crate::settings::Secret;
use crate::system::gpg::Gpg;
use crate::system::process::{Interrupted, ProgramError, Runner};
use crate::system::progress::Progress;
use crate::util::units::hexadecimal;

/// Bytes per read.
const CHUNK: usize = 64 * 1024;
/// Greatest number of nested wrappings. More than two make no sense.
const DEPTH: usize = 4;
/// The UTF-8 byte order mark, which an editor may have put before the SQL. psql skips it as well.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// What opens encrypted backups.
#[derive(Debug, Clone)]
pub struct DecryptionContext {
    /// The passphrase.
    pub passphrase: Option<Secret>,
    /// Starts gpg, and knows of stop signals.
    pub runner: Runner,
}

/// Reads the dump in a file.
pub struct DumpReader {
    file: SharedFile,
    reader: Box<dyn Read + Send>,
    /// What is wrapped around the dump, the outermost first.
    pub wrappings: Vec<Wrapping>,
}

impl DumpReader {
    /// Opens the dump in a file, from the beginning of the file. When a wrapping cannot be removed, that error is
    /// returned as well; the reader is then of use for the checksum only.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(
        mut file: File,
        decryption: &DecryptionContext,
    ) -> Result<(Self, Option<ContentError>), ContentError> {
        file.rewind().map_err(ContentError::Read)?;
        let file = SharedFile::new(file, decryption.runner.clone());
        let mut unpacked = Self { reader: Box::new(file.clone()), file, wrappings: Vec::new() };
        let failure = unpacked.take_off_all(decryption).err();
        Ok((unpacked, failure))
    }

    fn take_off_all(&mut self, decryption: &DecryptionContext) -> Result<(), ContentError> {
        loop {
            let mut head = Vec::with_capacity(HEAD);
            let read = self.reader.by_ref().take(HEAD as u64).read_to_end(&mut head);
            read.map_err(|error| self.failure(error))?;
            let wrapping = Wrapping::of(&head).filter(|_| self.wrappings.len() < DEPTH);
            let is_marked = head.starts_with(UTF8_MARK);
            let inner: Box<dyn Read + Send> = std::mem::replace(&mut self.reader, Box::new(io::empty()));
            let whole = Cursor::new(head).chain(inner);
            self.reader = match wrapping {
                None => {
                    self.reader = Box::new(whole);
                    if is_marked {
                        let marked =
                            self.reader.by_ref().take(UTF8_MARK.len() as u64).read_exact(&mut [0; 3]);
                        marked.map_err(ContentError::Read)?;
                    }
                    return Ok(());
                }
                Some(Wrapping::Gpg) => {
                    let passphrase = decryption.passphrase.clone().ok_or(ContentError::NoKey)?;
                    let gpg = Gpg::new(passphrase, decryption.runner.clone());
                    Box::new(gpg.decrypt(whole).map_err(ContentError::Program)?)
                }
                Some(Wrapping::Packed(packing)) => {
                    let buffered = BufReader::with_capacity(CHUNK, whole);
                    Box::new(Decompressor::new(buffered, packing).map_err(ContentError::Read)?)
                }
            };
            self.wrappings.extend(wrapping);
        }
    }

    /// Reads the rest of the file and returns its SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn finish(self) -> Result<String, ContentError> {
        // Ends the thread that may be reading the file for gpg.
        drop(self.reader);
        self.file.finish(|_| ()).map(|(sha256, _)| sha256)
    }

    /// Reads the rest of the file, counts its bytes in `progress`, and returns its SHA-256 in hexadecimal and its
    /// length in bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn finish_with(self, progress: &Progress) -> Result<(String, u64), ContentError> {
        drop(self.reader);
        self.file.finish(|length| progress.add(length))
    }

    /// Bytes of the file read so far.
    pub fn bytes_of_file(&self) -> u64 {
        self.file.lock().bytes
    }

    /// The cause of a failed read.
    pub fn failure(&self, error: io::Error) -> ContentError {
        self.file.failure(error)
    }
}

impl Read for DumpReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// A file that is read once from several places, as gpg reads it on a thread of its own.
#[derive(Clone)]
struct SharedFile {
    state: Arc<Mutex<State>>,
    /// Checked at each read, so that a stop signal does not wait for the end of a large file.
    runner: Runner,
}

struct State {
    file: File,
    digest: Sha256,
    bytes: u64,
    has_failed: bool,
}

impl SharedFile {
    fn new(file: File, runner: Runner) -> Self {
        let state = State { file, digest: Sha256::new(), bytes: 0, has_failed: false };
        Self { state: Arc::new(Mutex::new(state)), runner }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, error: io::Error) -> ContentError {
        match self.runner.check() {
            Err(interrupted) => interrupted.into(),
            Ok(()) if self.lock().has_failed => ContentError::Read(error),
            Ok(()) if error.get_ref().is_some_and(|cause| cause.is::<ProgramError>()) => {
                ContentError::Decrypt(error)
            }
            Ok(()) => ContentError::Damaged(error),
        }
    }

    fn finish(mut self, read: impl Fn(u64)) -> Result<(String, u64), ContentError> {
        let mut rest = vec![0; CHUNK];
        loop {
            match self.read(&mut rest) {
                Ok(0) => break,
                Ok(length) => read(length as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        let mut state = self.lock();
        Ok((hexadecimal(&std::mem::take(&mut state.digest).finalize()), state.bytes))
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.runner.check().map_err(|Interrupted(signal)| io::Error::other(signal.as_str()))?;
        let mut state = self.lock();
        match state.file.read(buffer) {
            Ok(length) => {
                state.digest.update(&buffer[..length]);
                state.bytes += length as u64;
                Ok(length)
            }
            Err(error) => {
                state.has_failed |= error.kind() != io::ErrorKind::Interrupted;
                Err(error)
            }
        }
    }
}
