//! `.status.json` in the backup directory: the last result per server. It outlives the container.
//!
//! The latest run is at the top level, as third-party readers expect; the last runs of other servers are in
//! `other_servers`. Space for it is reserved on the volume. If it still cannot be written, as on a read-only volume,
//! it goes to the fallback, which every reader of ours checks too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::catalog::BackupDirectory;
use crate::store::fallback;
use crate::store::record_file;
use crate::store::records::{Outcome, Report};
use crate::util::durable;
use crate::util::flock::Flock;
use crate::util::spare;

/// Its file name, on the volume and in the fallback.
pub(crate) const FILE_NAME: &str = ".status.json";
/// The spare file that reserves space for the next result.
const SPARE_NAME: &str = ".status.spare";
/// Minimum size of the spare in bytes: the report of about 100 databases.
const LEAST_SPARE: u64 = 32 << 10;
/// Size of the spare in bytes when there is no space for more.
const SMALL_SPARE: u64 = 8 << 10;
/// Maximum number of other servers kept.
const OTHERS: usize = 8;
/// How long to wait for another writer, which only reads and writes one file.
const PATIENCE: Duration = Duration::from_secs(5);

/// Failed runs that are known by their ids as counted.
const COUNTED: usize = 4;

/// Contents of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    /// The latest run, of any server.
    #[serde(flatten)]
    last: Last,
    /// The last runs of other servers, by `host:port`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    other_servers: BTreeMap<String, Last>,
}

/// The record of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Last {
    /// The report of its last run.
    #[serde(flatten)]
    report: Report,
    /// How many of its runs have failed.
    #[serde(default)]
    failed_runs: u64,
    /// The ids of the last ones of these: a run may report several times that it has failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counted: Vec<String>,
}

impl Last {
    /// This report of the run with this id, after what was kept before.
    fn of(report: Report, id: &str, earlier: Option<&Self>) -> Self {
        let (mut failed_runs, mut counted) =
            earlier.map_or((0, Vec::new()), |earlier| (earlier.failed_runs, earlier.counted.clone()));
        if report.status == Outcome::Failed && !counted.iter().any(|known| known == id) {
            failed_runs += 1;
            counted.push(id.to_owned());
            counted.drain(..counted.len().saturating_sub(COUNTED));
        }
        Self { report, failed_runs, counted }
    }
}

impl Kept {
    /// The last run of this server; the latest of any for `None`. A run without a server counts for all.
    fn of(&self, server: Option<&str>) -> Option<&Last> {
        match server {
            Some(server) if !self.last.report.is_of(Some(server)) => self.other_servers.get(server),
            _ => Some(&self.last),
        }
    }

    /// The contents after adding this report.
    fn with(newest: Last, earlier: Option<Self>) -> Self {
        let mut others = BTreeMap::new();
        if let Some(Self { last, other_servers }) = earlier {
            others = other_servers;
            if !last.report.server.is_empty() {
                others.insert(last.report.server.clone(), last);
            }
            others.remove(&newest.report.server);
        }
        while others.len() > OTHERS {
            let oldest = others.iter().min_by_key(|(_, last)| last.report.timestamp);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { break };
            others.remove(&name);
        }
        Self { last: newest, other_servers: others }
    }
}

/// Writes a report of the run with this id, and counts the run if it has failed. If the run was `limited` to some
/// databases, earlier results of the others are kept, so that a success does not hide another failure.
///
/// # Errors
/// When neither the volume nor the fallback can be written to; the old report is unchanged.
pub fn write(directory: &BackupDirectory, report: &Report, id: &str, limited: bool) -> io::Result<()> {
    let _turn = take_turn(directory.root());
    let server = Some(report.server.as_str()).filter(|server| !server.is_empty());
    let place = fallback_file(directory.root());
    let earlier = load(&directory.root().join(FILE_NAME)).ok().flatten();
    let missed = place.as_ref().and_then(|place| load(place).ok().flatten());
    let of = |kept: &Option<Kept>| kept.as_ref().and_then(|kept| kept.of(server)).cloned();
    let before = newer(of(&earlier), of(&missed));
    let mut newest = Last::of(report.clone(), id, before.as_ref());
    if let (true, Some(before)) = (limited, before) {
        newest.report.complete_from(before.report);
    }
    let mut text = serde_json::to_vec_pretty(&Kept::with(newest, joined(earlier, missed)))?;
    text.push(b'\n');
    let Err(error) = write_to_volume(directory.root(), &text) else {
        // Remove what was written to the fallback while the volume was not writable.
        if let Some(Err(error)) = place.map(|place| durable::remove_if_there(&place)) {
            log::warn!("cannot remove an outdated result below TMPDIR: {error}");
        }
        return Ok(());
    };
    let fallback = fallback::create(directory.root());
    let written = fallback
        .ok()
        .map(|place| durable::replace_file(&place, &place.join(FILE_NAME), &text, 0o644).map(|()| place));
    match written {
        Some(Ok(place)) => {
            let (root, place) = (directory.root().display(), place.display());
            // An unwritable directory has already been logged.
            if directory.is_writable() {
                log::warn!("cannot write the result of this run to {root} ({error}): it is in {place}");
            }
            Ok(())
        }
        _ => Err(error),
    }
}

/// Writes a new file, or else fills the spare; then reserves a spare for the next time.
fn write_to_volume(root: &Path, text: &[u8]) -> io::Result<()> {
    let (target, kept_free) = (root.join(FILE_NAME), root.join(SPARE_NAME));
    let written = durable::replace_file(root, &target, text, 0o644)
        .or_else(|error| spare::replace_file(&kept_free, &target, text, 0o644).map_err(|_| error));
    let wanted = (2 * text.len() as u64).next_multiple_of(4096).max(LEAST_SPARE);
    // The space just freed should suffice for a small one. Some file systems free it later, so this may still fail.
    let least = (text.len() as u64).next_multiple_of(SMALL_SPARE);
    let _ = spare::reserve(&kept_free, wanted).or_else(|_| spare::reserve(&kept_free, least));
    written
}

/// Reserves space on the volume for the result of a run, if there is any.
pub fn reserve(directory: &BackupDirectory) {
    let kept_free = directory.root().join(SPARE_NAME);
    let reserved =
        spare::reserve(&kept_free, LEAST_SPARE).or_else(|_| spare::reserve(&kept_free, SMALL_SPARE));
    if let Err(error) = reserved {
        log::debug!("cannot reserve room for the result of a run: {error}");
    }
}

/// The last report of this server, or of any for `None`; `None` before the first run.
///
/// # Errors
/// When it exists and cannot be read.
pub fn read(directory: &BackupDirectory, server: Option<&str>) -> io::Result<Option<Report>> {
    Ok(last(directory, server)?.map(|last| last.report))
}

/// How many runs of this server have failed since its record was begun.
///
/// # Errors
/// When it is there and cannot be read.
pub fn failed_runs(directory: &BackupDirectory, server: Option<&str>) -> io::Result<u64> {
    Ok(last(directory, server)?.map_or(0, |last| last.failed_runs))
}

fn last(directory: &BackupDirectory, server: Option<&str>) -> io::Result<Option<Last>> {
    let of = |kept: Option<Kept>| kept.and_then(|kept| kept.of(server).cloned());
    let missed = fallback_file(directory.root()).map(|place| load(&place)).transpose();
    let missed = of(missed.ok().flatten().flatten());
    match (load(&directory.root().join(FILE_NAME)), missed) {
        (Err(error), None) => Err(error),
        (kept, missed) => Ok(newer(kept.ok().and_then(of), missed)),
    }
}

/// The last reports of all other servers.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn of_others(directory: &BackupDirectory, server: &str) -> io::Result<Vec<Report>> {
    let Some(Kept { last, other_servers }) = load(&directory.root().join(FILE_NAME))? else {
        return Ok(Vec::new());
    };
    let all = std::iter::once(last).chain(other_servers.into_values()).map(|last| last.report);
    Ok(all.filter(|report| !report.is_of(Some(server))).collect())
}

/// A report in the fallback is one the volume could not take, so it wins unless the volume has a newer one. A time in
/// the future does not count as newer.
fn newer(kept: Option<Last>, missed: Option<Last>) -> Option<Last> {
    let now = Timestamp::now().as_second();
    match (kept, missed) {
        (Some(kept), Some(missed))
            if (missed.report.timestamp + 1..=now).contains(&kept.report.timestamp) =>
        {
            Some(kept)
        }
        (kept, missed) => missed.or(kept),
    }
}

/// The contents of the volume, plus the report in the fallback unless the volume has a newer one of that server.
fn joined(kept: Option<Kept>, missed: Option<Kept>) -> Option<Kept> {
    let (Some(kept), Some(missed)) = (&kept, &missed) else { return kept.or(missed) };
    let server = Some(missed.last.report.server.as_str()).filter(|server| !server.is_empty());
    match newer(kept.of(server).cloned(), Some(missed.last.clone())) {
        Some(newest) if newest == missed.last => Some(Kept::with(newest, Some(kept.clone()))),
        _ => Some(kept.clone()),
    }
}

fn load(path: &Path) -> io::Result<Option<Kept>> {
    record_file::read_json(path)
}

/// Path of the file in the fallback, if there is one.
fn fallback_file(root: &Path) -> Option<PathBuf> {
    fallback::open(root).ok().flatten().map(|place| place.join(FILE_NAME))
}

/// Serialises writers, each of which merges what others wrote. Locks the directory itself, which needs no inode. Goes
/// on without a lock if locks are not supported or the wait times out.
fn take_turn(root: &Path) -> Option<Flock> {
    Flock::lock_within(PATIENCE, File::open(root).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::store::records::DatabaseReport;

    fn report(server: &str, error: Option<&str>) -> Report {
        let report = Report::of_run(Instant::now(), Vec::new(), &[], error.map(String::from));
        Report { server: server.into(), ..report }
    }

    fn error_of(directory: &BackupDirectory, server: Option<&str>) -> Option<String> {
        read(directory, server).unwrap().map(|report| report.error)
    }

    #[test]
    fn each_server_has_its_own_last_run_and_the_newest_stands_at_the_top() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        assert_eq!(error_of(&directory, Some("a:1")), None);
        write(&directory, &report("a:1", Some("no")), "", false).unwrap();
        assert_eq!(error_of(&directory, Some("b:1")), None);
        write(&directory, &report("b:1", None), "", false).unwrap();
        write(&directory, &report("c:1", None), "", false).unwrap();
        assert_eq!(error_of(&directory, Some("a:1")).unwrap(), "no");
        assert_eq!(error_of(&directory, Some("b:1")).unwrap(), "");
        let names: Vec<_> = of_others(&directory, "a:1").unwrap().into_iter().map(|r| r.server).collect();
        assert_eq!(names, ["c:1", "b:1"]);
        // A reader that ignores `other_servers` still sees a whole report.
        let text = fs::read(root.path().join(FILE_NAME)).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&text).unwrap().server, "c:1");
        write(&directory, &report("a:1", None), "", false).unwrap();
        assert_eq!(error_of(&directory, Some("a:1")).unwrap(), "");
        assert_eq!(of_others(&directory, "a:1").unwrap().len(), 2);
        (0..20).for_each(|n| write(&directory, &report(&format!("x:{n}"), None), "", false).unwrap());
        assert_eq!(of_others(&directory, "none:1").unwrap().len(), OTHERS + 1);
    }

    #[test]
    fn a_run_that_names_no_server_is_everybodys() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        fs::write(root.path().join(FILE_NAME), serde_json::to_vec(&report("", Some("old"))).unwrap())
            .unwrap();
        for server in [None, Some("a:1"), Some("b:1")] {
            assert_eq!(error_of(&directory, server).unwrap(), "old");
        }
        write(&directory, &report("a:1", None), "", false).unwrap();
        assert_eq!(error_of(&directory, Some("b:1")), None);
        write(&directory, &report("", Some("no host")), "", false).unwrap();
        assert_eq!(error_of(&directory, Some("a:1")).unwrap(), "no host");
    }

    #[test]
    fn a_run_of_some_databases_completes_what_its_own_server_has() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let of = |server: &str, databases| {
            let report = Report::of_run(Instant::now(), databases, &[], None);
            Report { server: server.into(), ..report }
        };
        write(&directory, &of("a:1", vec![DatabaseReport::failed("x", "no")]), "", false).unwrap();
        write(&directory, &of("b:1", vec![DatabaseReport::published("z", "last/z".into(), 1)]), "", false)
            .unwrap();
        write(&directory, &of("a:1", vec![DatabaseReport::published("y", "last/y".into(), 1)]), "", true)
            .unwrap();
        let last = read(&directory, Some("a:1")).unwrap().unwrap();
        assert_eq!((last.status, last.databases.len()), (Outcome::Failed, 2));
    }

    #[test]
    fn a_failed_run_is_counted_once_however_often_it_reports() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let count = |server| failed_runs(&directory, Some(server)).unwrap();
        let keep =
            |server: &str, id: &str, error| write(&directory, &report(server, error), id, false).unwrap();
        assert_eq!(count("a:1"), 0);
        keep("a:1", "1", None);
        // A hook has failed it after all; then it reports how its copies fared.
        keep("a:1", "1", Some("hook"));
        keep("b:1", "2", Some("no"));
        keep("a:1", "1", Some("hook"));
        assert_eq!((count("a:1"), count("b:1")), (1, 1));
        (3..20).for_each(|id| keep("a:1", &id.to_string(), Some("no")));
        keep("a:1", "20", None);
        assert_eq!((count("a:1"), count("b:1")), (18, 1));
        assert_eq!(last(&directory, Some("a:1")).unwrap().unwrap().counted.len(), COUNTED);
    }

    #[test]
    fn what_the_volume_has_not_taken_counts_until_it_has_something_newer() {
        let at = |timestamp, error| {
            let report = Report { timestamp, ..report("", Some(error)) };
            Some(Last::of(report, "", None))
        };
        let now = Timestamp::now().as_second();
        let chosen = |kept, missed| newer(kept, missed).map(|last| last.report.error);
        assert_eq!(chosen(at(1, "kept"), None).unwrap(), "kept");
        assert_eq!(chosen(None, at(1, "missed")).unwrap(), "missed");
        assert_eq!(chosen(at(5, "kept"), at(5, "missed")).unwrap(), "missed");
        assert_eq!(chosen(at(6, "kept"), at(5, "missed")).unwrap(), "kept");
        assert_eq!(chosen(at(now + 9000, "kept"), at(5, "missed")).unwrap(), "missed");
    }

    #[test]
    fn what_is_no_report_is_an_error_that_says_nothing_of_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        for text in ["{\"status\":\"hunter2\"}", "hunter2", ""] {
            fs::write(root.path().join(FILE_NAME), text).unwrap();
            let error = read(&directory, None).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        write(&directory, &report("a:1", None), "", true).unwrap();
        assert_eq!(error_of(&directory, None).unwrap(), "");
    }
}
