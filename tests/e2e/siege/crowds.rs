//! The crowds: connections by the hundred, each kind with a misdeed of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::{LARGE, Siege};

/// What comes of one turn of a connection.
#[derive(PartialEq)]
enum Turn {
    Stays,
    Ends,
}

impl Siege<'_> {
    /// Keeps up a crowd of connections until `end`, and gives each its turn once every `pause`. One that has ended
    /// is made anew. Answers how many there were.
    fn crowd(
        &self,
        size: usize,
        end: Instant,
        pause: Duration,
        mut turn: impl FnMut(&mut TcpStream, usize, u32) -> Turn,
    ) -> usize {
        let mut crowd: Vec<Option<(TcpStream, u32)>> = (0..size).map(|_| None).collect();
        let mut made = 0;
        while Instant::now() < end {
            let begun = Instant::now();
            for (number, place) in crowd.iter_mut().enumerate() {
                if place.is_none() {
                    made += 1;
                    *place = self.connect().map(|stream| (stream, 0));
                }
                let Some((stream, turns)) = place else { continue };
                *turns += 1;
                if turn(stream, number, *turns) == Turn::Ends {
                    *place = None;
                }
            }
            let next = (begun + pause).min(end);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        made
    }

    fn connect(&self) -> Option<TcpStream> {
        // Where the queue of connections is full, the attacker too has to wait.
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    }

    pub(super) fn malformed(&self, end: Instant) -> usize {
        let (mut requests, mut next) = (malformed(), 0);
        if self.pid == self.daemon.pid() {
            // Well-formed, and nothing that a stranger is granted. The health port answers whatever it is asked.
            requests.extend(["*", "http://a"].map(|target| with_line(&format!("GET {target} HTTP/1.1"))));
        }
        self.crowd(8, end, Duration::from_millis(10), |stream, _, turns| {
            if turns == 1 {
                next += 1;
                return write(stream, &requests[next % requests.len()]);
            }
            let mut answer = [0; 10];
            match stream.read(&mut answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Stays,
                _ if answer.starts_with(b"HTTP/1.1 2") => {
                    self.violation("a malformed request was taken".to_owned())
                }
                _ => {}
            }
            Turn::Ends
        })
    }

    pub(super) fn endless(&self, end: Instant) -> usize {
        let (line, fields) = ("a".repeat(1 << 16), "X: y\r\n".repeat(1 << 13));
        let starts = ["GET /", "GET / HTTP/1.1\r\nHost: a\r\nX: ", "GET / HTTP/1.1\r\nHost: a\r\n"];
        self.crowd(24, end, Duration::from_millis(10), |stream, number, turns| match turns {
            1 => write(stream, starts[number % 3].as_bytes()),
            _ => write(stream, if number % 3 == 2 { fields.as_bytes() } else { line.as_bytes() }),
        })
    }

    /// Strangers who send all but the last byte of the longest head and body that there may be.
    pub(super) fn fill(&self, end: Instant) -> usize {
        let (field, length) = ("x".repeat(15 << 10), 64 << 10);
        let head =
            format!("POST /backup HTTP/1.1\r\nHost: a\r\nX: {field}\r\nContent-Length: {length}\r\n\r\n");
        let request = head + &"x".repeat(length - 1);
        self.crowd(self.scale.filling, end, Duration::from_millis(100), |stream, _, turns| match turns {
            1 => write(stream, request.as_bytes()),
            2 => Turn::Stays,
            _ => Turn::Ends,
        })
    }

    pub(super) fn idle(&self, end: Instant) -> usize {
        self.crowd(self.scale.idle, end, Duration::from_secs(1), |stream, _, _| has_ended(stream))
    }

    /// A third send a head byte by byte, a third a body, a third whole requests, the next as slowly.
    pub(super) fn drip(&self, end: Instant) -> usize {
        let head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        let starts: [&[u8]; 3] =
            [b"G", b"POST /backup HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", head];
        self.crowd(self.scale.dripping, end, Duration::from_secs(1), |stream, number, turns| match turns {
            1 => write(stream, starts[number % 3]),
            _ => write(stream, &[head[turns as usize % head.len()]]),
        })
    }

    /// They ask for ever more and read none of it; some of them know the token and ask for a large file.
    pub(super) fn deaf(&self, end: Instant) -> usize {
        let ask = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let asked = [ask("/healthz", "").repeat(400), ask("/status", "").repeat(400)];
        let known = format!("Authorization: Bearer {}\r\n", self.daemon.token);
        let download = ask(&format!("/backups/last/{LARGE}"), &known);
        self.crowd(self.scale.deaf, end, Duration::from_millis(100), |stream, number, turns| {
            match (number, turns) {
                (..20, 1) => write(stream, download.as_bytes()),
                (..20, _) => Turn::Stays,
                _ => write(stream, asked[number % 2].as_bytes()),
            }
        })
    }

    /// They try one token after another.
    pub(super) fn guess(&self, end: Instant) -> usize {
        self.crowd(self.scale.guessing, end, Duration::from_millis(100), |stream, number, turns| {
            if turns > 1 && has_ended(stream) == Turn::Ends {
                return Turn::Ends;
            }
            let token = format!("Authorization: Bearer {number}-{turns}");
            write(stream, format!("GET /status HTTP/1.1\r\nHost: a\r\n{token}\r\n\r\n").as_bytes())
        })
    }

    /// They say all that they have to say, or half of it, and wait.
    pub(super) fn half_closed(&self, end: Instant) -> usize {
        let said = [
            "",
            "GET /healthz HT",
            "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /backup HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{",
        ];
        self.crowd(self.scale.half_closed, end, Duration::from_millis(500), |stream, number, turns| {
            match turns {
                1 => {
                    write(stream, said[number % said.len()].as_bytes());
                    let _ = stream.shutdown(Shutdown::Write);
                    Turn::Stays
                }
                _ => has_ended(stream),
            }
        })
    }

    /// They are gone before they have been answered, without a farewell.
    pub(super) fn reset(&self, count: usize) -> usize {
        let said = ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"];
        for number in 0..count {
            let Some(mut stream) = self.connect() else { continue };
            write(&mut stream, said[number % 3].as_bytes());
            let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&stream, sockopt::Linger, &at_once).unwrap();
        }
        count
    }
}

/// Writes as much as the connection takes.
fn write(stream: &mut TcpStream, mut bytes: &[u8]) -> Turn {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Stays,
            Err(_) => return Turn::Ends,
        }
    }
    Turn::Stays
}

fn has_ended(stream: &mut TcpStream) -> Turn {
    match stream.read(&mut [0; 4096]) {
        Ok(1..) => Turn::Stays,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Turn::Stays,
        _ => Turn::Ends,
    }
}

fn with_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

/// Every kind of malformed or ambiguous request, none of which may be granted. `tests/e2e/gate.rs` has what each is answered.
fn malformed() -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for length in [
        "1000000000000000",
        "9223372036854775808",
        "18446744073709551616",
        "-1",
        "1,1",
        "+5",
        "0x5",
        "3\r\nContent-Length: 3",
        "3\r\nContent-Length: 4",
    ] {
        requests.push(format!("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nabc"));
    }
    for coding in ["chunked, chunked", "identity", "chunked\r\nContent-Length: 5", "x\r\nContent-Length: 0"] {
        let hidden = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        requests
            .push(format!("GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n{hidden}"));
    }
    for field in [
        "X: a\rb",
        "X: a\nb",
        "X: a\0b",
        "X: a\r\n b",
        "X : a",
        "X\u{e9}: a",
        "Host: b",
        "Content-Length: 5\u{e9}",
    ] {
        requests.push(format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
    }
    // More of a body than was announced is another request.
    requests
        .push(format!("POST /backup HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{}", "{".repeat(100)));
    let mut lines = Vec::new();
    for line in [" /healthz HTTP/1.1", "GET /healthz", "GET /\u{e9} HTTP/1.1", "PRI * HTTP/2.0", "* * *"] {
        lines.push(with_line(line));
    }
    let mut requests: Vec<Vec<u8>> = requests.into_iter().map(String::into_bytes).chain(lines).collect();
    requests.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8a".to_vec());
    requests
}
