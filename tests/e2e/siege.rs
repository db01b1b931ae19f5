//! Hostile crowds against the API, and two clients that must not notice them: one that asks every 100 ms whether
//! the daemon lives, one that asks for its status.
//!
//! In the tests it is short. `scripts/hostile.sh` has it in full, with the release build, and with limits on the
//! time of an answer and on memory that say something only there.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::*;

/// How many, how long, and what the daemon may take.
struct Scale {
    time: Duration,
    idle: usize,
    dripping: usize,
    deaf: usize,
    half_closed: usize,
    resets: usize,
    /// The longest that a probe may wait.
    patience: Duration,
    /// The most resident memory, in KiB.
    memory: u64,
}

const SHORT: Scale = Scale {
    time: Duration::from_secs(2),
    idle: 300,
    dripping: 200,
    deaf: 150,
    half_closed: 100,
    resets: 1_000,
    patience: SOON,
    memory: 64 << 10,
};

const FULL: Scale = Scale {
    time: Duration::from_secs(12),
    idle: 1_000,
    dripping: 500,
    deaf: 200,
    half_closed: 500,
    resets: 20_000,
    patience: Duration::from_millis(250),
    memory: 24 << 10,
};

const JOB_EVERY: Duration = Duration::from_secs(3);
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// What the daemon is allowed, and cannot raise.
const DESCRIPTORS: u32 = 256;

#[derive(Default)]
struct Measured {
    probes: u32,
    slowest: Duration,
    memory: u64,
    threads: u64,
    descriptors: u64,
}

struct Siege<'a> {
    daemon: &'a Daemon<'a>,
    scale: &'a Scale,
    address: SocketAddr,
    over: AtomicBool,
    measured: Mutex<Measured>,
    violations: Mutex<Vec<String>>,
    jobs: Mutex<Vec<String>>,
}

#[test]
fn no_crowd_keeps_the_daemon_from_anything() {
    let scale = if std::env::var_os("BACKUPGRAM_SIEGE").is_some_and(|value| value == "full") {
        &FULL
    } else {
        &SHORT
    };
    raise_descriptors();
    let store = Store::new();
    let server = Cluster::shared(15);
    let database = server.database("besieged");
    database.fill(100);
    let daemon = Plan::new(server, &store).database(&database.name).descriptors(DESCRIPTORS).start();
    large_backup(&store);
    daemon.back_up();
    let siege = Siege {
        daemon: &daemon,
        scale,
        address: SocketAddr::from(([127, 0, 0, 1], daemon.port)),
        over: AtomicBool::new(false),
        measured: Mutex::default(),
        violations: Mutex::default(),
        jobs: Mutex::default(),
    };
    let (_, threads, descriptors) = siege.gauge();
    siege.run();
    let begun = Instant::now();
    wait_until("the threads and descriptors of the start", Duration::from_secs(60), || {
        let now = siege.gauge();
        now.1 <= threads && now.2 <= descriptors
    });
    println!("threads and descriptors are back at {threads} and {descriptors} after {:.1?}", begun.elapsed());
    let jobs = siege.jobs.into_inner().unwrap();
    for job in &jobs {
        daemon.succeeded(job);
    }
    println!("{} jobs, each of them done", jobs.len());
    let violations = siege.violations.into_inner().unwrap();
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations[..violations.len().min(40)].join("\n")
    );
}

/// Something to download that no socket swallows.
fn large_backup(store: &Store) {
    fs::create_dir_all(store.path().join("last")).unwrap();
    let file = fs::File::create(store.file("last", LARGE)).unwrap();
    file.set_len(64 << 20).unwrap();
}

const LARGE: &str = "large-20240101-000000.sql.gz";

/// Ours, not the daemon's: each connection takes one here too.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

impl Siege<'_> {
    fn run(&self) {
        println!(
            "{:32} {:>8} {:>7} {:>10} {:>9} {:>8} {:>12}",
            "", "done", "probes", "slowest", "memory", "threads", "descriptors"
        );
        let bearer = format!("Bearer {}", self.daemon.token);
        let healthz = request("GET", "/healthz", &[], None);
        let status = request("GET", "/status", &[("Authorization", &bearer)], None);
        thread::scope(|scope| {
            scope.spawn(|| self.probe("/healthz", &healthz));
            scope.spawn(|| self.probe("/status", &status));
            scope.spawn(|| self.watch());
            scope.spawn(|| self.submit());
            self.attack();
            self.over.store(true, Ordering::Relaxed);
        });
    }

    fn attack(&self) {
        let scale = self.scale;
        self.phase("nobody", |_| 0);
        self.phase("malformed requests", |end| self.malformed(end));
        self.phase("requests without an end", |end| self.endless(end));
        self.phase("idle connections", |end| self.idle(end));
        self.phase("one byte a second", |end| self.drip(end));
        self.phase("readers of nothing", |end| self.deaf(end));
        self.phase("half-closed", |end| self.half_closed(end));
        self.phase("connect and reset", |_| self.reset(scale.resets));
        self.phase("all of them at once", |end| {
            thread::scope(|scope| {
                let crowds = [
                    scope.spawn(move || self.malformed(end)),
                    scope.spawn(move || self.endless(end)),
                    scope.spawn(move || self.idle(end)),
                    scope.spawn(move || self.drip(end)),
                    scope.spawn(move || self.deaf(end)),
                    scope.spawn(move || self.half_closed(end)),
                    scope.spawn(move || self.reset(scale.resets / 4)),
                ];
                crowds.into_iter().map(|crowd| crowd.join().unwrap()).sum()
            })
        });
        self.phase("nobody any more", |_| 0);
    }

    /// Runs an attack until its end at least, and prints a line about it.
    fn phase(&self, name: &str, attack: impl FnOnce(Instant) -> usize) {
        *self.measured.lock().unwrap() = Measured::default();
        let end = Instant::now() + self.scale.time;
        let done = attack(end);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let measured = std::mem::take(&mut *self.measured.lock().unwrap());
        println!(
            "{name:32} {done:>8} {:>7} {:>7.1} ms {:>5.1} MiB {:>8} {:>12}",
            measured.probes,
            measured.slowest.as_secs_f64() * 1000.0,
            measured.memory as f64 / 1024.0,
            measured.threads,
            measured.descriptors
        );
        if measured.memory > self.scale.memory {
            self.violation(format!("{name}: {} KiB of memory", measured.memory));
        }
    }

    fn violation(&self, text: String) {
        self.violations.lock().unwrap().push(text);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Asks again and again, each time on a fresh connection.
    fn probe(&self, path: &str, request: &[u8]) {
        while !self.is_over() {
            let begun = Instant::now();
            let outcome = self.ask(request);
            let took = begun.elapsed();
            let mut measured = self.measured.lock().unwrap();
            measured.probes += 1;
            measured.slowest = measured.slowest.max(took);
            drop(measured);
            match outcome {
                Ok(answer) if !answer.starts_with("HTTP/1.1 200 ") => {
                    self.violation(format!("{path}: {answer:?}"));
                }
                Ok(_) if took > self.scale.patience => self.violation(format!("{path}: it took {took:?}")),
                Ok(_) => {}
                Err(error) => self.violation(format!("{path}: {error} after {took:?}")),
            }
            thread::sleep(PROBE_EVERY.saturating_sub(begun.elapsed()));
        }
    }

    fn ask(&self, request: &[u8]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(request)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Asks for a backup now and then.
    fn submit(&self) {
        let bearer = format!("Bearer {}", self.daemon.token);
        let backup = request("POST", "/backup", &[("Authorization", &bearer)], Some(b""));
        let mut next = Instant::now();
        while !self.is_over() {
            if Instant::now() >= next {
                next += JOB_EVERY;
                match self.ask(&backup) {
                    Ok(answer) if answer.starts_with("HTTP/1.1 202 ") => {
                        let id = answer.split('"').nth(3).expect("an id in the answer").to_owned();
                        self.jobs.lock().unwrap().push(id);
                    }
                    other => self.violation(format!("/backup: {other:?}")),
                }
            }
            thread::sleep(PROBE_EVERY);
        }
    }

    /// Looks at what the daemon takes, all the time.
    fn watch(&self) {
        while !self.is_over() {
            let (memory, threads, descriptors) = self.gauge();
            let mut measured = self.measured.lock().unwrap();
            measured.memory = measured.memory.max(memory);
            measured.threads = measured.threads.max(threads);
            measured.descriptors = measured.descriptors.max(descriptors);
            drop(measured);
            thread::sleep(PROBE_EVERY / 4);
        }
    }

    /// The daemon's resident memory in KiB, its threads and its descriptors.
    fn gauge(&self) -> (u64, u64, u64) {
        let pid = self.daemon.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon is there");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the daemon is there").count();
        (number("VmRSS:"), number("Threads:"), descriptors as u64)
    }
}

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

    fn malformed(&self, end: Instant) -> usize {
        let (requests, mut next) = (malformed(), 0);
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

    fn endless(&self, end: Instant) -> usize {
        let (line, fields) = ("a".repeat(1 << 16), "X: y\r\n".repeat(1 << 13));
        let starts = ["GET /", "GET / HTTP/1.1\r\nHost: a\r\nX: ", "GET / HTTP/1.1\r\nHost: a\r\n"];
        self.crowd(24, end, Duration::from_millis(10), |stream, number, turns| match turns {
            1 => write(stream, starts[number % 3].as_bytes()),
            _ => write(stream, if number % 3 == 2 { fields.as_bytes() } else { line.as_bytes() }),
        })
    }

    fn idle(&self, end: Instant) -> usize {
        self.crowd(self.scale.idle, end, Duration::from_secs(1), |stream, _, _| has_ended(stream))
    }

    /// A third send a head byte by byte, a third a body, a third whole requests, the next as slowly.
    fn drip(&self, end: Instant) -> usize {
        let head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        let starts: [&[u8]; 3] =
            [b"G", b"POST /backup HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", head];
        self.crowd(self.scale.dripping, end, Duration::from_secs(1), |stream, number, turns| match turns {
            1 => write(stream, starts[number % 3]),
            _ => write(stream, &[head[turns as usize % head.len()]]),
        })
    }

    /// They ask for ever more and read none of it; some of them know the token and ask for a large file.
    fn deaf(&self, end: Instant) -> usize {
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

    /// They say all that they have to say, or half of it, and wait.
    fn half_closed(&self, end: Instant) -> usize {
        let said = ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"];
        self.crowd(self.scale.half_closed, end, Duration::from_millis(500), |stream, number, turns| {
            match turns {
                1 => {
                    write(stream, said[number % 3].as_bytes());
                    let _ = stream.shutdown(Shutdown::Write);
                    Turn::Stays
                }
                _ => has_ended(stream),
            }
        })
    }

    /// They are gone before they have been answered, without a farewell.
    fn reset(&self, count: usize) -> usize {
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
    for coding in ["chunked", "identity", "chunked\r\nContent-Length: 5", "x\r\nContent-Length: 0"] {
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
    for line in [
        " /healthz HTTP/1.1",
        "GET /healthz",
        "GET /\u{e9} HTTP/1.1",
        "PRI * HTTP/2.0",
        "* * *",
        "GET * HTTP/1.1",
        "GET http://a HTTP/1.1",
    ] {
        requests.push(format!("{line}\r\nHost: a\r\n\r\n"));
    }
    let mut requests: Vec<Vec<u8>> = requests.into_iter().map(String::into_bytes).collect();
    requests.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8a".to_vec());
    requests
}
