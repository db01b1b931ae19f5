//! Why a backup is not proven.

use std::fmt;
use std::io;

use super::server::ServerError;
use crate::engine::restore::RestoreError;
use crate::postgres::DatabaseError;
use crate::store::catalog::DatabaseName;
use crate::system::process::{Interrupted, ProgramError};

/// Why a backup is not proven.
#[derive(Debug)]
pub enum ProofError {
    /// There is no server to restore it into.
    Server(ServerError),
    /// It cannot be restored here.
    Restore(RestoreError),
    /// What is in it cannot be restored, here or elsewhere.
    Broken(RestoreError),
    /// It is of an older major version than the server, whose version comes first, and does not fit that.
    OtherMajor(u32, RestoreError),
    /// The server ended while it was restored; what failed then.
    Lost(RestoreError),
    /// pg_amcheck has found something in the restored database.
    Damaged(DatabaseName, String),
    /// pg_amcheck could not look at the restored database.
    Unchecked(String),
    /// What pg_amcheck finds cannot be written down.
    Report(io::Error),
    /// What was restored cannot be counted.
    Count(DatabaseError),
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::Broken(error) => write!(f, "cannot be restored: {error}"),
            Self::OtherMajor(major, error) => write!(f, "cannot be proven by PostgreSQL {major}: {error}"),
            Self::Restore(error) => write!(f, "cannot be proven here: {error}"),
            Self::Lost(error) => write!(f, "cannot be proven, as the server for it has ended: {error}"),
            Self::Damaged(database, found) => {
                write!(f, "can be restored, but pg_amcheck finds fault with database {database}: {found}")
            }
            Self::Unchecked(error) => write!(f, "can be restored, but cannot be looked at: {error}"),
            Self::Report(error) => write!(f, "cannot be proven: {error}"),
            Self::Count(error) => write!(f, "cannot be counted: {error}"),
        }
    }
}

impl std::error::Error for ProofError {}

impl From<ServerError> for ProofError {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

impl From<DatabaseError> for ProofError {
    fn from(error: DatabaseError) -> Self {
        Self::Count(error)
    }
}

impl From<ProgramError> for ProofError {
    fn from(error: ProgramError) -> Self {
        Self::Count(error.into())
    }
}

impl ProofError {
    /// Whether the backup itself is at fault, and not what it was tried with.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::Broken(_))
    }

    /// The stop signal behind the error, if that is what ended the proof.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Restore(error) | Self::Broken(error) | Self::OtherMajor(_, error) | Self::Lost(error) => {
                error.interrupted()
            }
            Self::Server(ServerError::Program(ProgramError::Interrupted(interrupted)))
            | Self::Count(DatabaseError::Program(ProgramError::Interrupted(interrupted))) => {
                Some(*interrupted)
            }
            _ => None,
        }
    }
}
