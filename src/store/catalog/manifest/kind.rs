//! Formats and scopes of backups.

use serde::{Deserialize, Serialize};

/// The format of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SQL text.
    Plain,
    /// SQL text compressed with gzip.
    Gzip,
    /// SQL text compressed with zstd.
    Zstd,
    /// An archive in pg_dump's custom format.
    Custom,
    /// An archive in pg_dump's tar format, compressed or not.
    Tar,
    /// A directory in pg_dump's directory format.
    Directory,
}

/// What a backup contains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One database.
    #[default]
    Database,
    /// All databases, roles and tablespaces of a server.
    Cluster,
    /// The roles and tablespaces of a server.
    Globals,
}

impl Scope {
    /// Word that stands in place of a database name, for backups of more than one database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cluster => "cluster",
            Self::Globals => "globals",
        }
    }

    /// Text for messages.
    pub fn described(self) -> &'static str {
        match self {
            Self::Database => "a database",
            Self::Cluster => "a whole server",
            Self::Globals => "the roles of a server",
        }
    }
}
