//! GET /openapi.json: all of this API, for programs.

use crate::http::message::Response;

/// What `scripts/openapi.sh` makes of `docs/openapi.yaml`.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The document.
pub fn show() -> Response {
    Response::of_json_text(200, DOCUMENT.into())
}
