//! The one line that says why a load has failed, and loads that are tried once more.

use crate::harness::*;

/// The options of a dump, and in how many attempts it is loaded when it fails.
const FORMATS: [(&str, usize); 4] = [("-Z1", 1), ("-Fc", 2), ("-Fd", 2), ("-Ft", 1)];

/// Backs a database up, and answers `SLOT/NAME`.
fn backed_up(server: &Cluster, store: &Store, database: &Database<'_>, options: &str) -> String {
    let known = store.dated("last");
    Cli::backup(server, store, &database.name).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
    let new = store.dated("last").into_iter().find(|name| !known.contains(name)).unwrap();
    format!("last/{new}")
}

/// What fails in a scratch database only, the object, and what the server says of it.
const FAILURES: [(&str, &str, &str); 3] = [
    (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             IF current_database() LIKE '\\_%' THEN
                 RAISE EXCEPTION E'not\nhere' USING HINT = E'go\nelsewhere', DETAIL = 'it is private';
             END IF; RETURN $1; END $$;
         CREATE TABLE numbers (id int CHECK (f(id) > 0)); INSERT INTO numbers VALUES (1)",
        "numbers",
        "ERROR: not here (DETAIL: it is private; HINT: go elsewhere; CONTEXT: ",
    ),
    (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             IF current_database() LIKE '\\_%' THEN RETURN 1; END IF; RETURN $1; END $$;
         CREATE TABLE numbers (id int); INSERT INTO numbers VALUES (1), (2);
         CREATE UNIQUE INDEX by_f ON numbers (f(id))",
        "by_f",
        "ERROR: could not create unique index \"by_f\" (DETAIL: Key (",
    ),
    (
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
             IF current_database() LIKE '\\_%' THEN PERFORM 1 / ($1 - $1); END IF; RETURN $1; END $$;
         CREATE MATERIALIZED VIEW seen AS SELECT f(1)",
        "seen",
        "ERROR: division by zero (CONTEXT: ",
    ),
];

/// In the line, and once for each attempt.
#[test]
fn the_error_of_a_failed_load_names_its_cause_object_and_hint() {
    let (server, store) = (Cluster::shared(15), Store::new());
    for (number, (sql, object, said)) in FAILURES.into_iter().enumerate() {
        let database = server.database("caused");
        database.sql(sql);
        for (options, attempts) in FORMATS {
            let file = backed_up(server, &store, &database, options);
            let restore = Cli::restore(server, &store, &file).env("RESTORE_JOBS", "2");
            let failed = restore.run().exited_with(1);
            let error = failed.stderr.lines().last().unwrap();
            let place = if options == "-Z1" { "line " } else { "entry " };
            let begins =
                format!("error: {}: exit status ", if options == "-Z1" { "psql" } else { "pg_restore" });
            assert!(error.starts_with(&begins) && error.contains(place), "{options} {failed}");
            assert!(error.contains(said), "{number} {options} {failed}");
            assert!(options == "-Z1" || error.contains(object), "{number} {options} {failed}");
            assert!(
                !failed.text().contains("Command was") && !failed.text().contains("creating "),
                "{failed}"
            );
            let cause = said.split(" (").next().unwrap();
            assert_eq!(failed.text().matches(cause).count(), attempts, "{options} {failed}");
            assert_eq!(failed.text().matches("trying again with one job").count(), attempts - 1, "{failed}");
        }
    }
    let database = server.database("caused_by_api");
    database.sql(FAILURES[0].0);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    for (options, attempts) in FORMATS {
        let file = backed_up(server, &store, &database, options);
        let job = daemon.failed(&daemon.start_restore(&file, &database.name));
        assert!(job["error"].as_str().unwrap().contains(FAILURES[0].2), "{job:#}");
        let lines = job["log_tail"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|line| line.as_str().unwrap().contains("not here"));
        assert_eq!(lines.count(), attempts, "{job:#}");
        // The daemon's own log has each once as well, and what came of the job.
        let own = daemon.log();
        let id = job["id"].as_str().unwrap();
        let told = own.lines().filter(|line| line.contains(id) && line.contains("not here"));
        assert_eq!(told.count(), attempts + 1, "{own}");
    }
    server.assert_no_scratch_database_is_left();
}

#[test]
fn what_only_one_job_can_load_is_loaded_once_more_and_proven_so() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let cases = [
        (
            "domain",
            "CREATE DOMAIN known_id AS int CHECK (is_known(VALUE)); CREATE TABLE large (id known_id, text text)",
        ),
        (
            "generated",
            "CREATE TABLE large (id int, text text, found int GENERATED ALWAYS AS (look_up(id)) STORED)",
        ),
        ("index", "CREATE TABLE large (id int, text text, CHECK (look_up(id) > 0))"),
        (
            "partition",
            "CREATE TABLE parts (id int CHECK (is_known(id)), text text) PARTITION BY RANGE (id);
                       CREATE TABLE large PARTITION OF parts FOR VALUES FROM (1) TO (100)",
        ),
    ];
    for ((name, sql), options) in cases.into_iter().zip(["-Fc", "-Fd"].into_iter().cycle()) {
        let database = server.database(name);
        database.sql(&fixture::for_one_job_only(sql));
        let before = database.dump();
        let target = server.database_named(&format!("{}_copy", database.name));
        let file = backed_up(server, &store, &database, options);
        let cli = |words: &[&str]| Cli::new(server, &store).env("RESTORE_JOBS", "2").args(words).run();
        let restored = cli(&["restore", &file, &target.name]).succeeded();
        let again = "warning: loading with 2 jobs failed: pg_restore: exit status 1: entry ";
        assert_eq!(restored.text().matches(again).count(), 1, "{name} {options} {restored}");
        assert_eq!(restored.text().matches("ERROR: ").count(), 1, "{name} {options} {restored}");
        assert_eq!(target.dump(), before, "{name} {options}");
        cli(&["verify", "--restore", &file]).succeeded();
    }
    server.assert_no_scratch_database_is_left();
}
