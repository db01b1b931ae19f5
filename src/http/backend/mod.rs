//! tiny_http behind the gate: an accept loop hands requests to a fixed thread pool.
//!
//! Each request goes to tiny_http over a Unix connection of its own, with `Connection: close` and a request number. The
//! response does not come back that way: the pool leaves it under the number and has tiny_http answer 204. So a file
//! stays a file, and nothing is copied or parsed twice. The body waits under the number as well: for one of more than
//! 1 KiB tiny_http would keep a thread until the handler has ended.

pub(super) mod liveness;
pub(super) mod semaphore;
pub(super) mod wire;

pub use semaphore::Semaphore;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tempfile::TempDir;

use crate::gate::{ApiError, Head, Response};
use crate::http::request::Request;
use crate::util::mutex::lock;
use crate::util::unwind;
use liveness::Liveness;

/// Threads that run handlers.
pub const POOL: usize = 8;
/// Requests that are with tiny_http at a time: those that handlers work on, and as many that wait for a thread. Each
/// takes three file descriptors.
pub const IN_FLIGHT: usize = 2 * POOL;
/// How long a request waits to be sent to tiny_http.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a handler may take. The slowest, a change of the schedule, takes two seconds.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How often [`Handler::tick`] is called at least.
const TICK: Duration = Duration::from_millis(250);

/// Answers the requests that reach the pool.
pub trait Handler: Send + Sync + 'static {
    /// Makes the response to a request. A panic is answered with 500.
    fn handle(&self, request: &Request) -> Response;

    /// Called several times a second, for what is to be done now and then.
    fn tick(&self) {}
}

/// The way from a connection's thread to a handler and back.
pub struct Backend {
    shared: Arc<Shared>,
    in_flight: Semaphore,
    queue: usize,
}

/// The running accept loop.
pub struct AcceptLoop {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    /// Where the sockets are; the directory has mode 0700.
    directory: PathBuf,
    /// tiny_http's current listener. It is replaced when its accept thread has died.
    listener: Mutex<Arc<Listener>>,
    /// Listeners that there have been. Each has a path of its own, as tiny_http removes the path when it is dropped.
    listeners: AtomicU64,
    /// Requests that there have been.
    requests: AtomicU64,
    /// What has become of each request that somebody waits for, by its number.
    pending: Mutex<HashMap<u64, Progress>>,
    pool: Sender<tiny_http::Request>,
    liveness: Arc<Liveness>,
    handler: Box<dyn Handler>,
    stopping: AtomicBool,
}

struct Listener {
    server: tiny_http::Server,
    path: PathBuf,
}

/// How far a request has come.
enum Progress {
    /// No handler has it yet, nor this body of it.
    Sent(Vec<u8>),
    /// A handler works on it.
    Started,
    Answered(Response),
}

/// Why a request has no response.
struct Failure {
    error: io::Error,
    /// Whether it can be sent again: no handler has begun, and it has not taken long.
    can_be_repeated: bool,
}

impl Backend {
    /// Starts the accept loop and the pool. At most `in_flight` requests are with tiny_http at a time, and at most
    /// `queue` others wait for that.
    ///
    /// # Errors
    /// When a thread cannot be started or the socket not be created in the directory for temporary files.
    pub fn start(
        in_flight: usize,
        queue: usize,
        liveness: Arc<Liveness>,
        handler: impl Handler,
    ) -> io::Result<(Self, AcceptLoop)> {
        let directory = tempfile::Builder::new().prefix("backupgram-").tempdir()?;
        let (pool, requests) = bounded(IN_FLIGHT);
        let listener = Listener::start(directory.path().join("api-0"))?;
        let shared = Arc::new(Shared {
            directory: directory.path().to_owned(),
            listener: Mutex::new(Arc::new(listener)),
            listeners: AtomicU64::new(1),
            requests: AtomicU64::new(0),
            pending: Mutex::default(),
            pool,
            liveness,
            handler: Box::new(handler),
            stopping: AtomicBool::new(false),
        });
        for _ in 0..POOL {
            let (shared, requests) = (Arc::clone(&shared), requests.clone());
            thread::Builder::new().name("http".into()).spawn(move || shared.run_handlers(&requests))?;
        }
        let accepting = Arc::clone(&shared);
        let accept = thread::Builder::new().name("accept".into());
        let thread = accept.spawn(move || accepting.accept(directory))?;
        let backend = Self { shared: Arc::clone(&shared), in_flight: Semaphore::new(in_flight), queue };
        Ok((backend, AcceptLoop { shared, thread }))
    }

    /// Has a handler answer a request.
    ///
    /// # Errors
    /// 503 when too many others wait, or no handler has answered in time.
    pub fn ask(&self, head: &Head, body: &[u8]) -> Result<Response, ApiError> {
        let permit = self.in_flight.acquire(self.queue, PATIENCE);
        let _permit = permit.ok_or_else(|| ApiError::unavailable("too many requests are waiting", 1))?;
        let response = match self.shared.ask(head, body) {
            // tiny_http has died with it.
            Err(failure) if failure.can_be_repeated => self.shared.ask(head, body),
            response => response,
        };
        response.map_err(|Failure { error, .. }| {
            log::error!("the API does not answer: {error}");
            ApiError::unavailable("the API does not answer at the moment", 1)
        })
    }
}

impl AcceptLoop {
    /// Ends the loop. Requests that handlers work on are still answered.
    pub fn stop(self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.listener().server.unblock();
        if self.thread.join().is_err() {
            log::error!("the accept loop crashed");
        }
    }
}

impl Listener {
    fn start(path: PathBuf) -> io::Result<Self> {
        let server = tiny_http::Server::http_unix(&path).map_err(io::Error::other)?;
        Ok(Self { server, path })
    }
}

impl Shared {
    /// The accept loop. Removes the directory of the sockets at its end.
    fn accept(&self, directory: TempDir) {
        while !self.stopping.load(Ordering::Relaxed) {
            let listener = self.listener();
            match listener.server.recv_timeout(TICK) {
                Ok(Some(request)) => self.hand_over(request),
                Ok(None) => {}
                Err(error) => {
                    log::error!("tiny_http has stopped: {error}");
                    self.replace(&listener);
                }
            }
            self.handler.tick();
        }
        drop(directory);
    }

    /// Hands a request to the pool. The channel has a place for each request in flight, so it is full only when there are
    /// requests in it that nobody waits for any more; then this one is answered with 503 before a handler has begun.
    fn hand_over(&self, request: tiny_http::Request) {
        self.liveness.record_request();
        if let Err(refused) = self.pool.try_send(request) {
            let _ = refused.into_inner().respond(tiny_http::Response::empty(503));
        }
    }

    /// One thread of the pool.
    fn run_handlers(&self, requests: &Receiver<tiny_http::Request>) {
        for request in requests {
            self.liveness.record_progress(!requests.is_empty());
            // Handlers' panics are caught further in. This one is for a mistake of ours or tiny_http's.
            let _ = unwind::catch(|| self.handle(request));
            self.liveness.record_progress(!requests.is_empty());
        }
    }

    /// Answers a request, if somebody still waits for that. One that is dropped is answered with 500 by tiny_http.
    fn handle(&self, incoming: tiny_http::Request) {
        let Some(number) = wire::number(&incoming) else { return };
        let Some(Progress::Sent(body)) = self.advance(number, Progress::Started) else { return };
        let response = unwind::catch(|| match wire::decode(&incoming, body) {
            Ok(request) => self.handler.handle(&request),
            Err(error) => error.into(),
        });
        let response = response
            .unwrap_or_else(|_| ApiError::internal("the request failed", "a request handler crashed").into());
        self.advance(number, Progress::Answered(response));
        // Who waits has the response, whatever comes of this.
        let _ = incoming.respond(tiny_http::Response::empty(204));
    }

    /// Notes how far a request has come. Returns how far it was; `None` when nobody waits for it any more.
    fn advance(&self, number: u64, progress: Progress) -> Option<Progress> {
        // A response that nobody waits for is dropped after the lock: to close its file may take long.
        let mut pending = lock(&self.pending);
        let known = pending.get_mut(&number)?;
        Some(mem::replace(known, progress))
    }

    fn ask(&self, head: &Head, body: &[u8]) -> Result<Response, Failure> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        lock(&self.pending).insert(number, Progress::Sent(body.to_vec()));
        let exchanged = self.exchange(wire::encode(head, number).as_bytes());
        let progress = lock(&self.pending).remove(&number);
        if let Some(Progress::Answered(response)) = progress {
            return Ok(response);
        }
        let error = exchanged.err().unwrap_or_else(|| io::Error::other("no handler has answered"));
        let took_long = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        Err(Failure { can_be_repeated: matches!(progress, Some(Progress::Sent(_))) && !took_long, error })
    }

    /// Sends a request and waits until tiny_http has answered it, however it did.
    fn exchange(&self, request: &[u8]) -> io::Result<()> {
        let mut stream = self.connect()?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.write_all(request)?;
        loop {
            match stream.read(&mut [0; 64]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects to tiny_http. Its accept thread ends, or panics without a word, when it is out of file descriptors or
    /// threads; then nobody listens, and another is started.
    fn connect(&self) -> io::Result<UnixStream> {
        let listener = self.listener();
        let refused = match UnixStream::connect(&listener.path) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
            {
                error
            }
            connected => return connected,
        };
        log::error!("the HTTP server cannot be reached: {refused}");
        self.replace(&listener);
        UnixStream::connect(&self.listener().path)
    }

    fn listener(&self) -> Arc<Listener> {
        Arc::clone(&lock(&self.listener))
    }

    /// Starts another listener in place of `dead`, unless somebody else has done so.
    fn replace(&self, dead: &Arc<Listener>) {
        let mut current = lock(&self.listener);
        if !Arc::ptr_eq(&current, dead) || self.stopping.load(Ordering::Relaxed) {
            return;
        }
        let number = self.listeners.fetch_add(1, Ordering::Relaxed);
        match Listener::start(self.directory.join(format!("api-{number}"))) {
            Ok(listener) => *current = Arc::new(listener),
            Err(error) => return log::error!("tiny_http cannot be started again: {error}"),
        }
        drop(current);
        // Those that it has accepted already.
        while let Ok(Some(request)) = dead.server.try_recv() {
            self.hand_over(request);
        }
        // The accept loop may be waiting for it.
        dead.server.unblock();
    }
}
