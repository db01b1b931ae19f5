//! Deletes backups that are too old, once the new backup is published.

use super::publish::Published;
use crate::settings::Storage;
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::store::records::status;
use crate::store::retention::{Cleanup, Hold, Policy};
use crate::util::clock::{self, OtherClock};

/// Deletes the backups of a database that the policy no longer keeps, unless the clock is not believed by the server's
/// clock or by the times of the backups; then that is the answer. `address` is the server's in the settings. The new
/// backup is published, so a failure is only a warning.
pub fn prune(
    directory: &BackupDirectory,
    storage: &Storage,
    database: &DatabaseName,
    published: &Published,
    address: &str,
    server: Option<&OtherClock>,
) -> Option<Hold> {
    let now = clock::now();
    let entries = directory.list_all().unwrap_or_else(|error| {
        log::warn!("{database}: no older backup was deleted: {error}");
        Vec::new()
    });
    // If the status cannot be read, there is no earlier hold, and the times are judged anew.
    let last = status::read(directory, Some(address)).ok().flatten();
    let held_before = last.and_then(|report| report.held_for(database.as_str()));
    let (suffix, policy, published) = (&storage.suffix, &storage.policy, published.names.as_slice());
    let sentence = Cleanup { database, suffix, policy, published, held_before, now }.judge(&entries);
    let hold = server.and_then(|server| Hold::by_server(server, now)).or(sentence.hold);
    if let Some(hold) = hold {
        log::warn!("{database}: no older backup was deleted: {hold}");
        return Some(hold);
    }
    for entry in sentence.expired {
        match directory.remove(entry.slot, &entry.name) {
            Ok(()) => {
                let (slot, variable) = (entry.slot, Policy::variable(entry.slot));
                log::info!("{database}: deleted {slot}/{} (older than {variable})", entry.name);
            }
            Err(error) => log::warn!("{database}: {error}"),
        }
    }
    None
}
