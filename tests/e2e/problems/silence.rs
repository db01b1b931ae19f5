//! A volume that does not answer, as one whose server has gone: nobody waits for it, and everybody says so.

use std::time::{Duration, Instant};

use super::Scene;
use crate::harness::*;

const SILENT: &str = "has not answered for ";
/// What Docker gives a health check, which asks the others, too.
const HEALTH_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_volume_that_does_not_answer_is_red_everywhere_and_holds_nobody_up() {
    let scene = Scene::new("silent", Store::new());
    let Some(disk) = HangingDisk::mount(&scene.store.path(), 100) else { return };
    let daemon = scene.plan().env("BACKUP_LATEST_TYPE", "none").start();
    daemon.back_up();
    daemon.is_green();
    let before = daemon.status();
    disk.hang();
    // The first of each has to wait until it is clear that there is no answer.
    let begun = Instant::now();
    let health = daemon.health().exited_with(1);
    assert!(begun.elapsed() < HEALTH_LIMIT, "{:?}: {health}", begun.elapsed());
    assert!(health.text().matches(SILENT).count() >= 1, "{health}");
    daemon.is_red(&[SILENT]);
    // And then nobody any more, however many ask.
    let begun = Instant::now();
    for _ in 0..20 {
        for path in ["/status", "/metrics"] {
            daemon.get(path).expect(200);
        }
        assert_eq!(daemon.health_port().0, 503);
    }
    assert!(begun.elapsed() < HEALTH_LIMIT, "{:?}", begun.elapsed());
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    assert!(threads < 40, "{threads}");
    // What was known of it before is told still.
    let status = daemon.status();
    assert_eq!(status["last_backup"]["timestamp"], before["last_backup"]["timestamp"], "{status:#}");
    assert_eq!(status["disk"], before["disk"]);
    assert_eq!(daemon.anonymous("GET", "/healthz").status, 200);
    disk.go_on();
    daemon.is_green();
    daemon.back_up();
}
