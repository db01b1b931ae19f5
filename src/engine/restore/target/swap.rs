//! Gives the loaded database the target's name.

use super::journal::MARK;
use super::making::Making;
use super::rename::Renaming;
use super::scratch::Scratch;
use crate::engine::restore::error::RestoreError;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::DatabaseName;
use crate::system::process::ProgramError;

/// Disables the transaction timeout of servers that have one, as renames wait for sessions to end.
const NO_LIMIT: &str = "SELECT set_config('transaction_timeout', '0', true)
    WHERE current_setting('server_version_num')::int >= 170000;";

/// The databases of a swap.
pub struct Swap<'a> {
    /// The new database.
    pub scratch: &'a Scratch<'a>,
    /// The name that it gets.
    pub target: &'a DatabaseName,
    /// Whether a database with that name exists.
    pub replaces: bool,
    /// The new name of that one.
    pub kept_as: &'a DatabaseName,
}

impl Swap<'_> {
    /// Renames the target, if it exists, and the scratch database to the target's name, in one transaction. The new
    /// one gets its comment.
    ///
    /// # Errors
    /// When they cannot be renamed. Both have their old names then.
    pub fn exchange(&self, making: &Making) -> Result<(), RestoreError> {
        let (target, kept_as) = (identifier(self.target.as_str()), identifier(self.kept_as.as_str()));
        let mut statements = self.begin();
        if self.replaces {
            statements.push(format!("ALTER DATABASE {target} RENAME TO {kept_as};"));
            statements.extend(self.mark_replaced());
        }
        statements.push(format!("ALTER DATABASE {} RENAME TO {target};", self.scratch_name()));
        let comment = making.comment(self.target.as_str());
        statements.push(self.comment_at_once(&comment));
        // The scratch database may have sessions as well, such as of an exporter that connects to all databases.
        let databases = vec![self.target, self.scratch.name()];
        self.run(statements, databases, |client| self.has_name(client, self.target))?;
        self.comment_later(&comment);
        Ok(())
    }

    /// Moves the target aside, if it exists, and gives the empty scratch database its name. That one keeps its staging
    /// comment.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub fn move_aside(&self) -> Result<(), RestoreError> {
        let target = identifier(self.target.as_str());
        let mut statements = self.begin();
        if self.replaces {
            let aside = identifier(self.scratch.journal().replaced().as_str());
            statements.push(format!("ALTER DATABASE {target} RENAME TO {aside};"));
        }
        statements.push(format!("ALTER DATABASE {} RENAME TO {target};", self.scratch_name()));
        self.run(statements, vec![self.target, self.scratch.name()], |client| {
            self.has_name(client, self.target)
        })
    }

    /// Completes a database that was loaded under the target's name: in one transaction it gets its properties and
    /// comment, and the database that was moved aside is marked as replaced, or gets its final name.
    ///
    /// # Errors
    /// When that fails. The database is still incomplete then.
    pub fn complete(&self, making: &Making) -> Result<(), RestoreError> {
        let target = self.target.as_str();
        let after = making.after_load(target);
        if !after.trim_ascii().is_empty() {
            self.scratch.inside_target(self.target).execute(after, &[])?;
        }
        let mut statements = self.begin();
        statements.push(making.access(target, true));
        let aside = self.scratch.journal().replaced();
        if self.replaces && *self.kept_as != aside {
            let (aside, kept_as) = (identifier(aside.as_str()), identifier(self.kept_as.as_str()));
            statements.push(format!("ALTER DATABASE {aside} RENAME TO {kept_as};"));
        } else if self.replaces {
            statements.extend(self.mark_replaced());
        }
        let comment = making.comment(target);
        statements.push(self.comment_at_once(&comment));
        self.run(statements, vec![&aside], |client| self.is_complete(client))?;
        self.comment_later(&comment);
        Ok(())
    }

    fn begin(&self) -> Vec<String> {
        vec!["BEGIN;".to_owned(), NO_LIMIT.to_owned(), "SET LOCAL lock_timeout = '10s';".to_owned()]
    }

    /// The statement that sets the comment in the transaction of the renames. A comment that is not ASCII must be set
    /// in the database itself, whose encoding it has; until then it is removed.
    fn comment_at_once(&self, comment: &[u8]) -> String {
        match std::str::from_utf8(comment) {
            Ok(text) if text.is_ascii() => text.to_owned(),
            _ => format!("COMMENT ON DATABASE {} IS NULL;", identifier(self.target.as_str())),
        }
    }

    fn comment_later(&self, comment: &[u8]) {
        if comment.is_ascii() {
            return;
        }
        let client = self.scratch.client().signed("backupgram").of_database(self.target);
        if let Err(error) = client.execute(comment, &[]) {
            log::warn!("database {} has lost its comment: {error}", self.target);
        }
    }

    fn scratch_name(&self) -> String {
        identifier(self.scratch.name().as_str())
    }

    /// The statement that marks the replaced database until it is dropped.
    fn mark_replaced(&self) -> Option<String> {
        (*self.kept_as == self.scratch.journal().replaced()).then(|| {
            let mark =
                literal(&format!("{MARK}has replaced this database, which was called {}", self.target));
            format!("COMMENT ON DATABASE {} IS {mark};", identifier(self.kept_as.as_str()))
        })
    }

    fn run(
        &self,
        mut statements: Vec<String>,
        databases: Vec<&DatabaseName>,
        is_done: impl Fn(&Client) -> Result<bool, DatabaseError>,
    ) -> Result<(), RestoreError> {
        statements.push("COMMIT;".into());
        let statements = statements.join("\n");
        let (client, journal) = (self.scratch.client(), self.scratch.journal());
        let renaming = Renaming { client, journal, databases, statements: statements.as_bytes() };
        renaming.run(is_done).map_err(|error| match error {
            error @ DatabaseError::Program(ProgramError::Interrupted(_)) => error.into(),
            error => RestoreError::Swap(self.target.clone(), error),
        })
    }

    /// Whether the scratch database has this name. Asked even after a stop signal.
    fn has_name(&self, client: &Client, name: &DatabaseName) -> Result<bool, DatabaseError> {
        let sql = "SELECT oid::bigint FROM pg_database WHERE datname = :'database';";
        let output = client.clean_up(sql, &[("database", name.as_str())])?;
        Ok(output.stdout.trim_ascii() == self.scratch.oid().to_string().as_bytes())
    }

    /// Whether the database that was loaded under the target's name is complete.
    fn is_complete(&self, client: &Client) -> Result<bool, DatabaseError> {
        let sql = "SELECT to_json(shobj_description(oid, 'pg_database')) FROM pg_database
                   WHERE datname = :'database';";
        let comment: Option<String> = client.ask_regardless(sql, &[("database", self.target.as_str())])?;
        Ok(!comment.is_some_and(|comment| self.scratch.journal().is_mark(&comment)))
    }
}
