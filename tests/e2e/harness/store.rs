//! A backup directory, and what must be true of it at every moment.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::guardian;

/// The four places that backups are published in.
pub const SLOTS: [&str; 4] = ["last", "daily", "weekly", "monthly"];

const TRAILER: &str = "PostgreSQL database dump complete";

/// A BACKUP_DIR, with a HOOKS_DIR and room for logs beside it.
pub struct Store {
    root: TempDir,
    /// The checksums of files that were found whole, by inode, length and time: most are asked about again.
    whole: Mutex<HashMap<Look, String>>,
}

type Look = (u64, u64, i64, i64);

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        let store = Self { root: guardian::directory("store-"), whole: Mutex::default() };
        fs::create_dir(store.path()).expect("make the backup directory");
        fs::create_dir(store.hooks()).expect("make the hooks directory");
        store
    }

    /// The directory that holds everything of this test.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// BACKUP_DIR.
    pub fn path(&self) -> PathBuf {
        self.root().join("backups")
    }

    /// HOOKS_DIR.
    pub fn hooks(&self) -> PathBuf {
        self.root().join("hooks")
    }

    /// Puts an executable hook in place.
    pub fn hook(&self, name: &str, script: &str) {
        write_script(&self.hooks().join(name), script);
    }

    /// The visible names in a slot, sorted.
    pub fn names(&self, slot: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path().join(slot)) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("read a slot").file_name());
        let visible =
            names.map(|name| name.to_str().expect("UTF-8").to_owned()).filter(|name| !name.starts_with('.'));
        visible.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The dated backups in a slot, sorted: the names but for the `-latest` pointers.
    pub fn dated(&self, slot: &str) -> Vec<String> {
        self.names(slot).into_iter().filter(|name| !name.contains("-latest")).collect()
    }

    /// The only dated backup in a slot.
    #[track_caller]
    pub fn only(&self, slot: &str) -> String {
        let dated = self.dated(slot);
        assert_eq!(dated.len(), 1, "{slot} holds {dated:?}");
        dated[0].clone()
    }

    /// The dated backup of a slot whose name sorts last.
    #[track_caller]
    pub fn newest(&self, slot: &str) -> String {
        self.dated(slot).pop().unwrap_or_else(|| panic!("{slot} is empty"))
    }

    /// The only dated backup of this database in a slot.
    #[track_caller]
    pub fn only_of(&self, slot: &str, database: &str) -> String {
        let prefix = format!("{database}-2");
        let all = self.dated(slot);
        let dated: Vec<&String> = all.iter().filter(|name| name.starts_with(&prefix)).collect();
        assert_eq!(dated.len(), 1, "{slot} holds {dated:?} of {database}");
        dated[0].clone()
    }

    /// The path of a backup.
    pub fn file(&self, slot: &str, name: &str) -> PathBuf {
        self.path().join(slot).join(name)
    }

    /// The path of the hidden manifest beside a backup.
    pub fn manifest_file(&self, slot: &str, name: &str) -> PathBuf {
        self.path().join(slot).join(format!(".{name}.json"))
    }

    /// The manifest beside a backup.
    #[track_caller]
    pub fn manifest(&self, slot: &str, name: &str) -> Value {
        let path = self.manifest_file(slot, name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display()))
    }

    /// The result of the last run.
    #[track_caller]
    pub fn status(&self) -> Value {
        let text = fs::read_to_string(self.path().join(".status.json")).expect("read .status.json");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!(".status.json: {error}: {text}"))
    }

    /// What is left in `.partial/`.
    pub fn partial(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path().join(".partial")) else { return Vec::new() };
        entries
            .map(|entry| entry.expect("read .partial").file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Every file below the backup directory, hidden ones and links too, with its size: to see that nothing changed.
    pub fn everything(&self) -> BTreeSet<(PathBuf, u64)> {
        fn walk(directory: &Path, found: &mut BTreeSet<(PathBuf, u64)>) {
            for entry in fs::read_dir(directory).expect("read a directory") {
                let entry = entry.expect("read a directory");
                let metadata = entry.metadata().expect("look at a file");
                if metadata.is_dir() {
                    walk(&entry.path(), found);
                } else {
                    found.insert((entry.path(), metadata.len()));
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.path(), &mut found);
        found
    }

    /// The SQL in a backup, plain or compressed.
    #[track_caller]
    pub fn sql(&self, slot: &str, name: &str) -> String {
        read_dump(&self.file(slot, name)).unwrap_or_else(|error| panic!("{slot}/{name}: {error}"))
    }

    /// Asserts that every visible name in every slot is a whole backup and agrees with its manifest.
    #[track_caller]
    pub fn assert_every_name_is_a_whole_backup(&self) {
        let mut whole = self.whole.lock().expect("not poisoned");
        for slot in SLOTS {
            for name in self.names(slot) {
                let found = fs::metadata(self.file(slot, &name)).expect("look at a backup");
                let look = (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
                let checksum = whole.entry(look).or_insert_with(|| self.checksum_of_whole(slot, &name));
                if self.manifest_file(slot, &name).exists() {
                    let manifest = self.manifest(slot, &name);
                    assert_eq!(manifest["sha256"], *checksum, "{slot}/{name}");
                    assert_eq!(manifest["size"], found.len(), "{slot}/{name}");
                }
            }
        }
    }

    #[track_caller]
    fn checksum_of_whole(&self, slot: &str, name: &str) -> String {
        let sql = self.sql(slot, name);
        let end: String = sql.chars().rev().take(400).collect::<Vec<_>>().into_iter().rev().collect();
        assert!(end.contains(TRAILER), "{slot}/{name} ends in {end:?}");
        sha256(&fs::read(self.file(slot, name)).expect("read a backup"))
    }
}

/// Changes the bytes of a file as a failing disk does: when it was written stays the same.
#[track_caller]
pub fn corrupt(path: &Path, bytes: impl AsRef<[u8]>) {
    let look = || fs::metadata(path).expect("look at a file");
    let before = look();
    fs::write(path, bytes).expect("write to a file");
    set_modified(path, before.modified().expect("a time"));
    assert_eq!(look().modified().expect("a time"), before.modified().expect("a time"));
}

/// Sets when a file was last written.
#[track_caller]
pub fn set_modified(path: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).expect("open a file");
    file.set_modified(time).expect("set the time of a file");
}

/// Writes an executable file.
pub fn write_script(path: &Path, script: &str) {
    fs::write(path, script).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make a script executable");
}

/// The text of a dump, by its content: gzip or plain.
pub fn read_dump(path: &Path) -> std::io::Result<String> {
    let bytes = fs::read(path)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The digest as lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
