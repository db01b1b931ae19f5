//! What is behind the gate: tiny_http on a Unix socket, a loop that takes requests from it, the fixed pool of
//! threads that answer them, and the watch that puts back whichever of these has ended.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tiny_http::Request;

use super::error::ApiError;
use super::line::ANSWER_TIME;
use super::lines::Lines;
use super::message::Response;
use super::pulse::Pulse;
use super::queue::Queue;

/// Threads that answer requests.
pub const POOL: usize = 8;
/// Requests that are with tiny_http at one time: those that the pool answers, and as many that wait. Each has a line,
/// which takes three file descriptors.
pub const IN_FLIGHT: usize = 2 * POOL;
/// How often it is seen to that all threads are there, and what is due is done.
const ROUND: Duration = Duration::from_millis(250);

/// Answers the requests that come over the lines.
pub trait Answering: Send + Sync + 'static {
    /// Makes the answer to a request. A panic is answered with 500.
    fn answer(&self, request: &mut Request) -> Response;

    /// Sends it.
    fn send(&self, request: Request, response: Response);

    /// Does what is to be done now and then. It is called four times a second.
    fn make_round(&self) {}
}

/// The threads behind the gate.
pub struct Crew {
    shared: Arc<Shared>,
    accepting: Accepting,
    /// Those whose accept loop has ended, and when. Requests may still come over the lines that led to them.
    former: Vec<(Instant, Accepting)>,
    pool: Vec<JoinHandle<()>>,
    /// Listeners that there have been. Each has a socket of its own: tiny_http removes it when it ends.
    listeners: u64,
    /// Mode 0700: nobody else reaches tiny_http without passing the gate.
    directory: TempDir,
}

struct Shared {
    lines: Arc<Lines>,
    answering: Box<dyn Answering>,
    requests: Arc<Waiting>,
    stopping: AtomicBool,
}

/// Requests that wait for the pool, and whether that moves.
struct Waiting {
    queue: Queue<Request>,
    pulse: Arc<Pulse>,
}

struct Accepting {
    listener: Arc<tiny_http::Server>,
    socket: PathBuf,
    thread: JoinHandle<()>,
}

/// The running threads.
pub struct Watch {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Crew {
    /// Begins to answer what comes over the lines, which the crew opens.
    ///
    /// # Errors
    /// When a thread cannot be started, or there is no place for the socket in the directory for temporary
    /// files.
    pub fn start(lines: Arc<Lines>, pulse: Arc<Pulse>, answering: impl Answering) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("backupgram-").tempdir()?;
        let requests = Arc::new(Waiting { queue: Queue::new(IN_FLIGHT), pulse });
        let accepting = Accepting::start(directory.path().join("api-0"), Arc::clone(&requests))?;
        let shared = Arc::new(Shared {
            lines,
            answering: Box::new(answering),
            requests,
            stopping: AtomicBool::new(false),
        });
        let pool: io::Result<Vec<_>> = (0..POOL).map(|_| start_answering(&shared)).collect();
        Ok(Self { shared, accepting, former: Vec::new(), pool: pool?, listeners: 1, directory })
    }

    /// Sees to it from now on that all threads and lines are there.
    ///
    /// # Errors
    /// When the thread for that cannot be started.
    pub fn watch(mut self) -> io::Result<Watch> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("http watch".into()).spawn(move || {
            while !self.shared.stopping.load(Ordering::Relaxed) {
                self.make_round();
                thread::park_timeout(ROUND);
            }
            self.accepting.listener.unblock();
        })?;
        Ok(Watch { shared, thread })
    }

    /// Puts back what is missing.
    fn make_round(&mut self) {
        for thread in self.pool.iter_mut().filter(|thread| thread.is_finished()) {
            log::error!("an HTTP worker thread ended and is started again");
            match start_answering(&self.shared) {
                Ok(started) => *thread = started,
                Err(error) => log::error!("an HTTP worker thread cannot be started: {error}"),
            }
        }
        if self.accepting.thread.is_finished() {
            log::error!("the accept loop has ended and is started again");
            self.replace_listener();
        }
        if let Err(error) = self.shared.lines.fill(&self.accepting.socket) {
            log::error!("the HTTP server cannot be reached: {error}");
            // Its accept thread may panic without a word, for want of descriptors.
            if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
                self.replace_listener();
            }
        }
        self.former.retain(|(ended, accepting)| {
            while let Ok(Some(request)) = accepting.listener.try_recv() {
                hand_over(&self.shared.requests, request);
            }
            ended.elapsed() < ANSWER_TIME
        });
        self.shared.answering.make_round();
    }

    fn replace_listener(&mut self) {
        let socket = self.directory.path().join(format!("api-{}", self.listeners));
        self.listeners += 1;
        match Accepting::start(socket, Arc::clone(&self.shared.requests)) {
            Ok(accepting) => {
                self.shared.lines.void();
                self.former.push((Instant::now(), std::mem::replace(&mut self.accepting, accepting)));
            }
            Err(error) => log::error!("the accept loop cannot be started: {error}"),
        }
    }
}

impl Watch {
    /// Lets the threads end.
    pub fn stop(self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            log::error!("the thread that watches the HTTP threads crashed");
        }
    }
}

impl Accepting {
    fn start(socket: PathBuf, requests: Arc<Waiting>) -> io::Result<Self> {
        let listener = Arc::new(tiny_http::Server::http_unix(&socket).map_err(io::Error::other)?);
        let accepted = Arc::clone(&listener);
        let thread = thread::Builder::new().name("accept".into()).spawn(move || {
            for request in accepted.incoming_requests() {
                hand_over(&requests, request);
            }
        })?;
        Ok(Self { listener, socket, thread })
    }
}

/// There are no more lines than places in the queue, but for those to a listener that has ended.
fn hand_over(requests: &Waiting, request: Request) {
    requests.pulse.note_request();
    if let Err(request) = requests.queue.send(request)
        && let Err(error) = request.respond(tiny_http::Response::empty(503))
    {
        log::error!("a request could be neither answered nor rejected: {error}");
    }
}

fn start_answering(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name("http".into()).spawn(move || {
        loop {
            let Waiting { queue, pulse } = &*shared.requests;
            let mut request = queue.receive();
            pulse.note_movement(!queue.is_empty());
            let answered = catch_unwind(AssertUnwindSafe(|| shared.answering.answer(&mut request)));
            let response = answered.unwrap_or_else(|_| {
                ApiError::internal("the request failed", "a request handler crashed").into()
            });
            shared.answering.send(request, response);
            pulse.note_movement(!queue.is_empty());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    use crate::http::message::Body;

    const SOON: Duration = Duration::from_secs(30);
    /// What is missing is noticed within a second; the rest is for a loaded machine.
    const PROMPTLY: Duration = Duration::from_secs(5);

    /// What even the catching of a panic does not stop.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("a panic's own payload");
            }
        }
    }

    struct Fragile;

    impl Answering for Fragile {
        fn answer(&self, request: &mut Request) -> Response {
            match request.url() {
                "/panic" => panic!("on request"),
                "/bomb" => std::panic::panic_any(Bomb),
                url => Response::json(200, &url),
            }
        }

        fn send(&self, request: Request, response: Response) {
            let Body::Bytes(bytes) = response.body else { return };
            let field = tiny_http::Header::from_bytes("Content-Type", "application/json").unwrap();
            let length = bytes.len();
            let status = response.status.into();
            let _ = request.respond(tiny_http::Response::new(
                status,
                vec![field],
                Cursor::new(bytes),
                Some(length),
                None,
            ));
        }
    }

    fn crew() -> Crew {
        let mut crew =
            Crew::start(Arc::new(Lines::new(IN_FLIGHT, IN_FLIGHT, SOON)), Arc::default(), Fragile).unwrap();
        crew.make_round();
        crew
    }

    /// The status of an answer; 0 when there is none.
    fn ask(crew: &Crew, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
        crew.shared.lines.ask(request.as_bytes()).unwrap().map_or(0, |answer| answer.status)
    }

    fn wait_until(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_panic_in_a_handler_is_a_500_and_ends_nothing() {
        let crew = crew();
        for _ in 0..2 * POOL {
            assert_eq!(ask(&crew, "/panic"), 500);
            assert_eq!(ask(&crew, "/"), 200);
        }
        assert!(crew.pool.iter().all(|thread| !thread.is_finished()));
    }

    #[test]
    fn threads_of_the_pool_that_have_ended_are_put_back() {
        let mut crew = crew();
        for _ in 0..POOL {
            assert_eq!(ask(&crew, "/bomb"), 0);
        }
        wait_until(|| crew.pool.iter().all(JoinHandle::is_finished));
        crew.make_round();
        assert_eq!(ask(&crew, "/"), 200);
        assert!(crew.pool.iter().all(|thread| !thread.is_finished()));
    }

    #[test]
    fn an_accept_loop_that_has_ended_is_put_back_with_lines_that_lead_to_it() {
        let mut crew = crew();
        for _ in 0..2 {
            crew.accepting.listener.unblock();
            wait_until(|| crew.accepting.thread.is_finished());
            let ended = crew.accepting.socket.clone();
            crew.make_round();
            assert_ne!(crew.accepting.socket, ended);
            (0..IN_FLIGHT).for_each(|_| assert_eq!(ask(&crew, "/"), 200));
        }
        // When they are let go, they take no other's socket with them.
        crew.former.clear();
        assert!(crew.accepting.socket.exists());
    }

    #[test]
    fn a_request_that_the_accept_loop_leaves_behind_is_answered_by_the_next() {
        let mut crew = crew();
        crew.accepting.listener.unblock();
        wait_until(|| crew.accepting.thread.is_finished());
        let lines = Arc::clone(&crew.shared.lines);
        let asking = thread::spawn(move || lines.ask(b"GET / HTTP/1.1\r\n\r\n").unwrap().unwrap().status);
        wait_until(|| {
            crew.make_round();
            asking.is_finished()
        });
        assert_eq!(asking.join().unwrap(), 200);
    }

    #[test]
    fn a_listener_that_ended_without_a_word_is_noticed_when_a_line_is_missing() {
        let mut crew = crew();
        std::fs::remove_file(&crew.accepting.socket).unwrap();
        crew.make_round();
        assert!(crew.former.is_empty(), "no line is missing");
        crew.shared.lines.void();
        // The first finds out, the second opens the lines.
        crew.make_round();
        crew.make_round();
        assert_eq!((ask(&crew, "/"), crew.former.len()), (200, 1));
    }

    #[test]
    fn the_watch_puts_back_what_is_missing_and_stops_when_told() {
        let crew = crew();
        let lines = Arc::clone(&crew.shared.lines);
        let listener = Arc::clone(&crew.accepting.listener);
        let watch = crew.watch().unwrap();
        let is_answered = |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\n\r\n");
            lines.ask(request.as_bytes()).is_some_and(|answer| answer.is_ok())
        };
        let begun = Instant::now();
        (0..POOL).for_each(|_| assert!(!is_answered("/bomb")));
        listener.unblock();
        (0..IN_FLIGHT).for_each(|_| assert!(is_answered("/")));
        assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
        watch.stop();
    }
}
