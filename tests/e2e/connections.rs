//! Where we connect: which database, by which of libpq's settings, and what is said where we cannot.

/// TLS, and what else libpq is told by variables of its own.
mod variables;

use std::fs;
use std::time::Instant;

use crate::harness::*;

/// A note of a killed restore, as a sweep finds it.
fn leave_journal(server: &Cluster, store: &Store) {
    let note = format!(r#"{{"server":"127.0.0.1:{}","tag":"0123456789ab"}}"#, server.port());
    fs::write(store.path().join(".restore-0123456789ab.json"), note).unwrap();
}

/// The database that it tells of.
const LEFT: &str = "_backupgram_scratch_0123456789ab";

fn the_database_postgres_is_restored_like_any_other(major: u32) {
    let (server, store) = (Cluster::start(major), Store::new());
    server.sql("postgres", "CREATE ROLE owner; ALTER DATABASE postgres OWNER TO owner");
    server.sql("postgres", "ALTER DATABASE postgres SET work_mem = '5MB'");
    server.sql("postgres", "CREATE TABLE things AS SELECT i FROM generate_series(1, 100) i");
    let row =
        "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'), setconfig FROM pg_database
               LEFT JOIN pg_db_role_setting ON setdatabase = oid WHERE datname = 'postgres'";
    let (whole, properties) = (server.dump("postgres"), server.sql("postgres", row));
    for options in ["-Z1", "-Fc", "-Ft", "-Fd"] {
        let backup = Cli::backup(&server, &store, "postgres").env("POSTGRES_EXTRA_OPTS", options);
        let file = backed_up(backup, &store);
        server.sql("postgres", "DELETE FROM things");
        let restore = |arguments: &[&str]| Cli::restore(&server, &store, &file).args(arguments);
        restore(&["--dry-run"]).run().succeeded().saying("database postgres");
        let mut session = server.session("postgres");
        session.run("SELECT 1");
        let insistent = server.insist("postgres", &[]);
        wait_until("somebody to insist", SOON, || insistent.connections() > 0);
        restore(&[]).run().succeeded();
        drop(insistent);
        assert_eq!(server.dump("postgres"), whole, "{options}");
        assert_eq!(server.sql("postgres", row), properties);
        // Nobody of ours is left in the template.
        server.sql("postgres", "CREATE DATABASE made TEMPLATE template1; DROP DATABASE made");
        server.assert_no_scratch_database_is_left();
        server.sql("postgres", "DELETE FROM things");
        restore(&["--keep-previous"]).run().succeeded();
        let kept = server.databases().into_iter().find(|name| name.starts_with("postgres_before_")).unwrap();
        assert_eq!(server.sql(&kept, "SELECT count(*) FROM things"), "0");
        server.sql("postgres", &format!("DROP DATABASE {kept}"));
    }
    let newest = format!("last/{}", store.newest("last"));
    Cli::restore(&server, &store, &newest).args(["elsewhere"]).run().succeeded();
    server.sql("postgres", "DROP TABLE things");
    server.sql("postgres", "CREATE DATABASE app");
    server.sql("app", "CREATE TABLE things (i int)");
    let before = server.dump("postgres");
    // Whatever fails: it is as it was.
    let broken = store.root().join("broken.sql");
    let plain = backed_up(Cli::backup(&server, &store, "app").env("POSTGRES_EXTRA_OPTS", "-Z0"), &store);
    let sql = store.sql("last", plain.trim_start_matches("last/"));
    fs::write(&broken, sql.replacen("CREATE TABLE", "SELECT nosuch;\nCREATE TABLE", 1)).unwrap();
    Cli::restore(&server, &store, &broken).args(["postgres"]).run().exited_with(1).saying("nosuch");
    assert_eq!(server.dump("postgres"), before);
    server.assert_no_scratch_database_is_left();
}

#[test]
fn the_database_postgres_of_15_is_restored_like_any_other() {
    the_database_postgres_is_restored_like_any_other(15);
}

#[test]
fn the_database_postgres_of_18_is_restored_like_any_other() {
    the_database_postgres_is_restored_like_any_other(18);
}

/// All that is asked of a server, where `postgres` is not to be had.
fn everything_is_done_from_template1(server: &Cluster, store: &Store, login: &[(&str, &str)], ask_in: &str) {
    let own = |cli: Cli| login.iter().fold(cli, |cli, (variable, value)| cli.env(variable, value));
    let whole = server.dump("app");
    let named = backed_up(own(Cli::backup(server, store, "app").env("BACKUP_GLOBALS", "TRUE")), store);
    let discovered = own(Cli::new(server, store).env("POSTGRES_DB_AUTODISCOVER", "TRUE").args(["backup"]));
    discovered.run().succeeded().saying("app: published");
    assert!(store.sql("last", &store.only_of("last", "globals")).contains("CREATE ROLE guest"));
    assert!(named.starts_with("last/app-"), "{named}");
    for arguments in [&["--dry-run"][..], &[], &["copy"]] {
        server.sql("app", "DELETE FROM orders");
        own(Cli::restore(server, store, &named)).args(arguments).run().succeeded();
    }
    assert_eq!(server.dump("copy"), whole);
    own(Cli::restore(server, store, &named)).run().succeeded();
    assert_eq!(server.dump("app"), whole);
    leave_journal(server, store);
    server.sql(ask_in, &format!("CREATE DATABASE {LEFT} OWNER guest"));
    own(Cli::new(server, store).args(["sweep"])).run().succeeded();
    let databases = server.sql(ask_in, "SELECT datname FROM pg_database");
    assert!(!databases.contains("_backupgram_"), "{databases}");
    server.sql(ask_in, "DROP DATABASE copy; CREATE DATABASE made TEMPLATE template1; DROP DATABASE made");
}

#[test]
fn without_connect_on_postgres_all_is_done_from_template1() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql(
        "postgres",
        "CREATE ROLE guest LOGIN CREATEDB PASSWORD 'guest'; CREATE DATABASE app OWNER guest",
    );
    server.sql("app", "SET ROLE guest; CREATE TABLE orders AS SELECT i FROM generate_series(1, 50) i");
    server.sql("postgres", "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC");
    let login = [("POSTGRES_USER", "guest"), ("POSTGRES_PASSWORD", "guest")];
    everything_is_done_from_template1(&server, &store, &login, "postgres");
    // Nor has it a right to the other: what is said is about the one that it should have.
    server.sql("postgres", "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC");
    let file = format!("last/{}", store.only_of("last", "globals"));
    let refused = login
        .iter()
        .fold(Cli::restore(&server, &store, &file), |cli, (variable, value)| cli.env(variable, value));
    let refused = refused.env("POSTGRES_CONNECT_TIMEOUT", "600").run().exited_with(1);
    assert!(refused.stderr.contains("permission denied for database \"postgres\""), "{refused}");
    // A backup of what it may connect to needs neither.
    let backup = Cli::backup(&server, &store, "app").env("POSTGRES_USER", "guest");
    backup.env("POSTGRES_PASSWORD", "guest").run().succeeded();
}

#[test]
fn without_a_database_postgres_all_is_done_from_template1() {
    let (server, store) = (Cluster::start(18), Store::new());
    server.sql("postgres", "CREATE ROLE guest; CREATE DATABASE app");
    server.sql("app", "CREATE TABLE orders AS SELECT i FROM generate_series(1, 50) i");
    server.sql("app", "ALTER DATABASE postgres RENAME TO defaultdb");
    everything_is_done_from_template1(&server, &store, &[], "defaultdb");
    let cluster = Cli::new(&server, &store).env("POSTGRES_CLUSTER", "TRUE").args(["backup"]);
    let cluster = backed_up(cluster, &store);
    assert!(store.sql("last", &store.only_of("last", "cluster")).contains("\\connect defaultdb"));
    for name in ["app", "defaultdb"] {
        server.sql("template1", &format!("DROP DATABASE {name}"));
    }
    Cli::restore(&server, &store, &cluster).args(["--dry-run"]).run().succeeded();
    Cli::restore(&server, &store, &cluster).run().succeeded();
    assert_eq!(server.sql("app", "SELECT count(*) FROM orders"), "50");
}

/// Backs up, rehearses a restore and sweeps, and sees that each says the cause in one line, at once or after waiting.
fn says(server: &Cluster, store: &Store, file: &str, variables: &[(&str, &str)], cause: &str, at_once: bool) {
    leave_journal(server, store);
    for command in ["backup", "restore", "sweep"] {
        let mut cli = match command {
            "restore" => Cli::restore(server, store, file).args(["--dry-run"]),
            command => Cli::new(server, store).env("POSTGRES_DB", "app").args([command]),
        };
        cli = cli.env("POSTGRES_CONNECT_TIMEOUT", if at_once { "600" } else { "1" });
        for (variable, value) in variables {
            cli = cli.env(variable, value);
        }
        let begun = Instant::now();
        let refused = cli.run().exited_with(1);
        let seconds = begun.elapsed().as_secs();
        assert!(seconds < 60, "{seconds} s\n{refused}");
        let said =
            if at_once { "cannot connect to the server " } else { "did not accept connections within 1 s: " };
        let line = refused.stderr.lines().find(|line| line.contains(said) && line.contains(cause));
        assert!(line.is_some(), "{command}: {variables:?}: {cause}\n{refused}");
        assert!(!refused.stderr.contains("no response"), "{refused}");
        assert!(!refused.text().contains("Is the server running"), "{refused}");
        assert!(!refused.text().contains(server.password()), "{refused}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_reported_with_the_cause() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE DATABASE app; CREATE ROLE shut LOGIN PASSWORD 'shut'");
    server.sql("postgres", "CREATE ROLE narrow LOGIN PASSWORD 'n4rr0w-pw' CONNECTION LIMIT 0");
    let file = backed_up(Cli::backup(&server, &store, "app"), &store);
    let hba = server.data().join("pg_hba.conf");
    fs::write(&hba, "host all backup_login,narrow,ghost 127.0.0.1/32 scram-sha-256\n").unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    let port = cluster::free_port().to_string();
    let passes: [(&[(&str, &str)], &str); 5] = [
        (&[("POSTGRES_HOST", "nosuch.invalid")], "could not translate host name \"nosuch.invalid\""),
        (&[("POSTGRES_PORT", &port)], "Connection refused"),
        (&[("POSTGRES_HOST", "/nonexistent")], "No such file or directory"),
        (&[("POSTGRES_HOST", "::1"), ("POSTGRES_PORT", &port)], "\"::1\""),
        (
            &[("POSTGRES_USER", "narrow"), ("POSTGRES_PASSWORD", "n4rr0w-pw")],
            "too many connections for role \"narrow\"",
        ),
    ];
    for (variables, cause) in passes {
        says(&server, &store, &file, variables, cause, false);
    }
    let stays: [(&[(&str, &str)], &str); 8] = [
        (&[("POSTGRES_HOST", "[::1]")], "\"[::1]\""),
        (&[("POSTGRES_HOST", "[::1]")], "write an IPv6 address without brackets"),
        (&[("POSTGRES_PASSWORD", "wrong")], "password authentication failed for user \"backup_login\""),
        (&[("POSTGRES_PASSWORD", "")], "no password supplied"),
        (&[("POSTGRES_USER", "ghost")], "password authentication failed for user \"ghost\""),
        (&[("POSTGRES_USER", "shut")], "no pg_hba.conf entry for host \"127.0.0.1\", user \"shut\""),
        (&[("PGSSLMODE", "require")], "server does not support SSL, but SSL was required"),
        (&[("PGSSLMODE", "nonsense")], "invalid sslmode value: \"nonsense\""),
    ];
    for (variables, cause) in stays {
        says(&server, &store, &file, variables, cause, true);
    }
}

#[test]
fn what_passes_is_waited_for() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE ROLE narrow LOGIN PASSWORD 'n4rr0w-pw' CONNECTION LIMIT 3");
    server.sql("postgres", "CREATE DATABASE app OWNER narrow");
    let login = [("PGUSER", "narrow"), ("PGPASSWORD", "n4rr0w-pw")];
    let mut app: Vec<_> = (0..3).map(|_| server.session_as("app", &login)).collect();
    app.iter_mut().for_each(|session| drop(session.run("SELECT 1")));
    let backup = Cli::backup(&server, &store, "app").env("POSTGRES_USER", "narrow");
    let running = backup.env("POSTGRES_PASSWORD", "n4rr0w-pw").env("POSTGRES_CONNECT_TIMEOUT", "120").start();
    wait_until("it to wait", SOON, || running.text().contains("too many connections for role \"narrow\""));
    drop(app);
    running.wait().succeeded();
}

#[test]
fn a_database_that_is_invalid_is_left_out_or_named() {
    let (server, store) = (Cluster::start(18), Store::new());
    server.sql("postgres", "CREATE DATABASE app; CREATE DATABASE half; CREATE DATABASE \"Half 2\"");
    let break_off = "UPDATE pg_database SET datconnlimit = -2 WHERE datname ILIKE 'half%'";
    server.sql("postgres", break_off);
    let discover = || Cli::new(&server, &store).env("POSTGRES_DB_AUTODISCOVER", "TRUE").args(["backup"]);
    let run = discover().run().succeeded();
    for name in ["half", "Half 2"] {
        let said = format!("left database {name} invalid: it is not backed up, drop it");
        assert!(run.stderr.contains(&said), "{run}");
    }
    assert!(store.only("last").starts_with("app-"));
    let quiet = discover().env("POSTGRES_DB_EXCLUDE", "half,'Half 2'").run().succeeded();
    assert!(!quiet.stderr.contains("invalid"), "{quiet}");
    let named = Cli::backup(&server, &store, "half,app").run().exited_with(1);
    let said = "half: an interrupted DROP DATABASE has left database half invalid: drop it first";
    assert!(named.stderr.contains(said) && named.stderr.contains("app: published"), "{named}");
    assert!(store.dated("last").iter().all(|name| name.starts_with("app-")));
}
