//! GET /healthz and GET /status.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use crate::backup::{Report, disk_space};
use crate::http::error::ApiError;
use crate::http::message::Response;
use crate::schedule::rfc3339;
use crate::settings::{Reader, SchedulerSettings};
use crate::status;

/// The liveness probe's answer.
pub fn health() -> Response {
    Response::json(200, &json!({"status": "ok"}))
}

/// The state of everything.
pub fn show(app: &App) -> Result<Response, ApiError> {
    let environment = app.settings.environment();
    let last = status::read(&app.directory)
        .map_err(|error| ApiError::internal("the last result cannot be read", error))?;
    let (free, total) = disk_space(&app.directory)
        .map_err(|error| ApiError::internal("the disk cannot be asked for its space", error))?;
    let scheduler = Reader::resolve(&environment, SchedulerSettings::read)
        .map_err(|error| ApiError::internal("the schedule cannot be read", error))?;
    let cluster = Reader::resolve(&environment, |reader| reader.flag("POSTGRES_CLUSTER")).unwrap_or_default();
    let next = scheduler.schedule.next_after(Timestamp::now()).map(|time| rfc3339(&time));
    let mut answer = json!({
        "schedule": scheduler.schedule.text(),
        "cluster": cluster,
        "next_run": next,
        "scheduler": app.supervisor.status(),
        "disk": {"free_bytes": free, "total_bytes": total},
        "jobs": app.jobs.counts(),
        "wrong_tokens": app.throttle.total(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(mut report) = last {
        app.clean(&mut report.error, &mut report.databases);
        answer["last_backup"] = last_backup(&report, Timestamp::now().as_second());
    }
    Ok(Response::json(200, &answer))
}

fn last_backup(report: &Report, now: i64) -> Value {
    json!({
        "status": report.status,
        "timestamp": report.timestamp,
        "age_seconds": now.saturating_sub(report.timestamp).max(0),
        "duration_seconds": report.duration_seconds,
        "databases": report.databases,
        "error": report.error,
    })
}
