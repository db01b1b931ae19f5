//! Problems with times: a run that deleted nothing because the clock was not believed, and records and backups with a
//! time in the future. Such a time is ignored everywhere else.

use crate::store::catalog::{BackupDirectory, Entry};
use crate::store::records::Ledger;
use crate::store::records::Report;
use crate::store::records::history::Run;
use crate::util::clock;

/// So many names are listed; the others are counted.
const NAMED: usize = 3;

/// Problems with the times in the newest records: the last run, the newest run in the history, and the last proofs.
pub fn check(last: Option<&Report>, newest: Option<&Run>, proofs: &Ledger, now: i64) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(report) = last {
        problems.extend(report.held());
        if report.age(now).is_none() {
            let ended = clock::text(report.timestamp);
            problems.push(format!("the last run is dated in the future, at {ended} (.status.json)"));
        }
    }
    if let Some(time) = newest.map(|run| run.start.max(run.end)).filter(|time| clock::is_future(*time, now)) {
        let time = clock::text(time);
        problems.push(format!("the newest run in .history.jsonl is dated in the future, at {time}"));
    }
    problems.extend(check_proofs(proofs, now));
    problems
}

fn check_proofs(proofs: &Ledger, now: i64) -> Option<String> {
    let future = proofs.iter().filter(|(_, proof)| clock::is_future(proof.verification.at, now));
    let names =
        future.map(|(database, proof)| format!("{database} ({})", clock::text(proof.verification.at)));
    let names = named(names.collect())?;
    Some(format!("restore proofs in .proofs.json are dated in the future and do not count: {names}"))
}

/// Problems with the times of the backups, all of which are listed. An error of that is reported elsewhere.
pub fn check_backups(directory: &BackupDirectory) -> Vec<String> {
    directory.list_all().map(|entries| of_entries(&entries, clock::now())).unwrap_or_default()
}

fn of_entries(entries: &[Entry], now: i64) -> Vec<String> {
    let backups = || entries.iter().filter(|entry| entry.alias_of.is_none());
    let label = |entry: &Entry, time| format!("{}/{} ({})", entry.slot, entry.name, clock::text(time));
    let future = backups().filter(|entry| entry.is_future(now)).map(|entry| label(entry, entry.mtime));
    let files = named(future.collect()).map(|names| {
        format!(
            "backups are dated in the future, do not count as the newest and are not deleted: \
                              {names}"
        )
    });
    // A file that has such a time itself is listed already.
    let others = backups().filter(|entry| !entry.is_future(now));
    let written =
        others.filter_map(|entry| Some(label(entry, latest(entry).filter(|at| clock::is_future(*at, now))?)));
    let manifests = named(written.collect())
        .map(|names| format!("manifests of backups have times in the future, which are ignored: {names}"));
    files.into_iter().chain(manifests).collect()
}

/// The latest time in a manifest.
fn latest(entry: &Entry) -> Option<i64> {
    let manifest = entry.manifest.as_ref()?;
    let verified = [&manifest.verified, &manifest.proven].into_iter().flatten().map(|verified| verified.at);
    verified.chain(manifest.dump.as_ref().map(|dump| dump.created_at)).max()
}

fn named(mut names: Vec<String>) -> Option<String> {
    let rest = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let listed = names.join(", ");
    match rest {
        _ if names.is_empty() => None,
        0 => Some(listed),
        rest => Some(format!("{listed} and {rest} more")),
    }
}
