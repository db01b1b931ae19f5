//! SQL of the user's own, before and after the load.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::*;

/// Backs a database up, and answers `SLOT/NAME`.
fn backed_up(server: &Cluster, store: &Store, database: &Database<'_>, options: &str) -> String {
    let known = store.dated("last");
    Cli::backup(server, store, &database.name).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
    let new = store.dated("last").into_iter().find(|name| !known.contains(name)).unwrap();
    format!("last/{new}")
}

fn script(store: &Store, name: &str, sql: &str) -> PathBuf {
    let path = store.root().join(name);
    fs::write(&path, sql).unwrap();
    path
}

fn with(cli: Cli, option: &str, path: &PathBuf) -> Cli {
    cli.args([option]).args([path])
}

fn sql_before_and_after_the_load_is_in_the_new_database_only(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("scrubbed");
    database.fill(20);
    // Personal data that nobody may see in the target at any moment.
    database.sql("CREATE TABLE people (name text); INSERT INTO people VALUES ('Ada')");
    let before = script(
        &store,
        "before.sql",
        "\\set work 'work area'\nCREATE SCHEMA \"before\";\nCREATE TABLE \"before\".seen AS SELECT :'work' AS work,\n  \
         (SELECT count(*) FROM pg_class WHERE relname = 'orders') AS orders;\n",
    );
    let after = script(
        &store,
        "after.sql",
        "\\set QUIET on\nBEGIN;\nUPDATE people SET name = md5(name);\n\\if true\nDELETE FROM orders WHERE id > 5;\n\
         \\endif\nCOMMIT;\nCOPY customers FROM stdin;\n77\tsomebody\n\\.\n\\echo scrubbed :DBNAME\n",
    );
    for options in ["-Z1", "-Fc", "-Fd -j2", "-Ft"] {
        let file = backed_up(server, &store, &database, options);
        for (target, jobs) in
            [(format!("{}_copy", database.name), "4"), (format!("{}_one", database.name), "1")]
        {
            let copy = server.database_named(&target);
            copy.sql("CREATE TABLE people (name text)");
            let restore = Cli::restore(server, &store, &file).env("RESTORE_JOBS", jobs).args([&target]);
            let done = with(with(restore, "--before", &before), "--after", &after).run().succeeded();
            assert!(done.text().contains("scrubbed _backupgram_scratch_"), "{options}: {done}");
            assert_eq!(done.text().matches("running ").count(), 2, "{options}: {done}");
            assert_eq!(copy.sql("SELECT * FROM \"before\".seen"), "work area|0", "{options}");
            assert_eq!(copy.sql("SELECT count(*) FROM orders"), "5", "{options}");
            assert_eq!(copy.sql("SELECT name = md5('Ada') FROM people"), "t", "{options}");
            assert_eq!(copy.sql("SELECT name FROM customers WHERE id = 77"), "somebody", "{options}");
        }
    }
    assert_eq!(database.sql("SELECT name FROM people"), "Ada");
}
on_both_servers!(sql_before_and_after_the_load_is_in_the_new_database_only);

#[test]
fn sql_that_fails_ends_the_restore_and_the_target_stays() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("unscrubbed");
    database.fill(5);
    let file = backed_up(server, &store, &database, "-Fc");
    database.sql("DELETE FROM orders");
    let before = database.dump();
    let good = script(&store, "good.sql", "SELECT 1;\n");
    for (name, sql, said) in [
        (
            "fails.sql",
            "SELECT 1;\nDELETE FROM nosuch;\n",
            "line 2: ERROR: relation \"nosuch\" does not exist",
        ),
        ("syntax.sql", "SELECT 1;\n\nSELEC 1\n", "line 3: ERROR: syntax error at or near \"SELEC\""),
        ("command.sql", "\\nosuch\n", "invalid command \\nosuch"),
        (
            "hint.sql",
            "DO $$ BEGIN RAISE 'no' USING HINT = 'try this'; END $$;\n",
            "ERROR: no (HINT: try this",
        ),
        (
            "open.sql",
            "BEGIN;\nDELETE FROM pg_description;\n",
            "leaves a transaction open: end it with COMMIT",
        ),
        ("included.sql", "\\i nosuch-file\n", "nosuch-file: No such file or directory"),
    ] {
        let bad = script(&store, name, sql);
        for options in [["--before", "--after"], ["--after", "--before"]] {
            let restore = Cli::restore(server, &store, &file);
            let failed = with(with(restore, options[0], &bad), options[1], &good).run().exited_with(1);
            let error = failed.stderr.lines().last().unwrap();
            assert!(error.starts_with(&format!("error: the SQL of {} ", bad.display())), "{failed}");
            assert!(error.contains(said), "{said}\n{failed}");
            assert_eq!(database.dump(), before);
        }
    }
    for (missing, said) in [("nosuch.sql", "No such file"), ("", "directory")] {
        let path = store.root().join(missing);
        for option in ["--before", "--after"] {
            for more in [&["--dry-run"][..], &[]] {
                let refused =
                    with(Cli::restore(server, &store, &file).args(more), option, &path).run().exited_with(1);
                assert!(refused.stderr.contains(&format!("cannot read {}: ", path.display())), "{refused}");
                assert!(refused.stderr.contains(said) && !refused.text().contains("loading"), "{refused}");
            }
        }
    }
    assert_eq!(database.dump(), before);
    server.assert_no_scratch_database_is_left();
}

#[test]
fn sql_runs_once_in_each_database_when_the_load_is_tried_twice() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("twice");
    database.sql(&fixture::for_one_job_only("CREATE TABLE large (id int CHECK (is_known(id)), text text)"));
    let file = backed_up(server, &store, &database, "-Fc");
    let target = server.database_named(&format!("{}_copy", database.name));
    let before = script(
        &store,
        "before.sql",
        "CREATE TABLE made_before (n int); INSERT INTO made_before VALUES (1);\n",
    );
    let lines = "cat > /dev/null; printf '%s\\n' 'INSERT INTO made_before VALUES (2);' 'DELETE FROM large;' | \
                 backupgram restore --before \"$BEFORE\" --after /dev/stdin \"$FILE\" \"$TARGET\"";
    let restored = Cli::shell(server, &store, lines)
        .env("RESTORE_JOBS", "2")
        .env("BEFORE", &before)
        .env("FILE", &file)
        .env("TARGET", &target.name)
        .run()
        .succeeded();
    assert!(restored.text().contains("trying again with one job"), "{restored}");
    assert_eq!(restored.text().matches("running ").count(), 3, "{restored}");
    assert_eq!(target.sql("SELECT string_agg(n::text, ',') FROM made_before"), "1,2");
    assert_eq!(target.sql("SELECT count(*) FROM large"), "0");
}

#[test]
fn the_api_takes_names_of_files_in_the_hooks_directory() {
    let (server, store) = (Cluster::shared(18), Store::new());
    let database = server.database("hooked");
    database.fill(8);
    let file = backed_up(server, &store, &database, "-Fd");
    let place = store.hooks().join("restore");
    // As Kubernetes mounts a ConfigMap: each name is a link through a link to a directory that is replaced as a whole.
    fs::create_dir_all(place.join("..2024_01")).unwrap();
    fs::write(place.join("..2024_01/scrub.sql"), "DELETE FROM orders;\n").unwrap();
    symlink("..2024_01", place.join("..data")).unwrap();
    symlink("..data/scrub.sql", place.join("scrub.sql")).unwrap();
    fs::write(place.join("pre.sql"), "CREATE TABLE pre (x int);\n").unwrap();
    fs::write(place.join("fails.sql"), "DELETE FROM nosuch;\n").unwrap();
    fs::write(place.join(".hidden.sql"), "DELETE FROM orders;\n").unwrap();
    fs::write(store.root().join("outside.sql"), "SELECT 1;\n").unwrap();
    fs::write(store.hooks().join("beside.sql"), "SELECT 1;\n").unwrap();
    symlink("../../outside.sql", place.join("out.sql")).unwrap();
    symlink("../beside.sql", place.join("beside.sql")).unwrap();
    symlink(store.root(), place.join("out")).unwrap();
    symlink("loop.sql", place.join("loop.sql")).unwrap();
    fs::create_dir(place.join("directory")).unwrap();
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let target = server.database_named(&format!("{}_copy", database.name));
    let ask = |more: Value| {
        let mut body = json!({"file": file, "target_db": target.name, "confirm": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.post("/restore", &body)
    };

    let id = job_id(&ask(json!({"before": "pre.sql", "after": "scrub.sql"})).expect(202));
    daemon.succeeded(&id);
    assert_eq!(target.sql("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM pre)"), "0|0");
    for field in ["before", "after"] {
        for missing in ["nosuch.sql", "out.sql", "beside.sql", "loop.sql", "directory", "out"] {
            let refused = ask(json!({field: missing})).expect(404);
            let error = refused.json()["error"].as_str().unwrap().to_owned();
            assert_eq!(error, format!("{field}: there is no file {missing} in HOOKS_DIR/restore"));
        }
        for bad in [
            "../beside.sql",
            "/etc/passwd",
            "",
            ".",
            "..",
            ".hidden.sql",
            "..data/scrub.sql",
            "a\nb",
            "out/outside.sql",
        ] {
            let refused = ask(json!({field: bad})).expect(400);
            let error = refused.json()["error"].as_str().unwrap().to_owned();
            assert_eq!(error, format!("{field} must be the name of a file in HOOKS_DIR/restore"), "{bad}");
        }
        for bad in [json!(null), json!(7), json!(["pre.sql"]), json!(true)] {
            ask(json!({field: bad})).expect(400);
        }
        let job = daemon.failed(&job_id(&ask(json!({field: "fails.sql"})).expect(202)));
        let error = job["error"].as_str().unwrap();
        assert!(
            error.contains("fails.sql failed: psql: exit status 3: line 1: ERROR: relation \"nosuch\""),
            "{error}"
        );
    }
    // The ConfigMap changes while the job waits.
    fs::create_dir(place.join("..2024_02")).unwrap();
    fs::write(place.join("..2024_02/scrub.sql"), "DELETE FROM orders WHERE id <> 1;\n").unwrap();
    let gate = Brake::new(&store);
    let backup = daemon.start_backup();
    gate.holds(1);
    let waiting = job_id(&ask(json!({"after": "scrub.sql"})).expect(202));
    fs::remove_file(place.join("..data")).unwrap();
    symlink("..2024_02", place.join("..data")).unwrap();
    fs::remove_dir_all(place.join("..2024_01")).unwrap();
    gate.release();
    daemon.succeeded(&backup);
    daemon.succeeded(&waiting);
    assert_eq!(target.sql("SELECT count(*) FROM orders"), "1");
}

/// Somebody asks the target all the time whether it sees what `--after` deletes.
#[test]
fn what_is_scrubbed_is_never_seen_in_the_target() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("secret");
    database.fill(50);
    let file = backed_up(server, &store, &database, "-Z1");
    let after = script(&store, "after.sql", "UPDATE orders SET note = 'scrubbed';\nSELECT pg_sleep(0.5);\n");
    let target = server.database_named(&format!("{}_staging", database.name));
    target.sql("CREATE TABLE orders (id int, note text)");
    let mut running =
        with(Cli::restore(server, &store, &file).args([&target.name]), "--after", &after).start();
    let (mut asked, mut seen) = (0, String::new());
    while running.poll().is_none() {
        let count = "SELECT count(*) FROM orders WHERE note <> 'scrubbed'";
        if let Ok(found) = server.try_sql(&target.name, count) {
            asked += 1;
            seen = if found == "0" { seen } else { found };
        }
    }
    running.wait().succeeded();
    assert!(asked > 0 && seen.is_empty(), "{asked} {seen}");
    assert_eq!(target.sql("SELECT count(*), min(note), max(note) FROM orders"), "50|scrubbed|scrubbed");
}
