//! Restores, dry runs and verifications from a volume that cannot be written to: mounted read-only, somebody else's, or
//! full. What they must write lies below TMPDIR then.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::harness::*;

/// Somebody with a name but without rights.
const NOBODY: u32 = 65_534;

/// A volume with backups of a database that has changed since.
struct Scene {
    server: &'static Cluster,
    store: Store,
    database: Database<'static>,
    before: String,
}

impl Scene {
    /// Backs a database up onto the volume, which `mount` may have mounted, as SQL and as a directory in an archive, which
    /// must be unpacked.
    fn new(label: &str, options: &[&str], store: Store) -> Self {
        let server = Cluster::shared(15);
        let database = server.database(label);
        database.fill(300);
        for options in options {
            let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
            backup.run().succeeded();
        }
        fs::create_dir(store.root().join("tmp")).unwrap();
        let before = database.dump();
        database.sql("DELETE FROM orders WHERE id % 2 = 0");
        Self { server, store, database, before }
    }

    /// A call with a TMPDIR of our own.
    fn cli(&self, words: &[&str]) -> Cli {
        Cli::new(self.server, &self.store).env("TMPDIR", self.tmp()).args(words)
    }

    fn tmp(&self) -> PathBuf {
        self.store.root().join("tmp")
    }

    /// Where what cannot be written to the volume goes, as the documentation says.
    fn fallback(&self, uid: u32) -> PathBuf {
        let path = fs::canonicalize(self.store.path()).unwrap();
        let digits = sha256(path.to_str().unwrap().as_bytes());
        self.tmp().join(format!("backupgram-{uid}-{}", &digits[..16]))
    }

    /// Packs a directory dump of `last`, and puts it beside it as `packed.tar`.
    fn pack(&self) {
        let dump = fs::read_dir(self.store.path().join("last")).unwrap().map(|entry| entry.unwrap().path());
        let dump = dump.into_iter().find(|path| path.is_dir() && !path.is_symlink()).expect("a directory");
        let tar = Cli::of_program("tar", &self.store).args(["-cf"]);
        let tar = tar.args([self.store.file("last", "packed.tar")]).args(["-C".as_ref(), dump.as_os_str()]);
        tar.args(["."]).run().succeeded();
    }

    /// Restores each, and answers what was said.
    #[track_caller]
    fn restores(&self, as_whom: impl Fn(Cli) -> Cli) -> Vec<command::Outcome> {
        let files = self.store.dated("last").into_iter().map(|name| format!("last/{name}"));
        let restored = files.map(|file| {
            let cli = |words: &[&str]| as_whom(self.cli(words)).args([&self.database.name]);
            let old = self.database.dump();
            assert_ne!(old, self.before);
            cli(&["restore", "--dry-run", &file]).run().succeeded();
            assert_eq!(self.database.dump(), old, "a dry run of {file}");
            let outcome = cli(&["restore", &file]).run().succeeded();
            assert_eq!(self.database.dump(), self.before, "{file}");
            self.database.sql("DELETE FROM orders WHERE id % 2 = 0");
            outcome
        });
        restored.collect()
    }

    /// The notes of restores below TMPDIR and in the volume.
    fn notes(&self, uid: u32) -> Vec<PathBuf> {
        let places = [self.fallback(uid), self.store.path()];
        let entries = places.into_iter().filter_map(|place| fs::read_dir(place).ok()).flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".restore-")).collect()
    }
}

/// The lines in which a text stands.
fn lines(outcome: &command::Outcome, text: &str) -> usize {
    outcome.text().lines().filter(|line| line.contains(text)).count()
}

/// Only the lock stays below TMPDIR, for nobody else.
#[track_caller]
fn only_a_lock_is_left(fallback: &Path) {
    assert_eq!(fs::metadata(fallback).unwrap().permissions().mode() & 0o7777, 0o700);
    let left: Vec<_> = fs::read_dir(fallback).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn a_volume_that_is_mounted_read_only_is_restored_and_verified_from() {
    let scene = Scene::new("mounted", &["-Z1", "-Fc", "-Fd"], Store::new());
    scene.pack();
    let Some(_mounted) = ReadOnly::mount(&scene.store.path(), &scene.store.path()) else { return };
    let before = scene.store.everything();
    let cause = format!("{} cannot be written to (Read-only file system", scene.store.path().display());
    for outcome in scene.restores(|cli| cli) {
        assert_eq!(lines(&outcome, &cause), 1, "{outcome}");
        assert_eq!(lines(&outcome, "warn"), lines(&outcome, "only checked by pg_restore"), "{outcome}");
    }
    only_a_lock_is_left(&scene.fallback(Uid::effective().as_raw()));
    let verified = scene.cli(&["verify"]).run().succeeded();
    assert_eq!(lines(&verified, "cannot record results: "), 1, "{verified}");
    assert_eq!(lines(&verified, "warn"), 1, "{verified}");
    let ours = format!("last/{}", scene.store.dated("last")[0]);
    let others = format!("last/{}", scene.store.dated("last")[1]);
    let proven = scene.cli(&["verify", "--restore", &ours, &others]).run().succeeded();
    assert_eq!(lines(&proven, "cannot record results: "), 1, "{proven}");
    assert_eq!(lines(&proven, "warn"), 1, "{proven}");
    scene.cli(&["list"]).run().succeeded();
    let backup = scene.cli(&["backup"]).env("POSTGRES_DB", &scene.database.name).run().exited_with(1);
    assert!(backup.text().contains("is mounted read-only"), "{backup}");
    assert!(!backup.text().contains("chown"), "{backup}");
    assert_eq!(scene.store.everything(), before);
    // How it went is told all the same, and stays when somebody reads there again.
    let missed = scene.fallback(Uid::effective().as_raw()).join(".status.json");
    scene.cli(&["verify"]).run().succeeded();
    assert!(fs::read_to_string(&missed).unwrap().contains("FAILED"));
    fs::remove_file(missed).unwrap();
    // Nothing of the proofs but what is there anyhow.
    only_a_lock_is_left(&scene.fallback(Uid::effective().as_raw()));
    assert_eq!(fs::read_dir(scene.tmp()).unwrap().count(), 1);
}

#[test]
fn a_volume_that_is_somebody_elses_is_restored_and_verified_from() {
    if !Uid::effective().is_root() {
        eprintln!("SKIPPED: only root can run the program as somebody else");
        return;
    }
    for is_new in [false, true] {
        let scene = Scene::new("theirs", &["-Z1", "-Fd"], Store::new());
        scene.pack();
        if is_new {
            // As another tool would have made it.
            for own in [".lock", ".pointers.lock", ".partial"] {
                remove(&scene.store.path().join(own));
            }
        }
        chown(scene.tmp(), Some(NOBODY), Some(NOBODY)).unwrap();
        // Not copied by this process: it could not be started while a child of another test holds it open.
        let program = scene.store.root().join("backupgram");
        let copied = Cli::of_program("cp", &scene.store).args([env!("CARGO_BIN_EXE_backupgram")]);
        copied.args([&program]).run().succeeded();
        let before = scene.store.everything();
        let cli = |words: &[&str]| {
            let mut cli = Cli::of_program(&program, &scene.store);
            for (key, value) in command::settings(scene.server, &scene.store) {
                cli = cli.env(&key, value);
            }
            cli.env("TMPDIR", scene.tmp()).user(NOBODY, NOBODY).args(words)
        };
        let mut files = scene.store.dated("last");
        files.retain(|name| scene.store.file("last", name).is_file());
        for name in files {
            let file = format!("last/{name}");
            cli(&["restore", "--dry-run", &file, &scene.database.name]).run().succeeded();
            let outcome = cli(&["restore", &file, &scene.database.name]).run().succeeded();
            assert_eq!(lines(&outcome, "cannot be written to (Permission denied"), 1, "{outcome}");
            assert_eq!(scene.database.dump(), scene.before, "{file}");
            scene.database.sql("DELETE FROM orders WHERE id % 2 = 0");
        }
        let verified = cli(&["verify"]).run().succeeded();
        assert_eq!(lines(&verified, "cannot record results: "), 1, "{verified}");
        let ours = format!("last/{}", scene.store.dated("last")[0]);
        cli(&["verify", "--restore", &ours]).run().succeeded();
        assert_eq!(scene.store.everything(), before);
        only_a_lock_is_left(&scene.fallback(NOBODY));
        cli(&["sweep"]).run().exited_with(1).saying("may not write to");
    }
}

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
}

/// Fills a disk to its last byte, or takes its last inode.
fn fill(disk: &Path, inodes: bool) {
    if inodes {
        let made = (0..10_000).find(|number| fs::write(disk.join(format!("file-{number}")), "").is_err());
        assert!(made.is_some(), "the inodes do not end");
        return;
    }
    use std::io::Write;
    let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_volume_that_is_full_is_restored_and_verified_from() {
    for inodes in [false, true] {
        let store = Store::new();
        let disk = match inodes {
            true => SmallDisk::with_inodes(&store.path(), 16, 200),
            false => SmallDisk::mount(&store.path(), 16),
        };
        let Some(_disk) = disk else { return };
        let scene = Scene::new("full", &["-Z1", "-Fc", "-Fd"], store);
        scene.pack();
        fill(&scene.store.path(), inodes);
        let before = scene.store.everything();
        let cause = "cannot be written to (No space left on device";
        for outcome in scene.restores(|cli| cli) {
            assert_eq!(lines(&outcome, cause), 1, "{outcome}");
        }
        let verified = scene.cli(&["verify"]).run().succeeded();
        assert_eq!(lines(&verified, "cannot record results: "), 1, "{verified}");
        let ours = format!("last/{}", scene.store.dated("last")[0]);
        scene.cli(&["verify", "--restore", &ours]).run().succeeded();
        assert_eq!(scene.store.everything().len(), before.len());
        only_a_lock_is_left(&scene.fallback(Uid::effective().as_raw()));
        scene.cli(&["sweep"]).run().succeeded();
    }
}

#[test]
fn what_does_not_fit_on_the_volume_is_unpacked_elsewhere() {
    let store = Store::new();
    let Some(_disk) = SmallDisk::mount(&store.path(), 16) else { return };
    let scene = Scene::new("unfit", &["-Fd -Z0"], store);
    scene.pack();
    // The note of a restore has room yet, but not the files.
    let free = nix::sys::statvfs::statvfs(&scene.store.path()).unwrap();
    let free = free.blocks_available() * free.fragment_size();
    let ballast = usize::try_from(free - 24_000).unwrap();
    fs::write(scene.store.path().join("ballast"), vec![1; ballast]).unwrap();
    let restore = scene.cli(&["restore", "last/packed.tar", &scene.database.name]);
    let outcome = restore.run().succeeded();
    assert_eq!(lines(&outcome, "are needed: temporary files are in "), 1, "{outcome}");
    assert_eq!(scene.database.dump(), scene.before);
    assert_eq!(fs::read_dir(scene.fallback(Uid::effective().as_raw())).unwrap().count(), 0);
}

#[test]
fn two_restores_from_a_read_only_volume_exclude_each_other() {
    for has_lock in [true, false] {
        let scene = Scene::new("twice", &["-Z1"], Store::new());
        let gate = scene.database.gate();
        Cli::backup(scene.server, &scene.store, &scene.database.name).run().succeeded();
        if !has_lock {
            fs::remove_file(scene.store.path().join(".lock")).unwrap();
        }
        let Some(_mounted) = ReadOnly::mount(&scene.store.path(), &scene.store.path()) else { return };
        let file = format!("last/{}", scene.store.newest("last"));
        gate.shut();
        let mut first = scene.cli(&["restore", &file]).start();
        wait_until("the first restore to reach the gate", LONG, || {
            assert!(first.poll().is_none(), "it ended: {}", first.text());
            gate.is_waited_for(scene.server)
        });
        let second = scene.cli(&["restore", &file]).run().exited_with(75);
        second.saying(&format!("a restore is running: pid {}", first.pid()));
        scene.cli(&["verify", "--restore", &file]).run().exited_with(75);
        scene.cli(&["sweep"]).run().exited_with(75).saying("nothing is cleared away");
        assert_eq!(scene.notes(Uid::effective().as_raw()).len(), 1);
        gate.open();
        first.wait().succeeded();
        only_a_lock_is_left(&scene.fallback(Uid::effective().as_raw()));
    }
    Cluster::shared(15).assert_no_scratch_database_is_left();
}

#[test]
fn who_can_only_read_a_volume_respects_the_lock_of_who_writes_there() {
    let scene = Scene::new("shared", &["-Z1"], Store::new());
    let view = scene.store.root().join("view");
    fs::create_dir(&view).unwrap();
    let Some(_mounted) = ReadOnly::mount(&scene.store.path(), &view) else { return };
    let file = format!("last/{}", scene.store.newest("last"));
    let hold = scene.database.hold();
    let mut backup = Cli::backup(scene.server, &scene.store, &scene.database.name).start();
    backup.descendant("pg_dump");
    let restore = || scene.cli(&["restore", &file, &scene.database.name]).env("BACKUP_DIR", &view);
    let met = restore().run().exited_with(75);
    met.saying(&format!("a backup is running: pid {}", backup.pid()));
    let mut patient = restore().env("BACKUP_LOCK_WAIT", "100").start();
    wait_until("the restore to wait", SOON, || {
        assert!(patient.poll().is_none(), "it ended: {}", patient.text());
        patient.text().contains("waiting: a backup is running")
    });
    drop(hold);
    backup.wait().succeeded();
    patient.wait().succeeded();
    assert_eq!(scene.database.dump(), scene.before);
}

#[test]
fn what_a_killed_restore_has_left_elsewhere_is_swept() {
    let scene = Scene::new("killed", &[], Store::new());
    let gate = scene.database.gate();
    Cli::backup(scene.server, &scene.store, &scene.database.name)
        .env("POSTGRES_EXTRA_OPTS", "-Fd")
        .run()
        .succeeded();
    scene.pack();
    let before = scene.database.dump();
    let uid = Uid::effective().as_raw();
    let scratch = "SELECT datname FROM pg_database WHERE datname = '_backupgram_scratch_";
    for by_backup in [false, true] {
        let Some(mounted) = ReadOnly::mount(&scene.store.path(), &scene.store.path()) else { return };
        gate.shut();
        let mut running = scene.cli(&["restore", "last/packed.tar", &scene.database.name]).start();
        wait_until("the restore to reach the gate", LONG, || {
            assert!(running.poll().is_none(), "it ended: {}", running.text());
            gate.is_waited_for(scene.server)
        });
        let family = Process::descendants(running.pid());
        running.signal(Signal::SIGKILL);
        family.iter().for_each(|process| process.signal(Signal::SIGKILL));
        running.wait().failed();
        gate.open();
        let notes = scene.notes(uid);
        assert!(notes.len() == 1 && notes[0].starts_with(scene.tmp()), "{notes:?}");
        let tag = notes[0].file_name().unwrap().to_str().unwrap()[9..21].to_owned();
        let is_there = || !scene.server.sql("postgres", &format!("{scratch}{tag}'")).is_empty();
        let unpacked = scene.fallback(uid).join(format!("unpacked.{}", "*"));
        let holds_unpacked = || {
            let names = fs::read_dir(unpacked.parent().unwrap()).unwrap();
            names
                .into_iter()
                .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("unpacked."))
        };
        assert!(is_there() && holds_unpacked());
        let swept = match by_backup {
            false => scene.cli(&["sweep"]),
            true => {
                // It can be written to again.
                drop(mounted);
                scene.cli(&["backup"]).env("POSTGRES_DB", &scene.database.name)
            }
        };
        let swept = swept.run().succeeded();
        assert_eq!(lines(&swept, &format!("left: _backupgram_scratch_{tag}")), 1, "{swept}");
        assert!(!is_there() && !holds_unpacked() && scene.notes(uid).is_empty(), "{swept}");
        assert_eq!(scene.database.dump(), before);
    }
}

#[test]
fn without_a_place_elsewhere_one_line_says_so() {
    let scene = Scene::new("nowhere", &["-Z1"], Store::new());
    let Some(_mounted) = ReadOnly::mount(&scene.store.path(), &scene.store.path()) else { return };
    let file = format!("last/{}", scene.store.newest("last"));
    let uid = Uid::effective().as_raw();
    let missing = scene.store.root().join("missing");
    let precious = scene.store.root().join("precious");
    fs::create_dir(&precious).unwrap();
    let unset = |_: &Path| {};
    let link = |path: &Path| symlink(&precious, path).unwrap();
    let shared = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    let theirs = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        chown(path, Some(NOBODY), None).unwrap();
    };
    let before = scene.database.dump();
    for (put, tmp, said) in [
        (&unset as &dyn Fn(&Path), missing.as_path(), "No such file or directory"),
        (&link, &scene.tmp(), "is not a directory that only user id"),
        (&shared, &scene.tmp(), "is not a directory that only user id"),
        (&theirs, &scene.tmp(), "is not a directory that only user id"),
    ] {
        put(&scene.fallback(uid));
        for words in [&["restore", &file][..], &["restore", "--dry-run", &file]] {
            let outcome = scene.cli(words).env("TMPDIR", tmp).run().exited_with(1);
            let text = outcome.text();
            assert!(text.contains("cannot be written to (Read-only") && text.contains(said), "{outcome}");
            assert!(text.contains("TMPDIR") && text.lines().count() == 1, "{outcome}");
        }
        scene.cli(&["verify", &file]).env("TMPDIR", tmp).run().succeeded();
        let _ = fs::remove_file(scene.fallback(uid)).or_else(|_| fs::remove_dir(scene.fallback(uid)));
    }
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 0);
    assert_eq!(scene.database.dump(), before);
}
