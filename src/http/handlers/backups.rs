//! GET /backups, and GET and DELETE of one of them.

use std::sync::PoisonError;

use serde::Serialize;
use serde_json::json;

use super::App;
use crate::catalog::{BackupName, DirectoryError, Entry, Listed, Slot};
use crate::http::download;
use crate::http::error::ApiError;
use crate::http::message::{Request, Response};

#[derive(Serialize)]
struct Inventory<'a> {
    backups: Vec<Listed<'a>>,
}

/// Every backup, or those of one slot or database.
pub fn list(app: &App, request: &Request) -> Result<Response, ApiError> {
    let _listing = app.listing.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = match request.parameter("slot") {
        Some(name) => {
            let slot = Slot::named(name).ok_or_else(|| ApiError::bad_request("there is no such slot"))?;
            app.directory.list(slot)
        }
        None => app.directory.list_all(),
    };
    let entries = entries.map_err(refusal)?;
    let database = request.parameter("database");
    let wanted = |entry: &&Entry| match (database, &entry.database) {
        (Some(wanted), Some(database)) => database.as_str() == wanted,
        (wanted, _) => wanted.is_none(),
    };
    let listed: Vec<Listed> = entries.iter().filter(wanted).map(Listed::from).collect();
    Ok(Response::json(200, &Inventory { backups: listed }))
}

/// One backup's bytes.
pub fn download(app: &App, request: &Request, slot: &str, name: &str) -> Result<Response, ApiError> {
    let (slot, name) = locate(slot, name)?;
    let opened = app.directory.open(slot, &name).map_err(refusal)?;
    if opened.is_directory() {
        return download::answer_archive(opened, name.as_str());
    }
    let manifest = app.directory.manifest(slot, &opened.name).map_err(refusal)?;
    download::answer(request, opened, manifest.as_ref(), name.as_str())
}

/// Deletes one backup.
pub fn delete(app: &App, request: &Request, slot: &str, name: &str) -> Result<Response, ApiError> {
    let (slot, name) = locate(slot, name)?;
    if request.parameter("confirm") != Some("true") {
        return Err(ApiError::bad_request("deleting a backup needs confirm=true"));
    }
    app.directory.remove(slot, &name).map_err(refusal)?;
    log::info!("deleted {slot}/{name} on request");
    Ok(Response::json(200, &json!({ "deleted": name })))
}

/// The slot and name in a path.
pub fn locate(slot: &str, name: &str) -> Result<(Slot, BackupName), ApiError> {
    let slot = Slot::named(slot).ok_or_else(|| ApiError::not_found("there is no such slot"))?;
    let name = BackupName::parse(name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok((slot, name))
}

/// A failure of the backup directory as an answer, which names no path of the container.
pub fn refusal(error: DirectoryError) -> ApiError {
    match error {
        DirectoryError::NotFound(..) | DirectoryError::NotABackup(..) => {
            ApiError::not_found(error.to_string())
        }
        error => ApiError::internal("the backup directory cannot be used", error),
    }
}
