//! Backups of every size around the limits of the Bot API go and come back.

use super::*;

/// A table whose dump has exactly `size` bytes, and what tells it from others.
fn fill_exactly(database: &Database, store: &Store, size: u64) {
    /// PostgreSQL has no longer values than 1 GB.
    const ROW: u64 = 64 << 20;
    let rows = size / ROW + 1;
    let table = |longer: u64| {
        database.sql(&format!(
            "DROP TABLE IF EXISTS filling;
             CREATE TABLE filling AS SELECT n, repeat(chr(97 + n % 26), 1 + ({longer} / {rows})::int
                 + CASE n WHEN 0 THEN ({longer} % {rows})::int ELSE 0 END) AS text
             FROM generate_series(0, {rows} - 1) AS n"
        ));
    };
    table(0);
    let backup = Cli::backup(Cluster::shared(15), store, &database.name).env("POSTGRES_EXTRA_OPTS", "-Z0");
    backup.run().succeeded();
    let least = fs::metadata(store.file("last", &store.only("last"))).unwrap().len();
    table(size - least);
    wipe(store);
}

/// A directory with a backup of exactly `size` bytes goes, the directory is lost, and the backup comes back by its
/// number. Answers the most memory that the sending process had, in KiB.
fn goes_and_comes_back(size: u64, settings: &[(&'static str, String); 4], api: &BotApi) -> u64 {
    let server = Cluster::shared(15);
    let (store, database) = (Store::new(), server.database("sized"));
    fill_exactly(&database, &store, size);
    let digest =
        |name: &str| server.sql(name, "SELECT md5(string_agg(md5(text), ',' ORDER BY n)) FROM filling");
    let with = || settings.iter().fold(Cli::new(server, &store), |cli, (key, value)| cli.env(key, value));
    let mut running =
        with().env("POSTGRES_EXTRA_OPTS", "-Z0").env("POSTGRES_DB", &database.name).args(["backup"]).start();
    let mut most = 0;
    while running.poll().is_none() {
        most = most.max(Process::peak_memory(running.pid()).unwrap_or_default());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let outcome = running.wait().succeeded();
    let name = store.only("last");
    assert_eq!(fs::metadata(store.file("last", &name)).unwrap().len(), size);
    assert_eq!(store.status()["delivery"]["telegram"], "delivered", "{outcome}");
    let (id, message) = restore_id(&api.messages("77"));
    let is_in_parts = message.document.unwrap().1.ends_with(".parts.json");
    let most_at_once = if settings[2].1.contains("telegram.org") { PART } else { 1_990_000_000 };
    assert_eq!(is_in_parts, size > most_at_once, "{size} bytes");
    wipe(&store);
    let target = format!("{}_restored", database.name);
    with().args(["restore", "--from-telegram", &id.to_string(), &target]).run().succeeded();
    assert_eq!(digest(&target), digest(&database.name), "{size} bytes");
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&target)));
    most
}

/// `scripts/soak.sh telegram` does it with more sizes, up to 2 GB.
#[test]
fn every_size_around_the_limits_goes_and_comes_back() {
    let given = std::env::var("BACKUPGRAM_E2E_SIZES").unwrap_or_default();
    let mut sizes: Vec<u64> = given.split_whitespace().map(|size| size.parse().expect("a size")).collect();
    if sizes.is_empty() {
        sizes = vec![PART - 1, PART, PART + 1];
    }
    for size in sizes {
        let api = BotApi::start(&["77"]);
        // Of two parts only the first is that long: it fails twice.
        if size == PART + 1 {
            api.wire.cut(2, 1 << 20);
        }
        let most = goes_and_comes_back(size, &api.settings("77"), &api);
        println!("{size} bytes went and came back; the sender had {most} KiB at most");
        assert!(most < 32 << 10, "{most} KiB");
        assert_eq!(api.wire.cuts_left(), 0);
    }
}

#[test]
fn a_server_of_ones_own_takes_more_at_once_and_may_name_a_path() {
    for is_local in [false, true] {
        let api = BotApi::start(&["77"]);
        let settings = api.settings_of_own_server("77", is_local);
        goes_and_comes_back(PART + 2_000_000, &settings, &api);
    }
    let given = std::env::var("BACKUPGRAM_E2E_OWN_SIZES").unwrap_or_default();
    for size in given.split_whitespace().map(|size| size.parse().expect("a size")) {
        let api = BotApi::start(&["77"]);
        let most = goes_and_comes_back(size, &api.settings_of_own_server("77", false), &api);
        println!("{size} bytes went and came back; the sender had {most} KiB at most");
        assert!(most < 32 << 10, "{most} KiB");
    }
    // What somebody sent whole does not come back from Telegram's own.
    let (server, store, api) = (Cluster::shared(15), Store::new(), BotApi::start(&["77"]));
    let id = api.plant("77", "app-20260416-143000.sql", 30 << 20).to_string();
    let restore = cli(server, &store, &api, "77").args(["restore", "--from-telegram", &id, "nosuch"]);
    let outcome = restore.run().exited_with(1).saying("has 30.0 MiB, and bots can download only up to 20 MB");
    assert!(outcome.text().contains("TELEGRAM_API_URL"), "{outcome}");
    assert!(store.partial().is_empty());
}

/// No backup is that small, but a file that somebody has put there may be.
#[test]
fn an_empty_file_and_one_of_a_byte_go_and_come_back_as_they_are() {
    let server = Cluster::shared(15);
    let (store, api) = (Store::new(), BotApi::start(&["77"]));
    let database = server.database("tiny");
    let names = ["empty-20260416-143000.sql", "byte-20260416-143000.sql"];
    Cli::backup(server, &store, &database.name).run().succeeded();
    for (name, text) in names.iter().zip(["", "\n"]) {
        fs::write(store.file("last", name), text).unwrap();
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let waiting = names.map(
        |name| json!({"file": format!("last/{name}"), "sha256": "", "began": now, "chats": {}, "done": []}),
    );
    fs::write(store.path().join(".telegram.json"), json!(waiting).to_string()).unwrap();
    let backup = cli(server, &store, &api, "77").env("POSTGRES_DB", &database.name);
    backup.args(["backup"]).run().succeeded();
    assert_eq!(store.status()["delivery"]["telegram"], "delivered");
    let target = format!("{}_restored", database.name);
    wipe(&store);
    for (name, said) in names.iter().zip(["is empty", "is not a dump by pg_dump"]) {
        let messages = api.messages("77").into_iter();
        let (id, _) =
            restore_id(&messages.filter(|message| message.caption.contains(name)).collect::<Vec<_>>());
        let id = id.to_string();
        let restore = cli(server, &store, &api, "77").args(["restore", "--from-telegram", &id, &target]);
        restore.run().exited_with(1).saying(&format!("/.partial/telegram/{name} {said}"));
        assert!(!server.has_database(&target) && store.partial().is_empty());
    }
}
