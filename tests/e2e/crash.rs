//! Killed programs leave no half backup, at whatever moment they are killed.
//!
//! The moments are random, but from a seed that is printed; set `BACKUPGRAM_E2E_SEED` to see the same ones again.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::*;

const ROWS: u32 = 250_000;
const ROUNDS: u32 = 6;

/// A directory that already holds one whole backup, and how long that took.
struct Scene {
    server: &'static Cluster,
    store: Store,
    database: Database<'static>,
    undisturbed: Duration,
}

impl Scene {
    fn new(server: &'static Cluster, label: &str) -> Self {
        let store = Store::new();
        let database = server.database(label);
        database.fill(ROWS);
        let start = Instant::now();
        Cli::backup(server, &store, &database.name).run().succeeded();
        Self { server, store, database, undisturbed: start.elapsed() }
    }

    #[track_caller]
    fn the_next_run_succeeds(&self) {
        Cli::backup(self.server, &self.store, &self.database.name).run().succeeded();
        self.store.assert_every_name_is_a_whole_backup();
        assert!(self.store.partial().is_empty(), "{:?}", self.store.partial());
        for slot in SLOTS {
            assert!(!self.store.dated(slot).is_empty(), "{slot}");
        }
    }
}

/// In the original image: a dump went straight to its final name.
#[test]
fn a_killed_pg_dump_never_leaves_half_a_backup() {
    let mut moments = Moments::new();
    let scene = Scene::new(Cluster::shared(15), "dump");
    let mut killed = 0;
    for round in 0..ROUNDS {
        let moment = moments.within(scene.undisturbed);
        println!("round {round}: {moment:?}");
        let before = scene.store.dated("last");
        // Chance may miss it every time. The first waits for a lock.
        let hold = (round == 0).then(|| scene.database.hold());
        let mut running = Cli::backup(scene.server, &scene.store, &scene.database.name).start();
        match &hold {
            Some(_) => drop(running.descendant("pg_dump")),
            None => pass(moment, || running.poll().is_some()),
        }
        let dump = Process::descendants(running.pid()).into_iter().find(|process| process.name == "pg_dump");
        let alive = dump.is_some_and(|dump| {
            dump.signal(Signal::SIGKILL);
            dump.state != 'Z'
        });
        drop(hold);
        let outcome = running.wait();
        scene.store.assert_every_name_is_a_whole_backup();
        if outcome.status.is_some_and(|status| !status.success()) {
            assert!(alive, "nothing was killed\n{outcome}");
            assert_eq!(outcome.status.and_then(|status| status.code()), Some(1), "{outcome}");
            assert_eq!(scene.store.dated("last"), before, "{outcome}");
            assert_eq!(scene.store.status()["status"], "FAILED", "{outcome}");
            assert!(scene.store.partial().is_empty(), "{:?}", scene.store.partial());
            killed += 1;
        }
    }
    assert!(killed > 0, "not even what waited was hit");
    scene.the_next_run_succeeds();
}

#[test]
fn a_killed_run_never_leaves_half_a_backup() {
    let mut moments = Moments::new();
    let scene = Scene::new(Cluster::shared(18), "run");
    for round in 0..ROUNDS {
        let moment = moments.within(scene.undisturbed);
        println!("round {round}: {moment:?}");
        let mut running = Cli::backup(scene.server, &scene.store, &scene.database.name).start();
        pass(moment, || running.poll().is_some());
        let family = Process::descendants(running.pid());
        running.signal(Signal::SIGKILL);
        let _ = running.wait();
        scene.store.assert_every_name_is_a_whole_backup();
        wait_until("the children of the killed run to end", SOON, || !family.iter().any(Process::is_alive));
        if round % 3 == 0 {
            scene.the_next_run_succeeds();
        }
    }
    scene.the_next_run_succeeds();
}

#[test]
fn a_killed_daemon_never_leaves_half_a_backup() {
    let mut moments = Moments::new();
    let scene = Scene::new(Cluster::shared(15), "daemon");
    let plan = || Plan::new(scene.server, &scene.store).database(&scene.database.name);
    for round in 0..ROUNDS {
        let moment = moments.within(scene.undisturbed);
        println!("round {round}: {moment:?}");
        let mut daemon = plan().start();
        let id = daemon.start_backup();
        pass(moment, || matches!(daemon.job(&id)["state"].as_str(), Some("succeeded" | "failed")));
        let family = Process::descendants(daemon.pid());
        daemon.signal(Signal::SIGKILL);
        daemon.wait(SOON);
        scene.store.assert_every_name_is_a_whole_backup();
        // Where it is no container's first process, what it had started may go on for a while, but not for ever.
        wait_until("the children of the killed daemon to end", LONG, || {
            !family.iter().any(|process| process.name != "go-cron" && process.is_alive())
        });
        scene.store.assert_every_name_is_a_whole_backup();
        for process in family.iter().filter(|process| process.is_alive()) {
            process.signal(Signal::SIGKILL);
        }
    }
    let daemon = plan().start();
    daemon.back_up();
    scene.store.assert_every_name_is_a_whole_backup();
    assert!(scene.store.partial().is_empty(), "{:?}", scene.store.partial());
}

#[test]
fn what_a_dead_writer_left_is_swept_away_and_what_a_living_one_writes_is_not() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("sweep");
    database.fill(5);
    let hold = database.hold();
    let mut killed = Cli::backup(server, &store, &database.name).start();
    killed.descendant("pg_dump");
    wait_until("something partial", SOON, || !store.partial().is_empty());
    killed.signal(Signal::SIGKILL);
    let _ = killed.wait();
    assert!(!store.partial().is_empty(), "the kill left something to sweep");
    let mut living = Cli::backup(server, &store, &database.name).start();
    living.descendant("pg_dump");
    let mut before = Vec::new();
    wait_until("the living writer's file to be the only one", SOON, || {
        before = store.partial();
        before.len() == 1
    });
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let met = format!("sweep: a backup is running: pid {}, ", living.pid());
    wait_until("the daemon's sweep to meet the living one", SOON, || daemon.log().contains(&met));
    assert_eq!(store.partial(), before, "a daemon that starts leaves the living writer's file");
    drop(hold);
    living.wait().succeeded();
    drop(daemon);
    assert!(store.partial().is_empty(), "{:?}", store.partial());
    store.assert_every_name_is_a_whole_backup();
}
