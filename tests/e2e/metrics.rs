//! What GET /metrics tells is what the other routes tell, and a parser of Prometheus' own reads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::*;

const LAST_SUCCESS: &str = "backupgram_backup_last_success_timestamp_seconds";
const REQUESTS: &str = "backupgram_http_requests_total";

/// The types of the families in the documentation, by name.
fn documented() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").unwrap();
        (name.to_owned(), rest.split(' ').next().unwrap().to_owned())
    })
    .collect()
}

/// The newest backup of a database in `last`, as GET /backups shows it.
#[track_caller]
fn newest(daemon: &Daemon<'_>, database: &str) -> Value {
    let listed = daemon.backups("?slot=last").into_iter();
    let mut backups = listed.filter(|entry| entry["alias_of"].is_null() && entry["database"] == database);
    backups.next().unwrap_or_else(|| panic!("no backup of {database}"))
}

/// What is told of a database is what the list says of its newest backup.
#[track_caller]
fn assert_newest(metrics: &Metrics, daemon: &Daemon<'_>, database: &str) {
    let backup = newest(daemon, database);
    let labels = [("database", database)];
    assert_eq!(metrics.get(LAST_SUCCESS, &labels), number(&backup["mtime"]));
    assert_eq!(metrics.get("backupgram_backup_last_size_bytes", &labels), number(&backup["size"]));
    let manifest = daemon.store.manifest("last", backup["name"].as_str().unwrap());
    let duration = metrics.get("backupgram_backup_last_duration_seconds", &labels);
    assert_eq!(duration, number(&manifest["duration_seconds"]));
    let now = jiff::Timestamp::now().as_second() as f64;
    let age = metrics.get("backupgram_backup_age_seconds", &labels);
    assert!(age >= 0.0 && age <= now - number(&backup["mtime"]), "{age}");
}

/// What is told of the last run is what /status says of it.
#[track_caller]
fn assert_last_run(metrics: &Metrics, daemon: &Daemon<'_>, success: f64) {
    let last = daemon.status()["last_backup"].clone();
    assert_eq!(metrics.get("backupgram_last_run_timestamp_seconds", &[]), number(&last["timestamp"]));
    assert_eq!(metrics.get("backupgram_last_run_duration_seconds", &[]), number(&last["duration_seconds"]));
    assert_eq!(metrics.get("backupgram_last_run_success", &[]), success);
}

fn jobs(metrics: &Metrics, kind: &str, result: &str) -> f64 {
    metrics.get("backupgram_jobs_total", &[("type", kind), ("result", result)])
}

#[test]
fn what_is_told_is_what_the_other_routes_tell_after_runs_that_worked_and_failed() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (kept, lost) = (server.database("kept"), server.database("lost"));
    kept.fill(50);
    lost.fill(50);
    let names = format!("{},{}", kept.name, lost.name);
    // A run that failed before the daemon was there, and a database that nobody backs up any more.
    Cli::backup(server, &store, "no_such_database").run().exited_with(1);
    Cli::backup(server, &store, &kept.name).run().succeeded();
    fs::rename(store.file("last", &store.only("last")), store.file("last", "former-20200101-030000.sql.gz"))
        .unwrap();
    fs::remove_file(store.path().join(".status.json")).unwrap();
    let daemon = Plan::new(server, &store).database(&names).start();

    let first = daemon.metrics();
    let databases = first.values_of(LAST_SUCCESS, "database");
    assert!(
        databases.contains(&"former"),
        "before the first run every database with backups counts: {databases:?}"
    );
    for family in ["timestamp_seconds", "duration_seconds", "success"] {
        assert_eq!(first.find(&format!("backupgram_last_run_{family}"), &[]), None);
    }
    assert_eq!(first.get("backupgram_backup_failures_total", &[]), 0.0, "it went with the record");
    assert_eq!(first.get("backupgram_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(first.get("backupgram_scheduler_up", &[]), 1.0);
    assert_eq!(first.get("backupgram_scheduler_restarts_total", &[]), 0.0);
    for kind in ["backup", "restore", "verify", "telegram-test"] {
        assert_eq!((jobs(&first, kind, "succeeded"), jobs(&first, kind, "failed")), (0.0, 0.0), "{kind}");
    }

    daemon.back_up();
    let proven = format!("last/{}", newest(&daemon, &kept.name)["name"].as_str().unwrap());
    let proof = job_id(&daemon.post("/verify", &json!({"file": proven, "restore": true})).expect(202));
    daemon.succeeded(&proof);
    let second = daemon.metrics();
    assert_last_run(&second, &daemon, 1.0);
    let mut databases = second.values_of(LAST_SUCCESS, "database");
    databases.sort_unstable();
    assert_eq!(databases, [&kept.name, &lost.name]);
    assert_newest(&second, &daemon, &kept.name);
    assert_newest(&second, &daemon, &lost.name);
    for slot in SLOTS {
        let listed = daemon.backups(&format!("?slot={slot}"));
        let backups: Vec<&Value> = listed.iter().filter(|entry| entry["alias_of"].is_null()).collect();
        let bytes = backups.iter().map(|entry| number(&entry["size"])).sum::<f64>();
        assert_eq!(second.get("backupgram_slot_backups", &[("slot", slot)]), backups.len() as f64, "{slot}");
        assert_eq!(second.get("backupgram_slot_bytes", &[("slot", slot)]), bytes, "{slot}");
    }
    let status = daemon.status();
    let verified = status["last_backup"]["databases"].as_array().unwrap().iter();
    let verified: Vec<&Value> =
        verified.map(|database| &database["verified"]["at"]).filter(|at| !at.is_null()).collect();
    let labels = [("database", kept.name.as_str())];
    let proofs = "backupgram_proof_last_timestamp_seconds";
    assert_eq!(second.values_of(proofs, "database"), [&kept.name]);
    assert_eq!(vec![second.get(proofs, &labels)], verified.into_iter().map(number).collect::<Vec<_>>());
    assert_eq!(second.get("backupgram_proof_last_success", &labels), 1.0);
    let next: jiff::Timestamp = status["next_run"].as_str().unwrap().parse().unwrap();
    assert_eq!(second.get("backupgram_next_run_timestamp_seconds", &[]), next.as_second() as f64);
    let total = number(&status["disk"]["total_bytes"]);
    assert!((1.0..total).contains(&second.get("backupgram_free_bytes", &[])));
    assert_eq!((jobs(&second, "backup", "succeeded"), jobs(&second, "verify", "succeeded")), (1.0, 1.0));
    assert_eq!(second.types, documented());

    let before = second.get(LAST_SUCCESS, &[("database", &lost.name)]);
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&lost.name)));
    let failing = daemon.start_backup();
    daemon.failed(&failing);
    let third = daemon.metrics();
    assert_last_run(&third, &daemon, 0.0);
    assert_eq!(third.get("backupgram_backup_failures_total", &[]), 1.0);
    assert_eq!((jobs(&third, "backup", "succeeded"), jobs(&third, "backup", "failed")), (1.0, 1.0));
    assert_newest(&third, &daemon, &kept.name);
    assert_eq!(third.get(LAST_SUCCESS, &[("database", &lost.name)]), before);
    assert!(third.get(LAST_SUCCESS, &labels) > second.get(LAST_SUCCESS, &labels));
}

#[test]
fn every_answer_is_counted_by_its_route_and_the_guesses_at_the_token_too() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    daemon.anonymous("GET", "/metrics").error(401);
    daemon.post_nothing("/metrics").error(405);
    daemon.get("/no/such/path").error(404);
    daemon.get("/backups/last/nothing.sql.gz?token=secret").error(404);
    daemon.get("/jobs/0123456789abcdef").error(404);
    daemon.send("HEAD", "/status", &[], None).expect(200);
    daemon.anonymous("GET", "/healthz").expect(200);
    assert_eq!(exchange(daemon.port, b"nonsense\r\n\r\n").status, 400);
    let metrics = daemon.metrics();
    let answered =
        |route: &str, status: &str| metrics.find(REQUESTS, &[("route", route), ("status", status)]);
    for (route, status) in [
        ("/metrics", "401"),
        ("/metrics", "405"),
        ("other", "404"),
        ("/backups/{slot}/{name}", "404"),
        ("/jobs/{id}", "404"),
        ("/status", "200"),
        ("other", "400"),
    ] {
        assert_eq!(answered(route, status), Some(1.0), "{route} {status}");
    }
    assert_eq!(answered("/healthz", "200"), Some(2.0), "the harness asks for it, too");
    assert_eq!(answered("/metrics", "200"), None, "the one that is being answered is not yet counted");
    assert_eq!(metrics.get("backupgram_wrong_tokens_total", &[]), 1.0);
    let again = daemon.metrics();
    assert_eq!(again.get(REQUESTS, &[("route", "/metrics"), ("status", "200")]), 1.0);
    daemon.send("HEAD", "/metrics", &[], None).expect(200);
}

#[test]
fn no_name_of_a_database_breaks_out_of_its_label() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database_named("q\"uo\\te\r\n} 1 d\u{e4}\\n");
    database.fill(5);
    let daemon = Plan::new(server, &store).env("POSTGRES_DB_AUTODISCOVER", "TRUE").start();
    let backup = job_id(&daemon.post("/backup", &json!({"databases": [database.name]})).expect(202));
    daemon.succeeded(&backup);
    let metrics = daemon.metrics();
    assert_eq!(metrics.values_of(LAST_SUCCESS, "database"), [&database.name]);
    assert_newest(&metrics, &daemon, &database.name);
}
