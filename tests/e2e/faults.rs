//! What breaks in the middle of a dump breaks nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::harness::mount::SmallDisk;
use crate::harness::*;

const KEY: &str = "a key";
/// Options and key: each way that a dump takes to the disk.
const WAYS: [(&str, &str); 4] = [("-Z1", ""), ("-Fc -Z0", ""), ("-Zzstd", KEY), ("-Fd -Z0 -j2", "")];

/// A directory with a backup in it, and what must be true of it after a run that failed.
struct Scene<'c> {
    server: &'c Cluster,
    store: Store,
    database: Database<'c>,
    before: BTreeSet<(PathBuf, String)>,
}

impl<'c> Scene<'c> {
    fn new(server: &'c Cluster, label: &str) -> Self {
        Self::in_store(server, label, Store::new())
    }

    fn in_store(server: &'c Cluster, label: &str, store: Store) -> Self {
        let database = server.database(label);
        database.fill(100);
        for (options, key) in WAYS {
            let cli = Cli::backup(server, &store, &database.name).env("BACKUP_MIN_DISK_SPACE", "0");
            let cli =
                cli.env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_SUFFIX", format!(".{}", options.len()));
            cli.env("BACKUP_ENCRYPTION_KEY", key).run().succeeded();
        }
        let mut scene = Self { server, store, database, before: BTreeSet::new() };
        scene.before = scene.sums();
        assert!(scene.before.len() >= 4 * 4 * 2, "{:?}", scene.before);
        scene
    }

    /// A run that will be disturbed; under the names of the backups that are there.
    fn backup(&self, options: &str, key: &str) -> Cli {
        let cli =
            Cli::backup(self.server, &self.store, &self.database.name).env("BACKUP_MIN_DISK_SPACE", "0");
        let suffix = WAYS.iter().find(|way| options.starts_with(way.0)).map_or(3, |way| way.0.len());
        let cli = cli.env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_SUFFIX", format!(".{suffix}"));
        cli.env("BACKUP_ENCRYPTION_KEY", key)
    }

    /// Every file in a slot with its checksum.
    fn sums(&self) -> BTreeSet<(PathBuf, String)> {
        let slots = SLOTS.map(|slot| self.store.path().join(slot));
        let files = self.store.everything().into_iter().map(|(path, _)| path);
        let files = files.filter(|path| slots.iter().any(|slot| path.starts_with(slot)));
        files.map(|path| (path.clone(), sha256(&fs::read(&path).unwrap_or_default()))).collect()
    }

    /// One line names what failed, the status names the database, and nothing has come or gone.
    #[track_caller]
    fn nothing_has_changed(&self, outcome: command::Outcome, said: &str) {
        let outcome = outcome.exited_with(1);
        let prefix = format!("error: {}: ", self.database.name);
        let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with(&prefix)).collect();
        assert_eq!(lines.len(), 1, "{outcome}");
        assert!(lines[0].contains(said), "must say {said:?}: {}", lines[0]);
        self.nothing_has_come_or_gone(&outcome);
        assert_eq!(self.store.partial(), [""; 0], "{outcome}");
    }

    #[track_caller]
    fn nothing_has_come_or_gone(&self, outcome: &command::Outcome) {
        assert!(self.sums() == self.before, "something in a slot has changed\n{outcome}");
        let status = self.store.status();
        assert_eq!(status["status"], "FAILED", "{status:#}");
        let database = &status["databases"][0];
        assert_eq!(database["name"], self.database.name.as_str(), "{status:#}");
        assert_eq!(database["state"], "FAILED", "{status:#}");
    }

    /// Waits until pg_dump waits for the lock of `hold`, in the middle of its work.
    fn started(&self, options: &str, key: &str) -> command::Running {
        let mut running = self.backup(options, key).start();
        // Of this database: others wait on the same server.
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE NOT granted AND relation IS NOT NULL AND datname = current_database()";
        wait_until("pg_dump to wait for the lock", SOON, || {
            assert!(running.poll().is_none(), "it ended: {}", running.text());
            self.database.sql(waiting) != "0"
        });
        running
    }
}

#[test]
fn a_killed_pg_dump_of_any_format_is_named() {
    let scene = Scene::new(Cluster::shared(15), "killed");
    for (options, key) in WAYS.into_iter().chain([("-Ft", ""), ("-Fd -Z0 -j2", KEY)]) {
        let hold = scene.database.hold();
        let mut running = scene.started(options, key);
        running.descendant("pg_dump").signal(Signal::SIGKILL);
        scene.nothing_has_changed(running.wait(), "pg_dump");
        drop(hold);
    }
}

/// Some of the rows are on the disk by then.
#[test]
fn a_pg_dump_that_is_killed_among_its_rows_is_named() {
    let scene = Scene::new(Cluster::shared(18), "among");
    scene
        .database
        .sql("INSERT INTO orders SELECT i, 1, md5(random()::text) FROM generate_series(1000, 500000) i");
    let written = || {
        let partial = scene.store.path().join(".partial");
        scene.store.everything().iter().any(|(path, size)| path.starts_with(&partial) && *size > 100_000)
    };
    for (options, key, worker) in
        [("-Z0", "", false), ("-Fc -Z0", KEY, false), ("-Fd -Z0 -j2", "", false), ("-Fd -Z0 -j2", "", true)]
    {
        let mut running = scene.backup(options, key).start();
        wait_until("some rows", LONG, || written() || running.poll().is_some());
        let leader = running.descendant("pg_dump");
        let of_leader = || Process::descendants(leader.pid).into_iter().next();
        let victim = if worker { of_leader().expect("a worker") } else { leader };
        victim.signal(Signal::SIGKILL);
        scene.nothing_has_changed(running.wait(), "pg_dump");
    }
}

#[test]
fn a_server_that_stops_in_the_middle_is_named() {
    let server = Cluster::start(18);
    let scene = Scene::new(&server, "stopped");
    for (options, key) in WAYS {
        let hold = scene.database.hold();
        let running = scene.started(options, key);
        server.stop();
        scene.nothing_has_changed(running.wait(), "pg_dump");
        drop(hold);
        server.run();
    }
    scene.backup("-Z1", "").run().succeeded();
}

#[test]
fn a_table_that_stays_locked_is_named() {
    let scene = Scene::new(Cluster::shared(15), "locked");
    let _hold = scene.database.hold();
    for (options, key) in WAYS {
        let options = format!("{options} --lock-wait-timeout=100");
        let outcome = scene.backup(&options, key).run();
        assert!(outcome.text().contains("timeout"), "{outcome}");
        scene.nothing_has_changed(outcome, "customers");
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_is_named_and_loses_nothing() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let Some(_disk) = SmallDisk::mount(&store.path(), 4) else { return };
    let scene = Scene::in_store(server, "full", store);
    scene
        .database
        .sql("INSERT INTO orders SELECT i, 1, md5(random()::text) FROM generate_series(1000, 200000) i");
    for (options, key) in WAYS {
        scene.nothing_has_changed(scene.backup(options, key).run(), "No space left on device");
    }
    scene.database.sql("TRUNCATE orders");
    scene.backup("-Z1", "").run().succeeded();
}

/// Room for what the settings want, and for a fifth more than the last backup of this database took.
#[test]
fn a_dump_does_not_begin_without_room_for_one_like_the_last() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let Some(_disk) = SmallDisk::mount(&store.path(), 16) else { return };
    let database = server.database("room");
    database.sql("CREATE TABLE noise AS SELECT md5(random()::text) AS x FROM generate_series(1, 200000)");
    let cli = |options: &str| {
        let cli = Cli::backup(server, &store, &database.name).env("BACKUP_MIN_DISK_SPACE", "0");
        cli.env("POSTGRES_EXTRA_OPTS", options)
    };
    cli("-Z0").run().succeeded();
    let size = store.manifest("last", &store.only("last"))["size"].as_u64().unwrap();
    let free = || {
        let disk = nix::sys::statvfs::statvfs(&store.path()).unwrap();
        disk.blocks_available() * disk.fragment_size()
    };
    // Enough for another one, but not for a fifth more.
    let ballast = store.path().join("ballast");
    fs::write(&ballast, vec![1; usize::try_from(free() - size * 11 / 10).unwrap()]).unwrap();
    let outcome = cli("-Z0").run().exited_with(1);
    assert!(outcome.text().contains(&database.name) && !outcome.text().contains("dumping"), "{outcome}");
    assert_eq!(store.status()["databases"][0]["state"], "FAILED");
    store.only("last");
    let other = server.database("room");
    other.fill(5);
    Cli::backup(server, &store, &other.name).env("BACKUP_MIN_DISK_SPACE", "0").run().succeeded();
    Cli::backup(server, &store, &other.name)
        .env("BACKUP_MIN_DISK_SPACE", "9")
        .run()
        .exited_with(1)
        .saying("BACKUP_MIN_DISK_SPACE");
    fs::remove_file(&ballast).unwrap();
    cli("-Fd -Z0").run().succeeded();
}

#[test]
fn a_partial_dump_that_vanishes_is_no_backup() {
    let scene = Scene::new(Cluster::shared(15), "vanished");
    let partial = scene.store.path().join(".partial");
    for (options, key) in WAYS {
        let hold = scene.database.hold();
        let running = scene.started(options, key);
        for entry in fs::read_dir(&partial).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        drop(hold);
        scene.nothing_has_changed(running.wait(), "No such file or directory");
    }
}

#[test]
fn a_slot_that_cannot_be_written_is_named() {
    let scene = Scene::new(Cluster::shared(15), "unwritable");
    let slot = scene.store.path().join("weekly");
    let aside = scene.store.path().join("weekly.aside");
    fs::rename(&slot, &aside).unwrap();
    fs::write(&slot, "no directory").unwrap();
    let outcome = scene.backup("-Fd -Z0 -j2", "").run().exited_with(1).saying(slot.to_str().unwrap());
    fs::remove_file(&slot).unwrap();
    fs::rename(&aside, &slot).unwrap();
    scene.nothing_has_come_or_gone(&outcome);
}
