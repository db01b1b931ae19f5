//! The daemon as the first process of a container: every orphan is its child.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::*;

const ORPHANS: usize = 200;

fn may_unshare() -> bool {
    let mut command = Command::new("unshare");
    let allowed = command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "true"]).status();
    let allowed = allowed.is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("SKIPPED: a process namespace cannot be made here");
    }
    allowed
}

fn children(daemon: &Daemon<'_>) -> Vec<Process> {
    let pid = daemon.pid();
    Process::all().into_iter().filter(|process| process.parent == pid).collect()
}

#[test]
fn two_hundred_orphans_are_adopted_and_none_becomes_a_zombie() {
    if !may_unshare() {
        return;
    }
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("orphans");
    database.fill(5);
    let (pipe, parents) = (store.root().join("pipe"), store.root().join("parents"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let orphan = store.root().join("orphan");
    let script = format!(
        "#!/bin/sh\ncat '{}'\ngrep ^PPid: /proc/$$/status >> '{}'\n",
        pipe.display(),
        parents.display()
    );
    write_script(&orphan, &script);
    let hook = format!(
        "#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\nfor i in $(seq {ORPHANS}); do\n\
         setsid '{}' </dev/null >/dev/null 2>&1 &\ndone\n",
        orphan.display()
    );
    store.hook("forks", &hook);
    let daemon = Plan::new(server, &store).database(&database.name).first_process().start();
    daemon.back_up();
    let orphans = || children(&daemon).iter().filter(|process| process.name == "orphan").count();
    wait_until("the orphans to be adopted", LONG, || orphans() == ORPHANS);

    // They end while other jobs run: no status may get lost among theirs.
    fs::remove_file(store.hooks().join("forks")).unwrap();
    let ids: Vec<String> = (0..3).map(|_| daemon.start_backup()).collect();
    wait_until("the orphans to end", LONG, || {
        // Whoever has come to open the pipe may go on; the others need it opened again.
        drop(fs::File::options().write(true).read(true).open(&pipe).unwrap());
        fs::read_to_string(&parents).unwrap_or_default().lines().count() == ORPHANS
    });
    for id in &ids {
        let job = daemon.succeeded(id);
        assert_eq!(job["exit_code"], 0, "{job:#}");
    }
    let text = fs::read_to_string(&parents).unwrap();
    assert!(text.lines().all(|line| line.trim_end() == "PPid:\t1"), "{text}");
    wait_until("the last zombie to be collected", SOON, || {
        !children(&daemon).iter().any(|child| child.state == 'Z')
    });
    assert_eq!(daemon.get("/healthz").status, 200);
}

#[test]
fn an_orphan_that_keeps_the_output_open_does_not_keep_the_job_running() {
    if !may_unshare() {
        return;
    }
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("clings");
    database.fill(5);
    let pipe = store.root().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let hook = format!("#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\nsetsid cat '{}' &\n", pipe.display());
    store.hook("clings", &hook);
    let daemon = Plan::new(server, &store).database(&database.name).first_process().start();
    for _ in 0..2 {
        let job = daemon.back_up();
        assert_eq!(job["exit_code"], 0, "{job:#}");
    }
}

#[test]
fn the_status_of_every_job_arrives_whatever_else_ends() {
    if !may_unshare() {
        return;
    }
    let server = Cluster::shared(15);
    let store = Store::new();
    let scripts = store.root().join("scripts");
    fs::create_dir(&scripts).unwrap();
    // The name of the database says how the job shall end.
    let script = "#!/bin/sh\n[ \"$1\" != -- ] || shift\nfor i in 1 2 3; do setsid true & done\n\
                  case $1 in signal*) kill -s \"${1#signal}\" $$ ;; esac\nexit \"${1#code}\"\n";
    write_script(&scripts.join("backup.sh"), script);
    let ends = [
        ("code0", 0),
        ("code1", 1),
        ("code2", 2),
        ("code75", 75),
        ("code127", 127),
        ("code255", 255),
        ("signalTERM", 128 + 15),
        ("signalKILL", 128 + 9),
        ("signalSEGV", 128 + 11),
    ];
    let names = ends.map(|(name, _)| name).join(",");
    let plan = Plan::new(server, &store).database(&names).env("SCRIPTS_DIR", scripts.to_str().unwrap());
    let daemon = plan.first_process().start();
    for (name, code) in ends {
        let body = serde_json::json!({"databases": [name]});
        let id = job_id(&daemon.post("/backup", &body).expect(202));
        let job = daemon.reached(&id, if code == 0 { "succeeded" } else { "failed" });
        assert_eq!(job["exit_code"], code, "{job:#}");
        assert_eq!(job["error"] == "", code == 0, "{job:#}");
    }
    wait_until("the last zombie to be collected", SOON, || {
        !children(&daemon).iter().any(|child| child.state == 'Z')
    });
}

#[test]
fn the_first_process_stops_when_it_is_told() {
    if !may_unshare() {
        return;
    }
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("first");
    database.fill(5);
    let mut daemon = Plan::new(server, &store).database(&database.name).first_process().start();
    let hold = database.hold();
    daemon.start_backup();
    daemon.descendant("pg_dump");
    let family = Process::descendants(daemon.pid());
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait(STOP_LIMIT);
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!family.iter().any(Process::is_alive));
    drop(hold);
}
