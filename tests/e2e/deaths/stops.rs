//! A run that somebody ends has failed, and says that it was ended.

use super::{PROGRAM, Scene};
use crate::harness::*;

#[test]
fn a_job_that_is_cancelled_has_failed_and_says_so() {
    let scene = Scene::new("cancelled", 2);
    let daemon = scene.plan().start();
    let hold = scene.databases[1].hold();
    let id = daemon.start_backup();
    wait_until("the first database to be backed up", LONG, || scene.store.dated("last").len() == 3);
    daemon.descendant("pg_dump");
    daemon.delete(&format!("/jobs/{id}")).expect(202);
    let job = daemon.failed(&id);
    assert_eq!((&job["exit_code"], &job["error"]), (&143.into(), &"cancelled".into()), "{job:#}");
    let said = "cancelled: stopped by SIGTERM";
    let run = scene.is_told_once("api", said);
    assert_eq!(run["error"], said);
    let states: Vec<_> = run["databases"].as_array().unwrap().iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states, ["OK", "FAILED"]);
    drop(hold);
    scene.is_red_until_the_next_run(&daemon, said);
}

/// It ends at once, before it can have a handler for the signal.
#[test]
fn a_job_that_is_cancelled_before_it_can_hear_of_it_has_failed() {
    let scene = Scene::new("early", 1);
    let pipe = scene.store.root().join("never");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = scene.script(&format!("exec cat '{}'", pipe.display()));
    let daemon = scene.plan().env("SCRIPTS_DIR", script).start();
    let id = daemon.start_backup();
    daemon.descendant("cat");
    daemon.delete(&format!("/jobs/{id}")).expect(202);
    let job = daemon.failed(&id);
    assert_eq!((&job["exit_code"], &job["error"]), (&143.into(), &"cancelled".into()), "{job:#}");
    let said = "cancelled: killed by SIGTERM";
    scene.is_told_once("api", said);
    assert_eq!(daemon.status()["last_backup"]["status"], "FAILED");
    daemon.is_red(&[said]);
}

/// The script of a backup that waits for ever, and does not listen if it is deaf.
fn waiting(scene: &Scene, is_deaf: bool) -> String {
    let pipe = scene.store.root().join("never");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let wait = format!("cat '{}'", pipe.display());
    match is_deaf {
        true => scene.script(&format!("trap '' TERM INT HUP\nwhile true; do {wait}; done")),
        false => {
            scene.store.hook("a_wait", &format!("#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\n{wait}\n"));
            scene.script(&format!("exec {PROGRAM} backup \"$@\""))
        }
    }
}

const DEAF: &str = "cancelled: killed by SIGKILL, because it did not stop";

#[test]
fn a_job_that_does_not_listen_is_killed_and_has_failed() {
    let scene = Scene::new("deaf", 1);
    let script = waiting(&scene, true);
    let daemon = scene.plan().env("SCRIPTS_DIR", script).start();
    let id = daemon.start_backup();
    daemon.descendant("cat");
    daemon.delete(&format!("/jobs/{id}")).expect(202);
    let job = daemon.failed(&id);
    assert_eq!((&job["exit_code"], &job["error"]), (&137.into(), &"cancelled".into()), "{job:#}");
    scene.is_told_once("api", DEAF);
    scene.script(&format!("exec {PROGRAM} backup \"$@\""));
    scene.is_red_until_the_next_run(&daemon, DEAF);
}

#[test]
fn a_job_that_ends_with_the_daemon_has_failed() {
    ends_with_the_daemon(true, false, "cancelled: stopped by SIGTERM");
}

#[test]
fn a_job_that_does_not_listen_to_the_end_of_the_daemon_has_failed() {
    ends_with_the_daemon(true, true, DEAF);
}

#[test]
fn a_scheduled_run_that_ends_with_the_daemon_has_failed() {
    ends_with_the_daemon(false, false, "stopped by SIGTERM");
}

#[test]
fn a_scheduled_run_that_does_not_listen_to_the_end_of_the_daemon_has_failed() {
    ends_with_the_daemon(false, true, DEAF);
}

#[track_caller]
fn ends_with_the_daemon(is_job: bool, is_deaf: bool, said: &str) {
    let scene = Scene::new("stopped", 1);
    let script = waiting(&scene, is_deaf);
    let plan = scene.plan().env("SCRIPTS_DIR", script);
    let mut daemon = plan.env("BACKUP_ON_START", if is_job { "FALSE" } else { "TRUE" }).start();
    if is_job {
        daemon.start_backup();
    }
    daemon.descendant("cat");
    let family = Process::descendants(daemon.pid());
    daemon.stop();
    assert!(!family.iter().any(Process::is_alive), "{family:?}");
    scene.is_told_once(if is_job { "api" } else { "schedule" }, said);
    // It is red for the next container as well, which has made no run.
    let again = scene.plan().env("HEALTHCHECK_PORT", daemon.health_port.to_string()).start();
    assert_eq!(again.status()["last_backup"]["status"], "FAILED");
    again.is_red(&[said]);
}
