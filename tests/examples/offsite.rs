use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{documents, repository};

/// A backup directory and a place for the copies.
struct Site {
    root: TempDir,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("backups/last")).unwrap();
        Self { root }
    }

    fn backups(&self) -> PathBuf {
        self.root.path().join("backups")
    }

    fn remote(&self) -> PathBuf {
        self.root.path().join("remote")
    }

    /// A new backup with its manifest, as `BACKUP_FILES` names it.
    fn back_up(&self, name: &str) -> PathBuf {
        let path = self.backups().join("last").join(name);
        fs::write(&path, format!("dump of {name}")).unwrap();
        fs::write(path.with_file_name(format!(".{name}.json")), format!("manifest of {name}")).unwrap();
        path
    }

    fn hook(&self, event: &str, files: &[&Path], remote: &Path) -> Output {
        let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
        let mut hook = Command::new(repository("examples/hooks/offsite"));
        hook.arg(event).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        hook.env("BACKUP_DIR", self.backups()).env("BACKUP_FILES", files.join("\n"));
        hook.env("OFFSITE_REMOTE", remote).env("RCLONE_CONFIG", self.root.path().join("rclone.conf"));
        hook.output().expect("run the hook")
    }

    /// Whether the example's health check is content with the copies.
    fn is_healthy(&self) -> bool {
        let compose = documents("docker-compose.offsite.yml").remove(0);
        let test = compose["services"]["backup"]["healthcheck"]["test"][1].as_str().unwrap();
        let command = test.replace("$$", "$").replace("backupgram health", "true");
        let command = command.replace("/backups", self.backups().to_str().unwrap());
        Command::new("sh").args(["-c", &command]).status().unwrap().success()
    }

    fn pending(&self) -> usize {
        fs::read_dir(self.backups().join(".offsite-pending")).unwrap().count()
    }
}

/// Every file below a directory with its content, in order.
fn tree(directory: &Path) -> Vec<(String, String)> {
    let (mut found, mut todo) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                todo.push(entry);
            } else {
                let name = entry.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(entry).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn run_parts_finds_the_hook() {
    let hooks = repository("examples/hooks");
    let output = Command::new("run-parts").arg("--test").arg(&hooks).output().expect("run run-parts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), hooks.join("offsite").to_str().unwrap());
}

#[test]
fn a_backup_is_copied_with_its_manifest_whatever_its_name_and_kind() {
    let site = Site::new();
    let file = site.back_up("a b*[x]'$(id)-20260416-030000.sql.gz");
    let directory = site.back_up("mydb-20260416-030001.dir");
    fs::remove_file(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("toc.dat"), "contents").unwrap();
    let output = site.hook("post-backup", &[&file, &directory], &site.remote());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(tree(&site.remote().join("last")), tree(&site.backups().join("last")));
    assert_eq!((site.pending(), site.is_healthy()), (0, true));
}

#[test]
fn a_failed_run_has_those_copied_that_went_well_and_other_events_nothing() {
    let site = Site::new();
    let file = site.back_up("mydb-20260416-030000.sql.gz");
    assert!(site.hook("pre-backup", &[], &site.remote()).status.success());
    assert!(!site.remote().exists());
    assert!(site.hook("error", &[], &site.remote()).status.success());
    assert!(site.hook("error", &[&file], &site.remote()).status.success());
    assert_eq!(tree(&site.remote()).len(), 2);
}

#[test]
fn a_copy_that_fails_is_told_at_once_and_made_up_for_by_the_next_run() {
    let site = Site::new();
    let first = site.back_up("mydb-20260416-030000.sql.gz");
    let output = site.hook("post-backup", &[&first], Path::new("nowhere:bucket"));
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("last/mydb-20260416-030000.sql.gz could not be copied"), "{told}");
    assert_eq!((site.pending(), site.is_healthy()), (1, false));
    let second = site.back_up("mydb-20260417-030000.sql.gz");
    assert!(site.hook("post-backup", &[&second], &site.remote()).status.success());
    assert_eq!(tree(&site.remote().join("last")), tree(&site.backups().join("last")));
    assert_eq!((site.pending(), site.is_healthy()), (0, true));
}

#[test]
fn a_hook_that_was_killed_is_told_after_six_hours() {
    let site = Site::new();
    let pending = site.backups().join(".offsite-pending");
    fs::create_dir(&pending).unwrap();
    let mark = fs::File::create(pending.join("mydb-20260416-030000.sql.gz")).unwrap();
    assert!(site.is_healthy());
    mark.set_modified(SystemTime::now() - Duration::from_secs(6 * 3600 + 120)).unwrap();
    assert!(!site.is_healthy());
}

#[test]
fn a_backup_that_went_before_its_copy_is_told_once() {
    let site = Site::new();
    let file = site.back_up("mydb-20260416-030000.sql.gz");
    fs::remove_file(&file).unwrap();
    let output = site.hook("post-backup", &[&file], &site.remote());
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("was deleted before it could be copied"), "{told}");
    assert_eq!(site.pending(), 0);
    assert!(site.hook("post-backup", &[], &site.remote()).status.success());
}
