//! One connection: receives its requests one after the other, under deadlines, and answers each.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::chunks::Chunks;
use super::error::ApiError;
use super::framing::Framing;
use super::head::{self, Found, Head};
use super::limiter::{ConnectionGuard, Phase};
use super::limits::{LINGER, LINGER_TIME, Limits, PIPELINE_PAUSE};
use super::message::{Body, Response};
use super::send;
use super::service::{Incoming, Service};

/// Bytes to read at a time. Most requests are shorter.
const CHUNK: usize = 4096;
/// The longest text of a client's in the log, in characters.
const LOGGED: usize = 200;

/// A connection, and what has been read of it and not been used yet.
struct Connection<'a> {
    stream: &'a TcpStream,
    guard: &'a ConnectionGuard,
    peer: IpAddr,
    limits: &'a Limits,
    service: &'a dyn Service,
    buffer: Vec<u8>,
}

/// Why there is no request.
enum Missing {
    /// The connection has ended, or was evicted.
    Gone,
    /// It is rejected with this error.
    Refused(ApiError),
}

impl From<io::Error> for Missing {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Serves a connection to its end.
pub fn serve(
    stream: &TcpStream,
    peer: IpAddr,
    guard: &ConnectionGuard,
    limits: &Limits,
    service: &dyn Service,
) {
    let mut connection = Connection { stream, guard, peer, limits, service, buffer: Vec::new() };
    // I/O errors of a client are not logged.
    let _ = connection.run();
}

impl Connection<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.limit_stalls()?;
        self.guard.enter(Phase::Idle);
        let mut patience = self.limits.head_time;
        loop {
            let (mut keep_alive, begun) = match self.receive(patience) {
                Ok((incoming, begun)) => (self.answer(&incoming, begun)?, begun),
                Err(Missing::Gone) => return Ok(()),
                Err(Missing::Refused(error)) => {
                    let begun = Instant::now();
                    self.guard.enter(Phase::Sending);
                    self.service.record_response("-", error.status);
                    let sent = send::answer(self.stream, error.into(), head::is_head(&self.buffer), false);
                    self.log("-", "-", &sent, begun, "");
                    (false, begun)
                }
            };
            let is_pipelining = keep_alive && !self.buffer.is_empty();
            keep_alive &=
                if is_pipelining { self.guard.is_admitted() } else { self.guard.enter(Phase::Idle) };
            if !keep_alive {
                return self.linger(begun);
            }
            if is_pipelining {
                thread::sleep(PIPELINE_PAUSE);
            }
            patience = self.limits.idle_time;
        }
    }

    /// Ends the connection when the client acknowledges nothing for too long. SO_SNDTIMEO is not enough: a call that has
    /// sent something returns how much, and the next one waits anew. So the kernel also limits for how long sent data may
    /// be unacknowledged (tcp(7), TCP_USER_TIMEOUT).
    fn limit_stalls(&self) -> io::Result<()> {
        let time = self.limits.stall_time;
        self.stream.set_write_timeout(Some(time))?;
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Ok(setsockopt(self.stream, sockopt::TcpUserTimeout, &milliseconds)?)
    }

    /// Receives a whole request.
    fn receive(&mut self, patience: Duration) -> Result<(Incoming, Instant), Missing> {
        if self.buffer.is_empty() {
            self.fill(Instant::now() + patience).map_err(|_| Missing::Gone)?;
            self.guard.enter(Phase::Receiving);
        }
        let begun = Instant::now();
        let (mut head, length) = self.receive_head(begun + self.limits.head_time)?;
        let deadline = Instant::now() + self.limits.body_time;
        // The head stays in the buffer before the body: when the body is rejected, it tells whether this is a HEAD.
        let body = match head.framing {
            Framing::Length(expected) => self.receive_body(&mut head, length, expected, deadline)?,
            Framing::Chunked => self.receive_chunks(&mut head, length, deadline)?,
        };
        self.buffer.drain(..length);
        Ok((Incoming { head, body, peer: self.peer }, begun))
    }

    /// Receives a head. Returns it with its length in bytes.
    fn receive_head(&mut self, deadline: Instant) -> Result<(Head, usize), Missing> {
        loop {
            match Head::find(&self.buffer).map_err(Missing::Refused)? {
                Found::Whole(head, length) => return Ok((*head, length)),
                Found::Part => self.fill(deadline).map_err(|error| breaks_off(&error, "request head"))?,
            }
        }
    }

    /// Receives a body with a Content-Length, behind `length` bytes of head.
    fn receive_body(
        &mut self,
        head: &mut Head,
        length: usize,
        expected: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, Missing> {
        let whole = length + expected;
        if self.buffer.len() < whole {
            if !self.may_wait_for_body(head)? {
                return Ok(Vec::new());
            }
            self.buffer.reserve_exact(whole - self.buffer.len() + CHUNK);
        }
        while self.buffer.len() < whole {
            self.fill(deadline).map_err(|error| breaks_off(&error, "body"))?;
        }
        Ok(self.buffer.drain(length..whole).collect())
    }

    /// Receives a chunked body, behind `length` bytes of head.
    fn receive_chunks(
        &mut self,
        head: &mut Head,
        length: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, Missing> {
        let (mut chunks, mut waits) = (Chunks::default(), false);
        loop {
            let taken = chunks.take(&self.buffer[length..]).map_err(Missing::Refused)?;
            self.buffer.drain(length..length + taken);
            if let Some(body) = chunks.whole() {
                return Ok(body);
            }
            if !waits && !self.may_wait_for_body(head)? {
                return Ok(Vec::new());
            }
            waits = true;
            self.fill(deadline).map_err(|error| breaks_off(&error, "body"))?;
        }
    }

    /// Whether to wait for a body that has not arrived; then sends 100 Continue if the client expects it. If not, the
    /// connection is closed after the response.
    fn may_wait_for_body(&self, head: &mut Head) -> Result<bool, Missing> {
        let is_wanted = self.service.wants_body(head);
        head.keep_alive &= is_wanted;
        if is_wanted && head.expects_continue {
            let mut stream = self.stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(is_wanted)
    }

    /// Answers a request. Returns whether the connection may go on.
    fn answer(&self, incoming: &Incoming, begun: Instant) -> io::Result<bool> {
        self.guard.enter(Phase::Answering);
        let head = &incoming.head;
        let answered = catch_unwind(AssertUnwindSafe(|| self.service.answer(incoming)));
        let response = answered.unwrap_or_else(|_| {
            Response::from(ApiError::internal("the request failed", "the code that answers requests crashed"))
        });
        self.delay(self.service.response_delay(incoming, &response));
        if matches!(response.body, Body::Bytes(_)) {
            self.guard.enter(Phase::Sending);
        }
        self.service.record_response(head.path(), response.status);
        let sent = send::answer(self.stream, response, head.method == "HEAD", head.keep_alive);
        let forwarded_for: Vec<&str> = head.headers.all("X-Forwarded-For").collect();
        self.log(&head.method, head.path(), &sent, begun, &forwarded_for.join(", "));
        Ok(sent.complete && head.keep_alive)
    }

    /// Waits before a response is sent. Meanwhile the connection is the first to be evicted.
    fn delay(&self, time: Duration) {
        if time.is_zero() || !self.guard.enter(Phase::Delayed) {
            return;
        }
        // Without requested events, poll(2) still returns on POLLHUP, when both directions are shut down, as by an
        // eviction, and on POLLERR, when the client has reset the connection. Data from the client does not end it.
        let mut ends = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let _ = poll(&mut ends, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
    }

    /// Reads more, until `deadline`. End of file is an error.
    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let mut stream = self.stream;
        let read = stream.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + read.as_ref().copied().unwrap_or_default());
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            read => read.map(drop),
        }
    }

    /// Reads and discards what the client still sends. A close with unread data would reset the connection, and the
    /// response could be lost with it.
    fn linger(&mut self, begun: Instant) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let deadline = begun.max(Instant::now()) + LINGER_TIME;
        let mut taken = 0;
        while taken < LINGER {
            self.buffer.clear();
            self.fill(deadline)?;
            taken += self.buffer.len();
        }
        Ok(())
    }

    /// Logs a request in one line, without its query and header fields, which may hold secrets.
    fn log(&self, method: &str, path: &str, sent: &send::Sent, begun: Instant, forwarded_for: &str) {
        let level = if self.service.is_probe(path) { log::Level::Debug } else { log::Level::Info };
        if !log::log_enabled!(level) {
            return;
        }
        let (milliseconds, peer) = (begun.elapsed().as_secs_f64() * 1000.0, self.peer);
        let cut = if sent.complete { "" } else { " (cut off)" };
        let [method, path, forwarded_for] = [method, path, forwarded_for].map(shortened);
        let via = if forwarded_for.is_empty() { String::new() } else { format!(" for {forwarded_for:?}") };
        log::log!(
            level,
            "{method} {path} {} {} B{cut} {milliseconds:.1} ms {peer}{via}",
            sent.status,
            sent.bytes
        );
    }
}

/// The error of a request that has not arrived whole.
fn breaks_off(error: &io::Error, what: &str) -> Missing {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            Missing::Refused(ApiError::new(408, format!("the {what} took too long to come")))
        }
        // The client may still read.
        io::ErrorKind::UnexpectedEof => {
            Missing::Refused(ApiError::bad_request(format!("the {what} is incomplete")))
        }
        _ => Missing::Gone,
    }
}

/// A text as it is logged.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LOGGED) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text.to_owned(),
    }
}
