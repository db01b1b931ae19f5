//! GET, PATCH and DELETE of /config.

use serde_json::{Map, Value, json};

use super::backups::RETRY_AFTER;
use crate::gate::{ApiError, Response};
use crate::http::app::App;
use crate::http::json::Fields;
use crate::http::request::Request;
use crate::service::live_settings::{ChangeError, Changes};
use crate::settings::{self, Access, Environment, Source, Variable};

/// Shows the effective value of every setting that may be changed; of secrets only whether they are set.
pub fn show(app: &App) -> Response {
    describe(&app.settings.environment())
}

/// Changes the overrides in the body, all or none.
pub fn change(app: &App, request: &Request) -> Result<Response, ApiError> {
    let changes = asked_changes(&request.body)?;
    let environment = app.settings.change(&changes).map_err(refusal)?;
    let keys: Vec<&str> = changes.keys().map(String::as_str).collect();
    log::info!("changed on request: {}", keys.join(", "));
    Ok(describe(&environment))
}

/// Parses the changes of a body, at least one. Whether the settings allow them is not checked here.
///
/// # Errors
/// 400 when it is not an object of plain values, or empty.
pub fn asked_changes(body: &[u8]) -> Result<Changes, ApiError> {
    let changes = Fields::parse(body)?.into_iter().map(|(key, value)| {
        let change = asked_change(&key, value)?;
        Ok((key, change))
    });
    let changes: Changes = changes.collect::<Result<_, ApiError>>()?;
    match changes.is_empty() {
        true => Err(ApiError::bad_request("the body names no setting to change")),
        false => Ok(changes),
    }
}

/// Clears one override.
pub fn clear(app: &App, key: &str) -> Result<Response, ApiError> {
    app.settings.clear(key).map_err(refusal)?;
    log::info!("cleared on request: {key}");
    Ok(Response::json(200, &json!({ "cleared": key })))
}

fn refusal(error: ChangeError) -> ApiError {
    match &error {
        ChangeError::Forbidden(_) => ApiError::new(403, error.to_string()),
        ChangeError::NotOverridden(_) => ApiError::not_found(error.to_string()),
        ChangeError::Bad(_) => ApiError::bad_request(error.to_string()),
        ChangeError::Scheduler(_) => {
            log::error!("{error}");
            ApiError::new(500, format!("{error}; nothing was changed"))
        }
        ChangeError::Busy => ApiError::unavailable(error.to_string(), RETRY_AFTER),
        ChangeError::Write(_) => ApiError::internal("the change could not be kept", error),
    }
}

fn describe(environment: &Environment) -> Response {
    let mut config = Map::new();
    for variable in Variable::mutable() {
        config.insert(variable.name.to_owned(), describe_one(environment, variable));
    }
    Response::json(200, &json!({ "config": config }))
}

fn describe_one(environment: &Environment, variable: &Variable) -> Value {
    let found = environment.find(variable).unwrap_or_else(|problem| {
        log::warn!("{} {problem}", variable.name);
        None
    });
    let text = found.as_ref().map_or(variable.default, |found| &found.text);
    let from = found.as_ref().map(|found| found.source);
    let source = if from == Some(Source::Override) { "override" } else { "base" };
    let mut shown = match variable.access {
        Access::WriteOnly => json!({"set": !text.is_empty(), "source": source}),
        _ => json!({"value": settings::shown(variable, text), "source": source}),
    };
    if from == Some(Source::File) && environment.overrides().get(variable.name).is_some() {
        shown["shadowed_by"] = variable.file_twin().into();
    }
    shown
}

/// The new value of a setting; `None` to remove the override.
fn asked_change(key: &str, value: Value) -> Result<Option<String>, ApiError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Bool(flag) => Ok(Some(if flag { "TRUE" } else { "FALSE" }.to_owned())),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
        _ => Err(ApiError::bad_request(format!("{key} must be a string, whole number, boolean or null"))),
    }
}
