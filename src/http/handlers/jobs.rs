//! POST /backup, /restore, /verify and /telegram/test, and the jobs that they create.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::backups::{locate, refusal};
use crate::delivery::telegram::Chat;
use crate::engine::restore::{Options, PropertyChoice, SearchPath};
use crate::gate::{ApiError, Response};
use crate::http::app::App;
use crate::http::json::{Fields, is_json};
use crate::http::request::Request;
use crate::service::jobs::{CancelError, Job, JobId, SubmitError, Task};
use crate::settings::{Reader, Subject};
use crate::store::catalog::{BackupName, DatabaseName, Slot};

/// The fields of a body of POST /restore.
const RESTORE_FIELDS: [&str; 13] = [
    "file",
    "telegram_message_id",
    "telegram_chat_id",
    "target_db",
    "confirm",
    "keep_previous",
    "properties",
    "before",
    "after",
    "drop_replication",
    "keep_going",
    "search_path",
    "ignore_manifest",
];

/// A body of POST /restore.
struct RestoreBody {
    source: RestoreSource,
    telegram_chat_id: Option<String>,
    target_db: Option<String>,
    confirm: bool,
    keep_previous: bool,
    drop_replication: bool,
    keep_going: bool,
    ignore_manifest: bool,
    properties: Option<String>,
    search_path: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

/// Where the backup is.
enum RestoreSource {
    File(String),
    Message(i64),
}

impl RestoreSource {
    /// An empty or null field counts as missing: generated clients send every field.
    fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let file = match fields.value("file") {
            None | Some(Value::Null) => None,
            Some(Value::String(file)) => Some(file).filter(|file| !file.is_empty()),
            Some(_) => return Err(ApiError::bad_request("file must be a string")),
        };
        let message = match fields.value("telegram_message_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(value) => {
                let wrong = || ApiError::bad_request("telegram_message_id must be the number of a message");
                let number = whole(&value).filter(|number| *number >= 0).ok_or_else(wrong)?;
                Some(number).filter(|number| *number > 0)
            }
        };
        match (file, message) {
            (Some(file), None) => Ok(Self::File(file)),
            (None, Some(message)) => Ok(Self::Message(message)),
            _ => Err(ApiError::bad_request("exactly one of file and telegram_message_id must be set")),
        }
    }
}

impl RestoreBody {
    fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        Ok(Self {
            source: RestoreSource::take(fields)?,
            telegram_chat_id: fields.text("telegram_chat_id")?,
            target_db: fields.text("target_db")?,
            confirm: fields.flag("confirm")?,
            keep_previous: fields.flag("keep_previous")?,
            drop_replication: fields.flag("drop_replication")?,
            keep_going: fields.flag("keep_going")?,
            ignore_manifest: fields.flag("ignore_manifest")?,
            properties: fields.text("properties")?,
            search_path: fields.text("search_path")?,
            before: fields.text("before")?,
            after: fields.text("after")?,
        })
    }

    /// The options of the restore. Files of SQL are names only here, not yet paths.
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

/// A whole number, also one like 5.0: some languages have no other.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    })
}

/// Parses the name of a file in `HOOKS_DIR/restore`.
fn script_name(field: &str, name: &str) -> Result<PathBuf, ApiError> {
    match BackupName::parse(name) {
        Ok(_) => Ok(name.into()),
        Err(_) => {
            Err(ApiError::bad_request(format!("{field} must be the name of a file in HOOKS_DIR/restore")))
        }
    }
}

/// The path of a file in `HOOKS_DIR/restore`. Links within that directory are followed, as Kubernetes makes them for a
/// ConfigMap, and no others. The job resolves it again, as a ConfigMap may be exchanged by then.
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

#[derive(Serialize)]
struct JobList {
    jobs: Vec<Job>,
}

/// Queues a backup.
pub fn back_up(app: &App, request: &Request) -> Result<Response, ApiError> {
    let databases = asked_backup(&request.body)?;
    if !is_json(&request.body) && !request.body.trim_ascii().is_empty() {
        log::warn!("the body of POST /backup is not JSON and is ignored: all databases are backed up");
    }
    if let Ok(subject) = Reader::resolve(&app.settings.environment(), Subject::read)
        && let Some(stranger) = databases.iter().find(|name| !subject.may_include(name))
    {
        let message = format!("databases: {:?} is not among the databases to back up", stranger.as_str());
        return Err(ApiError::bad_request(message));
    }
    submit(app, Task::Backup(databases))
}

/// Parses the databases to back up; none means all of the settings. A body that is not JSON counts as none, as in the
/// original, which ignores bodies.
///
/// # Errors
/// 400 when the body is JSON of another form.
pub fn asked_backup(body: &[u8]) -> Result<Vec<DatabaseName>, ApiError> {
    if !is_json(body) {
        return Ok(Vec::new());
    }
    let Some(databases) = Fields::of(body, &["databases"])?.value("databases") else { return Ok(Vec::new()) };
    let wrong = || ApiError::bad_request("databases must be a list of names");
    let Value::Array(names) = databases else { return Err(wrong()) };
    // An empty list was hardly meant to be all.
    if names.is_empty() {
        return Err(ApiError::bad_request("databases is empty: leave it out to back up all"));
    }
    let name = |name: &Value| {
        let name = name.as_str().ok_or_else(wrong)?;
        DatabaseName::parse(name).map_err(|error| ApiError::bad_request(format!("databases {error}")))
    };
    names.iter().map(name).collect()
}

/// Queues a restore.
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

/// Parses a restore. Whether the backup and the files of SQL exist is not checked here.
///
/// # Errors
/// 400 when the body is not of that form or not confirmed, 404 when there is no such slot.
pub fn asked_restore(body: &[u8]) -> Result<Task, ApiError> {
    let body = RestoreBody::take(&mut Fields::of(body, &RESTORE_FIELDS)?)?;
    let target = target(body.target_db.as_deref())?;
    if !body.confirm {
        return Err(ApiError::bad_request("confirm must be true: a restore replaces the target database"));
    }
    let options = body.options()?;
    let chat = body.telegram_chat_id.as_deref().map(|chat| {
        let refused =
            || ApiError::bad_request("telegram_chat_id must be the number or @name of a chat, in quotes");
        Chat::parse(chat).ok_or_else(refused)
    });
    let chat = chat.transpose()?;
    match (body.source, chat) {
        (RestoreSource::Message(message), chat) => {
            Ok(Task::RestoreFromTelegram { message, chat, target, options })
        }
        (RestoreSource::File(_), Some(_)) => {
            Err(ApiError::bad_request("telegram_chat_id needs telegram_message_id"))
        }
        (RestoreSource::File(file), None) => {
            let (slot, name) = backup_named(&file)?;
            Ok(Task::Restore { slot, name, target, options })
        }
    }
}

/// Queues a test of the settings for Telegram.
pub fn test_telegram(app: &App, request: &Request) -> Result<Response, ApiError> {
    Fields::of(&request.body, &[])?;
    submit(app, Task::TestTelegram)
}

/// Queues a verification.
pub fn verify(app: &App, request: &Request) -> Result<Response, ApiError> {
    let (slot, name, restores) = asked_verification(&request.body)?;
    app.directory.open(slot, &name).map_err(refusal)?;
    submit(app, Task::Verify { slot, name, restores })
}

/// Parses a verification: the backup, and whether to restore it. Whether the backup exists is not checked here.
///
/// # Errors
/// 400 when the body is not of that form, 404 when there is no such slot.
pub fn asked_verification(body: &[u8]) -> Result<(Slot, BackupName, bool), ApiError> {
    let mut fields = Fields::of(body, &["file", "restore"])?;
    let (file, restores) = (fields.text("file")?.unwrap_or_default(), fields.flag("restore")?);
    backup_named(&file).map(|(slot, name)| (slot, name, restores))
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
        SubmitError::Random(_) => ApiError::internal("the job could not be queued", error),
    })?;
    Ok(Response::json(202, &json!({ "job_id": id })).with_header("Location", format!("/jobs/{id}")))
}

/// Lists all jobs.
pub fn list(app: &App) -> Response {
    Response::json(200, &JobList { jobs: app.jobs.list() })
}

/// Shows a job.
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
