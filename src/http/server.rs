//! The listener and its threads: a tiny_http accept loop that hands requests to a fixed pool.

use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tiny_http::Header;

use super::auth::Token;
use super::error::ApiError;
use super::handlers::App;
use super::message::{Body, Headers, Method, Request, Response, Target};
use super::router;

/// Threads that answer requests.
const POOL: usize = 8;
/// Requests that may wait for one of them.
const BACKLOG: usize = 64;
/// The longest body of a request, in bytes.
const LONGEST_BODY: usize = 64 * 1024;

/// The running server.
pub struct Server {
    listener: Arc<tiny_http::Server>,
    accepting: JoinHandle<()>,
}

/// Opens the listening socket. The one place that knows what stands between a client and tiny_http.
fn listen(address: SocketAddr) -> io::Result<tiny_http::Server> {
    tiny_http::Server::http(address).map_err(|error| match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::other(error),
    })
}

impl Server {
    /// Listens and begins to answer.
    ///
    /// # Errors
    /// When the address cannot be listened on or a thread cannot be started.
    pub fn start(address: SocketAddr, app: Arc<App>, token: Token) -> io::Result<Self> {
        let listener = Arc::new(listen(address)?);
        let (hand_over, requests) = bounded(BACKLOG);
        let token = Arc::new(token);
        for number in 1..=POOL {
            let (app, token, requests) = (Arc::clone(&app), Arc::clone(&token), requests.clone());
            let run = move || serve(&app, &token, &requests);
            thread::Builder::new().name(format!("http {number}")).spawn(run)?;
        }
        let accepted = Arc::clone(&listener);
        let accepting =
            thread::Builder::new().name("accept".into()).spawn(move || accept(&accepted, &hand_over))?;
        Ok(Self { listener, accepting })
    }

    /// Takes no more requests.
    pub fn stop(self) {
        self.listener.unblock();
        if self.accepting.join().is_err() {
            log::error!("the accept loop had panicked");
        }
    }
}

fn accept(listener: &tiny_http::Server, hand_over: &Sender<tiny_http::Request>) {
    for request in listener.incoming_requests() {
        if let Err(TrySendError::Full(request)) = hand_over.try_send(request) {
            send(request, ApiError::unavailable("too many requests are waiting", 1).into());
        }
    }
}

fn serve(app: &App, token: &Token, requests: &Receiver<tiny_http::Request>) {
    while let Ok(mut incoming) = requests.recv() {
        let answered = catch_unwind(AssertUnwindSafe(|| answer(app, token, &mut incoming)));
        let response = answered
            .unwrap_or_else(|_| ApiError::internal("the request failed", "a handler panicked").into());
        send(incoming, response);
    }
}

fn answer(app: &App, token: &Token, incoming: &mut tiny_http::Request) -> Response {
    let request = match read_request(token, incoming) {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    router::answer(app, token, &request)
}

fn read_request(token: &Token, incoming: &mut tiny_http::Request) -> Result<Request, ApiError> {
    let fields = incoming.headers().iter();
    let headers = Headers(fields.map(|field| (field.field.to_string(), field.value.to_string())).collect());
    let target = Target::parse(incoming.url());
    let length = incoming.body_length().unwrap_or_default();
    if target.is_err() || length > 0 {
        // Nothing else is looked at before the token.
        token.check(&headers)?;
    }
    if length > LONGEST_BODY {
        return Err(ApiError::new(413, format!("the body is longer than {LONGEST_BODY} bytes")));
    }
    let mut body = Vec::new();
    // A body of unknown length is not read: nobody needs to send one.
    let read = incoming.as_reader().take(length as u64).read_to_end(&mut body);
    match read {
        Ok(read) if read == length => {
            Ok(Request { method: method(incoming.method()), target: target?, headers, body })
        }
        _ => Err(ApiError::bad_request("the body ended early")),
    }
}

fn method(method: &tiny_http::Method) -> Method {
    match method {
        tiny_http::Method::Get => Method::Get,
        tiny_http::Method::Head => Method::Head,
        tiny_http::Method::Post => Method::Post,
        tiny_http::Method::Patch => Method::Patch,
        tiny_http::Method::Delete => Method::Delete,
        _ => Method::Other,
    }
}

fn send(request: tiny_http::Request, response: Response) {
    let headers: Vec<Header> = response
        .headers
        .iter()
        .filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok())
        .collect();
    let (body, length): (Box<dyn Read + Send>, u64) = match response.body {
        Body::Bytes(bytes) => {
            let length = bytes.len() as u64;
            (Box::new(io::Cursor::new(bytes)), length)
        }
        Body::File { mut file, start, length } => match file.seek(SeekFrom::Start(start)) {
            Ok(_) => (Box::new(file.take(length)), length),
            Err(error) => {
                return send(request, ApiError::internal("the backup cannot be read", error).into());
            }
        },
    };
    let answer =
        tiny_http::Response::new(response.status.into(), headers, body, usize::try_from(length).ok(), None)
            .with_chunked_threshold(usize::MAX);
    // A client that has gone away is no fault of ours.
    let _ = request.respond(answer);
}
