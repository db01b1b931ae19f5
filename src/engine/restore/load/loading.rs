//! Loads a checked backup into a database that is empty.
//!
//! SQL goes through psql, an archive through pg_restore: with several jobs at once where it can go to and fro in the
//! archive, else with one that reads the archive while it streams by, so that it need not lie anywhere decrypted.

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

/// How a backup is loaded.
pub struct Loading<'a> {
    /// Talks to the database that it is loaded into.
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
    /// The search path of the load, in place of pg_dump's.
    pub search_path: Option<&'a SearchPath>,
    /// Whether it goes on after statements that fail, and lists them.
    pub keep_going: bool,
}

/// Takes SQL that is to be loaded.
type Take<'t> = &'t mut dyn FnMut(&mut dyn Read) -> Result<(), RestoreError>;

impl Loading<'_> {
    /// Loads the backup, and answers how many statements have failed, which none may unless it keeps going.
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

    /// Whether it loads a backup with several jobs.
    pub fn is_parallel(&self, backup: &Checked) -> Result<bool, RestoreError> {
        let goes_to_and_fro = match backup.content() {
            Content::Directory | Content::PackedDirectory => true,
            Content::Custom => backup.bare_file()?.is_some(),
            Content::Database | Content::Cluster | Content::Tar => false,
        };
        Ok(self.jobs > 1 && goes_to_and_fro && !self.is_converted())
    }

    /// Whether archives go by as SQL: it has something in it that must be changed on its way.
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

    /// psql runs statement by statement and stops at the first error: nobody sees the scratch database, so one
    /// transaction around it all would add no safety, while its locks on every object of a large schema can
    /// exceed the server's `max_locks_per_transaction`.
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

    /// Hands SQL to psql.
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
            // Nobody knows how long the SQL of a compressed archive will be.
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

    /// Has one pg_restore load an archive while it streams by.
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

    /// What pg_restore is to load of an archive, where that is not all of it.
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

    /// pg_restore, told what it loads into.
    fn pg_restore(&self) -> Command {
        let mut command = self.into.command("pg_restore");
        // Without --verbose it does not say which entry has failed.
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

    /// What the end of a pg_restore means.
    fn judge(&self, exit: Exit, said: Listener) -> Result<Heard, RestoreError> {
        let said = said.finish();
        match exit {
            exit if exit.success() => Ok(said),
            // So it ends when statements have failed, and was to go on.
            Exit::Code(1) if self.keep_going && said.is_of_statements() => Ok(said),
            exit => {
                let error = self.decryption.runner.failure("pg_restore".as_ref(), exit, &said.tail());
                Err(said.load_error(error))
            }
        }
    }

    /// Has psql load the SQL of an archive; `hand_on` hands that on.
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

/// What pg_dump's SQL says in front of all else of the search path.
const EMPTY_SEARCH_PATH: &[u8] = b"SELECT pg_catalog.set_config('search_path', '', false);";

/// Changes what is loaded as the request says.
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
