//! What can be wrong with the content of a backup.

use std::fmt;
use std::io;

use crate::postgres::Version;
use crate::system::process::{Interrupted, ProgramError};

/// What is wrong with a backup's content; the message goes on where the backup's name stands.
#[derive(Debug)]
pub enum ContentError {
    /// It cannot be read.
    Read(io::Error),
    /// It has no bytes.
    Empty,
    /// It cannot be decompressed.
    Damaged(io::Error),
    /// gpg cannot decrypt it.
    Decrypt(io::Error),
    /// It is encrypted, and there is no passphrase.
    NoKey,
    /// It is no dump at all.
    Foreign,
    /// It is a dump in UTF-16, which this name of iconv's says more of.
    Utf16(&'static str),
    /// It is an archive that was written as text in UTF-16.
    GarbledArchive,
    /// It has no end.
    Truncated,
    /// It is another file than the one that its manifest speaks of.
    Checksum,
    /// pg_restore cannot read it.
    Archive(ProgramError),
    /// It is by a newer pg_dump than the pg_restore that is here.
    Newer {
        /// pg_dump's version.
        dump: Version,
        /// pg_restore's version.
        tool: Version,
    },
    /// A program that is needed failed, or a stop signal came.
    Program(ProgramError),
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => f.write_str("is empty"),
            Self::Damaged(error) => write!(f, "is damaged: {error}"),
            Self::Decrypt(error) => {
                write!(f, "is damaged, or encrypted with another key than BACKUP_ENCRYPTION_KEY: {error}")
            }
            Self::NoKey => f.write_str("is encrypted: BACKUP_ENCRYPTION_KEY must be set"),
            Self::Foreign => f.write_str("is not a dump by pg_dump"),
            Self::Utf16(encoding) => write!(
                f,
                "is in UTF-16, as PowerShell's > writes it: convert it with iconv -f {encoding} -t UTF-8"
            ),
            Self::GarbledArchive => f.write_str(
                "is an archive that PowerShell's > has written as UTF-16 text, and is lost: dump with pg_dump --file",
            ),
            Self::Truncated => f.write_str("is cut off: the dump in it has no end"),
            Self::Checksum => f.write_str("is damaged: its checksum is not the one in its manifest"),
            Self::Archive(error) => write!(f, "is damaged: {error}"),
            Self::Newer { dump, tool } => write!(
                f,
                "is by pg_dump {dump}, and pg_restore {tool} is older: use an image for PostgreSQL {} or newer",
                dump.major
            ),
            Self::Program(error) => write!(f, "cannot be checked: {error}"),
        }
    }
}

impl std::error::Error for ContentError {}

impl From<Interrupted> for ContentError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Program(ProgramError::Interrupted(interrupted))
    }
}

impl ContentError {
    /// Whether the backup itself is at fault, and not what it was read with.
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            Self::Read(_) | Self::Decrypt(_) | Self::NoKey | Self::Newer { .. } | Self::Program(_)
        )
    }

    /// The stop signal behind the error, if that is what ended the reading.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Program(ProgramError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }
}
