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
    /// The temporary server could not be started.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It cannot be restored on this machine; the backup may be in order.
    #[error("cannot be proven here: {0}")]
    Restore(#[source] RestoreError),
    /// It cannot be restored anywhere.
    #[error("cannot be restored: {0}")]
    Broken(#[source] RestoreError),
    /// It is of an older major version than the temporary server, whose version comes first, and cannot be loaded into
    /// that.
    #[error("cannot be proven by PostgreSQL {0}: {1}")]
    OtherMajor(u32, #[source] RestoreError),
    /// The temporary server ended during the restore.
    #[error("cannot be proven, as the server of the proof ended: {0}")]
    Lost(#[source] RestoreError),
    /// pg_amcheck found corruption in the restored database.
    #[error("can be restored, but pg_amcheck reports errors in database {0}: {1}")]
    Damaged(DatabaseName, String),
    /// pg_amcheck could not check the restored database.
    #[error("can be restored, but pg_amcheck cannot check it: {0}")]
    Unchecked(String),
    /// The file for pg_amcheck's output cannot be used.
    #[error("cannot be proven: {0}")]
    Report(#[source] io::Error),
    /// The restored rows and objects cannot be counted.
    #[error("cannot be proven, as its contents cannot be counted: {0}")]
    Count(#[from] DatabaseError),
}

impl From<ProgramError> for ProofError {
    fn from(error: ProgramError) -> Self {
        Self::Count(error.into())
    }
}

impl ProofError {
    /// Whether the backup itself is damaged, as opposed to a problem of the machine.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::Broken(_))
    }

    /// The stop signal, if that is the cause.
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
