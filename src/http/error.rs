//! What goes wrong with a request, as a status code and one sentence.

use serde_json::json;

use super::message::Response;

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError {
    /// Its status code.
    pub status: u16,
    message: String,
    headers: Vec<(&'static str, String)>,
}

impl ApiError {
    /// An error with this status and sentence.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: one_line(message.into()), headers: Vec::new() }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 401, the same for every reason and every path.
    pub fn unauthorized() -> Self {
        Self::new(401, "a valid bearer token is required").with_header("WWW-Authenticate", "Bearer")
    }

    /// 403: the token for reading does not open this, whether there is such a thing or not.
    pub fn read_only() -> Self {
        Self::new(403, "REST_API_READ_TOKEN gives no access to this: use REST_API_TOKEN")
    }

    /// 404: there is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// 405: the thing is there, but not for this method.
    pub fn method_not_allowed(allowed: &str) -> Self {
        Self::new(405, format!("the method must be one of {allowed}")).with_header("Allow", allowed)
    }

    /// 500: our fault. The reason goes to the log; the answer names no path and no cause.
    pub fn internal(what: &str, error: impl std::fmt::Display) -> Self {
        log::error!("{what}: {error}");
        Self::new(500, format!("{what}; the log says why"))
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(503, message).with_header("Retry-After", retry_after.to_string())
    }

    /// The error with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A sentence may quote what a request said, but stays one line.
fn one_line(message: String) -> String {
    if !message.contains(char::is_control) {
        return message;
    }
    message.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() }).collect()
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Self {
        let mut response = Self::json(error.status, &json!({ "error": error.message }));
        response.headers.extend(error.headers.into_iter().map(|(name, value)| (name.into(), value)));
        response
    }
}
