//! File names of backups: database, time stamp and suffix.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::database::{DatabaseName, NameError};
use crate::store::catalog::slot::Slot;

/// The suffix of a backup's file name, such as `.sql.gz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suffix(String);

impl Suffix {
    /// Checks a suffix. It starts with a dot, which ends the time stamp before it.
    ///
    /// # Errors
    /// When it does not start with a dot, contains a slash, a control character or what looks like a time stamp, or is
    /// longer than 24 bytes. With the longest database name, encryption and the temporary file of the manifest, the
    /// name must fit in the 255 bytes of a file name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fits = text.len() <= 24 && text.len() > 1 && text.starts_with('.');
        match fits && !text.chars().any(|c| c == '/' || c.is_control()) {
            true if holds_stamp(text) => {
                Err(NameError("must not contain a dash followed by what looks like a time stamp"))
            }
            true => Ok(Self(text.to_owned())),
            false => Err(NameError("must be a dot and up to 23 bytes without a slash")),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a backup in its slot: one path component, never hidden. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupName(Arc<str>);

/// The parts of a backup's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameParts {
    /// The database.
    pub database: DatabaseName,
    /// The time stamp of its slot, or `latest`.
    pub stamp: String,
    /// The text after the stamp.
    pub suffix: String,
}

/// The stamp of a pointer to the newest backup.
pub(in crate::store::catalog) const LATEST: &str = "latest";

/// Whether a text contains a dash followed by the stamp of a slot or of a pointer.
fn holds_stamp(text: &str) -> bool {
    text.match_indices('-').any(|(at, _)| {
        let word = text[at + 1..].split('.').next().unwrap_or_default();
        word == LATEST || Slot::ALL.iter().any(|slot| slot.is_stamp(word))
    })
}

impl BackupName {
    /// Checks a name from outside.
    ///
    /// # Errors
    /// When it is empty, hidden, longer than 255 bytes, or contains a slash or a control character.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text {
            "" => Err(NameError("the name of a backup is empty")),
            _ if text.starts_with('.') => Err(NameError("the name of a backup begins with a dot")),
            _ if text.len() > 255 => Err(NameError("the name of a backup is longer than 255 bytes")),
            _ if text.contains('/') => Err(NameError("the name of a backup has a slash in it")),
            _ if text.chars().any(char::is_control) => {
                Err(NameError("the name of a backup has a control character in it"))
            }
            _ => Ok(Self(text.into())),
        }
    }

    /// Composes the name of a backup of `database`.
    pub fn compose(database: &DatabaseName, stamp: &str, suffix: &str) -> Self {
        Self(format!("{}-{stamp}{suffix}", database.in_file_name()).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the hidden manifest file beside the backup.
    pub fn manifest(&self) -> String {
        format!(".{}.json", self.0)
    }

    /// Splits a name that this tool gives in `slot`. The last stamp of any kind counts, so a backup of database
    /// `app-20260101` is not taken for one of `app`, and the pointer of a database `app-20260101.x` is not a backup of
    /// `app`.
    pub fn parts(&self, slot: Slot) -> Option<NameParts> {
        self.split_at_stamp(slot.stamp_length(), |text| slot.is_stamp(text))
    }

    /// Splits the name of a pointer to the newest backup.
    pub fn latest_parts(&self) -> Option<NameParts> {
        self.split_at_stamp(LATEST.len(), |text| text == LATEST)
    }

    fn split_at_stamp(&self, length: usize, is_stamp: impl Fn(&str) -> bool) -> Option<NameParts> {
        let dashes = self.0.match_indices('-').map(|(at, _)| at);
        dashes.rev().find_map(|dash| {
            let stamp = self.0.get(dash + 1..dash + 1 + length).filter(|stamp| is_stamp(stamp))?;
            let suffix = &self.0[dash + 1 + length..];
            if (!suffix.is_empty() && !suffix.starts_with('.')) || holds_stamp(suffix) {
                return None;
            }
            let database = DatabaseName::from_file_name(&self.0[..dash])?;
            Some(NameParts { database, stamp: stamp.to_owned(), suffix: suffix.to_owned() })
        })
    }
}

impl Serialize for BackupName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BackupName {
    /// All readings of the name: in `slot`, or without a slot in every slot, longest stamp first; then as a pointer.
    /// In `monthly`, `app-20240101-202611` is not a backup of `app` at 20:26:11.
    pub fn readings(&self, slot: Option<Slot>) -> impl Iterator<Item = NameParts> {
        let slots = Slot::ALL.into_iter().filter(move |one| slot.is_none_or(|slot| slot == *one));
        slots.filter_map(|slot| self.parts(slot)).chain(self.latest_parts())
    }

    /// The database in the name, as read in a slot.
    pub fn database(&self, slot: Slot) -> Option<DatabaseName> {
        self.readings(Some(slot)).next().map(|parts| parts.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn database_of(slot: Slot, name: &str) -> Option<String> {
        Some(BackupName::parse(name).unwrap().parts(slot)?.database.as_str().to_owned())
    }

    #[test]
    fn a_database_whose_name_begins_the_same_is_told_apart() {
        let last = |name| database_of(Slot::Last, name);
        assert_eq!(last("app-20260416-143000.sql.gz").unwrap(), "app");
        assert_eq!(last("app-staging-20260416-143000.sql.gz").unwrap(), "app-staging");
        assert_eq!(last("app-20260101-20260416-143000.sql.gz").unwrap(), "app-20260101");
        assert_eq!(database_of(Slot::Daily, "my.app-20260416.sql.gz.gpg").unwrap(), "my.app");
    }

    #[test]
    fn names_that_this_tool_does_not_give_have_no_parts() {
        for name in [
            "app.sql.gz",
            "app-latest.sql.gz",
            "app-2026041-143000.sql.gz",
            "app-20260416-143000x.gz",
            "-20260416-143000.gz",
        ] {
            assert_eq!(database_of(Slot::Last, name), None, "{name}");
        }
        assert_eq!(database_of(Slot::Daily, "app-20260416-143000.sql.gz"), None);
    }

    #[test]
    fn the_names_of_pointers_are_known() {
        let parts = BackupName::parse("my-app-latest.sql.gz").unwrap().latest_parts().unwrap();
        assert_eq!((parts.database.as_str(), parts.suffix.as_str()), ("my-app", ".sql.gz"));
        assert_eq!(BackupName::parse("app-20260416.sql.gz").unwrap().latest_parts(), None);
    }

    #[test]
    fn a_stamp_within_a_databases_name_does_not_count() {
        let backup = BackupName::parse("app-latest.x-20260416.sql.gz").unwrap();
        assert_eq!(backup.latest_parts(), None);
        assert_eq!(backup.parts(Slot::Daily).unwrap().database.as_str(), "app-latest.x");
        let pointer = BackupName::parse("app-20260416.x-latest.sql.gz").unwrap();
        assert_eq!(pointer.parts(Slot::Daily), None);
        assert_eq!(pointer.latest_parts().unwrap().database.as_str(), "app-20260416.x");
    }

    #[test]
    fn a_suffix_does_not_look_like_a_stamp() {
        for suffix in [".sql.gz", ".sql-gz", ".x-1234567", ".x-latest2.gz"] {
            assert!(Suffix::parse(suffix).is_ok(), "{suffix}");
        }
        for suffix in [".x-latest.gz", ".-latest", ".x-202604", ".x-20260416.gz", ".20260416-143000"] {
            assert!(Suffix::parse(suffix).is_err(), "{suffix}");
        }
    }

    #[test]
    fn the_longest_name_leaves_room_for_its_manifest_while_that_is_written() {
        let database = DatabaseName::parse(&"/".repeat(63)).unwrap();
        let suffix = Suffix::parse(&format!(".{}", "x".repeat(23))).unwrap();
        let suffix = format!("{}.gpg", suffix.as_str());
        let name = BackupName::compose(&database, "20260416-143000", &suffix);
        assert!(format!("{}.4194304.tmp", name.manifest()).len() <= 255);
        assert!(Suffix::parse(&format!(".{}", "x".repeat(24))).is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(BackupName::parse(name).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_database_can_be_named_in_a_list(texts in proptest::collection::btree_set("[^\0]{1,15}", 0..4)) {
            let quoted: Vec<_> = texts.iter().map(|text| format!("\"{}\"", text.replace('"', "\"\""))).collect();
            let names = DatabaseName::parse_list(&quoted.join(" ")).unwrap();
            prop_assert!(names.iter().map(DatabaseName::as_str).eq(texts.iter().map(String::as_str)));
        }

        #[test]
        fn a_database_is_found_again_in_the_names_of_its_backups(text in "[^\0]{1,15}") {
            let database = DatabaseName::parse(&text).unwrap();
            for (slot, stamp) in [(Slot::Last, "20260416-143000"), (Slot::Weekly, "202616")] {
                let name = BackupName::compose(&database, stamp, ".sql.gz");
                let name = BackupName::parse(name.as_str()).unwrap();
                prop_assert_eq!(&name.parts(slot).unwrap().database, &database);
            }
        }
    }
}
