//! What the API may change, what it may not, and that a change is made whole or not at all.

/// Of what the API could never have written, nothing is taken from the file.
mod file;
/// What is not on the list of keys.
mod forbidden;
/// A daemon that is killed while it changes something.
mod killed;
/// What is not shown of settings that are shown.
mod masks;
/// What would make a bad container of a good one: no database, files for curl, a token that goes elsewhere.
mod trust;
/// Good and bad values for every key.
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use backupgram::settings::{Access, Rule, Variable};
use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn every_value_that_is_taken_is_kept_byte_for_byte_and_no_other_changes_anything() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    assert_eq!(overrides(&store), None);
    let mut kept = BTreeMap::new();
    for variable in Variable::mutable() {
        let key = variable.name;
        let (good, bad) = values::of(key);
        for value in &good {
            let shown = daemon.patch(&json!({key: value}));
            assert_eq!(shown.status, 200, "{key}={value:.200}: {}", shown.text());
            let is_flag = matches!(variable.rule, Rule::Flag);
            let text = values::text_of(value);
            let text = if is_flag { text.to_uppercase() } else { text };
            kept.insert(key.to_owned(), text.clone());
            assert!(overrides(&store) == Some(rendered(&kept)), "{key}={value:.200}: not kept as it was");
            let shown = shown.json()["config"].clone();
            assert_eq!(shown, daemon.config(), "{key}={value:.200}");
            if variable.access == Access::WriteOnly {
                assert_eq!(
                    shown[key],
                    json!({"set": !text.is_empty(), "source": "override"}),
                    "{key}={value:.200}"
                );
            } else {
                // Of these a credential is not shown.
                let is_masked = shown[key]["value"].as_str().is_some_and(|value| value.contains("***"));
                if !is_masked || !["WEBHOOK_EXTRA_ARGS", "TELEGRAM_API_URL"].contains(&key) {
                    assert_eq!(shown[key], json!({"value": text, "source": "override"}));
                }
                let printed = Cli::new(server, &store).args(["check-env", "--print", key]).run().succeeded();
                assert!(printed.stdout == format!("{text}\n"), "{key}={value:.200}: {:.200}", printed.stdout);
            }
        }
        let (before, shown) = (overrides(&store), daemon.config());
        for value in bad.iter().chain(&values::unfit()) {
            let response = daemon.patch(&json!({key: value}));
            assert_eq!(response.status, 400, "{key}={value:.200}: {:.400}", response.text());
            let sentence = response.error(400);
            assert!(sentence.contains(key), "{key}={value:.200}: {sentence:.400}");
            assert!(overrides(&store) == before, "{key}={value:.200} has changed something");
        }
        let other = if key == "BACKUP_KEEP_DAYS" { "BACKUP_KEEP_WEEKS" } else { "BACKUP_KEEP_DAYS" };
        if let Some(value) = bad.first() {
            daemon.patch(&json!({key: value, other: "123"})).error(400);
        }
        assert!(overrides(&store) == before && daemon.config() == shown, "{key}");
    }
    let mode = fs::metadata(store.path().join(".api-overrides.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let everything = overrides(&store);
    drop(daemon);
    let daemon = Plan::new(server, &store).database("app").start();
    assert_eq!(daemon.config()["POSTGRES_DB"], json!({"value": "app", "source": "override"}));
    assert_eq!(overrides(&store), everything);
}

#[test]
fn a_secret_reaches_the_hooks_as_it_was_set() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let seen = store.root().join("seen");
    let hook =
        format!("#!/bin/sh\n[ \"$1\" = pre-backup ] || exit 0\nenv -0 >'{}'\nexit 1\n", seen.display());
    store.hook("look", &hook);
    let base = ["TELEGRAM_BOT_TOKEN", "TELEGRAM_API_HASH", "TELEGRAM_API_ID", "WEBHOOK_URL"];
    let secrets: Vec<(&str, Vec<Value>)> = Variable::mutable()
        .filter(|variable| variable.access == Access::WriteOnly)
        .map(|variable| (variable.name, values::of(variable.name).0))
        .collect();
    assert!(secrets.iter().all(|(key, _)| base.contains(key)), "{secrets:?}");
    let daemon = Plan::new(server, &store).database("app").start();
    let rounds = secrets.iter().map(|(_, good)| good.len()).max().unwrap();
    for round in 0..rounds {
        let now: BTreeMap<&str, &Value> =
            secrets.iter().map(|(key, good)| (*key, &good[round % good.len()])).collect();
        // One by one, for all of them may be longer than a body.
        for (key, value) in &now {
            daemon.patch(&json!({*key: value})).expect(200);
        }
        // A value of the container's own, which an empty override must hide, too.
        let mut cli = Cli::backup(server, &store, "app");
        for key in base {
            cli = cli.env(key, if key == "WEBHOOK_URL" { "http://127.0.0.1:9/base" } else { "1" });
        }
        cli.env("WEBHOOK_EXTRA_ARGS", "--retry 0").run().exited_with(1);
        let environment = fs::read(&seen).unwrap();
        let environment: BTreeMap<&[u8], &[u8]> = environment
            .split(|byte| *byte == 0)
            .filter_map(|entry| Some(entry.split_at(entry.iter().position(|byte| *byte == b'=')?)))
            .collect();
        for (key, value) in now {
            let expected = values::text_of(value);
            let found = environment.get(key.as_bytes()).map_or(&b""[..], |found| &found[1..]);
            assert!(
                found == expected.as_bytes(),
                "{key}={value:.200}: {:.200}",
                String::from_utf8_lossy(found)
            );
        }
    }
}

#[test]
fn a_body_that_is_no_object_of_single_values_is_refused() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    for body in [
        "",
        " \n",
        "{}",
        "[]",
        "[{\"BACKUP_KEEP_DAYS\":\"3\"}]",
        "null",
        "1",
        "\"BACKUP_KEEP_DAYS\"",
        "true",
        "{",
        "{\"BACKUP_KEEP_DAYS\"}",
        "{\"BACKUP_KEEP_DAYS\":}",
        "{\"BACKUP_KEEP_DAYS\":\"3\",}",
        "{'BACKUP_KEEP_DAYS':'3'}",
        "{BACKUP_KEEP_DAYS:3}",
        "{\"BACKUP_KEEP_DAYS\":\"3\"}x",
        "{\"BACKUP_KEEP_DAYS\":\"3\"}{}",
        "{\"BACKUP_KEEP_DAYS\":\"3\"}\0",
        "{\"BACKUP_KEEP_DAYS\":\"3\",\"BACKUP_KEEP_DAYS\":\"3\"}",
        "{\"BACKUP_KEEP_DAYS\":\"3\",\"BACKUP_KEEP_DAYS\":null}",
        "{\"BACKUP_KEEP_DAYS\":null,\"BACKUP_KEEP_DAYS\":\"3\"}",
        "{\"BACKUP_KEEP_DAYS\":\"3\",\"BACKUP_KEEP_\\u0044AYS\":\"4\"}",
        "{\"BACKUP_KEEP_DAYS\":03}",
        "{\"BACKUP_KEEP_DAYS\":3.0}",
        "{\"BACKUP_KEEP_DAYS\":3e0}",
        "{\"BACKUP_KEEP_DAYS\":NaN}",
        "{\"BACKUP_KEEP_DAYS\":99999999999999999999}",
        "{\"TELEGRAM_CHAT_ID\":\"\\ud800\"}",
        "{\"TELEGRAM_CHAT_ID\":\"a\nb\"}",
        "BACKUP_KEEP_DAYS=3",
        "\u{feff}{\"BACKUP_KEEP_DAYS\":\"3\"}",
    ] {
        let response = daemon.patch_text(body.as_bytes());
        assert_eq!(response.status, 400, "{body:?}: {}", response.text());
        response.error(400);
    }
    daemon.patch_text(b"{\"TELEGRAM_CHAT_ID\":\"\xff\"}").error(400);
    daemon.patch_text("[".repeat(30_000).as_bytes()).error(400);
    daemon.patch_text(format!("{{\"TELEGRAM_CHAT_ID\":{}", "{\"a\":".repeat(10_000)).as_bytes()).error(400);
    assert_eq!(overrides(&store), None);

    let body = |length: usize| {
        let frame = json!({"POSTGRES_EXCLUDE_TABLES": ""}).to_string().len();
        json!({"POSTGRES_EXCLUDE_TABLES": "x".repeat(length - frame)}).to_string()
    };
    let longest = 64 * 1024;
    daemon.patch_text(body(longest + 1).as_bytes()).error(413);
    assert_eq!(overrides(&store), None);
    daemon.patch_text(body(longest).as_bytes()).expect(200);
    assert!(overrides(&store).is_some_and(|bytes| bytes.len() > 65_000));
    for (body, text) in
        [(" \n {\t\"BACKUP_KEEP_DAYS\" :\r\n 5 } \n", "5"), ("{\"BACKUP_KEEP_\\u0044AYS\":\"\\u0036\"}", "6")]
    {
        let shown = daemon.patch_text(body.as_bytes()).expect(200).json();
        assert_eq!(shown["config"]["BACKUP_KEEP_DAYS"], json!({"value": text, "source": "override"}));
    }
}

#[test]
fn an_override_is_cleared_by_null_or_by_deletion_and_the_base_value_is_back() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").env("BACKUP_KEEP_DAYS", "9").start();
    let changes = json!({"BACKUP_KEEP_DAYS": "3", "BACKUP_KEEP_WEEKS": 5, "TELEGRAM_API_HASH": "hash", "SCHEDULE": "@weekly"});
    daemon.patch(&changes).expect(200);
    assert_eq!(daemon.status()["schedule"], "@weekly");
    let response = daemon.delete("/config/BACKUP_KEEP_DAYS").expect(200).json();
    assert_eq!(response, json!({"cleared": "BACKUP_KEEP_DAYS"}));
    daemon.delete("/config/BACKUP_KEEP_DAYS").error(404);
    daemon.delete("/config/BACKUP_KEEP_MONTHS").error(404);
    daemon.delete("/config/POSTGRES_PASSWORD").error(403);
    daemon.delete("/config/TELEGRAM_API_HASH_FILE").error(403);
    daemon.delete("/config/nothing").error(403);
    daemon.delete("/config/").error(404);
    daemon.delete("/config").error(405);
    let shown = daemon.config();
    assert_eq!(shown["BACKUP_KEEP_DAYS"], json!({"value": "9", "source": "base"}));
    assert_eq!(shown["BACKUP_KEEP_WEEKS"], json!({"value": "5", "source": "override"}));

    // A null for a key without an override is no mistake: it is cleared already.
    let nothing = json!({"BACKUP_KEEP_WEEKS": null, "TELEGRAM_API_HASH": null, "BACKUP_KEEP_MONTHS": null});
    let shown = daemon.patch(&nothing).expect(200).json()["config"].clone();
    assert_eq!(shown["BACKUP_KEEP_WEEKS"], json!({"value": "4", "source": "base"}));
    assert_eq!(shown["TELEGRAM_API_HASH"], json!({"set": false, "source": "base"}));
    assert_eq!(overrides(&store).unwrap(), b"export SCHEDULE='@weekly'\n");
    daemon.delete("/config/SCHEDULE").expect(200);
    assert_eq!(daemon.status()["schedule"], "@yearly");
    assert_eq!(daemon.running_schedule().as_deref(), Some("@yearly"));
    assert_eq!(overrides(&store), None);
    // One that is bad does not clear the others.
    daemon.patch(&json!({"BACKUP_KEEP_WEEKS": 5})).expect(200);
    daemon.patch(&json!({"BACKUP_KEEP_WEEKS": null, "BACKUP_KEEP_MONTHS": "x"})).error(400);
    assert_eq!(overrides(&store).unwrap(), b"export BACKUP_KEEP_WEEKS='5'\n");
}

#[test]
fn an_override_that_a_secret_file_beats_is_kept_and_says_so() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let file = |name: &str, text: &str| {
        let path = store.root().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let daemon = Plan::new(server, &store)
        .without("POSTGRES_DB")
        .env("POSTGRES_DB_FILE", file("db", "from_file\n"))
        .env("TELEGRAM_BOT_TOKEN_FILE", file("token", "token-of-the-file\n"))
        .start();
    let shown = daemon.config();
    assert_eq!(shown["POSTGRES_DB"], json!({"value": "from_file", "source": "base"}));
    assert_eq!(shown["TELEGRAM_BOT_TOKEN"], json!({"set": true, "source": "base"}));
    let changes = json!({"POSTGRES_DB": "other", "TELEGRAM_BOT_TOKEN": "mine", "TELEGRAM_CHAT_ID": "1"});
    let shown = daemon.patch(&changes).expect(200).json()["config"].clone();
    let by = |twin: &str, mut shown: Value| {
        shown["shadowed_by"] = json!(twin);
        shown
    };
    let expected = by("POSTGRES_DB_FILE", json!({"value": "from_file", "source": "base"}));
    assert_eq!(shown["POSTGRES_DB"], expected);
    let expected = by("TELEGRAM_BOT_TOKEN_FILE", json!({"set": true, "source": "base"}));
    assert_eq!(shown["TELEGRAM_BOT_TOKEN"], expected);
    assert_eq!(shown["TELEGRAM_CHAT_ID"], json!({"value": "1", "source": "override"}));
    let text = String::from_utf8(overrides(&store).unwrap()).unwrap();
    assert!(text.contains("export POSTGRES_DB='other'\n"), "{text}");
    daemon.delete("/config/POSTGRES_DB").expect(200);
    assert_eq!(daemon.config()["POSTGRES_DB"], json!({"value": "from_file", "source": "base"}));

    // Empty is no database, but the file names one all the same.
    daemon.patch(&json!({"POSTGRES_DB": ""})).expect(200);
    // The token that would go there is the file's.
    daemon.patch(&json!({"TELEGRAM_API_URL": "http://127.0.0.1:9/"})).error(400);
}

#[test]
fn a_secret_that_was_set_is_never_shown() {
    let server = Cluster::shared(15);
    let store = Store::new();
    store.hook(
        "tell",
        "#!/bin/sh\necho \"token $TELEGRAM_BOT_TOKEN hash $TELEGRAM_API_HASH url $WEBHOOK_URL\"\nexit 1\n",
    );
    let plan = Plan::new(server, &store).database("app");
    let mut daemon = plan.env("WEBHOOK_EXTRA_ARGS", "--retry 0").start();
    let secrets = [
        ("TELEGRAM_BOT_TOKEN", "12345:canary'one\"$x"),
        ("TELEGRAM_API_HASH", "canary-two-canary"),
        ("TELEGRAM_API_ID", "1234554321"),
        ("WEBHOOK_URL", "http://127.0.0.1:9/canary-four"),
    ];
    let body: BTreeMap<&str, &str> = secrets.into();
    let mut said = vec![daemon.patch(&json!(body)).expect(200).text()];
    for (key, secret) in secrets {
        said.push(daemon.patch(&json!({key: secret})).expect(200).text());
        for wrong in [format!("{secret}\n"), format!("{secret}\u{0}")] {
            said.push(daemon.patch(&json!({key: wrong})).error(400));
        }
        said.push(daemon.patch(&json!({key: [secret]})).error(400));
        said.push(daemon.patch(&json!({key: {secret: 1}})).error(400));
        said.push(daemon.patch(&json!({key: secret, "PATH": "x"})).error(403));
        said.push(daemon.patch_text(format!("{{\"{key}\":{:?},\"{key}\":1}}", secret).as_bytes()).error(400));
    }
    said.push(daemon.patch(&json!({"WEBHOOK_URL": "canary-five"})).error(400));
    said.push(daemon.patch(&json!({"TELEGRAM_API_ID": "canary-six"})).error(400));
    daemon.failed(&daemon.start_backup());
    for path in ["/config", "/status", "/jobs", "/history"] {
        said.push(daemon.get(path).expect(200).text());
    }
    said.push(daemon.delete("/config/TELEGRAM_API_HASH").expect(200).text());
    let outcome = Cli::new(server, &store).env("POSTGRES_DB", "app").args(["check-env"]).run().succeeded();
    said.push(outcome.text());
    said.push(Cli::new(server, &store).args(["check-env", "--print", "WEBHOOK_URL"]).run().failed().text());
    daemon.stop();
    let log = daemon.log();
    assert!(log.contains("TELEGRAM_BOT_TOKEN") && log.contains("token ***"), "{log}");
    said.push(log);
    for text in said {
        for trace in ["canary", "12345:", "1234554321"] {
            assert!(!text.contains(trace), "{trace:?} in {text}");
        }
    }
}

#[test]
fn a_change_that_cannot_be_kept_is_not_made() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    daemon.patch(&json!({"BACKUP_KEEP_DAYS": 3, "SCHEDULE": "@weekly"})).expect(200);
    let (file, config, scheduler) =
        (overrides(&store), daemon.config(), daemon.status()["scheduler"].clone());
    // Where the new file would be written first, nothing can be: as on a full or failing disk.
    let obstacle = store.path().join(format!(".api-overrides.env.{}.tmp", daemon.pid()));
    fs::create_dir(&obstacle).unwrap();
    for _ in 0..2 {
        let sentence = daemon.patch(&json!({"BACKUP_KEEP_DAYS": 4, "SCHEDULE": "@monthly"})).error(500);
        assert!(!sentence.contains('/'), "{sentence}");
        daemon.delete("/config/BACKUP_KEEP_DAYS").error(500);
    }
    assert_eq!(overrides(&store), file);
    assert_eq!(daemon.config(), config);
    assert_eq!(daemon.status()["scheduler"], scheduler);
    assert!(daemon.log().contains("ERROR"), "{}", daemon.log());
    fs::remove_dir(obstacle).unwrap();
    daemon.patch(&json!({"BACKUP_KEEP_DAYS": 4})).expect(200);
}

#[test]
fn a_fault_that_was_there_before_does_not_keep_a_good_change_from_being_made() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let plan = Plan::new(server, &store).without("POSTGRES_DB").without("POSTGRES_HOST");
    let daemon = plan.env("VALIDATE_ON_START", "FALSE").start();
    daemon.patch(&json!({"BACKUP_KEEP_DAYS": 3})).expect(200);
    daemon.patch(&json!({"POSTGRES_DB": "app"})).expect(200);
    daemon.patch(&json!({"POSTGRES_DB": ""})).error(400);
    assert_eq!(daemon.config()["POSTGRES_DB"]["value"], "app");
}
