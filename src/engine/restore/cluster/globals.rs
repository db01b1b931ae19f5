//! The roles and tablespaces of a dump: those that do not exist yet are created before the databases.

use std::fmt::{self, Write as _};

use super::dump::ClusterDump;
use super::membership::Memberships;
use super::survey::{Subject, Survey};
use crate::engine::restore::error::RestoreError;
use crate::postgres::quote::identifier;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::DatabaseName;
use crate::util::units;

/// Roles and tablespaces that a restore has created: none of them existed before.
#[derive(Debug, Default)]
pub struct CreatedGlobals {
    roles: Vec<String>,
    tablespaces: Vec<String>,
}

impl CreatedGlobals {
    /// Drops them.
    ///
    /// # Errors
    /// When something depends on one of them, or the server cannot be asked.
    pub fn undo(&self, client: &Client) -> Result<(), DatabaseError> {
        let quietly = "SET client_min_messages = warning;\n";
        let roles: Vec<String> = self.roles.iter().map(|name| identifier(name)).collect();
        let roles = roles.join(", ");
        if !roles.is_empty() {
            // Nothing that existed before belongs or is granted to them. This also revokes their privileges on parameters.
            for database in ["template1", "postgres"] {
                let client = DatabaseName::parse(database).map(|name| client.of_database(&name));
                let disowned =
                    client.map(|client| client.clean_up(&format!("{quietly}DROP OWNED BY {roles};"), &[]));
                if let Ok(Err(error)) = disowned {
                    log::debug!("in {database}: {error}");
                }
            }
        }
        let mut statements = quietly.to_owned();
        for name in &self.tablespaces {
            let _ = writeln!(statements, "DROP TABLESPACE IF EXISTS {};", identifier(name));
        }
        if !roles.is_empty() {
            let _ = writeln!(statements, "DROP ROLE IF EXISTS {roles};");
        }
        client.clean_up(&statements, &[]).map(drop)
    }

    /// Whether none were created.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.tablespaces.is_empty()
    }
}

impl fmt::Display for CreatedGlobals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (roles, tablespaces) = (units::list(&self.roles), units::list(&self.tablespaces));
        match (self.roles.is_empty(), self.tablespaces.is_empty()) {
            (_, true) => write!(f, "roles {roles}"),
            (true, false) => write!(f, "tablespaces {tablespaces}"),
            (false, false) => write!(f, "roles {roles}, tablespaces {tablespaces}"),
        }
    }
}

/// Statements that create a tablespace within the server's own data directory (a developer option since PostgreSQL 15).
pub fn in_place_tablespace(name: &str) -> String {
    format!("SET allow_in_place_tablespaces = on;\nCREATE TABLESPACE {} LOCATION '';\n", identifier(name))
}

/// Where the tablespaces of a dump are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablespaceLocation {
    /// In the directory that the dump names.
    OfDump,
    /// Within the server's data directory.
    DataDirectory,
}

/// Creates roles and tablespaces of a dump.
pub struct CreateGlobals<'a> {
    /// The dump.
    pub dump: &'a ClusterDump<'a>,
    /// What it holds.
    pub survey: &'a Survey,
    /// Where its tablespaces are created.
    pub location: TablespaceLocation,
}

impl CreateGlobals<'_> {
    /// Creates the roles, all or none, then the tablespaces. Existing ones are left unchanged. Also after an error
    /// `created` has all that was created.
    ///
    /// # Errors
    /// When the role is no superuser and there is something to create, or the server refuses a statement.
    pub fn run(&self, created: &mut CreatedGlobals) -> Result<(), RestoreError> {
        let globals = self.dump.globals(self.survey)?;
        if !globals.existing_roles.is_empty() {
            let existing = units::list(&globals.existing_roles);
            log::info!("roles that exist already and are not changed: {existing}");
        }
        if !globals.roles.is_empty() {
            self.create_roles(&globals.roles, created)?;
        }
        globals.tablespaces.iter().try_for_each(|name| self.create_tablespace(name, created))
    }

    fn create_roles(&self, new: &[&String], created: &mut CreatedGlobals) -> Result<(), RestoreError> {
        let (mut statements, mut memberships) = (b"BEGIN;\n".to_vec(), Memberships::default());
        for (subject, statement) in &self.survey.globals {
            match subject {
                Subject::Session => statements.extend_from_slice(statement),
                Subject::Role(name) if new.contains(&name) => {
                    statements.extend(memberships.settle(statement));
                }
                Subject::Role(_) | Subject::Tablespace(_) => continue,
            }
            statements.push(b'\n');
        }
        statements.extend_from_slice(b"COMMIT;\n");
        // Noted before the server answers, as the answer may be lost. If it answers with an error, none exists.
        created.roles = new.iter().map(|name| (*name).clone()).collect();
        if let Err(error) = self.dump.client.execute(statements, &[]) {
            if error.to_string().contains("ERROR:") {
                created.roles.clear();
            }
            return Err(error.into());
        }
        log::info!("roles created: {}", units::list(new));
        Ok(())
    }

    fn create_tablespace(&self, name: &str, created: &mut CreatedGlobals) -> Result<(), RestoreError> {
        let (survey, client) = (self.survey, self.dump.client);
        let session = survey.lines(|subject| *subject == Subject::Session);
        let mut statements = survey.statements(|subject| *subject == Subject::Tablespace(name.to_owned()));
        let create = statements.next().unwrap_or_default();
        match self.location {
            TablespaceLocation::DataDirectory => client.execute(in_place_tablespace(name), &[])?,
            TablespaceLocation::OfDump => client.execute([&session, create].concat(), &[])?,
        };
        created.tablespaces.push(name.to_owned());
        let rest = statements.collect::<Vec<_>>().join(&b'\n');
        client.execute([session, rest].concat(), &[])?;
        log::info!("tablespace created: {name}");
        Ok(())
    }
}
