//! Why a backup is not proven.

use std::io;

use thiserror::Error;

use super::server::ServerError;
use crate::engine::restore::RestoreError;
use crate::postgres::DatabaseError;
use crate::store::catalog::DatabaseName;
use crate::system::process::{Interrupted, ProgramError};

/// Why a backup is not proven.
#[derive(Debug, Error)]
pub enum ProofError {
    /// There is no server to restore it into.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It cannot be restored here.
    #[error("cannot be proven here: {0}")]
    Restore(#[source] RestoreError),
    /// What is in it cannot be restored, here or elsewhere.
    #[error("cannot be restored: {0}")]
    Broken(#[source] RestoreError),
    /// It is of an older major version than the server, whose version comes first, and does not fit that.
    #[error("cannot be proven by PostgreSQL {0}: {1}")]
    OtherMajor(u32, #[source] RestoreError),
    /// The server ended while it was restored; what failed then.
    #[error("cannot be proven, as the server for it has ended: {0}")]
    Lost(#[source] RestoreError),
    /// pg_amcheck has found something in the restored database.
    #[error("can be restored, but pg_amcheck finds fault with database {0}: {1}")]
    Damaged(DatabaseName, String),
    /// pg_amcheck could not look at the restored database.
    #[error("can be restored, but cannot be looked at: {0}")]
    Unchecked(String),
    /// What pg_amcheck finds cannot be written down.
    #[error("cannot be proven: {0}")]
    Report(#[source] io::Error),
    /// What was restored cannot be counted.
    #[error("cannot be counted: {0}")]
    Count(#[from] DatabaseError),
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
