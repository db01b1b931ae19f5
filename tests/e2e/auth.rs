//! One token opens everything but `/healthz`, and without one there is no daemon.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use crate::harness::*;

/// Every way to be nobody, each as whole header lines.
fn strangers(token: &str) -> Vec<Vec<(&'static str, String)>> {
    let header = |value: String| vec![("Authorization", value)];
    let mut flipped = token.to_owned();
    let last = flipped.pop().expect("a token");
    flipped.push(if last == '0' { '1' } else { '0' });
    vec![
        vec![],
        header(String::new()),
        header("Bearer".into()),
        header("Bearer ".into()),
        header("Bearer wrong".into()),
        header(format!("Bearer {flipped}")),
        header(format!("Bearer {}", &token[..token.len() - 1])),
        header(format!("Bearer {token}0")),
        header(format!("Bearer {token}{}", "0".repeat(8_000))),
        header(format!("Bearer {}", token.to_uppercase())),
        header(format!("Bearer {token} {token}")),
        header(format!("Bearer{token}")),
        header(format!("Basic {token}")),
        header(format!("Token {token}")),
        header(token.to_owned()),
        vec![("Authorization", format!("Bearer {token}")), ("Authorization", format!("Bearer {token}"))],
        vec![("Authorization", format!("Bearer {token}")), ("Authorization", "Bearer wrong".to_owned())],
        vec![("X-Authorization", format!("Bearer {token}"))],
    ]
}

#[test]
fn a_stranger_gets_the_same_401_whatever_is_asked() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    let asked = [
        ("GET", "/status"),
        ("GET", "/backups/last/none.sql.gz"),
        ("GET", "/no/such/path"),
        ("POST", "/backup"),
        ("PUT", "/status"),
        ("DELETE", "/jobs/none"),
        ("POST", "/healthz/../status"),
    ];
    let bodies = Mutex::new(BTreeSet::new());
    let ask = &|headers: &[(&str, String)]| {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (method, path) in asked {
            let response = exchange(daemon.port, &request(method, path, &headers, None));
            assert_eq!(response.status, 401, "{method} {path} with {headers:?}: {}", response.text());
            assert_eq!(response.header("www-authenticate"), Some("Bearer"), "{method} {path}");
            response.error(401);
            bodies.lock().unwrap().insert(response.text());
        }
    };
    // At once, for so many wrong tokens have to wait.
    thread::scope(|scope| {
        for headers in strangers(&daemon.token) {
            scope.spawn(move || ask(&headers));
        }
    });
    let bodies = bodies.into_inner().unwrap();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let head = exchange(daemon.port, &request("HEAD", "/status", &[], None));
    assert_eq!(head.status, 401);
    assert!(!daemon.log().contains(&daemon.token));
}

#[test]
fn the_scheme_may_be_written_in_any_case() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let header = format!("{scheme} {}", daemon.token);
        let response = exchange(daemon.port, &request("GET", "/status", &[("authorization", &header)], None));
        assert_eq!(response.status, 200, "{scheme}: {}", response.text());
    }
}

#[test]
fn anybody_may_ask_whether_it_lives() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    assert_eq!(daemon.anonymous("GET", "/healthz").expect(200).text(), "{\"status\":\"ok\"}\n");
    let head = daemon.anonymous("HEAD", "/healthz").expect(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-type"), Some("application/json"));
}

#[test]
fn without_a_token_the_daemon_refuses_to_start() {
    let store = Store::new();
    let empty = store.root().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let directory = store.root().join("directory");
    std::fs::create_dir(&directory).unwrap();
    let missing = store.root().join("missing");
    let plan = || Plan::new(Cluster::shared(15), &store).database("mydb");
    let file = |path: &std::path::Path| plan().env("REST_API_TOKEN_FILE", path.to_str().unwrap());
    let refused = [
        (plan().without("REST_API_TOKEN"), "REST_API_TOKEN"),
        (plan().env("REST_API_TOKEN", ""), "REST_API_TOKEN"),
        (plan().env("REST_API_TOKEN", "\n"), "REST_API_TOKEN"),
        (file(&missing), "REST_API_TOKEN_FILE"),
        (file(&empty), "REST_API_TOKEN_FILE"),
        (file(&directory), "REST_API_TOKEN_FILE"),
        (file(&missing).without("REST_API_TOKEN"), "REST_API_TOKEN_FILE"),
    ];
    for (plan, variable) in refused {
        let outcome = plan.run().failed();
        let text = outcome.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(lines.len(), 1, "one line for {variable}\n{outcome}");
        assert!(lines[0].contains(variable), "{outcome}");
    }
}

#[test]
fn a_token_file_wins_over_the_variable_and_loses_one_newline() {
    let store = Store::new();
    let path = store.root().join("token");
    let token = "from-the-file-0123456789-0123456789";
    std::fs::write(&path, format!("{token}\n")).unwrap();
    let plan = Plan::new(Cluster::shared(15), &store).database("mydb");
    let daemon = plan.env("REST_API_TOKEN_FILE", path.to_str().unwrap()).start();
    assert_eq!(daemon.get("/status").status, 401);
    let header = format!("Bearer {token}");
    let response = exchange(daemon.port, &request("GET", "/status", &[("Authorization", &header)], None));
    assert_eq!(response.status, 200);
    assert!(!daemon.log().contains(token));
}

#[test]
fn a_short_token_works_with_a_warning() {
    let store = Store::new();
    let plan = Plan::new(Cluster::shared(15), &store).database("mydb");
    let short = plan.env("REST_API_TOKEN", "a").start();
    assert_eq!(short.get("/status").status, 200);
    let warned = |daemon: &Daemon<'_>| {
        daemon
            .log()
            .lines()
            .any(|line| line.to_lowercase().contains("warn") && line.contains("REST_API_TOKEN"))
    };
    assert!(warned(&short), "{}", short.log());
    let long = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    assert!(!warned(&long), "{}", long.log());
}
