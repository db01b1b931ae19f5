//! A kill at every point of a run, as the kernel does it for want of memory.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{PROGRAM, Scene};
use crate::harness::*;

const KILLED: &str = "the run died: killed by SIGKILL";

#[test]
fn a_job_that_is_killed_has_failed_with_what_it_had_not_come_to() {
    let scene = Scene::new("job", 2);
    let [one, two] = scene.databases.as_slice() else { unreachable!() };
    let daemon = scene.plan().start();
    let hold = two.hold();
    let id = daemon.start_backup();
    wait_until("the first database to be backed up", LONG, || {
        scene.store.dated("last").iter().filter(|name| name.starts_with(&one.name)).count() == 2
    });
    let dump = daemon.descendant("pg_dump");
    daemon.descendant("backupgram").signal(Signal::SIGKILL);
    let job = daemon.failed(&id);
    assert_eq!(job["exit_code"], 137, "{job:#}");
    assert!(job["error"].to_string().contains(KILLED), "{job:#}");
    drop(hold);
    let run = scene.is_told_once("api", KILLED);
    let databases = run["databases"].as_array().unwrap();
    let states: Vec<_> = databases.iter().map(|it| (it["name"].clone(), it["state"].clone())).collect();
    assert_eq!(
        states,
        [(one.name.as_str().into(), "OK".into()), (two.name.as_str().into(), "FAILED".into())]
    );
    let file = databases[0]["file"].as_str().unwrap();
    assert!(scene.store.path().join(file).exists() && scene.told()[0].ends_with(file), "{:?}", scene.told());
    wait_until("what it had started to end", SOON, || !dump.is_alive());
    scene.is_red_until_the_next_run(&daemon, KILLED);
}

#[test]
fn a_scheduled_run_that_is_killed_has_failed() {
    let scene = Scene::new("cron", 1);
    let hold = scene.databases[0].hold();
    let daemon = scene.plan().env("BACKUP_ON_START", "TRUE").start();
    let go_cron = daemon.descendant("go-cron");
    Process::descendant(go_cron.pid, "pg_dump");
    Process::descendant(go_cron.pid, "backupgram").signal(Signal::SIGKILL);
    let run = scene.is_told_once("schedule", KILLED);
    assert_eq!(run["databases"][0]["state"], "FAILED", "{run:#}");
    let (status, told) = daemon.health_port();
    assert_eq!((status, &told["Last"]["Exit_status"]), (503, &137.into()), "{told:#}");
    assert!(go_cron.is_alive());
    drop(hold);
    scene.is_red_until_the_next_run(&daemon, KILLED);
}

#[test]
fn a_scheduler_that_is_alone_records_the_run_that_is_killed() {
    let scene = Scene::new("alone", 1);
    let hold = scene.databases[0].hold();
    let health_port = cluster::free_port();
    let cli = scene
        .settings()
        .into_iter()
        .fold(Cli::init(scene.server, &scene.store), |cli, (key, value)| cli.env(key, value));
    let mut cron =
        cli.env("BACKUP_ON_START", "TRUE").env("HEALTHCHECK_PORT", health_port.to_string()).start();
    cron.descendant("pg_dump");
    let run = Process::descendants(cron.pid()).into_iter().find(|process| process.name == "backupgram");
    run.expect("the run").signal(Signal::SIGKILL);
    scene.is_told_once("schedule", KILLED);
    let (status, told) = crate::harness::health_port(health_port);
    assert_eq!((status, &told["Last"]["Exit_status"]), (503, &137.into()), "{told:#}");
    scene.health(health_port).exited_with(1).saying(KILLED);
    drop(hold);
    cron.signal(Signal::SIGTERM);
    cron.wait().succeeded();
}

/// A hook can tell where the run is: before the backup, after it, and while its failure is told.
#[test]
fn a_run_that_is_killed_in_a_hook_has_failed_whatever_it_had_recorded() {
    for event in ["pre-backup", "post-backup"] {
        let scene = Scene::new("hook", 1);
        let script = "#!/bin/sh\n[ \"$1\" = EVENT ] || exit 0\nmkdir \"$HOOKS_DIR/../killed\" || exit 0\nkill -9 $PPID\n";
        scene.store.hook("kill", &script.replace("EVENT", event));
        let daemon = scene.plan().start();
        let job = daemon.failed(&daemon.start_backup());
        assert_eq!(job["exit_code"], 137, "{event}: {job:#}");
        let run = scene.is_told_once("api", KILLED);
        let state = if event == "pre-backup" { "FAILED" } else { "OK" };
        assert_eq!(run["databases"][0]["state"], state, "{event}: {run:#}");
        let sent = usize::from(event == "post-backup");
        assert_eq!((scene.webhook.calls("/post").len(), scene.api.uploads()), (0, sent), "{event}");
        scene.is_red_until_the_next_run(&daemon, KILLED);
    }
}

/// The calls by which a backup gets its names, a record is kept, and a message goes out.
#[test]
fn a_run_that_is_killed_between_any_two_steps_has_failed() {
    let scene = Scene::new("step", 1);
    let daemon =
        scene.plan().env("SCRIPTS_DIR", scene.script("exec \"$(dirname \"$0\")/run\" \"$@\"")).start();
    let runner = scene.store.root().join("scripts/run");
    let mut runs = 1;
    for (call, count) in [("rename", 1), ("linkat", 1), ("linkat", 3), ("flock", 1), ("socketpair", 1)] {
        let lines = format!(
            "#!/bin/sh\nexec strace -f -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={count} {PROGRAM} backup \"$@\"\n"
        );
        write_script(&runner, &lines);
        let job = daemon.failed(&daemon.start_backup());
        runs += 1;
        assert_eq!(job["exit_code"], 137, "{call} {count}: {job:#}");
        assert_eq!(daemon.status()["last_backup"]["status"], "FAILED", "{call} {count}");
        let history = scene.history();
        assert_eq!(history.len(), runs, "{call} {count}: {history:#?}");
        assert_eq!(history[0]["result"], "FAILED", "{call} {count}");
        assert_eq!(
            (scene.told().len(), scene.webhook.calls("/error").len()),
            (runs - 1, runs - 1),
            "{call} {count}"
        );
        daemon.is_red(&[KILLED]);
        scene.store.assert_every_name_is_a_whole_backup();
    }
    write_script(&runner, &format!("#!/bin/sh\nexec {PROGRAM} backup \"$@\"\n"));
    daemon.back_up();
    daemon.health().succeeded();
}

#[test]
fn a_pg_dump_that_is_killed_fails_its_database_and_the_run_tells_it_itself() {
    let scene = Scene::new("dump", 1);
    let daemon = scene.plan().start();
    let hold = scene.databases[0].hold();
    let id = daemon.start_backup();
    daemon.descendant("pg_dump").signal(Signal::SIGKILL);
    let job = daemon.failed(&id);
    assert_eq!(job["exit_code"], 1, "{job:#}");
    drop(hold);
    wait_until("the chat to be told", SOON, || !scene.api.messages("77").is_empty());
    assert_eq!((scene.told().len(), scene.webhook.calls("/error").len(), scene.history().len()), (1, 1, 2));
    let error = scene.history()[0]["databases"][0]["error"].to_string();
    assert!(error.contains("pg_dump: killed by SIGKILL"), "{error}");
    scene.is_red_until_the_next_run(&daemon, "pg_dump: killed by SIGKILL");
}

#[test]
fn a_limited_run_that_is_killed_says_nothing_of_other_databases() {
    let scene = Scene::new("limited", 2);
    let daemon = scene.plan().start();
    let [one, two] = scene.databases.as_slice() else { unreachable!() };
    let hold = two.hold();
    let id = job_id(&daemon.post("/backup", &serde_json::json!({"databases": [two.name]})).expect(202));
    daemon.descendant("pg_dump");
    daemon.descendant("backupgram").signal(Signal::SIGKILL);
    daemon.failed(&id);
    drop(hold);
    let status = scene.store.status();
    assert_eq!(status["status"], "FAILED");
    let of = |name: &str| {
        let databases = status["databases"].as_array().unwrap();
        databases.iter().find(|database| database["name"] == name).expect("it is there")["state"].clone()
    };
    assert_eq!((of(&one.name), of(&two.name)), ("OK".into(), "FAILED".into()));
    let run = &scene.history()[0];
    assert_eq!(run["databases"].as_array().map(Vec::len), Some(1), "{run:#}");
}

/// What records it may die as well, and is started again; what was recorded by then stays as it is.
#[test]
fn a_record_that_is_killed_is_made_again_and_once() {
    let scene = Scene::new("again", 1);
    let daemon = scene.plan().start();
    scene.store.hook(
        "z_kill",
        "#!/bin/sh\n[ \"$1\" = error ] || exit 0\nmkdir \"$HOOKS_DIR/../killed\" || exit 0\nkill -9 $PPID\n",
    );
    let hold = scene.databases[0].hold();
    let id = daemon.start_backup();
    daemon.descendant("pg_dump");
    daemon.descendant("backupgram").signal(Signal::SIGKILL);
    drop(hold);
    daemon.failed(&id);
    assert!(scene.store.root().join("killed").exists());
    let webhooks = scene.webhook.calls("/error").len();
    assert_eq!((webhooks, scene.told().len()), (2, 2), "rather twice than never");
    assert_eq!(scene.history().len(), 2);
    scene.is_red_until_the_next_run(&daemon, KILLED);
}

/// A script of the user's own may end as if all were well.
#[test]
fn a_script_that_hides_that_its_backup_was_killed_does_not_hide_it_from_us() {
    let scene = Scene::new("hidden", 1);
    let script = scene.script(&format!("{PROGRAM} backup \"$@\" || true"));
    let daemon = scene.plan().env("SCRIPTS_DIR", script).start();
    let hold = scene.databases[0].hold();
    let id = daemon.start_backup();
    daemon.descendant("pg_dump");
    daemon.descendant("backupgram").signal(Signal::SIGKILL);
    drop(hold);
    let job = daemon.failed(&id);
    let said = "the run died, but its script exited with status 0";
    assert_eq!((&job["error"], &job["exit_code"]), (&said.into(), &serde_json::Value::Null), "{job:#}");
    scene.is_told_once("api", said);
    scene.is_red_until_the_next_run(&daemon, said);
    // One that does not call us at all is its own master.
    scene.script("exit 0");
    daemon.back_up();
    assert_eq!(scene.history().len(), 3);
}

#[test]
fn a_restore_that_is_killed_is_no_run() {
    let scene = Scene::new("restore", 1);
    let daemon = scene.plan().start();
    let file = format!("last/{}", scene.store.only("last"));
    let gate = scene.databases[0].gate();
    daemon.back_up();
    gate.shut();
    let newest = format!("last/{}", scene.store.newest("last"));
    assert_ne!(file, newest);
    let id = daemon.start_restore(&newest, &scene.databases[0].name);
    wait_until("the restore to reach the gate", LONG, || gate.is_waited_for(scene.server));
    daemon.descendant("backupgram").signal(Signal::SIGKILL);
    assert_eq!(daemon.failed(&id)["exit_code"], 137);
    gate.open();
    assert_eq!((scene.told().len(), scene.history().len()), (0, 2));
    assert_eq!(daemon.status()["last_backup"]["status"], "OK");
    // What it has left is of no other test.
    Cli::new(scene.server, &scene.store).args(["sweep"]).run().succeeded();
}

/// Without room for notes the history tells what has been recorded.
#[test]
fn where_no_note_can_be_made_a_failure_is_told_once_all_the_same() {
    for is_killed in [false, true] {
        let scene = Scene::new("noteless", 1);
        let hold = scene.databases[0].hold();
        let cli = scene
            .settings()
            .into_iter()
            .fold(Cli::init(scene.server, &scene.store), |cli, (key, value)| cli.env(key, value));
        let cli =
            cli.env("BACKUP_ON_START", "TRUE").env("HEALTHCHECK_PORT", "0").env("TMPDIR", "/nonexistent");
        let mut cron = cli.start();
        let dump = cron.descendant("pg_dump");
        let family = Process::descendants(cron.pid());
        let run = family.iter().find(|process| process.name == "backupgram" && process.pid == dump.parent);
        let run = run.expect("the run");
        if is_killed {
            run.signal(Signal::SIGKILL)
        } else {
            dump.signal(Signal::SIGKILL)
        }
        let said = if is_killed { KILLED } else { "pg_dump: killed by SIGKILL" };
        drop(hold);
        wait_until("the chat to be told", SOON, || !scene.api.messages("77").is_empty());
        // Had it been recorded again, that would be a child of the scheduler.
        wait_until("the run to end", SOON, || Process::descendants(cron.pid()).is_empty());
        assert_eq!((scene.told().len(), scene.webhook.calls("/error").len()), (1, 1), "{is_killed}");
        let history = scene.history();
        assert_eq!((history.len(), &history[0]["result"]), (2, &"FAILED".into()), "{history:#?}");
        scene.health(0).exited_with(1).saying(said);
        cron.signal(Signal::SIGTERM);
        cron.wait().succeeded();
    }
}

/// The note of a run goes with it, however it ends.
#[test]
fn nothing_is_left_among_the_temporary_files() {
    let scene = Scene::new("temporary", 1);
    let temporary = scene.store.root().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let notes = || {
        let entries = fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with("backupgram-run-")).count()
    };
    let daemon = scene.plan().env("TMPDIR", temporary.to_str().unwrap()).start();
    daemon.back_up();
    assert_eq!(notes(), 0);
    let hold = scene.databases[0].hold();
    let id = daemon.start_backup();
    daemon.descendant("pg_dump");
    assert_eq!(notes(), 1);
    daemon.descendant("backupgram").signal(Signal::SIGKILL);
    daemon.failed(&id);
    wait_until("the note to be gone", Duration::from_secs(5), || notes() == 0);
    drop(hold);
}
