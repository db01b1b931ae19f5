//! Runs that die with who has started them, as when a container is killed or a machine loses power.

use nix::sys::signal::Signal;

use super::Scene;
use crate::harness::*;

const ORPHANED: &str = "the run died together with the process that started it";

#[test]
fn a_job_that_dies_with_the_daemon_is_recorded_by_the_next_start() {
    if !may_unshare() {
        return;
    }
    let scene = Scene::new("lost", 1);
    let hold = scene.databases[0].hold();
    // All of a process namespace dies with its first process, like a container.
    let mut daemon = scene.plan().first_process().start();
    daemon.start_backup();
    daemon.descendant("pg_dump");
    let family = Process::descendants(daemon.pid());
    daemon.signal(Signal::SIGKILL);
    daemon.wait(SOON);
    wait_until("all of it to end", SOON, || !family.iter().any(Process::is_alive));
    assert_eq!(scene.store.status()["status"], "OK", "nobody knows yet");
    drop(hold);
    drop(daemon);
    let daemon = scene.plan().start();
    scene.is_told_once("api", ORPHANED);
    scene.is_red_until_the_next_run(&daemon, ORPHANED);
    assert_eq!(scene.history().len(), 3);
}

#[test]
fn a_run_that_outlives_the_daemon_is_left_to_itself() {
    let scene = Scene::new("outlives", 1);
    let hold = scene.databases[0].hold();
    let mut daemon = scene.plan().start();
    daemon.start_backup();
    daemon.descendant("pg_dump");
    let family = Process::descendants(daemon.pid());
    let run = family.iter().find(|process| process.name == "backupgram").expect("the run").clone();
    daemon.signal(Signal::SIGKILL);
    daemon.wait(SOON);
    let next = scene.plan().start();
    let met = format!("sweep: a backup is running: pid {}, ", run.pid);
    wait_until("the sweep to meet it", SOON, || next.log().contains(&met));
    drop(hold);
    wait_until("the run to end", LONG, || !run.is_alive());
    family.iter().filter(|process| process.is_alive()).for_each(|process| process.signal(Signal::SIGKILL));
    let history = scene.history();
    assert_eq!((history.len(), &history[0]["result"]), (2, &"OK".into()), "{history:#?}");
    assert!(scene.told().is_empty());
}
