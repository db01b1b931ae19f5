//! Restores that are broken off at random moments, in every way that there is: the target is wholly the old
//! database or wholly the new one, and nothing stays behind. `scripts/soak.sh restore` does it for longer.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::*;

const ROWS: u32 = 40_000;
const TARGET: &str = "shaken";
const KEY: &str = "k3y";

/// Rounds, unless `BACKUPGRAM_E2E_ROUNDS` says how many.
const ROUNDS: u32 = 12;

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// kill -9 of the restore itself.
    Killed,
    /// TERM to the restore, as when its job is cancelled.
    Stopped,
    /// kill -9 of whatever programs it has started.
    ProgramsKilled,
    /// The server shuts down at once, and comes back.
    ServerDown,
    /// Every session of the server is ended.
    Disconnected,
}

const FAULTS: [Fault; 5] =
    [Fault::Killed, Fault::Stopped, Fault::ProgramsKilled, Fault::ServerDown, Fault::Disconnected];

/// The options of a dump, and whether it is encrypted.
const KINDS: [(&str, bool); 6] =
    [("-Z1", false), ("-Z zstd", true), ("-Fc", false), ("-Fc", true), ("-Ft", false), ("-Fd -j2", false)];

/// A database whose content can be told from its backups', and a backup of each kind.
struct Scene {
    server: Cluster,
    store: Store,
    backups: Vec<String>,
    old: String,
    new: String,
    undisturbed: Duration,
}

/// What the target has and its backups have not.
const LATER: &str = "CREATE TABLE later AS SELECT 1 AS one; DELETE FROM orders WHERE id % 3 = 0";

impl Scene {
    fn new() -> Self {
        let (server, store) = (Cluster::start(15), Store::new());
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
        let mut scene = Self { server, store, backups, old: String::new(), new, undisturbed: Duration::ZERO };
        let start = Instant::now();
        scene.restore(&scene.backups[1]).run().succeeded();
        scene.undisturbed = start.elapsed();
        assert_eq!(scene.server.dump(TARGET), scene.new);
        scene.server.sql(TARGET, LATER);
        scene.old = scene.server.dump(TARGET);
        assert_ne!(scene.old, scene.new);
        scene
    }

    fn restore(&self, backup: &str) -> Cli {
        let cli = Cli::restore(&self.server, &self.store, backup).args([TARGET]);
        cli.env("BACKUP_ENCRYPTION_KEY", KEY).env("RESTORE_JOBS", "2")
    }

    fn strike(&self, fault: Fault, running: &command::Running) {
        match fault {
            Fault::Killed => running.signal(Signal::SIGKILL),
            Fault::Stopped => running.signal(Signal::SIGTERM),
            Fault::ProgramsKilled => {
                Process::descendants(running.pid())
                    .iter()
                    .for_each(|process| process.signal(Signal::SIGKILL));
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
        }
    }
}

#[test]
fn a_restore_that_is_broken_off_anywhere_leaves_the_old_database_or_the_new_one() {
    let rounds = std::env::var("BACKUPGRAM_E2E_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut moments = Moments::new();
    let scene = Scene::new();
    let (mut broken, mut replaced) = (0, 0);
    for round in 0..rounds.unwrap_or(ROUNDS) {
        let backup = moments.one_of(&[0, 1, 2, 3, 4, 5]);
        let (fault, moment) = (moments.one_of(&FAULTS), moments.within(scene.undisturbed));
        let what = format!("round {round}: {:?} {fault:?} after {moment:?}", KINDS[backup]);
        println!("{what}");
        let mut running = scene.restore(&scene.backups[backup]).start();
        pass(moment, || running.poll().is_some());
        scene.strike(fault, &running);
        let outcome = running.wait();
        let now = scene.server.dump(TARGET);
        let succeeded = outcome.status.is_some_and(|status| status.success());
        let is_new = now == scene.new;
        assert!(is_new || now == scene.old, "{what}: neither the old nor the new\n{outcome}");
        assert!(is_new || !succeeded, "{what}: nothing was restored\n{outcome}");
        broken += u32::from(!succeeded);
        if is_new {
            scene.server.sql(TARGET, LATER);
            replaced += 1;
        }
    }
    assert!(broken > 0, "no moment hit a restore; {replaced} went through");
    scene.restore(&scene.backups[0]).run().succeeded();
    assert_eq!(scene.server.dump(TARGET), scene.new);
    scene.server.assert_no_scratch_database_is_left();
    assert!(scene.store.partial().is_empty(), "{:?}", scene.store.partial());
}
