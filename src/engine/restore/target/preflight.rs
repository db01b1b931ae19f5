//! Checks before the load: the privileges of the role, and the disk space of the server.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use serde::Deserialize;

use super::rename::MAY_END;
use crate::engine::restore::error::RestoreError;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::{DatabaseName, Properties};
use crate::util::units;

/// What the restoring role may do, and where the server's files are.
#[derive(Debug, Deserialize)]
pub struct RoleCapabilities {
    role: String,
    is_superuser: bool,
    makes_databases: bool,
    /// Whether the server is a standby.
    is_standby: bool,
    /// The owner of the target, if it exists.
    owner: Option<Owner>,
    /// The prepared transactions in the target.
    prepared: Vec<String>,
    /// The sessions in the target that the role may not end.
    sessions: Vec<String>,
    /// `None` if the role may not see it.
    data_directory: Option<PathBuf>,
    system_identifier: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    name: String,
    /// Whether the role has the owner's privileges, which renaming and dropping require.
    is_had: bool,
    /// Whether the role may make that one an owner.
    may_be_given: bool,
}

/// The query for it, about the target `:'database'`. The SET privilege on roles exists since PostgreSQL 16; before,
/// membership sufficed.
pub fn question() -> String {
    format!(
        "SELECT json_build_object(
            'role', me.rolname, 'is_superuser', me.rolsuper, 'makes_databases', me.rolcreatedb,
            'is_standby', pg_is_in_recovery(),
            'owner', (SELECT json_build_object(
                    'name', pg_get_userbyid(datdba), 'is_had', pg_has_role(datdba, 'USAGE'),
                    'may_be_given', CASE WHEN current_setting('server_version_num')::int < 160000
                        THEN pg_has_role(datdba, 'MEMBER') ELSE pg_has_role(datdba, 'SET') END)
                FROM pg_database WHERE datname = :'database'),
            'prepared', (SELECT coalesce(json_agg(gid ORDER BY gid), '[]') FROM pg_prepared_xacts
                WHERE database = :'database'),
            'sessions', (SELECT coalesce(json_agg(r.rolname || ', process ' || a.pid ORDER BY a.pid), '[]')
                FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
                WHERE a.datname = :'database' AND NOT {MAY_END}),
            'data_directory', CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                THEN current_setting('data_directory') END,
            'system_identifier', CASE WHEN has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
                THEN (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) END)
        FROM pg_roles me WHERE me.rolname = current_user;"
    )
}

impl RoleCapabilities {
    /// Queries the server.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn of(client: &Client, target: &DatabaseName) -> Result<Self, DatabaseError> {
        client.ask(&question(), &[("database", target.as_str())])
    }

    /// Checks that the server is no standby.
    ///
    /// # Errors
    /// When it is one.
    pub fn check_primary(&self, server: String) -> Result<(), RestoreError> {
        if self.is_standby { Err(RestoreError::Standby(server)) } else { Ok(()) }
    }

    /// Checks that the role may create a database and replace the target.
    ///
    /// # Errors
    /// When it may not; the error says what is missing.
    pub fn check_database(&self, target: &DatabaseName) -> Result<(), RestoreError> {
        let role = &self.role;
        let missing = match &self.owner {
            _ if self.is_superuser => return Ok(()),
            _ if !self.makes_databases => {
                format!(
                    "role {role} cannot create databases, as a restore must: run ALTER ROLE {role} CREATEDB"
                )
            }
            Some(owner) if !owner.is_had => {
                format!("role {role} cannot replace database {target}: it belongs to {}", owner.name)
            }
            Some(owner) if !owner.may_be_given => {
                format!("role {role} cannot create a database owned by {}, the owner of {target}", owner.name)
            }
            _ => return Ok(()),
        };
        Err(RestoreError::Missing(missing))
    }

    /// Checks that the target has no prepared transactions. They count as sessions, and cannot be ended.
    ///
    /// # Errors
    /// When it has.
    pub fn check_prepared(&self, target: &DatabaseName) -> Result<(), RestoreError> {
        if self.prepared.is_empty() {
            Ok(())
        } else {
            Err(RestoreError::Prepared(target.clone(), units::list(&self.prepared)))
        }
    }

    /// Checks that the role may end every current session of the target.
    ///
    /// # Errors
    /// When there is a session that it may not end.
    pub fn check_sessions(&self, target: &DatabaseName) -> Result<(), RestoreError> {
        if self.sessions.is_empty() {
            Ok(())
        } else {
            let sessions = self.sessions.join("; ");
            Err(RestoreError::Sessions(self.role.clone(), target.clone(), sessions))
        }
    }

    /// Whether the role is a superuser. Creating the roles of a dump requires one, as pg_dumpall writes the SUPERUSER
    /// attribute of each.
    pub fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    /// Checks the disk space for a database of `needed` bytes, if the server is on this machine.
    ///
    /// # Errors
    /// When there is too little.
    pub fn check_space(&self, needed: u64, existing: Option<&Properties>) -> Result<(), RestoreError> {
        let elsewhere = existing.is_some_and(|properties| !properties.is_in_default_tablespace());
        let Some(directory) = self.local_directory().filter(|_| !elsewhere) else { return Ok(()) };
        // The directory of the databases, which may be on another disk than the rest.
        let Ok(status) = statvfs(&directory.join("base")) else { return Ok(()) };
        let free = status.blocks_available() * status.fragment_size();
        if free < needed { Err(RestoreError::NoSpace { free, needed }) } else { Ok(()) }
    }

    /// The server's data directory, if it is on this machine: its pg_control has the server's system identifier (the
    /// first field of `ControlFileData` in PostgreSQL's pg_control.h).
    fn local_directory(&self) -> Option<&Path> {
        let (directory, identifier) = (self.data_directory.as_deref()?, self.system_identifier.as_deref()?);
        let mut number = [0; 8];
        File::open(directory.join("global/pg_control")).ok()?.read_exact(&mut number).ok()?;
        (u64::from_ne_bytes(number).to_string() == identifier).then_some(directory)
    }
}
