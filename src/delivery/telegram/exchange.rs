//! One request of the Bot API, by curl. What is sent streams through a socket, and the answer comes back by the same.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::Signal;
use thiserror::Error;

use crate::system::curl::{Curl, could_not_run};
use crate::system::process::{Exit, ProgramError, Runner};

/// Seconds to reach the server.
const CONNECT_TIMEOUT: u64 = 15;
/// Seconds that a call may take in addition to its transfer.
const PATIENCE: u64 = 60;
/// The slowest transfer that is allowed, in bytes a second.
const SLOWEST: u64 = 64 * 1024;
/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;
/// What curl writes after an answer, followed by its status.
const STATUS_MARK: &str = "\nstatus ";

/// What is asked.
pub struct Request<'a> {
    /// curl with the URL and the head of the request.
    pub curl: Curl,
    /// What is sent.
    pub body: Body<'a>,
    /// The bytes to transfer, by which the time limit grows.
    pub size: u64,
}

/// What is sent with a request.
pub enum Body<'a> {
    /// Nothing.
    None,
    /// So much text.
    Text(String),
    /// So many bytes of a stream.
    Stream(Box<dyn Read + Send + 'a>, u64),
}

/// Why there was no answer.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// curl could not be run, or a stop signal came.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// curl could not connect or was cut off; what it said.
    #[error("{0}")]
    Network(String),
    /// The body could not be read.
    #[error(transparent)]
    Read(io::Error),
    /// The answer could not be taken.
    #[error(transparent)]
    Take(io::Error),
}

/// Sends a request, and hands the answer to `take` as it comes. Answers the status of HTTP.
///
/// # Errors
/// When curl does not get through, the body cannot be read, `take` fails, or a stop signal comes.
pub fn exchange(
    request: Request,
    runner: &Runner,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<u16, ExchangeError> {
    let (ours, theirs) = UnixStream::pair().map_err(ExchangeError::Take)?;
    let Request { curl, body, size } = request;
    let (child, said) = configured(curl, &body, size).start_on(theirs, runner)?;
    let (sent, taken) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(body, &ours));
        let taken = receive(&ours, take);
        if taken.is_err() {
            child.signaller().signal(Signal::SIGTERM);
        }
        (sending.join().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())), taken)
    });
    let exit = child.wait();
    let said = said.finish().joined();
    runner.check().map_err(ProgramError::Interrupted)?;
    sent.map_err(ExchangeError::Read)?;
    match (exit, taken) {
        (Exit::Code(0), Ok(Some(status))) => Ok(status),
        (Exit::Code(0), Ok(None)) => Err(ExchangeError::Network("curl answered nothing".into())),
        (_, Err(error)) => Err(ExchangeError::Take(error)),
        (exit, _) if could_not_run(exit) => {
            let error = io::Error::new(io::ErrorKind::NotFound, said);
            Err(ProgramError::Start("curl".into(), error).into())
        }
        (exit, _) if said.is_empty() => Err(ExchangeError::Network(format!("curl: {exit}"))),
        (_, _) => Err(ExchangeError::Network(said)),
    }
}

/// Adds to curl how it writes the answer, its time limits, and how it sends the body.
fn configured(curl: Curl, body: &Body, size: u64) -> Curl {
    let flags = ["silent".to_owned(), "show-error".to_owned()];
    let limits =
        [format!("connect-timeout = {CONNECT_TIMEOUT}"), format!("max-time = {}", PATIENCE + size / SLOWEST)];
    let curl = curl.lines(flags).lines(limits);
    let curl = curl.setting("output", "-").setting("write-out", &format!("{STATUS_MARK}%{{http_code}}"));
    // Without an empty `Expect` large bodies wait for an answer that many servers never give.
    let curl = curl.setting("header", "Expect:");
    match body {
        Body::None => curl,
        Body::Text(text) => curl.setting("data-binary", text),
        Body::Stream(_, length) => {
            // The length is known, so the body need not be sent in chunks.
            let curl = curl.setting("upload-file", "-").setting("request", "POST");
            curl.setting("header", "Transfer-Encoding:").header("Content-Length", &length.to_string())
        }
    }
}

/// Writes the body. If curl closes the socket first, its answer tells why, so that is no error.
fn send(body: Body, to: &UnixStream) -> io::Result<()> {
    if let Body::Stream(mut source, length) = body {
        let (mut to, mut left, mut chunk) = (to, length, vec![0; CHUNK]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = match source.read(&mut chunk[..most]) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Both);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it was"));
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let _ = to.shutdown(Shutdown::Both);
                    return Err(error);
                }
            };
            if to.write_all(&chunk[..read]).is_err() {
                return Ok(());
            }
            left -= read as u64;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    Ok(())
}

/// Passes the answer to `take`, without the status that curl writes after it.
fn receive(from: &UnixStream, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Option<u16>> {
    let (mut from, mut chunk, mut held) = (from, vec![0; CHUNK], Vec::new());
    let kept = STATUS_MARK.len() + 3;
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        };
        held.extend_from_slice(&chunk[..length]);
        let surplus = held.len().saturating_sub(kept);
        take(&held[..surplus])?;
        held.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&held).into_owned();
    Ok(text.strip_prefix(STATUS_MARK).and_then(|status| status.parse().ok()))
}
