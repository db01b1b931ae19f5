//! The health port: answers every GET with the record of the runs.
//!
//! It must answer while a run goes on, and whatever other clients do, so each connection has a thread, a
//! slot and deadlines of its own, and one request. tiny_http does not hold that alone: its pool can park
//! a new connection behind one that says nothing, and it has neither deadlines nor limits.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::record::{Record, lock};

/// Connections at one time. Past that the oldest gives way to the newcomer.
const SLOTS: usize = 64;

/// The longest request head, in bytes.
const HEAD: usize = 16 * 1024;

/// How long a client may take to send its request head.
const READING: Duration = Duration::from_secs(10);

/// How long a client may go without taking any of the answer.
const WRITING: Duration = Duration::from_secs(10);

/// How long the rest of what a client sends is awaited after the answer.
const LINGERING: Duration = Duration::from_secs(1);

/// The pause after a failed accept, for want of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);

/// The open port. It stays open until it is closed or the process ends.
#[derive(Debug)]
pub struct HealthPort(Arc<Listening>);

#[derive(Debug)]
struct Listening {
    listener: TcpListener,
    closed: AtomicBool,
    record: Arc<Record>,
    /// The connections, the oldest first.
    connections: Mutex<VecDeque<Arc<TcpStream>>>,
}

impl HealthPort {
    /// Opens the port on every address of the machine, and answers there from now on.
    ///
    /// # Errors
    /// When the port cannot be had, because another program has it for example.
    pub fn open(port: u16, record: Arc<Record>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let closed = AtomicBool::new(false);
        let listening = Arc::new(Listening { listener, closed, record, connections: Mutex::default() });
        let accepting = Arc::clone(&listening);
        thread::Builder::new().name("health".into()).spawn(move || accepting.accept())?;
        Ok(Self(listening))
    }

    /// Stops listening: when this returns, another process can have the port. Connections that are open
    /// already are still answered.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        // shutdown(2) on a listening socket ends the listening, and the accept that waits on it, at once.
        // The standard library has it for streams only.
        if let Ok(copy) = self.0.listener.try_clone() {
            let _ = TcpStream::from(OwnedFd::from(copy)).shutdown(Shutdown::Both);
        }
    }
}

impl Listening {
    fn accept(self: &Arc<Self>) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(_) if self.closed.load(Ordering::Relaxed) => return,
                Err(error) => {
                    log::debug!("health port: {error}");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream) {
        let stream = Arc::new(stream);
        let mut connections = lock(&self.connections);
        if connections.len() >= SLOTS
            && let Some(oldest) = connections.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both);
        }
        connections.push_back(Arc::clone(&stream));
        drop(connections);
        let (listening, serving) = (Arc::clone(self), Arc::clone(&stream));
        let started = thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            // A client that fails us is gone or not worth a line in the log.
            let _ = serve(&serving, &listening.record);
            listening.forget(&serving);
        });
        if started.is_err() {
            self.forget(&stream);
        }
    }

    fn forget(&self, stream: &Arc<TcpStream>) {
        lock(&self.connections).retain(|open| !Arc::ptr_eq(open, stream));
    }
}

/// Answers the one request of a connection.
fn serve(mut stream: &TcpStream, record: &Record) -> io::Result<()> {
    let head = read_head(stream)?;
    stream.set_write_timeout(Some(WRITING))?;
    stream.write_all(&answer(&head, record))?;
    // Closing with something unread would reset the connection, and the answer could be lost with it.
    stream.shutdown(Shutdown::Write)?;
    let end = Instant::now() + LINGERING;
    let mut rest = [0; 4096];
    while read_until(stream, &mut rest, end)? > 0 {}
    Ok(())
}

/// What the client sent up to the empty line; cut short when it is too long.
fn read_head(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let end = Instant::now() + READING;
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while head.len() < HEAD && !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match read_until(stream, &mut buffer, end)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(head)
}

/// Reads what there is, or what comes before `end`.
fn read_until(mut stream: &TcpStream, buffer: &mut [u8], end: Instant) -> io::Result<usize> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    stream.read(buffer)
}

fn answer(head: &[u8], record: &Record) -> Vec<u8> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split(' ').collect::<Vec<_>>()[..] {
        _ if head.len() >= HEAD => {
            refusal("431 Request Header Fields Too Large", "the request head is too long")
        }
        [method @ ("GET" | "HEAD"), _, version] if version.starts_with("HTTP/1.") => {
            let report = record.report();
            let status = if report.healthy { "200 OK" } else { "503 Service Unavailable" };
            response(status, "", &report.json, method == "HEAD")
        }
        [_, _, version] if version.starts_with("HTTP/1.") => {
            let json = r#"{"error":"only GET is answered here"}"#;
            response("405 Method Not Allowed", "Allow: GET, HEAD\r\n", json, false)
        }
        _ => refusal("400 Bad Request", "this is not an HTTP/1 request"),
    }
}

fn refusal(status: &str, error: &str) -> Vec<u8> {
    response(status, "", &format!(r#"{{"error":"{error}"}}"#), false)
}

fn response(status: &str, header: &str, json: &str, head_only: bool) -> Vec<u8> {
    let length = json.len() + 1;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{header}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    if head_only { head.into_bytes() } else { (head + json + "\n").into_bytes() }
}
