//! A listener that takes the requests of curl and remembers their bodies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::wait::{SOON, wait_for};

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Call {
    /// The path that was asked for.
    pub path: String,
    /// Everything before the body.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Call {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{}: {error}", self.body))
    }
}

/// A webhook's receiver on the loopback. Its thread ends with the test binary.
pub struct Webhook {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Webhook {
    /// One that answers 200.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// One that calls `look` while the sender waits for its answer.
    pub fn start_with(look: impl Fn(&Call) + Send + 'static) -> Self {
        Self::start_on(0, move |call| {
            look(call);
            "200 OK".to_owned()
        })
    }

    /// One on a port, 0 for any, with `answer` for the status of an answer, and lines of its head if there are any.
    pub fn start_on(port: u16, mut answer: impl FnMut(&Call) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(call) = take(&stream) else { continue };
                let status = answer(&call);
                seen.lock().expect("not poisoned").push(call);
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let mut stream = stream;
                let _ = stream.write_all(head.as_bytes());
            }
        });
        Self { port, calls }
    }

    /// The address for `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What came to `path` so far.
    pub fn calls(&self, path: &str) -> Vec<Call> {
        self.calls.lock().expect("not poisoned").iter().filter(|call| call.path == path).cloned().collect()
    }

    /// What came so far to any path, in order.
    pub fn all_calls(&self) -> Vec<Call> {
        self.calls.lock().expect("not poisoned").clone()
    }

    /// How many came so far, to any path.
    pub fn count(&self) -> usize {
        self.calls.lock().expect("not poisoned").len()
    }

    /// Waits for the first call to `path`.
    #[track_caller]
    pub fn first_call(&self, path: &str) -> Call {
        wait_for(&format!("a call to {path}"), SOON, || self.calls(path).into_iter().next())
    }
}

fn take(stream: &TcpStream) -> Option<Call> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    Some(Call { path, head, body: String::from_utf8_lossy(&body).into_owned() })
}
