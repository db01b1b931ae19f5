//! A request reaches the published backups and nothing else.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::*;

const TREASURE: &str = "the treasure outside";

/// A daemon's directory with one backup and something outside of it that must stay untouched.
struct Island<'s> {
    daemon: Daemon<'s>,
    database: Database<'static>,
}

impl<'s> Island<'s> {
    fn new(store: &'s Store) -> Self {
        let server = Cluster::shared(15);
        let database = server.database("island");
        database.fill(10);
        let daemon = Plan::new(server, store).database(&database.name).start();
        daemon.back_up();
        fs::write(store.root().join("treasure.sql.gz"), TREASURE).unwrap();
        fs::write(store.path().join("treasure.sql.gz"), TREASURE).unwrap();
        fs::write(store.path().join("last/.hidden.sql.gz"), TREASURE).unwrap();
        Self { daemon, database }
    }

    /// Asserts that neither download, nor deletion, nor restore gets there by this slot and name, both as they
    /// stand in a path.
    #[track_caller]
    fn refuses(&self, slot: &str, name: &str) {
        let before = self.daemon.store.everything();
        let path = format!("/backups/{slot}/{name}");
        for method in ["GET", "HEAD", "DELETE"] {
            let query = if method == "DELETE" { "?confirm=true" } else { "" };
            let response = self.daemon.send(method, &format!("{path}{query}"), &[], None);
            assert!(matches!(response.status, 400 | 404 | 500), "{method} {path}: {}", response.status);
            assert!(!response.text().contains(TREASURE), "{method} {path}");
            if method != "HEAD" {
                let sentence = response.error(response.status);
                let inside = self.daemon.store.root().to_str().unwrap();
                assert!(!sentence.contains(inside), "{method} {path}: {sentence}");
            }
        }
        for file in [format!("{slot}/{name}"), decoded(&format!("{slot}/{name}"))] {
            let body = json!({"file": file, "target_db": self.database.name, "confirm": true});
            let response = self.daemon.post("/restore", &body);
            assert!(matches!(response.status, 400 | 404 | 500), "restore of {file:?}: {}", response.text());
            response.error(response.status);
        }
        assert_eq!(self.daemon.store.everything(), before, "{path}");
    }
}

fn decoded(path: &str) -> String {
    path.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/").replace("%00", "\0")
}

#[test]
fn no_spelling_of_a_path_leaves_its_slot() {
    let store = Store::new();
    let island = Island::new(&store);
    let good = store.only("last");
    for (slot, name) in [
        ("last", ".."),
        ("last", "."),
        ("last", ""),
        ("last", "../treasure.sql.gz"),
        ("last", "../../treasure.sql.gz"),
        ("last", "..%2ftreasure.sql.gz"),
        ("last", "..%2F..%2Ftreasure.sql.gz"),
        ("last", "%2e%2e/treasure.sql.gz"),
        ("last", "%2e%2e%2ftreasure.sql.gz"),
        ("last", "%2E%2E%2F%2E%2E%2Ftreasure.sql.gz"),
        ("last", "%252e%252e%252ftreasure.sql.gz"),
        ("last", "..%5ctreasure.sql.gz"),
        ("last", "%2fetc%2fpasswd"),
        ("last", "/etc/passwd"),
        ("last", ".hidden.sql.gz"),
        ("last", "%2ehidden.sql.gz"),
        ("last", &format!(".{good}.json")),
        ("last", &format!("{good}%00")),
        ("last", &format!("{good}%00.sql.gz")),
        ("last", &format!("{good}/")),
        ("last", &format!("{good}%2f")),
        ("last", &format!("x/../{good}")),
        ("last", &format!("../last/{good}")),
        ("last", &format!("..%2flast%2f{good}")),
        ("last", "%ff%fe"),
        ("last", "bad%zz"),
        ("last", "bad%2"),
        ("..", "treasure.sql.gz"),
        ("%2e%2e", "treasure.sql.gz"),
        (".", "treasure.sql.gz"),
        ("%2e", "treasure.sql.gz"),
        (".partial", "treasure.sql.gz"),
        ("last%2f..", "treasure.sql.gz"),
        ("LAST", good.as_str()),
        ("", good.as_str()),
    ] {
        island.refuses(slot, name);
    }
    assert_eq!(island.daemon.get(&format!("/backups/last/{good}")).status, 200);
}

#[test]
fn an_absolute_file_is_no_backup() {
    let store = Store::new();
    let island = Island::new(&store);
    let inside = store.file("last", &store.only("last"));
    for file in
        [inside.to_str().unwrap(), "/etc/passwd", "treasure.sql.gz", "last", "last/", "", "/", "last/a/b"]
    {
        let body = json!({"file": file, "target_db": island.database.name, "confirm": true});
        let response = island.daemon.post("/restore", &body);
        assert!(matches!(response.status, 400 | 404), "{file}: {}", response.text());
    }
    assert!(island.daemon.get("/jobs").json()["jobs"].as_array().unwrap().len() == 1);
}

#[test]
fn a_symlink_leads_to_a_sibling_but_never_out() {
    let store = Store::new();
    let island = Island::new(&store);
    let last = store.path().join("last");
    symlink(store.root().join("treasure.sql.gz"), last.join("absolute-20240101-000000.sql.gz")).unwrap();
    symlink("../treasure.sql.gz", last.join("parent-20240101-000000.sql.gz")).unwrap();
    symlink("../../treasure.sql.gz", last.join("outside-20240101-000000.sql.gz")).unwrap();
    symlink("loop-20240101-000000.sql.gz", last.join("loop-20240101-000000.sql.gz")).unwrap();
    symlink("/proc/self/environ", last.join("proc-20240101-000000.sql.gz")).unwrap();
    for name in ["absolute", "parent", "outside", "proc"] {
        island.refuses("last", &format!("{name}-20240101-000000.sql.gz"));
    }
    let looped = island.daemon.get("/backups/last/loop-20240101-000000.sql.gz").status;
    assert!(matches!(looped, 400 | 404), "{looped}");
    let listed = island.daemon.get("/backups").expect(200).text();
    assert!(
        !listed.contains("absolute") && !listed.contains("outside-") && !listed.contains("proc-"),
        "{listed}"
    );
    let latest = format!("/backups/last/{}-latest.sql.gz", island.database.name);
    let dated = fs::read(store.file("last", &store.only_of("last", &island.database.name))).unwrap();
    assert_eq!(island.daemon.get(&latest).expect(200).body, dated);
}

#[test]
fn a_slot_that_is_a_symlink_leads_nowhere() {
    let store = Store::new();
    let island = Island::new(&store);
    let outside = store.root().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("treasure-20240101.sql.gz"), TREASURE).unwrap();
    fs::remove_dir_all(store.path().join("weekly")).unwrap();
    symlink(&outside, store.path().join("weekly")).unwrap();
    island.refuses("weekly", "treasure-20240101.sql.gz");
    assert_eq!(fs::read_to_string(outside.join("treasure-20240101.sql.gz")).unwrap(), TREASURE);
    assert!(!island.daemon.get("/backups").text().contains("treasure-20240101"));
}

#[test]
fn a_special_file_is_no_backup() {
    let store = Store::new();
    let island = Island::new(&store);
    let fifo = store.file("last", "pipe-20240101-000000.sql.gz");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    island.refuses("last", "pipe-20240101-000000.sql.gz");
}
