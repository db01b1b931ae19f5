//! Dumps in directory format: replaced, linked, pruned, listed and deleted as one thing, and nothing lost on the way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn backup(server: &Cluster, store: &Store, database: &Database<'_>) -> Cli {
    Cli::backup(server, store, &database.name).env("POSTGRES_EXTRA_OPTS", "-Fd -j2")
}

/// The files of a directory with their inodes.
fn inodes(directory: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let of =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino());
    entries.map(|entry| of(entry.unwrap())).collect()
}

/// The SHA-256 that `sha256sum *` prints of itself, which is what a manifest says.
fn listing_sum(store: &Store, directory: &Path) -> String {
    let script = "cd \"$1\" && LC_ALL=C sha256sum -- * | sha256sum";
    let outcome = Cli::of_program("/bin/sh", store).args(["-c", script, "sh"]).args([directory]).run();
    outcome.succeeded().stdout.split(' ').next().unwrap().to_owned()
}

#[track_caller]
fn every_slot_holds_one_whole_dump(store: &Store) -> BTreeMap<String, u64> {
    let newest = inodes(&store.file("last", &store.newest("last")));
    assert!(newest.contains_key("toc.dat"), "{newest:?}");
    for slot in ["daily", "weekly", "monthly"] {
        let name = store.only(slot);
        assert_eq!(inodes(&store.file(slot, &name)), newest, "{slot}: links to the files of the newest");
    }
    for slot in SLOTS {
        for name in store.dated(slot) {
            let manifest = store.manifest(slot, &name);
            assert_eq!(manifest["sha256"], listing_sum(store, &store.file(slot, &name)), "{slot}/{name}");
            assert_eq!(manifest["format"], "directory", "{slot}/{name}");
        }
        let pointer = fs::read_dir(store.path().join(slot)).unwrap().map(|entry| entry.unwrap().path());
        let pointer = pointer.into_iter().find(|path| path.is_symlink()).expect("a pointer");
        assert_eq!(fs::read_link(pointer).unwrap().to_str(), Some(store.newest(slot).as_str()), "{slot}");
    }
    newest
}

/// In the original image: the second directory dump of a day went into the first.
///
/// In the original image: directory dumps were never pruned.
#[test]
fn a_directory_dump_is_replaced_whole_linked_and_pruned() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("whole");
    database.fill(500);
    database.sql("CREATE TABLE former AS SELECT 1 AS x");
    backup(server, &store, &database).env("BACKUP_LATEST_TYPE", "hardlink").run().succeeded();
    let first = every_slot_holds_one_whole_dump(&store);
    let old = store.only("last");
    // Fewer tables: a dump that went over the old one would keep a file too many.
    database.sql("DROP TABLE former");
    backup(server, &store, &database).run().succeeded();
    let second = every_slot_holds_one_whole_dump(&store);
    assert!(second.len() < first.len(), "{second:?} {first:?}");
    assert!(second.values().all(|inode| !first.values().any(|earlier| earlier == inode)));
    assert_eq!(inodes(&store.file("last", &old)), first, "the older one is as it was");
    assert_eq!(store.partial(), [""; 0]);

    let manifest = store.manifest("last", &old);
    for (slot, stamp) in [("last", "20200101-000000"), ("daily", "20200101"), ("monthly", "202001")] {
        let name = format!("{}-{stamp}.sql.gz", database.name);
        let copied = Cli::of_program("cp", &store).args(["-a"]).args([store.file("last", &old)]);
        copied.args([store.file(slot, &name)]).run().succeeded();
        fs::write(store.manifest_file(slot, &name), manifest.to_string()).unwrap();
        let directory = fs::File::open(store.file(slot, &name)).unwrap();
        directory.set_modified(SystemTime::now() - 400 * DAY).unwrap();
    }
    // The time of a directory that is linked must not be that of the linking.
    backup(server, &store, &database).run().succeeded();
    every_slot_holds_one_whole_dump(&store);
    for slot in SLOTS {
        assert!(
            store.names(slot).iter().all(|name| !name.contains("-2020")),
            "{slot}: {:?}",
            store.names(slot)
        );
        let hidden = fs::read_dir(store.path().join(slot)).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(hidden.into_iter().all(|name| !name.to_str().unwrap().contains("-2020")), "{slot}");
    }
    assert_eq!(store.partial(), [""; 0]);
}

/// Another format under the same name: a directory in the place of a file, and a file in that of a directory.
#[test]
fn a_change_of_format_within_a_day_replaces_what_was_there() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("changed");
    database.fill(50);
    let before = database.dump();
    for options in ["-Fd", "-Z1", "-Fd", "-Fc"] {
        Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
        for slot in ["daily", "weekly", "monthly"] {
            let name = store.only(slot);
            assert_eq!(store.file(slot, &name).is_dir(), options == "-Fd", "{options}: {slot}");
            database.sql("DELETE FROM orders");
            Cli::restore(server, &store, format!("{slot}/{name}")).run().succeeded();
            assert_eq!(database.dump(), before, "{options}: {slot}");
        }
        assert_eq!(store.partial(), [""; 0]);
    }
}

/// In the original image: directory dumps were hidden, could not be downloaded and not be deleted.
#[test]
fn a_directory_dump_is_listed_with_its_size_and_deleted_alone() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("deleted");
    database.fill(50);
    let daemon = Plan::new(server, &store).database(&database.name).env("POSTGRES_EXTRA_OPTS", "-Fd").start();
    daemon.back_up();
    let (daily, last) = (store.only("daily"), store.only("last"));
    let directory = store.file("daily", &daily);
    let size: u64 =
        fs::read_dir(&directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let listed = daemon.backups("?slot=daily");
    let entry = listed.iter().find(|entry| entry["name"] == daily.as_str()).expect("it is listed");
    assert_eq!((&entry["size"], &entry["database"]), (&size.into(), &Value::from(database.name.as_str())));
    let pointer = format!("{}-latest.sql.gz", database.name);
    let download = daemon.get(&format!("/backups/daily/{pointer}")).expect(200);
    assert!(download.body.len() > usize::try_from(size).unwrap());
    daemon.delete(&format!("/backups/daily/{daily}?confirm=true")).expect(200);
    assert!(store.names("daily").is_empty(), "{:?}", store.names("daily"));
    assert!(!store.manifest_file("daily", &daily).exists());
    assert_eq!(store.manifest("last", &last)["sha256"], listing_sum(&store, &store.file("last", &last)));
    assert_eq!(store.partial(), [""; 0]);
}

/// The steps by which one directory takes the place of another, each left as a kill would leave it.
#[test]
fn a_kill_between_any_two_steps_of_a_replacement_loses_nothing() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("steps");
    database.fill(20);
    backup(server, &store, &database).run().succeeded();
    let name = store.only("daily");
    let (slot, manifest) = (store.file("daily", &name), store.manifest_file("daily", &name));
    let whole = inodes(&slot);
    let partial = store.path().join(".partial");
    let aside = partial.join("replaced/daily");
    let fresh = partial.join(format!("{name}.link"));
    let link = |to: &Path| Cli::of_program("cp", &store).args(["-al"]).args([&slot, to]).run().succeeded();
    let steps: [(&str, &dyn Fn()); 5] = [
        ("the manifest is gone", &|| fs::remove_file(&manifest).unwrap()),
        ("half of the links are made", &|| {
            link(&fresh);
            fs::remove_file(fresh.join("toc.dat")).unwrap();
        }),
        ("the links are made", &|| drop(link(&fresh))),
        ("the old one is aside", &|| {
            link(&fresh);
            fs::create_dir_all(&aside).unwrap();
            fs::rename(&slot, aside.join(&name)).unwrap();
        }),
        ("the new one is there, the old one still aside", &|| {
            fs::create_dir_all(&aside).unwrap();
            link(&aside.join(&name));
            fs::remove_file(aside.join(&name).join("toc.dat")).unwrap();
        }),
    ];
    for (what, step) in steps {
        step();
        // A run that fails at once publishes nothing, but clears up.
        Cli::backup(server, &store, "nosuch").run().exited_with(1);
        assert_eq!(inodes(&slot), whole, "{what}");
        assert_eq!(store.partial(), [""; 0], "{what}");
        let cli = Cli::restore(server, &store, format!("daily/{name}")).args([&database.name]);
        cli.run().succeeded();
    }
    backup(server, &store, &database).run().succeeded();
    every_slot_holds_one_whole_dump(&store);
}
