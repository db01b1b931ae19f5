//! Between the gate and tiny_http: hands each request over on one of the lines and takes the answer back. A file
//! or a long body does not come this way; the answer names it by a ticket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::auth::Token;
use super::crew::IN_FLIGHT;
use super::error::ApiError;
use super::gate::{Head, Incoming, Service};
use super::handlers::status;
use super::lines::Lines;
use super::message::{Body, Method, Response};
use super::permits::Permits;
use super::pulse::Pulse;
use super::router;
use super::throttle::Throttle;
use super::traffic::Traffic;

/// The header field that names a ticket. The gate's clients never see it.
pub const TICKET: &str = "X-Ticket";
/// The header fields that handlers read; the others stay behind.
const RELAYED: [&str; 7] = [
    "Authorization",
    "Range",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
];

/// Bodies of answers that are on their way.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<Drawn>);

#[derive(Debug, Default)]
struct Drawn {
    next: u64,
    bodies: BTreeMap<u64, Body>,
}

impl Tickets {
    /// Keeps what is to be sent, and answers its ticket. What nobody asks for goes when as many newer ones
    /// are there as can be on their way.
    pub fn draw(&self, body: Body) -> u64 {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = drawn.next;
        drawn.next += 1;
        drawn.bodies.insert(ticket, body);
        if drawn.bodies.len() > 2 * IN_FLIGHT {
            drawn.bodies.pop_first();
        }
        ticket
    }

    fn redeem(&self, ticket: u64) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bodies.remove(&ticket)
    }
}

/// The API behind the gate.
pub struct Relay {
    lines: Arc<Lines>,
    tickets: Arc<Tickets>,
    throttle: Arc<Throttle>,
    traffic: Arc<Traffic>,
    token: Token,
    downloads: Permits,
    most_downloads: usize,
    pulse: Arc<Pulse>,
}

impl Relay {
    /// A relay to the tiny_http that `lines` lead to, for so many downloads at one time.
    pub fn new(
        lines: Arc<Lines>,
        tickets: Arc<Tickets>,
        throttle: Arc<Throttle>,
        traffic: Arc<Traffic>,
        token: Token,
        most_downloads: usize,
        pulse: Arc<Pulse>,
    ) -> Self {
        let downloads = Permits::new(most_downloads);
        Self { lines, tickets, throttle, traffic, token, downloads, most_downloads, pulse }
    }

    fn relay(&self, incoming: &Incoming) -> Result<Response, ApiError> {
        // A stranger's request goes no further, whatever else may be wrong with it, and neither does one for more than
        // its token opens.
        let head = &incoming.head;
        router::authorize(&self.token, &Method::named(&head.method), head.path(), &head.headers)?;
        self.pulse.note_request();
        let answer = self.lines.ask(&request(incoming));
        let answer = answer.ok_or_else(|| ApiError::unavailable("too many requests are waiting", 1))?;
        let answer = answer.map_err(|error| {
            log::error!("the API does not answer: {error}");
            ApiError::unavailable("the API does not answer at the moment", 1)
        })?;
        self.with_body(answer, incoming.head.method == "HEAD")
    }

    fn with_body(&self, mut answer: Response, head_only: bool) -> Result<Response, ApiError> {
        let Some(at) = answer.headers.iter().position(|(name, _)| name == TICKET) else { return Ok(answer) };
        let (_, ticket) = answer.headers.swap_remove(at);
        let body = ticket.parse().ok().and_then(|ticket| self.tickets.redeem(ticket));
        let gone = || ApiError::internal("the answer cannot be sent", "its body is no longer there");
        let busy =
            || ApiError::unavailable(format!("{} downloads are running already", self.most_downloads), 10);
        answer.body = match body.ok_or_else(gone)? {
            Body::Files(files, _) if head_only => Body::Files(files, None),
            Body::Files(files, _) => Body::Files(files, Some(self.downloads.take().ok_or_else(busy)?)),
            bytes => bytes,
        };
        Ok(answer)
    }
}

impl Service for Relay {
    fn answer(&self, incoming: &Incoming) -> Response {
        // Whether anybody is alive does not depend on whether somebody is free, but on whether anybody will be.
        if incoming.head.path() == "/healthz" && ["GET", "HEAD"].contains(&incoming.head.method.as_str()) {
            return self.pulse.check().map_or_else(Response::from, |()| status::health());
        }
        self.relay(incoming).unwrap_or_else(Response::from)
    }

    fn wants_body(&self, head: &Head) -> bool {
        router::authorize(&self.token, &Method::named(&head.method), head.path(), &head.headers).is_ok()
    }

    fn hold_back(&self, incoming: &Incoming, response: &Response) -> Duration {
        match response.status {
            401 => self.throttle.note(incoming.peer, Instant::now()),
            _ => Duration::ZERO,
        }
    }

    fn is_probed(&self, path: &str) -> bool {
        ["/healthz", "/metrics"].contains(&path)
    }

    fn note_answer(&self, path: &str, status: u16) {
        self.traffic.count(path, status);
    }

    fn note_refusal(&self) {
        self.traffic.count_refusal();
    }
}

/// The request as tiny_http gets it. HEAD goes as GET: the gate leaves the body out. Its ranges are to be ignored
/// (RFC 9110, 14.2).
fn request(incoming: &Incoming) -> Vec<u8> {
    let is_head = incoming.head.method == "HEAD";
    let method = if is_head { "GET" } else { &incoming.head.method };
    let mut head = format!("{method} {} HTTP/1.1\r\n", incoming.head.target);
    for name in RELAYED.into_iter().filter(|name| !(is_head && name.ends_with("Range"))) {
        for value in incoming.head.headers.all(name) {
            // tiny_http takes ASCII alone. What is not matches nothing, but it is there.
            let value = if value.is_ascii() { value } else { "?" };
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n", incoming.body.len());
    [head.as_bytes(), &incoming.body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_that_nobody_redeems_do_not_pile_up() {
        let tickets = Tickets::default();
        let part = || Body::Bytes(Vec::new());
        let drawn: Vec<u64> = (0..100).map(|_| tickets.draw(part())).collect();
        assert!(tickets.redeem(drawn[0]).is_none());
        assert!(tickets.redeem(drawn[99]).is_some());
        assert!(tickets.redeem(drawn[99]).is_none());
    }
}
