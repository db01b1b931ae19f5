//! What is wrong shows in four places: `/status`, the metric, `health` and go-cron's port. Asked for together, so that no test
//! forgets one.

use std::path::Path;

use serde_json::Value;

use super::client::{exchange, request};
use super::command::{Cli, Outcome};
use super::daemon::Daemon;
use super::port_watch::answers;
use super::wait::{SOON, wait_for, wait_until};

/// Whether one of the problems has this in it.
fn has(problems: &Value, told: &str) -> bool {
    let problems = problems.as_array().expect("a list of problems").iter();
    problems.map(|line| line.as_str().expect("a text")).any(|line| line.contains(told))
}

/// What a go-cron answers on its port: the status and the JSON.
#[track_caller]
pub fn health_port(port: u16) -> (u16, Value) {
    wait_until("the health port", SOON, || answers(port));
    let answer = exchange(port, &request("GET", "/", &[], None));
    (answer.status, answer.json())
}

impl Daemon<'_> {
    /// What its go-cron answers.
    #[track_caller]
    pub fn health_port(&self) -> (u16, Value) {
        health_port(self.health_port)
    }

    /// What `backupgram health` says beside it, with its settings and as its user.
    pub fn health(&self) -> Outcome {
        let (program, user) = match &self.user {
            Some((program, uid)) => (program.with_file_name("backupgram"), Some(*uid)),
            None => (Path::new(env!("CARGO_BIN_EXE_backupgram")).to_path_buf(), None),
        };
        let cli = Cli::of_program(program, self.store).args(["health"]);
        let cli = self.env.iter().fold(cli, |cli, (key, value)| cli.env(key, value));
        user.into_iter().fold(cli, |cli, uid| cli.user(uid, uid)).run()
    }

    /// Asserts that each of the four tells of all of this, in a moment, and nothing is called right.
    #[track_caller]
    pub fn is_red(&self, told: &[&str]) {
        let what = format!("/status and the port to tell of {told:?}");
        let (status, (code, port)) = wait_for(&what, SOON, || {
            let (status, port) = (self.status(), self.health_port());
            let is_told = |told: &&str| has(&status["problems"], told) && has(&port.1["problems"], told);
            told.iter().all(is_told).then_some((status, port))
        });
        assert_eq!(code, 503, "{port:#}");
        let count = self.metrics().get("backupgram_problems", &[]);
        assert!(count >= 1.0, "{count}: {status:#}");
        let health = self.health().exited_with(1);
        assert!(health.text().starts_with("unhealthy: ") && health.text().lines().count() == 1, "{health}");
        for told in told {
            assert!(health.text().contains(told), "health lacks {told:?}: {health}");
        }
        let inside = self.store.path();
        for answer in [&status["problems"], &port["problems"]] {
            let answer = answer.to_string();
            assert!(!answer.contains(inside.to_str().unwrap()), "a path of the container: {answer}");
        }
    }

    /// Waits until none of the four tells of anything.
    #[track_caller]
    pub fn is_green(&self) {
        let none = Value::Array(Vec::new());
        wait_until("all to be well", SOON, || {
            self.status()["problems"] == none && self.health_port().0 == 200
        });
        assert_eq!(self.metrics().get("backupgram_problems", &[]), 0.0);
        assert_eq!(self.health_port().1["problems"], none);
        assert_eq!(self.health().succeeded().text(), "healthy\n");
    }
}
