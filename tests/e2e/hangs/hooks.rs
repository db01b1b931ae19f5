//! Hooks that take too long, and what they leave behind.

use std::fs;
use std::time::{Duration, Instant};

use super::history;
use crate::harness::*;

/// A hook that says its process id, and does not end at `event`, nor at TERM.
fn deaf(event: &str) -> String {
    format!(
        "#!/bin/sh\necho \"$1\" >>\"$BACKUP_DIR/../told\"\n[ \"$1\" = {event} ] || exit 0\ntrap '' TERM\n\
         echo $$ >\"$BACKUP_DIR/../hook\"\nsleep 1000 &\necho $! >\"$BACKUP_DIR/../child\"\n\
         while true; do sleep 1000; done\n"
    )
}

/// The process whose id a hook has written.
fn process(store: &Store, name: &str) -> Process {
    wait_for(&format!("the process id of {name}"), SOON, || {
        let text = fs::read_to_string(store.root().join(name)).ok()?;
        Process::find(text.trim().parse().ok()?)
    })
}

#[test]
fn a_pre_backup_hook_that_takes_too_long_is_ended_with_its_children_and_fails_the_run() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let webhook = Webhook::start();
    let database = server.database("slow");
    database.fill(5);
    store.hook("20-slow", &deaf("pre-backup"));
    store.hook("30-never", "#!/bin/sh\n[ \"$1\" != pre-backup ] || touch \"$BACKUP_DIR/../never\"\n");
    let running = Cli::backup(server, &store, &database.name)
        .env("HOOK_TIMEOUT", "2s")
        .env("WEBHOOK_ERROR_URL", webhook.url("/error"))
        .start();
    let family = ["hook", "child"].map(|name| process(&store, name));
    let begun = Instant::now();
    let outcome = running.wait().exited_with(1);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let said = "the pre-backup hook stopped the backup: pre-backup hook 20-slow: stopped after \
                HOOK_TIMEOUT (2 s)";
    assert!(outcome.text().contains(said), "{outcome}");
    assert!(!family.iter().any(Process::is_alive), "{family:?}");
    assert!(!store.root().join("never").exists(), "the row ends with the first that fails");
    assert_eq!(store.status()["status"], "FAILED");
    assert_eq!((history(&store).len(), &history(&store)[0]["result"]), (1, &"FAILED".into()));
    assert!(webhook.first_call("/error").json()["error"].to_string().contains("20-slow"));
    assert_eq!(fs::read_to_string(store.root().join("told")).unwrap(), "pre-backup\nerror\n");
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.is_red(&["the last backup failed: ", "pre-backup hook 20-slow: stopped"]);
}

#[test]
fn a_hook_after_the_backup_that_takes_too_long_is_ended_and_fails_the_run_and_one_after_a_failure_is_told() {
    let server = Cluster::shared(15);
    let database = server.database("after");
    database.fill(5);
    let after = Store::new();
    after.hook("slow", "#!/bin/sh\n[ \"$1\" != post-backup ] || exec sleep 1000\n");
    let error = Store::new();
    error.hook("slow", "#!/bin/sh\n[ \"$1\" != error ] || exec sleep 1000\n");
    let limited = |store, name| Cli::backup(server, store, name).env("HOOK_TIMEOUT", "1s").start();
    let (succeeds, fails) = (limited(&after, &database.name), limited(&error, "no_such_database"));
    let outcome = succeeds.wait().exited_with(1);
    assert!(
        outcome.text().contains("backup failed: post-backup hook slow: stopped after HOOK_TIMEOUT"),
        "{outcome}"
    );
    assert_eq!((after.status()["status"].as_str(), after.names("last").len()), (Some("FAILED"), 2));
    let daemon = Plan::new(server, &after).database(&database.name).start();
    daemon.is_red(&["the last backup failed: ", "post-backup hook slow: stopped"]);
    let outcome = fails.wait().exited_with(1);
    assert!(outcome.text().contains("warning: error hook slow: stopped after HOOK_TIMEOUT"), "{outcome}");
}

#[test]
fn a_hook_that_cleans_up_when_it_is_told_to_end_has_time_for_that() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let script = "#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\n\
                  trap 'sleep 1; touch \"$BACKUP_DIR/../clean\"; exit 0' TERM\nwhile true; do sleep 0.1; done\n";
    store.hook("tidy", script);
    let running = Cli::backup(server, &store, "app").env("HOOK_TIMEOUT", "1s");
    running.run().exited_with(1).saying("pre-backup hook tidy: stopped after HOOK_TIMEOUT");
    assert!(store.root().join("clean").exists());
}

#[test]
fn a_hook_without_a_limit_takes_its_time_and_what_it_leaves_behind_lives_as_long_as_the_run() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("leaves");
    database.fill(5);
    // Such as a tunnel that the backup goes through.
    let script = "#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\n(trap '' TERM; exec sleep 1000) &\n\
                  echo $! >\"$BACKUP_DIR/../child\"\n";
    store.hook("10-leaves", script);
    let hold = database.hold();
    let mut running = Cli::backup(server, &store, &database.name).env("HOOK_TIMEOUT", "0").start();
    running.descendant("pg_dump");
    let child = process(&store, "child");
    assert!(child.is_alive());
    drop(hold);
    running.wait().succeeded();
    wait_until("what the hook has left to be gone", SOON, || !child.is_alive());
}

#[test]
fn hooks_are_the_ones_that_run_parts_names_in_its_order_with_its_umask() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("order");
    database.fill(5);
    let script = "#!/bin/sh\necho \"${0##*/} $1 $# $(umask)\" >>\"$BACKUP_DIR/../calls\"\n";
    for name in ["b", "A", "10_x", "has.dot", "with~"] {
        store.hook(name, script);
    }
    fs::write(store.hooks().join("plain"), script).unwrap();
    fs::create_dir(store.hooks().join("directory")).unwrap();
    Cli::shell(server, &store, "umask 077; exec backupgram backup")
        .env("POSTGRES_DB", &database.name)
        .run()
        .succeeded();
    let calls = fs::read_to_string(store.root().join("calls")).unwrap();
    let expected = ["10_x", "A", "b"].map(|name| format!("{name} pre-backup 1 0022\n")).concat()
        + &["b", "A", "10_x"].map(|name| format!("{name} post-backup 1 0022\n")).concat();
    assert_eq!(calls, expected);
}
