//! The API server: the gate in front, tiny_http and the handlers behind it.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use super::app::App;
use super::auth::Token;
use super::backend::liveness::Liveness;
use super::backend::semaphore::Semaphore;
use super::backend::{AcceptLoop, Backend, Handler, IN_FLIGHT, POOL};
use super::request::Request;
use super::router;
use super::service::ApiService;
use crate::gate::limits::{self, Limits};
use crate::gate::{Gate, Response};

/// Requests that wait to be sent to tiny_http.
const WAITING: usize = 48;
/// Requests that may wait long for a lock at a time: half of the pool is there for others.
pub const LOCK_WAITERS: usize = POOL / 2;
/// Downloads at a time.
const DOWNLOADS: usize = 16;

/// How many connections may do what protects them from eviction. Together it is three quarters of all connections at most,
/// so that a health check always finds room.
#[derive(Debug, Clone, Copy)]
struct ConnectionBudget {
    /// Requests that are with tiny_http.
    in_flight: usize,
    /// Requests that wait for that.
    waiting: usize,
    /// Downloads.
    downloads: usize,
}

impl ConnectionBudget {
    /// The budget of a gate for this many connections.
    fn of(connections: usize) -> Self {
        Self {
            in_flight: IN_FLIGHT.min(connections / 4),
            waiting: WAITING.min(connections * 3 / 8),
            downloads: DOWNLOADS.min(connections / 8),
        }
    }
}

/// The running server.
pub struct Server {
    gate: Gate,
    accept_loop: AcceptLoop,
}

impl Server {
    /// Starts to answer requests.
    ///
    /// # Errors
    /// When a thread cannot be started, or the socket not be created in the directory for temporary files.
    pub fn start(listener: TcpListener, app: Arc<App>, token: Token) -> io::Result<Self> {
        limits::raise_descriptors();
        let connections = limits::connections();
        let budget = ConnectionBudget::of(connections);
        let liveness = Arc::new(Liveness::default());
        let (auth_limiter, traffic) = (Arc::clone(&app.auth_limiter), Arc::clone(&app.traffic));
        let handlers = Handlers(app);
        let (backend, accept_loop) =
            Backend::start(budget.in_flight, budget.waiting, Arc::clone(&liveness), handlers)?;
        let service = ApiService {
            token,
            auth_limiter,
            traffic,
            downloads: Semaphore::new(budget.downloads),
            most_downloads: budget.downloads,
            liveness,
            backend,
        };
        let gate = Gate::open("gate", listener, Limits::of(connections), Arc::new(service))?;
        Ok(Self { gate, accept_loop })
    }

    /// Takes no more requests.
    pub fn stop(self) {
        self.gate.close();
        self.accept_loop.stop();
    }
}

/// The handlers of the API.
struct Handlers(Arc<App>);

impl Handler for Handlers {
    fn handle(&self, request: &Request) -> Response {
        router::answer(&self.0, request)
    }

    fn tick(&self) {
        self.0.auth_limiter.flush(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::{Receiver, Sender, unbounded};

    use super::super::traffic::Traffic;
    use crate::settings::Secret;

    const SOON: Duration = Duration::from_secs(30);

    /// Holds the requests for /kept until the test lets them go.
    struct Keeper {
        kept: Sender<()>,
        let_go: Receiver<()>,
    }

    impl Handler for Keeper {
        fn handle(&self, request: &Request) -> Response {
            if request.target.path == ["kept"] {
                self.kept.send(()).unwrap();
                let _ = self.let_go.recv();
            }
            Response::json(200, &())
        }
    }

    /// A server with that handler.
    struct Front {
        address: SocketAddr,
        server: Server,
        traffic: Arc<Traffic>,
        /// One message for each request that is held.
        keeping: Receiver<()>,
        /// They are let go when it is dropped.
        letting_go: Sender<()>,
    }

    impl Front {
        fn of(connections: usize) -> Self {
            Self::with_patience(connections, SOON)
        }

        /// One whose pool may make no progress for so long.
        fn with_patience(connections: usize, patience: Duration) -> Self {
            let (kept, keeping) = unbounded();
            let (letting_go, let_go) = unbounded();
            let traffic = Arc::new(Traffic::new(router::paths()));
            let liveness = Arc::new(Liveness::new(patience));
            let handler = Keeper { kept, let_go };
            let (backend, accept_loop) =
                Backend::start(IN_FLIGHT, WAITING, Arc::clone(&liveness), handler).unwrap();
            let service = ApiService {
                token: Token::new(&Secret::new("right"), None),
                auth_limiter: Arc::default(),
                traffic: Arc::clone(&traffic),
                downloads: Semaphore::new(DOWNLOADS),
                most_downloads: DOWNLOADS,
                liveness,
                backend,
            };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let gate = Gate::open("test", listener, Limits::of(connections), Arc::new(service)).unwrap();
            Self { address, server: Server { gate, accept_loop }, traffic, keeping, letting_go }
        }
    }

    /// The status of the answer.
    fn ask(address: SocketAddr, path: &str) -> u16 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nAuthorization: Bearer right\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].parse().unwrap()
    }

    #[test]
    fn healthz_answered_while_the_pool_is_busy() {
        let Front { address, server, keeping, letting_go, .. } = Front::of(128);
        thread::scope(|scope| {
            // Those with tiny_http, and some that wait.
            let asking: Vec<_> =
                (0..IN_FLIGHT + WAITING / 2).map(|_| scope.spawn(move || ask(address, "/kept"))).collect();
            (0..POOL).for_each(|_| keeping.recv_timeout(SOON).unwrap());
            (0..POOL).for_each(|_| assert_eq!(ask(address, "/healthz"), 200));
            assert!(asking.iter().all(|asking| !asking.is_finished()));
            drop(letting_go);
            asking.into_iter().for_each(|asking| assert_eq!(asking.join().unwrap(), 200));
        });
        server.stop();
    }

    #[test]
    fn healthz_fails_while_the_pool_hangs() {
        const PATIENCE: Duration = Duration::from_millis(200);
        let Front { address, server, keeping, letting_go, .. } = Front::with_patience(128, PATIENCE);
        thread::scope(|scope| {
            let ask_kept = move || scope.spawn(move || ask(address, "/kept"));
            let mut asking: Vec<_> = (0..POOL).map(|_| ask_kept()).collect();
            (0..POOL).for_each(|_| keeping.recv_timeout(SOON).unwrap());
            thread::sleep(2 * PATIENCE);
            assert_eq!(ask(address, "/healthz"), 200, "all are busy, and nobody waits");
            asking.push(ask_kept());
            let begun = Instant::now();
            while ask(address, "/healthz") == 200 {
                assert!(begun.elapsed() < SOON, "it is not told");
            }
            assert!(begun.elapsed() >= PATIENCE);
            drop(letting_go);
            asking.into_iter().for_each(|asking| assert_eq!(asking.join().unwrap(), 200));
            // A thread says that it is done when its answer is sent.
            let begun = Instant::now();
            while ask(address, "/healthz") != 200 {
                assert!(begun.elapsed() < SOON, "it is told for ever");
            }
        });
        server.stop();
    }

    #[test]
    fn refused_connection_counted_apart_from_requests() {
        let Front { address, server, traffic, keeping, letting_go } = Front::of(1);
        thread::scope(|scope| {
            let asking = scope.spawn(move || ask(address, "/kept"));
            keeping.recv_timeout(SOON).unwrap();
            assert_eq!(ask(address, "/healthz"), 503);
            assert_eq!((traffic.refused(), traffic.answers().count()), (1, 0));
            drop(letting_go);
            assert_eq!(asking.join().unwrap(), 200);
        });
        server.stop();
    }

    #[test]
    fn budget_leaves_a_quarter_of_the_connections() {
        for connections in 8..=128 {
            let ConnectionBudget { in_flight, waiting, downloads } = ConnectionBudget::of(connections);
            assert!(4 * (in_flight + waiting + downloads) <= 3 * connections, "{connections}");
            assert!(in_flight > 0 && waiting > 0 && downloads > 0, "{connections}");
        }
        let ConnectionBudget { in_flight, waiting, downloads } = ConnectionBudget::of(128);
        assert_eq!((in_flight, waiting, downloads), (IN_FLIGHT, WAITING, DOWNLOADS));
    }
}
