//! With a key nothing lies anywhere in clear, and the standard tool opens what was made.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::*;

/// A key that no other text of a test holds.
fn random_key() -> String {
    format!("key {} ümlaut", cluster::random_hex(8))
}

/// A directory for temporary files and one to call home, both empty.
struct Places {
    temporary: PathBuf,
    home: PathBuf,
}

impl Places {
    fn new(store: &Store) -> Self {
        let [temporary, home] = ["tmp", "home"].map(|name| store.root().join(name));
        for path in [&temporary, &home] {
            fs::create_dir(path).unwrap();
        }
        Self { temporary, home }
    }

    fn told(&self, cli: Cli, key: &str) -> Cli {
        cli.env("TMPDIR", &self.temporary).env("HOME", &self.home).env("BACKUP_ENCRYPTION_KEY", key)
    }

    #[track_caller]
    fn are_empty(&self) {
        for path in [&self.temporary, &self.home] {
            let left: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

/// The files below a directory in which the text stands, as far as they can be read.
fn holders(directory: &Path, text: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => holders(&path, text, found),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                if memchr::memmem::find(&bytes, text.as_bytes()).is_some() {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
}

/// A table of more than the half of a mebibyte that no compression takes away.
fn fill_with_marked(database: &Database<'_>, mark: &str) {
    database.fill(10);
    database.sql(&format!(
        "CREATE TABLE a_marked AS
         SELECT '{mark}' || i AS note, md5(random()::text) AS x FROM generate_series(1, 40000) i"
    ));
}

/// A gpg, the real one, whose output stops in the middle.
struct Valve(PathBuf);

impl Valve {
    /// Bytes that come through before it is opened.
    const PASSES: u64 = 300_000;

    fn new(store: &Store) -> Self {
        let pipe = store.root().join("valve");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Self(pipe)
    }

    fn script(&self) -> String {
        let (passes, pipe) = (Self::PASSES, self.0.display());
        format!("#!/bin/sh\n/usr/bin/gpg \"$@\" | {{ head -c {passes}; cat '{pipe}'; cat; }}\n")
    }

    fn open(&self) {
        drop(fs::File::options().write(true).open(&self.0).unwrap());
    }
}

/// A temporary file needs no name. pg_dump passes a tar archive's members through such ones.
fn assert_no_nameless_file(process: &Process) {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
    let files = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let nameless: Vec<PathBuf> =
        files.filter(|file| file.to_string_lossy().ends_with(" (deleted)")).collect();
    assert!(nameless.is_empty(), "{} has {nameless:?}", process.name);
}

/// Asserts that no program of a run, beside those of ours and of the user, has been told the key.
fn assert_nobody_is_told(pid: u32, key: &str, seen: &mut BTreeSet<String>) {
    for process in Process::descendants(pid).into_iter().chain(Process::find(pid)) {
        assert!(!process.command_line().contains(key), "in the command line of {}", process.name);
        if process.pid != pid && process.name != "backupgram" {
            assert_no_nameless_file(&process);
            assert!(!process.environment_holds(key), "in the environment of {}", process.name);
            seen.insert(process.name);
        }
    }
}

/// In the original image: a directory dump with a key stayed in clear.
#[test]
fn while_an_encrypted_dump_runs_nothing_of_it_lies_in_clear() {
    let server = Cluster::shared(15);
    let mark = format!("mark-{}-", cluster::random_hex(8));
    let database = server.database("marked");
    fill_with_marked(&database, &mark);
    for options in ["-Z0", "-Z1", "-Zzstd", "-Fc -Z0", "-Ft", "-Fd -Z0 -j2"] {
        let (store, key) = (Store::new(), random_key());
        let places = Places::new(&store);
        let valve = Valve::new(&store);
        let cli = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        let cli = places.told(cli, &key).program(server, &store, "gpg", &valve.script());
        let mut running = cli.start();
        wait_until("some of it to be on the disk", LONG, || {
            assert!(running.poll().is_none(), "{options}: it ended: {}", running.text());
            store.everything().iter().any(|(_, size)| *size == Valve::PASSES)
        });
        let mut seen = BTreeSet::new();
        assert_nobody_is_told(running.pid(), &key, &mut seen);
        assert!(seen.contains("gpg"), "{options}: {seen:?}");
        let mut found = Vec::new();
        holders(store.root(), &mark, &mut found);
        holders(store.root(), &key, &mut found);
        assert!(found.is_empty(), "{options}: {found:?}");
        valve.open();
        let outcome = running.wait().succeeded();
        assert!(!outcome.text().contains("WARNING"), "{outcome}");
        holders(store.root(), &mark, &mut found);
        assert!(found.is_empty(), "{options}: {found:?}");
        places.are_empty();
    }
}

#[test]
fn gpg_on_the_command_line_opens_what_was_made() {
    let server = Cluster::shared(18);
    let database = server.database("opened");
    database.fill(200);
    let before = database.dump();
    for (options, packing) in [("-Z0", None), ("-Z1", Some("gzip")), ("-Zzstd", Some("zstd"))] {
        let (store, key) = (Store::new(), random_key());
        let cli = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        cli.env("BACKUP_ENCRYPTION_KEY", &key).run().succeeded();
        for slot in SLOTS {
            let name = store.only(slot);
            assert!(name.ends_with(".sql.gz.gpg"), "{name}");
            let pointer = store.file(slot, &format!("{}-latest.sql.gz.gpg", database.name));
            assert_eq!(fs::read_link(pointer).unwrap().to_str(), Some(name.as_str()));
            let manifest = store.manifest(slot, &name);
            assert_eq!(manifest["encrypted"], true, "{manifest}");
            assert_eq!(manifest["sha256"], sha256(&fs::read(store.file(slot, &name)).unwrap()));
        }
        let clear = gnupg::decrypted(&store.file("last", &store.only("last")), &key);
        let magic: &[u8] = match packing {
            None => b"--\n-- PostgreSQL",
            Some("gzip") => &[0x1f, 0x8b],
            Some(_) => &[0x28, 0xb5, 0x2f, 0xfd],
        };
        assert!(clear.starts_with(magic), "{options}: {:?}", &clear[..8]);
        if packing != Some("zstd") {
            let path = store.root().join("clear");
            fs::write(&path, clear).unwrap();
            assert_eq!(without_volatile_lines(&read_dump(&path).unwrap()), before);
        }
    }
}

/// In the original image: the decrypted dump stayed in /tmp after a restore that failed.
#[test]
fn a_restore_of_an_encrypted_backup_leaves_nothing_in_clear_whatever_happens() {
    let server = Cluster::shared(15);
    let mark = format!("mark-{}-", cluster::random_hex(8));
    let database = server.database("secret");
    fill_with_marked(&database, &mark);
    let gate = database.gate();
    for (options, loader) in [("-Z1", "psql"), ("-Fc -Z0", "pg_restore"), ("-Fd -Z0", "pg_restore")] {
        let (store, key) = (Store::new(), random_key());
        let places = Places::new(&store);
        let cli = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        places.told(cli, &key).run().succeeded();
        let file = format!("last/{}", store.only("last"));
        let before = database.dump();
        // With several, it would try once more with one.
        let restore =
            |key: &str| places.told(Cli::restore(server, &store, &file), key).env("RESTORE_JOBS", "1");
        for wrong in ["another key", ""] {
            restore(wrong).run().exited_with(1).saying("BACKUP_ENCRYPTION_KEY");
        }
        gate.shut();
        for killed in [Some(loader), None] {
            let mut running = restore(&key).start();
            wait_until("the restore to reach the gate", LONG, || {
                assert!(running.poll().is_none(), "{options}: it ended: {}", running.text());
                gate.is_waited_for(server)
            });
            let mut seen = BTreeSet::new();
            assert_nobody_is_told(running.pid(), &key, &mut seen);
            let mut found = Vec::new();
            holders(store.root(), &mark, &mut found);
            assert!(found.is_empty(), "{options}: {found:?}");
            match killed {
                Some(name) => running.descendant(name).signal(Signal::SIGKILL),
                None => running.signal(Signal::SIGTERM),
            }
            running.wait().failed();
            places.are_empty();
            assert_eq!(store.partial(), [""; 0], "{options}");
        }
        gate.open();
        assert_eq!(database.dump(), before, "{options}");
    }
    server.assert_no_scratch_database_is_left();
}

#[test]
fn what_a_killed_run_leaves_of_gpg_the_next_one_clears_away() {
    let server = Cluster::shared(15);
    let (store, key) = (Store::new(), cluster::random_hex(16));
    let places = Places::new(&store);
    let database = server.database("killed");
    database.fill(5);
    let backup = || places.told(Cli::backup(server, &store, &database.name), &key);
    let hold = database.hold();
    let mut running = backup().start();
    running.descendant("gpg");
    running.signal(Signal::SIGKILL);
    running.wait().failed();
    let left = fs::read_dir(&places.temporary).unwrap().count();
    assert_eq!(left, 1, "a home that nobody has cleared away");
    drop(hold);
    backup().run().succeeded();
    places.are_empty();
}

/// Every file of the slots with its checksum.
fn sums(store: &Store) -> BTreeSet<(PathBuf, String)> {
    let files = store
        .everything()
        .into_iter()
        .filter(|(path, _)| SLOTS.iter().any(|slot| path.starts_with(store.path().join(slot))));
    files.map(|(path, _)| (path.clone(), sha256(&fs::read(&path).unwrap_or_default()))).collect()
}

/// In the original image: a gpg that failed took the only dump with it.
#[test]
fn a_gpg_that_fails_fails_the_run_and_touches_no_older_backup() {
    let server = Cluster::shared(15);
    let (store, key) = (Store::new(), random_key());
    let places = Places::new(&store);
    let database = server.database("broken");
    database.fill(2_000);
    let backup = || places.told(Cli::backup(server, &store, &database.name), &key);
    backup().run().succeeded();
    backup().env("BACKUP_ENCRYPTION_KEY", "").run().succeeded();
    let before = sums(&store);
    let scripts = [
        ("at once", "#!/bin/sh\necho 'out of luck' >&2\nexit 2\n", "out of luck"),
        ("at the end", "#!/bin/sh\ncat\necho 'out of luck' >&2\nexit 2\n", "out of luck"),
        ("in the middle", "#!/bin/sh\n/usr/bin/gpg \"$@\" | head -c 20000\nkill -9 $$\n", "gpg"),
        ("silently", "#!/bin/sh\ncat >/dev/null\n", "gpg"),
        ("in clear", "#!/bin/sh\nread -r key\ncat\n", "gpg"),
    ];
    for (what, script, said) in scripts {
        let outcome = backup().program(server, &store, "gpg", script).run().exited_with(1).saying(said);
        assert!(outcome.text().contains(&database.name), "{what}\n{outcome}");
        assert_eq!(sums(&store), before, "{what}");
        let status = store.status();
        assert_eq!(status["status"], "FAILED", "{what}");
        assert_eq!(status["databases"][0]["name"], database.name.as_str(), "{what}: {status:#}");
        assert_eq!(store.partial(), [""; 0], "{what}");
        places.are_empty();
    }
    // Its directory holds the client's programs and no gpg.
    let without = store.root().join("without");
    fs::create_dir(&without).unwrap();
    for program in ["pg_dump", "pg_restore", "psql", "pg_isready"] {
        let real = cluster::program_directory(server.major()).join(program);
        write_script(&without.join(program), &format!("#!/bin/sh\nexec {} \"$@\"\n", real.display()));
    }
    let outcome = backup().env("PATH", &without).run().exited_with(1).saying("cannot start gpg");
    assert!(outcome.text().contains(&database.name), "{outcome}");
    assert_eq!(sums(&store), before);
    places.are_empty();
    assert_eq!(store.partial(), [""; 0]);
}

#[test]
fn a_key_from_a_file_serves_the_api_and_stays_out_of_its_log() {
    let server = Cluster::shared(15);
    let (store, key) = (Store::new(), random_key());
    let database = server.database("file");
    database.fill(20);
    let before = database.dump();
    let path = store.root().join("key");
    fs::write(&path, format!("{key}\n")).unwrap();
    store.hook("prints", "#!/bin/sh\necho \"told: $BACKUP_ENCRYPTION_KEY\"\n");
    let plan = Plan::new(server, &store).database(&database.name);
    let daemon = plan.env("BACKUP_ENCRYPTION_KEY_FILE", path.to_str().unwrap()).start();
    let mut answers = vec![daemon.back_up().to_string()];
    let name = store.only("last");
    assert_eq!(store.manifest("last", &name)["encrypted"], true);
    database.sql("TRUNCATE orders");
    answers
        .push(daemon.succeeded(&daemon.start_restore(&format!("last/{name}"), &database.name)).to_string());
    assert_eq!(database.dump(), before);
    answers.push(daemon.get("/config").text());
    answers.push(daemon.log());
    // Nor has gpg anything to say when all is well.
    assert!(answers.iter().all(|answer| !answer.contains(&key) && !answer.contains(" gpg: ")), "{answers:?}");
    fs::write(&path, "two\nlines\n").unwrap();
    let cli = Cli::backup(server, &store, &database.name).env("BACKUP_ENCRYPTION_KEY_FILE", &path);
    cli.run().exited_with(1).saying("BACKUP_ENCRYPTION_KEY");
}

#[test]
fn an_encrypted_dump_that_is_told_to_stop_leaves_nothing() {
    let server = Cluster::shared(15);
    let (store, key) = (Store::new(), random_key());
    let places = Places::new(&store);
    let database = server.database("stopped");
    database.fill(10);
    let hold = database.hold();
    for options in ["-Z1", "-Zzstd", "-Fc"] {
        let cli = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        let mut running = places.told(cli, &key).start();
        running.descendant("gpg");
        running.signal(Signal::SIGTERM);
        running.wait().failed();
        assert!(SLOTS.iter().all(|slot| store.names(slot).is_empty()), "{options}");
        assert_eq!(store.partial(), [""; 0], "{options}");
        places.are_empty();
    }
    drop(hold);
}
