//! Compares what a restore of one database requires with what the server has and the role may do, before the load.

use std::collections::BTreeMap;

use serde_json::json;

use super::making::{Making, MakingNeeds};
use super::requirements_query::{Answer, query};
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::{Checked, Tied};
use crate::postgres::quote::literal;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::{DatabaseName, Properties, Provider};
use crate::system::process::ProgramError;
use crate::util::units;

/// A restore to check.
pub struct Requirements<'a> {
    /// The backup.
    pub backup: &'a Checked,
    /// The properties of the new database.
    pub making: &'a Making,
    /// The database to replace or create.
    pub target: &'a DatabaseName,
    /// A client of the server.
    pub client: &'a Client,
    /// Whether the role is a superuser.
    pub is_superuser: bool,
    /// Whether the load goes on after errors. Missing requirements of the contents are only logged then.
    pub keep_going: bool,
}

impl Requirements<'_> {
    /// Checks that the server has what the dump and the new database need, and that the role may create it.
    ///
    /// # Errors
    /// When something is missing, which the error names, or the server cannot be asked.
    pub fn check(&self) -> Result<(), RestoreError> {
        let needs = self.backup.needs();
        if let Some(why) = &needs.unknown {
            log::info!("cannot check beforehand all that {} needs: {why}", self.backup.label());
        }
        if let Some(tied) = Tied::of(needs) {
            self.of_contents(tied.check(self.client, self.target))?;
        }
        let answer = self.ask()?;
        self.of_contents(self.check_contents(&answer))?;
        self.check_making(&answer)?;
        self.of_contents(self.check_collations())?;
        let is_sure = self.making.is_of_target() || answer.has_locale;
        if let Some(properties) = self.making.encoding().filter(|_| !is_sure) {
            self.check_locale(properties)?;
        }
        self.check_settings()
    }

    /// Tries the settings of the new database in a transaction that is rolled back.
    fn check_settings(&self) -> Result<(), RestoreError> {
        let settings = self.making.settings_of_current_role();
        if self.making.is_of_target() || settings.is_empty() {
            return Ok(());
        }
        let sql = [&b"BEGIN;\n"[..], &settings, b"\nROLLBACK;\n"].concat();
        match self.client.execute(&sql, &[]) {
            Err(DatabaseError::Program(ProgramError::Failed(_, _, said))) => {
                Err(self.making.refusal(self.target, said))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Missing requirements of the contents do not prevent a load that goes on after errors.
    fn of_contents(&self, checked: Result<(), RestoreError>) -> Result<(), RestoreError> {
        match checked {
            Err(error) if self.keep_going && !matches!(error, RestoreError::Database(_)) => {
                log::warn!("continuing because of --keep-going: {error}");
                Ok(())
            }
            checked => checked,
        }
    }

    fn ask(&self) -> Result<Answer, DatabaseError> {
        let needs = self.backup.needs();
        let MakingNeeds { mut roles, mut owners, owner, tablespace, mut settings, mut set_roles } =
            self.making.needs();
        roles.extend(needs.roles.iter().map(String::as_str));
        owners.extend(needs.owners.iter().map(String::as_str));
        let mut tablespaces: Vec<&str> =
            needs.tablespaces.iter().map(String::as_str).chain(tablespace).collect();
        let extensions = needs.extensions.iter().map(|extension| extension.name.as_str());
        let extensions: Vec<&str> = extensions.filter(|name| *name != "plpgsql").collect();
        for names in [&mut roles, &mut tablespaces, &mut set_roles] {
            names.sort_unstable();
            names.dedup();
        }
        settings.sort_unstable();
        settings.dedup();
        let major = self.client.server_version()?.major;
        let mut given = self.given(owner.unwrap_or(self.client.user()), major);
        let named = json!([roles, owners, owner, set_roles, given]).to_string();
        let (client, knows_all) = if named.is_ascii() { (self.client.clone(), true) } else { self.asked()? };
        if !knows_all {
            for names in [&mut roles, &mut owners, &mut set_roles] {
                names.retain(|name| name.is_ascii());
            }
            given.retain(|given| given.to_string().is_ascii());
        }
        let owner = owner.filter(|owner| knows_all || owner.is_ascii());
        let names = json!({
            "roles": roles, "owners": owners, "tablespaces": tablespaces, "extensions": extensions,
            "settings": settings, "set_roles": set_roles, "collations": needs.used_collations,
            "owner": owner, "given": given, "locale": self.making.libc_locale(),
        });
        client.ask(&query(&names, major), &[])
    }

    /// The client for questions about roles, and whether it can be asked about names that are not ASCII. Names are
    /// stored in the encoding of the database in which the role was created, so the target itself is asked. If it does
    /// not exist, such names are left to the load, unless the encodings agree.
    fn asked(&self) -> Result<(Client, bool), DatabaseError> {
        let encoding = |client: &Client| client.ask::<String>("SELECT to_json(getdatabaseencoding())", &[]);
        let inside = self.client.of_database(self.target);
        if self.making.is_of_target() && encoding(&inside).is_ok() {
            return Ok((inside, true));
        }
        let here = encoding(self.client)?;
        let knows_all = self.making.encoding().is_none_or(|properties| properties.encoding == here);
        Ok((self.client.clone(), knows_all))
    }

    /// The changes of owners, with their schema and its owner at that time, before any grants on it. Schemas that the
    /// dump does not create are unknown, except `public`, whose owner is `owner` since PostgreSQL 15.
    fn given(&self, owner: &str, major: u32) -> Vec<serde_json::Value> {
        let given = &self.backup.needs().given;
        let schemas: BTreeMap<_, _> = given
            .iter()
            .filter(|given| given.is_schema)
            .map(|given| (&given.schema, given.owner.as_str()))
            .collect();
        let holder = |schema: &String| match schemas.get(schema) {
            Some(holder) => Some(*holder),
            None => (schema == "public" && major >= 15).then_some(owner),
        };
        given
            .iter()
            .filter(|given| !given.is_schema)
            .map(|given| json!({"schema": given.schema, "owner": given.owner, "holder": holder(&given.schema)}))
            .collect()
    }

    /// Checks the requirements of the contents.
    fn check_contents(&self, answer: &Answer) -> Result<(), RestoreError> {
        let needs = self.backup.needs();
        let label = || self.backup.label().to_owned();
        let roles: Vec<_> = answer.missing_roles.iter().filter(|name| needs.roles.contains(*name)).collect();
        let spaces = answer.missing_tablespaces.iter().filter(|name| needs.tablespaces.contains(*name));
        let spaces: Vec<_> = spaces.collect();
        if !roles.is_empty() {
            Err(RestoreError::NoRoles(label(), units::list(roles)))
        } else if !spaces.is_empty() {
            Err(RestoreError::NoTablespaces(label(), units::list(spaces)))
        } else if !answer.missing_extensions.is_empty() {
            Err(RestoreError::NoExtensions(label(), units::list(&answer.missing_extensions)))
        } else if !answer.missing_collations.is_empty() {
            Err(RestoreError::NoCollations(label(), units::list(&answer.missing_collations)))
        } else if !self.is_superuser {
            self.check_rights(answer)
        } else {
            Ok(())
        }
    }

    /// Checks that a role without superuser rights may run the statements of the dump.
    fn check_rights(&self, answer: &Answer) -> Result<(), RestoreError> {
        let (label, needs) = (self.backup.label(), self.backup.needs());
        let Answer { role, untrusted_extensions, .. } = answer;
        let foreign = answer.foreign_roles.iter().filter(|name| needs.owners.contains(*name));
        let foreign: Vec<_> = foreign.collect();
        let grantors: Vec<_> = needs.grantors.iter().filter(|grantor| *grantor != role).collect();
        let spaces = answer.foreign_tablespaces.iter().filter(|name| needs.tablespaces.contains(*name));
        let spaces: Vec<_> = spaces.collect();
        let missing = if !untrusted_extensions.is_empty() {
            format!(
                "only a superuser can create these extensions of {label}: {}",
                units::list(untrusted_extensions)
            )
        } else if !needs.superusers.is_empty() {
            format!(
                "only a superuser can create the event triggers or foreign-data wrappers of {label}, which belong to {}",
                units::list(&needs.superusers)
            )
        } else if !needs.for_superusers.is_empty() {
            format!(
                "only a superuser can create these objects of {label}: {}",
                units::list(&needs.for_superusers)
            )
        } else if !grantors.is_empty() {
            format!(
                "only a superuser can restore the grants in {label} that these roles made: {}",
                units::list(grantors)
            )
        } else if !foreign.is_empty() {
            format!(
                "{label} has objects of owners that role {role} is not a member of: {}; grant it membership",
                units::list(foreign)
            )
        } else if !answer.barred_owners.is_empty() {
            format!(
                "only a superuser can restore objects of {label} in schemas where their owners have no CREATE right: {}",
                units::list(&answer.barred_owners)
            )
        } else if !spaces.is_empty() {
            format!(
                "role {role} has no CREATE right on these tablespaces of {label}: {}; grant it",
                units::list(spaces)
            )
        } else {
            return Ok(());
        };
        Err(RestoreError::Missing(missing))
    }

    /// Checks the requirements of the new database's properties.
    fn check_making(&self, answer: &Answer) -> Result<(), RestoreError> {
        let needs = self.making.needs();
        let of_making = |named: &'_ [String], wanted: &[&str]| {
            units::list(named.iter().filter(|name| wanted.contains(&name.as_str())))
        };
        let tablespace: Vec<&str> = needs.tablespace.into_iter().collect();
        let lacking = [
            ("the server lacks roles", of_making(&answer.missing_roles, &needs.roles)),
            ("the server lacks the tablespace", of_making(&answer.missing_tablespaces, &tablespace)),
        ];
        let role = &answer.role;
        let forbidden = [
            ("the role does not have the rights of", units::list(&answer.foreign_owner)),
            ("the role is not a member of", of_making(&answer.foreign_roles, &needs.owners)),
            (
                "the role has no CREATE right on the tablespace",
                of_making(&answer.foreign_tablespaces, &tablespace),
            ),
            ("only a superuser can set its settings", units::list(&answer.protected_settings)),
            ("the role cannot change the settings of roles", units::list(&answer.foreign_settings)),
        ];
        let forbidden = forbidden.into_iter().filter(|_| !self.is_superuser);
        let what = lacking.into_iter().chain(forbidden).find(|(_, names)| !names.is_empty());
        match what {
            None => Ok(()),
            Some((what, names)) => {
                let what = what.replace("the role", &format!("role {role}"));
                Err(self.making.refusal(self.target, format!("{what} {names}")))
            }
        }
    }

    /// Tries to create the collations of the dump in a transaction that is rolled back.
    fn check_collations(&self) -> Result<(), RestoreError> {
        let options = &self.backup.needs().made_collations;
        let said = self.try_collations(options.iter().map(String::as_str))?;
        said.map_or(Ok(()), |said| Err(RestoreError::NoCollations(self.backup.label().to_owned(), said)))
    }

    /// Tries to create a collation with the locale in a transaction that is rolled back.
    fn check_locale(&self, properties: &Properties) -> Result<(), RestoreError> {
        let locale = &properties.locale;
        let options = match (locale.provider, &locale.name) {
            (Provider::Icu, Some(name)) => format!("provider = icu, locale = {}", literal(name)),
            (Provider::Builtin, Some(name)) => format!("provider = builtin, locale = {}", literal(name)),
            _ => {
                let (collate, ctype) = (literal(&locale.collate), literal(&locale.ctype));
                format!("provider = libc, lc_collate = {collate}, lc_ctype = {ctype}")
            }
        };
        let said = self.try_collations([options.as_str()].into_iter())?;
        let lacking = said.map(|said| format!("the server lacks its locale: {said}"));
        lacking.map_or(Ok(()), |why| Err(self.making.refusal(self.target, why)))
    }

    /// Tries to create collations with these options. Returns the server's error if it lacks a locale.
    fn try_collations<'o>(
        &self,
        options: impl Iterator<Item = &'o str>,
    ) -> Result<Option<String>, RestoreError> {
        let create = |(at, options)| format!("CREATE COLLATION pg_temp.backupgram_trial_{at} ({options});\n");
        let statements: String = options.enumerate().map(create).collect();
        if statements.is_empty() {
            return Ok(None);
        }
        match self.client.execute(format!("BEGIN;\n{statements}ROLLBACK;\n"), &[]) {
            Ok(_) => Ok(None),
            Err(DatabaseError::Program(ProgramError::Failed(_, _, said))) if names_locale(&said) => {
                Ok(Some(said))
            }
            // Other errors, such as an encoding that is not this database's, are left to the load.
            Err(DatabaseError::Program(ProgramError::Failed(_, _, said))) => {
                log::debug!("cannot check whether the server has the locales: {said}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether an error tells that the server lacks a locale or a provider (`report_newlocale_failure` and `CREATE
/// COLLATION` in PostgreSQL).
fn names_locale(said: &str) -> bool {
    ["could not create locale", "could not open collator", "ICU is not supported", "invalid locale name"]
        .iter()
        .any(|words| said.contains(words))
        || said.contains("unrecognized collation provider")
        || said.contains("language") && said.contains("unknown")
}
