//! Running the programs under test, with an environment that holds only what the test gave them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;

use super::cluster::{Cluster, LOGIN, program_directory};
use super::gnupg;
use super::guardian;
use super::process::{Process, signal_pid};
use super::store::{Store, write_script};
use super::wait::{LONG, wait_for};

const INIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/init.sh");

/// What every program of ours is told: the server, the directory, and nothing of the tester's own environment.
pub fn settings(server: &Cluster, store: &Store) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    [
        ("PATH", search_path(&[&program_directory(server.major())])),
        ("HOME", text(store.root())),
        ("TZ", "UTC".to_owned()),
        ("POSTGRES_HOST", "127.0.0.1".to_owned()),
        ("POSTGRES_PORT", server.port().to_string()),
        ("POSTGRES_USER", LOGIN.to_owned()),
        ("POSTGRES_PASSWORD", server.password().to_owned()),
        ("POSTGRES_CONNECT_TIMEOUT", "20".to_owned()),
        ("BACKUP_DIR", text(&store.path())),
        ("HOOKS_DIR", text(&store.hooks())),
        ("BACKUP_MIN_DISK_SPACE", "1".to_owned()),
        ("SCHEDULE", "@yearly".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Where a program under test leaves its counts when `scripts/coverage.sh` runs the tests.
pub fn coverage() -> Option<(&'static str, OsString)> {
    const KEY: &str = "LLVM_PROFILE_FILE";
    env::var_os(KEY).map(|path| (KEY, path))
}

/// A `PATH` in which a script comes before the program of that name.
pub fn path_with_program(server: &Cluster, store: &Store, name: &str, script: &str) -> String {
    let directory = store.root().join("programs");
    std::fs::create_dir_all(&directory).expect("make a directory for programs");
    write_script(&directory.join(name), script);
    search_path(&[&directory, &program_directory(server.major())])
}

/// These directories, and then those of the system, where programs are looked for.
fn search_path(first: &[&Path]) -> String {
    let rest = [gnupg::quick(), Path::new("/usr/bin"), Path::new("/bin")];
    let all: Vec<_> = first.iter().chain(&rest).map(|path| path.to_str().expect("UTF-8")).collect();
    all.join(":")
}

/// One call of the command line program, or of another program, not yet started.
pub struct Cli {
    command: Command,
}

impl Cli {
    /// `backupgram` with the settings for this server and directory.
    pub fn new(server: &Cluster, store: &Store) -> Self {
        let mut cli = Self::of_program(env!("CARGO_BIN_EXE_backupgram"), store);
        cli.command.envs(settings(server, store));
        cli
    }

    /// `init.sh`, which starts a container, with the settings for this server and directory.
    pub fn init(server: &Cluster, store: &Store) -> Self {
        Self::of_program(INIT, store).with_programs(server, store)
    }

    /// The same as process 1 of a process namespace.
    pub fn init_as_first_process(server: &Cluster, store: &Store) -> Self {
        let cli = Self::of_program("unshare", store);
        cli.args(["--pid", "--fork", "--mount-proc", "--kill-child", INIT]).with_programs(server, store)
    }

    /// Lines of shell that end with the first error, with the settings for this server and directory.
    pub fn shell(server: &Cluster, store: &Store, lines: &str) -> Self {
        Self::of_program("/bin/sh", store).with_programs(server, store).args(["-eu", "-c", lines])
    }

    /// The settings for this server and directory, and our programs before others.
    fn with_programs(mut self, server: &Cluster, store: &Store) -> Self {
        self.command.envs(settings(server, store));
        let ours = Path::new(env!("CARGO_BIN_EXE_backupgram")).parent().expect("a directory");
        let theirs = program_directory(server.major());
        self.env("PATH", search_path(&[ours, &theirs]))
    }

    /// Any program, with an empty environment.
    pub fn of_program(program: impl AsRef<OsStr>, store: &Store) -> Self {
        let mut command = Command::new(program);
        command.env_clear().envs(coverage()).env("PATH", "/usr/bin:/bin").current_dir(store.root());
        Self { command }
    }

    /// `backupgram backup` of one database.
    pub fn backup(server: &Cluster, store: &Store, database: &str) -> Self {
        Self::new(server, store).env("POSTGRES_DB", database).args(["backup"])
    }

    /// `backupgram restore FILE`.
    pub fn restore(server: &Cluster, store: &Store, file: impl AsRef<OsStr>) -> Self {
        Self::new(server, store).args(["restore"]).args([file])
    }

    /// Sets a variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Takes a variable away.
    pub fn without(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Uses the client programs of another major version than the server's.
    pub fn client(self, major: u32) -> Self {
        self.env("PATH", search_path(&[&program_directory(major)]))
    }

    /// Puts a script before the program of that name.
    pub fn program(self, server: &Cluster, store: &Store, name: &str, script: &str) -> Self {
        self.env("PATH", path_with_program(server, store, name, script))
    }

    /// Runs as another user.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        use std::os::unix::process::CommandExt;
        self.command.uid(uid).gid(gid);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it by another program, whose own arguments these are.
    pub fn under(self, program: &str, words: Vec<OsString>) -> Self {
        let mut command = Command::new(program);
        command.args(words).arg(self.command.get_program()).args(self.command.get_args()).env_clear();
        for (key, value) in self.command.get_envs() {
            command.envs(value.map(|value| (key, value)));
        }
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        Self { command }
    }

    /// Starts it and leaves it running.
    pub fn start(mut self) -> Running {
        let (output, error) = (anonymous_file(), anonymous_file());
        let share = |file: &File| Stdio::from(file.try_clone().expect("share a file"));
        self.command.stdin(Stdio::null()).stdout(share(&output)).stderr(share(&error));
        let directory = self.command.get_current_dir().map(Path::to_path_buf).unwrap_or_default();
        let line = describe(&self.command);
        let child = self.command.spawn().unwrap_or_else(|error| panic!("start {line}: {error}"));
        guardian::watch(child.id(), "KILL");
        Running { child, line, directory, output, error, status: None }
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.start().wait()
    }
}

fn anonymous_file() -> File {
    tempfile::tempfile().expect("make a file for output")
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")
}

/// A program that was started; it is killed with the value.
pub struct Running {
    child: Child,
    line: String,
    directory: PathBuf,
    output: File,
    error: File,
    status: Option<ExitStatus>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_pid(self.pid(), signal);
    }

    /// Waits until it has started the program `name`, itself or by a child.
    #[track_caller]
    pub fn descendant(&mut self, name: &str) -> Process {
        wait_for(&format!("{} to start {name}", self.line), LONG, || {
            assert!(self.poll().is_none(), "it ended before it started {name}\n{}", self.outcome());
            let mut family = Process::descendants(self.pid()).into_iter();
            family.find(|process| process.works_as(name))
        })
    }

    /// Its exit status, when it has ended.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("ask for a child");
            if self.status.is_some() {
                guardian::forget(self.child.id());
            }
        }
        self.status
    }

    /// What it has written so far, standard output first.
    pub fn text(&self) -> String {
        format!("{}{}", contents(&self.output), contents(&self.error))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        wait_for(&format!("the end of {}", self.line), LONG, || self.poll());
        self.outcome()
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            line: self.line.clone(),
            directory: self.directory.clone(),
            status: self.status,
            stdout: contents(&self.output),
            stderr: contents(&self.error),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.poll().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            guardian::forget(self.child.id());
            if std::thread::panicking() {
                eprintln!("it was still running:\n{}", self.outcome());
            }
        }
    }
}

fn contents(file: &File) -> String {
    // The descriptor is shared with the child, and so is its offset: read through a fresh one.
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut bytes = Vec::new();
    let mut fresh = File::open(path).expect("open the output again");
    fresh.read_to_end(&mut bytes).expect("read the output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a program ended. Displays everything that one needs to understand why.
pub struct Outcome {
    line: String,
    directory: PathBuf,
    /// Nothing while it runs.
    pub status: Option<ExitStatus>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Outcome {
    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts exit status 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        self.exited_with(0)
    }

    /// Asserts this exit status.
    #[track_caller]
    pub fn exited_with(self, code: i32) -> Self {
        assert_eq!(self.status.and_then(|status| status.code()), Some(code), "exit status\n{self}");
        self
    }

    /// Asserts that it ended, but not well.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert!(self.status.is_some_and(|status| !status.success()), "it must not succeed\n{self}");
        self
    }

    /// Asserts that the text, in any case, stands somewhere in its output.
    #[track_caller]
    pub fn saying(self, text: &str) -> Self {
        assert!(self.text().to_lowercase().contains(&text.to_lowercase()), "must say {text:?}\n{self}");
        self
    }

    /// The same of a text that may be broken into lines.
    #[track_caller]
    pub fn saying_in_lines(self, text: &str) -> Self {
        let words = self.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(text), "must say {text:?}\n{self}");
        self
    }

    /// What stands below a heading of the first table that has it, in the rows that begin with a time.
    #[track_caller]
    pub fn column(&self, heading: &str) -> Vec<String> {
        let mut lines = self.stdout.lines();
        let head =
            lines.find(|line| line.contains(heading)).unwrap_or_else(|| panic!("no {heading}\n{self}"));
        let start = head.find(heading).unwrap_or_default();
        let rest = &head[start + heading.len()..];
        let next = start + heading.len() + (rest.len() - rest.trim_start().len());
        let rows = lines.filter(|line| line.get(4..5) == Some("-"));
        rows.map(|row| row.chars().skip(start).take(next - start).collect::<String>().trim().to_owned())
            .collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "command:   {}", self.line)?;
        writeln!(f, "directory: {}", self.directory.display())?;
        match self.status {
            Some(status) => writeln!(f, "status:    {status}")?,
            None => writeln!(f, "status:    still running")?,
        }
        writeln!(f, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr)
    }
}

/// Backs up, and answers the new backup as `last/NAME`.
#[track_caller]
pub fn backed_up(cli: Cli, store: &Store) -> String {
    let known = store.dated("last");
    cli.run().succeeded();
    let new = store.dated("last").into_iter().find(|name| !known.contains(name));
    format!("last/{}", new.expect("a new backup"))
}
