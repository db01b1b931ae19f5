//! What must hold before the first dump: a server that answers, a client new enough for it, room on disk.

use nix::sys::statvfs::statvfs;

use super::BackupError;
use crate::catalog::{BackupDirectory, DatabaseName};
use crate::postgres::{Client, DatabaseError, Server, Version};
use crate::process::{ProgramError, Runner};
use crate::settings::{Databases, Storage};

/// The versions on both sides.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The server's.
    pub server: Version,
    /// pg_dump's.
    pub tool: Version,
}

/// Free and total bytes of the filesystem of the backup directory, as an unprivileged user sees them.
///
/// # Errors
/// When the filesystem cannot be asked.
pub fn disk_space(directory: &BackupDirectory) -> nix::Result<(u64, u64)> {
    let status = statvfs(directory.root())?;
    let unit = status.fragment_size();
    Ok((status.blocks_available() * unit, status.blocks() * unit))
}

/// Sees that there is room for a dump.
///
/// # Errors
/// When there is less than the settings ask for.
pub fn check_space(directory: &BackupDirectory, storage: &Storage) -> Result<(), BackupError> {
    let (free, _) = disk_space(directory).map_err(BackupError::Disk)?;
    match free < storage.minimum_free {
        true => Err(BackupError::NoSpace { free, needed: storage.minimum_free }),
        false => Ok(()),
    }
}

/// Waits for the server and compares its version with pg_dump's. Answers a client of the maintenance
/// database or, where the role may not use that, of `other`.
///
/// # Errors
/// When it does not answer in time, or pg_dump is missing or older than it.
pub fn check_server(
    server: &Server,
    other: Option<&DatabaseName>,
    runner: &Runner,
) -> Result<(Client, Versions), BackupError> {
    let client_of = |database: &DatabaseName| Client::new(server.clone(), database.clone(), runner.clone());
    let mut client = client_of(&DatabaseName::maintenance());
    client.wait_until_ready()?;
    let mut server_version = client.server_version();
    if let (Err(DatabaseError::Program(ProgramError::Failed(..))), Some(other)) = (&server_version, other) {
        let second = client_of(other);
        if let Ok(version) = second.server_version() {
            (client, server_version) = (second, Ok(version));
        }
    }
    let versions = Versions { server: server_version?, tool: client.program_version("pg_dump")? };
    match versions.tool.major < versions.server.major {
        true => Err(BackupError::ClientTooOld(versions)),
        false => Ok((client, versions)),
    }
}

/// The databases to dump: the settings', or what the server has; `only` narrows them down.
///
/// # Errors
/// When there are none, or `only` names one that is not among them.
pub fn choose_databases(
    client: &Client,
    databases: &Databases,
    only: &[DatabaseName],
) -> Result<Vec<DatabaseName>, BackupError> {
    let configured = match databases {
        Databases::Named(names) => names.clone(),
        Databases::Discovered { except } => discover(client, except)?,
    };
    if let Some(stranger) = only.iter().find(|name| !configured.contains(name)) {
        return Err(BackupError::NotConfigured(stranger.clone()));
    }
    let chosen: Vec<_> = if only.is_empty() { configured } else { only.to_vec() };
    match chosen.is_empty() {
        true => Err(BackupError::NoDatabases),
        false => Ok(chosen),
    }
}

fn discover(client: &Client, except: &[DatabaseName]) -> Result<Vec<DatabaseName>, BackupError> {
    // What a restore is loading, or has just replaced, is nobody's database.
    let sql = r"SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
        WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' AND datname NOT LIKE '\_backupgram\_%'";
    let names: Vec<DatabaseName> = client.ask(sql, &[])?;
    Ok(names.into_iter().filter(|name| !except.contains(name)).collect())
}
