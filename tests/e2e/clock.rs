//! A clock that is wrong deletes nothing, and what was written by it counts for nothing.

/// Files and records whose time lies in the future.
mod future;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::command::Outcome;
use crate::harness::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// From 2026 to 2106 or so.
const AGES: i64 = 80 * 365 * DAY;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// Gives a file a time so many seconds ago.
fn date(path: &Path, ago: i64) {
    let time = UNIX_EPOCH + Duration::from_secs((now() - ago).try_into().unwrap());
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Puts a file that was written so many seconds ago into a slot.
fn put(store: &Store, slot: &str, name: &str, ago: i64) {
    fs::create_dir_all(store.path().join(slot)).unwrap();
    fs::write(store.file(slot, name), "of an older image").unwrap();
    date(&store.file(slot, name), ago);
}

/// The 27 names that a history of half a year has, all of them as old as the settings allow or younger.
fn fill_history(store: &Store, app: &str) -> BTreeSet<String> {
    for hour in 0..10 {
        put(store, "last", &format!("{app}-20260101-{hour:02}0000.sql.gz"), (hour + 1) * HOUR);
    }
    for day in 1..8 {
        put(store, "daily", &format!("{app}-2026010{day}.sql.gz"), day * DAY - HOUR);
    }
    for week in 1..5 {
        put(store, "weekly", &format!("{app}-20260{week}.sql.gz"), week * 7 * DAY);
    }
    for month in 1..7 {
        put(store, "monthly", &format!("{app}-20250{month}.sql.gz"), month * 30 * DAY);
    }
    let names = names(store);
    assert_eq!(names.len(), 27);
    names
}

/// The dated names, as `SLOT/NAME`.
fn names(store: &Store) -> BTreeSet<String> {
    let of_slot = |slot: &&'static str| {
        let slot = *slot;
        store.dated(slot).into_iter().map(move |name| format!("{slot}/{name}")).collect::<Vec<_>>()
    };
    SLOTS.iter().flat_map(of_slot).collect()
}

/// At noon, so that a clock that is some hours ahead or behind shows the same day, whenever the tests are run.
fn command(server: &Cluster, store: &Store, databases: &str) -> Cli {
    let hour = now().rem_euclid(24 * HOUR) / HOUR;
    // POSIX has the sign the other way round: Etc/GMT-3 is three hours ahead of UTC.
    let zone = format!("Etc/GMT{:+}", hour - 12);
    let cli = Cli::new(server, store).env("POSTGRES_DB", databases).env("HEALTHCHECK_PORT", "0");
    cli.env("TZ", zone)
}

fn preview(cli: Cli) -> Value {
    let outcome = cli.args(["list", "--cleanup-preview", "--json"]).run().succeeded();
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

/// How many names a preview has of an action.
fn count(preview: &Value, action: &str) -> usize {
    let removals = preview["removals"].as_array().unwrap().iter();
    removals.filter(|removal| removal["action"] == action).count()
}

/// The databases of which a preview says that nothing is deleted.
fn held(preview: &Value) -> Vec<&str> {
    let held = preview["held"].as_array().unwrap().iter();
    held.map(|held| held["database"].as_str().unwrap()).collect()
}

#[track_caller]
fn healthy(cli: Cli) {
    assert_eq!(cli.args(["health"]).run().succeeded().text(), "healthy\n");
}

/// Asserts that the health check fails, with a problem for each of these texts and no other.
#[track_caller]
fn unhealthy(cli: Cli, reasons: &[impl AsRef<str>]) -> Outcome {
    let outcome = cli.args(["health", "--json"]).run().exited_with(1);
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let problems: Vec<&str> =
        told["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect();
    assert_eq!(told["healthy"], false);
    for reason in reasons.iter().map(AsRef::as_ref) {
        assert!(problems.iter().any(|problem| problem.contains(reason)), "{reason:?} in {problems:#?}");
    }
    assert_eq!(problems.len(), reasons.len(), "{problems:#?}");
    outcome
}

/// The whole machine, and with it the server, is eighty years ahead for one run.
#[test]
fn a_run_at_2106_deletes_none_of_27_names_and_says_so_everywhere() {
    let ahead = FakeClock::ahead(AGES);
    let server = Cluster::start_with_clock(15, &ahead);
    let store = Store::new();
    let database = server.database("app");
    database.fill(50);
    let app = database.name.as_str();
    let history = fill_history(&store, app);
    let command = || command(&server, &store, app);
    let then = || command().clock(&ahead);

    let seen = preview(then());
    assert_eq!((count(&seen, "keep"), count(&seen, "delete")), (27, 0), "{seen:#}");
    assert_eq!(held(&seen), [app]);
    let text = then().args(["list", "--cleanup-preview"]).run().succeeded();
    text.saying_in_lines(&format!(
        "no older backup of {app} would be deleted: the previous backup is 29200 d old"
    ));

    let ran = then().args(["backup"]).run().succeeded();
    ran.saying(&format!("{app}: no older backup was deleted: the previous backup is 29200 d old"));
    let after = names(&store);
    assert!(after.is_superset(&history), "{after:#?}");
    let new: BTreeSet<&String> = after.difference(&history).collect();
    assert_eq!(new.len(), 4, "{new:?}");
    assert_eq!(store.status()["databases"][0]["clock"]["reason"], "gap");
    then()
        .args(["status"])
        .run()
        .succeeded()
        .saying_in_lines(&format!("no older backup of {app} was deleted"));
    unhealthy(
        then(),
        &[&format!("no older backup of {app} was deleted: the previous backup is 29200 d old")],
    );

    // What the kernel of that machine would have written down.
    for name in &new {
        let (slot, name) = name.split_once('/').unwrap();
        write_as_if_ahead(&store.file(slot, name), &store.manifest_file(slot, name), AGES);
    }
    let still = format!("no older backup of {app} was deleted");
    let newest = format!("last/{}", store.newest("last"));
    unhealthy(
        command(),
        &[&still, "the last run is dated in the future, at 2106", ".history.jsonl", &newest],
    );

    // The clock is right again, and so is the server's.
    ahead.set_ahead(0);
    let ran = command().args(["backup"]).run().succeeded();
    assert!(!ran.text().contains("no older backup was deleted"), "{ran}");
    let later = names(&store);
    assert!(later.is_superset(&history), "they have not served their time: {later:#?}");
    assert!(new.iter().all(|name| later.contains(*name)), "what nobody knows the age of stays");
    let pointer = fs::read_link(store.file("last", &format!("{app}-latest.sql.gz"))).unwrap();
    let mine = later.iter().find(|name| name.starts_with("last/") && !after.contains(*name)).unwrap();
    assert_eq!(format!("last/{}", pointer.display()), *mine);
    unhealthy(command(), &["backups are dated in the future"]);
    for name in &new {
        fs::remove_file(store.path().join(name)).unwrap();
    }
    healthy(command());
}

/// Two hours either way, for several databases and the roles; what of it a run of one of them mends is its own.
#[test]
fn a_run_whose_clock_differs_from_the_servers_deletes_nothing_until_it_is_right_again() {
    let server = Cluster::shared(15);
    // Not a whole number of hours, as a moment less is another one.
    for offset in [5 * HOUR / 2, -5 * HOUR / 2] {
        let store = Store::new();
        let (one, other) = (server.database("one"), server.database("other"));
        let names = [one.name.as_str(), &other.name, "globals"];
        let databases = format!("{},{}", one.name, other.name);
        let command = || {
            let keep = ["MINS", "DAYS", "WEEKS", "MONTHS"].map(|unit| format!("BACKUP_KEEP_{unit}"));
            let cli = command(server, &store, &databases).env("BACKUP_GLOBALS", "TRUE");
            keep.iter().fold(cli, |cli, key| cli.env(key, "0"))
        };
        for name in names {
            put(&store, "last", &format!("{name}-20260101-000000.sql.gz"), 5 * HOUR);
            put(&store, "daily", &format!("{name}-20260101.sql.gz"), 50 * HOUR);
        }
        let before = self::names(&store);
        let clock = FakeClock::ahead(offset);
        let ran = command().clock(&clock).args(["backup"]).run().succeeded();
        let way = if offset < 0 {
            "the clock here is 2 h behind the server's"
        } else {
            "2 h ahead of the server's"
        };
        for name in names {
            ran.text().contains(&format!("{name}: no older backup was deleted: ")).then_some(()).expect(name);
        }
        let ran = ran.saying(way);
        let after = self::names(&store);
        assert!(after.is_superset(&before), "{ran}");
        assert_eq!(after.len(), before.len() + 12, "each new one in each slot: {after:#?}");
        assert_eq!(store.status()["status"], "OK");
        let listed = format!("no older backup of {} was deleted: ", names.join(", "));
        // By the right clock, what the run has written lies in the future, if that was ahead.
        let records =
            ["the last run is dated in the future", ".history.jsonl", "manifests of backups have times"];
        let ahead = |records: &[&'static str], held: &str| {
            let records = if offset > 0 { records } else { &[] };
            records.iter().copied().map(String::from).chain([held.to_owned()]).collect::<Vec<String>>()
        };
        unhealthy(command(), &ahead(&records, &listed)).saying(way);
        // By the wrong one, what the kernel dates by the right one does, if the wrong one is behind.
        let files = ["backups are dated in the future"];
        let of_kernel = &files[..usize::from(offset < 0)];
        let reasons: Vec<&str> = of_kernel.iter().copied().chain([listed.as_str()]).collect();
        unhealthy(command().clock(&clock), &reasons).saying(way);

        let seen = preview(command());
        assert_eq!((held(&seen), count(&seen, "delete")), (names.into(), 0), "{seen:#}");
        assert!(count(&seen, "keep") > 0, "{seen:#}");
        command().args(["list", "--cleanup-preview"]).run().succeeded().saying_in_lines(way);

        // One database's run says nothing of the others.
        command().args(["backup", &one.name]).run().succeeded();
        assert!(!store.file("last", &format!("{}-20260101-000000.sql.gz", one.name)).exists());
        assert!(store.file("last", &format!("{}-20260101-000000.sql.gz", other.name)).exists());
        let listed = format!("no older backup of {}, globals was deleted: ", other.name);
        unhealthy(command(), &ahead(&records[2..], &listed));
        command().args(["backup"]).run().succeeded();
        assert_eq!(self::names(&store).intersection(&before).count(), 0);
        healthy(command());
    }
}

/// A time server that is wrong, or right at last: the machine's clock and the server's jump together, while pg_dump runs.
#[test]
fn a_clock_that_jumps_while_a_run_goes_on_deletes_nothing() {
    let clock = FakeClock::ahead(0);
    let server = Cluster::start_with_clock(15, &clock);
    let store = Store::new();
    let database = server.database("app");
    let app = database.name.as_str();
    let history = fill_history(&store, app);
    let (here, go_on) = (store.root().join("here"), store.root().join("go-on"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] || {{ echo >'{}'; while [ ! -e '{}' ]; do sleep 0.05; done; }}\nexec {} \"$@\"\n",
        here.display(),
        go_on.display(),
        program_directory(15).join("pg_dump").display()
    );
    let run = command(&server, &store, app).clock(&clock).args(["backup"]);
    let run = run.program(&server, &store, "pg_dump", &script).start();
    wait_until("pg_dump to run", LONG, || here.exists());
    // Not a whole number of days, as a moment less is another one.
    clock.set_ahead(41 * DAY / 2);
    fs::write(go_on, "").unwrap();
    run.wait()
        .succeeded()
        .saying("no older backup was deleted: the clock here is 20 d ahead of the server's");
    assert!(names(&store).is_superset(&history));
    unhealthy(
        command(&server, &store, app).clock(&clock),
        &[format!("no older backup of {app} was deleted")],
    );
    // It was the right one after all.
    command(&server, &store, app).clock(&clock).args(["backup"]).run().succeeded();
    assert!(!names(&store).is_superset(&history));
    healthy(command(&server, &store, app).clock(&clock));
}

/// Local time, its changes and half an hour between machines are nobody's fault.
#[test]
fn time_zones_and_less_than_an_hour_keep_nothing_from_being_deleted() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("zoned");
    let app = database.name.as_str();
    put(&store, "last", &format!("{app}-20260102-000000.sql.gz"), HOUR);
    for (zone, offset) in
        [("Pacific/Kiritimati", 0), ("Pacific/Pago_Pago", 0), ("UTC", -50 * 60), ("Europe/Berlin", 50 * 60)]
    {
        let clock = FakeClock::ahead(offset);
        let old = format!("{app}-20260101-000000.sql.gz");
        put(&store, "last", &old, 2 * DAY);
        let command = || command(server, &store, app).env("TZ", zone).clock(&clock);
        let seen = preview(command());
        assert_eq!((count(&seen, "delete"), held(&seen)), (1, vec![]), "{zone}: {seen:#}");
        command().args(["backup"]).run().succeeded().saying(&format!("deleted last/{old}"));
        assert!(!store.file("last", &old).exists());
        healthy(command());
    }
    // The files of a kernel that is ahead by as much are as new as any.
    healthy(command(server, &store, app));
}

#[test]
fn the_first_run_after_two_months_deletes_nothing_and_the_second_does() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (off, on) = (server.database("off"), server.database("on"));
    let (app, daily) = (off.name.as_str(), on.name.as_str());
    let databases = format!("{app},{daily}");
    for (name, since) in [(app, 62), (daily, 1), ("globals", 62)] {
        for day in 0..9 {
            put(&store, "last", &format!("{name}-2026010{day}-000000.sql.gz"), (since + day) * DAY + HOUR);
            put(&store, "daily", &format!("{name}-2026010{day}.sql.gz"), (since + day) * DAY + HOUR);
        }
        put(&store, "monthly", &format!("{name}-202601.sql.gz"), since * DAY + HOUR);
    }
    std::os::unix::fs::symlink(
        format!("{app}-20260100-000000.sql.gz"),
        store.file("last", &format!("{app}-latest.sql.gz")),
    )
    .unwrap();
    let before = names(&store);
    let command = || command(server, &store, &databases).env("BACKUP_GLOBALS", "TRUE");
    let seen = preview(command());
    assert_eq!(held(&seen), [app, "globals"], "{seen:#}");
    assert_eq!((count(&seen, "keep"), count(&seen, "delete")), (2 * 18, 9 + 2), "{seen:#}");

    let ran = command().args(["backup"]).run().succeeded();
    let ran = ran.saying(&format!("{app}: no older backup was deleted: the previous backup is 62 d old"));
    assert!(!ran.text().contains(&format!("{daily}: no older backup was deleted")), "{ran}");
    let of = |names: &BTreeSet<String>, database: &str| {
        let own = names.iter().filter(|name| name.contains(&format!("/{database}-20260")));
        own.cloned().collect::<BTreeSet<String>>()
    };
    let first = names(&store);
    for (database, kept) in [(app, 19), ("globals", 19), (daily, 19 - 11)] {
        assert_eq!(of(&first, database).intersection(&before).count(), kept, "{database}");
    }
    unhealthy(
        command(),
        &[&format!("no older backup of {app}, globals was deleted: the previous backup is 62 d old")],
    );
    Plan::new(server, &store)
        .database(&databases)
        .start()
        .is_red(&["was deleted: the previous backup is 62 d old"]);

    let seen = preview(command());
    assert_eq!((held(&seen), count(&seen, "keep")), (vec![], 0), "{seen:#}");
    command().args(["backup"]).run().succeeded();
    let second = names(&store);
    for database in [app, "globals"] {
        assert_eq!(of(&second, database).intersection(&before).count(), 1, "that of the month: {database}");
    }
    healthy(command());
}

/// The same for a dump of the whole server, which is no database.
#[test]
fn a_dump_of_the_whole_server_is_held_like_a_database() {
    let server = Cluster::start(15);
    let store = Store::new();
    let command = || Cli::new(&server, &store).env("POSTGRES_CLUSTER", "TRUE").env("HEALTHCHECK_PORT", "0");
    for day in 1..4 {
        put(&store, "last", &format!("cluster-2026010{day}-000000.sql.gz"), (40 + day) * DAY);
    }
    let before = names(&store);
    assert_eq!(held(&preview(command())), ["cluster"]);
    command().args(["backup"]).run().succeeded();
    assert!(names(&store).is_superset(&before));
    unhealthy(command(), &["no older backup of cluster was deleted"]);
    command().args(["backup"]).run().succeeded();
    assert_eq!(names(&store).intersection(&before).count(), 0);
    healthy(command());
}

/// As somebody sets it, or a time server that is wrong for a while.
#[test]
fn a_scheduler_whose_clock_jumps_by_years_runs_once_and_goes_on() {
    let store = Store::new();
    let clock = FakeClock::ahead(0);
    let runs = store.root().join("runs");
    let command = format!("date +%Y >> '{}'", runs.display());
    let scheduler = Cli::of_program(env!("CARGO_BIN_EXE_go-cron"), &store)
        .env("TZ", "UTC")
        .clock(&clock)
        .args(["-s", "0 3 * * *", "-p", "0", "--", "sh", "-c", &command])
        .start();
    let years = || -> Vec<i64> {
        let text = fs::read_to_string(&runs).unwrap_or_default();
        text.lines().map(|year| year.parse().unwrap()).collect()
    };
    let set_back = |times| {
        let text = scheduler.text();
        text.matches("the clock was set back: the next run is ").count() == times
    };
    wait_until("the schedule", SOON, || scheduler.text().contains("next run"));
    // Each way as far as it goes; from there two days on, in which one run is due.
    let places = [(AGES, false), (0, true), (-50 * 365 * DAY, true)];
    let mut backward = 0;
    for (at, (offset, is_back)) in places.into_iter().enumerate() {
        clock.set_ahead(offset);
        if is_back {
            backward += 1;
            wait_until("a step back to be seen", SOON, || set_back(backward));
            assert_eq!(years().len(), at, "{}", scheduler.text());
            clock.set_ahead(offset + 2 * DAY);
        }
        wait_until("a run", SOON, || years().len() > at);
    }
    let expected = [2026 + 80, 2026, 2026 - 50].map(|year| year - 2026);
    let years = years();
    let first = years[1];
    let apart: Vec<i64> = years.iter().map(|year| year - first).collect();
    assert_eq!(apart.len(), 3, "{}", scheduler.text());
    assert!(apart.iter().zip(expected).all(|(apart, expected)| (apart - expected).abs() <= 1), "{years:?}");
}
