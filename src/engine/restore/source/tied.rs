//! Extensions that can be created in one database of a certain name only, and thus not in a scratch database.

use memchr::memmem;

use super::needs::Needs;
use crate::engine::restore::error::RestoreError;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::DatabaseName;

/// An extension, and the setting that names its database. The setting exists only if the extension's library is
/// preloaded.
#[derive(Debug, Clone, Copy)]
pub struct Tied {
    /// The extension.
    pub extension: &'static str,
    /// The setting.
    pub setting: &'static str,
    /// A setting, `name=value`, that keeps the extension from running jobs.
    pub silence: Option<&'static str>,
}

/// All that are known. pg_cron checks it in `_PG_init` and in its SQL script.
pub const TIED: [Tied; 1] = [Tied {
    extension: "pg_cron",
    setting: "cron.database_name",
    silence: Some("cron.launch_active_jobs=off"),
}];

impl Tied {
    /// The one that a dump creates, if any.
    pub fn of(needs: &Needs) -> Option<Self> {
        needs.extensions.iter().find_map(|extension| Self::named(&extension.name))
    }

    /// The one of this name.
    pub fn named(extension: &str) -> Option<Self> {
        TIED.into_iter().find(|tied| tied.extension == extension)
    }

    /// The one whose creation is found in the beginning of a dump, which is SQL or an archive's table of contents.
    pub fn named_in(beginning: &[u8]) -> Option<Self> {
        TIED.into_iter().find(|tied| {
            let create = format!("CREATE EXTENSION IF NOT EXISTS {} ", tied.extension);
            memmem::find(beginning, create.as_bytes()).is_some()
        })
    }

    /// The name of the extension's database on a server. `None` if its library is not preloaded.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn database(self, client: &Client) -> Result<Option<String>, DatabaseError> {
        client.ask("SELECT to_json(current_setting(:'setting', true));", &[("setting", self.setting)])
    }

    /// Checks that the extension can be created in the target.
    ///
    /// # Errors
    /// When it cannot, or the server cannot be asked.
    pub fn check(self, client: &Client, target: &DatabaseName) -> Result<(), RestoreError> {
        let Self { extension, setting, .. } = self;
        let problem = match self.database(client)? {
            None => format!(
                "extension {extension} of the dump can only be created on a server that has it in \
                 shared_preload_libraries"
            ),
            Some(name) if name == target.as_str() => return Ok(()),
            Some(name) => format!(
                "extension {extension} of the dump can only be created in database {name}, which {setting} \
                 names, not in {target}"
            ),
        };
        Err(RestoreError::Missing(problem))
    }
}
