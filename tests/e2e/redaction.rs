//! What programs print is handed on to many: port 8080, the log in both its forms, jobs. Wherever it goes and however a
//! secret is written in it, it is without the secret.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

/// Secrets with whatever a shell, a URL or JSON would write otherwise, as settings that hold them.
fn secrets() -> BTreeMap<&'static str, String> {
    [
        ("TELEGRAM_API_HASH", "it's \"h4sh\" $x \\ `y`"),
        ("BACKUP_ENCRYPTION_KEY", "p4ss phr@se/+%é&1"),
        ("WEBHOOK_ERROR_URL", "http://me:us3rinfo@127.0.0.1:9/T0KEN-0123456789"),
        ("WEBHOOK_EXTRA_ARGS", "--retry 0 -H 'X-Key: head3r-key' -u 'joe:cur1 pass'"),
        ("OFFSITE_SECRET_ACCESS_KEY", "0ffsite/key+"),
        ("https_proxy", "http://me:pr0xy-pass@127.0.0.1:9"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// What of them nobody may see, without quotes and backslashes.
const TOLD: [&str; 8] = [
    "its h4sh $x  `y`",
    "p4ss phr@se/+%é&1",
    "us3rinfo",
    "T0KEN-0123456789",
    "head3r-key",
    "cur1 pass",
    "0ffsite/key+",
    "pr0xy-pass",
];

/// Prints its environment, traces what it does as two shells do, and writes secrets as URLs and base64.
const PRINTS: &str = r#"#!/bin/sh
[ "$1" = pre-backup ] || exit 0
echo begins
env
export -p
set -x
: "$TELEGRAM_API_HASH" "$BACKUP_ENCRYPTION_KEY" "$OFFSITE_SECRET_ACCESS_KEY" "$POSTGRES_PASSWORD"
set +x
[ ! -x /bin/bash ] || /bin/bash -xc ': "$TELEGRAM_API_HASH" "$WEBHOOK_EXTRA_ARGS"; export -p; printf "%q\n" "$TELEGRAM_API_HASH"'
printf %s "me:$OFFSITE_SECRET_ACCESS_KEY" | base64
printf %s "$BACKUP_ENCRYPTION_KEY" | base64
echo 'sent to http://h/?key=p4ss+phr%40se%2F%2B%25%C3%A9%261' >&2
echo 'sent to http://h/p4ss%20phr%40se%2f%2b%25%c3%a9%261' >&2
echo ends
"#;

/// Asserts that a text has been handed on, and none of the secrets in it.
#[track_caller]
fn assert_clean(text: &str, password: &str) {
    assert!(text.contains("begins") && text.contains("ends"), "{text}");
    assert!(text.contains("TELEGRAM_API_HASH=***"), "{text}");
    let plain: String = text.chars().filter(|c| !['\'', '"', '\\'].contains(c)).collect();
    for secret in TOLD.into_iter().chain([password]) {
        assert!(!plain.contains(secret), "{secret}\n{text}");
    }
    // Of its base64 and of its encoding for URLs.
    for part in ["ZmZzaXRlL2tleS", "NHNzIHBoc", "phr%40se", "phr@se"] {
        assert!(!text.contains(part), "{part}\n{text}");
    }
}

/// What the health port shows of the last run, both streams.
fn printed(health: &Value) -> String {
    let stream = |name: &str| health["Last"][name].as_str().unwrap_or_default().to_owned();
    stream("Stdout") + &stream("Stderr")
}

fn health(port: u16) -> Value {
    wait_until("the health port", SOON, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    serde_json::from_slice(&exchange(port, &request("GET", "/", &[], None)).body).unwrap()
}

#[test]
fn a_hook_that_prints_and_traces_everything_shows_no_secret_to_port_log_or_job() {
    let server = Cluster::shared(15);
    for format in ["text", "json"] {
        let store = Store::new();
        let database = server.database("printed");
        database.fill(5);
        store.hook("prints", PRINTS);
        let plan = Plan::new(server, &store).database(&database.name).env("LOG_FORMAT", format);
        let plan = secrets().into_iter().fold(plan, |plan, (name, value)| plan.env(name, value));
        let daemon = plan.env("BACKUP_ON_START", "TRUE").start();
        let ended = || Some(health(daemon.health_port)).filter(|health| health["Last"]["ExitTime"] != "");
        let scheduled = wait_for("the scheduled run", LONG, ended);
        assert_eq!(scheduled["Last"]["Exit_status"], 0, "{scheduled:#}");
        assert_clean(&printed(&scheduled), server.password());
        let scheduled = daemon.log();
        assert_clean(&scheduled, server.password());
        let job = daemon.back_up();
        let tail = job["log_tail"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        let tail: Vec<&str> = tail.collect();
        // It holds the last lines only.
        assert_clean(&format!("begins TELEGRAM_API_HASH=*** {}", tail.join("\n")), server.password());
        assert_clean(&daemon.log()[scheduled.len()..], server.password());
    }
}

#[test]
fn nor_does_it_where_there_is_no_daemon_and_none_but_the_run_itself() {
    let server = Cluster::shared(15);
    let given = |cli: Cli| secrets().into_iter().fold(cli, |cli, (name, value)| cli.env(name, value));
    for format in ["text", "json"] {
        let store = Store::new();
        let database = server.database("alone");
        database.fill(5);
        store.hook("prints", PRINTS);
        let outcome = given(Cli::backup(server, &store, &database.name).env("LOG_FORMAT", format)).run();
        assert_clean(&outcome.succeeded().text(), server.password());

        let port = cluster::free_port();
        let init = given(Cli::init(server, &store)).env("LOG_FORMAT", format);
        let init = init.env("POSTGRES_DB", &database.name).env("HEALTHCHECK_PORT", port.to_string());
        let mut running = init.env("BACKUP_ON_START", "TRUE").start();
        wait_until("the run to end", LONG, || {
            assert!(running.poll().is_none(), "{}", running.text());
            running.text().contains(": exit status 0")
        });
        assert_clean(&printed(&health(port)), server.password());
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_clean(&running.wait().succeeded().text(), server.password());
    }
}

/// go-cron with this secret in its environment and this script as its command, which runs at once.
fn go_cron(store: &Store, port: u16, format: &str, secret: &str, script: &str) -> Cli {
    let cli = Cli::of_program(env!("CARGO_BIN_EXE_go-cron"), store).env("POSTGRES_PASSWORD", secret);
    let cli = cli.env("LOG_FORMAT", format).env("BACKUP_DIR", store.path());
    cli.args(["-s", "@yearly", "-i", "-p", &port.to_string(), "--", "sh", "-c", script])
}

#[test]
fn no_pause_no_missing_line_end_and_no_limit_lets_a_part_of_a_secret_through() {
    let store = Store::new();
    let secret = cluster::random_hex(24);
    let (release, head) = (store.root().join("release"), &secret[..19]);
    for format in ["text", "json"] {
        // A line whose end takes its time, in the middle of the secret.
        let _ = fs::remove_file(&release);
        let script = format!(
            "printf 'password: {head}'; while [ ! -e '{}' ]; do sleep 0.05; done; echo {}",
            release.display(),
            &secret[19..]
        );
        let port = cluster::free_port();
        let running = go_cron(&store, port, format, &secret, &script).start();
        let shown = wait_for("the beginning of the line", SOON, || {
            let health = health(port);
            let run = health["Running"].as_object()?.values().next()?.clone();
            Some(run["Stdout"].as_str()?.to_owned()).filter(|text| !text.is_empty())
        });
        assert_eq!(shown, "password: ");
        fs::write(&release, "").unwrap();
        wait_until("the run to end", SOON, || health(port)["Last"]["ExitTime"] != "");
        assert_eq!(printed(&health(port)), "password: ***\n");
        assert!(
            running.text().contains("password: ***") && !running.text().contains(head),
            "{}",
            running.text()
        );
        drop(running);

        // Far more than is kept, without a line end.
        let script = "i=0; while [ $i -lt 4000 ]; do printf '%s' \"$POSTGRES_PASSWORD\"; i=$((i + 1)); done";
        let port = cluster::free_port();
        let running = go_cron(&store, port, format, &secret, script).start();
        wait_until("the run to end", LONG, || running.text().contains(": exit status 0"));
        for text in [printed(&health(port)), running.text()] {
            assert!(text.contains("***"), "{text:.200}");
            assert!(
                !text.as_bytes().windows(8).any(|part| secret.as_bytes().windows(8).any(|own| own == part))
            );
        }
    }
}

#[test]
fn a_secret_that_changes_while_the_scheduler_runs_is_known_to_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("changes");
    database.fill(5);
    store.hook("prints", "#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\nenv\n");
    let key = store.root().join("key");
    fs::write(&key, "the-first-passphrase").unwrap();
    let plan = Plan::new(server, &store).database(&database.name).env("SCHEDULE", "@every 1s");
    let daemon = plan.env("BACKUP_ENCRYPTION_KEY_FILE", key.to_str().unwrap()).start();
    let told = |secrets: &[&str]| {
        let text = printed(&health(daemon.health_port)) + &daemon.log();
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    };
    wait_until("a run", LONG, || printed(&health(daemon.health_port)).contains("ENCRYPTION_KEY=***"));
    let scheduler = daemon.schedulers()[0].pid;
    daemon.patch(&json!({"TELEGRAM_API_HASH": "a-h4sh-of-the-apis-own"})).expect(200);
    fs::write(&key, "the-s3cond-passphrase").unwrap();
    wait_until("a run after the change", LONG, || {
        told(&["the-first-passphrase", "the-s3cond-passphrase", "a-h4sh-of-the-apis-own"]);
        let printed = printed(&health(daemon.health_port));
        printed.contains("TELEGRAM_API_HASH=***") && printed.contains("ENCRYPTION_KEY=***")
    });
    assert_eq!(daemon.schedulers()[0].pid, scheduler, "it was not started anew");
}

/// What a failed run is told by to others: the status, the history, the webhook.
#[test]
fn an_error_that_names_a_secret_is_kept_and_told_without_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let webhook = Webhook::start();
    let secret = cluster::random_hex(16);
    let says = format!("#!/bin/sh\necho \"pg_dump: error: it is {secret}, you know\" >&2\nexit 1\n");
    let database = server.database("named");
    let plan = Plan::new(server, &store).database(&database.name).env("TELEGRAM_API_HASH", &secret);
    let path = command::path_with_program(
        server,
        &store,
        "pg_dump",
        &format!(
            "#!/bin/sh\n[ \"$1\" != --version ] || exec {}/pg_dump --version\n{}",
            cluster::program_directory(15).display(),
            &says["#!/bin/sh\n".len()..]
        ),
    );
    let daemon = plan.env("PATH", path).env("WEBHOOK_ERROR_URL", webhook.url("/error")).start();
    let job = daemon.failed(&daemon.start_backup()).to_string();
    assert!(job.contains("it is ***"), "{job}");
    let call = webhook.first_call("/error");
    let health = Cli::new(server, &store).env("HEALTHCHECK_PORT", "0").args(["health"]).run().exited_with(1);
    let kept = |name: &str| fs::read_to_string(store.path().join(name)).unwrap();
    for text in [
        call.body,
        kept(".status.json"),
        kept(".history.jsonl"),
        daemon.status().to_string(),
        daemon.get("/history").text(),
        daemon.log(),
        health.text(),
    ] {
        assert!(text.contains("it is ***, you know") && !text.contains(&secret), "{text}");
    }
}

/// The environment of each program, as a script in its place has found it.
fn environments(store: &Store, programs: &[&str]) -> BTreeMap<String, String> {
    let read = |name: &&str| {
        let text = fs::read(store.root().join(format!("{name}.environment"))).unwrap_or_default();
        (String::from(*name), String::from_utf8_lossy(&text).replace('\0', "\n"))
    };
    programs.iter().map(read).collect()
}

#[test]
fn no_program_inherits_a_secret_that_it_has_no_use_for() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("inherits");
    database.fill(5);
    let webhook = Webhook::start();
    let api = BotApi::start(&["77"]);
    let programs = ["curl", "gpg", "pg_dump", "psql", "pg_restore"];
    let mut path = String::new();
    for name in programs {
        let real =
            if ["curl", "gpg"].contains(&name) { "/usr/bin".into() } else { cluster::program_directory(15) };
        let file = store.root().join(format!("{name}.environment"));
        let script =
            format!("#!/bin/sh\nenv -0 >>'{}'\nexec '{}/{name}' \"$@\"\n", file.display(), real.display());
        path = command::path_with_program(server, &store, name, &script);
    }
    let variables = [
        ("PATH", path.as_str()),
        ("NO_PROXY", "127.0.0.1"),
        ("POSTGRES_EXTRA_OPTS", "-Fc"),
        ("BACKUP_ENCRYPTION_KEY", "a-passphrase-of-ours"),
        ("WEBHOOK_URL", &webhook.url("/T0KEN-0123456789")),
        ("WEBHOOK_EXTRA_ARGS", "-H 'X-Key: a-header-of-ours'"),
        ("OFFSITE_SECRET_ACCESS_KEY", "a-key-for-a-hook"),
        ("PGPASSWORD", "a-password-of-libpq"),
        ("REST_API_TOKEN", "a-token-of-the-api"),
        ("SSL_CERT_DIR", "/etc/ssl/certs"),
    ];
    let given = |cli: Cli| {
        let cli = variables.iter().fold(cli, |cli, (name, value)| cli.env(name, value));
        api.settings("77").iter().fold(cli, |cli, (name, value)| cli.env(name, value))
    };
    // One curl for each webhook, for Telegram, and for the question how the API is.
    let port = cluster::free_port().to_string();
    let health = given(Cli::new(server, &store)).env("REST_API_ENABLE", "TRUE").env("REST_API_PORT", port);
    health.args(["health"]).run().exited_with(1).saying("the API does not answer");
    given(Cli::backup(server, &store, &database.name)).run().succeeded();
    assert!(webhook.first_call("/T0KEN-0123456789").head.contains("a-header-of-ours"));
    let secrets = [
        "a-passphrase-of-ours",
        "T0KEN-0123456789",
        "a-header-of-ours",
        "a-key-for-a-hook",
        "a-password-of-libpq",
        "a-token-of-the-api",
        telegram::TOKEN,
    ];
    for (program, environment) in environments(&store, &programs) {
        assert!(environment.contains("PATH="), "{program} was run: {environment}");
        for secret in secrets {
            assert!(!environment.contains(secret), "{program} has {secret}\n{environment}");
        }
        let is_client = ["pg_dump", "psql"].contains(&program.as_str());
        assert_eq!(environment.contains(server.password()), is_client, "{program}\n{environment}");
        assert!(environment.contains("SSL_CERT_DIR="), "{program}\n{environment}");
        assert!(program != "curl" || !environment.contains("POSTGRES_"), "{environment}");
    }
}

/// As the kernel shows it, while curl waits for its answer.
#[test]
fn the_environment_of_a_curl_that_runs_holds_no_secret() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (told, tells) = std::sync::mpsc::channel();
    let webhook = Webhook::start_with(move |_| {
        let curls = Process::all().into_iter().filter(|process| process.works_as("curl"));
        // Others run curl here, too.
        let ours = curls.filter(|curl| curl.environment_holds("LC_MESSAGES=marked"));
        let _ = told.send(ours.map(|curl| curl.environment_holds("POSTGRES_PASSWORD")).collect::<Vec<_>>());
    });
    Cli::backup(server, &store, "nosuch")
        .env("WEBHOOK_ERROR_URL", webhook.url("/error"))
        .env("LC_MESSAGES", "marked")
        .run()
        .failed();
    assert_eq!(tells.recv_timeout(Duration::from_secs(10)).unwrap(), [false]);
}
