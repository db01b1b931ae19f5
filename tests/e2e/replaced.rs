//! A manifest counts for the file that it was written about, and for no other that has come to lie there since.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::*;

const REPLACED: &str = "was replaced after its manifest was written";
const DAY: Duration = Duration::from_secs(86_400);

/// Backs a database up, and answers the name in `last`.
#[track_caller]
fn backed_up(server: &Cluster, store: &Store, database: &str, options: &str) -> String {
    let known = store.dated("last");
    Cli::backup(server, store, database).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
    store.dated("last").into_iter().find(|name| !known.contains(name)).expect("a new backup")
}

/// What `list --json` says of `last/NAME`.
#[track_caller]
fn listed(server: &Cluster, store: &Store, name: &str) -> Value {
    let outcome = Cli::new(server, store).args(["list", "--json"]).run().succeeded();
    let list: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let mut entries = list["backups"].as_array().unwrap().iter();
    entries.find(|entry| entry["slot"] == "last" && entry["name"] == name).unwrap().clone()
}

/// What a listing no longer shows of a file that was replaced.
#[track_caller]
fn nothing_is_shown(entry: &Value) {
    for field in ["sha256", "verified", "created_at", "format", "encrypted"] {
        assert!(entry[field].is_null(), "{field}: {entry:#}");
    }
}

/// Gives every file of a backup another time.
fn touch(backup: &Path, time: SystemTime) {
    match backup.is_dir() {
        true => fs::read_dir(backup).unwrap().for_each(|file| set_modified(&file.unwrap().path(), time)),
        false => set_modified(backup, time),
    }
}

/// Puts a whole dump by another tool where a backup was.
fn replace(database: &Database<'_>, server: &Cluster, path: &Path, options: &[&str]) {
    match path.is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
    server.pg_dump(&database.name, options, path);
}

#[test]
fn a_file_that_was_replaced_is_judged_by_its_content() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("replaced");
    database.fill(200);
    for (options, theirs) in [("-Z1", "-Z6"), ("-Fc", "-Fc"), ("-Fd", "-Fd"), ("-Z0", "-Z0")] {
        let name = backed_up(server, &store, &database.name, options);
        let (file, path) = (format!("last/{name}"), store.file("last", &name));
        let cli = |words: &[&str]| Cli::new(server, &store).args(words).args([&file]).run();
        let manifest = fs::read(store.manifest_file("last", &name)).unwrap();
        database.sql("INSERT INTO customers SELECT max(id) + 1, 'newer ' || max(id) FROM customers");
        let newer = database.dump();
        replace(&database, server, &path, &[theirs]);
        database.sql("DELETE FROM orders WHERE id % 2 = 0");

        nothing_is_shown(&listed(server, &store, &name));
        let verified = cli(&["verify"]).succeeded();
        assert!(verified.stderr.contains(&format!("{file} {REPLACED}")), "{options}\n{verified}");
        assert!(verified.stderr.contains("the result is not recorded"), "{options}\n{verified}");
        nothing_is_shown(&listed(server, &store, &name));
        let proven = cli(&["verify", "--restore"]).succeeded();
        assert!(proven.stderr.contains(REPLACED), "{options}\n{proven}");
        assert!(!store.path().join(".proofs.json").exists(), "{options}: no proof of another file");
        let restored = cli(&["restore"]).succeeded();
        assert!(restored.stderr.contains(REPLACED), "{options}\n{restored}");
        assert_eq!(database.dump(), newer, "{options}");
        // Whatever is said of it, the manifest stays that of the former file.
        assert_eq!(fs::read(store.manifest_file("last", &name)).unwrap(), manifest, "{options}");

        // Broken content is broken all the same, and by itself.
        let part = if path.is_dir() { path.join("toc.dat") } else { path.clone() };
        let bytes = fs::read(&part).unwrap();
        fs::write(&part, &bytes[..bytes.len() * 2 / 3]).unwrap();
        for words in [&["verify"][..], &["restore"]] {
            let outcome = cli(words).exited_with(1);
            assert!(outcome.stderr.contains(REPLACED), "{options}\n{outcome}");
            assert!(!outcome.stderr.contains("its checksum"), "{options}\n{outcome}");
        }
        assert_eq!(fs::read(store.manifest_file("last", &name)).unwrap(), manifest, "{options}");
    }
}

#[test]
fn of_a_file_that_only_looks_replaced_nothing_is_said() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("touched");
    database.fill(100);
    for options in ["-Z1", "-Fc", "-Fd"] {
        let name = backed_up(server, &store, &database.name, options);
        let (file, path) = (format!("last/{name}"), store.file("last", &name));
        let quiet = |words: &[&str]| {
            let outcome = Cli::new(server, &store).args(words).args([&file]).run().succeeded();
            assert!(!outcome.text().contains("replaced after"), "{options}\n{outcome}");
        };
        let sha256 = store.manifest("last", &name)["sha256"].clone();
        for days in [1, 2] {
            touch(&path, SystemTime::now() - days * DAY);
            nothing_is_shown(&listed(server, &store, &name));
            quiet(&["restore"]);
            nothing_is_shown(&listed(server, &store, &name));
            // Who reads all of it knows better, and writes that down.
            quiet(if days == 1 { &["verify"] } else { &["verify", "--restore"] });
            let entry = listed(server, &store, &name);
            assert_eq!(entry["sha256"], sha256, "{options}");
            assert_eq!(entry["verified"]["by"], if days == 1 { "checksum" } else { "restore" }, "{options}");
        }
    }
    let proofs = fs::read_to_string(store.path().join(".proofs.json")).unwrap();
    assert!(proofs.contains(&database.name), "{proofs}");
}

#[test]
fn a_directory_that_was_copied_without_its_times_is_known_again_once_verified() {
    let (server, store, copy) = (Cluster::shared(15), Store::new(), Store::new());
    let database = server.database("copied");
    database.fill(50);
    let names = ["-Z1", "-Fd"].map(|options| backed_up(server, &store, &database.name, options));
    let cp = Cli::of_program("cp", &store).args(["-r", "--no-preserve=all", "--dereference"]);
    cp.args([store.path().join("."), copy.path()]).run().succeeded();
    names.iter().for_each(|name| nothing_is_shown(&listed(server, &copy, name)));
    let verified = Cli::new(server, &copy).args(["verify"]).run().succeeded();
    assert!(!verified.text().contains("replaced after"), "{verified}");
    for name in &names {
        assert_eq!(listed(server, &copy, name)["sha256"], store.manifest("last", name)["sha256"]);
    }
    // Archives and some filesystems keep whole seconds only.
    let time = fs::metadata(store.file("last", &names[0])).unwrap().modified().unwrap();
    let part = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    set_modified(&store.file("last", &names[0]), time - Duration::from_nanos(part.into()));
    assert!(listed(server, &store, &names[0])["sha256"].is_string());
}

/// Takes out of a manifest what older versions have not written.
fn age(store: &Store, name: &str) {
    let mut manifest = store.manifest("last", name);
    manifest.as_object_mut().unwrap().remove("modified").expect("the time of the file");
    fs::write(store.manifest_file("last", name), manifest.to_string()).unwrap();
}

#[test]
fn an_older_manifest_tells_a_replaced_file_by_its_length_or_a_later_time() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("older");
    database.fill(100);
    for options in ["-Z0", "-Fc", "-Fd"] {
        let name = backed_up(server, &store, &database.name, options);
        let (file, path) = (format!("last/{name}"), store.file("last", &name));
        let verify = || Cli::new(server, &store).args(["verify", &file]).run();
        age(&store, &name);
        assert!(listed(server, &store, &name)["sha256"].is_string(), "{options}");
        let part = if path.is_dir() { path.join("toc.dat") } else { path.clone() };
        let good = fs::read(&part).unwrap();
        let time = fs::metadata(&part).unwrap().modified().unwrap();
        let at = good.windows(9).position(|bytes| bytes == b"customers").expect("a name in clear");
        let mut bad = good.clone();
        bad[at] = b'k';
        corrupt(&part, &bad);
        verify().exited_with(1).saying("its checksum");
        // Written to later than the manifest: an editor.
        set_modified(&part, SystemTime::now() + DAY);
        let outcome = verify();
        assert!(outcome.stderr.contains(REPLACED) && !outcome.stderr.contains("its checksum"), "{outcome}");
        nothing_is_shown(&listed(server, &store, &name));
        // Another length: by a tool that kept an older time.
        fs::write(&part, [&good[..], b"\n"].concat()).unwrap();
        set_modified(&part, time - DAY);
        let outcome = verify();
        assert!(outcome.stderr.contains(REPLACED) && !outcome.stderr.contains("its checksum"), "{outcome}");
        // As it was, it is known again, and its time is written down.
        corrupt(&part, &good);
        set_modified(&part, time);
        assert!(!verify().succeeded().stderr.contains(REPLACED));
        assert!(store.manifest("last", &name)["modified"].is_i64(), "{options}");
    }
}

#[test]
fn each_slot_and_pointer_shows_what_is_known_of_its_own_file() {
    for kind in ["symlink", "hardlink"] {
        let (server, store) = (Cluster::shared(15), Store::new());
        let database = server.database("slots");
        database.fill(50);
        let daemon =
            Plan::new(server, &store).database(&database.name).env("BACKUP_LATEST_TYPE", kind).start();
        daemon.back_up();
        let names = SLOTS.map(|slot| (slot, store.only(slot)));
        let (pointer, name) = (format!("{}-latest.sql.gz", database.name), store.only("last"));
        let times: Vec<Value> =
            names.iter().map(|(slot, name)| store.manifest(slot, name)["modified"].clone()).collect();
        assert!(times.iter().all(|time| time.is_i64() && *time == times[0]), "{times:?}");
        let tag = |file: &str| {
            let response = daemon.get(&format!("/backups/last/{file}")).expect(200);
            response.header("etag").expect("a tag").to_owned()
        };
        let sha256 = store.manifest("last", &name)["sha256"].as_str().unwrap().to_owned();
        assert_eq!(tag(&name), format!("\"{sha256}\""));
        // Another tool writes a file of its own to the name in `last`; the other slots keep theirs.
        let (path, new) = (store.file("last", &name), store.root().join("new"));
        fs::copy(&path, &new).unwrap();
        fs::rename(&new, &path).unwrap();
        if kind == "hardlink" {
            let linked = store.file("last", &pointer);
            fs::remove_file(&linked).unwrap();
            fs::hard_link(&path, linked).unwrap();
        }
        for file in [&name, &pointer] {
            let entry = daemon.backups("?slot=last").into_iter().find(|entry| entry["name"] == file.as_str());
            let entry = entry.unwrap();
            nothing_is_shown(&entry);
            assert_eq!(entry["database"], database.name.as_str());
            assert_ne!(tag(file), format!("\"{sha256}\""), "{kind}");
        }
        for slot in &SLOTS[1..] {
            let entries = daemon.backups(&format!("?slot={slot}"));
            assert!(entries.iter().all(|entry| entry["sha256"] == sha256.as_str()), "{entries:#?}");
        }
        let job = job_id(
            &daemon.post("/verify", &serde_json::json!({ "file": format!("last/{name}") })).expect(202),
        );
        daemon.succeeded(&job);
        assert_eq!(tag(&name), format!("\"{sha256}\""));
    }
}

/// Two databases with one backup each.
fn two(server: &'static Cluster, store: &Store) -> [(Database<'static>, String); 2] {
    ["mine", "yours"].map(|label| {
        let database = server.database(label);
        database.fill(20);
        let name = backed_up(server, store, &database.name, "-Z1");
        (database, name)
    })
}

#[test]
fn a_manifest_of_another_database_is_refused() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let [(mine, name), (yours, other)] = two(server, &store);
    fs::copy(store.manifest_file("last", &other), store.manifest_file("last", &name)).unwrap();
    let before = [mine.dump(), yours.dump()];
    mine.sql("DELETE FROM orders WHERE id = 1");
    yours.sql("DELETE FROM orders WHERE id = 1");
    let changed = [mine.dump(), yours.dump()];
    assert_ne!(before, changed);
    let said = format!("says database {}, its manifest says {}", mine.name, yours.name);
    let outside: PathBuf = store.root().join(&name);
    fs::copy(store.file("last", &name), &outside).unwrap();
    fs::copy(store.manifest_file("last", &name), store.root().join(format!(".{name}.json"))).unwrap();
    let pointer = format!("last/{}-latest.sql.gz", mine.name);
    let path = store.file("last", &name);
    for file in [format!("last/{name}"), pointer, outside.display().to_string(), path.display().to_string()] {
        for target in [&[][..], &[mine.name.as_str()], &[yours.name.as_str()], &["fresh"]] {
            for dry in [&["--dry-run"][..], &[]] {
                let restore = Cli::restore(server, &store, &file).args(target).args(dry);
                let outcome = restore.run().exited_with(1);
                let text = outcome.text();
                assert!(text.contains(&said) && text.contains("--ignore-manifest"), "{outcome}");
                assert_eq!(text.lines().count(), 1, "{outcome}");
            }
        }
    }
    let daemon = Plan::new(server, &store).database(&mine.name).start();
    let job = daemon.failed(&daemon.start_restore(&format!("last/{name}"), &yours.name));
    assert!(job["error"].as_str().unwrap().contains(&said), "{job:#}");
    assert_eq!([mine.dump(), yours.dump()], changed);
    assert!(!server.has_database("fresh"));
    for words in [&["verify"][..], &["verify", "--restore"]] {
        let manifest = fs::read(store.manifest_file("last", &name)).unwrap();
        let outcome =
            Cli::new(server, &store).args(words).args([format!("last/{name}")]).run().exited_with(1);
        assert!(
            outcome.text().contains("its manifest says") && !outcome.text().contains("damaged"),
            "{outcome}"
        );
        assert_eq!(fs::read(store.manifest_file("last", &name)).unwrap(), manifest);
    }
    let entry = listed(server, &store, &name);
    nothing_is_shown(&entry);
    assert_eq!(entry["database"], mine.name.as_str());
}

#[test]
fn a_backup_of_a_database_with_an_odd_name_is_not_refused() {
    let (server, store) = (Cluster::start(15), Store::new());
    let outside = store.root().join("outside");
    fs::create_dir(&outside).unwrap();
    let odd = [
        "a/b",
        "50% off",
        "a%2Fb",
        ".hidden",
        "caf\u{e9} \u{1}",
        "app",
        "app-20260101",
        "app-20260101-101010",
        "app-202601",
        "app-latest",
        "globals",
        "-",
        "App.sql.gz",
    ];
    let databases = odd.map(|name| {
        let database = server.database_named(name);
        database.fill(1);
        database
    });
    for suffix in [".sql.gz", ".x-1.dump", ".gpg"] {
        let backup = Cli::new(&server, &store).env("POSTGRES_DB_AUTODISCOVER", "TRUE");
        backup.env("BACKUP_SUFFIX", suffix).args(["backup"]).run().succeeded();
    }
    let mut files = Vec::new();
    for slot in SLOTS {
        for name in store.names(slot) {
            files.push(format!("{slot}/{name}"));
            // The same outside of every slot, where its name says less.
            if store.manifest_file(slot, &name).exists() {
                let copy = outside.join(slot.to_owned() + "-copies");
                fs::create_dir_all(&copy).unwrap();
                fs::copy(store.file(slot, &name), copy.join(&name)).unwrap();
                fs::copy(store.manifest_file(slot, &name), copy.join(format!(".{name}.json"))).unwrap();
                files.push(copy.join(&name).display().to_string());
            }
        }
    }
    assert!(files.len() >= 8 * odd.len(), "{files:?}");
    // Some of them, of each slot and suffix, are enough.
    for file in files.iter().step_by(17) {
        let outcome = Cli::restore(&server, &store, file).args(["--dry-run"]).run().succeeded();
        let said = outcome.text().replace("\\u{1}", "\u{1}");
        let named = odd.iter().filter(|name| said.contains(&format!("database {name} on ")));
        assert_eq!(named.count(), 1, "{file}\n{outcome}");
    }
    drop(databases);
}
