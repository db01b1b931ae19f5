//! Random moments for things to go wrong at.

use std::time::{Duration, Instant};

/// A xorshift generator: small, and the same on every machine.
pub struct Moments(u64);

impl Moments {
    /// A generator from the seed that is given, or from the clock.
    pub fn new() -> Self {
        let given = std::env::var("BACKUPGRAM_E2E_SEED").ok().and_then(|text| text.parse().ok());
        let clock =
            || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(clock) | 1;
        println!("BACKUPGRAM_E2E_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A random part of `whole`, now and then a little more than all of it.
    pub fn within(&mut self, whole: Duration) -> Duration {
        whole * u32::try_from(self.next() % 1_100).unwrap() / 1_000
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() >> 20).unwrap() % choices.len()]
    }
}

/// Lets the random moment come, unless `over` says that there is nothing left to disturb.
pub fn pass(moment: Duration, mut over: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < moment && !over() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
