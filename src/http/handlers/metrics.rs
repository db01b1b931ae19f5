//! GET /metrics: what /status, /backups and /history show, and the HTTP traffic, in Prometheus' format.

use std::collections::BTreeMap;

use super::backups::{not_listed, refusal};
use super::status::StatusSnapshot;
use crate::gate::{ApiError, Body, Response};
use crate::http::app::App;
use crate::http::exposition::{CONTENT_TYPE, Exposition};
use crate::postgres::Server;
use crate::service::supervisor::SchedulerState;
use crate::store::catalog::{DatabaseName, Entry, Slot};
use crate::store::records::{self, LastProof, Outcome, Report};
use crate::util::clock;

/// Shows all metrics.
pub fn show(app: &App) -> Result<Response, ApiError> {
    let snapshot = StatusSnapshot::of(app)?;
    let (totals, failures) = count(app, &snapshot);
    let totals = match totals {
        // The metrics must come all the same, as the number of problems is among them.
        Err(_) if !snapshot.problems.is_empty() => BackupTotals::default(),
        totals => totals?,
    };
    let mut page = Exposition::default();
    page.gauge("backupgram_problems", "How many things are wrong; /status says which.")
        .value(Some(snapshot.problems.len()));
    tell_databases(&mut page, &snapshot, &totals);
    tell_runs(&mut page, &snapshot, failures);
    page.gauge("backupgram_run_overdue", "Whether a backup run takes longer than it should.")
        .value(Some(u8::from(snapshot.is_overdue)));
    tell_storage(&mut page, &snapshot, &totals);
    tell_daemon(&mut page, app);
    let headers = vec![("Content-Type".into(), CONTENT_TYPE.to_owned())];
    Ok(Response { status: 200, headers, body: Body::Bytes(page.into_text().into_bytes()) })
}

/// Totals of the backups, and how many runs have failed. A backup directory that does not answer is not read.
fn count(app: &App, snapshot: &StatusSnapshot) -> (Result<BackupTotals, ApiError>, Option<u64>) {
    if !snapshot.is_current {
        return (Ok(BackupTotals::default()), None);
    }
    let directory = app.directory.clone();
    let server = Server::address_in(&app.settings.environment());
    let made = app.volume.read(move || {
        (
            directory.list_all().map(BackupTotals::of),
            records::status::failed_runs(&directory, server.as_deref()).ok(),
        )
    });
    match made {
        Ok((totals, failures)) => (totals.map_err(refusal), failures),
        Err(error) => (Err(not_listed(error)), None),
    }
}

/// Totals of the backups.
#[derive(Default)]
struct BackupTotals {
    slots: BTreeMap<Slot, SlotTotals>,
    /// The newest backup of each database that is not known to be broken, and does not lie in the future.
    newest: BTreeMap<DatabaseName, Entry>,
}

/// The backups of one slot, without pointers.
#[derive(Default)]
struct SlotTotals {
    backups: u64,
    bytes: u64,
}

impl BackupTotals {
    fn of(entries: Vec<Entry>) -> Self {
        let mut slots: BTreeMap<Slot, SlotTotals> =
            Slot::ALL.map(|slot| (slot, SlotTotals::default())).into();
        let mut newest: BTreeMap<DatabaseName, Entry> = BTreeMap::new();
        let now = clock::now();
        for entry in entries.into_iter().filter(|entry| !entry.is_pointer()) {
            let slot_totals = slots.entry(entry.slot).or_default();
            slot_totals.backups += 1;
            slot_totals.bytes = slot_totals.bytes.saturating_add(entry.size);
            let verification = entry.manifest.as_ref().and_then(|manifest| manifest.verification());
            let is_broken = verification.is_some_and(|verification| verification.error.is_some());
            if let Some(database) = entry.database.clone().filter(|_| !is_broken && !entry.is_future(now))
                && newest.get(&database).is_none_or(|known| known.mtime < entry.mtime)
            {
                newest.insert(database, entry);
            }
        }
        Self { slots, newest }
    }
}

/// Whether a database is still backed up: whether the last run had it, or no databases at all. Backups of others are kept,
/// but their age is not reported.
fn is_current(last: Option<&Report>, database: &DatabaseName) -> bool {
    let databases = last.map_or(&[][..], |report| &report.databases);
    databases.is_empty() || databases.iter().any(|report| report.name == database.as_str())
}

fn tell_databases(page: &mut Exposition, snapshot: &StatusSnapshot, totals: &BackupTotals) {
    let last = snapshot.last.as_ref();
    let current = totals.newest.iter().filter(|(database, _)| is_current(last, database));
    let newest: Vec<(&str, &Entry)> = current.map(|(database, entry)| (database.as_str(), entry)).collect();
    let each = || newest.iter().copied();
    page.gauge(
        "backupgram_backup_last_success_timestamp_seconds",
        "When the newest whole backup of a database was written, in Unix seconds.",
    )
    .by("database", each().map(|(database, entry)| (database, entry.mtime)));
    page.gauge("backupgram_backup_age_seconds", "How long ago that was.")
        .by("database", each().map(|(database, entry)| (database, age(snapshot, entry.mtime))));
    page.gauge("backupgram_backup_last_size_bytes", "The bytes of that backup.")
        .by("database", each().map(|(database, entry)| (database, entry.size)));
    page.gauge("backupgram_backup_last_duration_seconds", "How long that backup took.").by(
        "database",
        each().filter_map(|(database, entry)| {
            Some((database, entry.manifest.as_ref()?.dump.as_ref()?.duration_seconds))
        }),
    );
    let proofs = snapshot.proofs.iter().filter(|(database, _)| is_current(last, database));
    let proofs: Vec<(&str, &LastProof)> =
        proofs.map(|(database, proof)| (database.as_str(), proof)).collect();
    let each = || proofs.iter().map(|(database, proof)| (*database, &proof.verification));
    page.gauge(
        "backupgram_proof_last_timestamp_seconds",
        "When a backup of a database was last restored for proof, in Unix seconds.",
    )
    .by("database", each().map(|(database, verification)| (database, verification.at)));
    page.gauge("backupgram_proof_last_success", "Whether that proof succeeded.")
        .by("database", each().map(|(database, proof)| (database, u8::from(proof.error.is_none()))));
}

fn age(snapshot: &StatusSnapshot, time: i64) -> i64 {
    snapshot.now.as_second().saturating_sub(time).max(0)
}

fn tell_runs(page: &mut Exposition, snapshot: &StatusSnapshot, failures: Option<u64>) {
    let last = snapshot.last.as_ref();
    let ended = last.filter(|report| report.age(snapshot.now.as_second()).is_some());
    page.gauge("backupgram_last_run_timestamp_seconds", "When the last backup run ended, in Unix seconds.")
        .value(ended.map(|report| report.timestamp));
    page.gauge("backupgram_last_run_duration_seconds", "How long the last backup run took.")
        .value(last.map(|report| report.duration_seconds));
    page.gauge("backupgram_last_run_success", "Whether the last backup run succeeded.")
        .value(last.map(|report| u8::from(report.status == Outcome::Ok)));
    page.counter("backupgram_backup_failures_total", "Backup runs that failed.").value(failures);
    page.gauge("backupgram_next_run_timestamp_seconds", "When the next backup run is due, in Unix seconds.")
        .value(snapshot.next.as_ref().map(|time| time.timestamp().as_second()));
}

fn tell_storage(page: &mut Exposition, snapshot: &StatusSnapshot, totals: &BackupTotals) {
    page.gauge("backupgram_free_bytes", "Free bytes on the disk of the backups.")
        .value(snapshot.space.map(|(free, _)| free));
    let each = || totals.slots.iter().map(|(slot, slot_totals)| (slot.name(), slot_totals));
    page.gauge("backupgram_slot_backups", "Backups in a slot.")
        .by("slot", each().map(|(slot, slot_totals)| (slot, slot_totals.backups)));
    page.gauge("backupgram_slot_bytes", "Bytes of the backups in a slot, also of those in another slot too.")
        .by("slot", each().map(|(slot, slot_totals)| (slot, slot_totals.bytes)));
}

fn tell_daemon(page: &mut Exposition, app: &App) {
    page.gauge("backupgram_queue_jobs", "Jobs that wait.").value(Some(app.jobs.counts().queued));
    let mut jobs = page.counter("backupgram_jobs_total", "Jobs that have ended.");
    for (kind, totals) in app.jobs.totals() {
        jobs.sample(&[("type", kind), ("result", "succeeded")], totals.succeeded);
        jobs.sample(&[("type", kind), ("result", "failed")], totals.failed);
    }
    let scheduler = app.supervisor.status();
    page.gauge("backupgram_scheduler_up", "Whether the scheduler runs.")
        .value(Some(u8::from(scheduler.state == SchedulerState::Running)));
    page.counter("backupgram_scheduler_restarts_total", "How often the scheduler was started again.")
        .value(Some(scheduler.restarts));
    let mut requests = page.counter("backupgram_http_requests_total", "Requests that were answered.");
    for (route, status, count) in app.traffic.answers() {
        requests.sample(&[("route", route), ("status", &status.to_string())], count);
    }
    page.counter(
        "backupgram_refused_connections_total",
        "Connections that were refused because too many were open.",
    )
    .value(Some(app.traffic.refused()));
    page.counter("backupgram_wrong_tokens_total", "Requests without the right token.")
        .value(Some(app.auth_limiter.total()));
    page.gauge("backupgram_build_info", "The version of the daemon.")
        .by("version", [(env!("CARGO_PKG_VERSION"), 1)]);
}
