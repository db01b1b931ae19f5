//! GET /config.

use serde_json::{Map, Value, json};

use super::App;
use crate::http::error::ApiError;
use crate::http::message::Response;
use crate::settings::{Access, Environment, Source, Variable};

/// The effective value of everything that may be changed; of secrets only whether they are set.
pub fn show(app: &App) -> Result<Response, ApiError> {
    Ok(Response::json(200, &json!({ "config": describe(&app.environment) })))
}

fn describe(environment: &Environment) -> Map<String, Value> {
    Variable::mutable()
        .map(|variable| (variable.name.to_owned(), describe_one(environment, variable)))
        .collect()
}

fn describe_one(environment: &Environment, variable: &Variable) -> Value {
    let found = environment.find(variable).unwrap_or_else(|problem| {
        log::warn!("{} {problem}", variable.name);
        None
    });
    let text = found.as_ref().map_or(variable.default, |found| &found.text);
    let is_override = found.as_ref().is_some_and(|found| found.source == Source::Override);
    let source = if is_override { "override" } else { "base" };
    match variable.access {
        Access::WriteOnly => json!({"set": !text.is_empty(), "source": source}),
        _ => json!({"value": text, "source": source}),
    }
}
