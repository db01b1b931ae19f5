//! Each backup once, with all its names: hard links of one file, or copies of it where there are no links.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::cli::table::Cell;
use crate::store::catalog::{BackupDirectory, DatabaseName, Entry, Slot, Verification};
use crate::util::open_dir::OpenDir;
use crate::util::terminal::Paint;

/// A backup.
#[derive(Debug)]
pub struct Backup {
    /// Its names, in the order of the slots: one at least.
    names: Vec<Entry>,
    /// The pointers that lead to it.
    pub pointers: Vec<Entry>,
}

/// The backups of a database, the newest first and those with a time in the future last.
pub struct Block {
    /// None for files whose database is not known.
    pub database: Option<DatabaseName>,
    pub backups: Vec<Backup>,
}

impl Backup {
    /// The first of its names.
    pub fn first(&self) -> &Entry {
        &self.names[0]
    }

    /// All of them.
    pub fn names(&self) -> &[Entry] {
        &self.names
    }

    /// `SLOT/NAME` of the first of its names.
    pub fn path(&self) -> String {
        path(self.first())
    }

    /// Whether it has a name in this slot.
    pub fn is_in(&self, slot: Slot) -> bool {
        self.names.iter().any(|entry| entry.slot == slot)
    }

    /// The name in this slot becomes the first.
    pub fn put_first(&mut self, slot: Slot) {
        self.names.sort_by_key(|entry| entry.slot != slot);
    }

    /// A letter for each slot that it is in, and a dash for each other one.
    pub fn slots(&self) -> String {
        let letter = |slot: Slot| match slot {
            Slot::Last => 'L',
            Slot::Daily => 'D',
            Slot::Weekly => 'W',
            Slot::Monthly => 'M',
        };
        Slot::ALL.into_iter().map(|slot| if self.is_in(slot) { letter(slot) } else { '-' }).collect()
    }

    /// How it is stored, as far as its manifest says.
    pub fn format(&self) -> String {
        let Some(manifest) = &self.first().manifest else { return "-".into() };
        // The same word as in JSON.
        let word = manifest.format.and_then(|format| serde_json::to_value(format).ok());
        let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or("-").to_owned();
        if manifest.encrypted { word + " gpg" } else { word }
    }

    /// How long ago it was last read or restored and found whole, or that it is broken.
    pub fn verified(&self, now: i64) -> Cell {
        let verified = || self.verifications().filter_map(|(verified, proven)| verified.or(proven));
        if verified().any(|verification| verification.error.is_some()) {
            Cell::from("BROKEN").painted(Paint::Red)
        } else {
            Cell::since(verified().map(|verification| verification.at).max(), now)
        }
    }

    /// How long ago it was last restored and found whole.
    pub fn proven(&self, now: i64) -> Cell {
        let proven = self.verifications().filter_map(|(_, proven)| proven);
        Cell::since(proven.map(|verification| verification.at).max(), now)
    }

    /// The verification and the proof in the manifest of each name.
    fn verifications(&self) -> impl Iterator<Item = (Option<&Verification>, Option<&Verification>)> {
        let manifests = self.names.iter().filter_map(|entry| entry.manifest.as_ref());
        manifests.map(|manifest| (manifest.verified.as_ref(), manifest.proven.as_ref()))
    }
}

/// `SLOT/NAME`.
pub(super) fn path(entry: &Entry) -> String {
    format!("{}/{}", entry.slot, entry.name)
}

/// Groups the entries of all slots into backups, by database.
pub fn blocks(entries: Vec<Entry>, now: i64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut places = HashMap::new();
    for backup in each_once(entries) {
        let database = backup.first().database.clone();
        let place = *places.entry(database.clone()).or_insert(blocks.len());
        if place == blocks.len() {
            blocks.push(Block { database, backups: Vec::new() });
        }
        blocks[place].backups.push(backup);
    }
    for block in &mut blocks {
        block.backups.sort_by_key(|backup| (backup.first().is_future(now), Reverse(backup.first().mtime)));
    }
    blocks.sort_by(|a, b| (a.database.is_none(), &a.database).cmp(&(b.database.is_none(), &b.database)));
    blocks
}

fn each_once(entries: Vec<Entry>) -> Vec<Backup> {
    let (pointers, names): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.alias_of.is_some());
    let mut backups: Vec<Backup> = Vec::new();
    let (mut linked, mut copied, mut named) = (HashMap::new(), HashMap::new(), HashMap::new());
    for entry in names {
        // The same bytes from another time are another backup.
        let manifest = entry.manifest.as_ref();
        let created_at = manifest.and_then(|it| Some(it.dump.as_ref()?.created_at));
        let copy = manifest.map(|it| (it.database.clone(), created_at, it.sha256.clone()));
        let link = (entry.device, entry.inode);
        let found = linked.get(&link).or_else(|| copied.get(copy.as_ref()?));
        let place = found.copied().unwrap_or(backups.len());
        linked.entry(link).or_insert(place);
        copied.extend(copy.map(|copy| (copy, place)));
        named.insert((entry.slot, entry.name.clone()), place);
        match backups.get_mut(place) {
            Some(backup) => backup.names.push(entry),
            None => backups.push(Backup { names: vec![entry], pointers: Vec::new() }),
        }
    }
    for pointer in pointers {
        let target = pointer.alias_of.clone().and_then(|target| named.get(&(pointer.slot, target)));
        if let Some(backup) = target.and_then(|place| backups.get_mut(*place)) {
            backup.pointers.push(pointer);
        }
    }
    backups
}

/// The bytes of all their files. A file with several names counts once.
pub(super) fn unique_bytes<'a>(
    directory: &BackupDirectory,
    backups: impl Iterator<Item = &'a Backup>,
) -> u64 {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for entry in backups.flat_map(|backup| &backup.names) {
        if !seen.insert((entry.device, entry.inode)) {
            continue;
        }
        bytes += if entry.is_directory {
            bytes_within(directory, entry, &mut seen).unwrap_or(entry.size)
        } else {
            entry.size
        };
    }
    bytes
}

/// The bytes of the files in a directory that were not seen before.
fn bytes_within(directory: &BackupDirectory, entry: &Entry, seen: &mut HashSet<(u64, u64)>) -> Option<u64> {
    let within: OpenDir = directory.open_slot(entry.slot).ok()?.dir(entry.name.as_str()).ok()?;
    let names = within.names().ok()?;
    let statuses = names.into_iter().filter_map(|name| within.status(name).ok());
    let new = statuses.filter(|status| seen.insert((status.st_dev, status.st_ino)));
    Some(new.map(|status| status.st_size.cast_unsigned()).sum())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::util::clock;

    #[test]
    fn hard_links_are_one_backup_and_their_bytes_count_once_also_within_directories() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        directory.prepare().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("last/app-20260416-143000.sql"), "12345").unwrap();
        fs::write(path("last/other.sql"), "1").unwrap();
        for name in ["daily/app-20260416.sql", "monthly/app-202604.sql", "last/app-latest.sql"] {
            fs::hard_link(path("last/app-20260416-143000.sql"), path(name)).unwrap();
        }
        for name in ["last/app-20260415-143000.dir", "weekly/app-202616.dir"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("last/app-20260415-143000.dir/toc.dat"), "123").unwrap();
        fs::hard_link(path("last/app-20260415-143000.dir/toc.dat"), path("weekly/app-202616.dir/toc.dat"))
            .unwrap();
        let blocks = blocks(directory.list_all().unwrap(), clock::now());
        let backups = || blocks.iter().flat_map(|block| &block.backups);
        let mut slots: Vec<_> =
            backups().map(|backup| (backup.slots(), backup.pointers.len(), backup.names.len())).collect();
        slots.sort();
        // Directories cannot be linked: only a manifest tells copies of them.
        let expected = [("--W-", 0, 1), ("L---", 0, 1), ("L---", 0, 1), ("LD-M", 1, 3)];
        assert_eq!(slots, expected.map(|(slots, pointers, names)| (slots.to_owned(), pointers, names)));
        assert_eq!(blocks.last().unwrap().database, None, "what is of no known database comes last");
        assert_eq!(unique_bytes(&directory, backups()), 5 + 1 + 3);
    }
}
