//! The hidden file beside a backup that says what it is.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::described::{Appearance, Described};
use super::directory::{BackupDirectory, DirectoryError, Inode, Opened};
use super::name::{BackupName, DatabaseName};
use super::properties::{Properties, Recorded};
use super::slot::Slot;

/// How a backup is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SQL text.
    Plain,
    /// SQL text, compressed by gzip.
    Gzip,
    /// SQL text, compressed by zstd.
    Zstd,
    /// An archive in pg_dump's custom format.
    Custom,
    /// An archive in pg_dump's tar format, compressed or not.
    Tar,
    /// A directory by pg_dump.
    Directory,
}

/// What a backup is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One database.
    #[default]
    Database,
    /// Everything that a server has.
    Cluster,
    /// The roles and tablespaces of a server.
    Globals,
}

impl Scope {
    /// What stands in place of a database's name for what is not of one database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cluster => "cluster",
            Self::Globals => "globals",
        }
    }

    /// It in a sentence.
    pub fn described(self) -> &'static str {
        match self {
            Self::Database => "a database",
            Self::Cluster => "a whole server",
            Self::Globals => "the roles of a server",
        }
    }
}

/// How a backup was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// All of it was read: its checksum, what is wrapped around it, and the dump in it.
    Checksum,
    /// It was restored into a server of its own.
    Restore,
}

/// What a restored backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tables, partitioned ones and their parts each.
    pub tables: u64,
    /// Rows in all of them.
    pub rows: u64,
    /// Indexes.
    pub indexes: u64,
    /// Large objects.
    pub large_objects: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.tables += other.tables;
        self.rows += other.rows;
        self.indexes += other.indexes;
        self.large_objects += other.large_objects;
    }
}

/// What a restore has proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// How long all of it took, in seconds.
    pub duration_seconds: f64,
    /// What came out.
    #[serde(flatten)]
    pub counts: Counts,
}

/// That and when a backup was verified, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// How.
    pub by: Method,
    /// When, in Unix seconds.
    pub at: i64,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What came of it, when it was restored and is whole.
    #[serde(flatten)]
    pub proof: Option<Proof>,
}

impl Verification {
    /// What came of reading a backup.
    pub fn by_checksum(at: i64, error: Option<String>) -> Self {
        Self { by: Method::Checksum, at, error, proof: None }
    }

    /// What came of restoring a backup.
    pub fn by_restore(at: i64, proof: Result<Proof, String>) -> Self {
        let (proof, error) = proof.map_or_else(|error| (None, Some(error)), |proof| (Some(proof), None));
        Self { by: Method::Restore, at, error, proof }
    }
}

/// What a database was like on the server when it was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The bytes that it took there; unknown to roles that may not connect to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The encoding of its text.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
}

impl From<&Properties> for Origin {
    fn from(properties: &Properties) -> Self {
        let Properties { size, encoding, locale, .. } = properties;
        let (collate, ctype) = (locale.collate.clone(), locale.ctype.clone());
        Self { size: *size, encoding: encoding.clone(), collate, ctype }
    }
}

/// Facts about one backup, written when it was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// SHA-256 of the file, in lower-case hexadecimal; of a directory, that of what `LC_ALL=C sha256sum *`
    /// prints in it.
    #[serde(deserialize_with = "checksum")]
    pub sha256: String,
    /// The file's length in bytes, or the sum of a directory's files.
    pub size: u64,
    /// The bytes that pg_dump wrote, before they were compressed and encrypted here. Unknown in manifests of older
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dumped: Option<u64>,
    /// When the file was last written, in nanoseconds since 1970; of a directory, the last of its files. Each slot has
    /// its own, as a copy on another device may have another. Unknown in manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// The database that was dumped.
    pub database: DatabaseName,
    /// How it is stored.
    pub format: Format,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The server's version.
    pub server_version: String,
    /// The version of the program that made the dump.
    pub tool_version: String,
    /// When the dump began, in Unix seconds.
    pub created_at: i64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// What it is of.
    #[serde(default)]
    pub scope: Scope,
    /// What its database was like on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What its database was like besides its contents. Listings leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Box<Recorded>>,
    /// What its SQL asks of a server, as a restore has written it. Listings leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Box<Value>>,
    /// When it was last verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verification>,
    /// When it was last restored and found whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Verification>,
}

impl Manifest {
    /// What counts of its verifications: that it is broken, if the last one has found that, else that it was restored,
    /// else that it was read.
    pub fn verification(&self) -> Option<&Verification> {
        let broken = self.verified.as_ref().filter(|verification| verification.error.is_some());
        broken.or(self.proven.as_ref()).or(self.verified.as_ref())
    }

    /// The bytes that pg_dump wrote for it, if it writes the same for a backup in this format: what becomes SQL is
    /// compressed afterwards.
    pub fn dumped_as(&self, format: Format) -> Option<u64> {
        let is_text = |format| matches!(format, Format::Plain | Format::Gzip | Format::Zstd);
        let is_like_it = self.format == format || (is_text(self.format) && is_text(format));
        self.dumped.filter(|_| is_like_it)
    }

    /// The checksum of a backup in which all was found that belongs there, by tools of this version.
    pub fn checksum_of_whole(&self, tool_version: &str) -> Option<&str> {
        let is_whole = self.verification().is_some_and(|verification| verification.error.is_none());
        (is_whole && self.tool_version == tool_version).then_some(&self.sha256)
    }

    /// The bytes of the text in it that may be of any length, but for the properties.
    pub(super) fn length(&self) -> usize {
        let origin = self.origin.as_ref();
        let origin = origin.map_or(0, |it| it.encoding.len() + it.collate.len() + it.ctype.len());
        let verifications = [&self.verified, &self.proven].into_iter().flatten();
        let errors = verifications.filter_map(|verification| verification.error.as_ref()).map(String::len);
        let named = self.database.as_str().len() + self.server_version.len() + self.tool_version.len();
        named + origin + errors.sum::<usize>()
    }

    /// Takes note of a verification.
    pub fn note(&mut self, verification: Verification) {
        match (verification.by, &verification.error) {
            (_, Some(_)) => self.proven = None,
            (Method::Restore, None) => self.proven = Some(verification.clone()),
            (Method::Checksum, None) => {}
        }
        self.verified = Some(verification);
    }
}

/// A manifest lies where others may write, and its checksum becomes a header field of an answer.
fn checksum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match digits && text.len() == 64 {
        true => Ok(text),
        false => Err(D::Error::custom("sha256 must be 64 hexadecimal digits")),
    }
}

impl BackupDirectory {
    /// What was written down about a backup; `None` for one of an older image. Whether it is still of the file that
    /// has the name, [`Described`] tells.
    ///
    /// # Errors
    /// When there is a manifest that cannot be read.
    pub fn described(&self, slot: Slot, name: &BackupName) -> Result<Option<Described>, DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("read the manifest of {slot}/{name}"), error);
        Described::read(&self.open_slot(slot)?, name).map_err(failed)
    }

    /// What is known of an opened backup; `None` also when it has been replaced since that was written down, or another
    /// has its name by now, as the manifest may be that one's.
    ///
    /// # Errors
    /// When there is a manifest that cannot be read.
    pub fn manifest_of(&self, slot: Slot, opened: &Opened) -> Result<Option<Manifest>, DirectoryError> {
        let Some(described) = self.described(slot, &opened.name)? else { return Ok(None) };
        let now = self.look(&self.open_slot(slot)?, slot, &opened.name);
        let is_it = matches!(now, Ok(Inode::Backup(now)) if now.st_ino == opened.status.st_ino);
        let appearance = Appearance::of_opened(&opened.file);
        let appearance =
            appearance.map_err(|error| DirectoryError::Io(format!("use {slot}/{}", opened.name), error))?;
        let is_of_it =
            described.is_of(appearance) && described.contradiction(&opened.name, Some(slot)).is_none();
        Ok(Some(described.manifest).filter(|_| is_it && is_of_it))
    }

    /// Writes down more of a backup of which `before` was known, with or without its properties and needs. Does nothing when
    /// something else is known by now: then another backup has the name.
    ///
    /// # Errors
    /// When it cannot be written; what was known is then there still.
    pub fn replace_manifest(
        &self,
        slot: Slot,
        name: &BackupName,
        before: &Manifest,
        manifest: &Manifest,
    ) -> Result<(), DirectoryError> {
        let _lock = self.lock_names()?;
        let Some(Described { manifest: mut present, .. }) = self.described(slot, name)? else {
            return Ok(());
        };
        let mut manifest = manifest.clone();
        // As in a listing, where they are left out.
        if before.properties.is_none() {
            manifest.properties = present.properties.take();
        }
        if before.needs.is_none() {
            manifest.needs = present.needs.take();
        }
        match present == *before {
            true => self.write_manifest(slot, name, &manifest),
            false => Ok(()),
        }
    }

    /// Writes down what is known of a backup that has just got its name, with the time of the file that lies there.
    ///
    /// # Errors
    /// When it cannot be looked at or written.
    pub fn describe(&self, slot: Slot, name: &BackupName, manifest: &Manifest) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("write the manifest of {slot}/{name}"), error);
        let appearance = Appearance::at(&self.open_slot(slot)?, name.as_str()).map_err(failed)?;
        let manifest = Manifest { modified: Some(appearance.modified), ..manifest.clone() };
        self.write_manifest(slot, name, &manifest)
    }

    /// Writes down what is known of a backup, in place of what was.
    ///
    /// # Errors
    /// When it cannot be written; what was known is then there still.
    pub fn write_manifest(
        &self,
        slot: Slot,
        name: &BackupName,
        manifest: &Manifest,
    ) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("write the manifest of {slot}/{name}"), error);
        let mut text = serde_json::to_vec(manifest).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let (place, staging) = (self.open_slot(slot)?, self.open_partial()?);
        self.contents.forget(slot);
        place.replace_file(&staging, &name.manifest(), &text, 0o644).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_is_none_makes_no_manifest() {
        let manifest = |sha256: &str| {
            let mut json = serde_json::json!({
                "size": 5, "database": "app", "format": "gzip", "encrypted": false, "server_version": "17.2",
                "tool_version": "17.2", "created_at": 1_776_349_800, "duration_seconds": 1.5,
            });
            json["sha256"] = sha256.into();
            serde_json::from_value::<Manifest>(json)
        };
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(manifest(&good).unwrap().sha256, good);
        for bad in ["", "x\r\nSet-Cookie: a=b", &good[1..], &good.to_uppercase(), &format!("{good}0")] {
            assert!(manifest(bad).is_err(), "{bad:?}");
        }
    }
}
