//! Every format comes back from a backup as it was, by whatever way it went.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::*;

/// `POSTGRES_EXTRA_OPTS`, and what the manifest then calls the format, in clear and encrypted.
const FORMATS: [(&str, &str, &str); 8] = [
    ("-Z0", "plain", "plain"),
    ("-Z1", "gzip", "gzip"),
    ("-Z gzip:3", "gzip", "gzip"),
    ("--compress=zstd:level=3,long -j1", "zstd", "zstd"),
    ("-Fc", "custom", "custom"),
    ("-F t", "tar", "custom"),
    ("--format=d", "directory", "custom"),
    ("-Fd -j 2", "directory", "custom"),
];
const KEY: &str = "p\u{e4}ss 'w\"ord";

/// A file under another name than that of any database, in a place where nothing is known about it.
fn stranger(store: &Store, name: &str, bytes: &[u8]) -> PathBuf {
    let path = store.root().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Restores a file into a database that is not there yet, and compares.
#[track_caller]
fn comes_back(cli: Cli, server: &Cluster, target: &str, before: &str, what: &str) {
    cli.args([target]).run().succeeded();
    assert!(server.dump(target) == before, "{what}: the restored database is another one");
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(target)));
}

fn every_format_comes_back_as_it_was(server: &'static Cluster) {
    let database = server.database("round");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let target = format!("{}_restored", database.name);
    for (at, (options, clear, encrypted)) in FORMATS.into_iter().enumerate() {
        // Each format in clear and encrypted on the oldest and the newest server, and on the others one of the two.
        let keys = ["", KEY].into_iter().enumerate();
        let of_this_server = |number: usize| [15, 18].contains(&server.major()) || number == at % 2;
        for key in keys.filter(|(number, _)| of_this_server(*number)).map(|(_, key)| key) {
            let what = format!("{options}, key {key:?}");
            let store = Store::new();
            let cli = || {
                let cli = Cli::new(server, &store).env("POSTGRES_EXTRA_OPTS", options);
                cli.env("BACKUP_ENCRYPTION_KEY", key).env("POSTGRES_DB", &database.name)
            };
            cli().args(["backup"]).run().succeeded();
            let name = store.only("last");
            let manifest = store.manifest("last", &name);
            let expected = if key.is_empty() { clear } else { encrypted };
            assert_eq!(manifest["format"], expected, "{what}");
            assert_eq!(manifest["encrypted"], !key.is_empty(), "{what}");
            assert_eq!(name.ends_with(".gpg"), !key.is_empty(), "{what}: {name}");
            assert_eq!(store.partial(), [""; 0], "{what}");
            let file = format!("last/{name}");
            comes_back(cli().args(["restore", &file]), server, &target, &before, &what);
            assert_eq!(store.partial(), [""; 0], "{what}");
        }
    }
    server.assert_no_scratch_database_is_left();
}
on_every_server!(every_format_comes_back_as_it_was);

/// pg_restore sets since version 17 what older servers do not know.
#[test]
fn a_newer_client_restores_every_format_into_an_older_server() {
    let server = Cluster::shared(15);
    let database = server.database("ahead");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let target = format!("{}_restored", database.name);
    for (options, key) in [("-Fc", ""), ("-Fc", KEY), ("-Fd -j2", ""), ("-Fd", KEY), ("-Ft", "")] {
        let store = Store::new();
        let cli = || Cli::new(server, &store).env("POSTGRES_DB", &database.name).client(18);
        let cli = || cli().env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_ENCRYPTION_KEY", key);
        cli().args(["backup"]).run().succeeded();
        let file = format!("last/{}", store.only("last"));
        comes_back(cli().args(["restore", &file]), server, &target, &before, &format!("{options} {key}"));
    }
}

/// A tar archive ends with SQL that pg_restore has no use for; here it is longer than any pipe.
#[test]
fn a_tar_archive_that_pg_restore_does_not_read_to_its_end_comes_back() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("unread");
    database.fill(5);
    database.sql("DO $$ BEGIN EXECUTE format('COMMENT ON TABLE orders IS %L', repeat('x', 3000000)); END $$");
    let before = database.dump();
    let target = format!("{}_restored", database.name);
    Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", "-Ft").run().succeeded();
    let file = format!("last/{}", store.only("last"));
    comes_back(Cli::restore(server, &store, &file), server, &target, &before, "-Ft");
    Cli::new(server, &store).args(["verify", "--restore", &file]).run().succeeded();
    // It has not read the end, but we have: what has changed there is found.
    let path = store.path().join(&file);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 100_000;
    bytes[at] ^= 1;
    corrupt(&path, bytes);
    Cli::restore(server, &store, &file).args([&target]).run().exited_with(1).saying("its checksum");
}

/// In the original image: what a file is called decided how it was restored.
///
/// Without a manifest an unknown name names no database.
#[test]
fn what_other_programs_have_made_is_restored_by_its_content() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("foreign");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let target = format!("{}_restored", database.name);
    let dump = |options: &[&str], name: &str| {
        let path = store.root().join(name);
        server.pg_dump(&database.name, options, &path);
        path
    };
    let files = [
        dump(&["-Fc"], "custom.sql.gz"),
        dump(&["-Fc", "-Z0"], "app-20260101.dump"),
        dump(&["-Ft"], "tar.gz"),
        dump(&["-Fp"], "plain.sql.gz.gpg"),
        dump(&["-Fp", "-Z1"], "gzip.sql"),
        dump(&["-Fd"], "directory.tar"),
    ];
    for file in &files {
        let cli = || Cli::restore(server, &store, file);
        comes_back(cli(), server, &target, &before, &file.display().to_string());
        if file.is_file() {
            let secret = stranger(&store, "secret", &gnupg::encrypted(file, KEY));
            let cli = Cli::restore(server, &store, &secret).env("BACKUP_ENCRYPTION_KEY", KEY);
            comes_back(cli, server, &target, &before, &format!("{} encrypted", file.display()));
        }
    }
    let outcome = Cli::restore(server, &store, &files[0]).run().failed();
    assert!(outcome.text().contains("name the target"), "{outcome}");
}

/// Packs a directory as people do.
fn packed(store: &Store, directory: &Path, archive: &str, options: &str) -> PathBuf {
    let path = store.root().join(archive);
    let (parent, name) = (directory.parent().unwrap(), directory.file_name().unwrap());
    let tar =
        Cli::of_program("tar", store).args(options.split(' ')).args([&path]).args(["-C"]).args([parent]);
    tar.args([name]).run().succeeded();
    path
}

#[test]
fn a_directory_dump_is_restored_from_its_download_and_from_any_archive_of_it() {
    let server = Cluster::shared(18);
    let store = Store::new();
    let database = server.database("packed");
    fixture::fill_with_everything(&database);
    let before = database.dump();
    let target = format!("{}_restored", database.name);
    let daemon = Plan::new(server, &store).database(&database.name).env("POSTGRES_EXTRA_OPTS", "-Fd").start();
    daemon.back_up();
    let name = store.only("last");
    let listed = daemon.backups("?slot=last");
    let entry = listed.iter().find(|entry| entry["name"] == name.as_str()).expect("it is listed");
    assert_eq!((&entry["format"], &entry["encrypted"]), (&"directory".into(), &false.into()), "{entry}");
    let download = daemon.get(&format!("/backups/last/{name}")).expect(200);
    let directory = store.file("last", &name);
    let downloaded = stranger(&store, "download", &download.body);
    let packed_file = packed(&store, &directory, "packed.tar.gz", "-czf");
    let secret = stranger(&store, "secret", &gnupg::encrypted(&packed_file, KEY));
    let posix = packed(&store, &directory, "posix.tar", "--format=posix -cf");
    for file in [&downloaded, &packed_file, &secret, &posix] {
        let cli = Cli::restore(server, &store, file).env("BACKUP_ENCRYPTION_KEY", KEY);
        comes_back(cli, server, &target, &before, &file.display().to_string());
        assert_eq!(store.partial(), [""; 0], "nothing stays of what was unpacked");
    }
}
