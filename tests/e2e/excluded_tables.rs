//! What `POSTGRES_EXCLUDE_TABLES` leaves out, and what cannot be restored without it, which the backup says.

use crate::harness::*;

const DATABASE: &str = r#"
    CREATE TABLE logs (id int PRIMARY KEY, note text, number serial);
    CREATE INDEX ON logs (note);
    CREATE STATISTICS together ON id, note FROM logs;
    CREATE VIEW seen AS SELECT * FROM logs;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM logs;
    CREATE TABLE child () INHERITS (logs);
    CREATE TABLE referring (id int CONSTRAINT to_logs REFERENCES logs);
    CREATE FUNCTION of_row(logs) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION of_rows() RETURNS SETOF logs LANGUAGE sql AS 'SELECT * FROM logs';
    CREATE FUNCTION body() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM logs; END;
    CREATE TABLE holding (log logs, more logs[]);
    CREATE TABLE ruled (id int DEFAULT nextval('logs_number_seq'));
    CREATE RULE cascades AS ON DELETE TO ruled DO ALSO DELETE FROM logs;
    CREATE POLICY allowed ON ruled USING (id IN (SELECT id FROM logs));
    CREATE PUBLICATION news_of_logs FOR TABLE logs, ruled;
    CREATE DOMAIN large AS logs CHECK ((VALUE).id > 9);
    CREATE TABLE "Split Table" (id int) PARTITION BY LIST (id);
    CREATE TABLE split_1 PARTITION OF "Split Table" FOR VALUES IN (1);
    CREATE SEQUENCE numbers;
    CREATE TABLE numbered (id int DEFAULT nextval('numbers'));
    CREATE SCHEMA other;
    CREATE TABLE other.logs (id int);
    CREATE TABLE alone (id int GENERATED ALWAYS AS IDENTITY, owner int REFERENCES alone_of);"#;

fn backed_up(server: &Cluster, store: &Store, database: &Database<'_>, patterns: &str) -> String {
    let backup = Cli::backup(server, store, &database.name).env("POSTGRES_EXCLUDE_TABLES", patterns);
    backup.run().succeeded().text()
}

fn prepared(server: &Cluster) -> Database<'_> {
    let database = server.database("excluding");
    database.sql(&format!("CREATE TABLE alone_of (id int PRIMARY KEY);{DATABASE}"));
    database
}

fn a_backup_names_what_needs_the_tables_that_it_leaves_out(server: &'static Cluster) {
    let (store, database) = (Store::new(), prepared(server));
    let said = backed_up(server, &store, &database, "Logs, \"Split Table\", number?");
    let line = said.lines().find(|line| line.contains("a restore fails")).unwrap_or_else(|| panic!("{said}"));
    for needs in [
        "public.\"Split Table\" (by table public.split_1)",
        "public.numbers (by default value for column id of table public.numbered)",
        "public.logs (by ",
        "constraint to_logs on table public.referring",
        "function public.body()",
        "function public.of_row(public.logs)",
        "function public.of_rows()",
        "materialized view public.counted",
        "policy allowed on table public.ruled",
        " and 2 more)",
    ] {
        assert!(line.contains(needs), "{needs}: {line}");
    }
    for own in ["logs_note_idx", "logs_pkey", "together", "other.logs", "alone", "logs_number_seq"] {
        assert!(!line.contains(own), "{own}: {line}");
    }
    // It is as it says.
    let file = format!("last/{}", store.only("last"));
    Cli::restore(server, &store, &file).args(["nowhere"]).run().exited_with(1).saying("does not exist");
}
on_both_servers!(a_backup_names_what_needs_the_tables_that_it_leaves_out);

/// Leaving out the dependents, too, or only the rows, is the way out.
#[test]
fn nothing_is_said_where_all_that_needs_a_table_is_left_out() {
    let server = Cluster::shared(18);
    let database = prepared(server);
    for (patterns, options) in [
        ("other.logs", "-Z1"),
        ("alone", "-Z1"),
        ("numbers, numbered", "-Z1"),
        ("\"Split Table\", split_*", "-Z1"),
        ("", "--exclude-table-data=logs"),
    ] {
        let store = Store::new();
        let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXCLUDE_TABLES", patterns);
        let said = backup.env("POSTGRES_EXTRA_OPTS", options).run().succeeded().text();
        assert!(!said.contains("POSTGRES_EXCLUDE_TABLES"), "{patterns}: {said}");
        let (file, target) = (format!("last/{}", store.only("last")), format!("{}_back", database.name));
        Cli::restore(server, &store, &file).args([&target]).run().succeeded();
        server.sql("postgres", &format!("DROP DATABASE {target}"));
    }
}

#[test]
fn a_pattern_that_matches_no_table_of_any_database_is_told() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let (one, other) = (server.database("one"), server.database("other"));
    one.sql("CREATE TABLE audit_2025 (); CREATE TABLE \"a.b\" ()");
    other.sql("CREATE SCHEMA hidden; CREATE TABLE hidden.secret (); CREATE TABLE t$1 ()");
    let databases = format!("{},{}", one.name, other.name);
    let patterns = "audit_*, \"a.b\", t$1, hidden.*, secret, AUDIT, hidden.a*, \"Audit_2025\"";
    let cli = || Cli::backup(server, &store, &databases).env("POSTGRES_EXCLUDE_TABLES", patterns);
    let said = cli().run().succeeded().text();
    let told: Vec<&str> = said.lines().filter_map(|line| line.split("no table matches ").nth(1)).collect();
    assert_eq!(told, ["secret", "AUDIT", "hidden.a*", "\"Audit_2025\""], "{said}");
    // Of one database alone nothing can be said.
    let said = cli().args([&one.name]).run().succeeded().text();
    assert!(!said.contains("no table matches"), "{said}");
}
