//! Who is told of a run by curl, and what curl may not tell the log.

use std::fs;

use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn webhooks_tell_the_beginning_and_the_end_as_the_original_image_does() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let webhook = Webhook::start();
    let database = server.database("web");
    database.fill(5);
    Cli::backup(server, &store, &database.name)
        .env("WEBHOOK_URL", webhook.url("/any?token=a%20b"))
        .env("WEBHOOK_PRE_BACKUP_URL", webhook.url("/pre"))
        .env("WEBHOOK_POST_BACKUP_URL", webhook.url("/post"))
        .env("WEBHOOK_ERROR_URL", webhook.url("/error"))
        .env("WEBHOOK_EXTRA_ARGS", "-H 'X-Two: with space'")
        .env("PROJECT_NAME", "my_app")
        .run()
        .succeeded();
    let general = "/any?token=a%20b";
    for (path, status) in [(general, "post-backup"), ("/pre", "pre-backup"), ("/post", "post-backup")] {
        assert_eq!(webhook.calls(path).len(), 1, "{path}");
        let call = webhook.first_call(path);
        assert_eq!((&call.json()["project"], &call.json()["status"]), (&json!("my_app"), &json!(status)));
        let timestamp = call.json()["timestamp"].as_str().unwrap().to_owned();
        assert!(timestamp.len() == 20 && timestamp.ends_with('Z'), "{timestamp}");
        assert!(call.json()["database"].to_string().contains(&database.name), "{path}: {}", call.body);
        let head = call.head.to_ascii_lowercase();
        assert!(
            head.contains("content-type: application/json") && head.contains("x-two: with space"),
            "{path}: {head}"
        );
    }
    assert!(webhook.calls("/error").is_empty());
}

/// Sees that a request is what the service of this format documents; answers its text.
fn taken_by(format: &str, call: &webhook::Call) -> String {
    let head = call.head.to_ascii_lowercase();
    let of =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
    let kind = of("content-type").unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    if matches!(format, "ntfy" | "text") {
        assert!(kind.starts_with("text/plain") && call.body.len() <= 4096, "{head}");
        assert_eq!(of("title").is_some(), format == "ntfy", "{head}");
        return call.body.clone();
    }
    assert_eq!(kind, "application/json");
    let json = call.json();
    let text = match format {
        "slack" => {
            assert_eq!(keys(&json), ["text"]);
            &json["text"]
        }
        "discord" => {
            assert_eq!(keys(&json), ["allowed_mentions", "content"]);
            assert!(json["content"].as_str().unwrap().encode_utf16().count() <= 2000);
            &json["content"]
        }
        _ => {
            assert_eq!(json["type"], "message");
            let attachment = &json["attachments"][0];
            assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
            assert_eq!(attachment["content"]["type"], "AdaptiveCard");
            &attachment["content"]["body"][0]["text"]
        }
    };
    text.as_str().unwrap().to_owned()
}

#[test]
fn each_service_gets_the_message_in_its_own_form() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let webhook = Webhook::start();
    let name = "<no>&such";
    for format in ["slack", "discord", "teams", "ntfy", "text"] {
        let path = format!("/{format}");
        Cli::backup(server, &store, name)
            .env("WEBHOOK_ERROR_URL", webhook.url(&path))
            .env("WEBHOOK_FORMAT", format)
            .env("PROJECT_NAME", "sh\u{f6}p")
            .run()
            .exited_with(1);
        let text = taken_by(format, &webhook.first_call(&path));
        let name = if format == "slack" { "&lt;no&gt;&amp;such" } else { name };
        assert!(text.starts_with(&format!("Backup failed on sh\u{f6}p ({name}): {name}: ")), "{text}");
    }
    Cli::backup(server, &store, name)
        .env("WEBHOOK_FORMAT", "irc")
        .run()
        .exited_with(1)
        .saying("WEBHOOK_FORMAT");
}

#[test]
fn the_hook_by_which_the_original_image_sends_webhooks_is_named_where_it_is_kept() {
    let server = Cluster::shared(15);
    let store = Store::new();
    store.hook("00-webhook", "#!/bin/sh\n");
    let check = |url: &str| {
        Cli::new(server, &store)
            .env("POSTGRES_DB", "app")
            .env("WEBHOOK_POST_BACKUP_URL", url)
            .args(["check-env"])
    };
    assert!(!check("").run().succeeded().text().contains("00-webhook"));
    check("http://localhost/")
        .run()
        .succeeded()
        .saying("HOOKS_DIR has 00-webhook, which calls every webhook");
}

/// In the original image: an alert that could not be delivered became the backup's result.
#[test]
fn an_alert_that_cannot_be_delivered_does_not_fail_the_backup() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (one, two) = (server.database("alert"), server.database("alert"));
    one.fill(5);
    two.fill(5);
    let closed = format!("http://127.0.0.1:{}/", cluster::free_port());
    let cli = Cli::backup(server, &store, &format!("{} {}", one.name, two.name));
    let cli = cli.env("WEBHOOK_URL", &closed).env("WEBHOOK_POST_BACKUP_URL", &closed);
    cli.env("WEBHOOK_EXTRA_ARGS", "--retry 0").run().succeeded();
    assert_eq!(store.dated("last").len(), 2);
    assert_eq!(store.status()["status"], "OK");
}

#[test]
fn a_webhook_that_is_busy_or_comes_up_late_is_tried_again() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let mut answers = ["503 Service Unavailable", "200 OK"].into_iter();
    let busy = Webhook::start_on(0, move |_| answers.next().unwrap_or("500 Once Too Often").to_owned());
    let (port, words) = (cluster::free_port(), store.root().join("words"));
    // Only what curl says at once tells when its first attempt is over.
    let talkative = format!("#!/bin/sh\nexec /usr/bin/curl \"$@\" --verbose 2>>'{}'\n", words.display());
    let running = Cli::backup(server, &store, "nosuch")
        .program(server, &store, "curl", &talkative)
        .env("WEBHOOK_PRE_BACKUP_URL", busy.url("/pre"))
        .env("WEBHOOK_ERROR_URL", format!("http://127.0.0.1:{port}/error"))
        .start();
    let said = || fs::read_to_string(&words).unwrap_or_default();
    wait_until("the first attempt to be refused", LONG, || said().contains("refused"));
    let late = Webhook::start_on(port, |_| "200 OK".to_owned());
    let outcome = running.wait().exited_with(1);
    assert_eq!((busy.calls("/pre").len(), late.calls("/error").len()), (2, 1), "{outcome}");
    assert!(!outcome.text().contains("webhook for"), "{outcome}");
}

#[test]
fn what_a_talkative_curl_says_of_urls_and_headers_is_not_logged_and_what_it_ignores_is() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let elsewhere = format!("http://127.0.0.1:{}/T0KEN-1", cluster::free_port());
    let moved = format!("307 Temporary Redirect\r\nLocation: {elsewhere}");
    let webhook = Webhook::start_on(0, move |call| match call.path.as_str() {
        "/pre/T0KEN-2" => moved.clone(),
        _ => "200 OK".to_owned(),
    });
    let outcome = Cli::backup(server, &store, "nosuch")
        .env("WEBHOOK_PRE_BACKUP_URL", webhook.url("/pre/T0KEN-2"))
        .env("WEBHOOK_ERROR_URL", webhook.url("/error/T0KEN-2"))
        .env("WEBHOOK_EXTRA_ARGS", "-v -L --retry 0 --retrry T0KEN-3 -H 'X-Token: T0KEN-4'")
        .run()
        .exited_with(1)
        .saying("webhook for pre-backup: curl: exit status 7: '--retrry' is unknown | curl: (7) ")
        .saying("webhook for error: sent, but without an option of WEBHOOK_EXTRA_ARGS that curl rejects: '--retrry' is unknown");
    assert!(!outcome.text().contains("T0KEN"), "{outcome}");
    assert!(webhook.first_call("/error/T0KEN-2").head.contains("X-Token: T0KEN-4"));
}

/// curl would make many requests of some paths, and many files of others.
#[test]
fn a_url_is_asked_for_once_and_as_it_stands() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let webhook = Webhook::start();
    for path in ["/[1-2000]", "/{a,b}/x", "/[a-c]{1,2}?q=[0-9]&r={x}", "/plain", "/[", "/}{", "/[[1-3]]"] {
        Cli::backup(server, &store, "nosuch")
            .env("WEBHOOK_ERROR_URL", webhook.url(path))
            .run()
            .exited_with(1);
        assert_eq!(webhook.calls(path).len(), 1, "{path}");
        assert_eq!(webhook.calls(path)[0].json()["status"], "error", "{path}");
    }
    assert_eq!(webhook.count(), 7);
    // One that the API has set, too.
    let daemon = Plan::new(server, &store).database("nosuch").start();
    daemon.patch(&serde_json::json!({"WEBHOOK_URL": webhook.url("/api/{1,2}[3-9]")})).expect(200);
    daemon.failed(&daemon.start_backup());
    wait_until("the call", SOON, || webhook.calls("/api/{1,2}[3-9]").len() == 1);
    assert_eq!(webhook.count(), 8);
}
