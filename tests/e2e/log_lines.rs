//! With LOG_FORMAT=json a program that parses every line of a container's output as JSON never fails, whoever speaks.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::*;

/// Says what is no JSON, or not all of it, on both streams, and leaves the last line without an end.
const SPEAKS: &str = "#!/bin/sh
[ \"$1\" = pre-backup ] || exit 0
echo 'plain words'
echo '{\"half\":'
printf 'no UTF-8: \\377\\n' >&2
printf '\\033[31mred\\n\\n'
printf 'without an end'
";

/// Asserts that each line is an object of the documented fields.
#[track_caller]
fn parsed(text: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}\n{text}"));
        let keys: Vec<&String> =
            object.as_object().unwrap_or_else(|| panic!("no object: {line}")).keys().collect();
        assert_eq!(keys, ["level", "message", "program", "target", "time"], "{line}");
        let field =
            |name: &str| object[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
        let time = field("time");
        assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(["error", "warn", "info", "debug"].contains(&field("level").as_str()), "{line}");
        assert!(!field("message").contains('\u{1b}'), "{line}");
        lines.push(object);
    }
    lines
}

/// Whether a program has said at this level what contains the text.
fn has_said(lines: &[Value], program: &str, level: &str, text: &str) -> bool {
    let is_it = |line: &&Value| line["program"] == program && line["level"] == level;
    lines.iter().filter(is_it).any(|line| line["message"].as_str().is_some_and(|said| said.contains(text)))
}

#[track_caller]
fn assert_said(lines: &[Value], program: &str, level: &str, texts: &[&str]) {
    for text in texts {
        assert!(has_said(lines, program, level, text), "{program} {level} {text:?}\n{lines:#?}");
    }
}

const OF_THE_HOOK: [&str; 5] =
    ["plain words", "{\"half\":", "no UTF-8: \u{fffd}", "\\u{1b}[31mred", "without an end"];

#[test]
fn every_line_of_the_daemon_is_json_whatever_its_children_say() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("lines");
    database.fill(5);
    store.hook("speaks", SPEAKS);
    let plan = Plan::new(server, &store).database(&database.name).env("LOG_FORMAT", "JSON");
    let mut daemon = plan.env("POSTGRES_EXTRA_OPTS", "-Z1 --verbose").env("RUST_LOG", "info,x=loud").start();
    let job = daemon.back_up();
    let tail = job["log_tail"].as_array().unwrap();
    assert!(
        tail.iter().all(|line| !line.as_str().unwrap().contains("\"level\"")),
        "a job's are text: {job:#}"
    );
    server.sql("postgres", &format!("ALTER DATABASE {0} RENAME TO {0}_away", database.name));
    let failing = daemon.start_backup();
    let failed = daemon.failed(&failing);
    assert!(failed["error"].as_str().unwrap().contains(&database.name), "{failed:#}");
    server.sql("postgres", &format!("ALTER DATABASE {0}_away RENAME TO {0}", database.name));
    daemon.anonymous("GET", "/status").error(401);
    daemon.patch(&serde_json::json!({"SCHEDULE": "@monthly"})).expect(200);
    let scheduler = daemon.descendant("go-cron");
    scheduler.signal(Signal::SIGKILL);
    wait_until("the scheduler to be started again", SOON, || daemon.status()["scheduler"]["restarts"] == 1);
    daemon.stop();
    let lines = parsed(&daemon.log());
    let daemon = "backupgram-api";
    assert!(lines.iter().all(|line| line["program"] == daemon), "{lines:#?}");
    assert_said(&lines, daemon, "info", &OF_THE_HOOK);
    assert_said(
        &lines,
        daemon,
        "info",
        &["API on ", "go-cron: schedule ", "pg_dump: ", "GET /status 401", "stopped"],
    );
    assert_said(&lines, daemon, "warn", &["without the right token"]);
    assert_said(&lines, daemon, "error", &["backup failed: ", "go-cron: killed by SIGKILL"]);
}

#[test]
fn every_line_of_the_scheduler_is_json_when_it_is_all_that_the_container_starts() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("alone");
    database.fill(5);
    store.hook("speaks", SPEAKS);
    let init = if may_unshare() { Cli::init_as_first_process } else { Cli::init };
    let mut running = init(server, &store)
        .env("LOG_FORMAT", "json")
        .env("POSTGRES_DB", format!("{},no_such_database", database.name))
        .env("POSTGRES_EXTRA_OPTS", "-Z1 --verbose")
        .env("HEALTHCHECK_PORT", "0")
        .env("BACKUP_ON_START", "TRUE")
        .start();
    wait_until("the run to end", LONG, || {
        assert!(running.poll().is_none(), "{}", running.text());
        running.text().contains(": exit status 1")
    });
    running.descendant("go-cron").signal(Signal::SIGTERM);
    let outcome = running.wait().succeeded();
    let (own, runs) = (parsed(&outcome.stdout), parsed(&outcome.stderr));
    assert_said(&own, "go-cron", "info", &["schedule @yearly, next run ", "stopping on SIGTERM"]);
    assert_said(&own, "go-cron", "warn", &["exit status 1"]);
    assert!(runs.iter().all(|line| line["program"] == "backupgram"), "{runs:#?}");
    assert_said(&runs, "backupgram", "info", &OF_THE_HOOK);
    assert_said(&runs, "backupgram", "info", &["published last/", "pg_dump: "]);
    assert_said(&runs, "backupgram", "error", &["no_such_database", "backup failed: "]);
}

#[test]
fn every_line_of_a_command_is_json_and_what_it_prints_is_as_it_was() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("command");
    database.fill(5);
    store.hook("speaks", SPEAKS);
    let backup = || Cli::backup(server, &store, &database.name).env("LOG_FORMAT", "json").run().succeeded();
    let outcome = backup();
    assert_eq!(outcome.stdout, "");
    assert_said(&parsed(&outcome.stderr), "backupgram", "info", &OF_THE_HOOK);
    // What a hook leaves behind keeps its output open, and nobody waits for that.
    let stays = format!("while [ -d '{}' ]; do sleep 0.1; done", store.hooks().display());
    store.hook("stays", &format!("#!/bin/sh\n[ \"$1\" != pre-backup ] || setsid sh -c \"{stays}\" &\n"));
    let outcome = backup();
    assert_said(&parsed(&outcome.stderr), "backupgram", "info", &["plain words", "backup succeeded: "]);
    let list = |format: &str| {
        let cli = Cli::new(server, &store).env("LOG_FORMAT", format).args(["list", "--json"]);
        cli.run().succeeded().stdout
    };
    assert_eq!(list("json"), list("text"));
    let restore = Cli::restore(server, &store, "last/nothing.sql.gz").args([&database.name]);
    let refused = restore.env("LOG_FORMAT", "json").run().exited_with(1);
    assert_said(&parsed(&refused.text()), "backupgram", "error", &["there is no backup last/nothing.sql.gz"]);
}

#[test]
fn a_refusal_to_start_is_json_too_but_for_that_of_the_setting_itself() {
    let store = Store::new();
    let server = Cluster::shared(15);
    let plan = |format: &str| Plan::new(server, &store).database("app").env("LOG_FORMAT", format);
    let refused = plan("json").without("REST_API_TOKEN").run().failed();
    assert_said(&parsed(&refused.text()), "backupgram-api", "error", &["REST_API_TOKEN is not set"]);
    let cron = |format: &str| {
        let cli = Cli::of_program(env!("CARGO_BIN_EXE_go-cron"), &store).env("LOG_FORMAT", format);
        cli.args(["-s", "never", "-p", "0", "--", "true"]).run().failed()
    };
    assert_said(&parsed(&cron("json").text()), "go-cron", "error", &["invalid schedule"]);
    let checked = |format: &str| {
        let cli = Cli::init(server, &store).env("LOG_FORMAT", format).env("SCHEDULE", "never");
        cli.env("POSTGRES_DB", "app").run().failed()
    };
    assert_said(
        &parsed(&checked("json").text()),
        "backupgram",
        "error",
        &["SCHEDULE=\"never\" is not valid: expected 5 or 6 fields, got 1"],
    );

    let complaint = "LOG_FORMAT=\"yaml\" must be one of text, json\n";
    let list = Cli::new(server, &store).env("LOG_FORMAT", "yaml").args(["list"]).run().failed();
    assert_eq!(list.text(), format!("error: {complaint}"));
    for daemon in [plan("yaml"), plan("yaml").env("VALIDATE_ON_START", "FALSE")] {
        assert_eq!(daemon.run().failed().text(), format!("error: {complaint}"));
    }
    assert_eq!(cron("yaml").text(), format!("go-cron: {complaint}"));
    assert!(checked("yaml").text().contains(&format!("error: {complaint}")));
}
