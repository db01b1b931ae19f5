//! Schedules on days when the clocks change.
//!
//! Croner only searches the plain calendar, where every time occurs once. Its own rules for clock changes treat
//! `0 2,14 * * *` as an interval and miss a time whose gap ends on the next day. Here each civil time is converted to
//! an instant: a fixed time in the gap runs right after it, one in the repeated hour runs the first time. A schedule
//! with wildcard hours follows elapsed time instead: it does not run in the gap, and runs in both repeated hours.

use croner::Cron;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// The first instant after `now` that matches one of the fixed times.
pub fn next_fixed(cron: &Cron, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let mut civil = zone.to_datetime(now);
    // Later civil times are never earlier instants, so the first one after `now` is the next. Those skipped are the
    // rest of a repeated hour, if `now` is in its second pass.
    loop {
        civil = cron.find_next_occurrence(&civil, false).ok()?;
        let instant = instant(zone, civil)?;
        if instant > now {
            return Some(instant);
        }
    }
}

/// The instant of a civil time: the first of two, or the end of the gap it falls in.
fn instant(zone: &TimeZone, civil: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            // By the old offset the time lies after the change, by as much as it lies in the gap.
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
    // Between two clock changes the offset is constant.
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
