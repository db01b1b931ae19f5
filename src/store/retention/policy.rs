//! The retention policy from the settings.

use crate::store::catalog::Slot;

/// Seconds in a day.
pub(super) const DAY: i64 = 86_400;

/// How long the backups of each slot are kept. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Minutes in `last`.
    pub minutes: Option<u32>,
    /// Days in `daily`.
    pub days: Option<u32>,
    /// Weeks in `weekly`: 7 days each, plus one day in total.
    pub weeks: Option<u32>,
    /// Months in `monthly`: 31 days each, plus one day in total.
    pub months: Option<u32>,
    /// Number of backups kept in each slot, whatever their age.
    pub at_least: u32,
    /// Number of calendar years, including this one, of which the oldest backup in `monthly` is kept.
    pub years: u32,
}

impl Policy {
    /// The setting with the age limit of a slot.
    pub fn variable(slot: Slot) -> &'static str {
        match slot {
            Slot::Last => "BACKUP_KEEP_MINS",
            Slot::Daily => "BACKUP_KEEP_DAYS",
            Slot::Weekly => "BACKUP_KEEP_WEEKS",
            Slot::Monthly => "BACKUP_KEEP_MONTHS",
        }
    }

    /// The age in seconds at which a backup in `slot` expires, if any. It follows find, with which the original images
    /// delete: `-mmin +N` matches files older than N minutes, `-mtime +N` those at least N + 1 whole days old.
    pub fn limit(&self, slot: Slot) -> Option<i64> {
        let days = |days: i64| (days + 1) * DAY;
        match slot {
            Slot::Last => self.minutes.map(|minutes| i64::from(minutes) * 60 + 1),
            Slot::Daily => self.days.map(|count| days(i64::from(count))),
            Slot::Weekly => self.weeks.map(|count| days(i64::from(count) * 7 + 1)),
            Slot::Monthly => self.months.map(|count| days(i64::from(count) * 31 + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::store::retention::tests::POLICY;

    #[test]
    fn each_slot_has_its_own_limit() {
        let limits = Slot::ALL.map(|slot| POLICY.limit(slot));
        assert_eq!(limits, [601, 8 * DAY, 30 * DAY, 188 * DAY].map(Some));
        let unlimited = Policy { minutes: None, days: None, weeks: None, months: None, ..POLICY };
        assert_eq!(Slot::ALL.map(|slot| unlimited.limit(slot)), [None; 4]);
    }

    /// Runs the original image's own find tests on files just below and above the limit.
    #[test]
    fn the_limit_is_where_find_has_it() {
        let root = tempfile::tempdir().unwrap();
        let tests = [
            (Slot::Last, "-mmin", 10),
            (Slot::Daily, "-mtime", 7),
            (Slot::Weekly, "-mtime", 4 * 7 + 1),
            (Slot::Monthly, "-mtime", 6 * 31 + 1),
        ];
        for (slot, test, number) in tests {
            let limit = u64::try_from(POLICY.limit(slot).unwrap()).unwrap();
            // Far enough from the limit to allow for the start of find.
            for (age, is_found) in [(limit - 30, false), (limit + 30, true)] {
                let path = root.path().join(format!("{slot}-{age}"));
                let time = SystemTime::now().checked_sub(Duration::from_secs(age)).unwrap();
                File::create(&path).unwrap().set_modified(time).unwrap();
                let found =
                    Command::new("find").arg(&path).args([test, &format!("+{number}")]).output().unwrap();
                assert_eq!(!found.stdout.is_empty(), is_found, "{slot} at {age} s");
                fs::remove_file(path).unwrap();
            }
        }
    }
}
