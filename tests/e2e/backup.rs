//! What a backup publishes, keeps, prunes, refuses and reports.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::harness::mount::SmallDisk;
use crate::harness::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn a_backup_is_published_whole_in_every_slot(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("published");
    fixture::fill_with_everything(&database);
    Cli::backup(server, &store, &database.name).run().succeeded();

    let last = store.only("last");
    let expected = database.dump();
    for slot in SLOTS {
        let name = store.only(slot);
        let latest = store.file(slot, &format!("{}-latest.sql.gz", database.name));
        assert_eq!(fs::read_link(&latest).unwrap().to_str(), Some(name.as_str()), "{slot}");
        assert_eq!(without_volatile_lines(&store.sql(slot, &name)), expected, "{slot}");
        let bytes = fs::read(store.file(slot, &name)).unwrap();
        assert!(bytes.starts_with(&[0x1f, 0x8b]), "{slot}: gzip by default");
        let manifest = store.manifest(slot, &name);
        assert_eq!(manifest["sha256"], sha256(&bytes), "{slot}");
        assert_eq!(manifest["size"], bytes.len(), "{slot}");
        assert_eq!(manifest["database"], database.name.as_str(), "{slot}");
        assert_eq!(manifest["encrypted"], false, "{slot}");
        assert!(manifest["format"].is_string(), "{slot}: {manifest}");
        assert_eq!(inode(&store, slot, &name), inode(&store, "last", &last), "{slot}: one copy on the disk");
    }
    store.assert_every_name_is_a_whole_backup();
    assert_eq!(store.partial(), [""; 0]);
    let status = store.status();
    assert_eq!(status["status"], "OK", "{status:#}");
}
on_both_servers!(a_backup_is_published_whole_in_every_slot);

fn inode(store: &Store, slot: &str, name: &str) -> u64 {
    fs::metadata(store.file(slot, name)).unwrap().ino()
}

#[test]
fn names_carry_the_local_date_of_their_slot() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("dated");
    database.fill(1);
    // No two of these zones share a date for more than two hours of the day.
    let zone = "Pacific/Kiritimati";
    let date = |format: &str| -> String {
        let outcome = Cli::of_program("date", &store).env("TZ", zone).args([format]).run().succeeded();
        outcome.stdout.trim().to_owned()
    };
    let (before, expected) = (date("+%Y%m%d-%H%M%S"), date("+%Y%m%d %G%V %Y%m"));
    Cli::backup(server, &store, &database.name).env("TZ", zone).run().succeeded();
    let after = date("+%Y%m%d-%H%M%S");
    if date("+%Y%m%d %G%V %Y%m") != expected {
        eprintln!("SKIPPED: midnight passed while {zone} was looked at");
        return;
    }
    let [day, week, month] = expected.split(' ').collect::<Vec<_>>()[..] else {
        panic!("three dates: {expected}")
    };
    let name = &database.name;
    let last = store.only("last");
    let moment =
        last.strip_prefix(&format!("{name}-")).and_then(|rest| rest.strip_suffix(".sql.gz")).unwrap();
    assert!(*before <= *moment && *moment <= *after, "{before} <= {moment} <= {after}");
    assert_eq!(store.only("daily"), format!("{name}-{day}.sql.gz"));
    assert_eq!(store.only("weekly"), format!("{name}-{week}.sql.gz"));
    assert_eq!(store.only("monthly"), format!("{name}-{month}.sql.gz"));
}

/// A command for databases whose names no list could hold.
fn discovering(server: &Cluster, store: &Store) -> Cli {
    Cli::new(server, store).env("POSTGRES_DB_AUTODISCOVER", "TRUE")
}

fn any_legal_name_can_be_backed_up_and_restored(server: &'static Cluster) {
    let names = [
        "with space",
        "quo\"te'd",
        "a/b",
        ".hidden",
        "..",
        "per%cent",
        "Ünïcödé ☃",
        "-dash",
        "a;b|c$d`e",
        "x=y",
    ];
    let store = Store::new();
    for name in names {
        let database = server.database_named(name);
        database.fill(3);
        let before = database.dump();
        discovering(server, &store).args(["backup", "--", name]).run().succeeded();
        let manifests = fs::read_dir(store.path().join("last")).unwrap();
        let found = manifests.filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".json")?.to_owned();
            (store.manifest("last", &name)["database"] == database.name.as_str()).then_some(name)
        });
        let file = found.last().unwrap_or_else(|| panic!("a backup of {:?}", database.name));
        assert!(!file.starts_with('.') && store.file("last", &file).is_file(), "{file}");
        database.sql("DELETE FROM orders");
        Cli::restore(server, &store, format!("last/{file}")).run().succeeded();
        assert_eq!(database.dump(), before, "{:?}", database.name);
    }
    store.assert_every_name_is_a_whole_backup();
    server.assert_no_scratch_database_is_left();
}
on_both_servers!(any_legal_name_can_be_backed_up_and_restored);

/// In the original image: every dump failed, and the run exited with 0 and called it a success.
#[test]
fn a_database_that_is_not_there_fails_the_run_and_calls_the_error_hook() {
    let server = Cluster::shared(15);
    let store = Store::new();
    store.hook("mark", "#!/bin/sh\necho \"$1\" >> \"$BACKUP_DIR/../hooks.log\"\n");
    Cli::backup(server, &store, "nosuch").run().exited_with(1).saying("nosuch");
    let hooks = fs::read_to_string(store.root().join("hooks.log")).unwrap();
    assert!(hooks.contains("error") && !hooks.contains("post-backup"), "{hooks}");
    let status = store.status();
    assert_eq!(status["status"], "FAILED", "{status:#}");
    assert!(status.to_string().contains("nosuch"), "{status:#}");
    assert!(SLOTS.iter().all(|slot| store.names(slot).is_empty()));

    let daemon = Plan::new(server, &store).database("nosuch").start();
    let id = daemon.start_backup();
    let job = daemon.failed(&id);
    assert_eq!(job["exit_code"], 1, "{job:#}");
    assert_ne!(job["error"], "", "{job:#}");
    assert_eq!(daemon.status()["last_backup"]["status"], "FAILED");
}

/// In the original image: a failure before the dump told nobody.
#[test]
fn a_server_that_is_down_is_told_to_the_hook_the_webhook_and_the_status() {
    let server = Cluster::start(15);
    let store = Store::new();
    let webhook = Webhook::start();
    store.hook("mark", "#!/bin/sh\necho \"$1\" >> \"$BACKUP_DIR/../hooks.log\"\n");
    server.stop();
    Cli::backup(&server, &store, "app")
        .env("POSTGRES_CONNECT_TIMEOUT", "1")
        .env("WEBHOOK_URL", webhook.url("/any"))
        .env("WEBHOOK_ERROR_URL", webhook.url("/error"))
        .env("WEBHOOK_POST_BACKUP_URL", webhook.url("/post"))
        .env("PROJECT_NAME", "quote\" back\\slash my_app")
        .run()
        .exited_with(1)
        .saying("127.0.0.1");
    assert!(fs::read_to_string(store.root().join("hooks.log")).unwrap().contains("error"));
    assert_eq!(store.status()["status"], "FAILED");
    for path in ["/any", "/error"] {
        let call = webhook.first_call(path);
        assert!(call.head.starts_with("POST "), "{}", call.head);
        let json = call.json();
        // In the original image: a quote in the name broke the JSON.
        assert_eq!(json["project"], "quote\" back\\slash my_app");
        for key in ["status", "hostname", "timestamp", "database"] {
            assert!(json.get(key).is_some_and(|value| !value.is_null()), "{key} in {json}");
        }
    }
    assert!(webhook.calls("/post").is_empty());
}

/// In the original image: "waits 30 s for the server" returned at once.
#[test]
fn a_closed_port_is_asked_until_the_time_is_over() {
    let server = Cluster::start(15);
    let store = Store::new();
    server.stop();
    let start = Instant::now();
    Cli::backup(&server, &store, "app").env("POSTGRES_CONNECT_TIMEOUT", "3").run().exited_with(1);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(15), "{waited:?}");
}

/// In the original image: a server that comes up meanwhile was too late.
#[test]
fn a_server_that_comes_up_while_we_wait_is_backed_up() {
    let server = Cluster::start(18);
    let store = Store::new();
    let database = server.database("late");
    database.fill(5);
    server.stop();
    let mut running =
        Cli::backup(&server, &store, &database.name).env("POSTGRES_CONNECT_TIMEOUT", "60").start();
    wait_until("the first attempt to fail", SOON, || {
        assert!(running.poll().is_none(), "it gave up: {}", running.text());
        !running.text().is_empty()
    });
    server.run();
    running.wait().succeeded();
    store.assert_every_name_is_a_whole_backup();
}

/// In the original image: BACKUP_LATEST_TYPE=hardlink always aborted.
#[test]
fn the_latest_pointer_can_be_a_hard_link_or_left_out() {
    let server = Cluster::shared(15);
    let database = server.database("pointer");
    database.fill(5);
    let pointer = format!("{}-latest.sql.gz", database.name);

    let store = Store::new();
    for _ in 0..2 {
        Cli::backup(server, &store, &database.name).env("BACKUP_LATEST_TYPE", "hardlink").run().succeeded();
        for slot in SLOTS {
            let metadata = fs::symlink_metadata(store.file(slot, &pointer)).unwrap();
            assert!(metadata.is_file(), "{slot}");
            assert_eq!(metadata.ino(), inode(&store, slot, &store.newest(slot)), "{slot}");
        }
        database.sql("DELETE FROM orders WHERE id = 1");
    }
    store.assert_every_name_is_a_whole_backup();

    let store = Store::new();
    Cli::backup(server, &store, &database.name).env("BACKUP_LATEST_TYPE", "none").run().succeeded();
    for slot in SLOTS {
        assert_eq!(store.names(slot), [store.only(slot)], "{slot}");
    }

    Cli::backup(server, &store, &database.name)
        .env("BACKUP_LATEST_TYPE", "copy")
        .run()
        .failed()
        .saying("BACKUP_LATEST_TYPE");
}

/// In the original image: pruning `app` deleted the backups of `app-staging`.
#[test]
fn pruning_deletes_what_is_old_of_this_database_only() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("app");
    database.fill(5);
    let app = database.name.as_str();
    for slot in SLOTS {
        fs::create_dir_all(store.path().join(slot)).unwrap();
    }
    let age = |slot: &str, name: String, age: Duration| {
        let file = fs::File::create(store.file(slot, &name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        name
    };
    let others = [
        format!("{app}-staging-20200101-000000.sql.gz"),
        format!("{app}-20200101-000000-20200101-000000.sql.gz"),
        format!("{app}_x-20200101-000000.sql.gz"),
        format!("x{app}-20200101-000000.sql.gz"),
        format!("{app}-notes.txt"),
        format!("{app}-2020.sql.gz"),
    ];
    for slot in SLOTS {
        for other in &others {
            age(slot, other.clone(), DAY * 4000);
        }
    }
    let hour = Duration::from_secs(3600);
    let gone = [
        ("last", age("last", format!("{app}-20200101-000000.sql.gz"), DAY + hour)),
        ("daily", age("daily", format!("{app}-20200101.sql.gz"), DAY * 8 + hour)),
        ("weekly", age("weekly", format!("{app}-202001.sql.gz"), DAY * 30 + hour)),
        ("monthly", age("monthly", format!("{app}-202001.sql.gz"), DAY * 188 + hour)),
    ];
    let kept = [
        ("last", age("last", format!("{app}-20200102-000000.sql.gz"), DAY - hour)),
        ("daily", age("daily", format!("{app}-20200102.sql.gz"), DAY * 8 - hour)),
        ("weekly", age("weekly", format!("{app}-202002.sql.gz"), DAY * 30 - hour)),
        ("monthly", age("monthly", format!("{app}-202002.sql.gz"), DAY * 188 - hour)),
    ];
    // Nothing goes before the new backup is there.
    Cli::backup(server, &store, "nosuch").run().exited_with(1);
    assert!(gone.iter().all(|(slot, name)| store.file(slot, name).exists()));
    Cli::backup(server, &store, app).run().succeeded();
    for (slot, name) in &gone {
        assert!(!store.file(slot, name).exists(), "{slot}/{name} is old");
    }
    for (slot, name) in &kept {
        assert!(store.file(slot, name).exists(), "{slot}/{name} is not old");
    }
    for slot in SLOTS {
        for other in &others {
            assert!(store.file(slot, other).exists(), "{slot}/{other} is not a backup of {app}");
        }
    }
}

#[test]
fn the_newest_backup_is_never_pruned() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("newest");
    database.fill(5);
    for key in ["BACKUP_KEEP_MINS", "BACKUP_KEEP_DAYS", "BACKUP_KEEP_WEEKS", "BACKUP_KEEP_MONTHS"] {
        Cli::backup(server, &store, &database.name).env(key, "0").run().succeeded();
    }
    for slot in SLOTS {
        assert!(!store.dated(slot).is_empty(), "{slot}");
    }
    store.assert_every_name_is_a_whole_backup();
}

#[test]
fn a_pruned_backup_takes_its_manifest_with_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("pruned");
    database.fill(5);
    Cli::backup(server, &store, &database.name).run().succeeded();
    let name = store.only("last");
    let old = format!("{}-20200101-000000.sql.gz", database.name);
    for (from, to) in [
        (store.file("last", &name), store.file("last", &old)),
        (store.manifest_file("last", &name), store.manifest_file("last", &old)),
    ] {
        fs::copy(&from, &to).unwrap();
        fs::File::options()
            .write(true)
            .open(&to)
            .unwrap()
            .set_modified(SystemTime::now() - DAY * 30)
            .unwrap();
    }
    Cli::backup(server, &store, &database.name).run().succeeded();
    assert!(!store.file("last", &old).exists());
    assert!(!store.manifest_file("last", &old).exists());
}

/// In the original image: a run that found the lock taken exited with 0.
#[test]
fn a_second_run_is_told_who_holds_the_lock() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("locked");
    database.fill(5);
    let hold = database.hold();
    let mut first = Cli::backup(server, &store, &database.name).start();
    first.descendant("pg_dump");
    let holder = first.pid().to_string();
    Cli::backup(server, &store, &database.name).run().exited_with(75).saying(&holder);
    // In the original image: a restore and a backup ran at the same time.
    Cli::restore(server, &store, "last/any.sql.gz").args([&database.name]).run().failed();
    let mut patient = Cli::backup(server, &store, &database.name).env("BACKUP_LOCK_WAIT", "60").start();
    assert!(patient.poll().is_none());
    drop(hold);
    first.wait().succeeded();
    patient.wait().succeeded();
    store.assert_every_name_is_a_whole_backup();
}

#[test]
fn waiting_for_the_lock_ends_when_the_time_is_over() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("waits");
    database.fill(5);
    let hold = database.hold();
    let mut first = Cli::backup(server, &store, &database.name).start();
    first.descendant("pg_dump");
    let start = Instant::now();
    Cli::backup(server, &store, &database.name).env("BACKUP_LOCK_WAIT", "1").run().exited_with(75);
    assert!(start.elapsed() >= Duration::from_secs(1));
    drop(hold);
    first.wait().succeeded();
}

#[test]
fn one_database_that_fails_does_not_stop_the_others() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (one, two) = (server.database("first"), server.database("third"));
    one.fill(5);
    two.fill(5);
    let names = format!("{},nosuch\n{}", one.name, two.name);
    Cli::backup(server, &store, &names).run().exited_with(1).saying("nosuch");
    for database in [&one, &two] {
        for slot in SLOTS {
            store.only_of(slot, &database.name);
        }
    }
    let status = store.status();
    assert_eq!(status["status"], "FAILED", "{status:#}");
    let daemon = Plan::new(server, &store).database(&names).start();
    let told = daemon.status()["last_backup"].clone();
    assert_eq!(told["status"], "FAILED", "{told:#}");
    let databases = told["databases"].as_array().expect("a list").clone();
    let find = |name: &str| {
        databases.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("{told:#}"))
    };
    assert!(find("nosuch")["error"].as_str().is_some_and(|error| !error.is_empty()), "{told:#}");
    assert_ne!(find("nosuch")["state"], find(&one.name)["state"]);
    for database in [&one, &two] {
        let entry = find(&database.name);
        let file = entry["file"].as_str().unwrap_or_else(|| panic!("{entry}"));
        assert!(file.contains(&store.only_of("last", &database.name)), "{file}");
        assert!(!file.starts_with('/'), "no path of the container: {file}");
        assert!(entry["size"].as_u64().is_some_and(|size| size > 0), "{entry}");
    }
    for key in ["timestamp", "age_seconds", "duration_seconds"] {
        assert!(told[key].is_number(), "{key}: {told:#}");
    }
}

#[test]
fn autodiscovery_finds_every_database_but_the_excluded() {
    let server = Cluster::start(15);
    let store = Store::new();
    let databases = ["one", "two words", "it's \"quoted\"", "left_out", "left, too"];
    let databases = databases.map(|name| server.database_named(name));
    for database in &databases {
        database.fill(2);
    }
    server.sql(
        "postgres",
        "CREATE DATABASE closed ALLOW_CONNECTIONS false; CREATE DATABASE model IS_TEMPLATE true",
    );
    let cli = || Cli::new(&server, &store).env("POSTGRES_DB_AUTODISCOVER", "true").args(["backup"]);
    let found = |store: &Store| {
        let manifests =
            store.dated("last").into_iter().map(|name| store.manifest("last", &name)["database"].clone());
        manifests.map(|name| name.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    cli().env("POSTGRES_DB_EXCLUDE", "left_out 'left, too'").run().succeeded();
    assert!(found(&store).iter().eq(["it's \"quoted\"", "one", "two words"]));
    let (named, list) = (Store::new(), "\"two words\",'it''s \"quoted\"'");
    Cli::backup(&server, &named, list).run().succeeded();
    assert!(found(&named).iter().eq(["it's \"quoted\"", "two words"]));

    drop(databases);
    server.sql("postgres", "DROP DATABASE closed");
    cli().run().exited_with(1);
    assert_eq!(store.status()["status"], "FAILED", "nothing to back up is an error");
}

#[test]
fn excluded_tables_are_left_out() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("excluded");
    database.fill(5);
    database
        .sql("CREATE TABLE audit_2024 (x int); CREATE TABLE audit_2025 (x int); CREATE TABLE kept (x int)");
    let cli =
        Cli::backup(server, &store, &database.name).env("POSTGRES_EXCLUDE_TABLES", "audit_*, public.orders");
    cli.run().succeeded();
    let sql = store.sql("last", &store.only("last"));
    assert!(sql.contains("CREATE TABLE public.kept") && sql.contains("CREATE TABLE public.customers"));
    assert!(!sql.contains("audit_20") && !sql.contains("CREATE TABLE public.orders"));
}

/// In the original image: what `.gz` holds was never looked at, so an uncompressed dump counted as checked.
#[test]
fn an_uncompressed_dump_is_told_by_its_content() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("plain");
    database.fill(50);
    let before = database.dump();
    Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", "-Z0").run().succeeded();
    let name = store.only("last");
    assert!(fs::read(store.file("last", &name)).unwrap().starts_with(b"--"));
    assert_eq!(without_volatile_lines(&store.sql("last", &name)), before);
    store.assert_every_name_is_a_whole_backup();
    // In the original image: it could not be restored.
    database.sql("DELETE FROM orders");
    Cli::restore(server, &store, format!("last/{name}")).run().succeeded();
    assert_eq!(database.dump(), before);
}

#[test]
fn options_for_pg_dump_are_split_like_a_shell_does() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("options");
    database.fill(5);
    database.sql("CREATE TABLE \"two words\" (x int)");
    let cli = Cli::backup(server, &store, &database.name);
    cli.env("POSTGRES_EXTRA_OPTS", "-Z9 --exclude-table='\"two words\"' --no-comments").run().succeeded();
    let sql = store.sql("last", &store.only("last"));
    assert!(!sql.contains("two words") && sql.contains("CREATE TABLE public.orders"));
    let cli = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", "'unbalanced");
    cli.run().failed().saying("POSTGRES_EXTRA_OPTS");
}

#[test]
fn hooks_run_around_the_backup_and_learn_its_files() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("hooked");
    database.fill(5);
    let script = "#!/bin/sh\n{ echo \"$0 $1\"; [ -z \"$BACKUP_FILES\" ] || echo \"$BACKUP_FILES\"; \
                  echo \"db=$POSTGRES_DB\"; } >> \"$BACKUP_DIR/../hooks.log\"\n";
    store.hook("10-first", script);
    store.hook("20-second", script);
    Cli::backup(server, &store, &database.name).run().succeeded();
    let log = fs::read_to_string(store.root().join("hooks.log")).unwrap();
    let calls: Vec<String> = log
        .lines()
        .filter(|line| line.contains("-backup"))
        .map(|line| line.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        calls,
        ["10-first pre-backup", "20-second pre-backup", "20-second post-backup", "10-first post-backup"],
        "{log}"
    );
    let last = store.file("last", &store.only("last"));
    assert!(log.lines().any(|line| line == last.to_str().unwrap()), "{log}");
    assert!(log.contains(&format!("db={}", database.name)), "{log}");
}

#[test]
fn a_failing_hook_before_the_backup_stops_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("stopped");
    database.fill(5);
    store.hook("veto", "#!/bin/sh\necho \"$1\" >> \"$BACKUP_DIR/../hooks.log\"\n[ \"$1\" != pre-backup ]\n");
    Cli::backup(server, &store, &database.name).run().exited_with(1).saying("pre-backup");
    let log = fs::read_to_string(store.root().join("hooks.log")).unwrap();
    assert!(log.contains("error") && !log.contains("post-backup"), "{log}");
    assert!(store.names("last").is_empty());
    assert_eq!(store.status()["status"], "FAILED");
}

/// As with the original image: people hang their copies elsewhere on it.
#[test]
fn a_failing_hook_after_the_backup_fails_the_run_and_the_backup_stays() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let webhook = Webhook::start();
    let database = server.database("uncopied");
    database.fill(5);
    store.hook("copy", "#!/bin/sh\necho \"$1\" >> \"$BACKUP_DIR/../hooks.log\"\n[ \"$1\" != post-backup ]\n");
    let daemon = Plan::new(server, &store)
        .database(&database.name)
        .env("WEBHOOK_POST_BACKUP_URL", webhook.url("/post"))
        .env("WEBHOOK_ERROR_URL", webhook.url("/error"))
        .start();
    let job = daemon.failed(&daemon.start_backup());
    assert!(job["error"].as_str().unwrap().contains("post-backup hook copy: exit status 1"), "{job:#}");
    let log = fs::read_to_string(store.root().join("hooks.log")).unwrap();
    assert_eq!(log, "pre-backup\npost-backup\nerror\n");
    assert!(webhook.first_call("/error").json()["error"].as_str().unwrap().contains("post-backup hook copy"));
    assert_eq!(webhook.calls("/post").len(), 0);
    let status = store.status();
    assert_eq!((&status["status"], &status["databases"][0]["state"]), (&"FAILED".into(), &"OK".into()));
    let history = daemon.get("/history").json();
    let runs = history["history"].as_array().unwrap();
    assert_eq!((runs.len(), &runs[0]["result"]), (1, &"FAILED".into()), "{history:#}");
    daemon.is_red(&["the last backup failed: post-backup hook copy: exit status 1"]);
    Cli::new(server, &store).args(["verify"]).run().succeeded();
    assert_eq!(store.dated("last").len(), 1);
}

#[test]
fn a_directory_that_cannot_be_written_names_the_user_and_the_cure() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: only root can run the program as somebody else");
        return;
    }
    let server = Cluster::shared(15);
    let store = Store::new();
    let program = store.root().join("backupgram");
    fs::copy(env!("CARGO_BIN_EXE_backupgram"), &program).unwrap();
    let mut cli = Cli::of_program(&program, &store);
    for (key, value) in command::settings(server, &store) {
        cli = cli.env(&key, value);
    }
    let outcome = cli.env("POSTGRES_DB", "app").user(54_321, 54_321).args(["backup"]).run();
    let outcome =
        outcome.exited_with(1).saying("54321").saying("chown").saying(store.path().to_str().unwrap());
    assert_eq!(outcome.text().lines().count(), 1, "{outcome}");
}

#[test]
fn a_client_that_is_older_than_the_server_is_refused_in_plain_words() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("newer");
    database.fill(5);
    let outcome = Cli::backup(server, &store, &database.name).client(15).run().exited_with(1);
    let text = outcome.text();
    assert!(text.contains("15") && text.contains("18") && text.contains("pg_dump"), "{outcome}");
    assert!(store.names("last").is_empty() && store.partial().is_empty());
    assert_eq!(store.status()["status"], "FAILED");
}

#[test]
fn a_client_that_is_newer_than_the_server_backs_up_and_restores() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("older");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    Cli::backup(server, &store, &database.name).client(18).run().succeeded();
    database.sql("DELETE FROM orders; DROP VIEW summary");
    let name = store.only("last");
    assert!(
        store.sql("last", &name).contains("transaction_timeout"),
        "the client sets what the server does not know"
    );
    Cli::restore(server, &store, format!("last/{name}")).client(18).run().succeeded();
    assert_eq!(database.dump(), before);
    server.assert_no_scratch_database_is_left();
}

#[test]
fn a_full_disk_fails_the_run_and_leaves_the_old_backups() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let Some(_disk) = SmallDisk::mount(&store.path(), 4) else { return };
    let database = server.database("full");
    database.fill(1_000);
    let cli = || Cli::backup(server, &store, &database.name).env("BACKUP_MIN_DISK_SPACE", "0");
    cli().run().succeeded();
    let before: Vec<Vec<String>> = SLOTS.iter().map(|slot| store.names(slot)).collect();
    database.sql("INSERT INTO orders SELECT i, 1, md5(random()::text) FROM generate_series(10000, 400000) i");
    cli().run().exited_with(1);
    let after: Vec<Vec<String>> = SLOTS.iter().map(|slot| store.names(slot)).collect();
    assert_eq!(before, after);
    store.assert_every_name_is_a_whole_backup();
    assert!(store.partial().is_empty(), "{:?}", store.partial());

    database.sql("TRUNCATE orders");
    let outcome = Cli::backup(server, &store, &database.name).env("BACKUP_MIN_DISK_SPACE", "100").run();
    outcome.exited_with(1).saying("BACKUP_MIN_DISK_SPACE");
    cli().run().succeeded();
}

#[test]
fn the_command_line_tells_the_last_result() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("told");
    database.fill(5);
    let cli = || Cli::new(server, &store).env("POSTGRES_DB", &database.name);
    cli().args(["backup"]).run().succeeded();
    let outcome = cli().args(["status", "--json"]).run().succeeded();
    let json: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert!(json.to_string().contains("\"OK\"") && json.to_string().contains(&database.name), "{json:#}");
    cli().args(["status"]).run().succeeded().saying("OK");
    let help = cli().args(["help"]).run().succeeded();
    for command in ["backup", "restore", "list", "status", "check-env"] {
        assert!(help.stdout.contains(command), "{command}\n{help}");
    }
    let of_list = cli().args(["help", "list"]).run().succeeded().saying("--cleanup-preview");
    for arguments in [&["list", "--help"][..], &["list", "app", "-h"]] {
        assert_eq!(cli().args(arguments).run().succeeded().stdout, of_list.stdout, "{arguments:?}");
    }
    cli().args(["help", "no-such-command"]).run().exited_with(2).saying("no-such-command");
    cli().args(["no-such-command"]).run().failed().saying("no-such-command");
}
