//! Decides when the next run is due, from the wall clock that it is given.
//!
//! The wall clock may jump. Forward, by a step or a suspend: what was missed runs once. Backward: the next time is
//! computed again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned};

use crate::formats::schedule::Schedule;

/// The longest sleep between two looks at the wall clock.
const SLICE: Duration = Duration::from_secs(5);

/// A step back of up to this much only delays the next run. A clock that is set back by a moment right
/// after a run must not bring that run a second time.
const SLIGHT_STEP: SignedDuration = SignedDuration::from_secs(60);

/// The result of a look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// A run is due now; the next one has been worked out.
    Due,
    /// The clock was set back, and the next run has been worked out anew.
    SetBack,
    /// Nothing to do for this long at most.
    Sleep(Duration),
}

/// Follows a schedule along the wall clock.
#[derive(Debug)]
pub struct Timer {
    schedule: Schedule,
    due: Option<Zoned>,
    seen: Timestamp,
}

impl Timer {
    /// Starts to follow `schedule` at `now`.
    pub fn new(schedule: Schedule, now: Timestamp) -> Self {
        let due = schedule.next_after(now);
        Self { schedule, due, seen: now }
    }

    /// When the next run is due.
    pub fn due(&self) -> Option<&Zoned> {
        self.due.as_ref()
    }

    /// Looks at the clock.
    pub fn tick(&mut self, now: Timestamp) -> Tick {
        let was_set_back = now < self.seen.saturating_sub(SLIGHT_STEP).unwrap_or(self.seen);
        self.seen = now;
        if was_set_back {
            self.due = self.schedule.next_after(now);
            return Tick::SetBack;
        }
        let Some(due) = &self.due else { return Tick::Sleep(SLICE) };
        let left = due.timestamp().duration_since(now);
        if left.is_positive() {
            return Tick::Sleep(Duration::try_from(left).unwrap_or(SLICE).min(SLICE));
        }
        self.due = self.schedule.next_after(now);
        Tick::Due
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-05-{text}Z").parse().unwrap()
    }

    fn daily(now: &str) -> Timer {
        Timer::new(Schedule::parse_in("0 3 * * *", &TimeZone::UTC).unwrap(), at(now))
    }

    fn due(timer: &Timer) -> Timestamp {
        timer.due().unwrap().timestamp()
    }

    #[test]
    fn a_run_is_due_at_its_time_and_not_a_moment_before() {
        let mut timer = daily("10T00:00:00");
        assert_eq!(timer.tick(at("10T00:00:00")), Tick::Sleep(SLICE));
        assert_eq!(timer.tick(at("10T02:59:59.999")), Tick::Sleep(Duration::from_millis(1)));
        assert_eq!(timer.tick(at("10T03:00:00")), Tick::Due);
        assert_eq!(timer.tick(at("10T03:00:00.001")), Tick::Sleep(SLICE));
        assert_eq!(due(&timer), at("11T03:00:00"));
    }

    #[test]
    fn what_a_suspend_or_a_step_forward_missed_runs_once() {
        let mut timer = daily("10T00:00:00");
        assert_eq!(timer.tick(at("14T12:00:00")), Tick::Due);
        assert_eq!(timer.tick(at("14T12:00:01")), Tick::Sleep(SLICE));
        assert_eq!(due(&timer), at("15T03:00:00"));
    }

    #[test]
    fn after_a_step_back_the_time_is_worked_out_anew() {
        let mut timer = daily("10T12:00:00");
        assert_eq!(due(&timer), at("11T03:00:00"));
        assert_eq!(timer.tick(at("02T02:59:59")), Tick::SetBack);
        assert_eq!(timer.tick(at("02T02:59:59")), Tick::Sleep(Duration::from_secs(1)));
        assert_eq!(timer.tick(at("02T03:00:00")), Tick::Due);
    }

    #[test]
    fn jumps_by_years_bring_one_run_each_way_and_nobody_waits_for_years() {
        let year = |year: i16| -> Timestamp { format!("{year:04}-05-10T12:00:00Z").parse().unwrap() };
        for schedule in ["0 3 * * *", "* * * * *", "@every 1h"] {
            let mut timer = Timer::new(Schedule::parse_in(schedule, &TimeZone::UTC).unwrap(), year(2026));
            for now in [year(2106), year(9998)] {
                assert_eq!(timer.tick(now), Tick::Due, "{schedule:?}");
                assert_eq!(timer.tick(now), Tick::Sleep(SLICE), "{schedule:?}");
            }
            for now in [year(2026), year(1970), year(1)] {
                assert_eq!(timer.tick(now), Tick::SetBack, "{schedule:?}");
                assert_eq!(timer.tick(now), Tick::Sleep(SLICE), "{schedule:?}");
                let wait = timer.due().unwrap().timestamp().duration_since(now);
                assert!(wait <= SignedDuration::from_hours(24), "{schedule:?} from {now}: {wait}");
            }
        }
    }

    #[test]
    fn a_slight_step_back_does_not_bring_the_same_run_twice() {
        let mut timer = daily("10T00:00:00");
        assert_eq!(timer.tick(at("10T03:00:00")), Tick::Due);
        assert_eq!(timer.tick(at("10T02:59:30")), Tick::Sleep(SLICE));
        assert_eq!(timer.tick(at("10T03:00:00")), Tick::Sleep(SLICE));
        assert_eq!(due(&timer), at("11T03:00:00"));
    }

    #[test]
    fn an_interval_counts_from_the_run_that_was_late() {
        let schedule = Schedule::parse_in("@every 1h", &TimeZone::UTC).unwrap();
        let mut timer = Timer::new(schedule, at("10T00:00:00.5"));
        assert_eq!(due(&timer), at("10T01:00:00"));
        assert_eq!(timer.tick(at("10T01:30:00")), Tick::Due);
        assert_eq!(due(&timer), at("10T02:30:00"));
    }
}
