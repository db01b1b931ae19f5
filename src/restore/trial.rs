//! A restore into a server that has nothing else and will be thrown away.

use super::RestoreError;
use super::cluster::{ClusterLoad, Made};
use super::load::Loading;
use super::source::Checked;
use crate::catalog::{DatabaseName, Origin};
use crate::content::{Content, Keys};
use crate::postgres::quote::literal;
use crate::postgres::{Client, Version};

/// A backup and the server that it is tried on.
pub struct Trial<'a> {
    /// The backup.
    pub backup: &'a Checked,
    /// Talks to the server's maintenance database, as its superuser.
    pub client: &'a Client,
    /// What encrypted backups are opened with.
    pub keys: &'a Keys,
    /// Where a directory is unpacked to.
    pub workplace: std::path::PathBuf,
}

/// Nobody logs in there but us.
const NOBODY_LOGS_IN: &str = "
    SELECT format('ALTER ROLE %I NOLOGIN', rolname) FROM pg_roles
    WHERE rolcanlogin AND rolname <> current_user
    \\gexec
";

impl Trial<'_> {
    /// Restores the backup, with the roles and tablespaces that it names, and answers its databases.
    ///
    /// # Errors
    /// When it cannot be restored, it is of a newer server, or a stop signal comes.
    pub fn restore(self) -> Result<Vec<DatabaseName>, RestoreError> {
        let server = self.client.server_version()?;
        if let Some(major) = self.backup.server_major().filter(|major| *major > server.major) {
            return Err(RestoreError::Newer(self.backup.label().to_owned(), major, server.major));
        }
        match self.backup.content() {
            Content::Cluster => self.restore_server(&server),
            _ => self.restore_database(&server).map(|name| vec![name]),
        }
    }

    fn restore_server(&self, server: &Version) -> Result<Vec<DatabaseName>, RestoreError> {
        let load =
            ClusterLoad { client: self.client, server, keys: self.keys, journal: None, is_superuser: true };
        let databases = load.load(self.backup, &mut Made::default())?;
        self.client.execute(NOBODY_LOGS_IN, &[])?;
        Ok(databases)
    }

    fn restore_database(self, server: &Version) -> Result<DatabaseName, RestoreError> {
        let name = DatabaseName::ours("proof", "0");
        let utf8 = Origin {
            size: None,
            encoding: "UTF8".into(),
            collate: "C.UTF-8".into(),
            ctype: "C.UTF-8".into(),
        };
        let origin = self.backup.origin().unwrap_or(&utf8);
        let create = |collate: &str, ctype: &str| {
            let (encoding, collate, ctype) = (literal(&origin.encoding), literal(collate), literal(ctype));
            let clauses = format!("ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}");
            self.client.execute(format!("CREATE DATABASE {name} TEMPLATE template0 {clauses};"), &[])
        };
        // Not every machine has every locale. In C, text of any encoding is taken.
        if let Err(error) = create(&origin.collate, &origin.ctype) {
            log::info!("the proof takes the locale C: {error}");
            create("C", "C")?;
        }
        let tool = self.client.program_version("pg_restore")?;
        let (into, keys, workplace) = (self.client.of_database(&name), self.keys, self.workplace);
        let loading = Loading { into, server, tool: &tool, jobs: 1, keys, workplace, is_trial: true };
        loading.load(self.backup)?;
        Ok(name)
    }
}
