//! Has pg_restore convert an archive to SQL.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;

use super::checked::Checked;
use crate::engine::content::DecryptionContext;
use crate::engine::restore::error::RestoreError;
use crate::settings::remove_secrets;
use crate::system::process::{Child, Listener, ProgramError, Runner};
use crate::system::progress::Progress;
use crate::util::open_dir::OpenDir;

/// An archive that pg_restore can seek in.
pub enum Archive<'a> {
    /// A file.
    File(File),
    /// A directory.
    Directory(&'a OpenDir),
}

impl Archive<'_> {
    /// Duplicates the handle.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn share(&self) -> io::Result<Self> {
        Ok(match self {
            Self::File(file) => Self::File(file.try_clone()?),
            Self::Directory(directory) => Self::Directory(directory),
        })
    }

    /// Makes it the input of pg_restore.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn add_to(self, command: &mut Command) -> io::Result<()> {
        match self {
            Self::File(file) => command.stdin(file),
            Self::Directory(directory) => command.stdin(directory.to_file()?).arg("--format=directory"),
        };
        // By this path each job opens the file again, and the directory is the opened one, even if its path was
        // replaced.
        command.arg("/dev/stdin");
        Ok(())
    }
}

/// A running pg_restore without a connection to a server.
#[derive(Debug)]
pub struct Converter {
    child: Child,
    said: Listener,
    runner: Runner,
}

impl Converter {
    /// Starts the conversion of an archive.
    ///
    /// # Errors
    /// When pg_restore cannot be started, or a stop signal has come.
    pub fn start(archive: Archive, runner: &Runner) -> Result<Self, ProgramError> {
        let mut command = command();
        archive.add_to(&mut command).map_err(|error| ProgramError::Start("pg_restore".into(), error))?;
        Self::run(command, runner)
    }

    fn run(mut command: Command, runner: &Runner) -> Result<Self, ProgramError> {
        let mut child = runner.spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let said = Listener::start(child.stderr.take());
        Ok(Self { child, said, runner: runner.clone() })
    }

    /// Passes the SQL to `take`.
    ///
    /// # Errors
    /// When `take` fails, or pg_restore does.
    pub fn hand_on(
        mut self,
        take: impl FnOnce(&mut dyn Read) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let taken = self.child.stdout.take().map_or(Ok(()), |mut sql| take(&mut sql));
        self.finish(taken)
    }

    /// Kills it, as its output is no longer read.
    fn abandon(&self) {
        self.child.signaller().signal(Signal::SIGKILL);
    }

    /// Waits for its end. `fed` is the result of reading its output.
    fn finish(self, fed: Result<(), RestoreError>) -> Result<(), RestoreError> {
        if !matches!(fed, Ok(()) | Err(RestoreError::Convert(_))) {
            self.abandon();
        }
        let exit = self.child.wait();
        let said = self.said.finish();
        match fed {
            // pg_restore's message says more than that it stopped reading.
            Err(RestoreError::Convert(_)) | Ok(()) if !exit.success() => {
                Err(self.runner.failure("pg_restore".as_ref(), exit, &said).into())
            }
            fed => fed,
        }
    }
}

/// The input of pg_restore.
pub enum Input<'a> {
    /// An archive that it can seek in.
    Archive(Archive<'a>),
    /// A stream, read from its beginning.
    Stream(Box<dyn Read + Send>),
}

/// Passes pg_restore's output to `take`. `configure` adds its options. Of a stream it reads no more than it needs:
/// without rows, the table of contents.
///
/// # Errors
/// When `take` fails, or pg_restore does.
pub fn hand_on(
    input: Input,
    configure: impl FnOnce(&mut Command),
    runner: &Runner,
    take: impl FnOnce(&mut dyn Read) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let mut command = command();
    configure(&mut command);
    let mut stream = match input {
        Input::Archive(archive) => {
            archive.add_to(&mut command).map_err(RestoreError::Convert)?;
            return Converter::run(command, runner)?.hand_on(take);
        }
        Input::Stream(stream) => stream,
    };
    command.stdin(Stdio::piped());
    let mut converter = Converter::run(command, runner)?;
    let Some(mut input) = converter.child.stdin.take() else { return converter.hand_on(take) };
    thread::scope(|scope| {
        // Errors are left to pg_restore's exit status.
        scope.spawn(move || feed_archive(&mut stream, &mut input));
        converter.hand_on(take)
    })
}

/// Passes the SQL of an archive that is streamed from beginning to end to `take`.
///
/// # Errors
/// When `take` fails, pg_restore does, or the backup cannot be read.
pub fn hand_on_streamed(
    backup: &Checked,
    decryption: &DecryptionContext,
    progress: &Progress,
    take: impl FnOnce(&mut dyn Read) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let mut command = command();
    command.stdin(Stdio::piped());
    let mut converter = Converter::run(command, &decryption.runner)?;
    let closed = || ProgramError::Start("pg_restore".into(), io::ErrorKind::BrokenPipe.into());
    let mut input = converter.child.stdin.take().ok_or_else(closed)?;
    let signaller = converter.child.signaller();
    let taken = thread::scope(|scope| {
        let feeding = scope.spawn(move || {
            let read = backup.load(decryption, |dump| feed_archive(&mut progress.reader(dump), &mut input));
            if matches!(
                read,
                Err(RestoreError::Read(_) | RestoreError::Content(..) | RestoreError::Changed(_))
            ) {
                // Killed, as pg_restore may read endlessly after an early end of its input.
                signaller.signal(Signal::SIGKILL);
            }
            read
        });
        let taken = converter.child.stdout.take().map_or(Ok(()), |mut sql| take(&mut sql));
        if taken.is_err() {
            converter.abandon();
        }
        let read = feeding.join();
        let read = read.unwrap_or_else(|_| Err(RestoreError::Read(io::ErrorKind::BrokenPipe.into())));
        // When `take` fails, pg_restore stops reading as a consequence; the error of `take` is the cause.
        taken.and(read)
    });
    converter.finish(taken)
}

/// Copies an archive to pg_restore.
///
/// # Errors
/// When it cannot be read, or pg_restore stops reading.
pub fn feed_archive(archive: &mut dyn Read, input: &mut ChildStdin) -> Result<(), RestoreError> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match archive.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => match input.write_all(&chunk[..length]) {
                Ok(()) => {}
                // It does not read the end, such as the SQL at that of a tar archive, or its exit status tells the
                // error.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(RestoreError::Convert(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RestoreError::Read(error)),
        }
    }
}

fn command() -> Command {
    let mut command = Command::new("pg_restore");
    command.arg("--file=-");
    remove_secrets(&mut command);
    command
}
