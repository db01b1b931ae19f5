//! Restores a dump of a whole server, or of its roles: what it makes must not be there yet, its databases get their
//! names when all of them are in, and what was made by then is taken away again when anything fails.

mod editors;
mod order;
mod survey;

use std::fmt::{self, Write as _};

use super::RestoreError;
use super::journal::{Journal, MARK};
use super::psql::Psql;
use super::source::Checked;
use crate::catalog::DatabaseName;
use crate::content::Keys;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError, Version};
use crate::progress::Progress;
use crate::sql::{Edited, Editor};
use crate::units;
use editors::{Databases, Own};
use survey::{Subject, Survey};

/// A dump of a server on its way into one.
pub struct ClusterLoad<'a> {
    /// Talks to the server's maintenance database, and signs as the restore does.
    pub client: &'a Client,
    /// The server's version.
    pub server: &'a Version,
    /// What encrypted backups are opened with.
    pub keys: &'a Keys,
    /// What the databases are called until all are in; by their own names without it.
    pub journal: Option<&'a Journal>,
    /// Whether tablespaces are made within the server's own directory, wherever they were.
    pub tablespaces_in_place: bool,
}

/// What has been made on a server that was not there before, apart from databases.
#[derive(Debug, Default)]
pub struct Made {
    roles: Vec<String>,
    tablespaces: Vec<String>,
}

impl Made {
    /// Takes it away again.
    ///
    /// # Errors
    /// When something holds on to it.
    pub fn undo(&self, client: &Client) -> Result<(), DatabaseError> {
        let mut orders = String::from("SET client_min_messages = warning;\n");
        for name in &self.tablespaces {
            let _ = writeln!(orders, "DROP TABLESPACE IF EXISTS {};", identifier(name));
        }
        let roles: Vec<String> = self.roles.iter().map(|name| identifier(name)).collect();
        if !roles.is_empty() {
            let _ = writeln!(orders, "DROP ROLE IF EXISTS {};", roles.join(", "));
        }
        client.clean_up(&orders, &[]).map(drop)
    }

    /// Whether there is anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.tablespaces.is_empty()
    }
}

impl fmt::Display for Made {
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
    /// Loads all of a dump and answers the databases that it has made. What `made` says by the end, however it comes,
    /// was not there before.
    ///
    /// # Errors
    /// When a database of the dump is there already, anything cannot be loaded, or a stop signal comes.
    pub fn load(&self, backup: &Checked, made: &mut Made) -> Result<Vec<DatabaseName>, RestoreError> {
        let survey = self.survey(backup)?;
        self.refuse_existing(backup, &survey.databases)?;
        self.make_globals(&survey, made)?;
        let staged: Vec<(DatabaseName, DatabaseName)> = survey
            .databases
            .iter()
            .enumerate()
            .map(|(at, name)| (name.clone(), self.journal.map_or(name.clone(), |journal| journal.staged(at))))
            .collect();
        let keeps_timeout = self.server.knows_transaction_timeout();
        if !staged.is_empty() {
            let mark =
                format!("{MARK}loads the dump {} into this; it will be renamed or dropped", backup.label());
            self.feed(backup, self.client, Databases::new(&staged, &mark, keeps_timeout), false)?;
        }
        for database in &survey.of_every_server {
            log::info!("loading what the dump holds for database {database}");
            let client = self.client.of_database(database);
            self.feed(backup, &client, Own::new(database, keeps_timeout), true)?;
        }
        self.name(&staged, &survey)?;
        if !survey.databases.is_empty() {
            log::info!("databases made: {}", units::list(&survey.databases));
        }
        Ok(survey.databases)
    }

    /// Says what loading a dump would make.
    ///
    /// # Errors
    /// When it would fail because a database is there already, or the dump cannot be read.
    pub fn announce(&self, backup: &Checked) -> Result<(), RestoreError> {
        let survey = self.survey(backup)?;
        self.refuse_existing(backup, &survey.databases)?;
        for (what, names) in [
            ("databases", survey.databases.iter().map(|name| name.to_string()).collect()),
            ("roles, as far as they are not there", survey.roles),
            ("tablespaces, as far as they are not there", survey.tablespaces),
        ] {
            if !Vec::is_empty(&names) {
                log::info!("would make {what}: {}", units::list(&names));
            }
        }
        Ok(())
    }

    fn survey(&self, backup: &Checked) -> Result<Survey, RestoreError> {
        let mut surveyed = None;
        backup.load(self.keys, |sql| {
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

    /// Makes the roles, all or none, then the tablespaces. What is there already stays as it is.
    fn make_globals(&self, survey: &Survey, made: &mut Made) -> Result<(), RestoreError> {
        let ask = |sql: &str| self.client.ask::<Vec<String>>(sql, &[]);
        let roles = ask("SELECT json_agg(rolname) FROM pg_roles")?;
        let tablespaces = ask("SELECT json_agg(spcname) FROM pg_tablespace")?;
        let (there, new): (Vec<_>, Vec<_>) = survey.roles.iter().partition(|name| roles.contains(name));
        if !there.is_empty() {
            log::info!("roles that are there already and stay as they are: {}", units::list(&there));
        }
        let is_wanted = |subject: &Subject| match subject {
            Subject::Session => true,
            Subject::Role(name) => !roles.contains(name),
            Subject::Tablespace(_) => false,
        };
        if !new.is_empty() {
            let orders = [b"BEGIN;\n", survey.orders(is_wanted).as_slice(), b"COMMIT;\n"].concat();
            self.client.execute(orders, &[])?;
            made.roles = new.iter().map(|name| (*name).clone()).collect();
            log::info!("roles made: {}", units::list(&new));
        }
        for name in survey.tablespaces.iter().filter(|name| !tablespaces.contains(name)) {
            self.make_tablespace(name, survey, made)?;
        }
        Ok(())
    }

    fn make_tablespace(&self, name: &str, survey: &Survey, made: &mut Made) -> Result<(), RestoreError> {
        let session = survey.orders(|subject| *subject == Subject::Session);
        let mut statements = survey.statements(|subject| *subject == Subject::Tablespace(name.to_owned()));
        let create = statements.next().unwrap_or_default();
        match self.tablespaces_in_place {
            true => self.client.execute(in_place_tablespace(name), &[])?,
            false => self.client.execute([&session, create].concat(), &[])?,
        };
        made.tablespaces.push(name.to_owned());
        let rest = statements.collect::<Vec<_>>().join(&b'\n');
        self.client.execute([session, rest].concat(), &[])?;
        log::info!("tablespace made: {name}");
        Ok(())
    }

    /// Has psql take what `editor` leaves of the dump, in one transaction or not.
    fn feed(
        &self,
        backup: &Checked,
        client: &Client,
        editor: impl Editor,
        in_transaction: bool,
    ) -> Result<(), RestoreError> {
        let mut psql = Psql::start(client, &self.keys.runner)?;
        let progress = Progress::start(format!("loading {}", backup.label()), Some(backup.findings.bytes));
        let fed = backup.load(self.keys, |sql| {
            if in_transaction {
                psql.order("BEGIN;\n")?;
            }
            psql.feed_as_it_is(&mut Edited::new(progress.reader(sql), editor))
                .map_err(|error| error.of_backup(backup.label()))?;
            if in_transaction { psql.order("COMMIT;\n") } else { Ok(()) }
        });
        psql.finish(fed)
    }

    /// Gives every database its name and its comment, all in one transaction.
    fn name(&self, staged: &[(DatabaseName, DatabaseName)], survey: &Survey) -> Result<(), RestoreError> {
        let mut orders = String::from("BEGIN;\n");
        for (name, staged) in staged {
            let database = identifier(name.as_str());
            if name != staged {
                let _ =
                    writeln!(orders, "ALTER DATABASE {} RENAME TO {database};", identifier(staged.as_str()));
            }
            let comment =
                survey.comments.iter().find(|(of, _)| of == name).map(|(_, comment)| comment.as_slice());
            let comment = String::from_utf8_lossy(comment.unwrap_or(b" IS NULL;"));
            let _ = writeln!(orders, "COMMENT ON DATABASE {database}{comment}");
        }
        orders.push_str("COMMIT;\n");
        if staged.is_empty() {
            return Ok(());
        }
        let named = self.client.execute(&orders, &[]);
        // The answer may have been lost on the way after the server had carried the orders out.
        match (named, self.journal) {
            (Err(_), Some(journal)) if self.are_named(staged, journal)? => Ok(()),
            (named, _) => named.map(drop).map_err(RestoreError::from),
        }
    }

    /// Whether no database has its staged name any more, asked even after a stop signal.
    fn are_named(
        &self,
        staged: &[(DatabaseName, DatabaseName)],
        journal: &Journal,
    ) -> Result<bool, DatabaseError> {
        let client = self.client.signed("backupgram");
        journal.settle(&client)?;
        let names: Vec<String> = staged.iter().map(|(_, staged)| literal(staged.as_str())).collect();
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname IN ({});", names.join(", "));
        Ok(client.ask_regardless::<u64>(&sql, &[])? == 0)
    }
}
