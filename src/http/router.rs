//! Which handler answers which request.

use super::auth::Token;
use super::error::ApiError;
use super::handlers::{App, backups, config, history, jobs, status};
use super::message::{Method, Request, Response};
use crate::jobs::JobId;

/// What a path names.
enum Resource<'a> {
    Health,
    Status,
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

    fn allowed(&self) -> &'static str {
        match self {
            Self::Health | Self::Status | Self::Backups | Self::Jobs | Self::History => "GET, HEAD",
            Self::Config => "GET, HEAD, PATCH",
            Self::Setting(_) => "DELETE",
            Self::BackupFile { .. } => "GET, HEAD, DELETE",
            Self::Backup | Self::Restore | Self::Verify | Self::TelegramTest => "POST",
            Self::Job(_) => "GET, HEAD, DELETE",
        }
    }
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
