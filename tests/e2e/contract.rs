//! The API as programs of others see it, who know its document and nothing else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use backupgram::http::ROUTES;

use crate::harness::command::Outcome;
use crate::harness::telegram::TOKEN;
use crate::harness::*;

/// Requests that are made up for each operation, right ones and wrong ones, and a fifth of the chains of requests; unless
/// `BACKUPGRAM_E2E_ROUNDS` says how many.
const ROUNDS: u32 = 6;
/// The seed, unless `BACKUPGRAM_E2E_SEED` says which.
const SEED: u32 = 2;

/// The Python that `scripts/test.sh` installs, with the address and token of a daemon.
pub fn python(daemon: &Daemon) -> Cli {
    let program = Path::new("/var/tmp/backupgram-python/bin/python");
    assert!(program.exists(), "Python is missing: run scripts/test.sh, which fetches it");
    Cli::of_program(program, daemon.store)
        .env("HOME", daemon.store.root())
        .env("LANG", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("URL", format!("http://127.0.0.1:{}", daemon.port))
        .env("REST_API_TOKEN", &daemon.token)
}

fn here(name: &str) -> String {
    format!("{}/tests/e2e/contract/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_document_of_the_api_is_served_to_whoever_has_the_token() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("postgres").start();
    daemon.anonymous("GET", "/openapi.json").error(401);
    let document = daemon.get("/openapi.json").expect(200);
    assert_eq!(document.json()["openapi"], "3.1.1");
    assert_eq!(document.text(), fs::read_to_string(here("../../../docs/openapi.json")).unwrap());
    assert_eq!(daemon.post_nothing("/openapi.json").expect(405).header("allow"), Some("GET, HEAD"));
}

/// Every shell example of docs/rest-api.md, as somebody types them who reads it from top to bottom.
#[test]
fn the_examples_of_the_page_about_the_api_run_one_after_another() {
    let (server, store) = (Cluster::shared(17), Store::new());
    let database = server.database_named("mydb");
    database.fill(50);
    let daemon = Plan::new(server, &store).database("mydb").start();
    let page = fs::read_to_string(here("../../../docs/rest-api.md")).unwrap();
    let blocks = page.split("```").skip(1).step_by(2);
    let script: String = blocks.filter_map(|block| block.strip_prefix("sh\n")).collect();
    let script = script.replace("localhost:8081", &format!("127.0.0.1:{}", daemon.port));
    let shell = Cli::of_program("/bin/sh", &store).env("REST_API_TOKEN", &daemon.token);
    let outcome = shell.args(["-eu", "-c", &script]).run().succeeded();
    let of =
        |kind, said: &str| said.matches(&format!("{{\"type\":\"{kind}\",\"state\":\"succeeded\"")).count();
    let found = ["backup", "verify", "restore"].map(|kind| of(kind, &outcome.stdout));
    assert_eq!(found, [2, 1, 2], "{outcome}");
    let ends = [
        "T03:00:00Z",
        "{\"cleared\":\"SCHEDULE\"}",
        "{\"deleted\":\"mydb-2",
        "there is no backup last/nosuch",
    ];
    ends.into_iter().fold(outcome, Outcome::saying);
    for copy in ["mydb_copy", "mydb_rest"] {
        assert_eq!(server.dump(copy), database.dump());
        server.sql("postgres", &format!("DROP DATABASE {copy}"));
    }
}

/// Hundreds of requests by schemathesis, right and wrong ones and chains of them, and all of its checks.
#[test]
fn the_daemon_does_what_its_document_says_whatever_is_asked() {
    let (server, store, api) = (Cluster::start(15), Store::new(), BotApi::start(&["77"]));
    // The names in the document's examples.
    let database = server.database_named("mydb");
    database.fill(50);
    let token = store.root().join("token");
    fs::write(&token, TOKEN).unwrap();
    // To no chat, as Telegram is not to be written to more than once a second.
    let plan = api
        .settings("")
        .into_iter()
        .fold(Plan::new(&server, &store), |plan, (key, value)| plan.env(key, value));
    // No request leads curl away from this machine: URLs of http end at that server, and others nowhere.
    let plan = plan.without("TELEGRAM_BOT_TOKEN").env("TELEGRAM_BOT_TOKEN_FILE", token.to_str().unwrap());
    let plan = plan.env("https_proxy", "http://127.0.0.1:9").env("ALL_PROXY", "http://127.0.0.1:9");
    let daemon = plan.database("mydb").start();
    fs::create_dir(store.hooks().join("restore")).unwrap();
    fs::write(store.hooks().join("restore/staging.sql"), "SELECT 1;").unwrap();
    daemon.back_up();
    let backup = store.file("last", &store.only("last"));
    for (slot, name) in [("last", "mydb-20260416-143000.sql.gz"), ("daily", "mydb-20260416.sql.gz")] {
        fs::copy(&backup, store.file(slot, name)).unwrap();
    }

    let given = |variable, default: u32| {
        std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (rounds, seed) = (given("BACKUPGRAM_E2E_ROUNDS", ROUNDS), given("BACKUPGRAM_E2E_SEED", SEED));
    println!("BACKUPGRAM_E2E_ROUNDS={rounds} BACKUPGRAM_E2E_SEED={seed}");
    // Chains of requests are cheap, and come first, as long as there is something to delete.
    println!("{}", schemathesis(&daemon, "stateful", 5 * rounds, seed));
    let outcome = schemathesis(&daemon, "examples,coverage,fuzzing", rounds, seed);
    println!("{}", outcome.saying(&format!("Tested: {}", ROUTES.len())));
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    // What it asked for was there, too, and was done.
    for (request, status) in
        [("DELETE /backups/", 200), ("DELETE /jobs/", 202), ("PATCH /config", 200), ("POST /restore", 202)]
    {
        let is_answered = |line: &str| line.contains(request) && line.contains(&format!(" {status} "));
        assert!(log.lines().any(is_answered), "{request} {status}");
    }
}

/// Has schemathesis make up requests in these of its ways.
#[track_caller]
fn schemathesis(daemon: &Daemon, phases: &str, count: u32, seed: u32) -> Outcome {
    let mut running = python(daemon)
        .env("SCHEMATHESIS_HOOKS", here("hooks.py"))
        .args(["-m", "schemathesis.cli", "--config-file", &here("schemathesis.toml")])
        .args(["run", &here("../../../docs/openapi.yaml"), "--phases", phases])
        .args(["--max-examples", &count.to_string(), "--seed", &seed.to_string()])
        .start();
    let limit = LONG + Duration::from_secs(4) * count;
    wait_until("schemathesis to end", limit, || running.poll().is_some());
    running.wait().succeeded()
}

/// The client that the users of this API have, unmodified.
#[test]
fn the_client_that_there_is_works() {
    let (server, store, api) = (Cluster::shared(15), Store::new(), BotApi::start(&["77"]));
    let database = server.database("client");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let plan = Plan::new(server, &store).database(&database.name);
    let daemon = api.settings("77").into_iter().fold(plan, |plan, (key, value)| plan.env(key, value)).start();
    daemon.back_up();
    wait_until("the delivery", LONG, || store.status()["delivery"]["telegram"] == "delivered");
    let message = api.messages("77").into_iter().find(|message| message.document.is_some()).unwrap();
    let restored = ["file", "message"].map(|way| format!("{}_by_{way}", database.name));
    python(&daemon)
        .env("DATABASE", &database.name)
        .env("MESSAGE", message.id.to_string())
        .args([here("client.py"), here("../../vectors/cron.jsonl")])
        .run()
        .succeeded();
    for name in restored {
        assert!(server.dump(&name) == before, "{name}");
        server.sql("postgres", &format!("DROP DATABASE {}", quoted(&name)));
    }
}
