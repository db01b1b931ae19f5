//! Through pgbouncer, which takes no options at startup and may change sessions between two statements.

use std::fs;

use crate::harness::*;

const KEY: &str = "k3y";
const SESSION: &str = "pool_mode = session";
const TRANSACTION: &str = "pool_mode = transaction";

/// The options of every format, and the key that it is encrypted with, if it is.
const KINDS: [(&str, &str); 7] =
    [("-Z1", ""), ("-Z zstd:1", ""), ("-Fc", ""), ("-Ft", ""), ("-Fd -j2", ""), ("-Z1", KEY), ("-Fc", KEY)];

#[track_caller]
fn backed_up(cli: Cli, store: &Store) -> String {
    let known = store.dated("last");
    cli.run().succeeded().saying("rejects startup options");
    let new = store.dated("last").into_iter().find(|name| !known.contains(name));
    format!("last/{}", new.expect("a new backup"))
}

fn every_format_goes_and_comes_back_through_it(major: u32, settings: &str) {
    let server = Cluster::shared(major);
    let store = Store::new();
    let database = server.database("pooled");
    fixture::fill_with_everything(&database);
    let whole = database.dump();
    let pooler = Pooler::start(server, settings, &[]);
    let port = pooler.port();
    // Every other kind through the one pooler, and the rest through the other.
    for (options, key) in KINDS.into_iter().skip(usize::from(major == 15)).step_by(2) {
        let own = |cli: Cli| cli.env("POSTGRES_PORT", &port).env("BACKUP_ENCRYPTION_KEY", key);
        let backup = own(Cli::backup(server, &store, &database.name)).env("POSTGRES_EXTRA_OPTS", options);
        let file = backed_up(backup, &store);
        database.sql("DELETE FROM orders; DROP SCHEMA \"the \"\"other\"\" schema\" CASCADE");
        let restore = |arguments: &[&str]| {
            let said = own(Cli::restore(server, &store, &file)).args(arguments).run().succeeded();
            said.saying("rejects startup options")
        };
        restore(&["--dry-run"]);
        restore(&[]);
        assert_eq!(database.dump(), whole, "{options}");
        let copy = format!("{}_copy", database.name);
        restore(&[&copy]);
        assert_eq!(server.dump(&copy), whole, "{options}");
        server.sql("postgres", &format!("DROP DATABASE {copy} WITH (FORCE)"));
    }
    server.assert_no_scratch_database_is_left();
}

#[test]
fn every_format_comes_back_through_a_pooler_of_sessions() {
    every_format_goes_and_comes_back_through_it(15, SESSION);
}

#[test]
fn every_format_comes_back_through_a_pooler_of_transactions() {
    every_format_goes_and_comes_back_through_it(18, TRANSACTION);
}

/// Settings of a role that keep it from writing, or from taking its time, unless the session says otherwise.
#[test]
fn settings_of_the_role_give_way_through_every_kind_of_pooler() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE ROLE guest LOGIN CREATEDB PASSWORD 'guest'");
    server.sql("postgres", "CREATE DATABASE app OWNER guest");
    server.sql("app", "SET ROLE guest; CREATE TABLE slow AS SELECT i FROM generate_series(1, 50) i");
    // Longer than the role has for a statement.
    server.sql(
        "app",
        "SET ROLE guest; CREATE FUNCTION wait(int) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_catalog.pg_sleep(0.02); RETURN true; END $$;
         ALTER TABLE slow ADD CHECK (wait(i))",
    );
    let whole = server.dump("app");
    server.sql("postgres", "ALTER ROLE guest SET default_transaction_read_only = on");
    server.sql("postgres", "ALTER ROLE guest SET statement_timeout = '500ms'");
    let ignoring = format!("{SESSION}\nignore_startup_parameters = options");
    for settings in [SESSION, TRANSACTION, &ignoring] {
        let pooler = Pooler::start(&server, settings, &[("guest", "guest")]);
        let own = |cli: Cli| {
            let cli = cli.env("POSTGRES_PORT", pooler.port()).env("POSTGRES_USER", "guest");
            cli.env("POSTGRES_PASSWORD", "guest")
        };
        for options in ["-Z1", "-Fc"] {
            let backup = own(Cli::backup(&server, &store, "app")).env("POSTGRES_EXTRA_OPTS", options);
            let file = backed_up(backup, &store);
            server.sql("app", "DELETE FROM slow");
            own(Cli::restore(&server, &store, &file)).run().succeeded();
            assert_eq!(server.dump("app"), whole, "{settings} {options}");
        }
    }
}

#[test]
fn a_whole_server_its_roles_and_the_sweep_go_through_a_pooler() {
    for settings in [SESSION, TRANSACTION] {
        let (server, store) = (Cluster::start(15), Store::new());
        server.sql("postgres", "CREATE ROLE reader; CREATE DATABASE app");
        server.sql("app", "CREATE TABLE things AS SELECT i FROM generate_series(1, 50) i");
        let pooler = Pooler::start(&server, settings, &[]);
        let own = |cli: Cli| cli.env("POSTGRES_PORT", pooler.port());
        let whole = server.dump("app");
        let cluster = own(Cli::new(&server, &store)).env("POSTGRES_CLUSTER", "TRUE").args(["backup"]);
        let cluster = backed_up(cluster, &store);
        let discovered = own(Cli::new(&server, &store)).env("POSTGRES_DB_AUTODISCOVER", "TRUE");
        discovered.env("BACKUP_GLOBALS", "TRUE").args(["backup"]).run().succeeded();
        server.sql("postgres", "DROP DATABASE app WITH (FORCE)");
        server.sql("postgres", "DROP ROLE reader");
        own(Cli::restore(&server, &store, &cluster)).run().succeeded();
        assert_eq!(server.dump("app"), whole, "{settings}");
        let note = format!(r#"{{"server":"127.0.0.1:{}","tag":"0123456789ab"}}"#, pooler.port());
        fs::write(store.path().join(".restore-0123456789ab.json"), note).unwrap();
        server.sql("postgres", "CREATE DATABASE _backupgram_scratch_0123456789ab");
        own(Cli::new(&server, &store)).args(["sweep"]).run().succeeded();
        server.assert_no_scratch_database_is_left();
    }
}

#[test]
fn a_pooler_that_knows_no_new_database_leaves_no_scratch_database() {
    let (server, store) = (Cluster::start(15), Store::new());
    let database = server.database_named("app");
    database.fill(5);
    let whole = database.dump();
    let pooler = Pooler::start_for(&server, &["postgres", "app"], SESSION, &[]);
    let file = backed_up(Cli::backup(&server, &store, "app").env("POSTGRES_PORT", pooler.port()), &store);
    let refused =
        Cli::restore(&server, &store, &file).env("POSTGRES_PORT", pooler.port()).run().exited_with(1);
    assert!(refused.stderr.contains("no such database: _backupgram_scratch_"), "{refused}");
    assert_eq!(database.dump(), whole);
    assert!(!server.databases().iter().any(|name| name.starts_with("_backupgram_")), "{refused}");
}

/// A dump says once where tables go and who makes them, and a session that it has not told does not know.
#[test]
fn a_pooler_that_changes_sessions_within_a_load_ends_the_restore() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("changed");
    database.fill(50);
    database.sql(
        "CREATE FUNCTION wait(int) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_catalog.pg_sleep(0.05); RETURN true; END $$;
         ALTER TABLE orders ADD CHECK (wait(id))",
    );
    for options in ["-Z1", "-Fc"] {
        let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        backup.run().succeeded();
        let file = format!("last/{}", store.newest("last"));
        let whole = database.dump();
        for (mode, status) in [(TRANSACTION, 1), (SESSION, 0)] {
            let pooler = Pooler::start(server, &format!("{mode}\nserver_lifetime = 1"), &[]);
            let restore = Cli::restore(server, &store, &file).env("POSTGRES_PORT", pooler.port());
            let ended = restore.run().exited_with(status);
            let said = ended.stderr.contains("a pooler changed the session during the load");
            assert_eq!(said, status == 1, "{ended}");
            assert_eq!(database.dump(), whole, "{options}");
        }
    }
    server.assert_no_scratch_database_is_left();
}

/// What the pooler keeps open in the target, of whatever client, does not outlast its exchange.
#[test]
fn sessions_that_a_pooler_keeps_are_ended_like_others() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("kept");
    database.fill(50);
    let whole = database.dump();
    for settings in [SESSION, TRANSACTION] {
        // Else it sends everybody away for a while whom it has brought to the target in the moment of the exchange.
        let pooler = Pooler::start(server, &format!("{settings}\nserver_login_retry = 1"), &[]);
        let port = pooler.port();
        let login = [("PGPORT", port.as_str())];
        let insistent = server.insist(&database.name, &login);
        wait_until("somebody to insist", SOON, || insistent.connections() > 0);
        let file = backed_up(Cli::backup(server, &store, &database.name).env("POSTGRES_PORT", &port), &store);
        database.sql("DELETE FROM orders");
        let mut sessions: Vec<_> = (0..5).map(|_| database.session_as(&login)).collect();
        sessions.iter_mut().for_each(|session| drop(session.run("BEGIN; SELECT count(*) FROM orders")));
        Cli::restore(server, &store, &file).env("POSTGRES_PORT", &port).run().succeeded();
        assert_eq!(database.dump(), whole, "{settings}");
    }
    server.assert_no_scratch_database_is_left();
}

#[test]
fn what_a_pooler_says_is_told_apart() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE DATABASE app");
    server.sql("app", "ALTER DATABASE postgres RENAME TO defaultdb");
    let pooler = Pooler::start(&server, SESSION, &[]);
    let backup = || Cli::backup(&server, &store, "app").env("POSTGRES_PORT", pooler.port());
    let wrong = backup().env("POSTGRES_PASSWORD", "wrong").env("POSTGRES_CONNECT_TIMEOUT", "600").run();
    wrong.exited_with(1).saying("password authentication failed");
    // Another database stands in for the one that is not there.
    let file = backed_up(backup(), &store);
    Cli::restore(&server, &store, &file).env("POSTGRES_PORT", pooler.port()).run().succeeded();
    // The server behind it comes back.
    server.stop();
    let down = backup().env("POSTGRES_CONNECT_TIMEOUT", "1").run().exited_with(1);
    assert!(down.stderr.contains("did not accept connections within 1 s: "), "{down}");
}
