//! The runs of the past, whoever asked for them.

use std::fs::File;
use std::io::Write;

use serde_json::{Value, json};

use crate::harness::*;

/// GET /history with this query.
#[track_caller]
fn asked(daemon: &Daemon<'_>, query: &str) -> Vec<Value> {
    let json = daemon.get(&format!("/history{query}")).expect(200).json();
    assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
    json["history"].as_array().expect("a list of runs").clone()
}

/// `backupgram history --json` with these arguments.
#[track_caller]
fn told(store: &Store, arguments: &[&str]) -> Vec<Value> {
    let outcome =
        Cli::new(Cluster::shared(15), store).args(["history", "--json"]).args(arguments).run().succeeded();
    let json: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"));
    json["history"].as_array().expect("a list of runs").clone()
}

#[test]
fn every_run_is_remembered_with_who_asked_for_it_the_newest_first() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("runs");
    database.fill(5);
    assert_eq!(told(&store, &[]), Vec::<Value>::new());
    let outcome = Cli::new(server, &store).args(["history"]).run().succeeded();
    assert!(outcome.stdout.contains("no backup has been made yet"), "{outcome}");

    Cli::backup(server, &store, &database.name).run().succeeded();
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    Cli::backup(server, &store, "no_such_database").run().exited_with(1);
    daemon.patch(&json!({"SCHEDULE": "@every 1s"})).expect(200);
    wait_until("a scheduled run", LONG, || asked(&daemon, "").len() > 3);
    daemon.patch(&json!({"SCHEDULE": "@yearly"})).expect(200);
    wait_until("only the new scheduler", SOON, || daemon.schedulers().len() == 1);

    let runs = asked(&daemon, "");
    let scheduled = runs.len() - 3;
    assert!(
        runs[..scheduled].iter().all(|run| run["trigger"] == "schedule" && run["result"] == "OK"),
        "{runs:#?}"
    );
    let rest: Vec<(&Value, &Value)> =
        runs[scheduled..].iter().map(|run| (&run["trigger"], &run["result"])).collect();
    assert_eq!(
        rest,
        [(&json!("cli"), &json!("FAILED")), (&json!("api"), &json!("OK")), (&json!("cli"), &json!("OK"))]
    );
    let starts: Vec<i64> = runs.iter().map(|run| run["start"].as_i64().unwrap()).collect();
    assert!(starts.is_sorted_by(|newer, older| newer >= older), "{starts:?}");
    for run in &runs {
        assert!(run["end"].as_i64() >= run["start"].as_i64(), "{run:#}");
        let [one] = run["databases"].as_array().unwrap().as_slice() else { panic!("{run:#}") };
        if run["result"] == "OK" {
            assert_eq!((&one["name"], &one["state"]), (&json!(database.name), &json!("OK")), "{run:#}");
            let file = store.path().join(one["file"].as_str().unwrap());
            assert_eq!(one["size"], file.metadata().unwrap().len(), "{run:#}");
        } else {
            assert_eq!(one["name"], "no_such_database");
            assert!(one["error"].as_str().unwrap().contains("no_such_database"), "{run:#}");
        }
    }
    assert_eq!(told(&store, &["--limit", "1000"]), runs);
    for limit in 1..=3 {
        assert_eq!(asked(&daemon, &format!("?limit={limit}")), runs[..limit]);
        assert_eq!(told(&store, &["--limit", &limit.to_string()]), runs[..limit]);
    }
    assert_eq!(asked(&daemon, "?limit=1000"), runs);
    let table = Cli::new(server, &store).args(["history"]).run().succeeded();
    assert_eq!(table.stdout.lines().count(), 1 + runs.len().min(20), "a heading, and a line for each");
    assert!(table.stdout.lines().last().unwrap().contains("cli"), "{table}");
}

#[test]
fn a_bad_limit_is_refused() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("app").start();
    for limit in
        ["0", "-1", "1001", "x", "", "1.5", "1e2", "%201", "99999999999999999999999", "1,2", "0x1", "%D9%A3"]
    {
        let sentence = daemon.get(&format!("/history?limit={limit}")).error(400);
        assert!(sentence.contains("limit"), "{sentence}");
    }
    assert_eq!(asked(&daemon, "?limit=1"), Vec::<Value>::new());
    daemon.post_nothing("/history").error(405);
    daemon.anonymous("GET", "/history").error(401);
    for limit in ["x", "-1", ""] {
        Cli::new(Cluster::shared(15), &store).args(["history", "--limit", limit]).run().exited_with(2);
    }
}

#[test]
fn a_line_that_a_crash_tore_hides_no_other() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("torn");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let first = asked(&daemon, "");
    assert_eq!(first.len(), 1);
    let path = store.path().join(".history.jsonl");
    let whole = std::fs::read(&path).unwrap();
    for torn in [&whole[..1], &whole[..whole.len() / 2], &whole[..whole.len() - 2], b"\xff\xfe", b"\n\n\n"] {
        File::options().append(true).open(&path).unwrap().write_all(torn).unwrap();
        assert_eq!(asked(&daemon, ""), first);
        assert_eq!(told(&store, &[]), first);
        assert_eq!(asked(&daemon, "?limit=1"), first);
        std::fs::write(&path, &whole).unwrap();
    }
    File::options().append(true).open(&path).unwrap().write_all(&whole[..whole.len() / 2]).unwrap();
    daemon.back_up();
    Cli::backup(server, &store, &database.name).run().succeeded();
    let runs = asked(&daemon, "");
    let triggers: Vec<&Value> = runs.iter().map(|run| &run["trigger"]).collect();
    assert_eq!(triggers, ["cli", "api", "api"]);
    assert_eq!(runs[2..], first);
}

/// In the original image: a run that found the lock held had exit status 0 and left no trace.
#[test]
fn a_run_that_the_lock_refused_is_remembered_as_failed() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("refused");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let hold = database.hold();
    let mut first = Cli::backup(server, &store, &database.name).start();
    first.descendant("pg_dump");
    let outcome = Cli::backup(server, &store, &database.name).run().exited_with(75);
    let pid = first.pid().to_string();
    assert!(outcome.text().contains(&pid), "{outcome}");
    let runs = asked(&daemon, "");
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!((&runs[0]["trigger"], &runs[0]["result"]), (&json!("cli"), &json!("FAILED")));
    assert!(runs[0]["error"].as_str().unwrap().contains(&pid), "{runs:#?}");
    drop(hold);
    first.wait().succeeded();
    let results: Vec<Value> = asked(&daemon, "").iter().map(|run| run["result"].clone()).collect();
    assert_eq!(results, ["OK", "FAILED"]);
    // The run that was refused is not the last result.
    assert_eq!(daemon.status()["last_backup"]["status"], "OK");
}
