//! GET /openapi.json: the description of this API.

use crate::gate::Response;

/// Made of `docs/openapi.yaml` by `scripts/openapi.sh`.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// Shows the description.
pub fn show() -> Response {
    Response::of_json_text(200, DOCUMENT.into())
}
