//! Somebody who writes to the volume puts links in the place of our directories: while a run waits for the lock, in the
//! middle of it, and as soon as something appears. Nothing outside of the backup directory is read, written, removed or
//! given away for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use crate::harness::*;

/// A volume with backups of a database that has changed since, and a directory beside it that must stay as it is.
struct Scene {
    server: &'static Cluster,
    store: Store,
    database: Database<'static>,
    before: String,
    treasure: BTreeMap<PathBuf, Look>,
}

/// Owner, mode, length and time.
type Look = (u32, u32, u64, i64, i64);

fn look(directory: &Path) -> BTreeMap<PathBuf, Look> {
    let mut found = BTreeMap::new();
    let mut places = vec![directory.to_path_buf()];
    while let Some(path) = places.pop() {
        let it = fs::symlink_metadata(&path).unwrap();
        if it.is_dir() {
            places.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (it.uid(), it.mode(), it.len(), it.mtime(), it.mtime_nsec()));
    }
    found
}

impl Scene {
    /// With a directory dump, its archive `packed.tar`, and a treasure in which every name lies that a run looks for.
    fn new(label: &str) -> Self {
        let server = Cluster::shared(15);
        let (store, database) = (Store::new(), server.database(label));
        database.fill(100);
        fs::set_permissions(store.root(), fs::Permissions::from_mode(0o755)).unwrap();
        let backup = || Cli::backup(server, &store, &database.name);
        backup().env("POSTGRES_EXTRA_OPTS", "-Fd").run().succeeded();
        let dump = store.file("last", &store.only("last"));
        let tar = Cli::of_program("tar", &store).args(["-cf"]).args([store.file("last", "packed.tar")]);
        tar.args(["-C".as_ref(), dump.as_os_str()]).args(["."]).run().succeeded();
        let before = database.dump();
        database.sql("DELETE FROM orders WHERE id % 2 = 0");
        let outside = store.root().join("outside");
        for directory in ["", "replaced/last", "telegram", "data", "deep"] {
            fs::create_dir_all(outside.join(directory)).unwrap();
            fs::write(outside.join(directory).join("toc.dat"), "precious").unwrap();
        }
        let treasure = look(&outside);
        Self { server, store, database, before, treasure }
    }

    fn cli(&self, words: &[&str]) -> Cli {
        let cli = Cli::new(self.server, &self.store).env("POSTGRES_DB", &self.database.name);
        cli.env("HEALTHCHECK_PORT", "0").args(words)
    }

    fn outside(&self) -> PathBuf {
        self.store.root().join("outside")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.path().join(name)
    }

    /// Puts a link to the treasure in the place of a directory.
    fn swap(&self, name: &str) {
        fs::rename(self.path(name), self.path(".moved")).unwrap();
        symlink(self.outside(), self.path(name)).unwrap();
    }

    /// Undoes that.
    fn swap_back(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
        fs::rename(self.path(".moved"), self.path(name)).unwrap();
    }

    #[track_caller]
    fn nothing_is_touched(&self) {
        assert_eq!(look(&self.outside()), self.treasure);
    }

    /// Holds the lock as a sweep does: everybody waits for that.
    fn lock(&self) -> Flock<File> {
        let path = self.path(".lock");
        fs::write(&path, r#"{"pid":1,"started":0,"task":"sweep"}"#).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap()
    }

    /// Starts a run and swaps a directory while that waits for the lock.
    #[track_caller]
    fn swapped_under(&self, cli: Cli, name: &str) -> command::Outcome {
        let lock = self.lock();
        let mut running = cli.start();
        wait_until("the run to wait", LONG, || {
            assert!(running.poll().is_none(), "it ended: {}", running.text());
            running.text().contains("waiting: a sweep is running")
        });
        self.swap(name);
        drop(lock);
        let outcome = running.wait();
        self.nothing_is_touched();
        self.swap_back(name);
        outcome
    }

    /// The database is as it is now, or as it was when it was backed up.
    #[track_caller]
    fn restored(&self) -> bool {
        self.database.dump() == self.before
    }

    /// A status, and a health check, that tell of a failed run.
    #[track_caller]
    fn is_red(&self, said: &str) {
        let status = self.store.status();
        assert_eq!(status["status"], "FAILED", "{status:#}");
        self.cli(&["health"]).run().exited_with(1).saying("unhealthy").saying(said);
    }
}

#[test]
fn a_link_in_the_place_of_partial_has_no_kind_of_run_follow_it() {
    let scene = Scene::new("awaited");
    let api = BotApi::start(&["77"]);
    let id = api.plant("77", "app-20260416-143000.sql", 100).to_string();
    let refusal = format!("{} is not a directory", scene.path(".partial").display());
    let old = scene.database.dump();
    for words in [
        &["backup"][..],
        &["restore", "last/packed.tar", &scene.database.name],
        &["restore", "--from-telegram", &id, "nosuch"],
        &["verify", "--restore", "last/packed.tar"],
        &["sweep"],
    ] {
        let mut cli = scene.cli(words);
        for (key, value) in api.settings("77") {
            cli = cli.env(key, value);
        }
        scene.swapped_under(cli, ".partial").exited_with(1).saying(&refusal);
        assert_eq!(scene.database.dump(), old, "{words:?}");
    }
    scene.is_red(&refusal);
    scene.cli(&["backup"]).run().succeeded();
    scene.cli(&["health"]).run().succeeded();
}

#[test]
fn a_link_in_the_place_of_a_slot_has_no_kind_of_run_follow_it() {
    let scene = Scene::new("slotted");
    let old = scene.database.dump();
    for slot in SLOTS {
        let refusal = format!("{} is not a directory", scene.path(slot).display());
        scene.swapped_under(scene.cli(&["backup"]), slot).exited_with(1).saying(&refusal);
        scene.is_red(&refusal);
        let restore = scene.cli(&["restore", "last/packed.tar", &scene.database.name]);
        scene.swapped_under(restore, slot).exited_with(1).saying(&refusal);
        assert_eq!(scene.database.dump(), old, "{slot}");
    }
    assert_eq!(scene.store.partial(), [""; 0]);
}

#[test]
fn a_daemon_says_that_partial_is_a_link_and_goes_on_when_it_is_none() {
    let scene = Scene::new("started");
    let refusal = format!("{} is not a directory", scene.path(".partial").display());
    let lock = scene.lock();
    let daemon = Plan::new(scene.server, &scene.store).database(&scene.database.name).start();
    wait_until("its sweep to wait", LONG, || daemon.log().contains("waiting: a sweep is running"));
    scene.swap(".partial");
    drop(lock);
    wait_until("its sweep to refuse", LONG, || daemon.log().contains(&refusal));
    let job = daemon.start_backup();
    let job = daemon.failed(&job);
    assert!(job["error"].to_string().contains("/.partial is not a directory"), "{job:#}");
    let status = daemon.status();
    assert_eq!(status["last_backup"]["status"], "FAILED", "{status:#}");
    daemon.is_red(&["the last backup failed: ", "/.partial is not a directory"]);
    scene.nothing_is_touched();
    scene.swap_back(".partial");
    daemon.back_up();
    assert_eq!(daemon.status()["last_backup"]["status"], "OK");
}

#[test]
fn a_run_goes_on_in_the_directories_that_it_has_found() {
    let scene = Scene::new("midway");
    let (backups, outside) = (scene.store.path(), scene.outside());
    let swap =
        format!("mv {0}/.partial {0}/.moved && ln -s {1} {0}/.partial", backups.display(), outside.display());
    scene.store.hook("swap", &format!("#!/bin/sh\n[ \"$1\" != pre-backup ] || {{ {swap}; }}\n"));
    for options in ["-Z1", "-Fc", "-Fd -j2", "-Ft"] {
        let backup =
            scene.cli(&["backup"]).env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_VERIFY", "restore");
        backup.run().succeeded();
        scene.nothing_is_touched();
        assert_eq!(fs::read_dir(scene.path(".moved")).unwrap().count(), 0, "{options}");
        scene.swap_back(".partial");
    }
    fs::remove_file(scene.store.hooks().join("swap")).unwrap();
    scene.cli(&["verify"]).run().succeeded();
    // The same by what a restore runs before it unpacks.
    let script = scene.store.root().join("before.sql");
    fs::write(&script, format!("\\! {swap}\n")).unwrap();
    let restore = scene.cli(&["restore", "last/packed.tar", &scene.database.name, "--before"]);
    restore.args([&script]).run().succeeded();
    assert!(scene.restored());
    scene.nothing_is_touched();
    assert_eq!(fs::read_dir(scene.path(".moved")).unwrap().count(), 0);
}

/// Puts a link to the treasure in the place of whatever appears in `.partial`, until it is dropped.
fn swapping<T>(scene: &Scene, work: impl FnOnce() -> T) -> (T, usize) {
    let (stop, loot) = (AtomicBool::new(false), scene.store.root().join("loot"));
    fs::create_dir_all(&loot).unwrap();
    let taken_before = fs::read_dir(&loot).unwrap().count();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = taken_before;
            while !stop.load(Ordering::Relaxed) {
                for entry in fs::read_dir(scene.path(".partial")).into_iter().flatten().flatten() {
                    let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                    let taken = loot.join(number.to_string());
                    if !is_link && fs::rename(entry.path(), taken).is_ok() {
                        number += 1;
                        let _ = symlink(scene.outside(), entry.path());
                    }
                }
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        (done, fs::read_dir(&loot).unwrap().count() - taken_before)
    })
}

#[test]
fn a_link_in_the_place_of_whatever_appears_leads_nobody_out() {
    let scene = Scene::new("raced");
    for options in ["-Z1", "-Fc", "-Fd -j2"] {
        let backup = scene.cli(&["backup"]).env("POSTGRES_EXTRA_OPTS", options);
        let (outcome, taken) = swapping(&scene, || backup.run());
        scene.nothing_is_touched();
        assert!(taken > 0, "{outcome}");
        // What has a name is the backup, or the run says that it is not.
        let newest = scene.store.file("last", &scene.store.newest("last"));
        let is_link = newest.is_symlink();
        let status = outcome.status.and_then(|status| status.code());
        assert!(status == Some(1) || (status == Some(0) && !is_link), "{options}: {outcome}");
        if is_link {
            scene.is_red("");
            fs::remove_file(newest).unwrap();
        }
    }
    let cli = scene.cli(&["verify", "--restore", "last/packed.tar"]);
    let (outcome, taken) = swapping(&scene, || cli.run());
    scene.nothing_is_touched();
    assert!(taken > 0, "{outcome}");
    let (outcome, taken) =
        swapping(&scene, || scene.cli(&["restore", "last/packed.tar", &scene.database.name]).run());
    scene.nothing_is_touched();
    assert!(taken > 0, "{outcome}");
    let status = outcome.status.and_then(|status| status.code());
    assert_eq!(status == Some(0), scene.restored(), "{outcome}");
    scene.cli(&["sweep"]).run().succeeded();
    assert_eq!(scene.store.partial(), [""; 0]);
    scene.nothing_is_touched();
    scene.server.assert_no_scratch_database_is_left();
}

/// pg_restore with something done before it loads.
fn before_loading(scene: &Scene, cli: Cli, lines: &str) -> Cli {
    let program = program_directory(scene.server.major()).join("pg_restore");
    let program = program.display();
    let script = format!("#!/bin/sh\ncase \"$*\" in *--dbname*) {lines} ;; esac\nexec {program} \"$@\"\n");
    cli.program(scene.server, &scene.store, "pg_restore", &script)
}

#[test]
fn what_was_checked_is_what_is_loaded_whatever_its_name_leads_to_by_then() {
    let scene = Scene::new("exchanged");
    let (other, store) = (scene.server.database("others"), Store::new());
    other.fill(7);
    let backup = Cli::backup(scene.server, &store, &other.name).env("POSTGRES_EXTRA_OPTS", "-Fd");
    backup.run().succeeded();
    let forged = store.file("last", &store.only("last"));
    let secret = scene.outside().join("toc.dat");
    let dump = scene.store.dated("last").into_iter().find(|name| name != "packed.tar").unwrap();
    let copied = Cli::of_program("cp", &scene.store).args(["-a"]);
    copied.args([scene.store.file("last", &dump), scene.store.root().join("copy")]).run().succeeded();
    let (partial, place) = (scene.path(".partial"), scene.store.file("last", &dump));
    for (file, place, forged) in [
        ("last/packed.tar".to_owned(), format!("{}/unpacked.*", partial.display()), &forged),
        (format!("last/{dump}"), format!("{}/*.dat.gz", place.display()), &secret),
        (format!("last/{dump}"), place.display().to_string(), &forged),
    ] {
        let stolen = scene.path(".stolen");
        let (forged, stolen) = (forged.display(), stolen.display());
        let lines = format!("for it in {place}; do mv -f $it {stolen} && ln -s {forged} $it; done");
        let restore = scene.cli(&["restore", &file, &scene.database.name]);
        before_loading(&scene, restore, &lines).run().succeeded();
        assert!(scene.restored(), "{file}");
        scene.database.sql("DELETE FROM orders WHERE id % 2 = 0");
        if place.contains("*.dat.gz") {
            // As it was, for the next.
            fs::remove_dir_all(scene.store.file("last", &dump)).unwrap();
            let copied = Cli::of_program("cp", &scene.store).args(["-a"]);
            copied.args([scene.store.root().join("copy"), scene.store.file("last", &dump)]).run().succeeded();
        }
        let _ = fs::remove_dir_all(scene.path(".stolen")).or_else(|_| fs::remove_file(scene.path(".stolen")));
    }
}

#[test]
fn a_stop_ends_a_restore_that_waits_at_a_pipe_in_a_dump() {
    let scene = Scene::new("piped");
    let old = scene.database.dump();
    let place = scene.path(".partial");
    let lines = format!("for it in {}/unpacked.*/toc.dat; do rm $it && mkfifo $it; done", place.display());
    let restore = scene.cli(&["restore", "last/packed.tar", &scene.database.name]);
    let mut running = before_loading(&scene, restore, &lines).start();
    wait_until("pg_restore to wait", LONG, || {
        assert!(running.poll().is_none(), "it ended: {}", running.text());
        let pipes = glob(&place, "toc.dat");
        let family = Process::descendants(running.pid());
        !pipes.is_empty() && family.iter().any(|process| process.works_as("pg_restore"))
    });
    running.signal(Signal::SIGTERM);
    running.wait().exited_with(143);
    assert_eq!(scene.database.dump(), old);
    assert_eq!(scene.store.partial(), [""; 0]);
}

/// The FIFOs of this name in the directories of a place.
fn glob(place: &Path, name: &str) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let directories = fs::read_dir(place).into_iter().flatten().flatten();
    let files = directories.map(|entry| entry.path().join(name));
    files.filter(|path| fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())).collect()
}
