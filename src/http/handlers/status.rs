//! GET /healthz and GET /status.

use std::sync::Arc;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::problems::{self, Look, SCHEDULER_FAILS};
use crate::formats::schedule::rfc3339;
use crate::gate::{ApiError, Response};
use crate::http::app::App;
use crate::http::plan::Plan;
use crate::service::supervisor::SchedulerState;
use crate::store::catalog::DatabaseName;
use crate::store::records::{DatabaseReport, Report};
use crate::store::records::{LastProof, Ledger};

/// The response to a liveness probe.
pub fn health() -> Response {
    Response::json(200, &json!({"status": "ok"}))
}

/// What /status and /metrics have in common, at one point in time.
pub(super) struct StatusSnapshot {
    /// When it was taken.
    pub now: Timestamp,
    /// The last run; `None` before the first.
    pub last: Option<Report>,
    /// The last restore proof of each database.
    pub proofs: Ledger,
    /// Free and total bytes of the backups' file system; `None` when they are unknown.
    pub space: Option<(u64, u64)>,
    /// What is wrong, without secrets and paths of the container.
    pub problems: Vec<String>,
    /// Whether a backup run is overdue.
    pub is_overdue: bool,
    /// Whether the backup directory answers.
    pub is_current: bool,
    /// When the next run is due.
    pub next: Option<Zoned>,
    plan: Arc<Plan>,
}

impl StatusSnapshot {
    /// Takes one now. What cannot be read is one of the problems.
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

/// Shows the state of everything.
pub fn show(app: &App) -> Result<Response, ApiError> {
    let StatusSnapshot { now, last, proofs, space, problems, next, plan, .. } = StatusSnapshot::of(app)?;
    let (free, total) = space.unwrap_or_default();
    let mut answer = json!({
        "schedule": plan.schedule.text(),
        "cluster": plan.cluster,
        "next_run": next.map(|time| rfc3339(&time)),
        "scheduler": app.supervisor.status(),
        "disk": {"free_bytes": free, "total_bytes": total},
        "jobs": app.jobs.counts(),
        "problems": problems,
        "wrong_tokens": app.auth_limiter.total(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(mut report) = last {
        app.clean(&mut report.error, &mut report.databases);
        answer["last_backup"] = last_backup(&report, &proofs, now.as_second());
    }
    Ok(Response::json(200, &answer))
}

/// The result of a database, and its last restore proof.
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
