//! Runs pg_dump or pg_dumpall into an unpublished file or directory.

use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::BackupError;
use super::recipe::Recipe;
use super::stream::{self, StreamError, Written};
use crate::engine::content::{ContentError, DirectoryDigest, DumpChecker, Watcher, inspect_directory};
use crate::engine::restore::NeedsReader;
use crate::store::catalog::{Format, directory_size};
use crate::system::gpg::Gpg;
use crate::system::process::{Child, Listener, ProgramError, Runner};
use crate::system::progress::Progress;
use crate::util::open_dir::OpenDir;

/// A finished dump that has no name yet. Dropped unpublished, it is removed.
#[derive(Debug)]
pub struct Partial {
    /// Where it lies.
    pub place: OpenDir,
    /// Its name there.
    pub name: String,
    /// What is in it.
    pub written: Written,
    /// What its SQL asks of a server, for its manifest.
    pub needs: Option<Value>,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the publication the name is gone already. If the removal fails, the next run removes the file.
        let _ = self.place.remove_all(&self.name);
    }
}

/// Carries out `recipe` into a file or directory of this name in `place`.
///
/// # Errors
/// When pg_dump fails or ends early, gpg fails, the file cannot be written, or a stop signal comes. There is
/// nothing of that name then.
pub fn dump(
    runner: &Runner,
    recipe: Recipe,
    gpg: Option<&Gpg>,
    place: OpenDir,
    name: &str,
) -> Result<Partial, BackupError> {
    // From here on an error removes the file by the drop of `partial`.
    let (written, needs) = (Written::default(), None);
    let mut partial = Partial { place, name: name.to_owned(), written, needs };
    partial.written = match recipe.format {
        Format::Directory => dump_directory(runner, recipe, &partial)?,
        _ => {
            let mut reader = NeedsReader::default();
            let written = dump_file(runner, recipe, gpg, &partial, &mut reader)?;
            // The needs hold names of roles, so they are not stored in clear beside an encrypted dump.
            partial.needs = if gpg.is_some() { None } else { reader.record(written.dumped) };
            written
        }
    };
    Ok(partial)
}

fn dump_file(
    runner: &Runner,
    mut recipe: Recipe,
    gpg: Option<&Gpg>,
    partial: &Partial,
    watcher: &mut dyn Watcher,
) -> Result<Written, BackupError> {
    let file = partial.place.create_file(&partial.name, 0o644).map_err(write_error)?;
    let command = recipe.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = runner.spawn(command)?;
    let said = Listener::start(child.stderr.take());
    let progress = Progress::start_like(format!("dumping {}", recipe.what), recipe.last_dumped);
    let copied = match child.stdout.take() {
        Some(stdout) => {
            // A larger pipe lets pg_dump run ahead. It does not matter if the system refuses the size.
            let _ = fcntl(stdout.as_fd(), FcntlArg::F_SETPIPE_SZ(1 << 20));
            let inspector = DumpChecker::new(runner.clone());
            let stdout = runner.activity().reader(progress.reader(stdout));
            stream::copy(stdout, file, recipe.compression, gpg, inspector, watcher)
        }
        None => Err(StreamError::Dump(ContentError::Empty)),
    };
    if copied.is_err() {
        // Its output is no longer read, so it is ended at once.
        child.signaller().signal(Signal::SIGTERM);
    }
    finish_dump(runner, &recipe.command, &child, said, copied)
}

fn finish_dump(
    runner: &Runner,
    command: &Command,
    child: &Child,
    said: Listener,
    copied: Result<Written, StreamError>,
) -> Result<Written, BackupError> {
    let exit = child.wait();
    let said = said.finish();
    runner.check().map_err(ProgramError::Interrupted)?;
    // A truncated dump is usually the result of a pg_dump that failed: then pg_dump's error is reported.
    let is_by_it = match &copied {
        Ok(_) => true,
        Err(StreamError::Dump(error)) => error.is_damage(),
        Err(_) => false,
    };
    match copied {
        _ if is_by_it && !exit.success() => Err(runner.failure(command.get_program(), exit, &said).into()),
        Err(StreamError::Dump(ContentError::Truncated | ContentError::Empty)) => Err(BackupError::Incomplete),
        copied => copied.map_err(BackupError::Write),
    }
}

fn dump_directory(runner: &Runner, mut recipe: Recipe, partial: &Partial) -> Result<Written, BackupError> {
    let directory = partial.place.make_private(&partial.name, 0o755).map_err(write_error)?;
    // pg_dump reaches the opened directory by this path, even if the name now leads elsewhere. It does not read its
    // standard input.
    let command = recipe.command.arg("--file=/dev/stdin").stdin(directory.to_file().map_err(write_error)?);
    let mut child = runner.spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
    let said = Listener::start(child.stderr.take());
    let growing = directory.clone();
    let measure = move || Some(directory_size(&growing));
    let progress = Progress::of_others(format!("dumping {}", recipe.what), recipe.last_dumped, measure);
    let exit = child.wait();
    progress.finish();
    let said = said.finish();
    if !exit.success() {
        return Err(runner.failure(command.get_program(), exit, &said).into());
    }
    // The files are read twice: for their checksums, and by pg_restore.
    let total = 2 * directory_size(&directory);
    let progress = Progress::start(format!("checking {}", recipe.what), Some(total));
    flush(&directory).map_err(write_error)?;
    let inspected = DirectoryDigest::of(&directory, runner, &progress).and_then(|listing| {
        inspect_directory(&directory, listing.size, runner, &progress)?;
        Ok(listing)
    });
    progress.finish();
    runner.check().map_err(ProgramError::Interrupted)?;
    let listing = inspected.map_err(|error| BackupError::Write(StreamError::Dump(error)))?;
    Ok(Written { sha256: listing.sha256, size: listing.size, dumped: listing.size })
}

/// Flushes a directory and all files in it to disk.
fn flush(directory: &OpenDir) -> io::Result<()> {
    for name in directory.names()? {
        directory.open_file(name)?.sync_all()?;
    }
    directory.sync()
}

fn write_error(error: io::Error) -> BackupError {
    BackupError::Write(StreamError::Write(error))
}
