//! Errors of requests: a status code and one sentence.

/// A response that is an error.
#[derive(Debug)]
pub struct ApiError {
    /// Its status code.
    pub status: u16,
    pub(super) message: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl ApiError {
    /// An error with this status and sentence.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: one_line(message.into()), headers: Vec::new() }
    }

    /// 400: the request is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 404: there is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// 405: the path exists, but not for this method.
    pub fn method_not_allowed(allowed: &str) -> Self {
        Self::new(405, format!("the method must be one of {allowed}")).with_header("Allow", allowed)
    }

    /// 500: our fault. The cause goes to the log, not into the response.
    pub fn internal(what: &str, error: impl std::fmt::Display) -> Self {
        log::error!("{what}: {error}");
        Self::new(500, format!("{what}; the log says why"))
    }

    /// 503: not now; try again after so many seconds.
    pub fn unavailable(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(503, message).with_header("Retry-After", retry_after.to_string())
    }

    /// Adds a header field to the response.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Escapes control characters: a sentence may quote a request, but stays one line.
fn one_line(message: String) -> String {
    if !message.contains(char::is_control) {
        return message;
    }
    message.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() }).collect()
}
