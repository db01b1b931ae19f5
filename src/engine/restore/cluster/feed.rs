//! Feeds psql a dump of a whole server.

use crate::engine::content::DecryptionContext;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::load::Psql;
use crate::engine::restore::source::Checked;
use crate::formats::sql::{Edited, Editor};
use crate::system::progress::Progress;

/// Feeds psql what `editor` leaves of the dump.
///
/// # Errors
/// When the dump cannot be read, has changed since it was checked, or psql stops reading.
pub fn feed(
    backup: &Checked,
    decryption: &DecryptionContext,
    psql: &mut Psql,
    editor: impl Editor,
) -> Result<(), RestoreError> {
    let progress = Progress::start(format!("loading {}", backup.label()), Some(backup.check_result.bytes));
    backup.load(decryption, |sql| {
        psql.feed_as_it_is(&mut Edited::new(progress.reader(sql), editor))
            .map_err(|error| error.of_backup(backup.label()))
    })
}
