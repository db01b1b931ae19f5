//! Runs that take longer than BACKUP_MAX_RUN_HOURS.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{health, history, notes, silent};
use crate::harness::command::Running;
use crate::harness::*;

/// Eleven seconds: even a slow machine has begun to dump by then.
const LIMIT: &str = "0.003";

/// A run with this limit, and hooks that write down their events.
fn limited(server: &Cluster, store: &Store, database: &str) -> Cli {
    store.hook("00-told", "#!/bin/sh\necho \"$1\" >>\"$BACKUP_DIR/../told\"\n");
    Cli::backup(server, store, database).env("BACKUP_MAX_RUN_HOURS", LIMIT)
}

/// Sees that a run was ended, was at this, and that all are told.
#[track_caller]
fn ended(store: &Store, running: Running, doing: &str) {
    let begun = Instant::now();
    let outcome = running.wait().exited_with(1);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}\n{outcome}", begun.elapsed());
    let said = "it took longer than BACKUP_MAX_RUN_HOURS (0.003 h); its last step: ";
    assert!(outcome.text().contains(said) && outcome.text().contains(doing), "{doing}\n{outcome}");
    let status = store.status();
    let error = status["error"].as_str().unwrap();
    assert!(status["status"] == "FAILED" && error.contains(said) && error.contains(doing), "{status:#}");
    let run: Value = history(store).pop().unwrap();
    assert!(run["result"] == "FAILED" && run["error"] == error, "{run:#}");
    let told = fs::read_to_string(store.root().join("told")).unwrap_or_default();
    assert!(told.ends_with("error\n"), "{told}");
    let (host, port) = status["server"].as_str().unwrap().split_once(':').unwrap();
    let check = health(Cluster::shared(15), store).env("POSTGRES_HOST", host).env("POSTGRES_PORT", port);
    let checked = check.run().exited_with(1);
    assert!(checked.text().contains(doing), "{checked}");
    assert!(store.partial().is_empty() && notes(store).is_empty());
}

#[test]
fn a_run_that_takes_too_long_is_ended_whatever_it_is_at_and_told_as_failed() {
    let server = Cluster::shared(15);
    let database = server.database("limited");
    database.fill(5);
    let stores = [(); 6].map(|()| Store::new());
    let [hook, dump, server_down, locked, webhook, busy] = &stores;
    let receiver = Webhook::start();
    hook.hook(
        "10-deaf",
        "#!/bin/sh\ntrap '' TERM\n[ \"$1\" != pre-backup ] || while true; do sleep 1000; done\n",
    );
    let hold = database.hold();
    let brake = Brake::new(busy);
    let other = Cli::backup(server, busy, &database.name).start();
    brake.holds(1);
    let (_listener, url) = silent();
    let nobody = cluster::free_port().to_string();
    let of_hook = limited(server, hook, &database.name).env("WEBHOOK_URL", receiver.url("/any")).start();
    let of_dump = limited(server, dump, &database.name).start();
    let of_server = limited(server, server_down, &database.name).env("POSTGRES_PORT", &nobody);
    let of_server = of_server.env("POSTGRES_CONNECT_TIMEOUT", "600").start();
    let of_lock = limited(server, locked, &database.name).env("BACKUP_DIR", busy.path());
    let of_lock = of_lock.env("HOOKS_DIR", locked.hooks()).env("BACKUP_LOCK_WAIT", "600").start();
    let of_webhook = limited(server, webhook, &database.name).env("WEBHOOK_PRE_BACKUP_URL", url).start();

    ended(dump, of_dump, &format!("dump of {}: waits for a lock on table public.customers", database.name));
    ended(server_down, of_server, "connecting to the server 127.0.0.1");
    ended(webhook, of_webhook, "webhook for pre-backup");
    ended(hook, of_hook, "pre-backup hook 10-deaf");
    let error = receiver.calls("/any").pop().unwrap().json()["error"].to_string();
    assert!(error.contains("BACKUP_MAX_RUN_HOURS") && error.contains("10-deaf"), "{error}");
    assert_eq!(receiver.calls("/any").len(), 1);
    // It has failed in the directory of the one that it waited for, which has run its hooks, too.
    let outcome = of_lock.wait().exited_with(1);
    assert!(outcome.text().contains("its last step: waiting: a backup is running: pid "), "{outcome}");
    assert_eq!(history(busy).pop().unwrap()["result"], "FAILED");
    assert_eq!(fs::read_to_string(busy.root().join("told")).unwrap(), "error\n");
    drop(hold);
    brake.release();
    other.wait().succeeded();
}

#[test]
fn a_run_that_takes_too_long_after_its_backups_are_there_has_failed_all_the_same() {
    let server = Cluster::shared(15);
    let database = server.database("late");
    database.fill(5);
    let (hook, telegram) = (Store::new(), Store::new());
    hook.hook("10-slow", "#!/bin/sh\n[ \"$1\" != post-backup ] || exec sleep 1000\n");
    let (_listener, url) = silent();
    // A hook that ends after the run has some time of its own.
    let of_hook = limited(server, &hook, &database.name).start();
    let of_telegram = limited(server, &telegram, &database.name).env("TELEGRAM_API_URL", url);
    let of_telegram =
        of_telegram.env("TELEGRAM_BOT_TOKEN", telegram::TOKEN).env("TELEGRAM_CHAT_ID", "5").start();
    ended(&hook, of_hook, "post-backup hook 10-slow");
    ended(&telegram, of_telegram, "sending to Telegram");
    for store in [&hook, &telegram] {
        store.only("last");
        store.assert_every_name_is_a_whole_backup();
        assert_eq!(store.status()["databases"][0]["state"], "OK");
        let runs = history(store);
        let results: Vec<_> = runs.iter().map(|run| run["result"].clone()).collect();
        assert_eq!(results, ["FAILED"], "a run has one line");
    }
    // What was said of the copies by then is still there.
    for record in [history(&telegram).remove(0), telegram.status()] {
        assert_eq!(record["delivery"]["telegram"], "failed", "{record:#}");
    }
}

#[test]
fn a_job_and_a_scheduled_run_that_take_too_long_are_red_everywhere() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("job");
    database.fill(5);
    let hold = database.hold();
    let plan = Plan::new(server, &store).database(&database.name).env("BACKUP_MAX_RUN_HOURS", LIMIT);
    let daemon = plan.env("BACKUP_ON_START", "TRUE").start();
    wait_until("the scheduled run to be ended", LONG, || daemon.health_port().0 == 503);
    assert!(history(&store)[0]["error"].as_str().unwrap().contains("BACKUP_MAX_RUN_HOURS"));
    let job = daemon.failed(&daemon.start_backup());
    assert!(job["exit_code"] == 1 && job["log_tail"].to_string().contains("BACKUP_MAX_RUN_HOURS"), "{job:#}");
    let last = daemon.status()["last_backup"].clone();
    assert!(last["status"] == "FAILED" && last["error"].to_string().contains("waits for a lock"), "{last:#}");
    assert_eq!(daemon.metrics().get("backupgram_last_run_success", &[]), 0.0);
    daemon.is_red(&["the last backup failed: it took longer than BACKUP_MAX_RUN_HOURS (0.003 h)"]);
    drop(hold);
    daemon.back_up();
}
