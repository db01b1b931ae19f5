//! How a backup is stored, and what it is of.

use serde::{Deserialize, Serialize};

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
