//! The manifest: a hidden JSON file beside a backup that describes it.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod described;
mod kind;
mod properties;

use super::name::DatabaseName;

pub use described::{Appearance, Described};
pub use kind::{Format, Scope};
pub use properties::{
    Grant, Label, Locale, Properties, Provider, Recorded, SealedSettings, Setting, Settings,
};

/// How a backup was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Read completely: checksum, compression and encryption layers, and the dump itself.
    Checksum,
    /// Restored into a scratch server.
    Restore,
}

/// Contents of a restored backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Number of tables; partitioned tables and partitions are counted separately.
    pub tables: u64,
    /// Number of rows in all tables.
    pub rows: u64,
    /// Number of indexes.
    pub indexes: u64,
    /// Number of large objects.
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

/// Result of a successful restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Total duration in seconds.
    pub duration_seconds: f64,
    /// What was restored.
    #[serde(flatten)]
    pub counts: Counts,
}

/// When and how a backup was verified, and the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// The method.
    pub by: Method,
    /// Time in Unix seconds.
    pub at: i64,
    /// What is wrong with it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Result of a successful restore.
    #[serde(flatten)]
    pub proof: Option<Proof>,
}

impl Verification {
    /// Result of reading a backup.
    pub fn by_checksum(at: i64, error: Option<String>) -> Self {
        Self { by: Method::Checksum, at, error, proof: None }
    }

    /// Result of restoring a backup.
    pub fn by_restore(at: i64, proof: Result<Proof, String>) -> Self {
        let (proof, error) = proof.map_or_else(|error| (None, Some(error)), |proof| (Some(proof), None));
        Self { by: Method::Restore, at, error, proof }
    }
}

/// Properties of a database on the server when it was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its size in bytes on the server; unknown if our role may not connect to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its character encoding.
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

/// Facts about a dump known only to the run that made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    /// The server's version.
    pub server_version: String,
    /// The version of the dump program.
    pub tool_version: String,
    /// When the dump began, in Unix seconds.
    pub created_at: i64,
    /// Duration in seconds.
    pub duration_seconds: f64,
    /// What was dumped.
    #[serde(default)]
    pub scope: Scope,
}

/// Facts about a backup, written when it is published, or when a backup without a manifest is verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// SHA-256 of the file in lower-case hexadecimal; for a directory that of the output of `LC_ALL=C sha256sum *` in
    /// it.
    #[serde(deserialize_with = "checksum")]
    pub sha256: String,
    /// Size in bytes; for a directory the sum of its files.
    pub size: u64,
    /// Bytes written by pg_dump, before our compression and encryption. Absent in manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dumped: Option<u64>,
    /// Modification time of the file in nanoseconds since 1970; for a directory the latest of its files. Recorded per
    /// slot, because a copy on another device may differ. Absent in manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// The database that was dumped.
    pub database: DatabaseName,
    /// Its format. Unknown for a damaged file found without a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Facts about the dump. Unknown for a file found without a manifest, which another tool wrote.
    #[serde(flatten)]
    pub dump: Option<Dump>,
    /// Size, encoding and locale of its database on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The properties of its database. Omitted in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Box<Recorded>>,
    /// What its SQL requires of a server, as recorded by a restore. Omitted in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Box<Value>>,
    /// The last verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verification>,
    /// The last successful restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Verification>,
}

impl Manifest {
    /// The verification that counts: the last one if it failed, else the last successful restore, else the last one.
    pub fn verification(&self) -> Option<&Verification> {
        let broken = self.verified.as_ref().filter(|verification| verification.error.is_some());
        broken.or(self.proven.as_ref()).or(self.verified.as_ref())
    }

    /// The bytes written by pg_dump, if they would be the same for `format`: SQL text is compressed afterwards.
    pub fn dumped_as(&self, format: Format) -> Option<u64> {
        let is_text = |format| matches!(format, Format::Plain | Format::Gzip | Format::Zstd);
        let own = self.format?;
        let is_like_it = own == format || (is_text(own) && is_text(format));
        self.dumped.filter(|_| is_like_it)
    }

    /// The checksum, if the backup was verified without error and dumped by this tool version.
    pub fn checksum_of_whole(&self, tool_version: &str) -> Option<&str> {
        let is_whole = self.verification().is_some_and(|verification| verification.error.is_none());
        let is_by_these = self.dump.as_ref().is_some_and(|dump| dump.tool_version == tool_version);
        (is_whole && is_by_these).then_some(&self.sha256)
    }

    /// Total length of its variable-length text in bytes, without the properties.
    pub(super) fn length(&self) -> usize {
        let origin = self.origin.as_ref();
        let origin = origin.map_or(0, |it| it.encoding.len() + it.collate.len() + it.ctype.len());
        let verifications = [&self.verified, &self.proven].into_iter().flatten();
        let errors = verifications.filter_map(|verification| verification.error.as_ref()).map(String::len);
        let versions = self.dump.as_ref().map_or(0, |it| it.server_version.len() + it.tool_version.len());
        self.database.as_str().len() + versions + origin + errors.sum::<usize>()
    }

    /// Records a verification.
    pub fn note(&mut self, verification: Verification) {
        match (verification.by, &verification.error) {
            (_, Some(_)) => self.proven = None,
            (Method::Restore, None) => self.proven = Some(verification.clone()),
            (Method::Checksum, None) => {}
        }
        self.verified = Some(verification);
    }
}

/// Checked because others may write to the manifest, and the checksum is sent as a response header.
fn checksum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match digits && text.len() == 64 {
        true => Ok(text),
        false => Err(D::Error::custom("sha256 must be 64 hexadecimal digits")),
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
