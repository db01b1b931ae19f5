//! A setting that is shown may hold credentials. They are not shown, and do not follow what the API changes.

use std::fs;

use serde_json::{Value, json};

use crate::harness::*;

const OPTIONS: &str = "-m 5 -H 'X-Key: head3r-key' -u joe:us3r-pass -k";
const SHOWN: &str = "-m 5 -H 'X-Key: ***' -u '***' -k";

#[track_caller]
fn options(daemon: &Daemon<'_>) -> Value {
    daemon.config()["WEBHOOK_EXTRA_ARGS"].clone()
}

#[test]
fn credentials_in_options_for_curl_are_not_shown_and_what_was_shown_is_no_value() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let webhook = Webhook::start();
    let daemon = Plan::new(server, &store).database("nosuch").start();
    let shown = daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": OPTIONS, "WEBHOOK_URL": webhook.url("/own")}));
    let expected = json!({"value": SHOWN, "source": "override"});
    assert_eq!(shown.expect(200).json()["config"]["WEBHOOK_EXTRA_ARGS"], expected);
    assert_eq!(options(&daemon), expected);
    let kept = overrides(&store);
    // Who sends back everything that was shown, changes nothing, or what else has changed.
    daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": SHOWN})).expect(200);
    assert_eq!(overrides(&store), kept);
    daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": SHOWN, "BACKUP_KEEP_DAYS": 3})).expect(200);
    assert_eq!(daemon.config()["BACKUP_KEEP_DAYS"]["value"], "3");
    daemon.delete("/config/BACKUP_KEEP_DAYS").expect(200);
    assert_eq!(overrides(&store), kept);
    for masked in
        ["-u '***'", "-m 6 -H 'X-Key: ***' -u '***' -k", "-H 'Authorization: Bearer ***'", "-u joe:***"]
    {
        let sentence = daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": masked})).error(400);
        assert!(sentence.contains("WEBHOOK_EXTRA_ARGS has *** in place of a secret"), "{sentence}");
    }
    assert_eq!(overrides(&store), kept);
    daemon.failed(&daemon.start_backup());
    wait_until("the call", SOON, || webhook.calls("/own").len() == 1);
    let head = webhook.first_call("/own").head;
    assert!(head.contains("X-Key: head3r-key") && head.contains("Authorization: Basic"), "{head}");
    assert!(!daemon.log().contains("head3r-key") && !daemon.log().contains("us3r-pass"));
    // Other settings of this kind.
    let api =
        json!({"TELEGRAM_API_URL": "http://me:api-pass@127.0.0.1:9/x", "TELEGRAM_BOT_TOKEN": "my:token"});
    let shown = daemon.patch(&api).expect(200).json()["config"].clone();
    assert_eq!(shown["TELEGRAM_API_URL"], json!({"value": "http://***@127.0.0.1:9/x", "source": "override"}));
    let kept = overrides(&store);
    daemon.patch(&json!({"TELEGRAM_API_URL": "http://***@127.0.0.1:9/x"})).expect(200);
    daemon.patch(&json!({"TELEGRAM_API_URL": "http://***@127.0.0.1:9/y"})).error(400);
    assert_eq!(overrides(&store), kept);
}

#[test]
fn what_is_shown_of_the_containers_own_does_not_become_an_override() {
    let server = Cluster::shared(15);
    let store = Store::new();
    // What the API may not set, but the container may have.
    let own = "--proxy-user a:pr0xy-pass --proxy http://b:pr0xy-two@127.0.0.1:9 --oauth2-bearer b34rer-token -H @/run/secrets/h";
    let plan = Plan::new(server, &store).database("app").env("WEBHOOK_EXTRA_ARGS", own);
    let daemon = plan.start();
    let shown = options(&daemon);
    let value = "--proxy-user '***' --proxy 'http://***@127.0.0.1:9' --oauth2-bearer '***' -H '***'";
    assert_eq!(shown, json!({"value": value, "source": "base"}));
    daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": value})).expect(200);
    assert_eq!((options(&daemon), overrides(&store)), (shown, None));
    // From the file, neither.
    fs::write(store.path().join(".api-overrides.env"), "export WEBHOOK_EXTRA_ARGS='-m 5 -H X:***'\n")
        .unwrap();
    let refused = Cli::backup(server, &store, "app").run().failed();
    refused.saying(".api-overrides.env line 1: WEBHOOK_EXTRA_ARGS has *** in place of a secret");
}

/// By the rule that TELEGRAM_API_URL has for the bot's token.
#[test]
fn the_containers_credentials_go_to_no_webhook_of_the_apis_choice() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (own, elsewhere) = (Webhook::start(), Webhook::start());
    let plan = |options: &str| {
        let plan = Plan::new(server, &store).database("nosuch").env("WEBHOOK_EXTRA_ARGS", options);
        plan.env("WEBHOOK_URL", own.url("/own"))
    };
    let daemon = plan(OPTIONS).start();
    let url = json!({"WEBHOOK_URL": elsewhere.url("/evil")});
    let sentence = daemon.patch(&url).error(400);
    assert!(sentence.contains("WEBHOOK_URL") && sentence.contains("WEBHOOK_EXTRA_ARGS"), "{sentence}");
    assert!(!sentence.contains("head3r-key"), "{sentence}");
    daemon.patch(&json!({"WEBHOOK_URL": elsewhere.url("/evil"), "WEBHOOK_EXTRA_ARGS": null})).error(400);
    daemon.patch(&json!({"WEBHOOK_URL": elsewhere.url("/evil"), "WEBHOOK_EXTRA_ARGS": SHOWN})).error(400);
    daemon.patch(&json!({"WEBHOOK_URL": own.url("/own/x")})).error(400);
    assert_eq!(overrides(&store), None);
    // The container's own may be said again.
    assert!(daemon.patch(&json!({"WEBHOOK_URL": ""})).error(400).contains("must not be empty"));
    daemon.patch(&json!({"WEBHOOK_URL": own.url("/own")})).expect(200);
    daemon.delete("/config/WEBHOOK_URL").expect(200);

    let both = json!({"WEBHOOK_URL": elsewhere.url("/mine"), "WEBHOOK_EXTRA_ARGS": "-H 'X-Mine: m1ne-key'"});
    daemon.patch(&both).expect(200);
    // While it stands, the options that would take the place of its own are the container's.
    let before = overrides(&store);
    daemon.delete("/config/WEBHOOK_EXTRA_ARGS").error(400);
    daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": null})).error(400);
    daemon.patch(&json!({"WEBHOOK_EXTRA_ARGS": null, "BACKUP_KEEP_DAYS": "3"})).error(400);
    assert_eq!(overrides(&store), before);
    daemon.failed(&daemon.start_backup());
    wait_until("the call", SOON, || elsewhere.calls("/mine").len() == 1);
    for call in elsewhere.calls("/mine") {
        assert!(call.head.contains("X-Mine: m1ne-key"), "{}", call.head);
        assert!(!call.head.contains("head3r-key") && !call.head.contains("Basic"), "{}", call.head);
    }
    daemon.patch(&json!({"WEBHOOK_URL": elsewhere.url("/mine"), "WEBHOOK_EXTRA_ARGS": ""})).expect(200);
    daemon.patch(&json!({"WEBHOOK_URL": null, "WEBHOOK_EXTRA_ARGS": null})).expect(200);
    daemon.failed(&daemon.start_backup());
    wait_until("the call", SOON, || own.calls("/own").len() == 1);
    assert!(own.first_call("/own").head.contains("X-Key: head3r-key"));
    drop(daemon);

    // Options without a credential are no secret of the container's.
    let harmless = plan("--retry 0 -m 5 -k").start();
    harmless.patch(&url).expect(200);
    harmless.delete("/config/WEBHOOK_URL").expect(200);
    drop(harmless);

    // What the API would not have written is not taken from the file, either.
    let text = format!("export WEBHOOK_URL='{}'\n", elsewhere.url("/evil"));
    fs::write(store.path().join(".api-overrides.env"), text).unwrap();
    let cli = Cli::backup(server, &store, "app").env("WEBHOOK_EXTRA_ARGS", OPTIONS);
    for outcome in [plan(OPTIONS).run(), cli.run()] {
        let outcome =
            outcome.failed().saying(".api-overrides.env").saying("WEBHOOK_EXTRA_ARGS").saying("remove");
        assert_eq!(outcome.text().trim_end().lines().count(), 1, "{outcome}");
        assert!(!outcome.text().contains("head3r-key"), "{outcome}");
    }
    assert_eq!(elsewhere.count(), 1, "nothing came to /evil");
}
