//! The gate's deadlines, shortened, over real sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::http::message::{Body, FilePart, Files};

/// What the gate is given here instead of a minute.
const SHORT: Duration = Duration::from_secs(1);
/// Long for a loaded machine, and still no minute.
const SOON: Duration = Duration::from_secs(30);
/// More than the sockets swallow.
const LARGE: usize = 24 << 20;

/// Answers what the path asks for.
struct Menu(File);

impl Service for Menu {
    fn answer(&self, incoming: &Incoming) -> Response {
        let body = match incoming.head.path() {
            "/panic" => panic!("on request"),
            "/file" => {
                let file = self.0.try_clone().unwrap();
                Body::Files(Files::Part(FilePart { file, start: 0, length: LARGE as u64 }), None)
            }
            "/bytes" => Body::Bytes(vec![7; LARGE]),
            _ => Body::Bytes(b"ok".to_vec()),
        };
        Response { status: 200, headers: Vec::new(), body }
    }

    fn is_probed(&self, _path: &str) -> bool {
        false
    }
}

fn open(change: impl FnOnce(&mut Limits)) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let file = tempfile::tempfile().unwrap();
    (&file).write_all(&vec![7; LARGE]).unwrap();
    let mut limits = Limits::of(8);
    change(&mut limits);
    Gate::open("test", listener, limits, Arc::new(Menu(file))).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // Left to itself, it would grow with what is read.
    setsockopt(&stream, sockopt::RcvBuf, &(64 << 10)).unwrap();
    stream
}

fn ask(mut stream: &TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
}

/// Reads a head, and answers its status.
fn read_head(mut stream: &TcpStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()[9..12].parse().unwrap()
}

/// What still comes until the other side ends it, in bytes.
fn rest(mut stream: &TcpStream) -> usize {
    let mut rest = Vec::new();
    // An end may be a reset.
    let _ = stream.read_to_end(&mut rest);
    rest.len()
}

#[test]
fn a_reader_that_takes_nothing_is_cut() {
    both(|path, stream| {
        // A write fails when the other side has ended the connection for good.
        let deadline = Instant::now() + SOON;
        while (&*stream).write(b"x").is_ok() {
            assert!(Instant::now() < deadline, "{path}: it is not cut");
            thread::sleep(SHORT / 16);
        }
        assert!(rest(stream) < LARGE, "{path}");
    });
}

#[test]
fn a_reader_that_takes_a_little_is_not_cut() {
    both(|path, mut stream| {
        // For some of the gate's times, and in each so little that the kernel's buffer is never a third empty, which
        // is when it would wake the sender by itself.
        let (begun, mut taken) = (Instant::now(), 0);
        while begun.elapsed() < 4 * SHORT {
            let mut little = vec![0; 16 << 10];
            stream.read_exact(&mut little).unwrap();
            taken += little.len();
            thread::sleep(SHORT / 16);
        }
        let mut left = vec![0; LARGE - taken];
        stream.read_exact(&mut left).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(left.iter().all(|byte| *byte == 7));
    });
}

/// Has a file and a long body sent at the same time, each of them to `reader` from the end of its head.
fn both(reader: impl Fn(&str, &TcpStream) + Sync) {
    thread::scope(|scope| {
        for path in ["/file", "/bytes"] {
            let reader = &reader;
            scope.spawn(move || {
                let stream = open(|limits| limits.stall_time = SHORT);
                ask(&stream, path);
                assert_eq!(read_head(&stream), 200);
                reader(path, &stream);
            });
        }
    });
}

#[test]
fn a_connection_that_says_nothing_after_an_answer_is_closed() {
    let stream = open(|limits| limits.idle_time = SHORT);
    for _ in 0..2 {
        ask(&stream, "/");
        assert_eq!(read_head(&stream), 200);
        assert_eq!((&stream).read(&mut [0; 2]).unwrap(), 2);
    }
    let begun = Instant::now();
    assert_eq!((&stream).read(&mut [0]).unwrap(), 0);
    assert!(begun.elapsed() < SOON / 2);
}

#[test]
fn a_panic_of_the_service_is_a_500_and_the_connection_goes_on() {
    let stream = open(|_| {});
    for (path, status) in [("/panic", 500), ("/", 200), ("/panic", 500)] {
        ask(&stream, path);
        assert_eq!(read_head(&stream), status);
        let length =
            if status == 200 { 2 } else { "{\"error\":\"the request failed; the log says why\"}\n".len() };
        let mut body = vec![0; length];
        (&stream).read_exact(&mut body).unwrap();
        assert_eq!(body[0] == b'{', status == 500);
    }
}
