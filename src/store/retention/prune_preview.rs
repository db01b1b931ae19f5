//! What the next run would delete, computed by the function that the run itself uses, on a copy of the listing.

use jiff::{ToSpan, Zoned};

use super::{Cleanup, Hold, Policy, Reason};
use crate::store::catalog::{BackupName, DatabaseName, Entry, Latest, Slot, Suffix};

/// A preview of a run that would publish at [`time`](Self::time).
#[derive(Debug, Clone)]
pub struct PrunePreview<'a> {
    /// When; it gives the new backup its names and the others their ages.
    pub time: Zoned,
    /// The new backup's suffix, including that of encryption.
    pub ending: &'a str,
    /// The suffix in the settings.
    pub suffix: &'a Suffix,
    /// The kind of `-latest` pointers.
    pub latest: Latest,
    /// The retention policy.
    pub policy: &'a Policy,
}

/// Why a name no longer leads to its present file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemovalReason {
    /// The new backup of the same day, week or month takes the name, or a pointer moves on.
    Replaced,
    /// It has expired.
    Deleted,
    /// It is too old, but is kept because the clock is not believed.
    Held,
}

/// What a run would do to the backups of a database.
#[derive(Debug)]
pub struct Prospect {
    /// What would happen to names, in the order in which it would.
    pub removals: Vec<Removal>,
    /// The backups that are kept, each with the reason.
    pub kept: Vec<(Entry, Reason)>,
    /// Why nothing is deleted.
    pub hold: Option<Hold>,
}

/// A name that no longer leads to its present file.
#[derive(Debug, Clone)]
pub struct Removal {
    /// Its present entry.
    pub entry: Entry,
    /// Why.
    pub reason: RemovalReason,
}

impl PrunePreview<'_> {
    /// What will happen to the names among `entries` if `database` is backed up. The new backup is then the newest in every
    /// slot, so what is the newest now may go. Nothing is deleted for what the last run has heard from the server, if that
    /// is why it was `held_before`, or for what the times say.
    pub fn prospect(
        &self,
        entries: &[Entry],
        database: &DatabaseName,
        held_before: Option<Hold>,
    ) -> Prospect {
        let time = self.unused_time(entries, database);
        let now = time.timestamp().as_second();
        let (mut after, mut removals, mut published) = (entries.to_vec(), Vec::new(), Vec::new());
        for slot in Slot::ALL {
            let name = BackupName::compose(database, &slot.stamp(&time), self.ending);
            take_out(&mut after, &mut removals, |entry| entry.slot == slot && entry.name == name);
            after.push(new_backup(slot, name.clone(), database, now));
            published.push((slot, name));
        }
        if self.latest != Latest::None {
            take_out(&mut after, &mut removals, |entry| self.is_pointer(entry, database));
        }
        let Self { suffix, policy, .. } = *self;
        let cleanup = Cleanup { database, suffix, policy, published: &published, held_before, now };
        let sentence = cleanup.judge(&after);
        let by_server = held_before.filter(|hold| matches!(hold, Hold::Server { .. }));
        let hold = by_server.or(sentence.hold);
        let reason = if hold.is_some() { RemovalReason::Held } else { RemovalReason::Deleted };
        for entry in sentence.expired {
            removals.push(Removal { entry: entry.clone(), reason });
            if reason == RemovalReason::Held {
                continue;
            }
            let follows = |other: &&Entry| {
                other.slot == entry.slot
                    && other.alias_of.as_ref() == Some(&entry.name)
                    && other.name.latest_parts().is_some()
            };
            let pointers = after.iter().filter(follows).cloned();
            removals.extend(pointers.map(|entry| Removal { entry, reason: RemovalReason::Replaced }));
        }
        let kept = sentence.kept.into_iter().filter(|(_, reason)| *reason != Reason::Published);
        let kept = kept.map(|(entry, reason)| (entry.clone(), reason)).collect();
        Prospect { removals, kept, hold }
    }

    /// The first time from `time` on, in whole seconds, not used by a backup in `last`; a real run waits for it.
    fn unused_time(&self, entries: &[Entry], database: &DatabaseName) -> Zoned {
        let mut time = self.time.clone();
        loop {
            let name = BackupName::compose(database, &Slot::Last.stamp(&time), self.ending);
            let taken = entries.iter().any(|entry| entry.slot == Slot::Last && entry.name == name);
            match time.checked_add(1.second()) {
                Ok(next) if taken => time = next,
                _ => return time,
            }
        }
    }

    /// Whether an entry is the pointer that will move to the new backup.
    fn is_pointer(&self, entry: &Entry, database: &DatabaseName) -> bool {
        let parts = entry.name.latest_parts();
        parts.is_some_and(|parts| parts.database == *database && parts.suffix == self.ending)
    }
}

fn take_out(after: &mut Vec<Entry>, removals: &mut Vec<Removal>, is_replaced: impl Fn(&Entry) -> bool) {
    let replaced = after.extract_if(.., |entry| is_replaced(entry));
    removals.extend(replaced.map(|entry| Removal { entry, reason: RemovalReason::Replaced }));
}

fn new_backup(slot: Slot, name: BackupName, database: &DatabaseName, now: i64) -> Entry {
    Entry {
        slot,
        name,
        database: Some(database.clone()),
        size: 0,
        mtime: now,
        is_directory: false,
        alias_of: None,
        manifest: None,
        former: None,
        inode: 0,
        device: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::retention::tests::{POLICY, entry};

    fn removals(entries: &[Entry], ending: &str, latest: Latest) -> Vec<(RemovalReason, String)> {
        let suffix = Suffix::parse(".sql.gz").unwrap();
        let time: Zoned = "2026-04-16T14:30:00[UTC]".parse().unwrap();
        let run = PrunePreview { time, ending, suffix: &suffix, latest, policy: &POLICY };
        let removals = run.prospect(entries, &DatabaseName::parse("app").unwrap(), None).removals;
        removals
            .into_iter()
            .map(|Removal { entry, reason }| (reason, format!("{}/{}", entry.slot, entry.name)))
            .collect()
    }

    fn pointer(slot: Slot, name: &str, target: &str) -> Entry {
        Entry { alias_of: Some(BackupName::parse(target).unwrap()), ..entry(slot, name, 0) }
    }

    /// A time older than the limit of `last`.
    const OLD: i64 = 1_776_349_800 - 1200;

    #[test]
    fn the_newest_of_today_may_go_once_the_new_one_is_there() {
        let lone = [entry(Slot::Last, "app-20200101-000000.sql.gz", OLD)];
        let gone = [(RemovalReason::Deleted, "last/app-20200101-000000.sql.gz".to_owned())];
        assert_eq!(removals(&lone, ".sql.gz", Latest::Symlink), gone);
    }

    #[test]
    fn the_names_of_the_same_day_week_and_month_are_replaced_and_no_others() {
        let names = [
            (Slot::Last, "app-20260416-143000.sql.gz"),
            (Slot::Daily, "app-20260416.sql.gz"),
            (Slot::Daily, "app-20260415.sql.gz"),
            (Slot::Daily, "app-eu-20260416.sql.gz"),
            (Slot::Daily, "app-20260416.sql.gz.gpg"),
            (Slot::Weekly, "app-202616.sql.gz"),
            (Slot::Weekly, "app-202604.sql.gz"),
            (Slot::Monthly, "app-202604.sql.gz"),
        ];
        // All are younger than their limits.
        let entries = names.map(|(slot, name)| entry(slot, name, 1_776_349_799));
        let replaced = |names: &[&str]| -> Vec<(RemovalReason, String)> {
            names.iter().map(|name| (RemovalReason::Replaced, (*name).to_owned())).collect()
        };
        let plain = ["daily/app-20260416.sql.gz", "weekly/app-202616.sql.gz", "monthly/app-202604.sql.gz"];
        assert_eq!(removals(&entries, ".sql.gz", Latest::None), replaced(&plain));
        let encrypted = ["daily/app-20260416.sql.gz.gpg"];
        assert_eq!(removals(&entries, ".sql.gz.gpg", Latest::None), replaced(&encrypted));
    }

    #[test]
    fn pointers_move_to_the_new_backup_or_away_from_what_is_deleted() {
        let entries = [
            entry(Slot::Last, "app-20200101-000000.dump", OLD),
            entry(Slot::Last, "app-20200101-000000.sql.gz", OLD),
            pointer(Slot::Last, "app-latest.dump", "app-20200101-000000.dump"),
            pointer(Slot::Last, "app-latest.sql.gz", "app-20200101-000000.sql.gz"),
            pointer(Slot::Last, "app-eu-latest.sql.gz", "app-20200101-000000.sql.gz"),
        ];
        let (old, new) = ("last/app-20200101-000000.sql.gz", "last/app-latest.sql.gz");
        let expected = |names: &[(RemovalReason, &str)]| -> Vec<(RemovalReason, String)> {
            names.iter().map(|(reason, name)| (*reason, (*name).to_owned())).collect()
        };
        let moved = (RemovalReason::Replaced, "last/app-eu-latest.sql.gz");
        assert_eq!(
            removals(&entries, ".sql.gz", Latest::Hardlink),
            expected(&[(RemovalReason::Replaced, new), (RemovalReason::Deleted, old), moved])
        );
        assert_eq!(
            removals(&entries, ".sql.gz", Latest::None),
            expected(&[(RemovalReason::Deleted, old), (RemovalReason::Replaced, new), moved])
        );
    }

    #[test]
    fn nothing_is_deleted_and_no_pointer_moves_while_the_clock_is_not_believed() {
        let gone = "app-20200101-000000.sql.gz";
        let preview = |mtime, held_before| {
            let entries = [
                entry(Slot::Last, gone, mtime),
                pointer(Slot::Last, "app-eu-latest.sql.gz", gone),
                entry(Slot::Daily, "app-20260416.sql.gz", mtime),
            ];
            let suffix = Suffix::parse(".sql.gz").unwrap();
            let time: Zoned = "2026-04-16T14:30:00[UTC]".parse().unwrap();
            let (ending, latest) = (".sql.gz", Latest::Symlink);
            let run = PrunePreview { time, ending, suffix: &suffix, latest, policy: &POLICY };
            let app = DatabaseName::parse("app").unwrap();
            let Prospect { removals, hold, .. } = run.prospect(&entries, &app, held_before);
            (removals.iter().map(|removal| removal.reason).collect::<Vec<_>>(), hold)
        };
        let held = vec![RemovalReason::Replaced, RemovalReason::Held];
        assert_eq!(
            preview(OLD, None),
            (vec![RemovalReason::Replaced, RemovalReason::Deleted, RemovalReason::Replaced], None)
        );
        let of_server = Some(Hold::Server { ahead_seconds: 7200 });
        assert_eq!(preview(OLD, of_server), (held.clone(), of_server));
        let (found, hold) = preview(0, None);
        assert_eq!(found, held);
        assert_eq!(preview(0, hold).1, None, "the run after it may");
        assert!(matches!(hold, Some(Hold::Gap { .. })), "{hold:?}");
    }
}
