//! One request of the Bot API, by curl. The URL, in which the token stands, goes to curl as a configuration on a pipe
//! and is seen by nobody else; what is sent streams through a socket, and the answer comes back by the same.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::system::process::{Exit, Interrupted, Listener, ProgramError, Runner};
use crate::util::curl::{self, quote};

/// curl with its configuration on descriptor 3 and a socket as standard input and output: more than three descriptors
/// cannot be handed down without unsafe code, so a shell puts them where they belong.
const CURL: &str = "exec 3<&0 0<&1; exec curl --disable --globoff --config /dev/fd/3";
/// Seconds to reach the server.
const CONNECT_TIMEOUT: u64 = 15;
/// Seconds that a call may take besides what its bytes need.
const PATIENCE: u64 = 60;
/// The slowest line that is waited for, in bytes a second.
const SLOWEST: u64 = 64 * 1024;
/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;
/// What curl writes behind an answer: its status.
const STATUS_MARK: &str = "\nstatus ";

/// What is asked.
pub struct Request<'a> {
    /// The whole URL.
    pub url: String,
    /// Lines of curl's configuration besides.
    pub options: Vec<String>,
    /// What is sent.
    pub body: Body<'a>,
    /// The bytes that will be moved, by which the deadline grows.
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
#[derive(Debug)]
pub enum ExchangeError {
    /// curl could not be run, or a stop signal came.
    Program(ProgramError),
    /// curl did not get through; what it said.
    Network(String),
    /// What was to be sent could not be read.
    Read(io::Error),
    /// The answer could not be taken.
    Take(io::Error),
}

impl From<ProgramError> for ExchangeError {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
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
    let mut command = Command::new("sh");
    command.args(["-c", CURL]);
    curl::confine(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::piped());
    let mut child = runner.spawn(&mut command)?;
    // The other end must be curl's alone, so that its end is seen.
    drop(command);
    let said = Listener::start(child.stderr.take());
    let config = configuration(&request);
    if let Some(mut stdin) = child.stdin.take() {
        // A curl that cannot read it says so.
        let _ = stdin.write_all(config.as_bytes());
    }
    let (sent, taken) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(request.body, &ours));
        let taken = receive(&ours, take);
        if taken.is_err() {
            child.signaller().signal(Signal::SIGTERM);
        }
        (sending.join().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())), taken)
    });
    let exit = child.wait();
    let said = said.finish().joined();
    runner.check().map_err(|interrupted: Interrupted| ProgramError::Interrupted(interrupted))?;
    sent.map_err(ExchangeError::Read)?;
    match (exit, taken) {
        (Exit::Code(0), Ok(Some(status))) => Ok(status),
        (Exit::Code(0), Ok(None)) => Err(ExchangeError::Network("curl answered nothing".into())),
        (_, Err(error)) => Err(ExchangeError::Take(error)),
        (Exit::Code(127), _) => Err(ExchangeError::Program(ProgramError::Start(
            "curl".into(),
            io::Error::new(io::ErrorKind::NotFound, said),
        ))),
        (exit, _) if said.is_empty() => Err(ExchangeError::Network(format!("curl: {exit}"))),
        (_, _) => Err(ExchangeError::Network(said)),
    }
}

fn configuration(request: &Request) -> String {
    let limit = Duration::from_secs(PATIENCE + request.size / SLOWEST).as_secs();
    let mut lines = vec![
        "silent".to_owned(),
        "show-error".to_owned(),
        format!("url = {}", quote(&request.url)),
        "output = \"-\"".to_owned(),
        format!("write-out = {}", quote(&format!("{STATUS_MARK}%{{http_code}}"))),
        format!("connect-timeout = {CONNECT_TIMEOUT}"),
        format!("max-time = {limit}"),
        // Without it large bodies wait for a word from the server that many never give.
        "header = \"Expect:\"".to_owned(),
    ];
    match &request.body {
        Body::None => {}
        Body::Text(text) => lines.push(format!("data-binary = {}", quote(text))),
        Body::Stream(_, length) => lines.extend([
            "upload-file = \"-\"".to_owned(),
            "request = \"POST\"".to_owned(),
            // Its length is known, so it need not go in chunks.
            "header = \"Transfer-Encoding:\"".to_owned(),
            format!("header = \"Content-Length: {length}\""),
        ]),
    }
    lines.extend(request.options.iter().cloned());
    lines.join("\n") + "\n"
}

/// Writes the body. An answer that comes before all of it is sent is the better error.
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

/// Hands on what comes, without curl's word on the status, which is at its end.
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
