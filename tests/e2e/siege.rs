//! Hostile crowds against the API, and two clients that must not notice them: one that asks every 100 ms whether
//! the daemon lives, one that asks for its status. The same crowds, for less long, against go-cron's health port.
//!
//! In the tests it is short. `scripts/hostile.sh` has it in full, with the release build, and with limits on the
//! time of an answer and on memory that say something only there.

mod crowds;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::*;

/// How many, how long, and what the daemon may take.
struct Scale {
    time: Duration,
    idle: usize,
    dripping: usize,
    deaf: usize,
    guessing: usize,
    filling: usize,
    half_closed: usize,
    resets: usize,
    /// The longest that a probe may wait.
    patience: Duration,
    /// The longest that may lie between two probes, on average.
    probed_every: Duration,
    /// The most resident memory, in KiB.
    memory: u64,
}

const SHORT: Scale = Scale {
    time: Duration::from_secs(2),
    idle: 300,
    dripping: 200,
    deaf: 150,
    guessing: 100,
    filling: 100,
    half_closed: 100,
    resets: 1_000,
    patience: SOON,
    probed_every: SOON,
    memory: 64 << 10,
};

/// What go-cron stands, in a second of each. It shares all of the daemon's gate but the number of connections.
const BRIEF: Scale = Scale { time: Duration::from_secs(1), resets: 500, memory: 24 << 10, ..SHORT };

const FULL: Scale = Scale {
    time: Duration::from_secs(12),
    idle: 1_000,
    dripping: 500,
    deaf: 200,
    guessing: 150,
    filling: 300,
    half_closed: 500,
    resets: 20_000,
    patience: Duration::from_millis(250),
    probed_every: Duration::from_millis(200),
    memory: 24 << 10,
};

const JOB_EVERY: Duration = Duration::from_secs(3);
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// What the daemon is allowed, and cannot raise.
const DESCRIPTORS: &str = "-n 256";

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
    /// Who is besieged, and where.
    pid: u32,
    address: SocketAddr,
    /// What must be answered all the while.
    probes: Vec<(&'static str, Vec<u8>)>,
    over: AtomicBool,
    measured: Mutex<Measured>,
    violations: Mutex<Vec<String>>,
    jobs: Mutex<Vec<String>>,
}

fn is_full() -> bool {
    std::env::var_os("BACKUPGRAM_SIEGE").is_some_and(|value| value == "full")
}

#[test]
fn no_crowd_keeps_the_daemon_from_anything() {
    let scale = if is_full() { &FULL } else { &SHORT };
    raise_descriptors();
    let store = Store::new();
    let server = Cluster::shared(15);
    let database = server.database("besieged");
    database.fill(100);
    let daemon = Plan::new(server, &store).database(&database.name).limit(DESCRIPTORS).start();
    large_backup(&store);
    daemon.back_up();
    let bearer = format!("Bearer {}", daemon.token);
    let siege = Siege::new(
        &daemon,
        scale,
        (daemon.pid(), daemon.port),
        vec![
            ("/healthz", request("GET", "/healthz", &[], None)),
            ("/status", request("GET", "/status", &[("Authorization", &bearer)], None)),
        ],
    );
    siege.stand(|| {
        thread::scope(|scope| {
            let submitting = scope.spawn(|| siege.submit());
            siege.attack();
            siege.end();
            submitting.join().unwrap();
        })
    });
    let jobs = std::mem::take(&mut *siege.jobs.lock().unwrap());
    for job in &jobs {
        daemon.succeeded(job);
    }
    println!("{} jobs, each of them done", jobs.len());
    siege.assert_unhurt();
}

#[test]
fn no_crowd_keeps_the_health_port_from_anything() {
    raise_descriptors();
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("app").limit(DESCRIPTORS).start();
    wait_until("the health port", SOON, || answers(daemon.health_port));
    let scheduler = daemon.schedulers().remove(0);
    let probes = vec![("the health port", request("GET", "/", &[], None))];
    let scale = if is_full() { &FULL } else { &BRIEF };
    let siege = Siege::new(&daemon, scale, (scheduler.pid, daemon.health_port), probes);
    siege.stand(|| {
        siege.attack();
        siege.end();
    });
    siege.assert_unhurt();
    assert_eq!(daemon.status()["scheduler"]["restarts"], 0);
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

impl<'a> Siege<'a> {
    fn new(
        daemon: &'a Daemon<'a>,
        scale: &'a Scale,
        (pid, port): (u32, u16),
        probes: Vec<(&'static str, Vec<u8>)>,
    ) -> Self {
        Self {
            daemon,
            scale,
            pid,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            probes,
            over: AtomicBool::new(false),
            measured: Mutex::default(),
            violations: Mutex::default(),
            jobs: Mutex::default(),
        }
    }

    /// Probes and watches while `attack` goes on, and sees that everything is as before after it.
    fn stand(&self, attack: impl FnOnce()) {
        println!(
            "{:32} {:>8} {:>7} {:>10} {:>9} {:>8} {:>12}",
            "", "done", "probes", "slowest", "memory", "threads", "descriptors"
        );
        // What is started when it is first wanted is there by then.
        assert_eq!(self.daemon.health_port().0, 200);
        assert_eq!(self.daemon.status()["problems"], serde_json::json!([]));
        let (_, threads, descriptors) = self.gauge();
        thread::scope(|scope| {
            for (name, request) in &self.probes {
                scope.spawn(|| self.probe(name, request));
            }
            scope.spawn(|| self.watch());
            attack();
        });
        let begun = Instant::now();
        wait_until("the threads and descriptors of the start", Duration::from_secs(60), || {
            let now = self.gauge();
            now.1 <= threads && now.2 <= descriptors
        });
        let most = self.status("VmHWM:");
        if most > self.scale.memory {
            self.violation(format!("{most} KiB of memory at one time"));
        }
        println!(
            "threads and descriptors are back at {threads} and {descriptors} after {:.1?}; {:.1} MiB at most",
            begun.elapsed(),
            most as f64 / 1024.0
        );
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn assert_unhurt(&self) {
        let violations = self.violations.lock().unwrap();
        assert!(
            violations.is_empty(),
            "{} violations:\n{}",
            violations.len(),
            violations[..violations.len().min(40)].join("\n")
        );
    }

    fn attack(&self) {
        let scale = self.scale;
        self.phase("nobody", |_| 0);
        self.phase("malformed requests", |end| self.malformed(end));
        self.phase("requests without an end", |end| self.endless(end));
        self.phase("long bodies of strangers", |end| self.fill(end));
        self.phase("idle connections", |end| self.idle(end));
        self.phase("one byte a second", |end| self.drip(end));
        self.phase("readers of nothing", |end| self.deaf(end));
        self.phase("guesses of the token", |end| self.guess(end));
        self.phase("half-closed", |end| self.half_closed(end));
        self.phase("connect and reset", |_| self.reset(scale.resets));
        self.phase("all of them at once", |end| {
            thread::scope(|scope| {
                let crowds = [
                    scope.spawn(move || self.malformed(end)),
                    scope.spawn(move || self.endless(end)),
                    scope.spawn(move || self.fill(end)),
                    scope.spawn(move || self.idle(end)),
                    scope.spawn(move || self.drip(end)),
                    scope.spawn(move || self.deaf(end)),
                    scope.spawn(move || self.guess(end)),
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
        let begun = Instant::now();
        let end = begun + self.scale.time;
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
        let least = begun.elapsed().div_duration_f64(self.scale.probed_every) * self.probes.len() as f64;
        if f64::from(measured.probes) < least {
            self.violation(format!("{name}: {} probes, and not {least:.0}", measured.probes));
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

    /// Looks at what is taken, all the time.
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

    /// The resident memory in KiB, the threads and the descriptors.
    fn gauge(&self) -> (u64, u64, u64) {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("it is there").count();
        (self.status("VmRSS:"), self.status("Threads:"), descriptors as u64)
    }

    /// A number of the process' status.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it is there");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    }
}
