//! What people are shown at 80 columns, against `tests/golden`. `GOLDEN=write` writes what is shown now there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::harness::*;

const COLUMNS: usize = 80;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// 2026-04-16 12:10 in UTC. No age of a backup is near a limit then, so that a test may take some minutes.
const NOW: i64 = 1_776_341_400;
/// As long as a database's name can be.
const LONGEST: &str = "the_orders_and_invoices_of_all_the_subsidiaries_since_a_merger1";

#[track_caller]
fn assert_golden(name: &str, shown: &str) {
    let wide: Vec<&str> = shown.lines().filter(|line| line.width() > COLUMNS).collect();
    assert!(wide.is_empty(), "wider than {COLUMNS} columns: {wide:#?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, shown).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "not as {}", path.display());
}

/// A program that needs no server, at the time of these tests.
fn cli(store: &Store, clock: &FakeClock) -> Cli {
    let cli = Cli::of_program(env!("CARGO_BIN_EXE_backupgram"), store).clock(clock);
    let cli = cli.env("BACKUP_DIR", store.path()).env("TZ", "UTC").env("SCHEDULE", "30 3 * * *");
    cli.env("POSTGRES_HOST", "db").env("POSTGRES_USER", "u").env("POSTGRES_DB", "app")
}

fn clock() -> FakeClock {
    FakeClock::ahead(NOW - Timestamp::now().as_second())
}

fn at(second: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second.unsigned_abs())
}

/// The bytes that are free on the volume are the machine's.
fn without_space(shown: &str) -> String {
    let word = |line: &str| match line.split_once(" in all, ") {
        Some((head, _)) => format!("{head} in all, FREE free"),
        None if line.starts_with("free ") => "free       FREE of ALL".into(),
        None => line.to_owned(),
    };
    shown.lines().map(|line| word(line) + "\n").collect()
}

/// How the backups of a database are stored.
#[derive(Clone, Copy)]
struct Kind {
    suffix: &'static str,
    format: &'static str,
    encrypted: bool,
}

const KINDS: [Kind; 4] = [
    Kind { suffix: ".sql.gz", format: "gzip", encrypted: false },
    Kind { suffix: ".dump.gpg", format: "custom", encrypted: true },
    Kind { suffix: ".sql.zst", format: "zstd", encrypted: false },
    Kind { suffix: ".dir", format: "directory", encrypted: false },
];

/// One backup in the making.
struct Made<'a> {
    store: &'a Store,
    database: &'a str,
    kind: Kind,
    second: i64,
    size: u64,
    verified: Value,
    proven: Value,
}

impl Made<'_> {
    fn name(&self, form: &str) -> String {
        let time = Timestamp::from_second(self.second).unwrap().to_zoned(TimeZone::UTC);
        format!("{}-{}{}", self.database, Zoned::strftime(&time, form), self.kind.suffix)
    }

    /// Writes it under a name in each of these slots, one file with hard links.
    fn write(&self, slots: &[(&str, &str)]) {
        let mut first: Option<PathBuf> = None;
        for (slot, form) in slots {
            let (name, directory) = (self.name(form), self.store.path().join(slot));
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join(&name);
            let file = if self.kind.format == "directory" { path.join("toc.dat") } else { path.clone() };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            match &first {
                Some(first) => fs::hard_link(first, &file).unwrap(),
                None => {
                    let new = fs::File::create(&file).unwrap();
                    new.set_len(self.size).unwrap();
                    new.set_modified(at(self.second)).unwrap();
                    first = Some(file);
                }
            }
            fs::File::open(&path).unwrap().set_modified(at(self.second)).unwrap();
            fs::write(self.store.manifest_file(slot, &name), self.manifest().to_string()).unwrap();
        }
    }

    fn manifest(&self) -> Value {
        let mut manifest = json!({
            "sha256": sha256(format!("{} {}", self.database, self.second).as_bytes()), "size": self.size,
            "modified": self.second * 1_000_000_000, "database": self.database, "format": self.kind.format,
            "encrypted": self.kind.encrypted, "server_version": "17.2", "tool_version": "17.2",
            "created_at": self.second - 5, "duration_seconds": 4.5,
        });
        for (key, value) in [("verified", &self.verified), ("proven", &self.proven)] {
            if !value.is_null() {
                manifest[key] = value.clone();
            }
        }
        manifest
    }
}

/// 300 backups over 20 databases.
fn fill(store: &Store) {
    for number in 0..20_i64 {
        let name = match number {
            3 => LONGEST.to_owned(),
            7 => "数据库".to_owned(),
            _ => format!("app_{number:02}"),
        };
        for day in DAYS {
            let index = usize::try_from(number).unwrap() % KINDS.len();
            let second = NOW - day * DAY - 8 * HOUR - number * 60;
            let verified = json!({"by": "checksum", "at": second});
            let proven = json!({"by": "restore", "at": second + 70, "duration_seconds": 60.0,
                "tables": 1, "rows": 2, "indexes": 3, "large_objects": 0});
            let broken = json!({"by": "checksum", "at": second + HOUR, "error": "is damaged"});
            Made {
                store,
                database: &name,
                kind: KINDS[index],
                second,
                size: u64::try_from((number + 1) * (100 << number.min(8)) * (200 - day)).unwrap(),
                verified: if (number, day) == (2, 4) { broken } else { verified },
                proven: if [1, 16].contains(&day) { proven } else { Value::Null },
            }
            .write(slots(day));
        }
        let newest =
            store.dated("last").into_iter().rfind(|file| file.starts_with(&format!("{name}-"))).unwrap();
        let suffix = KINDS[usize::try_from(number).unwrap() % KINDS.len()].suffix;
        symlink(newest, store.file("last", &format!("{name}-latest{suffix}"))).unwrap();
    }
}

/// How many days ago the backups of a database were made.
const DAYS: [i64; 15] = [0, 1, 2, 3, 4, 5, 6, 11, 16, 18, 25, 47, 75, 106, 137];

/// Where a backup of so many days ago still lies.
fn slots(day: i64) -> &'static [(&'static str, &'static str)] {
    const LAST: (&str, &str) = ("last", "%Y%m%d-%H%M%S");
    const DAILY: (&str, &str) = ("daily", "%Y%m%d");
    const WEEKLY: (&str, &str) = ("weekly", "%G%V");
    const MONTHLY: (&str, &str) = ("monthly", "%Y%m");
    match day {
        0 => &[LAST, DAILY, WEEKLY, MONTHLY],
        1..=2 => &[LAST, DAILY],
        4 => &[DAILY, WEEKLY],
        11 | 18 | 25 => &[WEEKLY],
        7.. => &[MONTHLY],
        _ => &[DAILY],
    }
}

#[test]
fn a_list_of_300_backups_fits_and_is_as_it_was_agreed() {
    let (store, clock) = (Store::new(), clock());
    fill(&store);
    let list = |arguments: &[&str]| {
        let outcome = cli(&store, &clock).args(["list"]).args(arguments).run().succeeded();
        assert!(outcome.stderr.is_empty(), "{outcome}");
        outcome.stdout
    };
    let all = without_space(&list(&[]));
    assert!(all.ends_with(" free\n") && all.contains("\n300 backups, "), "{all}");
    assert_golden("list.txt", &all);
    assert_golden("list-all.txt", &without_space(&list(&["--all", LONGEST])));
    assert_golden("list-slot.txt", &without_space(&list(&["--slot", "weekly"])));
    // Whole names, which restore and verify take.
    let names = list(&["-q"]);
    assert_eq!(names.lines().count(), 300);
    assert!(names.lines().all(|name| store.path().join(name).exists()), "{names}");
    assert!(names.contains(&format!("last/{LONGEST}-20260416-")), "{names}");
    let every = list(&["-q", "--all", "app_00"]);
    assert_eq!((every.lines().count(), every.matches("-latest").count()), (21 + 1, 1), "{every}");
    // What programs are told is every name.
    let listed: Value = serde_json::from_str(&list(&["--json", "--slot", "last"])).unwrap();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 3 * 20 + 20);
    assert_eq!(
        list(&["--slot", "last", "none"]),
        format!("no backups yet of none in {}/last\n", store.path().display())
    );
    for wrong in [&["--slot", "yearly"][..], &["-q", "--json"], &["--cleanup-preview", "--all"]] {
        cli(&store, &clock).args(["list"]).args(wrong).run().exited_with(2);
    }
    let preview = cli(&store, &clock).env("POSTGRES_DB", LONGEST).args(["list", "--cleanup-preview"]);
    assert_golden("list-preview.txt", &preview.run().succeeded().stdout);
}

/// A run that has gone on since a quarter of an hour, and who has the lock.
fn hold(store: &Store) -> [fs::File; 2] {
    let note = json!({"pid": 4711, "start": NOW - 15 * 60 - 30, "trigger": "schedule", "server": "db:5432",
        "doing": format!("dump of {LONGEST}, which waits for a lock that session 4242 of app holds")});
    let holder = json!({"pid": 4711, "started": NOW - 15 * 60 - 29, "task": "backup"});
    [(".run-x.json", note), (".lock", holder)].map(|(name, text)| {
        let path = store.path().join(name);
        fs::write(&path, text.to_string()).unwrap();
        let file = fs::File::open(path).unwrap();
        file.lock().unwrap();
        file
    })
}

fn report() -> Value {
    let published = |name: &str, size: u64| {
        json!({"name": name, "state": "OK", "file": format!("last/{name}-20260416-033000.sql.gz"), "size": size,
            "error": ""})
    };
    json!({
        "status": "FAILED", "timestamp": NOW - 8 * HOUR, "duration_seconds": 93.25, "error": "", "server": "db:5432",
        "databases": [published("app", 12_900_000), published(LONGEST, 3 << 30), {
            "name": "gone", "state": "FAILED", "file": null, "size": null,
            "error": "pg_dump failed with exit status 1: pg_dump: error: connection to server at \"db\" (10.0.0.7), \
                port 5432 failed: FATAL:  database \"gone\" does not exist",
        }],
    })
}

#[test]
fn the_status_says_what_is_due_what_runs_and_what_is_proven_and_fits() {
    let (store, clock) = (Store::new(), clock());
    let status = || without_space(&cli(&store, &clock).args(["status"]).run().succeeded().stdout);
    assert_golden("status-before.txt", &status());
    fs::write(store.path().join(".status.json"), report().to_string()).unwrap();
    let proof = json!({"file": "last/x", "by": "restore", "at": NOW - 3 * DAY - HOUR, "duration_seconds": 60.0,
        "tables": 1, "rows": 2, "indexes": 3, "large_objects": 0});
    fs::write(store.path().join(".proofs.json"), json!({LONGEST: proof}).to_string()).unwrap();
    let held = hold(&store);
    assert_golden("status.txt", &status());
    drop(held);
    let later = status();
    assert!(later.contains("\nrunning    -\n") && later.contains("\nlock       -\n"), "{later}");
    let json = cli(&store, &clock).args(["status", "--json"]).run().succeeded().stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["timestamp"], NOW - 8 * HOUR);
}

#[test]
fn the_history_and_what_is_verified_fit_whatever_the_names() {
    let (store, clock) = (Store::new(), clock());
    let run = |start: i64, trigger: &str, server: &str, report: Value| {
        json!({"start": start, "end": start + 93, "trigger": trigger, "result": report["status"],
            "databases": report["databases"], "error": report["error"], "server": server})
    };
    let good = |names: &[&str]| {
        let each = |name: &&str| json!({"name": name, "state": "OK", "file": "last/x", "size": 5 << 20, "error": ""});
        json!({"status": "OK", "error": "", "databases": names.iter().map(each).collect::<Vec<_>>()})
    };
    let runs = [
        run(NOW - 2 * DAY, "cli", "db:5432", good(&["app"])),
        run(NOW - DAY, "api", "other.example.org:5433", good(&[LONGEST])),
        run(NOW - 9 * HOUR, "schedule", "db:5432", good(&["app", "shop", LONGEST, "archive", "metrics"])),
        run(NOW - 8 * HOUR, "schedule", "db:5432", report()),
    ];
    let text: String = runs.iter().map(|run| format!("{run}\n")).collect();
    fs::write(store.path().join(".history.jsonl"), text).unwrap();
    assert_golden("history.txt", &cli(&store, &clock).args(["history"]).run().succeeded().stdout);

    let dump = "--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
    let directory = store.path().join("monthly");
    fs::create_dir(&directory).unwrap();
    for name in ["app", LONGEST] {
        fs::write(directory.join(format!("{name}-202604.sql")), dump).unwrap();
    }
    assert_golden("verify.txt", &cli(&store, &clock).args(["verify"]).run().succeeded().stdout);
}

#[test]
fn every_help_fits_and_is_as_it_was_agreed() {
    let (store, clock) = (Store::new(), clock());
    let help =
        |arguments: &[&str]| cli(&store, &clock).args(["help"]).args(arguments).run().succeeded().stdout;
    let all = help(&[]);
    let named = all.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: Vec<&str> = named.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"list") && commands.len() > 10, "{commands:?}");
    let mut text = all.clone();
    for command in commands.iter().filter(|command| **command != "help").chain(&["record-failure"]) {
        text += &format!("\n$ backupgram help {command}\n{}", help(&[command]));
    }
    assert_golden("help.txt", &text);
}
