//! Databases with real extensions, which load only in a certain order, by one job or under one name: each restore with the
//! default number of jobs brings them back, and the proof says the same of the backup. `scripts/soak.sh extensions` does
//! each ten times.

use std::fs;
use std::path::Path;

use crate::harness::*;

/// A server with `pg_cron`, which can be created in the database of this name only.
const CRON_DATABASE: &str = "jobs";
const CRON_SETTINGS: &str =
    "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'jobs'\ncron.use_background_workers = on";

/// Restores of each backup, unless `BACKUPGRAM_E2E_ROUNDS` says how many.
const ROUNDS: usize = 2;

fn rounds() -> usize {
    std::env::var("BACKUPGRAM_E2E_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Whether the server has an extension; says so where not.
fn has(server: &Cluster, extension: &str) -> bool {
    let count = format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{extension}'");
    let there = server.sql("postgres", &count) == "1";
    if !there {
        eprintln!("SKIPPED: PostgreSQL {} lacks the extension {extension}", server.major());
    }
    there
}

/// `shared_preload_libraries` needs the library, or no server starts.
pub fn start_with_cron() -> Option<Cluster> {
    let library = Path::new("/usr/lib/postgresql/15/lib/pg_cron.so");
    if !library.exists() {
        eprintln!("SKIPPED: {} is missing", library.display());
        return None;
    }
    Some(Cluster::start_with(15, &[], CRON_SETTINGS))
}

/// The database with jobs.
pub fn make_cron_database(server: &Cluster) -> Database<'_> {
    let database = server.database_named(CRON_DATABASE);
    database.sql(include_str!("extensions/cron.sql"));
    database
}

/// Backs up in a format, and answers the new backup as `last/NAME`.
#[track_caller]
fn backed_up(server: &Cluster, store: &Store, database: &str, options: &str) -> String {
    Cli::backup(server, store, database).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
    format!("last/{}", store.only_of("last", database))
}

fn prove(server: &Cluster, store: &Store, file: &str) -> command::Outcome {
    Cli::new(server, store).args(["verify", "--restore", file]).run()
}

/// Backs a database up as an archive and as a directory, restores each again and again, and proves each.
fn comes_back(extensions: &[&str], sql: &str) {
    let server = Cluster::shared(15);
    if !extensions.iter().all(|extension| has(server, extension)) {
        return;
    }
    let database = server.database("extended");
    database.sql(sql);
    let before = database.dump();
    for options in ["-Fc", "-Fd"] {
        let store = Store::new();
        let file = backed_up(server, &store, &database.name, options);
        for round in 1..=rounds() {
            database.sql("CREATE TABLE added_later (x int)");
            Cli::restore(server, &store, &file).run().succeeded();
            assert_eq!(first_difference(&database.dump(), &before), None, "{options}, round {round}");
        }
        prove(server, &store, &file).succeeded();
    }
}

/// The first lines that differ.
fn first_difference(now: &str, before: &str) -> Option<(String, String)> {
    let mut pairs = now.lines().zip(before.lines()).filter(|(now, before)| now != before);
    let own = |(now, before): (&str, &str)| (now.to_owned(), before.to_owned());
    pairs.next().map(own).or_else(|| (now.len() != before.len()).then(|| ("length".into(), "length".into())))
}

#[test]
fn partitions_of_partitions_by_pg_partman_come_back() {
    comes_back(&["pg_partman"], include_str!("extensions/partman.sql"));
}

#[test]
fn tables_with_periods_come_back() {
    comes_back(&["periods"], include_str!("extensions/periods.sql"));
}

#[test]
fn maps_and_topologies_of_postgis_come_back() {
    comes_back(&["postgis", "postgis_topology"], include_str!("extensions/postgis.sql"));
}

#[test]
fn types_of_contrib_extensions_come_back() {
    comes_back(&["hstore", "isn", "xml2"], include_str!("extensions/contrib.sql"));
}

#[test]
fn a_constraint_of_a_partition_that_is_not_valid_comes_back() {
    comes_back(&[], include_str!("extensions/partition.sql"));
}

/// Whether it loads depends on the order, which depends on the number of jobs.
#[test]
fn a_check_that_looks_something_up_is_proven_as_it_is_restored() {
    let server = Cluster::shared(15);
    let database = server.database("checked");
    database.sql(include_str!("extensions/lookup.sql"));
    let before = database.dump();
    for (options, jobs) in [("-Fc", "0"), ("-Fd", "2"), ("-Fc", "1"), ("-Ft", "0"), ("-Z1", "0")] {
        let store = Store::new();
        let file = backed_up(server, &store, &database.name, options);
        for round in 1..=rounds() / 2 {
            let cli = |words: &[&str]| Cli::new(server, &store).env("RESTORE_JOBS", jobs).args(words).run();
            let proof = cli(&["verify", "--restore", &file]);
            let restore = cli(&["restore", &file]);
            let well =
                [&proof, &restore].map(|outcome| outcome.status.is_some_and(|status| status.success()));
            assert_eq!(well[0], well[1], "{options}, {jobs} jobs, round {round}:\n{proof}\n{restore}");
            assert_eq!(first_difference(&database.dump(), &before), None, "{options}, {jobs} jobs");
        }
    }
}

#[test]
fn a_database_with_pg_cron_comes_back_under_its_own_name() {
    let Some(server) = start_with_cron() else { return };
    let database = make_cron_database(&server);
    let before = database.dump();
    for options in ["-Z1", "-Fc", "-Fd"] {
        let store = Store::new();
        let file = backed_up(&server, &store, CRON_DATABASE, options);
        for round in 1..=rounds() {
            database.sql("SELECT cron.unschedule('yearly'); CREATE TABLE added_later (x int)");
            Cli::restore(&server, &store, &file).run().succeeded();
            assert_eq!(first_difference(&database.dump(), &before), None, "{options}, round {round}");
            server.sql("postgres", &format!("DROP DATABASE {CRON_DATABASE} WITH (FORCE)"));
            Cli::restore(&server, &store, &file).run().succeeded();
            assert_eq!(
                first_difference(&database.dump(), &before),
                None,
                "{options}, round {round}, dropped"
            );
        }
        prove(&server, &store, &file).succeeded();
        assert_eq!(store.partial(), [""; 0]);
    }
    server.assert_no_scratch_database_is_left();
}

#[test]
fn a_database_with_pg_cron_is_refused_under_another_name_before_anything_is_loaded() {
    let Some(server) = start_with_cron() else { return };
    let database = make_cron_database(&server);
    let (before, databases) = (database.dump(), server.databases());
    for options in ["-Z1", "-Fc", "-Ft", "-Fd"] {
        let store = Store::new();
        let file = backed_up(&server, &store, CRON_DATABASE, options);
        for more in [&["elsewhere"][..], &["elsewhere", "--dry-run"]] {
            let refused = Cli::restore(&server, &store, &file).args(more).run().exited_with(1);
            let refused = refused.saying("pg_cron").saying("cron.database_name").saying(CRON_DATABASE);
            assert!(!refused.text().contains("loading"), "{options}, {more:?}\n{refused}");
            assert_eq!(server.databases(), databases, "{options}, {more:?}\n{refused}");
        }
        let rehearsed = Cli::restore(&server, &store, &file).args(["--dry-run"]).run().succeeded();
        assert_eq!(database.dump(), before, "{rehearsed}");
    }
}

#[test]
fn a_whole_server_with_pg_cron_comes_back_on_an_empty_one() {
    let (Some(server), Some(fresh)) = (start_with_cron(), start_with_cron()) else { return };
    let database = make_cron_database(&server);
    server.sql("postgres", "CREATE ROLE clerk; CREATE DATABASE other OWNER clerk");
    server.sql("other", "CREATE TABLE t AS SELECT 1 AS one");
    let store = Store::new();
    Cli::new(&server, &store).env("POSTGRES_CLUSTER", "TRUE").args(["backup"]).run().succeeded();
    let file = format!("last/{}", store.only("last"));
    Cli::restore(&fresh, &store, &file).args(["--dry-run"]).run().succeeded();
    assert_eq!(fresh.databases(), ["postgres", "template0", "template1"]);
    Cli::restore(&fresh, &store, &file).run().succeeded();
    assert_eq!(first_difference(&fresh.dump(CRON_DATABASE), &database.dump()), None);
    assert_eq!(first_difference(&fresh.dump("other"), &server.dump("other")), None);
    fresh.assert_no_scratch_database_is_left();
    assert!(
        fs::read_dir(store.path())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with(".restore-") })
    );
}
