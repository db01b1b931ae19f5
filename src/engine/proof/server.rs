//! A temporary PostgreSQL server that only this process can reach. It is removed with all its files.

use std::cell::RefCell;
use std::env;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::SFlag;
use nix::unistd::{Uid, User, fchown};
use thiserror::Error;

use super::statement_error::{LOG_LINE_PREFIX, StatementError};
use crate::postgres::{Client, Login, Server};
use crate::store::catalog::{DatabaseName, DirectoryError};
use crate::store::record_file;
use crate::system::process::{Child, Interrupted, ProgramError, Runner};
use crate::util::leftovers::{self, Held};
use crate::util::open_dir::{OpenDir, kind};

/// Why the temporary server cannot be used.
#[derive(Debug, Error)]
pub enum ServerError {
    /// PostgreSQL's programs for servers are not on this machine.
    #[error("a restore proof needs the PostgreSQL server programs, but {0} is not in PATH")]
    NoPrograms(String),
    /// The process is root, as whom PostgreSQL does not run, and there is no user postgres.
    #[error("a restore proof as root needs a user postgres, which does not exist here")]
    NoUser,
    /// The server's user cannot enter this directory, which is above that of the server.
    #[error("user postgres, who runs the restore proof, cannot enter {0}: run chmod a+x {0}")]
    Unreachable(PathBuf),
    /// The directory for temporary files cannot be opened.
    #[error(transparent)]
    Directory(DirectoryError),
    /// A file or directory of the server cannot be created.
    #[error("cannot make {0}: {1}")]
    Place(PathBuf, #[source] io::Error),
    /// A program failed, or a stop signal came.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It did not start; the end of its log.
    #[error("the server of the proof did not start: {0}")]
    Ended(String),
}

impl From<Interrupted> for ServerError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Program(ProgramError::Interrupted(interrupted))
    }
}

/// The server's superuser, who runs all statements.
const SUPERUSER: &str = "postgres";
/// Time limit for the start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Number of log lines in an error.
const LOG_LINES: usize = 5;

/// Small, without network, and without durability, as the server is temporary.
const SETTINGS: [&str; 16] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "shared_buffers=32MB",
    "max_connections=20",
    "max_wal_size=512MB",
    "checkpoint_timeout=1h",
    "max_parallel_workers=0",
    "jit=off",
    LOG_LINE_PREFIX,
    // Statements, which may have data in them, are not logged.
    "log_min_error_statement=panic",
];

/// Prefix of the temporary directories of proofs: for sockets, and for servers when the backup volume has no room.
pub(super) const TEMPORARY_PREFIX: &str = "backupgram-proof-";

/// Removes the temporary directories of proofs that were killed. What cannot be removed stays.
pub fn cleanup_temporary_directories() {
    leftovers::sweep(&env::temp_dir(), TEMPORARY_PREFIX, |_| true);
}

/// Enters the server's directory by an open descriptor, so that replacing a directory above it has no effect.
const ENTER: &str = "exec 9<. && cd / && ";
/// The path of that directory in programs started by [`ENTER`].
const DATA: &str = "/proc/self/fd/9";
/// Runs a server until standard input ends, which happens however this process ends.
const GUARD: &str = r#"trap : TERM INT HUP QUIT; "$@" & read -r _; kill -s QUIT $!; wait $!"#;

/// The server. It is stopped and removed when dropped.
#[derive(Debug)]
pub struct PrivateServer {
    guard: RefCell<Option<(Child, Option<ChildStdin>)>>,
    workplace: OpenDir,
    name: String,
    /// Owned by this process's user. Code in a dump, which runs as the server's user, must not be able to write there.
    place: OpenDir,
    /// The data directory, owned by the server's user.
    data: OpenDir,
    log: File,
    socket: Held,
    runner: Runner,
    owner: Option<User>,
}

impl PrivateServer {
    /// Creates a server beneath `workplace`, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it cannot be made, or a stop signal comes.
    pub fn start(workplace: &OpenDir, runner: &Runner) -> Result<Self, ServerError> {
        for program in ["initdb", "postgres"] {
            find(program).ok_or_else(|| ServerError::NoPrograms(program.into()))?;
        }
        let owner = if Uid::effective().is_root() {
            Some(User::from_name("postgres").ok().flatten().ok_or(ServerError::NoUser)?)
        } else {
            None
        };
        let name = format!("proof.{}", std::process::id());
        let failed = |error| ServerError::Place(workplace.path().join(&name), error);
        cleanup_temporary_directories();
        let temporary = env::temp_dir();
        let socket = Held::make(&temporary, TEMPORARY_PREFIX, 0o700);
        let socket = socket.map_err(|error| ServerError::Place(temporary, error))?;
        let place = workplace.make_private(&name, 0o711).map_err(failed)?;
        let made =
            place.make_private("data", 0o700).and_then(|data| Ok((data, place.create_file("log", 0o644)?)));
        let (data, log) = made.map_err(|error| {
            let _ = workplace.remove_all(&name);
            failed(error)
        })?;
        let (guard, workplace, runner) = (RefCell::new(None), workplace.clone(), runner.clone());
        let server = Self { guard, workplace, name, place, data, log, socket, runner, owner };
        server.give_away()?;
        server.init()?;
        server.run(&[])?;
        Ok(server)
    }

    /// A client of a database of the server.
    pub fn client(&self, database: &DatabaseName) -> Client {
        let server = Server {
            host: self.socket.path().display().to_string(),
            port: 5432,
            user: SUPERUSER.into(),
            login: Login::None,
            connect_timeout: 30,
            takes_options: true,
            is_private: true,
        };
        Client::new(server, database.clone(), self.runner.clone())
    }

    /// Creates an empty file beside the data directory, replacing an earlier one of that name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_file(&self, name: &str) -> io::Result<File> {
        self.place.remove_file(name)?;
        self.place.create_file(name, 0o600)
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.guard.borrow().as_ref().is_some_and(|(guard, _)| guard.signaller().is_running())
    }

    /// The last statement error in its log, if any.
    pub fn last_error(&self) -> Option<StatementError> {
        let last = self.place.open_file("log").and_then(StatementError::last_in);
        last.unwrap_or_else(|error| {
            log::debug!("cannot read the log of the proof's server: {error}");
            None
        })
    }

    /// The size of its files on the disk, in bytes.
    pub fn size(&self) -> u64 {
        size_of(&self.place).unwrap_or_default()
    }

    /// Makes the server's user the owner of the data directory and the socket directory.
    fn give_away(&self) -> Result<(), ServerError> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let directories =
            [(self.data.as_fd(), self.data.path()), (self.socket.as_file().as_fd(), self.socket.path())];
        for (opened, path) in directories {
            // By descriptor, as the paths may have been replaced.
            fchown(opened, Some(owner.uid), Some(owner.gid))
                .map_err(|error| ServerError::Place(path.to_path_buf(), error.into()))?;
        }
        let is_shut = |path: &&Path| {
            fs::metadata(path).is_ok_and(|found| {
                let (mode, uid, gid) = (found.mode(), owner.uid.as_raw(), owner.gid.as_raw());
                let bit = if found.uid() == uid {
                    0o100
                } else if found.gid() == gid {
                    0o010
                } else {
                    0o001
                };
                mode & bit == 0
            })
        };
        let path = self.place.path();
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        match real.ancestors().skip(1).find(is_shut) {
            Some(path) => Err(ServerError::Unreachable(path.to_path_buf())),
            None => Ok(()),
        }
    }

    /// A shell command that runs as the server's user with an almost empty environment. The data directory is [`DATA`]
    /// there.
    fn command(&self, lines: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{ENTER}{lines}")).arg("sh");
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
        command.current_dir(self.data.path_of_child());
        if let Some(owner) = &self.owner {
            command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
        }
        command
    }

    fn init(&self) -> Result<(), ServerError> {
        let mut command = self.command(r#"exec "$@""#);
        command.args(["initdb", "--pgdata", DATA]).arg(format!("--username={SUPERUSER}"));
        command.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
        self.runner.run(&mut command, b"")?;
        Ok(())
    }

    /// Restarts it with further settings, each `name=value`.
    ///
    /// # Errors
    /// When it does not start, or a stop signal comes.
    pub fn restart(&self, settings: &[String]) -> Result<(), ServerError> {
        self.stop();
        self.run(settings)
    }

    fn stop(&self) {
        if let Some((guard, stdin)) = self.guard.take() {
            drop(stdin);
            guard.wait();
        }
    }

    fn run(&self, settings: &[String]) -> Result<(), ServerError> {
        let failed = |error| ServerError::Place(self.place.path().join("log"), error);
        let log = self.fresh_log().map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let mut command = self.command(GUARD);
        command.args(["postgres", "-D", DATA, "-k"]).arg(self.socket.path());
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        command.stdin(Stdio::piped()).stdout(log).stderr(errors);
        let mut guard = self.runner.spawn(&mut command)?;
        let stdin = guard.stdin.take();
        self.guard.replace(Some((guard, stdin)));
        let client = self.client(&DatabaseName::maintenance());
        let begun = Instant::now();
        while !client.is_ready()? {
            if !self.is_running() || begun.elapsed() > START_LIMIT {
                return Err(ServerError::Ended(
                    self.place.open_file("log").and_then(tail).unwrap_or_default(),
                ));
            }
            self.runner.sleep(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// The log, emptied for another start.
    fn fresh_log(&self) -> io::Result<File> {
        self.log.set_len(0)?;
        let mut log = self.log.try_clone()?;
        log.rewind()?;
        Ok(log)
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.stop();
        // By descriptor, so that the files are removed even if the directory was moved.
        let removed = self.place.clear().and_then(|()| self.workplace.remove_all(&self.name));
        if let Err(error) = removed {
            log::warn!("cannot remove {} now; the next run does: {error}", self.place.path().display());
        }
    }
}

/// The path of a program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn tail(log: File) -> io::Result<String> {
    let (text, _) = record_file::read_end(&log, LONGEST_TAIL)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES)..].join(" | "))
}

/// Bytes at the end of the log that are read for its last lines.
const LONGEST_TAIL: u64 = 64 << 10;

fn size_of(directory: &OpenDir) -> io::Result<u64> {
    let mut size = 0;
    for name in directory.names()? {
        let Ok(found) = directory.status(&name) else { continue };
        size += match kind(&found) {
            SFlag::S_IFDIR => directory.dir(&name).and_then(|below| size_of(&below)).unwrap_or_default(),
            _ => found.st_blocks.unsigned_abs() * 512,
        };
    }
    Ok(size)
}
