//! A connection to tiny_http that goes on from one request to the next.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::message::{Body, Response};

/// How long an answer may take. The slowest, a new schedule, takes two seconds.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long the first answer may take, for which the next line waits.
const PROOF_TIME: Duration = Duration::from_secs(1);
/// The first request. It asks for nothing, and still passes every thread that others pass.
const PROOF: &[u8] = b"GET /healthz HTTP/1.1\r\n\r\n";
/// What is read at one time, in bytes. Most answers are shorter.
const CHUNK: usize = 4096;

/// The connection.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    sound: bool,
}

impl Line {
    /// Connects, and sees that a request is answered. Only then may another line be opened: tiny_http 0.12 counts
    /// a thread that it has woken as free until that thread runs. Of two connections that come at once both may be
    /// left to one thread, and the second then waits until the first is closed.
    ///
    /// # Errors
    /// When there is nobody to connect to, or no answer within a second.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let mut line = Self { stream: UnixStream::connect(socket)?, sound: true };
        line.limit(PROOF_TIME)?;
        let answer = line.ask(PROOF)?;
        if answer.status != 200 {
            return Err(invalid(&format!("the first answer was {}", answer.status)));
        }
        line.limit(ANSWER_TIME)?;
        Ok(line)
    }

    /// Sends a request and takes its answer.
    ///
    /// # Errors
    /// When the answer does not come, breaks off, or is not a handler's. Whether the request was taken is not known
    /// then; it must not be sent again, and the line is of no more use.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<Response> {
        let answer = self.exchange(request).and_then(|answer| match is_ours(&answer) {
            true => Ok(answer),
            false => Err(invalid(&format!("the HTTP server answered {} by itself", answer.status))),
        });
        self.sound = answer.is_ok();
        answer
    }

    /// Whether another request may be sent.
    pub fn is_sound(&self) -> bool {
        self.sound
    }

    fn limit(&self, time: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(time))?;
        self.stream.set_write_timeout(Some(time))
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        self.stream.write_all(request)?;
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            bytes.resize(before + CHUNK, 0);
            let read = match self.stream.read(&mut bytes[before..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                read => read?,
            };
            bytes.truncate(before + read);
            if let Some(answer) = parse(&bytes)? {
                return Ok(answer);
            }
        }
    }
}

/// Whether a handler has answered. An error of tiny_http's own has no type, and it may hang up after it.
fn is_ours(answer: &Response) -> bool {
    answer.status < 400 || answer.headers.iter().any(|(name, _)| name == "Content-Type")
}

/// An answer of tiny_http, without what the gate says by itself; `None` as long as some of it is missing.
fn parse(bytes: &[u8]) -> io::Result<Option<Response>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(invalid(&format!("its answer is malformed: {error}"))),
    };
    let mut headers = Vec::with_capacity(head.headers.len());
    let mut promised: Option<usize> = None;
    for field in head.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        match field.name {
            "Content-Length" => promised = value.parse().ok(),
            "Server" | "Date" | "Connection" => {}
            name => headers.push((name.to_owned().into(), value.into_owned())),
        }
    }
    let promised = promised.ok_or_else(|| invalid("its answer has no length"))?;
    let body = &bytes[length..];
    match body.len().cmp(&promised) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Greater => Err(invalid("its answer is longer than announced")),
        std::cmp::Ordering::Equal => {
            let status = head.code.ok_or_else(|| invalid("its answer has no status"))?;
            Ok(Some(Response { status, headers, body: Body::Bytes(body.to_vec()) }))
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    #[test]
    fn an_answer_is_taken_when_all_of_it_is_there() {
        let whole = b"HTTP/1.1 200 OK\r\nServer: x\r\nA: b\r\nContent-Length: 2\r\n\r\nok";
        let response = parse(whole).unwrap().unwrap();
        assert_eq!(response.headers, [("A".into(), "b".to_owned())]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).unwrap().is_none(), "{length}");
        }
        assert!(parse(&[&whole[..], b"more"].concat()).is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }

    /// A server that says these things one after the other, each when it has been asked something.
    fn asked(answers: &'static [&str]) -> (io::Result<Line>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut request = [0; 1024];
                if stream.read(&mut request).unwrap() == 0 {
                    break;
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (Line::open(&directory.path().join("socket")), directory)
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const OURS: &str =
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

    #[test]
    fn a_line_goes_on_until_an_answer_breaks_off_or_is_not_ours() {
        let request = b"GET / HTTP/1.1\r\n\r\n";
        let (line, _directory) = asked(&[GOOD, GOOD, OURS, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"]);
        let mut line = line.unwrap();
        assert_eq!(line.ask(request).unwrap().status, 200);
        assert_eq!(line.ask(request).unwrap().status, 404);
        assert!(line.is_sound());
        assert!(line.ask(request).is_err());
        assert!(!line.is_sound());
        let (line, _directory) = asked(&[GOOD, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"]);
        let mut line = line.unwrap();
        assert!(line.ask(request).is_err());
        assert!(!line.is_sound());
    }

    #[test]
    fn a_line_whose_first_answer_is_none_is_not_opened() {
        assert!(asked(&[]).0.is_err());
        assert!(asked(&["HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"]).0.is_err());
        assert!(Line::open(Path::new("/nowhere")).is_err());
    }
}
