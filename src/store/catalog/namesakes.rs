//! Finds database names that the file system does not distinguish, and file names that it rejects. This is tested by
//! trying, because a share or bind mount hides the underlying file system.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use super::directory::BackupDirectory;
use super::error::DirectoryError;
use super::name::{BackupName, DatabaseName, is_plain};
use super::slot::Slot;
use super::spelling::spelled;

impl BackupDirectory {
    /// Checks that the file system does not confuse backup names of `database` with those of another database.
    ///
    /// # Errors
    /// When it does, or a slot cannot be read.
    pub(crate) fn refuse_namesake(&self, database: &DatabaseName) -> Result<(), DirectoryError> {
        for slot in Slot::ALL {
            let directory = match self.open_slot(slot) {
                Err(DirectoryError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => continue,
                directory => directory?,
            };
            let names = spelled(&directory, slot)?;
            let mut told_apart = Vec::new();
            let in_names = database.in_file_name();
            for name in names.iter().filter(|name| may_begin_with(name.as_str(), &in_names)) {
                let readings = name.readings(Some(slot)).filter(|parts| parts.database != *database);
                for other in readings.filter(|parts| may_be_one(&parts.database, database)) {
                    if told_apart.contains(&other.database) {
                        continue;
                    }
                    let ours = BackupName::compose(database, &other.stamp, &other.suffix);
                    // Listed again: it may have just been created.
                    if directory.holds(ours.as_str()) && !spelled(&directory, slot)?.contains(&ours) {
                        let (database, other) = (database.clone(), other.database);
                        return Err(DirectoryError::Namesake { database, other, slot, name: name.clone() });
                    }
                    told_apart.push(other.database);
                }
            }
        }
        Ok(())
    }

    /// Checks that the file system accepts the name of a backup and stores it unchanged, if it contains unusual
    /// characters. Only the holder of the run lock may call this.
    ///
    /// # Errors
    /// When it does not, or cannot be tested.
    pub(crate) fn try_name(&self, database: &DatabaseName, name: &BackupName) -> Result<(), DirectoryError> {
        if is_plain(name.as_str()) {
            return Ok(());
        }
        let partial = self.open_partial()?;
        let refused = |error| self.name_refusal(database, name, error);
        drop(partial.create_file(name.as_str(), 0o644).map_err(refused)?);
        let kept = partial.names().map(|names| names.iter().any(|found| found == name.as_str()));
        partial.remove_file(name.as_str()).and(kept).map_err(refused).and_then(|kept| match kept {
            true => Ok(()),
            false => Err(DirectoryError::NameChanged {
                database: database.clone(),
                name: name.clone(),
                root: self.root().into(),
            }),
        })
    }

    fn name_refusal(&self, database: &DatabaseName, name: &BackupName, error: io::Error) -> DirectoryError {
        let errno = error.raw_os_error().map(Errno::from_raw);
        match errno {
            // FUSE drivers return ENOENT or EPERM.
            Some(Errno::EINVAL | Errno::ENOENT | Errno::EILSEQ | Errno::ENAMETOOLONG | Errno::EPERM) => {
                let (database, name) = (database.clone(), name.clone());
                let root: PathBuf = self.root().into();
                DirectoryError::NameRefused { database, name, root, error }
            }
            _ => DirectoryError::Io(format!("make {}", self.partial().join(name.as_str()).display()), error),
        }
    }
}

/// Whether a file system may confuse the start of `name` with `database`, though they differ. A cheap check that
/// avoids parsing thousands of names.
fn may_begin_with(name: &str, database: &str) -> bool {
    match name.get(..database.len()) {
        Some(start) if name.is_ascii() && database.is_ascii() => {
            start != database && start.eq_ignore_ascii_case(database)
        }
        None if name.is_ascii() && database.is_ascii() => false,
        _ => true,
    }
}

/// Whether a file system may confuse two names. ASCII names differ if they differ beyond case.
fn may_be_one(one: &DatabaseName, other: &DatabaseName) -> bool {
    let (one, other) = (one.in_file_name(), other.in_file_name());
    !(one.is_ascii() && other.is_ascii()) || one.eq_ignore_ascii_case(&other)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::catalog::spelling::is_spelled_so;

    fn database(name: &str) -> DatabaseName {
        DatabaseName::parse(name).unwrap()
    }

    #[test]
    fn names_are_tried_only_where_some_file_system_could_take_one_for_the_other() {
        for (one, other, may_be) in [
            ("App", "app", true),
            ("app", "app2", false),
            ("a/B", "A/b", true),
            ("a/b", "a%2Fb", false),
            // Composed and decomposed é; the Kelvin sign; the sharp s.
            ("caf\u{e9}", "cafe\u{301}", true),
            ("\u{212a}elvin", "kelvin", true),
            ("stra\u{df}e", "STRASSE", true),
        ] {
            assert_eq!(may_be_one(&database(one), &database(other)), may_be, "{one} {other}");
        }
    }

    #[test]
    fn a_name_is_taken_apart_only_where_it_may_begin_as_another() {
        for (name, database, may) in [
            ("App-20260101.sql", "app", true),
            ("app-20260101.sql", "app", false),
            ("apple-20260101.sql", "app", false),
            ("ap", "app", false),
            ("caf\u{e9}-20260101.sql", "cafe\u{301}", true),
            ("x-20260101.sql", "\u{e9}", true),
        ] {
            assert_eq!(may_begin_with(name, database), may, "{name} {database}");
        }
    }

    #[test]
    fn on_a_file_system_that_tells_case_both_stay() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let name = BackupName::parse("App-20260101.sql.gz").unwrap();
        fs::write(backups.path(Slot::Daily, &name), "x").unwrap();
        backups.refuse_namesake(&database("app")).unwrap();
        fs::write(backups.slot_path(Slot::Daily).join("app-20260101.sql.gz"), "y").unwrap();
        for own in ["App", "app", "other"] {
            backups.refuse_namesake(&database(own)).unwrap();
        }
        let slot = backups.open_slot(Slot::Daily).unwrap();
        assert!(is_spelled_so(&slot, Slot::Daily, &name).unwrap());
        let odd = BackupName::parse("a:b\"\u{e9}-20260101.sql.").unwrap();
        backups.try_name(&database("a:b"), &odd).unwrap();
        assert_eq!(fs::read_dir(backups.partial()).unwrap().count(), 0);
    }
}
