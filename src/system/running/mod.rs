//! `.run-….json` in the backup directory: a backup run that goes on, and what it does.
//!
//! A run holds a lock on its own, so whether it lives can be told in another container, where a process id says nothing.
//! It is there from the first moment of a run to its last, also when the run waits for the directory's lock, or has given
//! it back. It is written over in place, as the lock is on the file; its length stays, so that it needs no space later.

mod watch;

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::records::history::Trigger;
use crate::util::durable;
use crate::util::flock;

pub use watch::{Watch, as_hours};

const PREFIX: &str = ".run-";
const SUFFIX: &str = ".json";
/// Bytes of a note.
const LENGTH: usize = 4096;
/// Characters of what a run does.
const LONGEST_TEXT: usize = 800;
/// No more notes are read.
const MOST: usize = 100;

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process id, where it runs.
    pub pid: u32,
    /// When it began, in Unix seconds.
    pub start: i64,
    /// Who asked for it.
    pub trigger: Trigger,
    /// The server that it is about, as `host:port` of the settings.
    #[serde(default)]
    pub server: String,
    /// What it does at present, and what it waits for if that is known.
    pub doing: String,
}

/// The note of a run, which is gone when this is dropped.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    file: File,
    start: i64,
    trigger: Trigger,
    server: String,
}

impl Note {
    /// Writes one for this process, and removes those of runs that are gone.
    ///
    /// # Errors
    /// When the directory does not take it.
    pub fn write(directory: &Path, start: i64, trigger: Trigger, server: &str) -> io::Result<Self> {
        sweep(directory);
        loop {
            let mut named = tempfile::Builder::new();
            named.prefix(PREFIX).suffix(SUFFIX).permissions(Permissions::from_mode(0o644));
            let named = named.tempfile_in(directory)?;
            if !flock::lock_new(named.path(), named.as_file())? {
                continue;
            }
            let (file, path) = named.keep().map_err(|error| error.error)?;
            // From here on it is removed whatever happens.
            let note = Self { path, file, start, trigger, server: server.to_owned() };
            note.update("beginning")?;
            return Ok(note);
        }
    }

    /// Writes down what the run does now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update(&self, doing: &str) -> io::Result<()> {
        let (start, trigger, server) = (self.start, self.trigger, self.server.clone());
        let running = Running { pid: std::process::id(), start, trigger, server, doing: on_one_line(doing) };
        let mut text = serde_json::to_vec(&running)?;
        text.resize(LENGTH, b' ');
        self.file.write_all_at(&text, 0)
    }

    /// Removes it, as the run has ended. Whoever comes next removes what stays.
    pub fn remove(&self) {
        let _ = durable::remove_if_there(&self.path);
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The runs that go on in a backup directory, in whatever container.
pub fn list(directory: &Path) -> Vec<Running> {
    let mut found: Vec<Running> = notes(directory).iter().filter_map(|path| read(path)).collect();
    found.sort_by_key(|running| running.start);
    found
}

impl Running {
    /// When it began.
    pub fn began(&self) -> Timestamp {
        Timestamp::from_second(self.start).unwrap_or_default()
    }
}

fn notes(directory: &Path) -> Vec<PathBuf> {
    let is_note = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_note));
    names.map(|entry| entry.path()).take(MOST).collect()
}

fn open(path: &Path) -> Option<File> {
    // A pipe or a device is opened without waiting, and then left alone.
    let file = durable::open_to_read(path).ok()?;
    file.metadata().is_ok_and(|found| found.is_file()).then_some(file)
}

/// The run whose note it is, if that lives.
fn read(path: &Path) -> Option<Running> {
    let file = open(path)?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        _ => return None,
    }
    let mut text = Vec::new();
    (&file).take(LENGTH as u64).read_to_end(&mut text).ok()?;
    let running: Running = serde_json::from_slice(&text).ok()?;
    Some(Running { doing: on_one_line(&running.doing), ..running })
}

/// Removes the notes of runs that are gone. What cannot be removed stays.
fn sweep(directory: &Path) {
    for path in notes(directory) {
        // The lock is kept until it is removed.
        if open(&path).is_some_and(|file| file.try_lock().is_ok() && fs::remove_file(&path).is_ok()) {
            log::debug!("removed {}, left by a run that has ended", path.display());
        }
    }
}

/// As much of a text as a line of a message takes. A name in it may hold anything.
fn on_one_line(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_run_is_seen_from_its_first_moment_to_its_last() {
        let root = tempfile::tempdir().unwrap();
        let note = Note::write(root.path(), 7, Trigger::Api, "a:1").unwrap();
        let seen = list(root.path());
        assert_eq!((seen.len(), seen[0].start, seen[0].trigger), (1, 7, Trigger::Api));
        note.update(&format!("pre-backup hook a\u{1b}[31m\n{}", "x".repeat(5000))).unwrap();
        let seen = list(root.path());
        assert!(seen[0].doing.starts_with("pre-backup hook a [31m xxx"), "{seen:?}");
        note.update("b").unwrap();
        assert_eq!(list(root.path())[0].doing, "b");
        let other = Note::write(root.path(), 3, Trigger::Schedule, "a:1").unwrap();
        assert_eq!(list(root.path()).iter().map(|run| run.start).collect::<Vec<_>>(), [3, 7]);
        drop((note, other));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_note_of_a_living_run_counts_for_nothing_and_goes_with_the_next_run() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let left = r#"{"pid":1,"start":1,"trigger":"cli","doing":"x"}"#;
        fs::write(path(".run-left.json"), left).unwrap();
        fs::write(path(".run-other"), left).unwrap();
        fs::write(path("target"), left).unwrap();
        symlink(path("target"), path(".run-link.json")).unwrap();
        nix::unistd::mkfifo(&path(".run-pipe.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(list(root.path()), []);
        // Held, but without sense.
        fs::write(path(".run-odd.json"), "{").unwrap();
        let held = File::open(path(".run-odd.json")).unwrap();
        held.lock().unwrap();
        assert_eq!(list(root.path()), []);
        let note = Note::write(root.path(), 7, Trigger::Cli, "a:1").unwrap();
        assert_eq!(list(root.path()).len(), 1);
        assert!(!path(".run-left.json").exists() && path(".run-odd.json").exists());
        assert!(path("target").exists() && path(".run-pipe.json").exists());
        drop(note);
    }
}
