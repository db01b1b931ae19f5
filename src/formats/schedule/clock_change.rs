//! What a schedule means on the days when the clocks change.
//!
//! Croner searches the bare calendar, where every time comes once; its own rules for changes of clocks
//! count `0 2,14 * * *` as an interval and lose a time whose gap ends on the next day. Here each civil
//! time becomes an instant: a fixed time in the gap comes right after it, one in the repeated hour comes
//! the first time round. A schedule with wildcard hours instead follows the clock as it runs: it has
//! nothing in the gap and comes in both of the repeated hours.

use croner::Cron;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// The first instant after `now` at which one of the fixed times comes.
pub fn next_fixed(cron: &Cron, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let mut civil = zone.to_datetime(now);
    // Later civil times never come earlier, so the first that lies ahead is the next. Those passed over
    // are the rest of a repeated hour, when `now` is in it for the second time.
    loop {
        civil = cron.find_next_occurrence(&civil, false).ok()?;
        let instant = instant(zone, civil)?;
        if instant > now {
            return Some(instant);
        }
    }
}

/// When a civil time comes: the first time of two, or at the end of the gap that it falls in.
fn instant(zone: &TimeZone, civil: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            // By the old clock the time lies just after the change, as far as it lies in the gap.
            let beyond = before.to_timestamp(civil).ok()?;
            let change = zone.preceding(beyond.checked_add(jiff::SignedDuration::from_secs(1)).ok()?).next();
            change.map(|change| change.timestamp())
        }
    }
}

/// The first instant after `now` at which the clock shows a matching time.
pub fn next_elapsed(cron: &Cron, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let mut from = now;
    let mut inclusive = false;
    // From one change of the clocks to the next, the clock runs straight.
    loop {
        let offset = zone.to_offset(from);
        let civil = cron.find_next_occurrence(&offset.to_datetime(from), inclusive).ok()?;
        let instant = offset.to_timestamp(civil).ok()?;
        match zone.following(from).next() {
            Some(change) if change.timestamp() <= instant => {
                from = change.timestamp();
                inclusive = true;
            }
            _ => return Some(instant),
        }
    }
}
