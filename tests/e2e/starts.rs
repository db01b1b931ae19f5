//! What killed runs have left is gone after the next start, with the API and without it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;

const KEY: &str = "a key of the tests";

/// The notes of restores in a backup directory.
fn journals(store: &Store) -> Vec<String> {
    let names = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(".restore-")).collect()
}

/// A directory dump of a database in an encrypted tar archive, which has to be unpacked to be restored.
fn archived(server: &Cluster, store: &Store, database: &Database<'_>) -> PathBuf {
    Cli::backup(server, store, &database.name).env("POSTGRES_EXTRA_OPTS", "-Fd").run().succeeded();
    let (packed, path) = (store.root().join("dump.tar.gz"), store.root().join("dump.tar.gz.gpg"));
    let directory = store.file("last", &store.only("last"));
    let tar = Cli::of_program("tar", store).args(["-czf"]).args([&packed]).args(["-C"]).args([directory]);
    tar.args(["."]).run().succeeded();
    fs::write(&path, gnupg::encrypted(&packed, KEY)).unwrap();
    path
}

/// Kills a restore with all that it has started, as the end of a container does, when its dump lies unpacked and its
/// database is full. Answers the database.
fn kill_restore(
    server: &Cluster,
    store: &Store,
    file: &PathBuf,
    target: &str,
    gate: &cluster::Gate,
) -> String {
    let restore = Cli::restore(server, store, file).args([target]);
    let mut running = restore.env("BACKUP_ENCRYPTION_KEY", KEY).start();
    wait_until("the restore to reach the gate", LONG, || {
        assert!(running.poll().is_none(), "it ended: {}", running.text());
        gate.is_waited_for(server)
    });
    let family = Process::descendants(running.pid());
    running.signal(Signal::SIGKILL);
    family.iter().for_each(|process| process.signal(Signal::SIGKILL));
    running.wait().failed();
    let unpacked = store.path().join(".partial").join(&store.partial()[0]);
    assert!(unpacked.join("toc.dat").exists(), "{unpacked:?}");
    assert_eq!(fs::metadata(&unpacked).unwrap().permissions().mode() & 0o777, 0o700);
    let journal = journals(store).pop().expect("a note of the restore");
    let tag = journal.trim_start_matches(".restore-").trim_end_matches(".json");
    let scratch = format!("_backupgram_scratch_{tag}");
    assert!(server.databases().contains(&scratch), "{:?}", server.databases());
    scratch
}

#[test]
fn a_start_removes_what_a_killed_restore_has_left_and_nothing_else() {
    let (server, store) = (Cluster::start(15), Store::new());
    let database = server.database_named("app");
    database.fill(500);
    let gate = database.gate();
    let file = archived(&server, &store, &database);
    let before = database.dump();
    gate.shut();
    for with_api in [true, false] {
        let scratch = kill_restore(&server, &store, &file, &database.name, &gate);
        // One of a stranger, who has come upon the very same tag.
        let stranger = format!("{scratch}_7");
        server.sql("postgres", &format!("CREATE DATABASE {stranger}"));
        server.sql(&stranger, "CREATE TABLE theirs AS SELECT 1 AS x");
        let is_clean = || {
            let is_there = server.databases().contains(&scratch);
            store.partial().is_empty() && journals(&store).is_empty() && !is_there
        };
        let log = if with_api {
            let mut daemon = Plan::new(&server, &store).database(&database.name).start();
            wait_until("the daemon's start to clear away", SOON, is_clean);
            wait_until("the sweep to say so", SOON, || daemon.log().contains("dropped what"));
            daemon.stop();
            daemon.log()
        } else {
            let init = Cli::init(&server, &store).env("POSTGRES_DB", &database.name);
            let running = init.env("HEALTHCHECK_PORT", "0").start();
            wait_until("the scheduler's start to clear away", SOON, is_clean);
            wait_until("both to say so", SOON, || {
                ["schedule @yearly, next run", "dropped what"]
                    .iter()
                    .all(|said| running.text().contains(said))
            });
            running.signal(Signal::SIGTERM);
            running.wait().succeeded().text()
        };
        assert!(log.contains("removed 1 unfinished files of killed runs"), "{log}");
        assert!(log.contains(&format!("dropped what a killed restore left: {scratch}")), "{log}");
        assert!(log.contains(&format!("database {stranger} has a name that backupgram uses")), "{log}");
        assert!(server.databases().contains(&stranger), "{:?}", server.databases());
        assert_eq!(database.dump(), before);
    }
}

/// Makes what a killed restore leaves on a server, and answers its name.
fn leave_scratch(server: &Cluster, store: &Store, port: u16) -> &'static str {
    let note = format!(r#"{{"server":"127.0.0.1:{port}","tag":"0123456789ab"}}"#);
    fs::write(store.path().join(".restore-0123456789ab.json"), note).unwrap();
    let name = "_backupgram_scratch_0123456789ab";
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    server.sql("postgres", &format!("COMMENT ON DATABASE {name} IS 'backupgram loads a backup into this'"));
    name
}

#[test]
fn a_sweep_holds_up_neither_a_start_nor_a_stop_and_a_run_that_meets_it_waits() {
    let (server, store) = (Cluster::start(15), Store::new());
    let database = server.database_named("app");
    database.fill(5);
    let scratch = leave_scratch(&server, &store, server.port());
    // Makes DROP DATABASE wait, and nothing else.
    let other = server.database_named("other");
    let mut session = other.session();
    session.run(&format!("BEGIN; COMMENT ON DATABASE {scratch} IS 'backupgram'"));
    let mut daemon = Plan::new(&server, &store).database(&database.name).start();
    let drops =
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DROP DATABASE%' AND wait_event = 'object'";
    let drop_of_sweep = wait_for("the sweep to drop the database", SOON, || {
        Some(server.sql("postgres", drops)).filter(|pid| !pid.is_empty())
    });
    assert_eq!(daemon.status()["scheduler"]["state"], "running");
    let job = daemon.start_backup();
    daemon.reached(&job, "running");
    let mut backup = Cli::backup(&server, &store, &database.name).start();
    wait_until("the backup to wait", SOON, || {
        assert!(backup.poll().is_none(), "it ended: {}", backup.text());
        backup.text().contains("waiting: a sweep is running")
    });
    let family = Process::descendants(daemon.pid());
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!family.iter().any(Process::is_alive), "{family:?}");
    assert_eq!(journals(&store).len(), 1, "what it has not done is left to the next run");
    server.sql("postgres", &format!("SELECT pg_terminate_backend({drop_of_sweep})"));
    drop(session);
    backup.wait().succeeded();
    assert!(!server.databases().iter().any(|name| name == scratch), "{:?}", server.databases());
    assert_eq!(journals(&store), [""; 0]);
}

#[test]
fn what_a_sweep_cannot_do_keeps_no_scheduler_from_its_start() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let init = || {
        let init = Cli::init(server, &store).env("POSTGRES_DB", "app").env("POSTGRES_CONNECT_TIMEOUT", "0");
        init.env("HEALTHCHECK_PORT", "0")
    };
    let stays_up = |cli: Cli, said: &str| {
        let mut running = cli.start();
        wait_until(&format!("the scheduler to run, and a line about {said}"), SOON, || {
            ["schedule @yearly, next run", said].iter().all(|said| running.text().contains(said))
        });
        assert!(running.poll().is_none(), "{}", running.text());
        running.signal(Signal::SIGTERM);
        running.wait().succeeded();
    };
    let port = cluster::free_port();
    let note = format!(r#"{{"server":"127.0.0.1:{port}","tag":"0123456789ab"}}"#);
    fs::write(store.path().join(".restore-0123456789ab.json"), note).unwrap();
    let missing = init().env("POSTGRES_PORT", port.to_string());
    stays_up(
        missing,
        "cannot remove what a killed restore left on the server; the next run tries again: the server 127.0.0.1",
    );
    assert_eq!(journals(&store).len(), 1);
    fs::remove_dir(store.path().join(".partial")).unwrap();
    fs::write(store.path().join(".partial"), "in the way").unwrap();
    stays_up(init(), ".partial is not a directory");
}
