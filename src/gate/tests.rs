//! The gate's deadlines, shortened, over real sockets.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tempfile::TempDir;

use super::*;

/// What the gate is given here instead of a minute.
const SHORT: Duration = Duration::from_secs(1);
/// Long for a loaded machine, and still no minute.
const SOON: Duration = Duration::from_secs(30);
/// More than the sockets swallow.
const LARGE: usize = 24 << 20;
/// Files of a directory, each of which leaves a block to be filled. They are so small that headers, too, find the
/// socket full.
const MEMBERS: usize = 384;

/// Answers what the path asks for.
struct Menu {
    /// Where what is large comes from.
    files: TempDir,
    /// Whether a response is being delayed.
    is_delaying: AtomicBool,
}

impl Menu {
    fn new() -> Self {
        Self { files: tempfile::tempdir().unwrap(), is_delaying: AtomicBool::new(false) }
    }

    fn file(&self) -> Parts {
        let path = self.files.path().join("file");
        fs::write(&path, vec![7; LARGE]).unwrap();
        Parts::of_file(FilePart { file: File::open(path).unwrap(), start: 0, length: LARGE as u64 })
    }

    /// As an archive of a directory: small files, each between two pieces of bytes.
    fn directory(&self) -> Parts {
        let path = self.files.path().join("member");
        let (header, padding) = (512, 1);
        let size = LARGE / MEMBERS - header - padding;
        fs::write(&path, vec![7; size]).unwrap();
        let member = move |_| {
            let file = File::open(&path)?;
            let part = FilePart { file, start: 0, length: size as u64 };
            Ok([Part::Bytes(vec![7; header]), Part::File(part), Part::Bytes(vec![7; padding])])
        };
        let parts = (0..MEMBERS).flat_map(move |at| {
            member(at).map(|parts| parts.map(Ok)).unwrap_or_else(|error: io::Error| panic!("{error}"))
        });
        Parts { length: LARGE as u64, parts: Box::new(parts), guard: None }
    }
}

impl Service for Menu {
    fn answer(&self, incoming: &Incoming) -> Response {
        let body = match incoming.head.path() {
            "/panic" => panic!("on request"),
            "/file" => Body::Parts(self.file()),
            "/directory" => Body::Parts(self.directory()),
            "/bytes" => Body::Bytes(vec![7; LARGE]),
            _ => Body::Bytes(b"ok".to_vec()),
        };
        Response { status: 200, headers: Vec::new(), body }
    }

    fn response_delay(&self, incoming: &Incoming, _response: &Response) -> Duration {
        if incoming.head.path() != "/delayed" {
            return Duration::ZERO;
        }
        self.is_delaying.store(true, Ordering::Relaxed);
        SOON
    }

    fn wants_body(&self, head: &Head) -> bool {
        head.path() != "/strange"
    }

    fn is_probe(&self, _path: &str) -> bool {
        false
    }

    fn record_response(&self, path: &str, _status: u16) {
        assert_ne!(path, "/panic-on-note", "on request");
    }
}

fn open(change: impl FnOnce(&mut Limits)) -> TcpStream {
    connect(listen(&Arc::new(Menu::new()), change))
}

fn listen(menu: &Arc<Menu>, change: impl FnOnce(&mut Limits)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut limits = Limits::of(8);
    change(&mut limits);
    Gate::open("test", listener, limits, Arc::<Menu>::clone(menu)).unwrap();
    address
}

fn connect(address: SocketAddr) -> TcpStream {
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
    // Long enough that three times as much stands out on a loaded machine.
    let stall_time = 2 * SHORT;
    for_each_large_body(stall_time, |path, stream| {
        // A write fails when the other side has ended the connection for good.
        let begun = Instant::now();
        while (&*stream).write(b"x").is_ok() {
            assert!(begun.elapsed() < 3 * stall_time, "{path}: it is not cut");
            thread::sleep(SHORT / 16);
        }
        assert!(rest(stream) < LARGE, "{path}");
    });
}

#[test]
fn a_reader_that_takes_a_little_is_not_cut() {
    for_each_large_body(SHORT, |path, mut stream| {
        // For some of the gate's times, and in each so little that the kernel's buffer is never a third empty, which
        // is when it would wake the sender by itself.
        let (begun, mut taken) = (Instant::now(), 0);
        while begun.elapsed() < 4 * SHORT {
            let mut little = vec![0; 16 << 10];
            stream.read_exact(&mut little).unwrap_or_else(|error| panic!("{path}: {error}"));
            taken += little.len();
            thread::sleep(SHORT / 16);
        }
        let mut left = vec![0; LARGE - taken];
        stream.read_exact(&mut left).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(left.iter().all(|byte| *byte == 7), "{path}");
    });
}

/// Has a file, a directory and a long body sent at the same time, each of them to `reader` from the end of its head.
fn for_each_large_body(stall_time: Duration, reader: impl Fn(&str, &TcpStream) + Sync) {
    thread::scope(|scope| {
        for path in ["/file", "/directory", "/bytes"] {
            let reader = &reader;
            scope.spawn(move || {
                let stream = open(|limits| limits.stall_time = stall_time);
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
fn the_answer_to_a_head_has_no_body_even_when_it_is_refused() {
    for request in ["HEAD / HTTP/1.1\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nx"] {
        let stream = open(|_| {});
        (&stream).write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!((read_head(&stream), rest(&stream)), (400, 0), "{request:?}");
    }
}

#[test]
fn service_panic_answered_with_500_and_connection_goes_on() {
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

#[test]
fn delayed_connection_evicted_without_a_response() {
    let menu = Arc::new(Menu::new());
    let address = listen(&menu, |limits| limits.connections = 1);
    let delayed = connect(address);
    ask(&delayed, "/delayed");
    let begun = Instant::now();
    while !menu.is_delaying.load(Ordering::Relaxed) {
        assert!(begun.elapsed() < SOON, "it is not delayed");
        thread::yield_now();
    }
    let other = connect(address);
    ask(&other, "/");
    assert_eq!((read_head(&other), rest(&delayed)), (200, 0));
    assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
}

#[test]
fn panic_frees_the_place_of_its_connection() {
    let address = listen(&Arc::new(Menu::new()), |limits| limits.connections = 2);
    // As many as would take every place, and those of evicted connections, too.
    for _ in 0..2 + limits::LEAVING {
        let stream = connect(address);
        ask(&stream, "/panic-on-note");
        assert_eq!(rest(&stream), 0);
    }
    let stream = connect(address);
    ask(&stream, "/");
    assert_eq!(read_head(&stream), 200);
}

#[test]
fn a_body_that_nobody_wants_is_not_waited_for() {
    let mut stream = open(|_| ());
    write!(stream, "POST /strange HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n{{").unwrap();
    assert_eq!(read_head(&stream), 200);
    assert_eq!(rest(&stream), 2);
    // One that has come with its head is in nobody's way.
    let mut stream = open(|_| ());
    for _ in 0..2 {
        write!(stream, "POST /strange HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{{").unwrap();
        assert_eq!(read_head(&stream), 200);
        stream.read_exact(&mut [0; 2]).unwrap();
    }
}
