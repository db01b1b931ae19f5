//! Dumps that others have made, with other options and by other ways, come back as PostgreSQL's own tools load them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::cluster::LOGIN;
use crate::harness::*;

/// pg_dump's options for each format, the last for a directory that is then packed.
pub const FORMATS: [&str; 6] = ["-Fp", "-Z1", "-Fc", "-Ft", "-Fd", "packed"];
const KEY: &str = "a key";

/// Names that psql and the scanner of a dump can stumble over, in everything that has names.
const BLOCKS: &str = "
    CREATE TABLE begin (begin int, atomic int, \"end\" int, \"case\" int);
    INSERT INTO begin VALUES (1, 2, 3, 4);
    CREATE FUNCTION begin(begin int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT begin; END;
    CREATE FUNCTION atomic() RETURNS SETOF begin LANGUAGE sql BEGIN ATOMIC
        SELECT b.* FROM begin b WHERE CASE WHEN b.begin = 1 THEN b.\"end\" > b.\"case\" ELSE true END;
        SELECT b.begin, b.atomic, b.\"end\", b.\"case\" FROM begin b;
    END;
    CREATE PROCEDURE \"end\"(\"case\" int) LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
    CREATE SCHEMA begin; CREATE FUNCTION begin.f() RETURNS public.begin LANGUAGE sql AS 'SELECT * FROM public.begin';
    CREATE VIEW \"case\" AS SELECT begin AS begin FROM begin;";

/// Has this server's pg_dump write a dump in a format.
pub fn dump(
    store: &Store,
    database: &Database<'_>,
    server: &Cluster,
    format: &str,
    options: &[&str],
) -> PathBuf {
    let path = store.root().join("dump");
    let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    let written = if format == "packed" { "-Fd" } else { format };
    server.pg_dump(&database.name, &[&[written], options].concat(), &path);
    if format != "packed" {
        return path;
    }
    let packed = store.root().join("packed.tar.gz");
    let tar = Cli::of_program("tar", store).args(["-czf"]).args([&packed]).args(["-C"]).args([&path]);
    tar.args(["."]).run().succeeded();
    packed
}

/// What a dump must bring back.
struct Expected<'a> {
    server: &'a Cluster,
    store: &'a Store,
    dump: &'a str,
}

impl Expected<'_> {
    /// Restores a file as a database of another name, and compares.
    #[track_caller]
    fn comes_back(&self, file: &Path, what: &str) {
        let target = format!("from_{}", self.store.root().file_name().unwrap().display());
        let cli = Cli::restore(self.server, self.store, file).env("BACKUP_ENCRYPTION_KEY", KEY);
        cli.args([&target]).run().succeeded();
        let restored = self.server.dump(&target);
        assert!(restored == self.dump, "{what}: {}", difference(self.dump, &restored));
        self.server.sql("postgres", &format!("DROP DATABASE {}", quoted(&target)));
    }

    #[track_caller]
    fn is_refused(&self, file: &Path, saying: &str) {
        let cli = Cli::restore(self.server, self.store, file).args(["no_such_target"]);
        let refused = cli.run().exited_with(1).saying(saying);
        assert!(!refused.text().contains("loading"), "{refused}");
    }
}

/// The first lines of both that are not the same.
fn difference(expected: &str, found: &str) -> String {
    let pair = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    format!("{pair:?}")
}

/// Writes a text beside the dump.
fn written(store: &Store, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = store.root().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn a_dump_with_these_options_comes_back(server: &'static Cluster, all_options: &[&[&str]], prepare: &str) {
    let (store, database) = (Store::new(), server.database("options"));
    database.fill(50);
    database.sql(prepare);
    let before = database.dump();
    let expected = Expected { server, store: &store, dump: &before };
    for (at, options) in all_options.iter().enumerate() {
        for format in if at == 0 { &FORMATS[..] } else { &["-Fp", "-Ft"] } {
            let file = dump(&store, &database, server, format, options);
            expected.comes_back(&file, &format!("{format} {options:?}"));
        }
        let file = dump(&store, &database, server, "-Fc", options);
        let secret = written(&store, "secret", gnupg::encrypted(&file, KEY));
        expected.comes_back(&secret, &format!("encrypted {options:?}"));
    }
    assert_eq!(store.partial(), [""; 0]);
}

fn the_schema_public_comes_back_with_its_grants(server: &'static Cluster) {
    // With a view that reads by the grant to everybody which each new database has.
    let reads =
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM orders; GRANT SELECT ON orders TO PUBLIC;
                 ALTER MATERIALIZED VIEW counted OWNER TO pg_monitor;";
    let options: [&[&str]; 3] =
        [&["--schema=public"], &["-n", "public", "--inserts"], &["-n", "pub*", "--clean"]];
    a_dump_with_these_options_comes_back(server, &options, reads);
    let closed = "REVOKE ALL ON SCHEMA public FROM PUBLIC; COMMENT ON SCHEMA public IS 'ours';";
    a_dump_with_these_options_comes_back(server, &options, closed);
}
on_both_servers!(the_schema_public_comes_back_with_its_grants);

#[test]
fn removing_statements_find_nothing_to_remove() {
    let server = Cluster::shared(18);
    // The two views need each other's key, and the large object is removed by a function.
    let more = "CREATE VIEW grouped AS SELECT c.id, c.name, count(*) FROM customers c JOIN orders o ON o.customer = c.id
                    GROUP BY c.id;
                CREATE VIEW above AS SELECT * FROM grouped;
                CREATE SCHEMA other; CREATE DOMAIN other.d int; ALTER DOMAIN other.d ADD CONSTRAINT c CHECK (VALUE > 0);
                CREATE TABLE other.t (id serial PRIMARY KEY, d other.d);
                CREATE FUNCTION other.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                CREATE TRIGGER t BEFORE INSERT ON other.t FOR EACH ROW EXECUTE FUNCTION other.f();
                CREATE POLICY p ON other.t; CREATE RULE r AS ON DELETE TO other.t DO ALSO NOTHING;
                CREATE PUBLICATION news_of_options FOR TABLE other.t;
                SELECT lo_from_bytea(0, 'a large object');";
    let options: [&[&str]; 3] =
        [&["--clean"], &["-c", "--if-exists"], &["--clean", "--quote-all-identifiers"]];
    a_dump_with_these_options_comes_back(server, &options, more);
}

#[test]
fn functions_and_tables_with_names_of_blocks_come_back() {
    let server = Cluster::shared(15);
    let options: [&[&str]; 2] = [&[], &["--create"]];
    a_dump_with_these_options_comes_back(server, &options, BLOCKS);
}

#[test]
fn backups_with_such_names_and_options_are_proven() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("blocks");
    database.sql(BLOCKS);
    for options in ["-Fp", "-Fc", "-Fd --schema=public", "--clean -n public -n begin", "-Ft -n begin -n pub*"]
    {
        let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        backup.run().succeeded();
        let file = format!("last/{}", store.newest("last"));
        Cli::new(server, &store).args(["verify", "--restore", &file]).run().succeeded();
    }
}

/// A dump by `--create` says much of a database that is there and must not hear of it.
#[test]
fn a_dump_with_create_fills_the_target_and_no_other_database() {
    let (server, store) = (Cluster::shared(18), Store::new());
    let (database, target) = (server.database("created's"), server.database("target"));
    database.fill(20);
    let before = database.dump();
    let name = quoted(&database.name);
    database.sql(&format!(
        "COMMENT ON DATABASE {name} IS E'first\nsecond'; ALTER DATABASE {name} SET work_mem = '5MB';
         ALTER ROLE {LOGIN} IN DATABASE {name} SET work_mem = '6MB'; REVOKE CONNECT ON DATABASE {name} FROM PUBLIC;
         ALTER DATABASE {name} CONNECTION LIMIT 7;"
    ));
    for options in [&["--create"][..], &["-C", "--clean"], &["-C", "--clean", "--if-exists", "--inserts"]] {
        for format in ["-Fp", "-Z1", "-Fc"] {
            let file = dump(&store, &database, server, format, options);
            database.sql("CREATE TABLE later ()");
            let later = database.dump();
            Cli::restore(server, &store, &file).args([&target.name]).run().succeeded();
            assert!(target.dump() == before, "{format} {options:?}");
            assert!(database.dump() == later, "{format} {options:?}: the database of the dump has changed");
            database.sql("DROP TABLE later");
        }
    }
    server.assert_no_scratch_database_is_left();
}

#[test]
fn dumps_of_two_databases_in_one_file_are_refused() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let (one, other) = (server.database("one"), server.database("other"));
    let text = |database| fs::read(dump(&store, database, server, "-Fp", &["--create"])).unwrap();
    let both = written(&store, "both.sql", [text(&one), text(&other)].concat());
    let expected = Expected { server, store: &store, dump: "" };
    expected.is_refused(&both, &format!("is of several databases, {}, {}", one.name, other.name));
}

/// What `docker exec -t … pg_dump > file` and a Windows editor make of a dump.
#[test]
fn a_dump_that_came_through_a_terminal_is_loaded_as_psql_loads_it() {
    let server = Cluster::shared(18);
    let (store, database) = (Store::new(), server.database("terminal"));
    fixture::fill_with_everything(&database);
    database.sql("CREATE FUNCTION lines() RETURNS text LANGUAGE sql BEGIN ATOMIC\nSELECT 'a\nb';\nEND");
    for options in [&[][..], &["--create", "--clean", "--inserts"]] {
        let file = dump(&store, &database, server, "-Fp", options);
        let text = fs::read_to_string(&file).unwrap().replace('\n', "\r\n");
        let stock = server.database("stock");
        let by_psql: Vec<&str> = text.split_inclusive('\n').filter(|line| !names_database(line)).collect();
        stock.sql(&by_psql.concat());
        let expected = stock.dump();
        let expected = Expected { server, store: &store, dump: &expected };
        let path = written(&store, "terminal.sql", &text);
        expected.comes_back(&path, &format!("{options:?}"));
        // What stands between quotes, where a dump does not show how its lines end.
        let target = server.database("target");
        Cli::restore(server, &store, &path).args([&target.name]).run().succeeded();
        let quoted = stock.sql(QUOTED);
        assert!(quoted.contains("\\r\\n") && target.sql(QUOTED) == quoted, "{quoted}");
        let marked = written(&store, "marked.sql", format!("\u{feff}{text}"));
        expected.comes_back(&marked, &format!("{options:?} with a mark"));
        let gzip = Cli::of_program("gzip", &store).args(["-kf"]).args([&path]).run();
        gzip.succeeded();
        expected.comes_back(&store.root().join("terminal.sql.gz"), &format!("{options:?} gzipped"));
    }
}

/// Bodies of functions and comments of more than one line.
const QUOTED: &str = "SELECT json_agg(text ORDER BY text) FROM (
        SELECT prosrc AS text FROM pg_proc UNION ALL SELECT description FROM pg_description) t WHERE text LIKE E'%\n%'";

/// Whether psql is not to see a line, as the test has made the database itself.
fn names_database(line: &str) -> bool {
    let begins = [
        "\\restrict ",
        "\\unrestrict ",
        "\\connect ",
        "CREATE DATABASE ",
        "ALTER DATABASE ",
        "DROP DATABASE ",
        "CREATE SCHEMA public;",
    ];
    begins.iter().any(|words| line.starts_with(words))
}

#[test]
fn a_dump_of_a_server_that_came_through_a_terminal_comes_back() {
    let (server, fresh, store) = (Cluster::start(18), Cluster::start(18), Store::new());
    server.sql("postgres", "CREATE ROLE reader LOGIN; CREATE TABLE in_postgres AS SELECT 1 AS one");
    let database = server.database_named("app");
    database.fill(30);
    database.sql(BLOCKS);
    database.sql("ALTER TABLE orders OWNER TO reader; COMMENT ON DATABASE app IS 'ours'");
    let backup = Cli::new(&server, &store).env("POSTGRES_CLUSTER", "TRUE").args(["backup"]);
    backup.run().succeeded();
    let text = read_dump(&store.file("last", &store.newest("last"))).unwrap();
    for (name, text) in [("crlf.sql", text.replace('\n', "\r\n")), ("marked.sql", format!("\u{feff}{text}"))]
    {
        let path = written(&store, name, &text);
        Cli::of_program("gzip", &store).args(["-kf"]).args([&path]).run().succeeded();
        for path in [path, store.root().join(format!("{name}.gz"))] {
            Cli::restore(&fresh, &store, &path).args(["--dry-run"]).run().succeeded().saying("would create");
            Cli::restore(&fresh, &store, &path).run().succeeded();
            assert_eq!(fresh.dump("app").replace("\r\n", "\n"), database.dump());
            fresh.sql("postgres", "DROP DATABASE app; DROP TABLE in_postgres; DROP ROLE reader");
        }
    }
}

/// A Windows shell writes what a program prints as UTF-16.
#[test]
fn utf_16_is_refused_with_the_way_out_which_leads_out() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("wide");
    database.fill(10);
    let before = database.dump();
    let expected = Expected { server, store: &store, dump: &before };
    let text = fs::read_to_string(dump(&store, &database, server, "-Fp", &[])).unwrap();
    for encoding in ["UTF-16LE", "UTF-16BE"] {
        for mark in ["", "\u{feff}"] {
            let text = written(&store, "text", format!("{mark}{text}").replace('\n', "\r\n"));
            let wide = store.root().join("wide");
            let iconv = |from: &str, to: &str, file: &Path, into: &Path| {
                let cli = Cli::of_program("iconv", &store).args(["-f", from, "-t", to]).args([file]);
                cli.args(["-o"]).args([into]).run().succeeded();
            };
            iconv("UTF-8", encoding, &text, &wide);
            let from = if mark.is_empty() { encoding } else { "UTF-16" };
            expected.is_refused(
                &wide,
                &format!(
                    "is in UTF-16, as PowerShell's > writes it: convert it with iconv -f {from} -t UTF-8"
                ),
            );
            let narrow = store.root().join("narrow");
            iconv(from, "UTF-8", &wide, &narrow);
            expected.comes_back(&narrow, &format!("{encoding} {mark:?}"));
        }
    }
    let archive = fs::read(dump(&store, &database, server, "-Fc", &[])).unwrap();
    let garbled: Vec<u8> = archive.iter().flat_map(|byte| [*byte, 0]).collect();
    expected.is_refused(
        &written(&store, "archive", [&[0xff, 0xfe][..], &garbled].concat()),
        "which destroyed it",
    );
}

#[test]
fn dumps_by_other_options_come_back_as_stock_tools_load_them() {
    let (server, store) = (Cluster::shared(18), Store::new());
    let database = server.database("various");
    fixture::fill_with_everything(&database);
    database.sql("ALTER TABLE measured ENABLE ROW LEVEL SECURITY");
    // SQL and archives in turn.
    for (number, options) in [
        &["--column-inserts"][..],
        &["--rows-per-insert=7"],
        &["--disable-triggers"],
        &["--schema-only"],
        &["--section=pre-data"],
        &["--no-owner", "--no-acl"],
        &["--quote-all-identifiers"],
        &["-t", "orders", "-t", "customers"],
        &["--exclude-table-data=orders"],
        &["--enable-row-security"],
        &["--load-via-partition-root"],
        &["--no-comments", "--verbose"],
        &["--use-set-session-authorization"],
        &["--use-set-session-authorization", "--create"],
    ]
    .into_iter()
    .enumerate()
    {
        let stock = server.database("stock");
        let file = dump(&store, &database, server, "-Fp", options);
        let text = fs::read_to_string(&file).unwrap();
        stock.sql(&text.split_inclusive('\n').filter(|line| !names_database(line)).collect::<String>());
        let before = stock.dump();
        let expected = Expected { server, store: &store, dump: &before };
        let archive = || dump(&store, &database, server, "-Fc", options);
        let file = if number % 2 == 0 { file } else { archive() };
        expected.comes_back(&file, &format!("{options:?}"));
    }
}

#[test]
fn a_dump_in_another_encoding_comes_back() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("encoded");
    database.sql(
        "CREATE TABLE \"表能\" (\"ソ\" text); INSERT INTO \"表能\" VALUES ('ソース表'), (E'\\\\.'), ('表\\');
         CREATE FUNCTION \"十\"() RETURNS text LANGUAGE sql AS $$ SELECT '表' $$; COMMENT ON TABLE \"表能\" IS '構''';",
    );
    let before = database.dump();
    let expected = Expected { server, store: &store, dump: &before };
    // Each encoding with each format, and with all of the options.
    for (turn, encoding) in ["--encoding=SJIS", "--encoding=EUC_JP", "--encoding=GB18030"].iter().enumerate()
    {
        let all = [&[*encoding][..], &[*encoding, "--create"], &[*encoding, "--clean", "--inserts"]];
        for (number, options) in all.into_iter().enumerate() {
            let format = ["-Fp", "-Fc", "-Ft"][(turn + number) % 3];
            let file = dump(&store, &database, server, format, options);
            expected.comes_back(&file, &format!("{format} {options:?}"));
        }
    }
    let latin = server.database("latin");
    latin.sql("CREATE TABLE \"café\" (\"naïve\" text); INSERT INTO \"café\" VALUES ('été')");
    let before = latin.dump();
    let expected = Expected { server, store: &store, dump: &before };
    for options in
        [&["--encoding=LATIN1"][..], &["--encoding=LATIN1", "--create"], &["--encoding=WIN1252", "-c"]]
    {
        expected.comes_back(&dump(&store, &latin, server, "-Fp", options), &format!("{options:?}"));
    }
}

#[test]
fn a_dump_without_tables_is_refused_and_one_without_rows_is_told() {
    let (server, store) = (Cluster::shared(18), Store::new());
    let database = server.database("parts");
    database.fill(10);
    for format in FORMATS {
        let rows = dump(&store, &database, server, format, &["--data-only"]);
        let expected = Expected { server, store: &store, dump: "" };
        expected.is_refused(&rows, "has rows but no tables, as with --data-only");
        for (options, is_told) in
            [("--schema-only", true), ("--section=pre-data", true), ("--no-owner", false)]
        {
            let file = dump(&store, &database, server, format, &[options]);
            let rehearsed =
                Cli::restore(server, &store, &file).args([&database.name, "--dry-run"]).run().succeeded();
            let told = rehearsed.text().contains("its tables have no rows, as with --schema-only");
            assert_eq!(told, is_told, "{format} {options}: {rehearsed}");
        }
    }
}
