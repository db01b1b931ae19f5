//! GET /healthz and GET /status.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use crate::engine::problems::{self, Look, SCHEDULER_FAILS};
use crate::formats::schedule::{Schedule, rfc3339};
use crate::http::error::ApiError;
use crate::http::message::Response;
use crate::service::supervisor::SchedulerState;
use crate::settings::{Environment, Faults, Reader, SchedulerSettings};
use crate::store::catalog::DatabaseName;
use crate::store::records::{DatabaseReport, Report};
use crate::store::records::{LastProof, Ledger};

/// What the settings say of scheduled runs. Resolved once for as long as the settings stay as they are, as
/// that takes longer than all the rest of /status.
#[derive(Default)]
pub struct Planned(Mutex<Option<Arc<Plan>>>);

struct Plan {
    environment: Arc<Environment>,
    schedule: Schedule,
    cluster: bool,
}

impl Planned {
    fn by(&self, environment: Arc<Environment>) -> Result<Arc<Plan>, Faults> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = kept.as_ref().filter(|plan| Arc::ptr_eq(&plan.environment, &environment)) {
            return Ok(Arc::clone(plan));
        }
        let schedule = Reader::resolve(&environment, SchedulerSettings::read)?.schedule;
        let cluster =
            Reader::resolve(&environment, |reader| reader.flag("POSTGRES_CLUSTER")).unwrap_or_default();
        Ok(Arc::clone(kept.insert(Arc::new(Plan { environment, schedule, cluster }))))
    }
}

/// The liveness probe's answer.
pub fn health() -> Response {
    Response::json(200, &json!({"status": "ok"}))
}

/// What has to be asked for, of all that /status and /metrics tell.
pub(super) struct Standing {
    /// The time that all of it is of.
    pub now: Timestamp,
    /// How the last run went; none before the first.
    pub last: Option<Report>,
    /// The last restore proof of each database.
    pub proofs: Ledger,
    /// Bytes on the backups' disk that are free, and all of them; nothing when it cannot be asked.
    pub space: Option<(u64, u64)>,
    /// What is wrong, without secrets and paths of the container.
    pub problems: Vec<String>,
    /// Whether a backup run takes longer than it should.
    pub is_overdue: bool,
    /// Whether the backup directory answers, so that more can be asked of it.
    pub is_current: bool,
    /// When the next run is due.
    pub next: Option<Zoned>,
    plan: Arc<Plan>,
}

impl Standing {
    /// Asks for it now. What cannot be read is a problem among others.
    ///
    /// # Errors
    /// 500 when the settings cannot be read.
    pub fn of(app: &App) -> Result<Self, ApiError> {
        let environment = app.settings.environment();
        let look = app.watch.look(Some(Arc::clone(&environment)));
        let look = problems::with_job(look, app.jobs.failed_backup());
        let Look { last, proofs, is_overdue, space, mut problems, is_current } = look;
        if app.supervisor.status().state == SchedulerState::Failing {
            problems.push(SCHEDULER_FAILS.into());
        }
        let clean = |problem: &String| app.redactor.clean_for_api(problem, app.directory.root());
        let problems = problems.iter().map(clean).collect();
        let plan = app.planned.by(environment);
        let plan = plan.map_err(|error| ApiError::internal("the schedule cannot be read", error))?;
        let now = Timestamp::now();
        let next = plan.schedule.next_after(now);
        Ok(Self { now, last, proofs, space, problems, is_overdue, is_current, next, plan })
    }
}

/// The state of everything.
pub fn show(app: &App) -> Result<Response, ApiError> {
    let Standing { now, last, proofs, space, problems, next, plan, .. } = Standing::of(app)?;
    let (free, total) = space.unwrap_or_default();
    let mut answer = json!({
        "schedule": plan.schedule.text(),
        "cluster": plan.cluster,
        "next_run": next.map(|time| rfc3339(&time)),
        "scheduler": app.supervisor.status(),
        "disk": {"free_bytes": free, "total_bytes": total},
        "jobs": app.jobs.counts(),
        "problems": problems,
        "wrong_tokens": app.throttle.total(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(mut report) = last {
        app.clean(&mut report.error, &mut report.databases);
        answer["last_backup"] = last_backup(&report, &proofs, now.as_second());
    }
    Ok(Response::json(200, &answer))
}

/// How a database fared, and when one of its backups was last proven by a restore.
#[derive(Serialize)]
struct DatabaseState<'a> {
    #[serde(flatten)]
    report: &'a DatabaseReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<&'a LastProof>,
}

impl<'a> DatabaseState<'a> {
    fn new(report: &'a DatabaseReport, proofs: &'a Ledger) -> Self {
        let verified = DatabaseName::parse(&report.name).ok().and_then(|name| proofs.get(&name));
        Self { report, verified }
    }
}

fn last_backup(report: &Report, proofs: &Ledger, now: i64) -> Value {
    let databases: Vec<DatabaseState> =
        report.databases.iter().map(|report| DatabaseState::new(report, proofs)).collect();
    json!({
        "status": report.status,
        "timestamp": report.timestamp,
        "age_seconds": report.age(now),
        "duration_seconds": report.duration_seconds,
        "databases": databases,
        "error": report.error,
        "delivery": report.delivery,
    })
}
