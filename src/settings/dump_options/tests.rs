use super::*;

fn rest(text: &str) -> Vec<String> {
    DumpOptions::parse(text).unwrap().rest
}

#[test]
fn compression_is_ours_in_every_spelling() {
    for (text, compression) in [
        ("", Compression::None),
        ("-Z0", Compression::None),
        ("-Z1", Compression::Gzip(1)),
        ("-Z 9", Compression::Gzip(9)),
        ("-Zgzip:3", Compression::Gzip(3)),
        ("-Z gzip", Compression::Gzip(6)),
        ("--compress=5", Compression::Gzip(5)),
        ("--compress gzip:level=2", Compression::Gzip(2)),
        ("--compress=none", Compression::None),
        ("-vZ4", Compression::Gzip(4)),
        ("-Z1 -Z2", Compression::Gzip(2)),
        ("-Zzstd", Compression::Zstd(3)),
        ("-Z zstd:19", Compression::Zstd(19)),
        ("--compress=zstd:level=1", Compression::Zstd(1)),
    ] {
        assert_eq!(DumpOptions::parse(text).unwrap().compression, compression, "{text}");
    }
    for text in ["-Z10", "-Zlz4", "--compress=gzip:x", "-Z", "-Zzstd:23"] {
        assert!(DumpOptions::parse(text).is_err(), "{text}");
    }
}

#[test]
fn other_options_and_their_values_reach_pg_dump_as_they_were() {
    assert_eq!(rest("--no-owner -x -Fp --format plain"), ["--no-owner", "-x"]);
    assert_eq!(
        rest("--exclude-table 'my table' --schema=a -n b"),
        ["--exclude-table=my table", "--schema=a", "-nb"]
    );
    assert_eq!(rest("--schema-only -Tlogs"), ["--schema-only", "-Tlogs"]);
    assert_eq!(rest("--table --file"), ["--table=--file"]);
    assert_eq!(rest("--filter=x"), ["--filter=x"]);
}

#[test]
fn what_would_change_where_or_to_whom_pg_dump_talks_is_refused() {
    for text in [
        "-f /x",
        "-f/x",
        "--file=/x",
        "--file /x",
        "--fil=/x",
        "-d x",
        "--dbname=x",
        "--dbn x",
        "-h x",
        "--host x",
        "-p 1",
        "--port=1",
        "-U x",
        "--username=x",
        "-w",
        "-W",
        "--no-password",
        "--password",
        "-vf/x",
        "x",
        "--",
        "-",
        "-v-",
        "-v-x",
    ] {
        assert!(matches!(DumpOptions::parse(text), Err(OptionError::Refused(_))), "{text}");
    }
}

#[test]
fn what_is_a_value_for_pg_dump_is_an_option_for_pg_dumpall() {
    for text in
        ["-t -f/x", "--schema -f/x", "-t '-dhost=h'", "--table --file=/x", "-n -lx", "--sc --database=x"]
    {
        assert!(DumpOptions::parse(text).is_ok(), "{text}");
        let refused = DumpOptions::parse_for_server(text);
        assert!(matches!(refused, Err(OptionError::Refused(_))), "{text}: {refused:?}");
    }
    assert!(DumpOptions::check_reads_no_file("-t --filter=/x").is_err());
    let options = DumpOptions::parse_for_server("-Z3 --exclude-database 'a b' -S x -v").unwrap();
    assert_eq!(
        (options.compression, options.rest.as_slice()),
        (Compression::Gzip(3), ["--exclude-database=a b", "-Sx", "-v"].map(String::from).as_slice(),)
    );
}

#[test]
fn a_dump_that_could_not_be_restored_into_a_scratch_database_is_not_made() {
    for text in ["-C", "--create", "-vC", "--crea"] {
        assert_eq!(DumpOptions::parse(text), Err(OptionError::Create), "{text}");
    }
    assert_eq!(rest("--clean"), ["--clean", "--if-exists"]);
    assert_eq!(rest("--cle"), ["--cle", "--if-exists"]);
    assert_eq!(rest("-c --if-exists"), ["-c", "--if-exists"]);
}

#[test]
fn formats_in_every_spelling() {
    for (text, format) in [
        ("", DumpFormat::Plain),
        ("-Fp", DumpFormat::Plain),
        ("-Fc", DumpFormat::Custom),
        ("-F t", DumpFormat::Tar),
        ("--format=directory", DumpFormat::Directory),
        ("--form custom", DumpFormat::Custom),
        ("-vFd", DumpFormat::Directory),
    ] {
        let options = DumpOptions::parse(text).unwrap();
        assert_eq!((options.format, options.compression), (format, Compression::None), "{text}");
    }
    for text in ["-Fx", "--format=", "-F", "-Fd -j x", "-Fd -j0"] {
        assert!(DumpOptions::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_compression_of_an_archive_is_left_to_pg_dump() {
    let options = DumpOptions::parse("-Z lz4:1 -Fc -x").unwrap();
    assert_eq!(options.archive_compression.as_deref(), Some("lz4:1"));
    assert_eq!(options.text_compression(), Compression::Gzip(6));
    assert_eq!((options.compression, options.rest), (Compression::None, vec!["-x".to_owned()]));
    assert_eq!(DumpOptions::parse("-Ft -Z0").unwrap().archive_compression, None);
    assert_eq!(DumpOptions::parse("-Ft -Z1"), Err(OptionError::CompressedTar));
}

#[test]
fn only_a_directory_has_several_jobs() {
    assert_eq!(DumpOptions::parse("-j 4 -Fd").unwrap().jobs.as_deref(), Some("4"));
    assert_eq!(DumpOptions::parse("-Fd --jobs=2").unwrap().jobs.as_deref(), Some("2"));
    assert_eq!(DumpOptions::parse("-j4"), Err(OptionError::Jobs));
    for text in ["-j1", "-Fc --jobs=1", "-j 1 -Ft"] {
        assert_eq!(DumpOptions::parse(text).unwrap().jobs, None, "{text}");
    }
}
