//! What a proof says of a backup, whatever its objects are called and wherever it is tried.

use super::{backed_up, manifest, nothing_is_left, prove};
use crate::harness::*;

/// What PostgreSQL 15 has written and 18 does not take: words that have become reserved, columns that have gone.
#[test]
fn a_backup_that_a_newer_major_cannot_load_is_not_broken() {
    let server = Cluster::shared(15);
    let store = Store::new();
    for (options, statement, said) in [
        ("-Z1", "CREATE FUNCTION f(json json) RETURNS int LANGUAGE sql AS 'SELECT 1'", "syntax error"),
        (
            "-Fc",
            "CREATE FUNCTION f() RETURNS TABLE(json_value int) LANGUAGE sql AS 'SELECT 1'",
            "syntax error",
        ),
        ("-Fd", "CREATE VIEW v AS SELECT buffers_backend FROM pg_stat_bgwriter", "column"),
        ("-Z1", "CREATE VIEW v AS SELECT wal_sync_time FROM pg_stat_wal", "column"),
    ] {
        let database = server.database("older");
        database.fill(5);
        database.sql(statement);
        let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        let file = backed_up(backup, &store);
        let before = manifest(&store, &file);
        let newer = prove(server, &store, &[&file]).client(18).run().exited_with(1);
        let verdict = format!("{file} cannot be proven by PostgreSQL 18: ");
        let line = newer.stderr.lines().find(|line| line.contains(&verdict));
        assert!(line.is_some_and(|line| line.contains(said)), "{statement}\n{newer}");
        assert_eq!(manifest(&store, &file), before, "{statement}");
        let table = Cli::new(server, &store).args(["list"]).run().succeeded();
        assert!(!table.stdout.contains("BROKEN"), "{table}");
        prove(server, &store, &[&file]).run().succeeded();
    }
    nothing_is_left(&store);
}

/// The most asked failure of all: functions that look for what they use in the search path, which a dump empties.
fn what_is_not_found_by_a_load_counts_against_the_backup(server: &'static Cluster) {
    let store = Store::new();
    let body = |name: &str, what: &str| {
        format!(
            "CREATE FUNCTION {name}(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {what}; END $$"
        )
    };
    for (options, setup, said) in [
        ("-Z1", body("f", "RETURN (SELECT count(*) FROM customers)"), "relation"),
        ("-Fc", format!("{}; {}", body("g", "RETURN 1"), body("f", "RETURN g($1)")), "function"),
        (
            "-Fd",
            "CREATE TYPE mood AS ENUM ('ok');".to_owned() + &body("f", "PERFORM 'ok'::mood; RETURN 1"),
            "type",
        ),
        (
            "-Ft",
            body(
                "f",
                "IF current_database() LIKE '\\_%' THEN PERFORM nosuch FROM pg_class; END IF; RETURN 1",
            ),
            "column",
        ),
    ] {
        let database = server.database("lost");
        database.fill(5);
        database.sql(&setup);
        database.sql("ALTER TABLE orders ADD CHECK (f(id) IS NOT NULL)");
        let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        let file = backed_up(backup, &store);
        let proof = prove(server, &store, &[&file]).run().exited_with(1);
        assert!(proof.stderr.contains(&format!("{file} cannot be restored: ")), "{said}\n{proof}");
        assert!(
            proof.stderr.contains(&format!("{said} ")) && proof.stderr.contains("does not exist"),
            "{proof}"
        );
        let verified = manifest(&store, &file)["verified"].clone();
        assert!(verified["error"].as_str().unwrap().starts_with("cannot be restored: "), "{verified}");
        // The restore ends the same way.
        let target = format!("{}_new", database.name);
        let restore = Cli::restore(server, &store, &file).args([&target]).run().exited_with(1);
        assert!(restore.stderr.contains("does not exist"), "{restore}");
    }
    nothing_is_left(&store);
}
on_both_servers!(what_is_not_found_by_a_load_counts_against_the_backup);

/// Settings, collations and access methods come with a machine and its server, and not with a dump.
#[test]
fn what_a_machine_lacks_does_not_count_against_a_backup_of_the_same_major() {
    let server = Cluster::shared(15);
    let store = Store::new();
    for what in [
        "PERFORM pg_catalog.current_setting('nosuch.setting')",
        "EXECUTE 'SELECT 1::text COLLATE \"xx_XX\"'",
        "EXECUTE 'CREATE TABLE pg_temp.x () USING nosuch'",
    ] {
        let database = server.database("machine");
        database.fill(5);
        database.sql(&format!(
            "CREATE FUNCTION here(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
                IF pg_catalog.current_database() LIKE '\\_backupgram\\_%' THEN {what}; END IF; RETURN 1; END $$;
             ALTER TABLE orders ADD CHECK (here(id) = 1)"
        ));
        let file = backed_up(Cli::backup(server, &store, &database.name), &store);
        let proof = prove(server, &store, &[&file]).run().exited_with(1);
        assert!(proof.stderr.contains(&format!("{file} cannot be proven here: ")), "{what}\n{proof}");
        assert_eq!(manifest(&store, &file)["verified"]["by"], "checksum", "{what}");
    }
    nothing_is_left(&store);
}

/// Tables, indexes and event triggers whose names nobody would choose, in databases of every kind of encoding.
fn whatever_things_are_called_they_are_counted_and_looked_at(server: &'static Cluster) {
    let store = Store::new();
    for (options, encoding, odd) in [
        ("-Z1", "SQL_ASCII", r"'\xe9ff'"),
        ("-Fc", "LATIN1", r"'\xe9df'"),
        ("-Z1", "EUC_JP", r"'\xc6fccbdc'"),
        ("-Fd", "UTF8", r"'\xc3a9e29883'"),
    ] {
        let name = format!("odd_{}_{}", encoding.to_lowercase(), server.major());
        let made = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        );
        server.sql("postgres", &made);
        server.sql(
            &name,
            &format!(
                r#"SET client_encoding = '{encoding}';
                CREATE FUNCTION quiet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
                DO $do$ DECLARE name text; BEGIN
                    FOREACH name IN ARRAY ARRAY[convert_from({odd}, '{encoding}'), E'new\nline', 'quo"te', 'it''s',
                        '%s %I 100%', 'back\slash', ':variable', ';', '\gexec', ' ']
                    LOOP
                        EXECUTE format('CREATE TABLE %I (id int CONSTRAINT %I PRIMARY KEY)', name, name || ' key');
                        EXECUTE format('INSERT INTO %I SELECT generate_series(1, 3)', name);
                        EXECUTE format('CREATE EVENT TRIGGER %I ON ddl_command_end EXECUTE FUNCTION quiet()', name);
                    END LOOP;
                END $do$;"#
            ),
        );
        let backup = Cli::backup(server, &store, &name).env("POSTGRES_EXTRA_OPTS", options);
        let file = backed_up(backup, &store);
        prove(server, &store, &[&file]).run().succeeded();
        let verified = manifest(&store, &file)["verified"].clone();
        let found = ["tables", "rows", "indexes"].map(|what| verified[what].as_u64().unwrap());
        assert_eq!(found, [10, 30, 10], "{encoding}: {verified}");
        server.sql("postgres", &format!("DROP DATABASE {name}"));
    }
    nothing_is_left(&store);
}
on_both_servers!(whatever_things_are_called_they_are_counted_and_looked_at);

/// What is meant for the server that is backed up would keep us from the one of the proof.
#[test]
fn a_proof_takes_no_variables_of_libpq() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("variables");
    database.fill(5);
    let file = backed_up(Cli::backup(server, &store, &database.name), &store);
    for (variable, value) in [
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGOPTIONS", "-c default_transaction_read_only=on"),
        ("PGCLIENTENCODING", "nonsense"),
        ("PGGSSENCMODE", "require"),
    ] {
        prove(server, &store, &[&file]).env(variable, value).run().succeeded();
    }
    nothing_is_left(&store);
}
