//! `.history.jsonl` in the backup directory: the last runs, one JSON object a line, the newest last.
//!
//! A line that a crash tore is left alone and skipped; the next run begins a line of its own.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

use memchr::memmem;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::backup::{DatabaseReport, DeliveryReport, Outcome, Report};
use crate::catalog::BackupDirectory;
use crate::{durable, mutex};

const FILE_NAME: &str = ".history.jsonl";
/// Runs that are remembered.
pub const REMEMBERED: usize = 1000;
/// Runs past that number after which the file is shortened.
const SLACK: usize = 100;

/// Who asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Somebody over HTTP.
    Api,
    /// The scheduler.
    Schedule,
    /// Somebody on the command line.
    Cli,
}

impl Trigger {
    /// The variable by which the daemon and the scheduler tell the programs that they start.
    pub const VARIABLE: &'static str = "BACKUPGRAM_TRIGGER";

    /// The word for it in that variable.
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Schedule => "schedule",
            Self::Cli => "cli",
        }
    }

    /// The trigger of that word; without one, the command line.
    pub fn of_word(word: Option<&str>) -> Self {
        [Self::Api, Self::Schedule]
            .into_iter()
            .find(|trigger| Some(trigger.word()) == word)
            .unwrap_or(Self::Cli)
    }
}

/// One run. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it began.
    pub start: i64,
    /// When it ended.
    pub end: i64,
    /// Who asked for it.
    pub trigger: Trigger,
    /// How it went.
    pub result: Outcome,
    /// Each database.
    pub databases: Vec<DatabaseReport>,
    /// Why the whole run failed; "" when single databases did, or none.
    pub error: String,
    /// How its copies fared, where there were to be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryReport>,
}

impl Run {
    /// A run that has a report.
    pub fn of_report(start: i64, trigger: Trigger, report: &Report) -> Self {
        Self {
            start,
            end: report.timestamp,
            trigger,
            result: report.status,
            databases: report.databases.clone(),
            error: report.error.clone(),
            delivery: report.delivery.clone(),
        }
    }
}

/// Adds a run.
///
/// # Errors
/// When the file cannot be written.
pub fn append(directory: &BackupDirectory, run: &Run) -> io::Result<()> {
    let path = directory.root().join(FILE_NAME);
    let mut file = lock(&path)?;
    let mut line = serde_json::to_vec(run)?;
    line.push(b'\n');
    if ends_torn(&mut file)? {
        line.insert(0, b'\n');
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(&line)?;
    file.sync_data()?;
    shorten(&path, &mut file)
}

/// Adds how its delivery fared to a run that is there. One that a newer thousand has pushed out is let go.
///
/// # Errors
/// When the file cannot be read or written.
pub fn amend(directory: &BackupDirectory, run: &Run) -> io::Result<()> {
    let path = directory.root().join(FILE_NAME);
    let mut file = lock(&path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let before = serde_json::to_vec(&Run { delivery: None, ..run.clone() })?;
    let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let Some(line) = lines.iter_mut().rfind(|line| **line == before) else { return Ok(()) };
    *line = serde_json::to_vec(run)?;
    durable::replace_file(directory.root(), &path, &lines.join(&b'\n'), 0o644)
}

/// The newest runs, the newest first, at most `limit`.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn newest(directory: &BackupDirectory, limit: usize) -> io::Result<Vec<Run>> {
    let bytes = match fs::read(directory.root().join(FILE_NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = bytes.split(|byte| *byte == b'\n').rev();
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).take(limit.min(REMEMBERED)).collect())
}

/// Counts the failed runs of a history: at first those that the file holds, then those that are added. It never falls,
/// though the file forgets the oldest.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    failed: u64,
    /// The bytes of the file up to here have been counted.
    length: usize,
    /// The last of these runs, by which the place is found again in a file that was shortened or amended.
    last: Vec<u8>,
}

impl Failures {
    /// How many there were until now.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn count(&self, directory: &BackupDirectory) -> io::Result<u64> {
        let mut counted = mutex::lock(&self.0);
        match fs::read(directory.root().join(FILE_NAME)) {
            Ok(bytes) => counted.follow(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(counted.failed)
    }
}

impl Counted {
    fn follow(&mut self, bytes: &[u8]) {
        // What has no end yet is being written, or torn.
        let whole = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        let bytes = &bytes[..whole];
        let known = bytes.get(..self.length).and_then(|known| known.split_inclusive(is_end).next_back());
        let has_grown = known.is_some_and(|line| line.ends_with(b"\n") && identity(line) == self.last);
        let new = if has_grown { self.length } else { self.find_place(bytes) };
        for line in bytes[new..].split_inclusive(is_end) {
            let run = serde_json::from_slice::<Run>(line);
            self.failed += u64::from(run.is_ok_and(|run| run.result == Outcome::Failed));
            self.last = identity(line).to_owned();
        }
        self.length = whole;
    }

    /// Where what has not been counted begins in a file that has changed.
    fn find_place(&self, bytes: &[u8]) -> usize {
        let last = memmem::rfind(bytes, &self.last).filter(|_| !self.last.is_empty());
        last.map_or(0, |at| at + bytes[at..].iter().position(is_end).map_or(0, |length| length + 1))
    }
}

fn is_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// What stays of a line when a delivery is added to its run, which goes to the end.
fn identity(line: &[u8]) -> &[u8] {
    match memmem::rfind(line, br#","delivery":{"#) {
        Some(at) => &line[..at],
        None => line.strip_suffix(b"}\n").unwrap_or(line),
    }
}

/// Opens the file under a lock of its own: a run that finds the directory busy is written down, too.
fn lock(path: &Path) -> io::Result<Flock<File>> {
    loop {
        let file = durable::open_or_create(path)?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        // It may have been shortened, and so replaced, while we waited.
        if fs::metadata(path).is_ok_and(|now| locked.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
            return Ok(locked);
        }
    }
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn shorten(path: &Path, file: &mut File) -> io::Result<()> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.len() <= REMEMBERED + SLACK {
        return Ok(());
    }
    let kept = lines[lines.len() - REMEMBERED..].concat();
    durable::replace_file(path.parent().unwrap_or(path), path, &kept, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: i64) -> Run {
        let report = Report::of_run(std::time::Instant::now(), Vec::new(), &[], Some("no reason".into()));
        Run::of_report(start, Trigger::Cli, &Report { timestamp: start + 1, ..report })
    }

    #[test]
    fn the_newest_run_comes_first_and_a_torn_line_harms_no_other() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        assert_eq!(newest(&directory, 10).unwrap(), []);
        append(&directory, &run(1)).unwrap();
        let path = root.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [whole.as_slice(), &whole[..20]].concat()).unwrap();
        assert_eq!(newest(&directory, 10).unwrap(), [run(1)]);
        append(&directory, &run(3)).unwrap();
        assert_eq!(newest(&directory, 10).unwrap(), [run(3), run(1)]);
        assert_eq!(newest(&directory, 1).unwrap(), [run(3)]);
    }

    #[test]
    fn a_delivery_is_added_to_its_run_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        [1, 2, 3].iter().for_each(|start| append(&directory, &run(*start)).unwrap());
        let amended = Run { delivery: Some(DeliveryReport::of(&[])), ..run(2) };
        amend(&directory, &amended).unwrap();
        amend(&directory, &Run { delivery: amended.delivery.clone(), ..run(4) }).unwrap();
        append(&directory, &run(5)).unwrap();
        assert_eq!(newest(&directory, 10).unwrap(), [run(5), run(3), amended, run(1)]);
    }

    #[test]
    fn only_the_last_thousand_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let line = |start| serde_json::to_string(&run(start)).unwrap() + "\n";
        let full: String = (0..1100).map(line).collect();
        fs::write(root.path().join(FILE_NAME), full).unwrap();
        append(&directory, &run(1100)).unwrap();
        let text = fs::read_to_string(root.path().join(FILE_NAME)).unwrap();
        assert_eq!(text.lines().count(), REMEMBERED);
        assert_eq!(newest(&directory, 5000).unwrap().len(), REMEMBERED);
        assert_eq!(newest(&directory, 1).unwrap(), [run(1100)]);
    }

    #[test]
    fn failed_runs_are_counted_once_each_and_are_not_forgotten_with_the_file() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let path = root.path().join(FILE_NAME);
        let failures = Failures::default();
        let count = || failures.count(&directory).unwrap();
        assert_eq!(count(), 0);
        // The same run twice is two.
        for expected in [1, 2] {
            append(&directory, &run(1)).unwrap();
            assert_eq!((count(), count()), (expected, expected));
        }
        // A delivery that is added later makes no other run of it, and hides none that came meanwhile.
        let delivery = Some(DeliveryReport::of(&["no".into()]));
        amend(&directory, &Run { delivery, ..run(1) }).unwrap();
        assert_eq!(count(), 2);
        append(&directory, &Run { result: Outcome::Ok, ..run(2) }).unwrap();
        assert_eq!(count(), 2);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{{\"start\":")).unwrap();
        assert_eq!(count(), 2);
        // Shortened, with what had been counted last still in it.
        let line = |start| serde_json::to_string(&run(start)).unwrap() + "\n";
        let (_, kept) = text.split_once('\n').unwrap();
        fs::write(&path, format!("{kept}{}", line(3))).unwrap();
        assert_eq!(count(), 3);
        // Without it all of them are new; a file that is gone brings nothing.
        fs::write(&path, format!("{}{}", line(4), line(5))).unwrap();
        assert_eq!(count(), 5);
        fs::remove_file(&path).unwrap();
        assert_eq!(count(), 5);
        append(&directory, &run(6)).unwrap();
        assert_eq!(count(), 6);
    }
}
