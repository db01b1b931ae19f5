//! What is refused before anything runs, in one line that names it.

use std::fs;

use crate::harness::*;

/// Settings that are wrong, with the variable that a complaint must name.
const WRONG: &[(&str, &str)] = &[
    ("BACKUP_KEEP_MINS", "soon"),
    ("BACKUP_KEEP_DAYS", "-1"),
    ("BACKUP_KEEP_WEEKS", "4.5"),
    ("BACKUP_KEEP_MONTHS", "99999999999"),
    ("BACKUP_MIN_DISK_SPACE", "100M"),
    ("BACKUP_MAX_AGE_HOURS", "0x10"),
    ("BACKUP_LATEST_TYPE", "copy"),
    ("POSTGRES_CONNECT_TIMEOUT", "never"),
    ("POSTGRES_PORT", "70000"),
    ("POSTGRES_DB_AUTODISCOVER", "perhaps"),
    ("POSTGRES_EXTRA_OPTS", "'unbalanced"),
    ("WEBHOOK_EXTRA_ARGS", "\"unbalanced"),
    ("WEBHOOK_URL", "ftp://example.org/"),
    ("SCHEDULE", "61 99 * * *"),
    ("TELEGRAM_NOTIFY_ON", "sometimes"),
    ("LOG_FORMAT", "yaml"),
];

#[test]
fn every_wrong_setting_is_named_at_once_one_line_each() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let mut cli = Cli::new(server, &store).env("POSTGRES_DB", "app").args(["check-env"]);
    for (key, value) in WRONG {
        cli = cli.env(key, value);
    }
    let outcome = cli.run().exited_with(1);
    let text = outcome.text();
    for (key, value) in WRONG {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(key)).collect();
        assert_eq!(lines.len(), 1, "{key}={value}\n{outcome}");
    }
}

#[test]
fn every_wrong_setting_stops_a_backup_before_it_begins() {
    let server = Cluster::shared(15);
    let store = Store::new();
    // What a backup does not use does not keep it from being made.
    let unused = ["SCHEDULE", "BACKUP_MAX_AGE_HOURS", "TELEGRAM_NOTIFY_ON"];
    for (key, value) in WRONG.iter().filter(|(key, _)| !unused.contains(key)) {
        let outcome = Cli::backup(server, &store, "app").env(key, value).run().failed().saying(key);
        assert!(outcome.text().lines().count() <= 2, "{outcome}");
    }
    for missing in ["POSTGRES_HOST", "POSTGRES_USER"] {
        Cli::backup(server, &store, "app").without(missing).run().failed().saying(missing);
    }
    Cli::new(server, &store).args(["backup"]).run().failed().saying("POSTGRES_DB");
    assert!(SLOTS.iter().all(|slot| store.names(slot).is_empty()));
}

#[test]
fn good_settings_pass_the_check() {
    let server = Cluster::shared(15);
    let store = Store::new();
    Cli::new(server, &store).env("POSTGRES_DB", "app").args(["check-env"]).run().succeeded();
}

/// In the original image: `08` broke the arithmetic, and the run went on without any limit.
#[test]
fn a_number_with_a_leading_zero_is_that_number() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("eight");
    database.fill(5);
    fs::create_dir_all(store.path().join("weekly")).unwrap();
    let week = std::time::Duration::from_secs(7 * 24 * 60 * 60);
    let names = [(6, "202001"), (10, "202002")].map(|(weeks, date)| {
        let name = format!("{}-{date}.sql.gz", database.name);
        let file = fs::File::create(store.file("weekly", &name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - week * weeks).unwrap();
        name
    });
    Cli::backup(server, &store, &database.name).env("BACKUP_KEEP_WEEKS", "08").run().succeeded();
    let left = names.map(|name| store.file("weekly", &name).exists());
    assert_eq!(left, [true, false]);
}

#[test]
fn the_daemon_names_a_wrong_setting_and_does_not_start() {
    let server = Cluster::shared(15);
    let store = Store::new();
    for (key, value) in WRONG.iter().chain(&[("REST_API_PORT", "http"), ("REST_API_BIND", "nowhere")]) {
        let outcome = Plan::new(server, &store).database("app").env(key, *value).run().failed();
        outcome.saying(key);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    let port = daemon.port.to_string();
    Plan::new(server, &store).database("app").env("REST_API_PORT", &port).run().failed().saying(&port);
}

/// In the original image: whatever stood in the file was run as root.
#[test]
fn code_in_the_override_file_is_an_error_and_never_runs() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("code");
    database.fill(5);
    let mark = store.root().join("mark");
    let touch = format!("touch {}", mark.display());
    let overrides = store.path().join(".api-overrides.env");
    for line in [
        touch.clone(),
        format!("export SCHEDULE='@daily'; {touch}"),
        format!("export SCHEDULE=$({touch})"),
        format!("export SCHEDULE=\"$({touch})\""),
        format!("export SCHEDULE='a'`{touch}`"),
        format!("export SCHEDULE='a'$({touch})'b'"),
        "SCHEDULE='@daily'".to_owned(),
        "export SCHEDULE=@daily".to_owned(),
        "export SCHEDULE='@daily".to_owned(),
        "export POSTGRES_PASSWORD='taken over'".to_owned(),
        "export path='/tmp'".to_owned(),
        format!("# a comment\n{touch}"),
    ] {
        fs::write(&overrides, format!("export BACKUP_KEEP_DAYS='7'\n{line}\n")).unwrap();
        let number = if line.starts_with('#') { "" } else { "2" };
        let outcome = Cli::backup(server, &store, &database.name).run().failed();
        outcome.saying(".api-overrides.env").saying(number);
        Plan::new(server, &store).database(&database.name).run().failed().saying(".api-overrides.env");
        assert!(!mark.exists(), "{line}");
        assert!(store.names("last").is_empty(), "{line}");
    }
}

#[test]
fn an_override_wins_over_the_environment() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("wins");
    database.fill(5);
    let text = format!("export POSTGRES_DB='{}'\nexport SCHEDULE='15 3 * * *'\n", database.name);
    fs::write(store.path().join(".api-overrides.env"), text).unwrap();
    Cli::backup(server, &store, "nosuch").run().succeeded();
    store.only_of("last", &database.name);
    let daemon = Plan::new(server, &store).database("nosuch").start();
    assert_eq!(daemon.status()["schedule"], "15 3 * * *");
    let config = daemon.get("/config").json();
    assert_eq!(
        config["config"]["SCHEDULE"],
        serde_json::json!({"value": "15 3 * * *", "source": "override"})
    );
    assert_eq!(config["config"]["BACKUP_KEEP_DAYS"], serde_json::json!({"value": "7", "source": "base"}));
    daemon.back_up();
}

#[test]
fn a_secret_file_wins_and_loses_one_newline() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("files");
    database.fill(5);
    let write = |name: &str, text: &str| {
        let path = store.root().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let cli = || Cli::backup(server, &store, "nosuch");
    cli()
        .env("POSTGRES_PASSWORD", "wrong")
        .env("POSTGRES_PASSWORD_FILE", write("password", &format!("{}\n", server.password())))
        .env("POSTGRES_USER", "wrong")
        .env("POSTGRES_USER_FILE", write("user", cluster::LOGIN))
        .env("POSTGRES_DB_FILE", write("db", &format!("{}\n", database.name)))
        .run()
        .succeeded();
    store.only_of("last", &database.name);
    let missing = store.root().join("missing");
    cli().env("POSTGRES_PASSWORD_FILE", &missing).run().failed().saying("POSTGRES_PASSWORD_FILE");
    let pgpass = format!("127.0.0.1:{}:*:{}:{}\n", server.port(), cluster::LOGIN, server.password());
    let pgpass = write("pgpass", &pgpass);
    fs::set_permissions(&pgpass, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Cli::backup(server, &store, &database.name)
        .without("POSTGRES_PASSWORD")
        .env("POSTGRES_PASSFILE_STORE", &pgpass)
        .run()
        .succeeded();
}

#[test]
fn the_link_variables_of_old_containers_stand_in_for_the_host() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("linked");
    database.fill(5);
    Cli::backup(server, &store, &database.name)
        .without("POSTGRES_HOST")
        .without("POSTGRES_PORT")
        .env("POSTGRES_PORT_5432_TCP_ADDR", "127.0.0.1")
        .env("POSTGRES_PORT_5432_TCP_PORT", server.port().to_string())
        .run()
        .succeeded();
    store.only_of("last", &database.name);
}

#[test]
fn what_is_taken_and_still_not_as_it_should_be_is_said() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let cli = || Cli::new(server, &store).env("POSTGRES_DB", "app").args(["check-env"]);
    assert_eq!(cli().run().succeeded().text(), "");
    for (variable, value, said) in [
        ("TZ", "Mars/Olympus", "TZ is not a known time zone"),
        ("TELEGRAM_BOT_TOKEN", "1:a", "TELEGRAM_CHAT_ID names no chat"),
        ("REST_API_TOKEN", "short", "REST_API_TOKEN is shorter than 32 bytes"),
        ("POSTGRES_EXTRA_OPTS", "-Zzstd:workers=3", "POSTGRES_EXTRA_OPTS asks for zstd workers"),
    ] {
        let outcome = cli().env("REST_API_ENABLE", "TRUE").env("REST_API_TOKEN", "x".repeat(32));
        let outcome = outcome.env(variable, value).run().succeeded();
        assert_eq!(outcome.text().lines().count(), 1, "{outcome}");
        outcome.saying(said);
    }
}

#[test]
fn one_port_for_the_scheduler_and_the_api_is_refused() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let cli = |api: &str| {
        let cli = Cli::new(server, &store).env("POSTGRES_DB", "app").args(["check-env"]);
        let cli = cli.env("REST_API_ENABLE", api).env("REST_API_TOKEN", "x".repeat(32));
        cli.env("REST_API_PORT", "9999").env("HEALTHCHECK_PORT", "9999")
    };
    let outcome = cli("TRUE").run().exited_with(1);
    assert_eq!(outcome.text().lines().count(), 1, "{outcome}");
    outcome.saying("HEALTHCHECK_PORT must differ from REST_API_PORT, or be 0 for no port");
    cli("FALSE").run().succeeded();
}

#[test]
fn a_file_of_a_token_may_have_blanks_around_it_and_one_of_a_key_no_line_end_of_windows() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let file = store.root().join("secret");
    let token = "a-token-that-is-thirty-two-bytes-long";
    std::fs::write(&file, format!("  {token}\t\r\n\n")).unwrap();
    let plan = Plan::new(server, &store).database("app").env("REST_API_TOKEN_FILE", file.to_str().unwrap());
    let daemon = plan.env("REST_API_TOKEN", token).start();
    assert_eq!(daemon.get("/status").status, 200);
    drop(daemon);
    let check = || {
        let cli = Cli::new(server, &store).env("POSTGRES_DB", "app").args(["check-env"]);
        cli.env("BACKUP_ENCRYPTION_KEY_FILE", &file).run()
    };
    for (key, is_taken) in [("a key", true), ("a key\n", true), ("a key\r\n", false), ("a key\r", false)] {
        std::fs::write(&file, key).unwrap();
        match is_taken {
            true => drop(check().succeeded()),
            false => drop(check().failed().saying("BACKUP_ENCRYPTION_KEY").saying("save the file with LF")),
        }
    }
}

/// As with the original image: what is set to nothing has no options, and pg_dump writes SQL as it is.
#[test]
fn no_options_for_pg_dump_are_plain_sql_wherever_they_are_set_to_nothing() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("plain");
    database.fill(5);
    let starts_as_sql = || {
        let name = store.newest("last");
        std::fs::read(store.file("last", &name)).unwrap().starts_with(b"--\n-- PostgreSQL database dump")
    };
    Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", "").run().succeeded();
    assert!(starts_as_sql());
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.succeeded(&daemon.start_backup());
    assert!(!starts_as_sql(), "-Z1 is the default");
    daemon.patch(&serde_json::json!({"POSTGRES_EXTRA_OPTS": ""})).expect(200);
    daemon.succeeded(&daemon.start_backup());
    assert!(starts_as_sql());
}
