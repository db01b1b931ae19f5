//! What is wrong is told by `/status`, the metrics, `health` and the health port alike, whoever asked for the run, and
//! also where nothing can be written down.

/// A volume that does not answer.
mod silence;
mod two_servers;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use serde_json::Value;

use crate::harness::command::Outcome;
use crate::harness::*;

/// Somebody with a name but without rights.
const NOBODY: u32 = 65_534;
const NO_SUCH: &str = "no_such_database";
const UNWRITABLE: &str = "cannot be written to: ";

/// A server, a daemon's plan with a TMPDIR of its own, and what is asked of it.
struct Scene {
    server: &'static Cluster,
    store: Store,
    database: Database<'static>,
}

impl Scene {
    fn new(label: &str, store: Store) -> Self {
        let server = Cluster::shared(15);
        let database = server.database(label);
        database.fill(50);
        fs::create_dir(store.root().join("tmp")).unwrap();
        fs::set_permissions(store.root().join("tmp"), fs::Permissions::from_mode(0o777)).unwrap();
        Self { server, store, database }
    }

    fn plan(&self) -> Plan<'_> {
        Plan::new(self.server, &self.store).database(&self.database.name).env("TMPDIR", self.tmp())
    }

    /// A call beside a daemon, with the same settings.
    fn cli(&self, words: &[&str]) -> Cli {
        let cli = Cli::new(self.server, &self.store).env("TMPDIR", self.tmp());
        cli.env("BACKUP_MAX_AGE_HOURS", "1000000").env("POSTGRES_DB", &self.database.name).args(words)
    }

    fn tmp(&self) -> String {
        self.store.root().join("tmp").to_str().unwrap().to_owned()
    }

    /// Where the result of a run lies that the volume did not take.
    fn missed(&self, uid: u32) -> PathBuf {
        let digits = sha256(fs::canonicalize(self.store.path()).unwrap().to_str().unwrap().as_bytes());
        Path::new(&self.tmp()).join(format!("backupgram-{uid}-{}", &digits[..16])).join(".status.json")
    }
}

/// Takes all bytes of a disk, or all inodes. Answers the directory that does, to be removed.
fn fill(disk: &Path, inodes: bool) -> PathBuf {
    let ballast = disk.join("ballast");
    fs::create_dir(&ballast).unwrap();
    if inodes {
        let refused = (0..10_000).find(|number| fs::write(ballast.join(number.to_string()), "").is_err());
        assert!(refused.is_some(), "the inodes do not end");
    } else {
        let mut file = fs::File::create(ballast.join("bytes")).unwrap();
        for length in [4096, 512] {
            while file.write_all(&vec![1; length]).is_ok() {}
        }
        file.sync_all().unwrap();
    }
    ballast
}

/// Backs up at a shell, which fails.
#[track_caller]
fn fails(cli: Cli) -> Outcome {
    cli.run().exited_with(1).saying("backup failed: ")
}

#[test]
fn a_failure_on_a_volume_without_bytes_or_inodes_is_red_everywhere() {
    for inodes in [false, true] {
        let store = Store::new();
        let image = store.root().join("image");
        let disk = match inodes {
            true => SmallDisk::with_inodes(&store.path(), 16, 200).map(|disk| (Some(disk), None)),
            false => SmallExt4::mount(&store.path(), &image, 24).map(|disk| (None, Some(disk))),
        };
        let Some(_disk) = disk else { return };
        let scene = Scene::new("full", store);
        let daemon = scene.plan().start();
        daemon.back_up();
        daemon.is_green();
        let ballast = fill(&scene.store.path(), inodes);
        // Over HTTP and at a shell, again and again: there is room for the result each time.
        for round in 0..3 {
            let before = scene.store.status()["timestamp"].clone();
            wait_until("another second", SOON, || {
                jiff::Timestamp::now().as_second() > before.as_i64().unwrap()
            });
            if round == 1 {
                fails(scene.cli(&["backup"]));
            } else {
                daemon.failed(&daemon.start_backup());
            }
            let kept = scene.store.status();
            assert_eq!(kept["status"], "FAILED", "{round}: {kept:#}");
            assert_ne!(kept["timestamp"], before, "{round}");
            assert_eq!(daemon.status()["last_backup"]["status"], "FAILED");
            daemon.is_red(&["the last backup failed: "]);
        }
        wait_until("a write to be tried", SOON, || daemon.status().to_string().contains(UNWRITABLE));
        assert!(!scene.missed(Uid::effective().as_raw()).exists());
        // Without the spare the result lies elsewhere.
        let spare = scene.store.path().join(".status.spare");
        assert!(spare.exists());
        fs::rename(&spare, ballast.join("spare")).unwrap();
        let kept = fs::read(scene.store.path().join(".status.json")).unwrap();
        fails(scene.cli(&["backup"])).saying("cannot write the result of this run");
        assert_eq!(fs::read(scene.store.path().join(".status.json")).unwrap(), kept);
        assert!(scene.missed(Uid::effective().as_raw()).exists());
        daemon.is_red(&["the last backup failed: "]);
        fs::remove_dir_all(&ballast).unwrap();
        daemon.back_up();
        assert!(!scene.missed(Uid::effective().as_raw()).exists(), "the volume has a newer one");
        assert!(spare.exists());
        daemon.is_green();
    }
}

#[test]
fn runs_that_fail_on_a_read_only_volume_are_red_everywhere_whoever_asked_for_them() {
    let scene = Scene::new("mounted", Store::new());
    let daemon = scene.plan().env("SCHEDULE", "@every 1s").start();
    wait_until("a scheduled backup", LONG, || !scene.store.dated("last").is_empty());
    let mounted = ReadOnly::mount(&scene.store.path(), &scene.store.path());
    let Some(mounted) = mounted else { return };
    wait_until("a scheduled run to fail", LONG, || daemon.health_port().1["Last"]["Exit_status"] == 1);
    daemon.is_red(&["the last backup failed: "]);
    let missed = scene.missed(Uid::effective().as_raw());
    assert!(fs::read_to_string(&missed).unwrap().contains("FAILED"));
    wait_until("a write to be tried", SOON, || {
        let known = |answer: &Value| answer.to_string().contains("Read-only file system");
        known(&daemon.status()["problems"]) && known(&daemon.health_port().1["problems"])
    });
    daemon.is_red(&["the last backup failed: ", UNWRITABLE]);
    daemon.failed(&daemon.start_backup());
    fails(scene.cli(&["backup"]));
    daemon.is_red(&["the last backup failed: ", UNWRITABLE]);
    drop(mounted);
    wait_until("a scheduled run to succeed", LONG, || daemon.health_port().1["Last"]["Exit_status"] == 0);
    daemon.is_green();
    assert!(!missed.exists());
}

/// Runs without a TMPDIR that can be written to: nothing of one that fails lies anywhere.
#[test]
fn what_can_be_written_nowhere_is_remembered_by_who_started_the_run() {
    let scene = Scene::new("nowhere", Store::new());
    let scripts = scene.store.root().join("scripts");
    fs::create_dir(&scripts).unwrap();
    let program = env!("CARGO_BIN_EXE_backupgram");
    let script = format!("#!/bin/sh\nTMPDIR=/nowhere exec {program} backup \"$@\"\n");
    write_script(&scripts.join("backup.sh"), &script);
    let daemon = scene.plan().env("SCRIPTS_DIR", scripts.to_str().unwrap()).start();
    daemon.back_up();
    daemon.is_green();
    let kept = fs::read(scene.store.path().join(".status.json")).unwrap();
    let failed = scene.store.status()["timestamp"].as_i64().unwrap();
    wait_until("another second", SOON, || jiff::Timestamp::now().as_second() > failed);
    let Some(mounted) = ReadOnly::mount(&scene.store.path(), &scene.store.path()) else { return };
    daemon.failed(&daemon.start_backup());
    let told = daemon.status()["problems"].to_string();
    assert!(told.contains("the last backup job failed: "), "{told}");
    wait_until("a write to be tried", SOON, || {
        daemon.status()["problems"].to_string().contains(UNWRITABLE) && daemon.health_port().0 == 503
    });
    daemon.is_red(&[UNWRITABLE]);
    drop(mounted);
    wait_until("a write to be tried", SOON, || daemon.health_port().0 == 200);
    // The daemon remembers it, and health asks the daemon.
    let told = daemon.status()["problems"].to_string();
    assert!(told.contains("the last backup job failed: ") && !told.contains(UNWRITABLE), "{told}");
    assert_eq!(daemon.status()["last_backup"]["status"], "FAILED");
    assert_eq!(daemon.metrics().get("backupgram_last_run_success", &[]), 0.0);
    assert_eq!(daemon.metrics().get("backupgram_problems", &[]), 1.0);
    daemon.health().exited_with(1).saying("unhealthy: the last backup job failed: ");
    assert_eq!(fs::read(scene.store.path().join(".status.json")).unwrap(), kept);
    daemon.back_up();
    daemon.is_green();
}

#[test]
fn a_scheduled_run_of_which_nothing_is_written_down_is_known_by_its_exit_status() {
    let scene = Scene::new("unwritten", Store::new());
    // As one that is killed: it writes nothing at all.
    let scripts = scene.store.root().join("scripts");
    fs::create_dir(&scripts).unwrap();
    write_script(&scripts.join("backup.sh"), "#!/bin/sh\nexit 7\n");
    let plan = scene.plan().env("SCRIPTS_DIR", scripts.to_str().unwrap()).env("BACKUP_ON_START", "TRUE");
    let daemon = plan.start();
    wait_until("the run to fail", LONG, || daemon.health_port().1["Last"]["Exit_status"] == 7);
    wait_until("the daemon to ask", SOON, || {
        daemon.status()["problems"].to_string().contains("the last scheduled run ended with status 7")
    });
    daemon.is_red(&["the last scheduled run ended with status 7"]);
    wait_until("another second", SOON, || {
        scene.cli(&["backup"]).run().succeeded();
        daemon.status()["problems"] == Value::Array(Vec::new())
    });
    assert_eq!(daemon.health().succeeded().text(), "healthy\n");
    // As the original's port does until the next scheduled run; it tells nothing that is wrong.
    assert_eq!(daemon.health_port().1["problems"], Value::Array(Vec::new()));
}

#[test]
fn a_directory_that_has_become_somebody_elses_is_red_everywhere() {
    if !Uid::effective().is_root() {
        eprintln!("SKIPPED: only root can run the program as somebody else");
        return;
    }
    let scene = Scene::new("theirs", Store::new());
    chown(scene.store.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let daemon = scene.plan().user(NOBODY).start();
    daemon.back_up();
    daemon.is_green();
    for part in ["", "daily", ".partial"] {
        let path = scene.store.path().join(part);
        chown(&path, Some(0), Some(0)).unwrap();
        daemon.failed(&daemon.start_backup());
        let told = ["the last backup failed: ", "cannot be written to: Permission denied"];
        daemon.is_red(&told);
        assert_eq!(scene.missed(NOBODY).exists(), part.is_empty(), "{part}");
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    daemon.back_up();
    daemon.is_green();
}

#[test]
fn the_port_and_the_metric_tell_of_failed_runs_over_http_and_at_a_shell_too() {
    let scene = Scene::new("port", Store::new());
    let daemon = scene.plan().start();
    daemon.is_green();
    let told = format!("the last backup failed: database {NO_SUCH}");
    let told = ["the last backup failed: ", told.as_str()];
    fails(scene.cli(&["backup"]).env("POSTGRES_DB", NO_SUCH)).saying(NO_SUCH);
    daemon.is_red(&told[..1]);
    daemon.back_up();
    daemon.is_green();
    daemon.patch(&serde_json::json!({"POSTGRES_DB": NO_SUCH})).expect(200);
    daemon.failed(&daemon.start_backup());
    daemon.is_red(&told[..1]);
    // The history alone knows it, as when the result could not be replaced.
    let mut kept = scene.store.status();
    kept["status"] = "OK".into();
    kept["databases"] = Value::Array(Vec::new());
    for is_there in [true, false] {
        let path = scene.store.path().join(".status.json");
        if is_there { fs::write(&path, kept.to_string()) } else { fs::remove_file(&path) }.unwrap();
        daemon.is_red(&told[..1]);
        assert_eq!(daemon.status()["last_backup"]["status"], "FAILED", "{is_there}");
        assert_eq!(daemon.metrics().get("backupgram_last_run_success", &[]), 0.0, "{is_there}");
        let shown = scene.cli(&["status", "--json"]).run().succeeded();
        assert!(shown.stdout.contains("FAILED"), "{shown}");
    }
    daemon.delete("/config/POSTGRES_DB").expect(200);
    // Which of two runs is the later one is told by the second.
    let failed = jiff::Timestamp::now().as_second();
    wait_until("the next second", SOON, || jiff::Timestamp::now().as_second() > failed);
    scene.cli(&["backup"]).run().succeeded();
    daemon.is_green();
}

#[test]
fn records_that_cannot_be_read_are_told_and_answers_come_all_the_same() {
    let scene = Scene::new("unreadable", Store::new());
    let daemon = scene.plan().start();
    daemon.back_up();
    daemon.is_green();
    let garbage = |path: &Path| fs::write(path, "{\"status\":\"hunter2\"}").unwrap();
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    for (name, put, told) in [
        (".status.json", &garbage as &dyn Fn(&Path), "the last result cannot be read: "),
        (".status.json", &directory, "the last result cannot be read: "),
        (".history.jsonl", &directory, "the history cannot be read: "),
        (".proofs.json", &garbage, "the restore proofs cannot be read: "),
    ] {
        let (path, aside) = (scene.store.path().join(name), scene.store.root().join("aside"));
        let was_there = fs::rename(&path, &aside).is_ok();
        put(&path);
        daemon.is_red(&[told]);
        assert!(!daemon.status().to_string().contains("hunter2"));
        if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
        if was_there {
            fs::rename(&aside, &path).unwrap();
        }
        daemon.is_green();
    }
    // All of it is gone, as when the volume is unmounted.
    fs::rename(scene.store.path(), scene.store.root().join("aside")).unwrap();
    wait_until("a write to be tried", SOON, || {
        let told = |answer: &Value| answer.to_string().contains(UNWRITABLE);
        told(&daemon.status()["problems"]) && told(&daemon.health_port().1["problems"])
    });
    daemon.is_red(&["cannot be written to: No such file or directory"]);
    fs::rename(scene.store.root().join("aside"), scene.store.path()).unwrap();
    daemon.is_green();
}
