//! A peer that has gone without a word.

use std::time::{Duration, Instant};

use super::{health, history, says};
use crate::harness::*;

/// What keepalives and tcp_user_timeout take, and some time for a slow machine.
const GIVEN_UP: Duration = Duration::from_secs(120 + 60);

#[test]
fn a_dump_whose_server_has_gone_without_a_word_is_given_up_after_two_minutes() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("cut");
    database.fill(5);
    let Some(network) = Network::to(server) else { return };
    let hold = database.hold();
    let (host, port) = network.address();
    let [program, words @ ..] = network.words();
    let mut cli = Cli::of_program(program, &store).args(words);
    cli = cli.args([env!("CARGO_BIN_EXE_backupgram"), "backup"]);
    for (key, value) in command::settings(server, &store) {
        cli = cli.env(&key, value);
    }
    let cli = cli.env("POSTGRES_HOST", &host).env("POSTGRES_PORT", port.to_string());
    let mut running = cli.env("POSTGRES_DB", &database.name).env("BACKUPGRAM_TRIGGER", "schedule").start();
    let dump = running.descendant("pg_dump");
    wait_until("pg_dump to wait for the table", SOON, || {
        let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                       AND wait_event_type = 'Lock'";
        database.sql(waiting) == "t"
    });
    network.cut();
    let begun = Instant::now();
    drop(hold);
    let port = port.to_string();
    let check = || {
        let check = health(server, &store).env("POSTGRES_HOST", &host).env("POSTGRES_PORT", &port);
        check.env("SCHEDULE", "* * * * * *")
    };
    says("the silence to be told", check, &["is overdue", "the server does not answer the query"]);
    assert!(dump.is_alive());
    wait_until("the dump to be given up", GIVEN_UP, || running.poll().is_some());
    let outcome = running.wait().exited_with(1);
    assert!(begun.elapsed() < GIVEN_UP, "{:?}", begun.elapsed());
    assert!(
        outcome.text().contains("Connection timed out") || outcome.text().contains("timed out"),
        "{outcome}"
    );
    assert_eq!(store.status()["status"], "FAILED");
    assert_eq!(history(&store)[0]["result"], "FAILED");
    let plan = Plan::new(server, &store).database(&database.name);
    plan.env("POSTGRES_HOST", &host)
        .env("POSTGRES_PORT", &port)
        .start()
        .is_red(&["the last backup failed: "]);
}

#[test]
fn every_program_of_postgresql_gives_up_a_silent_peer_and_no_name_leads_elsewhere() {
    let server = Cluster::shared(18);
    let store = Store::new();
    // Each would be taken for a connection string, or breaks one.
    for name in ["host=nosuch.invalid", "it's \\ \"odd\"", "postgresql://nosuch.invalid/x"] {
        let database = server.database_named(&format!("{name} {}", cluster::random_hex(4)));
        database.fill(5);
        let whole = database.dump();
        let quoted = format!("\"{}\"", database.name.replace('"', "\"\""));
        for options in ["-Z1", "-Fc"] {
            let script = "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"$BACKUP_DIR/../arguments\"\n\
                          PATH=${PATH#*:} exec \"${0##*/}\" \"$@\"\n";
            for program in ["psql", "pg_dump", "pg_restore", "pg_isready"] {
                command::path_with_program(server, &store, program, script);
            }
            let path = command::path_with_program(server, &store, "pg_dumpall", script);
            let slot = store.names("last");
            let backup = Cli::backup(server, &store, &quoted).env("POSTGRES_EXTRA_OPTS", options);
            backup.env("BACKUP_GLOBALS", "TRUE").env("PATH", &path).run().succeeded();
            let new: Vec<String> =
                store.names("last").into_iter().filter(|name| !slot.contains(name)).collect();
            let file =
                new.iter().find(|name| !name.starts_with("globals") && !name.contains("-latest")).unwrap();
            database.sql("DELETE FROM orders");
            Cli::restore(server, &store, format!("last/{file}")).env("PATH", &path).run().succeeded();
            assert_eq!(database.dump(), whole);
        }
    }
    let arguments = std::fs::read_to_string(store.root().join("arguments")).unwrap();
    let connecting = arguments.lines().filter(|line| line.contains("dbname="));
    assert!(connecting.clone().count() > 50, "{arguments}");
    for line in connecting {
        let words = "keepalives=1 keepalives_idle=60 keepalives_interval=10 keepalives_count=6 tcp_user_timeout=120000";
        assert!(line.contains(words), "{line}");
        assert!(!line.contains(server.password()), "{line}");
    }
}
