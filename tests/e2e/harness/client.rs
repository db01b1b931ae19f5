//! An HTTP/1.1 client that sends exactly the bytes it is told to, so that it can also ask what no client asks.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, String)>,
    /// The bytes after the head.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, when it is there exactly once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }

    /// The body as JSON; asserts the form that every JSON answer has.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.text();
        assert_eq!(self.header("content-type"), Some("application/json"), "{} {text}", self.status);
        assert!(text.ends_with('\n'), "no newline at the end: {} {text:?}", self.status);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} {text:?}: {error}", self.status))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts the status code.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Asserts an error with this status, in the one form that errors have, and answers its sentence.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let json = self.json();
        let object = json.as_object().expect("an object");
        assert_eq!(object.len(), 1, "{json}");
        let sentence = json["error"].as_str().expect("a sentence").to_owned();
        assert!(!sentence.is_empty() && !sentence.contains('\n'), "{json}");
        sentence
    }
}

/// Sends `request` as it is and reads one answer. A HEAD is recognised, for its answer has no body.
#[track_caller]
pub fn exchange(port: u16, request: &[u8]) -> Response {
    let mut line = Line::open(port);
    line.send(request);
    let response = line.read(request.starts_with(b"HEAD "));
    assert!(line.ahead.is_empty(), "more bytes than announced: {:?}", String::from_utf8_lossy(&line.ahead));
    response
}

/// A connection for any number of requests.
pub struct Line {
    stream: TcpStream,
    /// What has come after the last answer that was read.
    ahead: Vec<u8>,
}

impl Line {
    /// Connects to a port of 127.0.0.1.
    #[track_caller]
    pub fn open(port: u16) -> Self {
        Self::to(("127.0.0.1", port))
    }

    /// Connects.
    #[track_caller]
    pub fn to(address: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("set a timeout");
        Self { stream, ahead: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may answer and close before it has read everything.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("end the sending");
    }

    /// Reads one answer.
    #[track_caller]
    pub fn answer(&mut self) -> Response {
        self.read(false)
    }

    /// Reads one answer to a HEAD.
    #[track_caller]
    pub fn answer_to_head(&mut self) -> Response {
        self.read(true)
    }

    /// Reads the head of an answer, whose body can then be read from this.
    #[track_caller]
    pub fn answer_without_body(&mut self) -> Response {
        read_head(&mut self.stream, &mut self.ahead)
    }

    /// Asserts that the other side ends the connection and says nothing more.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let mut rest = std::mem::take(&mut self.ahead);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection stays open: {error}"),
        }
        assert!(rest.is_empty(), "more than one answer: {:?}", String::from_utf8_lossy(&rest));
    }

    fn read(&mut self, headless: bool) -> Response {
        let mut response = read_head(&mut self.stream, &mut self.ahead);
        let length = match response.header("content-length") {
            _ if headless || matches!(response.status, 100 | 204 | 304) => Some(0),
            length => length.map(|text| text.parse().expect("a number")),
        };
        match length {
            Some(length) => {
                response.body.resize(length, 0);
                self.read_exact(&mut response.body).expect("read as many bytes as announced");
            }
            None => _ = self.read_to_end(&mut response.body).expect("read to the end"),
        }
        response
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.ahead.is_empty() {
            return self.stream.read(buffer);
        }
        let count = buffer.len().min(self.ahead.len());
        buffer[..count].copy_from_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        Ok(count)
    }
}

/// Writes a request without sending it: no header but those given, `Host` and `Content-Length`.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if let Some(body) = body {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

fn read_head(stream: &mut impl Read, ahead: &mut Vec<u8>) -> Response {
    let end = loop {
        if let Some(at) = ahead.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let mut chunk = [0; 4096];
        let read = match stream.read(&mut chunk) {
            // A read with a timeout is not taken up again by the kernel when the process was stopped meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.expect("read the head of an answer"),
        };
        assert_ne!(read, 0, "the connection ended in the head: {:?}", String::from_utf8_lossy(ahead));
        ahead.extend_from_slice(&chunk[..read]);
    };
    let head = String::from_utf8(ahead[..end].to_vec()).expect("a head in UTF-8");
    ahead.drain(..end + 4);
    parse_head(&head)
}

fn parse_head(head: &str) -> Response {
    let mut lines = head.split("\r\n");
    let first = lines.next().expect("split gives one at least");
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Response {
        status: status.unwrap_or_else(|| panic!("no status line: {first:?}")),
        headers: headers.collect(),
        body: Vec::new(),
    }
}
