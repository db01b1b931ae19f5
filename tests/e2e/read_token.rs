//! The token for reading opens what tells how everything is, and nothing else.

use std::fs;
use std::time::{Duration, Instant};

use backupgram::http::{ROUTES, Rights};

use crate::harness::*;

/// What it opens, by GET and HEAD. A route that is not here is one for the other token.
const OPEN: [&str; 8] =
    ["/status", "/metrics", "/backups", "/jobs", "/jobs/{id}", "/history", "/config", "/openapi.json"];
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];

#[track_caller]
fn ask(daemon: &Daemon<'_>, token: Option<&str>, method: &str, path: &str, body: Option<&[u8]>) -> Response {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    exchange(daemon.port, &request(method, path, &headers, body))
}

/// The path with something in place of what stands in braces: a file and a job that there are, and a setting.
fn filled(path: &str, name: &str, job: &str) -> String {
    let path = path.replace("{slot}", "last").replace("{name}", name);
    path.replace("{id}", job).replace("{key}", "BACKUP_KEEP_DAYS")
}

#[test]
fn every_method_of_every_route_is_open_to_the_tokens_that_it_is_meant_for_and_to_no_other() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("rights");
    database.fill(5);
    let reading = cluster::random_hex(32);
    let plan = Plan::new(server, &store).database(&database.name);
    let daemon = plan.env("REST_API_READ_TOKEN", &reading).start();
    let id = daemon.start_backup();
    daemon.succeeded(&id);
    let name = store.only("last");
    let wrong = format!("{}x", &reading[..reading.len() - 1]);
    for route in ROUTES {
        let path = filled(route.path, &name, &id);
        let open = OPEN.contains(&route.path);
        if route.path != "/healthz" {
            assert_eq!(route.rights == Some(Rights::Read), open && route.method.name() == "GET", "{path}");
        }
        for method in METHODS {
            let is_get = ["GET", "HEAD"].contains(&method);
            let body = (!is_get).then_some(&b"[]"[..]);
            let status = |token| ask(&daemon, token, method, &path, body).status;
            let anybodys = route.path == "/healthz" && is_get;
            let read = status(Some(&reading));
            match anybodys || (open && is_get) {
                true => assert_eq!(read, 200, "{method} {path}"),
                false => assert_eq!(read, 403, "{method} {path}"),
            }
            let full = status(Some(&daemon.token));
            assert!(![401, 403].contains(&full), "{method} {path}: {full}");
        }
    }
    assert_eq!(store.only("last"), name, "nothing was deleted");
    // At once, for so many wrong tokens have to wait.
    std::thread::scope(|scope| {
        for route in ROUTES.iter().filter(|route| route.path != "/healthz") {
            for token in [None, Some(wrong.as_str())] {
                let (daemon, path) = (&daemon, filled(route.path, &name, &id));
                scope.spawn(move || {
                    let status = ask(daemon, token, route.method.name(), &path, None).status;
                    assert_eq!(status, 401, "{} {path} {token:?}", route.method.name());
                });
            }
        }
    });
}

#[test]
fn what_it_does_not_open_is_403_before_it_is_anything_else() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let reading = cluster::random_hex(32);
    let daemon = Plan::new(server, &store).database("app").env("REST_API_READ_TOKEN", &reading).start();
    for (method, path, otherwise) in [
        ("GET", "/no/such/path", 404),
        ("GET", "/", 404),
        ("GET", "/status/", 404),
        ("GET", "//status", 404),
        ("GET", "/backups/last", 404),
        ("GET", "/backups/last/none.sql.gz", 404),
        ("HEAD", "/backups/nowhere/none.sql.gz", 404),
        ("GET", "/%zz", 400),
        ("DELETE", "/jobs/none", 404),
        ("DELETE", "/config/BACKUP_KEEP_DAYS", 404),
        ("DELETE", "/backups/last/none.sql.gz?confirm=true", 404),
        ("PUT", "/status", 405),
        ("POST", "/jobs", 405),
        ("POST", "/healthz", 405),
        ("POST", "/restore", 400),
    ] {
        let refused = ask(&daemon, Some(&reading), method, path, None);
        assert_eq!(refused.status, 403, "{method} {path}");
        if method != "HEAD" {
            let sentence = refused.error(403);
            assert!(sentence.contains("REST_API_READ_TOKEN"), "{sentence}");
        }
        assert_eq!(
            ask(&daemon, Some(&daemon.token), method, path, None).status,
            otherwise,
            "{method} {path}"
        );
    }
    // What it opens may not be there.
    ask(&daemon, Some(&reading), "GET", "/jobs/0123456789abcdef", None).error(404);
    ask(&daemon, Some(&reading), "GET", "/backups?slot=nowhere", None).error(400);
    assert_eq!(ask(&daemon, Some(&reading), "GET", "/%73tatus", None).status, 200);
    // A body is not waited for.
    let begun = Instant::now();
    let head = format!(
        "PATCH /config HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {reading}\r\nContent-Length: 999\r\n\r\n"
    );
    assert_eq!(exchange(daemon.port, head.as_bytes()).status, 403);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // It is no guess at the token.
    assert_eq!(daemon.metrics().get("backupgram_wrong_tokens_total", &[]), 0.0);
    assert_eq!(overrides(&store), None);
}

#[test]
fn it_is_shown_to_nobody_and_nobody_changes_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("reading");
    database.fill(5);
    let reading = cluster::random_hex(32);
    let file = store.root().join("reading");
    fs::write(&file, format!("{reading}\n")).unwrap();
    store.hook("shows", &format!("#!/bin/sh\nenv\necho \"it is: $(cat '{}')\"\n", file.display()));
    let plan = Plan::new(server, &store).database(&database.name);
    let daemon = plan.env("REST_API_READ_TOKEN_FILE", file.to_str().unwrap()).start();
    let job = daemon.back_up().to_string();
    assert!(job.contains("it is: ***") && !job.contains("REST_API"), "{job}");
    let config = ask(&daemon, Some(&reading), "GET", "/config", None).expect(200).text();
    let answers =
        [job, config, daemon.get("/config").text(), daemon.get("/openapi.json").text(), daemon.log()];
    for answer in answers {
        assert!(!answer.contains(&reading), "{answer}");
    }
    for key in ["REST_API_READ_TOKEN", "REST_API_READ_TOKEN_FILE"] {
        let sentence = daemon.patch(&serde_json::json!({key: "x"})).error(403);
        assert!(sentence.contains(key), "{sentence}");
        daemon.delete(&format!("/config/{key}")).error(403);
    }
}

#[test]
fn one_that_is_the_other_or_comes_from_a_bad_file_refuses_the_start_and_a_short_one_is_warned_of() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let plan = || Plan::new(server, &store).database("app");
    let file = |name: &str, text: &str| {
        let path = store.root().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let token = "the-same-token-0123456789-0123456789";
    let (same, empty) = (file("same", &format!("{token}\n")), file("empty", "\n"));
    let missing = store.root().join("missing").to_str().unwrap().to_owned();
    let with_file = |path: &str| plan().env("REST_API_READ_TOKEN_FILE", path);
    for (plan, said) in [
        (plan().env("REST_API_TOKEN", token).env("REST_API_READ_TOKEN", token), "REST_API_TOKEN"),
        (with_file(&same).env("REST_API_TOKEN", token), "REST_API_TOKEN"),
        (with_file(&same).env("REST_API_TOKEN_FILE", same.as_str()), "REST_API_TOKEN"),
        (with_file(&empty), "REST_API_READ_TOKEN_FILE"),
        (with_file(&missing), "REST_API_READ_TOKEN_FILE"),
        (with_file(store.root().to_str().unwrap()), "REST_API_READ_TOKEN_FILE"),
        (plan().env("REST_API_READ_TOKEN", "a\u{e9}"), "printable ASCII"),
        (plan().env("REST_API_READ_TOKEN", "a\tb"), "printable ASCII"),
    ] {
        let outcome = plan.env("VALIDATE_ON_START", "FALSE").run().failed();
        let text = outcome.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(lines.len(), 1, "{said}\n{outcome}");
        assert!(lines[0].contains("REST_API_READ_TOKEN") && lines[0].contains(said), "{said}\n{outcome}");
        assert!(!text.contains(token), "{outcome}");
    }
    let checked = Cli::new(server, &store)
        .env("POSTGRES_DB", "app")
        .env("REST_API_ENABLE", "TRUE")
        .env("REST_API_TOKEN", token)
        .env("REST_API_READ_TOKEN", token);
    checked.args(["check-env"]).run().exited_with(1).saying("REST_API_READ_TOKEN must differ from");
    let short = plan().env("REST_API_READ_TOKEN", "b").start();
    assert_eq!(ask(&short, Some("b"), "GET", "/status", None).status, 200);
    assert!(short.log().contains("REST_API_READ_TOKEN is shorter than 32 bytes"), "{}", short.log());
    drop(short);
    // Without one there is one token only, and nothing is as good as it.
    let none = plan().env("REST_API_READ_TOKEN", "").start();
    for token in ["", "0", &"0".repeat(64), "\u{0}"] {
        let head = format!(
            "GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let status = exchange(none.port, head.as_bytes()).status;
        assert!([400, 401].contains(&status), "{token:?}: {status}");
    }
}
