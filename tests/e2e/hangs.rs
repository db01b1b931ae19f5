//! Runs, hooks and peers that hang: what is said of them, and what ends them.

/// Hooks that take too long, and what they leave behind.
mod hooks;
/// Runs that take longer than BACKUP_MAX_RUN_HOURS.
mod limit;
/// A peer that has gone without a word.
mod peer;

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use crate::harness::command::Outcome;
use crate::harness::*;

/// `backupgram health`, which does not ask the scheduler.
fn health(server: &Cluster, store: &Store) -> Cli {
    Cli::new(server, store)
        .args(["health"])
        .env("HEALTHCHECK_PORT", "0")
        .env("BACKUP_MAX_AGE_HOURS", "1000000")
}

/// Waits until the health check says all of this.
#[track_caller]
fn says(what: &str, check: impl Fn() -> Cli, words: &[&str]) -> Outcome {
    wait_for(what, LONG, || {
        let outcome = check().run();
        let text = outcome.text();
        let is_said = words.iter().all(|word| text.contains(word));
        (outcome.status.and_then(|status| status.code()) == Some(1) && is_said).then_some(outcome)
    })
}

/// The runs of the history, the oldest first.
fn history(store: &Store) -> Vec<Value> {
    let text = fs::read_to_string(store.path().join(".history.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The notes of runs that go on.
fn notes(store: &Store) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".run-")).collect()
}

/// The address of somebody who takes connections and never answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Waits for a backup that holds on to a table, with a session in its way.
fn held_dump(server: &Cluster, store: &Store, database: &str, options: &str) -> Cli {
    let cli = Cli::backup(server, store, database).env("POSTGRES_EXTRA_OPTS", options);
    cli.env("BACKUPGRAM_TRIGGER", "schedule")
}

#[test]
fn a_scheduled_run_that_a_hook_holds_up_is_overdue_everywhere_and_the_hook_is_named() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("overdue");
    database.fill(5);
    let brake = Brake::new(&store);
    let daemon = Plan::new(server, &store).database(&database.name).env("SCHEDULE", "@every 2s").start();
    brake.holds(1);
    let check = || {
        health(server, &store)
            .env("HEALTHCHECK_PORT", daemon.health_port.to_string())
            .env("SCHEDULE", "@every 2s")
    };
    let told = says("the run to be overdue", check, &["is overdue", "pre-backup hook brake"]);
    daemon.is_red(&["is overdue", "pre-backup hook brake"]);
    assert!(
        told.text().contains("requested by schedule") && told.text().contains("was skipped because of it"),
        "{told}"
    );
    let overdue = || daemon.metrics().get("backupgram_run_overdue", &[]);
    assert_eq!(overdue(), 1.0);
    assert!(history(&store).is_empty());
    // Nothing of it is left when it has ended, and no run is held up any more.
    fs::remove_file(store.hooks().join("brake")).unwrap();
    brake.release();
    wait_until("the run to end", LONG, || !history(&store).is_empty());
    assert_eq!(history(&store)[0]["result"], "OK");
    wait_until("nothing to be overdue", LONG, || overdue() == 0.0);
    daemon.patch(&serde_json::json!({"SCHEDULE": "@yearly"})).expect(200);
    wait_until("the last run to end", LONG, || notes(&store).is_empty());
    daemon.is_green();
}

#[test]
fn a_run_that_takes_much_longer_than_the_ones_before_is_overdue_whoever_asked_for_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("longer");
    database.fill(5);
    Cli::backup(server, &store, &database.name).run().succeeded();
    let brake = Brake::new(&store);
    let running = Cli::backup(server, &store, &database.name).start();
    brake.holds(1);
    health(server, &store).run().succeeded();
    // The run before took no time, and this one seems to have begun long ago.
    let path = notes(&store).remove(0);
    let note = fs::read_to_string(&path).unwrap();
    let start = serde_json::from_str::<Value>(&note).unwrap()["start"].as_i64().unwrap();
    let write = |start: i64| {
        // On the file itself, which is locked.
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, moved(&note, start).as_bytes()).unwrap();
    };
    write(start - 3500);
    health(server, &store).run().succeeded();
    write(start - 7300);
    let told = health(server, &store).run().exited_with(1);
    for words in ["is overdue: it has taken 2 h", "the longest of the last 10 runs took", "requested by cli"]
    {
        assert!(told.text().contains(words), "{words}\n{told}");
    }
    brake.release();
    running.wait().succeeded();
    health(server, &store).run().succeeded();
    assert!(notes(&store).is_empty());
}

fn moved(note: &str, start: i64) -> String {
    let mut running: Value = serde_json::from_str(note).unwrap();
    running["start"] = start.into();
    running.to_string()
}

#[test]
fn a_run_that_is_gone_is_not_overdue_and_its_note_goes_with_the_next_run() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("gone");
    database.fill(5);
    let brake = Brake::new(&store);
    let mut running = Cli::backup(server, &store, &database.name).start();
    brake.holds(1);
    let hook = running.descendant("cat");
    assert_eq!(notes(&store).len(), 1);
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.wait();
    // What it has started is gone with it.
    wait_until("the hook to be gone", SOON, || !hook.is_alive());
    health(server, &store).env("SCHEDULE", "* * * * * *").run().succeeded();
    fs::remove_file(store.hooks().join("brake")).unwrap();
    Cli::backup(server, &store, &database.name).run().succeeded();
    assert!(notes(&store).is_empty());
}

/// Somebody has forgotten to commit.
#[test]
fn what_a_dump_waits_for_is_named_by_table_and_holder() {
    let server = Cluster::start(15);
    let (plain, directory, prepared, whole) = (Store::new(), Store::new(), Store::new(), Store::new());
    let names = ["plain", "a dir'ectory", "prepared"];
    let databases = names.map(|name| server.database_named(name));
    databases.iter().for_each(|database| database.fill(5));
    databases[0].sql("CREATE SCHEMA \"Odd\"; CREATE TABLE \"Odd\".\"Table \"\"1\" (id int)");
    server.sql("postgres", "CREATE ROLE bob LOGIN SUPERUSER PASSWORD 'bob'");
    let login = [("PGUSER", "bob"), ("PGPASSWORD", "bob"), ("PGAPPNAME", "a migration")];
    let mut bob = databases[0].session_as(&login);
    bob.run("BEGIN; LOCK TABLE \"Odd\".\"Table \"\"1\" IN ACCESS EXCLUSIVE MODE");
    let pid = bob.run("SELECT pg_backend_pid()").remove(0);
    let hold = databases[1].hold();
    databases[2].sql("BEGIN; LOCK TABLE orders; PREPARE TRANSACTION 'forgotten'");
    let cluster = held_dump(&server, &whole, "", "").env("POSTGRES_CLUSTER", "TRUE").start();
    let runs = [
        (&plain, held_dump(&server, &plain, "plain", "-Z1").start()),
        (&directory, held_dump(&server, &directory, "\"a dir'ectory\"", "-Fd -j2").start()),
        (&prepared, held_dump(&server, &prepared, "prepared", "-Fc").start()),
        (&whole, cluster),
    ];
    let check = |store| {
        let server = &server;
        move || health(server, store).env("SCHEDULE", "* * * * * *")
    };
    let by_bob = format!(
        "dump of plain: waits for a lock on table \"Odd\".\"Table \"\"1\" held by process {pid} (user bob, application a \
         migration, for "
    );
    says("the table to be named", check(&plain), &["is overdue", &by_bob]);
    let table = "dump of a dir'ectory: waits for a lock on table public.customers held by process ";
    says("the table to be named", check(&directory), &[table, "(user backup_login, application psql, for "]);
    let table = "dump of prepared: waits for a lock on table public.orders held by a prepared transaction";
    says("the table to be named", check(&prepared), &[table]);
    says("the table to be named", check(&whole), &["dump of cluster: waits for a lock on table "]);
    // It goes on as soon as it can, and then waits for nothing.
    drop((bob, hold));
    databases[2].sql("ROLLBACK PREPARED 'forgotten'");
    for (store, run) in runs {
        run.wait().succeeded();
        assert!(notes(store).is_empty());
        check(store)().run().succeeded();
    }
}
