//! Provides the SQL from which needs are read: a plain dump during its check, an archive's table of contents by
//! pg_restore.

use std::io::{self, Cursor};
use std::process::Command;

use serde_json::Value;
use tar::{Builder, Header};

use super::Needs;
use crate::engine::content::{
    CONTENTS_NAME, Content, DecryptionContext, TarWalk, Watcher, without_compression,
};
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::checked::Checked;
use crate::engine::restore::source::convert::{Archive, Input, hand_on};
use crate::engine::restore::source::selection::Listed;
use crate::formats::sql::{Edited, Surveyed};
use crate::system::process::Interrupted;
use crate::util::open_dir::OpenDir;

/// Reads the needs of a backup during its check.
pub struct NeedsReader {
    sql: Surveyed<Needs>,
    has_begun: bool,
    /// Why reading of the SQL ended early.
    failure: Option<String>,
    /// For the table of contents of a directory in a tar archive.
    tar: TarWalk,
}

impl Default for NeedsReader {
    fn default() -> Self {
        Self {
            sql: Surveyed::new(Needs::default()),
            has_begun: false,
            failure: None,
            tar: TarWalk::keeping_contents(),
        }
    }
}

impl NeedsReader {
    /// The needs for the manifest, if the dump is SQL, which has this number of bytes.
    pub fn record(self, bytes: u64) -> Option<Value> {
        let is_sql = self.has_begun;
        is_sql.then(|| self.finish().0.record(bytes)).flatten()
    }

    /// The needs, and the table of contents of a directory in a tar archive.
    pub fn finish(self) -> (Needs, Option<Vec<u8>>) {
        let mut needs = self.sql.into_editor();
        if let Some(why) = self.failure {
            needs.note_unknown(&why);
        }
        (needs, self.tar.into_contents())
    }
}

impl Watcher for NeedsReader {
    fn watch(&mut self, content: Content, bytes: &[u8]) {
        match content {
            Content::Database if self.failure.is_none() => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    self.sql.editor_mut().note_beginning(bytes);
                }
                self.failure = self.sql.take(bytes).err().map(|error| error.to_string());
            }
            Content::PackedDirectory => self.tar.take(bytes),
            _ => {}
        }
    }
}

/// Reads the needs of an archive by pg_restore, without its rows. `packed` is the table of contents of a directory in
/// a tar archive. An error of pg_restore is noted in the needs, and left to the load.
///
/// # Errors
/// When a stop signal comes.
pub fn of_archive(
    backup: &Checked,
    packed: Option<Vec<u8>>,
    decryption: &DecryptionContext,
) -> Result<Needs, Interrupted> {
    let read = read_archive(backup, packed, decryption);
    decryption.runner.check()?;
    let mut needs = read.unwrap_or_else(|error| {
        log::debug!("cannot read what {} needs: {error}", backup.label());
        Needs { unknown: Some(error.to_string()), ..Needs::default() }
    });
    needs.is_archive = true;
    Ok(needs)
}

fn read_archive(
    backup: &Checked,
    packed: Option<Vec<u8>>,
    decryption: &DecryptionContext,
) -> Result<Needs, RestoreError> {
    let packed = packed.and_then(|contents| archive_of_contents(contents).ok());
    let is_directory = backup.content() == Content::Directory;
    let directory = is_directory.then(|| backup.directory()).transpose()?;
    let listed =
        Listed::of(input(backup, directory.as_ref(), packed.clone(), decryption)?, &decryption.runner)?;
    let definitions = listed.definitions().map_err(RestoreError::Convert)?;
    let mut needs = Needs::default();
    let create = |command: &mut Command| {
        command.arg("--create");
        definitions.add_to(command);
    };
    hand_on(input(backup, directory.as_ref(), packed, decryption)?, create, &decryption.runner, |sql| {
        needs = Edited::new(sql, Needs::default()).survey().map_err(RestoreError::Read)?;
        Ok(())
    })?;
    needs.has_rows = listed.has_rows();
    Ok(needs)
}

fn input<'a>(
    backup: &Checked,
    directory: Option<&'a OpenDir>,
    packed: Option<Vec<u8>>,
    decryption: &DecryptionContext,
) -> Result<Input<'a>, RestoreError> {
    if let Some(directory) = directory {
        return Ok(Input::Archive(Archive::Directory(directory)));
    }
    Ok(match (backup.content(), backup.bare_file()?) {
        (Content::Custom, Some(file)) => Input::Archive(Archive::File(file)),
        (Content::PackedDirectory, _) => {
            let too_large = || RestoreError::Read(io::Error::other("its table of contents is too large"));
            Input::Stream(Box::new(Cursor::new(packed.ok_or_else(too_large)?)))
        }
        _ => Input::Stream(Box::new(backup.unpacked(decryption)?)),
    })
}

/// Makes a tar archive as by pg_dump that has only the table of contents of a directory. Both formats have the same
/// one (`InitArchiveFmt_Directory`), but pg_restore takes no tar archive that claims to be compressed.
fn archive_of_contents(contents: Vec<u8>) -> io::Result<Vec<u8>> {
    let contents = without_compression(contents);
    let mut header = Header::new_ustar();
    header.set_path(CONTENTS_NAME)?;
    header.set_mode(0o600);
    header.set_size(contents.len() as u64);
    header.set_cksum();
    let mut builder = Builder::new(Vec::with_capacity(contents.len() + 2048));
    builder.append(&header, contents.as_slice())?;
    builder.into_inner()
}
