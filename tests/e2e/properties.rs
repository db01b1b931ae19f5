//! What a database is like that is not there, by what is asked for and what is known of the backup.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::*;

const KEY: &str = "k3y of ours";
const SECRET: &str = "s3cr3t-of-the-application";

/// A server with roles of which one owns the database.
fn server() -> Cluster {
    let server = Cluster::start(15);
    server.sql(
        "postgres",
        &format!(
            "CREATE ROLE owner; CREATE ROLE reader; SET allow_in_place_tablespaces = on; CREATE TABLESPACE space LOCATION '';
             CREATE DATABASE known TEMPLATE template0 ENCODING LATIN1 LOCALE 'C' TABLESPACE space OWNER owner;
             REVOKE ALL ON DATABASE known FROM PUBLIC; GRANT CONNECT ON DATABASE known TO reader;
             ALTER DATABASE known SET search_path = app, public; ALTER DATABASE known SET app.secret = '{SECRET}';
             ALTER ROLE reader IN DATABASE known SET work_mem = '6MB'; ALTER DATABASE known CONNECTION LIMIT 7;
             COMMENT ON DATABASE known IS 'the one'"
        ),
    );
    server.sql("known", "CREATE TABLE texts (text text); INSERT INTO texts VALUES (chr(233))");
    server
}

/// All that is to be seen of a database from outside.
fn properties(server: &Cluster, name: &str) -> String {
    server.sql(
        "postgres",
        &format!(
            "SELECT json_build_object('owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
                'collate', datcollate, 'space', spcname, 'limit', datconnlimit, 'acl', datacl,
                'comment', shobj_description(d.oid, 'pg_database'),
                'settings', (SELECT json_agg(concat(setrole::regrole, ' ', setconfig) ORDER BY setrole)
                             FROM pg_db_role_setting WHERE setdatabase = d.oid))
             FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = '{name}'"
        ),
    )
}

fn backed_up(server: &Cluster, store: &Store, database: &str, options: &str, key: &str) -> String {
    let known = store.dated("last");
    let backup = Cli::backup(server, store, database).env("POSTGRES_EXTRA_OPTS", options);
    backup.env("BACKUP_ENCRYPTION_KEY", key).run().succeeded();
    let new = store.dated("last").into_iter().find(|name| !known.contains(name)).unwrap();
    format!("last/{new}")
}

/// Changes the manifest of a backup.
fn rewrite(store: &Store, file: &str, change: impl FnOnce(&mut Value)) {
    let name = file.strip_prefix("last/").unwrap();
    let mut manifest = store.manifest("last", name);
    change(&mut manifest);
    fs::write(store.manifest_file("last", name), manifest.to_string()).unwrap();
}

fn without(manifest: &mut Value, key: &str) {
    assert!(manifest.as_object_mut().unwrap().remove(key).is_some(), "{key} is not in {manifest}");
}

/// What a new database of each choice is like.
struct Expected {
    all: String,
    encoding: String,
    none: String,
}

impl Expected {
    fn of(server: &Cluster) -> Self {
        server.sql(
            "postgres",
            "CREATE DATABASE like_encoding TEMPLATE template0 ENCODING LATIN1 LOCALE 'C';
             CREATE DATABASE like_none TEMPLATE template0",
        );
        let of = |name| properties(server, name);
        Self { all: of("known"), encoding: of("like_encoding"), none: of("like_none") }
    }
}

#[track_caller]
fn makes(server: &Cluster, restore: Cli, expected: &str) -> command::Outcome {
    let done = restore.args(["new"]).run().succeeded();
    assert_eq!(properties(server, "new"), expected, "{done}");
    assert_eq!(server.sql("new", "SELECT text FROM texts"), "\u{e9}", "{done}");
    server.sql("postgres", "DROP DATABASE new");
    done
}

#[test]
fn a_new_database_is_made_like_the_backups_as_far_as_asked_for() {
    let (server, store) = (server(), Store::new());
    let expected = Expected::of(&server);
    let daemon = Plan::new(&server, &store).database("known").env("BACKUP_ENCRYPTION_KEY", KEY).start();
    for (options, key) in [("-Z1", ""), ("-Fc", ""), ("-Z1", KEY), ("-Fd", ""), ("-Ft", KEY)] {
        let file = backed_up(&server, &store, "known", options, key);
        let restore = || Cli::restore(&server, &store, &file).env("BACKUP_ENCRYPTION_KEY", key);
        makes(&server, restore(), &expected.all);
        for (choice, expected) in
            [("all", &expected.all), ("encoding", &expected.encoding), ("none", &expected.none)]
        {
            makes(&server, restore().args(["--properties", choice]), expected);
            let body = json!({"file": file, "target_db": "new", "confirm": true, "properties": choice});
            daemon.succeeded(&job_id(&daemon.post("/restore", &body).expect(202)));
            assert_eq!(&properties(&server, "new"), expected, "{options} {choice}");
            // What is there keeps what it has, whatever is asked for.
            restore().args(["new", "--properties", "all"]).run().succeeded();
            assert_eq!(&properties(&server, "new"), expected, "{options} {choice}");
            server.sql("postgres", "DROP DATABASE new");
        }
    }
    for bad in [json!("some"), json!(null), json!(true), json!("")] {
        let body = json!({"file": "last/x", "target_db": "new", "confirm": true, "properties": bad});
        daemon.post("/restore", &body).expect(400);
    }
    Cli::restore(&server, &store, "last/x")
        .args(["--properties", "some"])
        .run()
        .exited_with(2)
        .saying("not one of all, encoding, none");
}

#[test]
fn what_is_not_recorded_of_a_database_is_taken_from_the_dump_or_said() {
    let (server, store) = (server(), Store::new());
    let expected = Expected::of(&server);
    let origin_only = "records only the encoding and locale of its database; unknown are its owner, ";
    let nothing = "does not record the properties of its database: the new one gets the server's defaults";
    for (options, is_archive) in [("-Z1", false), ("-Fc", true), ("-Fd", true), ("-Ft", true)] {
        let file = backed_up(&server, &store, "known", options, "");
        let restore = || Cli::restore(&server, &store, &file);
        // A manifest of an earlier version. An archive says it by itself.
        rewrite(&store, &file, |manifest| without(manifest, "properties"));
        let (all, said) = if is_archive { (&expected.all, false) } else { (&expected.encoding, true) };
        let done = makes(&server, restore(), all);
        assert_eq!(done.text().contains(origin_only), said, "{options} {done}");
        let done = makes(&server, restore().args(["--properties", "encoding"]), &expected.encoding);
        assert!(!done.text().contains("unknown are"), "{done}");
        makes(&server, restore().args(["--properties", "none"]), &expected.none);
        // No manifest.
        rewrite(&store, &file, |manifest| without(manifest, "origin"));
        fs::remove_file(store.manifest_file("last", file.strip_prefix("last/").unwrap())).unwrap();
        let all = if is_archive { &expected.all } else { &expected.none };
        let done = makes(&server, restore(), all);
        assert_eq!(done.text().contains(nothing), !is_archive, "{options} {done}");
    }
    // SQL says it where it was made with --create.
    for (options, expected) in
        [(&["--create"][..], &expected.all), (&["--create", "--clean"], &expected.all), (&[], &expected.none)]
    {
        let path: PathBuf = store.root().join("elsewhere.sql");
        server.pg_dump("known", options, &path);
        makes(&server, Cli::restore(&server, &store, &path), expected);
        let rehearsed = Cli::restore(&server, &store, &path).args(["new", "--dry-run"]).run().succeeded();
        assert_eq!(rehearsed.text().contains(nothing), options.is_empty(), "{rehearsed}");
    }
}

#[test]
fn bytes_of_no_known_encoding_become_no_text_of_another() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE DATABASE bytes TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'");
    server.sql(
        "bytes",
        "CREATE TABLE texts (text text); INSERT INTO texts VALUES (convert_from('\\xe9', 'SQL_ASCII'))",
    );
    server.sql(
        "postgres",
        "CREATE DATABASE utf8; CREATE DATABASE like_it TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'",
    );
    let is_there =
        |name: &str| server.sql(name, "SELECT encode(convert_to(text, 'SQL_ASCII'), 'hex') FROM texts");
    let daemon = Plan::new(&server, &store).database("bytes").start();
    for options in ["-Z1", "-Fc", "-Fd"] {
        let file = backed_up(&server, &store, "bytes", options, "");
        for (target, choice) in [("utf8", "all"), ("new", "none"), ("utf8", "none")] {
            let said =
                format!("the encoding of {target}: restore into a new name with --properties encoding");
            for more in [&["--dry-run"][..], &[]] {
                let restore =
                    Cli::restore(&server, &store, &file).args([target, "--properties", choice]).args(more);
                let refused = restore.run().exited_with(1);
                assert!(refused.stderr.lines().last().unwrap().contains(&said), "{refused}");
                assert!(!refused.text().contains("loading into"), "{refused}");
            }
            let body = json!({"file": file, "target_db": target, "confirm": true, "properties": choice});
            let job = daemon.failed(&job_id(&daemon.post("/restore", &body).expect(202)));
            assert!(job["error"].as_str().unwrap().contains(&said), "{job:#}");
        }
        for (target, choice) in
            [("like_it", "all"), ("like_it", "none"), ("new", "all"), ("new_too", "encoding")]
        {
            let restore = Cli::restore(&server, &store, &file).args([target, "--properties", choice]);
            restore.run().succeeded();
            assert_eq!(is_there(target), "e9", "{options} {target}");
        }
        // No statement of a proof disagrees.
        Cli::new(&server, &store).args(["verify", "--restore", &file]).run().succeeded();
        server.sql("postgres", "DROP DATABASE new");
        server.sql("postgres", "DROP DATABASE new_too");
    }
    // Without a manifest an archive and SQL both name the encoding of their text.
    for (options, name) in
        [(&["-Fc", "--encoding=SQL_ASCII"][..], "bytes.dump"), (&["--encoding=SQL_ASCII"], "bytes.sql")]
    {
        let path = store.root().join(name);
        server.pg_dump("bytes", options, &path);
        Cli::restore(&server, &store, &path)
            .args(["utf8"])
            .run()
            .exited_with(1)
            .saying("is of a database in SQL_ASCII");
    }
}

#[test]
fn settings_that_the_key_does_not_open_are_told_and_have_a_way_out() {
    let (server, store) = (server(), Store::new());
    let expected = Expected::of(&server);
    for options in ["-Z1", "-Fc"] {
        let other = backed_up(&server, &store, "known", options, "another key");
        let sealed =
            store.manifest("last", other.strip_prefix("last/").unwrap())["properties"]["settings"].clone();
        assert!(sealed.as_str().unwrap().contains("BEGIN PGP MESSAGE"), "{sealed}");
        let file = backed_up(&server, &store, "known", options, KEY);
        let restore = || Cli::restore(&server, &store, &file).env("BACKUP_ENCRYPTION_KEY", KEY);
        for broken in
            [sealed, json!("-----BEGIN PGP MESSAGE-----\n\nnonsense\n-----END PGP MESSAGE-----\n"), json!("")]
        {
            rewrite(&store, &file, |manifest| manifest["properties"]["settings"] = broken);
            for more in [&["--dry-run"][..], &[]] {
                let refused = restore().args(["new"]).args(more).run().exited_with(1);
                let error = refused.stderr.lines().last().unwrap();
                assert!(
                    error.starts_with(&format!("error: cannot decrypt the settings of {file}'s database: ")),
                    "{refused}"
                );
                assert!(error.ends_with("; --properties encoding restores without them"), "{refused}");
                assert!(
                    !refused.text().contains(SECRET) && !refused.text().contains("loading into"),
                    "{refused}"
                );
            }
            makes(&server, restore().args(["--properties", "encoding"]), &expected.encoding);
            makes(&server, restore().args(["--properties", "none"]), &expected.none);
            // What is there needs none of them.
            restore().args(["known"]).run().succeeded();
            assert_eq!(properties(&server, "known"), expected.all);
        }
    }
}

/// The locale of the database is not on the machine of the proof: rows may go elsewhere by the one that stands in.
#[test]
fn a_proof_in_another_locale_does_not_hold_the_order_of_text_against_a_backup() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let name = server.database("sorted").name.clone();
    server.sql(
        "postgres",
        &format!("CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'"),
    );
    server.sql(
        &name,
        "CREATE TABLE words (word text CHECK (word > 'a')) PARTITION BY RANGE (word);
         CREATE TABLE words_a PARTITION OF words FOR VALUES FROM ('a') TO ('c');
         INSERT INTO words VALUES ('ab'), ('Bc')",
    );
    for options in ["-Z1", "-Fc"] {
        let file = backed_up(server, &store, &name, options, "");
        let prove = || Cli::new(server, &store).args(["verify", "--restore", &file]).run();
        prove().succeeded();
        let elsewhere = json!({"provider": "libc", "collate": "xx_XX.utf8", "ctype": "xx_XX.utf8"});
        rewrite(&store, &file, |manifest| manifest["properties"]["locale"] = elsewhere);
        let proof = prove().exited_with(1);
        assert!(proof.stderr.contains(&format!("{file} cannot be proven here: ")), "{proof}");
        assert!(proof.text().contains("ERROR: new row for relation \"words_a\" violates "), "{proof}");
        // What was known of it stays.
        let manifest = store.manifest("last", file.strip_prefix("last/").unwrap());
        assert_eq!(manifest["verified"]["by"], "restore", "{manifest}");
        assert_eq!(manifest["verified"]["error"], Value::Null, "{manifest}");
    }
    server.sql("postgres", &format!("DROP DATABASE {name}"));
}
