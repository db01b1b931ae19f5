//! Counts what comes to the API: the answers by route and status, and the connections that got no slot. Only by
//! atomics, so that no request waits for another or for whoever reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::router;

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

impl Default for Traffic {
    /// Nothing has come yet.
    fn default() -> Self {
        let statuses = || STATUSES.map(|_| AtomicU64::default()).collect();
        let routes = router::paths();
        let answers = routes.iter().map(|_| statuses()).collect();
        Self { routes, answers, refused: AtomicU64::default() }
    }
}

impl Traffic {
    /// Counts the answer to a request for this path, which has no query.
    pub fn count(&self, path: &str, status: u16) {
        let route = router::route(path);
        let counts = self.routes.iter().position(|known| *known == route).and_then(|at| self.answers.get(at));
        let count = counts.and_then(|counts| counts.get(usize::from(status.checked_sub(STATUSES.start)?)));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection that was turned away.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers of each route had each status; those that there were.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        let each = self.routes.iter().zip(&self.answers);
        let each = each.flat_map(|(route, counts)| {
            STATUSES.zip(counts).map(move |(status, count)| (*route, status, count))
        });
        each.map(|(route, status, count)| (route, status, count.load(Ordering::Relaxed)))
            .filter(|(_, _, count)| *count > 0)
    }

    /// How many connections were turned away.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_and_never_by_path() {
        let traffic = Traffic::default();
        for (path, status) in [
            ("/backups/last/a", 200),
            ("/backups/daily/b%2Fc", 200),
            ("/backups/last/a", 404),
            ("/%73tatus", 200),
            ("/nothing", 404),
            ("/status/", 404),
            ("-", 400),
            ("/%", 400),
            ("", 99),
            ("/status", 600),
        ] {
            traffic.count(path, status);
        }
        let counted: Vec<_> = traffic.answers().collect();
        assert_eq!(
            counted,
            [
                ("/status", 200, 1),
                ("/backups/{slot}/{name}", 200, 2),
                ("/backups/{slot}/{name}", 404, 1),
                ("other", 400, 2),
                ("other", 404, 2)
            ]
        );
    }
}
