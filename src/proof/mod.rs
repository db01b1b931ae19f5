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
            Self::Restore(error) if self.is_damage() => write!(f, "cannot be restored: {error}"),
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
        match self {
            Self::Damaged(..) => true,
            Self::Restore(RestoreError::Content(_, error)) => error.is_damage(),
            Self::Restore(RestoreError::Program(ProgramError::Failed(_, _, said))) => speaks_of_data(said),
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

/// Whether psql's last error is one about what it was given, by its SQLSTATE: wrong data, a broken constraint, wrong
/// syntax, or what the backup's own functions raise. Everything else, such as an extension, a library or a locale that is
/// not here, or a server without memory, says nothing about the backup (PostgreSQL's documentation, appendix A).
fn speaks_of_data(said: &str) -> bool {
    let states = said.split("ERROR:").skip(1).filter_map(|rest| rest.trim_start().get(..5));
    states.last().is_some_and(|state| match state {
        // A parameter has a value that this server does not know.
        "22023" => false,
        state => matches!(state.get(..2), Some("22" | "23" | "P0")) || state == "42601",
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_for_the_proof_lacks_is_told_from_what_is_wrong_with_the_backup() {
        for wrong in [
            "psql:<stdin>:5: ERROR:  23505: duplicate key value violates unique constraint | DETAIL:  Key (id)=(1)",
            "psql:<stdin>:5: ERROR:  22P02: invalid input syntax for type integer: \"x\" | LOCATION:  pg_strtoint32",
            "psql:<stdin>:5: ERROR:  42601: syntax error at or near \"x\"",
        ] {
            assert!(speaks_of_data(wrong), "{wrong}");
        }
        for lacking in [
            "psql:<stdin>:5: ERROR:  0A000: extension \"postgis\" is not available | DETAIL:  Could not open",
            "psql:<stdin>:5: ERROR:  53100: could not extend file: No space left on device",
            "psql:<stdin>:5: ERROR:  22023: invalid value for parameter",
            "psql:<stdin>:5: ERROR:  42704: role \"x\" does not exist",
            "psql:<stdin>:5: ERROR:  é",
            "",
        ] {
            assert!(!speaks_of_data(lacking), "{lacking}");
        }
    }
}
