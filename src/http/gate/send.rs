//! Puts an answer on the wire. File bodies go from the page cache to the socket without passing through here.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpStream;

use nix::sys::sendfile::sendfile64;
use rustix::net::sockopt::set_tcp_cork;

use super::head::is_head;
use crate::http::date;
use crate::http::message::{Body, Files, Response};
use crate::store::catalog::{Archive, END};

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

/// Bytes that one sendfile(2) may send. A call ends when the client has taken nothing for the socket's
/// timeout, so this bounds how much goes by before progress is seen.
const PIECE: usize = 1 << 20;

/// A body of up to this many bytes is sent together with its head.
const SHORT: usize = 16 * 1024;

/// Sends an answer, without its body when that was not asked for.
pub fn answer(stream: &TcpStream, response: Response, head_only: bool, keep_alive: bool) -> Sent {
    let status = response.status;
    let mut bytes = head(&response, keep_alive).into_bytes();
    let body = if head_only { &[] } else { body(&response) };
    // One segment where that is all, but no copy of a long list.
    let whole = body.len() <= SHORT;
    if whole {
        bytes.extend_from_slice(body);
    }
    let files = match &response.body {
        Body::Files(files, _) if !head_only => Some(files),
        _ => None,
    };
    let _packed = files.map(|_| Packed::begin(stream));
    if write_all(stream, &bytes).is_err() || (!whole && write_all(stream, body).is_err()) {
        return Sent { status, bytes: 0, complete: false };
    }
    let Some(files) = files else { return Sent { status, bytes: body.len() as u64, complete: true } };
    let bytes = match files {
        Files::Part(part) => send_part(stream, &part.file, part.start, part.length),
        Files::Archive(archive) => send_archive(stream, archive),
    };
    Sent { status, bytes, complete: bytes == files.length() }
}

/// As long as it lives, the kernel sends no packet that is not full (tcp(7), TCP_CORK). Without it each of the pieces
/// that sendfile(2) passes on may end in a short one, which costs a large file up to a third of its speed.
struct Packed<'a>(&'a TcpStream);

impl<'a> Packed<'a> {
    fn begin(stream: &'a TcpStream) -> Self {
        // Refused, it is only slower.
        let _ = set_tcp_cork(stream, true);
        Self(stream)
    }
}

impl Drop for Packed<'_> {
    /// What is left is sent at once.
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
        Body::Files(files, _) => files.length(),
    };
    // RFC 9110, 8.6: 304 has no body, and a length of 0 would be taken for the file's.
    if response.status != 304 {
        let _ = write!(head, "Content-Length: {length}\r\n");
    }
    let now = jiff::Timestamp::now().as_second();
    let connection = if keep_alive { "" } else { "Connection: close\r\n" };
    let _ = write!(head, "Date: {}\r\n{connection}\r\n", date::format(now));
    head
}

/// Sends these bytes.
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

/// Has a second try at sending when the socket's time is over and nothing was sent. The kernel wakes a sender that
/// has found the socket full only when a third of it is free, but what a slow client has taken by now is room enough
/// for the second. One who has taken nothing is gone by then.
fn patiently(mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    match send() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => send(),
        sent => sent,
    }
}

/// Sends a part of a file. Answers how much of it was sent.
fn send_part(stream: &TcpStream, file: &File, start: u64, length: u64) -> u64 {
    let mut sent = 0;
    let mut offset = start.cast_signed();
    while sent < length {
        let piece = usize::try_from(length - sent).map_or(PIECE, |left| left.min(PIECE));
        match patiently(|| Ok(sendfile64(stream, file, Some(&mut offset), piece)?)) {
            // The file has become shorter than it was.
            Ok(0) => break,
            Ok(count) => sent += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    sent
}

/// Sends an archive. Answers how much of it was sent.
fn send_archive(stream: &TcpStream, archive: &Archive) -> u64 {
    let mut sent = 0;
    for member in &archive.members {
        let Ok(file) = archive.open(member) else { return sent };
        if write_all(stream, &member.header).is_err() {
            return sent;
        }
        let body = send_part(stream, &file, 0, member.size);
        sent += member.header.len() as u64 + body;
        if body < member.size {
            return sent;
        }
        let padding = vec![0; usize::try_from(member.padding()).unwrap_or_default()];
        if write_all(stream, &padding).is_err() {
            return sent;
        }
        sent += padding.len() as u64;
    }
    match write_all(stream, &END) {
        Ok(()) => sent + END.len() as u64,
        Err(_) => sent,
    }
}

/// Answers a client that gets no slot, without waiting for anything.
pub fn turn_away(mut stream: &TcpStream, response: Response) {
    let refuse = |stream: &mut &TcpStream| -> io::Result<()> {
        stream.set_nonblocking(true)?;
        // What it has sent already would reset the connection if it were left unread.
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
        Body::Files(..) => &[],
    }
}

/// The phrase beside a status code.
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
