//! When the health check says that something is wrong, and what; and what keeps the scheduler alive.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::command::Outcome;
use crate::harness::*;

/// `backupgram health` with the settings of this daemon.
fn check(daemon: &Daemon<'_>) -> Cli {
    settings_of(daemon, Cli::new(Cluster::shared(15), daemon.store).args(["health"]))
}

/// The container's health check with the settings of this daemon.
fn script(daemon: &Daemon<'_>) -> Cli {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_backupgram")).parent().unwrap();
    let mut cli = Cli::of_program(root.join("scripts/healthcheck.sh"), daemon.store);
    for (key, value) in command::settings(Cluster::shared(15), daemon.store) {
        cli = cli.env(&key, value);
    }
    settings_of(daemon, cli.env("PATH", format!("{}:/usr/bin:/bin", programs.display())))
}

fn settings_of(daemon: &Daemon<'_>, cli: Cli) -> Cli {
    cli.env("HEALTHCHECK_PORT", daemon.health_port.to_string())
        .env("REST_API_ENABLE", "TRUE")
        .env("REST_API_BIND", "127.0.0.1")
        .env("REST_API_PORT", daemon.port.to_string())
        .env("REST_API_TOKEN", &daemon.token)
        // Before the first backup the age of process 1 counts, and the tester's machine may be up for long.
        .env("BACKUP_MAX_AGE_HOURS", "1000000")
}

/// Asserts that the check was well, in one line.
#[track_caller]
fn healthy(cli: Cli) {
    let outcome = cli.run().succeeded();
    assert_eq!(outcome.text(), "healthy\n");
}

/// Asserts that the check failed for these reasons and no others, in one line.
#[track_caller]
fn unhealthy(cli: Cli, reasons: &[&str]) -> Outcome {
    let outcome = cli.run().exited_with(1);
    let text = outcome.text();
    let line = text.strip_suffix('\n').and_then(|line| line.strip_prefix("unhealthy: "));
    let line = line.unwrap_or_else(|| panic!("no such line\n{outcome}"));
    assert!(!line.contains('\n'), "more than a line\n{outcome}");
    assert_eq!(line.split("; ").count(), reasons.len(), "{reasons:?}\n{outcome}");
    for reason in reasons {
        assert!(line.contains(reason), "{reason:?}\n{outcome}");
    }
    outcome
}

/// Waits until the scheduler's port answers.
#[track_caller]
fn up(daemon: &Daemon<'_>) {
    wait_until("the scheduler to answer", SOON, || answers(daemon.health_port));
}

/// Sets the time of the last backup back.
fn backdate(store: &Store, hours: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut status = store.status();
    status["timestamp"] = json!(now - hours * 3600);
    fs::write(store.path().join(".status.json"), status.to_string()).unwrap();
}

#[test]
fn a_fresh_daemon_is_healthy_before_and_after_its_first_backup() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("fresh");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    up(&daemon);
    healthy(check(&daemon));
    healthy(script(&daemon));
    let outcome = check(&daemon).args(["--json"]).run().succeeded();
    assert_eq!(outcome.stdout, "{\"healthy\":true,\"problems\":[],\"verified\":{}}\n");
    // There is none yet, and no time left for it.
    unhealthy(check(&daemon).env("BACKUP_MAX_AGE_HOURS", "0"), &["no backup has been made"]);
    daemon.back_up();
    healthy(check(&daemon));
    check(&daemon).args(["--no-such-option"]).run().exited_with(2);
}

#[test]
fn a_part_that_does_not_answer_is_named() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let mut daemon = Plan::new(server, &store).database("app").start();
    up(&daemon);
    let nobody = cluster::free_port().to_string();
    let scheduler = format!("scheduler does not answer on port {nobody}");
    unhealthy(check(&daemon).env("HEALTHCHECK_PORT", &nobody), &[&scheduler]);
    let api = format!("API does not answer on port {nobody}");
    unhealthy(check(&daemon).env("REST_API_PORT", &nobody), &[&api]);
    healthy(check(&daemon).env("REST_API_PORT", &nobody).env("REST_API_ENABLE", "FALSE"));
    unhealthy(check(&daemon).env("REST_API_TOKEN", "another token than the daemon's"), &["token"]);
    healthy(check(&daemon).env("HEALTHCHECK_PORT", "0"));
    let ports = [daemon.health_port, daemon.port].map(|port| format!("port {port}"));
    daemon.stop();
    let told = script(&daemon).run().exited_with(1);
    assert!(told.text().starts_with("unhealthy: ") && told.text().lines().count() == 1, "{told}");
    let outcome = unhealthy(check(&daemon), &[&ports[0], &ports[1]]);
    assert!(!outcome.text().contains(&daemon.token));
    let outcome = check(&daemon).args(["--json"]).run().exited_with(1);
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["healthy"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), 2, "{json}");
}

#[test]
fn a_failed_backup_is_unhealthy_until_one_succeeds() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("failed");
    database.fill(5);
    let daemon = Plan::new(server, &store).database("no_such_database").start();
    up(&daemon);
    daemon.failed(&daemon.start_backup());
    let outcome = unhealthy(check(&daemon), &["no_such_database"]);
    assert!(outcome.text().contains("the last backup failed"), "{outcome}");
    daemon.patch(&json!({"POSTGRES_DB": database.name})).expect(200);
    daemon.back_up();
    healthy(check(&daemon));
}

#[test]
fn a_failed_scheduled_run_is_unhealthy_until_a_later_backup_succeeds() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("run");
    database.fill(5);
    let daemon =
        Plan::new(server, &store).database("no_such_database").env("BACKUP_ON_START", "TRUE").start();
    wait_until("the run at start to fail", LONG, || {
        answers(daemon.health_port)
            && exchange(daemon.health_port, &request("GET", "/", &[], None)).status == 503
    });
    let outcome = check(&daemon).run().exited_with(1);
    assert!(outcome.text().contains("the last scheduled run ended with status 1"), "{outcome}");
    let told = script(&daemon).run().exited_with(1);
    assert!(told.text().contains("the last scheduled run"), "{told}");
    let failed = store.status()["timestamp"].as_u64().unwrap();
    daemon.patch(&json!({"POSTGRES_DB": database.name})).expect(200);
    // Times are whole seconds: a success in the same second would not count as later.
    wait_until("a backup of a later second", LONG, || {
        daemon.back_up();
        store.status()["timestamp"].as_u64().unwrap() > failed
    });
    healthy(check(&daemon));
}

#[test]
fn a_backup_that_is_too_old_is_unhealthy_by_the_limit_in_force() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("old");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    up(&daemon);
    daemon.back_up();
    let check = || check(&daemon).env("BACKUP_MAX_AGE_HOURS", "2");
    healthy(check());
    backdate(&store, 3);
    let outcome = unhealthy(check(), &["3 h old"]);
    assert!(outcome.text().contains("BACKUP_MAX_AGE_HOURS allows 2"), "{outcome}");
    daemon.patch(&json!({"BACKUP_MAX_AGE_HOURS": 4})).expect(200);
    healthy(check());
    backdate(&store, 5);
    unhealthy(check(), &["allows 4"]);
    // Too old and failed: both are said.
    let mut status = store.status();
    status["status"] = json!("FAILED");
    status["error"] = json!("the disk is full");
    fs::write(store.path().join(".status.json"), status.to_string()).unwrap();
    unhealthy(check(), &["the last backup failed: the disk is full", "5 h old"]);
    daemon.delete("/config/BACKUP_MAX_AGE_HOURS").expect(200);
    daemon.back_up();
    healthy(check());
}

/// In the original image: the scheduler died and nobody noticed.
#[test]
fn a_scheduler_that_is_killed_comes_back_and_its_end_is_told() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    up(&daemon);
    let first = daemon.status()["scheduler"].clone();
    assert_eq!((&first["restarts"], &first["last_exit"]), (&json!(0), &Value::Null), "{first}");
    let process = daemon.schedulers().remove(0);
    assert_eq!(first["pid"], process.pid);
    process.signal(Signal::SIGKILL);
    wait_until("another scheduler", SOON, || daemon.status()["scheduler"]["restarts"] == 1);
    up(&daemon);
    let second = daemon.status()["scheduler"].clone();
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!((&second["state"], &second["last_exit"]), (&json!("running"), &json!(137)), "{second}");
    assert_eq!(daemon.schedulers().len(), 1);
    assert!(!Process::descendants(daemon.pid()).iter().any(|process| process.state == 'Z'));
    healthy(check(&daemon));
}

#[test]
fn a_scheduler_that_cannot_live_is_told_as_failing_and_is_unhealthy() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let broken = broken_scheduler(&store);
    let mut daemon = Plan::new(server, &store).database("app").env("GOCRON_BIN", broken).start();
    wait_until("the scheduler to be failing", SOON, || daemon.status()["scheduler"]["state"] == "failing");
    let status = daemon.status()["scheduler"].clone();
    assert_eq!(status["last_exit"], 1, "{status}");
    assert!(status["restarts"].as_u64() >= Some(2), "{status}");
    let outcome =
        unhealthy(check(&daemon), &["scheduler does not answer", "keeps exiting soon after its start"]);
    assert!(!outcome.text().contains(&daemon.token));
    wait_until("every zombie to be gone", SOON, || {
        Process::descendants(daemon.pid()).iter().all(|process| process.state != 'Z')
    });
    // The API works on, and the daemon stops as ever.
    daemon.failed(&daemon.start_backup());
    assert!(daemon.log().contains("no scheduling today"), "{}", daemon.log());
    let begun = std::time::Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
