//! The API's jobs: the queue, the live log, cancelling, and the scheduler's supervision.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::*;

/// A hook that says `first`, waits until somebody opens the pipe, and says `second`.
struct Brake {
    pipe: std::path::PathBuf,
}

impl Brake {
    fn new(store: &Store) -> Self {
        let pipe = store.root().join("brake");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let wait = format!(
            "#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\necho first\ncat '{}'\necho second\n",
            pipe.display()
        );
        store.hook("brake", &wait);
        Self { pipe }
    }

    /// Lets the hook that waits go on.
    fn release(&self) {
        drop(fs::File::options().write(true).open(&self.pipe).unwrap());
    }
}

/// In the original image: the 101st request threw the running job away, the 257th never got an answer.
#[test]
fn the_queue_has_an_end_and_every_accepted_job_is_kept_to_its_own() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("queue");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let hold = database.hold();
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for _ in 0..300 {
        let start = Instant::now();
        let response = daemon.post_nothing("/backup");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        match response.status {
            202 => accepted.push(job_id(&response)),
            _ => {
                response.error(503);
                let pause: u64 =
                    response.header("retry-after").and_then(|text| text.parse().ok()).expect("Retry-After");
                assert!(pause > 0);
                refused += 1;
            }
        }
    }
    assert!(accepted.len() > 1 && refused > 0, "{} accepted, {refused} refused", accepted.len());
    let body = json!({"file": "last/none.sql.gz", "target_db": "x", "confirm": true});
    assert!(matches!(daemon.post("/restore", &body).status, 404 | 503));
    assert_eq!(daemon.get("/healthz").status, 200);
    daemon.reached(&accepted[0], "running");
    for id in &accepted[1..] {
        assert_eq!(daemon.job(id)["state"], "queued", "{id}");
    }
    let status = daemon.status();
    assert_eq!(status["jobs"], json!({"queued": accepted.len() - 1, "running": 1}));

    // Most are not worth the time that they would take.
    let keep = 5;
    for id in &accepted[keep..] {
        let cancelled = daemon.delete(&format!("/jobs/{id}")).expect(202).json();
        assert_eq!(cancelled, json!({"cancelled": id}));
        let job = daemon.job(id);
        assert_eq!(job["state"], "failed", "{job:#}");
        assert!(job["error"].as_str().is_some_and(|error| error.contains("cancel")), "{job:#}");
    }
    drop(hold);
    for id in &accepted[..keep] {
        assert_eq!(daemon.succeeded(id)["exit_code"], 0);
    }
    store.assert_every_name_is_a_whole_backup();
}

#[test]
fn finished_jobs_are_kept_newest_first() {
    let store = Store::new();
    let server = Cluster::shared(15);
    let database = server.database("order");
    database.fill(1);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let mut ids: Vec<String> = (0..3).map(|_| daemon.start_backup()).collect();
    for id in &ids {
        daemon.succeeded(id);
    }
    ids.reverse();
    let jobs = daemon.get("/jobs").expect(200).json();
    let listed: Vec<&str> =
        jobs["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    assert_eq!(jobs["jobs"][0], daemon.job(&ids[0]));
    daemon.get("/jobs/none").error(404);
    daemon.get("/jobs/0000000000000000").error(404);
    daemon.get(&format!("/jobs/{}0", ids[0])).error(404);
}

/// In the original image: no output before the end, and `null` for the log of a job that had none.
#[test]
fn the_log_of_a_job_grows_while_it_runs() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("log");
    database.fill(5);
    let brake = Brake::new(&store);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let (running, queued) = (daemon.start_backup(), daemon.start_backup());
    let lines = |id: &str| -> Vec<String> {
        let job = daemon.job(id);
        job["log_tail"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|line| line.as_str().unwrap().to_owned())
            .collect()
    };
    let says = |id: &str, word: &str| lines(id).iter().any(|line| line.contains(word));
    wait_until("the first line", SOON, || says(&running, "first"));
    assert!(!says(&running, "second"));
    let job = daemon.job(&running);
    assert_eq!(
        (&job["state"], &job["exit_code"], &job["error"]),
        (&json!("running"), &Value::Null, &json!(""))
    );
    assert!(job["started_at"].is_number(), "{job:#}");
    assert!(lines(&queued).is_empty());
    assert!(daemon.log().contains("first"), "the daemon's log has the lines as they come");
    brake.release();
    daemon.succeeded(&running);
    assert!(says(&running, "second"));
    daemon.reached(&queued, "running");
    wait_until("the second job's first line", SOON, || says(&queued, "first"));
    brake.release();
    daemon.succeeded(&queued);
}

#[test]
fn the_log_of_a_job_is_its_last_50_lines_cut_and_readable() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("tail");
    database.fill(1);
    let script = "#!/bin/sh\n[ \"$1\" = post-backup ] || exit 0\nseq 1 200\nprintf 'bad \\377 byte\\n'\n\
                  head -c 10000 /dev/zero | tr '\\0' x\necho\nprintf 'without an end'\n";
    store.hook("loud", script);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let job = daemon.back_up();
    let lines: Vec<&str> =
        job["log_tail"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(lines.len(), 50, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("bad \u{fffd} byte")), "{lines:?}");
    let long = lines.iter().find(|line| line.contains("xxxx")).expect("the long line");
    assert!(long.len() <= 4_200 && long.len() >= 1_000, "{} bytes", long.len());
    assert!(lines.iter().any(|line| line.ends_with("without an end")), "{lines:?}");
}

/// In the original image: nothing could be cancelled.
#[test]
fn a_job_can_be_cancelled_before_and_while_it_runs_but_not_after() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("cancel");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let hold = database.hold();
    let (running, queued) = (daemon.start_backup(), daemon.start_backup());
    let dump = daemon.descendant("pg_dump");
    assert_eq!(daemon.delete(&format!("/jobs/{queued}")).expect(202).json(), json!({"cancelled": queued}));
    let job = daemon.job(&queued);
    assert_eq!(job["state"], "failed", "a queued job fails at once: {job:#}");
    assert_eq!(daemon.delete(&format!("/jobs/{running}")).expect(202).json(), json!({"cancelled": running}));
    let job = daemon.failed(&running);
    assert!(job["exit_code"].as_i64().is_some_and(|code| code != 0), "{job:#}");
    assert!(job["error"].as_str().unwrap().contains("cancel"), "{job:#}");
    wait_until("pg_dump to end", SOON, || !dump.is_alive());
    for id in [&queued, &running] {
        daemon.delete(&format!("/jobs/{id}")).error(409);
    }
    daemon.delete("/jobs/none").error(404);
    assert!(store.names("last").is_empty());
    drop(hold);
    daemon.back_up();
    daemon
        .delete(&format!("/jobs/{}", daemon.get("/jobs").json()["jobs"][0]["id"].as_str().unwrap()))
        .error(409);
    assert!(store.partial().is_empty(), "{:?}", store.partial());
}

#[test]
fn a_job_that_does_not_listen_is_killed() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("deaf");
    database.fill(5);
    let pipe = store.root().join("never");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let deaf = format!(
        "#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\ntrap '' TERM\necho deaf\nwhile true; do cat '{}'; done\n",
        pipe.display()
    );
    store.hook("deaf", &deaf);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let id = daemon.start_backup();
    wait_until("the hook to run", SOON, || daemon.job(&id)["log_tail"].to_string().contains("deaf"));
    let hook = daemon.descendant("deaf");
    let start = Instant::now();
    daemon.delete(&format!("/jobs/{id}")).expect(202);
    daemon.failed(&id);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    wait_until("the hook to be gone", SOON, || !hook.is_alive());
    fs::remove_file(store.hooks().join("deaf")).unwrap();
    daemon.back_up();
}

#[test]
fn a_cancelled_restore_leaves_the_target_as_it_was() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("undone");
    database.fill(100);
    let gate = database.gate();
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    database.sql("UPDATE orders SET note = 'newer'");
    let before = database.dump();
    gate.shut();
    let id = daemon.start_restore(&format!("last/{}", store.only("last")), &database.name);
    wait_until("the restore to reach the gate", LONG, || gate.is_waited_for(server));
    daemon.delete(&format!("/jobs/{id}")).expect(202);
    daemon.failed(&id);
    assert_eq!(database.dump(), before);
    server.assert_no_scratch_database_is_left();
}

/// In the original image: a job that found the lock taken had "succeeded".
#[test]
fn a_job_waits_for_a_run_that_holds_the_lock() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("busy");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let hold = database.hold();
    let mut by_hand = Cli::backup(server, &store, &database.name).start();
    by_hand.descendant("pg_dump");
    let id = daemon.start_backup();
    daemon.reached(&id, "running");
    daemon.descendant("backupgram");
    drop(hold);
    by_hand.wait().succeeded();
    daemon.succeeded(&id);
}

#[test]
fn a_backup_can_be_limited_to_some_databases() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (one, two) = (server.database("limit"), server.database("limit"));
    one.fill(2);
    two.fill(2);
    let daemon = Plan::new(server, &store).database(&format!("{} {}", one.name, two.name)).start();
    let id = job_id(&daemon.post("/backup", &json!({"databases": [two.name]})).expect(202));
    daemon.succeeded(&id);
    store.only_of("last", &two.name);
    assert_eq!(store.dated("last").len(), 1);
    // The original looks at no body, so what says nothing asks for all.
    for body in ["{}", " \n ", "", "{", "a=b", "{} {}", "all of them", "\u{feff}{}"] {
        let id = job_id(&daemon.send("POST", "/backup", &[], Some(body.as_bytes())).expect(202));
        daemon.delete(&format!("/jobs/{id}"));
    }
    job_id(&daemon.send("POST", "/backup", &[], Some(b"\xff\xfe{}")).expect(202));
    assert!(daemon.log().contains("the body of POST /backup is not JSON"));
    let long = format!("{{\"databases\":[\"{}\"]}}", "x".repeat(200));
    for body in [
        "[]",
        "1",
        "\"a\"",
        "null",
        "{\"databases\":[]}",
        "{\"databases\":\"a\"}",
        "{\"databases\":[1]}",
        "{\"databases\":[\"\"]}",
        "{\"databases\":null,\"databases\":null}",
        "{\"database\":[\"a\"]}",
        "{\"databases\":null}",
        "{\"databases\":[\"a\\u0000b\"]}",
        &long,
    ] {
        let response = daemon.send("POST", "/backup", &[], Some(body.as_bytes()));
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        assert_plain(&response.error(400));
    }
}

/// Asserts that a sentence has no word of the language or the libraries that we are written with.
fn assert_plain(sentence: &str) {
    for word in [
        "i64",
        "u64",
        "invalid type",
        "a sequence",
        "a map",
        "expected",
        "struct",
        "EOF",
        "Some(",
        "missing field",
    ] {
        assert!(!sentence.contains(word), "{sentence}");
    }
}

/// In the original image: a missing file was accepted, and so was garbage behind the JSON.
#[test]
fn a_restore_that_cannot_work_is_refused_at_once() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("refused");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let file = format!("last/{}", store.only("last"));
    let good = json!({"file": file, "target_db": "x", "confirm": true});
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    let without = |key: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(key);
        body
    };
    for missing in ["last/none.sql.gz", "daily/none", "yearly/none.sql.gz"] {
        let response = daemon.post("/restore", &with("file", json!(missing)));
        assert!(matches!(response.status, 404 | 400), "{missing}: {}", response.text());
        response.error(if missing.starts_with("yearly") { response.status } else { 404 });
    }
    for body in [
        without("file"),
        without("target_db"),
        without("confirm"),
        with("confirm", json!(false)),
        with("confirm", json!("true")),
        with("confirm", json!(1)),
        with("confirm", Value::Null),
        with("file", json!(1)),
        with("file", Value::Null),
        with("file", json!("")),
        with("file", json!(["a"])),
        with("target_db", json!(7)),
        with("telegram_message_id", json!(4521)),
        with("keep_previous", json!("yes")),
        with("unknown", json!(1)),
        with("Confirm", json!(true)),
        json!({"target_db": "x", "confirm": true, "telegram_message_id": "4521"}),
        json!({"target_db": "x", "confirm": true, "telegram_message_id": -1}),
        json!({"target_db": "x", "confirm": true, "telegram_message_id": 1.5}),
        json!({"target_db": "x", "confirm": true, "telegram_message_id": 0, "file": ""}),
        json!({"target_db": "x", "confirm": true, "telegram_message_id": null, "file": null}),
        with("telegram_message_id", json!(false)),
        with("telegram_message_id", json!([])),
        with("before", Value::Null),
        json!([good]),
        json!("text"),
        Value::Null,
    ] {
        assert_plain(&daemon.post("/restore", &body).error(400));
    }
    let longest = "x".repeat(63);
    for target in ["", "1a", "a-b", "a b", "a.b", "a;b", "é", "a\n", "\"a\"", "-a", &"x".repeat(64)] {
        let sentence = daemon.post("/restore", &with("target_db", json!(target))).error(400);
        assert!(sentence.contains("target_db"), "{target:?}: {sentence}");
    }
    let text = good.to_string();
    for body in [
        String::new(),
        "{".to_owned(),
        format!("{text}x"),
        format!("{text}{text}"),
        format!("{text}]"),
        text.replacen('{', "{\"confirm\":true,", 1),
        text.replacen('{', "{\"confirm\":false,", 1),
        text.replacen('{', "{\"file\":\"last/other\",", 1),
        text.replace("true", "True"),
        format!("\u{feff}{text}"),
    ] {
        daemon.send("POST", "/restore", &[], Some(body.as_bytes())).error(400);
    }
    daemon.send("POST", "/restore", &[], Some(&[text.as_bytes(), b"\xff"].concat())).error(400);
    let deep = "[".repeat(30_000);
    daemon.send("POST", "/restore", &[], Some(deep.as_bytes())).error(400);
    assert_eq!(daemon.get("/jobs").json()["jobs"].as_array().unwrap().len(), 1, "none became a job");

    // Clients that send every field send nothing in the one that they do not mean.
    for nothing in [Value::Null, json!(""), json!(0), json!(0.0)] {
        let mut body = with("telegram_message_id", nothing);
        body["target_db"] = json!(longest);
        daemon.succeeded(&job_id(&daemon.post("/restore", &body).expect(202)));
    }
    for nothing in [Value::Null, json!("")] {
        let mut body = with("telegram_message_id", json!(4521));
        body["file"] = nothing;
        let job = daemon.failed(&job_id(&daemon.post("/restore", &body).expect(202)));
        assert!(job["log_tail"].to_string().contains("needs TELEGRAM_BOT_TOKEN"), "{job:#}");
    }
    server.sql("postgres", &format!("DROP DATABASE {longest}"));
}

/// In the original image: the scheduler died and nobody noticed.
#[test]
fn a_scheduler_that_is_killed_is_started_again() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    let scheduler = || daemon.status()["scheduler"].clone();
    wait_until("the scheduler to run", SOON, || scheduler()["state"] == "running");
    let first = scheduler();
    assert_eq!(first["restarts"], 0, "{first}");
    let process = daemon.descendant("go-cron");
    assert_eq!(first["pid"], process.pid);
    process.signal(Signal::SIGKILL);
    wait_until("the scheduler to run again", SOON, || {
        let now = scheduler();
        now["state"] == "running" && now["pid"] != first["pid"] && now["restarts"] == 1
    });
    wait_until("its port to answer", SOON, || {
        std::net::TcpStream::connect(("127.0.0.1", daemon.health_port)).is_ok()
    });
    assert!(daemon.log().contains("go-cron"), "{}", daemon.log());
}

#[test]
fn the_schedule_runs_backups_by_itself() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("scheduled");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).env("SCHEDULE", "@every 1s").start();
    wait_until("two scheduled backups", LONG, || store.dated("last").len() >= 2);
    let status = daemon.status();
    assert_eq!(status["schedule"], "@every 1s");
    assert_eq!(status["last_backup"]["status"], "OK", "{status:#}");
    let health = exchange(daemon.health_port, &request("GET", "/", &[], None));
    assert_eq!(health.status, 200, "{}", health.text());
    let health: Value = serde_json::from_slice(&health.body).expect("JSON");
    assert_eq!(health["Last"]["Exit_status"], 0, "{health:#}");
}

#[test]
fn the_status_tells_what_comes_next_and_what_is_free() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").env("SCHEDULE", "30 4 * * *").start();
    let status = daemon.status();
    assert_eq!(status["cluster"], false);
    let next = status["next_run"].as_str().expect("a time");
    assert!(next.contains("T04:30:00"), "{next}");
    let disk = &status["disk"];
    assert!(disk["free_bytes"].as_u64().unwrap() <= disk["total_bytes"].as_u64().unwrap(), "{disk}");
    assert_eq!(status["jobs"], json!({"queued": 0, "running": 0}));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_directory_of_scripts_takes_the_place_of_the_program() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("scripts");
    database.fill(5);
    let scripts = store.root().join("scripts");
    fs::create_dir(&scripts).unwrap();
    let program = env!("CARGO_BIN_EXE_backupgram");
    for command in ["backup", "restore"] {
        let script = format!("#!/bin/sh\necho \"script {command}\"\nexec '{program}' {command} \"$@\"\n");
        write_script(&scripts.join(format!("{command}.sh")), &script);
    }
    let plan = Plan::new(server, &store).database(&database.name);
    let daemon = plan.env("SCRIPTS_DIR", scripts.to_str().unwrap()).start();
    let job = daemon.back_up();
    assert!(job["log_tail"].to_string().contains("script backup"), "{job:#}");
    let before = database.dump();
    database.sql("TRUNCATE orders");
    let job =
        daemon.succeeded(&daemon.start_restore(&format!("last/{}", store.only("last")), &database.name));
    assert!(job["log_tail"].to_string().contains("script restore"), "{job:#}");
    assert_eq!(database.dump(), before);
}
