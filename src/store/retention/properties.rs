//! Property tests of retention for any directory and clock. The model knows what each name was composed of, so it does
//! not parse names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use proptest::prelude::*;

use super::policy::DAY;
use super::tests::entry;
use super::*;
use crate::store::catalog::{BackupName, Latest, Manifest};

/// Databases with a common prefix, and some that look like names of backups.
const DATABASES: [&str; 8] =
    ["app", "app-eu", "app-20260101", "app-20260101-000000", "app-202601", "app-latest", "app.x", "a/b%"];
/// Suffixes that this tool gives with `BACKUP_SUFFIX=.dump`.
const ENDS: [&str; 5] = [".sql.gz", ".sql.gz.gpg", ".dump", ".dump.gpg", FORMER];
const SUFFIX: &str = ".dump";
/// A suffix from earlier settings; only the manifest identifies such backups.
const FORMER: &str = ".old";

/// An entry, and what it was composed of.
#[derive(Debug, Clone)]
struct Made {
    entry: Entry,
    /// Its database, if it is a backup by this tool.
    of: Option<&'static str>,
}

/// Noons and midnights of ten days around the turn of a month, so that names collide.
fn moment() -> impl Strategy<Value = i64> {
    (0..20i64).prop_map(|half_days| 1_777_248_000 + half_days * DAY / 2)
}

fn zoned(second: i64) -> Zoned {
    Timestamp::from_second(second).unwrap().to_zoned(TimeZone::UTC)
}

fn slot() -> impl Strategy<Value = Slot> {
    prop::sample::select(&Slot::ALL[..])
}

fn mtime() -> impl Strategy<Value = i64> {
    prop_oneof![3 => -400 * DAY..1_500_000_000, 9 => 1_770_000_000..1_780_000_000i64, 1 => any::<i64>()]
}

fn backup() -> impl Strategy<Value = Made> {
    let parts = (slot(), prop::sample::select(&DATABASES[..]), moment(), prop::sample::select(&ENDS[..]));
    (parts, mtime()).prop_map(|((slot, database, second, end), mtime)| {
        let name = DatabaseName::parse(database).unwrap();
        let name = BackupName::compose(&name, &slot.stamp(&zoned(second)), end);
        let manifest = (end == FORMER).then(manifest);
        Made { entry: Entry { manifest, ..entry(slot, name.as_str(), mtime) }, of: Some(database) }
    })
}

fn manifest() -> Arc<Manifest> {
    let manifest = serde_json::json!({
        "sha256": "0".repeat(64), "size": 1, "database": "app", "format": "gzip", "encrypted": false,
        "server_version": "17.2", "tool_version": "17.2", "created_at": 0, "duration_seconds": 1.0,
    });
    Arc::new(serde_json::from_value(manifest).unwrap())
}

/// Foreign files, some with names close to those of backups.
fn stranger() -> impl Strategy<Value = Made> {
    const ENDS: [&str; 7] = [".txt", FORMER, ".sql.gz.keep", ".dump~", "x.dump", "", ".sql.gz.gpg.gpg"];
    let foreign = (slot(), prop::sample::select(&DATABASES[..]), moment(), prop::sample::select(&ENDS[..]))
        .prop_map(|(slot, database, second, end)| {
            let database = DatabaseName::parse(database).unwrap();
            (slot, BackupName::compose(&database, &slot.stamp(&zoned(second)), end))
        });
    const WORDS: [&str; 5] =
        ["app.dump", "app-2026.sql.gz", "app-latest.sql.gz", "app-latest.dump", "app-2026041x.dump"];
    let word = (slot(), prop::sample::select(&WORDS[..]))
        .prop_map(|(slot, name)| (slot, BackupName::parse(name).unwrap()));
    (prop_oneof![foreign, word], mtime())
        .prop_map(|((slot, name), mtime)| Made { entry: entry(slot, name.as_str(), mtime), of: None })
}

/// A directory with unique names in any order.
fn directory() -> impl Strategy<Value = Vec<Made>> {
    prop::collection::vec(prop_oneof![5 => backup(), 1 => stranger()], 0..40).prop_map(|made| {
        let mut names = BTreeSet::new();
        made.into_iter().filter(|made| names.insert((made.entry.slot, made.entry.name.clone()))).collect()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let age = |most: u32| prop::option::weighted(0.9, 0..most);
    let any_policy = (age(3000), age(20), age(9), age(13), 1..4u32, 0..3u32);
    any_policy.prop_map(|(minutes, days, weeks, months, at_least, years)| Policy {
        minutes,
        days,
        weeks,
        months,
        at_least,
        years,
    })
}

fn clock() -> impl Strategy<Value = i64> {
    prop_oneof![9 => 1_770_000_000..1_780_000_000i64, 1 => any::<i64>()]
}

fn entries(directory: &[Made]) -> Vec<Entry> {
    directory.iter().map(|made| made.entry.clone()).collect()
}

type Key = (Slot, BackupName);

fn key(entry: &Entry) -> Key {
    (entry.slot, entry.name.clone())
}

/// The expired backups, and whether they may be deleted.
fn judged(
    entries: &[Entry],
    database: &str,
    policy: &Policy,
    published: &[Key],
    now: i64,
) -> (Vec<Key>, bool) {
    let (database, suffix) = (DatabaseName::parse(database).unwrap(), Suffix::parse(SUFFIX).unwrap());
    let (database, suffix, held_before) = (&database, &suffix, None);
    let cleanup = Cleanup { database, suffix, policy, published, held_before, now };
    let sentence = cleanup.judge(entries);
    (sentence.expired.into_iter().map(key).collect(), sentence.hold.is_none())
}

fn gone(entries: &[Entry], database: &str, policy: &Policy, now: i64) -> Vec<Key> {
    judged(entries, database, policy, &[], now).0
}

/// The age in seconds up to which a backup is kept, as documented in the README.
fn limit(policy: &Policy, slot: Slot) -> Option<i128> {
    let days = |days: u32| i128::from(days) * i128::from(DAY) + i128::from(DAY) - 1;
    match slot {
        Slot::Last => policy.minutes.map(|minutes| i128::from(minutes) * 60),
        Slot::Daily => policy.days.map(days),
        Slot::Weekly => policy.weeks.map(|weeks| days(weeks * 7 + 1)),
        Slot::Monthly => policy.months.map(|months| days(months * 31 + 1)),
    }
}

/// Whether a time is more than an hour ahead.
fn is_future(entry: &Entry, now: i64) -> bool {
    i128::from(entry.mtime) - i128::from(now) > 3600
}

/// What the model deletes: in each slot, backups that are too old, except the newest `at_least`, those in the future,
/// and the first of each year to keep.
fn model(directory: &[Made], database: &str, policy: &Policy, now: i64) -> BTreeSet<Key> {
    let mut slots: BTreeMap<Slot, Vec<&Entry>> = BTreeMap::new();
    let is_of = |made: &&Made| made.of == Some(database) && !is_future(&made.entry, now);
    for made in directory.iter().filter(is_of) {
        slots.entry(made.entry.slot).or_default().push(&made.entry);
    }
    let mut doomed = BTreeSet::new();
    for (slot, mut backups) in slots {
        backups.sort_by_key(|entry| (entry.mtime, entry.name.clone()));
        let year_of = |entry: &Entry| i64::from(crate::store::retention::year_of(entry).unwrap());
        let mut seen = BTreeSet::new();
        let mut is_first = |entry: &Entry| slot == Slot::Monthly && seen.insert(year_of(entry));
        let firsts: Vec<bool> = backups.iter().map(|entry| is_first(entry)).collect();
        let this_year = i64::from(crate::util::clock::year(now));
        let old = backups.len().saturating_sub(usize::try_from(policy.at_least).unwrap());
        for (entry, is_first) in backups.iter().zip(firsts).take(old) {
            let is_old =
                limit(policy, slot).is_some_and(|limit| i128::from(now) - i128::from(entry.mtime) > limit);
            let is_kept =
                is_first && (0..i64::from(policy.years)).any(|ago| this_year - ago == year_of(entry));
            if is_old && !is_kept {
                doomed.insert(key(entry));
            }
        }
    }
    doomed
}

proptest! {
    #[test]
    fn exactly_the_outlived_backups_of_the_database_go_and_never_the_newest_of_a_slot(
        directory in directory(), policy in policy(), now in clock(),
    ) {
        for database in DATABASES {
            let gone: BTreeSet<Key> =
                gone(&entries(&directory), database, &policy, now).into_iter().collect();
            prop_assert_eq!(gone, model(&directory, database, &policy, now), "{}", database);
        }
    }

    #[test]
    fn nothing_that_was_published_or_lies_in_the_future_ever_goes(
        directory in directory(), policy in policy(), now in clock(), share in 0..4usize,
    ) {
        let entries = entries(&directory);
        let published: Vec<Key> = entries.iter().step_by(share + 1).map(key).collect();
        let (gone, _) = judged(&entries, "app", &policy, &published, now);
        for entry in &entries {
            let is_safe = published.contains(&key(entry)) || is_future(entry, now);
            prop_assert!(!(is_safe && gone.contains(&key(entry))), "{:?}", entry);
        }
    }

    #[test]
    fn a_run_long_after_all_others_deletes_no_more_than_half_of_a_slot(
        directory in directory(), policy in policy(), now in clock(),
    ) {
        let entries = entries(&directory);
        let ours = || {
            let made = directory.iter().filter(|made| made.of == Some("app") && !is_future(&made.entry, now));
            made.map(|made| &made.entry)
        };
        let mut times: Vec<i64> = ours().map(|entry| entry.mtime).collect();
        times.sort_unstable_by_key(|time| std::cmp::Reverse(*time));
        times.dedup_by(|later, kept| kept.saturating_sub(*later) < DAY);
        let Some(newest) = times.first().copied() else { return Ok(()) };
        let gap = now.saturating_sub(newest);
        let is_rhythm = times.len() > 2
            && (0..2).all(|at| gap <= times[at].saturating_sub(times[at + 1]).saturating_add(5 * DAY));
        let (gone, may) = judged(&entries, "app", &policy, &[], now);
        let takes_most = Slot::ALL.iter().any(|slot| {
            let had = ours().filter(|entry| entry.slot == *slot).count();
            gone.iter().filter(|(of, _)| of == slot).count() * 2 > had
        });
        prop_assert_eq!(may, gap <= 30 * DAY || is_rhythm || !takes_most);
    }

    #[test]
    fn the_oldest_goes_first_whatever_the_order_of_the_listing(
        directory in directory(), policy in policy(), now in clock(), turn in any::<prop::sample::Index>(),
    ) {
        let entries = entries(&directory);
        let age = |key: &Key| entries.iter().find(|entry| self::key(entry) == *key).unwrap().mtime;
        let gone = gone(&entries, "app", &policy, now);
        prop_assert!(gone.is_sorted_by_key(age));
        let mut turned = entries.clone();
        turned.rotate_left(turn.index(entries.len().max(1)));
        let again = self::gone(&turned, "app", &policy, now);
        prop_assert_eq!(BTreeSet::from_iter(again), BTreeSet::from_iter(gone));
    }

    #[test]
    fn once_deleted_nothing_more_is_to_be_deleted_also_when_it_broke_off(
        directory in directory(), policy in policy(), now in clock(), stop in any::<prop::sample::Index>(),
    ) {
        let mut entries = entries(&directory);
        let gone = gone(&entries, "app", &policy, now);
        let done = stop.index(gone.len() + 1);
        entries.retain(|entry| !gone[..done].contains(&key(entry)));
        prop_assert_eq!(self::gone(&entries, "app", &policy, now), &gone[done..]);
    }

    #[test]
    fn what_a_preview_shows_is_what_a_run_deletes_and_replaces(
        directory in directory(), policy in policy(), moment in moment(),
        end in prop::sample::select(&[".dump", ".dump.gpg"][..]),
    ) {
        let (app, suffix) = (DatabaseName::parse("app").unwrap(), Suffix::parse(SUFFIX).unwrap());
        // No backup in `last` uses this second; otherwise a run would wait for the next one.
        let now = moment + 1;
        let run = PrunePreview { time: zoned(now), ending: end, suffix: &suffix, latest: Latest::Symlink, policy: &policy };
        let Prospect { removals, kept, hold } = run.prospect(&entries(&directory), &app, None);
        prop_assert!(kept.iter().all(|(entry, _)| removals.iter().all(|removal| key(&removal.entry) != key(entry))));
        let shown = |reason| removals.iter().filter(move |removal| removal.reason == reason);
        // The run: names are given as to files in a directory, and only then is anything deleted.
        let mut after: BTreeMap<Key, Entry> =
            entries(&directory).into_iter().map(|entry| (key(&entry), entry)).collect();
        let (mut replaced, mut published) = (BTreeSet::new(), Vec::new());
        for slot in Slot::ALL {
            let name = BackupName::compose(&app, &slot.stamp(&zoned(now)), end);
            let new = entry(slot, name.as_str(), now);
            published.push(key(&new));
            replaced.extend(after.insert(key(&new), new).map(|old| key(&old)));
        }
        let after: Vec<Entry> = after.into_values().collect();
        let keys = |reason| shown(reason).map(|removal| key(&removal.entry)).collect::<Vec<Key>>();
        let (gone, may) = judged(&after, "app", &policy, &published, now);
        prop_assert_eq!(hold.is_none(), may);
        let expected = if may { (gone, Vec::new()) } else { (Vec::new(), gone) };
        prop_assert_eq!((keys(RemovalReason::Deleted), keys(RemovalReason::Held)), expected);
        let is_pointer = |name: &BackupName| name.latest_parts().is_some();
        let shown: BTreeSet<Key> = shown(RemovalReason::Replaced).map(|removal| key(&removal.entry)).collect();
        let dated: BTreeSet<Key> = shown.iter().filter(|(_, name)| !is_pointer(name)).cloned().collect();
        prop_assert_eq!(dated, replaced);
    }
}
