//! A backup that was read from end to end and found whole.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use super::needs::Needs;
use crate::engine::content::{CheckResult, Content, DecryptionContext, DumpReader, Snapshot};
use crate::engine::restore::error::RestoreError;
use crate::postgres::Version;
use crate::store::catalog::{BackupDirectory, Manifest, Origin, Properties};
use crate::util::open_dir::OpenDir;

/// A backup that has been read from end to end and found whole.
#[derive(Debug)]
pub struct Checked {
    /// What the user called the backup.
    pub(super) label: String,
    pub(super) file: File,
    pub(super) manifest: Option<Manifest>,
    pub(super) sha256: String,
    pub(super) is_bare: bool,
    /// The result of the check.
    pub check_result: CheckResult,
    /// Its metadata before it was read, to detect later writes.
    pub(super) unchanged: Snapshot,
    pub(super) needs: Needs,
    /// The version of this machine's pg_restore, if known.
    pub(crate) tool: Option<Version>,
}

impl Checked {
    /// Refuses a backup that has rows only, and warns about one without rows.
    pub(super) fn check_parts(&self) -> Result<(), RestoreError> {
        let Needs { has_definitions, has_tables, has_rows, .. } = self.needs;
        if has_rows && !has_definitions && self.needs.unknown.is_none() {
            return Err(RestoreError::OnlyRows(self.label.clone()));
        }
        if has_tables && !has_rows {
            log::warn!("{}: its tables have no rows, as with --schema-only", self.label);
        }
        Ok(())
    }

    /// What the user called the backup.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Encoding, locale and size of its database, if known.
    pub fn origin(&self) -> Option<&Origin> {
        self.manifest.as_ref()?.origin.as_ref()
    }

    /// The properties of its database, if its manifest has them.
    pub fn properties(&self) -> Option<&Properties> {
        self.manifest.as_ref()?.properties.as_ref().map(|recorded| &recorded.properties)
    }

    /// The encoding of its database, or else that of the SQL.
    pub fn encoding(&self) -> Option<&str> {
        let origin = self.origin().map(|origin| origin.encoding.as_str());
        origin.or(self.needs.encoding.as_deref())
    }

    /// The major version of its server, if its manifest has that.
    pub fn server_major(&self) -> Option<u32> {
        let version = &self.manifest.as_ref()?.dump.as_ref()?.server_version;
        version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// What it needs of the server. Empty for a dump of a whole server, which is surveyed separately.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Opens the dump from its beginning, decrypted and decompressed.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn unpacked(&self, decryption: &DecryptionContext) -> Result<DumpReader, RestoreError> {
        let failed = |error| RestoreError::Content(self.label.clone(), error);
        let file = self.file.try_clone().map_err(|error| self.open_error(error))?;
        let (dump, failure) = DumpReader::open(file, decryption).map_err(failed)?;
        failure.map_or(Ok(dump), |error| Err(failed(error)))
    }

    /// What it holds.
    pub fn content(&self) -> Content {
        self.check_result.content
    }

    /// A directory with room for what must be unpacked.
    ///
    /// # Errors
    /// When neither the backup directory nor its fallback can be written to.
    pub fn workplace(&self, directory: &BackupDirectory) -> Result<OpenDir, RestoreError> {
        let is_packed = self.content() == Content::PackedDirectory;
        Ok(directory.place_for(if is_packed { self.check_result.bytes } else { 0 })?)
    }

    /// The directory dump, for pg_restore.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn directory(&self) -> Result<OpenDir, RestoreError> {
        OpenDir::of_file(&self.file, Path::new(&self.label)).map_err(|error| self.open_error(error))
    }

    /// The file itself if it is neither encrypted nor compressed, so that pg_restore can seek in it.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn bare_file(&self) -> Result<Option<File>, RestoreError> {
        if self.is_bare {
            self.file.try_clone().map(Some).map_err(|error| self.open_error(error))
        } else {
            Ok(None)
        }
    }

    /// Checks that the backup was not written to since its check.
    ///
    /// # Errors
    /// When it was.
    pub fn check_unchanged(&self) -> Result<(), RestoreError> {
        self.check_as(&self.file)
    }

    /// Checks that the opened file or directory is the one that was checked.
    ///
    /// # Errors
    /// When it was.
    pub fn check_as(&self, opened: impl AsFd) -> Result<(), RestoreError> {
        if Snapshot::of(opened).is_ok_and(|now| now == self.unchanged) {
            Ok(())
        } else {
            Err(RestoreError::Changed(self.label.clone()))
        }
    }

    /// Passes the dump to `take` from the beginning, and checks that its checksum is still the same.
    ///
    /// # Errors
    /// When it cannot be read, has changed since it was checked, or `take` fails.
    pub fn load<E: From<RestoreError>>(
        &self,
        decryption: &DecryptionContext,
        take: impl FnOnce(&mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| RestoreError::Content(self.label.clone(), error);
        let mut dump = self.unpacked(decryption)?;
        take(&mut dump)?;
        if dump.finish().map_err(failed)? == self.sha256 {
            Ok(())
        } else {
            Err(RestoreError::Changed(self.label.clone()).into())
        }
    }

    fn open_error(&self, error: io::Error) -> RestoreError {
        RestoreError::Open(self.label.clone(), error)
    }
}
