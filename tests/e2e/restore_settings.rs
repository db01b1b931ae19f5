//! What a database says of itself holds while its contents are loaded, and keeps its encoding.

use std::path::PathBuf;

use crate::harness::*;

/// A database whose contents are computed under its settings, and may be written by those only who say so.
const COMPUTED: &str = "
    CREATE FUNCTION to_day(timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT $1::date';
    CREATE TABLE times (id int, at timestamptz, day date GENERATED ALWAYS AS (public.to_day(at)) STORED);
    INSERT INTO times (id, at)
    SELECT i, '2024-01-01 00:00+00'::timestamptz + i * interval '1 hour' FROM generate_series(0, 99) i;
    CREATE INDEX ON times (to_day(at));
    CREATE MATERIALIZED VIEW days AS SELECT at::date AS day, count(*) FROM times GROUP BY 1;
    CREATE TABLE tenants (id int CHECK (current_setting('app.tenant') = 'acme'));
    INSERT INTO tenants VALUES (1)";

/// Backs up by these options, and answers the new file.
#[track_caller]
fn backed_up(server: &Cluster, store: &Store, name: &str, options: &str) -> PathBuf {
    Cli::backup(server, store, name).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
    store.file("last", &store.newest("last"))
}

fn contents_are_loaded_under_the_databases_settings(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database("under_settings");
    let name = quoted(&database.name);
    database.sql(&format!(
        "ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'; ALTER DATABASE {name} SET app.tenant = 'acme'"
    ));
    database.sql(COMPUTED);
    database.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on; ALTER DATABASE {name} SET statement_timeout = 1"
    ));
    let rows = "SELECT id, day FROM times ORDER BY id; SELECT * FROM days ORDER BY 1";
    let before = database.sql(rows);
    for options in ["-Z1", "-Fc", "-Ft", "-Fd -j2"] {
        let file = backed_up(server, &store, &database.name, options);
        Cli::restore(server, &store, &file).run().succeeded();
        assert_eq!(database.sql(rows), before, "{options}, in place");
        server.sql("postgres", &format!("DROP DATABASE {name}"));
        Cli::restore(server, &store, &file).args([&database.name]).run().succeeded();
        assert_eq!(database.sql(rows), before, "{options}, made anew");
        let proof = Cli::new(server, &store).args(["verify", "--restore"]);
        proof.args([format!("last/{}", store.newest("last"))]).run().succeeded();
    }
    let stock = store.root().join("stock.sql");
    server.pg_dump(&database.name, &["--create"], &stock);
    server.sql("postgres", &format!("DROP DATABASE {name}"));
    Cli::restore(server, &store, &stock).args([&database.name]).run().succeeded();
    assert_eq!(database.sql(rows), before, "by pg_dump --create");
}
on_both_servers!(contents_are_loaded_under_the_databases_settings);

/// What belongs to a database beside its contents, in the words of the database itself.
fn described(server: &Cluster, name: &str) -> String {
    server.sql(
        name,
        "SELECT datacl, shobj_description(d.oid, 'pg_database'), setconfig
         FROM pg_database d JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = current_database()",
    )
}

fn names_and_texts_of_properties_keep_their_encoding(server: &'static Cluster) {
    for (encoding, text) in [("LATIN1", "Jürgen Größe"), ("EUC_JP", "日本語"), ("UTF8", "Łódź 日本")]
    {
        let store = Store::new();
        let spare = server.database("encoded");
        let name = quoted(&spare.name);
        let role = quoted(&format!("{text} {}", spare.name));
        server.sql("postgres", &format!("DROP DATABASE {name}"));
        server.sql(
            "postgres",
            &format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            ),
        );
        spare.sql(&format!(
            "CREATE ROLE {role}; CREATE SCHEMA \"{text}\"; CREATE TABLE \"{text}\".t (x int);
             GRANT SELECT ON \"{text}\".t TO {role}; GRANT CREATE ON DATABASE {name} TO {role};
             ALTER DATABASE {name} SET search_path = \"{text}\", public; ALTER DATABASE {name} SET app.x = '{text}\\';
             COMMENT ON DATABASE {name} IS 'it''s \\ {text}'"
        ));
        let (before, dump) = (described(server, &spare.name), spare.dump());
        let file = backed_up(server, &store, &spare.name, "-Z1");
        let stock = store.root().join("stock.sql");
        server.pg_dump(&spare.name, &["--create"], &stock);
        let same = |way: &str| {
            assert_eq!(described(server, &spare.name), before, "{encoding}, {way}");
            assert_eq!(spare.dump(), dump, "{encoding}, {way}");
        };
        Cli::restore(server, &store, &file).run().succeeded();
        same("in place");
        for (way, file) in [("made anew", &file), ("by pg_dump --create", &stock)] {
            server.sql("postgres", &format!("DROP DATABASE {name}"));
            Cli::restore(server, &store, file).args(["--dry-run", &spare.name]).run().succeeded();
            Cli::restore(server, &store, file).args([&spare.name]).run().succeeded();
            same(way);
        }
        spare.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    }
}
on_both_servers!(names_and_texts_of_properties_keep_their_encoding);

/// What it is like is asked when the restore is planned; another run may keep it waiting for hours.
#[test]
fn an_owner_that_the_target_gets_while_a_restore_waits_is_kept() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (database, other) = (server.database("waits"), server.database("other"));
    database.fill(5);
    other.fill(5);
    let file = backed_up(server, &store, &database.name, "-Z1");
    let owner = format!("{}_owner", database.name);
    server.sql("postgres", &format!("CREATE ROLE {owner}"));
    let hold = other.hold();
    let holder = Cli::backup(server, &store, &other.name).start();
    wait_until("the other run to have the lock", SOON, || holder.text().contains("dumping from"));
    let begun = std::time::Instant::now();
    let restore = Cli::restore(server, &store, &file).env("BACKUP_LOCK_WAIT", "100").start();
    wait_until("the restore to wait", SOON, || restore.text().contains("waiting: a backup is running"));
    server.sql("postgres", &format!("ALTER DATABASE {} OWNER TO {owner}", quoted(&database.name)));
    let name = quoted(&database.name);
    server.sql("postgres", &format!("ALTER DATABASE {name} SET work_mem = '7MB'"));
    wait_until("what was asked to be old", SOON, || begun.elapsed() > std::time::Duration::from_secs(5));
    drop(hold);
    holder.wait().succeeded();
    restore.wait().succeeded();
    let owned =
        format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{}'", database.name);
    assert_eq!(server.sql("postgres", &owned).trim(), owner);
    assert_eq!(database.sql("SHOW work_mem").trim(), "7MB");
    drop(database);
    server.sql("postgres", &format!("DROP ROLE {owner}"));
}
