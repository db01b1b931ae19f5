//! Backups on file systems that do not tell case, have no links, refuse names, flush no directory or are mounted
//! read-only.

/// What a file system refuses to do at all, by strace and by mounts.
mod refusals;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::*;

/// Whether a file is a pointer to the newest.
fn is_latest(path: &Path) -> bool {
    path.to_string_lossy().contains("-latest.")
}

/// Everything in the slots, hidden or not, with its bytes.
fn in_slots(store: &Store) -> BTreeMap<PathBuf, Vec<u8>> {
    let is_in_slot = |path: &Path| SLOTS.iter().any(|slot| path.starts_with(store.path().join(slot)));
    let files = store.everything().into_iter().map(|(path, _)| path).filter(|path| is_in_slot(path));
    files.map(|path| (path.clone(), fs::read(&path).unwrap_or_default())).collect()
}

/// A store on a disk of this kind.
fn on(kind: Kind) -> Option<(Store, LoopDisk)> {
    let store = Store::new();
    let disk = LoopDisk::mount(&store.path(), kind, 200)?;
    Some((store, disk))
}

/// Two names that differ in case alone.
fn pair(server: &Cluster, label: &str) -> (String, String) {
    let first = server.database(label);
    (first.name.clone(), first.name.to_uppercase())
}

/// Pairs of names that are one for this file system, and options for their dumps.
fn equal_names(server: &Cluster, kind: Kind) -> Vec<(String, String, &'static str)> {
    let (lower, upper) = pair(server, "fold");
    let mut pairs = vec![(lower, upper, "-Z1")];
    // FAT tells the cases of letters that are not ASCII.
    if kind != Kind::Vfat {
        let (lower, upper) = pair(server, "caf\u{e9}");
        pairs.push((lower, upper, "-Fd"));
    }
    // Composed and decomposed.
    if kind == Kind::Casefold {
        let (composed, _) = pair(server, "caf\u{e9}");
        let decomposed = composed.replace('\u{e9}', "e\u{301}");
        pairs.push((composed, decomposed, "-Fc"));
    }
    pairs
}

#[test]
fn of_two_databases_whose_names_are_one_for_the_file_system_the_second_is_refused() {
    let server = Cluster::shared(15);
    for kind in Kind::ALL {
        let Some((store, _disk)) = on(kind) else { continue };
        for (lower, upper, options) in equal_names(server, kind) {
            let [first, second] = [&lower, &upper].map(|name| server.database_named(name));
            [&first, &second].into_iter().for_each(|database| database.fill(20));
            let backup = |names: &str| {
                Cli::backup(server, &store, names)
                    .env("POSTGRES_EXTRA_OPTS", options)
                    .env("BACKUP_LATEST_TYPE", "hardlink")
            };
            backup(&lower).run().succeeded();
            let before = in_slots(&store);
            let refused = backup(&upper).run().exited_with(1);
            let cause =
                format!("databases {upper} and {lower} as the same, so their backups such as last/{lower}-");
            let refused = refused.saying(&cause).saying("treats the names of databases");
            assert!(in_slots(&store) == before, "{kind:?}: something has changed\n{refused}");
            assert_eq!(store.status()["status"], "FAILED");
            // In one run the first is published, and the second is refused within the same second.
            let both = backup(&format!("{lower} {upper}")).run().exited_with(1).saying(&cause);
            let status = store.status();
            let states: Vec<&Value> =
                status["databases"].as_array().unwrap().iter().map(|report| &report["state"]).collect();
            assert_eq!(states, ["OK", "FAILED"], "{status}");
            for (path, bytes) in &before {
                let is_replaced = !path.starts_with(store.path().join("last")) || is_latest(path);
                assert!(is_replaced || fs::read(path).unwrap_or_default() == *bytes, "{path:?}\n{both}");
            }
            for slot in SLOTS {
                assert!(!store.names(slot).iter().any(|name| name.starts_with(&upper)), "{kind:?} {slot}");
                for name in store.dated(slot).iter().filter(|name| name.starts_with(&lower)) {
                    assert_eq!(store.manifest(slot, name)["database"], lower, "{kind:?} {slot}/{name}");
                }
            }
            assert_eq!(store.partial(), Vec::<String>::new());
            // What was refused in vain is restored under its own name only.
            let name = store.dated("last").into_iter().find(|name| name.starts_with(&lower)).unwrap();
            let other = name.replace(&lower, &upper);
            let restore = |name: &str| Cli::restore(server, &store, format!("last/{name}"));
            restore(&other).run().exited_with(1).saying("there is no backup");
            let old = first.dump();
            first.sql("DROP TABLE orders");
            restore(&name).args([&lower]).run().succeeded();
            assert_eq!(first.dump(), old);
        }
    }
}

#[test]
fn a_refused_namesake_is_told_by_job_status_health_and_port_and_nobody_reaches_the_other_by_its_name() {
    let server = Cluster::shared(15);
    let Some((store, _disk)) = Kind::ALL.into_iter().find_map(on) else { return };
    let (lower, upper) = pair(server, "told");
    let [first, second] = [&lower, &upper].map(|name| server.database_named(name));
    [&first, &second].into_iter().for_each(|database| database.fill(5));
    let plan = Plan::new(server, &store).database(&format!("{upper} {lower}"));
    let daemon = plan.env("BACKUP_ON_START", "TRUE").env("BACKUP_LATEST_TYPE", "none").start();
    wait_until("the run at start to fail", LONG, || daemon.health_port().0 == 503);
    let cause = format!("names of databases {lower} and {upper} as the same");
    let is_told = |what: &str, text: &str| assert!(text.contains(&cause), "{what}: {text}");
    let status = daemon.status();
    assert_eq!(status["last_backup"]["status"], "FAILED", "{status}");
    is_told("/status", &status.to_string());
    is_told("/history", &daemon.get("/history").expect(200).text());
    daemon.is_red(&[&cause]);
    let job = daemon.failed(&daemon.start_backup());
    assert_eq!(job["exit_code"], 1);
    is_told("the job", &job.to_string());
    // Nobody reaches the other's by the name that is refused.
    let before = in_slots(&store);
    for slot in SLOTS {
        let name = store.dated(slot).pop().unwrap();
        let other = name.replace(&upper, &lower);
        assert_ne!(name, other);
        daemon.get(&format!("/backups/{slot}/{name}")).expect(200);
        daemon.get(&format!("/backups/{slot}/{other}")).error(404);
        daemon.delete(&format!("/backups/{slot}/{other}?confirm=true")).error(404);
        let body = json!({"file": format!("{slot}/{other}"), "target_db": "x", "confirm": true});
        daemon.post("/restore", &body).error(404);
        daemon.post("/verify", &json!({"file": format!("{slot}/{other}")})).error(404);
    }
    assert!(in_slots(&store) == before);
    // Once the backups of the one are gone, those of the other are made.
    daemon.patch(&json!({"POSTGRES_DB": lower})).expect(200);
    daemon.failed(&daemon.start_backup());
    for entry in daemon.backups("") {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        daemon.delete(&format!("/backups/{}/{}?confirm=true", text("slot"), text("name"))).expect(200);
    }
    daemon.back_up();
    assert_eq!(daemon.status()["last_backup"]["status"], "OK");
    assert_eq!(daemon.backups("").len(), 4, "what is new is listed at once");
}

#[test]
fn where_case_is_told_both_stay_and_each_is_pruned_by_itself() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let (lower, upper) = pair(server, "both");
    let [first, second] = [&lower, &upper].map(|name| server.database_named(name));
    [&first, &second].into_iter().for_each(|database| database.fill(5));
    for _ in 0..2 {
        let backup = Cli::backup(server, &store, &format!("{lower} {upper}"));
        backup.env("BACKUP_KEEP_MINS", "1000").run().succeeded();
    }
    for name in [&lower, &upper] {
        let of = |slot: &str| store.dated(slot).iter().filter(|file| file.starts_with(name)).count();
        assert_eq!(SLOTS.map(of), [2, 1, 1, 1], "{name}");
        assert_eq!(store.manifest("daily", &store.only_of("daily", name))["database"], *name);
    }
    store.assert_every_name_is_a_whole_backup();
}

#[test]
fn a_name_that_the_file_system_does_not_take_is_told_with_its_database_and_its_characters() {
    let server = Cluster::shared(15);
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of_windows()) {
        let Some((store, _disk)) = on(kind) else { continue };
        let (plain, _) = pair(server, "plain");
        let plain = server.database_named(&plain);
        plain.fill(5);
        let odd = [":", "\"", "*", "<", ">", "?", "\\", "|"];
        for (number, c) in odd.into_iter().enumerate() {
            let name = format!("odd{c}{}", plain.name);
            let database = server.database_named(&name);
            database.fill(5);
            let list = format!("'{name}' {}", plain.name);
            let outcome = Cli::backup(server, &store, &list)
                .env("POSTGRES_EXTRA_OPTS", if number % 2 == 0 { "-Z1" } else { "-Fd" })
                .env("BACKUP_LATEST_TYPE", "none")
                .run()
                .exited_with(1)
                .saying(&format!("rejects the file name {name}-"))
                .saying(&format!("for database {name} ("))
                .saying(&format!("unusual characters: {:?})", c.chars().next().unwrap()));
            let status = store.status();
            let states: Vec<&Value> =
                status["databases"].as_array().unwrap().iter().map(|report| &report["state"]).collect();
            assert_eq!(states, ["FAILED", "OK"], "{outcome}");
            assert_eq!(store.partial(), Vec::<String>::new());
        }
        assert!(store.dated("last").iter().all(|name| name.starts_with(&plain.name)));
    }
}

#[test]
fn exfat_fat_and_folding_ext4_keep_backups_as_any_other() {
    let server = Cluster::shared(15);
    for kind in Kind::ALL {
        let Some((store, _disk)) = on(kind) else { continue };
        let database = server.database("usual");
        database.fill(50);
        let old = database.dump();
        let daemon = Plan::new(server, &store)
            .database(&database.name)
            .env("BACKUP_KEEP_MINS", "0")
            .env("POSTGRES_PASSFILE_STORE", "FALSE")
            .start();
        for (options, latest) in
            [("-Z1", "symlink"), ("-Fc", "hardlink"), ("-Fd", "none"), ("-Ft", "symlink")]
        {
            let backup = Cli::backup(server, &store, &database.name)
                .env("POSTGRES_EXTRA_OPTS", options)
                .env("BACKUP_KEEP_MINS", "1000")
                .env("BACKUP_LATEST_TYPE", latest);
            let outcome = backup.run().succeeded();
            let warned = outcome.text().contains("BACKUP_LATEST_TYPE=none makes no such links");
            assert_eq!(warned, kind.is_of_windows() && latest == "symlink", "{kind:?} {outcome}");
            assert_eq!(store.partial(), Vec::<String>::new());
        }
        let dated = store.dated("last");
        assert_eq!(dated.len(), 4, "{dated:?}");
        Cli::new(server, &store).args(["list"]).run().succeeded();
        Cli::new(server, &store).args(["verify"]).run().succeeded();
        let proof = ["verify", "--restore", &format!("last/{}", dated[0])];
        Cli::new(server, &store).args(proof).run().succeeded().saying("restored in");
        for name in &dated {
            database.sql("DROP TABLE orders");
            Cli::restore(server, &store, format!("last/{name}")).args([&database.name]).run().succeeded();
            assert_eq!(database.dump(), old, "{kind:?} {name}");
        }
        // What is new is listed at once, and what has served its time goes.
        daemon.back_up();
        let last = daemon.backups("?slot=last");
        let is_pointer = |entry: &&Value| entry["name"].as_str().unwrap().contains("-latest");
        assert_eq!(last.iter().filter(|entry| !is_pointer(entry)).count(), 1, "{last:?}");
        assert_eq!(store.dated("last").len(), 1);
        assert_eq!(daemon.status()["last_backup"]["status"], "OK");
        daemon.is_green();
        for slot in SLOTS {
            // A pointer leads to the next, or goes with the last.
            while let Some(entry) = daemon.backups(&format!("?slot={slot}")).first() {
                let name = entry["name"].as_str().unwrap();
                daemon.delete(&format!("/backups/{slot}/{name}?confirm=true")).expect(200);
            }
            assert_eq!(store.names(slot), Vec::<String>::new());
        }
    }
}
