//! What the wall clock says, and how far it is believed. It is one setting of a machine: a flat battery or a wrong time
//! server puts it years ahead or back, and what is written meanwhile keeps that time.

use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds by which two clocks may differ. An hour is more than machines without a common time server come to in a year, and
/// what a change of daylight saving makes of the times on a file system that keeps local time, as FAT does.
pub const TOLERANCE: i64 = 3600;

/// The time, in Unix seconds.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Whether a time that was written down lies in the future: nothing can be that new.
pub fn is_future(time: i64, now: i64) -> bool {
    time.saturating_sub(now) > TOLERANCE
}

/// A time in Unix seconds, for people.
pub fn text(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| format!("second {second}"), |time| time.to_string())
}

/// The calendar year of a time in Unix seconds, in the time zone of the process.
pub fn year(second: i64) -> i16 {
    Timestamp::from_second(second).map_or(0, |time| time.to_zoned(TimeZone::system()).year())
}

/// What another clock has said.
#[derive(Debug, Clone, Copy)]
pub struct OtherClock {
    second: i64,
    heard: Instant,
}

impl OtherClock {
    /// A clock that says this time now, in Unix seconds.
    pub fn saying(second: i64) -> Self {
        Self { second, heard: Instant::now() }
    }

    /// The seconds by which ours, which says `now`, is ahead of it; less than none when ours is behind. A jump of ours since
    /// the other was heard counts, too: what has passed meanwhile is told by a clock that nobody sets.
    pub fn lead(&self, now: i64) -> i64 {
        let passed = i64::try_from(self.heard.elapsed().as_secs()).unwrap_or(i64::MAX);
        now.saturating_sub(self.second.saturating_add(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_ahead_may_be_another_clock_and_a_second_more_is_the_future() {
        let now = 1_776_349_800;
        for (time, lies_ahead) in [
            (0, false),
            (now, false),
            (now + TOLERANCE, false),
            (now + TOLERANCE + 1, true),
            (i64::MAX, true),
            (i64::MIN, false),
        ] {
            assert_eq!(is_future(time, now), lies_ahead, "{time}");
        }
        assert!(is_future(i64::MAX, i64::MIN) && !is_future(i64::MIN, i64::MAX));
    }

    #[test]
    fn the_lead_over_another_clock_has_a_sign_and_no_limit() {
        let now = 1_776_349_800;
        let lead = |second| OtherClock::saying(second).lead(now);
        assert_eq!([now - 7200, now, now + 90].map(lead), [7200, 0, -90]);
        assert_eq!(OtherClock::saying(i64::MIN).lead(i64::MAX), i64::MAX);
        assert_eq!(OtherClock::saying(i64::MAX).lead(i64::MIN), i64::MIN);
    }

    #[test]
    fn every_time_has_a_text() {
        assert_eq!(text(4_294_967_295), "2106-02-07T06:28:15Z");
        assert_eq!(text(i64::MAX), "second 9223372036854775807");
    }
}
