//! Checks before the first dump: the server answers, pg_dump is new enough for it, there is room on the disk.

use nix::sys::statvfs::statvfs;
use serde::Deserialize;

use super::error::BackupError;
use super::recipe::Item;
use crate::postgres::{Client, Server, Version};
use crate::settings::{Databases, Storage, Subject};
use crate::store::catalog::{BackupDirectory, DatabaseName, Entry, Scope, Slot};
use crate::system::process::Runner;

/// The versions on both sides.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The server's.
    pub server: Version,
    /// pg_dump's.
    pub tool: Version,
}

/// A database that discovery has found.
#[derive(Debug, Deserialize)]
struct Found {
    name: DatabaseName,
    is_invalid: bool,
}

/// Free and total bytes of the filesystem of the backup directory, as an unprivileged user sees them.
///
/// # Errors
/// When the filesystem cannot be asked.
pub fn disk_space(directory: &BackupDirectory) -> nix::Result<(u64, u64)> {
    let status = statvfs(directory.root())?;
    let unit = status.fragment_size();
    Ok((status.blocks_available() * unit, status.blocks() * unit))
}

/// The newest backup of an item, if there is one.
///
/// # Errors
/// When the backups cannot be listed, or those of the item's name are of something else: a database may be
/// called `cluster` or `globals`, and one kind must not replace or outlive the other.
pub fn last_backup(directory: &BackupDirectory, item: &Item) -> Result<Option<Entry>, BackupError> {
    let (mut newest, mut strange) = (None, None);
    for entry in directory.list_all()? {
        if entry.alias_of.is_some()
            || entry.name.parts(entry.slot).is_none_or(|parts| parts.database != item.name)
        {
            continue;
        }
        if let Some(scope) = entry.scope().filter(|scope| *scope != item.scope) {
            strange.get_or_insert(scope);
        }
        if entry.slot == Slot::Last {
            newest.get_or_insert(entry);
        }
    }
    match strange {
        Some(of) => Err(BackupError::NameTaken { name: item.name.clone(), of, wanted: item.scope }),
        None => Ok(newest),
    }
}

/// Checks that there is room for a dump: the minimum of the settings, and 1.2 times the bytes of the `last` backup.
///
/// # Errors
/// When there is less.
pub fn check_space(
    directory: &BackupDirectory,
    storage: &Storage,
    last: Option<u64>,
) -> Result<(), BackupError> {
    let (free, _) = disk_space(directory).map_err(BackupError::Disk)?;
    let expected = last.map_or(0, |last| last.saturating_add(last / 5));
    if free < storage.minimum_free.saturating_add(expected) {
        return Err(BackupError::NoSpace { free, minimum: storage.minimum_free, expected });
    }
    Ok(())
}

/// Waits for the server and compares its version with pg_dump's. Answers a client of a database that the role may use:
/// the maintenance database or, where it may not use that, `other` or `template1`.
///
/// # Errors
/// When it does not answer in time, or pg_dump is missing or older than it.
pub fn check_server(
    server: &Server,
    other: Option<&DatabaseName>,
    runner: &Runner,
) -> Result<(Client, Versions), BackupError> {
    let [postgres, template1] = DatabaseName::of_every_server();
    // The template comes last: while a session is connected to it, no database can be created from it.
    let places: Vec<_> = [Some(postgres), other.cloned(), Some(template1)].into_iter().flatten().collect();
    let client = Client::connect(server, &places, runner)?;
    let versions = Versions { server: client.server_version()?, tool: client.program_version("pg_dump")? };
    if versions.tool.major < versions.server.major {
        let Versions { tool, server } = versions;
        return Err(BackupError::ClientTooOld { tool, server });
    }
    Ok((client, versions))
}

/// What to dump: what the settings say, or what the server has; `only` narrows it down.
///
/// # Errors
/// When there is nothing, or `only` names something that is not among it.
pub fn choose_items(
    client: &Client,
    subject: &Subject,
    only: &[DatabaseName],
) -> Result<Vec<Item>, BackupError> {
    let mut items: Vec<Item> = match &subject.databases {
        Databases::Named(names) => names.iter().cloned().map(Item::database).collect(),
        Databases::Discovered { except } => {
            discover(client, except)?.into_iter().map(Item::database).collect()
        }
        Databases::Cluster => vec![Item::of_server(Scope::Cluster)],
    };
    if items.is_empty() {
        return Err(BackupError::NoDatabases);
    }
    if subject.globals {
        items.push(Item::of_server(Scope::Globals));
    }
    if let Some(stranger) = only.iter().find(|name| items.iter().all(|item| item.name != **name)) {
        return Err(BackupError::NotConfigured(stranger.clone()));
    }
    items.retain(|item| only.is_empty() || only.contains(&item.name));
    Ok(items)
}

/// Whether pg_dumpall may read the passwords of roles. On many a managed server nobody may.
///
/// # Errors
/// When the server cannot be asked.
pub fn sees_role_passwords(client: &Client, subject: &Subject) -> Result<bool, BackupError> {
    if subject.options.rest.iter().any(|word| word == "--no-role-passwords") {
        // The settings have pg_dumpall leave them out anyway.
        return Ok(true);
    }
    let sees: bool = client.ask("SELECT to_json(has_table_privilege('pg_authid', 'SELECT'))", &[])?;
    if !sees {
        log::warn!("the role cannot read the passwords of other roles: roles are dumped without passwords");
    }
    Ok(sees)
}

fn discover(client: &Client, except: &[DatabaseName]) -> Result<Vec<DatabaseName>, BackupError> {
    // Databases that a restore is loading or has just replaced are left out.
    let sql = r"SELECT coalesce(json_agg(json_build_object('name', datname, 'is_invalid', datconnlimit = -2)
                                         ORDER BY datname), '[]') FROM pg_database
        WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' AND datname NOT LIKE '\_backupgram\_%'";
    let mut found: Vec<Found> = client.ask(sql, &[])?;
    found.retain(|database| !except.contains(&database.name));
    for Found { name, .. } in found.iter().filter(|database| database.is_invalid) {
        log::warn!(
            "an interrupted DROP DATABASE has left database {name} invalid: it is not backed up, drop it"
        );
    }
    Ok(found.into_iter().filter(|database| !database.is_invalid).map(|database| database.name).collect())
}

/// Checks that an item's database can be connected to.
///
/// # Errors
/// When an interrupted DROP DATABASE has left it invalid (`DATCONNLIMIT_INVALID_DB` in PostgreSQL).
pub fn refuse_invalid(client: &Client, item: &Item) -> Result<(), BackupError> {
    let sql =
        "SELECT to_json(count(*) > 0) FROM pg_database WHERE datname = :'database' AND datconnlimit = -2";
    if item.scope == Scope::Database && client.ask(sql, &[("database", item.name.as_str())])? {
        return Err(BackupError::Invalid(item.name.clone()));
    }
    Ok(())
}
