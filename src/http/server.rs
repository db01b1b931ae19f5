//! The API server: the gate in front, and the crew behind it that answers.

use std::io::{self, Cursor};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tiny_http::Header;

use super::auth::Token;
use super::crew::{Answering, Crew, IN_FLIGHT, Watch};
use super::error::ApiError;
use super::gate::Gate;
use super::gate::limits::{self, Limits};
use super::handlers::App;
use super::lines::Lines;
use super::message::{Body, Headers, Method, Request, Response, Target};
use super::pulse::Pulse;
use super::relay::{Relay, TICKET, Tickets};
use super::router;

/// Requests that wait to be handed over.
const WAITING: usize = 48;
/// Downloads at one time.
const DOWNLOADS: usize = 16;
/// How long a request waits to be handed over.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest body that goes through tiny_http and back, in bytes. It would copy a long one in small steps.
const SHORT: usize = 64 * 1024;

/// What does not give its slot away, and how much of that there may be at one time. It is less than there are
/// slots: whoever asks whether we live always finds one.
#[derive(Debug, Clone, Copy)]
struct Shares {
    /// Requests that are with tiny_http.
    in_flight: usize,
    /// Requests that wait to be handed over.
    waiting: usize,
    /// Downloads.
    downloads: usize,
}

impl Shares {
    /// Those of so many slots, of which a quarter is left over.
    fn of(slots: usize) -> Self {
        Self {
            in_flight: IN_FLIGHT.min(slots / 4),
            waiting: WAITING.min(slots * 3 / 8),
            downloads: DOWNLOADS.min(slots / 8),
        }
    }
}

/// The running server.
pub struct Server {
    gate: Gate,
    watch: Watch,
}

impl Server {
    /// Begins to answer.
    ///
    /// # Errors
    /// When a thread cannot be started, or there is no place for the socket in the directory for temporary
    /// files.
    pub fn start(listener: TcpListener, app: Arc<App>, token: Token) -> io::Result<Self> {
        limits::raise_descriptors();
        let slots = limits::connections();
        let shares = Shares::of(slots);
        let lines = Arc::new(Lines::new(shares.in_flight, shares.waiting, PATIENCE));
        let tickets = Arc::new(Tickets::default());
        let (throttle, traffic) = (Arc::clone(&app.throttle), Arc::clone(&app.traffic));
        let pulse = Arc::new(Pulse::default());
        let relay = Relay::new(
            Arc::clone(&lines),
            Arc::clone(&tickets),
            throttle,
            traffic,
            token.clone(),
            shares.downloads,
            Arc::clone(&pulse),
        );
        let watch = Crew::start(lines, pulse, Behind { app, token, tickets })?.watch()?;
        let gate = Gate::open("gate", listener, Limits::of(slots), Arc::new(relay))?;
        Ok(Self { gate, watch })
    }

    /// Takes no more requests.
    pub fn stop(self) {
        self.gate.close();
        self.watch.stop();
    }
}

/// What answers behind the gate.
struct Behind {
    app: Arc<App>,
    token: Token,
    tickets: Arc<Tickets>,
}

impl Answering for Behind {
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
            log::error!("an answer could not be passed on to its connection: {error}");
        }
    }

    fn make_round(&self) {
        self.app.throttle.flush(Instant::now());
    }
}

fn read_request(token: &Token, incoming: &mut tiny_http::Request) -> Result<Request, ApiError> {
    let fields = incoming.headers().iter();
    let headers = Headers(fields.map(|field| (field.field.to_string(), field.value.to_string())).collect());
    let target = match Target::parse(incoming.url()) {
        Ok(target) => target,
        // Nothing else is looked at before the token.
        Err(error) => {
            let refused =
                router::authorize(token, &method(incoming.method()), incoming.url(), &headers).err();
            return Err(refused.unwrap_or(error));
        }
    };
    let mut body = Vec::new();
    let read = incoming.as_reader().read_to_end(&mut body);
    if read.is_err() || incoming.body_length().is_some_and(|length| length != body.len()) {
        return Err(ApiError::bad_request("the body ended early"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::thread;

    use crossbeam_channel::{Receiver, Sender, unbounded};

    use super::super::crew::POOL;
    use super::super::traffic::Traffic;
    use crate::settings::Secret;

    const SOON: Duration = Duration::from_secs(30);

    /// Keeps the requests for a path until they are let go.
    struct Keeper {
        kept: Sender<()>,
        let_go: Receiver<()>,
    }

    impl Answering for Keeper {
        fn answer(&self, request: &mut tiny_http::Request) -> Response {
            if request.url() == "/kept" {
                self.kept.send(()).unwrap();
                let _ = self.let_go.recv();
            }
            Response::json(200, &())
        }

        fn send(&self, request: tiny_http::Request, _response: Response) {
            request.respond(tiny_http::Response::from_string("null")).unwrap();
        }
    }

    /// A gate with the crew behind it, which keeps the requests for /kept.
    struct Front {
        address: SocketAddr,
        server: Server,
        traffic: Arc<Traffic>,
        /// Hears of each request that is kept.
        keeping: Receiver<()>,
        /// They are let go when it is dropped.
        letting_go: Sender<()>,
    }

    impl Front {
        fn of(slots: usize) -> Self {
            Self::with_patience(slots, SOON)
        }

        /// One whose pool may stand still for so long.
        fn with_patience(slots: usize, patience: Duration) -> Self {
            let (kept, keeping) = unbounded();
            let (letting_go, let_go) = unbounded();
            let traffic = Arc::new(Traffic::default());
            let lines = Arc::new(Lines::new(IN_FLIGHT, WAITING, SOON));
            let pulse = Arc::new(Pulse::new(patience));
            let keeper = Keeper { kept, let_go };
            let watch = Crew::start(Arc::clone(&lines), Arc::clone(&pulse), keeper).unwrap().watch().unwrap();
            let (token, counted) = (Token::new(&Secret::new("right"), None), Arc::clone(&traffic));
            // Each is proven by a request, which must not be in the way of those of a test.
            let begun = Instant::now();
            while lines.free() < IN_FLIGHT {
                assert!(begun.elapsed() < SOON, "the lines are not opened");
                thread::yield_now();
            }
            let relay = Relay::new(lines, Arc::default(), Arc::default(), counted, token, DOWNLOADS, pulse);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let gate = Gate::open("test", listener, Limits::of(slots), Arc::new(relay)).unwrap();
            Self { address, server: Server { gate, watch }, traffic, keeping, letting_go }
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
    fn whether_it_lives_is_answered_while_every_thread_of_the_pool_is_busy() {
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
    fn a_pool_that_stands_still_while_a_request_waits_is_told_until_it_moves() {
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
    fn a_connection_that_gets_no_slot_is_counted_and_is_no_request() {
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
    fn a_slot_is_left_however_few_there_are_and_something_of_everything_goes_on() {
        for slots in 8..=128 {
            let Shares { in_flight, waiting, downloads } = Shares::of(slots);
            assert!(in_flight + waiting + downloads < slots, "{slots}");
            assert!(in_flight > 0 && waiting > 0 && downloads > 0, "{slots}");
        }
        let Shares { in_flight, waiting, downloads } = Shares::of(128);
        assert_eq!((in_flight, waiting, downloads), (IN_FLIGHT, WAITING, DOWNLOADS));
    }
}
