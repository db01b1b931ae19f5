//! The scripts in `examples/curl` do what they say, and fail when they should.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::harness::*;

fn script(daemon: &Daemon<'_>, name: &str) -> Cli {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/curl").join(name);
    let cli = Cli::of_program(path, daemon.store).env("URL", format!("http://127.0.0.1:{}", daemon.port));
    cli.env("REST_API_TOKEN", &daemon.token)
}

#[test]
fn a_backup_is_taken_downloaded_and_restored_beside_its_database() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (database, gone) = (server.database("curl"), server.database("curl_gone"));
    database.fill(3_000);
    let before = database.dump();
    let daemon = Plan::new(server, &store).database(&format!("{} {}", database.name, gone.name)).start();
    let (name, gone_name) = (database.name.clone(), gone.name.clone());
    drop(gone);

    let outcome = script(&daemon, "backup-and-wait.sh").run().exited_with(1);
    outcome.saying(": failed").saying(&gone_name);
    script(&daemon, "backup-and-wait.sh").args([&name]).run().succeeded().saying(": succeeded");
    script(&daemon, "backup-and-wait.sh").args(["stranger"]).run().failed().saying("not among the databases");

    let (newest, path) = (store.newest("last"), store.file("last", &store.newest("last")));
    let bytes = fs::read(&path).unwrap();
    let (part, whole) = (store.root().join(format!("{newest}.part")), store.root().join(&newest));
    // Only what is missing is asked for: a wrong beginning is seen at the end.
    fs::write(&part, vec![0; 1000]).unwrap();
    script(&daemon, "download-latest.sh").args([&name]).run().exited_with(1).saying("is removed");
    assert!(!part.exists() && !whole.exists());
    // What is longer than the backup is of another one.
    for held in [1000, bytes.len(), bytes.len() + 1] {
        fs::write(&part, bytes.iter().cycle().take(held).copied().collect::<Vec<u8>>()).unwrap();
        let outcome = script(&daemon, "download-latest.sh").args([&name]).run().succeeded();
        assert_eq!(outcome.stdout, format!("{newest}\n"));
        assert!(fs::read(&whole).unwrap() == bytes && !part.exists(), "{held}");
        script(&daemon, "download-latest.sh").args([&name]).run().exited_with(1).saying("is here already");
        fs::remove_file(&whole).unwrap();
    }
    script(&daemon, "download-latest.sh")
        .args(["stranger"])
        .run()
        .exited_with(1)
        .saying("no backup of stranger");
    let denied = script(&daemon, "download-latest.sh").env("REST_API_TOKEN", "wrong").args([&name]);
    denied.run().failed().saying("token");

    let target = format!("{name}_staging");
    let _staging = server.database_named(&target);
    script(&daemon, "restore-into-staging.sh").args([&name]).run().succeeded().saying(": succeeded");
    assert_eq!(server.dump(&target), before);
    fs::create_dir(store.hooks().join("restore")).unwrap();
    fs::write(store.hooks().join("restore/scrub.sql"), "UPDATE orders SET note = 'gone';").unwrap();
    let after = |file| script(&daemon, "restore-into-staging.sh").args([&name]).env("AFTER", file).run();
    after("nosuch.sql").exited_with(1).saying("there is no file nosuch.sql in HOOKS_DIR/restore");
    after("scrub.sql").succeeded().saying(": succeeded");
    assert_eq!(server.sql(&target, "SELECT DISTINCT note FROM orders"), "gone");
    script(&daemon, "restore-into-staging.sh").args([&name, &name]).run().exited_with(1).saying("itself");
}

#[test]
fn a_dump_of_many_files_is_downloaded_as_an_archive() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("curl_directory");
    database.fill(100);
    let daemon = Plan::new(server, &store).database(&database.name).env("POSTGRES_EXTRA_OPTS", "-Fd").start();
    daemon.back_up();
    let outcome = script(&daemon, "download-latest.sh").args([&database.name]).run().succeeded();
    assert_eq!(outcome.stdout, format!("{}.tar\n", store.only("last")));
    let listing = Cli::of_program("tar", &store).args(["-tf", outcome.stdout.trim()]).run().succeeded();
    listing.saying(&format!("{}/toc.dat", store.only("last")));
}

#[test]
fn a_token_is_replaced_or_stays() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let file = store.root().join("token.txt");
    fs::write(&file, "the old token, which is long enough\n").unwrap();
    let plan = || {
        let plan = Plan::new(server, &store).database("postgres").without("REST_API_TOKEN");
        plan.env("REST_API_TOKEN_FILE", file.to_str().expect("UTF-8"))
    };
    let mut daemon = plan().start();
    script(&daemon, "rotate-token.sh").args(["token.txt", "false"]).run().exited_with(1).saying("again");
    assert_eq!(fs::read_to_string(&file).unwrap(), "the old token, which is long enough\n");

    let running = script(&daemon, "rotate-token.sh").args(["token.txt", "touch", "restart"]).start();
    wait_until("the script to ask for a restart", SOON, || store.root().join("restart").exists());
    daemon.stop();
    let daemon = plan().env("REST_API_PORT", daemon.port.to_string()).start();
    running.wait().succeeded().saying("the old one gets 401");
    assert_eq!(fs::read_to_string(&file).unwrap().trim().len(), 64);
    script(&daemon, "rotate-token.sh").args(["token.txt"]).run().exited_with(2);
}

#[test]
fn a_job_is_waited_for_while_the_api_does_not_answer_for_a_moment() {
    let store = Store::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let job = |state: &str| format!(r#"{{"id":"1","state":"{state}","log_tail":["a line"]}}"#);
    let answers = [
        ("202 Accepted", r#"{"job_id":"1"}"#.to_owned()),
        ("503 Service Unavailable", r#"{"error":"too many requests are waiting"}"#.to_owned()),
        ("200 OK", job("running")),
        ("200 OK", job("succeeded")),
    ];
    let server = thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/curl/backup-and-wait.sh");
    let cli = Cli::of_program(path, &store).env("URL", url).env("REST_API_TOKEN", "any");
    assert_eq!(cli.run().succeeded().stdout, "a line\njob 1: succeeded\n");
    server.join().unwrap();
}
