//! The API server: the gate in front, tiny_http behind it on a Unix socket that only we can reach, and the
//! fixed pool of threads that answer.

use std::io::{self, Cursor};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tempfile::TempDir;
use tiny_http::Header;

use super::auth::Token;
use super::error::ApiError;
use super::gate::{Gate, limits};
use super::handlers::App;
use super::message::{Body, Headers, Method, Request, Response, Target};
use super::relay::{Relay, TICKET, Tickets};
use super::router;

/// Threads that answer requests.
const POOL: usize = 8;
/// The longest body that goes through tiny_http and back, in bytes. It would copy a long one in small steps.
const SHORT: usize = 64 * 1024;
/// How often it is seen to that all threads are there.
const ROUND: Duration = Duration::from_millis(250);

/// The running server.
pub struct Server {
    gate: Gate,
    behind: Arc<Behind>,
    watching: JoinHandle<()>,
    _directory: TempDir,
}

/// What answers behind the gate.
struct Behind {
    socket: PathBuf,
    app: Arc<App>,
    token: Token,
    tickets: Arc<Tickets>,
    stopping: AtomicBool,
    hand_over: Sender<tiny_http::Request>,
    requests: Receiver<tiny_http::Request>,
}

impl Server {
    /// Begins to answer.
    ///
    /// # Errors
    /// When a thread cannot be started, or there is no place for the socket in the directory for temporary
    /// files.
    pub fn start(listener: TcpListener, app: Arc<App>, token: Token) -> io::Result<Self> {
        limits::raise_descriptors();
        // Made with mode 0700: nobody else reaches tiny_http without passing the gate.
        let directory = tempfile::Builder::new().prefix("backupgram-").tempdir()?;
        let (hand_over, requests) = bounded(POOL);
        let tickets = Arc::new(Tickets::default());
        let relay = Relay::new(
            directory.path().join("api"),
            Arc::clone(&tickets),
            Arc::clone(&app.throttle),
            token.clone(),
        );
        let behind = Arc::new(Behind {
            socket: directory.path().join("api"),
            app,
            token,
            tickets,
            stopping: AtomicBool::new(false),
            hand_over,
            requests,
        });
        let mut crew = Crew::start(&behind)?;
        let watched = Arc::clone(&behind);
        let watching =
            thread::Builder::new().name("http watch".into()).spawn(move || crew.watch(&watched))?;
        let gate = Gate::open("gate", listener, limits::connections(), Arc::new(relay))?;
        Ok(Self { gate, behind, watching, _directory: directory })
    }

    /// Takes no more requests.
    pub fn stop(self) {
        self.gate.close();
        self.behind.stopping.store(true, Ordering::Relaxed);
        if self.watching.join().is_err() {
            log::error!("the watch over the HTTP threads had panicked");
        }
    }
}

/// The threads behind the gate.
struct Crew {
    listener: Arc<tiny_http::Server>,
    accepting: JoinHandle<()>,
    pool: Vec<JoinHandle<()>>,
}

impl Crew {
    fn start(behind: &Arc<Behind>) -> io::Result<Self> {
        let (listener, accepting) = start_accepting(behind)?;
        let pool: io::Result<Vec<_>> = (0..POOL).map(|_| start_answering(behind)).collect();
        Ok(Self { listener, accepting, pool: pool? })
    }

    /// Puts back whatever thread has ended, until the server stops.
    fn watch(&mut self, behind: &Arc<Behind>) {
        while !behind.stopping.load(Ordering::Relaxed) {
            thread::park_timeout(ROUND);
            if self.accepting.is_finished() && !behind.stopping.load(Ordering::Relaxed) {
                log::error!("the accept loop has ended and is started again");
                match start_accepting(behind) {
                    Ok((listener, accepting)) => (self.listener, self.accepting) = (listener, accepting),
                    Err(error) => log::error!("the accept loop cannot be started: {error}"),
                }
            }
            for thread in self.pool.iter_mut().filter(|thread| thread.is_finished()) {
                log::error!("a thread of the pool has ended and is started again");
                match start_answering(behind) {
                    Ok(started) => *thread = started,
                    Err(error) => log::error!("a thread of the pool cannot be started: {error}"),
                }
            }
        }
        self.listener.unblock();
    }
}

fn start_accepting(behind: &Arc<Behind>) -> io::Result<(Arc<tiny_http::Server>, JoinHandle<()>)> {
    // One that is left of a listener that ended.
    let _ = std::fs::remove_file(&behind.socket);
    let listener = tiny_http::Server::http_unix(&behind.socket).map_err(io::Error::other)?;
    let listener = Arc::new(listener);
    let (accepted, behind) = (Arc::clone(&listener), Arc::clone(behind));
    let accepting = thread::Builder::new().name("accept".into()).spawn(move || {
        for request in accepted.incoming_requests() {
            // The relay lets no more requests through than can soon be taken.
            if behind.hand_over.send(request).is_err() {
                break;
            }
        }
    })?;
    Ok((listener, accepting))
}

fn start_answering(behind: &Arc<Behind>) -> io::Result<JoinHandle<()>> {
    let behind = Arc::clone(behind);
    thread::Builder::new().name("http".into()).spawn(move || {
        while let Ok(mut incoming) = behind.requests.recv() {
            let answered = catch_unwind(AssertUnwindSafe(|| behind.answer(&mut incoming)));
            let response = answered
                .unwrap_or_else(|_| ApiError::internal("the request failed", "a handler panicked").into());
            behind.send(incoming, response);
        }
    })
}

impl Behind {
    fn answer(&self, incoming: &mut tiny_http::Request) -> Response {
        match read_request(&self.token, incoming) {
            Ok(request) => router::answer(&self.app, &self.token, &request),
            Err(error) => error.into(),
        }
    }

    fn send(&self, request: tiny_http::Request, response: Response) {
        let field = |name: &str, value: &str| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok();
        let mut headers: Vec<Header> =
            response.headers.iter().filter_map(|(name, value)| field(name, value)).collect();
        let bytes = match response.body {
            Body::Bytes(bytes) if bytes.len() <= SHORT => bytes,
            body => {
                headers.extend(field(TICKET, &self.tickets.draw(body).to_string()));
                Vec::new()
            }
        };
        let length = bytes.len();
        let answer =
            tiny_http::Response::new(response.status.into(), headers, Cursor::new(bytes), Some(length), None)
                .with_chunked_threshold(usize::MAX);
        if let Err(error) = request.respond(answer) {
            log::error!("an answer did not reach the gate: {error}");
        }
    }
}

fn read_request(token: &Token, incoming: &mut tiny_http::Request) -> Result<Request, ApiError> {
    let fields = incoming.headers().iter();
    let headers = Headers(fields.map(|field| (field.field.to_string(), field.value.to_string())).collect());
    let target = match Target::parse(incoming.url()) {
        Ok(target) => target,
        // Nothing else is looked at before the token.
        Err(error) => return Err(token.check(&headers).err().unwrap_or(error)),
    };
    let mut body = Vec::new();
    incoming.as_reader().read_to_end(&mut body).map_err(|_| ApiError::bad_request("the body ended early"))?;
    Ok(Request { method: method(incoming.method()), target, headers, body })
}

fn method(method: &tiny_http::Method) -> Method {
    match method {
        tiny_http::Method::Get => Method::Get,
        tiny_http::Method::Post => Method::Post,
        tiny_http::Method::Patch => Method::Patch,
        tiny_http::Method::Delete => Method::Delete,
        _ => Method::Other,
    }
}
