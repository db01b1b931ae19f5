//! Restores that are broken off at random moments, in every way that there is: the target is wholly the old
//! database or wholly the new one, and nothing stays behind. `scripts/soak.sh restore` does it for longer.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::*;

const ROWS: u32 = 40_000;
const TARGET: &str = "shaken";
const KEY: &str = "k3y";

/// Rounds, unless `BACKUPGRAM_E2E_ROUNDS` says how many, and those more in which each fault must have struck.
const ROUNDS: usize = 10;
const ROUNDS_MORE: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// kill -9 of the restore itself.
    Killed,
    /// TERM to the restore, as when its job is cancelled.
    Stopped,
    /// kill -9 of the daemon that has started the restore.
    DaemonKilled,
    /// kill -9 of one program that it has started, as soon as there is one.
    ProgramKilled(&'static str),
    /// kill -9 of whatever programs it has started.
    ProgramsKilled,
    /// The server's disk has no room for all of it.
    DiskFull,
    /// The server shuts down at once, and comes back.
    ServerDown,
    /// Every session of the server is ended.
    Disconnected,
}

const FAULTS: [Fault; 10] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::DaemonKilled,
    Fault::ProgramKilled("psql"),
    Fault::ProgramKilled("pg_restore"),
    Fault::ProgramKilled("gpg"),
    Fault::ProgramsKilled,
    Fault::DiskFull,
    Fault::ServerDown,
    Fault::Disconnected,
];

/// The options of a dump, and whether it is encrypted.
const KINDS: [(&str, bool); 6] =
    [("-Z1", false), ("-Z zstd", true), ("-Fc", false), ("-Fc", true), ("-Ft", false), ("-Fd -j2", false)];

impl Fault {
    /// Which of [`KINDS`] it can strike.
    fn kinds(self) -> &'static [usize] {
        match self {
            Self::ProgramKilled("pg_restore") => &[2, 3, 4, 5],
            Self::ProgramKilled("gpg") => &[1, 3],
            _ => &[0, 1, 2, 3, 4, 5],
        }
    }
}

/// How a round ended.
struct Round {
    /// Whether there was still something that the fault could strike.
    struck: bool,
    /// Whether the restore says that it has succeeded.
    succeeded: bool,
}

/// MiB of the server's disk, and of what a full one has left: enough for an empty database, not for the rows.
const DISK: u32 = 200;
const LEFT: u64 = 3;

/// A database whose content can be told from its backups', and a backup of each kind.
struct Scene {
    server: Cluster,
    disk: Option<SmallDisk>,
    store: Store,
    backups: Vec<String>,
    old: String,
    new: String,
    /// How long a restore of each takes when nothing goes wrong.
    undisturbed: Vec<Duration>,
}

/// What the target has and its backups have not.
const LATER: &str = "CREATE TABLE later AS SELECT 1 AS one; DELETE FROM orders WHERE id % 3 = 0";

impl Scene {
    fn new() -> Self {
        let (server, disk) = match Cluster::start_on_small_disk(15, DISK) {
            Some((server, disk)) => (server, Some(disk)),
            None => (Cluster::start(15), None),
        };
        let store = Store::new();
        let mut backups: Vec<String> = Vec::new();
        let source = server.database("source");
        source.fill(ROWS);
        let new = source.dump();
        for (options, encrypted) in KINDS {
            let key = if encrypted { KEY } else { "" };
            let backup = Cli::backup(&server, &store, &source.name);
            backup.env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_ENCRYPTION_KEY", key).run().succeeded();
            let names = store.dated("last").into_iter().map(|name| format!("last/{name}"));
            let name = names.into_iter().find(|name| !backups.contains(name));
            backups.push(name.expect("a new backup"));
        }
        drop(source);
        let mut scene =
            Self { server, disk, store, backups, old: String::new(), new, undisturbed: Vec::new() };
        for at in 0..scene.backups.len() {
            let start = Instant::now();
            scene.restore(&scene.backups[at]).run().succeeded();
            scene.undisturbed.push(start.elapsed());
        }
        assert_eq!(scene.server.dump(TARGET), scene.new);
        scene.server.sql(TARGET, LATER);
        scene.old = scene.server.dump(TARGET);
        assert_ne!(scene.old, scene.new);
        scene
    }

    fn restore(&self, backup: &str) -> Cli {
        let cli = Cli::restore(&self.server, &self.store, backup).args([TARGET, "--ignore-space"]);
        cli.env("BACKUP_ENCRYPTION_KEY", KEY).env("RESTORE_JOBS", "2")
    }

    /// The faults that can be had here: a full disk needs one of its own.
    fn faults(&self) -> Vec<Fault> {
        FAULTS.into_iter().filter(|fault| *fault != Fault::DiskFull || self.disk.is_some()).collect()
    }

    /// Breaks a restore off.
    fn break_off(&self, backup: &str, fault: Fault, moment: Duration) -> Round {
        if fault == Fault::DaemonKilled {
            return self.kill_daemon(backup, moment);
        }
        let ballast = (fault == Fault::DiskFull).then(|| self.fill_disk());
        let mut running = self.restore(backup).start();
        pass(moment, || running.poll().is_some());
        let struck = running.poll().is_none() && self.strike(fault, &mut running);
        let outcome = running.wait();
        ballast.iter().for_each(|path| fs::remove_file(path).unwrap());
        println!("{outcome}");
        Round { struck, succeeded: outcome.status.is_some_and(|status| status.success()) }
    }

    /// Fills the server's disk with a file.
    fn fill_disk(&self) -> PathBuf {
        let base = self.server.data().join("base");
        let status = nix::sys::statvfs::statvfs(&base).unwrap();
        let free = status.blocks_available() * status.fragment_size();
        let path = base.join("ballast");
        fs::write(&path, vec![1; usize::try_from(free - (LEFT << 20)).unwrap()]).unwrap();
        path
    }

    /// Kills the daemon in the middle of a restore that it has started, and lets that come to its end.
    fn kill_daemon(&self, backup: &str, moment: Duration) -> Round {
        let plan = Plan::new(&self.server, &self.store).database(TARGET);
        let mut daemon = plan.env("BACKUP_ENCRYPTION_KEY", KEY).start();
        let job = daemon.start_restore(backup, TARGET);
        let mut seen = daemon.job(&job);
        pass(moment, || {
            seen = daemon.job(&job);
            seen["finished_at"].is_i64()
        });
        let family = Process::descendants(daemon.pid());
        daemon.signal(Signal::SIGKILL);
        daemon.wait(SOON);
        wait_until("what the daemon had started to end", LONG, || {
            !family.iter().any(|process| process.name != "go-cron" && process.is_alive())
        });
        Round { struck: !seen["finished_at"].is_i64(), succeeded: seen["state"] == "succeeded" }
    }

    /// Waits until the server has ended the sessions of a restore that is dead: a rename that it has begun, it ends.
    fn settle(&self) {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%backupgram%'";
        wait_until("the server to end its sessions", LONG, || self.server.sql("postgres", sessions) == "0");
    }

    /// Lets it happen, and answers whether there was something to strike.
    fn strike(&self, fault: Fault, running: &mut command::Running) -> bool {
        let descendants = |pid: u32| Process::descendants(pid).into_iter();
        match fault {
            Fault::Killed => running.signal(Signal::SIGKILL),
            Fault::Stopped => running.signal(Signal::SIGTERM),
            Fault::ProgramKilled(name) => {
                while running.poll().is_none() {
                    if let Some(process) = descendants(running.pid()).find(|process| process.works_as(name)) {
                        process.signal(Signal::SIGKILL);
                        return true;
                    }
                }
                return false;
            }
            Fault::ProgramsKilled => {
                let programs = Process::descendants(running.pid());
                programs.iter().for_each(|process| process.signal(Signal::SIGKILL));
                return !programs.is_empty();
            }
            Fault::ServerDown => {
                self.server.stop();
                self.server.run();
            }
            Fault::Disconnected => {
                let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
                self.server.sql("postgres", all);
            }
            Fault::DiskFull | Fault::DaemonKilled => {}
        }
        true
    }
}

#[test]
fn a_restore_that_is_broken_off_anywhere_leaves_the_old_database_or_the_new_one() {
    let rounds = std::env::var("BACKUPGRAM_E2E_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut moments = Moments::new();
    let scene = Scene::new();
    // All the while somebody reconnects in a loop.
    let insistent = scene.server.insist(TARGET, &[]);
    let faults = scene.faults();
    let mut not_struck = faults.clone();
    let (mut broken, mut replaced) = (0, 0);
    let rounds = rounds.unwrap_or(ROUNDS);
    for round in 0..rounds + ROUNDS_MORE {
        let fault = match not_struck.first() {
            _ if round < rounds => faults[round % faults.len()],
            Some(fault) => *fault,
            None => break,
        };
        let backup = moments.one_of(fault.kinds());
        let moment = moments.within(scene.undisturbed[backup]);
        let what = format!("round {round}: {:?} {fault:?} after {moment:?}", KINDS[backup]);
        println!("{what}");
        let Round { struck, succeeded } = scene.break_off(&scene.backups[backup], fault, moment);
        not_struck.retain(|left| !struck || *left != fault);
        scene.settle();
        let now = scene.server.dump(TARGET);
        let is_new = now == scene.new;
        assert!(is_new || now == scene.old, "{what}: neither the old nor the new");
        assert!(is_new || !succeeded, "{what}: nothing was restored");
        broken += u32::from(!succeeded);
        if is_new {
            scene.server.sql(TARGET, LATER);
            replaced += 1;
        }
    }
    println!("{broken} broken off, {replaced} replaced, {} reconnections", insistent.connections());
    assert!(not_struck.is_empty(), "{not_struck:?} never struck; {replaced} restores went through");
    assert!(broken > 0);
    assert!(insistent.connections() > 0);
    scene.restore(&scene.backups[0]).run().succeeded();
    assert_eq!(scene.server.dump(TARGET), scene.new);
    scene.server.assert_no_scratch_database_is_left();
    assert!(scene.store.partial().is_empty(), "{:?}", scene.store.partial());
}

#[test]
fn whoever_has_found_the_scratch_database_does_not_hold_the_exchange_up() {
    let (server, store) = (Cluster::start(15), Store::new());
    let database = server.database("visited");
    database.fill(10);
    let gate = database.gate();
    let before = database.dump();
    Cli::backup(&server, &store, &database.name).run().succeeded();
    database.sql("DELETE FROM orders");
    let file = format!("last/{}", store.only("last"));
    gate.shut();
    let intruder = server.intrude();
    let running = Cli::restore(&server, &store, &file).start();
    wait_until("somebody to be in the scratch database", LONG, || server.intruders() == "1");
    gate.open();
    running.wait().succeeded();
    assert!(intruder.connections() > 0);
    assert_eq!(database.dump(), before);
    server.assert_no_scratch_database_is_left();
}
