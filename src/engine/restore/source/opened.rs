//! Finds and opens the backup to restore, and checks it from end to end before any statement is run on the server.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::checked::Checked;
use super::needs;
use super::needs::{Needs, NeedsReader};
use super::tied::Tied;
use crate::engine::content::{
    Content, DecryptionContext, DumpReader, Snapshot, Whole, bytes_to_read, peek, read_fully_watched,
};
use crate::engine::restore::error::RestoreError;
use crate::formats::sql::Refusal;
use crate::postgres::Version;
use crate::store::catalog::{
    Appearance, BackupDirectory, BackupName, DatabaseName, Described, DirectoryError, Manifest, Scope, Slot,
};
use crate::system::process::ProgramError;
use crate::system::progress::Progress;
use crate::util::durable;
use crate::util::open_dir::OpenDir;
use crate::util::units;

/// Bytes at the beginning of a dump that are searched for extensions before the confirmation.
const BEGINNING: u64 = 256 * 1024;

/// An opened backup.
#[derive(Debug)]
pub struct Source {
    /// Its name as the user gave it.
    pub label: String,
    /// Its file name, if that is a backup's name.
    name: Option<BackupName>,
    /// Its slot, which determines the form of the time stamp in its name.
    slot: Option<Slot>,
    file: File,
    manifest: Option<Manifest>,
    /// Whether the file seems to have been replaced since its manifest was written. The checksum decides.
    is_replaced: bool,
}

impl Source {
    /// Opens `SLOT/NAME` of the backup directory, or else the file or directory at a path. With `ignore_manifest` its
    /// manifest is not read.
    ///
    /// # Errors
    /// When it cannot be opened, is neither, or its manifest is of another database than its name.
    pub fn open(
        directory: &BackupDirectory,
        label: &str,
        ignore_manifest: bool,
    ) -> Result<Self, RestoreError> {
        let in_slot = label
            .split_once('/')
            .and_then(|(slot, name)| Some((Slot::named(slot)?, BackupName::parse(name).ok()?)));
        if let Some((slot, name)) = in_slot {
            match Self::open_published(directory, slot, &name, ignore_manifest) {
                Err(RestoreError::Directory(DirectoryError::NotFound(..))) if Path::new(label).exists() => {}
                opened => return opened,
            }
        }
        Self::open_path(label, ignore_manifest)
    }

    /// Opens a published backup, as [`Self::open`] does.
    ///
    /// # Errors
    /// When it is not there, cannot be opened, or its manifest is of another database than its name.
    pub fn open_published(
        directory: &BackupDirectory,
        slot: Slot,
        name: &BackupName,
        ignore_manifest: bool,
    ) -> Result<Self, RestoreError> {
        let opened = directory.open(slot, name)?;
        let source = Self {
            label: format!("{slot}/{}", opened.name),
            name: Some(opened.name),
            slot: Some(slot),
            file: opened.file,
            manifest: None,
            is_replaced: false,
        };
        match (ignore_manifest, &source.name) {
            (false, Some(name)) => {
                let described = directory.described(slot, name)?;
                source.described_by(described)
            }
            _ => Ok(source),
        }
    }

    fn open_path(label: &str, ignore_manifest: bool) -> Result<Self, RestoreError> {
        let failed = |error| RestoreError::Open(label.to_owned(), error);
        // The manifest has the name of the file, not that of a link to it.
        let path = std::fs::canonicalize(label).map_err(failed)?;
        // Without following a link, which may have been put there meanwhile, and without waiting for a FIFO's writer.
        let flags = durable::CAREFULLY.bits();
        let file = File::options().read(true).custom_flags(flags).open(&path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?;
        if !kind.is_file() && !kind.is_dir() {
            return Err(RestoreError::Foreign(label.to_owned()));
        }
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| BackupName::parse(name).ok());
        let described = match (&name, path.parent()) {
            (Some(name), Some(parent)) if !ignore_manifest => {
                let manifest = parent.join(name.manifest());
                let failed = |error| RestoreError::Open(manifest.display().to_string(), error);
                OpenDir::open(parent).and_then(|parent| Described::read(&parent, name)).map_err(failed)?
            }
            _ => None,
        };
        let parent = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let slot = parent.and_then(Slot::named);
        let label = label.to_owned();
        Self { label, name, slot, file, manifest: None, is_replaced: false }.described_by(described)
    }

    /// A file that was fetched to `path`. It has no manifest.
    pub fn fetched(file: File, path: &Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str());
        let (label, name) = (path.display().to_string(), name.and_then(|name| BackupName::parse(name).ok()));
        Self { label, name, slot: None, file, manifest: None, is_replaced: false }
    }

    /// Adds the manifest.
    fn described_by(mut self, described: Option<Described>) -> Result<Self, RestoreError> {
        let Some(described) = described else { return Ok(self) };
        let named = self.name.as_ref().and_then(|name| described.contradiction(name, self.slot));
        if let Some(named) = named {
            return Err(RestoreError::OtherDatabase(self.label, named, described.manifest.database));
        }
        let now = Appearance::of_opened(&self.file)
            .map_err(|error| RestoreError::Open(self.label.clone(), error))?;
        self.is_replaced = !described.is_of(now);
        self.manifest = Some(described.manifest);
        Ok(self)
    }

    /// The manifest, unless the file seems to have been replaced since.
    fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref().filter(|_| !self.is_replaced)
    }

    /// The backup's database, by its manifest or its file name.
    pub fn database(&self) -> Option<DatabaseName> {
        let named = || self.name.as_ref()?.readings(self.slot).next().map(|parts| parts.database);
        self.manifest().map(|manifest| manifest.database.clone()).or_else(named)
    }

    /// The kind of the dump, by its first bytes. `None` when it is no dump, or cannot be decrypted or decompressed.
    ///
    /// # Errors
    /// When it cannot be read, or a stop signal comes.
    pub fn peek(&self, decryption: &DecryptionContext) -> Result<Option<Content>, RestoreError> {
        let file = self.file.try_clone().map_err(|error| RestoreError::Open(self.label.clone(), error))?;
        let peeked = peek(file, decryption);
        decryption.runner.check().map_err(ProgramError::Interrupted)?;
        peeked.map_err(|error| RestoreError::Content(self.label.clone(), error))
    }

    /// The scope of a dump by pg_dumpall.
    pub fn scope(&self) -> Scope {
        let by_manifest = self.manifest.as_ref().and_then(|manifest| Some(manifest.dump.as_ref()?.scope));
        by_manifest.filter(|scope| *scope != Scope::Database).unwrap_or(Scope::Cluster)
    }

    /// The size of the database on its server at the time of the backup, in bytes, if known.
    pub fn size_on_server(&self) -> Option<u64> {
        self.manifest()?.origin.as_ref()?.size
    }

    /// The extension that ties the dump to a database's name, if it is created at the beginning of the dump, where
    /// pg_dump has extensions.
    ///
    /// # Errors
    /// When it cannot be read, or a stop signal comes.
    pub fn tied_by(&self, decryption: &DecryptionContext) -> Result<Option<&'static str>, RestoreError> {
        let file = self.file.try_clone().map_err(|error| RestoreError::Open(self.label.clone(), error))?;
        let Ok((dump, None)) = DumpReader::open(file, decryption) else { return Ok(None) };
        let mut beginning = Vec::new();
        let read = dump.take(BEGINNING).read_to_end(&mut beginning);
        decryption.runner.check().map_err(ProgramError::Interrupted)?;
        Ok(read.ok().and_then(|_| Tied::named_in(&beginning)).map(|tied| tied.extension))
    }

    /// Reads all of it, checks its checksum and the dump, and reads its needs.
    ///
    /// # Errors
    /// When it is damaged or cannot be restored, or a stop signal comes.
    pub fn check(mut self, decryption: &DecryptionContext) -> Result<Checked, RestoreError> {
        let file = self.file.try_clone().map_err(|error| RestoreError::Open(self.label.clone(), error))?;
        let total = bytes_to_read(&file);
        let progress = Progress::start(format!("checking {}", self.label), total);
        let content = |error| RestoreError::Content(self.label.clone(), error);
        let unchanged =
            Snapshot::of(&self.file).map_err(|error| RestoreError::Open(self.label.clone(), error))?;
        let mut reader = NeedsReader::default();
        let tool = Version::of_program("pg_restore", &decryption.runner).ok();
        let whole = self.manifest.as_ref().zip(tool.as_ref());
        let whole = whole.and_then(|(manifest, tool)| manifest.checksum_of_whole(&tool.text));
        let recorded = self.manifest.as_ref().and_then(|manifest| Needs::recorded(manifest.needs.as_ref()?));
        let sql = recorded.as_ref().map(|(bytes, _)| *bytes);
        let whole = whole.map(|sha256| Whole { sha256, sql });
        let read = read_fully_watched(file, decryption, &progress, whole, &mut reader);
        let read = read.map_err(content)?;
        let (sha256, is_bare) = (read.sha256.clone(), read.is_bare());
        let is_recognised = read.is_recognised;
        self.settle_manifest(&sha256);
        let expected = self.manifest.as_ref().map(|manifest| manifest.sha256.as_str());
        let content = |error| RestoreError::Content(self.label.clone(), error);
        let check_result = read.judge(expected).map_err(content)?;
        if check_result.content == Content::Directory && expected.is_none() {
            log::warn!("{}: it has no manifest, so its files are only checked by pg_restore", self.label);
        }
        let (mut needs, packed) = reader.finish();
        if let (Some((_, recorded)), true) = (recorded, is_recognised) {
            needs = recorded;
        }
        if check_result.makes_database && needs.unknown.is_some() {
            let refusal = Refusal("is not SQL as pg_dump writes it".into());
            return Err(RestoreError::Refused(self.label, refusal));
        }
        if needs.connects_to.len() > 1 {
            return Err(RestoreError::Connects(self.label, units::list(&needs.connects_to)));
        }
        let Self { label, file, manifest, .. } = self;
        let mut checked =
            Checked { label, file, manifest, sha256, is_bare, check_result, unchanged, needs, tool };
        if !matches!(check_result.content, Content::Database | Content::Cluster) {
            let needs = needs::of_archive(&checked, packed, decryption);
            checked.needs = needs.map_err(ProgramError::Interrupted)?;
        }
        checked.check_parts()?;
        Ok(checked)
    }

    /// Decides by the checksum whether the manifest is that of this file, and drops it if not.
    fn settle_manifest(&mut self, sha256: &str) {
        let is_its = self.manifest.as_ref().is_some_and(|manifest| manifest.sha256 == sha256);
        if self.is_replaced && !is_its {
            log::warn!(
                "{} was replaced after its manifest was written: only its content is checked",
                self.label
            );
            self.manifest = None;
        }
        self.is_replaced = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_another_database_is_refused_unless_it_is_ignored() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path().join("backups"));
        directory.prepare().unwrap();
        let name = "app-20260416-143000.sql";
        let manifest = serde_json::json!({
            "sha256": "0".repeat(64), "size": 4, "database": "shop", "format": "plain", "encrypted": false,
            "server_version": "17.2", "tool_version": "17.2", "created_at": 0, "duration_seconds": 1.5,
        });
        let outside = root.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        for place in [directory.slot_path(Slot::Last), outside.clone()] {
            std::fs::write(place.join(name), "dump").unwrap();
            std::fs::write(place.join(format!(".{name}.json")), manifest.to_string()).unwrap();
        }
        std::os::unix::fs::symlink(name, outside.join("app-latest.sql")).unwrap();
        let labels = [
            format!("last/{name}"),
            directory.slot_path(Slot::Last).join(name).display().to_string(),
            outside.join(name).display().to_string(),
            outside.join("app-latest.sql").display().to_string(),
        ];
        for label in labels {
            let error = Source::open(&directory, &label, false).unwrap_err().to_string();
            let said = "says database app, its manifest says shop: --ignore-manifest";
            assert!(error.contains(said), "{error}");
            let source = Source::open(&directory, &label, true).unwrap();
            assert_eq!(source.database().unwrap().as_str(), "app", "{label}");
            assert!(source.manifest.is_none() && source.size_on_server().is_none(), "{label}");
        }
    }
}
