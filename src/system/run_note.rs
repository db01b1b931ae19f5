//! The note of a run that is going on: a small file among the temporary ones, made by whoever starts the run, and removed by
//! the run itself when its end is recorded and told. One that is still there after the end tells of a run that has died.
//!
//! Its first line says what was started, as JSON. The next one is empty, and says that the run has begun; each line behind
//! it is the report of a database that the run has come to. The file is not on the backups' volume, so that a full one does
//! not matter. Who has made it and the run itself hold a lock on it: where nobody does, both have died.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use crate::settings::Environment;
use crate::store::records::DatabaseReport;
use crate::store::records::history::Trigger;
use crate::system::process::Exit;
use crate::util::durable;
use crate::util::flock::Flock;
use crate::util::units::hexadecimal;

/// The variable by which a run is told where its note is, or only its id where none could be made.
pub const VARIABLE: &str = "BACKUPGRAM_RUN";

const PREFIX: &str = "backupgram-run-";
/// Digits of an id.
const DIGITS: usize = 16;
/// A note is no longer than that, in bytes: some thousand databases.
const LONGEST: u64 = 4 << 20;

/// What was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The backup directory.
    pub directory: PathBuf,
    /// When, in Unix seconds.
    pub start: i64,
    /// Who asked for it.
    pub trigger: Trigger,
    /// The databases that it is limited to.
    pub databases: Vec<String>,
}

/// A note as who has started the run has it. Dropped, it is gone.
#[derive(Debug)]
pub struct RunNote {
    id: String,
    path: Option<PathBuf>,
    /// Bytes that we have written.
    length: u64,
    _lock: Option<Flock>,
}

impl RunNote {
    /// Makes one, among the temporary files. Without room there, the run is told by its id in the history alone.
    pub fn make(started: &Started) -> Self {
        let id = new_id();
        let path = env::temp_dir().join(format!("{PREFIX}{id}"));
        let mut line = serde_json::to_vec(started).unwrap_or_default();
        line.push(b'\n');
        let made =
            File::options().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
                file.write_all(&line)?;
                Ok(Flock::try_lock_shared(file).ok())
            });
        match made {
            Ok(_lock) => Self { id, path: Some(path), length: line.len() as u64, _lock },
            Err(error) => {
                log::warn!("cannot make {}: {error}", path.display());
                let _ = fs::remove_file(path);
                Self { id, path: None, length: 0, _lock: None }
            }
        }
    }

    /// Tells a run of it.
    pub fn pass_to(&self, command: &mut Command) {
        match &self.path {
            Some(path) => command.env(VARIABLE, path),
            None => command.env(VARIABLE, &self.id),
        };
    }

    /// What [`OwnNote::parse`] reads.
    pub fn text(&self) -> String {
        self.path.as_ref().map_or_else(|| self.id.clone(), |path| path.display().to_string())
    }

    /// The id of a run whose note could not be made.
    pub fn bare_id(&self) -> Option<&str> {
        self.path.is_none().then_some(&self.id)
    }

    /// Whether a run that ended like this has not recorded it: it has begun and left its note, or it has failed before
    /// it could begin.
    pub fn is_left(&self, exit: Exit) -> bool {
        let Some(path) = &self.path else { return !exit.success() };
        match fs::metadata(path) {
            Ok(found) => !exit.success() || found.len() > self.length,
            Err(error) => error.kind() != io::ErrorKind::NotFound && !exit.success(),
        }
    }
}

impl Drop for RunNote {
    fn drop(&mut self) {
        let _ = self.path.as_ref().map(fs::remove_file);
    }
}

/// The note as the run itself has it, or who records in its stead. There is no file when nobody has started the run who
/// would look.
#[derive(Debug, Clone, Default)]
pub struct OwnNote {
    id: String,
    path: Option<PathBuf>,
    lock: Option<Arc<Flock>>,
}

impl OwnNote {
    /// The one that this process was told of. Who was told of none has no note, but an id all the same.
    pub fn of(environment: &Environment) -> Self {
        let told = environment.plain(VARIABLE).ok().flatten().map(Self::parse);
        let told = told.filter(|told| !told.id.is_empty());
        told.unwrap_or_else(|| Self { id: new_id(), ..Self::default() })
    }

    /// Reads a path or an id. What is neither is no note: nothing else may be written to and removed.
    pub fn parse(text: &str) -> Self {
        let name = Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.strip_prefix(PREFIX).unwrap_or(name);
        let is_id = id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let path = Some(PathBuf::from(text)).filter(|path| path.is_absolute() && name != id);
        if is_id { Self { id: id.to_owned(), path, lock: None } } else { Self::default() }
    }

    /// What the run is called in the history.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The notes of runs of this backup directory that have died with who had started them, and what that was. They are
    /// held until they are dropped.
    pub fn orphans(directory: &Path) -> Vec<(Self, Started)> {
        let entries = fs::read_dir(env::temp_dir()).into_iter().flatten().flatten();
        let orphan = |path: PathBuf| {
            let note = Self::parse(path.to_str()?);
            let file = open(note.path.as_deref()?).ok()?;
            let is_ours = file.metadata().is_ok_and(|found| found.uid() == Uid::effective().as_raw());
            let lock = Some(Arc::new(Flock::try_lock(file).ok()?));
            // Another sweep may have been at it until now.
            let text = read(note.path.as_deref()?).ok().filter(|_| is_ours)?;
            let started: Started = serde_json::from_slice(text.split(|byte| *byte == b'\n').next()?).ok()?;
            (started.directory == directory).then_some((Self { lock, ..note }, started))
        };
        entries.filter_map(|entry| orphan(entry.path())).collect()
    }

    /// Writes down that the run has begun, and holds the note from now on.
    pub fn begin(&mut self) {
        self.write(b"\n");
        let opened = self.path.as_deref().map(open).and_then(Result::ok);
        self.lock = opened.and_then(|file| Flock::try_lock_shared(file).ok()).map(Arc::new);
    }

    /// Writes down how a database fared.
    pub fn add(&self, report: &DatabaseReport) {
        let mut line = serde_json::to_vec(report).unwrap_or_default();
        line.push(b'\n');
        self.write(&line);
    }

    /// Without room for it, those databases have failed in the record of a run that dies.
    fn write(&self, line: &[u8]) {
        let Some(path) = &self.path else { return };
        let opened = File::options().append(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path);
        if let Err(error) = opened.and_then(|mut file| file.write_all(line)) {
            log::debug!("cannot write to {}: {error}", path.display());
        }
    }

    /// The databases that the run had come to.
    pub fn read(&self) -> Vec<DatabaseReport> {
        let lines = self.path.as_deref().map(read).and_then(Result::ok).unwrap_or_default();
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Removes it: all has been recorded and told.
    pub fn remove(&self) {
        if let Some(path) = &self.path
            && let Err(error) = durable::remove_if_there(path)
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// A random id; "" where there is no chance to be had.
fn new_id() -> String {
    let mut bytes = [0; DIGITS / 2];
    match getrandom::fill(&mut bytes) {
        Ok(()) => hexadecimal(&bytes),
        Err(error) => {
            log::warn!("cannot create an id for the run: {error}");
            String::new()
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    File::options().read(true).custom_flags(flags.bits()).open(path)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Started {
        let directory = PathBuf::from(format!("/nowhere/{}", std::process::id()));
        Started { directory, start: 5, trigger: Trigger::Api, databases: vec!["a".into()] }
    }

    #[test]
    fn a_note_that_nobody_holds_is_one_of_the_dead() {
        let directory = started().directory.join("orphans");
        let started = Started { directory: directory.clone(), ..started() };
        let orphans = || OwnNote::orphans(&directory).len();
        let note = RunNote::make(&started);
        let mut own = OwnNote::parse(&note.text());
        own.begin();
        own.add(&DatabaseReport::failed("b", "x"));
        assert_eq!(orphans(), 0);
        let path = note.path.clone();
        // As if who had made it had been killed: the file stays.
        let kept = fs::read(path.as_ref().unwrap()).unwrap();
        drop(note);
        let path = path.unwrap();
        fs::write(&path, kept).unwrap();
        own.begin();
        assert_eq!(orphans(), 0, "the run goes on");
        drop(own);
        let found = OwnNote::orphans(&directory);
        assert_eq!((found.len(), &found[0].1, found[0].0.read().len()), (1, &started, 1));
        assert_eq!(orphans(), 0, "somebody is at it");
        found[0].0.remove();
        drop(found);
        assert_eq!(orphans(), 0);
    }

    #[test]
    fn a_note_that_is_left_tells_of_a_run_that_has_died() {
        let note = RunNote::make(&started());
        let path = note.path.clone().unwrap();
        assert!(note.is_left(Exit::Code(1)), "it failed before it could begin");
        assert!(!note.is_left(Exit::Code(0)), "a program that knows nothing of notes");
        let mut own = OwnNote::parse(path.to_str().unwrap());
        assert_eq!((own.id(), own.id().len()), (note.id.as_str(), DIGITS));
        own.begin();
        assert!(note.is_left(Exit::Code(0)), "a script that hides how its backup ended");
        let reports =
            [DatabaseReport::published("a", "last/a".into(), 1), DatabaseReport::failed("b", "x\ny")];
        reports.iter().for_each(|report| own.add(report));
        fs::write(&path, [fs::read(&path).unwrap().as_slice(), b"{\"name\":"].concat()).unwrap();
        assert_eq!(own.read(), reports);
        own.remove();
        assert!([0, 1, 137].iter().all(|code| !note.is_left(Exit::Code(*code))));
        own.add(&reports[0]);
        assert!(!path.exists(), "what is recorded stays recorded");
    }

    #[test]
    fn only_a_note_is_written_to_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("backupgram-run-other");
        fs::write(&other, "").unwrap();
        for text in ["", "/", "x", "0123456789abcdefg", other.to_str().unwrap()] {
            let mut own = OwnNote::parse(text);
            own.begin();
            own.remove();
            assert_eq!(own.id(), "", "{text}");
        }
        assert_eq!(fs::read(&other).unwrap(), b"");
        let bare = OwnNote::parse("0123456789abcdef");
        assert_eq!((bare.id(), &bare.path), ("0123456789abcdef", &None));
    }

    #[test]
    fn a_note_goes_with_who_made_it() {
        let note = RunNote::make(&started());
        let path = note.path.clone().unwrap();
        assert!(path.exists());
        drop(note);
        assert!(!path.exists());
    }
}
