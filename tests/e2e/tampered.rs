//! Somebody who writes to the volume puts something else in the place of a record or a backup: a pipe that nobody writes
//! to, a link to a file outside or to a device, a directory, more bytes than there is memory, or other text. Nobody waits
//! for it, nobody takes memory for it, and nothing of it is told.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use crate::harness::*;

const SECRET: &str = "hunter2-of-the-host";
/// KiB that nobody takes. The daemon has some 20 MiB when nothing is wrong.
const MEMORY: u64 = 160 << 10;

/// What lies in the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InPlace {
    Pipe,
    Socket,
    /// A link to a file outside, whose text nobody may tell.
    Link,
    /// A link to a device without an end.
    Device,
    Directory,
    /// 2 GiB that take no room.
    Sparse,
    NoText,
    /// JSON that says something else.
    OtherText,
}

use InPlace::*;

const ALL: [InPlace; 8] = [Pipe, Socket, Link, Device, Directory, Sparse, NoText, OtherText];

/// A volume with a backup, and a file outside of it.
struct Scene {
    server: &'static Cluster,
    store: Store,
    database: Database<'static>,
    backup: String,
}

impl Scene {
    fn new(label: &str) -> Self {
        let server = Cluster::shared(15);
        let (store, database) = (Store::new(), server.database(label));
        database.fill(10);
        Cli::backup(server, &store, &database.name).run().succeeded();
        fs::write(store.root().join("outside"), format!("{{\"{SECRET}\": \"{SECRET}\"}}\n")).unwrap();
        let backup = store.only("last");
        Self { server, store, database, backup }
    }

    fn cli(&self, words: &[&str]) -> Cli {
        let cli = Cli::new(self.server, &self.store).env("POSTGRES_DB", &self.database.name);
        cli.env("HEALTHCHECK_PORT", "0").args(words)
    }

    /// Puts a fault in the place of a file, and answers where that is kept meanwhile.
    fn put(&self, name: &str, fault: InPlace) -> Put {
        let (path, kept) = (self.store.path().join(name), self.store.root().join("kept"));
        let was_there = fs::rename(&path, &kept).is_ok();
        match fault {
            Pipe => mkfifo(&path, Mode::S_IRWXU).unwrap(),
            Socket => drop(UnixListener::bind(&path).unwrap()),
            Link => symlink(self.store.root().join("outside"), &path).unwrap(),
            Device => symlink("/dev/zero", &path).unwrap(),
            Directory => fs::create_dir(&path).unwrap(),
            Sparse => File::create(&path).unwrap().set_len(2 << 30).unwrap(),
            NoText => fs::write(&path, [b"\xff\xfe\x00", SECRET.as_bytes(), b"\n"].concat()).unwrap(),
            OtherText => {
                fs::write(&path, format!("{{\"status\": \"{SECRET}\", \"{SECRET}\": [\"{SECRET}\"]}}\n"))
                    .unwrap()
            }
        }
        Put { path, kept: was_there.then_some(kept) }
    }

    /// Runs to the end, and asserts that it took no memory and told nothing.
    #[track_caller]
    fn run(&self, cli: Cli, context: &str) -> command::Outcome {
        let (mut running, mut peak) = (cli.start(), 0);
        wait_until(&format!("the end of a run with {context}"), SOON, || {
            peak = peak.max(Process::peak_memory(running.pid()).unwrap_or_default());
            running.poll().is_some()
        });
        let outcome = running.wait();
        assert!(peak < MEMORY, "{peak} KiB with {context}: {outcome}");
        assert!(!outcome.text().contains(SECRET), "{context}: {outcome}");
        self.nothing_is_touched(context);
        outcome
    }

    #[track_caller]
    fn nothing_is_touched(&self, context: &str) {
        let outside = fs::read_to_string(self.store.root().join("outside")).unwrap();
        assert_eq!(outside, format!("{{\"{SECRET}\": \"{SECRET}\"}}\n"), "{context}");
    }
}

/// A fault that lies somewhere; dropped, the file is back.
struct Put {
    path: PathBuf,
    kept: Option<PathBuf>,
}

impl Drop for Put {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path).or_else(|_| fs::remove_dir_all(&self.path));
        if let Some(kept) = &self.kept {
            fs::rename(kept, &self.path).unwrap();
        }
    }
}

fn is_readable(fault: InPlace) -> bool {
    matches!(fault, Sparse | NoText | OtherText)
}

/// Every record with those who read it by themselves.
fn records(backup: &str) -> [(String, Vec<Vec<String>>); 8] {
    let words = |lines: &[&str]| -> Vec<Vec<String>> {
        lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    };
    [
        (".status.json".into(), words(&["status", "health"])),
        (".history.jsonl".into(), words(&["history"])),
        (".proofs.json".into(), words(&["health"])),
        (".restore-0123456789ab.json".into(), words(&["sweep"])),
        (format!("last/.{backup}.json"), words(&["list", &format!("verify last/{backup}")])),
        (".api-overrides.env".into(), words(&["check-env"])),
        (".lock".into(), words(&["sweep"])),
        (".pointers.lock".into(), words(&[&format!("verify last/{backup}")])),
    ]
}

#[test]
fn whatever_lies_in_the_place_of_a_record_nobody_waits_for_it_and_nothing_of_it_is_told() {
    let scene = Scene::new("tampered");
    let mut daemon = Plan::new(scene.server, &scene.store).database(&scene.database.name).start();
    for (record, readers) in records(&scene.backup) {
        for fault in ALL {
            let context = format!("{fault:?} as {record}");
            let put = scene.put(&record, fault);
            for path in ["/status", "/metrics", "/history", "/backups", "/config"] {
                let response = daemon.get(path);
                assert!(matches!(response.status, 200 | 500), "{path} with {context}");
                assert!(!response.text().contains(SECRET), "{path} with {context}: {}", response.text());
                if path == "/status" && record == ".status.json" {
                    // It says so, or says nothing at all.
                    let told = response.status == 500 || response.text().contains(".status.json");
                    assert!(told, "{context}: {}", response.text());
                }
            }
            for words in &readers {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let outcome = scene.run(scene.cli(&words), &context);
                let status = outcome.status.and_then(|status| status.code());
                let is_refused = match (record.as_str(), words[0]) {
                    (".status.json" | ".proofs.json" | ".api-overrides.env", _) => true,
                    (".history.jsonl", _) => !is_readable(fault),
                    (".lock" | ".pointers.lock", _) => !is_readable(fault),
                    (_, "verify") => true,
                    (_, "sweep") => continue,
                    _ => false,
                };
                assert_eq!(status, Some(i32::from(is_refused)), "{words:?} with {context}: {outcome}");
            }
            drop(put);
        }
    }
    assert!(!daemon.log().contains(SECRET));
    let peak = Process::peak_memory(daemon.pid()).unwrap();
    assert!(peak < MEMORY, "{peak} KiB");
    assert_eq!(daemon.anonymous("GET", "/healthz").status, 200);
    daemon.stop();
}

#[test]
fn a_backup_gets_by_whatever_lies_in_the_place_of_a_record_or_says_so() {
    let scene = Scene::new("overcome");
    let api = BotApi::start(&["77"]);
    let backup = || {
        api.settings("77").into_iter().fold(scene.cli(&["backup"]), |cli, (key, value)| cli.env(key, &value))
    };
    let manifest = format!("last/.{}.json", scene.backup);
    for (record, fault, refusal) in [
        (".status.json", Pipe, ""),
        (".status.json", Link, ""),
        (".status.json", Sparse, ""),
        (".proofs.json", Pipe, ""),
        (
            ".history.jsonl",
            Pipe,
            "cannot write this run into the history: .history.jsonl: is not a regular file",
        ),
        (
            ".history.jsonl",
            Link,
            "cannot write this run into the history: .history.jsonl: is a symbolic link",
        ),
        (".history.jsonl", Sparse, ""),
        (".history.jsonl", NoText, ""),
        (".restore-0123456789ab.json", Pipe, ".restore-0123456789ab.json"),
        (".restore-0123456789ab.json", Link, ".restore-0123456789ab.json"),
        (&manifest, Pipe, "is not a regular file"),
        (&manifest, Sparse, "is longer than"),
        (".telegram.json", Pipe, "telegram: .telegram.json: is not a regular file"),
        (".telegram.json", Sparse, "telegram: .telegram.json: is longer than"),
        (".telegram.lock", Link, "telegram: .telegram.lock: is a symbolic link"),
    ] {
        let context = format!("{fault:?} as {record}");
        let put = scene.put(record, fault);
        scene.run(backup(), &context).succeeded().saying(refusal);
        assert_eq!(scene.store.status()["status"], "OK", "{context}");
        if record == ".history.jsonl" && is_readable(fault) {
            assert!(fs::metadata(&put.path).unwrap().len() < 1 << 20, "{context}");
            scene.cli(&["history"]).run().succeeded().saying(&scene.database.name);
        }
        drop(put);
    }
    for (record, fault, refusal) in [
        (".lock", Pipe, ".lock: is not a regular file"),
        (".lock", Link, ".lock: is a symbolic link"),
        (".lock", Directory, ".lock: is not a regular file"),
        (".pointers.lock", Pipe, "cannot lock .pointers.lock: is not a regular file"),
        (".pointers.lock", Device, "cannot lock .pointers.lock: is a symbolic link"),
        (".pointers.lock", Directory, "cannot lock .pointers.lock: is not a regular file"),
    ] {
        let context = format!("{fault:?} as {record}");
        let _put = scene.put(record, fault);
        scene.run(backup(), &context).exited_with(1).saying(refusal);
        assert_eq!(scene.store.status()["status"], "FAILED", "{context}");
        scene.cli(&["health"]).run().exited_with(1).saying("unhealthy");
    }
    let daemon = Plan::new(scene.server, &scene.store).database(&scene.database.name).start();
    daemon.is_red(&["the last backup failed: "]);
    drop(daemon);
    backup().run().succeeded();
    scene.cli(&["health"]).run().succeeded();
}

/// A file that is one of the host's, too, has another name there.
#[test]
fn what_is_a_file_outside_as_well_is_not_written_into() {
    let scene = Scene::new("linked");
    let outside = scene.store.root().join("outside");
    for record in [".lock", ".history.jsonl", ".pointers.lock", ".status.json", ".telegram.lock"] {
        let path = scene.store.path().join(record);
        let _ = fs::remove_file(&path);
        fs::hard_link(&outside, &path).unwrap();
        scene.run(scene.cli(&["backup"]), record).succeeded();
        scene.cli(&["history"]).run().succeeded().saying(&scene.database.name);
        // Two locks that are one file would wait for each other.
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_no_file_is_no_backup_whatever_is_asked_for() {
    let scene = Scene::new("unfiled");
    let daemon = Plan::new(scene.server, &scene.store).database(&scene.database.name).start();
    let api = BotApi::start(&["77"]);
    let dump = "piped-20260416-143000.dump";
    let inside = scene.store.file("last", dump);
    fs::create_dir(&inside).unwrap();
    mkfifo(&inside.join("toc.dat"), Mode::S_IRWXU).unwrap();
    for fault in [Pipe, Socket, Link, Device] {
        let name = "odd-20260416-143000.sql.gz";
        let (label, context) = (format!("last/{name}"), format!("{fault:?}"));
        let _put = scene.put(&label, fault);
        let waiting = json!([{"file": label, "sha256": "", "began": i64::MAX, "chats": {}, "done": []}]);
        fs::write(scene.store.path().join(".telegram.json"), waiting.to_string()).unwrap();
        let path = scene.store.file("last", name).display().to_string();
        for words in [
            &["verify", &label][..],
            &["verify", "--restore", &label],
            &["restore", "--dry-run", &label],
            &["restore", "--dry-run", &path],
        ] {
            scene.run(scene.cli(words), &context).exited_with(1);
        }
        scene.run(scene.cli(&["list"]), &context).succeeded();
        for method in ["GET", "HEAD", "DELETE"] {
            let answer = daemon.send(method, &format!("/backups/{label}?confirm=true"), &[], None);
            assert_eq!(answer.status, 404, "{method} with {context}");
        }
        assert!(!daemon.get("/backups").expect(200).text().contains("odd-2026"), "{context}");
        let cli = scene.cli(&["backup"]).env("BACKUP_KEEP_MINS", "1");
        let cli = api.settings("77").into_iter().fold(cli, |cli, (key, value)| cli.env(key, &value));
        scene.run(cli, &context).succeeded();
    }
    let label = format!("last/{dump}");
    scene.run(scene.cli(&["verify", &label]), "a pipe in a dump").exited_with(1).saying("is not a dump");
    scene.run(scene.cli(&["restore", "--dry-run", &label]), "a pipe in a dump").exited_with(1);
    assert_eq!(daemon.get(&format!("/backups/{label}")).expect(200).body.len(), 1024);
    is_alive(&inside);
}

/// Nobody has taken it away.
#[track_caller]
fn is_alive(directory: &Path) {
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
}
