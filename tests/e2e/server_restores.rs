//! A whole server, or its roles, comes back where it is missing, or nothing of it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::server_dumps::{MAKE_ROLES, ROLES, contents};

/// What a server knows of its databases themselves.
const PROPERTIES: &str = "SELECT datname, pg_get_userbyid(datdba), datistemplate, datconnlimit, datacl,
        shobj_description(d.oid, 'pg_database'),
        (SELECT array_agg(setconfig::text ORDER BY setrole::regrole::text) FROM pg_db_role_setting
         WHERE setdatabase = d.oid)
    FROM pg_database d WHERE datname !~ '^(postgres|template.)$' ORDER BY 1";

/// Everything that a restore of a whole server could change.
#[derive(Debug, PartialEq)]
struct State(Vec<String>, Vec<(String, String)>);

impl State {
    fn of(server: &Cluster) -> Self {
        let facts = [ROLES, PROPERTIES].map(|query| server.sql("postgres", query));
        let own = ["postgres", "template1"].map(|name| (name.to_owned(), server.dump(name)));
        Self(facts.into(), contents(server).into_iter().chain(own).collect())
    }
}

/// Roles, and databases with everything, odd names, settings and comments.
fn fill(server: &Cluster) {
    server.sql("postgres", MAKE_ROLES);
    for (name, rows) in [("with everything", None), ("Ünï\"code'\\", Some(10)), ("template_of_ours", Some(5))]
    {
        let database = std::mem::ManuallyDrop::new(server.database_named(name));
        rows.map_or_else(|| fixture::fill_with_everything(&database), |rows| database.fill(rows));
    }
    server.sql(
        "postgres",
        r#"GRANT CONNECT ON DATABASE "with everything" TO reader WITH GRANT OPTION;
           ALTER DATABASE "with everything" OWNER TO "odd 'role";
           COMMENT ON DATABASE "with everything" IS E'it''s\n"commented"';
           ALTER DATABASE "with everything" SET work_mem = '5MB';
           ALTER ROLE reader IN DATABASE "with everything" SET work_mem = '6MB';
           ALTER DATABASE "with everything" SET default_transaction_read_only = on;
           ALTER DATABASE template_of_ours IS_TEMPLATE true;
           ALTER DATABASE "Ünï""code'\" CONNECTION LIMIT 7;
           CREATE TABLE in_postgres AS SELECT 1 AS one"#,
    );
    server.sql("template1", "CREATE TABLE in_template1 AS SELECT 1 AS one");
    if server.major() >= 17 {
        server.sql(
            "postgres",
            &format!("{ON_LOGIN} CREATE EVENT TRIGGER seen ON login EXECUTE FUNCTION see()"),
        );
    }
}

const ON_LOGIN: &str = "CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';";

/// A dump of the whole server: `SLOT/NAME`.
#[track_caller]
fn dumped(server: &Cluster, store: &Store, options: &str) -> String {
    let backup = Cli::new(server, store).env("POSTGRES_CLUSTER", "TRUE").env("POSTGRES_EXTRA_OPTS", options);
    backup.args(["backup"]).run().succeeded();
    format!("last/{}", store.newest("last"))
}

/// A file with the SQL of a dump in which `change` has changed something.
fn changed(store: &Store, file: &str, change: impl FnOnce(&str) -> String) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let path = store.root().join(format!("changed-{}.sql", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&path, change(&read_dump(&store.path().join(file)).unwrap())).unwrap();
    path
}

fn a_whole_server_comes_back_on_an_empty_one_and_not_over_another(major: u32) {
    let (server, fresh, store) = (Cluster::start(major), Cluster::start(major), Store::new());
    fill(&server);
    let expected = State::of(&server);
    for options in ["-Z1", "--clean --if-exists"] {
        let file = dumped(&server, &store, options);
        let rehearsed = Cli::restore(&fresh, &store, &file).args(["--dry-run"]).run().succeeded();
        assert!(
            rehearsed.text().contains("would create databases") && fresh.databases().len() == 3,
            "{rehearsed}"
        );
        let outcome = Cli::restore(&fresh, &store, &file).run().succeeded();
        assert_eq!(State::of(&fresh), expected, "{options}");
        for made in
            ["roles created: odd 'role, reader", "databases created: template_of_ours, with everything"]
        {
            assert!(outcome.text().contains(made), "{outcome}");
        }
        let again = Cli::restore(&fresh, &store, &file).run().exited_with(1);
        assert!(
            again.text().contains("already exist: template_of_ours, with everything, Ünï\"code'\\"),
            "{again}"
        );
        assert_eq!(State::of(&fresh), expected, "{options}");
        empty(&fresh);
    }
    assert!(store.partial().is_empty());
}

/// Takes away what [`fill`] has made.
fn empty(server: &Cluster) {
    server.sql("postgres", "ALTER DATABASE template_of_ours IS_TEMPLATE false; DROP TABLE in_postgres");
    server.sql("postgres", "DROP FUNCTION IF EXISTS see() CASCADE");
    server.sql("template1", "DROP TABLE in_template1");
    for name in ["with everything", "Ünï\"code'\\", "template_of_ours"] {
        server.sql("postgres", &format!("DROP DATABASE {}", quoted(name)));
    }
    server.sql("postgres", "DROP ROLE reader, \"odd 'role\"");
}

#[test]
fn a_whole_server_of_postgresql_15_comes_back() {
    a_whole_server_comes_back_on_an_empty_one_and_not_over_another(15);
}

#[test]
fn a_whole_server_of_postgresql_18_comes_back() {
    a_whole_server_comes_back_on_an_empty_one_and_not_over_another(18);
}

/// In the original image it was by the path: here by content, whatever the file is called.
#[test]
fn a_restore_of_a_server_that_fails_anywhere_takes_back_what_it_has_made() {
    let (server, fresh, store) = (Cluster::start(15), Cluster::start(15), Store::new());
    fill(&server);
    fresh.sql("postgres", "CREATE ROLE reader NOLOGIN CONNECTION LIMIT 3");
    let (file, before) = (dumped(&server, &store, "-Z0"), State::of(&fresh));
    let mark = store.root().join("mark");
    let touch = format!("\\! touch {}\n", mark.display());
    let last = |sql: &str, what: &str| {
        let at = sql.rfind("\n-- PostgreSQL database dump complete").unwrap();
        format!("{}\n{what}\n{}", &sql[..at], &sql[at..])
    };
    let first = |sql: &str, what: &str| sql.replacen("\nCREATE ROLE", &format!("\n{what}\nCREATE ROLE"), 1);
    let before_own_table = |sql: &str, what: &str| {
        let create = "\nCREATE TABLE public.in_postgres";
        sql.replacen(create, &format!("\n{what}{create}"), 1)
    };
    for (what, changed) in [
        ("division by zero", changed(&store, &file, |sql| last(sql, "SELECT 1/0;"))),
        ("division by zero", changed(&store, &file, |sql| before_own_table(sql, "SELECT 1/0;"))),
        ("does not exist", changed(&store, &file, |sql| first(sql, "GRANT nobody TO \"odd 'role\";"))),
        ("does not write", changed(&store, &file, |sql| last(sql, &touch))),
        ("does not write", changed(&store, &file, |sql| first(sql, &touch))),
        (
            "restrict",
            changed(&store, &file, |sql| {
                let copy = "CREATE TABLE public.t (a int, stdin int);\nCOPY public.t FROM '/dev/null' WHERE a IS DISTINCT FROM stdin;";
                last(sql, &format!("{copy}\n{touch}\\."))
            }),
        ),
        ("as pg_dump writes it", changed(&store, &file, |sql| last(sql, &format!("SELECT 1 {touch};")))),
        ("does not create", changed(&store, &file, |sql| last(sql, "\\connect somewhere"))),
        ("is cut off", changed(&store, &file, |sql| sql[..sql.len() - 40].to_owned())),
    ] {
        let outcome = Cli::restore(&fresh, &store, &changed).run().exited_with(1);
        assert!(outcome.text().contains(what), "{what}\n{outcome}");
        assert_eq!(State::of(&fresh), before, "{what}\n{outcome}");
        assert!(!mark.exists());
    }
    fresh.assert_no_scratch_database_is_left();
    let haunted = changed(&store, &file, |sql| last(sql, "ALTER SCHEMA public OWNER TO ghost;"));
    let rehearsed = Cli::restore(&fresh, &store, haunted).args(["--dry-run"]).run().exited_with(1);
    assert!(rehearsed.text().contains("does not have: ghost"), "{rehearsed}");
    let target = Cli::restore(&fresh, &store, &file).args(["app"]).run().exited_with(1);
    assert!(target.text().contains("a whole server, not of one database"), "{target}");
    let outcome = Cli::restore(&fresh, &store, &file).run().succeeded();
    assert!(outcome.text().contains("not changed: backup_login, reader"), "{outcome}");
    assert_eq!(fresh.sql("postgres", "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'reader'"), "3");
    assert_eq!(contents(&fresh), contents(&server));
}

#[test]
fn a_killed_restore_of_a_server_leaves_no_database() {
    let (server, fresh, store) = (Cluster::start(15), Cluster::start(15), Store::new());
    let database = server.database_named("large");
    database.fill(60_000);
    let file = dumped(&server, &store, "-Z1");
    let before = contents(&fresh);
    let mut running = Cli::restore(&fresh, &store, &file).start();
    wait_until("a database to be loaded", LONG, || {
        assert!(running.poll().is_none(), "it ended too soon\n{}", running.text());
        fresh.databases().iter().any(|name| name.starts_with("_backupgram_scratch_"))
    });
    running.signal(Signal::SIGKILL);
    running.wait().failed();
    fresh.sql("postgres", "CREATE DATABASE _backupgram_scratch_0123456789ab");
    Cli::restore(&fresh, &store, &file).run().succeeded();
    assert_eq!(contents(&fresh).remove("large"), contents(&server).remove("large"));
    fresh.sql("postgres", "DROP DATABASE large; DROP DATABASE _backupgram_scratch_0123456789ab");
    assert_eq!(contents(&fresh), before, "that of a stranger was not dropped, and nothing of ours is left");
}

#[test]
fn whoever_has_found_the_databases_of_a_server_that_comes_back_does_not_hold_their_naming_up() {
    let (server, store) = (Cluster::start(15), Store::new());
    let databases = ["first", "second"].map(|name| server.database_named(name));
    databases.iter().for_each(|database| database.fill(5));
    let gate = databases[1].gate();
    let (file, before) = (dumped(&server, &store, "-Z0"), contents(&server));
    server.sql("postgres", "DROP DATABASE first; DROP DATABASE second");
    gate.shut();
    let intruder = server.intrude();
    let running = Cli::restore(&server, &store, &file).start();
    wait_until("somebody to be in both databases", LONG, || server.intruders() == "2");
    gate.open();
    running.wait().succeeded();
    assert!(intruder.connections() >= 2);
    assert_eq!(contents(&server), before);
}

#[test]
fn what_a_dump_holds_for_the_databases_of_every_server_is_in_them_when_the_others_have_their_names() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE ROLE extra");
    let database = server.database_named("app");
    database.fill(5);
    let gate = database.gate();
    for name in ["postgres", "template1"] {
        server.sql(name, "CREATE TABLE own AS SELECT 1 AS one; ALTER TABLE own OWNER TO extra");
    }
    let (file, whole) = (dumped(&server, &store, "-Z0"), State::of(&server));
    server.sql("postgres", "DROP DATABASE app");
    for name in ["postgres", "template1"] {
        server.sql(name, "DROP TABLE own");
    }
    server.sql("postgres", "DROP ROLE extra");
    let before = State::of(&server);
    let waiting = |file: &Path| {
        gate.shut();
        let running = Cli::restore(&server, &store, file).start();
        wait_until("the restore to reach the gate", LONG, || gate.is_waited_for(&server));
        running
    };

    // Somebody takes the name.
    let running = waiting(&store.path().join(&file));
    server.sql("postgres", "CREATE DATABASE app TEMPLATE template0");
    gate.open();
    let outcome = running.wait().exited_with(1);
    assert!(outcome.text().contains("cannot rename the databases"), "{outcome}");
    assert!(outcome.text().contains("removed again: roles extra"), "{outcome}");
    server.sql("postgres", "DROP DATABASE app");
    assert_eq!(State::of(&server), before);

    // The server ends the session that holds what is for `postgres`, while the names have to wait.
    let ending = changed(&store, &file, |sql| {
        let create = "\nCREATE TABLE public.own";
        let at = sql.rfind(create).expect("the table of postgres");
        format!("{}\nSET idle_in_transaction_session_timeout = 1500;{}", &sql[..at], &sql[at..])
    });
    let running = waiting(&ending);
    let mut other = server.session("postgres");
    other.run("BEGIN; LOCK pg_database IN SHARE MODE");
    gate.open();
    let ended = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                         AND application_name LIKE '\\_backupgram%'),
                        (SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres'
                         AND state = 'idle in transaction' AND application_name LIKE '\\_backupgram%')";
    wait_until("the server to end the session", LONG, || server.sql("template1", ended) == "1|0");
    other.run("COMMIT");
    let outcome = running.wait().exited_with(1);
    assert!(outcome.text().contains("except the contents of database postgres"), "{outcome}");
    server.sql("postgres", "CREATE TABLE own AS SELECT 1 AS one; ALTER TABLE own OWNER TO extra");
    assert_eq!(State::of(&server), whole);
}

#[test]
fn a_database_with_one_of_our_names_that_is_not_ours_is_not_dropped() {
    let (server, store) = (Cluster::start(15), Store::new());
    let database = server.database_named("app");
    database.fill(5);
    Cli::backup(&server, &store, "app").run().succeeded();
    let file = format!("last/{}", store.only("last"));
    let journal = |tag: &str| {
        let text = format!(r#"{{"server":"127.0.0.1:{}","tag":"{tag}"}}"#, server.port());
        fs::write(store.path().join(format!(".restore-{tag}.json")), text).unwrap();
    };
    for (tag, sql) in [
        ("00000000000a", "COMMENT ON DATABASE _backupgram_scratch_00000000000a IS 'mine'"),
        ("00000000000b", ""),
        ("00000000000c", ""),
        ("00000000000d", "COMMENT ON DATABASE _backupgram_scratch_00000000000d IS 'backupgram loads x'"),
    ] {
        let name = format!("_backupgram_scratch_{tag}");
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.sql("postgres", sql);
        journal(tag);
    }
    server.sql("_backupgram_scratch_00000000000b", "CREATE TABLE precious (x int)");
    Cli::restore(&server, &store, &file).run().succeeded().saying("but not its mark");
    let left: Vec<String> =
        server.databases().into_iter().filter(|name| name.starts_with("_backupgram_")).collect();
    assert_eq!(left, ["_backupgram_scratch_00000000000a", "_backupgram_scratch_00000000000b"]);
}

#[test]
fn roles_come_back_where_they_are_missing_and_stay_as_they_are_where_they_are_not() {
    let (server, fresh, store) = (Cluster::start(18), Cluster::start(18), Store::new());
    server.sql("postgres", MAKE_ROLES);
    let place = |server: &Cluster| {
        let path = server.data().with_file_name("fast");
        fs::create_dir(&path).unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(server.data()).unwrap());
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        path
    };
    let (old, new) = (place(&server), place(&fresh));
    server.sql("postgres", &format!("CREATE TABLESPACE fast OWNER reader LOCATION '{}'", old.display()));
    let database = server.database("roles");
    database.fill(1);
    Cli::backup(&server, &store, &database.name).env("BACKUP_GLOBALS", "TRUE").run().succeeded();
    let file = format!("last/{}", store.only_of("last", "globals"));
    fresh.sql("postgres", "CREATE ROLE reader CONNECTION LIMIT 9");
    fresh.sql("postgres", "CREATE ROLE humble LOGIN CREATEDB PASSWORD 'humble'");
    let rehearse_humbly = || {
        let cli = Cli::restore(&fresh, &store, &file).args(["--dry-run"]).env("POSTGRES_USER", "humble");
        cli.env("POSTGRES_PASSWORD", "humble").run()
    };
    let refused = rehearse_humbly().exited_with(1);
    assert!(refused.text().contains("only a superuser can create the roles of"), "{refused}");
    let roles = fresh.sql("postgres", ROLES);
    let tablespaces = |server: &Cluster| server.sql("postgres", "SELECT count(*) FROM pg_tablespace");
    let moved =
        |to: &Path| changed(&store, &file, |sql| sql.replace(old.to_str().unwrap(), to.to_str().unwrap()));
    // Its place is not there.
    let outcome = Cli::restore(&fresh, &store, moved(&new.join("missing"))).run().exited_with(1);
    assert!(outcome.text().contains("does not exist"), "{outcome}");
    assert_eq!((fresh.sql("postgres", ROLES), tablespaces(&fresh)), (roles, "2".into()));
    let outcome = Cli::restore(&fresh, &store, moved(&new)).run().succeeded();
    assert!(outcome.text().contains("not changed: backup_login, reader"), "{outcome}");
    let of = |server: &Cluster, name: &str| {
        server.sql(
            "postgres",
            &format!("SELECT rolcreatedb, rolconnlimit FROM pg_roles WHERE rolname = '{name}'"),
        )
    };
    assert_eq!(of(&fresh, "odd ''role"), of(&server, "odd ''role"));
    assert_eq!((of(&fresh, "reader").as_str(), tablespaces(&fresh).as_str()), ("f|9", "3"));
    // Once more, when all of it is there.
    rehearse_humbly().succeeded();
    Cli::restore(&fresh, &store, &file).args(["globals"]).run().succeeded();
    assert_eq!(tablespaces(&fresh), "3");
}
