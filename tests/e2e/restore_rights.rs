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
    assert!(refused.text().contains(&format!("role {owner} may not make databases")), "{refused}");
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
    server.sql("postgres", &format!("DROP ROLE {owner}"));
}
