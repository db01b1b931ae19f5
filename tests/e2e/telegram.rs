//! Backups go to Telegram and come back, whatever their size, and whatever goes wrong there is no backup's fault.

/// Every size around the limits.
mod sizes;

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
        let (store, api) = (Store::new(), BotApi::start(&["77", "78"]));
        let with = |cli: Cli| cli.env("BACKUP_ENCRYPTION_KEY", key).env("PROJECT_NAME", "the shop");
        let backup = with(cli(server, &store, &api, "77, 78")).env("POSTGRES_EXTRA_OPTS", options);
        backup.env("POSTGRES_DB", &database.name).args(["backup"]).run().succeeded();
        let name = store.only("last");
        let manifest = store.manifest("last", &name);
        assert_eq!(api.uploads(), 1, "{options}: the second chat gets what is there");
        for chat in ["77", "78"] {
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
        let (id, _) = restore_id(&api.messages("78"));
        let count = api.messages("78").len();
        let id = id.to_string();
        let restore = with(cli(server, &store, &api, "77,78"));
        let restore = restore.args(["restore", "--from-telegram", &id, "--chat", "78", &target]);
        restore.run().succeeded().saying(&format!("message {id}: {name}{suffix}"));
        assert!(server.dump(&target) == before, "{options}");
        assert_eq!(api.messages("78").len(), count, "the copy is gone");
        assert!(store.partial().is_empty(), "{:?}", store.partial());
        server.sql("postgres", &format!("DROP DATABASE {}", quoted(&target)));
    }
}

/// What one document holds (`src/delivery/telegram/mod.rs`).
const PART: u64 = 19_500_000;
/// Bytes a second at which two parts are on their way at once, although the next one waits a second for its turn.
const SLOW: u64 = 12_000_000;

fn daemon_with<'a>(plan: Plan<'a>, api: &BotApi, chats: &str) -> Plan<'a> {
    api.settings(chats).into_iter().fold(plan, |plan, (key, value)| plan.env(key, value))
}

/// Waits until the last run of a directory says how its delivery fared.
fn delivery(store: &Store) -> Value {
    wait_until("the delivery", LONG, || store.status()["delivery"].is_object());
    store.status()["delivery"].clone()
}

#[test]
fn what_is_too_big_goes_in_parts_through_every_fault_and_comes_back_whole() {
    let server = Cluster::shared(18);
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let database = server.database("large");
    database.fill(600_000);
    let before = database.dump();
    let daemon = daemon_with(Plan::new(server, &store), &api, "88,77").database(&database.name);
    let daemon = daemon.env("POSTGRES_EXTRA_OPTS", "-Z0").env("BACKUP_ENCRYPTION_KEY", KEY).start();
    api.fail("sendDocument", &[Fault::Busy(1), Fault::Internal, Fault::Internal]);
    api.wire.slow(SLOW);
    api.wire.cut(2, 5_000_000);
    daemon.back_up();
    let size = fs::metadata(store.file("last", &store.only("last"))).unwrap().len();
    let parts = size.div_ceil(PART);
    assert!(parts >= 3, "{size} bytes");
    let delivered = delivery(&store);
    let error = delivered["error"].as_str().unwrap();
    assert!(error.contains("to chat 88: ") && !error.contains("77:"), "{delivered}\n{}", daemon.log());
    assert_eq!(api.wire.cuts_left(), 0);
    assert_eq!(api.uploads() as u64, parts + 1);
    assert!((2..=4).contains(&api.busiest()), "{} uploads at once", api.busiest());
    let (id, message) = restore_id(&api.messages("77"));
    let (document, name) = message.document.unwrap();
    assert!(name.ends_with(".sql.gz.gpg.parts.json"), "{name}");
    let manifest: Value = serde_json::from_slice(&api.document(&document)).unwrap();
    assert_eq!((&manifest["version"], &manifest["size"]), (&json!(1), &json!(size)));
    assert_eq!(manifest["parts"].as_array().unwrap().len() as u64, parts);

    wipe(&store);
    let target = format!("{}_restored", database.name);
    let body = json!({"telegram_message_id": id, "target_db": target, "confirm": true});
    api.wire.slow(0);
    api.fail("file", &[Fault::Short, Fault::Short, Fault::Short]);
    api.wire.cut(2, 5_000_000);
    let job = daemon.succeeded(&job_id(&daemon.post("/restore", &body).expect(202)));
    assert_eq!((&job["type"], api.wire.cuts_left()), (&json!("restore"), 0), "{job:#}");
    assert!(server.dump(&target) == before);
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&target)));

    api.damage(manifest["parts"][1]["file_id"].as_str().unwrap());
    let job = daemon.failed(&job_id(&daemon.post("/restore", &body).expect(202)));
    assert!(job["log_tail"].to_string().contains("checksum differs"), "{job:#}");
    assert!(!server.has_database(&target) && store.partial().is_empty());
    for body in [
        json!({"telegram_message_id": 0, "target_db": target, "confirm": true}),
        json!({"telegram_message_id": id, "file": "last/x", "target_db": target, "confirm": true}),
        json!({"telegram_message_id": id, "target_db": target}),
        json!({"telegram_message_id": id, "telegram_chat_id": "me", "target_db": target, "confirm": true}),
        json!({"file": "last/x", "telegram_chat_id": "77", "target_db": target, "confirm": true}),
    ] {
        daemon.post("/restore", &body).error(400);
    }
}

#[test]
fn a_delivery_that_broke_off_goes_on_where_it_stopped() {
    let server = Cluster::shared(15);
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let (database, other) = (server.database("resumed"), server.database("other"));
    database.fill(600_000);
    other.fill(1);
    let before = database.dump();
    let plan = |name| daemon_with(Plan::new(server, &store), &api, "77").database(name);
    let mut daemon = plan(&database.name).env("POSTGRES_EXTRA_OPTS", "-Z0").start();
    api.wire.slow(SLOW);
    daemon.post_nothing("/backup").expect(202);
    wait_until("a part to arrive", LONG, || {
        let pending = fs::read_to_string(store.path().join(".telegram.json"));
        api.uploads() > 0 && pending.is_ok_and(|text| text.contains("file-0"))
    });
    // As when the container is killed.
    let family = Process::descendants(daemon.pid());
    daemon.signal(Signal::SIGKILL);
    family.iter().for_each(|process| process.signal(Signal::SIGKILL));
    daemon.wait(SOON);
    let sent = api.uploads();
    api.wire.slow(0);
    let history = Cli::new(server, &store).args(["history", "--json"]).run().succeeded();
    assert!(history.stdout.contains(&database.name), "{history}");

    let large = store.only("last");
    let parts = fs::metadata(store.file("last", &large)).unwrap().len().div_ceil(PART) as usize;
    assert!(sent < parts, "it ended too soon");
    let daemon = plan(&other.name).start();
    // It records the run that has died, which is told as well.
    wait_until("the sweep to have recorded it", LONG, || {
        store.status()["status"] == "FAILED" && Process::descendants(daemon.pid()).len() == 1
    });
    daemon.back_up();
    assert_eq!(delivery(&store)["telegram"], "delivered", "{}", daemon.log());
    // The parts and their manifest once each, but for those that were on their way, and the other backup.
    assert!(api.uploads() <= parts + 1 + 1 + 3, "{} after {sent}", api.uploads());
    let messages = api.messages("77");
    let names: Vec<&String> =
        messages.iter().filter_map(|message| Some(&message.document.as_ref()?.1)).collect();
    assert!(names.iter().filter(|name| name.ends_with(".0001")).count() <= 2, "{names:?}");

    wipe(&store);
    let large: Vec<Message> =
        messages.into_iter().filter(|message| message.caption.contains(&large)).collect();
    let (id, _) = restore_id(&large);
    let target = format!("{}_restored", database.name);
    let restore =
        cli(server, &store, &api, "77").args(["restore", "--from-telegram", &id.to_string(), &target]);
    restore.run().succeeded();
    assert!(server.dump(&target) == before);
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&target)));
}

#[test]
fn what_goes_wrong_on_the_way_is_said_and_is_no_backups_fault() {
    let server = Cluster::shared(15);
    let (one, two) = (server.database("one"), server.database("two"));
    one.fill(3);
    two.fill(3);
    let both = format!("{} {}", one.name, two.name);
    // In the original image: nobody answers.
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let backup =
        cli(server, &store, &api, "77").env("POSTGRES_DB", &both).env("http_proxy", "http://127.0.0.1:1");
    let outcome = backup.args(["backup"]).run().succeeded();
    assert!(
        outcome.text().contains("warning: telegram: cannot send last/") && !outcome.text().contains(TOKEN),
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
        outcome.text().contains("to chat 88: Telegram refuses: Bad Request: chat not found"),
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
    test("77").env("TELEGRAM_THREAD_ID", "6").run().exited_with(1).saying("TELEGRAM_THREAD_ID is wrong");
    api.fail("sendMessage", &[Fault::Moved(-10077)]);
    test("77").run().exited_with(1).saying("its new number is -10077");
    test("77").env("TELEGRAM_BOT_TOKEN", "1:wrong").run().exited_with(1).saying("@BotFather");
    test("77").without("TELEGRAM_BOT_TOKEN").run().exited_with(1).saying("TELEGRAM_BOT_TOKEN is not set");
    test("me and you").run().exited_with(1).saying("TELEGRAM_CHAT_ID must be");
    let daemon = daemon_with(Plan::new(server, &store), &api, "77").database("x");
    let daemon = daemon.env("TELEGRAM_UPLOAD_METHOD", "mtproto").start();
    assert_eq!(daemon.log().matches("mtproto is not needed").count(), 1, "{}", daemon.log());
    let job = daemon.succeeded(&job_id(&daemon.post_nothing("/telegram/test").expect(202)));
    assert_eq!(job["type"], "telegram-test");
    let lost = cli(server, &store, &api, "77").args(["restore", "--from-telegram", "4711", "x"]).run();
    lost.exited_with(1).saying("message to forward not found");
}
