//! Whatever was written in the future is told, and counts as neither the newest nor young nor proven.

use std::fs;

use serde_json::Value;

use super::{AGES, HOUR, command, date, healthy, now, put, unhealthy};
use crate::harness::*;

#[test]
fn a_file_of_the_future_outlives_no_backup_that_a_run_has_just_made() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("future");
    database.fill(5);
    let app = database.name.as_str();
    let command = || command(server, &store, app).env("BACKUP_KEEP_MINS", "0").env("BACKUP_KEEP_DAYS", "0");
    let future = format!("{app}-21060207-062815.sql.gz");
    // Beyond an hour it counts for nothing, and within it is the newest: the new one stays all the same.
    for (ahead, counts) in [(AGES, false), (61 * 60, false), (30 * 60, true)] {
        for slot in ["last", "daily"] {
            let name = if slot == "last" { future.clone() } else { format!("{app}-21060207.sql.gz") };
            put(&store, slot, &name, -ahead);
        }
        command().args(["backup"]).run().succeeded();
        let reported = store.status()["databases"][0]["file"].as_str().unwrap().to_owned();
        assert!(store.path().join(&reported).exists(), "{reported} of a file {ahead} s ahead");
        assert!(store.file("last", &future).exists(), "{ahead}");
        let pointer = fs::read_link(store.file("last", &format!("{app}-latest.sql.gz"))).unwrap();
        assert_eq!(format!("last/{}", pointer.display()), reported);
        let outcome = command().args(["list", "--json"]).run().succeeded();
        let listed: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let first = listed["backups"][0]["name"].as_str().unwrap().to_owned();
        assert_eq!(first == future, counts, "{ahead}: {listed:#}");
        if counts {
            healthy(command());
        } else {
            let both = format!("last/{future}");
            let outcome = unhealthy(command(), &["backups are dated in the future"]).saying(&both);
            outcome.saying(&format!("daily/{app}-21060207.sql.gz"));
        }
        // A second run deletes the first one's, and not its own.
        date(&store.path().join(&reported), 60);
        command().args(["backup"]).run().succeeded();
        let second = store.status()["databases"][0]["file"].as_str().unwrap().to_owned();
        assert!(store.path().join(&second).exists() && !store.path().join(&reported).exists());
        // A pointer that loses its backup leads to what is left, and not to the future while there is anything else.
        assert!(store.path().join("last").join(format!("{app}-latest.sql.gz")).exists());
    }
}

/// Made by a run whose clock was ahead, and so far that nobody would have proven anything for years.
#[test]
fn a_proof_of_the_future_proves_nothing_and_is_made_again() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("proven");
    database.fill(5);
    let app = database.name.as_str();
    let command = || {
        let cli = command(server, &store, app).env("BACKUP_VERIFY", "restore");
        cli.env("BACKUP_VERIFY_EVERY", "400d").env("BACKUP_MAX_UNPROVEN_DAYS", "7")
    };
    let ledger = || -> Value {
        serde_json::from_slice(&fs::read(store.path().join(".proofs.json")).unwrap()).unwrap()
    };
    command().clock(&FakeClock::ahead(AGES)).args(["backup"]).run().succeeded();
    assert!(ledger()[app]["at"].as_i64().unwrap() > now() + AGES / 2, "{:#}", ledger());
    let reasons = [
        &format!("no older backup of {app} was deleted: the clock here is "),
        "the last run is dated in the future",
        ".history.jsonl",
        &format!("restore proofs in .proofs.json are dated in the future and do not count: {app} (2106"),
        "manifests of backups have times in the future",
        &format!("not proven by a restore in the last 7 d: {app}"),
    ];
    let outcome = unhealthy(command(), &reasons);
    assert!(outcome.stdout.contains("\"verified\":{}"), "{outcome}");

    command().args(["backup"]).run().succeeded();
    assert!(ledger()[app]["at"].as_i64().unwrap() <= now(), "it was proven again: {:#}", ledger());
    let last = ledger();
    unhealthy(command(), &["manifests of backups have times in the future"]);
    let outcome = command().args(["list"]).run().succeeded();
    assert!(outcome.column("PROVEN").contains(&"future".to_owned()), "{outcome}");
    // And not a third time.
    command().args(["backup"]).run().succeeded();
    assert_eq!(ledger(), last);
}

/// Whatever keeps a time keeps it where somebody may have written another one.
#[test]
fn every_record_of_the_future_is_named_and_none_makes_a_backup_young() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("records");
    database.fill(5);
    let app = database.name.as_str();
    let command = || command(server, &store, app);
    command().args(["backup"]).run().succeeded();
    healthy(command());
    let path = |name: &str| store.path().join(name);
    let ahead = now() + AGES;
    // Each is changed alone, and put back.
    let with = |name: &str, change: &dyn Fn(&mut Value), reasons: &[&str]| {
        let text = fs::read_to_string(path(name)).unwrap_or_default();
        let last = text.trim_end().lines().next_back().unwrap_or("{}");
        let mut json: Value =
            serde_json::from_str(if name.ends_with(".jsonl") { last } else { &text }).unwrap_or_default();
        change(&mut json);
        fs::write(path(name), format!("{json}\n")).unwrap();
        unhealthy(command(), reasons);
        fs::write(path(name), text).unwrap();
        healthy(command());
    };
    let status = ".status.json";
    with(status, &|json| json["timestamp"] = ahead.into(), &["the last run is dated in the future, at 2106"]);
    with(status, &|json| json["timestamp"] = i64::MAX.into(), &["second 9223372036854775807"]);
    let history = ".history.jsonl";
    for key in ["start", "end"] {
        with(
            history,
            &|json| json[key] = ahead.into(),
            &["the newest run in .history.jsonl is dated in the future"],
        );
    }
    let hour = now() + HOUR + 60;
    with(status, &|json| json["timestamp"] = hour.into(), &["the last run is dated in the future"]);
    let name = store.only("weekly");
    let manifest = format!("weekly/.{name}.json");
    let told = format!("manifests of backups have times in the future, which are ignored: weekly/{name}");
    with(&manifest, &|json| json["created_at"] = ahead.into(), &[&told]);
    with(&manifest, &|json| json["verified"]["at"] = ahead.into(), &[&told]);
    with(&manifest, &|json| json["proven"] = serde_json::json!({"by": "restore", "at": ahead}), &[&told]);
    let proof = serde_json::json!({ app: {"file": "last/x", "by": "restore", "at": ahead} });
    fs::write(path(".proofs.json"), proof.to_string()).unwrap();
    unhealthy(command(), &["restore proofs in .proofs.json are dated in the future"]);
    fs::remove_file(path(".proofs.json")).unwrap();
    date(&store.file("monthly", &store.only("monthly")), -2 * HOUR);
    // One file under four names.
    let outcome = unhealthy(command(), &["backups are dated in the future"]);
    outcome.saying("and 1 more");
    Plan::new(server, &store).database(app).start().is_red(&["backups are dated in the future"]);
}

/// The same over HTTP, and for whom a run of the future would have gone well after one that has failed.
#[test]
fn a_status_of_the_future_has_no_age_and_hides_no_failed_run() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("ageless");
    database.fill(5);
    let app = database.name.as_str();
    let daemon =
        Plan::new(server, &store).database("no_such_database").env("BACKUP_ON_START", "TRUE").start();
    let failed = || exchange(daemon.health_port, &request("GET", "/", &[], None)).status == 503;
    wait_until("the run at start to fail", LONG, || answers(daemon.health_port) && failed());
    daemon.patch(&serde_json::json!({"POSTGRES_DB": app})).expect(200);
    daemon.back_up();
    put(&store, "last", &format!("{app}-21060207-062815.sql.gz"), -AGES);
    let metrics = daemon.metrics();
    let labels = [("database", app)];
    let newest = metrics.get("backupgram_backup_last_success_timestamp_seconds", &labels);
    assert!(newest < number(&Value::from(now() + HOUR)), "{newest}");
    assert!(daemon.status()["last_backup"]["age_seconds"].as_i64().unwrap() < 600);

    let mut status = store.status();
    status["timestamp"] = (now() + AGES).into();
    fs::write(store.path().join(".status.json"), status.to_string()).unwrap();
    let told = daemon.status()["last_backup"].clone();
    assert_eq!(told["age_seconds"], Value::Null, "{told:#}");
    let metrics = daemon.metrics();
    assert!(metrics.find("backupgram_last_run_timestamp_seconds", &[]).is_none());
    let cli = command(server, &store, app).env("HEALTHCHECK_PORT", daemon.health_port.to_string());
    let reasons = [
        "last scheduled run ended with status 1",
        "the last run is dated in the future",
        "backups are dated in",
    ];
    unhealthy(cli, &reasons);
    daemon.is_red(&reasons[..2]);
}

/// It would never be given up otherwise.
#[test]
fn a_delivery_that_began_in_the_future_begins_now() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("sent");
    let api = BotApi::start(&["77"]);
    let run = || {
        let cli = api
            .settings("77")
            .into_iter()
            .fold(command(server, &store, &database.name), |cli, (key, value)| cli.env(key, value));
        cli.env("TELEGRAM_API_URL", "http://127.0.0.1:1").args(["backup"]).run().succeeded();
    };
    let pending = store.path().join(".telegram.json");
    let read = || -> Value { serde_json::from_slice(&fs::read(&pending).unwrap()).unwrap() };
    run();
    let mut deliveries = read();
    deliveries[0]["began"] = (now() + AGES).into();
    fs::write(&pending, deliveries.to_string()).unwrap();
    run();
    let began: Vec<i64> = (0..2).map(|at| read()[at]["began"].as_i64().unwrap()).collect();
    assert!(began.iter().all(|began| *began <= now()), "{began:?}");
}
