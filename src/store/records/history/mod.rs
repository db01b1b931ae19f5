//! `.history.jsonl` in the backup directory: the latest runs, one JSON object per line, newest last.
//!
//! A line torn by a crash is skipped; the next run starts a new line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::store::catalog::BackupDirectory;
use crate::util::durable;

mod file;
mod newest;
mod run;

use file::{FILE_NAME, LONGEST, end, is_end, lock, open};
pub use newest::newest_of;
pub use run::{Run, Trigger};

/// Number of runs kept.
pub const REMEMBERED: usize = 1000;
/// The file is shortened when it has this many more.
const SLACK: usize = 100;
/// Records a run, replacing its earlier line with the same id if there is one. So a run keeps a single line when its
/// delivery is reported later, or it fails after all.
///
/// # Errors
/// When the file cannot be read or written.
pub fn put(directory: &BackupDirectory, run: &Run) -> io::Result<()> {
    match !run.id.is_empty() && replace(directory, run)? {
        true => Ok(()),
        false => append(directory, run),
    }
}

fn append(directory: &BackupDirectory, run: &Run) -> io::Result<()> {
    let path = directory.root().join(FILE_NAME);
    let mut file = lock(&path)?;
    let mut line = serde_json::to_vec(run)?;
    line.push(b'\n');
    if durable::has_other_names(&file) {
        // Another hard link may be a file outside this directory, so write a new file instead.
        let mut text = end(&file)?;
        text.extend_from_slice(if text.ends_with(b"\n") || text.is_empty() { b"" } else { b"\n" });
        text.append(&mut line);
        return durable::replace_file(directory.root(), &path, &text, 0o644);
    }
    if ends_torn(&mut file)? {
        line.insert(0, b'\n');
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(&line)?;
    file.sync_data()?;
    shorten(&path, &file)
}

/// The run with this id, if it is recorded.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn find(directory: &BackupDirectory, id: &str) -> io::Result<Option<Run>> {
    let bytes = read(directory)?;
    Ok(bytes.split(is_end).rev().find_map(|line| of_id(line, id)))
}

fn of_id(line: &[u8], id: &str) -> Option<Run> {
    // Avoids parsing most lines.
    memchr::memmem::find(line, id.as_bytes()).filter(|_| !id.is_empty())?;
    let run: Run = serde_json::from_slice(line).ok()?;
    (run.id == id).then_some(run)
}

fn read(directory: &BackupDirectory) -> io::Result<Vec<u8>> {
    open(directory)?.map_or(Ok(Vec::new()), |file| end(&file))
}

/// Replaces the line with the id of this run. Returns whether there was one.
fn replace(directory: &BackupDirectory, run: &Run) -> io::Result<bool> {
    let path = directory.root().join(FILE_NAME);
    let file = lock(&path)?;
    let text = end(&file)?;
    let mut lines: Vec<Vec<u8>> = text.split(is_end).map(<[u8]>::to_vec).collect();
    let Some(line) = lines.iter_mut().rfind(|line| of_id(line, &run.id).is_some()) else { return Ok(false) };
    *line = serde_json::to_vec(run)?;
    durable::replace_file(directory.root(), &path, &lines.join(&b'\n'), 0o644).map(|()| true)
}

/// The newest runs, newest first, at most `limit`.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn newest(directory: &BackupDirectory, limit: usize) -> io::Result<Vec<Run>> {
    let bytes = read(directory)?;
    let runs = bytes.split(is_end).rev().filter_map(|line| serde_json::from_slice::<Run>(line).ok());
    Ok(runs.take(limit.min(REMEMBERED)).map(|run| Run { id: String::new(), ..run }).collect())
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

fn shorten(path: &Path, file: &File) -> io::Result<()> {
    let text = end(file)?;
    let lines: Vec<&[u8]> = text.split_inclusive(is_end).collect();
    if lines.len() <= REMEMBERED + SLACK && file.metadata()?.len() <= LONGEST {
        return Ok(());
    }
    let kept = lines[lines.len().saturating_sub(REMEMBERED)..].concat();
    durable::replace_file(path.parent().unwrap_or(path), path, &kept, 0o644)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::time::Duration;

    use super::file::lock_within;
    use super::*;
    use crate::store::records::{DeliveryReport, Outcome, Report};
    use crate::util::flock::Flock;

    pub fn run(start: i64) -> Run {
        let report = Report::of_run(std::time::Instant::now(), Vec::new(), &[], Some("no reason".into()));
        Run::of_report(start, Trigger::Cli, &Report { timestamp: start + 1, duration_seconds: 1.0, ..report })
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
        let newest = |limit| newest(&directory, limit).unwrap();
        assert_eq!((newest(10), newest(1)), (vec![run(3), run(1)], vec![run(3)]));
    }

    #[test]
    fn who_keeps_the_lock_holds_nobody_up_for_ever() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(FILE_NAME);
        let open = || durable::open_or_create(&path).unwrap();
        let held = Flock::try_lock(open()).unwrap();
        let error = lock_within(Duration::ZERO, open()).unwrap_err();
        assert!(error.to_string().contains("another program has locked it"), "{error}");
        drop(held);
        lock_within(Duration::ZERO, open()).unwrap();
    }

    #[test]
    fn what_a_run_says_later_takes_the_place_of_what_it_has_said_of_itself_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let of = |start: i64| Run { id: format!("{start:016}"), ..run(start) };
        [1, 2, 3].iter().for_each(|start| put(&directory, &of(*start)).unwrap());
        let amended = Run { delivery: Some(DeliveryReport::of(&[])), ..of(2) };
        put(&directory, &amended).unwrap();
        // Two lines of an older version, without ids.
        [0, 0].iter().for_each(|start| put(&directory, &run(*start)).unwrap());
        put(&directory, &of(5)).unwrap();
        put(&directory, &Run { result: Outcome::Ok, ..amended.clone() }).unwrap();
        let expected = [
            run(5),
            run(0),
            run(0),
            run(3),
            Run { result: Outcome::Ok, id: String::new(), ..amended },
            run(1),
        ];
        assert_eq!(newest(&directory, 10).unwrap(), expected);
    }

    #[test]
    fn a_history_beyond_all_measure_costs_little_and_is_short_again_after_the_next_run() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let path = root.path().join(FILE_NAME);
        append(&directory, &run(1)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1 << 41).unwrap();
        assert_eq!(newest(&directory, 10).unwrap(), []);
        append(&directory, &run(2)).unwrap();
        assert_eq!(newest(&directory, 10).unwrap(), [run(2)]);
        assert!(fs::metadata(&path).unwrap().len() < 1000);
    }

    #[test]
    fn what_has_a_further_name_elsewhere_is_not_written_into() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir_in(root.path()).unwrap();
        let (path, other) = (root.path().join(FILE_NAME), elsewhere.path().join("precious"));
        for text in ["not ours, and without an end", "", "a line\n"] {
            fs::write(&other, text).unwrap();
            let _ = fs::remove_file(&path);
            fs::hard_link(&other, &path).unwrap();
            let directory = BackupDirectory::new(root.path());
            [1, 2].iter().for_each(|start| append(&directory, &run(*start)).unwrap());
            assert_eq!(fs::read_to_string(&other).unwrap(), text);
            assert_eq!(newest(&directory, 10).unwrap(), [run(2), run(1)]);
        }
    }

    #[test]
    fn a_run_is_found_by_its_id_and_put_in_its_own_place() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let of = |start, id: &str, result| Run { id: id.into(), result, ..run(start) };
        assert_eq!(find(&directory, "aa").unwrap(), None);
        for (start, id) in [(1, "aa"), (2, ""), (3, "bb")] {
            append(&directory, &of(start, id, Outcome::Ok)).unwrap();
        }
        assert_eq!(find(&directory, "").unwrap(), None);
        assert_eq!(find(&directory, "aa").unwrap(), Some(of(1, "aa", Outcome::Ok)));
        // The run has died after it was recorded.
        put(&directory, &of(3, "bb", Outcome::Failed)).unwrap();
        put(&directory, &of(4, "cc", Outcome::Failed)).unwrap();
        let delivery = Some(DeliveryReport::of(&[]));
        put(&directory, &Run { delivery, ..of(4, "cc", Outcome::Failed) }).unwrap();
        let starts: Vec<_> =
            newest(&directory, 9).unwrap().iter().map(|run| (run.start, run.result)).collect();
        assert_eq!(starts, [(4, Outcome::Failed), (3, Outcome::Failed), (2, Outcome::Ok), (1, Outcome::Ok)]);
        assert!(newest(&directory, 9).unwrap().iter().all(|run| run.id.is_empty()), "nobody else looks");
    }

    #[test]
    fn only_the_last_thousand_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let line = |start| serde_json::to_string(&run(start)).unwrap() + "\n";
        let full: String = (0..1100).map(line).collect();
        fs::write(root.path().join(FILE_NAME), full).unwrap();
        append(&directory, &run(1100)).unwrap();
        assert_eq!(fs::read(root.path().join(FILE_NAME)).unwrap().split(is_end).count(), REMEMBERED + 1);
        assert_eq!(newest(&directory, 5000).unwrap().len(), REMEMBERED);
        assert_eq!(newest(&directory, 1).unwrap(), [run(1100)]);
    }
}
