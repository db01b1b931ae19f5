//! Checks whether a manifest describes the file beside it, which may since have been replaced by a copy, another tool
//! or an editor. Disk corruption changes neither size nor time, so it is not detected here.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag, fstat};

use super::Manifest;
use crate::store::catalog::name::{BackupName, DatabaseName};
use crate::store::catalog::slot::Slot;
use crate::store::record_file;
use crate::util::open_dir::{OpenDir, kind};

const SECOND: i64 = 1_000_000_000;
/// Longest text in bytes in a manifest kept in memory. The longest is the error of a verification.
const LONGEST_WITHOUT_PROPERTIES: usize = 16 << 10;

/// A manifest read from beside a backup.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its contents.
    pub manifest: Manifest,
    /// Modification time of the manifest file, in nanoseconds since 1970.
    pub(super) written: i64,
}

impl Described {
    /// Reads the manifest of a name in a directory; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, is not a regular file, is too long, or has invalid contents.
    pub fn read(directory: &OpenDir, name: &BackupName) -> io::Result<Option<Self>> {
        let file = match directory.open_file(name.manifest()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let status = file.metadata()?;
        let manifest = record_file::parse(&record_file::read_opened(&file, record_file::LONGEST)?)?;
        Ok(Some(Self { manifest, written: nanoseconds(status.mtime(), status.mtime_nsec()) }))
    }

    /// Drops what only a restore needs, because listings keep thousands in memory.
    ///
    /// # Errors
    /// When the rest is longer than any valid manifest.
    pub(in crate::store::catalog) fn without_properties(mut self) -> io::Result<Self> {
        (self.manifest.properties, self.manifest.needs) = (None, None);
        match self.manifest.length() > LONGEST_WITHOUT_PROPERTIES {
            true => Err(io::Error::other("it is longer than any valid manifest")),
            false => Ok(self),
        }
    }

    /// Whether it can describe a file of this appearance. Only the checksum can prove it.
    pub fn is_of(&self, now: Appearance) -> bool {
        self.manifest.fits(self.written, now)
    }

    /// The database in the file's name, if it is not that of the manifest.
    pub fn contradiction(&self, name: &BackupName, slot: Option<Slot>) -> Option<DatabaseName> {
        self.manifest.contradiction(name, slot)
    }
}

impl Manifest {
    /// [`Described::is_of`] for a manifest written at `written`. Older versions did not record the file's time, but
    /// wrote the file before its manifest.
    pub(in crate::store::catalog) fn fits(&self, written: i64, now: Appearance) -> bool {
        let is_as_then = match self.modified {
            Some(then) => is_same_time(then, now.modified),
            None => now.modified <= written,
        };
        self.size == now.size && is_as_then
    }

    /// This manifest for a file with the same contents and this appearance.
    pub fn of(self, now: Appearance) -> Self {
        Self { size: now.size, modified: Some(now.modified), ..self }
    }

    /// [`Described::contradiction`].
    pub(in crate::store::catalog) fn contradiction(
        &self,
        name: &BackupName,
        slot: Option<Slot>,
    ) -> Option<DatabaseName> {
        let mut readings = name.readings(slot);
        let named = readings.next()?.database;
        let is_named = named == self.database || readings.any(|parts| parts.database == self.database);
        (!is_named).then_some(named)
    }
}

/// Whether two times are equal up to the precision of `now`: archives and some file systems truncate it.
fn is_same_time(then: i64, now: i64) -> bool {
    let mut unit = 1;
    while unit < SECOND && now % (unit * 10) == 0 {
        unit *= 10;
    }
    then.div_euclid(unit) == now.div_euclid(unit)
}

/// Size and time of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appearance {
    /// Size in bytes; for a directory the sum of its files.
    pub size: u64,
    /// Modification time in nanoseconds since 1970; for a directory the latest of its files.
    pub modified: i64,
}

impl Appearance {
    /// Of a name with this status in a directory.
    pub(in crate::store::catalog) fn of(
        status: &FileStat,
        directory: &OpenDir,
        name: impl AsRef<OsStr>,
    ) -> Self {
        match kind(status) {
            SFlag::S_IFDIR => directory.dir(name).map_or(NOTHING, |opened| Self::of_directory(&opened)),
            _ => Self::of_file(status),
        }
    }

    /// Of an opened file or directory.
    ///
    /// # Errors
    /// When its status cannot be read.
    pub fn of_opened(opened: &File) -> io::Result<Self> {
        let status = fstat(opened)?;
        Ok(match kind(&status) {
            SFlag::S_IFDIR => Self::of_directory(&OpenDir::of_file(opened, Path::new(""))?),
            _ => Self::of_file(&status),
        })
    }

    /// Of a name in a directory.
    ///
    /// # Errors
    /// When its status cannot be read.
    pub(in crate::store::catalog) fn at(directory: &OpenDir, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        Ok(Self::of(&directory.status(name)?, directory, name))
    }

    /// Of all files in a directory whose status can be read.
    pub(in crate::store::catalog) fn of_directory(directory: &OpenDir) -> Self {
        let names = directory.names().unwrap_or_default();
        let statuses = names.iter().filter_map(|name| directory.status(name).ok());
        statuses.map(|status| Self::of_file(&status)).fold(NOTHING, |sum, file| Self {
            size: sum.size.saturating_add(file.size),
            modified: sum.modified.max(file.modified),
        })
    }

    fn of_file(status: &FileStat) -> Self {
        let modified = nanoseconds(status.st_mtime, status.st_mtime_nsec);
        Self { size: status.st_size.cast_unsigned(), modified }
    }
}

/// Of an empty directory.
const NOTHING: Appearance = Appearance { size: 0, modified: 0 };

fn nanoseconds(seconds: i64, more: i64) -> i64 {
    seconds.saturating_mul(SECOND).saturating_add(more)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn manifest(database: &str, size: u64, modified: Option<i64>) -> Manifest {
        let json = serde_json::json!({
            "sha256": "0".repeat(64), "size": size, "modified": modified, "database": database, "format": "gzip",
            "encrypted": false, "server_version": "17.2", "tool_version": "17.2", "created_at": 0,
            "duration_seconds": 1.5,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_file_is_told_from_another_by_its_length_and_time() {
        let time = 1_776_349_800_123_456_789;
        for (now, is_its) in [
            ((5, time), true),
            ((6, time), false),
            ((5, time + 1), false),
            ((5, time - 1), false),
            // Truncated as by a file system or an archive.
            ((5, time - 89), true),
            ((5, time - 789), true),
            ((5, time - 123_456_789), true),
            ((5, time - 123_456_789 + SECOND), false),
            ((5, time - 123_456_789 - SECOND), false),
            ((5, 0), false),
        ] {
            let now = Appearance { size: now.0, modified: now.1 };
            assert_eq!(manifest("app", 5, Some(time)).fits(0, now), is_its, "{now:?}");
        }
        for (size, modified, is_its) in [(5, 9, true), (5, 10, true), (5, 11, false), (4, 9, false)] {
            let now = Appearance { size, modified };
            assert_eq!(manifest("app", 5, None).fits(10, now), is_its, "an older manifest, {now:?}");
        }
    }

    #[test]
    fn a_name_contradicts_a_manifest_only_if_it_cannot_be_read_otherwise() {
        let (last, weekly) = (Some(Slot::Last), Some(Slot::Weekly));
        for (database, name, slot, contradicts) in [
            ("app", "app-20260416-143000.sql.gz", last, None),
            ("shop", "app-20260416-143000.sql.gz", last, Some("app")),
            ("shop", "app-20260416-143000.sql.gz", None, Some("app")),
            ("shop", "app-latest.sql.gz", last, Some("app")),
            ("app", "app-latest.sql.gz", None, None),
            ("app-latest", "app-latest-20260416-143000.dump", last, None),
            ("a/b", "a%2Fb-20260416-143000.sql.gz", last, None),
            ("a%2Fb", "a%252Fb-20260416-143000.sql.gz", last, None),
            ("a%2Fb", "a%2Fb-20260416-143000.sql.gz", last, Some("a/b")),
            ("50% off", "50%25 off-20260416-143000.sql.gz", last, None),
            (".hidden", "%2Ehidden-20260416-143000.sql.gz", last, None),
            ("app-20260416", "app-20260416-202616.sql.gz", weekly, None),
            ("app", "app-20260416-202616.sql.gz", weekly, Some("app-20260416")),
            // Outside a slot either reading is possible.
            ("app", "app-20260416-202616.sql.gz", None, None),
            ("app-20260416", "app-20260416-202616.sql.gz", None, None),
            ("shop", "app-20260416-202616.sql.gz", None, Some("app")),
            // Names not given by this tool in that slot are ignored.
            ("shop", "before-the-move.sql.gz", None, None),
            ("shop", "app.sql.gz", last, None),
            ("shop", "app-20260416.sql.gz", last, None),
            ("shop", "app-20260416.sql.gz", None, Some("app")),
            ("cluster", "cluster-20260416-143000.sql.gz", last, None),
        ] {
            let named = manifest(database, 5, None).contradiction(&BackupName::parse(name).unwrap(), slot);
            let named = named.as_ref().map(DatabaseName::as_str);
            assert_eq!(named, contradicts, "{name} of {slot:?} beside a manifest of {database}");
        }
    }

    #[test]
    fn a_directory_looks_like_its_files_together() {
        let root = tempfile::tempdir().unwrap();
        let time = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (name, length, seconds) in [("toc.dat", 3, 20), ("1.dat", 4, 30), ("2.dat", 5, 10)] {
            let path = root.path().join(name);
            fs::write(&path, vec![0; length]).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time(seconds)).unwrap();
        }
        let now = Appearance::of_opened(&File::open(root.path()).unwrap()).unwrap();
        assert_eq!(now, Appearance { size: 12, modified: 30 * SECOND });
    }
}
