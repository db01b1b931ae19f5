//! The API's users are trusted less than whoever starts the container: what they set leads to no file, no other
//! server and no container that backs up nothing.

use std::fs;

use serde_json::json;

use super::values::UNSAFE_CURL_OPTIONS;
use crate::harness::*;

/// In the original image: an empty list of databases was accepted, and every run failed from then on.
#[test]
fn a_change_that_leaves_no_database_to_back_up_is_refused() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    for empty in ["", " ", " , ,"] {
        let sentence = daemon.patch(&json!({"POSTGRES_DB": empty})).error(400);
        assert!(sentence.contains("POSTGRES_DB"), "{sentence}");
    }
    assert_eq!(overrides(&store), None);
    // Another source of names in the same request makes it good, and taking that one away does not.
    daemon.patch(&json!({"POSTGRES_DB": "", "POSTGRES_DB_AUTODISCOVER": true})).expect(200);
    let before = overrides(&store);
    daemon.patch(&json!({"POSTGRES_DB_AUTODISCOVER": false})).error(400);
    daemon.patch(&json!({"POSTGRES_DB_AUTODISCOVER": null})).error(400);
    daemon.delete("/config/POSTGRES_DB_AUTODISCOVER").error(400);
    assert_eq!(overrides(&store), before);
    daemon.delete("/config/POSTGRES_DB").expect(200);
    daemon.delete("/config/POSTGRES_DB_AUTODISCOVER").expect(200);
    drop(daemon);

    // The same when the only name is an override's.
    let store = Store::new();
    fs::write(store.path().join(".api-overrides.env"), "export POSTGRES_DB='app'\n").unwrap();
    let daemon = Plan::new(server, &store).without("POSTGRES_DB").start();
    daemon.delete("/config/POSTGRES_DB").error(400);
    daemon.patch(&json!({"POSTGRES_DB": null})).error(400);
    daemon.patch(&json!({"POSTGRES_DB": null, "POSTGRES_DB_AUTODISCOVER": "TRUE"})).expect(200);
}

/// In the original image: options for pg_dump and curl could read and write any file.
#[test]
fn no_option_that_is_set_through_the_api_makes_curl_touch_a_file() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (secret, written) = (store.root().join("secret"), store.root().join("written"));
    fs::write(&secret, "canary").unwrap();
    let webhook = Webhook::start();
    let daemon = Plan::new(server, &store).database("app").env("WEBHOOK_URL", webhook.url("/hook")).start();
    let real = |option: &str| {
        let option = option.replace("@/x", &format!("@{}", secret.display()));
        option
            .replace("/x", written.to_str().unwrap())
            .replace("evil", &webhook.url("/evil")["http://".len()..])
    };
    let back_up = |number: usize| {
        daemon.failed(&daemon.start_backup());
        wait_until("the hook to be called", SOON, || webhook.calls("/hook").len() > number);
    };
    for option in UNSAFE_CURL_OPTIONS.lines() {
        let response = daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": real(option)}));
        assert_eq!(response.status, 400, "{option}: {}", response.text());
    }
    // What stands behind an option that takes a value is that value to us, and must not be an option to curl.
    for option in [
        "-H 'X-It: it'\\''s \"$HOME\" `id`'",
        "--header -d@/x",
        "--header -o/x",
        "--header -K/x",
        "--header --next",
        "-u -T/x",
        "-A --output",
        "-HX:-o/x -k",
    ] {
        let seen = webhook.calls("/hook").len();
        daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": real(option)})).expect(200);
        back_up(seen);
    }
    let calls = webhook.calls("/hook");
    assert!(calls[0].head.contains("X-It: it's \"$HOME\" `id`"), "{}", calls[0].head);
    assert!(
        calls.iter().all(|call| !call.body.contains("canary") && !call.head.contains("canary")),
        "{calls:?}"
    );
    assert!(webhook.calls("/evil").is_empty() && !written.exists());
}

/// The container's own settings are trusted: the same options are good there.
#[test]
fn the_containers_own_options_for_curl_may_name_a_file() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let header = store.root().join("header");
    fs::write(&header, "X-Token: from the file\n").unwrap();
    let webhook = Webhook::start();
    Cli::backup(server, &store, "nosuch")
        .env("WEBHOOK_URL", webhook.url("/hook"))
        .env("WEBHOOK_EXTRA_ARGS", format!("-H @{} --max-time 5", header.display()))
        .run()
        .failed();
    let call = webhook.first_call("/hook");
    assert!(call.head.contains("X-Token: from the file"), "{}", call.head);
}

/// In the original image: the API could send the container's bot token anywhere.
#[test]
fn the_containers_bot_token_goes_to_no_server_of_the_apis_choice() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let plan = || Plan::new(server, &store).database("app").env("TELEGRAM_BOT_TOKEN", "container:token");
    let daemon = plan().start();
    let elsewhere = json!({"TELEGRAM_API_URL": "http://127.0.0.1:9/"});
    let sentence = daemon.patch(&elsewhere).error(400);
    assert!(sentence.contains("TELEGRAM_API_URL") && sentence.contains("TELEGRAM_BOT_TOKEN"), "{sentence}");
    daemon.patch(&json!({"TELEGRAM_API_URL": "http://127.0.0.1:9/", "TELEGRAM_BOT_TOKEN": ""})).error(400);
    daemon.patch(&json!({"TELEGRAM_API_URL": "http://127.0.0.1:9/", "TELEGRAM_BOT_TOKEN": null})).error(400);
    daemon.patch(&json!({"TELEGRAM_API_URL": "https://api.telegram.org.example/"})).error(400);
    daemon.patch(&json!({"TELEGRAM_API_URL": "https://api.telegram.org@127.0.0.1/"})).error(400);
    assert_eq!(overrides(&store), None);
    daemon.patch(&json!({"TELEGRAM_API_URL": "https://api.telegram.org"})).expect(200);
    daemon.delete("/config/TELEGRAM_API_URL").expect(200);

    daemon
        .patch(&json!({"TELEGRAM_API_URL": "http://127.0.0.1:9/", "TELEGRAM_BOT_TOKEN": "my:token"}))
        .expect(200);
    // While it stands, the token that would take its place is the container's.
    let before = overrides(&store);
    daemon.delete("/config/TELEGRAM_BOT_TOKEN").error(400);
    daemon.patch(&json!({"TELEGRAM_BOT_TOKEN": null})).error(400);
    daemon.patch(&json!({"TELEGRAM_BOT_TOKEN": ""})).error(400);
    daemon.patch(&json!({"TELEGRAM_BOT_TOKEN": null, "BACKUP_KEEP_DAYS": "3"})).error(400);
    assert_eq!(overrides(&store), before);
    daemon.patch(&json!({"TELEGRAM_API_URL": "http://127.0.0.1:10/"})).expect(200);
    daemon.patch(&json!({"TELEGRAM_API_URL": null, "TELEGRAM_BOT_TOKEN": null})).expect(200);
    drop(daemon);

    // An URL that the container has chosen itself is good.
    let own = plan().env("TELEGRAM_API_URL", "http://127.0.0.1:9/").start();
    own.patch(&elsewhere).expect(200);
    own.patch(&json!({"TELEGRAM_API_URL": "https://api.telegram.org"})).expect(200);
    own.patch(&json!({"TELEGRAM_API_URL": "http://127.0.0.1:10/"})).error(400);
    own.delete("/config/TELEGRAM_API_URL").expect(200);
    drop(own);

    // What the API would not have written is not taken from the file, either.
    for (text, named) in [
        ("export TELEGRAM_API_URL='http://127.0.0.1:9/'\n", "TELEGRAM_API_URL"),
        (
            "export TELEGRAM_API_URL='http://127.0.0.1:9/'\nexport TELEGRAM_BOT_TOKEN=''\n",
            "TELEGRAM_BOT_TOKEN",
        ),
    ] {
        fs::write(store.path().join(".api-overrides.env"), text).unwrap();
        for outcome in [plan().run(), Cli::backup(server, &store, "app").run()] {
            let outcome = outcome.failed().saying(".api-overrides.env").saying(named).saying("remove");
            assert_eq!(outcome.text().trim_end().lines().count(), 1, "{outcome}");
            assert!(!outcome.text().contains("container:token"), "{outcome}");
        }
    }
}

/// In the original image: documented values were refused.
#[test]
fn every_documented_word_is_taken() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    daemon.patch(&json!({"TELEGRAM_NOTIFY_ON": "none", "SCHEDULE": "@midnight"})).expect(200);
    let shown = daemon.config();
    assert_eq!(shown["TELEGRAM_NOTIFY_ON"], json!({"value": "none", "source": "override"}));
    assert_eq!(shown["SCHEDULE"], json!({"value": "@midnight", "source": "override"}));
    assert!(daemon.status()["next_run"].as_str().unwrap().contains("T00:00:00"));
    assert_eq!(daemon.running_schedule().as_deref(), Some("@midnight"));
}
