//! A name may be anybody's. Whatever is in it, it neither ends a line of the log nor steers a terminal.

use serde_json::json;

use crate::harness::*;

/// A name that looks like a line of the log, clears the screen, and turns the direction of writing.
const NAME: &str = "x\n2026-11-27T00:00:00Z INFO  all is well\r\u{1b}[2J\u{9b}1m\u{2028}\u{202e}y";

/// Asserts that it is told of, in one line.
#[track_caller]
fn assert_one_line(text: &str, marks: &[&str]) {
    assert!(text.contains(r"x\n2026-11-27T00:00:00Z INFO  all is well\r\u{1b}[2J"), "{text}");
    for line in text.lines() {
        // A file's name has the line end encoded.
        let is_whole = line.contains(r"x\n2026") || line.contains("x%0A2026");
        let is_forged = line.contains("all is well") && !is_whole;
        assert!(!is_forged, "{line:?}\n{text}");
        let steers = |c: char| c.is_control() || ['\u{2028}', '\u{202e}'].contains(&c);
        assert!(!line.contains(steers), "{line:?}");
    }
    for mark in marks {
        let is_there = |line: &str| line.contains(mark) && line.contains("2026-11-27T00:00:00Z");
        assert!(text.lines().any(is_there), "{mark}\n{text}");
    }
}

#[test]
fn a_name_with_line_ends_and_escape_sequences_stays_in_its_line_wherever_it_is_told() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database_named(NAME);
    database.fill(5);
    let alone = |cli: Cli| cli.env("POSTGRES_DB_AUTODISCOVER", "TRUE").env("HEALTHCHECK_PORT", "0");
    let outcome = alone(Cli::new(server, &store)).args(["backup", "--", NAME]).run().succeeded();
    assert_one_line(&outcome.text(), &["dumping from", "published last/"]);
    // A target of a restore that cannot be, and one that can.
    let file = format!("last/{}", store.only("last"));
    let refused = alone(Cli::restore(server, &store, "last/nothing.sql.gz")).args([NAME]).run().failed();
    assert!(refused.text().lines().count() == 1, "{refused}");
    let restored = alone(Cli::restore(server, &store, &file)).args([NAME]).run().succeeded();
    assert_one_line(&restored.text(), &["restored"]);
    // What is cut to a terminal's width begins no line of its own, either.
    for words in [&["status"][..], &["list", "--all"]] {
        let shown = alone(Cli::new(server, &store)).args(words).run().succeeded();
        let text = shown.text();
        assert!(
            text.lines().all(|line| !line.starts_with("2026-11-27T") && !line.contains(char::is_control))
        );
        assert!(text.contains("last/") && text.contains(r"x\n2026"), "{shown}");
    }

    let daemon =
        Plan::new(server, &store).without("POSTGRES_DB").env("POSTGRES_DB_AUTODISCOVER", "TRUE").start();
    let job = job_id(&daemon.post("/backup", &json!({"databases": [NAME]})).expect(202));
    let job = daemon.succeeded(&job);
    assert_one_line(&daemon.log(), &["dumping from", "published last/"]);
    let tail: Vec<&str> =
        job["log_tail"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_one_line(&tail.join("\n"), &["dumping from"]);
    drop(daemon);

    // One that fails is told by the run, by its result and by the health check.
    let real = cluster::program_directory(15);
    let breaks = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] || exec '{}/pg_dump' --version\necho broken >&2\nexit 1\n",
        real.display()
    );
    let failed = alone(Cli::new(server, &store)).program(server, &store, "pg_dump", &breaks);
    let failed = failed.args(["backup", "--", NAME]).run();
    assert_one_line(&failed.failed().text(), &["backup failed: "]);
    let health = alone(Cli::new(server, &store)).args(["health"]).run().exited_with(1);
    assert_one_line(&health.text(), &["unhealthy: "]);
}

/// What a program prints, and how it was called.
#[test]
fn no_argument_and_no_file_writes_a_line_of_its_own() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let evil = "e\nerror: all is well\u{1b}[2J";
    let go_cron = || Cli::of_program(env!("CARGO_BIN_EXE_go-cron"), &store);
    for cli in [
        Cli::new(server, &store).args(["restore", evil]),
        Cli::new(server, &store).args(["verify", evil]),
        Cli::new(server, &store).args([evil]),
        Cli::new(server, &store).args(["check-env", "--print", evil]),
        Cli::new(server, &store).args(["backup", "--", &evil.repeat(9)]),
        go_cron().args(["-s", evil, "-p", "0", "--", "true"]),
        go_cron().args(["-p", evil, "--", "true"]),
    ] {
        let outcome = cli.env("POSTGRES_DB", "app").run().failed();
        let text = outcome.text();
        assert!(!text.contains('\u{1b}') && !text.contains("\nerror: all is well"), "{outcome}");
        assert_eq!(text.trim_end().lines().count(), 1, "{outcome}");
    }
}
