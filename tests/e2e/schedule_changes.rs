//! Another schedule for a running scheduler, ours or a foreign one: in force at once, or not at all, and never at
//! the cost of a backup.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::*;

/// How soon a new schedule must be in force, and how long the health port may be gone.
const LIMIT: Duration = Duration::from_secs(2);

/// What the health port says.
fn health(daemon: &Daemon<'_>) -> Value {
    let answer = exchange(daemon.health_port, &request("GET", "/", &[("Connection", "close")], None));
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Changes the schedule and asserts that it is in force in time, and in the settings.
#[track_caller]
fn change(daemon: &Daemon<'_>, schedule: &str) {
    let begun = Instant::now();
    let shown = daemon.patch(&json!({"SCHEDULE": schedule})).expect(200).json();
    assert_eq!(daemon.running_schedule().as_deref(), Some(schedule));
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    assert_eq!(shown["config"]["SCHEDULE"], json!({"value": schedule, "source": "override"}));
    let status = daemon.status();
    assert_eq!(status["schedule"], schedule);
    assert_eq!(status["scheduler"]["state"], "running");
}

/// Waits until nothing but the scheduler in force is left, and its port tells its schedule.
#[track_caller]
fn settled(daemon: &Daemon<'_>, schedule: &str) {
    let mut seen = String::new();
    let all_is_well = || {
        let running: Vec<String> =
            daemon.schedulers().iter().filter_map(|scheduler| argument(scheduler.pid, "-s")).collect();
        seen = format!("{running:?} {}", answers(daemon.health_port));
        running == [schedule] && answers(daemon.health_port) && health(daemon)["Schedule"] == schedule
    };
    wait_until(&format!("only the scheduler of {schedule}, with its port"), SOON, all_is_well);
    let status = daemon.status();
    assert_eq!(status["schedule"], schedule);
    let (state, restarts) = (&status["scheduler"]["state"], &status["scheduler"]["restarts"]);
    assert_eq!((state, restarts), (&json!("running"), &json!(0)), "{status:#}");
}

/// Asserts that no child of the daemon is a zombie for long.
#[track_caller]
fn no_zombie(daemon: &Daemon<'_>) {
    wait_until("every zombie to be gone", SOON, || {
        Process::descendants(daemon.pid()).iter().all(|process| process.state != 'Z')
    });
}

/// The runs of the past, the newest first.
fn history(daemon: &Daemon<'_>) -> Vec<Value> {
    let history = daemon.get("/history").expect(200).json();
    history["history"].as_array().expect("a list of runs").clone()
}

/// In the original image: a schedule that never comes was kept, and everything looked well.
#[test]
fn a_bad_schedule_changes_nothing_and_the_old_one_goes_on() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    settled(&daemon, "@yearly");
    let scheduler = daemon.status()["scheduler"].clone();
    for bad in [
        "a b c d e",
        "61 99 * * *",
        "0 0 30 2 *",
        "@every 0s",
        "@every 999ms",
        "",
        "@yearly @yearly",
        "@reboot",
    ] {
        let sentence = daemon.patch(&json!({"SCHEDULE": bad, "BACKUP_KEEP_DAYS": "3"})).error(400);
        assert!(sentence.contains("SCHEDULE"), "{sentence}");
    }
    assert_eq!(overrides(&store), None);
    assert_eq!(daemon.config()["SCHEDULE"], json!({"value": "@yearly", "source": "base"}));
    assert_eq!(daemon.status()["scheduler"], scheduler, "the same process runs on");
    settled(&daemon, "@yearly");
}

#[test]
fn a_new_schedule_runs_and_no_backup_is_made_for_the_change_itself() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("change");
    database.fill(5);
    let plan = Plan::new(server, &store).database(&database.name).env("BACKUP_ON_START", "TRUE");
    let daemon = plan.start();
    wait_until("the backup at start", LONG, || history(&daemon).len() == 1);
    change(&daemon, "@monthly");
    settled(&daemon, "@monthly");
    let scheduler = daemon.schedulers().remove(0);
    assert!(!scheduler.command_line().contains(" -i "), "{}", scheduler.command_line());
    // The same schedule again is no change.
    daemon.patch(&json!({"SCHEDULE": "@monthly"})).expect(200);
    assert_eq!(daemon.schedulers(), [scheduler]);
    assert_eq!(history(&daemon).len(), 1);
    change(&daemon, "@every 1s");
    wait_until("a backup by the new schedule", LONG, || history(&daemon).len() > 1);
    assert_eq!(history(&daemon)[0]["trigger"], "schedule");
}

/// In the original image: a change of the schedule killed the scheduled backup after five seconds.
#[test]
fn a_scheduled_backup_that_goes_on_ends_in_peace_under_a_new_schedule() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("peace");
    database.fill(5);
    let brake = Brake::new(&store);
    let daemon = Plan::new(server, &store).database(&database.name).env("SCHEDULE", "@every 1s").start();
    brake.holds(1);
    let family = Process::descendants(daemon.pid());
    let run = family.iter().find(|process| process.name == "backupgram").expect("the run").clone();
    wait_until("the health port to answer", SOON, || answers(daemon.health_port));
    let watch = PortWatch::start(daemon.health_port);
    change(&daemon, "@yearly");
    wait_until("the new scheduler to have the port", LIMIT, || {
        answers(daemon.health_port) && health(&daemon)["Schedule"] == "@yearly"
    });
    // And once more, while the same run still goes on.
    change(&daemon, "@monthly");
    wait_until("the new scheduler to have the port", LIMIT, || {
        answers(daemon.health_port) && health(&daemon)["Schedule"] == "@monthly"
    });
    assert!(run.is_alive(), "the run was ended");
    assert!(store.names("last").is_empty());
    brake.release();
    wait_until("the run to end", LONG, || !run.is_alive());
    settled(&daemon, "@monthly");
    let gone = watch.finish();
    assert!(gone < LIMIT, "the health port was gone for {gone:?}");
    assert_eq!(brake.arrivals(), 1);
    assert_eq!(store.status()["status"], "OK");
    store.only_of("last", &database.name);
    let runs = history(&daemon);
    assert_eq!((runs.len(), &runs[0]["trigger"], &runs[0]["result"]), (1, &json!("schedule"), &json!("OK")));
    no_zombie(&daemon);
}

#[test]
fn a_stop_ends_a_run_of_a_schedule_that_is_no_longer_in_force() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let brake = Brake::new(&store);
    let mut daemon = Plan::new(server, &store).database("app").env("SCHEDULE", "@every 1s").start();
    brake.holds(1);
    change(&daemon, "@yearly");
    let family = Process::descendants(daemon.pid());
    assert!(family.iter().filter(|process| process.name == "go-cron").count() == 2, "{family:?}");
    daemon.stop();
    assert!(family.iter().all(|process| !process.is_alive()), "{family:?}");
}

#[test]
fn of_two_changes_at_once_one_is_the_last_everywhere() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    let rounds =
        [["@daily", "@weekly"], ["@hourly", "0 3 * * *"], ["@daily", "@monthly"], ["@weekly", "@every 5h"]];
    for (round, pair) in rounds.into_iter().enumerate() {
        let daemon = &daemon;
        std::thread::scope(|scope| {
            for (number, schedule) in pair.into_iter().enumerate() {
                scope.spawn(move || {
                    let days = (round * 2 + number).to_string();
                    daemon.patch(&json!({"SCHEDULE": schedule, "BACKUP_KEEP_DAYS": days})).expect(200);
                });
            }
        });
        let config = daemon.config();
        let schedule = config["SCHEDULE"]["value"].as_str().unwrap();
        let winner = pair.iter().position(|one| *one == schedule).expect("one of the two");
        let days = (round * 2 + winner).to_string();
        assert_eq!(config["BACKUP_KEEP_DAYS"]["value"], days, "halves of two changes");
        let file = format!("export BACKUP_KEEP_DAYS='{days}'\nexport SCHEDULE='{schedule}'\n");
        assert_eq!(String::from_utf8(overrides(&store).unwrap()).unwrap(), file);
        assert_eq!(daemon.running_schedule().as_deref(), Some(schedule));
        settled(daemon, schedule);
    }
    no_zombie(&daemon);
}

/// A daemon whose foreign scheduler has made a run at start, which the brake holds.
fn with_a_foreign_run<'s>(store: &'s Store, database: &Database<'_>, brake: &Brake) -> Daemon<'s> {
    let plan = Plan::new(Cluster::shared(15), store).database(&database.name);
    let daemon = plan.env("GOCRON_BIN", foreign_scheduler(store)).env("BACKUP_ON_START", "TRUE").start();
    brake.holds(1);
    wait_until("the foreign scheduler's port", SOON, || answers(daemon.health_port));
    daemon
}

/// The release of go-cron that the original image has waits for its run when it is stopped, and keeps the port.
#[test]
fn a_foreign_scheduler_gives_way_when_its_run_has_ended_in_peace() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("foreign");
    database.fill(5);
    let brake = Brake::new(&store);
    let daemon = with_a_foreign_run(&store, &database, &brake);
    let old = daemon.schedulers().remove(0);
    let watch = PortWatch::start(daemon.health_port);
    change(&daemon, "@monthly");
    assert!(old.is_alive());
    assert_eq!(health(&daemon)["Schedule"], "@yearly", "the old one keeps its port while it waits");
    change(&daemon, "@weekly");
    assert!(old.is_alive());
    brake.release();
    wait_until("the old scheduler to end", SOON, || !old.is_alive());
    settled(&daemon, "@weekly");
    let gone = watch.finish();
    assert!(gone < LIMIT, "the health port was gone for {gone:?}");
    assert_eq!(store.status()["status"], "OK");
    store.only_of("last", &database.name);
    let runs = history(&daemon);
    assert_eq!((runs.len(), &runs[0]["trigger"], &runs[0]["result"]), (1, &json!("schedule"), &json!("OK")));
    change(&daemon, "@every 1s");
    brake.holds(2);
    brake.release();
    no_zombie(&daemon);
}

/// In the original image: a stop did not end what was running, in order.
#[test]
fn a_stop_ends_the_run_of_a_foreign_scheduler_in_order() {
    let store = Store::new();
    let database = Cluster::shared(15).database("stop");
    database.fill(5);
    let brake = Brake::new(&store);
    let mut daemon = with_a_foreign_run(&store, &database, &brake);
    change(&daemon, "@monthly");
    let family = Process::descendants(daemon.pid());
    let begun = Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "it was ended by force: {:?}", begun.elapsed());
    let left: Vec<&Process> = family.iter().filter(|process| process.is_alive()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(store.status()["status"], "FAILED", "the run has said how it ended");
}

#[test]
fn a_scheduler_that_dies_while_the_old_one_keeps_the_port_is_started_again() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("portless");
    database.fill(5);
    let brake = Brake::new(&store);
    let daemon = with_a_foreign_run(&store, &database, &brake);
    let old = daemon.schedulers().remove(0);
    change(&daemon, "@monthly");
    let new =
        daemon.schedulers().into_iter().find(|scheduler| scheduler.pid != old.pid).expect("the new one");
    new.signal(Signal::SIGKILL);
    wait_until("another scheduler in its place", SOON, || {
        let status = daemon.status();
        status["scheduler"]["restarts"].as_u64() >= Some(1)
            && status["scheduler"]["state"] == "running"
            && daemon.running_schedule().as_deref() == Some("@monthly")
    });
    let scheduler = daemon.schedulers().into_iter().find(|scheduler| scheduler.pid != old.pid).expect("one");
    // A second of life: one that cannot have the port would have ended by then.
    let begun = Instant::now();
    wait_until("a second to pass", SOON, || {
        assert!(scheduler.is_alive(), "{}", daemon.status()["scheduler"]);
        begun.elapsed() > Duration::from_secs(1)
    });
    assert_eq!(daemon.status()["scheduler"]["restarts"], 1);
    brake.release();
    wait_until("the port to tell the new schedule", SOON, || {
        !old.is_alive() && answers(daemon.health_port) && health(&daemon)["Schedule"] == "@monthly"
    });
}

#[test]
fn a_schedule_that_the_scheduler_does_not_come_up_with_is_taken_back() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let plan = Plan::new(server, &store).database("app").env("GOCRON_BIN", foreign_scheduler(&store));
    let daemon = plan.env("FOREIGN_BREAKS_ON", "@hourly").env("FOREIGN_BREAKS_SLOWLY_ON", "@daily").start();
    settled(&daemon, "@yearly");
    for (before, broken) in [(None, "@hourly"), (Some("@monthly"), "@hourly"), (Some("@weekly"), "@daily")] {
        let schedule = before.unwrap_or("@yearly");
        if before.is_some() {
            daemon.patch(&json!({"SCHEDULE": schedule, "BACKUP_KEEP_DAYS": "5"})).expect(200);
        }
        let (file, config) = (overrides(&store), daemon.config());
        let sentence = daemon.patch(&json!({"SCHEDULE": broken, "BACKUP_KEEP_DAYS": "3"})).error(500);
        assert!(sentence.contains("schedule") && sentence.contains("1"), "{sentence}");
        assert_eq!(overrides(&store), file);
        assert_eq!(daemon.config(), config);
        wait_until("the old schedule to run", LIMIT, || {
            daemon.running_schedule().as_deref() == Some(schedule)
        });
        settled(&daemon, schedule);
    }
    // It has not harmed what comes after.
    change(&daemon, "@every 7h");
    settled(&daemon, "@every 7h");
    no_zombie(&daemon);
}

#[test]
fn a_change_takes_the_place_of_a_restart_that_is_due() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    settled(&daemon, "@yearly");
    daemon.schedulers()[0].signal(Signal::SIGKILL);
    wait_until("the end to be noticed", SOON, || daemon.status()["scheduler"]["state"] == "restarting");
    change(&daemon, "@weekly");
    let begun = Instant::now();
    wait_until("the time of the restart to be over", SOON, || {
        let running = daemon.schedulers();
        assert_eq!(running.len(), 1, "{running:?}");
        begun.elapsed() > Duration::from_secs(1)
    });
    settled(&daemon, "@weekly");
}
