//! Errors of the content of a backup.

use std::io;

use thiserror::Error;

use crate::postgres::Version;
use crate::system::process::{Interrupted, ProgramError};

/// Why the content of a backup cannot be used. The message continues the backup's name.
#[derive(Debug, Error)]
pub enum ContentError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It cannot be decompressed.
    #[error("is damaged: {0}")]
    Damaged(#[source] io::Error),
    /// gpg cannot decrypt it.
    #[error("is damaged, or encrypted with another key than BACKUP_ENCRYPTION_KEY: {0}")]
    Decrypt(#[source] io::Error),
    /// It is encrypted, and there is no passphrase.
    #[error("is encrypted: BACKUP_ENCRYPTION_KEY must be set")]
    NoKey,
    /// It is no dump at all.
    #[error("is not a dump by pg_dump")]
    Foreign,
    /// It is a dump in UTF-16; iconv's name of the encoding.
    #[error("is in UTF-16, as PowerShell's > writes it: convert it with iconv -f {0} -t UTF-8")]
    Utf16(&'static str),
    /// It is an archive that was written as text in UTF-16.
    #[error(
        "is an archive that PowerShell's > converted to UTF-16 text, which destroyed it: dump again with pg_dump \
         --file"
    )]
    GarbledArchive,
    /// It is cut off.
    #[error("is cut off: the end of the dump is missing")]
    Truncated,
    /// Its checksum is not the one in its manifest.
    #[error("is damaged: its checksum does not match its manifest")]
    Checksum,
    /// pg_restore cannot read it.
    #[error("is damaged: {0}")]
    Archive(#[source] ProgramError),
    /// It is by a newer pg_dump than this machine's pg_restore.
    #[error(
        "is by pg_dump {dump}, and pg_restore {tool} is older: use an image for PostgreSQL {} or newer",
        .dump.major
    )]
    Newer {
        /// pg_dump's version.
        dump: Version,
        /// pg_restore's version.
        tool: Version,
    },
    /// A program that is needed failed, or a stop signal came.
    #[error("cannot be checked: {0}")]
    Program(#[from] ProgramError),
}

impl From<Interrupted> for ContentError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Program(ProgramError::Interrupted(interrupted))
    }
}

impl ContentError {
    /// Whether the backup itself is damaged, as opposed to a missing key, program or permission.
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            Self::Read(_) | Self::Decrypt(_) | Self::NoKey | Self::Newer { .. } | Self::Program(_)
        )
    }

    /// The stop signal, if that is the cause.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Program(ProgramError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }
}
