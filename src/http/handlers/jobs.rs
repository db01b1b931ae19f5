//! POST /backup, /restore and /verify, and the jobs that come of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::App;
use super::backups::{locate, refusal};
use crate::catalog::{BackupName, DatabaseName, Slot};
use crate::http::error::ApiError;
use crate::http::json::parse_object;
use crate::http::message::{Request, Response};
use crate::jobs::{CancelError, Job, JobId, SubmitError, Task};
use crate::restore::{Options, PropertyChoice, SearchPath};
use crate::settings::{Reader, Subject};
use crate::telegram::Chat;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupBody {
    #[serde(default, deserialize_with = "at_least_one")]
    databases: Vec<DatabaseName>,
}

/// What is null may have been meant to be something: for a restore that is no time to guess.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A list that was cut down to nothing does not ask for everything.
fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DatabaseName>, D::Error> {
    let names = Vec::deserialize(deserializer)?;
    match names.is_empty() {
        true => Err(D::Error::custom("databases is empty: leave it out to back up all")),
        false => Ok(names),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    #[serde(default, deserialize_with = "not_null")]
    file: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    telegram_message_id: Option<i64>,
    #[serde(default, deserialize_with = "not_null")]
    telegram_chat_id: Option<String>,
    target_db: Option<String>,
    #[serde(default)]
    confirm: bool,
    #[serde(default)]
    keep_previous: bool,
    #[serde(default)]
    drop_replication: bool,
    #[serde(default)]
    keep_going: bool,
    #[serde(default)]
    ignore_manifest: bool,
    #[serde(default, deserialize_with = "not_null")]
    properties: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    search_path: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    before: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    after: Option<String>,
}

impl RestoreBody {
    /// What is asked for besides the file and the target. Of files of SQL there are the names only.
    fn options(&self) -> Result<Options, ApiError> {
        let properties = match self.properties.as_deref() {
            None => PropertyChoice::default(),
            Some(word) => PropertyChoice::of_word(word)
                .ok_or_else(|| ApiError::bad_request("properties must be all, encoding or none"))?,
        };
        let search_path = self.search_path.as_deref().map(|list| {
            SearchPath::parse(list)
                .ok_or_else(|| ApiError::bad_request("search_path must be a list of schemas"))
        });
        Ok(Options {
            keep_previous: self.keep_previous,
            drop_replication: self.drop_replication,
            keep_going: self.keep_going,
            ignore_manifest: self.ignore_manifest,
            properties,
            search_path: search_path.transpose()?,
            before: self.before.as_deref().map(|name| script_name("before", name)).transpose()?,
            after: self.after.as_deref().map(|name| script_name("after", name)).transpose()?,
        })
    }
}

/// The name of a file in `HOOKS_DIR/restore`.
fn script_name(field: &str, name: &str) -> Result<PathBuf, ApiError> {
    match BackupName::parse(name) {
        Ok(_) => Ok(name.into()),
        Err(_) => {
            Err(ApiError::bad_request(format!("{field} must be the name of a file in HOOKS_DIR/restore")))
        }
    }
}

/// The path of a file in `HOOKS_DIR/restore`. Links within that directory are followed, as Kubernetes makes them for a
/// ConfigMap, and no others. The job goes the same way again: by then a ConfigMap may lead to another directory.
fn script(app: &App, field: &str, name: &Path) -> Result<PathBuf, ApiError> {
    let missing =
        || ApiError::not_found(format!("{field}: there is no file {} in HOOKS_DIR/restore", name.display()));
    let hooks = Reader::resolve(&app.settings.environment(), |reader| reader.text("HOOKS_DIR"));
    let place = hooks.map_err(|_| missing())?;
    let place = fs::canonicalize(Path::new(&place).join("restore")).map_err(|_| missing())?;
    let path = place.join(name);
    let file = fs::canonicalize(&path).map_err(|_| missing())?;
    match file.starts_with(&place) && file.is_file() {
        true => Ok(path),
        false => Err(missing()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    file: String,
    #[serde(default)]
    restore: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

#[derive(Serialize)]
struct JobList {
    jobs: Vec<Job>,
}

/// Asks for a backup.
pub fn back_up(app: &App, request: &Request) -> Result<Response, ApiError> {
    let databases = asked_backup(&request.body)?;
    if let Ok(subject) = Reader::resolve(&app.settings.environment(), Subject::read)
        && let Some(stranger) = databases.iter().find(|name| !subject.may_include(name))
    {
        let message = format!("databases: {:?} is not among those to back up", stranger.as_str());
        return Err(ApiError::bad_request(message));
    }
    submit(app, Task::Backup(databases))
}

/// The databases that a body asks to back up; none stands for all of the settings.
///
/// # Errors
/// 400 when the body is not of that form.
pub fn asked_backup(body: &[u8]) -> Result<Vec<DatabaseName>, ApiError> {
    parse_object(body).map(|BackupBody { databases }| databases)
}

/// Asks for a restore.
pub fn restore(app: &App, request: &Request) -> Result<Response, ApiError> {
    let mut task = asked_restore(&request.body)?;
    if let Task::Restore { slot, name, .. } = &task {
        app.directory.open(*slot, name).map_err(refusal)?;
    }
    if let Task::Restore { options, .. } | Task::RestoreFromTelegram { options, .. } = &mut task {
        for (field, file) in [("before", &mut options.before), ("after", &mut options.after)] {
            if let Some(name) = file {
                *name = script(app, field, name)?;
            }
        }
    }
    submit(app, task)
}

/// The restore that a body asks for; whether there is such a backup, and such files of SQL, is not looked at.
///
/// # Errors
/// 400 when the body is not of that form or not confirmed, 404 when there is no such slot.
pub fn asked_restore(body: &[u8]) -> Result<Task, ApiError> {
    let body: RestoreBody = parse_object(body)?;
    if body.file.is_some() == body.telegram_message_id.is_some() {
        return Err(ApiError::bad_request("exactly one of file and telegram_message_id must be set"));
    }
    let target = target(body.target_db.as_deref())?;
    if !body.confirm {
        return Err(ApiError::bad_request("confirm must be true: a restore replaces the target database"));
    }
    let options = body.options()?;
    let chat = body.telegram_chat_id.map(|chat| {
        let refused =
            || ApiError::bad_request("telegram_chat_id must be the number or @name of a chat, in quotes");
        Chat::parse(&chat).ok_or_else(refused)
    });
    let chat = chat.transpose()?;
    if let Some(message) = body.telegram_message_id {
        return match message > 0 {
            true => Ok(Task::RestoreFromTelegram { message, chat, target, options }),
            false => Err(ApiError::bad_request("telegram_message_id must be the number of a message")),
        };
    }
    if chat.is_some() {
        return Err(ApiError::bad_request("telegram_chat_id goes with telegram_message_id"));
    }
    let (slot, name) = backup_named(&body.file.unwrap_or_default())?;
    Ok(Task::Restore { slot, name, target, options })
}

/// Asks for a try of the settings for Telegram.
pub fn test_telegram(app: &App, request: &Request) -> Result<Response, ApiError> {
    let NoBody {} = parse_object(&request.body)?;
    submit(app, Task::TestTelegram)
}

/// Asks for a verification.
pub fn verify(app: &App, request: &Request) -> Result<Response, ApiError> {
    let (slot, name, restores) = asked_verification(&request.body)?;
    app.directory.open(slot, &name).map_err(refusal)?;
    submit(app, Task::Verify { slot, name, restores })
}

/// The backup that a body asks to verify, and whether by a restore; whether there is such a backup is not looked at.
///
/// # Errors
/// 400 when the body is not of that form, 404 when there is no such slot.
pub fn asked_verification(body: &[u8]) -> Result<(Slot, BackupName, bool), ApiError> {
    let VerifyBody { file, restore } = parse_object(body)?;
    backup_named(&file).map(|(slot, name)| (slot, name, restore))
}

fn backup_named(file: &str) -> Result<(Slot, BackupName), ApiError> {
    let (slot, name) = file.split_once('/').ok_or_else(|| ApiError::bad_request("file must be SLOT/NAME"))?;
    locate(slot, name)
}

fn target(name: Option<&str>) -> Result<DatabaseName, ApiError> {
    let bad = || ApiError::bad_request("target_db must match ^[A-Za-z_][A-Za-z0-9_]{0,62}$");
    let name = name.ok_or_else(bad)?;
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !word || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad());
    }
    DatabaseName::parse(name).map_err(|_| bad())
}

fn submit(app: &App, task: Task) -> Result<Response, ApiError> {
    let id = app.jobs.submit(task).map_err(|error| match error {
        SubmitError::Full | SubmitError::Stopping => ApiError::unavailable(error.to_string(), 30),
        SubmitError::Random(_) => ApiError::internal("the job could not be taken on", error),
    })?;
    Ok(Response::json(202, &json!({ "job_id": id })).with_header("Location", format!("/jobs/{id}")))
}

/// Every job.
pub fn list(app: &App) -> Response {
    Response::json(200, &JobList { jobs: app.jobs.list() })
}

/// One job.
pub fn show(app: &App, id: &JobId) -> Result<Response, ApiError> {
    let job = app.jobs.get(id).ok_or_else(not_found)?;
    Ok(Response::json(200, &job))
}

/// Cancels a job.
pub fn cancel(app: &App, id: &JobId) -> Result<Response, ApiError> {
    app.jobs.cancel(id).map_err(|error| match error {
        CancelError::NotFound => not_found(),
        CancelError::Ended => ApiError::new(409, "the job has already ended"),
    })?;
    log::info!("job {id}: cancelled on request");
    Ok(Response::json(202, &json!({ "cancelled": id })))
}

fn not_found() -> ApiError {
    ApiError::not_found("there is no such job")
}
