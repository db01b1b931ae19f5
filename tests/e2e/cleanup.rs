//! What a preview of the clean-up says is what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn command(server: &Cluster, store: &Store, database: &str) -> Cli {
    Cli::new(server, store).env("POSTGRES_DB", database).env("BACKUP_LATEST_TYPE", "hardlink")
}

fn preview(cli: Cli, more: &[&str]) -> Value {
    let outcome = cli.args(["list", "--cleanup-preview", "--json"]).args(more).run().succeeded();
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

fn age(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

/// A directory with every case: of `app`, backups whose names go one by one, together, or only in part.
fn fill(server: &Cluster, store: &Store, app: &str) {
    let back_up = || {
        command(server, store, app).args(["backup"]).run().succeeded();
        store.file("last", &store.newest("last"))
    };
    // Too old for every slot but `monthly`, so it stays.
    let first = back_up();
    for (slot, old) in [("daily", "20200101"), ("weekly", "202001"), ("monthly", "202001")] {
        fs::rename(store.file(slot, &store.only(slot)), store.file(slot, &format!("{app}-{old}.sql.gz")))
            .unwrap();
    }
    // Too old, but somebody has a link to it.
    let second = back_up();
    fs::hard_link(&second, store.root().join("keepsake")).unwrap();
    // Too old for `last` once there is a newer one, and today's in the other slots.
    let third = back_up();
    // Too old, under two names, and with a suffix of its own.
    let copy = store.file("last", &format!("{app}-20200102-000000.sql.gz.gpg"));
    fs::copy(&first, &copy).unwrap();
    fs::hard_link(&copy, store.file("daily", &format!("{app}-20200102.sql.gz.gpg"))).unwrap();
    // The same as directories.
    let directory = store.file("last", &format!("{app}-20200103-000000.sql.gz"));
    let link = store.file("daily", &format!("{app}-20200103.sql.gz"));
    for (path, own) in [(&directory, "own.dat"), (&link, "another.dat")] {
        fs::create_dir(path).unwrap();
        fs::write(path.join(own), "only in one of them").unwrap();
    }
    fs::write(directory.join("toc.dat"), "in both").unwrap();
    fs::hard_link(directory.join("toc.dat"), link.join("toc.dat")).unwrap();
    // Of others.
    for stranger in [format!("{app}-staging-20200101-000000.sql.gz"), format!("{app}-notes.txt")] {
        fs::write(store.file("last", &stranger), "not of this database").unwrap();
        age(&store.file("last", &stranger), DAY * 4000);
    }
    for path in [&first, &second, &copy, &directory, &link] {
        age(path, DAY * 30);
    }
    age(&third, DAY * 2);
}

/// Every file below the slots, opened: its number of links tells whether it is gone.
fn files(store: &Store) -> BTreeMap<u64, File> {
    fn walk(directory: &Path, found: &mut BTreeMap<u64, File>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            match fs::symlink_metadata(&path).unwrap() {
                status if status.is_dir() => walk(&path, found),
                status if status.is_file() && !is_hidden => {
                    found.insert(status.ino(), File::open(path).unwrap());
                }
                _ => {}
            }
        }
    }
    let mut found = BTreeMap::new();
    SLOTS.iter().for_each(|slot| walk(&store.path().join(slot), &mut found));
    found
}

/// The dated names of every slot, with their inodes.
fn names(store: &Store) -> BTreeMap<String, u64> {
    let of_slot = |slot: &&'static str| {
        let slot = *slot;
        let inode = move |name: String| {
            let inode = fs::symlink_metadata(store.file(slot, &name)).unwrap().ino();
            (format!("{slot}/{name}"), inode)
        };
        store.dated(slot).into_iter().map(inode).collect::<Vec<_>>()
    };
    SLOTS.iter().flat_map(of_slot).collect()
}

fn shown(preview: &Value, action: &str) -> BTreeSet<String> {
    let text = |removal: &Value, key: &str| removal[key].as_str().unwrap().to_owned();
    let removals = preview["removals"].as_array().unwrap().iter();
    let dated = removals.filter(|removal| {
        removal["action"] == action && !removal["name"].as_str().unwrap().contains("-latest")
    });
    dated.map(|removal| format!("{}/{}", text(removal, "slot"), text(removal, "name"))).collect()
}

#[test]
fn a_preview_names_what_the_next_backup_deletes_and_the_bytes_that_it_frees() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("cleaned");
    database.fill(50);
    let app = database.name.as_str();
    fill(server, &store, app);
    let today = store.newest("daily");

    let seen = preview(command(server, &store, app), &[]);
    let (before, opened) = (names(&store), files(&store));
    command(server, &store, app).args(["backup"]).run().succeeded();
    let after = names(&store);
    if store.newest("daily") != today {
        eprintln!("SKIPPED: midnight passed");
        return;
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name)).cloned();
    let other = |(name, inode): &(&String, &u64)| after.get(*name).is_some_and(|now| now != *inode);
    let replaced = before.iter().filter(other).map(|(name, _)| name.clone());
    assert_eq!(shown(&seen, "delete"), gone.collect(), "{seen:#}");
    assert_eq!(shown(&seen, "replace"), replaced.collect(), "{seen:#}");
    assert_eq!((shown(&seen, "delete").len(), shown(&seen, "replace").len()), (9, 3), "{seen:#}");

    let status = opened.values().map(|file| file.metadata().unwrap());
    let freed: u64 = status.filter(|status| status.nlink() == 0).map(|status| status.len()).sum();
    assert!(freed > 0);
    assert_eq!(seen["freed_bytes"], freed, "{seen:#}");
    let rows = seen["removals"].as_array().unwrap().iter();
    assert_eq!(rows.map(|row| row["freed_bytes"].as_u64().unwrap()).sum::<u64>(), freed);

    let again = preview(command(server, &store, app), &[]);
    assert_eq!(shown(&again, "delete"), BTreeSet::new(), "{again:#}");
    let text = command(server, &store, app).args(["list", "--cleanup-preview"]).run().succeeded();
    text.saying("replace").saying("would free");
}

#[test]
fn a_preview_needs_no_server_and_shows_only_databases_that_would_be_backed_up() {
    let server = Cluster::shared(15);
    let store = Store::new();
    fs::create_dir_all(store.path().join("last")).unwrap();
    for name in ["app-20200101-000000.sql.gz", "app-eu-20200101-000000.sql.gz", "old-20200101-000000.sql.gz"]
    {
        fs::write(store.file("last", name), "12345").unwrap();
        age(&store.file("last", name), DAY * 2);
    }
    let cli = || Cli::new(server, &store).env("POSTGRES_PORT", "1");
    let discovered = || cli().env("POSTGRES_DB_AUTODISCOVER", "TRUE").env("POSTGRES_DB_EXCLUDE", "old");
    for (cli, databases) in
        [(discovered(), &["app", "app-eu"][..]), (cli().env("POSTGRES_DB", "app"), &["app"])]
    {
        let seen = preview(cli, &[]);
        assert_eq!(seen["databases"], serde_json::json!(databases));
        let names = databases.iter().map(|name| format!("last/{name}-20200101-000000.sql.gz"));
        assert_eq!(shown(&seen, "delete"), names.collect(), "{seen:#}");
        assert_eq!(seen["freed_bytes"], 5 * databases.len(), "{seen:#}");
    }
    let of_one = preview(discovered(), &["app-eu"]);
    assert_eq!(shown(&of_one, "delete").len(), 1, "{of_one:#}");
    discovered().args(["list", "--cleanup-preview", "old"]).run().exited_with(1).saying("would be deleted");
}

/// By the commands of the original images, on files around each limit; and a limit that is set to nothing is none.
#[test]
fn a_run_deletes_what_the_original_images_would_and_nothing_where_a_limit_is_set_to_nothing() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("limits");
    database.fill(5);
    let app = database.name.as_str();
    let policy =
        [("last", "MINS", "10"), ("daily", "DAYS", "7"), ("weekly", "WEEKS", "4"), ("monthly", "MONTHS", "")];
    let limited = |cli: Cli| {
        policy.iter().fold(cli, |cli, (_, name, value)| cli.env(&format!("BACKUP_KEEP_{name}"), value))
    };
    limited(command(server, &store, app)).args(["backup"]).run().succeeded();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let of_slots = [
        ("last", [hours(0) + Duration::from_secs(540), hours(0) + Duration::from_secs(660)], "-mmin", "10"),
        ("daily", [hours(8 * 24 - 1), hours(8 * 24 + 1)], "-mtime", "7"),
        ("weekly", [hours(30 * 24 - 1), hours(30 * 24 + 1)], "-mtime", "29"),
        ("monthly", [hours(24), hours(4000 * 24)], "-mtime", "1000000"),
    ];
    let mut expected = BTreeSet::new();
    for (slot, ages, test, number) in of_slots {
        for (at, old) in ages.into_iter().enumerate() {
            let stamp = ["20190101-000000", "20190102-000000"][at];
            let length = match slot {
                "last" => 15,
                "daily" => 8,
                _ => 6,
            };
            let stamp = if length == 6 { ["201901", "201902"][at] } else { &stamp[..length] };
            let path = store.file(slot, &format!("{app}-{stamp}.sql.gz"));
            fs::copy(store.file(slot, &store.newest(slot)), &path).unwrap();
            age(&path, old);
        }
        let find = std::process::Command::new("find")
            .arg(store.path().join(slot))
            .args([
                "-maxdepth",
                "1",
                test,
                &format!("+{number}"),
                "-name",
                &format!("{app}-2019*"),
                "-printf",
                "%f\n",
            ])
            .output()
            .unwrap();
        let found = String::from_utf8(find.stdout).unwrap();
        expected.extend(found.lines().map(|name| format!("{slot}/{name}")));
    }
    assert_eq!(expected.len(), 3, "{expected:?}");
    let shown_by = preview(limited(command(server, &store, app)), &[]);
    assert_eq!(shown(&shown_by, "delete"), expected);
    let kept = shown_by["kept"].as_array().unwrap().iter();
    let reasons: BTreeMap<String, String> = kept
        .map(|kept| {
            let text = |key: &str| kept[key].as_str().unwrap().to_owned();
            (format!("{}/{}", text("slot"), text("name")), text("reason"))
        })
        .collect();
    let why = |name: String| reasons.get(&name).map(String::as_str);
    assert_eq!(why(format!("monthly/{app}-201902.sql.gz")), Some("BACKUP_KEEP_MONTHS is empty: no limit"));
    assert_eq!(why(format!("daily/{app}-20190101.sql.gz")), Some("not older than BACKUP_KEEP_DAYS"));
    let checked = limited(command(server, &store, app)).args(["check-env"]).run().succeeded();
    checked.saying("BACKUP_KEEP_MONTHS is empty: backups in monthly are kept forever");
    let said = limited(command(server, &store, app)).args(["backup"]).run().succeeded();
    said.saying("(older than BACKUP_KEEP_DAYS)");
    let left: BTreeSet<String> = names(&store).into_keys().filter(|name| name.contains("-2019")).collect();
    assert_eq!(left.len(), 5, "{left:?}");
    assert!(expected.is_disjoint(&left), "{left:?}");
}

#[test]
fn so_many_stay_and_the_oldest_of_a_year_whatever_their_age() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("stays");
    database.fill(5);
    let app = database.name.as_str();
    let cli = || {
        let cli = command(server, &store, app).env("BACKUP_KEEP_AT_LEAST", "3").env("BACKUP_KEEP_YEARS", "2");
        cli.env("BACKUP_KEEP_MONTHS", "0")
    };
    cli().args(["backup"]).run().succeeded();
    let year: i32 = String::from_utf8(std::process::Command::new("date").arg("+%Y").output().unwrap().stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let last = year - 1;
    let months =
        [(year - 2, 12, 900), (last, 1, 600), (last, 2, 570), (last, 3, 540), (last, 4, 510), (last, 5, 480)];
    for (year, month, days) in months {
        let path = store.file("monthly", &format!("{app}-{year}{month:02}.sql.gz"));
        fs::copy(store.file("monthly", &store.newest("monthly")), &path).unwrap();
        age(&path, DAY * days);
    }
    cli().args(["backup"]).run().succeeded();
    let left = names(&store).into_keys().filter(|name| name.starts_with("monthly/"));
    let mut left: Vec<String> =
        left.map(|name| name[format!("monthly/{app}-").len()..][..6].to_owned()).collect();
    left.pop();
    // The newest three are that of this run and two of the last year, of which the oldest stays, too.
    assert_eq!(left, [format!("{last}01"), format!("{last}04"), format!("{last}05")]);
}
