//! Restores a dump of a whole server, or of its roles: what it makes must not be there yet, its databases get their
//! names when all of them are in, and what was made by then is taken away again when anything fails.

mod contents;
mod editors;
mod feed;
mod membership;
mod referenced_roles;
mod survey;
#[cfg(test)]
mod test_dump;

use std::fmt::{self, Write as _};

use crate::engine::content::DecryptionContext;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::load::{Manner, Psql};
use crate::engine::restore::source::Checked;
use crate::engine::restore::target::{Journal, MARK, Renaming};
use crate::formats::sql::Edited;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError, Version};
use crate::store::catalog::DatabaseName;
use crate::system::process::ProgramError;
use crate::util::units;
use contents::Contents;
use editors::RenameDatabases;
use feed::feed;
use membership::Memberships;
use survey::{Comment, Subject, Survey};

/// A dump of a server on its way into one.
pub struct ClusterLoad<'a> {
    /// Talks to the server's maintenance database, and signs as the restore does.
    pub client: &'a Client,
    /// The server's version.
    pub server: &'a Version,
    /// What encrypted backups are opened with.
    pub decryption: &'a DecryptionContext,
    /// What the databases are called until all are in. Without it the server is one for a trial: they never get their
    /// own names, and tablespaces are made within the server's directory.
    pub journal: Option<&'a Journal>,
    /// Whether we are a superuser there.
    pub is_superuser: bool,
}

/// What has been made on a server that was not there before, apart from databases.
#[derive(Debug, Default)]
pub struct CreatedGlobals {
    roles: Vec<String>,
    tablespaces: Vec<String>,
}

impl CreatedGlobals {
    /// Takes it away again.
    ///
    /// # Errors
    /// When something holds on to it.
    pub fn undo(&self, client: &Client) -> Result<(), DatabaseError> {
        let quietly = "SET client_min_messages = warning;\n";
        let roles: Vec<String> = self.roles.iter().map(|name| identifier(name)).collect();
        let roles = roles.join(", ");
        if !roles.is_empty() {
            // They own and may nothing that was there before. Privileges of parameters go with this, too.
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

    /// Whether there is anything.
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

/// The order that makes a tablespace within the server's own directory (since PostgreSQL 15, for tests).
pub fn in_place_tablespace(name: &str) -> String {
    format!("SET allow_in_place_tablespaces = on;\nCREATE TABLESPACE {} LOCATION '';\n", identifier(name))
}

impl ClusterLoad<'_> {
    /// Loads all of a dump and answers the databases that it has filled. What `made` says by the end, however it comes,
    /// was not there before.
    ///
    /// # Errors
    /// When a database of the dump is there already, anything cannot be loaded, or a stop signal comes.
    pub fn load(
        &self,
        backup: &Checked,
        survey: Survey,
        created: &mut CreatedGlobals,
    ) -> Result<Vec<DatabaseName>, RestoreError> {
        self.check(backup, &survey)?;
        self.make_globals(backup, &survey, created)?;
        let place = |name: &DatabaseName| Some((name.clone(), self.place_of(&survey, name)?));
        let staged: Vec<(DatabaseName, DatabaseName)> = survey.databases.iter().filter_map(place).collect();
        self.load_databases(backup, &staged)?;
        let contents = survey
            .builtin_databases
            .iter()
            .map(|database| Contents::load(backup, self.decryption, self.client, self.server, database));
        let mut contents = contents.collect::<Result<Vec<_>, _>>()?;
        let Some(journal) = self.journal else {
            contents.into_iter().try_for_each(Contents::commit)?;
            return Ok(staged
                .into_iter()
                .map(|(_, staged)| staged)
                .chain(survey.builtin_databases)
                .collect());
        };
        contents.iter_mut().try_for_each(Contents::ignore_stop).map_err(ProgramError::Interrupted)?;
        self.name(&staged, &survey, journal)?;
        // The others, too, when one cannot be committed: what has its name stays.
        let committed: Vec<_> = contents.into_iter().map(commit_late).collect();
        committed.into_iter().collect::<Result<(), _>>()?;
        if !survey.databases.is_empty() {
            log::info!("databases made: {}", units::list(&survey.databases));
        }
        Ok(survey.databases)
    }

    fn is_trial(&self) -> bool {
        self.journal.is_none()
    }

    fn load_databases(
        &self,
        backup: &Checked,
        staged: &[(DatabaseName, DatabaseName)],
    ) -> Result<(), RestoreError> {
        if staged.is_empty() {
            return Ok(());
        }
        let ours = self.journal.map(|journal| journal.scratch().to_string()).unwrap_or_default();
        let label = backup.label();
        let mark = format!("{MARK}loads the dump {label} into this, {ours}; it will be renamed or dropped");
        let mut psql = Psql::start(self.client, Manner::default(), &self.decryption.runner)?;
        let unrestricted = psql.unrestricted();
        let editor =
            RenameDatabases::new(staged, &mark, self.server.knows_transaction_timeout(), &unrestricted);
        let fed = psql.restrict().and_then(|()| feed(backup, self.decryption, &mut psql, editor));
        psql.finish(fed).map(drop)
    }

    /// What a database of the dump is called while it is loaded: a name of ours, unless it must have its own.
    pub fn place_of(&self, survey: &Survey, database: &DatabaseName) -> Option<DatabaseName> {
        let at = survey.databases.iter().position(|name| name == database);
        match (self.journal, at) {
            // Every server has it.
            (_, None) => Some(database.clone()),
            (Some(_), Some(_)) if survey.tied().is_some_and(|(tied, _)| tied == *database) => {
                Some(database.clone())
            }
            (Some(journal), Some(at)) => Some(journal.staged(at)),
            (None, Some(at)) => Some(DatabaseName::ours("proof", &at.to_string())),
        }
    }

    /// Sees that nothing is there that the dump would make, and that its extensions can be created.
    fn check(&self, backup: &Checked, survey: &Survey) -> Result<(), RestoreError> {
        self.refuse_existing(backup, &survey.databases)?;
        match survey.tied().filter(|_| !self.is_trial()) {
            Some((database, tied)) => tied.check(self.client, &database),
            None => Ok(()),
        }
    }

    /// Says what loading a dump would make.
    ///
    /// # Errors
    /// When it would fail: a database is there already, a role is not, only a superuser may do it, or the dump cannot be
    /// read.
    pub fn announce(&self, backup: &Checked) -> Result<(), RestoreError> {
        let survey = self.survey(backup)?;
        self.check(backup, &survey)?;
        let [_, roles, tablespaces] = self.globals(backup, &survey)?;
        survey.named.check(backup, &survey.roles, self.client)?;
        for (what, names) in [
            ("databases", units::list(&survey.databases)),
            ("roles", units::list(roles)),
            ("tablespaces", units::list(tablespaces)),
        ] {
            if !names.is_empty() {
                log::info!("would make {what}: {names}");
            }
        }
        Ok(())
    }

    /// Reads what a dump would make.
    ///
    /// # Errors
    /// When it cannot be read, or is not of the form that pg_dumpall gives it.
    pub fn survey(&self, backup: &Checked) -> Result<Survey, RestoreError> {
        let mut surveyed = None;
        backup.load(self.decryption, |sql| {
            let survey = Edited::new(sql, Survey::default()).survey();
            surveyed = Some(survey.map_err(|error| RestoreError::Read(error).of_backup(backup.label()))?);
            Ok::<_, RestoreError>(())
        })?;
        surveyed.ok_or_else(|| RestoreError::Foreign(backup.label().to_owned()))
    }

    fn refuse_existing(&self, backup: &Checked, databases: &[DatabaseName]) -> Result<(), RestoreError> {
        let there: Vec<DatabaseName> =
            self.client.ask("SELECT json_agg(datname ORDER BY datname) FROM pg_database", &[])?;
        let existing: Vec<&DatabaseName> = there.iter().filter(|name| databases.contains(name)).collect();
        match existing.is_empty() {
            true => Ok(()),
            false => Err(RestoreError::Exists(backup.label().to_owned(), units::list(existing))),
        }
    }

    /// The roles of the dump that are there already, those that it would make, and the tablespaces that it would.
    fn globals<'s>(
        &self,
        backup: &Checked,
        survey: &'s Survey,
    ) -> Result<[Vec<&'s String>; 3], RestoreError> {
        let ask = |sql: &str| self.client.ask::<Vec<String>>(sql, &[]);
        let known = ask("SELECT json_agg(rolname) FROM pg_roles")?;
        let (there, roles): (Vec<_>, Vec<_>) = survey.roles.iter().partition(|name| known.contains(name));
        let known = ask("SELECT json_agg(spcname) FROM pg_tablespace")?;
        let tablespaces: Vec<_> = survey.tablespaces.iter().filter(|name| !known.contains(name)).collect();
        for (what, names) in [("roles", &roles), ("tablespaces", &tablespaces)] {
            if !names.is_empty() && !self.is_superuser {
                let (label, names) = (backup.label(), units::list(names));
                let missing = format!("only a superuser may make the {what} of {label}: {names}");
                return Err(RestoreError::Missing(missing));
            }
        }
        Ok([there, roles, tablespaces])
    }

    /// Makes the roles, all or none, then the tablespaces. What is there already stays as it is.
    fn make_globals(
        &self,
        backup: &Checked,
        survey: &Survey,
        created: &mut CreatedGlobals,
    ) -> Result<(), RestoreError> {
        let [there, new, tablespaces] = self.globals(backup, survey)?;
        if !there.is_empty() {
            log::info!("roles that are there already and stay as they are: {}", units::list(&there));
        }
        if !new.is_empty() {
            self.make_roles(survey, &new, created)?;
        }
        for name in tablespaces {
            self.make_tablespace(name, survey, created)?;
        }
        Ok(())
    }

    fn make_roles(
        &self,
        survey: &Survey,
        new: &[&String],
        created: &mut CreatedGlobals,
    ) -> Result<(), RestoreError> {
        let (mut statements, mut memberships) = (b"BEGIN;\n".to_vec(), Memberships::default());
        for (subject, statement) in &survey.globals {
            match subject {
                Subject::Session => statements.extend_from_slice(statement),
                Subject::Role(name) if new.contains(&name) => {
                    statements.extend(memberships.settle(statement))
                }
                Subject::Role(_) | Subject::Tablespace(_) => continue,
            }
            statements.push(b'\n');
        }
        statements.extend_from_slice(b"COMMIT;\n");
        // Before the answer, which may be lost on its way. An error of the server's says that it has made none.
        created.roles = new.iter().map(|name| (*name).clone()).collect();
        if let Err(error) = self.client.execute(statements, &[]) {
            if error.to_string().contains("ERROR:") {
                created.roles.clear();
            }
            return Err(error.into());
        }
        log::info!("roles made: {}", units::list(new));
        Ok(())
    }

    fn make_tablespace(
        &self,
        name: &str,
        survey: &Survey,
        created: &mut CreatedGlobals,
    ) -> Result<(), RestoreError> {
        let session = survey.lines(|subject| *subject == Subject::Session);
        let mut statements = survey.statements(|subject| *subject == Subject::Tablespace(name.to_owned()));
        let create = statements.next().unwrap_or_default();
        match self.is_trial() {
            true => self.client.execute(in_place_tablespace(name), &[])?,
            false => self.client.execute([&session, create].concat(), &[])?,
        };
        created.tablespaces.push(name.to_owned());
        let rest = statements.collect::<Vec<_>>().join(&b'\n');
        self.client.execute([session, rest].concat(), &[])?;
        log::info!("tablespace made: {name}");
        Ok(())
    }

    /// Gives every database its name and its comment, all in one transaction.
    fn name(
        &self,
        staged: &[(DatabaseName, DatabaseName)],
        survey: &Survey,
        journal: &Journal,
    ) -> Result<(), RestoreError> {
        if staged.is_empty() {
            return Ok(());
        }
        let mut statements = b"BEGIN;\n".to_vec();
        for (name, renamed) in staged {
            let (database, staged) = (identifier(name.as_str()), identifier(renamed.as_str()));
            match name == renamed {
                true => {
                    let limit =
                        survey.limits.iter().find(|(of, _)| of == name).map(|(_, limit)| limit.clone());
                    let unlimited = || format!("ALTER DATABASE {database} CONNECTION LIMIT -1;").into_bytes();
                    statements.extend(limit.unwrap_or_else(unlimited));
                    statements.push(b'\n');
                }
                false => {
                    statements.extend(format!("ALTER DATABASE {staged} RENAME TO {database};\n").bytes())
                }
            }
            let none = Comment { encoding: Vec::new(), text: b" IS NULL;".to_vec() };
            let comment =
                survey.comments.iter().find(|(of, _)| of == name).map_or(&none, |(_, comment)| comment);
            // Its text is in the encoding that the dump has named in front of it.
            let name_and_text = [b"COMMENT ON DATABASE ", database.as_bytes(), &comment.text].concat();
            match database.is_ascii() {
                true => statements
                    .extend([&comment.encoding, &name_and_text, &b"\nRESET client_encoding;\n"[..]].concat()),
                false => statements.extend([&name_and_text, &b"\n"[..]].concat()),
            }
        }
        statements.extend(b"COMMIT;\n");
        let databases = staged.iter().map(|(_, staged)| staged).collect();
        let renaming = Renaming { client: self.client, journal, databases, statements: &statements };
        renaming.run(|client| are_named(client, staged, journal)).map_err(|error| match error {
            error @ DatabaseError::Program(ProgramError::Interrupted(_)) => error.into(),
            error => RestoreError::Names(error),
        })
    }
}

/// Commits what can no more be taken back with all else.
fn commit_late(contents: Contents) -> Result<(), RestoreError> {
    let database = contents.database().clone();
    contents.commit().map_err(|error| RestoreError::Late(database, Box::new(error)))
}

/// Whether no database has its staged name any more, or our comment, asked even after a stop signal.
fn are_named(
    client: &Client,
    staged: &[(DatabaseName, DatabaseName)],
    journal: &Journal,
) -> Result<bool, DatabaseError> {
    let names: Vec<String> = staged.iter().map(|(_, staged)| literal(staged.as_str())).collect();
    let sql = format!(
        "SELECT coalesce(json_agg(shobj_description(oid, 'pg_database')), '[]') FROM pg_database
         WHERE datname IN ({});",
        names.join(", ")
    );
    let comments: Vec<Option<String>> = client.ask_regardless(&sql, &[])?;
    let is_ours =
        |comment: &Option<String>| comment.as_deref().is_some_and(|comment| journal.is_mark(comment));
    Ok(!comments.iter().any(is_ours))
}
