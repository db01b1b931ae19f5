//! GET, PATCH and DELETE of /config.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::App;
use super::backups::RETRY_AFTER;
use crate::http::error::ApiError;
use crate::http::json::parse_object;
use crate::http::message::{Request, Response};
use crate::live_settings::{ChangeError, Changes};
use crate::settings::{self, Access, Environment, Source, Variable};

/// The effective value of everything that may be changed; of secrets only whether they are set.
pub fn show(app: &App) -> Response {
    describe(&app.settings.environment())
}

/// Changes overrides, all of those in the body or none.
pub fn change(app: &App, request: &Request) -> Result<Response, ApiError> {
    let changes = asked_changes(&request.body)?;
    let environment = app.settings.change(&changes).map_err(refusal)?;
    let keys: Vec<&str> = changes.keys().map(String::as_str).collect();
    log::info!("changed on request: {}", keys.join(", "));
    Ok(describe(&environment))
}

/// The changes that a body asks for, at least one; what the settings make of them is not looked at.
///
/// # Errors
/// 400 when it is no object of single keys and plain values, or is empty.
pub fn asked_changes(body: &[u8]) -> Result<Changes, ApiError> {
    let ConfigBody(changes) = parse_object(body)?;
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

/// An object of settings. serde's own maps keep the last of two equal keys; here they are an error.
struct ConfigBody(Changes);

impl<'de> Deserialize<'de> for ConfigBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ConfigVisitor)
    }
}

struct ConfigVisitor;

impl<'de> Visitor<'de> for ConfigVisitor {
    type Value = ConfigBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ConfigBody, A::Error> {
        let mut changes = Changes::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            let text = match value {
                Value::Null => None,
                Value::String(text) => Some(text),
                Value::Bool(flag) => Some(if flag { "TRUE" } else { "FALSE" }.to_owned()),
                Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
                _ => {
                    return Err(A::Error::custom(format_args!(
                        "{key} must be a string, whole number, boolean or null"
                    )));
                }
            };
            if changes.insert(key.clone(), text).is_some() {
                return Err(A::Error::custom(format_args!("{key} is there twice")));
            }
        }
        Ok(ConfigBody(changes))
    }
}
