//! Backup runs that are struck by one random fault: afterwards the run is red everywhere, or its backup restores.
//! `scripts/soak.sh faults` does it for longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;
use serde_json::Value;

use crate::harness::*;

const ROWS: u32 = 5_000;
/// Rounds, unless `BACKUPGRAM_E2E_ROUNDS` says how many.
const ROUNDS: usize = 20;
/// MiB of the disk that the backups are on.
const DISK: u32 = 48;

#[derive(Debug, Clone)]
enum Fault {
    /// kill -9 of the run itself.
    RunKilled,
    /// TERM to the run, as when its job is cancelled.
    RunStopped,
    /// kill -9 of one of the programs that it has started.
    ProgramKilled,
    /// kill -9 of all of them.
    ProgramsKilled,
    /// The disk of the backups is full.
    DiskFull,
    /// The server shuts down at once, and comes back after the run.
    ServerDown,
    /// A system call of the run, or of a program of its, fails: its name, the error, and which call of that name in its
    /// process.
    Call(String, &'static str, u64),
}

/// System calls, and what they fail with in practice. A run makes those of them that fail here; all are tried in turn.
const CALLS: [(&str, &[&str]); 23] = [
    ("openat", &["EIO", "EMFILE", "EACCES", "ENOSPC"]),
    ("read", &["EIO"]),
    ("write", &["EIO", "ENOSPC", "EDQUOT"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("fdatasync", &["EIO"]),
    ("renameat", &["EIO", "ENOSPC"]),
    ("renameat2", &["EIO"]),
    ("rename", &["EIO"]),
    ("linkat", &["EIO", "EMLINK"]),
    ("symlinkat", &["EIO"]),
    ("mkdirat", &["EIO", "ENOSPC"]),
    ("mkdir", &["EIO"]),
    ("unlinkat", &["EIO"]),
    ("unlink", &["EIO"]),
    ("flock", &["ENOLCK", "EIO"]),
    ("getdents64", &["EIO"]),
    ("statx", &["EIO"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("vfork", &["EAGAIN"]),
    ("pipe2", &["EMFILE"]),
    ("connect", &["ECONNREFUSED", "ETIMEDOUT"]),
    ("recvfrom", &["ECONNRESET"]),
    ("mmap", &["ENOMEM"]),
];

/// Starts the run under strace where the file `inject` has arguments for it.
const SCRIPT: &str = r#"#!/bin/sh
if [ -s "$0.inject" ]; then
    exec strace -f -qq -o "$0.trace" $(cat "$0.inject") PROGRAM backup "$@"
fi
exec PROGRAM backup "$@"
"#;

/// A database, a daemon that backs it up, and how that goes undisturbed.
struct Scene<'s> {
    server: &'s Cluster,
    store: &'s Store,
    daemon: Daemon<'s>,
    database: &'s str,
    dump: String,
    /// How long a run takes.
    undisturbed: Duration,
    /// The most calls of each name that one process has made.
    calls: BTreeMap<String, u64>,
    has_disk: bool,
}

impl Scene<'_> {
    fn inject(&self, arguments: &str) {
        fs::write(self.store.root().join("scripts/backup.sh.inject"), arguments).unwrap();
    }

    /// Counts the calls of a run, where strace may look.
    fn count_calls(&mut self) {
        self.inject("-e trace=all");
        let job = self.daemon.start_backup();
        let job = wait_for_end(&self.daemon, &job);
        self.inject("");
        let trace = self.store.root().join("scripts/backup.sh.trace");
        let Some(text) = fs::read(trace).ok().filter(|_| job["state"] == "succeeded") else {
            return eprintln!("SKIPPED: no system call is made to fail, as strace may not look at the run");
        };
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let text = String::from_utf8_lossy(&text);
        for line in text.lines() {
            let Some((pid, call)) = line.split_once(char::is_whitespace) else { continue };
            let Some((name, _)) = call.trim_start().split_once('(') else { continue };
            *counts.entry((pid, name)).or_default() += 1;
        }
        for ((_, name), count) in counts {
            let most = self.calls.entry(name.to_owned()).or_default();
            *most = count.max(*most);
        }
    }

    /// Each kind of fault in turn, and every second time a system call that fails.
    fn fault(&self, round: usize, moments: &mut Moments) -> Fault {
        let made: Vec<_> = CALLS.iter().filter(|(name, _)| self.calls.contains_key(*name)).collect();
        if round % 2 == 1 && !made.is_empty() {
            let (name, errors) = *moments.one_of(&made);
            let count = u32::try_from(self.calls[name]).unwrap();
            let at = moments.within(Duration::from_millis(count.into())).as_millis();
            return Fault::Call(name.into(), moments.one_of(errors), u64::try_from(at).unwrap() + 1);
        }
        let disk = if self.has_disk { Fault::DiskFull } else { Fault::ProgramsKilled };
        let faults = [
            Fault::RunKilled,
            disk,
            Fault::ProgramKilled,
            Fault::ServerDown,
            Fault::ProgramsKilled,
            Fault::RunStopped,
        ];
        faults[round / 2 % faults.len()].clone()
    }

    /// Starts a run, lets the fault strike it, and answers its job when it has ended.
    fn strike(&self, fault: &Fault, moments: &mut Moments) -> Value {
        let ballast = self.store.path().join("ballast");
        match fault {
            Fault::Call(name, error, at) => self.inject(&format!("-e inject={name}:error={error}:when={at}")),
            Fault::DiskFull => {
                let free = statvfs(&self.store.path()).unwrap();
                let free = free.blocks_available() * free.fragment_size();
                // Nothing is left, or something for a beginning.
                let left = moments.one_of(&[0, 0, 64 << 10, 512 << 10]);
                fs::write(&ballast, vec![1; usize::try_from(free.saturating_sub(left)).unwrap()]).unwrap();
            }
            _ => {}
        }
        let id = self.daemon.start_backup();
        let is_over = || self.daemon.job(&id)["finished_at"].is_i64();
        let moment = moments.within(self.undisturbed);
        let run = || {
            let family = Process::descendants(self.daemon.pid());
            family.into_iter().find(|process| process.works_as("backupgram"))
        };
        match fault {
            Fault::Call(..) | Fault::DiskFull => {}
            Fault::ServerDown => {
                pass(moment, is_over);
                self.server.stop();
            }
            _ => {
                pass(moment, is_over);
                if let Some(run) = run() {
                    let programs = Process::descendants(run.pid);
                    match fault {
                        Fault::RunKilled => run.signal(Signal::SIGKILL),
                        Fault::RunStopped => run.signal(Signal::SIGTERM),
                        Fault::ProgramKilled => {
                            programs.iter().take(1).for_each(|program| program.signal(Signal::SIGKILL));
                        }
                        _ => programs.iter().for_each(|program| program.signal(Signal::SIGKILL)),
                    }
                }
            }
        }
        let job = wait_for_end(&self.daemon, &id);
        self.inject("");
        job
    }

    /// Everything is as it was before the fault; what was said of the run stays.
    fn mend(&self, fault: &Fault) {
        let _ = fs::remove_file(self.store.path().join("ballast"));
        if matches!(fault, Fault::ServerDown) {
            self.server.run();
        }
    }

    fn health(&self) -> command::Outcome {
        Cli::new(self.server, self.store)
            .args(["health"])
            .env("POSTGRES_DB", self.database)
            .env("HEALTHCHECK_PORT", self.daemon.health_port.to_string())
            .env("REST_API_ENABLE", "TRUE")
            .env("REST_API_BIND", "127.0.0.1")
            .env("REST_API_PORT", self.daemon.port.to_string())
            .env("REST_API_TOKEN", &self.daemon.token)
            .run()
    }

    /// What does not say that something is wrong.
    fn what_is_green(&self) -> Vec<String> {
        let status = self.daemon.status();
        let problems = self.daemon.metrics().get("backupgram_problems", &[]);
        let port = exchange(self.daemon.health_port, &request("GET", "/", &[], None));
        let health = self.health();
        let is_green = [
            (
                "/status",
                status["problems"].as_array().is_none_or(Vec::is_empty),
                status["problems"].to_string(),
            ),
            ("metrics", problems == 0.0, String::new()),
            ("the health port", port.status == 200, String::new()),
            ("health", health.status.is_some_and(|status| status.success()), health.text()),
        ];
        let green = is_green.into_iter().filter(|(_, is_green, _)| *is_green);
        green.map(|(what, _, said)| format!("{what}: {said}")).collect()
    }

    /// Asserts that the newest backup is the database.
    fn assert_it_restores(&self, what: &str) {
        let copy = format!("{}_copy", self.database);
        let name = self.store.newest("last");
        Cli::restore(self.server, self.store, format!("last/{name}")).args([&copy]).run().succeeded();
        assert_eq!(self.server.dump(&copy), self.dump, "{what}: last/{name} is another database");
        self.server.sql("postgres", &format!("DROP DATABASE {copy} WITH (FORCE)"));
    }
}

#[track_caller]
fn wait_for_end(daemon: &Daemon<'_>, id: &str) -> Value {
    wait_for(&format!("job {id} to end"), LONG, || {
        let job = daemon.job(id);
        job["finished_at"].is_i64().then_some(job)
    })
}

/// A directory with a `backup.sh` that runs what is built, under strace where that is asked for.
fn scripts(store: &Store) -> String {
    let directory = store.root().join("scripts");
    fs::create_dir(&directory).unwrap();
    write_script(&directory.join("backup.sh"), &SCRIPT.replace("PROGRAM", env!("CARGO_BIN_EXE_backupgram")));
    directory.to_str().unwrap().to_owned()
}

fn has_strace() -> bool {
    let is_there = Path::new("/usr/bin/strace").exists();
    let may = is_there && Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok();
    if !may {
        eprintln!("SKIPPED: no system call is made to fail, as strace cannot be started here");
    }
    may
}

#[test]
fn a_run_that_is_struck_by_a_fault_is_red_everywhere_or_its_backup_restores() {
    let rounds = std::env::var("BACKUPGRAM_E2E_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut moments = Moments::new();
    let (server, store) = (Cluster::start(15), Store::new());
    let disk = SmallDisk::mount(&store.path(), DISK);
    let database = server.database_named("struck");
    database.fill(ROWS);
    let plan = Plan::new(&server, &store).database("struck").env("SCRIPTS_DIR", scripts(&store));
    // As many backups as the disk has room for.
    let daemon = plan.env("BACKUP_KEEP_MINS", "0").env("BACKUP_LOCK_WAIT", "20").start();
    let dump = database.dump();
    let mut scene = Scene {
        server: &server,
        store: &store,
        daemon,
        database: "struck",
        dump,
        undisturbed: Duration::ZERO,
        calls: BTreeMap::new(),
        has_disk: disk.is_some(),
    };
    let begun = Instant::now();
    scene.daemon.back_up();
    scene.undisturbed = begun.elapsed();
    if has_strace() {
        scene.count_calls();
    }
    let mut red = 0;
    let rounds = rounds.unwrap_or(ROUNDS);
    for round in 0..rounds {
        let fault = scene.fault(round, &mut moments);
        let what = format!("round {round}: {fault:?}");
        println!("{what}");
        let job = scene.strike(&fault, &mut moments);
        let green = scene.what_is_green();
        scene.mend(&fault);
        match job["state"].as_str() {
            Some("succeeded") => scene.assert_it_restores(&what),
            _ => {
                assert_eq!(green, [""; 0], "{what}: the run has failed: {job:#}");
                red += 1;
            }
        }
        // The next one is well, and says so everywhere.
        scene.daemon.back_up();
        scene.assert_it_restores(&what);
        // Whether the directory takes a file is asked every ten seconds only.
        wait_until(&format!("all to be green again after {what}"), SOON, || scene.what_is_green().len() == 4);
    }
    println!("{red} of {rounds} runs failed");
    assert!(red > 0 || rounds < 10);
}
