//! What a manifest says of a database besides its contents.

use super::BackupError;
use super::recipe::Item;
use crate::engine::restore;
use crate::postgres::{Client, Version, setting_statements};
use crate::store::catalog::{Origin, Properties, Recorded, Scope, SealedSettings, Settings};
use crate::system::gpg::Gpg;

/// Asks the server for the properties of an item's database. None for items that are not one database, and for a
/// database that does not exist. With a `gpg` the settings are encrypted, as their values can be secrets.
///
/// # Errors
/// When the server cannot be asked, or gpg fails.
pub fn record(
    client: &Client,
    server: &Version,
    item: &Item,
    gpg: Option<&Gpg>,
) -> Result<Option<(Origin, Recorded)>, BackupError> {
    if item.scope != Scope::Database {
        return Ok(None);
    }
    let Some(mut properties) = Properties::of(client, &item.name)? else { return Ok(None) };
    if properties.comment.as_deref().is_some_and(restore::is_unfinished) {
        return Err(BackupError::Unfinished);
    }
    let name = item.name.as_str();
    if let (Some(gpg), Settings::Clear(settings)) = (gpg, &properties.settings)
        && !settings.is_empty()
    {
        let sql = setting_statements(settings, name).join("\n") + "\n";
        let sealed = SealedSettings { settings: settings.clone(), sql };
        let text = serde_json::to_vec(&sealed).map_err(|error| BackupError::Seal(error.into()))?;
        properties.settings = Settings::Sealed(gpg.encrypt_text(&text).map_err(BackupError::Seal)?);
    }
    let origin = Origin::from(&properties);
    let sql = properties.script(name, server.major);
    Ok(Some((origin, Recorded { properties, sql })))
}
