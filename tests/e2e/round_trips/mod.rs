//! Databases that are hard to bring back, in every format and by every way: each comes back as it was, and as the stock
//! tools bring it back.

mod databases;
pub mod state;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::harness::*;
use databases::{LABELS, ROLES, SECRET, Subject};
use state::{State, calmly, client};

const KEY: &str = "k3y of ours";

/// A name for people, the options of a dump, and whether it is encrypted.
const FORMATS: [(&str, &str, bool); 7] = [
    ("plain", "-Z1", false),
    ("zstd", "-Z zstd:1", false),
    ("-Fc", "-Fc", false),
    ("-Ft", "-Ft", false),
    ("-Fd -j2", "-Fd -j2", false),
    ("encrypted plain", "-Z0", true),
    ("encrypted -Fc", "-Fc", true),
];

const LABEL_PROVIDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/round_trips/labels.c");

/// The database whose functions take the places of the server's own.
const HOSTILE_SEARCH_PATH: &str = "settings";

/// How a database comes back.
const WAYS: [&str; 4] = ["in place", "under another name", "after DROP DATABASE", "on an empty server"];

/// All servers take tablespaces that lie within their own directories.
const SERVER_SETTINGS: &str = "allow_in_place_tablespaces = on\nwal_level = logical";

/// The server that the databases come from, and the others like it.
struct Origin {
    major: u32,
    programs: PathBuf,
    /// What makes its locale another one than that of the databases and of the other servers.
    initdb: &'static [&'static str],
    /// The library of a provider of security labels, where one could be built.
    labels: Option<PathBuf>,
}

impl Origin {
    fn of(major: u32) -> Self {
        let initdb: &[&str] = if major < 17 {
            &["--locale-provider=icu", "--icu-locale=en-US"]
        } else {
            &["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        };
        Self { major, programs: program_directory(major), initdb, labels: None }
    }

    /// Builds a provider of security labels, if there are headers of the server.
    fn with_labels(mut self, store: &Store) -> Self {
        let headers = self.programs.join("../include/server");
        if headers.join("commands/seclabel.h").exists() {
            let library = store.root().join("labels.so");
            let compiler = Cli::of_program("cc", store).args(["-shared", "-fPIC", "-I"]).args([&headers]);
            compiler.args(["-o"]).args([&library]).args([LABEL_PROVIDER]).run().succeeded();
            self.labels = Some(library);
        } else {
            eprintln!(
                "SKIPPED: no security labels, as {} lacks the headers of the server",
                headers.display()
            );
        }
        self
    }

    fn start(&self) -> Cluster {
        self.start_with(self.initdb)
    }

    /// An empty one with the usual locale.
    fn start_another(&self) -> Cluster {
        self.start_with(&[])
    }

    fn start_with(&self, initdb: &[&str]) -> Cluster {
        let library =
            self.labels.as_ref().map(|path| format!("shared_preload_libraries = '{}'", path.display()));
        let settings = format!("{SERVER_SETTINGS}\n{}", library.unwrap_or_default());
        Cluster::start_from(self.programs.clone(), self.major, initdb, &settings)
    }
}

/// Backups of all databases in one format.
struct Backups {
    label: &'static str,
    store: Store,
}

impl Backups {
    fn take(server: &Cluster, subjects: &[(Subject, State)], format: &(&'static str, &str, bool)) -> Self {
        let (label, options, encrypted) = *format;
        let store = Store::new();
        let names = subjects.iter().filter(|(subject, _)| subject.is_in(label));
        let names: Vec<String> = names.map(|(subject, _)| quoted(subject.name)).collect();
        let backup = Cli::backup(server, &store, &names.join(",")).env("POSTGRES_EXTRA_OPTS", options);
        let backup = backup
            .env("BACKUP_GLOBALS", "TRUE")
            .env("BACKUP_ENCRYPTION_KEY", if encrypted { KEY } else { "" });
        backup.run().succeeded();
        if encrypted {
            for (path, _) in store.everything() {
                let bytes = fs::read(&path).unwrap_or_default();
                let found = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                assert!(!found, "{label}: {} holds the value of a setting in clear", path.display());
            }
        }
        Self { label, store }
    }

    /// The backup of a database, as a restore is told.
    fn file_of(&self, database: &str) -> String {
        let files = self.store.dated("last");
        let is_it = |file: &&String| self.store.manifest("last", file)["database"] == database;
        let file = files.iter().find(is_it).unwrap_or_else(|| panic!("{}: no {database:?}", self.label));
        format!("last/{file}")
    }

    fn restore(&self, server: &Cluster, database: &str) -> Cli {
        let restore = Cli::restore(server, &self.store, self.file_of(database));
        restore.env("BACKUP_ENCRYPTION_KEY", KEY).env("BACKUP_LOCK_WAIT", "100")
    }
}

/// Servers, databases, and what was found wrong.
struct Scene {
    origin: Origin,
    server: Cluster,
    subjects: Vec<(Subject, State)>,
    backups: Vec<Backups>,
    /// Files of this test that are no backups.
    store: Store,
    failures: Mutex<Vec<String>>,
}

impl Scene {
    fn new(origin: Origin, subjects: Vec<Subject>) -> Self {
        let store = Store::new();
        let origin = origin.with_labels(&store);
        let server = origin.start();
        server.sql("postgres", ROLES);
        let subjects: Vec<(Subject, State)> = subjects
            .into_iter()
            .map(|subject| {
                subject.make(&server);
                if origin.labels.is_some() && subject.name == "objects" {
                    LABELS.iter().for_each(|(database, sql)| drop(server.sql(database, sql)));
                }
                let state = State::of(&server, &store, subject.name);
                (subject, state)
            })
            .collect();
        let backups = FORMATS.iter().map(|format| Backups::take(&server, &subjects, format)).collect();
        Self { origin, server, subjects, backups, store, failures: Mutex::default() }
    }

    /// Remembers it when a restore has failed or the result is another.
    fn judge(
        &self,
        backups: &Backups,
        way: &str,
        subject: &Subject,
        restored: Result<State, String>,
        expected: &State,
    ) {
        self.compare(&format!("{}, {way}", backups.label), subject, restored, expected);
    }

    fn compare(&self, cell: &str, subject: &Subject, restored: Result<State, String>, expected: &State) {
        let wrong = match restored {
            Ok(state) => state.difference(expected),
            Err(text) => Some(format!("\n{text}")),
        };
        if let Some(wrong) = wrong {
            let text =
                format!("PostgreSQL {}, database {:?}, {cell}:{wrong}\n", self.origin.major, subject.name);
            self.failures.lock().unwrap().push(text);
        }
    }

    /// Restores, and answers what has come of it.
    fn restored(
        &self,
        backups: &Backups,
        server: &Cluster,
        subject: &Subject,
        target: &str,
    ) -> Result<State, String> {
        let outcome = backups.restore(server, subject.name).args([target]).run();
        if outcome.status.is_some_and(|status| status.success()) {
            Ok(State::of(server, &backups.store, target))
        } else {
            Err(outcome.to_string())
        }
    }

    /// Those that come back from a format by a way: in the ordinary run one way for each, all of them in turn.
    fn subjects_of(&self, format: usize, way: usize) -> impl Iterator<Item = &(Subject, State)> {
        let whole = std::env::var_os("BACKUPGRAM_E2E_ROUNDS").is_some();
        let label = FORMATS[format].0;
        let subjects = self.subjects.iter().enumerate();
        let subjects = subjects.filter(move |(at, _)| whole || (format + at) % WAYS.len() == way);
        subjects.map(|(_, subject)| subject).filter(move |(subject, _)| subject.is_in(label))
    }

    /// In place after changes, under another name, and where it was dropped.
    fn on_the_same_server(&self) {
        for (format, backups) in self.backups.iter().enumerate() {
            for (subject, original) in self.subjects_of(format, 0) {
                self.change(subject.name);
                let expected = original.with_properties_of(&self.server, subject.name);
                let restored = self.restored(backups, &self.server, subject, subject.name);
                self.judge(backups, WAYS[0], subject, restored, &expected);
            }
            for (subject, original) in self.subjects_of(format, 1) {
                let other = format!("Copy of \"{}\" one", self.origin.major);
                let restored = self.restored(backups, &self.server, subject, &other);
                self.judge(backups, WAYS[1], subject, restored, original);
                drop_database(&self.server, &other);
            }
            for (subject, original) in self.subjects_of(format, 2) {
                drop_database(&self.server, subject.name);
                let restored = self.restored(backups, &self.server, subject, subject.name);
                let is_back = restored.is_ok();
                self.judge(backups, WAYS[2], subject, restored, original);
                if !is_back {
                    drop_database(&self.server, subject.name);
                    subject.make(&self.server);
                }
            }
        }
    }

    /// Makes another database of it: contents, and properties, which a target keeps.
    fn change(&self, database: &str) {
        calmly(&self.server, &self.store, database, CHANGE);
        let name = quoted(database);
        let sql = format!(
            "ALTER DATABASE {name} SET \"app.changed\" = 'yes'; ALTER DATABASE {name} CONNECTION LIMIT 19 IS_TEMPLATE false;
             COMMENT ON DATABASE {name} IS 'changed'; ALTER ROLE app_root IN DATABASE {name} SET work_mem = '9MB';
             GRANT TEMPORARY ON DATABASE {name} TO app_root WITH GRANT OPTION; REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"
        );
        self.server.sql("postgres", &sql);
    }

    /// On a second server, once its roles and tablespaces have come back.
    fn on_an_empty_server(&self) {
        let empty = self.origin.start_another();
        // Older ones write tablespaces within the server down in a way that none of them takes.
        let before = if self.origin.major < 16 { TABLESPACES } else { "" };
        for (format, backups) in self.backups.iter().enumerate().rev() {
            empty.sql("postgres", before);
            backups.restore(&empty, "globals").run().succeeded();
            for (subject, original) in self.subjects_of(format, 3) {
                let restored = self.restored(backups, &empty, subject, subject.name);
                self.judge(backups, WAYS[3], subject, restored, original);
                drop_database(&empty, subject.name);
            }
            empty.sql("postgres", TAKE_AWAY);
        }
    }

    /// A proof of a database, if it is among these.
    fn is_proven(&self, name: &str) {
        let Some(backups) = self.backups.first() else { return };
        if self.subjects.iter().any(|(subject, _)| subject.name == name) {
            let proof = Cli::new(&self.server, &backups.store).args(["verify", "--restore"]);
            let outcome = proof.args([backups.file_of(name)]).run();
            if outcome.status.is_none_or(|status| !status.success()) {
                self.failures.lock().unwrap().push(format!("proof of {name:?}:\n{outcome}"));
            }
        }
    }

    /// Whoever owns a database could have a superuser run what he likes, if the database said what `lower` is.
    fn runs_no_function_of_a_database(&self) {
        let log = fs::read(self.server.data().with_file_name("log")).unwrap();
        let log = String::from_utf8_lossy(&log);
        let found = log.lines().skip_while(|line| !line.contains("a function of the database was run"));
        let found: Vec<&str> = found.take(8).collect();
        if !found.is_empty() {
            self.failures
                .lock()
                .unwrap()
                .push(format!("a function of a database was run:\n{}", found.join("\n")));
        }
    }

    /// What the stock tools make of the same databases on a server like that, plain and from an archive.
    fn by_stock_tools(&self) {
        let stock = self.origin.start_another();
        stock.sql("postgres", ROLES);
        let path = self.store.root().join("stock");
        for (subject, original) in &self.subjects {
            for (options, loader) in [
                (&["--create", "-f"][..], &["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f"][..]),
                (&["-Fc", "-f"], &["pg_restore", "--create", "--exit-on-error", "-d", "postgres"]),
            ] {
                if loader[0] == "psql" && !subject.is_in("plain") {
                    continue;
                }
                let dump = client(&self.server, &self.store, "pg_dump").env("PGDATABASE", subject.name);
                dump.args(options).args([&path]).run().succeeded();
                let load = client(&stock, &self.store, loader[0]).env("PGDATABASE", "postgres");
                let outcome = load.args(&loader[1..]).args([&path]).run();
                let loaded = if outcome.status.is_some_and(|status| status.success()) {
                    Ok(State::of(&stock, &self.store, subject.name))
                } else {
                    Err(outcome.to_string())
                };
                self.compare(&format!("by stock {}", loader[0]), subject, loaded, original);
                drop_database(&stock, subject.name);
            }
        }
    }
}

const CHANGE: &str = "SET \"app.may\" = 'yes'; DROP SCHEMA IF EXISTS added CASCADE;
    CREATE SCHEMA added; CREATE TABLE added.later AS SELECT 1 AS one;
    SELECT lo_create(0); COMMENT ON SCHEMA public IS 'changed';
    DO $$ DECLARE victim regclass; BEGIN
        SELECT c.oid INTO victim FROM pg_class c WHERE relkind = 'r'
            AND relnamespace::regnamespace::text !~ '^(pg_|information_schema|added)' ORDER BY c.oid LIMIT 1;
        EXECUTE format('DROP TABLE %s CASCADE', victim);
    END $$";

const TABLESPACES: &str = "CREATE TABLESPACE fast LOCATION ''; CREATE TABLESPACE \"Spâce 'two'\" LOCATION ''";

/// Drops what `globals` have made.
const TAKE_AWAY: &str = "DROP TABLESPACE fast; DROP TABLESPACE \"Spâce 'two'\";
    DROP ROLE app_reader, app_root, \"Röle 'q' \"\"dq\"\" \\ $1; %s --\", app_owner,
        \"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\"";

/// Whether it is there or not, and a template or not.
fn drop_database(server: &Cluster, name: &str) {
    let name = quoted(name);
    let freely = "\\set ON_ERROR_STOP off";
    let sql =
        format!("{freely}\nALTER DATABASE {name} IS_TEMPLATE false; DROP DATABASE {name} WITH (FORCE);");
    server.sql("postgres", &sql);
}

fn databases_come_back_as_they_were(origin: Origin, subjects: Vec<Subject>) {
    let scene = Scene::new(origin, subjects);
    // The stock tools before anything changes what they read.
    scene.by_stock_tools();
    std::thread::scope(|scope| {
        scope.spawn(|| scene.on_an_empty_server());
        scene.on_the_same_server();
    });
    scene.server.assert_no_scratch_database_is_left();
    scene.is_proven(HOSTILE_SEARCH_PATH);
    scene.runs_no_function_of_a_database();
    let failures = scene.failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} round trips went wrong:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn databases_of_postgresql_15_come_back_as_they_were() {
    databases_come_back_as_they_were(Origin::of(15), databases::of(15));
}

#[test]
fn databases_of_postgresql_18_come_back_as_they_were() {
    databases_come_back_as_they_were(Origin::of(18), databases::of(18));
}

#[test]
fn databases_with_rules_of_icu_come_back_as_they_were() {
    let Some(programs) = icu_program_directory() else { return };
    let initdb = &["--locale-provider=icu", "--icu-locale=und"];
    let origin = Origin { major: 18, programs, initdb, labels: None };
    databases_come_back_as_they_were(origin, databases::with_rules());
}
