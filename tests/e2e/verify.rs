use std::fs;

use serde_json::{Value, json};

use crate::harness::*;

/// The options of every format, and the key that it is encrypted with, if it is.
const KINDS: [(&str, &str); 7] = [
    ("-Z0", ""),
    ("-Z1", ""),
    ("-Z zstd:1", ""),
    ("-Fc", ""),
    ("-Ft", ""),
    ("-Fd", ""),
    ("-Fc", "k3y of ours"),
];

/// Makes one backup of a database of each kind, and answers their `SLOT/NAME` in `last`.
fn one_of_each_kind(server: &Cluster, store: &Store, database: &str) -> Vec<String> {
    let mut known = Vec::new();
    for (options, key) in KINDS {
        let backup = Cli::backup(server, store, database).env("POSTGRES_EXTRA_OPTS", options);
        backup.env("BACKUP_ENCRYPTION_KEY", key).run().succeeded();
        let new = store.dated("last").into_iter().find(|name| !known.contains(name)).expect("a new backup");
        known.push(new);
    }
    known.iter().map(|name| format!("last/{name}")).collect()
}

/// `backupgram verify --json` with these arguments: its verdicts, and whether all are whole.
fn verdicts(server: &Cluster, store: &Store, arguments: &[&str]) -> (Vec<Value>, bool) {
    let verify = Cli::new(server, store).env("BACKUP_ENCRYPTION_KEY", KINDS[6].1);
    let outcome = verify.args(["verify", "--json"]).args(arguments).run();
    let all_whole = outcome.status.is_some_and(|status| status.success());
    let outcome = if all_whole { outcome } else { outcome.exited_with(1) };
    let json: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"));
    (json["verified"].as_array().expect("verdicts").clone(), all_whole)
}

fn label(verdict: &Value) -> String {
    format!("{}/{}", verdict["slot"].as_str().unwrap(), verdict["name"].as_str().unwrap())
}

/// Changes one bit in the middle of a backup, or of the largest file of one that is a directory.
fn damage(store: &Store, backup: &str) {
    let mut path = store.path().join(backup);
    if path.is_dir() {
        let files = fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
        path = files.max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    }
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    corrupt(&path, bytes);
}

#[test]
fn whole_backups_of_every_kind_are_found_whole_and_a_bit_that_has_changed_is_found() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("verified");
    database.fill(2000);
    let backups = one_of_each_kind(server, &store, &database.name);

    let (whole, all_whole) = verdicts(server, &store, &["--all"]);
    assert!(all_whole && whole.iter().all(|verdict| verdict["whole"] == true), "{whole:#?}");
    let names: usize = SLOTS.iter().map(|slot| store.dated(slot).len()).sum();
    assert_eq!(whole.len(), names, "each name once, pointers aside");
    for verdict in &whole {
        let (slot, name) = (verdict["slot"].as_str().unwrap(), verdict["name"].as_str().unwrap());
        let verified = &store.manifest(slot, name)["verified"];
        assert_eq!(verified["by"], "checksum");
        assert!(
            verified["at"].as_i64().unwrap() > 1_700_000_000 && verified["error"].is_null(),
            "{verified}"
        );
    }

    for (damaged, backup) in backups.iter().enumerate() {
        damage(&store, backup);
        let (verdicts, _) = verdicts(server, &store, &backups.iter().map(String::as_str).collect::<Vec<_>>());
        for (at, verdict) in verdicts.iter().enumerate() {
            assert_eq!(label(verdict), backups[at]);
            assert_eq!(verdict["whole"], at > damaged, "{verdict}");
        }
        let (slot, name) = backup.split_once('/').unwrap();
        let error = store.manifest(slot, name)["verified"]["error"].clone();
        assert!(error.as_str().unwrap().contains("damaged"), "{backup}: {error}");
    }
    let said = Cli::new(server, &store).env("BACKUP_ENCRYPTION_KEY", KINDS[6].1).args(["verify"]).run();
    let said = said.exited_with(1);
    for backup in &backups {
        assert!(said.stderr.contains(&format!("error: {backup} is damaged")), "{said}");
    }
    let table = Cli::new(server, &store).args(["list"]).run().succeeded();
    assert!(table.stdout.matches("BROKEN").count() >= backups.len(), "{table}");
}

#[test]
fn what_cannot_be_looked_into_is_named_and_not_called_broken() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("sealed");
    database.fill(5);
    Cli::backup(server, &store, &database.name).env("BACKUP_ENCRYPTION_KEY", "right").run().succeeded();
    let name = store.only("last");
    for (key, words) in [("", "BACKUP_ENCRYPTION_KEY must be set"), ("wrong", "encrypted with another key")] {
        let verify = Cli::new(server, &store).env("BACKUP_ENCRYPTION_KEY", key);
        let outcome = verify.args(["verify", &format!("last/{name}")]).run().exited_with(1);
        assert!(
            outcome.stderr.contains(&format!("last/{name}")) && outcome.stderr.contains(words),
            "{outcome}"
        );
        assert!(store.manifest("last", &name)["verified"]["error"].is_null());
    }
    for (argument, words) in [("last/none.sql.gz", "there is no backup"), ("nonsense", "SLOT/NAME")] {
        let outcome = Cli::new(server, &store).args(["verify", argument]).run().failed();
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
}

#[test]
fn an_archive_that_is_newer_than_pg_restore_is_called_so_and_not_broken() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("newer");
    database.fill(50);
    let backups = one_of_each_kind(server, &store, &database.name);
    let manifest = |file: &str| {
        let (slot, name) = file.split_once('/').unwrap();
        store.manifest(slot, name)
    };
    let before: Vec<Value> = backups.iter().map(|file| manifest(file)).collect();
    let older = |words: &[&str]| {
        Cli::new(server, &store).env("BACKUP_ENCRYPTION_KEY", KINDS[6].1).client(15).args(words).run()
    };
    let outcome = older(&[&["verify"][..], &backups.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    let outcome = outcome.exited_with(1);
    for (((options, _), file), before) in KINDS.iter().zip(&backups).zip(&before) {
        let is_archive = options.starts_with("-F");
        assert_eq!(outcome.stdout.contains(&format!("{file} is whole")), !is_archive, "{options}\n{outcome}");
        let error = format!("error: {file} is by pg_dump 18.");
        let said = outcome.stderr.lines().find(|line| line.contains(&error)).unwrap_or_default();
        let is_named = said.ends_with("is older: use an image for PostgreSQL 18 or newer");
        assert_eq!(is_named, is_archive, "{options}\n{outcome}");
        if is_archive {
            let restore = older(&["restore", file, "newer_target"]).exited_with(1);
            assert!(restore.stderr.contains(&format!("{file} is by pg_dump 18.")), "{restore}");
            assert_eq!(manifest(file), *before, "{options}");
        }
    }
    assert!(!server.has_database("newer_target"));
    let table = Cli::new(server, &store).args(["list"]).run().succeeded();
    assert!(!table.stdout.contains("BROKEN"), "{table}");

    // The same words of pg_restore, but for a wrong bit in the version.
    let file = &backups[3];
    let (slot, name) = file.split_once('/').unwrap();
    let path = store.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[6] ^= 1;
    corrupt(&path, bytes);
    let checksum = "is damaged: its checksum does not match its manifest";
    assert!(older(&["verify", file]).exited_with(1).stderr.contains(checksum));
    assert_eq!(manifest(file)["verified"]["error"], checksum);
    fs::remove_file(store.manifest_file(slot, name)).unwrap();
    let verify = Cli::new(server, &store).args(["verify", file]).run().exited_with(1);
    assert!(verify.stderr.contains(&format!("{file} is damaged: pg_restore: exit status 1")), "{verify}");
}

#[test]
fn a_pg_restore_that_is_killed_or_does_not_start_says_nothing_about_a_backup() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("killed");
    database.fill(50);
    let place = store.root().join("programs");
    fs::create_dir(&place).unwrap();
    let program = place.join("pg_restore");
    let path = format!("{}:{}:/usr/bin:/bin", place.display(), program_directory(15).display());
    let kill = || write_script(&program, "#!/bin/sh\nkill -KILL $$\n");
    let lead_nowhere = || {
        // Of a link to itself the search for the program ends, and does not go on in the next directory.
        std::os::unix::fs::symlink(&program, &program).unwrap();
    };
    let ways: [(&dyn Fn(), &str); 2] = [
        (&kill, "cannot be checked: pg_restore: killed by SIGKILL"),
        (&lead_nowhere, "cannot be checked: cannot start pg_restore: "),
    ];
    for options in ["-Fc", "-Fd"] {
        let backup = || Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        let published = store.dated("last");
        backup().run().succeeded();
        let name = store.dated("last").into_iter().find(|name| !published.contains(name)).unwrap();
        let file = format!("last/{name}");
        let mut before = store.manifest("last", &name);
        before["proven"] = json!({
            "by": "restore", "at": before["verified"]["at"], "duration_seconds": 1.5,
            "tables": 2, "rows": 60, "indexes": 3, "large_objects": 0,
        });
        fs::write(store.manifest_file("last", &name), before.to_string()).unwrap();
        for (fail, said) in ways {
            fail();
            let published = store.dated("last");
            let what = format!("{options}, {said}");
            let cli = |words: &[&str]| Cli::new(server, &store).env("PATH", &path).args(words).run();
            for words in [
                &["verify", &file][..],
                &["verify", "--restore", &file],
                &["restore", &file, "killed_target"],
            ] {
                let outcome = cli(words).exited_with(1);
                assert!(outcome.stderr.contains(&format!("{file} {said}")), "{what}\n{outcome}");
                assert!(!outcome.stderr.contains("damaged"), "{what}\n{outcome}");
                assert_eq!(store.manifest("last", &name), before, "{what}\n{outcome}");
            }
            let outcome = backup().env("PATH", &path).run().exited_with(1);
            assert!(outcome.stderr.contains(&format!("the new dump {said}")), "{what}\n{outcome}");
            assert_eq!(store.dated("last"), published, "{what}");
            fs::remove_file(&program).unwrap();
        }
    }
    assert!(!server.has_database("killed_target"));
    let table = Cli::new(server, &store).args(["list"]).run().succeeded();
    assert!(table.column("PROVEN").iter().any(|proven| proven != "-"), "{table}");
    assert!(!table.stdout.contains("BROKEN"), "{table}");
    // Bytes that have changed are found all the same.
    let name = store.only("daily");
    damage(&store, &format!("daily/{name}"));
    kill();
    let verify = Cli::new(server, &store).env("PATH", &path).args(["verify", &format!("daily/{name}")]);
    verify.run().exited_with(1).saying("is damaged: its checksum");
    assert!(store.manifest("daily", &name)["verified"]["error"].is_string());
}

#[test]
fn the_api_verifies_by_a_job_and_shows_what_came_of_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("asked");
    database.fill(50);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let file = format!("last/{}", store.only("last"));
    let verify = |file: &str| job_id(&daemon.post("/verify", &json!({ "file": file })).expect(202));
    let job = daemon.succeeded(&verify(&file));
    assert_eq!(job["type"], "verify");
    let listed = daemon.backups("?slot=last").remove(0);
    assert_eq!(listed["verified"]["by"], "checksum", "{listed:#}");

    damage(&store, &file);
    let job = daemon.failed(&verify(&file));
    let tail = job["log_tail"].as_array().unwrap();
    assert!(tail.iter().any(|line| line.as_str().unwrap().contains(&file)), "{job:#}");
    wait_until("the listing to say it", SOON, || {
        daemon.backups("?slot=last")[0]["verified"]["error"].is_string()
    });

    assert!(daemon.post("/verify", &json!({"file": "last/none.sql.gz"})).error(404).contains("none.sql.gz"));
    daemon.post("/verify", &json!({"file": "elsewhere/x"})).error(404);
    for body in [json!({}), json!({"file": "x"}), json!({"file": 1}), json!({"file": file, "all": true})] {
        daemon.post("/verify", &body).error(400);
    }
    assert_eq!(daemon.get("/verify").expect(405).header("allow"), Some("POST"));
}

/// Files of other tools, such as those of the image that this one replaces, have no manifest.
#[test]
fn what_verify_finds_of_a_backup_without_a_manifest_is_remembered() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("brought");
    database.fill(2000);
    let backups = one_of_each_kind(server, &store, &database.name);
    for slot in SLOTS {
        for name in store.dated(slot) {
            fs::remove_file(store.manifest_file(slot, &name)).unwrap();
        }
    }
    damage(&store, &backups[1]);
    // A name that no backup here is given says nothing of a database.
    fs::copy(store.path().join(&backups[0]), store.file("last", "before-the-move.sql.gz")).unwrap();
    let (found, all_whole) = verdicts(server, &store, &["--all"]);
    assert!(!all_whole && found.len() > backups.len(), "{found:#?}");
    let formats = ["plain", "", "zstd", "custom", "tar", "directory", "custom"];
    for ((backup, format), (_, key)) in backups.iter().zip(formats).zip(KINDS) {
        let (slot, name) = backup.split_once('/').unwrap();
        let manifest = store.manifest(slot, name);
        assert_eq!(manifest["format"].as_str().unwrap_or_default(), format);
        assert_eq!(manifest["encrypted"], !key.is_empty());
        assert_eq!(manifest["verified"]["error"].is_null(), !format.is_empty(), "{manifest:#}");
        assert_eq!((&manifest["database"], &manifest["created_at"]), (&json!(database.name), &Value::Null));
    }
    assert!(!store.manifest_file("last", "before-the-move.sql.gz").exists());
    let table = Cli::new(server, &store).args(["list"]).run().succeeded();
    assert!(table.stdout.contains("BROKEN") && table.stdout.contains("custom gpg"), "{table}");

    // From now on a bit that changes is noticed in what has no checksum of its own, too.
    let plain = store.path().join(&backups[0]);
    let text = fs::read_to_string(&plain).unwrap();
    corrupt(&plain, text.replacen("customer 1", "customer 7", 1));
    assert!(text.contains("customer 1"));
    let (verdicts, _) = verdicts(server, &store, &[&backups[0]]);
    assert!(verdicts[0]["error"].to_string().contains("checksum"), "{verdicts:?}");
}

/// A backup is deleted by the run that made it, or because its name ends as the settings say; that it was read is no reason.
#[test]
fn a_file_of_another_tool_is_not_deleted_because_it_was_verified() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("keepsake");
    database.fill(5);
    let archive = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", "-Fc");
    archive.env("BACKUP_SUFFIX", ".dump").run().succeeded();
    let name = store.only("last");
    assert!(name.ends_with(".dump"));
    fs::remove_file(store.manifest_file("last", &name)).unwrap();
    set_modified(&store.file("last", &name), std::time::SystemTime::UNIX_EPOCH);
    Cli::new(server, &store).args(["verify", &format!("last/{name}")]).run().succeeded();
    assert_eq!(store.manifest("last", &name)["format"], "custom");
    Cli::backup(server, &store, &database.name).env("BACKUP_KEEP_MINS", "1").run().succeeded();
    assert!(store.file("last", &name).exists());
}
