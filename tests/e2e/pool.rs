//! No wait of a request ends the API, and a pool that stands still all the same is told by /healthz.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::*;

/// What /healthz takes at most, mostly: other tests run meanwhile.
const PROBE_LIMIT: Duration = Duration::from_millis(250);
/// The longest that a request may wait for a lock, and the rest that a loaded machine takes.
const LOCK_LIMIT: Duration = Duration::from_secs(10 + 5);
/// How long the pool may stand still.
const STILL_LIMIT: Duration = Duration::from_secs(30);

/// A program that is ended with the value.
struct Ended(Child);

impl Ended {
    fn start(program: &str, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        let child =
            command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("start {program}: {error}"));
        guardian::watch(child.id(), "KILL");
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        signal_pid(self.0.id(), signal);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // strace lets go of what it traces when it is asked to end; what is paused would not hear.
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
        let begun = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
        guardian::forget(self.0.id());
    }
}

/// A paused process that holds a lock, as one of a paused container does.
fn hold(path: &std::path::Path) -> Ended {
    let program = "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, 2); time.sleep(1000)";
    let holder = Ended::start("python3", &["-c", program, path.to_str().unwrap()]);
    wait_until("the lock to be held", SOON, || {
        // Opened anew each time: a lock that is had goes with the file.
        let file = fs::File::options().read(true).open(path).unwrap();
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    });
    holder.signal(Signal::SIGSTOP);
    wait_until("its holder to be paused", SOON, || {
        Process::find(holder.0.id()).is_some_and(|process| process.state == 'T')
    });
    holder
}

/// Asks /healthz all the while, and answers how long it took each time and whether it always said 200.
fn probe(daemon: &Daemon<'_>, over: &AtomicBool) -> (Vec<Duration>, bool) {
    let (mut times, mut is_well) = (Vec::new(), true);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        is_well &= daemon.anonymous("GET", "/healthz").status == 200;
        times.push(begun.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    (times, is_well)
}

/// Asserts that most probes were answered in time, and none late.
#[track_caller]
fn assert_prompt(mut times: Vec<Duration>) {
    times.sort_unstable();
    assert!(times.len() > 10, "{times:?}");
    let (most, slowest) = (times[times.len() * 9 / 10], times[times.len() - 1]);
    println!("/healthz: {} probes, 90 % within {most:?}, the slowest {slowest:?}", times.len());
    assert!(most < PROBE_LIMIT && slowest < SOON, "{times:?}");
}

#[test]
fn nine_deletions_that_wait_for_a_paused_program_are_answered_and_keep_nobody_from_anything() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("nine");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let original = store.file("last", &store.only("last"));
    let names: Vec<String> = (1..=9).map(|number| format!("other-2026010{number}-000000.sql.gz")).collect();
    for name in &names {
        fs::copy(&original, store.file("last", name)).unwrap();
    }
    let before = store.everything();
    let holder = hold(&store.path().join(".pointers.lock"));
    let over = AtomicBool::new(false);
    let delete = |name: &String| {
        let begun = Instant::now();
        (daemon.delete(&format!("/backups/last/{name}?confirm=true")), begun.elapsed())
    };
    let (times, is_well) = thread::scope(|scope| {
        let probing = scope.spawn(|| probe(&daemon, &over));
        let deleting: Vec<_> = names.iter().map(|name| scope.spawn(move || delete(name))).collect();
        // The others need no lock, and are answered meanwhile: half of the pool waits for two seconds only.
        for path in ["/status", "/backups", "/metrics", "/history", "/jobs", "/config"] {
            let begun = Instant::now();
            daemon.get(path).expect(200);
            assert!(begun.elapsed() < LOCK_LIMIT, "{path} took {:?}", begun.elapsed());
        }
        daemon.get(&format!("/backups/last/{}", names[0])).expect(200);
        let checked = daemon.health().succeeded();
        assert_eq!(checked.text(), "healthy\n");
        assert!(answers(daemon.health_port));
        for deleting in deleting {
            let (answer, time) = deleting.join().unwrap();
            let said = answer.error(503);
            assert!(said.contains("backups are being renamed by another program"), "{said}");
            assert!(said.contains(".pointers.lock") && said.contains("try again"), "{said}");
            assert_eq!(answer.header("retry-after"), Some("10"));
            assert!(time < LOCK_LIMIT + Duration::from_secs(5), "{time:?}");
        }
        over.store(true, Ordering::Relaxed);
        probing.join().unwrap()
    });
    assert!(is_well, "/healthz is not always 200");
    assert_prompt(times);
    assert_eq!(store.everything(), before, "something was deleted");
    // When the holder goes on and ends, all is as it was.
    drop(holder);
    for name in &names {
        daemon.delete(&format!("/backups/last/{name}?confirm=true")).expect(200);
    }
    assert_eq!(daemon.status()["last_backup"]["status"], "OK");
}

#[test]
fn who_waits_for_a_lock_gets_it_when_its_holder_is_done() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("patient");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let name = store.only("daily");
    let holder = hold(&store.path().join(".pointers.lock"));
    // A run waits, too, and for longer.
    let run = daemon.start_backup();
    daemon.descendant("backupgram");
    thread::scope(|scope| {
        let deleting = scope.spawn(|| daemon.delete(&format!("/backups/daily/{name}?confirm=true")));
        let log = "GET /jobs";
        wait_until("others to be answered meanwhile", SOON, || {
            daemon.get("/jobs").expect(200);
            daemon.log().contains(log)
        });
        assert!(!deleting.is_finished());
        drop(holder);
        deleting.join().unwrap().expect(200);
    });
    daemon.succeeded(&run);
}

/// Keeps the daemon waiting in these system calls, as far as they go to these paths, if any are given.
fn slow(daemon: &Daemon<'_>, paths: &[std::path::PathBuf], calls: &str) -> Ended {
    let (pid, delay) = (daemon.pid().to_string(), format!("inject={calls}:delay_enter=600s"));
    let mut words = vec!["-f", "-qq", "-o", "/dev/null", "-p", &pid, "-e", &delay];
    words.extend(paths.iter().flat_map(|path| ["-P", path.to_str().unwrap()]));
    let strace = Ended::start("strace", &words);
    wait_until("strace to hold all threads", SOON, || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut statuses =
            tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
        statuses.all(|status| !status.contains("TracerPid:\t0\n"))
    });
    strace
}

fn has_strace() -> bool {
    let has = Command::new("strace").arg("-V").output().is_ok();
    if !has {
        eprintln!("SKIPPED: a test needs strace, which is not here");
    }
    has
}

#[test]
fn nine_lists_of_a_volume_that_does_not_answer_are_answered_in_time() {
    if !has_strace() {
        return;
    }
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("lists");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let slot = fs::canonicalize(store.path().join("last")).unwrap();
    let volume = slow(&daemon, &[slot], "getdents64");
    let over = AtomicBool::new(false);
    let (times, is_well) = thread::scope(|scope| {
        let probing = scope.spawn(|| probe(&daemon, &over));
        let paths = ["/backups", "/metrics", "/backups?slot=last"].into_iter().cycle().take(9);
        let asking: Vec<_> = paths
            .map(|path| {
                scope.spawn(|| {
                    let begun = Instant::now();
                    (daemon.get(path), begun.elapsed())
                })
            })
            .collect();
        for asking in asking {
            let (answer, time) = asking.join().unwrap();
            assert_eq!(answer.error(503), "listing the backups takes too long: does the volume answer?");
            assert_eq!(answer.header("retry-after"), Some("10"));
            assert!(time < 2 * LOCK_LIMIT, "{time:?}");
        }
        daemon.get("/status").expect(200);
        over.store(true, Ordering::Relaxed);
        probing.join().unwrap()
    });
    assert!(is_well, "/healthz is not always 200");
    assert_prompt(times);
    drop(volume);
    wait_until("the backups to be listed again", SOON, || daemon.get("/backups").status == 200);
    daemon.health().succeeded();
}

#[test]
fn a_pool_that_stands_still_is_told_by_healthz_until_it_moves_again() {
    if !has_strace() {
        return;
    }
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("still");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    // The volume does not answer, as one of a server that has gone: whoever asks for the history waits.
    let volume = slow(&daemon, &[store.path().join(".history.jsonl")], "openat");
    let bearer = format!("Bearer {}", daemon.token);
    let ask = || {
        let mut line = Line::open(daemon.port);
        line.send(request("GET", "/history", &[("Authorization", &bearer)], None));
        line
    };
    let begun = Instant::now();
    let waiting: Vec<Line> = (0..9).map(|_| ask()).collect();
    let mut times = Vec::new();
    let mut probe = || {
        let begun = Instant::now();
        let answer = daemon.anonymous("GET", "/healthz");
        times.push(begun.elapsed());
        answer
    };
    let told =
        wait_for("/healthz to tell", STILL_LIMIT + SOON, || Some(probe()).filter(|told| told.status != 200));
    assert!(begun.elapsed() >= STILL_LIMIT, "{:?}", begun.elapsed());
    let said = told.error(503);
    assert!(said.contains("the API has not answered any request for 3"), "{said}");
    assert_eq!(told.header("retry-after"), Some("5"));
    let checked = daemon.health().exited_with(1);
    assert!(checked.text().contains("the API does not answer"), "{checked}");
    // go-cron has a pool of nobody's.
    assert!(answers(daemon.health_port));
    drop(volume);
    drop(waiting);
    wait_until("/healthz to be well again", SOON, || probe().status == 200);
    assert_prompt(times);
    wait_until("the API to answer again", SOON, || daemon.get("/status").status == 200);
    wait_until("the health check to be well", SOON, || {
        daemon.health().status.is_some_and(|status| status.success())
    });
    daemon.post("/verify", &json!({"file": format!("last/{}", store.only("last"))})).expect(202);
}

/// Leaves a process so many free file descriptors, or as many as it may have.
fn limit_descriptors(pid: u32, free: Option<usize>) {
    let used: Vec<u32> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let of_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let hard: u32 = of_files.split_whitespace().nth(1).unwrap().parse().unwrap();
    let soft = free.map_or(hard, |free| (0..).filter(|number| !used.contains(number)).nth(free).unwrap());
    let set = Command::new("prlimit").args([format!("--pid={pid}"), format!("--nofile={soft}:")]).status();
    assert!(set.expect("start prlimit").success());
}

/// Without descriptors tiny_http's accept thread ends, or panics when it has one too few: whoever asks then hears 503, and
/// the next one, when there are some again, gets his answer.
#[test]
fn tiny_http_is_started_again_after_descriptors_ran_out() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    let request = format!("GET /jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", daemon.token);
    let mut line = Line::open(daemon.port);
    let mut ask = || {
        line.send(&request);
        line.answer()
    };
    ask().expect(200);
    for free in [0, 1, 2].into_iter().cycle().take(9) {
        limit_descriptors(daemon.pid(), Some(free));
        for _ in 0..2 {
            let answer = ask();
            // What tiny_http's end sets free may be enough.
            assert!(
                answer.status == 200 || answer.error(503) == "the API does not answer at the moment",
                "{free}: {}",
                answer.text()
            );
        }
        limit_descriptors(daemon.pid(), None);
        ask().expect(200);
    }
    let log = daemon.log();
    for end in ["tiny_http has stopped: Too many open files", "the HTTP server cannot be reached", "503"] {
        assert!(log.contains(end), "{end}: {log}");
    }
    daemon.health().succeeded();
}
