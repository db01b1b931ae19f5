//! Other servers that are backed up into the same directory.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::postgres::Server;
use crate::settings::{Environment, Reader, Storage};
use crate::store::catalog::BackupDirectory;
use crate::store::records::DatabaseReport;
use crate::store::records::history::{self, REMEMBERED};
use crate::store::records::status;
use crate::util::units;

/// Backups of another server count for this long: two days, in seconds.
const RECENT: i64 = 2 * 86_400;

/// A warning about other servers that are backed up into the same directory. It is not one of the problems, as each
/// server has its own last run.
pub fn warning(environment: &Environment) -> Option<String> {
    let own = Server::address_in(environment)?;
    let storage = Reader::resolve(environment, Storage::read).ok()?;
    let directory = BackupDirectory::new(storage.directory);
    let others = others(&directory, &own, Timestamp::now().as_second());
    (!others.is_empty()).then(|| {
        format!(
            "{} holds backups of {} from the last two days, and {own} would be backed up there too: give \
             each server its own directory",
            directory.root().display(),
            units::list(others)
        )
    })
}

/// The other servers of which there are backups that are not older than that.
fn others(directory: &BackupDirectory, own: &str, now: i64) -> BTreeSet<String> {
    let is_recent = |end: i64| (now - RECENT..=now).contains(&end);
    // A server without a backup is mostly a wrong address that was corrected since.
    let has_made = |databases: &[DatabaseReport]| databases.iter().any(|database| database.file.is_some());
    let runs = history::newest(directory, REMEMBERED).unwrap_or_default().into_iter();
    let runs = runs.filter(|run| !run.is_of(Some(own)) && is_recent(run.end) && has_made(&run.databases));
    let reports = status::of_others(directory, own).unwrap_or_default().into_iter();
    let reports = reports.filter(|report| is_recent(report.timestamp) && has_made(&report.databases));
    runs.map(|run| run.server).chain(reports.map(|report| report.server)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::store::records::Report;
    use crate::store::records::history::{Run, Trigger};

    #[test]
    fn only_backups_of_others_from_the_last_two_days_are_told() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let now = 1_776_349_801;
        let run = |server: &str, timestamp: i64, databases: Vec<DatabaseReport>| {
            let report = Report::of_run(Instant::now(), databases, &[], None);
            let report = Report { server: server.into(), timestamp, ..report };
            history::put(&directory, &Run::of_report(timestamp, Trigger::Cli, &report)).unwrap();
        };
        let made = || vec![DatabaseReport::published("a", "last/a".into(), 1)];
        run("own:1", now, made());
        run("", now, made());
        run("old:1", now - RECENT - 1, made());
        run("future:1", now + 9000, made());
        run("wrong:1", now, vec![DatabaseReport::failed("a", "no such host")]);
        assert_eq!(others(&directory, "own:1", now), BTreeSet::new());
        run("b:1", now - RECENT, made());
        run("c:1", now, made());
        assert_eq!(units::list(others(&directory, "own:1", now)), "b:1, c:1");
        let environment = |host| {
            let root = root.path().to_str().unwrap();
            Environment::of(&[("BACKUP_DIR", root), ("POSTGRES_HOST", host), ("POSTGRES_PORT", "1")])
        };
        // At this moment all of that is long ago, but for what a run does now.
        assert_eq!(warning(&environment("own")), None);
        run("b:1", Timestamp::now().as_second(), made());
        let said = warning(&environment("own")).unwrap();
        assert!(said.contains("holds backups of b:1 from") && said.contains("own:1 would be"), "{said}");
        assert_eq!(warning(&environment("b")), None);
    }
}
