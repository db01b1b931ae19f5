//! The roles that a backup of one database names, which must be there before it is loaded.

use std::io::Read;

use super::RestoreError;
use super::convert::{self, Converter};
use super::load::Archive;
use super::providing::NamedRoles;
use super::source::Checked;
use crate::content::{Content, Keys};
use crate::postgres::Client;
use crate::process::ProgramError;
use crate::progress::Progress;
use crate::sql::Edited;
use crate::units;

/// Sees that the server has all of them.
///
/// # Errors
/// When it has not, the backup cannot be read again, or a stop signal comes.
pub fn check_roles(backup: &Checked, keys: &Keys, client: &Client) -> Result<(), RestoreError> {
    let mut named = NamedRoles::default();
    let mut read = |sql: &mut dyn Read| {
        named = Edited::new(sql, NamedRoles::default()).survey().map_err(RestoreError::Read)?;
        Ok(())
    };
    let progress = Progress::start(format!("reading {}", backup.label()), Some(backup.findings.bytes));
    let from = |archive| Converter::start(archive, &keys.runner);
    let has_read = match (backup.content(), backup.bare_file()?) {
        (Content::Database | Content::Cluster, _) => backup.load(keys, |sql| read(&mut progress.reader(sql))),
        (Content::Directory, _) => from(Archive::Directory(backup.path()))?.hand_on(read),
        (Content::Custom, Some(file)) => from(Archive::File(file))?.hand_on(read),
        (Content::Custom | Content::Tar, _) => convert::hand_on_streamed(backup, keys, &progress, read),
        (Content::PackedDirectory, _) => {
            log::info!(
                "the roles that {} names are not looked for: it would have to be unpacked",
                backup.label()
            );
            Ok(())
        }
    };
    keys.runner.check().map_err(ProgramError::Interrupted)?;
    has_read.map_err(|error| error.of_backup(backup.label()))?;
    named.check(backup, &[], client)
}

impl NamedRoles {
    /// Sees that the server has all of them but those that the dump makes itself.
    ///
    /// # Errors
    /// When it has not, or cannot be asked.
    pub fn check(&self, backup: &Checked, made: &[String], client: &Client) -> Result<(), RestoreError> {
        let there: Vec<String> = client.ask("SELECT json_agg(rolname) FROM pg_roles", &[])?;
        let missing: Vec<&String> =
            self.names().filter(|name| !there.contains(name) && !made.contains(name)).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(RestoreError::NoRoles(backup.label().to_owned(), units::list(missing))),
        }
    }
}
