//! GET /backups, and GET and DELETE of one of them.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::gate::{ApiError, Response};
use crate::http::app::App;
use crate::http::download;
use crate::http::download::version::Version;
use crate::http::request::Request;
use crate::http::volume::VolumeError;
use crate::store::catalog::{BackupDirectory, BackupName, DirectoryError, Entry, Listed, Opened, Slot};

/// The typical length of a backup's JSON in bytes.
const SHOWN: usize = 256;
/// How long a deletion waits for the lock on the names.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits when half of the pool waits already: the other half is for requests that need no lock.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// `Retry-After` when something is locked, in seconds.
pub const RETRY_AFTER: u32 = 10;

#[derive(Serialize)]
struct Inventory<'a> {
    #[serde(serialize_with = "one_by_one")]
    backups: &'a [Entry],
}

/// Each is made when it is written: all at once would take another megabyte for 10,000.
fn one_by_one<S: Serializer>(entries: &[Entry], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(entries.iter().map(Listed::from))
}

/// Lists all backups, or those of one slot or database.
pub fn list(app: &App, request: &Request) -> Result<Response, ApiError> {
    let slot = match request.parameter("slot") {
        Some(name) => Some(Slot::named(name).ok_or_else(|| ApiError::bad_request("there is no such slot"))?),
        None => None,
    };
    let (directory, database) = (app.directory.clone(), request.parameter("database").map(String::from));
    let made = app.volume.read(move || inventory(&directory, slot, database.as_deref()));
    made.map_err(not_listed)?.map_err(refusal)
}

/// The response to a list that was not made.
pub fn not_listed(error: VolumeError) -> ApiError {
    match error {
        VolumeError::Stalled => ApiError::unavailable(error.to_string(), RETRY_AFTER),
        error => ApiError::internal("the backups cannot be listed", error),
    }
}

fn inventory(
    directory: &BackupDirectory,
    slot: Option<Slot>,
    database: Option<&str>,
) -> Result<Response, DirectoryError> {
    let mut entries = match slot {
        Some(slot) => directory.list(slot)?,
        None => directory.list_all()?,
    };
    if let Some(wanted) = database {
        entries.retain(|entry| entry.database.as_ref().is_some_and(|database| database.as_str() == wanted));
    }
    Ok(Response::json_of_length(200, &Inventory { backups: &entries }, SHOWN * (1 + entries.len())))
}

/// Sends a backup.
pub fn download(app: &App, request: &Request, slot: &str, name: &str) -> Result<Response, ApiError> {
    let (slot, name) = locate(slot, name)?;
    let opened = app.directory.open(slot, &name).map_err(refusal)?;
    let version = version(app, slot, &opened)?;
    version.check(&request.headers)?;
    match opened.is_directory() {
        true => download::answer_archive(opened, name.as_str()),
        false => download::answer(request, opened, &version, name.as_str()),
    }
}

/// The current version of a backup, for conditional requests.
fn version(app: &App, slot: Slot, opened: &Opened) -> Result<Version, ApiError> {
    let manifest = match opened.is_directory() {
        true => None,
        false => app.directory.manifest_of(slot, opened)?,
    };
    Ok(Version::of(opened, manifest.as_ref()))
}

/// Deletes one backup.
pub fn delete(app: &App, request: &Request, slot: &str, name: &str) -> Result<Response, ApiError> {
    let (slot, name) = locate(slot, name)?;
    if request.parameter("confirm") != Some("true") {
        return Err(ApiError::bad_request("deleting a backup needs confirm=true"));
    }
    let waiter = app.lock_waiters.try_acquire();
    let patience = if waiter.is_some() { PATIENCE } else { LAST_PATIENCE };
    app.directory.remove_agreed(patience, slot, &name, || match Version::is_asked_for(&request.headers) {
        true => {
            let opened = app.directory.open(slot, &name)?;
            version(app, slot, &opened)?.check(&request.headers)
        }
        false => Ok(()),
    })?;
    log::info!("deleted {slot}/{name} on request");
    Ok(Response::json(200, &json!({ "deleted": name })))
}

/// Parses the slot and name of a path.
pub fn locate(slot: &str, name: &str) -> Result<(Slot, BackupName), ApiError> {
    let slot = Slot::named(slot).ok_or_else(|| ApiError::not_found("there is no such slot"))?;
    let name = BackupName::parse(name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok((slot, name))
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        refusal(error)
    }
}

/// The response to an error of the backup directory; it names no path of the container.
pub fn refusal(error: DirectoryError) -> ApiError {
    match error {
        DirectoryError::NotFound(..) | DirectoryError::NotABackup(..) => {
            ApiError::not_found(error.to_string())
        }
        DirectoryError::NamesHeld => {
            log::warn!("{error}");
            ApiError::unavailable(error.to_string(), RETRY_AFTER)
        }
        error => ApiError::internal("the backup directory cannot be used", error),
    }
}
