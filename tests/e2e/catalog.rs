//! What GET /backups lists, how a backup is downloaded, and what its deletion leaves.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::*;

/// A daemon with one backup of one small database.
fn with_backup<'s>(store: &'s Store, label: &str) -> (Daemon<'s>, Database<'static>) {
    let server = Cluster::shared(15);
    let database = server.database(label);
    database.fill(50);
    let daemon = Plan::new(server, store).database(&database.name).start();
    daemon.back_up();
    (daemon, database)
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Makes a file look `age` old.
fn backdate(store: &Store, slot: &str, name: &str, age: Duration) {
    let file = fs::File::options().write(true).open(store.file(slot, name)).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn the_list_is_newest_first_within_each_slot_and_hides_what_is_hidden() {
    let store = Store::new();
    let (daemon, database) = with_backup(&store, "listed");
    let name = &database.name;
    for (slot, file, hours) in
        [("last", "20240102-000000", 2), ("last", "20240101-000000", 3), ("daily", "20240101", 1)]
    {
        let file = format!("{name}-{file}.sql.gz");
        fs::copy(store.file("last", &store.newest("last")), store.file(slot, &file)).unwrap();
        backdate(&store, slot, &file, Duration::from_secs(hours * 3600));
    }
    fs::write(store.file("last", ".hidden.sql.gz"), "x").unwrap();
    let entries = daemon.backups("");
    let slots: Vec<&str> = entries.iter().map(|entry| entry["slot"].as_str().unwrap()).collect();
    let order: Vec<usize> =
        slots.iter().map(|slot| SLOTS.iter().position(|known| known == slot).unwrap()).collect();
    assert!(order.is_sorted(), "{slots:?}");
    for slot in SLOTS {
        let times: Vec<i64> = entries
            .iter()
            .filter(|entry| entry["slot"] == slot)
            .map(|entry| entry["mtime"].as_i64().unwrap())
            .collect();
        assert!(!times.is_empty() && times.is_sorted_by(|a, b| a >= b), "{slot}: {times:?}");
    }
    let listed: usize = SLOTS.iter().map(|slot| store.names(slot).len()).sum();
    assert_eq!(entries.len(), listed);
    assert!(!entries.iter().any(|entry| entry["name"].as_str().unwrap().starts_with('.')), "{entries:?}");
}

#[test]
fn an_entry_says_what_is_known_about_its_backup() {
    let store = Store::new();
    let (daemon, database) = with_backup(&store, "known");
    let name = store.only("daily");
    let bytes = fs::read(store.file("daily", &name)).unwrap();
    let entries = daemon.backups("?slot=daily");
    let entry = entries.iter().find(|entry| entry["name"] == name.as_str()).expect("the backup is listed");
    assert_eq!(entry["database"], database.name.as_str());
    assert_eq!(entry["encrypted"], false);
    assert_eq!(entry["sha256"], sha256(&bytes));
    assert_eq!(entry["size"], bytes.len());
    assert!(entry["format"].is_string(), "{entry}");
    assert!(entry["created_at"].as_i64().is_some_and(|at| at > 1_600_000_000), "{entry}");
}

#[test]
fn a_backup_without_a_manifest_is_listed_downloaded_and_deleted_all_the_same() {
    let store = Store::new();
    let (daemon, database) = with_backup(&store, "orphan");
    let name = format!("{}-20240101-000000.sql.gz", database.name);
    fs::copy(store.file("last", &store.only("last")), store.file("last", &name)).unwrap();
    let entries = daemon.backups("?slot=last");
    let entry = entries.iter().find(|entry| entry["name"] == name.as_str()).expect("it is listed");
    assert_eq!(entry["size"], fs::metadata(store.file("last", &name)).unwrap().len());
    let path = format!("/backups/last/{name}");
    assert_eq!(daemon.get(&path).expect(200).body, fs::read(store.file("last", &name)).unwrap());
    daemon.delete(&format!("{path}?confirm=true")).expect(200);
    daemon.get(&path).error(404);
}

#[test]
fn the_list_can_be_limited_to_a_slot_and_a_database() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (one, two) = (server.database("filter"), server.database("filter x&y=é"));
    one.fill(5);
    two.fill(5);
    let daemon = Plan::new(server, &store).env("POSTGRES_DB_AUTODISCOVER", "TRUE").start();
    for name in [&one.name, &two.name] {
        let id = job_id(&daemon.post("/backup", &json!({"databases": [name]})).expect(202));
        daemon.succeeded(&id);
    }
    let only = |entries: &[Value], key: &str| -> Vec<String> {
        let mut values: Vec<String> =
            entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect();
        values.sort();
        values.dedup();
        values
    };
    assert_eq!(only(&daemon.backups("?slot=weekly"), "slot"), ["weekly"]);
    assert_eq!(only(&daemon.backups(&format!("?database={}", one.name)), "database"), [one.name.as_str()]);
    let both = daemon.backups(&format!("?slot=daily&database={}", percent_encoded(&two.name)));
    assert_eq!(
        (only(&both, "slot"), only(&both, "database")),
        (vec!["daily".into()], vec![two.name.clone()])
    );
    assert!(daemon.backups("?database=nobody").is_empty());
    for slot in ["yearly", "..", "", "LAST", ".partial"] {
        daemon.get(&format!("/backups?slot={slot}")).error(400);
    }
}

/// In the original image: a pointer showed the link's own size, and outlived its target.
#[test]
fn a_latest_pointer_shows_its_target_and_never_dangles() {
    let store = Store::new();
    let (daemon, database) = with_backup(&store, "pointed");
    let pointer = format!("{}-latest.sql.gz", database.name);
    let old = format!("{}-20240101-000000.sql.gz", database.name);
    let new = store.only("last");
    fs::copy(store.file("last", &new), store.file("last", &old)).unwrap();
    backdate(&store, "last", &old, Duration::from_secs(7200));
    let entry = |name: &str| daemon.backups("?slot=last").into_iter().find(|entry| entry["name"] == name);
    let (latest, dated) = (entry(&pointer).expect("a pointer"), entry(&new).expect("its target"));
    assert_eq!((&latest["size"], &latest["mtime"]), (&dated["size"], &dated["mtime"]));
    assert_eq!(latest["alias_of"], new.as_str());
    assert!(dated.get("alias_of").is_none_or(Value::is_null), "{dated}");

    let deleted = daemon.delete(&format!("/backups/last/{new}?confirm=true")).expect(200).json();
    assert_eq!(deleted, json!({"deleted": new}));
    assert_eq!(entry(&pointer).expect("it has moved on")["alias_of"], old.as_str());
    assert_eq!(
        daemon.get(&format!("/backups/last/{pointer}")).expect(200).body,
        fs::read(store.file("last", &old)).unwrap()
    );

    daemon.delete(&format!("/backups/last/{old}?confirm=true")).expect(200);
    assert!(entry(&pointer).is_none());
    assert!(fs::symlink_metadata(store.file("last", &pointer)).is_err(), "it must not dangle");
    assert!(!store.manifest_file("last", &new).exists());
    let daily = store.only("daily");
    assert_eq!(daemon.get(&format!("/backups/daily/{daily}")).status, 200, "other slots keep theirs");
}

#[test]
fn a_deletion_must_be_confirmed() {
    let store = Store::new();
    let (daemon, _database) = with_backup(&store, "confirm");
    let name = store.only("last");
    for query in [
        "",
        "?confirm=false",
        "?confirm=TRUE1",
        "?confirm",
        "?confirm=",
        "?confirmed=true",
        "?x=confirm=true",
    ] {
        let sentence = daemon.delete(&format!("/backups/last/{name}{query}")).error(400);
        assert!(sentence.contains("confirm"), "{sentence}");
    }
    assert!(store.file("last", &name).exists());
    daemon.delete("/backups/last/none.sql.gz?confirm=true").error(404);
    daemon.delete(&format!("/backups/yearly/{name}?confirm=true")).error(404);
    daemon.delete(&format!("/backups/last/{name}?confirm=true")).expect(200);
    daemon.delete(&format!("/backups/last/{name}?confirm=true")).error(404);
}

#[test]
fn a_download_describes_itself() {
    let store = Store::new();
    let (daemon, _database) = with_backup(&store, "described");
    let name = store.only("daily");
    let path = format!("/backups/daily/{name}");
    let bytes = fs::read(store.file("daily", &name)).unwrap();
    let get = daemon.get(&path).expect(200);
    assert_eq!(get.body, bytes);
    // A range of it is to be ignored (RFC 9110, 14.2).
    let head = daemon.send("HEAD", &path, &[("Range", "bytes=0-3")], None).expect(200);
    assert!(head.body.is_empty());
    for response in [&get, &head] {
        assert_eq!(response.header("content-length"), Some(bytes.len().to_string().as_str()));
        assert_eq!(response.header("content-type"), Some("application/octet-stream"));
        assert_eq!(response.header("accept-ranges"), Some("bytes"));
        let disposition = response.header("content-disposition").expect("a disposition");
        assert!(disposition.starts_with("attachment") && disposition.contains(&name), "{disposition}");
        let tag = response.header("etag").expect("an entity tag");
        assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "strong: {tag}");
        let modified = response.header("last-modified").expect("a date");
        assert!(
            modified.ends_with(" GMT") && modified.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(),
            "{modified}"
        );
    }
    assert_eq!(get.header("etag"), head.header("etag"));
    for path in ["/backups/daily/none.sql.gz", "/backups/yearly/none.sql.gz"] {
        daemon.get(path).error(404);
    }
}

#[test]
fn a_name_beyond_ascii_arrives_as_it_is() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("données \"größe\" ☃");
    database.fill(5);
    let daemon = Plan::new(server, &store).env("POSTGRES_DB_AUTODISCOVER", "TRUE").start();
    let id = job_id(&daemon.post("/backup", &json!({"databases": [database.name]})).expect(202));
    daemon.succeeded(&id);
    let listed = daemon.backups("?slot=last");
    let name =
        listed.iter().find(|entry| entry.get("alias_of").is_none_or(Value::is_null)).expect("a backup");
    let name = name["name"].as_str().unwrap();
    assert_eq!(name, store.only("last"));
    let encoded = percent_encoded(name);
    let response = daemon.get(&format!("/backups/last/{encoded}")).expect(200);
    let disposition = response.header("content-disposition").expect("a disposition");
    let extended = disposition.split("filename*=UTF-8''").nth(1).expect("an extended file name");
    let decoded = percent_encoding::percent_decode_str(extended).decode_utf8().expect("UTF-8");
    assert_eq!(decoded, name, "{disposition}");
    assert!(disposition.is_ascii() && disposition.contains("filename=\""), "{disposition}");
}

#[test]
fn a_part_of_a_backup_can_be_downloaded() {
    let store = Store::new();
    let (daemon, _database) = with_backup(&store, "partial");
    let path = format!("/backups/last/{}", store.only("last"));
    let bytes = fs::read(store.file("last", &store.only("last"))).unwrap();
    let length = bytes.len();
    let ask = |range: &str| daemon.send("GET", &path, &[("Range", range)], None);
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=10-19".to_owned(), 10, 19),
        ("bytes=10-".to_owned(), 10, length - 1),
        ("bytes=-10".to_owned(), length - 10, length - 1),
        (format!("bytes=-{}", length * 2), 0, length - 1),
        (format!("bytes=5-{}", length * 2), 5, length - 1),
        (format!("bytes={}-", length - 1), length - 1, length - 1),
    ] {
        let response = ask(&range).expect(206);
        assert_eq!(response.body, bytes[from..=to], "{range}");
        let content_range = format!("bytes {from}-{to}/{length}");
        assert_eq!(response.header("content-range"), Some(content_range.as_str()), "{range}");
        assert_eq!(response.header("content-length"), Some((to - from + 1).to_string().as_str()), "{range}");
    }
    for range in [format!("bytes={length}-"), "bytes=-0".to_owned(), "bytes=99999999999999999999-".to_owned()]
    {
        let response = ask(&range);
        response.error(416);
        assert_eq!(response.header("content-range"), Some(format!("bytes */{length}").as_str()), "{range}");
    }
    // RFC 9110, 14.2: a range that is no range, or several when one is all we do, may be ignored.
    for range in ["bytes=", "bytes=a-b", "bytes=9-3", "lines=1-2", "bytes", "bytes=0-1,5-6"] {
        let response = ask(range).expect(200);
        assert_eq!(response.body, bytes, "{range}");
    }
}

#[test]
fn a_part_is_sent_only_while_the_backup_is_the_same() {
    let store = Store::new();
    let (daemon, _database) = with_backup(&store, "same");
    let path = format!("/backups/last/{}", store.only("last"));
    let whole = daemon.get(&path).expect(200);
    let (tag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    let ask = |condition: &str| {
        daemon.send("GET", &path, &[("Range", "bytes=0-3"), ("If-Range", condition)], None).status
    };
    assert_eq!(ask(tag), 206);
    assert_eq!(ask(modified), 206);
    assert_eq!(ask("\"another\""), 200);
    assert_eq!(ask(&format!("W/{tag}")), 200, "a weak tag never matches strongly");
    assert_eq!(ask("Sun, 06 Nov 1994 08:49:37 GMT"), 200);
    let twice = [("Range", "bytes=0-3"), ("If-Range", tag), ("If-Range", "\"another\"")];
    assert_eq!(daemon.send("GET", &path, &twice, None).status, 200, "two conditions are none that is met");
}

#[test]
fn an_unchanged_backup_is_not_sent_again() {
    let store = Store::new();
    let (daemon, _database) = with_backup(&store, "unchanged");
    let path = format!("/backups/last/{}", store.only("last"));
    let whole = daemon.get(&path).expect(200);
    let (tag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    let ask = |headers: &[(&str, &str)]| daemon.send("GET", &path, headers, None);
    for headers in [
        vec![("If-None-Match", tag)],
        vec![("If-None-Match", "*")],
        vec![("If-None-Match", &*format!("\"a\", W/{tag} , \"b\""))],
        vec![("If-None-Match", "\"another\""), ("If-None-Match", tag)],
        vec![("If-Modified-Since", modified)],
        vec![("If-None-Match", tag), ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")],
    ] {
        let response = ask(&headers);
        assert_eq!(response.status, 304, "{headers:?}");
        assert!(response.body.is_empty());
        assert_eq!(response.header("etag"), Some(tag));
    }
    for headers in [
        vec![("If-None-Match", "\"another\"")],
        vec![("If-None-Match", "\"another\""), ("If-Modified-Since", modified)],
        vec![("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")],
        vec![("If-Modified-Since", "yesterday")],
    ] {
        assert_eq!(ask(&headers).status, 200, "{headers:?}");
    }
}

#[test]
fn what_is_asked_of_another_version_is_refused() {
    let store = Store::new();
    let (daemon, _database) = with_backup(&store, "versions");
    let (path, daily) = (format!("/backups/last/{}", store.only("last")), store.only("daily"));
    let whole = daemon.get(&path).expect(200);
    let (tag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    let wrong = [
        vec![("If-Match", "\"another\"")],
        vec![("If-Match", "\"another\""), ("If-Unmodified-Since", modified)],
        vec![("If-Unmodified-Since", long_ago)],
        vec![("If-Match", "\u{e9}")],
    ];
    let right = [
        vec![("If-Match", tag)],
        vec![("If-Match", "*")],
        vec![("If-Match", tag), ("If-Unmodified-Since", long_ago)],
        vec![("If-Unmodified-Since", modified)],
        vec![("If-Unmodified-Since", "yesterday")],
    ];
    for headers in &wrong {
        for method in ["GET", "HEAD"] {
            let range = [&[("Range", "bytes=0-3"), ("If-None-Match", tag)], &headers[..]].concat();
            assert_eq!(daemon.send(method, &path, &range, None).status, 412, "{headers:?}");
        }
        let delete = |path: &str| daemon.send("DELETE", path, headers, None);
        delete(&path).error(400);
        delete(&format!("{path}?confirm=true")).error(412);
        delete(&format!("{path}.none?confirm=true")).error(404);
    }
    for headers in &right {
        assert_eq!(daemon.send("GET", &path, headers, None).expect(200).body, whole.body, "{headers:?}");
    }
    daemon.send("DELETE", &format!("{path}?confirm=true"), &right[0], None).expect(200);
    daemon.send("DELETE", &format!("{path}?confirm=true"), &right[0], None).error(404);
    let daily = format!("/backups/daily/{daily}?confirm=true");
    daemon.send("DELETE", &daily, &[("If-Unmodified-Since", modified)], None).expect(200);
}

#[test]
fn the_tag_changes_with_the_bytes() {
    let store = Store::new();
    let (daemon, database) = with_backup(&store, "tagged");
    let path = format!("/backups/daily/{}", store.only("daily"));
    let before = daemon.get(&path).header("etag").unwrap().to_owned();
    database.sql("DELETE FROM orders");
    daemon.back_up();
    assert_eq!(store.dated("daily").len(), 1, "a day has one daily backup");
    let after = daemon.get(&path).expect(200);
    assert_ne!(after.header("etag").unwrap(), before);
    assert_eq!(after.body, fs::read(store.file("daily", &store.only("daily"))).unwrap());
}

#[test]
fn an_unknown_path_is_404_and_a_known_one_names_its_methods() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    for path in
        ["/", "/nothing", "/status/", "/backups/last", "/jobs/none", "/jobs/a/b", "//status", "/Status"]
    {
        let response = daemon.get(path);
        assert_eq!(response.status, 404, "{path}: {}", response.text());
        response.error(404);
    }
    for (method, path, allowed) in [
        ("POST", "/status", "GET"),
        ("DELETE", "/backup", "POST"),
        ("GET", "/backup", "POST"),
        ("GET", "/restore", "POST"),
        ("PUT", "/backups", "GET"),
        ("POST", "/backups/last/x.sql.gz", "DELETE"),
        ("POST", "/jobs", "GET"),
        ("POST", "/jobs/x", "DELETE"),
        ("BREW", "/config", "GET"),
    ] {
        let response = daemon.send(method, path, &[], None);
        response.error(405);
        let allow = response.header("allow").expect("an Allow header");
        assert!(allow.split(", ").any(|name| name == allowed), "{method} {path}: {allow}");
        assert!(!allow.split(", ").any(|name| name == method), "{method} {path}: {allow}");
    }
    let query = daemon.get("/status?anything=1").expect(200);
    assert!(query.json()["version"].is_string());
}

#[test]
fn every_answer_is_json_that_ends_in_a_newline() {
    let store = Store::new();
    let (daemon, _database) = with_backup(&store, "answers");
    for path in ["/status", "/backups", "/jobs", "/config", "/nothing", "/jobs/none", "/backups?slot=x"] {
        let response = daemon.get(path);
        assert!(response.json().is_object(), "{path}");
        assert_eq!(
            response.header("content-length"),
            Some(response.body.len().to_string().as_str()),
            "{path}"
        );
    }
}

#[test]
fn what_is_not_http_is_answered_in_json_too() {
    let store = Store::new();
    let daemon = Plan::new(Cluster::shared(15), &store).database("mydb").start();
    for raw in [
        "nonsense\r\n\r\n",
        "GET /status\r\n\r\n",
        "GET /status HTTP/3.0\r\n\r\n",
        "GET /status HTTP/1.1\r\nA b\r\n\r\n",
    ] {
        let response = exchange(daemon.port, raw.as_bytes());
        assert!((400..600).contains(&response.status), "{raw:?}");
        response.error(response.status);
    }
}

#[test]
fn the_command_line_lists_the_same_backups() {
    let store = Store::new();
    let (daemon, database) = with_backup(&store, "cli");
    let server = Cluster::shared(15);
    let outcome = Cli::new(server, &store)
        .env("POSTGRES_DB", &database.name)
        .args(["list", "--json"])
        .run()
        .succeeded();
    let listed: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let entries = listed.as_array().or_else(|| listed["backups"].as_array()).expect("a list").clone();
    let names = |entries: &[Value]| -> Vec<(String, String)> {
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
        entries.iter().map(|entry| (text(entry, "slot"), text(entry, "name"))).collect()
    };
    assert_eq!(names(&entries), names(&daemon.backups("")));
    let plain = || Cli::new(server, &store).env("POSTGRES_DB", &database.name).args(["list"]);
    let shown = plain().run().succeeded().saying(&format!("last/{}", store.only("last")));
    assert_eq!(shown.column("SLOT"), ["LDWM"]);
    plain().args(["--all"]).run().succeeded().saying(&format!("monthly/{}", store.only("monthly")));
}
