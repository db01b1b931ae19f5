//! The pauses before a program that keeps ending is started again.

use std::time::Duration;

/// The pause before the next start: 0.5 s, doubling to 30 s, and from the beginning again after a minute of
/// life. It knows no clock; its owner says how long the program lived.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    quick_deaths: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    /// A program that ran for this long did not end quickly.
    pub(super) const SETTLED: Duration = Duration::from_secs(60);
    /// After so many quick ends in a row the program counts as failing.
    const FAILURE: u32 = 3;

    pub(super) fn new() -> Self {
        Self { next: Self::FIRST, quick_deaths: 0 }
    }

    /// The pause after a life of that length.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= Self::SETTLED {
            *self = Self::new();
        } else {
            self.quick_deaths += 1;
        }
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        pause
    }

    /// Whether it has ended three times in a row soon after its start.
    pub(super) fn is_failing(&self) -> bool {
        self.quick_deaths >= Self::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_deaths_in_a_row_double_the_pause_to_half_a_minute_and_a_minute_of_life_begins_anew() {
        let mut backoff = Backoff::new();
        let short: Vec<f64> = (0..10).map(|_| backoff.after(Duration::ZERO).as_secs_f64()).collect();
        assert_eq!(short, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]);
        assert_eq!(backoff.after(Duration::from_secs(60)), Backoff::FIRST);
        assert_eq!(backoff.after(Duration::from_secs(59)), Duration::from_secs(1));
    }

    #[test]
    fn three_quick_deaths_in_a_row_are_a_failure_and_a_long_life_ends_it() {
        let mut backoff = Backoff::new();
        let failing: Vec<bool> = [1, 1, 1, 60, 1, 1, 1]
            .map(|seconds| {
                backoff.after(Duration::from_secs(seconds));
                backoff.is_failing()
            })
            .to_vec();
        assert_eq!(failing, [false, false, true, false, false, false, true]);
    }
}
