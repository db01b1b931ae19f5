//! Which backups have served their time: a pure function from what is there, the policy and the time.

mod links;
mod next_run;
#[cfg(test)]
mod properties;

use std::collections::HashMap;

use crate::catalog::{DatabaseName, Entry, Slot, Suffix};
use crate::settings::Reader;

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

/// The backups of `database` among `entries` to delete at `now` (Unix seconds), oldest first, so that a run
/// that breaks off has kept the newer ones. The newest of a slot stays whatever its age; pointers and
/// strangers are never in the answer.
pub fn expired<'a>(
    entries: &'a [Entry],
    database: &DatabaseName,
    suffix: &Suffix,
    policy: &Policy,
    now: i64,
) -> Vec<&'a Entry> {
    let ours = |entry: &&Entry| {
        let parts = entry.name.parts(entry.slot).filter(|parts| parts.database == *database);
        entry.alias_of.is_none() && parts.is_some_and(|parts| is_ours(entry, &parts.suffix, suffix))
    };
    let age_order = |entry: &Entry| (entry.mtime, entry.name.clone());
    let mut newest: HashMap<Slot, &Entry> = HashMap::new();
    for entry in entries.iter().filter(ours) {
        let kept = newest.entry(entry.slot).or_insert(entry);
        if age_order(entry) > age_order(kept) {
            *kept = entry;
        }
    }
    let outlived = |entry: &&Entry| now.saturating_sub(entry.mtime) > policy.limit(entry.slot);
    let is_newest = |entry: &Entry| newest.get(&entry.slot).is_some_and(|kept| kept.name == entry.name);
    let mut expired: Vec<&Entry> =
        entries.iter().filter(ours).filter(outlived).filter(|entry| !is_newest(entry)).collect();
    expired.sort_by_key(|entry| age_order(entry));
    expired
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
    use crate::catalog::BackupName;

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

    fn names(entries: &[Entry], now: i64) -> Vec<&str> {
        let app = DatabaseName::parse("app").unwrap();
        expired(entries, &app, &Suffix::parse(".dump").unwrap(), &POLICY, now)
            .iter()
            .map(|entry| entry.name.as_str())
            .collect()
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
        let (app, suffix) = (DatabaseName::parse("app").unwrap(), Suffix::parse(".dump.gpg").unwrap());
        let gone = expired(&entries, &app, &suffix, &POLICY, 1000 * DAY);
        assert_eq!(
            gone.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
            ["app-20260101.dump.gpg"]
        );
    }
}
