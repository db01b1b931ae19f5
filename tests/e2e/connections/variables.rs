//! What libpq's own variables do, as docs/configuration.md says it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{backed_up, says};
use crate::harness::*;

/// A certificate authority and what it has signed, by openssl.
struct Authority {
    place: PathBuf,
}

impl Authority {
    fn new(place: &Path) -> Self {
        fs::create_dir(place).unwrap();
        let authority = Self { place: place.to_path_buf() };
        authority
            .openssl(&[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=authority",
            ])
            .done(&["-keyout", "ca.key", "-out", "ca.crt"]);
        authority
    }

    fn openssl(&self, arguments: &[&str]) -> Openssl {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(&self.place);
        Openssl(command)
    }

    /// Signs a certificate for `subject`, which is also a name of the host's.
    fn sign(&self, name: &str, subject: &str) {
        let (key, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        self.openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", &format!("/CN={subject}")])
            .done(&["-keyout", &key, "-out", &request]);
        fs::write(self.place.join("names"), format!("subjectAltName=DNS:{subject}")).unwrap();
        self.openssl(&[
            "x509",
            "-req",
            "-days",
            "30",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
        ])
        .done(&["-extfile", "names", "-in", &request, "-out", &certificate]);
        fs::set_permissions(self.place.join(&key), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }
}

struct Openssl(Command);

impl Openssl {
    fn done(mut self, arguments: &[&str]) {
        let output = self.0.args(arguments).output().expect("start openssl");
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Has a server speak TLS with this certificate, and no client without.
fn encrypt(server: &Cluster, authority: &Authority) {
    let owner = fs::metadata(server.data()).unwrap();
    for (from, to, mode) in [
        ("server.crt", "server.crt", 0o644),
        ("server.key", "server.key", 0o600),
        ("ca.crt", "root.crt", 0o644),
    ] {
        let to = server.data().join(to);
        fs::copy(authority.path(from), &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
        chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let hba = "hostssl all by_certificate 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(server.data().join("pg_hba.conf"), hba).unwrap();
    server.sql("postgres", "ALTER SYSTEM SET ssl = on");
    server.sql("postgres", "ALTER SYSTEM SET ssl_ca_file = 'root.crt'");
    server.sql("postgres", "SELECT pg_reload_conf()");
    wait_until("the server to speak TLS", SOON, || server.try_sql("postgres", "SELECT 1").is_ok());
}

#[test]
fn certificates_are_checked_as_libpqs_variables_say() {
    let (server, store) = (Cluster::start(15), Store::new());
    server.sql("postgres", "CREATE ROLE by_certificate LOGIN SUPERUSER; CREATE DATABASE app");
    server.sql("app", "CREATE TABLE orders AS SELECT i FROM generate_series(1, 50) i");
    let whole = server.dump("app");
    let authority = Authority::new(&store.root().join("authority"));
    authority.sign("server", "localhost");
    authority.sign("client", "by_certificate");
    let other = Authority::new(&store.root().join("other"));
    other.sign("client", "by_certificate");
    encrypt(&server, &authority);
    let (ca, wrong) = (authority.path("ca.crt"), other.path("ca.crt"));
    let (crt, key) = (authority.path("client.crt"), authority.path("client.key"));
    let right: [&[(&str, &str)]; 3] = [
        &[("PGSSLMODE", "verify-ca"), ("PGSSLROOTCERT", &ca)],
        &[("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", &ca), ("POSTGRES_HOST", "localhost")],
        &[
            ("PGSSLMODE", "verify-ca"),
            ("PGSSLROOTCERT", &ca),
            ("PGSSLCERT", &crt),
            ("PGSSLKEY", &key),
            ("POSTGRES_USER", "by_certificate"),
            ("POSTGRES_PASSWORD", ""),
        ],
    ];
    let mut file = String::new();
    for variables in right {
        let own = |cli: Cli| variables.iter().fold(cli, |cli, (variable, value)| cli.env(variable, value));
        for options in ["-Z1", "-Fc", "-Fd -j2"] {
            file = backed_up(
                own(Cli::backup(&server, &store, "app").env("POSTGRES_EXTRA_OPTS", options)),
                &store,
            );
            server.sql("app", "DELETE FROM orders");
            own(Cli::restore(&server, &store, &file)).run().succeeded();
            assert_eq!(server.dump("app"), whole, "{variables:?} {options}");
        }
    }
    let key_of_other = other.path("client.key");
    let wrong: [(&[(&str, &str)], &str); 5] = [
        (&[("PGSSLMODE", "verify-ca"), ("PGSSLROOTCERT", &wrong)], "certificate verify failed"),
        (&[("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", &ca)], "does not match host name \"127.0.0.1\""),
        (
            &[("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", "/nonexistent")],
            "\"/nonexistent\" does not exist",
        ),
        (
            &[("PGSSLROOTCERT", &ca), ("PGSSLCERT", &crt), ("PGSSLKEY", &key_of_other)],
            "could not load private key file",
        ),
        (&[("PGSSLMODE", "disable")], "no pg_hba.conf entry for host \"127.0.0.1\""),
    ];
    for (variables, cause) in wrong {
        says(&server, &store, &file, variables, cause, true);
    }
}

/// What docs/configuration.md says of them.
#[test]
fn libpqs_other_variables_do_as_the_documentation_says() {
    let (server, store) = (Cluster::shared(18), Store::new());
    let database = server.database("variables");
    database.fill(5);
    let whole = database.dump();
    let file = backed_up(Cli::backup(server, &store, &database.name), &store);
    // They lead nowhere else, and keep nobody out.
    for (variable, value) in [
        ("PGHOST", "nosuch.invalid"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGPASSWORD", "wrong"),
        ("PGPASSFILE", "/nonexistent"),
        ("PGDATABASE", "nosuch"),
        ("PGSERVICE", "nosuch"),
        ("PGCONNECT_TIMEOUT", "nonsense"),
        ("PGAPPNAME", "somebody"),
        ("PGTZ", "Asia/Tokyo"),
        ("PGDATESTYLE", "German"),
    ] {
        let backup = Cli::backup(server, &store, &database.name).env(variable, value);
        backup.env("POSTGRES_EXTRA_OPTS", "-Fc").run().succeeded();
        database.sql("DELETE FROM orders");
        Cli::restore(server, &store, &file).env(variable, value).run().succeeded();
        assert_eq!(database.dump(), whole, "{variable}");
    }
    // They count, in whatever connects.
    for (variable, value, cause) in [
        ("PGTARGETSESSIONATTRS", "standby", "server is not in hot standby mode"),
        ("PGREQUIREAUTH", "md5", "authentication method requirement \"md5\" failed"),
        ("PGCHANNELBINDING", "require", "channel binding"),
    ] {
        for cli in [Cli::backup(server, &store, &database.name), Cli::restore(server, &store, &file)] {
            let refused = cli.env(variable, value).env("POSTGRES_CONNECT_TIMEOUT", "1").run().exited_with(1);
            assert!(refused.stderr.contains(cause), "{variable}\n{refused}");
        }
    }
    for (variable, value) in [
        ("PGTARGETSESSIONATTRS", "read-write"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("POSTGRES_HOST", "nosuch.invalid,127.0.0.1"),
    ] {
        Cli::backup(server, &store, &database.name).env(variable, value).run().succeeded();
        Cli::restore(server, &store, &file).env(variable, value).run().succeeded();
    }
    // For pg_dump only.
    let read_only = [("PGOPTIONS", "-c default_transaction_read_only=on -c lock_timeout=1h")];
    for (variable, value) in read_only {
        Cli::backup(server, &store, &database.name).env(variable, value).run().succeeded();
        Cli::restore(server, &store, &file).env(variable, value).run().succeeded();
    }
    Cli::backup(server, &store, &database.name)
        .env("PGOPTIONS", "-c nosuch=1")
        .run()
        .exited_with(1)
        .saying("nosuch");
    let encoded = Cli::backup(server, &store, &database.name).env("PGCLIENTENCODING", "LATIN1");
    let encoded = backed_up(encoded, &store);
    let name = encoded.trim_start_matches("last/");
    assert!(store.sql("last", name).contains("SET client_encoding = 'LATIN1'"));
    Cli::restore(server, &store, &encoded).env("PGCLIENTENCODING", "LATIN1").run().succeeded();
    assert_eq!(database.dump(), whole);
}
