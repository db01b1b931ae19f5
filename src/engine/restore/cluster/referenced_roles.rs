//! The roles that a dump refers to, which must exist before the load.

use std::collections::BTreeSet;

use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::Checked;
use crate::formats::sql::Mentions;
use crate::postgres::Client;
use crate::util::units;

/// Collects the roles that a dump of a whole server refers to.
#[derive(Debug, Default)]
pub struct ReferencedRoles(BTreeSet<String>);

impl ReferencedRoles {
    /// Adds those of a statement.
    pub fn note(&mut self, head: &[u8]) {
        self.0.extend(Mentions::of(head).roles);
    }

    /// Their names.
    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// Checks that all of them exist, but for those that the dump creates.
    ///
    /// # Errors
    /// When one does not, or the server cannot be asked.
    pub fn check(&self, backup: &Checked, made: &[String], client: &Client) -> Result<(), RestoreError> {
        check(backup, &self.0, made, client)
    }
}

fn check(
    backup: &Checked,
    named: &BTreeSet<String>,
    made: &[String],
    client: &Client,
) -> Result<(), RestoreError> {
    let there: Vec<String> = client.ask("SELECT json_agg(rolname) FROM pg_roles", &[])?;
    let missing: Vec<&String> =
        named.iter().filter(|name| !there.contains(name) && !made.contains(name)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(RestoreError::NoRoles(backup.label().to_owned(), units::list(missing)))
    }
}
