//! Which handler answers which request.

use super::auth::Token;
use super::error::ApiError;
use super::handlers::{App, backups, config, history, jobs, metrics, status};
use super::message::{Method, Request, Response, Target};
use crate::jobs::JobId;

/// Every route by its pattern, and the word for all other paths.
pub const ROUTES: [&str; 15] = [
    "/healthz",
    "/status",
    "/metrics",
    "/backups",
    "/backups/{slot}/{name}",
    "/backup",
    "/restore",
    "/telegram/test",
    "/verify",
    "/jobs",
    "/jobs/{id}",
    "/config",
    "/config/{key}",
    "/history",
    OTHER,
];
const OTHER: &str = "other";

/// What a path names.
enum Resource<'a> {
    Health,
    Status,
    Metrics,
    Backups,
    BackupFile { slot: &'a str, name: &'a str },
    Backup,
    Restore,
    Verify,
    TelegramTest,
    Jobs,
    Job(JobId),
    History,
    Config,
    Setting(&'a str),
}

impl<'a> Resource<'a> {
    fn of(path: &'a [String]) -> Option<Self> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path[..] {
            ["healthz"] => Some(Self::Health),
            ["status"] => Some(Self::Status),
            ["metrics"] => Some(Self::Metrics),
            ["backups"] => Some(Self::Backups),
            ["backups", slot, name] => Some(Self::BackupFile { slot, name }),
            ["backup"] => Some(Self::Backup),
            ["restore"] => Some(Self::Restore),
            ["verify"] => Some(Self::Verify),
            ["telegram", "test"] => Some(Self::TelegramTest),
            ["jobs"] => Some(Self::Jobs),
            ["jobs", id] => Some(Self::Job(JobId::from_path(id))),
            ["history"] => Some(Self::History),
            ["config"] => Some(Self::Config),
            ["config", key] => Some(Self::Setting(key)),
            _ => None,
        }
    }

    /// The route that it is reached by.
    fn pattern(&self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Status => "/status",
            Self::Metrics => "/metrics",
            Self::Backups => "/backups",
            Self::BackupFile { .. } => "/backups/{slot}/{name}",
            Self::Backup => "/backup",
            Self::Restore => "/restore",
            Self::TelegramTest => "/telegram/test",
            Self::Verify => "/verify",
            Self::Jobs => "/jobs",
            Self::Job(_) => "/jobs/{id}",
            Self::Config => "/config",
            Self::Setting(_) => "/config/{key}",
            Self::History => "/history",
        }
    }

    fn allowed(&self) -> &'static str {
        match self {
            Self::Health | Self::Status | Self::Metrics | Self::Backups | Self::Jobs | Self::History => {
                "GET, HEAD"
            }
            Self::Config => "GET, HEAD, PATCH",
            Self::Setting(_) => "DELETE",
            Self::BackupFile { .. } => "GET, HEAD, DELETE",
            Self::Backup | Self::Restore | Self::Verify | Self::TelegramTest => "POST",
            Self::Job(_) => "GET, HEAD, DELETE",
        }
    }
}

/// The pattern of the route that a path without its query takes; "other" for one that leads nowhere.
pub fn route(path: &str) -> &'static str {
    let target = Target::parse(path);
    target.ok().and_then(|target| Resource::of(&target.path).map(|found| found.pattern())).unwrap_or(OTHER)
}

/// Answers a request. Nothing but the liveness probe is looked at without the token.
pub fn answer(app: &App, token: &Token, request: &Request) -> Response {
    dispatch(app, token, request).unwrap_or_else(Response::from)
}

fn dispatch(app: &App, token: &Token, request: &Request) -> Result<Response, ApiError> {
    let resource = Resource::of(&request.target.path);
    let reads = matches!(request.method, Method::Get | Method::Head);
    if reads && matches!(resource, Some(Resource::Health)) {
        return Ok(status::health());
    }
    token.check(&request.headers)?;
    let resource = resource.ok_or_else(|| ApiError::not_found("there is nothing at this path"))?;
    match (&resource, &request.method) {
        (Resource::Status, _) if reads => status::show(app),
        (Resource::Metrics, _) if reads => metrics::show(app),
        (Resource::Backups, _) if reads => backups::list(app, request),
        (Resource::BackupFile { slot, name }, _) if reads => backups::download(app, request, slot, name),
        (Resource::BackupFile { slot, name }, Method::Delete) => backups::delete(app, request, slot, name),
        (Resource::Backup, Method::Post) => jobs::back_up(app, request),
        (Resource::Restore, Method::Post) => jobs::restore(app, request),
        (Resource::Verify, Method::Post) => jobs::verify(app, request),
        (Resource::TelegramTest, Method::Post) => jobs::test_telegram(app, request),
        (Resource::Jobs, _) if reads => Ok(jobs::list(app)),
        (Resource::Job(id), _) if reads => jobs::show(app, id),
        (Resource::Job(id), Method::Delete) => jobs::cancel(app, id),
        (Resource::History, _) if reads => history::show(app, request),
        (Resource::Config, _) if reads => Ok(config::show(app)),
        (Resource::Config, Method::Patch) => config::change(app, request),
        (Resource::Setting(key), Method::Delete) => config::clear(app, key),
        _ => Err(ApiError::method_not_allowed(resource.allowed())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_known_by_its_pattern() {
        for pattern in ROUTES {
            assert_eq!(route(pattern), pattern);
        }
        for path in ["/", "", "-", "/Status", "/jobs/a/b", "//status", "/%", "other"] {
            assert_eq!(route(path), OTHER, "{path}");
        }
    }
}
