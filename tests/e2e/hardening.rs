//! What a hostile reader of the code has found: each was wrong once.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use serde_json::json;

use crate::harness::*;

#[test]
fn an_owner_that_is_no_superuser_restores_over_its_own_database() {
    for major in [15, 18] {
        let server = Cluster::shared(major);
        let store = Store::new();
        let label = server.database("owned");
        let (owner, name) = (format!("{}_owner", label.name), format!("{}_of_owner", label.name));
        server.sql("postgres", &format!("CREATE ROLE {owner} LOGIN CREATEDB PASSWORD 'pw'"));
        server.sql("postgres", &format!("CREATE DATABASE {name} OWNER {owner}"));
        let as_owner = |cli: Cli| cli.env("POSTGRES_USER", &owner).env("POSTGRES_PASSWORD", "pw");
        server.sql(&name, &format!("CREATE TABLE t AS SELECT 1 AS x; ALTER TABLE t OWNER TO {owner}"));
        as_owner(Cli::backup(server, &store, &name)).run().succeeded();
        server.sql(&name, "INSERT INTO t VALUES (2)");
        let file = format!("last/{}", store.only("last"));
        as_owner(Cli::restore(server, &store, &file)).run().succeeded();
        assert_eq!(server.sql(&name, "SELECT string_agg(x::text, ',') FROM t"), "1");
        server.sql("postgres", &format!("DROP DATABASE {name}"));
        server.sql("postgres", &format!("DROP ROLE {owner}"));
    }
}

#[test]
fn a_dump_that_speaks_of_connecting_in_its_data_and_functions_is_restored() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("speaks");
    database.sql(
        "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
/*
\\connect nowhere
*/
RETURN 'f'; END $$;
         CREATE TABLE t AS SELECT E'a\n\\\\connect nowhere\n' AS x;",
    );
    let before = database.dump();
    for options in ["-Z1", "-Z1 --inserts"] {
        Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
        let file = format!("last/{}", store.newest("last"));
        Cli::restore(server, &store, &file).run().succeeded();
        assert_eq!(database.dump(), before, "{options}");
    }
}

#[test]
fn a_note_of_a_restore_that_names_somebody_elses_database_drops_nothing() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (database, innocent) = (server.database("noted"), server.database("innocent"));
    Cli::backup(server, &store, &database.name).run().succeeded();
    let address = format!("127.0.0.1:{}", server.port());
    let notes = [
        json!({"server": address, "scratch": innocent.name, "replaced": innocent.name}),
        json!({"server": address, "tag": format!("x\"; DROP DATABASE {}; --", innocent.name)}),
        json!("nonsense"),
    ];
    for (number, note) in notes.iter().enumerate() {
        fs::write(store.path().join(format!(".restore-{number:012}.json")), note.to_string()).unwrap();
    }
    Cli::backup(server, &store, &database.name).run().succeeded();
    let file = format!("last/{}", store.newest("last"));
    Cli::restore(server, &store, &file).run().succeeded();
    assert!(server.has_database(&innocent.name));
}

#[test]
fn links_in_the_place_of_the_lock_and_the_history_are_not_followed() {
    let server = Cluster::shared(15);
    let database = server.database("links");
    for name in [".lock", ".history.jsonl"] {
        let store = Store::new();
        Cli::backup(server, &store, &database.name).run().succeeded();
        let elsewhere = store.root().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        fs::remove_file(store.path().join(name)).unwrap();
        symlink(&elsewhere, store.path().join(name)).unwrap();
        Cli::backup(server, &store, &database.name).run();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious", "{name}");
    }
}

#[test]
fn deletions_at_the_same_time_leave_the_pointer_at_the_newest_that_is_left() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("deleted");
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let newest = store.only("last");
    let source = store.file("last", &newest);
    for second in 0..24 {
        let name = format!("{}-20300101-0000{second:02}.sql.gz", database.name);
        fs::hard_link(&source, store.file("last", &name)).unwrap();
    }
    let pointer = format!("{}-latest.sql.gz", database.name);
    let doomed: Vec<String> = store.dated("last").into_iter().filter(|name| *name != newest).collect();
    thread::scope(|scope| {
        let daemon = &daemon;
        for part in doomed.chunks(4) {
            scope.spawn(move || {
                for name in part {
                    daemon.delete(&format!("/backups/last/{name}?confirm=true")).expect(200);
                }
            });
        }
    });
    assert_eq!(fs::read_link(store.file("last", &pointer)).unwrap().to_str(), Some(newest.as_str()));
    daemon.delete(&format!("/backups/last/{newest}?confirm=true")).expect(200);
    assert!(store.names("last").is_empty(), "{:?}", store.names("last"));
}

#[test]
fn the_success_of_one_database_does_not_hide_the_failure_of_another() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("partial");
    let both = format!("{} nosuch", database.name);
    let cli = || Cli::new(server, &store).env("POSTGRES_DB", &both);
    cli().args(["backup"]).run().exited_with(1);
    cli().args(["backup", &database.name]).run().succeeded();
    assert_eq!(store.status()["status"], "FAILED");
    let states: Vec<_> = store.status()["databases"].as_array().unwrap().clone();
    assert_eq!(states.len(), 2);
}

#[test]
fn a_run_that_cannot_even_begin_is_kept_and_told_like_any_other_failure() {
    let server = Cluster::shared(15);
    let database = server.database("untold");
    for cause in [".api-overrides.env", "POSTGRES_PASSWORD"] {
        let store = Store::new();
        Cli::backup(server, &store, &database.name).run().succeeded();
        store.hook("tell", &format!("#!/bin/sh\necho \"$1\" >> {}/told", store.root().display()));
        if cause == ".api-overrides.env" {
            fs::write(store.path().join(cause), "rubbish\n").unwrap();
        }
        let mut cli = Cli::backup(server, &store, &database.name);
        if cause == "POSTGRES_PASSWORD" {
            cli = cli.env("POSTGRES_PASSWORD_FILE", "/nonexistent");
        }
        cli.run().exited_with(1).saying(cause);
        assert_eq!(store.status()["status"], "FAILED", "{cause}");
        assert_eq!(fs::read_to_string(store.root().join("told")).unwrap(), "error\n", "{cause}");
        let history = fs::read_to_string(store.path().join(".history.jsonl")).unwrap();
        assert!(history.lines().last().unwrap().contains("\"result\":\"FAILED\""), "{cause}: {history}");
    }
}

#[test]
fn what_the_api_says_of_a_failure_names_no_path_of_the_container() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("paths");
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    fs::remove_dir_all(store.path().join("weekly")).unwrap();
    fs::write(store.path().join("weekly"), "").unwrap();
    let job = daemon.failed(&daemon.start_backup());
    let path = store.path().display().to_string();
    for answer in [job.to_string(), daemon.get("/history").text(), daemon.get("/status").text()] {
        assert!(!answer.contains(&path), "{answer}");
    }
    assert!(job["error"].as_str().unwrap().contains("$BACKUP_DIR/weekly"), "{job}");
    // Or else the harness could not clean up.
    fs::remove_file(store.path().join("weekly")).unwrap();
}

/// In the original image: directory dumps were hidden, could not be downloaded or deleted.
#[test]
fn a_directory_dump_is_listed_downloaded_as_a_tar_archive_and_deleted() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("directory");
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let name = format!("{}-20300101-000000.dump", database.name);
    let dump = store.file("last", &name);
    fs::create_dir(&dump).unwrap();
    let contents: Vec<(String, Vec<u8>)> = [0, 1, 511, 512, 513, 3_000_000]
        .iter()
        .map(|size| (format!("{size}.dat.gz"), vec![b'x'; *size]))
        .collect();
    for (file, bytes) in &contents {
        fs::write(dump.join(file), bytes).unwrap();
    }
    let listed =
        daemon.backups("?slot=last").into_iter().find(|entry| entry["name"] == name.as_str()).unwrap();
    let total: usize = contents.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(listed["size"], total);
    let response = daemon.get(&format!("/backups/last/{name}")).expect(200);
    assert_eq!(response.header("content-length").unwrap(), response.body.len().to_string());
    assert!(response.header("content-disposition").unwrap().contains(&format!("{name}.tar")));
    let mut archive = tar::Archive::new(&response.body[..]);
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        found.push((path.strip_prefix(&format!("{name}/")).unwrap().to_owned(), bytes));
    }
    found.sort();
    let mut expected = contents;
    expected.sort();
    assert!(found == expected);
    daemon.delete(&format!("/backups/last/{name}?confirm=true")).expect(200);
    assert!(!dump.exists() && store.partial().is_empty());
}
