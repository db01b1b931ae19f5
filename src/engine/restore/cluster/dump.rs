//! A dump of a whole server before anything is loaded: what it holds, and whether the server can take it.

use super::survey::Survey;
use crate::engine::content::DecryptionContext;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::Checked;
use crate::formats::sql::Edited;
use crate::postgres::Client;
use crate::store::catalog::DatabaseName;
use crate::util::units;

/// A dump of a whole server, or of its roles, and the server that it is for.
pub struct ClusterDump<'a> {
    /// The backup.
    pub backup: &'a Checked,
    /// A client of the server's maintenance database.
    pub client: &'a Client,
    /// Opens encrypted backups.
    pub decryption: &'a DecryptionContext,
    /// Whether the client's role is a superuser.
    pub is_superuser: bool,
}

/// The roles and tablespaces of a dump, compared with the server.
pub struct Globals<'s> {
    /// Roles that exist already.
    pub existing_roles: Vec<&'s String>,
    /// Roles to create.
    pub roles: Vec<&'s String>,
    /// Tablespaces to create.
    pub tablespaces: Vec<&'s String>,
}

impl ClusterDump<'_> {
    /// Reads what the dump would create.
    ///
    /// # Errors
    /// When it cannot be read, or is not of the form that pg_dumpall gives it.
    pub fn survey(&self) -> Result<Survey, RestoreError> {
        let mut surveyed = None;
        self.backup.load(self.decryption, |sql| {
            let survey = Edited::new(sql, Survey::default()).survey();
            surveyed =
                Some(survey.map_err(|error| RestoreError::Read(error).of_backup(self.backup.label()))?);
            Ok::<_, RestoreError>(())
        })?;
        surveyed.ok_or_else(|| RestoreError::Foreign(self.backup.label().to_owned()))
    }

    /// Logs what loading the dump would create.
    ///
    /// # Errors
    /// When it would fail: a database exists already, a role does not, only a superuser may do it, or the dump cannot be
    /// read.
    pub fn announce(&self) -> Result<(), RestoreError> {
        let survey = self.survey()?;
        self.refuse_existing(&survey.databases)?;
        let Globals { roles, tablespaces, .. } = self.globals(&survey)?;
        survey.referenced_roles.check(self.backup, &survey.roles, self.client)?;
        for (what, names) in [
            ("databases", units::list(&survey.databases)),
            ("roles", units::list(roles)),
            ("tablespaces", units::list(tablespaces)),
        ] {
            if !names.is_empty() {
                log::info!("would create {what}: {names}");
            }
        }
        Ok(())
    }

    /// Checks that none of the databases exists.
    ///
    /// # Errors
    /// When one does, or the server cannot be asked.
    pub fn refuse_existing(&self, databases: &[DatabaseName]) -> Result<(), RestoreError> {
        let there: Vec<DatabaseName> =
            self.client.ask("SELECT json_agg(datname ORDER BY datname) FROM pg_database", &[])?;
        let existing: Vec<&DatabaseName> = there.iter().filter(|name| databases.contains(name)).collect();
        if existing.is_empty() {
            Ok(())
        } else {
            Err(RestoreError::Exists(self.backup.label().to_owned(), units::list(existing)))
        }
    }

    /// Compares the roles and tablespaces of the dump with those of the server.
    ///
    /// # Errors
    /// When the role is no superuser and there is something to create, or the server cannot be asked.
    pub fn globals<'s>(&self, survey: &'s Survey) -> Result<Globals<'s>, RestoreError> {
        let ask = |sql: &str| self.client.ask::<Vec<String>>(sql, &[]);
        let known = ask("SELECT json_agg(rolname) FROM pg_roles")?;
        let (existing_roles, roles): (Vec<_>, Vec<_>) =
            survey.roles.iter().partition(|name| known.contains(name));
        let known = ask("SELECT json_agg(spcname) FROM pg_tablespace")?;
        let tablespaces: Vec<_> = survey.tablespaces.iter().filter(|name| !known.contains(name)).collect();
        for (what, names) in [("roles", &roles), ("tablespaces", &tablespaces)] {
            if !names.is_empty() && !self.is_superuser {
                let (label, names) = (self.backup.label(), units::list(names));
                let missing = format!("only a superuser can create the {what} of {label}: {names}");
                return Err(RestoreError::Missing(missing));
            }
        }
        Ok(Globals { existing_roles, roles, tablespaces })
    }
}
