//! The daemon stops in order: in time, with nothing left behind and nothing half done.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;

/// Asserts that none of these processes is left, and none that knows this directory.
#[track_caller]
fn assert_nobody_is_left(family: &[Process], store: &Store) {
    let left: Vec<&Process> = family.iter().filter(|process| process.is_alive()).collect();
    assert!(left.is_empty(), "{left:?}");
    let directory = store.root().to_str().unwrap();
    let knows = |process: &Process| {
        process.environment_holds(directory) || process.command_line().contains(directory)
    };
    let strays: Vec<Process> = Process::all()
        .into_iter()
        .filter(|process| {
            process.state != 'Z' && knows(process) && process.command_line().contains("backupgram")
        })
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}

/// In the original image: a stop neither ended nor awaited the API's jobs.
#[test]
fn a_stop_during_a_dump_ends_everything_in_time() {
    let server = Cluster::shared(15);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let store = Store::new();
        let database = server.database("stop");
        database.fill(5);
        let mut daemon = Plan::new(server, &store).database(&database.name).start();
        let hold = database.hold();
        let running = daemon.start_backup();
        let queued: Vec<String> = (0..3).map(|_| daemon.start_backup()).collect();
        daemon.descendant("pg_dump");
        assert_eq!(daemon.job(&running)["state"], "running");
        let family = Process::descendants(daemon.pid());
        assert!(family.iter().any(|process| process.name == "go-cron"), "{family:?}");
        daemon.signal(signal);
        let status = daemon.wait(STOP_LIMIT);
        assert_eq!(status.code(), Some(0), "{status}");
        assert_nobody_is_left(&family, &store);
        let log = daemon.log();
        for id in queued.iter().chain([&running]) {
            let told = log.lines().any(|line| line.contains(id.as_str()) && line.contains("cancel"));
            assert!(told, "job {id} was not cancelled");
        }
        assert!(SLOTS.iter().all(|slot| store.names(slot).is_empty()));
        drop(hold);
        Cli::backup(server, &store, &database.name).run().succeeded();
        assert!(store.partial().is_empty(), "{:?}", store.partial());
    }
}

#[test]
fn a_stop_during_a_restore_leaves_the_target_as_it_was() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("stop_restore");
    database.fill(100);
    let gate = database.gate();
    let mut daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    database.sql("UPDATE orders SET note = 'newer'");
    let before = database.dump();
    gate.shut();
    daemon.start_restore(&format!("last/{}", store.only("last")), &database.name);
    wait_until("the restore to reach the gate", LONG, || gate.is_waited_for(server));
    let family = Process::descendants(daemon.pid());
    daemon.stop();
    assert_nobody_is_left(&family, &store);
    assert_eq!(database.dump(), before);
    server.assert_no_scratch_database_is_left();
}

#[test]
fn a_job_that_does_not_listen_does_not_hold_up_the_stop() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("deaf_stop");
    database.fill(5);
    let pipe = store.root().join("never");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let deaf = format!(
        "#!/bin/sh\ntrap '' TERM INT HUP\necho deaf\nwhile true; do cat '{}'; done\n",
        pipe.display()
    );
    store.hook("deaf", &deaf);
    let mut daemon = Plan::new(server, &store).database(&database.name).start();
    let id = daemon.start_backup();
    wait_until("the hook to run", SOON, || daemon.job(&id)["log_tail"].to_string().contains("deaf"));
    let family = Process::descendants(daemon.pid());
    daemon.stop();
    assert_nobody_is_left(&family, &store);
}

#[test]
fn a_stop_during_a_scheduled_backup_ends_everything_in_time() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("stop_cron");
    database.fill(5);
    let hold = database.hold();
    let mut daemon = Plan::new(server, &store).database(&database.name).env("SCHEDULE", "@every 1s").start();
    daemon.descendant("pg_dump");
    let family = Process::descendants(daemon.pid());
    daemon.stop();
    assert_nobody_is_left(&family, &store);
    assert!(SLOTS.iter().all(|slot| store.names(slot).is_empty()));
    drop(hold);
}

#[test]
fn an_idle_daemon_stops_at_once() {
    let store = Store::new();
    let mut daemon = Plan::new(Cluster::shared(15), &store).database("app").start();
    let mut idle = std::net::TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
    std::io::Write::write_all(&mut idle, b"GET /status HTTP/1.1\r\nHost: ").unwrap();
    let family = Process::descendants(daemon.pid());
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0), "{status}");
    assert_nobody_is_left(&family, &store);
    assert!(std::net::TcpStream::connect(("127.0.0.1", daemon.port)).is_err());
}

#[test]
fn what_is_started_can_be_stopped() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("mask");
    database.fill(5);
    let hold = database.hold();
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let id = daemon.start_backup();
    // While pg_dump waits nobody starts anything, for which a mask may be changed in passing.
    for name in ["pg_dump", "backupgram", "go-cron"] {
        let pid = daemon.descendant(name).pid;
        // A blocked or ignored signal would be handed down to every program.
        let blocked = |key: &str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
            u64::from_str_radix(&line, 16).unwrap()
        };
        let stops: u64 =
            [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].iter().map(|s| 1 << (*s as u32 - 1)).sum();
        assert_eq!(blocked("SigBlk:") & stops, 0, "{name}");
        assert_eq!(blocked("SigIgn:") & stops, 0, "{name}");
    }
    drop(hold);
    daemon.succeeded(&id);
}
