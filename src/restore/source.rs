//! The backup to restore: found, told by its content, and checked from end to end before the server hears
//! of it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::RestoreError;
use crate::backup::hexadecimal;
use crate::catalog::{BackupDirectory, BackupName, DatabaseName, DirectoryError, Manifest, Slot};
use crate::process::{Interrupted, ProgramError, Runner};
use crate::progress::Progress;
use crate::sql::{self, HEAD, Kind, PREAMBLE, Trailer};

/// An opened backup.
#[derive(Debug)]
pub struct Source {
    /// What the user called it.
    pub label: String,
    /// Its own file name, for finding its database.
    name: Option<BackupName>,
    /// The slot that it lies in, which says what the stamp in its name looks like.
    slot: Option<Slot>,
    file: File,
    manifest: Option<Manifest>,
}

/// A backup that has been read from end to end and found whole.
#[derive(Debug)]
pub struct Checked {
    source: Source,
    packing: Packing,
    sha256: String,
    /// Bytes of SQL.
    pub sql_bytes: u64,
}

/// How the SQL is packed in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
}

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

impl Source {
    /// Opens `SLOT/NAME` of the backup directory, or else the file at a path.
    ///
    /// # Errors
    /// When it cannot be opened or is not a file.
    pub fn open(directory: &BackupDirectory, label: &str) -> Result<Self, RestoreError> {
        let in_slot = label
            .split_once('/')
            .and_then(|(slot, name)| Some((Slot::named(slot)?, BackupName::parse(name).ok()?)));
        if let Some((slot, name)) = in_slot {
            match Self::open_published(directory, slot, &name) {
                Err(RestoreError::Directory(DirectoryError::NotFound(..))) if Path::new(label).exists() => {}
                opened => return opened,
            }
        }
        Self::open_path(label)
    }

    fn open_published(
        directory: &BackupDirectory,
        slot: Slot,
        name: &BackupName,
    ) -> Result<Self, RestoreError> {
        let opened = directory.open(slot, name)?;
        let label = format!("{slot}/{}", opened.name);
        if opened.is_directory() {
            return Err(RestoreError::Unsupported(label, "a dump in directory format"));
        }
        let manifest = directory.manifest(slot, &opened.name)?;
        Ok(Self { label, name: Some(opened.name), slot: Some(slot), file: opened.file, manifest })
    }

    fn open_path(label: &str) -> Result<Self, RestoreError> {
        let failed = |error| RestoreError::Open(label.to_owned(), error);
        // A pointer's own name says nothing of its target's manifest.
        let path: PathBuf = std::fs::canonicalize(label).map_err(failed)?;
        let file = File::open(&path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?;
        if kind.is_dir() {
            return Err(RestoreError::Unsupported(label.to_owned(), "a dump in directory format"));
        }
        if !kind.is_file() {
            return Err(RestoreError::Foreign(label.to_owned()));
        }
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| BackupName::parse(name).ok());
        let manifest = match (&name, path.parent()) {
            (Some(name), Some(parent)) => read_manifest(&parent.join(name.manifest()))?,
            _ => None,
        };
        let parent = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        Ok(Self { label: label.to_owned(), name, slot: parent.and_then(Slot::named), file, manifest })
    }

    /// The database that the backup is of: the manifest says it, or a name of the form that this tool gives.
    pub fn database(&self) -> Option<DatabaseName> {
        if let Some(manifest) = &self.manifest {
            return Some(manifest.database.clone());
        }
        let name = self.name.as_ref()?;
        // Outside of a slot the longest stamp counts. In one, `app-20240101-202611` of `monthly` must not be
        // taken for a backup of `app` at 20:26:11.
        let by_slot = match self.slot {
            Some(slot) => name.parts(slot),
            None => Slot::ALL.into_iter().find_map(|slot| name.parts(slot)),
        };
        by_slot.or_else(|| name.latest_parts()).map(|parts| parts.database)
    }

    /// Reads the whole file: its checksum against the manifest's, its compression's own check, and the
    /// beginning and end of the SQL in it.
    ///
    /// # Errors
    /// When anything is not as it should be, or a stop signal comes.
    pub fn check(mut self, runner: &Runner) -> Result<Checked, RestoreError> {
        let packing = self.packing()?;
        let failed = |error| RestoreError::Open(self.label.clone(), error);
        self.file.rewind().map_err(failed)?;
        let mut sql = SqlReader::new(&self.file, packing, runner);
        let progress = Progress::start(format!("checking {}", self.label), None);
        let mut found = Findings::default();
        let read = found.take_all(&mut progress.reader(&mut sql));
        // The rest of a file whose SQL broke off counts for its checksum.
        let sha256 = sql.finish();
        runner.check().map_err(ProgramError::Interrupted)?;
        let sha256 = sha256.map_err(failed)?;
        if self.manifest.as_ref().is_some_and(|manifest| manifest.sha256 != sha256) {
            return Err(RestoreError::Checksum(self.label));
        }
        if let Err(error) = read {
            return Err(RestoreError::Damaged(self.label, error));
        }
        found.judge(&self.label)?;
        Ok(Checked { source: self, packing, sha256, sql_bytes: found.bytes })
    }

    /// Tells how the file is packed by its first bytes.
    fn packing(&mut self) -> Result<Packing, RestoreError> {
        let mut head = Vec::new();
        let read = (&self.file).take(HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| RestoreError::Open(self.label.clone(), error))?;
        match recognise(&head) {
            _ if head.is_empty() => Err(RestoreError::Empty(self.label.clone())),
            Recognised::Gzip => Ok(Packing::Gzip),
            Recognised::Text => Ok(Packing::None),
            Recognised::Other(what) => Err(RestoreError::Unsupported(self.label.clone(), what)),
        }
    }
}

fn read_manifest(path: &Path) -> Result<Option<Manifest>, RestoreError> {
    let failed = |error| RestoreError::Open(path.display().to_string(), error);
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

enum Recognised {
    Gzip,
    Text,
    Other(&'static str),
}

/// What a file is by the numbers that its kind begins with.
fn recognise(head: &[u8]) -> Recognised {
    let armoured = b"-----BEGIN PGP MESSAGE-----";
    match head {
        [0x1f, 0x8b, ..] => Recognised::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Recognised::Other("compressed by zstd"),
        [b'P', b'G', b'D', b'M', b'P', ..] => Recognised::Other("an archive in custom format"),
        // OpenPGP's symmetric-key packet in both of its framings (RFC 9580, 4.2), and the armoured form.
        [0x8c | 0xc3, ..] => Recognised::Other("encrypted by gpg"),
        _ if head.starts_with(armoured) => Recognised::Other("encrypted by gpg"),
        _ if head.get(257..262) == Some(b"ustar") => Recognised::Other("a tar archive"),
        _ => Recognised::Text,
    }
}

/// What is learnt of the SQL while it goes by.
#[derive(Default)]
struct Findings {
    head: Vec<u8>,
    trailer: Trailer,
    bytes: u64,
}

impl Findings {
    fn take_all(&mut self, sql: &mut impl Read) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = match sql.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = &chunk[..length];
            let room = PREAMBLE.saturating_sub(self.head.len()).min(length);
            self.head.extend_from_slice(&bytes[..room]);
            self.trailer.take(bytes);
            self.bytes += length as u64;
        }
    }

    fn judge(&self, label: &str) -> Result<(), RestoreError> {
        let label = label.to_owned();
        match (Kind::of(&self.head), recognise(&self.head)) {
            (_, Recognised::Other(what)) => Err(RestoreError::Unsupported(label, what)),
            (Kind::Cluster, _) => Err(RestoreError::Unsupported(label, "a dump of a whole cluster")),
            (Kind::Foreign, _) => Err(RestoreError::Foreign(label)),
            (Kind::Database, _) if !self.trailer.is_complete() => Err(RestoreError::Truncated(label)),
            (Kind::Database, _) if sql::makes_database(&self.head) => Err(RestoreError::Connects(label)),
            (Kind::Database, _) => Ok(()),
        }
    }
}

impl Checked {
    /// What the user called the backup.
    pub fn label(&self) -> &str {
        &self.source.label
    }

    /// Hands the SQL to `take`, once more from the beginning, and sees that it is the same as before.
    ///
    /// # Errors
    /// When it cannot be read, has changed since it was checked, or `take` fails.
    pub fn load<E: From<RestoreError>>(
        &mut self,
        runner: &Runner,
        take: impl FnOnce(&mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let label = self.source.label.clone();
        let failed = |error| RestoreError::Open(label.clone(), error);
        self.source.file.rewind().map_err(failed)?;
        let mut sql = SqlReader::new(&self.source.file, self.packing, runner);
        take(&mut sql)?;
        match sql.finish().map_err(failed)? == self.sha256 {
            true => Ok(()),
            false => Err(RestoreError::Changed(label.clone()).into()),
        }
    }
}

/// The SQL in a file, and on the side the checksum of the file.
enum SqlReader<'a> {
    Plain(HashingReader<'a>),
    Gzip(Box<MultiGzDecoder<BufReader<HashingReader<'a>>>>),
}

impl<'a> SqlReader<'a> {
    fn new(file: &'a File, packing: Packing, runner: &'a Runner) -> Self {
        let file = HashingReader { file, digest: Sha256::new(), runner };
        match packing {
            Packing::None => Self::Plain(file),
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK, file)))),
        }
    }

    /// Reads what is left of the file and answers the checksum of all of it.
    fn finish(self) -> io::Result<String> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Gzip(decoder) => decoder.into_inner().into_inner(),
        };
        io::copy(&mut file, &mut io::sink())?;
        Ok(hexadecimal(&file.digest.finalize()))
    }
}

impl Read for SqlReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

struct HashingReader<'a> {
    file: &'a File,
    digest: Sha256,
    /// A stop signal must not wait for the end of a large file.
    runner: &'a Runner,
}

impl Read for HashingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.runner.check().map_err(|Interrupted(signal)| io::Error::other(signal.as_str()))?;
        let length = self.file.read(buffer)?;
        self.digest.update(&buffer[..length]);
        Ok(length)
    }
}
