//! One database through pg_dump into an unpublished file.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;

use super::BackupError;
use super::stream::{self, StreamError, Written};
use crate::catalog::DatabaseName;
use crate::durable;
use crate::postgres::Server;
use crate::process::{Child, ProgramError, Runner, Tail, for_each_line};
use crate::progress::Progress;
use crate::settings::Subject;

/// Lines of pg_dump's standard error that a failure's message carries.
const ERROR_LINES: usize = 5;

/// A finished dump that has no name yet. Dropped unpublished, it is removed.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    /// What is in it.
    pub written: Written,
}

impl Partial {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Published: the name is gone already. Not published: the next run sweeps what stays.
        let _ = durable::remove_if_there(&self.path);
    }
}

/// Dumps `database` into a file at `path`.
///
/// # Errors
/// When pg_dump fails or ends early, the file cannot be written, or a stop signal comes. There is no file
/// then.
pub fn dump(
    runner: &Runner,
    server: &Server,
    subject: &Subject,
    database: &DatabaseName,
    path: PathBuf,
) -> Result<Partial, BackupError> {
    let file = File::options().write(true).create_new(true).mode(0o644).open(&path);
    let file = file.map_err(|error| BackupError::Write(StreamError::Write(error)))?;
    // From here on the file is removed whatever happens.
    let mut partial = Partial { path, written: Written { sha256: String::new(), size: 0, complete: false } };
    let mut command = command(server, subject, database);
    let child = runner.spawn(&mut command)?;
    let progress = Progress::start(format!("dumping {database}"), None);
    partial.written = drain(runner, &command, child, file, subject, &progress)?;
    match partial.written.complete {
        true => Ok(partial),
        false => Err(BackupError::Incomplete),
    }
}

fn command(server: &Server, subject: &Subject, database: &DatabaseName) -> Command {
    let mut command = server.command("pg_dump", database);
    command.args(["--format=plain", "--compress=0", "--no-password"]);
    command.args(&subject.options.rest);
    command.args(subject.excluded_tables.iter().map(|pattern| format!("--exclude-table={pattern}")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn drain(
    runner: &Runner,
    command: &Command,
    mut child: Child,
    file: File,
    subject: &Subject,
    progress: &Progress,
) -> Result<Written, BackupError> {
    let mut said = Tail::new(ERROR_LINES);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let copied = thread::scope(|scope| {
        scope.spawn(|| {
            if let Some(stderr) = stderr {
                for_each_line(stderr, |line| {
                    log::info!("{line}");
                    said.push(line);
                });
            }
        });
        let Some(stdout) = stdout else { return Err(BackupError::Incomplete) };
        // A larger pipe lets pg_dump run ahead. More than the system allows is refused, and no harm.
        let _ = fcntl(stdout.as_fd(), FcntlArg::F_SETPIPE_SZ(1 << 20));
        let copied = stream::copy(progress.reader(stdout), file, subject.options.compression);
        if copied.is_err() {
            // Nobody reads its output any more; it need not find out by itself.
            child.signaller().signal(Signal::SIGTERM);
        }
        copied.map_err(BackupError::Write)
    });
    let exit = child.wait();
    runner.check().map_err(ProgramError::Interrupted)?;
    let written = copied?;
    match exit.success() {
        true => Ok(written),
        false => Err(runner.failure(command.get_program(), exit, &said).into()),
    }
}
