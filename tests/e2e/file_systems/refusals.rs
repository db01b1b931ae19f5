//! What a file system refuses to do at all: to flush a directory, to link, to be written to.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::command::Outcome;
use crate::harness::*;

/// A backup under strace, which has these system calls fail, as far as they go to these paths, if any are given.
fn injected(cli: Cli, store: &Store, paths: &[PathBuf], faults: &[String]) -> Option<Outcome> {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: a test needs strace, which is not here");
        return None;
    }
    let trace = store.root().join("trace");
    let mut words = vec!["-f".into(), "-qq".into(), "-o".into(), trace.clone().into_os_string()];
    words.extend(paths.iter().flat_map(|path| ["-P".into(), path.clone().into_os_string()]));
    words.extend(faults.iter().flat_map(|fault| ["-e".into(), format!("inject={fault}").into()]));
    let outcome = cli.under("strace", words).run();
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("(INJECTED)"), "nothing was injected\n{outcome}");
    Some(outcome)
}

#[test]
fn a_directory_that_cannot_be_flushed_is_no_failure_where_the_file_system_has_no_such_thing() {
    let server = Cluster::shared(15);
    for (error, code) in [("EINVAL", 0), ("EBADF", 0), ("EIO", 1), ("ENOSPC", 1)] {
        let store = Store::new();
        let database = server.database("flush");
        database.fill(5);
        // Makes the directories.
        Cli::new(server, &store).args(["sweep"]).run().succeeded();
        let root = fs::canonicalize(store.path()).unwrap();
        let mut directories = vec![root.clone(), root.join(".partial")];
        directories.extend(SLOTS.map(|slot| root.join(slot)));
        let fault = format!("fsync:error={error}");
        let backup = Cli::backup(server, &store, &database.name);
        let Some(outcome) = injected(backup, &store, &directories, &[fault]) else { return };
        let outcome = outcome.exited_with(code);
        assert_eq!(store.status()["status"], if code == 0 { "OK" } else { "FAILED" }, "{error}: {outcome}");
        if code == 0 {
            assert_eq!(SLOTS.map(|slot| store.dated(slot).len()), [1; 4], "{error}");
            store.assert_every_name_is_a_whole_backup();
            assert_eq!(outcome.text().matches("warn").count(), 0, "{outcome}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_flushed_is_a_failure_whatever_the_error() {
    let server = Cluster::shared(15);
    for error in ["EINVAL", "EBADF", "EIO"] {
        let store = Store::new();
        let database = server.database("unflushed");
        database.fill(5);
        // The first is of the spare for the result, which a run can do without.
        let fault = format!("fsync:error={error}:when=2");
        let backup = Cli::backup(server, &store, &database.name);
        let Some(outcome) = injected(backup, &store, &[], &[fault]) else { return };
        outcome.exited_with(1);
        assert_eq!(SLOTS.map(|slot| store.dated(slot).len()), [0; 4], "{error}");
        assert_eq!(store.status()["status"], "FAILED", "{error}");
        Cli::new(server, &store).args(["health"]).env("HEALTHCHECK_PORT", "0").run().exited_with(1);
    }
}

#[test]
fn where_there_are_no_links_there_are_copies() {
    let server = Cluster::shared(15);
    for (error, options) in
        [("EPERM", "-Z1"), ("EOPNOTSUPP", "-Fd"), ("EMLINK", "-Z1"), ("ENOSYS", "-Fc"), ("EACCES", "-Z1")]
    {
        let store = Store::new();
        let database = server.database("links");
        database.fill(5);
        let faults = [
            format!("link,linkat:error={error}"),
            format!("symlink,symlinkat:error={error}"),
            // Neither may the owner of a copy be asked for its mode, nor its time be set.
            format!("chmod,fchmod,fchmodat,fchown:error={error}"),
            "utimensat:error=EPERM".to_owned(),
        ];
        let backup = Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options);
        let Some(outcome) = injected(backup, &store, &[], &faults) else { return };
        let outcome = outcome.succeeded().saying("BACKUP_LATEST_TYPE=none makes no such links");
        assert_eq!(store.status()["status"], "OK", "{outcome}");
        let inodes = SLOTS.map(|slot| fs::metadata(store.file(slot, &store.only(slot))).unwrap().ino());
        let different: BTreeSet<u64> = inodes.into_iter().collect();
        assert_eq!(different.len(), 4, "{error}");
        Cli::new(server, &store).args(["verify"]).run().succeeded();
        assert_eq!(store.partial(), Vec::<String>::new());
    }
}

#[test]
fn a_volume_that_is_mounted_read_only_is_called_that_and_needs_no_chown() {
    let (server, store) = (Cluster::shared(15), Store::new());
    let database = server.database("readonly");
    database.fill(5);
    let daemon = Plan::new(server, &store).database(&database.name).start();
    daemon.back_up();
    let Some(mounted) = ReadOnly::mount(&store.path(), &store.path()) else { return };
    let is_told = |what: &str, text: &str| {
        assert!(text.contains("is mounted read-only") && !text.contains("chown"), "{what}: {text}");
    };
    is_told("a run", &Cli::backup(server, &store, &database.name).run().exited_with(1).text());
    is_told("a job", &daemon.failed(&daemon.start_backup()).to_string());
    let second = Plan::new(server, &store).database(&database.name).run();
    is_told("a start", &second.exited_with(1).text());
    drop(mounted);
    daemon.back_up();
}

#[test]
fn a_volume_that_is_full_or_immutable_or_somebody_elses_is_called_that() {
    let server = Cluster::shared(15);
    let backup = |store: &Store| Cli::backup(server, store, "postgres");
    let store = Store::new();
    // The root takes one inode, and a directory the other.
    if let Some(_disk) = SmallDisk::with_inodes(&store.path(), 1, 2) {
        let said = backup(&store).run().exited_with(1).text();
        assert!(said.contains("is full: No space left on device") && !said.contains("chown"), "{said}");
    }
    let store = Store::new();
    Cli::new(server, &store).args(["sweep"]).run().succeeded();
    let attribute =
        |change: &str| Command::new("chattr").arg(change).arg(store.path().join("daily")).status();
    if attribute("+i").is_ok_and(|status| status.success()) {
        let said = backup(&store).run().exited_with(1).text();
        assert!(attribute("-i").unwrap().success());
        assert!(said.contains("daily: Operation not permitted") && !said.contains("chown"), "{said}");
    } else {
        eprintln!("SKIPPED: a test needs a directory that chattr can make immutable");
    }
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: only root can run the program as somebody else");
        return;
    }
    // Still answered with what helps: the directories are root's. Not copied by this process, which could not start it
    // while a child of another test holds it open.
    let program = store.root().join("backupgram");
    let copied = Cli::of_program("cp", &store).args([env!("CARGO_BIN_EXE_backupgram")]).args([&program]);
    copied.run().succeeded();
    let settings = command::settings(server, &store).into_iter();
    let cli = settings.fold(Cli::of_program(&program, &store), |cli, (key, value)| cli.env(&key, value));
    cli.env("POSTGRES_DB", "postgres")
        .user(65_534, 65_534)
        .args(["backup"])
        .run()
        .exited_with(1)
        .saying("chown -R 65534");
}
