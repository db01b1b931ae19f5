//! The retention policy in the settings.

use crate::settings::reader::Reader;
use crate::store::catalog::Slot;
use crate::store::retention::Policy;

/// Reads these settings.
pub(super) fn read_policy(reader: &mut Reader) -> Option<Policy> {
    let [last, daily, weekly, monthly] = Slot::ALL.map(|slot| reader.keep(Policy::variable(slot)));
    let (at_least, years) = (reader.count("BACKUP_KEEP_AT_LEAST"), reader.whole("BACKUP_KEEP_YEARS"));
    let (minutes, days, weeks, months) = (last?, daily?, weekly?, monthly?);
    Some(Policy { minutes, days, weeks, months, at_least: at_least?, years: years? })
}
