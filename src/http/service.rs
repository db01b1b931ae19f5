//! The API behind the gate: token, rate limit of failures, download permits, and `/healthz`. All else is the backend's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::auth::Token;
use super::auth::limiter::AuthLimiter;
use super::backend::Backend;
use super::backend::liveness::Liveness;
use super::backend::semaphore::Semaphore;
use super::handlers::status;
use super::request::Method;
use super::router;
use super::traffic::Traffic;
use crate::gate::{ApiError, Body, Head, Incoming, Parts, Response, Service};

/// Answers the requests of the API's gate.
pub struct ApiService {
    /// The tokens.
    pub token: Token,
    /// Delays responses to wrong ones.
    pub auth_limiter: Arc<AuthLimiter>,
    /// Counts responses.
    pub traffic: Arc<Traffic>,
    /// Permits to send a file.
    pub downloads: Semaphore,
    /// How many of these there are.
    pub most_downloads: usize,
    /// Whether the pool makes progress.
    pub liveness: Arc<Liveness>,
    /// Has handlers answer.
    pub backend: Backend,
}

impl ApiService {
    /// Checks the token. Requests without the right one are rejected before tiny_http sees them.
    fn authorize(&self, head: &Head) -> Result<(), ApiError> {
        router::authorize(&self.token, &Method::named(&head.method), head.path(), &head.headers)
    }

    fn ask(&self, Incoming { head, body, .. }: &Incoming) -> Result<Response, ApiError> {
        self.authorize(head)?;
        self.liveness.record_request();
        let response = self.backend.ask(head, body)?;
        if head.method == "HEAD" { Ok(response) } else { self.permit_download(response) }
    }

    /// Takes a permit for a response with a file, to be given back when it has been sent.
    fn permit_download(&self, response: Response) -> Result<Response, ApiError> {
        let Body::Parts(parts) = response.body else { return Ok(response) };
        let permit = self.downloads.try_acquire().ok_or_else(|| {
            let message = format!("{} downloads are running already", self.most_downloads);
            ApiError::unavailable(message, 10)
        })?;
        let body = Body::Parts(Parts { guard: Some(Box::new(permit)), ..parts });
        Ok(Response { body, ..response })
    }
}

impl Service for ApiService {
    fn answer(&self, incoming: &Incoming) -> Response {
        // Answered here, so that it does not wait for a thread of the pool.
        if incoming.head.path() == "/healthz" && ["GET", "HEAD"].contains(&incoming.head.method.as_str()) {
            return self.liveness.check().map_or_else(Response::from, |()| status::health());
        }
        self.ask(incoming).unwrap_or_else(Response::from)
    }

    fn wants_body(&self, head: &Head) -> bool {
        self.authorize(head).is_ok()
    }

    fn response_delay(&self, incoming: &Incoming, response: &Response) -> Duration {
        match response.status {
            401 => self.auth_limiter.record_failure(incoming.peer, Instant::now()),
            _ => Duration::ZERO,
        }
    }

    fn is_probe(&self, path: &str) -> bool {
        ["/healthz", "/metrics"].contains(&path)
    }

    fn record_response(&self, path: &str, status: u16) {
        self.traffic.count(router::route(path), status);
    }

    fn record_refusal(&self) {
        self.traffic.count_refusal();
    }
}
