//! A run that fails on a full volume, and is killed or refused at each step of writing that down.

use std::fs;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::*;

/// The system calls that change what lies on a volume or flush it.
const CALLS: [&str; 6] = ["rename", "unlink", "ftruncate", "fchmod", "fallocate", "fsync"];

/// A full volume on which the last run went well.
struct Scene {
    store: Store,
    _disk: SmallDisk,
}

impl Scene {
    fn new() -> Option<Self> {
        if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: a test needs strace");
            return None;
        }
        let store = Store::new();
        let _disk = SmallDisk::mount(&store.path(), 1)?;
        fs::create_dir(store.root().join("tmp")).unwrap();
        let scene = Self { store, _disk };
        scene.run().exited_with(1);
        Some(scene)
    }

    fn cli(&self, program: &str) -> Cli {
        let mut cli = Cli::of_program(program, &self.store);
        for (key, value) in command::settings(Cluster::shared(15), &self.store) {
            cli = cli.env(&key, value);
        }
        let cli = cli.env("TMPDIR", self.store.root().join("tmp")).env("POSTGRES_DB", "app");
        // More than there is: the run fails before it asks the server.
        cli.env("BACKUP_MIN_DISK_SPACE", "9").env("HEALTHCHECK_PORT", "0")
    }

    /// A run that is not disturbed.
    fn run(&self) -> command::Outcome {
        self.cli(env!("CARGO_BIN_EXE_backupgram")).args(["backup"]).run()
    }

    /// A run to whose call of this number this happens; nothing when it has no such call.
    fn run_with(&self, fault: &str, call: &str, number: u32) -> Option<command::Outcome> {
        let (trace, log) = (format!("trace={call}"), self.store.root().join("trace"));
        let inject = format!("inject={call}:{fault}:when={number}");
        let cli = self.cli("strace").args(["-f", "-qq", "-e", &trace, "-e", &inject, "-o"]).args([&log]);
        let outcome = cli.args([env!("CARGO_BIN_EXE_backupgram"), "backup"]).run();
        let calls = fs::read_to_string(log).unwrap();
        // What is killed in a call does not come back to say so.
        let is_reached =
            calls.lines().filter(|line| line.contains(&format!("{call}("))).count() >= number as usize;
        is_reached.then_some(outcome)
    }

    /// Makes the last run one that went well, and the disk full.
    fn make_well(&self) {
        let ballast = self.store.path().join("ballast");
        let _ = fs::remove_file(&ballast);
        // It keeps room for the next, which the fault before may have taken.
        self.run().exited_with(1);
        assert!(self.store.path().join(".status.spare").exists());
        let mut status = self.store.status();
        status["status"] = json!("OK");
        status["error"] = json!("");
        status["databases"] = json!([]);
        fs::write(self.store.path().join(".status.json"), status.to_string()).unwrap();
        let _ = fs::remove_file(self.store.path().join(".history.jsonl"));
        for entry in fs::read_dir(self.store.root().join("tmp")).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
        let mut ballast = fs::File::options().append(true).create(true).open(ballast).unwrap();
        while ballast.write_all(&[1; 4096]).is_ok() {}
    }

    fn health(&self) -> command::Outcome {
        let cli = self.cli(env!("CARGO_BIN_EXE_backupgram")).env("BACKUP_MAX_AGE_HOURS", "1000000");
        cli.args(["health"]).run().exited_with(1)
    }
}

#[test]
fn a_kill_at_any_step_leaves_a_whole_result_and_room_for_the_next() {
    let Some(scene) = Scene::new() else { return };
    let mut kills = 0;
    for call in CALLS {
        for number in 1.. {
            scene.make_well();
            let Some(outcome) = scene.run_with("signal=KILL", call, number) else { break };
            assert_eq!(outcome.status.unwrap().code(), None, "{call} {number}: {outcome}");
            kills += 1;
            // Whole, of this run or of the one before.
            let text = fs::read_to_string(scene.store.path().join(".status.json")).unwrap();
            let status: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{call}: {error}: {text}"));
            assert!(
                ["OK", "FAILED"].contains(&status["status"].as_str().unwrap()),
                "{call} {number}: {status:#}"
            );
            scene.run().exited_with(1);
            scene.health().saying("the last backup failed: ");
            assert_eq!(scene.store.status()["status"], "FAILED", "{call} {number}");
            let left = fs::read_dir(scene.store.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<String> = left.map(|name| name.into_string().unwrap()).collect();
            assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{call} {number}: {left:?}");
        }
    }
    assert!(kills >= 10, "only {kills}");
}

#[test]
fn a_run_whose_result_is_refused_at_any_step_is_red_all_the_same() {
    let Some(scene) = Scene::new() else { return };
    let mut refused = 0;
    for call in CALLS {
        for number in 1.. {
            scene.make_well();
            let healthy = scene.health();
            assert!(!healthy.text().contains("the last backup failed"), "{healthy}");
            let Some(outcome) = scene.run_with("error=EIO", call, number) else { break };
            let outcome = outcome.exited_with(1);
            refused += 1;
            let red = scene.health();
            assert!(red.text().contains("the last backup failed: "), "{call} {number}: {red}\n{outcome}");
        }
    }
    assert!(refused >= 10, "only {refused}");
}
