//! Sends responses. File contents go from the page cache to the socket by sendfile(2).

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::TcpStream;

use nix::sys::sendfile::sendfile64;
use rustix::net::sockopt::set_tcp_cork;

use super::date;
use super::head::is_head;
use super::message::{Body, FilePart, Part, Parts, Response};

/// What was sent.
#[derive(Debug)]
pub struct Sent {
    /// The status code.
    pub status: u16,
    /// Bytes of the body.
    pub bytes: u64,
    /// Whether all of it was sent.
    pub complete: bool,
}

/// The most bytes of one sendfile(2) call. A call returns when the client has taken nothing for the socket's timeout, so
/// this bounds what is sent between two looks at the progress.
const PIECE: usize = 1 << 20;

/// A body of up to this many bytes is sent together with its head.
const SHORT: usize = 16 * 1024;

/// Sends a response, without its body when that was not asked for.
pub fn answer(stream: &TcpStream, response: Response, head_only: bool, keep_alive: bool) -> Sent {
    let status = response.status;
    let mut bytes = head(&response, keep_alive).into_bytes();
    let body = if head_only { &[] } else { body(&response) };
    // A short body goes in one segment with its head; a long one is not copied.
    let is_short = body.len() <= SHORT;
    if is_short {
        bytes.extend_from_slice(body);
    }
    let length = body.len() as u64;
    let corked = (!head_only && matches!(response.body, Body::Parts(_))).then(|| Corked::begin(stream));
    if write_all(stream, &bytes).is_err() || (!is_short && write_all(stream, body).is_err()) {
        return Sent { status, bytes: 0, complete: false };
    }
    match response.body {
        Body::Parts(parts) if corked.is_some() => {
            let length = parts.length;
            let bytes = send_parts(stream, parts);
            Sent { status, bytes, complete: bytes == length }
        }
        _ => Sent { status, bytes: length, complete: true },
    }
}

/// While it exists, the kernel sends full packets only (tcp(7), TCP_CORK). Without it each sendfile(2) call may end in a
/// short packet, which costs up to a third of the throughput of a large file.
struct Corked<'a>(&'a TcpStream);

impl<'a> Corked<'a> {
    fn begin(stream: &'a TcpStream) -> Self {
        // If it fails, sending is only slower.
        let _ = set_tcp_cork(stream, true);
        Self(stream)
    }
}

impl Drop for Corked<'_> {
    /// Sends what is left.
    fn drop(&mut self) {
        let _ = set_tcp_cork(self.0, false);
    }
}

fn head(response: &Response, keep_alive: bool) -> String {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let length = match &response.body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::Parts(parts) => parts.length,
    };
    // RFC 9110, 8.6: 304 has no body, and a length of 0 would mean that of the file.
    if response.status != 304 {
        let _ = write!(head, "Content-Length: {length}\r\n");
    }
    let now = jiff::Timestamp::now().as_second();
    let connection = if keep_alive { "" } else { "Connection: close\r\n" };
    let _ = write!(head, "Date: {}\r\n{connection}\r\n", date::format(now));
    head
}

fn write_all(mut stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match patiently(|| stream.write(bytes)) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tries once more when the socket's timeout is over and nothing was sent. The kernel wakes a sender only when a third of
/// the send buffer is free, but less is enough for the second try. A client that has taken nothing is disconnected by then.
fn patiently(mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    match send() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => send(),
        sent => sent,
    }
}

/// Sends parts until one cannot be made or sent as a whole. Returns the bytes sent.
fn send_parts(stream: &TcpStream, parts: Parts) -> u64 {
    let mut total = 0;
    for part in parts.parts {
        let (sent, length) = match part {
            Ok(Part::Bytes(bytes)) => match write_all(stream, &bytes) {
                Ok(()) => (bytes.len() as u64, bytes.len() as u64),
                Err(_) => return total,
            },
            Ok(Part::File(part)) => (send_file(stream, &part), part.length),
            Err(_) => return total,
        };
        total += sent;
        if sent < length {
            break;
        }
    }
    total
}

/// Sends a range of a file. Returns the bytes sent.
fn send_file(stream: &TcpStream, part: &FilePart) -> u64 {
    let mut sent = 0;
    let mut offset = part.start.cast_signed();
    while sent < part.length {
        let piece = usize::try_from(part.length - sent).map_or(PIECE, |left| left.min(PIECE));
        match patiently(|| Ok(sendfile64(stream, &part.file, Some(&mut offset), piece)?)) {
            // The file has become shorter than it was.
            Ok(0) => break,
            Ok(count) => sent += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    sent
}

/// Refuses a connection with a response, without waiting for the client.
pub fn turn_away(mut stream: &TcpStream, response: Response) {
    let refuse = |stream: &mut &TcpStream| -> io::Result<()> {
        stream.set_nonblocking(true)?;
        // A close with unread data would reset the connection.
        let mut request = [0; 4096];
        let read = io::Read::read(stream, &mut request).unwrap_or_default();
        let body = if is_head(&request[..read]) { &[] } else { body(&response) };
        stream.write_all(&[head(&response, false).as_bytes(), body].concat())?;
        stream.shutdown(std::net::Shutdown::Write)
    };
    let _ = refuse(&mut stream);
}

fn body(response: &Response) -> &[u8] {
    match &response.body {
        Body::Bytes(bytes) => bytes,
        Body::Parts(_) => &[],
    }
}

/// The reason phrase of a status code.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
