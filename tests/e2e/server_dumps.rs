//! Dumps of a whole server, and of its roles; and of databases with names that no list could hold.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::*;

/// Loads SQL as anybody would, with psql and as another superuser than those in it.
#[track_caller]
fn loaded(server: &Cluster, store: &Store, sql: &str) {
    // The login is there already and keeps its password; everything else must work.
    let login = [format!("CREATE ROLE {};", cluster::LOGIN), format!("ALTER ROLE {} ", cluster::LOGIN)];
    let (own, rest): (Vec<&str>, Vec<&str>) =
        sql.lines().partition(|line| login.iter().any(|start| line.starts_with(start.as_str())));
    assert_eq!(own.len(), 2, "{own:?}");
    let path = store.root().join("load.sql");
    fs::write(&path, rest.join("\n")).unwrap();
    let mut cli = Cli::of_program("psql", store);
    for (key, value) in command::settings(server, store) {
        cli = cli.env(&key, value);
    }
    let cli = cli.env("PGHOST", "127.0.0.1").env("PGPORT", server.port().to_string());
    let cli = cli.env("PGUSER", cluster::LOGIN).env("PGPASSWORD", server.password());
    cli.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f"]).args([&path]).run().succeeded();
}

/// Everything of a server's databases but those that came with it.
pub fn contents(server: &Cluster) -> BTreeMap<String, String> {
    let own = ["postgres", "template0", "template1"];
    let names = server.databases().into_iter().filter(|name| !own.contains(&name.as_str()));
    names.map(|name| (name.clone(), server.dump(&name))).collect()
}

/// What a server knows of its roles, apart from the login of the tests.
pub const ROLES: &str = "SELECT rolname, rolcanlogin, rolcreatedb, rolconnlimit, rolpassword,
    (SELECT array_agg(m.roleid::regrole::text) FROM pg_auth_members m WHERE m.member = a.oid),
    (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setrole = a.oid)
    FROM pg_authid a WHERE rolname !~ '^(pg_|backup_login)' ORDER BY 1";

/// Roles whose names and settings break careless quoting.
pub const MAKE_ROLES: &str = "CREATE ROLE \"odd 'role\" CREATEDB CONNECTION LIMIT 5;
    CREATE ROLE reader LOGIN PASSWORD 'it''s' IN ROLE \"odd 'role\";
    ALTER ROLE reader SET work_mem = '7MB'";

/// In the original image: a dump of the whole server failed with the default options and left 20 bytes.
fn a_dump_of_the_whole_server_makes_another_one_like_it(major: u32) {
    let (server, fresh) = (Cluster::start(major), Cluster::start(major));
    let store = Store::new();
    server.sql("postgres", MAKE_ROLES);
    let everything = server.database_named("with everything");
    fixture::fill_with_everything(&everything);
    let small = server.database_named("Ünï\"code");
    small.fill(10);
    server.sql("postgres", "GRANT CONNECT ON DATABASE \"with everything\" TO reader");
    let expected = (contents(&server), server.sql("postgres", ROLES));
    let cluster = || Cli::new(&server, &store).env("POSTGRES_CLUSTER", "TRUE");
    cluster().args(["backup"]).run().succeeded();
    for slot in SLOTS {
        let name = store.only(slot);
        assert!(name.starts_with("cluster-2") && name.ends_with(".sql.gz"), "{name}");
        let manifest = store.manifest(slot, &name);
        assert_eq!((&manifest["scope"], &manifest["format"]), (&"cluster".into(), &"gzip".into()));
        assert_eq!(manifest["sha256"], sha256(&fs::read(store.file(slot, &name)).unwrap()));
    }
    let name = store.only("last");
    let sql = store.sql("last", &name);
    assert!(sql.contains("-- PostgreSQL database cluster dump complete"));
    assert_eq!(store.status()["databases"][0]["name"], "cluster");
    loaded(&fresh, &store, &sql);
    assert_eq!((contents(&fresh), fresh.sql("postgres", ROLES)), expected);

    cluster().args(["restore", &format!("last/{name}"), "elsewhere"]).run().exited_with(1).saying("cluster");
    assert!(!server.has_database("elsewhere"));
    let key = "cluster key";
    let other = Store::new();
    let encrypted =
        Cli::new(&server, &other).env("POSTGRES_CLUSTER", "TRUE").env("BACKUP_ENCRYPTION_KEY", key);
    encrypted.env("POSTGRES_EXTRA_OPTS", "-Z0 --no-comments").args(["backup"]).run().succeeded();
    let clear = gnupg::decrypted(&other.file("last", &other.only("last")), key);
    let clear = String::from_utf8(clear).unwrap();
    assert!(clear.contains("cluster dump complete") && !clear.contains("COMMENT ON"));
}

#[test]
fn a_dump_of_the_whole_server_of_postgresql_15() {
    a_dump_of_the_whole_server_makes_another_one_like_it(15);
}

#[test]
fn a_dump_of_the_whole_server_of_postgresql_18() {
    a_dump_of_the_whole_server_makes_another_one_like_it(18);
}

#[test]
fn roles_go_beside_the_databases_and_without_passwords_where_nobody_may_see_them() {
    let (server, fresh) = (Cluster::start(15), Cluster::start(15));
    let store = Store::new();
    server.sql("postgres", MAKE_ROLES);
    let database = server.database_named("app");
    database.fill(5);
    let roles = server.sql("postgres", ROLES);
    let cli = |store: &Store| Cli::backup(&server, store, "app").env("BACKUP_GLOBALS", "TRUE");
    cli(&store).env("POSTGRES_EXTRA_OPTS", "-Fc").run().succeeded();
    for slot in SLOTS {
        let name = store.only_of(slot, "globals");
        assert_eq!(store.manifest(slot, &name)["scope"], "globals", "{slot}");
        assert_eq!(store.manifest(slot, &store.only_of(slot, "app"))["scope"], "database", "{slot}");
    }
    let globals = store.only_of("last", "globals");
    let sql = store.sql("last", &globals);
    assert!(sql.contains("SCRAM-SHA-256") && !sql.contains("customers"));
    loaded(&fresh, &store, &sql);
    assert_eq!(fresh.sql("postgres", ROLES), roles);
    let outcome = Cli::restore(&server, &store, format!("last/{globals}")).args(["app"]).run().exited_with(1);
    assert!(outcome.text().contains("roles"), "{outcome}");
    assert_eq!(database.sql("SELECT count(*) FROM orders"), "5");

    server.sql("postgres", "CREATE ROLE humble LOGIN PASSWORD 'humble'");
    database.sql("GRANT SELECT ON customers, orders TO humble");
    let humble = Store::new();
    let outcome = cli(&humble).env("POSTGRES_USER", "humble").env("POSTGRES_PASSWORD", "humble").run();
    outcome.succeeded().saying("passwords");
    let sql = humble.sql("last", &humble.only_of("last", "globals"));
    assert!(sql.contains("CREATE ROLE reader") && !sql.contains("SCRAM-SHA-256"), "{sql}");

    let namesake = server.database_named("globals");
    namesake.fill(5);
    for names in [("POSTGRES_DB", "app globals"), ("POSTGRES_DB_AUTODISCOVER", "TRUE")] {
        let outcome = cli(&store).env(names.0, names.1).run().exited_with(1);
        let outcome = outcome.saying("the existing backups called globals are of the roles of a server");
        assert!(outcome.text().contains("globals: published"), "the roles come all the same: {outcome}");
        assert_eq!(store.status()["status"], "FAILED");
        assert!(store.sql("daily", &store.only_of("daily", "globals")).contains("CREATE ROLE reader"));
    }
}

/// One server that has nothing but databases with odd names, found by itself, in every format.
#[test]
fn databases_with_odd_names_are_found_and_come_back_in_every_format() {
    let server = Cluster::start(18);
    let names = ["with space", "quo\"te'd", "a/b", ".hidden", "Ünïcödé ☃", "-dash", "X=y;$(id)\t"];
    let databases = names.map(|name| server.database_named(name));
    for database in &databases {
        database.sql("CREATE TABLE names AS SELECT current_database() AS name");
    }
    for (options, key) in [("-Fc", ""), ("-Ft", "k"), ("-Fd -j2", "")] {
        let store = Store::new();
        let cli = || {
            let cli = Cli::new(&server, &store).env("POSTGRES_DB_AUTODISCOVER", "TRUE");
            cli.env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_ENCRYPTION_KEY", key)
        };
        cli().args(["backup"]).run().succeeded();
        let files = store.dated("last");
        assert_eq!(files.len(), names.len(), "{options}: {files:?}");
        for database in &databases {
            let of = |file: &&String| store.manifest("last", file)["database"] == database.name.as_str();
            let file = files.iter().find(of).unwrap_or_else(|| panic!("{options}: no {:?}", database.name));
            database.sql("DROP TABLE names");
            cli().args(["restore", &format!("last/{file}")]).run().succeeded();
            assert_eq!(database.sql("SELECT name FROM names"), database.name, "{options}");
        }
    }
}
