//! Loads a checked backup into a database that is empty.
//!
//! SQL goes through psql. An archive that pg_restore can go to and fro in is loaded by several of its jobs at
//! once; any other one is turned into SQL by pg_restore while it streams by.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::RestoreError;
use super::convert::{Converter, hand_on_streamed};
use super::providing::Providing;
use super::psql::Psql;
use super::source::Checked;
use super::unpack::UnpackedDirectory;
use crate::content::{Content, Keys};
use crate::postgres::{Client, Version};
use crate::process::{Listener, ProgramError};
use crate::progress::Progress;
use crate::sql::Edited;

/// How a backup is loaded.
pub struct Loading<'a> {
    /// Talks to the database that it is loaded into.
    pub into: Client,
    /// The server's version.
    pub server: &'a Version,
    /// pg_restore's version.
    pub tool: &'a Version,
    /// How many jobs pg_restore may do at once.
    pub jobs: usize,
    /// What encrypted backups are opened with.
    pub keys: &'a Keys,
    /// Where a directory is unpacked to, which is a place on the backup volume.
    pub workplace: PathBuf,
    /// Whether the server lacks the roles and tablespaces that the backup names. All of it goes by as SQL then, in
    /// front of which they can be made.
    pub is_trial: bool,
}

/// What pg_restore reads.
pub(super) enum Archive<'a> {
    /// A file in which it may go to and fro.
    File(File),
    /// A directory.
    Directory(&'a Path),
}

impl Archive<'_> {
    /// Gives it to pg_restore.
    pub(super) fn add_to(self, command: &mut Command) {
        match self {
            // By that name each of its jobs opens the file anew.
            Self::File(file) => command.stdin(file).arg("/dev/stdin"),
            Self::Directory(path) => command.stdin(Stdio::null()).arg("--format=directory").arg(path),
        };
    }
}

impl Loading<'_> {
    /// Loads the backup.
    ///
    /// # Errors
    /// When psql or pg_restore fails, the backup cannot be read again, or a stop signal comes.
    pub fn load(&self, backup: &Checked) -> Result<(), RestoreError> {
        let loaded = self.load_by_content(backup);
        self.keys.runner.check().map_err(ProgramError::Interrupted)?;
        loaded?;
        backup.check_unchanged()
    }

    fn load_by_content(&self, backup: &Checked) -> Result<(), RestoreError> {
        match backup.content() {
            Content::Database | Content::Cluster => self.load_sql(backup),
            Content::Directory => self.load_archive(backup, Archive::Directory(backup.path())),
            Content::PackedDirectory => {
                let unpacked = UnpackedDirectory::of(backup, self.keys, &self.workplace)?;
                self.load_archive(backup, Archive::Directory(unpacked.path()))
            }
            Content::Custom => match backup.bare_file()? {
                Some(file) => self.load_archive(backup, Archive::File(file)),
                None => self.load_stream(backup),
            },
            Content::Tar => self.load_stream(backup),
        }
    }

    /// psql runs statement by statement and stops at the first error: nobody sees the scratch database, so one
    /// transaction around it all would add no safety, while its locks on every object of a large schema can
    /// exceed the server's `max_locks_per_transaction`.
    fn load_sql(&self, backup: &Checked) -> Result<(), RestoreError> {
        let mut psql = Psql::start(&self.into, self.is_trial, &self.keys.runner)?;
        let progress = self.progress(backup);
        let fed = backup.load(self.keys, |sql| self.feed(&mut psql, &mut progress.reader(sql)));
        psql.finish(fed).map_err(|error| error.of_backup(backup.label()))
    }

    fn load_archive(&self, backup: &Checked, archive: Archive) -> Result<(), RestoreError> {
        let is_too_new = self.tool.knows_transaction_timeout() && !self.server.knows_transaction_timeout();
        if is_too_new || self.is_trial {
            return self.load_converted(backup, Converter::start(archive, &self.keys.runner)?);
        }
        let runner = &self.keys.runner;
        let mut command = self.into.command("pg_restore");
        command.args(["--exit-on-error", "--no-password", "--dbname", self.into.database().as_str()]);
        command.arg(format!("--jobs={}", self.jobs)).env("PGOPTIONS", super::psql::session_options());
        archive.add_to(&mut command);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = runner.spawn(&mut command)?;
        let said = Listener::start(child.stderr.take());
        let progress = self.progress(backup);
        let exit = progress.follow(&child, backup.findings.bytes, || child.wait());
        progress.finish();
        let said = said.finish();
        match exit.success() {
            true => Ok(()),
            false => Err(runner.failure(command.get_program(), exit, &said).into()),
        }
    }

    fn load_converted(&self, backup: &Checked, converter: Converter) -> Result<(), RestoreError> {
        let mut psql = Psql::start(&self.into, self.is_trial, &self.keys.runner)?;
        // Nobody knows how long the SQL of a compressed archive will be.
        let progress = Progress::start(format!("loading {}", backup.label()), None);
        let fed = converter.hand_on(|sql| self.feed(&mut psql, &mut progress.reader(sql)));
        psql.finish(fed).map_err(|error| error.of_backup(backup.label()))
    }

    /// Hands SQL to psql, in a trial with what the server lacks.
    fn feed(&self, psql: &mut Psql, sql: &mut dyn Read) -> Result<(), RestoreError> {
        match self.is_trial {
            false => psql.feed(sql, self.server),
            true => psql.feed(&mut Edited::new(sql, Providing::new(self.into.user())), self.server),
        }
    }

    fn load_stream(&self, backup: &Checked) -> Result<(), RestoreError> {
        let progress = self.progress(backup);
        let mut psql = Psql::start(&self.into, self.is_trial, &self.keys.runner)?;
        let fed = hand_on_streamed(backup, self.keys, &progress, |sql| self.feed(&mut psql, sql));
        psql.finish(fed).map_err(|error| error.of_backup(backup.label()))
    }

    fn progress(&self, backup: &Checked) -> Progress {
        Progress::start(format!("loading {}", backup.label()), Some(backup.findings.bytes))
    }
}
