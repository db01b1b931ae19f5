//! What a dry run tells is what the restore ends with, before anything is loaded; and what it lets pass does load.

use std::fs;
use std::path::PathBuf;

use crate::harness::*;

/// A server, and a role on it that owns databases and is no superuser.
struct Scene {
    server: Cluster,
    store: Store,
}

const OWNER: &str = "app";

impl Scene {
    fn start(major: u32) -> Self {
        let server = Cluster::start(major);
        server.sql(
            "postgres",
            "CREATE ROLE app LOGIN CREATEDB PASSWORD 'app'; CREATE ROLE other; CREATE ROLE third; CREATE ROLE fourth; GRANT fourth TO app; CREATE ROLE boss SUPERUSER;
             SET allow_in_place_tablespaces = on; CREATE TABLESPACE space LOCATION ''",
        );
        Self { server, store: Store::new() }
    }

    /// A database of the owner's with a table in it.
    fn database(&self, label: &str) -> Database<'_> {
        let database = self.server.database(label);
        self.server.sql("postgres", &format!("ALTER DATABASE {} OWNER TO {OWNER}", database.name));
        database.sql("SET ROLE app; CREATE SCHEMA own; CREATE TABLE own.rows (id int, note text); INSERT INTO own.rows VALUES (1, 'x')");
        database
    }

    /// Backs it up as a superuser, in SQL and as an archive, and answers `SLOT/NAME` of each.
    fn backed_up(&self, database: &str) -> Vec<String> {
        let options = ["-Z1", "-Fc"];
        let known = self.store.dated("last");
        for options in options {
            Cli::backup(&self.server, &self.store, database)
                .env("POSTGRES_EXTRA_OPTS", options)
                .run()
                .succeeded();
        }
        let new = self.store.dated("last").into_iter().filter(|name| !known.contains(name));
        let new: Vec<_> = new.map(|name| format!("last/{name}")).collect();
        assert_eq!(new.len(), options.len());
        new
    }

    fn restore(&self, file: &str, target: &str) -> Cli {
        Cli::restore(&self.server, &self.store, file).args([target])
    }

    fn as_owner(&self, file: &str, target: &str) -> Cli {
        self.restore(file, target).env("POSTGRES_USER", OWNER).env("POSTGRES_PASSWORD", "app")
    }
}

/// The dry run and the restore end with the same error, before anything is loaded.
#[track_caller]
fn both_refuse(restore: impl Fn() -> Cli, said: &str) {
    let errors = [&["--dry-run"][..], &[]].map(|options| {
        let refused = restore().args(options).run().exited_with(1);
        assert!(!refused.text().contains("loading into"), "{refused}");
        let error = refused.stderr.lines().last().unwrap().to_owned();
        assert!(error.contains(said), "must say {said:?}\n{refused}");
        error
    });
    assert_eq!(errors[0], errors[1]);
}

/// The dry run lets it pass, and it does load.
#[track_caller]
fn both_pass(restore: impl Fn() -> Cli) {
    restore().args(["--dry-run"]).run().succeeded().saying("dry run, nothing was changed");
    restore().run().succeeded();
}

/// What is in the database or about it, what is said of it to its owner, and what helps; nothing where only a superuser can
/// restore it.
struct Case {
    what: &'static str,
    /// Run in the database, whose name is `{}`.
    made_by: &'static str,
    said: &'static str,
    helps: &'static str,
}

const CASES: [Case; 16] = [
    Case {
        what: "extension",
        made_by: "CREATE EXTENSION pageinspect; CREATE EXTENSION hstore",
        said: "only a superuser can create these extensions of",
        helps: "",
    },
    Case {
        what: "trusted",
        made_by: "CREATE EXTENSION hstore; CREATE TABLE own.pairs (p hstore); ALTER TABLE own.pairs OWNER TO app",
        said: "",
        helps: "",
    },
    Case {
        what: "internal",
        made_by: "CREATE FUNCTION own.f(int) RETURNS int LANGUAGE internal AS 'int4abs'",
        said: "only a superuser can create these objects of",
        helps: "",
    },
    Case {
        what: "leakproof",
        made_by: "CREATE FUNCTION own.f(int) RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT 1'; ALTER FUNCTION own.f OWNER TO app",
        said: ": leakproof functions",
        helps: "",
    },
    Case {
        what: "operators",
        made_by: "CREATE OPERATOR CLASS own.c FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int, int);
                  ALTER OPERATOR CLASS own.c USING btree OWNER TO app; ALTER OPERATOR FAMILY own.c USING btree OWNER TO app",
        said: ": operator classes",
        helps: "",
    },
    Case {
        what: "casts",
        made_by: "CREATE TYPE own.t AS (x int); CREATE TYPE own.u AS (x int); ALTER TYPE own.t OWNER TO app;
                  ALTER TYPE own.u OWNER TO app; CREATE DOMAIN own.d AS int; CREATE CAST (bytea AS xml) WITHOUT FUNCTION;
                  ALTER DOMAIN own.d OWNER TO app",
        said: ": casts without a function",
        helps: "",
    },
    Case {
        what: "publication",
        made_by: "CREATE PUBLICATION p FOR ALL TABLES",
        said: ": publications of all tables",
        helps: "",
    },
    Case {
        what: "event",
        made_by: "CREATE FUNCTION own.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; ALTER FUNCTION own.e OWNER TO app;
                  CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION own.e()",
        said: "event triggers or foreign-data wrappers",
        helps: "",
    },
    Case {
        what: "member",
        made_by: "CREATE SCHEMA others AUTHORIZATION other",
        said: "has objects of owners that role app is not a member of: other; grant it membership",
        helps: "GRANT other TO app",
    },
    Case {
        what: "barred",
        made_by: "CREATE TABLE own.others (id int); ALTER TABLE own.others OWNER TO fourth; GRANT CREATE ON SCHEMA own TO fourth;
                  CREATE TABLE public.others (id int); ALTER TABLE public.others OWNER TO app",
        said: "in schemas where their owners have no CREATE right: fourth in own",
        helps: "",
    },
    Case {
        what: "grants",
        made_by: "GRANT SELECT ON own.rows TO third WITH GRANT OPTION; SET SESSION AUTHORIZATION third;
                  SET SESSION AUTHORIZATION DEFAULT; GRANT USAGE ON SCHEMA own TO third;
                  SET SESSION AUTHORIZATION third; GRANT SELECT ON own.rows TO other",
        said: "only a superuser can restore the grants in",
        helps: "",
    },
    Case {
        what: "space",
        made_by: "ALTER TABLE own.rows SET TABLESPACE space",
        said: "role app has no CREATE right on these tablespaces of",
        helps: "GRANT CREATE ON TABLESPACE space TO app",
    },
    Case {
        what: "statement",
        made_by: "ALTER DATABASE {} SET log_statement = 'all'",
        said: "only a superuser can set its settings log_statement",
        helps: "GRANT SET ON PARAMETER log_statement TO app",
    },
    Case {
        what: "custom",
        made_by: "ALTER DATABASE {} SET app.tenant = 'x'; ALTER DATABASE {} SET work_mem = '5MB'",
        said: "only a superuser can set its settings app.tenant",
        helps: "GRANT SET ON PARAMETER app.tenant TO app",
    },
    Case {
        what: "settings",
        made_by: "ALTER ROLE other IN DATABASE {} SET work_mem = '6MB'; ALTER ROLE app IN DATABASE {} SET work_mem = '7MB'",
        said: "role app cannot change the settings of roles other",
        helps: "ALTER ROLE app CREATEROLE; GRANT other TO app WITH ADMIN OPTION",
    },
    Case {
        what: "database",
        made_by: "GRANT CONNECT ON DATABASE {} TO third WITH GRANT OPTION; SET SESSION AUTHORIZATION third;
                  GRANT CONNECT ON DATABASE {} TO other",
        said: "role app is not a member of third",
        helps: "GRANT third TO app",
    },
];

fn what_an_owner_may_not_restore_is_told_before_the_load(major: u32) {
    let scene = Scene::start(major);
    for (number, Case { what, made_by, said, helps }) in CASES.into_iter().enumerate() {
        println!("{what}");
        let database = scene.database(what);
        database.sql(&made_by.replace("{}", &database.name));
        let before = database.dump();
        let new = format!("{}_new", database.name);
        // In SQL on the one server, in an archive on the other.
        let file = &scene.backed_up(&database.name)[(number + usize::from(major > 15)) % 2];
        // Over the database on the one server, beside it on the other.
        let target = [database.name.as_str(), &new][(number / 2 + usize::from(major > 15)) % 2];
        if !said.is_empty() {
            both_refuse(|| scene.as_owner(file, target), said);
        }
        match (said, helps) {
            ("", _) => both_pass(|| scene.as_owner(file, target)),
            (_, "") => both_pass(|| scene.restore(file, target)),
            (_, helps) => {
                scene.server.sql("postgres", helps);
                both_pass(|| scene.as_owner(file, target));
                let undo = helps
                    .replace("GRANT", "REVOKE")
                    .replace(" TO ", " FROM ")
                    .replace("WITH ADMIN OPTION", "");
                scene.server.sql("postgres", &undo.replace("app CREATEROLE", "app NOCREATEROLE"));
            }
        }
        assert_eq!(scene.server.dump(target), before, "{what} {file}");
        scene.server.sql("postgres", &format!("DROP DATABASE IF EXISTS {new}"));
    }
    // What is refused of the properties alone has a way out, which loads.
    let database = scene.database("way_out");
    database.sql(&CASES[12].made_by.replace("{}", &database.name));
    for file in scene.backed_up(&database.name) {
        for choice in ["encoding", "none"] {
            both_pass(|| scene.as_owner(&file, "out").args(["--properties", choice]));
            scene.server.sql("postgres", "DROP DATABASE out");
        }
    }
    if major > 15 {
        // Who may take a role on, but has not its rights all the time.
        let database = scene.database("rights");
        scene.server.sql(
            "postgres",
            &format!(
                "ALTER DATABASE {} OWNER TO fourth; GRANT fourth TO app WITH INHERIT FALSE",
                database.name
            ),
        );
        for file in scene.backed_up(&database.name) {
            both_refuse(
                || scene.as_owner(&file, "new"),
                "role app does not have the rights of fourth; --properties encoding",
            );
            both_refuse(|| scene.as_owner(&file, &database.name), "it belongs to fourth");
            both_pass(|| scene.as_owner(&file, "new").args(["--properties", "encoding"]));
            scene.server.sql("postgres", "DROP DATABASE new");
        }
    }
    // Of a superuser's settings nobody else may change any, whatever he may do besides.
    let database = scene.database("boss");
    scene.server.sql("postgres", "ALTER ROLE app CREATEROLE");
    database.sql(&format!("ALTER ROLE boss IN DATABASE {} SET work_mem = '6MB'", database.name));
    for file in scene.backed_up(&database.name) {
        both_refuse(|| scene.as_owner(&file, "new"), "role app cannot change the settings of roles boss");
    }
    scene.server.assert_no_scratch_database_is_left();
}

#[test]
fn what_an_owner_may_not_restore_is_told_on_postgresql_15() {
    what_an_owner_may_not_restore_is_told_before_the_load(15);
}

#[test]
fn what_an_owner_may_not_restore_is_told_on_postgresql_18() {
    what_an_owner_may_not_restore_is_told_before_the_load(18);
}

/// The same dump with something else in it.
fn changed(scene: &Scene, database: &str, name: &str, from: &str, to: &str) -> PathBuf {
    let path = scene.store.root().join(name);
    scene.server.pg_dump(database, &["--create"], &path);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(&path, text.replace(from, to)).unwrap();
    path
}

/// A superuser is told these as well.
#[test]
fn what_the_server_lacks_is_named_before_the_load() {
    let scene = Scene::start(15);
    let database = scene.database("lacking");
    database.sql(
        "CREATE EXTENSION hstore; CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk');
         CREATE TABLE sorted (a text COLLATE german, b text COLLATE \"en-x-icu\"); ALTER TABLE sorted SET TABLESPACE space",
    );
    let locale =
        scene.server.sql("postgres", "SELECT datcollate FROM pg_database WHERE datname = 'template0'");
    for (name, from, to, said) in [
        (
            "extension.sql",
            "EXISTS hstore WITH",
            "EXISTS nosuch WITH",
            "needs extensions that the server does not have: nosuch; install",
        ),
        (
            "tablespace.sql",
            "default_tablespace = space",
            "default_tablespace = nosuch",
            "names tablespaces that the server does not have: nosuch;",
        ),
        (
            "made.sql",
            "(provider = icu, locale = 'de-u-co-phonebk')",
            "(provider = libc, locale = 'xx_XX.utf8')",
            "needs collations that the server does not have: ",
        ),
        (
            "used.sql",
            "COLLATE pg_catalog.\"en-x-icu\"",
            "COLLATE pg_catalog.\"xx_XX.utf8\"",
            "needs collations that the server does not have: xx_XX.utf8; install",
        ),
    ] {
        let file = changed(&scene, &database.name, name, from, to);
        both_refuse(|| scene.restore(file.to_str().unwrap(), "new"), said);
    }
    let newer = "LOCALE_PROVIDER = builtin LOCALE = 'C' BUILTIN_LOCALE = 'C.UTF-8'";
    for (name, to, said) in [
        (
            "locale.sql",
            "LOCALE_PROVIDER = libc LOCALE = 'xx_XX.utf8'".to_owned(),
            "the server lacks its locale: ",
        ),
        ("newer.sql", newer.to_owned(), "the server lacks its locale: "),
        (
            "space.sql",
            format!("LOCALE_PROVIDER = libc LOCALE = '{locale}' TABLESPACE = nosuch"),
            "the server lacks the tablespace nosuch",
        ),
    ] {
        let from = format!("LOCALE_PROVIDER = libc LOCALE = '{locale}'");
        let file = changed(&scene, &database.name, name, &from, &to);
        let file = file.to_str().unwrap();
        both_refuse(|| scene.restore(file, "new"), said);
        both_refuse(|| scene.restore(file, "new"), "--properties none the server's defaults");
        both_pass(|| scene.restore(file, "new").args(["--properties", "none"]));
        scene.server.sql("postgres", "DROP DATABASE new");
    }
    let file = changed(&scene, &database.name, "owner.sql", "OWNER TO app;", "OWNER TO nobody;");
    both_refuse(
        || scene.restore(file.to_str().unwrap(), "new"),
        "roles that the server does not have: nobody;",
    );
    let file = changed(&scene, &database.name, "whole.sql", "hstore", "hstore");
    both_pass(|| scene.restore(file.to_str().unwrap(), "new"));
    assert_eq!(scene.server.dump("new"), database.dump());
    scene.server.assert_no_scratch_database_is_left();
}

#[test]
fn a_standby_is_told_from_its_primary_before_anything_is_asked_of_it() {
    for major in [15, 18] {
        let primary = Cluster::start(major);
        let store = Store::new();
        let database = primary.database("primary");
        database.fill(5);
        Cli::backup(&primary, &store, &database.name).run().succeeded();
        let file = format!("last/{}", store.only("last"));
        let standby = primary.standby();
        wait_until("the standby to have the database", LONG, || standby.has_database(&database.name));
        for target in [database.name.as_str(), "new"] {
            let said = format!(
                "the server 127.0.0.1:{} is a standby, which cannot be restored into: use its primary",
                standby.port()
            );
            both_refuse(|| Cli::restore(&standby, &store, &file).args([target]), &said);
        }
        let daemon = Plan::new(&standby, &store).database(&database.name).start();
        let job = daemon.failed(&daemon.start_restore(&file, &database.name));
        assert!(job["error"].as_str().unwrap().contains("is a standby"), "{job:#}");
        // Such as after a failover.
        standby.sql("postgres", "SELECT pg_promote()");
        both_pass(|| Cli::restore(&standby, &store, &file).args(["new"]));
        assert_eq!(standby.dump("new"), database.dump());
    }
}
