//! GET /history.

use serde::Serialize;

use crate::gate::{ApiError, Response};
use crate::http::app::App;
use crate::http::request::Request;
use crate::store::records::history::{self, REMEMBERED, Run};

/// The default of `limit`.
const SHOWN: usize = 100;

#[derive(Serialize)]
struct History {
    history: Vec<Run>,
}

/// Shows the newest runs.
pub fn show(app: &App, request: &Request) -> Result<Response, ApiError> {
    let limit = match request.parameter("limit") {
        None => SHOWN,
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=REMEMBERED).contains(limit)).ok_or_else(|| {
                ApiError::bad_request(format!("limit must be a whole number from 1 to {REMEMBERED}"))
            })?
        }
    };
    let mut history = history::newest(&app.directory, limit)
        .map_err(|error| ApiError::internal("the history cannot be read", error))?;
    for run in &mut history {
        app.clean(&mut run.error, &mut run.databases);
    }
    Ok(Response::json(200, &History { history }))
}
