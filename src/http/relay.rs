//! Between the gate and tiny_http: hands each request over on a Unix socket of its own and takes the answer
//! back. A file or a long body does not come this way; the answer names it by a ticket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::auth::Token;
use super::error::ApiError;
use super::gate::{Incoming, Service};
use super::handlers::status;
use super::message::{Body, Response};
use super::permits::{Permit, Permits};
use super::throttle::Throttle;

/// Requests that are with tiny_http at one time: those that its pool answers, and as many that wait. Each
/// takes four file descriptors.
const IN_FLIGHT: usize = 16;
/// Requests that wait to be handed over. With those in flight, the downloads and the answers that are held back
/// they are fewer than the connections: whoever asks whether we live always finds a slot that gives way.
const WAITING: usize = 48;
/// How long a request waits to be handed over.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take. The slowest, a new schedule, takes two seconds.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Downloads at one time.
const DOWNLOADS: usize = 16;
/// The header field that names a ticket. The gate's clients never see it.
pub const TICKET: &str = "X-Ticket";
/// The header fields that handlers read; the others stay behind.
const RELAYED: [&str; 5] = ["Authorization", "Range", "If-Range", "If-None-Match", "If-Modified-Since"];

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
    socket: PathBuf,
    tickets: Arc<Tickets>,
    throttle: Arc<Throttle>,
    token: Token,
    in_flight: Permits,
    waiting: Permits,
    downloads: Permits,
}

impl Relay {
    /// A relay to the tiny_http that listens at `socket`.
    pub fn new(socket: PathBuf, tickets: Arc<Tickets>, throttle: Arc<Throttle>, token: Token) -> Self {
        let (in_flight, waiting) = (Permits::new(IN_FLIGHT), Permits::new(WAITING));
        Self { socket, tickets, throttle, token, in_flight, waiting, downloads: Permits::new(DOWNLOADS) }
    }

    fn relay(&self, incoming: &Incoming) -> Result<Response, ApiError> {
        // A stranger's request goes no further, whatever else may be wrong with it.
        self.token.check(&incoming.head.headers)?;
        let _permit = self.turn().ok_or_else(|| ApiError::unavailable("too many requests are waiting", 1))?;
        let answer = self.exchange(incoming).map_err(|error| {
            log::error!("the API does not answer: {error}");
            ApiError::unavailable("the API does not answer at the moment", 1)
        })?;
        self.with_body(answer, incoming.head.method == "HEAD")
    }

    /// Leave to hand a request over.
    fn turn(&self) -> Option<Permit> {
        self.in_flight.take(Duration::ZERO).or_else(|| {
            let _place = self.waiting.take(Duration::ZERO)?;
            self.in_flight.take(PATIENCE)
        })
    }

    fn exchange(&self, incoming: &Incoming) -> io::Result<Response> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        // Closed after one answer: tiny_http may park a new connection behind one that stays open.
        stream.write_all(&[request_head(incoming).as_bytes(), &incoming.body].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer broke off"))
    }

    fn with_body(&self, mut answer: Response, head_only: bool) -> Result<Response, ApiError> {
        let Some(at) = answer.headers.iter().position(|(name, _)| name == TICKET) else { return Ok(answer) };
        let (_, ticket) = answer.headers.swap_remove(at);
        let body = ticket.parse().ok().and_then(|ticket| self.tickets.redeem(ticket));
        let gone = || ApiError::internal("the answer cannot be sent", "its ticket is gone");
        let busy = || ApiError::unavailable(format!("{DOWNLOADS} downloads are going on already"), 10);
        answer.body = match body.ok_or_else(gone)? {
            Body::Files(files, _) if head_only => Body::Files(files, None),
            Body::Files(files, _) => {
                Body::Files(files, Some(self.downloads.take(Duration::ZERO).ok_or_else(busy)?))
            }
            bytes => bytes,
        };
        Ok(answer)
    }
}

impl Service for Relay {
    fn answer(&self, incoming: &Incoming) -> Response {
        // Whether anybody is alive does not depend on whether somebody is free.
        if incoming.head.path() == "/healthz" && ["GET", "HEAD"].contains(&incoming.head.method.as_str()) {
            return status::health();
        }
        let response = self.relay(incoming).unwrap_or_else(Response::from);
        if response.status == 401 {
            self.throttle.punish(incoming.peer);
        }
        response
    }

    fn is_probed(&self, path: &str) -> bool {
        path == "/healthz"
    }
}

/// The request as tiny_http gets it. HEAD goes as GET: the gate leaves the body out.
fn request_head(incoming: &Incoming) -> String {
    let method = if incoming.head.method == "HEAD" { "GET" } else { &incoming.head.method };
    let mut head = format!("{method} {} HTTP/1.1\r\n", incoming.head.target);
    for name in RELAYED {
        for value in incoming.head.headers.all(name) {
            // tiny_http takes ASCII alone. What is not matches nothing, but it is there.
            let value = if value.is_ascii() { value } else { "?" };
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    let _ = write!(head, "Content-Length: {}\r\nConnection: close\r\n\r\n", incoming.body.len());
    head
}

/// An answer of tiny_http, without what the gate says by itself.
fn parse(bytes: Vec<u8>) -> Option<Response> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(&bytes) else { return None };
    let status = head.code?;
    let mut headers = Vec::new();
    let mut promised = None;
    for field in head.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        match field.name {
            "Content-Length" => promised = value.parse().ok(),
            "Server" | "Date" | "Connection" => {}
            name => headers.push((name.to_owned().into(), value.into_owned())),
        }
    }
    let body = bytes[length..].to_vec();
    (promised.unwrap_or(0) == body.len()).then_some(Response { status, headers, body: Body::Bytes(body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_broke_off_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nServer: x\r\nA: b\r\nContent-Length: 2\r\n\r\nok";
        let response = parse(whole.to_vec()).unwrap();
        assert_eq!(response.headers, [("A".into(), "b".to_owned())]);
        for length in 0..whole.len() {
            assert!(parse(whole[..length].to_vec()).is_none(), "{length}");
        }
    }

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
