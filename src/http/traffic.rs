//! Counts the API's responses by route and status, and the connections that were refused. Atomics only: no request waits
//! for another, or for a reader.

use std::sync::atomic::{AtomicU64, Ordering};

/// Status codes have three digits, of which the first is 1 to 5 (RFC 9110, 15).
const STATUSES: std::ops::Range<u16> = 100..600;

/// The counts since the start.
#[derive(Debug)]
pub struct Traffic {
    routes: Vec<&'static str>,
    /// In the order of those, and then of [`STATUSES`].
    answers: Vec<Vec<AtomicU64>>,
    refused: AtomicU64,
}

impl Traffic {
    /// Counts of zero for these routes.
    pub fn new(routes: Vec<&'static str>) -> Self {
        let statuses = || STATUSES.map(|_| AtomicU64::default()).collect();
        let answers = routes.iter().map(|_| statuses()).collect();
        Self { routes, answers, refused: AtomicU64::default() }
    }

    /// Counts a response of a route.
    pub fn count(&self, route: &str, status: u16) {
        let counts = self.routes.iter().position(|known| *known == route).and_then(|at| self.answers.get(at));
        let count = counts.and_then(|counts| counts.get(usize::from(status.checked_sub(STATUSES.start)?)));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a refused connection.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Route, status and number of responses, of those that there were.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        let each = self.routes.iter().zip(&self.answers);
        let each = each.flat_map(|(route, counts)| {
            STATUSES.zip(counts).map(move |(status, count)| (*route, status, count))
        });
        each.map(|(route, status, count)| (route, status, count.load(Ordering::Relaxed)))
            .filter(|(_, _, count)| *count > 0)
    }

    /// Refused connections.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_route_and_status() {
        let traffic = Traffic::new(vec!["/status", "other"]);
        for (route, status) in [
            ("/status", 200),
            ("other", 404),
            ("other", 400),
            ("other", 404),
            ("/status", 99),
            ("/nowhere", 200),
        ] {
            traffic.count(route, status);
        }
        let counted: Vec<_> = traffic.answers().collect();
        assert_eq!(counted, [("/status", 200, 1), ("other", 400, 1), ("other", 404, 2)]);
    }
}
