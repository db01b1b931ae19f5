//! A secret appears in no argument list, no log line and no answer.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::harness::*;

/// The command lines of every process that holds one of the secrets.
fn told_by_command_lines(secrets: &[String]) -> Vec<String> {
    let told = |line: &String| secrets.iter().any(|secret| line.contains(secret.as_str()));
    Process::all().iter().map(Process::command_line).filter(told).collect()
}

/// In the original image: passphrase and tokens stood in the argument lists of curl and gpg.
#[test]
fn no_secret_reaches_a_command_line_a_log_or_an_answer() {
    let server = Cluster::start(15);
    let store = Store::new();
    let database = server.database("secrets");
    database.fill(100);
    let gate = database.gate();

    let (in_url, in_header) = (cluster::random_hex(16), cluster::random_hex(16));
    let (token, password) = (cluster::random_hex(32), server.password().to_owned());
    let secrets = vec![in_url.clone(), token.clone(), password, in_header.clone()];
    let found = Arc::new(Mutex::new(Vec::new()));
    let webhook = {
        let (secrets, found) = (secrets.clone(), Arc::clone(&found));
        // curl waits for the answer meanwhile.
        Webhook::start_with(move |_| found.lock().unwrap().extend(told_by_command_lines(&secrets)))
    };
    let path = format!("/hook/{in_url}");
    // The script's own arguments, and those of whoever runs it; and a failure with everything that a shell would show.
    let arguments = store.root().join("arguments");
    store.hook(
        "looks",
        &format!("#!/bin/sh\ncat /proc/[0-9]*/cmdline >> '{}' 2>/dev/null || true\n", arguments.display()),
    );
    let daemon = Plan::new(&server, &store)
        .database(&database.name)
        .env("REST_API_TOKEN", &token)
        .env("WEBHOOK_URL", webhook.url(&path))
        .env("WEBHOOK_PRE_BACKUP_URL", webhook.url(&path))
        .env("WEBHOOK_POST_BACKUP_URL", webhook.url(&path))
        .env("WEBHOOK_ERROR_URL", webhook.url(&path))
        .env("WEBHOOK_EXTRA_ARGS", format!("-H 'X-Secret: {in_header}'"))
        .start();
    let look = || found.lock().unwrap().extend(told_by_command_lines(&secrets));

    let hold = database.hold();
    let backup = daemon.start_backup();
    daemon.descendant("pg_dump");
    look();
    drop(hold);
    let mut answers = vec![daemon.succeeded(&backup).to_string()];
    let call = webhook.first_call(&path);
    assert!(call.head.contains(&in_header), "the header came through: {}", call.head);
    assert!(webhook.calls(&path).len() >= 2);

    gate.shut();
    let restore = daemon.start_restore(&format!("last/{}", store.only("last")), &database.name);
    wait_until("the restore to reach the gate", LONG, || gate.is_waited_for(&server));
    look();
    gate.open();
    answers.push(daemon.succeeded(&restore).to_string());

    // A failure says more than a success.
    server.sql("postgres", "ALTER ROLE backup_login PASSWORD 'another'");
    let failed = daemon.start_backup();
    answers.push(daemon.failed(&failed).to_string());

    for path in ["/status", "/config", "/jobs", "/backups", "/nothing"] {
        answers.push(format!("{:?}", daemon.get(path)));
    }
    let health = exchange(daemon.health_port, &request("GET", "/", &[], None));
    answers.push(health.text());
    assert_eq!(daemon.get("/config").json()["config"]["WEBHOOK_URL"], json!({"set": true, "source": "base"}));
    let log = daemon.log();
    let arguments = fs::read_to_string(&arguments).unwrap();
    assert!(arguments.contains("hooks/looks") && arguments.contains("backupgram"), "{arguments}");
    for secret in &secrets {
        assert!(!arguments.contains(secret.as_str()), "in a command line");
    }
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "in the log");
        for answer in &answers {
            assert!(!answer.contains(secret.as_str()), "in an answer: {answer}");
        }
    }
    let found = found.lock().unwrap();
    assert!(found.is_empty(), "{found:?}");
    for (path, _) in store.everything() {
        let bytes = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "in {}", path.display());
    }
}

#[test]
fn a_hook_that_prints_its_environment_prints_no_secret() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("prints");
    database.fill(5);
    store.hook("prints", "#!/bin/sh\nenv\necho \"again: $POSTGRES_PASSWORD\"\n");
    let in_url = cluster::random_hex(16);
    let webhook = Webhook::start();
    let plan = Plan::new(server, &store).database(&database.name);
    let daemon = plan.env("WEBHOOK_URL", webhook.url(&format!("/{in_url}"))).start();
    let job = daemon.back_up().to_string();
    let log = daemon.log();
    assert!(job.contains("again: ***"), "{job}");
    assert!(log.contains("again: ***"));
    for secret in [server.password(), in_url.as_str(), daemon.token.as_str()] {
        assert!(!job.contains(secret) && !log.contains(secret));
    }
    assert!(!job.contains("REST_API"), "a job knows nothing of the API: {job}");
}

#[test]
fn a_password_from_a_file_is_as_secret() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("file");
    database.fill(5);
    let path = store.root().join("password");
    fs::write(&path, format!("{}\n", server.password())).unwrap();
    store.hook("looks", "#!/bin/sh\necho \"secret: $POSTGRES_PASSWORD\"\ncat \"$BACKUP_DIR/../password\"\n");
    let plan = Plan::new(server, &store).database(&database.name).without("POSTGRES_PASSWORD");
    let daemon = plan.env("POSTGRES_PASSWORD_FILE", path.to_str().unwrap()).start();
    let job = daemon.back_up().to_string();
    assert!(!job.contains(server.password()), "{job}");
    assert!(!daemon.log().contains(server.password()));
}
