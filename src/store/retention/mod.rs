//! Retention: decides which backups expire, as a pure function of listing, policy and time.

mod hold;
mod links;
mod policy;
#[cfg(test)]
mod properties;
mod prune_preview;

use std::collections::HashMap;
use std::fmt;

use crate::store::catalog::{BackupName, DatabaseName, Entry, Slot, Suffix};
use crate::util::clock;

pub use hold::Hold;
pub use links::Links;
pub use policy::Policy;
pub use prune_preview::{Prospect, PrunePreview, Removal, RemovalReason};

/// Cleanup of a database's backups after a run has published a new one.
#[derive(Debug, Clone, Copy)]
pub struct Cleanup<'a> {
    /// The database.
    pub database: &'a DatabaseName,
    /// The suffix in the settings.
    pub suffix: &'a Suffix,
    /// The retention policy.
    pub policy: &'a Policy,
    /// The names published by this run, which are never deleted, whatever their time.
    pub published: &'a [(Slot, BackupName)],
    /// Why the previous run held back the deletions of this database, if it did.
    pub held_before: Option<Hold>,
    /// The current time in Unix seconds.
    pub now: i64,
}

/// The retention decision for a database's backups.
#[derive(Debug)]
pub struct Sentence<'e> {
    /// Backups to delete, oldest first, so that an interrupted run has kept the newer ones.
    pub expired: Vec<&'e Entry>,
    /// Backups to keep, each with the reason.
    pub kept: Vec<(&'e Entry, Reason)>,
    /// Why the expired ones must not be deleted this time.
    pub hold: Option<Hold>,
}

/// Why a backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was published by this run.
    Published,
    /// Its time lies in the future.
    Future,
    /// It is younger than the limit of its slot.
    Young(Slot),
    /// Its slot has no limit.
    Unlimited(Slot),
    /// It is among the newest of its slot, of which this many are kept.
    Newest(u32),
    /// It is the oldest of its calendar year in `monthly`.
    OfYear(i16),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published => f.write_str("made by this run"),
            Self::Future => f.write_str("its time is in the future"),
            Self::Young(slot) => write!(f, "not older than {}", Policy::variable(*slot)),
            Self::Unlimited(slot) => write!(f, "{} is empty: no limit", Policy::variable(*slot)),
            Self::Newest(1) => f.write_str("the newest of its slot"),
            Self::Newest(count) => write!(f, "one of the newest {count} (BACKUP_KEEP_AT_LEAST)"),
            Self::OfYear(year) => write!(f, "the oldest of {year} (BACKUP_KEEP_YEARS)"),
        }
    }
}

impl Cleanup<'_> {
    /// Decides on the backups of the database in `entries`. The newest of each slot is kept at any age. A backup with
    /// a time in the future does not count as the newest, and is kept because its age is unknown. Pointers and foreign
    /// files are never returned.
    pub fn judge<'e>(&self, entries: &'e [Entry]) -> Sentence<'e> {
        let mut ours: Vec<&Entry> = entries.iter().filter(|entry| self.is_ours(entry)).collect();
        ours.sort_by_key(|entry| (entry.mtime, entry.name.clone()));
        let (newest, years) = (self.newest(&ours), self.oldest_of_years(&ours));
        let (mut expired, mut kept) = (Vec::new(), Vec::new());
        for entry in &ours {
            let special = || {
                let is_newest = newest.get(&entry.slot).is_some_and(|newest| newest.contains(&&entry.name));
                let year = years.iter().find(|(_, name)| *name == &entry.name);
                match is_newest {
                    true => Some(Reason::Newest(self.policy.at_least)),
                    false => {
                        year.filter(|_| entry.slot == Slot::Monthly).map(|(year, _)| Reason::OfYear(*year))
                    }
                }
            };
            match self.reason_of_time(entry).or_else(special) {
                Some(reason) => kept.push((*entry, reason)),
                None => expired.push(*entry),
            }
        }
        let counts = |entry: &&Entry| !self.is_published(entry) && !self.is_future(entry);
        let before: Vec<&Entry> = ours.iter().copied().filter(counts).collect();
        let hold = Hold::by_gap(self.now, self.held_before, &before, &expired);
        Sentence { expired, kept, hold }
    }

    fn reason_of_time(&self, entry: &Entry) -> Option<Reason> {
        let age = self.now.saturating_sub(entry.mtime);
        match self.policy.limit(entry.slot) {
            _ if self.is_published(entry) => Some(Reason::Published),
            _ if self.is_future(entry) => Some(Reason::Future),
            None => Some(Reason::Unlimited(entry.slot)),
            Some(limit) if age < limit => Some(Reason::Young(entry.slot)),
            Some(_) => None,
        }
    }

    /// The names kept as newest in each slot, whatever their age. `ours` is sorted oldest first.
    fn newest<'e>(&self, ours: &[&'e Entry]) -> HashMap<Slot, Vec<&'e BackupName>> {
        let mut newest: HashMap<Slot, Vec<&BackupName>> = HashMap::new();
        for entry in ours.iter().rev().filter(|entry| !self.is_future(entry)) {
            let names = newest.entry(entry.slot).or_default();
            if names.len() < usize::try_from(self.policy.at_least).unwrap_or(usize::MAX) {
                names.push(&entry.name);
            }
        }
        newest
    }

    /// The oldest backup in `monthly` of each calendar year to keep. The year is the one in the name.
    fn oldest_of_years<'e>(&self, ours: &[&'e Entry]) -> Vec<(i16, &'e BackupName)> {
        let this_year = clock::year(self.now);
        let kept = (0..self.policy.years).map_while(|ago| this_year.checked_sub(i16::try_from(ago).ok()?));
        let of_year = |year: i16| {
            let is_of = |entry: &&&Entry| {
                entry.slot == Slot::Monthly && !self.is_future(entry) && year_of(entry) == Some(year)
            };
            ours.iter().find(is_of).map(|entry| (year, &entry.name))
        };
        kept.filter_map(of_year).collect()
    }

    fn is_ours(&self, entry: &Entry) -> bool {
        let parts = entry.name.parts(entry.slot).filter(|parts| parts.database == *self.database);
        entry.alias_of.is_none() && parts.is_some_and(|parts| is_ours(entry, &parts.suffix, self.suffix))
    }

    fn is_published(&self, entry: &Entry) -> bool {
        self.published.iter().any(|(slot, name)| *slot == entry.slot && *name == entry.name)
    }

    fn is_future(&self, entry: &Entry) -> bool {
        clock::is_future(entry.mtime, self.now)
    }
}

/// The year in a name in `monthly`.
fn year_of(entry: &Entry) -> Option<i16> {
    entry.name.parts(Slot::Monthly)?.stamp.get(..4)?.parse().ok()
}

/// Whether a backup was made by this tool: it has a manifest with facts about its dump, or its suffix is the
/// configured or the default one, with or without `.gpg`.
fn is_ours(entry: &Entry, suffix: &str, configured: &Suffix) -> bool {
    let plain = suffix.strip_suffix(".gpg").unwrap_or(suffix);
    let is_given = |suffix| suffix == configured.as_str() || suffix == ".sql.gz";
    let mut manifests = [&entry.manifest, &entry.former].into_iter().flatten();
    manifests.any(|manifest| manifest.dump.is_some()) || is_given(suffix) || is_given(plain)
}

#[cfg(test)]
mod tests {
    use super::policy::DAY;
    use super::*;

    pub(super) const POLICY: Policy =
        Policy { minutes: Some(10), days: Some(7), weeks: Some(4), months: Some(6), at_least: 1, years: 0 };

    pub(super) fn entry(slot: Slot, name: &str, mtime: i64) -> Entry {
        Entry {
            slot,
            name: BackupName::parse(name).unwrap(),
            database: None,
            size: 1,
            mtime,
            is_directory: false,
            alias_of: None,
            manifest: None,
            former: None,
            inode: 0,
            device: 0,
        }
    }

    /// The decision for each backup: `None` if it expires, else why it is kept.
    fn by(policy: &Policy, entries: &[Entry], now: i64) -> Vec<(String, Option<Reason>)> {
        let (database, suffix) = (&DatabaseName::parse("app").unwrap(), &Suffix::parse(".dump").unwrap());
        let cleanup = Cleanup { database, suffix, policy, published: &[], held_before: None, now };
        let sentence = cleanup.judge(entries);
        let kept = sentence.kept.iter().map(|(entry, reason)| (entry, Some(*reason)));
        let all = sentence.expired.iter().map(|entry| (entry, None)).chain(kept);
        let mut all: Vec<_> = all.map(|(entry, reason)| (entry.name.as_str().to_owned(), reason)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    #[test]
    fn so_many_of_each_slot_stay_whatever_their_age() {
        let day = |day: i64| entry(Slot::Daily, &format!("app-2026010{day}.dump"), day * DAY);
        let entries: Vec<Entry> = (1..5).map(day).collect();
        let stays = |at_least| {
            let all = by(&Policy { at_least, ..POLICY }, &entries, 100 * DAY);
            all.into_iter().filter(|(_, reason)| reason.is_some()).map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(stays(1), ["app-20260104.dump"]);
        assert_eq!(stays(3), ["app-20260102.dump", "app-20260103.dump", "app-20260104.dump"]);
        assert_eq!(stays(9).len(), 4);
    }

    #[test]
    fn the_oldest_of_this_year_and_of_those_before_it_stays_in_monthly() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
        let month = |month: &str| {
            let name = format!("app-{}.dump", month.replace('-', ""));
            entry(Slot::Monthly, &name, at(&format!("{month}-15T03:00:00Z")))
        };
        let months = ["2023-11", "2024-02", "2024-03", "2025-01", "2025-06", "2026-01", "2026-04", "2026-05"];
        let entries: Vec<Entry> = months.into_iter().map(month).collect();
        let now = at("2026-11-20T03:00:00Z");
        let years = |years| {
            let all = by(&Policy { years, months: Some(1), ..POLICY }, &entries, now);
            let of_year = all.into_iter().filter_map(|(name, reason)| match reason? {
                Reason::OfYear(year) => Some((name, year)),
                _ => None,
            });
            of_year.map(|(name, year)| format!("{year}: {name}")).collect::<Vec<_>>()
        };
        assert_eq!(years(0), Vec::<String>::new());
        assert_eq!(years(1), ["2026: app-202601.dump"]);
        let three = ["2024: app-202402.dump", "2025: app-202501.dump", "2026: app-202601.dump"];
        assert_eq!(years(3), three);
        assert_eq!(years(u32::MAX).len(), 4);
    }

    #[test]
    fn each_that_stays_has_its_reason() {
        let policy = Policy { days: None, ..POLICY };
        let entries = [
            entry(Slot::Last, "app-20260101-000000.dump", 0),
            entry(Slot::Last, "app-20260102-000000.dump", 1),
            entry(Slot::Daily, "app-20260101.dump", 0),
            entry(Slot::Weekly, "app-202601.dump", 95 * DAY),
            entry(Slot::Weekly, "app-202602.dump", 200 * DAY),
        ];
        let reasons: Vec<_> =
            by(&policy, &entries, 100 * DAY).into_iter().map(|(_, reason)| reason).collect();
        let expected = [
            Some(Reason::Young(Slot::Weekly)),
            None,
            Some(Reason::Unlimited(Slot::Daily)),
            Some(Reason::Newest(1)),
            Some(Reason::Future),
        ];
        assert_eq!(reasons, expected);
        let told = Reason::Unlimited(Slot::Daily).to_string();
        assert_eq!(told, "BACKUP_KEEP_DAYS is empty: no limit");
    }

    fn judged<'e>(entries: &'e [Entry], suffix: &str, published: &[(Slot, &str)], now: i64) -> Vec<&'e str> {
        let (database, suffix) = (DatabaseName::parse("app").unwrap(), Suffix::parse(suffix).unwrap());
        let published: Vec<_> =
            published.iter().map(|(slot, name)| (*slot, BackupName::parse(name).unwrap())).collect();
        let (database, suffix, published, held_before) = (&database, &suffix, published.as_slice(), None);
        let cleanup = Cleanup { database, suffix, policy: &POLICY, published, held_before, now };
        cleanup.judge(entries).expired.iter().map(|entry| entry.name.as_str()).collect()
    }

    fn names(entries: &[Entry], now: i64) -> Vec<&str> {
        judged(entries, ".dump", &[], now)
    }

    #[test]
    fn other_databases_strangers_and_pointers_stay() {
        let mut entries = vec![
            entry(Slot::Daily, "app-20260102.sql.gz", 1),
            entry(Slot::Daily, "app-20260101.sql.gz", 0),
            entry(Slot::Daily, "app-staging-20260101.sql.gz", 0),
            entry(Slot::Daily, "app-notes.txt", 0),
            entry(Slot::Daily, "app-latest.sql.gz", 0),
            entry(Slot::Daily, "app-20260101.sql.gz.keep", 0),
            entry(Slot::Daily, "app-20260101.sql.gz.gpg", 0),
            entry(Slot::Daily, "app-20260101.dump", 0),
        ];
        entries[4].alias_of = Some(entries[0].name.clone());
        let gone = ["app-20260101.dump", "app-20260101.sql.gz", "app-20260101.sql.gz.gpg"];
        assert_eq!(names(&entries, 1000 * DAY), gone);
    }

    #[test]
    fn a_suffix_may_itself_end_as_encryption_does() {
        let entries = [
            entry(Slot::Daily, "app-20260101.dump.gpg", 0),
            entry(Slot::Daily, "app-20260101.dump", 0),
            entry(Slot::Daily, "app-20260102.dump.gpg", 1),
        ];
        assert_eq!(judged(&entries, ".dump.gpg", &[], 1000 * DAY), ["app-20260101.dump.gpg"]);
    }

    #[test]
    fn what_lies_in_the_future_is_not_the_newest_and_stays() {
        let (now, hour) = (100 * DAY, 3600);
        let at = |ahead| {
            [
                entry(Slot::Daily, "app-20260101.dump", 0),
                entry(Slot::Daily, "app-20260102.dump", DAY),
                entry(Slot::Daily, "app-21060207.dump", now + ahead),
            ]
        };
        assert_eq!(names(&at(hour + 1), now), ["app-20260101.dump"]);
        assert_eq!(names(&at(80 * 365 * DAY), now), ["app-20260101.dump"]);
        // Another clock may be an hour ahead.
        assert_eq!(names(&at(hour), now), ["app-20260101.dump", "app-20260102.dump"]);
        let all = [entry(Slot::Daily, "app-21060207.dump", i64::MAX)];
        assert_eq!(names(&all, now), Vec::<&str>::new());
    }

    #[test]
    fn what_the_run_has_published_stays_whatever_the_times_say() {
        let now = 100 * DAY;
        let entries = [
            entry(Slot::Daily, "app-20260101.dump", 0),
            entry(Slot::Daily, "app-20260102.dump", DAY),
            // As from a file system with its own clock.
            entry(Slot::Daily, "app-20260103.dump", -50 * DAY),
        ];
        let published = [(Slot::Daily, "app-20260103.dump")];
        assert_eq!(judged(&entries, ".dump", &published, now), ["app-20260101.dump"]);
        let elsewhere = [(Slot::Weekly, "app-20260103.dump")];
        let gone = ["app-20260103.dump", "app-20260101.dump"];
        assert_eq!(judged(&entries, ".dump", &elsewhere, now), gone);
    }
}
