//! A restore that goes on after errors, or searches schemas while it loads.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::*;

const KEY: &str = "k3y of ours";

/// Backs a database up, and answers `SLOT/NAME`.
fn backed_up(server: &Cluster, store: &Store, database: &Database<'_>, options: &str, key: &str) -> String {
    let known = store.dated("last");
    let backup = Cli::backup(server, store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
    backup.env("BACKUP_ENCRYPTION_KEY", key).run().succeeded();
    let new = store.dated("last").into_iter().find(|name| !known.contains(name)).unwrap();
    format!("last/{new}")
}

/// The lines of the log that tell of a statement that failed.
fn failures(outcome: &impl ToString) -> Vec<String> {
    let text = outcome.to_string();
    text.lines().filter_map(|line| line.strip_prefix("warning: failed: ")).map(String::from).collect()
}

/// Things of which some cannot be loaded, as their functions find nothing without a search path; and a table that
/// cannot be made where something else has its name.
const FAILING: &str = "
    CREATE TABLE a_lookup (id int PRIMARY KEY);
    INSERT INTO a_lookup VALUES (1), (2), (3);
    CREATE FUNCTION found(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN RETURN EXISTS (SELECT FROM a_lookup WHERE id = $1); END $$;
    CREATE TABLE checked (id int CHECK (found(id)), note text);
    INSERT INTO checked VALUES (1, 'DROP TABLE a_lookup;'), (2, '\\connect postgres');
    CREATE TABLE indexed (id int); CREATE INDEX by_found ON indexed (found(id)); INSERT INTO indexed VALUES (1);
    CREATE TABLE taken (id int, note text);
    INSERT INTO taken SELECT i, 'DROP TABLE a_lookup;' FROM generate_series(1, 3) i;
    CREATE TABLE viewed (note text);
    INSERT INTO viewed VALUES ('DROP TABLE a_lookup;'), (''';'), ('COPY a_lookup FROM stdin;');
    CREATE TABLE zoo (id int);
    INSERT INTO zoo SELECT generate_series(1, 7);";
/// What has the names of two tables: a COPY into each fails at its start.
const TAKEN: &str =
    "CREATE TYPE public.taken AS (x int);\nCREATE VIEW public.viewed AS SELECT 'x'::text AS note;\n";

fn a_restore_goes_on_after_errors_and_tells_each(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("failing");
    database.sql(FAILING);
    let before = store.root().join("before.sql");
    fs::write(&before, TAKEN).unwrap();
    let target = format!("{}_new", database.name);
    for (options, key) in [("-Z1", ""), ("-Fc", ""), ("-Fd -j2", ""), ("-Ft", ""), ("-Z0", KEY), ("-Fc", KEY)]
    {
        let what = format!("{options} {key}");
        let file = backed_up(server, &store, &database, options, key);
        let restore = |more: &[&str]| {
            let restore =
                Cli::restore(server, &store, &file).env("BACKUP_ENCRYPTION_KEY", key).args([&target]);
            restore.args(more)
        };
        let rest = restore(&["--keep-going", "--before"]).args([&before]).run().exited_with(3);
        let failed = failures(&rest.text());
        let last = rest.stderr.lines().last().unwrap();
        assert_eq!(
            last,
            format!("error: restored into {target} with {} errors", failed.len()),
            "{what}\n{rest}"
        );
        let of = |words: &str| failed.iter().filter(|line| line.contains(words)).count();
        // What is there already, its rows, the rows that a check refuses, and the index.
        for words in [
            "relation \"taken\" already exists",
            "relation \"viewed\" already exists",
            "relation \"a_lookup\" does not exist",
        ] {
            assert!(of(words) > 0, "{words} {what}\n{rest}");
        }
        assert_eq!(of("syntax error") + of("invalid command") + of("backslash"), 0, "{what}\n{rest}");
        let is_sql = options.starts_with("-Z");
        for line in &failed {
            assert!(line.starts_with(if is_sql { "line " } else { "entry " }), "{what}: {line}");
            assert_eq!(line.matches("ERROR: ").count(), 1, "{line}");
            assert!(!line.contains("Command was"), "{line}");
        }
        if is_sql {
            tells_the_right_lines(&store, &file, key, &failed);
        } else {
            let copy = failed.iter().find(|line| line.contains("cannot copy to view")).unwrap();
            assert!(copy.contains("TABLE DATA") && copy.contains("viewed"), "{copy}");
        }
        assert_eq!(server.sql(&target, "SELECT count(*) FROM a_lookup"), "3", "{what}");
        assert_eq!(server.sql(&target, "SELECT count(*) FROM zoo"), "7", "{what}");
        assert_eq!(server.sql(&target, "SELECT count(*) FROM checked"), "0", "{what}");
        assert_eq!(server.sql(&target, "SELECT note FROM viewed"), "x", "{what}");

        // Not over what is there, by command, by dry run and by the API.
        let refusal = "loads only into a new database";
        for more in
            [&["--keep-going"][..], &["--keep-going", "--dry-run"], &["--keep-going", "--keep-previous"]]
        {
            restore(more).run().exited_with(1).saying(refusal);
        }
        server.sql("postgres", &format!("DROP DATABASE {target}"));
    }
    server.assert_no_scratch_database_is_left();
}
on_both_servers!(a_restore_goes_on_after_errors_and_tells_each);

/// Each line that is told holds the statement that has failed, or is the end of the rows that have.
#[track_caller]
fn tells_the_right_lines(store: &Store, file: &str, key: &str, failed: &[String]) {
    let path = store.path().join(file);
    let sql = match key {
        "" => read_dump(&path).unwrap(),
        key => decrypted(&path, key),
    };
    let lines: Vec<&str> = sql.lines().collect();
    for (words, holds) in [
        ("relation \"a_lookup\" does not exist", "\\."),
        ("cannot copy to view \"viewed\"", "COPY public.viewed (note) FROM stdin;"),
        ("relation \"taken\" already exists", ");"),
    ] {
        let told =
            failed.iter().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {failed:#?}"));
        let number = told.strip_prefix("line ").unwrap().split(':').next().unwrap();
        let number: usize = number.parse().unwrap();
        assert_eq!(lines[number - 1], holds, "{told}");
    }
    // The last one stands behind rows that were left out.
    let view = failed.iter().rfind(|line| line.contains("relation \"a_lookup\" does not exist")).unwrap();
    let number: usize = view.strip_prefix("line ").unwrap().split(':').next().unwrap().parse().unwrap();
    assert_eq!(
        lines[number - 1],
        "CREATE INDEX by_found ON public.indexed USING btree (public.found(id));",
        "{view}"
    );
}

fn decrypted(path: &Path, key: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new("gpg")
        .env("GNUPGHOME", home.path())
        .args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", key, "--decrypt"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_job_of_a_restore_with_errors_fails_and_says_into_what() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("by_api");
    database.sql(FAILING);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let new = format!("{}_new", database.name);
    for (options, errors) in [("-Z1", 2), ("-Fc", 2)] {
        let file = backed_up(server, &store, &database, options, "");
        let body = json!({"file": file, "target_db": new, "confirm": true, "keep_going": true});
        let job = daemon.failed(&job_id(&daemon.post("/restore", &body).expect(202)));
        assert_eq!(job["error"], format!("restored into {new} with {errors} errors"), "{job:#}");
        assert_eq!(job["exit_code"], 3);
        let log = job["log_tail"].as_array().unwrap();
        let told = log.iter().filter(|line| line.as_str().unwrap().starts_with("warning: failed: ")).count();
        assert_eq!(told, errors, "{job:#}");
        let job = daemon.failed(&job_id(&daemon.post("/restore", &body).expect(202)));
        assert!(job["error"].as_str().unwrap().contains("loads only into a new database"), "{job:#}");
        server.sql("postgres", &format!("DROP DATABASE {new}"));
        // With a search path nothing fails, and with nothing that fails it has succeeded.
        let body = json!({"file": file, "target_db": new, "confirm": true, "keep_going": true,
                          "search_path": "public"});
        daemon.succeeded(&job_id(&daemon.post("/restore", &body).expect(202)));
        assert_eq!(server.dump(&new), database.dump());
        server.sql("postgres", &format!("DROP DATABASE {new}"));
    }
    for (field, bad) in [
        ("keep_going", json!(null)),
        ("search_path", json!("")),
        ("search_path", json!("a\nb")),
        ("search_path", json!(null)),
        ("keep_going", json!("yes")),
    ] {
        daemon
            .post("/restore", &json!({"file": "last/x", "target_db": new, "confirm": true, field: bad}))
            .expect(400);
    }
}

/// One error each, of the SQLSTATEs 42P01, 42883, 42703 and 42704, and others.
#[test]
fn a_load_that_finds_a_name_nowhere_says_what_helps() {
    let (server, store) = (Cluster::shared(18), Store::new());
    let function = |body: &str| {
        format!(
            "CREATE FUNCTION app.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {body}; END $$;"
        )
    };
    let checked = "CREATE TABLE app.checked (id int CHECK (app.f(id))); INSERT INTO app.checked VALUES (1);";
    let cases = [
        ("relation", function("RETURN EXISTS (SELECT FROM a_lookup)"), true),
        ("function", function("RETURN g($1)"), true),
        ("operator", function("RETURN $1 === 1"), true),
        ("column", function("RETURN (SELECT (l).size > 0 FROM app.a_lookup l LIMIT 1)"), true),
        ("type", function("RETURN 'ok'::mood = 'ok'::mood"), true),
        (
            "error",
            function(
                "IF current_schemas(false) = '{}' THEN RAISE 'size does not exist'; END IF; RETURN true",
            ),
            false,
        ),
        (
            "schema",
            function("IF current_schemas(false) = '{}' THEN PERFORM nosuch.f(1); END IF; RETURN true"),
            false,
        ),
    ];
    for (at, (name, function, is_unresolved)) in cases.into_iter().enumerate() {
        let database = server.database(&format!("lost_{name}"));
        database.sql(&format!(
            "CREATE SCHEMA app; SET search_path = app;
             CREATE TABLE a_lookup (id int); INSERT INTO a_lookup VALUES (1);
             CREATE FUNCTION size(a_lookup) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
             CREATE FUNCTION g(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
             CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
             CREATE TYPE mood AS ENUM ('ok'); {function} {checked}"
        ));
        let target = format!("{}_new", database.name);
        let options = ["-Z1", "-Fc", "-Ft"][at % 3];
        let file = backed_up(server, &store, &database, options, "");
        let restore = |more: &[&str]| Cli::restore(server, &store, &file).args([&target]).args(more).run();
        let failed = restore(&[]).exited_with(1);
        let error = failed.stderr.lines().last().unwrap();
        assert!(error.contains("ERROR: ") && error.contains(name), "{options} {failed}");
        assert!(error.contains("checked"), "the object\n{options} {failed}");
        // An archive that several jobs load is tried twice.
        let attempts = if options == "-Fc" { 2 } else { 1 };
        let names = ["--search-path", "--keep-going"].iter().all(|option| error.contains(option));
        assert_eq!(names, is_unresolved, "{name} {options} {failed}");
        assert_eq!(failed.text().matches("ERROR: ").count(), attempts, "{failed}");
        restore(&["--search-path", "app, public"]).succeeded();
        assert_eq!(server.dump(&target), database.dump(), "{name} {options}");
        server.sql("postgres", &format!("DROP DATABASE {target}"));
    }
    server.assert_no_scratch_database_is_left();
}

/// Since PostgreSQL 17 the server itself searches no schemas while it makes an index or fills a view.
#[test]
fn views_checks_and_indexes_load_with_the_search_path_that_they_need() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("searched");
    database.sql(
        "CREATE SCHEMA \"Odd, one\"; SET search_path = \"Odd, one\", public;
         CREATE TABLE \"Odd, one\".factor (by int); INSERT INTO factor VALUES (3);
         CREATE TABLE public.prices (net int);
         CREATE FUNCTION public.gross(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
         $$ BEGIN RETURN $1 * (SELECT by FROM factor); END $$;
         INSERT INTO prices SELECT generate_series(1, 50);
         CREATE INDEX by_gross ON prices (gross(net));
         ALTER TABLE prices ADD CONSTRAINT is_positive CHECK (gross(net) > 0);
         CREATE MATERIALIZED VIEW public.shown AS SELECT gross(net) AS gross FROM prices;
         CREATE TABLE made (net int, gross int GENERATED ALWAYS AS (gross(net)) STORED); INSERT INTO made VALUES (2)",
    );
    let target = format!("{}_new", database.name);
    for options in ["-Z1", "-Fc", "-Fd -j3", "-Ft"] {
        let file = backed_up(server, &store, &database, options, "");
        let restore = || Cli::restore(server, &store, &file).args([&target]);
        restore().run().exited_with(1).saying("--search-path");
        // Of what is wrong with the list itself the server says that.
        restore().args(["--search-path", "\"Odd"]).run().exited_with(1).saying("search_path");
        restore().args(["--search-path", "\"Odd, one\", public"]).run().succeeded();
        assert_eq!(server.dump(&target), database.dump(), "{options}");
        // It is for the load alone.
        assert_eq!(server.sql(&target, "SHOW search_path"), "\"$user\", public");
        server.sql("postgres", &format!("DROP DATABASE {target}"));
    }
}

#[test]
fn a_restore_that_loses_its_connection_has_not_gone_on() {
    let (server, store) = (Cluster::shared(18), Store::new());
    let database = server.database("cut_off");
    database.sql(FAILING);
    let gate = database.gate();
    let target = format!("{}_new", database.name);
    for options in ["-Z1", "-Fc", "-Ft"] {
        gate.open();
        let file = backed_up(server, &store, &database, options, "");
        gate.shut();
        let mut running = Cli::restore(server, &store, &file).args(["--keep-going", &target]).start();
        wait_until("the load to come to the gate", LONG, || {
            assert!(running.poll().is_none(), "{}", running.text());
            gate.is_waited_for(server)
        });
        server.sql(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname LIKE '\\_backupgram\\_scratch%' AND query LIKE '%gate%'",
        );
        gate.open();
        let failed = running.wait().exited_with(1);
        assert!(!failed.stderr.lines().last().unwrap().contains("restored into"), "{options} {failed}");
        assert!(!server.has_database(&target), "{options} {failed}");
    }
    server.assert_no_scratch_database_is_left();
}

#[test]
fn what_the_server_lacks_is_told_and_no_obstacle_to_going_on() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE ROLE ghost; CREATE ROLE other");
    let database = server.database("haunted");
    database.fill(5);
    database.sql("ALTER TABLE orders OWNER TO ghost; GRANT SELECT ON customers TO other; CREATE INDEX ON orders (note)");
    for options in ["-Z1", "-Fc"] {
        let file = backed_up(&server, &store, &database, options, "");
        server.sql("postgres", "ALTER ROLE ghost RENAME TO gone; ALTER ROLE other RENAME TO elsewhere");
        let restore = |more: &[&str]| Cli::restore(&server, &store, &file).args(["new"]).args(more).run();
        restore(&[]).exited_with(1).saying("names roles that the server does not have: ghost, other");
        let rehearsed = restore(&["--keep-going", "--dry-run"]).succeeded();
        assert!(rehearsed.text().contains("warning: continuing because of --keep-going: "), "{rehearsed}");
        let restored = restore(&["--keep-going"]).exited_with(3);
        assert!(
            restored.text().contains("names roles that the server does not have: ghost, other"),
            "{restored}"
        );
        assert_eq!(failures(&restored.text()).len(), 2, "{restored}");
        assert_eq!(server.sql("new", "SELECT count(*) FROM orders"), "5");
        server.sql(
            "postgres",
            "DROP DATABASE new; ALTER ROLE gone RENAME TO ghost; ALTER ROLE elsewhere RENAME TO other",
        );
    }
}
