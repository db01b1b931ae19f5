//! The hidden file beside a backup that says what it is.

use serde::{Deserialize, Serialize};

use super::name::DatabaseName;

/// How a backup is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SQL text.
    Plain,
    /// SQL text, compressed by gzip.
    Gzip,
}

/// Facts about one backup, written when it was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The file's length in bytes.
    pub size: u64,
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
}
