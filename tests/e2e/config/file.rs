//! The backup volume may be writable by others: the override file is data, and every program of ours refuses what
//! the API could not have written.

use std::fs;

use serde_json::json;

use crate::harness::*;

/// The container's first program, as it starts the daemon or the scheduler.
fn init(server: &Cluster, store: &Store) -> Cli {
    Cli::init(server, store)
        .env("POSTGRES_DB", "app")
        .env("HEALTHCHECK_PORT", "0")
        .env("REST_API_TOKEN", "x".repeat(40))
}

/// In the original image: whatever stood in the override file was run as root.
#[test]
fn every_program_refuses_a_line_that_the_api_could_not_have_written() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let mark = store.root().join("mark");
    let touch = format!("touch {}", mark.display());
    let lines: Vec<Vec<u8>> = [
        touch.clone(),
        format!("export SCHEDULE='@daily'; {touch}"),
        format!("export SCHEDULE=$({touch})"),
        format!("export TELEGRAM_CHAT_ID='a'`{touch}`'b'"),
        format!("export TELEGRAM_CHAT_ID='a' {touch} 'b'"),
        format!("export TELEGRAM_CHAT_ID='a\n{touch}\n'"),
        "export REST_API_TOKEN='mine'".to_owned(),
        "export TELEGRAM_BOT_TOKEN_FILE='/etc/passwd'".to_owned(),
        "export SCHEDULE='61 99 * * *'".to_owned(),
        "export POSTGRES_EXTRA_OPTS='--filter=/etc/passwd'".to_owned(),
        "export WEBHOOK_EXTRA_ARGS='-d @/etc/passwd'".to_owned(),
        "export BACKUP_KEEP_DAYS='8'".to_owned(),
        "export  BACKUP_KEEP_WEEKS='8'".to_owned(),
        " export BACKUP_KEEP_WEEKS='8'".to_owned(),
        "export BACKUP_KEEP_WEEKS='8' ".to_owned(),
        "export BACKUP_KEEP_WEEKS='8'\r".to_owned(),
        "export BACKUP_KEEP_WEEKS=8".to_owned(),
        "export TELEGRAM_CHAT_ID='\u{1b}[2J'".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([b"export TELEGRAM_CHAT_ID='\xff'".to_vec(), b"export TELEGRAM_CHAT_ID='\0'".to_vec()])
    .collect();
    for line in lines {
        let text = [b"export BACKUP_KEEP_DAYS='7'\n", line.as_slice(), b"\n"].concat();
        fs::write(store.path().join(".api-overrides.env"), &text).unwrap();
        let cli = |args: &[&str]| Cli::new(server, &store).env("POSTGRES_DB", "app").args(args);
        let init = |enabled: &str, validate: &str| {
            init(server, &store).env("REST_API_ENABLE", enabled).env("VALIDATE_ON_START", validate)
        };
        let refused = |outcome: command::Outcome| {
            let outcome = outcome.failed().saying(".api-overrides.env line 2: ");
            assert!(!outcome.text().contains('\u{1b}'), "{outcome}");
        };
        refused(cli(&["backup"]).run());
        refused(cli(&["restore", "last/x"]).run());
        refused(cli(&["list"]).run());
        for command in ["status", "history", "health", "check-env"] {
            refused(cli(&[command]).run());
        }
        refused(cli(&["check-env", "--print", "SCHEDULE"]).run());
        refused(Plan::new(server, &store).database("app").run());
        refused(init("TRUE", "TRUE").run());
        refused(init("FALSE", "TRUE").run());
        refused(init("FALSE", "FALSE").run());
        assert!(!mark.exists(), "{:?}", String::from_utf8_lossy(&line));
        assert_eq!(overrides(&store).unwrap(), text, "the file is left as it was");
    }
}

#[test]
fn what_is_no_file_of_ours_at_all_is_refused_and_hangs_nobody() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let path = store.path().join(".api-overrides.env");
    let elsewhere = store.root().join("elsewhere");
    fs::write(&elsewhere, "export BACKUP_KEEP_DAYS='7'\n").unwrap();
    let plant: [&dyn Fn(); 5] = [
        &|| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        &|| std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
        &|| std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
        &|| fs::create_dir(&path).unwrap(),
        &|| fs::File::create(&path).unwrap().set_len(1 << 40).unwrap(),
    ];
    for plant in plant {
        plant();
        Plan::new(server, &store).database("app").run().failed().saying(".api-overrides.env");
        let mut cli = Cli::backup(server, &store, "app").start();
        wait_until("the backup to be refused", SOON, || cli.poll().is_some());
        cli.wait().exited_with(1).saying(".api-overrides.env");
        if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
    }
    let daemon = Plan::new(server, &store).database("app").start();
    assert_eq!(overrides(&store), None);
    drop(daemon);
}

#[test]
fn the_scheduler_of_a_container_without_the_api_follows_an_override() {
    let server = Cluster::shared(15);
    let store = Store::new();
    fs::write(
        store.path().join(".api-overrides.env"),
        "export SCHEDULE='CRON_TZ=Europe/Berlin 15 3 * * *'\n",
    )
    .unwrap();
    let port = cluster::free_port();
    let running = init(server, &store).env("HEALTHCHECK_PORT", port.to_string()).start();
    wait_until("the scheduler to have the schedule", SOON, || {
        argument(running.pid(), "-s").as_deref() == Some("CRON_TZ=Europe/Berlin 15 3 * * *") && answers(port)
    });
}

/// The file as the original image's program writes it, also when the last override has been cleared there.
#[test]
fn a_file_of_the_originals_is_taken_over_and_what_a_later_release_has_set_stays_in_it() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let path = store.path().join(".api-overrides.env");
    const HEAD: &str = "# Generated by backupgram-api. Do not edit by hand.\n";
    fs::write(&path, HEAD).unwrap();
    let daemon = Plan::new(server, &store).database("app").start();
    assert_eq!(daemon.get("/config").json()["config"]["BACKUP_KEEP_DAYS"]["source"], "base");
    drop(daemon);
    let later = "export BACKUP_LATER='$(touch /tmp/x)'\n";
    fs::write(&path, format!("{HEAD}\nexport BACKUP_KEEP_DAYS='9'\n{later}")).unwrap();
    for command in ["list", "status", "check-env"] {
        let outcome = Cli::new(server, &store).env("POSTGRES_DB", "app").args([command]).run().succeeded();
        assert_eq!(outcome.text().contains("BACKUP_LATER"), command == "check-env", "{outcome}");
    }
    let daemon = Plan::new(server, &store).database("app").start();
    assert!(daemon.log().contains("sets BACKUP_LATER, which this release does not know"), "{}", daemon.log());
    assert_eq!(daemon.get("/config").json()["config"]["BACKUP_KEEP_DAYS"]["value"], "9");
    daemon.patch(&json!({"BACKUP_KEEP_DAYS": null, "POSTGRES_DB_AUTODISCOVER": true})).expect(200);
    let text = format!("export POSTGRES_DB_AUTODISCOVER='TRUE'\n{later}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    daemon.patch(&json!({"POSTGRES_DB_AUTODISCOVER": null})).expect(200);
    assert_eq!(fs::read_to_string(&path).unwrap(), later);
}
