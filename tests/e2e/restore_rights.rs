//! What a role may restore that is no superuser.

use crate::harness::*;

#[test]
fn an_owner_who_is_no_superuser_restores_over_the_database_that_ten_sessions_use() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("owned");
    let owner = format!("{}_owner", database.name);
    server.sql(
        "postgres",
        &format!(
            "CREATE ROLE {owner} LOGIN PASSWORD 'owner'; ALTER DATABASE {} OWNER TO {owner}",
            database.name
        ),
    );
    database.sql(&format!("SET ROLE {owner}; CREATE SCHEMA own"));
    database.fill(30);
    database.sql(&format!("ALTER TABLE customers OWNER TO {owner}; ALTER TABLE orders OWNER TO {owner}"));
    let own = |cli: Cli| cli.env("POSTGRES_USER", &owner).env("POSTGRES_PASSWORD", "owner");
    own(Cli::backup(server, &store, &database.name)).run().succeeded();
    let file = format!("last/{}", store.only("last"));
    let before = database.dump();
    database.sql("DELETE FROM orders");
    let changed = database.dump();

    let restore = || own(Cli::restore(server, &store, &file));
    let refused = restore().run().exited_with(1);
    assert!(refused.text().contains(&format!("role {owner} cannot create databases")), "{refused}");
    assert!(!refused.text().contains("loading"), "{refused}");
    server.sql("postgres", &format!("ALTER ROLE {owner} CREATEDB"));
    let neighbour = server.database("neighbour");
    let refused = restore().args([&neighbour.name]).run().exited_with(1);
    assert!(refused.text().contains("belongs to backup_login"), "{refused}");
    assert_eq!(database.dump(), changed);

    let login = [("PGUSER", owner.as_str()), ("PGPASSWORD", "owner")];
    let mut sessions: Vec<_> = (0..10).map(|_| database.session_as(&login)).collect();
    sessions.iter_mut().for_each(|session| drop(session.run("BEGIN; SELECT count(*) FROM orders")));
    let insistent: Vec<_> = (0..3).map(|_| server.insist(&database.name, &login)).collect();
    wait_until("somebody to insist", SOON, || insistent.iter().all(|one| one.connections() > 0));
    // A superuser, and somebody whose rights it could take on but has not.
    let (mut superuser, guest) = (database.session(), format!("{}_guest", database.name));
    superuser.run("SELECT 1");
    let make =
        format!("CREATE ROLE {guest} LOGIN PASSWORD 'guest'; GRANT {guest} TO {owner} WITH INHERIT FALSE");
    server.sql("postgres", &make);
    let mut visitor = database.session_as(&[("PGUSER", &guest), ("PGPASSWORD", "guest")]);
    visitor.run("SELECT 1");
    let refused = restore().args(["--dry-run"]).run().exited_with(1);
    assert!(refused.text().contains(&format!("role {owner} cannot end these sessions")), "{refused}");
    assert!(refused.text().contains("backup_login, process") && refused.text().contains(&guest), "{refused}");
    let running = restore().start();
    wait_until("the warning", LONG, || running.text().contains("trying anyway"));
    drop((superuser, visitor));
    running.wait().succeeded();
    assert_eq!(database.dump(), before);
    database.sql("DELETE FROM orders");

    let rehearsed = restore().args(["--dry-run"]).run().succeeded();
    assert!(rehearsed.text().contains(&format!("database {} on ", database.name)), "{rehearsed}");
    assert!(rehearsed.text().contains("dry run, nothing was changed"), "{rehearsed}");
    assert_eq!(database.dump(), changed);
    restore().run().succeeded();
    drop((sessions, insistent));
    assert_eq!(database.dump(), before);
    assert_eq!(
        server.sql(
            "postgres",
            &format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{}'", database.name)
        ),
        owner
    );
    server.assert_no_scratch_database_is_left();
    drop(database);
    server.sql("postgres", &format!("DROP ROLE {owner}; DROP ROLE {guest}"));
}

#[test]
fn a_dry_run_names_the_roles_that_the_server_lacks() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("haunted");
    database.fill(5);
    let (ghost, gone) = (format!("{} ghost", database.name), format!("{}_gone", database.name));
    let (ghost, rename) = (quoted(&ghost), |from: &str, to: &str| {
        server.sql("postgres", &format!("ALTER ROLE {from} RENAME TO {to}"));
    });
    server.sql("postgres", &format!("CREATE ROLE {ghost}"));
    database.sql(&format!("GRANT SELECT ON orders TO {ghost}"));
    let mut files = Vec::new();
    for options in ["-Z1", "-Fc", "-Ft", "-Fd"] {
        Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
        files
            .extend(store.dated("last").into_iter().filter(|name| !files.contains(name)).collect::<Vec<_>>());
    }
    assert_eq!(files.len(), 4, "{files:?}");
    let rehearse =
        |file: &String| Cli::restore(server, &store, format!("last/{file}")).args(["--dry-run"]).run();
    rename(&ghost, &gone);
    for file in &files {
        let refused = rehearse(file).exited_with(1);
        let missing = format!("does not have: {}", ghost.trim_matches('"'));
        assert!(refused.text().contains(&missing), "{file}\n{refused}");
    }
    rename(&gone, &ghost);
    files.iter().for_each(|file| drop(rehearse(file).succeeded()));
    drop(database);
    server.sql("postgres", &format!("DROP ROLE {ghost}"));
}

#[test]
fn a_target_with_a_prepared_transaction_is_refused_before_anything_is_loaded() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("prepared");
    database.fill(5);
    Cli::backup(server, &store, &database.name).run().succeeded();
    let file = format!("last/{}", store.only("last"));
    database.sql(&format!("BEGIN; DELETE FROM orders; PREPARE TRANSACTION '{}'", database.name));
    let restore = |options: &[&str]| Cli::restore(server, &store, &file).args(options).run();
    for options in [&["--dry-run"][..], &[]] {
        let refused = restore(options).exited_with(1);
        assert!(refused.text().contains(&format!("prepared transactions: {}", database.name)), "{refused}");
        assert!(!refused.text().contains("loading"), "{refused}");
    }
    database.sql(&format!("ROLLBACK PREPARED '{}'", database.name));
    restore(&["--dry-run"]).succeeded();
}
