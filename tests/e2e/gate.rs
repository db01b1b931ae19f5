//! What no client can do to the two ports, and what every client gets.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;

fn daemon(store: &Store) -> Daemon<'_> {
    Plan::new(Cluster::shared(15), store).database("mydb").start()
}

/// A POST with these header fields.
fn with(fields: &str) -> Vec<u8> {
    [b"POST /backup HTTP/1.1\r\nHost: a\r\n", fields.as_bytes(), b"\r\n"].concat()
}

/// Sends what must be refused, and asserts the one form of the answer: JSON, and the end.
#[track_caller]
fn assert_refused(port: u16, bytes: &[u8], status: u16) {
    let mut line = Line::open(port);
    line.send(bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let answer = line.answer();
    assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
    answer.error(status);
    assert_eq!((answer.header("connection"), answer.header("server")), (Some("close"), None), "{shown:?}");
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{shown:?}");
    line.assert_closed();
}

#[track_caller]
fn assert_all_refused(cases: &[(Vec<u8>, u16)]) {
    let store = Store::new();
    let daemon = daemon(&store);
    let before = daemon.get("/jobs").json();
    wait_for("the health port", SOON, || TcpStream::connect(("127.0.0.1", daemon.health_port)).ok());
    // Both ports stand behind the same gate.
    for port in [daemon.port, daemon.health_port] {
        for (bytes, status) in cases {
            assert_refused(port, bytes, *status);
        }
    }
    assert_eq!(daemon.get("/jobs").json(), before);
}

#[test]
fn a_length_that_is_none_or_too_much_is_refused() {
    let mut cases = Vec::new();
    for length in ["65537", "1000000000000000", "9223372036854775808", "18446744073709551616"] {
        cases.push((with(&format!("Content-Length: {length}\r\n")), 413));
    }
    for length in ["-1", "+5", "0x5", "1,1", "1, 1", "5 5", "", "5\u{e9}", "\u{660}", "5;"] {
        cases.push((with(&format!("Content-Length: {length}\r\n")), 400));
    }
    for (first, second) in [(3, 4), (3, 3)] {
        let fields = format!("Content-Length: {first}\r\nContent-Length: {second}\r\n");
        cases.push(([with(&fields), b"abc".to_vec()].concat(), 400));
    }
    cases.push((b"POST /backup HTTP/1.1\r\nHost: a\r\nContent-Length: 3\xff\r\n\r\nabc".to_vec(), 400));
    assert_all_refused(&cases);
}

#[test]
fn nothing_can_be_smuggled_behind_a_transfer_coding() {
    let hidden = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut cases = Vec::new();
    for (coding, status) in [
        ("chunked", 400),
        ("Chunked", 400),
        ("\tchunked", 400),
        ("identity", 400),
        ("x, chunked", 400),
        ("chunked, chunked", 400),
        ("chunked, x", 400),
    ] {
        let coding = format!("Transfer-Encoding: {coding}\r\n");
        for fields in [
            format!("{coding}Content-Length: {}\r\n", hidden.len()),
            format!("Content-Length: 4\r\n{coding}"),
        ] {
            cases.push(([with(&fields), hidden.into()].concat(), status));
        }
    }
    for (coding, status) in [
        ("x, chunked", 501),
        ("gzip\r\nTransfer-Encoding: chunked", 501),
        ("identity", 400),
        ("chunked, chunked", 400),
        ("chunked\r\nTransfer-Encoding: chunked", 400),
        ("chunked, identity", 400),
        ("chunked;q=1", 400),
        ("", 400),
        ("\u{b}chunked", 400),
        ("chunked\u{a0}", 400),
        ("\r\n chunked", 400),
    ] {
        let fields = format!("Transfer-Encoding: {coding}\r\n");
        cases.push(([with(&fields), hidden.into()].concat(), status));
    }
    cases.push(([with("Transfer-Encoding : chunked\r\n"), hidden.into()].concat(), 400));
    cases.push(([b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", hidden.as_bytes()].concat(), 400));
    for (chunks, status) in [
        ("2\n{}\n0\n\n", 400),
        ("2\r\n{}0\r\n\r\n", 400),
        ("2;\n{}\r\n0\r\n\r\n", 400),
        ("0x2\r\n{}\r\n0\r\n\r\n", 400),
        ("0\r\nX: y\r\n z\r\n\r\n", 400),
        ("10001\r\n", 413),
    ] {
        cases.push(([with("Transfer-Encoding: chunked\r\n"), chunks.into()].concat(), status));
    }
    assert_all_refused(&cases);
}

#[test]
fn a_body_in_chunks_is_taken_and_what_follows_it_is_the_next_request() {
    let store = Store::new();
    let daemon = daemon(&store);
    let patch = |more: &str| {
        format!(
            "PATCH /config HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n{more}\r\n",
            daemon.token
        )
    };
    let body = r#"{"BACKUP_KEEP_DAYS":"3"}"#;
    let each: String = body.chars().map(|c| format!("1;a=\"b\"\r\n{c}\r\n")).collect();
    let mut line = Line::open(daemon.port);
    for chunks in [format!("18\r\n{body}\r\n0\r\n\r\n"), each + "000\r\nDigest: x\r\nX-Y:\r\n\r\n"] {
        daemon.send("PATCH", "/config", &[], Some(br#"{"BACKUP_KEEP_DAYS":null}"#)).expect(200);
        line.send(patch("") + &chunks + "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        let changed = line.answer().expect(200);
        assert_eq!(changed.json()["config"]["BACKUP_KEEP_DAYS"]["value"], "3");
        assert_eq!(line.answer().expect(200).json()["status"], "ok");
    }
    // In pieces, each after what came before it was taken, and after a word.
    line.send(patch("Expect: 100-continue\r\n"));
    assert_eq!(line.answer().status, 100);
    for piece in ["1", "8\r", "\n", body, "\r\n0\r\n", "\r", "\n"] {
        line.send(piece);
        daemon.anonymous("GET", "/healthz").expect(200);
    }
    line.answer().expect(200);
    // As long as may be, and longer.
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", " ".repeat(size));
    line.send(patch("") + &chunk(65_536 - body.len()) + &format!("18\r\n{body}\r\n0\r\n\r\n"));
    line.answer().expect(200);
    for long in [
        chunk(65_536) + "1",
        format!("0;{}", "x".repeat(20_000)),
        format!("0\r\n{}", "X: y\r\n".repeat(4_000)),
    ] {
        assert_refused(daemon.port, (patch("") + &long).as_bytes(), 413);
    }
    // What breaks off, and what takes too long, is no request; nor is a stranger's waited for.
    let mut broken = Line::open(daemon.port);
    broken.send(patch("") + "2\r\n{}\r\n0\r\n");
    broken.finish();
    broken.answer().error(400);
    let mut stranger = Line::open(daemon.port);
    stranger.send(with("Transfer-Encoding: chunked\r\n"));
    stranger.answer().error(401);
    stranger.assert_closed();
    // The health port needs none.
    wait_until("the health port", SOON, || answers(daemon.health_port));
    let mut health = Line::open(daemon.health_port);
    for _ in 0..2 {
        health.send("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
        health.answer().expect(200);
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let mut cases: Vec<(Vec<u8>, u16)> = [
        "GET /healthz HTTP/1.1\nHost: a\n\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX\u{e9}: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        " /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n",
        "GET /healthz\r\n\r\n",
        // Nothing would follow it.
        "GET /healthz\r\n",
    ]
    .map(|text| (text.into(), 400))
    .into();
    cases.push((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8a".to_vec(), 400));
    cases.push((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505));
    cases.push((b"GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n".to_vec(), 505));
    cases.push((with("Expect: something\r\n"), 417));
    cases.push((with("Expect: 100-continue\r\nExpect: something\r\nContent-Length: 1\r\n"), 417));
    cases.push((with("Expect: 100-continue\r\n"), 411));
    assert_all_refused(&cases);
}

#[test]
fn what_does_not_end_is_cut_short() {
    let store = Store::new();
    let daemon = daemon(&store);
    let line = || "a".repeat(20_000).into_bytes();
    for (start, more, status) in [
        (b"GET /".to_vec(), line(), 414),
        (with("X: a")[..36].to_vec(), line(), 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(), b"X: y\r\n".repeat(4_000), 431),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.write_all(&[start, more.clone()].concat()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
        // It takes a little more, so that the answer is not lost, and then nothing.
        let mut sent = 0;
        while stream.write_all(&more).is_ok() {
            sent += more.len();
            assert!(sent < 64 << 20, "it goes on reading");
        }
    }
    // As many fields as are allowed, and one more.
    let fields = |count: usize| with(&"X: y\r\n".repeat(count - 1));
    assert_eq!(exchange(daemon.port, &fields(64)).status, 401);
    assert_refused(daemon.port, &fields(65), 431);
}

#[test]
fn other_spellings_of_a_target_mean_the_same() {
    let store = Store::new();
    let daemon = daemon(&store);
    let get = |target: &str| {
        exchange(daemon.port, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).status
    };
    assert_eq!(get("http://elsewhere:1/healthz"), 200);
    assert_eq!(get("HTTPS://elsewhere/healthz?x"), 200);
    for nowhere in ["http://elsewhere?/healthz", "http://elsewhere", "*", "/?/healthz", "//healthz"] {
        assert_eq!(get(nowhere), 401, "{nowhere}");
    }
}

#[test]
fn a_body_that_breaks_off_is_an_error_and_no_job() {
    let store = Store::new();
    let daemon = daemon(&store);
    let head = format!("Authorization: Bearer {}\r\nContent-Length: 10\r\n", daemon.token);
    let mut line = Line::open(daemon.port);
    line.send([with(&head), b"{}".to_vec()].concat());
    line.finish();
    line.answer().error(400);
    line.assert_closed();
    let mut line = Line::open(daemon.port);
    line.send(b"GET /healthz HTT");
    line.finish();
    line.answer().error(400);
    line.assert_closed();
    // More than was announced is the next request, and none.
    let mut line = Line::open(daemon.port);
    line.send([request("GET", "/status", &[], Some(b"")), b"rest".to_vec()].concat());
    assert_eq!(line.answer().status, 401);
    assert_eq!(daemon.get("/jobs").json()["jobs"].as_array().map(Vec::len), Some(0));
}

/// In the original image: it waited for ever for a client that says nothing.
#[test]
fn who_dawdles_is_cut_off_and_holds_nobody_up() {
    let store = Store::new();
    let daemon = daemon(&store);
    wait_for("the health port", SOON, || TcpStream::connect(("127.0.0.1", daemon.health_port)).ok());
    let (port, token, begun) = (daemon.port, &daemon.token, Instant::now());
    let took = |at_least: u64| {
        let took = begun.elapsed().as_secs_f64();
        assert!(took > at_least as f64 - 0.5 && took < at_least as f64 + 15.0, "{took} s");
    };
    thread::scope(|scope| {
        for port in [daemon.port, daemon.health_port] {
            scope.spawn(move || {
                Line::open(port).assert_closed();
                took(10);
            });
        }
        scope.spawn(move || {
            let mut line = Line::open(port);
            line.send("GET /healthz HTTP/1.1\r\nHost: a\r\nX");
            line.answer().error(408);
            line.assert_closed();
            took(10);
        });
        for (field, beginning) in [("Content-Length: 10", "{"), ("Transfer-Encoding: chunked", "a\r\n{")] {
            scope.spawn(move || {
                let mut line = Line::open(port);
                line.send(with(&format!("Authorization: Bearer {token}\r\n{field}\r\n")));
                line.send(beginning);
                line.answer().error(408);
                line.assert_closed();
                took(30);
            });
        }
        for _ in 0..20 {
            daemon.status();
            daemon.anonymous("GET", "/healthz").expect(200);
        }
        assert!(begun.elapsed() < Duration::from_secs(9), "they had to wait: {:?}", begun.elapsed());
    });
}

#[test]
fn a_connection_serves_many_requests_and_answers_in_their_order() {
    let store = Store::new();
    let daemon = daemon(&store);
    let bearer = format!("Authorization: Bearer {}\r\n", daemon.token);
    let ask = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{bearer}\r\n");
    let mut line = Line::open(daemon.port);
    for _ in 0..3 {
        line.send(ask("GET", "/status"));
        let answer = line.answer().expect(200);
        assert_eq!(answer.header("connection"), None);
        assert_eq!(answer.header("server"), None);
        assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    }
    let paths = ["/healthz", "/config", "/no/such/thing", "/jobs", "/healthz", "/backups", "/status"];
    line.send(paths.map(|path| ask("GET", path)).concat() + &ask("HEAD", "/healthz") + "\r\n");
    let answers: Vec<_> = paths.iter().map(|_| line.answer()).collect();
    assert_eq!(
        answers.iter().map(|answer| answer.status).collect::<Vec<_>>(),
        [200, 200, 404, 200, 200, 200, 200]
    );
    let keys = ["status", "config", "error", "jobs", "status", "backups", "schedule"];
    for (answer, key) in answers.iter().zip(keys) {
        assert!(answer.json().get(key).is_some(), "{key}: {}", answer.text());
    }
    let head = line.answer_to_head();
    assert_eq!(head.header("content-length"), Some("16"));
    line.send(ask("GET", "/healthz").replace("Host: a\r\n", "Host: a\r\nConnection: close\r\n"));
    assert_eq!(line.answer().expect(200).header("connection"), Some("close"));
    line.assert_closed();
}

#[test]
fn a_body_is_asked_for_only_when_it_will_be_taken() {
    let store = Store::new();
    let daemon = daemon(&store);
    let fields = |length: usize| {
        format!(
            "Authorization: Bearer {}\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n",
            daemon.token
        )
    };
    let mut line = Line::open(daemon.port);
    line.send(with(&fields(2)));
    assert_eq!(line.answer().status, 100);
    line.send("[]");
    line.answer().error(400);
    line.send([with(&fields(2)), b"[]".to_vec()].concat());
    line.answer().error(400);
    assert_refused(daemon.port, &with(&fields(65_537)), 413);
    // RFC 9110, 10.1.1: a client of 1.0 cannot mean it.
    let old = format!("POST /backup HTTP/1.0\r\n{}\r\n[]", fields(2));
    exchange(daemon.port, old.as_bytes()).error(400);
}

#[test]
fn a_client_of_http_1_0_is_answered_once() {
    let store = Store::new();
    let daemon = daemon(&store);
    let mut line = Line::open(daemon.port);
    line.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(line.answer().expect(200).header("connection"), Some("close"));
    line.assert_closed();
}

#[test]
fn both_families_of_addresses_are_served() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").without("REST_API_BIND").start();
    for address in ["[::1]", "127.0.0.1"] {
        let mut line = Line::to(format!("{address}:{}", daemon.port));
        line.send("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
        line.answer().error(401);
    }
    for peer in ["::1", "127.0.0.1"] {
        wait_until("a line in the log", SOON, || {
            daemon
                .log()
                .lines()
                .any(|line| line.contains("GET /nothing 401") && line.ends_with(&format!(" {peer}")))
        });
    }
    wait_until("the health port", SOON, || answers(daemon.health_port));
    for address in ["[::1]", "127.0.0.1"] {
        let mut line = Line::to(format!("{address}:{}", daemon.health_port));
        line.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        line.answer().expect(200);
    }
}

#[test]
fn where_there_is_no_ipv6_the_other_is_served() {
    let (server, store) = (Cluster::shared(15), Store::new());
    // A kernel without IPv6 gives no such socket; one that has it switched off has addresses of the other kind only.
    let script = "
        set -e
        { echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; } 2>/dev/null || :
        ip link set lo up
        strace -D -o /dev/null -e trace=socket -e inject=socket:error=EAFNOSUPPORT:when=1 \"$0\" >log 2>&1 &
        daemon=$!
        trap 'kill $daemon; wait $daemon || :; cat log' EXIT
        for port in 8081 8080; do
            curl -s --retry 60 --retry-delay 1 --retry-connrefused --max-time 60 -o answer http://127.0.0.1:$port/healthz
            cat answer
        done
        HEALTHCHECK_PORT=0 backupgram health || :";
    if !may_unshare_network() {
        return;
    }
    let mut cli = Cli::of_program("unshare", &store);
    for (key, value) in command::settings(server, &store) {
        cli = cli.env(&key, value);
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_backupgram")).parent().unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let cli = cli.env("PATH", path).env("POSTGRES_DB", "mydb").env("SCHEDULE", "@yearly");
    let cli = cli.env("REST_API_ENABLE", "TRUE").env("REST_API_TOKEN", "token").without("REST_API_BIND");
    let outcome =
        cli.args(["--net", "sh", "-c", script, env!("CARGO_BIN_EXE_backupgram-api")]).run().succeeded();
    let outcome = outcome.saying("{\"status\":\"ok\"}").saying("\"schedule\"").saying("API on 0.0.0.0:8081");
    assert!(!outcome.text().contains("does not answer"), "{outcome}");
}

#[test]
fn as_many_files_may_be_open_as_the_system_allows() {
    let store = Store::new();
    let plan = Plan::new(Cluster::shared(15), &store).database("mydb").limit("-S -n 100");
    let daemon = plan.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
    assert_ne!(words[3], "100", "{line}");
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let store = Store::new();
    let daemon = daemon(&store);
    let mut line = Line::open(daemon.port);
    let fields = [("Authorization", format!("Bearer {}", daemon.token))];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    line.send(
        String::from_utf8(request("GET", "/status", &fields, None))
            .unwrap()
            .replace("Connection: close\r\n", ""),
    );
    line.finish();
    line.answer().expect(200);
    line.assert_closed();
}

#[test]
fn a_line_in_the_log_says_what_was_asked_and_nothing_that_is_secret() {
    let store = Store::new();
    let daemon = daemon(&store);
    let fields = [("X-Forwarded-For", "192.0.2.1"), ("Cookie", "biscuit")];
    daemon.send("GET", "/backups?database=private&x=y", &fields, None).expect(200);
    let wrong = [("Authorization", "Bearer not-this-one")];
    exchange(daemon.port, &request("GET", "/status", &wrong, None)).error(401);
    assert_refused(daemon.port, b"GET /?private HTTP/3.0\r\n\r\n", 505);
    daemon.anonymous("GET", "/healthz").expect(200);
    daemon.get("/metrics").expect(200);
    let logged = |parts: &[&str]| {
        wait_for(&format!("{parts:?} in the log"), SOON, || {
            let log = daemon.log();
            let mut lines = log.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
            lines.next().map(str::to_owned)
        })
    };
    let listed = logged(&["GET /backups 200 "]);
    let words: Vec<&str> = listed.split_whitespace().skip_while(|word| *word != "GET").collect();
    let [_, _, _, bytes, "B", milliseconds, "ms", peer, via @ ..] = &words[..] else { panic!("{listed}") };
    assert_eq!(*bytes, "15", "{listed}");
    assert!(milliseconds.parse::<f64>().is_ok(), "{listed}");
    assert_eq!((*peer, via), ("127.0.0.1", &["for", "\"192.0.2.1\""][..]), "{listed}");
    logged(&["GET /status 401 ", "127.0.0.1"]);
    logged(&["- - 505 ", "127.0.0.1"]);
    let (long, addresses) = (format!("/{}#private", "y".repeat(3_000)), "\u{e9}".repeat(3_000));
    let fields = [("X-Forwarded-For", "192.0.2.2"), ("X-Forwarded-For", &*addresses)];
    daemon.send("GET", &long, &fields, None).error(404);
    let shortened = logged(&["/yyy", " 404 ", "for \"192.0.2.2, "]);
    assert!(shortened.chars().count() < 600, "{shortened}");
    for secret in ["private", "biscuit", "not-this-one", daemon.token.as_str(), "/healthz", "/metrics"] {
        assert!(!daemon.log().contains(secret), "{secret} is in the log");
    }
}

#[test]
fn who_guesses_tokens_waits_and_nobody_else_does() {
    let store = Store::new();
    let daemon = daemon(&store);
    let wrong = request("GET", "/status", &[("Authorization", "Bearer wrong")], None);
    let guess = || {
        let begun = Instant::now();
        exchange(daemon.port, &wrong).error(401);
        begun.elapsed()
    };
    for _ in 0..10 {
        guess();
    }
    let waits: Vec<Duration> = (0..4).map(|_| guess()).collect();
    for (wait, step) in waits.iter().zip(1..) {
        assert!(*wait >= Duration::from_millis(200 * step), "{waits:?}");
    }
    thread::scope(|scope| {
        let guesses: Vec<_> = (0..12).map(|_| scope.spawn(guess)).collect();
        wait_until("the guesses to be counted", SOON, || daemon.status()["wrong_tokens"] == 26);
        // Each of them waits a second at least, and no thread of the pool waits with them.
        for _ in 0..10 {
            daemon.status();
        }
        assert!(!guesses.iter().any(|guess| guess.is_finished()), "the right token had to wait too");
        for guess in guesses {
            assert!(guess.join().unwrap() < Duration::from_secs(10));
        }
    });
    let log = daemon.log();
    assert_eq!(log.lines().filter(|line| line.contains("without the right token")).count(), 1, "{log}");
}

/// Guesses once. Says whether there was an answer.
fn is_answered(port: u16, guess: &[u8]) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    // Without an answer, the end may be a reset.
    let _ = stream.write_all(guess).and_then(|()| stream.read_to_string(&mut answer));
    answer.starts_with("HTTP/1.1 401 ")
}

#[test]
fn a_crowd_that_guesses_gets_few_answers_and_keeps_nobody_out() {
    const GUESSERS: usize = 100;
    let time = Duration::from_secs(3);
    // Few answers wait less than two seconds, and nobody gets a second one of the others in the time.
    let most = 19 + GUESSERS;
    let wrong = request("GET", "/status", &[("Authorization", "Bearer wrong")], None);
    // With more connection slots than guessers, and with fewer.
    for limit in ["-n 256", "-n 128"] {
        let store = Store::new();
        let plan = Plan::new(Cluster::shared(15), &store).database("mydb").limit(limit);
        let (daemon, end) = (plan.start(), Instant::now() + time);
        let is_over = || Instant::now() >= end;
        let guess = || {
            let mut answers = 0;
            while !is_over() {
                answers += usize::from(is_answered(daemon.port, &wrong) && !is_over());
            }
            answers
        };
        let answers: usize = thread::scope(|scope| {
            let guessers: Vec<_> = (0..GUESSERS).map(|_| scope.spawn(guess)).collect();
            while !is_over() {
                daemon.status();
                daemon.anonymous("GET", "/healthz").expect(200);
            }
            guessers.into_iter().map(|guesser| guesser.join().unwrap()).sum()
        });
        assert!(answers <= most, "{answers} answers with ulimit {limit}");
    }
}

/// A large backup, so that no socket swallows it, and its bytes.
fn large_backup(store: &Store) -> (&'static str, Vec<u8>) {
    let name = "mydb-20240101-000000.sql.gz";
    let bytes: Vec<u8> = (0..4_u32 << 20).flat_map(u32::to_le_bytes).collect();
    fs::create_dir_all(store.path().join("last")).unwrap();
    fs::write(store.file("last", name), &bytes).unwrap();
    (name, bytes)
}

/// Begins to download and stops at the answer's head.
#[track_caller]
fn begin_download(daemon: &Daemon<'_>, name: &str) -> (Line, Response) {
    let bearer = format!("Bearer {}", daemon.token);
    let mut line = Line::open(daemon.port);
    line.send(request("GET", &format!("/backups/last/{name}"), &[("Authorization", &bearer)], None));
    let head = line.answer_without_body();
    (line, head)
}

#[test]
fn a_download_ends_whole_whatever_becomes_of_the_file() {
    let store = Store::new();
    let daemon = daemon(&store);
    let (name, bytes) = large_backup(&store);
    let path = store.file("last", name);
    let (mut first, head) = begin_download(&daemon, name);
    assert_eq!(head.expect(200).header("content-length"), Some(bytes.len().to_string().as_str()));
    fs::write(path.with_extension("new"), b"another").unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    let (second, head) = begin_download(&daemon, name);
    assert_eq!(head.header("content-length"), Some("7"));
    drop(second);
    let mut got = Vec::new();
    first.read_to_end(&mut got).unwrap();
    assert!(got == bytes, "{} of {} bytes", got.len(), bytes.len());

    large_backup(&store);
    let (mut line, _) = begin_download(&daemon, name);
    daemon.delete(&format!("/backups/last/{name}?confirm=true")).expect(200);
    assert_eq!(daemon.get(&format!("/backups/last/{name}")).status, 404);
    let mut got = Vec::new();
    line.read_to_end(&mut got).unwrap();
    assert!(got == bytes, "{} of {} bytes", got.len(), bytes.len());
}

#[test]
fn the_download_of_a_directory_ends_whole_when_it_is_deleted_meanwhile() {
    let store = Store::new();
    let daemon = daemon(&store);
    let name = "mydb-20240101-000000.dir";
    let (files, bytes) = (8, vec![7; 4 << 20]);
    fs::create_dir_all(store.file("last", name)).unwrap();
    (0..files).for_each(|file| fs::write(store.file("last", name).join(file.to_string()), &bytes).unwrap());
    let (mut line, head) = begin_download(&daemon, name);
    let length: usize = head.expect(200).header("content-length").unwrap().parse().unwrap();
    daemon.delete(&format!("/backups/last/{name}?confirm=true")).expect(200);
    assert_eq!(daemon.get(&format!("/backups/last/{name}")).status, 404);
    let mut got = Vec::new();
    line.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), length);
    assert_eq!(got.iter().filter(|byte| **byte == 7).count(), files * bytes.len());
    wait_until("the files to be gone", SOON, || store.partial().is_empty());
}

#[test]
fn stalled_downloads_hold_no_one_up_and_are_sixteen_at_most() {
    let store = Store::new();
    let daemon = daemon(&store);
    let (name, bytes) = large_backup(&store);
    let mut stalled: Vec<Line> = (0..16)
        .map(|_| {
            let (line, head) = begin_download(&daemon, name);
            head.expect(200);
            line
        })
        .collect();
    let path = format!("/backups/last/{name}");
    let refused = daemon.get(&path);
    refused.error(503);
    assert!(refused.header("retry-after").is_some_and(|text| text.parse().is_ok_and(|wait: u32| wait > 0)));
    // Twice as many as there are threads in the pool; a stalled reader is cut only after a minute.
    let begun = Instant::now();
    for _ in 0..16 {
        daemon.status();
        daemon.send("HEAD", &path, &[], None).expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(daemon.get(&path).status, 503, "the stalled ones are still there");
    stalled.pop();
    wait_until("a download to be possible again", SOON, || daemon.get(&path).status == 200);
    let mut got = Vec::new();
    stalled[0].read_to_end(&mut got).unwrap();
    assert!(got == bytes, "{} of {} bytes", got.len(), bytes.len());
}

#[test]
fn downloads_leave_a_slot_to_others_however_few_there_are() {
    let store = Store::new();
    // So few files that the gate has eight slots.
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").limit("-n 120").start();
    let (name, _) = large_backup(&store);
    let (_slow, head) = begin_download(&daemon, name);
    head.expect(200);
    let further: Vec<Line> = (0..8)
        .map(|_| {
            let (line, head) = begin_download(&daemon, name);
            assert_eq!(head.status, 503);
            line
        })
        .collect();
    daemon.anonymous("GET", "/healthz").expect(200);
    daemon.status();
    drop(further);
    assert_eq!(daemon.metrics().get("backupgram_refused_connections_total", &[]), 0.0);
}
