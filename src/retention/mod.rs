//! Which backups have served their time: a pure function from what is there, the policy and the time.

mod hold;
mod links;
mod next_run;
#[cfg(test)]
mod properties;

use std::collections::HashMap;

use crate::catalog::{BackupName, DatabaseName, Entry, Slot, Suffix};
use crate::clock;
use crate::settings::Reader;

pub use hold::Hold;
pub use links::Links;
pub use next_run::{Fate, NextRun, Removal};

/// How long the backups of each slot are kept, as the settings say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Minutes in `last`.
    pub minutes: u32,
    /// Days in `daily`.
    pub days: u32,
    /// Weeks in `weekly`; a week is 7 days, and one more day in all.
    pub weeks: u32,
    /// Months in `monthly`; a month is 31 days, and one more day in all.
    pub months: u32,
}

const DAY: i64 = 86_400;

impl Policy {
    /// Reads the part of the settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let minutes = reader.whole("BACKUP_KEEP_MINS");
        let days = reader.whole("BACKUP_KEEP_DAYS");
        let weeks = reader.whole("BACKUP_KEEP_WEEKS");
        let months = reader.whole("BACKUP_KEEP_MONTHS");
        Some(Self { minutes: minutes?, days: days?, weeks: weeks?, months: months? })
    }

    /// The age in seconds past which a backup in `slot` goes.
    pub fn limit(&self, slot: Slot) -> i64 {
        match slot {
            Slot::Last => i64::from(self.minutes) * 60,
            Slot::Daily => i64::from(self.days) * DAY,
            Slot::Weekly => (i64::from(self.weeks) * 7 + 1) * DAY,
            Slot::Monthly => (i64::from(self.months) * 31 + 1) * DAY,
        }
    }
}

/// A run that has published a backup of a database, and now looks at the others of it.
#[derive(Debug, Clone, Copy)]
pub struct Cleanup<'a> {
    /// The database.
    pub database: &'a DatabaseName,
    /// The end of names in the settings.
    pub suffix: &'a Suffix,
    /// What is kept.
    pub policy: &'a Policy,
    /// The names that the run has given: none of them goes, whatever the times say.
    pub published: &'a [(Slot, BackupName)],
    /// Why the run before it has deleted nothing of the database, if that was for the clock's sake.
    pub held_before: Option<Hold>,
    /// What the clock says, in Unix seconds.
    pub now: i64,
}

/// What has served its time, and whether it may go.
#[derive(Debug)]
pub struct Sentence<'e> {
    /// The backups to delete, oldest first, so that a run that breaks off has kept the newer ones.
    pub expired: Vec<&'e Entry>,
    /// Why none of them may go this time.
    pub hold: Option<Hold>,
}

impl Cleanup<'_> {
    /// Judges the backups of the database among `entries`. The newest of a slot stays whatever its age. One whose time lies
    /// in the future is not the newest, and stays, too: nothing tells how old it is. Pointers and strangers are never in the
    /// answer.
    pub fn judge<'e>(&self, entries: &'e [Entry]) -> Sentence<'e> {
        let ours: Vec<&Entry> = entries.iter().filter(|entry| self.is_ours(entry)).collect();
        let age_order = |entry: &Entry| (entry.mtime, entry.name.clone());
        let mut newest: HashMap<Slot, &Entry> = HashMap::new();
        for entry in ours.iter().filter(|entry| !self.is_future(entry)) {
            let kept = newest.entry(entry.slot).or_insert(entry);
            if age_order(entry) > age_order(kept) {
                *kept = entry;
            }
        }
        let outlived = |entry: &Entry| self.now.saturating_sub(entry.mtime) > self.policy.limit(entry.slot);
        let stays = |entry: &Entry| {
            let is_newest = newest.get(&entry.slot).is_some_and(|kept| kept.name == entry.name);
            is_newest || self.is_future(entry) || self.is_published(entry)
        };
        let mut expired: Vec<&Entry> =
            ours.iter().copied().filter(|entry| outlived(entry) && !stays(entry)).collect();
        expired.sort_by_key(|entry| age_order(entry));
        let hold = self.hold(&ours, &expired);
        Sentence { expired, hold }
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

/// Whether a backup is this tool's: a manifest lies beside it, or it ends as the settings say, or as they say
/// by default, encrypted or not.
fn is_ours(entry: &Entry, suffix: &str, configured: &Suffix) -> bool {
    let plain = suffix.strip_suffix(".gpg").unwrap_or(suffix);
    let is_given = |suffix| suffix == configured.as_str() || suffix == ".sql.gz";
    entry.manifest.is_some() || entry.former.is_some() || is_given(suffix) || is_given(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const POLICY: Policy = Policy { minutes: 10, days: 7, weeks: 4, months: 6 };

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
        }
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
    fn each_slot_has_its_own_limit() {
        let limits: Vec<i64> = Slot::ALL.iter().map(|slot| POLICY.limit(*slot)).collect();
        assert_eq!(limits, [600, 7 * DAY, 29 * DAY, 187 * DAY]);
    }

    #[test]
    fn a_backup_goes_when_it_is_older_than_the_limit_and_not_before() {
        let at = |mtime| {
            [
                entry(Slot::Daily, "app-20260101.sql.gz", mtime),
                entry(Slot::Daily, "app-20260109.sql.gz", 9 * DAY),
            ]
        };
        assert_eq!(names(&at(2 * DAY), 9 * DAY), Vec::<&str>::new());
        assert_eq!(names(&at(2 * DAY - 1), 9 * DAY), ["app-20260101.sql.gz"]);
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
        // Another clock may be ahead by an hour.
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
            // A file system with a clock of its own.
            entry(Slot::Daily, "app-20260103.dump", -50 * DAY),
        ];
        let published = [(Slot::Daily, "app-20260103.dump")];
        assert_eq!(judged(&entries, ".dump", &published, now), ["app-20260101.dump"]);
        let elsewhere = [(Slot::Weekly, "app-20260103.dump")];
        let gone = ["app-20260103.dump", "app-20260101.dump"];
        assert_eq!(judged(&entries, ".dump", &elsewhere, now), gone);
    }
}
