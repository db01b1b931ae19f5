//! Two containers with a server each, and one volume.

use std::fs;

use serde_json::Value;

use super::{NO_SUCH, Scene};
use crate::harness::*;

#[test]
fn of_two_servers_on_one_volume_neither_hides_the_failure_of_the_other() {
    let scene = Scene::new("mine", Store::new());
    let (other, theirs) = (Cluster::shared(18), Cluster::shared(18).database("theirs"));
    theirs.fill(50);
    let second = Plan::new(other, &scene.store).database(&theirs.name).env("TMPDIR", scene.tmp()).start();
    let first = scene.plan().env("POSTGRES_DB", NO_SUCH).start();
    first.failed(&first.start_backup());
    second.back_up();
    let addresses = [scene.server, other].map(|server| format!("127.0.0.1:{}", server.port()));
    // The success of the one is the last run of all.
    assert_eq!(scene.store.status()["server"], addresses[1].as_str());
    first.is_red(&["the last backup failed: "]);
    assert_eq!(first.status()["last_backup"]["status"], "FAILED");
    assert_eq!(second.status()["last_backup"]["status"], "OK");
    assert_eq!(second.status()["problems"], Value::Array(Vec::new()));
    assert_eq!((second.health_port().0, first.health_port().0), (200, 503));
    for (daemon, failures, success) in [(&first, 1.0, 0.0), (&second, 0.0, 1.0)] {
        let metrics = daemon.metrics();
        assert_eq!(metrics.get("backupgram_backup_failures_total", &[]), failures);
        assert_eq!(metrics.get("backupgram_last_run_success", &[]), success);
    }
    // The list of runs has those of both, each with its server.
    let history = first.get("/history").expect(200).json();
    let servers: Vec<&Value> =
        history["history"].as_array().unwrap().iter().map(|run| &run["server"]).collect();
    assert_eq!(servers, [addresses[1].as_str(), addresses[0].as_str()]);
    let table = scene.cli(&["history"]).run().succeeded();
    assert!(table.text().contains(&format!("of {}: ", addresses[1])), "{table}");
    let mine: Value =
        serde_json::from_str(&scene.cli(&["status", "--json"]).run().succeeded().stdout).unwrap();
    assert_eq!((&mine["status"], &mine["server"]), (&"FAILED".into(), &addresses[0].as_str().into()));
    // And the other way round.
    first.patch(&serde_json::json!({"POSTGRES_DB": scene.database.name})).expect(200);
    first.back_up();
    second.patch(&serde_json::json!({"POSTGRES_DB": NO_SUCH})).expect(200);
    second.failed(&second.start_backup());
    first.is_green();
    assert_eq!(second.health_port().0, 503);
    assert!(second.status()["problems"].to_string().contains("the last backup failed: "));
    drop((first, second));
    fs::remove_file(scene.store.path().join(".api-overrides.env")).unwrap();

    // Whoever starts there is told of the other.
    let warning =
        format!("holds backups of {} from the last two days, and {} would be", addresses[1], addresses[0]);
    scene.cli(&["check-env"]).run().succeeded().saying(&warning);
    scene.cli(&["backup"]).run().succeeded().saying(&warning);
    let daemon = scene.plan().start();
    assert!(daemon.log().contains(&warning), "{}", daemon.log());
    drop(daemon);
    let scheduler = Cli::init(scene.server, &scene.store).env("HEALTHCHECK_PORT", "0");
    let running = scheduler.env("POSTGRES_DB", &scene.database.name).start();
    wait_until("the scheduler to tell", SOON, || {
        running.text().contains(&format!("go-cron: {warning}"))
            || running.text().matches(&warning).count() > 1
    });
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    // A server that has been moved is told for two days.
    let path = scene.store.path().join(".history.jsonl");
    let age = |text: String| {
        let runs = text.lines().map(|line| {
            let mut run: Value = serde_json::from_str(line).unwrap();
            run["end"] = (run["end"].as_i64().unwrap() - 2 * 86_400 - 60).into();
            run.to_string() + "\n"
        });
        runs.collect::<String>()
    };
    fs::write(&path, age(fs::read_to_string(&path).unwrap())).unwrap();
    let quiet = scene.cli(&["check-env"]).run().succeeded();
    assert!(!quiet.text().contains("holds backups of"), "{quiet}");
}
