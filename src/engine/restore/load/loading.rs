//! Loads a checked backup into an empty database.
//!
//! SQL is loaded by psql, an archive by pg_restore: with several jobs if it can seek in the archive, else with one
//! that reads a stream, so that nothing decrypted is written to a disk.

use std::io::Read;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::adapt::hand_on_adapted;
use super::keep_going;
use super::linked::LinkedDirectory;
use super::listener::{Heard, Listener};
use super::places::{Entries, NamingEntries, OwnLines};
use super::psql::{LOADS, Manner, Psql};
use super::unpack::UnpackedDirectory;
use crate::engine::content::{Content, DecryptionContext};
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::options::SearchPath;
use crate::engine::restore::source::{
    Archive, Checked, Converter, Input, Listed, Selection, feed_archive, hand_on_streamed,
};
use crate::formats::sql::{Edit, Edited, Editor, Refusal};
use crate::postgres::quote::literal;
use crate::postgres::{Client, Version};
use crate::system::process::{Child, Exit, ProgramError};
use crate::system::progress::Progress;
use crate::util::open_dir::OpenDir;

/// Settings of a load.
pub struct Loading<'a> {
    /// A client of the database to load into.
    pub into: Client,
    /// The server's version.
    pub server: &'a Version,
    /// pg_restore's version.
    pub tool: &'a Version,
    /// The number of pg_restore's parallel jobs.
    pub jobs: usize,
    /// Opens encrypted backups.
    pub decryption: &'a DecryptionContext,
    /// The directory for temporary files, such as an unpacked directory dump.
    pub workplace: OpenDir,
    /// The search path during the load, in place of pg_dump's empty one.
    pub search_path: Option<&'a SearchPath>,
    /// Whether to go on after failed statements, and log them.
    pub keep_going: bool,
}

/// A function that takes SQL to load.
type Take<'t> = &'t mut dyn FnMut(&mut dyn Read) -> Result<(), RestoreError>;

impl Loading<'_> {
    /// Loads the backup. Returns the number of failed statements, which is 0 unless `keep_going` is set.
    ///
    /// # Errors
    /// When psql or pg_restore fails, the backup cannot be read again, or a stop signal comes.
    pub fn load(&self, backup: &Checked) -> Result<u64, RestoreError> {
        let loaded = self.load_by_content(backup).map_err(|error| error.of_backup(backup.label()));
        self.decryption.runner.check().map_err(ProgramError::Interrupted)?;
        let heard = loaded?;
        if backup.content() != Content::Directory {
            backup.check_unchanged()?;
        }
        Ok(if self.keep_going { heard.count } else { 0 })
    }

    /// Whether the backup is loaded with several jobs.
    pub fn is_parallel(&self, backup: &Checked) -> Result<bool, RestoreError> {
        let goes_to_and_fro = match backup.content() {
            Content::Directory | Content::PackedDirectory => true,
            Content::Custom => backup.bare_file()?.is_some(),
            Content::Database | Content::Cluster | Content::Tar => false,
        };
        Ok(self.jobs > 1 && goes_to_and_fro && !self.is_converted())
    }

    /// Whether archives are converted to SQL for psql, because statements must be edited.
    fn is_converted(&self) -> bool {
        let is_too_new = self.tool.knows_transaction_timeout() && !self.server.knows_transaction_timeout();
        is_too_new || self.search_path.is_some() || !self.into.server().takes_options
    }

    fn load_by_content(&self, backup: &Checked) -> Result<Heard, RestoreError> {
        match backup.content() {
            Content::Database | Content::Cluster => self.load_sql(backup),
            Content::Directory => self.load_directory(backup),
            Content::PackedDirectory => {
                let unpacked = UnpackedDirectory::of(backup, self.decryption, &self.workplace)?;
                self.load_archive(backup, Archive::Directory(unpacked.directory()))
            }
            Content::Custom => match backup.bare_file()? {
                Some(file) => self.load_archive(backup, Archive::File(file)),
                None => self.load_stream(backup),
            },
            Content::Tar => self.load_stream(backup),
        }
    }

    fn load_directory(&self, backup: &Checked) -> Result<Heard, RestoreError> {
        let Some(linked) = LinkedDirectory::of(backup, &self.workplace)? else {
            let heard = self.load_archive(backup, Archive::Directory(&backup.directory()?))?;
            return backup.check_unchanged().map(|()| heard);
        };
        let heard = self.load_archive(backup, Archive::Directory(linked.directory()))?;
        linked.check(backup).map(|()| heard)
    }

    /// psql stops at the first error. There is no transaction around the whole load: the scratch database is not in
    /// use by others, and locks on every object of a large schema can exceed the server's `max_locks_per_transaction`.
    fn load_sql(&self, backup: &Checked) -> Result<Heard, RestoreError> {
        let mut psql = self.psql(None)?;
        let progress = self.progress(backup);
        let fed = backup.load(self.decryption, |sql| self.feed(backup, &mut psql, &mut progress.reader(sql)));
        psql.finish(fed)
    }

    fn psql(&self, entries: Option<Entries>) -> Result<Psql, RestoreError> {
        let manner = Manner { goes_on: self.keep_going, entries, ..Manner::default() };
        Psql::start(&self.into, manner, &self.decryption.runner)
    }

    /// Feeds SQL to psql.
    fn feed(&self, backup: &Checked, psql: &mut Psql, sql: &mut dyn Read) -> Result<(), RestoreError> {
        let editor = LoadEditor { search_path: self.search_path };
        hand_on_adapted(backup.needs(), sql, |sql| match (self.keep_going, self.search_path) {
            (true, _) => keep_going::feed(psql, sql, editor, self.server),
            (false, Some(_)) => psql.feed(&mut Edited::new(sql, editor), self.server),
            (false, None) => psql.feed(sql, self.server),
        })
    }

    fn load_archive(&self, backup: &Checked, archive: Archive) -> Result<Heard, RestoreError> {
        let runner = &self.decryption.runner;
        if self.is_converted() {
            // The size of the SQL of a compressed archive is unknown.
            let progress = Progress::start(format!("loading {}", backup.label()), None);
            let converter = Converter::start(archive, runner)?;
            let hand_on = |take: Take| converter.hand_on(|sql| take(&mut progress.reader(sql)));
            return self.load_converted(backup, hand_on);
        }
        let mut command = self.pg_restore();
        command.arg(format!("--jobs={}", self.jobs));
        let share = || archive.share().map(Input::Archive).map_err(RestoreError::Convert);
        let selection = self.selection(backup, share)?;
        selection.iter().for_each(|selection| selection.add_to(&mut command));
        archive.add_to(&mut command).map_err(RestoreError::Convert)?;
        let (child, said) = self.start(&mut command)?;
        let progress = self.progress(backup);
        let exit = progress.follow(&child, backup.check_result.bytes, || child.wait());
        progress.finish();
        self.judge(exit, said)
    }

    /// Loads an archive that is streamed to pg_restore.
    fn load_stream(&self, backup: &Checked) -> Result<Heard, RestoreError> {
        let progress = self.progress(backup);
        if self.is_converted() {
            let hand_on = |take: Take| hand_on_streamed(backup, self.decryption, &progress, take);
            return self.load_converted(backup, hand_on);
        }
        let mut command = self.pg_restore();
        let again = || backup.unpacked(self.decryption).map(|archive| Input::Stream(Box::new(archive)));
        let selection = self.selection(backup, again)?;
        selection.iter().for_each(|selection| selection.add_to(&mut command));
        command.stdin(Stdio::piped());
        let (mut child, said) = self.start(&mut command)?;
        let input = child.stdin.take();
        let fed = backup.load(self.decryption, |archive| match input {
            Some(mut input) => feed_archive(&mut progress.reader(archive), &mut input),
            None => Ok(()),
        });
        if fed.is_err() {
            // Killed, as pg_restore may read endlessly after an early end of its input.
            child.signaller().signal(Signal::SIGKILL);
        }
        let finished = self.judge(child.wait(), said);
        fed.and(finished)
    }

    /// The entries to load. `None` for all.
    fn selection<'i>(
        &self,
        backup: &Checked,
        input: impl FnOnce() -> Result<Input<'i>, RestoreError>,
    ) -> Result<Option<Selection>, RestoreError> {
        if backup.needs().makes_public_schema {
            let listed = Listed::of(input()?, &self.decryption.runner)?;
            listed.without_public_schema().map(Some).map_err(RestoreError::Convert)
        } else {
            Ok(None)
        }
    }

    /// The command of pg_restore with the connection to the database.
    fn pg_restore(&self) -> Command {
        let mut command = self.into.command("pg_restore");
        // Without --verbose, pg_restore does not name the failed entry.
        command.args(["--no-password", "--verbose"]);
        self.into.server().set_up(&mut command, &LOADS);
        command.env("LC_ALL", "C");
        if !self.keep_going {
            command.arg("--exit-on-error");
        }
        command
    }

    fn start(&self, command: &mut Command) -> Result<(Child, Listener), RestoreError> {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.decryption.runner.spawn(command)?;
        let said = Listener::start(child.stderr.take(), OwnLines::default().places(None), self.keep_going);
        Ok((child, said))
    }

    /// Judges the end of pg_restore.
    fn judge(&self, exit: Exit, said: Listener) -> Result<Heard, RestoreError> {
        let said = said.finish();
        match exit {
            exit if exit.success() => Ok(said),
            // Exit status when it went on after failed statements.
            Exit::Code(1) if self.keep_going && said.is_of_statements() => Ok(said),
            exit => {
                let error = self.decryption.runner.failure("pg_restore".as_ref(), exit, &said.tail());
                Err(said.load_error(error))
            }
        }
    }

    /// Loads the SQL of an archive by psql. `hand_on` provides the SQL.
    fn load_converted(
        &self,
        backup: &Checked,
        hand_on: impl FnOnce(Take) -> Result<(), RestoreError>,
    ) -> Result<Heard, RestoreError> {
        let entries = Entries::default();
        let mut psql = self.psql(Some(entries.clone()))?;
        let mut take =
            |sql: &mut dyn Read| self.feed(backup, &mut psql, &mut NamingEntries::new(sql, entries.clone()));
        let fed = hand_on(&mut take);
        psql.finish(fed)
    }

    fn progress(&self, backup: &Checked) -> Progress {
        Progress::start(format!("loading {}", backup.label()), Some(backup.check_result.bytes))
    }
}

/// The statement by which pg_dump empties the search path.
const EMPTY_SEARCH_PATH: &[u8] = b"SELECT pg_catalog.set_config('search_path', '', false);";

/// Replaces the search path of the dump.
struct LoadEditor<'a> {
    search_path: Option<&'a SearchPath>,
}

impl Editor for LoadEditor<'_> {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        Ok(match self.search_path {
            Some(list) if head == EMPTY_SEARCH_PATH => {
                let list = literal(list.as_str());
                Edit::Replace(
                    format!("SELECT pg_catalog.set_config('search_path', {list}, false);").into_bytes(),
                )
            }
            _ => Edit::Keep,
        })
    }
}
