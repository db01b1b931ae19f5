//! Counts the failed runs of a server.

use std::io;
use std::sync::Mutex;

use memchr::memmem;

use super::file::{LONGEST, end, is_end, open};
use super::run::Run;
use crate::store::catalog::BackupDirectory;
use crate::store::records::Outcome;
use crate::util::mutex;

/// Counts the failed runs of a server: first those in the history file, then those added to it. The count never falls,
/// although the file drops its oldest lines.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    failed: u64,
    /// Length of the part of the file already counted, in bytes.
    length: usize,
    /// Identity of the last counted line, to find the position again after the file was shortened or amended.
    last: Vec<u8>,
    /// Whether that run failed. A run that died may be marked as failed only after it was recorded.
    last_failed: bool,
}

impl Failures {
    /// The number of failed runs so far.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn count(&self, directory: &BackupDirectory, server: Option<&str>) -> io::Result<u64> {
        let mut counted = mutex::lock(&self.0);
        if let Some(file) = open(directory)? {
            if file.metadata()?.len() > LONGEST {
                // Only the tail is read, so the position must be found by its last line.
                counted.length = usize::MAX;
            }
            counted.follow(&end(&file)?, server);
        }
        Ok(counted.failed)
    }
}

impl Counted {
    fn follow(&mut self, bytes: &[u8], server: Option<&str>) {
        // A last line without a newline is still being written, or torn.
        let whole = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        let bytes = &bytes[..whole];
        let known = bytes.get(..self.length).and_then(|known| known.split_inclusive(is_end).next_back());
        let has_grown = known.is_some_and(|line| line.ends_with(b"\n") && identity(line) == self.last);
        let new = if has_grown { self.length } else { self.find_place(bytes, server) };
        for line in bytes[new..].split_inclusive(is_end) {
            self.last_failed = has_failed(line, server);
            self.failed += u64::from(self.last_failed);
            self.last = identity(line).to_owned();
        }
        self.length = whole;
    }

    /// The offset of the first uncounted line in a file that was changed.
    fn find_place(&mut self, bytes: &[u8], server: Option<&str>) -> usize {
        let last = memmem::rfind(bytes, &self.last).filter(|_| !self.last.is_empty());
        let Some(at) = last else { return 0 };
        let begin = memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |at| at + 1);
        let end = at + bytes[at..].iter().position(is_end).map_or(0, |length| length + 1);
        if !self.last_failed && has_failed(&bytes[begin..end], server) {
            self.last_failed = true;
            self.failed += 1;
        }
        end
    }
}

fn has_failed(line: &[u8], server: Option<&str>) -> bool {
    let has_failed = |run: Run| run.result == Outcome::Failed && run.is_of(server);
    serde_json::from_slice::<Run>(line).is_ok_and(has_failed)
}

/// The part of a line that stays when the run amends it: its id. No JSON string can contain these quotes unescaped.
/// Lines of older versions have no id and are never amended.
fn identity(line: &[u8]) -> &[u8] {
    const ID: &[u8] = br#","id":""#;
    if let Some(at) = memmem::rfind(line, ID) {
        let length = memchr::memchr(b'"', &line[at + ID.len()..]).unwrap_or_default();
        return &line[at..=at + ID.len() + length];
    }
    line
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::run;
    use super::super::{FILE_NAME, append, put};
    use super::*;
    use crate::store::records::DeliveryReport;

    #[test]
    fn failed_runs_are_counted_once_each_and_are_not_forgotten_with_the_file() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let path = root.path().join(FILE_NAME);
        let failures = Failures::default();
        let count = || failures.count(&directory, Some("a:1")).unwrap();
        assert_eq!(count(), 0);
        // Two identical lines are two runs.
        for expected in [1, 2] {
            append(&directory, &run(1)).unwrap();
            assert_eq!((count(), count()), (expected, expected));
        }
        // Amending a run does not count it again, nor hide runs added meanwhile.
        let delivery = Some(DeliveryReport::of(&["no".into()]));
        let of = |result| Run { id: "aa".into(), result, ..run(1) };
        put(&directory, &of(Outcome::Ok)).unwrap();
        assert_eq!(count(), 2);
        put(&directory, &of(Outcome::Failed)).unwrap();
        assert_eq!(count(), 3);
        put(&directory, &Run { delivery, ..of(Outcome::Failed) }).unwrap();
        assert_eq!(count(), 3);
        append(&directory, &Run { result: Outcome::Ok, ..run(2) }).unwrap();
        assert_eq!(count(), 3);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{{\"start\":")).unwrap();
        assert_eq!(count(), 3);
        // Shortened, but still with the last counted line.
        let line = |start| serde_json::to_string(&run(start)).unwrap() + "\n";
        let (_, kept) = text.split_once('\n').unwrap();
        fs::write(&path, format!("{kept}{}", line(3))).unwrap();
        assert_eq!(count(), 4);
        // Without that line all runs are new; a missing file adds none.
        fs::write(&path, format!("{}{}", line(4), line(5))).unwrap();
        assert_eq!(count(), 6);
        fs::remove_file(&path).unwrap();
        assert_eq!(count(), 6);
        append(&directory, &run(6)).unwrap();
        assert_eq!(count(), 7);
        // Runs of another server are not counted.
        append(&directory, &Run { server: "b:1".into(), ..run(7) }).unwrap();
        append(&directory, &Run { server: "a:1".into(), ..run(8) }).unwrap();
        assert_eq!(count(), 8);
    }
}
