//! The commands of the pages in `docs`, as their readers type them.
//!
//! A block that begins with ```` ```sh tested ```` is run as it stands, but for the API's port. A script stands in for
//! Docker: what would run in a container runs here, with the environment that the container would have.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::*;
use crate::round_trips::state::{self, State};

fn page_text(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"))
}

fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```sh tested\n").skip(1);
    blocks.map(|rest| rest.split("```").next().expect("split gives one at least").to_owned()).collect()
}

/// The blocks of a page that are to be run.
fn tested_blocks(page: &str) -> Vec<String> {
    blocks(&page_text(page))
}

/// The sections of docs/restore.md that have blocks to be run. A test types each.
const BEFORE_AND_AFTER: &str = "SQL before and after";
const SERVER_LOST: &str = "The server is lost";
const TELEGRAM_LEFT: &str = "Everything is lost but Telegram";
const FILE_LEFT: &str = "There is only a file, and no backupgram";

/// The blocks of a section of docs/restore.md that are to be run, one behind the other.
fn restore_blocks(heading: &str) -> String {
    let text = page_text("docs/restore.md");
    let section = text.split("\n## ").find(|section| section.starts_with(heading));
    blocks(section.unwrap_or_else(|| panic!("docs/restore.md has no section {heading:?}"))).concat()
}

/// `docker compose exec -T SERVICE COMMAND…`, and nothing else of it.
const DOCKER: &str = r#"#!/bin/sh
set -eu
[ "$1 $2 $3" = 'compose exec -T' ]
service=$4
shift 4
case $service in
backup) PATH="$PWD/image:$PATH" exec "$@" ;;
postgres) PGPASSWORD=$(cat postgres_password.txt) exec "$@" ;;
esac
"#;

#[test]
fn the_way_from_nothing_to_a_restored_database() {
    let server = Cluster::start(17);
    let store = Store::new();
    let root = store.root();
    fs::create_dir_all(root.join("image")).unwrap();
    for command in ["backup", "restore", "list", "backupgram"] {
        symlink(env!("CARGO_BIN_EXE_backupgram"), root.join("image").join(command)).unwrap();
    }
    fs::create_dir(root.join("bin")).unwrap();
    write_script(&root.join("bin/docker"), DOCKER);
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/curl"), root.join("curl")).unwrap();

    let blocks = tested_blocks("docs/getting-started.md");
    Cli::shell(&server, &store, &blocks[0]).run().succeeded();
    let password = fs::read_to_string(root.join("postgres_password.txt")).unwrap();
    let role = format!("CREATE ROLE myuser SUPERUSER LOGIN PASSWORD '{}'", password.trim());
    server.sql("postgres", &role);
    let _database = server.database_named("mydb");
    let secret = |name: &str| root.join(name).to_str().expect("UTF-8").to_owned();
    let plan = Plan::new(&server, &store).database("mydb").env("POSTGRES_USER", "myuser");
    let plan = plan.without("POSTGRES_PASSWORD").without("REST_API_TOKEN");
    let plan = plan.env("POSTGRES_PASSWORD_FILE", secret("postgres_password.txt"));
    let daemon = plan.env("REST_API_TOKEN_FILE", secret("backupgram_token.txt")).start();

    let address = format!("127.0.0.1:{}", daemon.port);
    let rest =
        format!("PATH=\"$PWD/bin:$PATH\"\n{}", blocks[1..].concat().replace("127.0.0.1:8081", &address));
    let outcome = Cli::shell(&server, &store, &rest)
        .env("POSTGRES_DB", "mydb")
        .env("POSTGRES_USER", "myuser")
        .env("POSTGRES_PASSWORD_FILE", secret("postgres_password.txt"))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", server.port().to_string())
        .env("URL", format!("http://{address}"))
        .run()
        .succeeded();
    assert_eq!(outcome.stdout.matches("  1000\n").count(), 2, "{outcome}");
    let outcome = outcome.saying("mydb_before_").saying("\"status\": \"OK\"");
    for database in ["mydb", "mydb_copy"] {
        assert_eq!(server.sql(database, "SELECT count(*) FROM guests"), "1000", "{outcome}");
    }
    let downloaded = read_dump(&root.join(store.newest("last"))).unwrap();
    assert!(downloaded.contains("guest 1000\n"), "{outcome}");
}

#[test]
fn the_settings_are_asked_about_as_the_configuration_page_says() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let script = tested_blocks("docs/configuration.md").concat();
    let outcome = Cli::shell(server, &store, &script).env("POSTGRES_DB", "app").run().succeeded();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines.contains(&"7"), "{outcome}");
    assert_eq!(lines.iter().filter(|line| line.contains("T03:00:00")).count(), 5, "{outcome}");
}

/// A backup of the database with these options, at a path.
fn backed_up(server: &Cluster, database: &Database<'_>, options: &str, key: &str, to: &Path) {
    let store = Store::new();
    let cli = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
    cli.env("BACKUP_ENCRYPTION_KEY", key).run().succeeded();
    fs::rename(store.file("last", &store.only("last")), to).unwrap();
}

#[test]
fn a_backup_is_opened_by_the_programs_that_everybody_has() {
    let server = Cluster::shared(17);
    let store = Store::new();
    let database = server.database("stock");
    database.fill(500);
    let before = database.dump();
    let file = |end: &str| store.root().join(format!("mydb-20260416-030000.{end}"));
    let backed_up = |options, key, end| backed_up(server, &database, options, key, &file(end));

    // What a delivery in parts leaves in a chat.
    backed_up("-Z1", "", "sql.gz");
    let whole = fs::read(file("sql.gz")).unwrap();
    let (head, tail) = whole.split_at(whole.len() / 2);
    fs::write(file("sql.gz.0001"), head).unwrap();
    fs::write(file("sql.gz.0002"), tail).unwrap();
    fs::remove_file(file("sql.gz")).unwrap();
    let sum = sha256(&whole);
    fs::write(file("sql.gz.parts.json"), format!("{{\"sha256\":\"{sum}\"}}")).unwrap();

    backed_up("-Z zstd", "", "sql.zst");
    backed_up("-Z1", "a key", "sql.gz.gpg");
    fs::write(store.root().join("key.txt"), "a key\n").unwrap();
    backed_up("-Fc", "", "dump");
    backed_up("-Fd", "", "dir");
    let tar =
        "tar -cf mydb-20260416-030000.dir.tar mydb-20260416-030000.dir && rm -r mydb-20260416-030000.dir";
    Cli::shell(server, &store, tar).run().succeeded();

    let script = [TELEGRAM_LEFT, FILE_LEFT].map(restore_blocks).concat();
    let all = [BEFORE_AND_AFTER, SERVER_LOST, TELEGRAM_LEFT, FILE_LEFT].map(restore_blocks).concat();
    assert_eq!(all, tested_blocks("docs/restore.md").concat(), "a section is not typed by any test");
    let cli = Cli::shell(server, &store, &script).env("PGHOST", "127.0.0.1").env("PGUSER", "backup_login");
    let cli = cli.env("PGPORT", server.port().to_string()).env("PGPASSWORD", server.password());
    let outcome = cli.run().succeeded();
    assert_eq!(outcome.stdout.matches(&sum).count(), 2, "{outcome}");
    for database in
        ["restored_gzip", "restored_zstd", "restored_gpg", "restored_custom", "restored_directory"]
    {
        assert!(script.contains(&format!("createdb --template=template0 {database}\n")), "{database}");
        assert_eq!(server.dump(database), before, "{database}");
        server.sql("postgres", &format!("DROP DATABASE {database}"));
    }
}

/// Makes roles, and a database with all that a restore has to bring back besides its contents.
const LOST: &str = "
    CREATE ROLE shop_owner LOGIN;
    CREATE ROLE reader;
    CREATE DATABASE mydb OWNER shop_owner ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 CONNECTION LIMIT 20;
    COMMENT ON DATABASE mydb IS 'the shop''s';
    ALTER DATABASE mydb SET search_path = app, \"$user\", public;
    ALTER DATABASE mydb SET default_transaction_read_only = on;
    ALTER DATABASE mydb SET app.secret = 'a value that nobody may read';
    ALTER ROLE reader IN DATABASE mydb SET work_mem = '6MB';
    REVOKE CONNECT, TEMPORARY ON DATABASE mydb FROM PUBLIC;
    GRANT CONNECT ON DATABASE mydb TO reader WITH GRANT OPTION;
";

#[test]
fn a_lost_server_comes_back_by_the_tools_that_everybody_has() {
    let server = Cluster::start(17);
    let store = Store::new();
    let databases = ["mydb", "shop", "crm", "wiki", "blog"];
    for database in databases {
        let sql = LOST.replace("mydb", database);
        // The roles are there from the second on.
        let sql =
            if database == "mydb" { sql } else { sql[sql.find("CREATE DATABASE").unwrap()..].to_owned() };
        server.sql("postgres", &sql);
        let fill = "CREATE TABLE words (word text); INSERT INTO words SELECT 'word ' || i FROM generate_series(1, 500) i;
                    ALTER TABLE words OWNER TO shop_owner;";
        state::calmly(&server, &store, database, fill);
    }
    let before = databases.map(|database| State::of(&server, &store, database));

    for (database, options, key, end) in [
        ("mydb", "-Z1", "", "sql.gz"),
        ("shop", "-Z1", "a key", "sql.gz.gpg"),
        ("crm", "-Fc", "", "dump"),
        ("wiki", "-Fd", "", "dir"),
        ("blog", "-Fc", "a key", "dump.gpg"),
    ] {
        let place = Store::new();
        let cli = Cli::backup(&server, &place, database).env("POSTGRES_EXTRA_OPTS", options);
        cli.env("BACKUP_ENCRYPTION_KEY", key).env("BACKUP_GLOBALS", "TRUE").run().succeeded();
        let name = format!("{database}-20260416-030000.{end}");
        let made = place.only_of("last", database);
        fs::rename(place.manifest_file("last", &made), store.root().join(format!(".{name}.json"))).unwrap();
        fs::rename(place.file("last", &made), store.root().join(&name)).unwrap();
        if database == "mydb" {
            let globals = place.file("last", &place.only_of("last", "globals"));
            fs::rename(globals, store.root().join("globals-20260416-030000.sql.gz")).unwrap();
        }
    }
    fs::write(store.root().join("key.txt"), "a key\n").unwrap();
    let drops = databases.map(|database| format!("DROP DATABASE {database};\n")).concat();
    server.sql("postgres", &format!("{drops}DROP ROLE shop_owner, reader;"));

    let script = restore_blocks(SERVER_LOST);
    let cli = Cli::shell(&server, &store, &script).env("PGHOST", "127.0.0.1").env("PGUSER", "backup_login");
    let cli = cli.env("PGPORT", server.port().to_string()).env("PGPASSWORD", server.password());
    let outcome = cli.run().succeeded();
    for (database, before) in databases.into_iter().zip(&before) {
        let difference = State::of(&server, &store, database).difference(before);
        assert!(difference.is_none(), "{database}:{}\n{outcome}", difference.unwrap_or_default());
        // But for the labels at the end, which need a provider.
        let told = before.properties.split_last().map(|(_labels, told)| told).unwrap_or_default();
        assert!(told.iter().all(|part| part.len() > 10), "{database} is too plain: {before:?}");
    }
}

#[test]
fn a_copy_without_personal_data_is_made_as_the_page_says() {
    let server = Cluster::start(15);
    let store = Store::new();
    let database = server.database_named("mydb");
    database.sql(
        "CREATE TABLE customers (id int PRIMARY KEY, name text, email text);
         INSERT INTO customers SELECT i, 'Ada ' || i, 'ada@home.example' FROM generate_series(1, 100) i;
         CREATE TABLE password_resets (customer int);
         INSERT INTO password_resets VALUES (1);",
    );
    Cli::backup(&server, &store, "mydb").run().succeeded();
    let image = store.root().join("image");
    fs::create_dir(&image).unwrap();
    symlink(env!("CARGO_BIN_EXE_backupgram"), image.join("restore")).unwrap();
    // And once more over the copy, as from outside of the container.
    let by_pipe = "cat staging.sql | restore --after /dev/stdin last/mydb-latest.sql.gz mydb_staging";
    let script = restore_blocks(BEFORE_AND_AFTER);
    let script = format!("PATH=\"$PWD/image:$PATH\"\n{script}\n{by_pipe}\n");
    let outcome = Cli::shell(&server, &store, &script).run().succeeded();
    assert_eq!(outcome.stderr.matches("running ").count(), 2, "{outcome}");
    let found =
        "SELECT count(*), count(*) FILTER (WHERE name LIKE 'Ada%' OR email LIKE 'ada%') FROM customers;
                 SELECT count(*) FROM password_resets";
    assert_eq!(server.sql("mydb_staging", found), "100|0\n0");
    assert_eq!(database.sql(found), "100|100\n1");
}
