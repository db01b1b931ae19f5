//! Proves a backup by restoring it: into a PostgreSQL server that is made for it and thrown away.

mod census;
mod ledger;
mod server;

use std::fmt;
use std::io;
use std::time::Instant;

use crate::catalog::{BackupDirectory, BackupName, Counts, DatabaseName, Proof, Slot};
use crate::content::Keys;
use crate::postgres::DatabaseError;
use crate::process::{Interrupted, ProgramError};
use crate::restore::{RestoreError, Source, Trial};
use crate::units;
use server::{PrivateServer, ServerError};

pub use ledger::{LastProof, Ledger, note, read};

/// Why a backup is not proven.
#[derive(Debug)]
pub enum ProofError {
    /// There is no server to restore it into.
    Server(ServerError),
    /// It cannot be restored.
    Restore(RestoreError),
    /// The server ended while it was restored; what failed then.
    Lost(RestoreError),
    /// pg_amcheck has found something in the restored database.
    Damaged(DatabaseName, String),
    /// What pg_amcheck finds cannot be written down.
    Report(io::Error),
    /// What was restored cannot be counted.
    Count(DatabaseError),
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::Restore(error) => write!(f, "cannot be restored: {error}"),
            Self::Lost(error) => write!(f, "cannot be proven, as the server for it has ended: {error}"),
            Self::Damaged(database, found) => {
                write!(f, "can be restored, but pg_amcheck finds fault with database {database}: {found}")
            }
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
        match self {
            Self::Damaged(..) => true,
            Self::Restore(RestoreError::Content(_, error)) => error.is_damage(),
            // The disk of the proof is not the backup's.
            Self::Restore(error @ RestoreError::Program(ProgramError::Failed(..))) => {
                !error.to_string().contains("No space left on device")
            }
            Self::Restore(RestoreError::Refused(..) | RestoreError::Connects(_)) => true,
            _ => false,
        }
    }

    /// The stop signal behind the error, if that is what ended the proof.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Restore(error) | Self::Lost(error) => error.interrupted(),
            Self::Server(ServerError::Program(ProgramError::Interrupted(interrupted)))
            | Self::Count(DatabaseError::Program(ProgramError::Interrupted(interrupted))) => {
                Some(*interrupted)
            }
            _ => None,
        }
    }
}

/// Restores a backup into a server of its own beneath `.partial`, looks at what came out, and does away with it. Only
/// the holder of the directory's lock may call this.
///
/// # Errors
/// When it is not whole, cannot be restored, there is no server, or a stop signal comes.
pub fn prove(
    directory: &BackupDirectory,
    slot: Slot,
    name: &BackupName,
    keys: &Keys,
) -> Result<Proof, ProofError> {
    let begun = Instant::now();
    let source = Source::open_published(directory, slot, name).map_err(ProofError::Restore)?;
    let backup = source.check(keys).map_err(ProofError::Restore)?;
    let server = PrivateServer::start(&directory.partial(), &keys.runner)?;
    let client = server.client(&DatabaseName::maintenance());
    let trial = Trial { backup: &backup, client: &client, keys, workplace: directory.partial() };
    let databases = trial.restore().map_err(|error| match server.is_running() {
        true => ProofError::Restore(error),
        false => ProofError::Lost(error),
    })?;
    let mut counts = Counts::default();
    for database in &databases {
        counts += census::count(&server.client(database))?;
    }
    census::check_files(&server, &databases, &keys.runner)?;
    let proof = Proof { duration_seconds: begun.elapsed().as_secs_f64(), counts };
    log::info!(
        "{slot}/{name}: restored in {:.1} s, {} on the disk: {} tables, {} rows, {} indexes, {} large objects",
        proof.duration_seconds,
        units::bytes(server.size()),
        counts.tables,
        counts.rows,
        counts.indexes,
        counts.large_objects
    );
    Ok(proof)
}
