//! Reads a backup from end to end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::directory::{DirectoryDigest, inspect_directory};
use super::dump_checker::{CheckResult, DumpChecker};
use super::dump_reader::{DecryptionContext, DumpReader};
use super::error::ContentError;
use super::kind::{Content, HEAD, Wrapping, recognise};
use super::watcher::{Nobody, Watcher};
use crate::store::catalog::{Format, directory_size};
use crate::system::progress::Progress;
use crate::util::open_dir::OpenDir;

/// Bytes per read.
const CHUNK: usize = 64 * 1024;

/// The result of reading a backup from end to end.
#[derive(Debug)]
pub struct FullRead {
    /// Its SHA-256, as in manifests.
    pub sha256: String,
    /// What is wrapped around the dump, the outermost first; nothing around a directory.
    pub wrappings: Vec<Wrapping>,
    /// Whether its checksum is that of a backup known to be whole, so that the dump was not checked again and the
    /// watcher saw nothing.
    pub is_recognised: bool,
    check_result: Result<CheckResult, ContentError>,
}

impl FullRead {
    /// Whether it is a file that is neither encrypted nor compressed.
    pub fn is_bare(&self) -> bool {
        self.wrappings.is_empty() && self.format() != Some(Format::Directory)
    }

    /// Its format, if it is a whole dump.
    pub fn format(&self) -> Option<Format> {
        let check_result = self.check_result.as_ref().ok()?;
        Some(check_result.content.format(&self.wrappings))
    }

    /// The result for the dump, if the checksum is the `expected` one.
    ///
    /// # Errors
    /// When the checksum differs, or the dump is damaged or no dump by pg_dump.
    pub fn judge(self, expected: Option<&str>) -> Result<CheckResult, ContentError> {
        if expected.is_some_and(|expected| expected != self.sha256) {
            Err(ContentError::Checksum)
        } else {
            self.check_result
        }
    }
}

/// A backup that an earlier check found whole.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// Its SHA-256.
    pub sha256: &'a str,
    /// The size of the SQL in bytes, if it is SQL whose needs are recorded in the manifest.
    pub sql: Option<u64>,
}

/// Reads an opened backup and checks the dump in it.
///
/// # Errors
/// When it cannot be read to its end, or a stop signal comes. A damaged dump is no error here, but part of the result.
pub fn read_fully(
    opened: File,
    decryption: &DecryptionContext,
    progress: &Progress,
) -> Result<FullRead, ContentError> {
    read_fully_watched(opened, decryption, progress, None, &mut Nobody)
}

/// The same, while `watcher` gets the bytes of the dump, unless that is a directory. A file with the checksum of a
/// backup known to be `whole` is read for the checksum only, unless it is encrypted.
///
/// # Errors
/// As for [`read_fully`].
pub fn read_fully_watched(
    opened: File,
    decryption: &DecryptionContext,
    progress: &Progress,
    whole: Option<Whole>,
    watcher: &mut dyn Watcher,
) -> Result<FullRead, ContentError> {
    let read = if opened.metadata().map_err(ContentError::Read)?.is_dir() {
        read_directory(&opened, decryption, progress, whole)?
    } else {
        let recognised =
            whole.map(|whole| recognise_whole(&opened, decryption, progress, whole)).transpose()?;
        match recognised.flatten() {
            Some(read) => read,
            None => read_file(opened, decryption, progress, watcher)?,
        }
    };
    decryption.runner.check()?;
    Ok(read)
}

/// The bytes that [`read_fully`] will count as progress, if known. The files of a directory are read twice.
pub fn bytes_to_read(opened: &File) -> Option<u64> {
    let metadata = opened.metadata().ok()?;
    if metadata.is_dir() { Some(2 * directory_size(&directory(opened).ok()?)) } else { Some(metadata.len()) }
}

/// The kind of a dump, by its first bytes. `None` when it is no dump, or cannot be decrypted or decompressed.
///
/// # Errors
/// When it cannot be read.
pub fn peek(opened: File, decryption: &DecryptionContext) -> Result<Option<Content>, ContentError> {
    if opened.metadata().map_err(ContentError::Read)?.is_dir() {
        return Ok(Some(Content::Directory));
    }
    let (dump, failure) = DumpReader::open(opened, decryption)?;
    let mut head = Vec::with_capacity(HEAD);
    let read = dump.take(HEAD as u64).read_to_end(&mut head);
    Ok(recognise(&head).filter(|_| failure.is_none() && read.is_ok()))
}

fn directory(opened: &File) -> io::Result<OpenDir> {
    OpenDir::of_file(opened, Path::new(""))
}

fn read_directory(
    opened: &File,
    decryption: &DecryptionContext,
    progress: &Progress,
    whole: Option<Whole>,
) -> Result<FullRead, ContentError> {
    let directory = directory(opened).map_err(ContentError::Read)?;
    let listing = DirectoryDigest::of(&directory, &decryption.runner, progress)?;
    let is_recognised = whole.is_some_and(|whole| whole.sha256 == listing.sha256);
    let check_result = if is_recognised {
        Ok(CheckResult { content: Content::Directory, bytes: listing.size, makes_database: false })
    } else {
        inspect_directory(&directory, listing.size, &decryption.runner, progress)
    };
    Ok(FullRead { sha256: listing.sha256, wrappings: Vec::new(), is_recognised, check_result })
}

/// Reads a file for its checksum only. `None` when that is not the one of `whole`, or the file must be read in full.
fn recognise_whole(
    opened: &File,
    decryption: &DecryptionContext,
    progress: &Progress,
    whole: Whole,
) -> Result<Option<FullRead>, ContentError> {
    let clone = || opened.try_clone().map_err(ContentError::Read);
    let content = peek(clone()?, decryption)?;
    let (dump, failure) = DumpReader::open(clone()?, decryption)?;
    let wrappings = dump.wrappings.clone();
    let is_clear = failure.is_none() && !wrappings.contains(&Wrapping::Gpg);
    let (content, bytes) = match (content, whole.sql) {
        (Some(content @ (Content::Custom | Content::Tar)), _) if wrappings.is_empty() => (content, None),
        (Some(Content::Database), Some(bytes)) if is_clear => (Content::Database, Some(bytes)),
        _ => return Ok(None),
    };
    let (sha256, length) = dump.finish_with(progress)?;
    let bytes = bytes.unwrap_or(length);
    let check_result = Ok(CheckResult { content, bytes, makes_database: false });
    let is_recognised = sha256 == whole.sha256;
    Ok(is_recognised.then_some(FullRead { sha256, wrappings, is_recognised, check_result }))
}

fn read_file(
    opened: File,
    decryption: &DecryptionContext,
    progress: &Progress,
    watcher: &mut dyn Watcher,
) -> Result<FullRead, ContentError> {
    let (mut dump, failure) = DumpReader::open(opened, decryption)?;
    let check_result = match failure {
        Some(error) => Err(error),
        None => inspect(&mut dump, decryption, progress, watcher),
    };
    let wrappings = dump.wrappings.clone();
    // The rest is read as well, for the checksum of the whole file.
    Ok(FullRead { sha256: dump.finish()?, wrappings, is_recognised: false, check_result })
}

fn inspect(
    dump: &mut DumpReader,
    decryption: &DecryptionContext,
    progress: &Progress,
    watcher: &mut dyn Watcher,
) -> Result<CheckResult, ContentError> {
    let mut inspector = DumpChecker::new(decryption.runner.clone());
    let (mut chunk, mut counted) = (vec![0; CHUNK], 0);
    loop {
        match dump.read(&mut chunk) {
            Ok(0) => return inspector.finish(watcher),
            Ok(length) => {
                let read = dump.bytes_of_file();
                progress.add(read - counted);
                counted = read;
                inspector.take(&chunk[..length], watcher)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(dump.failure(error)),
        }
    }
}
