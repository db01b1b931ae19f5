//! A restore gives exactly the backup's data, or leaves everything as it was.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::*;

/// Backs a database up and answers `last/NAME`.
#[track_caller]
fn backed_up(server: &Cluster, store: &Store, database: &Database<'_>) -> String {
    Cli::backup(server, store, &database.name).run().succeeded();
    let mut names = store.dated("last");
    names.retain(|name| store.manifest("last", name)["database"] == database.name.as_str());
    format!("last/{}", names.pop().expect("a backup"))
}

/// Everything that the server knows of a database itself, apart from what changes by use.
#[track_caller]
fn properties(server: &Cluster, name: &str) -> String {
    let name = name.replace('\'', "''");
    server.sql(
        "postgres",
        &format!(
            "SELECT to_jsonb(d) - 'oid' - 'datfrozenxid' - 'datminmxid', pg_get_userbyid(datdba),
                    shobj_description(oid, 'pg_database'),
                    (SELECT array_agg(format('%s %s', setrole::regrole, setconfig) ORDER BY setrole)
                     FROM pg_db_role_setting WHERE setdatabase = oid),
                    (SELECT string_agg(label, ',') FROM pg_shseclabel WHERE objoid = oid)
             FROM pg_database d WHERE datname = '{name}'"
        ),
    )
}

fn a_restore_over_other_data_gives_exactly_the_backup(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("exact");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let file = backed_up(server, &store, &database);
    // Same keys with other values, rows that are new, objects that are gone, changed and new.
    database.sql(
        "UPDATE orders SET note = 'changed'; DELETE FROM orders WHERE id % 3 = 0;
         INSERT INTO customers VALUES (1000, 'new'); DROP VIEW summary; DROP PROCEDURE nothing();
         ALTER TABLE measured ADD COLUMN extra text DEFAULT 'x'; ALTER TYPE mood ADD VALUE 'new';
         CREATE TABLE intruder (x int); SELECT lo_from_bytea(0, 'another'); SELECT setval('loose', 7);
         CREATE OR REPLACE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 3';",
    );
    let mut idle = database.session();
    idle.run("SELECT 1");
    let mut busy = database.session();
    busy.run("BEGIN; UPDATE customers SET name = name || '!'");
    Cli::restore(server, &store, &file).run().succeeded();
    assert_eq!(database.dump(), before);
    server.assert_no_scratch_database_is_left();
}
on_both_servers!(a_restore_over_other_data_gives_exactly_the_backup);

/// In the original image: restoring twice gave every row twice, or key errors that nobody saw.
#[test]
fn a_restore_repeated_changes_nothing() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("twice");
    database.sql("CREATE TABLE keyless (x int); INSERT INTO keyless SELECT generate_series(1, 100)");
    let file = backed_up(server, &store, &database);
    for _ in 0..2 {
        Cli::restore(server, &store, &file).run().succeeded();
        assert_eq!(database.sql("SELECT count(*) FROM keyless"), "100");
    }
}

fn what_belongs_to_the_database_itself_is_kept(server: &'static Cluster) {
    let store = Store::new();
    let label = server.database("kept");
    let (owner, reader) = (format!("{}_owner", label.name), format!("{} \"reader\"", label.name));
    let name = format!("{} 'odd\" name", label.name);
    server.sql(
        "postgres",
        &format!(
            "CREATE ROLE {owner}; CREATE ROLE {}; CREATE DATABASE {} OWNER {owner} TEMPLATE template0
             ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
            quoted(&reader),
            quoted(&name)
        ),
    );
    let connect = |sql: &str| server.sql(&name, sql);
    connect("CREATE TABLE things (x int PRIMARY KEY, y text); INSERT INTO things VALUES (1, 'é')");
    let before = server.dump(&name);
    Cli::new(server, &store)
        .env("POSTGRES_DB_AUTODISCOVER", "TRUE")
        .args(["backup", &name])
        .run()
        .succeeded();
    let file = fs::read_dir(store.path().join("last")).unwrap().find_map(|entry| {
        let entry = entry.unwrap();
        let visible = !entry.file_name().to_str().unwrap().starts_with('.');
        (visible && entry.file_type().unwrap().is_file()).then(|| entry.path())
    });

    // All of it after the backup: it is the target's, not the dump's.
    let (database, reader) = (quoted(&name), quoted(&reader));
    connect(&format!(
        "DELETE FROM things;
         COMMENT ON DATABASE {database} IS E'it''s\\n\"quoted\" \\\\ back';
         ALTER DATABASE {database} CONNECTION LIMIT 17;
         ALTER DATABASE {database} SET search_path = 'odd \"schema\"', \"$user\", public, 'it''s';
         ALTER DATABASE {database} SET work_mem = '7MB';
         ALTER DATABASE {database} SET application_name = E'it''s\\ttabbed, \"quoted\" \\\\';
         ALTER DATABASE {database} SET custom.thing = '';
         ALTER ROLE {reader} IN DATABASE {database} SET search_path = \"x y\", pg_temp;
         ALTER ROLE {reader} IN DATABASE {database} SET statement_timeout = '12s';
         REVOKE ALL ON DATABASE {database} FROM PUBLIC;
         GRANT CONNECT ON DATABASE {database} TO {reader} WITH GRANT OPTION;
         GRANT TEMPORARY, CREATE ON DATABASE {database} TO {owner};"
    ));
    let properties_before = properties(server, &name);
    assert!(
        properties_before.contains("LATIN1") || properties_before.contains("\"encoding\": 8"),
        "{properties_before}"
    );
    Cli::restore(server, &store, file.expect("a backup")).run().succeeded();
    assert_eq!(properties(server, &name), properties_before);
    assert_eq!(server.dump(&name), before);
    server.assert_no_scratch_database_is_left();
    server.sql(
        "postgres",
        &format!("DROP DATABASE {database} WITH (FORCE); DROP ROLE {owner}; DROP ROLE {reader}"),
    );
}
on_both_servers!(what_belongs_to_the_database_itself_is_kept);

#[test]
fn a_database_with_its_own_collation_keeps_it() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let spare = server.database("collation");
    let database = quoted(&spare.name);
    server.sql("postgres", &format!("DROP DATABASE {database}"));
    server.sql(
        "postgres",
        &format!(
            "CREATE DATABASE {database} TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'
             LOCALE 'C'"
        ),
    );
    spare.fill(10);
    let (before, dump) = (properties(server, &spare.name), spare.dump());
    let file = backed_up(server, &store, &spare);
    spare.sql("TRUNCATE orders");
    Cli::restore(server, &store, &file).run().succeeded();
    assert_eq!(properties(server, &spare.name), before);
    assert_eq!(spare.dump(), dump);
}

#[test]
fn a_tablespace_is_kept() {
    let server = Cluster::start(15);
    let store = Store::new();
    server.sql("postgres", "SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''");
    server.sql("postgres", "CREATE DATABASE moved TABLESPACE elsewhere");
    server.sql("moved", "CREATE TABLE things (x int)");
    Cli::backup(&server, &store, "moved").run().succeeded();
    let before = properties(&server, "moved");
    Cli::restore(&server, &store, format!("last/{}", store.only("last"))).run().succeeded();
    assert_eq!(properties(&server, "moved"), before);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Files that look like backups and are none, made from a good one.
fn broken_files(good: &[u8], sql: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut flipped = good.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    let mut wrong_sum = good.to_vec();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let trailer = sql.rfind("--\n-- PostgreSQL database dump complete").expect("a trailer");
    let error = sql.replacen(
        "-- PostgreSQL database dump complete",
        "SELECT 1/0;\n-- PostgreSQL database dump complete",
        1,
    );
    let half = format!("{}\n-- PostgreSQL database dump complete\n--\n", &sql[..sql.len() / 2]);
    vec![
        ("truncated gzip", good[..good.len() / 2].to_vec()),
        ("gzip without its last byte", good[..good.len() - 1].to_vec()),
        ("gzip header only", good[..10].to_vec()),
        ("flipped bit", flipped),
        ("wrong checksum", wrong_sum),
        ("garbage behind the gzip", [good, b"garbage"].concat()),
        ("text", b"Dear diary,\ntoday I was not backed up.\n".to_vec()),
        ("empty", Vec::new()),
        ("gzip of nothing", gzip(b"")),
        ("gzip of garbage", gzip(&(0..9_999_u32).map(|i| (i * i % 251) as u8).collect::<Vec<_>>())),
        ("a dump without its trailer", gzip(&sql.as_bytes()[..trailer])),
        ("a plain dump without its trailer", sql.as_bytes()[..trailer].to_vec()),
        ("a dump with an error at the end", gzip(error.as_bytes())),
        ("half a dump with a trailer", gzip(half.as_bytes())),
    ]
}

/// In the original image: garbage was "restored".
fn a_broken_file_changes_nothing(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("unbroken");
    fixture::fill_with_everything(&database);
    let file = backed_up(server, &store, &database);
    let good = fs::read(store.path().join(&file)).unwrap();
    let sql = read_dump(&store.path().join(&file)).unwrap();
    database.sql("DELETE FROM orders WHERE id < 100; CREATE TABLE newer (x int)");
    let before = database.dump();
    let state = properties(server, &database.name);
    for (what, bytes) in broken_files(&good, &sql) {
        // Once in place of the good one, beside its manifest, and once as a file that nothing is known about.
        let stranger = store.root().join("stranger.sql.gz");
        fs::write(&stranger, &bytes).unwrap();
        for path in [store.path().join(&file), stranger] {
            corrupt(&path, &bytes);
            let outcome = Cli::restore(server, &store, &path).args([&database.name]).run().failed();
            assert!(!outcome.stderr.is_empty(), "{what}\n{outcome}");
            assert_eq!(database.dump(), before, "{what}: {}", path.display());
        }
    }
    assert_eq!(properties(server, &database.name), state);
    server.assert_no_scratch_database_is_left();
    Cli::restore(server, &store, "last/none.sql.gz")
        .args([&database.name])
        .run()
        .failed()
        .saying("none.sql.gz");
}
on_both_servers!(a_broken_file_changes_nothing);

#[test]
fn a_file_that_is_broken_beside_its_manifest_fails_the_job() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("job");
    database.fill(10);
    let file = backed_up(server, &store, &database);
    let before = database.dump();
    let good = fs::read(store.path().join(&file)).unwrap();
    corrupt(&store.path().join(&file), &good[..good.len() / 2]);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let job = daemon.failed(&daemon.start_restore(&file, &database.name));
    assert_eq!(job["type"], "restore");
    assert_ne!(job["exit_code"], 0, "{job:#}");
    assert_ne!(job["error"], "", "{job:#}");
    assert_eq!(database.dump(), before);
}

/// A database whose restore waits at its gate, and its backup.
struct Waiting<'c> {
    server: &'c Cluster,
    store: Store,
    database: Database<'c>,
    gate: cluster::Gate,
    file: String,
    before: String,
    state: String,
}

impl<'c> Waiting<'c> {
    fn new(server: &'c Cluster, label: &str) -> Self {
        let store = Store::new();
        let database = server.database(label);
        database.fill(1_000);
        let gate = database.gate();
        let file = backed_up(server, &store, &database);
        database.sql("UPDATE orders SET note = 'newer'");
        let (before, state) = (database.dump(), properties(server, &database.name));
        gate.shut();
        Self { server, store, database, gate, file, before, state }
    }

    #[track_caller]
    fn start(&self) -> command::Running {
        let mut running = Cli::restore(self.server, &self.store, &self.file).start();
        wait_until("the restore to reach the gate", LONG, || {
            assert!(running.poll().is_none(), "it ended: {}", running.text());
            self.gate.is_waited_for(self.server)
        });
        running
    }

    #[track_caller]
    fn nothing_has_changed(&self) {
        assert_eq!(self.database.dump(), self.before);
        assert_eq!(properties(self.server, &self.database.name), self.state);
        self.server.assert_no_scratch_database_is_left();
    }
}

fn a_killed_psql_changes_nothing(server: &'static Cluster) {
    let waiting = Waiting::new(server, "psql");
    let mut running = waiting.start();
    running.descendant("psql").signal(Signal::SIGKILL);
    running.wait().failed();
    waiting.nothing_has_changed();
}
on_both_servers!(a_killed_psql_changes_nothing);

fn a_restore_that_is_told_to_stop_changes_nothing(server: &'static Cluster) {
    let waiting = Waiting::new(server, "term");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let running = waiting.start();
        running.signal(signal);
        running.wait().failed();
        waiting.nothing_has_changed();
    }
}
on_both_servers!(a_restore_that_is_told_to_stop_changes_nothing);

#[test]
fn a_killed_restore_changes_nothing_and_the_next_one_cleans_up() {
    let server = Cluster::start(15);
    let waiting = Waiting::new(&server, "killed");
    let running = waiting.start();
    running.signal(Signal::SIGKILL);
    running.wait().failed();
    assert_eq!(waiting.database.dump(), waiting.before);
    waiting.gate.open();
    Cli::restore(&server, &waiting.store, &waiting.file).run().succeeded();
    assert_eq!(waiting.database.sql("SELECT count(*) FROM orders WHERE note = 'newer'"), "0");
    server.assert_no_scratch_database_is_left();
}

#[test]
fn a_server_that_goes_away_changes_nothing() {
    let server = Cluster::start(15);
    let waiting = Waiting::new(&server, "crash");
    let running = waiting.start();
    server.stop();
    running.wait().failed();
    server.run();
    assert_eq!(waiting.database.dump(), waiting.before);
    assert_eq!(properties(&server, &waiting.database.name), waiting.state);
}

#[test]
fn a_full_disk_of_the_server_changes_nothing() {
    let Some((server, _disk)) = Cluster::start_on_small_disk(15, 100) else { return };
    let store = Store::new();
    let database = server.database("full");
    database.fill(200_000);
    let file = backed_up(&server, &store, &database);
    database.sql("UPDATE customers SET name = 'newer ' || id");
    let (before, state) = (database.dump(), properties(&server, &database.name));
    // Enough room for an empty database, not enough for the rows.
    let base = server.data().join("base");
    let ballast = base.join("ballast");
    let free = nix::sys::statvfs::statvfs(&base).unwrap();
    let free = free.blocks_available() * free.fragment_size();
    let leave = 14 * 1024 * 1024;
    assert!(free > leave, "{free} bytes left");
    fs::write(&ballast, vec![1; usize::try_from(free - leave).unwrap()]).unwrap();
    let refused = Cli::restore(&server, &store, &file).run().exited_with(1);
    refused.saying("the server's disk has 14.0 MiB free").saying("--ignore-space");
    let outcome = Cli::restore(&server, &store, &file).args(["--ignore-space"]).run().failed();
    assert!(outcome.text().contains("No space left on device"), "{outcome}");
    assert_eq!(database.dump(), before);
    assert_eq!(properties(&server, &database.name), state);
    server.assert_no_scratch_database_is_left();
    fs::remove_file(&ballast).unwrap();
}

fn the_previous_database_is_kept_on_request(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("previous");
    database.fill(20);
    let old = database.dump();
    let file = backed_up(server, &store, &database);
    database.sql("TRUNCATE orders");
    let newer = database.dump();
    let known = server.databases();
    let outcome = Cli::new(server, &store).args(["restore", "--keep-previous", &file]).run().succeeded();
    assert_eq!(database.dump(), old);
    let kept =
        server.databases().into_iter().find(|name| !known.contains(name) && outcome.text().contains(name));
    let kept = kept.unwrap_or_else(|| panic!("the kept database must be named\n{outcome}"));
    assert_eq!(server.dump(&kept), newer);
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&kept)));

    database.sql("TRUNCATE orders");
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let body = json!({"file": file, "target_db": database.name, "confirm": true, "keep_previous": true});
    let job = daemon.succeeded(&job_id(&daemon.post("/restore", &body).expect(202)));
    let log = job["log_tail"].to_string();
    let kept =
        server.databases().into_iter().find(|name| !known.contains(name) && log.contains(name.as_str()));
    let kept = kept.unwrap_or_else(|| panic!("the kept database must be named\n{job:#}"));
    assert_eq!(server.dump(&kept), newer);
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&kept)));
}
on_both_servers!(the_previous_database_is_kept_on_request);

fn a_target_that_does_not_exist_is_created(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("source");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let file = backed_up(server, &store, &database);
    let target = format!("{}_restored", database.name);
    Cli::restore(server, &store, &file).args([&target]).run().succeeded();
    assert_eq!(server.dump(&target), before);
    assert_eq!(database.dump(), before);
    server.sql("postgres", &format!("DROP DATABASE {target}"));

    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.succeeded(&daemon.start_restore(&file, &target));
    assert_eq!(server.dump(&target), before);
    server.sql("postgres", &format!("DROP DATABASE {target}"));
}
on_both_servers!(a_target_that_does_not_exist_is_created);

/// In the original image: a path that contained "cluster" went into `postgres`, whatever the target.
#[test]
fn a_name_that_contains_cluster_is_a_name_like_any_other() {
    let server = Cluster::start(15);
    let store = Store::new();
    let database = server.database_named("mycluster");
    database.fill(10);
    let before = database.dump();
    let untouched = server.dump("postgres");
    let file = backed_up(&server, &store, &database);
    let target = server.database_named("elsewhere");
    Cli::restore(&server, &store, &file).args(["elsewhere"]).run().succeeded();
    assert_eq!(target.dump(), before);
    let moved = store.root().join("cluster-copy.sql.gz");
    fs::copy(store.path().join(&file), &moved).unwrap();
    database.sql("DROP TABLE orders");
    Cli::restore(&server, &store, &moved).args(["mycluster"]).run().succeeded();
    assert_eq!(database.dump(), before);
    assert_eq!(server.dump("postgres"), untouched);
}

/// In the original image: another suffix than the default gave a database `app-<date>.dump`.
#[test]
fn without_a_target_the_manifest_or_the_exact_name_says_the_database() {
    let server = Cluster::start(15);
    let store = Store::new();
    let database = server.database_named("my-app-20240101");
    database.fill(10);
    let before = database.dump();
    let cli = || Cli::new(&server, &store).env("POSTGRES_DB", &database.name).env("BACKUP_SUFFIX", ".dump");
    cli().args(["backup"]).run().succeeded();
    let databases = server.databases();
    let mut files: Vec<PathBuf> = SLOTS
        .iter()
        .flat_map(|slot| store.names(slot).into_iter().map(|name| store.file(slot, &name)))
        .collect();
    assert_eq!(files.len(), 8, "{files:?}");
    for (round, manifests) in ["with", "without"].into_iter().enumerate() {
        // A slot's backup once, and its pointer the other time.
        for file in files.iter().skip(round).step_by(2) {
            database.sql("DELETE FROM orders");
            cli().args(["restore"]).args([file]).run().succeeded();
            assert_eq!(database.dump(), before, "{} {manifests} manifest", file.display());
            assert_eq!(server.databases(), databases);
        }
        for slot in SLOTS {
            let _ = fs::remove_file(store.manifest_file(slot, &store.only(slot)));
        }
        // A pointer without a manifest behind it has no date: its name is exact too.
        files.sort();
    }
    let nameless = store.root().join("nameless");
    fs::copy(&files[0], &nameless).unwrap();
    cli().args(["restore"]).args([&nameless]).run().failed().saying("nameless");
    assert_eq!(server.databases(), databases);
}

/// In the original image: a restore ran while a backup of the same directory did.
#[test]
fn a_restore_waits_for_the_lock_or_fails() {
    let server = Cluster::shared(15);
    let waiting = Waiting::new(server, "lock");
    let running = waiting.start();
    let holder = running.pid().to_string();
    Cli::backup(server, &waiting.store, &waiting.database.name).run().exited_with(75).saying(&holder);
    Cli::restore(server, &waiting.store, &waiting.file).run().exited_with(75).saying(&holder);
    waiting.gate.open();
    running.wait().succeeded();
}

#[test]
fn a_target_that_no_restore_may_replace_is_refused() {
    let server = Cluster::start(15);
    let store = Store::new();
    let database = server.database("safe");
    database.fill(5);
    let file = backed_up(&server, &store, &database);
    let own = || ["template1", "postgres"].map(|name| server.dump(name));
    let before = own();
    for target in ["template0", "template1"] {
        let outcome = Cli::restore(&server, &store, &file).args([target]).run().exited_with(1);
        outcome.saying(&format!("database {target} belongs to the server"));
    }
    Cli::restore(&server, &store, &file).args([""]).run().failed();
    let mould = server.database_named("mould");
    mould.sql("CREATE TABLE cast_in_it (x int); ALTER DATABASE mould IS_TEMPLATE true");
    let outcome = Cli::restore(&server, &store, &file).args(["mould"]).run().exited_with(1);
    outcome.saying("database mould is a template");
    assert_eq!(mould.sql("SELECT count(*) FROM cast_in_it"), "0");
    assert_eq!(own(), before);
    assert!(server.has_database("template0") && server.has_database("template1"));
    server.assert_no_scratch_database_is_left();
}

#[test]
fn a_dump_cannot_run_programs_or_leave_its_scratch_database() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (database, neighbour) = (server.database("jailed"), server.database("neighbour"));
    database.fill(5);
    neighbour.fill(5);
    let file = backed_up(server, &store, &database);
    let sql = read_dump(&store.path().join(&file)).unwrap();
    let (before, beside) = (database.dump(), neighbour.dump());
    let mark = store.root().join("mark");
    for line in [
        format!("\\! touch {}", mark.display()),
        format!("\\o {}", mark.display()),
        format!("\\connect {}\nDROP TABLE orders;", neighbour.name),
    ] {
        let bad = store.root().join("bad.sql.gz");
        let at = sql.find("CREATE TABLE").expect("a table");
        fs::write(&bad, gzip(format!("{}{line}\n{}", &sql[..at], &sql[at..]).as_bytes())).unwrap();
        let outcome = Cli::restore(server, &store, &bad).args([&database.name]).run();
        assert!(!mark.exists(), "{line}\n{outcome}");
        assert_eq!(neighbour.dump(), beside, "{line}\n{outcome}");
        assert_eq!(database.dump(), before, "{line}\n{outcome}");
    }
}
