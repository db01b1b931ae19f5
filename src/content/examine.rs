//! Reads a backup from end to end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{
    Content, ContentError, Findings, HEAD, Inspector, Keys, Listing, Unpacked, inspect_directory, recognise,
};
use crate::catalog::directory_size;
use crate::progress::Progress;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// What reading a backup from end to end has found.
#[derive(Debug)]
pub struct Examination {
    /// Its checksum, as manifests have it.
    pub sha256: String,
    /// Whether it is a file with nothing wrapped around the dump.
    pub is_bare: bool,
    findings: Result<Findings, ContentError>,
}

impl Examination {
    /// What the backup holds.
    ///
    /// # Errors
    /// When its checksum is not the one `expected`, or it is damaged or foreign.
    pub fn judge(self, expected: Option<&str>) -> Result<Findings, ContentError> {
        match expected.is_some_and(|expected| expected != self.sha256) {
            true => Err(ContentError::Checksum),
            false => self.findings,
        }
    }
}

/// Sees what goes by while a file is read, with everything taken off that is wrapped around the dump.
pub trait Watcher {
    /// Takes the next bytes of a dump that holds this.
    fn watch(&mut self, content: Content, bytes: &[u8]);
}

/// One that is not interested.
struct Nobody;

impl Watcher for Nobody {
    fn watch(&mut self, _: Content, _: &[u8]) {}
}

/// Reads the backup `opened`, which lies at `path`.
///
/// # Errors
/// When it cannot be read to its end, or a stop signal comes. What is wrong with what was read is in the answer.
pub fn examine(
    opened: File,
    path: &Path,
    keys: &Keys,
    progress: &Progress,
) -> Result<Examination, ContentError> {
    examine_watched(opened, path, keys, progress, &mut Nobody)
}

/// The same, while `watcher` sees all that goes by. It sees nothing of a directory.
///
/// # Errors
/// As for [`examine`].
pub fn examine_watched(
    opened: File,
    path: &Path,
    keys: &Keys,
    progress: &Progress,
    watcher: &mut dyn Watcher,
) -> Result<Examination, ContentError> {
    let examination = match opened.metadata().map_err(ContentError::Read)?.is_dir() {
        true => examine_directory(path, keys, progress)?,
        false => examine_file(opened, keys, progress, watcher)?,
    };
    keys.runner.check()?;
    Ok(examination)
}

/// How many bytes [`examine`] counts of a backup, where that is known: the files of a directory are read twice.
pub fn bytes_to_examine(opened: &File, path: &Path) -> Option<u64> {
    let metadata = opened.metadata().ok()?;
    match metadata.is_dir() {
        true => Some(2 * directory_size(path)),
        false => Some(metadata.len()),
    }
}

/// What something holds, by its beginning: nothing when it is no dump, or its wrappings do not come off.
///
/// # Errors
/// When it cannot be read.
pub fn peek(opened: File, keys: &Keys) -> Result<Option<Content>, ContentError> {
    if opened.metadata().map_err(ContentError::Read)?.is_dir() {
        return Ok(Some(Content::Directory));
    }
    let (dump, failure) = Unpacked::open(opened, keys)?;
    let mut head = Vec::with_capacity(HEAD);
    let read = dump.take(HEAD as u64).read_to_end(&mut head);
    Ok(recognise(&head).filter(|_| failure.is_none() && read.is_ok()))
}

fn examine_directory(path: &Path, keys: &Keys, progress: &Progress) -> Result<Examination, ContentError> {
    let listing = Listing::of(path, &keys.runner, progress)?;
    let findings = inspect_directory(path, listing.size, &keys.runner, progress);
    Ok(Examination { sha256: listing.sha256, is_bare: false, findings })
}

fn examine_file(
    opened: File,
    keys: &Keys,
    progress: &Progress,
    watcher: &mut dyn Watcher,
) -> Result<Examination, ContentError> {
    let (mut dump, failure) = Unpacked::open(opened, keys)?;
    let findings = match failure {
        Some(error) => Err(error),
        None => inspect(&mut dump, keys, progress, watcher),
    };
    let is_bare = dump.wrappings.is_empty();
    // The rest of a file whose dump broke off counts for its checksum, which tells damage from anything else.
    Ok(Examination { sha256: dump.finish()?, is_bare, findings })
}

fn inspect(
    dump: &mut Unpacked,
    keys: &Keys,
    progress: &Progress,
    watcher: &mut dyn Watcher,
) -> Result<Findings, ContentError> {
    let mut inspector = Inspector::new(keys.runner.clone());
    let (mut chunk, mut counted) = (vec![0; CHUNK], 0);
    // What has gone by before it was told what it is.
    let mut unseen = Vec::new();
    loop {
        match dump.read(&mut chunk) {
            Ok(0) => {
                let findings = inspector.finish()?;
                watcher.watch(findings.content, &unseen);
                return Ok(findings);
            }
            Ok(length) => {
                let read = dump.bytes_of_file();
                progress.add(read - counted);
                counted = read;
                inspector.take(&chunk[..length])?;
                unseen.extend_from_slice(&chunk[..length]);
                if let Some(content) = inspector.content() {
                    watcher.watch(content, &unseen);
                    unseen.clear();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(dump.failure(error)),
        }
    }
}
