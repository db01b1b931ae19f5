//! A daemon that is killed while it changes something: the state before or the state after, and never a third.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::*;

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*, by George Marsaglia.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit as u64).unwrap()
    }

    fn changes(&mut self) -> BTreeMap<String, Option<String>> {
        const KEYS: [&str; 5] = [
            "POSTGRES_EXCLUDE_TABLES",
            "POSTGRES_EXCLUDE_TABLES",
            "TELEGRAM_API_HASH",
            "BACKUP_KEEP_DAYS",
            "POSTGRES_DB",
        ];
        const SCHEDULES: [&str; 3] = ["@daily", "@weekly", "@monthly"];
        let mut changes = BTreeMap::new();
        for _ in 0..=self.below(3) {
            let key = KEYS[self.below(KEYS.len())];
            let value = match (key, self.below(5)) {
                (_, 0) => None,
                ("BACKUP_KEEP_DAYS", _) => Some(self.below(1000).to_string()),
                ("POSTGRES_DB", _) => Some(format!("it's_{}", self.below(1000))),
                (_, 1) => Some("x'\"$`é".repeat(self.below(2500))),
                _ => Some(format!("'{}'", self.below(1_000_000))),
            };
            changes.insert(key.to_owned(), value);
        }
        if self.below(30) == 0 {
            changes.insert("SCHEDULE".to_owned(), Some(SCHEDULES[self.below(3)].to_owned()));
        }
        changes
    }
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_a_change_leaves_the_old_state_or_the_new_one() {
    if !may_unshare() {
        return;
    }
    let seed = std::env::var("BACKUPGRAM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    println!("BACKUPGRAM_TEST_SEED={seed}");
    let mut random = Random(seed);
    let server = Cluster::shared(15);
    let store = Store::new();
    let mut state: BTreeMap<String, String> = BTreeMap::new();
    let (mut asked, mut usual) = (0, Duration::from_millis(5));
    let mut ends = BTreeMap::<&str, u32>::new();
    while asked < 200 {
        let mut daemon = Plan::new(server, &store).database("app").first_process().start();
        let shown = daemon.config();
        for (key, value) in &state {
            let expected = match key.as_str() {
                "TELEGRAM_API_HASH" => json!({"set": !value.is_empty(), "source": "override"}),
                _ => json!({"value": value, "source": "override"}),
            };
            assert!(shown[key] == expected, "{key}: {:.200}", shown[key]);
        }
        let overridden = shown.as_object().unwrap().values().filter(|shown| shown["source"] == "override");
        assert_eq!(overridden.count(), state.len(), "{shown:.2000}");
        let pid = daemon.pid();
        let last = random.below(16);
        for number in 0..=last {
            let changes = random.changes();
            let mut next = state.clone();
            for (key, value) in &changes {
                match value {
                    Some(value) => next.insert(key.clone(), value.clone()),
                    None => next.remove(key),
                };
            }
            asked += 1;
            let delay = usual.mul_f64(random.below(150) as f64 / 100.0);
            let answered = std::thread::scope(|scope| {
                if number == last {
                    scope.spawn(move || {
                        // The moment is the point, not that anything is ready by then.
                        std::thread::sleep(delay);
                        signal_pid(pid, Signal::SIGKILL);
                    });
                }
                let begun = Instant::now();
                let answered = daemon.patch_unless_killed(&json!(changes));
                if number < last && !changes.contains_key("SCHEDULE") {
                    usual = begun.elapsed();
                }
                answered
            });
            let now = overrides(&store).unwrap_or_default();
            let end = match answered {
                Some(status) => {
                    assert_eq!(status, 200, "{changes:?}");
                    assert!(now == rendered(&next), "what was answered is not kept");
                    state = next;
                    "after the answer"
                }
                None if number < last => panic!("the daemon did not answer"),
                None if now == rendered(&next) => {
                    state = next;
                    "after the change"
                }
                None => {
                    assert!(now == rendered(&state), "neither the old state nor the new one");
                    "before the change"
                }
            };
            if number == last {
                *ends.entry(end).or_default() += 1;
            }
        }
        daemon.wait(SOON);
        let now = overrides(&store).unwrap_or_default();
        assert!(now == rendered(&state), "the file has changed after the end");
    }
    println!("{asked} changes; the kills came: {ends:?}");
    Cli::new(server, &store).env("POSTGRES_DB", "app").args(["check-env"]).run().succeeded();
}
