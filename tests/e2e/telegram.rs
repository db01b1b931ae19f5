//! Backups go to Telegram and come back, whatever their size, and whatever goes wrong there is no backup's fault.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::telegram::{Message, TOKEN};
use crate::harness::*;

const KEY: &str = "k3y";

/// A call with the settings that lead to `api`.
fn cli(server: &Cluster, store: &Store, api: &BotApi, chats: &str) -> Cli {
    let cli = Cli::new(server, store).env("BACKUP_ENCRYPTION_KEY", "");
    api.settings(chats).into_iter().fold(cli, |cli, (key, value)| cli.env(key, value))
}

/// The restore id below a document, and the message.
#[track_caller]
fn restore_id(messages: &[Message]) -> (i64, Message) {
    let found = messages.iter().find_map(|message| {
        let (_, id) = message.caption.split_once("\u{1f516} Restore ID: ")?;
        Some((id.parse::<i64>().unwrap(), message.clone()))
    });
    let (id, message) = found.unwrap_or_else(|| panic!("no restore id: {messages:#?}"));
    assert_eq!(id, message.id);
    (id, message)
}

/// Loses the backup directory.
fn wipe(store: &Store) {
    fs::remove_dir_all(store.path()).unwrap();
    fs::create_dir(store.path()).unwrap();
}

#[test]
fn a_backup_goes_to_every_chat_and_comes_back_by_its_number_alone() {
    let server = Cluster::shared(15);
    let database = server.database("small");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let target = format!("{}_restored", database.name);
    for (options, key, suffix) in [("-Z1", "", ""), ("-Z zstd", KEY, ""), ("-Fd", "", ".tar")] {
        let (store, api) = (Store::new(), BotApi::start(&["77", "-10055"]));
        let with = |cli: Cli| cli.env("BACKUP_ENCRYPTION_KEY", key).env("PROJECT_NAME", "the shop");
        let backup = with(cli(server, &store, &api, "77, -10055")).env("POSTGRES_EXTRA_OPTS", options);
        backup.env("POSTGRES_DB", &database.name).args(["backup"]).run().succeeded();
        let name = store.only("last");
        let manifest = store.manifest("last", &name);
        assert_eq!(api.uploads(), 1, "{options}: the second chat gets what is there");
        for chat in ["77", "-10055"] {
            let (_, message) = restore_id(&api.messages(chat));
            let caption = &message.caption;
            for part in [&format!("{name}{suffix}"), "the shop", &database.name, "sha256 "] {
                assert!(caption.contains(part), "{part}: {caption}");
            }
            assert_eq!(caption.contains("encrypted"), !key.is_empty(), "{caption}");
            if suffix.is_empty() {
                let sha256 = manifest["sha256"].as_str().unwrap();
                assert_eq!(
                    api.document(&message.document.unwrap().0),
                    fs::read(store.file("last", &name)).unwrap()
                );
                assert!(caption.contains(&sha256[..12]), "{caption}");
            }
        }
        assert_eq!(store.status()["delivery"], json!({"telegram": "delivered", "error": ""}));
        assert!(!store.path().join(".telegram.json").exists());

        wipe(&store);
        let (id, _) = restore_id(&api.messages("-10055"));
        let count = api.messages("-10055").len();
        let id = id.to_string();
        let restore = with(cli(server, &store, &api, "77"));
        let restore = restore.args(["restore", "--from-telegram", &id, "--chat", "-10055", &target]);
        restore.run().succeeded().saying(&format!("message {id}: {name}{suffix}"));
        assert!(server.dump(&target) == before, "{options}");
        assert_eq!(api.messages("-10055").len(), count, "the copy is gone");
        assert!(store.partial().is_empty(), "{:?}", store.partial());
        server.sql("postgres", &format!("DROP DATABASE {}", quoted(&target)));
    }
}

#[test]
fn what_is_too_big_goes_in_parts_through_every_fault_and_comes_back_whole() {
    let server = Cluster::shared(18);
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let database = server.database("large");
    database.fill(600_000);
    let before = database.dump();
    let daemon = api
        .settings("77")
        .into_iter()
        .fold(Plan::new(server, &store), |plan, (key, value)| plan.env(key, value));
    let daemon = daemon.database(&database.name).env("POSTGRES_EXTRA_OPTS", "-Z0").start();
    api.fail("sendDocument", &[Fault::Busy(1), Fault::Internal, Fault::Internal]);
    daemon.back_up();
    let (size, part) = (fs::metadata(store.file("last", &store.only("last"))).unwrap().len(), 19_500_000);
    let parts = size.div_ceil(part);
    assert!(parts >= 3, "{size} bytes");
    wait_until("the delivery", LONG, || store.status()["delivery"].is_object());
    assert_eq!(store.status()["delivery"]["telegram"], "delivered", "{}\n{}", store.status(), daemon.log());
    assert_eq!(api.uploads() as u64, parts + 1);
    assert!((2..=4).contains(&api.busiest()), "{} uploads at once", api.busiest());
    let (id, message) = restore_id(&api.messages("77"));
    let (document, name) = message.document.unwrap();
    assert!(name.ends_with(".sql.gz.parts.json"), "{name}");
    let manifest: Value = serde_json::from_slice(&api.document(&document)).unwrap();
    assert_eq!((&manifest["version"], &manifest["size"]), (&json!(1), &json!(size)));
    assert_eq!(manifest["parts"].as_array().unwrap().len() as u64, parts);

    let target = format!("{}_restored", database.name);
    let body = json!({"telegram_message_id": id, "target_db": target, "confirm": true});
    api.fail("file", &[Fault::Drop, Fault::Drop, Fault::Drop]);
    let job = daemon.succeeded(&job_id(&daemon.post("/restore", &body).expect(202)));
    assert_eq!(job["type"], "restore", "{job:#}");
    assert!(server.dump(&target) == before);
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&target)));

    api.damage(manifest["parts"][1]["file_id"].as_str().unwrap());
    let job = daemon.failed(&job_id(&daemon.post("/restore", &body).expect(202)));
    assert!(job["log_tail"].to_string().contains("checksum is another one"), "{job:#}");
    assert!(!server.has_database(&target) && store.partial().is_empty());
    for body in [
        json!({"telegram_message_id": 0, "target_db": target, "confirm": true}),
        json!({"telegram_message_id": id, "file": "last/x", "target_db": target, "confirm": true}),
        json!({"telegram_message_id": id, "target_db": target}),
    ] {
        daemon.post("/restore", &body).error(400);
    }
}

#[test]
fn a_delivery_that_broke_off_goes_on_where_it_stopped() {
    let server = Cluster::shared(15);
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let database = server.database("resumed");
    database.fill(600_000);
    let backup = |name: &str| {
        let backup =
            cli(server, &store, &api, "77").env("POSTGRES_EXTRA_OPTS", "-Z0").env("POSTGRES_DB", name);
        backup.args(["backup"])
    };
    let mut running = backup(&database.name).start();
    wait_until("a part to arrive", LONG, || {
        assert!(running.poll().is_none(), "it ended too soon\n{}", running.text());
        api.uploads() > 0
            && fs::read_to_string(store.path().join(".telegram.json"))
                .is_ok_and(|text| text.contains("file-0"))
    });
    running.signal(Signal::SIGKILL);
    running.wait().failed();
    let large = store.only("last");
    let sent = api.uploads();
    let other = server.database("other");
    other.fill(1);
    backup(&other.name).run().succeeded().saying(&format!("last/{large} sent to chat 77"));
    let parts = fs::metadata(store.file("last", &large)).unwrap().len().div_ceil(19_500_000) as usize;
    // The parts and their manifest once each, but for those that were on their way, and the other backup.
    assert!(api.uploads() <= parts + 1 + 1 + 3, "{} after {sent}", api.uploads());
    let documents: Vec<String> =
        api.messages("77").into_iter().filter_map(|message| Some(message.document?.1)).collect();
    let first = documents.iter().filter(|name| name.ends_with(".0001")).count();
    assert!(first <= 2 && documents.iter().any(|name| name.ends_with(".parts.json")), "{documents:?}");
}

#[test]
fn what_goes_wrong_on_the_way_is_said_and_is_no_backups_fault() {
    let server = Cluster::shared(15);
    let (one, two) = (server.database("one"), server.database("two"));
    one.fill(3);
    two.fill(3);
    let both = format!("{} {}", one.name, two.name);
    // Defect B2 of the original image: nobody answers.
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let backup =
        cli(server, &store, &api, "77").env("POSTGRES_DB", &both).env("http_proxy", "http://127.0.0.1:1");
    let outcome = backup.args(["backup"]).run().succeeded();
    assert!(
        outcome.text().contains("warning: telegram: last/") && !outcome.text().contains(TOKEN),
        "{outcome}"
    );
    let status = store.status();
    assert_eq!(
        (&status["status"], &status["delivery"]["telegram"]),
        (&json!("OK"), &json!("failed")),
        "{status:#}"
    );
    assert_eq!(status["databases"].as_array().unwrap().len(), 2);
    let history = Cli::new(server, &store).args(["history", "--json"]).run().succeeded();
    assert!(history.stdout.contains("\"telegram\":\"failed\""), "{history}");
    let health = Cli::new(server, &store).env("HEALTHCHECK_PORT", "0").args(["health"]).run();
    assert_eq!(health.succeeded().text(), "healthy\n");

    // One chat of two is wrong; the other one has everything, and what was missed before.
    let backup = cli(server, &store, &api, "88,77").env("POSTGRES_DB", &one.name);
    let outcome = backup.args(["backup"]).run().succeeded();
    assert!(
        outcome.text().contains("does not reach chat 88: Telegram refuses: Bad Request: chat not found"),
        "{outcome}"
    );
    let sent = api.messages("77").iter().filter(|message| message.caption.contains("Restore ID")).count();
    assert_eq!(sent, 3, "{:#?}", api.messages("77"));
    let summary = api.messages("77").pop().unwrap().text;
    assert!(summary.contains("not delivered") && summary.contains("chat not found"), "{summary}");
}

#[test]
fn one_summary_a_run_arrives_as_it_was_written_when_it_is_wanted() {
    let server = Cluster::shared(15);
    let database = server.database_named("my_db*[x]<b>&");
    database.fill(3);
    for (notify_on, databases, expected) in [
        ("all", database.name.as_str(), Some("<b>Backup succeeded</b>")),
        ("all", "nosuch", Some("<b>Backup failed</b>")),
        ("success", "nosuch", None),
        ("failure", database.name.as_str(), None),
        ("failure", "nosuch", Some("<b>Backup failed</b>")),
        ("none", database.name.as_str(), None),
    ] {
        let (store, api) = (Store::new(), BotApi::start(&["77"]));
        let backup = cli(server, &store, &api, "77").env("POSTGRES_DB", databases);
        let backup = backup.env("TELEGRAM_NOTIFY_ON", notify_on).env("TELEGRAM_THREAD_ID", "5");
        drop(backup.env("PROJECT_NAME", "a_b*<i>").args(["backup"]).run());
        let messages = api.messages("77");
        let texts: Vec<&String> =
            messages.iter().map(|message| &message.text).filter(|text| !text.is_empty()).collect();
        assert_eq!(texts.len(), usize::from(expected.is_some()), "{notify_on} {databases}: {messages:#?}");
        if let Some(expected) = expected {
            assert!(texts[0].contains(expected) && texts[0].contains("a_b*&lt;i&gt; on "), "{}", texts[0]);
            let told =
                if databases == "nosuch" { "nosuch" } else { "<code>my_db*[x]&lt;b&gt;&amp;</code>, " };
            assert!(texts[0].contains(told), "{}", texts[0]);
        }
        assert!(messages.iter().all(|message| message.thread.as_deref() == Some("5")), "{messages:#?}");
        let documents = messages.iter().filter(|message| message.document.is_some()).count();
        assert_eq!(documents, usize::from(databases != "nosuch"), "files go whatever is told");
    }
}

#[test]
fn the_token_is_seen_nowhere_while_documents_go_and_come() {
    let server = Cluster::shared(15);
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let database = server.database("secret");
    database.fill(300_000);
    let look = |mut running: command::Running| {
        let mut programs = std::collections::BTreeSet::new();
        while running.poll().is_none() {
            for process in Process::descendants(running.pid()) {
                assert!(!process.command_line().contains(TOKEN), "{}", process.command_line());
                let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
                if process.name == "curl" {
                    programs.insert(process.name);
                    assert!(!String::from_utf8_lossy(&environment).contains(TOKEN), "in curl's environment");
                }
            }
        }
        assert!(programs.contains("curl"), "curl was never seen");
        let outcome = running.wait().succeeded();
        assert!(!outcome.text().contains(TOKEN), "{outcome}");
    };
    let backup = cli(server, &store, &api, "77").env("POSTGRES_EXTRA_OPTS", "-Z0");
    look(backup.env("POSTGRES_DB", &database.name).args(["backup"]).start());
    let (id, _) = restore_id(&api.messages("77"));
    let restore = cli(server, &store, &api, "77").args(["restore", "--from-telegram", &id.to_string()]);
    look(restore.start());
    for (path, _) in store.everything() {
        let bytes = fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{}", path.display());
    }
}

#[test]
fn the_settings_can_be_tried_and_what_to_do_is_said() {
    let server = Cluster::shared(15);
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let test = |chats: &str| cli(server, &store, &api, chats).args(["telegram", "test"]);
    test("77").run().succeeded().saying("chat 77: a message and a document have arrived");
    let document = api.messages("77").pop().unwrap().document.unwrap();
    assert_eq!(api.document(&document.0).len(), 1024);
    let outcome = test("77,@nobody").run().exited_with(1);
    assert!(
        outcome
            .text()
            .contains("error: chat @nobody: Telegram refuses: Bad Request: chat not found (400): the number"),
        "{outcome}"
    );
    test("77").env("TELEGRAM_BOT_TOKEN", "1:wrong").run().exited_with(1).saying("@BotFather");
    test("77").without("TELEGRAM_BOT_TOKEN").run().exited_with(1).saying("TELEGRAM_BOT_TOKEN is not set");
    test("me and you").run().exited_with(1).saying("TELEGRAM_CHAT_ID must be");
    let daemon = api
        .settings("77")
        .into_iter()
        .fold(Plan::new(server, &store), |plan, (key, value)| plan.env(key, value));
    let daemon = daemon.database("x").start();
    let job = daemon.succeeded(&job_id(&daemon.post_nothing("/telegram/test").expect(202)));
    assert_eq!(job["type"], "telegram-test");
    let lost = cli(server, &store, &api, "77").args(["restore", "--from-telegram", "4711", "x"]).run();
    lost.exited_with(1).saying("message to forward not found");
}
