//! Reads the wall clock and checks stored times for plausibility. A flat battery or a wrong time server can set the
//! clock years off, and what is written meanwhile keeps the wrong time.

use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds by which two clocks may differ. One hour is more than machines without a common time server drift in a
/// year. It also covers the daylight saving shift on file systems that store local time, such as FAT.
pub const TOLERANCE: i64 = 3600;

/// The current time in Unix seconds.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Whether a stored time lies more than [`TOLERANCE`] in the future, so it cannot be right.
pub fn is_future(time: i64, now: i64) -> bool {
    time.saturating_sub(now) > TOLERANCE
}

/// A time in Unix seconds as text (RFC 3339, UTC), for messages.
pub fn text(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| format!("second {second}"), |time| time.to_string())
}

/// The calendar year of a time in Unix seconds, in the time zone of the process.
pub fn year(second: i64) -> i16 {
    Timestamp::from_second(second).map_or(0, |time| time.to_zoned(TimeZone::system()).year())
}

/// A reading of another clock.
#[derive(Debug, Clone, Copy)]
pub struct OtherClock {
    second: i64,
    heard: Instant,
}

impl OtherClock {
    /// A clock that shows this time now, in Unix seconds.
    pub fn saying(second: i64) -> Self {
        Self { second, heard: Instant::now() }
    }

    /// Seconds by which our clock, which shows `now`, is ahead of the other; negative when behind. The time since the
    /// reading is measured with the monotonic clock, so a later jump of our clock counts too.
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
