//! A backup is proven by restoring it into a server of its own, of which nothing stays.

/// What is held against a backup, and what is not.
mod verdicts;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::*;

const KEY: &str = "k3y of ours";

/// The options of every format, and the key that it is encrypted with, if it is.
const KINDS: [(&str, &str); 6] =
    [("-Z1", ""), ("-Z zstd:1", KEY), ("-Fc", ""), ("-Fc", KEY), ("-Ft", ""), ("-Fd -j2", "")];

/// `backupgram verify --restore`.
fn prove(server: &Cluster, store: &Store, names: &[&str]) -> Cli {
    let verify = Cli::new(server, store).env("BACKUP_ENCRYPTION_KEY", KEY);
    verify.args(["verify", "--restore"]).args(names)
}

fn manifest(store: &Store, file: &str) -> Value {
    let (slot, name) = file.split_once('/').unwrap();
    store.manifest(slot, name)
}

/// What [`backupgram::store::catalog::Counts`] should say of a database.
fn counts(database: &Database<'_>) -> [u64; 4] {
    let own = "relnamespace::regnamespace::text !~ '^(pg_|information_schema)'";
    let tables = database.sql(&format!("SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND {own}"));
    let rows = tables.lines().map(|table| database.sql(&format!("SELECT count(*) FROM ONLY {table}")));
    let rows = rows.map(|count| count.parse::<u64>().unwrap()).sum();
    let count = |sql: &str| database.sql(sql).parse().unwrap();
    [
        count(&format!("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND {own}")),
        rows,
        count(&format!("SELECT count(*) FROM pg_class WHERE relkind IN ('i', 'I') AND {own}")),
        count("SELECT count(*) FROM pg_largeobject_metadata"),
    ]
}

/// Nothing of a proof is left: no file, no directory of a socket, no process.
#[track_caller]
fn nothing_is_left(store: &Store) {
    assert_eq!(store.partial(), [""; 0]);
    wait_until("the server of the proof to go", SOON, || !has_server(store));
}

/// Whether a server is at work below the backup directory.
fn has_server(store: &Store) -> bool {
    let place = store.path();
    let works_there = |process: &Process| process.directory().is_some_and(|path| path.starts_with(&place));
    Process::all().iter().any(|process| process.name == "postgres" && works_there(process))
}

fn every_kind_of_backup_is_proven(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("proven");
    let (owner, reader) = (format!("{}_owner", database.name), format!("{} \"reader\"", database.name));
    server.sql("postgres", &format!("CREATE ROLE {owner}; CREATE ROLE {}", quoted(&reader)));
    fixture::fill_with_everything(&database);
    let quoted_reader = quoted(&reader);
    database.sql(&format!(
        "CREATE SCHEMA own AUTHORIZATION {owner}; CREATE TABLE own.things (x int PRIMARY KEY, who text);
         ALTER TABLE own.things OWNER TO {owner}; GRANT SELECT (x), UPDATE ON own.things TO {quoted_reader};
         CREATE POLICY theirs ON own.things FOR SELECT TO {quoted_reader}, {owner} USING (x > 0);
         ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA own GRANT SELECT ON TABLES TO {quoted_reader};
         GRANT SELECT ON own.things TO pg_monitor;
         CREATE FUNCTION own.during(begin date, finish date) RETURNS TABLE(begin_of date) LANGUAGE sql
             AS 'SELECT $1';
         GRANT UPDATE ON LARGE OBJECT 424242 TO {quoted_reader}; INSERT INTO own.things VALUES (1, '{owner}')"
    ));
    for (options, key) in KINDS {
        let backup = Cli::backup(server, &store, &database.name);
        let backup = backup.env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_ENCRYPTION_KEY", key);
        let file = backed_up(backup, &store);
        prove(server, &store, &[&file]).run().succeeded().saying(&format!("{file} is whole"));
        let verified = manifest(&store, &file)["verified"].clone();
        assert_eq!(verified["by"], "restore", "{options}: {verified}");
        let found =
            ["tables", "rows", "indexes", "large_objects"].map(|what| verified[what].as_u64().unwrap());
        assert_eq!(found, counts(&database), "{options}: {verified}");
        assert!(verified["duration_seconds"].as_f64().unwrap() > 0.0 && verified["error"].is_null());
        nothing_is_left(&store);
    }
    drop(database);
    server.sql("postgres", &format!("DROP ROLE {owner}; DROP ROLE {}", quoted(&reader)));
}
on_both_servers!(every_kind_of_backup_is_proven);

#[test]
fn dumps_of_a_whole_server_and_of_its_roles_are_proven() {
    let (server, store) = (Cluster::start(17), Store::new());
    server.sql(
        "postgres",
        "CREATE ROLE \"odd 'role\" LOGIN PASSWORD 'x' CREATEDB; CREATE ROLE passing; CREATE ROLE member;
         GRANT passing TO \"odd 'role\" WITH ADMIN OPTION; SET ROLE \"odd 'role\"; GRANT passing TO member",
    );
    let place = server.data().with_file_name("fast");
    fs::create_dir(&place).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(server.data()).unwrap());
    std::os::unix::fs::chown(&place, Some(owner), None).unwrap();
    server.sql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    let (app, shop) = (server.database_named("app"), server.database_named("the shop"));
    app.fill(30);
    shop.fill(12);
    shop.sql("CREATE TABLE quick (x int) TABLESPACE fast; INSERT INTO quick VALUES (1)");
    server.sql("postgres", "CREATE TABLE in_postgres AS SELECT 1 AS one");
    server.sql("postgres", "ALTER DATABASE app SET default_transaction_read_only = on");
    server.sql("postgres", "ALTER DATABASE \"the shop\" SET statement_timeout = 1");
    let cluster =
        backed_up(Cli::new(&server, &store).env("POSTGRES_CLUSTER", "TRUE").args(["backup"]), &store);
    prove(&server, &store, &[&cluster]).run().succeeded();
    let verified = manifest(&store, &cluster)["verified"].clone();
    assert_eq!(
        (&verified["tables"], &verified["rows"]),
        (&json!(6), &json!(30 + 10 + 12 + 10 + 1 + 1)),
        "{verified}"
    );

    let backup = Cli::backup(&server, &store, "the shop").env("POSTGRES_DB_AUTODISCOVER", "TRUE");
    backup.env("BACKUP_GLOBALS", "TRUE").without("POSTGRES_DB").run().succeeded();
    for name in ["globals", "app", "the shop"] {
        let file = format!("last/{}", store.only_of("last", name));
        prove(&server, &store, &[&file]).run().succeeded();
        assert_eq!(manifest(&store, &file)["verified"]["by"], "restore", "{file}");
    }
    nothing_is_left(&store);
}

#[test]
fn a_proof_is_shown_wherever_backups_are_and_health_can_ask_for_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("shown");
    database.fill(50);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    let health = |days: &str| {
        let cli = Cli::new(server, &store).env("HEALTHCHECK_PORT", "0").env("BACKUP_MAX_UNPROVEN_DAYS", days);
        cli.args(["health"])
    };
    daemon.back_up();
    let file = format!("last/{}", store.only("last"));
    let listed = |slot: &str| daemon.backups(&format!("?slot={slot}")).remove(0)["verified"].clone();
    assert_eq!(listed("last")["by"], "checksum", "the stream has looked at all of it");
    health("0").run().succeeded();
    let said = health("3").run().exited_with(1);
    assert!(
        said.text().contains(&format!("not proven by a restore in the last 3 d: {}", database.name)),
        "{said}"
    );

    for body in [json!({"file": file, "restore": "yes"}), json!({"file": file, "restored": true})] {
        daemon.post("/verify", &body).error(400);
    }
    let job = daemon.post("/verify", &json!({"file": file, "restore": true})).expect(202);
    let job = daemon.succeeded(&job_id(&job));
    assert_eq!(job["type"], "verify");
    for slot in SLOTS {
        wait_until("the listing to say it", SOON, || listed(slot)["by"] == "restore");
        assert_eq!((&listed(slot)["tables"], &listed(slot)["rows"]), (&json!(2), &json!(60)), "{slot}");
    }
    let status = daemon.get("/status").expect(200).json();
    let verified = &status["last_backup"]["databases"][0]["verified"];
    assert_eq!(
        (&verified["by"], &verified["rows"], &verified["file"]),
        (&json!("restore"), &json!(60), &json!(file))
    );
    let healthy = health("3").args(["--json"]).run().succeeded();
    let healthy: Value = serde_json::from_str(&healthy.stdout).unwrap();
    assert_eq!(&healthy["verified"][&database.name], verified);
    let table = Cli::new(server, &store).args(["list"]).run().succeeded();
    assert!(table.column("PROVEN").iter().all(|proven| proven != "-"), "{table}");

    // Reading it again does not make less of it.
    Cli::new(server, &store).args(["verify", &file]).run().succeeded();
    assert_eq!(manifest(&store, &file)["verified"]["by"], "checksum");
    wait_until("the listing to keep the proof", SOON, || listed("last")["by"] == "restore");
    let path = store.path().join(".proofs.json");
    let mut proofs: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    proofs[&database.name]["at"] = json!(1_700_000_000);
    fs::write(&path, proofs.to_string()).unwrap();
    health("3").run().exited_with(1).saying("not proven");
}

#[test]
fn each_backup_is_proven_when_the_settings_ask_for_it_and_one_in_a_time() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let (database, other) = (server.database("each"), server.database("other"));
    database.fill(5);
    other.fill(5);
    let both = format!("{},{}", database.name, other.name);
    let backup = |every: &str| {
        let cli = Cli::backup(server, &store, &both).env("BACKUP_VERIFY", "restore");
        cli.env("BACKUP_VERIFY_EVERY", every)
    };
    let proven = |name: &str| {
        let dated = store.dated("last").into_iter().filter(|file| file.starts_with(&format!("{name}-2")));
        let methods = dated.map(|file| store.manifest("last", &file)["verified"]["by"].clone());
        methods.filter(|by| by == "restore").count()
    };
    backup("0s").run().succeeded();
    backup("7d").run().succeeded();
    assert_eq!((proven(&database.name), proven(&other.name)), (1, 1), "not again within a week");
    backup("0s").run().succeeded();
    assert_eq!((proven(&database.name), proven(&other.name)), (2, 2));

    // Both have begun to hold what no other server restores.
    let stale = store.dated("last");
    for name in &stale {
        let file = fs::File::options().write(true).open(store.file("last", name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(172_800)).unwrap();
    }
    other.sql(
        "CREATE FUNCTION picky(int) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN RETURN current_database() = 'other_' || substr(current_database(), 7); END $$;
         ALTER TABLE orders ADD CHECK (picky(id));",
    );
    let outcome = backup("0s").run().exited_with(1);
    assert!(
        outcome.text().contains("published, but not proven: last/")
            && outcome.text().contains("and no older backup was deleted"),
        "{outcome}"
    );
    let status = store.status();
    let states = |at: usize| (&status["databases"][at]["state"], status["databases"][at]["file"].is_string());
    assert_eq!((states(0), states(1)), ((&json!("OK"), true), (&json!("FAILED"), true)), "{status:#}");
    let kept = store.dated("last");
    let old = |name: &str| stale.iter().filter(|file| file.starts_with(&format!("{name}-2"))).count();
    let left = |name: &str| {
        stale.iter().filter(|file| file.starts_with(&format!("{name}-2")) && kept.contains(file)).count()
    };
    assert_eq!((left(&database.name), left(&other.name)), (0, old(&other.name)));
    let new =
        kept.iter().find(|name| name.starts_with(&format!("{}-2", other.name)) && !stale.contains(name));
    let verified = store.manifest("last", new.unwrap())["verified"].clone();
    assert!(verified["error"].as_str().unwrap().contains("cannot be restored: psql"), "{verified}");
    for (variable, value) in [("BACKUP_VERIFY", "always"), ("BACKUP_VERIFY_EVERY", "weekly")] {
        backup("0s").env(variable, value).run().exited_with(1).saying(variable);
    }
}

#[test]
fn a_proof_that_is_broken_off_leaves_nothing() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("broken_off");
    database.fill(150_000);
    let file = backed_up(Cli::backup(server, &store, &database.name), &store);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let mut running = prove(server, &store, &[&file]).start();
        running.descendant("postgres");
        running.descendant("psql");
        assert!(has_server(&store));
        Cli::backup(server, &store, &database.name)
            .run()
            .exited_with(75)
            .saying("a restore proof is running");
        running.signal(signal);
        let outcome = running.wait();
        let expected = if signal == Signal::SIGKILL { None } else { Some(128 + signal as i32) };
        assert_eq!(outcome.status.unwrap().code(), expected, "{outcome}");
        wait_until("the server to go", SOON, || !has_server(&store));
        assert_eq!(manifest(&store, &file)["verified"]["by"], "checksum");
    }
    // What was killed could not clean up; whoever comes next does.
    assert!(!store.partial().is_empty());
    prove(server, &store, &[&file]).run().succeeded();
    nothing_is_left(&store);
}

#[test]
fn what_a_proof_lacks_is_named_and_says_nothing_about_the_backup() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("lacking");
    database.fill(5);
    let file = backed_up(Cli::backup(server, &store, &database.name), &store);
    let none = prove(server, &store, &[&file]).env("PATH", "/usr/bin:/bin").run().exited_with(1);
    assert!(none.text().contains("but initdb is not in PATH"), "{none}");
    if nix::unistd::Uid::effective().is_root() {
        fs::set_permissions(store.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let shut = prove(server, &store, &[&file]).run().exited_with(1);
        assert!(shut.text().contains(&format!("chmod a+x {}", store.path().display())), "{shut}");
        fs::set_permissions(store.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(manifest(&store, &file)["verified"]["by"], "checksum");
    let (slot, name) = file.split_once('/').unwrap();
    fs::remove_file(store.manifest_file(slot, name)).unwrap();
    prove(server, &store, &[&file]).run().succeeded();
    prove(server, &store, &["last/none.sql.gz"]).run().exited_with(1).saying("there is no backup");
    nothing_is_left(&store);
}

#[test]
fn a_backup_of_a_newer_server_than_the_proofs_stays_as_proven_as_it_was() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("ahead");
    database.fill(5);
    let backups = ["-Z1", "-Fc", "-Fd"].map(|options| {
        backed_up(Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options), &store)
    });
    let names = backups.each_ref().map(String::as_str);
    prove(server, &store, &names).run().succeeded();
    let manifests = || names.map(|file| manifest(&store, file));
    let proven = manifests();
    assert!(proven.iter().all(|manifest| manifest["proven"]["rows"] == 15), "{proven:#?}");
    let newer = prove(server, &store, &names).client(15).run().exited_with(1);
    let [plain, archives @ ..] = names;
    assert!(
        newer.stderr.contains(&format!(
            "{plain} is of PostgreSQL 18, which is newer than the server of the proof (15"
        )),
        "{newer}"
    );
    for file in archives {
        let said = format!("{file} cannot be proven here: {file} is by pg_dump 18.");
        let line = newer.stderr.lines().find(|line| line.contains(&said));
        assert!(
            line.is_some_and(|line| line.ends_with("is older: use an image for PostgreSQL 18 or newer")),
            "{newer}"
        );
    }
    assert_eq!(manifests(), proven);
    let table = Cli::new(server, &store).args(["list"]).run().succeeded();
    assert!(table.column("PROVEN").iter().any(|proven| proven != "-"), "{table}");
    assert!(!table.stdout.contains("BROKEN"), "{table}");
    nothing_is_left(&store);
}

/// Its index is in order until amcheck, which pg_amcheck installs, is there to look at it.
const LYING: &str = "
    CREATE FUNCTION lying(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'amcheck') THEN
            RETURN pg_catalog.btint4cmp($2, $1);
        END IF;
        RETURN pg_catalog.btint4cmp($1, $2);
    END $$;
    CREATE OPERATOR CLASS lying FOR TYPE int USING btree AS
        OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 lying(int, int);
    CREATE INDEX out_of_order ON orders (id lying);";

#[test]
fn what_pg_amcheck_finds_is_held_against_the_backup_and_keeps_the_older_ones() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("amcheck");
    database.fill(5);
    let backup = || Cli::backup(server, &store, &database.name);
    let old = backed_up(backup(), &store);
    let file = fs::File::options().write(true).open(store.path().join(&old)).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(172_800)).unwrap();
    database.sql(LYING);
    let outcome = backup().env("BACKUP_VERIFY", "restore").run().exited_with(1);
    let new = store.dated("last").into_iter().find(|name| !old.ends_with(name.as_str())).unwrap();
    for said in [
        &format!("published, but not proven: last/{new} can be restored, but pg_amcheck reports errors in"),
        "out_of_order",
        ", and no older backup was deleted",
    ] {
        assert!(outcome.stderr.contains(said), "{said}\n{outcome}");
    }
    assert!(store.path().join(&old).exists());
    let verified = manifest(&store, &format!("last/{new}"))["verified"].clone();
    assert!(verified["error"].as_str().unwrap().contains("pg_amcheck reports errors"), "{verified}");
    let table = Cli::new(server, &store).args(["list"]).run().succeeded();
    assert!(table.stdout.contains("BROKEN"), "{table}");
    // Nothing is wrong with what is there without it.
    database.sql("DROP INDEX out_of_order");
    backup().env("BACKUP_VERIFY", "restore").run().succeeded();
    assert!(!store.path().join(&old).exists());
    nothing_is_left(&store);
}

#[test]
fn what_is_wrong_with_a_dump_is_told_from_what_is_not_here_for_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("told");
    database.fill(5);
    let file = backed_up(Cli::backup(server, &store, &database.name), &store);
    let sql = read_dump(&store.path().join(&file)).unwrap();
    let at = sql.find("CREATE TABLE").unwrap();
    let mark = store.root().join("mark");
    let touch = format!("\\! touch {}", mark.display());
    let hidden = format!(
        "CREATE TABLE public.t (a int, stdin int);\nCOPY public.t FROM '/dev/null' WHERE a IS DISTINCT FROM stdin;\n{touch}\n\\."
    );
    for (line, said) in [
        ("CREATE EXTENSION nosuch;", "cannot be proven here"),
        ("SET default_table_access_method = nosuch;", "cannot be proven here"),
        ("SELECT 'x'::int;", "cannot be restored"),
        (touch.as_str(), "cannot be proven here"),
        (hidden.as_str(), "cannot be proven here"),
    ] {
        let path = store.file("last", "told-20260101-000000.sql.gz");
        fs::write(&path, format!("{}{line}\n{}", &sql[..at], &sql[at..])).unwrap();
        let proof = prove(server, &store, &["last/told-20260101-000000.sql.gz"]).run().exited_with(1);
        assert!(proof.stderr.contains(said), "{line}\n{proof}");
        assert!(!mark.exists(), "{line}");
        fs::remove_file(&path).unwrap();
    }
    nothing_is_left(&store);
}

/// A copy is another file, whatever its manifest says.
#[test]
fn a_proof_counts_for_the_names_of_one_file_and_not_for_copies_of_it() {
    let server = Cluster::shared(18);
    for options in ["-Z1", "-Fd"] {
        let store = Store::new();
        let database = server.database("copied");
        database.fill(5);
        let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        let file = backed_up(backup, &store);
        let weekly = store.file("weekly", &store.only("weekly"));
        let copy = store.root().join("copy");
        let copied = std::process::Command::new("cp").arg("-r").args([&weekly, &copy]).status();
        assert!(copied.unwrap().success());
        if weekly.is_dir() {
            fs::remove_dir_all(&weekly).unwrap()
        } else {
            fs::remove_file(&weekly).unwrap()
        }
        fs::rename(&copy, &weekly).unwrap();
        prove(server, &store, &[&file]).run().succeeded();
        let method = |slot: &str| store.manifest(slot, &store.only(slot))["verified"]["by"].clone();
        assert_eq!(
            ["last", "daily", "weekly", "monthly"].map(method),
            ["restore", "restore", "checksum", "restore"]
        );
    }
}
