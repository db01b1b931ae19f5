//! A PostgreSQL server of our own, for a while: nobody else reaches it, and it goes with everything that it holds.

use std::cell::RefCell;
use std::env;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};

use super::statement_error::{LOG_LINE_PREFIX, StatementError};
use crate::catalog::DatabaseName;
use crate::durable;
use crate::leftovers::{self, Held};
use crate::postgres::{Client, Login, Server};
use crate::process::{Child, Interrupted, ProgramError, Runner};

/// Why there is no server of our own.
#[derive(Debug)]
pub enum ServerError {
    /// PostgreSQL's programs for servers are not on this machine.
    NoPrograms(String),
    /// We are root, as whom PostgreSQL does not run, and there is nobody else to be.
    NoUser,
    /// The user that it would run as cannot get to its directory because of this one.
    Unreachable(PathBuf),
    /// Its directories cannot be made.
    Place(PathBuf, io::Error),
    /// A program failed, or a stop signal came.
    Program(ProgramError),
    /// It did not come up; the end of its log.
    Ended(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrograms(program) => {
                write!(f, "a restore proof needs PostgreSQL's server here, and there is no {program} in PATH")
            }
            Self::NoUser => f.write_str("a restore proof by root needs a user postgres, and there is none"),
            Self::Unreachable(path) => {
                let path = path.display();
                write!(
                    f,
                    "user postgres, as whom a restore proof runs, cannot enter {path}: chmod a+x {path}"
                )
            }
            Self::Place(path, error) => write!(f, "cannot make {}: {error}", path.display()),
            Self::Program(error) => error.fmt(f),
            Self::Ended(log) => write!(f, "the server for the proof did not come up: {log}"),
        }
    }
}

impl std::error::Error for ServerError {}

impl From<ProgramError> for ServerError {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
}

impl From<Interrupted> for ServerError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Program(ProgramError::Interrupted(interrupted))
    }
}

/// The role that everything is done as there.
const SUPERUSER: &str = "postgres";
/// How long it may take to come up.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Lines of its log that an error carries.
const LOG_LINES: usize = 5;

/// Small, in nobody's way, and in no hurry to be safe: it is thrown away.
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
    // No data in its log.
    "log_min_error_statement=panic",
];

/// What the temporary directories of our servers begin with: those of their sockets, and those of servers for which the
/// backup volume has no room.
pub(super) const TEMPORARY_PREFIX: &str = "backupgram-proof-";

/// Removes the temporary directories of proofs that were killed. What cannot be removed stays.
pub fn sweep() {
    leftovers::sweep(&env::temp_dir(), TEMPORARY_PREFIX, |_| true);
}

/// Runs a server until its standard input ends, as it does however we end.
const GUARD: &str = r#"trap : TERM INT HUP QUIT; "$@" & read -r _; kill -s QUIT $!; wait $!"#;

/// The server; dropped, it is stopped, and nothing of it is left.
#[derive(Debug)]
pub struct PrivateServer {
    guard: RefCell<Option<(Child, Option<ChildStdin>)>>,
    place: PathBuf,
    socket: Held,
    runner: Runner,
    owner: Option<User>,
}

impl PrivateServer {
    /// Makes a server beneath `workplace`, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be made, or a stop signal comes.
    pub fn start(workplace: &Path, runner: &Runner) -> Result<Self, ServerError> {
        for program in ["initdb", "postgres"] {
            find(program).ok_or_else(|| ServerError::NoPrograms(program.into()))?;
        }
        let owner = match Uid::effective().is_root() {
            true => Some(User::from_name("postgres").ok().flatten().ok_or(ServerError::NoUser)?),
            false => None,
        };
        let place = workplace.join(format!("proof.{}", std::process::id()));
        let failed = |error| ServerError::Place(place.clone(), error);
        sweep();
        let temporary = env::temp_dir();
        let socket = Held::make(&temporary, TEMPORARY_PREFIX, 0o700);
        let socket = socket.map_err(|error| ServerError::Place(temporary, error))?;
        // Ours: what a dump has the server do must not be able to put anything there.
        DirBuilder::new().mode(0o711).create(&place).map_err(failed)?;
        let server = Self { guard: RefCell::new(None), place, socket, runner: runner.clone(), owner };
        server.give_away()?;
        server.init()?;
        server.run(&[])?;
        Ok(server)
    }

    /// A client of one of its databases.
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

    /// A directory that goes with the server.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Whether it still runs. One that does not explains much.
    pub fn is_running(&self) -> bool {
        self.guard.borrow().as_ref().is_some_and(|(guard, _)| guard.signaller().is_running())
    }

    /// The last error that a statement has ended with there, if there was one.
    pub fn last_error(&self) -> Option<StatementError> {
        StatementError::last_in(&self.log()).unwrap_or_else(|error| {
            log::debug!("cannot read {}: {error}", self.log().display());
            None
        })
    }

    /// The bytes that it takes on the disk.
    pub fn size(&self) -> u64 {
        size_of(&self.place)
    }

    /// Gives its directories to the user that it runs as.
    fn give_away(&self) -> Result<(), ServerError> {
        let Some(owner) = &self.owner else { return Ok(()) };
        DirBuilder::new()
            .mode(0o700)
            .create(self.data())
            .map_err(|error| ServerError::Place(self.data(), error))?;
        for path in [&self.data(), &self.socket.path().to_path_buf()] {
            chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
                .map_err(|error| ServerError::Place(path.clone(), error))?;
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
        let real = self.place.canonicalize().unwrap_or_else(|_| self.place.clone());
        match real.ancestors().skip(1).find(is_shut) {
            Some(path) => Err(ServerError::Unreachable(path.to_path_buf())),
            None => Ok(()),
        }
    }

    fn log(&self) -> PathBuf {
        self.place.join("log")
    }

    fn data(&self) -> PathBuf {
        self.place.join("data")
    }

    /// A command as the server's user, with nothing in its environment that is ours.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
        command.current_dir("/");
        if let Some(owner) = &self.owner {
            command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
        }
        command
    }

    fn init(&self) -> Result<(), ServerError> {
        let mut command = self.command("initdb");
        command.arg("--pgdata").arg(self.data()).arg(format!("--username={SUPERUSER}"));
        command.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
        self.runner.run(&mut command, b"")?;
        Ok(())
    }

    /// Starts it anew, with further settings, each `name=value`.
    ///
    /// # Errors
    /// When it does not come up, or a stop signal comes.
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
        let log_path = self.log();
        let log = File::create(&log_path).map_err(|error| ServerError::Place(log_path.clone(), error))?;
        let errors = log.try_clone().map_err(|error| ServerError::Place(log_path.clone(), error))?;
        let mut command = self.command("sh");
        command
            .args(["-c", GUARD, "sh", "postgres", "-D"])
            .arg(self.data())
            .arg("-k")
            .arg(self.socket.path());
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
                return Err(ServerError::Ended(tail(&log_path)));
            }
            self.runner.sleep(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.stop();
        if let Err(error) = durable::remove_all_if_there(&self.place) {
            log::warn!("{} stays until the next run: {error}", self.place.display());
        }
    }
}

/// Where a program lies.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join(" | ")
}

fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(if found.is_dir() { size_of(&entry.path()) } else { found.blocks() * 512 })
    });
    sizes.sum()
}
