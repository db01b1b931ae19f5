//! GET /metrics: what /status, /backups and /history tell, and what has come over HTTP, as Prometheus reads it.

use std::collections::BTreeMap;

use super::App;
use super::backups::{not_listed, refusal};
use super::status::Standing;
use crate::http::error::ApiError;
use crate::http::exposition::{CONTENT_TYPE, Exposition};
use crate::http::message::{Body, Response};
use crate::postgres::Server;
use crate::service::supervisor::SchedulerState;
use crate::store::catalog::{DatabaseName, Entry, Slot};
use crate::store::records::{self, LastProof, Outcome, Report};
use crate::util::clock;

/// Everything that is measured.
pub fn show(app: &App) -> Result<Response, ApiError> {
    let standing = Standing::of(app)?;
    let (stock, failures) = count(app, &standing);
    let stock = match stock {
        // Whoever watches hears of that by the number of problems, and not by none.
        Err(_) if !standing.problems.is_empty() => Stock::default(),
        stock => stock?,
    };
    let mut page = Exposition::default();
    page.gauge("backupgram_problems", "How many things are wrong; /status says which.")
        .value(Some(standing.problems.len()));
    tell_databases(&mut page, &standing, &stock);
    tell_runs(&mut page, &standing, failures);
    page.gauge("backupgram_run_overdue", "Whether a backup run takes longer than it should.")
        .value(Some(u8::from(standing.is_overdue)));
    tell_storage(&mut page, &standing, &stock);
    tell_daemon(&mut page, app);
    let headers = vec![("Content-Type".into(), CONTENT_TYPE.to_owned())];
    Ok(Response { status: 200, headers, body: Body::Bytes(page.into_text().into_bytes()) })
}

/// What a listing comes to, and how many runs have failed. Of a directory that does not answer nothing is asked.
fn count(app: &App, standing: &Standing) -> (Result<Stock, ApiError>, Option<u64>) {
    if !standing.is_current {
        return (Ok(Stock::default()), None);
    }
    let directory = app.directory.clone();
    let server = Server::address_in(&app.settings.environment());
    let made = app.lister.make(move || {
        (
            directory.list_all().map(Stock::of),
            records::status::failed_runs(&directory, server.as_deref()).ok(),
        )
    });
    match made {
        Ok((stock, failures)) => (stock.map_err(refusal), failures),
        Err(error) => (Err(not_listed(error)), None),
    }
}

/// What a listing comes to.
#[derive(Default)]
struct Stock {
    slots: BTreeMap<Slot, Shelf>,
    /// The newest backup of each database that is not known to be broken, and does not lie in the future.
    newest: BTreeMap<DatabaseName, Entry>,
}

/// The backups of one slot, without pointers.
#[derive(Default)]
struct Shelf {
    backups: u64,
    bytes: u64,
}

impl Stock {
    fn of(entries: Vec<Entry>) -> Self {
        let mut slots: BTreeMap<Slot, Shelf> = Slot::ALL.map(|slot| (slot, Shelf::default())).into();
        let mut newest: BTreeMap<DatabaseName, Entry> = BTreeMap::new();
        let now = clock::now();
        for entry in entries.into_iter().filter(|entry| !entry.is_pointer()) {
            let shelf = slots.entry(entry.slot).or_default();
            shelf.backups += 1;
            shelf.bytes = shelf.bytes.saturating_add(entry.size);
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

/// Whether a database is one that is backed up: one that the last run was about, or any as long as it names none. The
/// backups of one that is not stay for good, but nobody wants to be told how old they are.
fn is_current(last: Option<&Report>, database: &DatabaseName) -> bool {
    let databases = last.map_or(&[][..], |report| &report.databases);
    databases.is_empty() || databases.iter().any(|report| report.name == database.as_str())
}

fn tell_databases(page: &mut Exposition, standing: &Standing, stock: &Stock) {
    let last = standing.last.as_ref();
    let current = stock.newest.iter().filter(|(database, _)| is_current(last, database));
    let newest: Vec<(&str, &Entry)> = current.map(|(database, entry)| (database.as_str(), entry)).collect();
    let each = || newest.iter().copied();
    page.gauge(
        "backupgram_backup_last_success_timestamp_seconds",
        "When the newest whole backup of a database was written, in Unix seconds.",
    )
    .by("database", each().map(|(database, entry)| (database, entry.mtime)));
    page.gauge("backupgram_backup_age_seconds", "How long ago that was.")
        .by("database", each().map(|(database, entry)| (database, age(standing, entry.mtime))));
    page.gauge("backupgram_backup_last_size_bytes", "The bytes of that backup.")
        .by("database", each().map(|(database, entry)| (database, entry.size)));
    page.gauge("backupgram_backup_last_duration_seconds", "How long that backup took.").by(
        "database",
        each().filter_map(|(database, entry)| {
            Some((database, entry.manifest.as_ref()?.dump.as_ref()?.duration_seconds))
        }),
    );
    let proofs = standing.proofs.iter().filter(|(database, _)| is_current(last, database));
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

fn age(standing: &Standing, time: i64) -> i64 {
    standing.now.as_second().saturating_sub(time).max(0)
}

fn tell_runs(page: &mut Exposition, standing: &Standing, failures: Option<u64>) {
    let last = standing.last.as_ref();
    let ended = last.filter(|report| report.age(standing.now.as_second()).is_some());
    page.gauge("backupgram_last_run_timestamp_seconds", "When the last backup run ended, in Unix seconds.")
        .value(ended.map(|report| report.timestamp));
    page.gauge("backupgram_last_run_duration_seconds", "How long the last backup run took.")
        .value(last.map(|report| report.duration_seconds));
    page.gauge("backupgram_last_run_success", "Whether the last backup run succeeded.")
        .value(last.map(|report| u8::from(report.status == Outcome::Ok)));
    page.counter("backupgram_backup_failures_total", "Backup runs that failed.").value(failures);
    page.gauge("backupgram_next_run_timestamp_seconds", "When the next backup run is due, in Unix seconds.")
        .value(standing.next.as_ref().map(|time| time.timestamp().as_second()));
}

fn tell_storage(page: &mut Exposition, standing: &Standing, stock: &Stock) {
    page.gauge("backupgram_free_bytes", "Free bytes on the disk of the backups.")
        .value(standing.space.map(|(free, _)| free));
    let each = || stock.slots.iter().map(|(slot, shelf)| (slot.name(), shelf));
    page.gauge("backupgram_slot_backups", "Backups in a slot.")
        .by("slot", each().map(|(slot, shelf)| (slot, shelf.backups)));
    page.gauge("backupgram_slot_bytes", "Bytes of the backups in a slot, also of those in another slot too.")
        .by("slot", each().map(|(slot, shelf)| (slot, shelf.bytes)));
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
        .value(Some(app.throttle.total()));
    page.gauge("backupgram_build_info", "The version of the daemon.")
        .by("version", [(env!("CARGO_PKG_VERSION"), 1)]);
}
