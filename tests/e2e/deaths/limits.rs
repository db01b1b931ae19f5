//! No room for another process, thread or page, and a lock service that has gone.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;
use serde_json::Value;

use super::{PROGRAM, Scene};
use crate::harness::*;

/// A user of whom there are no other processes, as limits on processes count all of them.
struct Lonely {
    uid: u32,
    program: PathBuf,
}

impl Lonely {
    /// Gives the user all of a scene, and a copy of our program; nothing, loudly, where we may not.
    fn new(scene: &Scene, uid: u32) -> Option<Self> {
        if !Uid::effective().is_root() {
            eprintln!("SKIPPED: only root can have a user without processes");
            return None;
        }
        let programs = scene.store.root().join("own");
        fs::create_dir(&programs).unwrap();
        // Not copied by this process: it could not be started while a child of another test holds it open.
        Cli::of_program("cp", &scene.store).args([PROGRAM]).args([&programs]).run().succeeded();
        for name in ["backupgram-api", "go-cron"] {
            symlink("backupgram", programs.join(name)).unwrap();
        }
        give(scene.store.root(), uid);
        Some(Self { uid, program: programs.join("backupgram-api") })
    }

    /// How many threads the user has.
    fn threads(&self) -> usize {
        let is_theirs = |process: &Process| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
            status.lines().any(|line| line.starts_with(&format!("Uid:\t{}\t", self.uid)))
        };
        let threads =
            |process: Process| fs::read_dir(format!("/proc/{}/task", process.pid)).map_or(0, Iterator::count);
        Process::all().into_iter().filter(is_theirs).map(threads).sum()
    }

    /// Gives a process and all below it as much room again as they had.
    fn release(&self, pid: u32) {
        self.limit(pid, None);
        for process in Process::descendants(pid) {
            if process.is_alive() {
                self.limit(process.pid, None);
            }
        }
    }

    /// Lets a process and its children have so many more threads than there are, or as many as it had.
    fn limit(&self, pid: u32, more: Option<usize>) {
        let limits = match fs::read_to_string(format!("/proc/{pid}/limits")) {
            Ok(limits) => limits,
            // It has ended meanwhile.
            Err(_) if more.is_none() => return,
            Err(error) => panic!("{pid}: {error}"),
        };
        let of_processes = limits.lines().find_map(|line| line.strip_prefix("Max processes"));
        let Some(hard) = of_processes.and_then(|limits| limits.split_whitespace().nth(1)).map(String::from)
        else {
            return;
        };
        let soft = more.map_or(hard, |more| (self.threads() + more).to_string());
        // Who may not change the limits of others may change those of his own.
        let mut set = Command::new("prlimit");
        set.args([format!("--pid={pid}"), format!("--nproc={soft}:")]).uid(self.uid).gid(self.uid);
        let set = set.status();
        assert!(set.expect("start prlimit").success() || more.is_none(), "{pid}: {more:?}");
    }
}

fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => give(&entry.path(), uid),
            false => std::os::unix::fs::lchown(entry.path(), Some(uid), Some(uid)).unwrap(),
        }
    }
}

/// Waits until the last run is kept as failed, by whoever could, and answers its error.
#[track_caller]
fn is_kept_as_failed(scene: &Scene) -> String {
    wait_until("the failure to be kept", LONG, || scene.store.status()["status"] == "FAILED");
    let said = scene.store.status()["error"].as_str().expect("a text").to_owned();
    assert!([NO_ROOM, IN_HOOK].iter().any(|known| said.contains(known)), "{said}");
    said
}

/// With ever more room: the program cannot be started, then not the threads of it, then not its hooks.
#[test]
fn a_job_for_which_there_are_no_processes_has_failed() {
    for (number, more) in (0_u32..).zip([2, 3, 5]) {
        let scene = Scene::new("pids", 1);
        let Some(user) = Lonely::new(&scene, 54_330 + number) else { return };
        let daemon = scene.plan().program(user.program.clone(), user.uid).start();
        wait_until("the scheduler to answer", SOON, || answers(daemon.health_port));
        wait_until("the sweep to end", SOON, || Process::descendants(daemon.pid()).len() == 1);
        // The API itself has all the threads that it needs by then, but for one for each connection.
        (0..3).for_each(|_| drop(daemon.status()));
        user.limit(daemon.pid(), Some(more));
        let id = wait_for("the job to be taken on", SOON, || {
            let response = daemon.post_nothing("/backup");
            (response.status == 202).then(|| job_id(&response))
        });
        // While there is no room yet for anybody to be told.
        let said = &is_kept_as_failed(&scene);
        assert!(scene.webhook.calls("/error").is_empty());
        scene.health(daemon.health_port).exited_with(1).saying(said);
        user.release(daemon.pid());
        daemon.failed(&id);
        scene.is_told_once("api", said);
        scene.is_red_until_the_next_run(&daemon, said);
    }
}

#[test]
fn a_scheduled_run_for_which_there_are_no_processes_has_failed() {
    for (number, more) in (0_u32..).zip([0, 2, 6]) {
        let scene = Scene::new("cron_pids", 1);
        let Some(user) = Lonely::new(&scene, 54_340 + number) else { return };
        let health_port = cluster::free_port();
        let cli =
            Cli::of_program(user.program.with_file_name("go-cron"), &scene.store).user(user.uid, user.uid);
        let settings = command::settings(scene.server, &scene.store).into_iter();
        let settings =
            settings.chain(scene.settings().into_iter().map(|(key, value)| (key.to_owned(), value)));
        let cli = settings.fold(cli, |cli, (key, value)| cli.env(&key, value));
        let backup = user.program.with_file_name("backupgram");
        let cron = cli.args(["-s", "@every 2s", "-p", &health_port.to_string(), "--"]).args([&backup]);
        let cron = cron.args(["backup"]).start();
        wait_until("the health port to answer", SOON, || answers(health_port));
        wait_until("a run", SOON, || scene.history().len() == 2);
        // Not while one goes on.
        let is_idle = || Process::descendants(cron.pid()).is_empty();
        wait_until("the run to end", SOON, is_idle);
        user.limit(cron.pid(), Some(more));
        let said = &is_kept_as_failed(&scene);
        scene.health(0).exited_with(1).saying(said);
        user.release(cron.pid());
        wait_until("the webhook to be told", LONG, || !scene.webhook.calls("/error").is_empty());
        wait_until("the hook to be told", SOON, || !scene.told().is_empty());
        let failed: Vec<Value> =
            scene.history().into_iter().filter(|run| run["result"] == "FAILED").collect();
        assert_eq!(failed.len(), 1, "{failed:#?}");
        assert!(failed[0]["error"].to_string().contains(said), "{failed:#?}");
        wait_until("the next run to be well", LONG, || scene.store.status()["status"] == "OK");
        wait_until("the port to be well", SOON, || crate::harness::health_port(health_port).0 == 200);
    }
}

/// What memory there is for the job's own processes.
#[test]
fn a_run_without_memory_is_a_backup_or_has_failed() {
    let scene = Scene::new("memory", 1);
    let daemon =
        scene.plan().env("SCRIPTS_DIR", scene.script("exec \"$(dirname \"$0\")/run\" \"$@\"")).start();
    let runner = scene.store.root().join("scripts/run");
    let mut failures = 0;
    for kibibytes in [4_000, 9_000, 14_000, 20_000, 30_000, 40_000] {
        write_script(&runner, &format!("#!/bin/sh\nulimit -v {kibibytes}\nexec {PROGRAM} backup \"$@\"\n"));
        let before = scene.history().len();
        let id = daemon.start_backup();
        let state = wait_for("the job to end", LONG, || {
            let job = daemon.job(&id);
            job["finished_at"].is_number().then(|| job["state"].clone())
        });
        let (status, history) = (daemon.status()["last_backup"]["status"].clone(), scene.history());
        println!("{kibibytes} KiB: {state} {}", history[0]["error"]);
        assert_eq!(history.len(), before + 1, "{kibibytes}: {history:#?}");
        assert_eq!(history[0]["result"], status, "{kibibytes}");
        assert_eq!(status == "OK", state == "succeeded", "{kibibytes}");
        if status == "FAILED" {
            failures += 1;
            daemon.is_red(&["the last backup failed: "]);
        }
        assert_eq!(scene.webhook.calls("/error").len() > failures - usize::from(failures > 0), failures > 0);
        scene.store.assert_every_name_is_a_whole_backup();
    }
    assert!(failures > 1, "{failures}");
}

/// An NFS server that restarts forgets its locks; what has one must not die of giving it back.
#[test]
fn a_lock_that_cannot_be_given_back_ends_no_run_and_one_that_cannot_be_had_fails_it() {
    let scene = Scene::new("flock", 1);
    let log = scene.store.root().join("trace");
    let (mut given_back, mut refused) = (0, 0);
    // Locks are taken and given back in turn.
    for (number, error) in (1..).step_by(3).zip(["ENOLCK", "EIO", "ESTALE"].into_iter().cycle()) {
        let lines = format!(
            "exec strace -f -o '{}' -e trace=flock -e inject=flock:error={error}:when={number} {PROGRAM} backup",
            log.display()
        );
        let cli = Cli::shell(scene.server, &scene.store, &lines);
        let before = scene.history().len();
        let outcome = cli.env("POSTGRES_DB", scene.names()).run();
        let text = fs::read_to_string(&log).unwrap();
        let Some(call) = text.lines().find(|line| line.contains("(INJECTED)")) else { break };
        let (status, history) = (scene.store.status()["status"].clone(), scene.history());
        let code = outcome.status.and_then(|status| status.code());
        if call.contains("LOCK_UN") {
            assert_eq!((code, &status), (Some(0), &"OK".into()), "{call}\n{outcome}");
            given_back += 1;
        }
        match code {
            Some(0) => assert_eq!(status, "OK", "{call}\n{outcome}"),
            Some(1) => {
                assert_eq!(status, "FAILED", "{call}\n{outcome}");
                scene.health(0).exited_with(1);
                if refused == 0 {
                    scene.plan().start().is_red(&["the last backup failed: "]);
                }
                refused += 1;
            }
            _ => panic!("{call}\n{outcome}"),
        }
        // But for the lock of the history itself, which is a line of the log.
        let result = if code == Some(0) { "OK" } else { "FAILED" };
        let is_written = history.len() == before + 1 && history[0]["result"] == result;
        let is_said = outcome.text().contains("cannot write this run into the history");
        assert!(is_written != is_said, "{is_written} {before} {call}\n{outcome}\n{history:#?}");
        scene.store.assert_every_name_is_a_whole_backup();
    }
    assert!(given_back > 2 && refused > 0, "{given_back} {refused}");
}

/// Who reads the output may be gone before us.
#[test]
fn a_program_whose_output_nobody_reads_does_not_die_of_it() {
    let scene = Scene::new("unread", 1);
    let unread = || std::io::pipe().unwrap().1;
    let run = |program: &str, words: &[&str], form: &str| {
        let mut command = Command::new(program);
        command.args(words).env_clear().envs(coverage()).envs(command::settings(scene.server, &scene.store));
        command.env("POSTGRES_DB", scene.names()).env("LOG_FORMAT", form);
        command.stdout(unread()).stderr(unread()).status().unwrap().code()
    };
    for program in [PROGRAM, env!("CARGO_BIN_EXE_go-cron"), env!("CARGO_BIN_EXE_backupgram-api")] {
        for form in ["text", "json"] {
            assert_eq!(run(program, &["--help"], form), Some(0), "{program} {form}");
            assert_eq!(run(program, &["--no-such-option"], form), Some(2), "{program} {form}");
        }
    }
    for form in ["text", "json"] {
        let before = scene.history().len();
        assert_eq!(run(PROGRAM, &["backup"], form), Some(0), "{form}");
        assert_eq!((scene.history().len(), &scene.store.status()["status"]), (before + 1, &"OK".into()));
    }
}

/// What is said of a limit that is reached.
const NO_ROOM: &str = "Resource temporarily unavailable";
/// And where it is run-parts that reaches it.
const IN_HOOK: &str = "the pre-backup hook stopped the backup";
