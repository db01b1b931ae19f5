//! Holds back deletions while the clock is not trusted.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::policy::DAY;
use crate::store::catalog::{Entry, Slot};
use crate::util::clock;
use crate::util::units;

/// A longer gap to the previous backup, in seconds, may be a clock that has jumped.
const LONG_GAP: i64 = 30 * DAY;
/// Unless the gaps before were as long, up to this many seconds: then the schedule is that slow. Months differ by
/// three days, and a run may be late.
const RHYTHM: i64 = 5 * DAY;

/// Why expired backups were not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "lowercase")]
pub enum Hold {
    /// Our clock differs from the server's.
    Server {
        /// Seconds by which ours is ahead; negative if it is behind.
        ahead_seconds: i64,
    },
    /// The previous backup is old, and most backups would have been deleted.
    Gap {
        /// Age of the previous backup in seconds.
        age_seconds: i64,
    },
}

impl Hold {
    /// Compares our time `now` with the server's clock.
    pub fn by_server(clock: &clock::OtherClock, now: i64) -> Option<Self> {
        let ahead_seconds = clock.lead(now);
        let differs = ahead_seconds.unsigned_abs() > clock::TOLERANCE.unsigned_abs();
        differs.then_some(Self::Server { ahead_seconds })
    }

    /// Holds a run after a long gap that is not the usual schedule, if it would delete more than half of a slot:
    /// `expired` are those of the backups `before` this run that are too old. The run after a held one may delete.
    pub(super) fn by_gap(
        now: i64,
        earlier: Option<Self>,
        before: &[&Entry],
        expired: &[&Entry],
    ) -> Option<Self> {
        let runs = runs(before);
        let gap = now.saturating_sub(*runs.first()?);
        if gap <= LONG_GAP || is_rhythm(gap, &runs) || matches!(earlier, Some(Self::Gap { .. })) {
            return None;
        }
        let count = |entries: &[&Entry], slot| entries.iter().filter(|entry| entry.slot == slot).count();
        let takes_most = |slot: &Slot| count(expired, *slot) * 2 > count(before, *slot);
        Slot::ALL.iter().any(takes_most).then_some(Self::Gap { age_seconds: gap })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = |seconds: &i64| units::age(i64::try_from(seconds.unsigned_abs()).unwrap_or(i64::MAX));
        match self {
            Self::Server { ahead_seconds: lead @ ..0 } => {
                write!(f, "the clock here is {} behind the server's", age(lead))
            }
            Self::Server { ahead_seconds } => {
                write!(f, "the clock here is {} ahead of the server's", age(ahead_seconds))
            }
            Self::Gap { age_seconds } => {
                write!(
                    f,
                    "the previous backup is {} old by this clock, which may have jumped, and most backups \
                     would be deleted: the next run deletes them",
                    age(age_seconds)
                )
            }
        }
    }
}

/// Times of the last three runs that made `backups`, newest first. Runs are at least a day apart, because copies of
/// one backup in several slots may differ in time.
fn runs(backups: &[&Entry]) -> Vec<i64> {
    let mut runs: Vec<i64> = Vec::with_capacity(3);
    while runs.len() < 3 {
        let is_earlier = |time: &i64| runs.last().is_none_or(|last| last.saturating_sub(*time) >= DAY);
        let Some(next) = backups.iter().map(|entry| entry.mtime).filter(is_earlier).max() else { break };
        runs.push(next);
    }
    runs
}

/// Whether the gaps between the last three runs were about as long.
fn is_rhythm(gap: i64, runs: &[i64]) -> bool {
    let mut gaps = runs.windows(2).map(|pair| pair[0].saturating_sub(pair[1]));
    runs.len() == 3 && gaps.all(|earlier| gap <= earlier.saturating_add(RHYTHM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalog::{BackupName, DatabaseName, Suffix};
    use crate::store::retention::tests::{POLICY, entry};
    use crate::store::retention::{Cleanup, Policy};

    const HOUR: i64 = 3600;
    const NOW: i64 = 1_776_349_800;

    /// Backups of these ages in seconds in `last`.
    fn aged(ages: &[i64]) -> Vec<Entry> {
        let name = |at| format!("app-20260416-{at:06}.dump");
        ages.iter().enumerate().map(|(at, age)| entry(Slot::Last, &name(at), NOW - age)).collect()
    }

    fn judged(entries: &[Entry], policy: &Policy) -> (usize, Option<Hold>) {
        judged_after(None, entries, policy)
    }

    fn judged_after(held_before: Option<Hold>, entries: &[Entry], policy: &Policy) -> (usize, Option<Hold>) {
        let (app, suffix) = (DatabaseName::parse("app").unwrap(), Suffix::parse(".dump").unwrap());
        let name = BackupName::parse("app-20260416-143000.dump").unwrap();
        let published = [(Slot::Last, name.clone())];
        let (database, suffix, published, now) = (&app, &suffix, published.as_slice(), NOW);
        let cleanup = Cleanup { database, suffix, policy, published, held_before, now };
        let mut entries = entries.to_vec();
        entries.push(entry(Slot::Last, name.as_str(), NOW));
        let sentence = cleanup.judge(&entries);
        (sentence.expired.len(), sentence.hold)
    }

    fn gap(age_seconds: i64) -> Option<Hold> {
        Some(Hold::Gap { age_seconds })
    }

    #[test]
    fn a_gap_of_more_than_thirty_days_holds_and_one_of_thirty_does_not() {
        let (at, after) = (30 * DAY, 30 * DAY + 1);
        assert_eq!(judged(&aged(&[at, at + DAY]), &POLICY), (2, None));
        assert_eq!(judged(&aged(&[after, after + DAY]), &POLICY), (2, gap(after)));
        assert_eq!(judged(&aged(&[80 * 365 * DAY]), &POLICY), (1, gap(80 * 365 * DAY)));
        assert_eq!(judged(&[], &POLICY), (0, None));
    }

    #[test]
    fn it_holds_when_more_than_half_of_a_slot_would_go() {
        let policy = Policy { minutes: Some(100 * 24 * 60), ..POLICY };
        let of = |young: usize, old: usize| {
            let ages = [vec![40 * DAY; young], vec![101 * DAY; old]].concat();
            // Plus a run a day before the newest, so there is no slow schedule.
            judged(&aged(&[ages, vec![41 * DAY]].concat()), &policy)
        };
        assert_eq!(of(1, 2), (2, None));
        assert_eq!(of(1, 3), (3, gap(40 * DAY)));
        assert_eq!(of(7, 8), (8, None));
    }

    #[test]
    fn one_slot_is_enough_whatever_the_others_keep() {
        let mut entries = aged(&[]);
        for day in 1..=6 {
            entries.push(entry(Slot::Monthly, &format!("app-20250{day}.dump"), NOW - day * 31 * DAY));
        }
        entries.push(entry(Slot::Daily, "app-20260101.dump", NOW - 31 * DAY));
        entries.push(entry(Slot::Daily, "app-20260102.dump", NOW - 32 * DAY));
        // The newest of `daily` is kept, because this run published nothing there.
        assert_eq!(judged(&entries, &POLICY), (1, None));
        entries.push(entry(Slot::Daily, "app-20251231.dump", NOW - 33 * DAY));
        assert_eq!(judged(&entries, &POLICY), (2, gap(31 * DAY)));
    }

    #[test]
    fn a_rhythm_of_months_is_no_jump() {
        for gaps in [[31, 28, 31], [31, 30, 31], [30, 31, 30], [92, 89, 92], [366, 365, 365]] {
            let mut age = HOUR;
            let runs = gaps.map(|days| {
                age += days * DAY;
                age
            });
            assert_eq!(judged(&aged(&runs), &POLICY), (3, None), "{gaps:?}");
        }
        for gaps in [&[40][..], &[40, 40], &[40, 34, 40], &[40, 40, 34], &[40, 0, 0, 40, 1]] {
            let mut age = 0;
            let runs: Vec<i64> = gaps
                .iter()
                .map(|days| {
                    age += days * DAY;
                    age
                })
                .collect();
            assert_eq!(judged(&aged(&runs), &POLICY), (gaps.len(), gap(40 * DAY)), "{gaps:?}");
        }
    }

    #[test]
    fn the_run_after_one_that_was_held_may_also_when_it_is_as_late() {
        assert_eq!(judged(&aged(&[DAY, 62 * DAY]), &POLICY), (2, None));
        let late = aged(&[31 * DAY, 92 * DAY]);
        assert_eq!(judged(&late, &POLICY), (2, gap(31 * DAY)));
        assert_eq!(judged_after(gap(61 * DAY), &late, &POLICY), (2, None));
        let server = Some(Hold::Server { ahead_seconds: 7200 });
        assert_eq!(judged_after(server, &late, &POLICY), (2, gap(31 * DAY)));
    }

    #[test]
    fn what_lies_in_the_future_is_no_backup_before_it() {
        let entries = aged(&[-80 * 365 * DAY, -2 * HOUR, 60 * DAY, 61 * DAY]);
        assert_eq!(judged(&entries, &POLICY), (2, gap(60 * DAY)));
        let entries = aged(&[-HOUR, 60 * DAY, 61 * DAY]);
        assert_eq!(judged(&entries, &POLICY), (2, None), "another clock may be ahead by an hour");
    }

    #[test]
    fn a_clock_an_hour_off_is_believed_and_a_second_more_is_not() {
        let judged = |lead: i64| Hold::by_server(&clock::OtherClock::saying(NOW - lead), NOW);
        assert_eq!([0, HOUR, -HOUR].map(judged), [None; 3]);
        for lead in [HOUR + 1, -HOUR - 1, 80 * 365 * DAY] {
            assert_eq!(judged(lead), Some(Hold::Server { ahead_seconds: lead }));
        }
        let said = |ahead_seconds| Hold::Server { ahead_seconds }.to_string();
        assert_eq!(said(3 * HOUR), "the clock here is 3 h ahead of the server's");
        assert_eq!(said(-90 * DAY), "the clock here is 90 d behind the server's");
    }

    #[test]
    fn a_report_keeps_it_in_words_that_stay() {
        let json = |hold| serde_json::to_value(hold).unwrap();
        let server = Hold::Server { ahead_seconds: -7200 };
        assert_eq!(json(server), serde_json::json!({"reason": "server", "ahead_seconds": -7200}));
        assert_eq!(json(gap(5).unwrap()), serde_json::json!({"reason": "gap", "age_seconds": 5}));
        assert_eq!(serde_json::from_value::<Hold>(json(server)).unwrap(), server);
    }
}
