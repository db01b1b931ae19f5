//! The backend with handlers that panic, and with a tiny_http that dies.

use super::*;
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::gate::{Body, Found};

const SOON: Duration = Duration::from_secs(30);

/// A panic payload that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a panic's own payload");
        }
    }
}

/// Answers with the number of requests before it, and with what has come.
#[derive(Default)]
struct Echo(AtomicUsize);

impl Handler for Echo {
    fn handle(&self, request: &Request) -> Response {
        match request.target.path[0].as_str() {
            "panic" => panic!("on request"),
            "bomb" => std::panic::panic_any(Bomb),
            _ => {
                let count = self.0.fetch_add(1, Ordering::Relaxed);
                let range = request.headers.get("Range");
                Response::json(200, &(count, request.method.name(), range, request.body.len()))
            }
        }
    }
}

fn backend() -> (Backend, AcceptLoop) {
    Backend::start(IN_FLIGHT, IN_FLIGHT, Arc::default(), Echo::default()).unwrap()
}

fn ask(backend: &Backend, line: &str, body: &[u8]) -> Result<(u16, String), u16> {
    let text = format!("{line} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n");
    let Ok(Found::Whole(head, _)) = Head::find(text.as_bytes()) else { panic!("{text}") };
    let response = backend.ask(&head, body).map_err(|error| error.status)?;
    let Body::Bytes(bytes) = response.body else { panic!("no bytes") };
    Ok((response.status, String::from_utf8(bytes).unwrap()))
}

fn status(backend: &Backend, path: &str) -> Result<u16, u16> {
    ask(backend, &format!("GET /{path}"), b"").map(|(status, _)| status)
}

#[test]
fn request_and_response_arrive_whole() {
    let (backend, _accept_loop) = backend();
    assert_eq!(ask(&backend, "GET /", b"").unwrap().1, "[0,\"GET\",\"bytes=0-1\",0]\n");
    assert_eq!(ask(&backend, "HEAD /", b"").unwrap().1, "[1,\"GET\",null,0]\n");
    let longest = vec![b'a'; crate::gate::limits::BODY];
    assert_eq!(ask(&backend, "PATCH /", &longest).unwrap().1, "[2,\"PATCH\",\"bytes=0-1\",65536]\n");
    assert_eq!(status(&backend, "%"), Ok(400));
    assert!(lock(&backend.shared.pending).is_empty());
}

#[test]
fn handler_panic_answered_with_500() {
    let (backend, _accept_loop) = backend();
    for path in ["panic", "bomb"].into_iter().cycle().take(4 * POOL) {
        assert_eq!(status(&backend, path), Ok(500));
        assert_eq!(status(&backend, ""), Ok(200));
    }
}

/// Has the backend connect to another path from now on.
fn lead_to(backend: &Backend, path: PathBuf) {
    let current = backend.shared.listener();
    let server = tiny_http::Server::http_unix(&current.path.with_extension("other")).unwrap();
    *lock(&backend.shared.listener) = Arc::new(Listener { server, path });
}

#[test]
fn dead_listener_replaced_whose_end_does_not_harm_the_new_one() {
    let (backend, _accept_loop) = backend();
    for number in 1..4 {
        // A socket that nobody listens on any more, as tiny_http leaves it when its accept thread panics.
        let path = backend.shared.directory.join(format!("dead-{number}"));
        drop(UnixListener::bind(&path).unwrap());
        lead_to(&backend, path);
        let begun = Instant::now();
        (0..IN_FLIGHT).for_each(|_| assert_eq!(status(&backend, ""), Ok(200)));
        assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
        assert!(backend.shared.listener().path.ends_with(format!("api-{number}")));
    }
    std::fs::remove_file(&backend.shared.listener().path).unwrap();
    assert_eq!(status(&backend, ""), Ok(200));
}

#[test]
fn request_lost_before_a_handler_had_it_is_repeated() {
    let (backend, _accept_loop) = backend();
    let path = backend.shared.directory.join("closing");
    let closing = UnixListener::bind(&path).unwrap();
    lead_to(&backend, path);
    let accepting = thread::spawn(move || {
        let _connection = closing.accept().unwrap();
        // Before the connection: what is sent again is to find nobody here.
        drop(closing);
    });
    assert_eq!(ask(&backend, "POST /", b"").unwrap().1, "[0,\"POST\",\"bytes=0-1\",0]\n");
    accepting.join().unwrap();
}

#[test]
fn request_that_a_handler_may_have_had_is_not_repeated() {
    let (backend, _accept_loop) = backend();
    let path = backend.shared.directory.join("claiming");
    let claiming = UnixListener::bind(&path).unwrap();
    lead_to(&backend, path);
    let shared = Arc::clone(&backend.shared);
    let accepting = thread::spawn(move || {
        let _connection = claiming.accept().unwrap();
        assert!(shared.advance(0, Progress::Started).is_some());
    });
    assert_eq!(status(&backend, ""), Err(503));
    accepting.join().unwrap();
    assert_eq!(ask(&backend, "GET /", b"").unwrap().1, "[0,\"GET\",\"bytes=0-1\",0]\n");
}

#[test]
fn stopped_backend_leaves_nothing_behind() {
    let (backend, accept_loop) = backend();
    assert_eq!(status(&backend, ""), Ok(200));
    accept_loop.stop();
    assert!(!backend.shared.directory.exists());
    assert_eq!(status(&backend, ""), Err(503));
}
