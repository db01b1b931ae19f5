//! The real daemon, started with an environment of its own and stopped with the value.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::client::{Response, exchange, request};
use super::cluster::{Cluster, free_port, random_hex};
use super::command::{Cli, Outcome, coverage, settings};
use super::guardian;
use super::process::{Process, signal_pid};
use super::store::Store;
use super::wait::{LONG, SOON, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_backupgram-api");

/// How long the daemon may take to stop, which is what `docker stop` gives it.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What a daemon will be started with.
pub struct Plan<'s> {
    store: &'s Store,
    env: BTreeMap<String, String>,
    first: bool,
    limit: Option<&'static str>,
    user: Option<(PathBuf, u32)>,
}

impl<'s> Plan<'s> {
    /// A daemon for this server and directory, with a token and free ports.
    pub fn new(server: &Cluster, store: &'s Store) -> Self {
        let mut env: BTreeMap<String, String> = settings(server, store).into_iter().collect();
        for (key, value) in [
            ("REST_API_ENABLE", "TRUE".to_owned()),
            ("REST_API_BIND", "127.0.0.1".to_owned()),
            ("REST_API_PORT", free_port().to_string()),
            ("REST_API_TOKEN", random_hex(32)),
            ("HEALTHCHECK_PORT", free_port().to_string()),
            ("GOCRON_BIN", env!("CARGO_BIN_EXE_go-cron").to_owned()),
            // Before the first backup the age of process 1 counts, and the tester's machine may be up for long.
            ("BACKUP_MAX_AGE_HOURS", "1000000".to_owned()),
        ] {
            env.insert(key.to_owned(), value);
        }
        Self { store, env, first: false, limit: None, user: None }
    }

    /// Sets a variable.
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.insert(key.to_owned(), value.into());
        self
    }

    /// Takes a variable away.
    pub fn without(mut self, key: &str) -> Self {
        self.env.remove(key);
        self
    }

    /// Sets POSTGRES_DB.
    pub fn database(self, name: &str) -> Self {
        self.env("POSTGRES_DB", name)
    }

    /// Runs it as process 1 of a process namespace.
    pub fn first_process(mut self) -> Self {
        self.first = true;
        self
    }

    /// Starts it under this limit, in the words of the shell's `ulimit`.
    pub fn limit(mut self, limit: &'static str) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs it, and all that it starts, as another user, by programs that this one may read.
    #[track_caller]
    pub fn user(self, uid: u32) -> Self {
        let programs = self.store.root().join("programs");
        fs::create_dir_all(&programs).expect("make a directory for programs");
        for program in [PROGRAM, env!("CARGO_BIN_EXE_backupgram"), env!("CARGO_BIN_EXE_go-cron")] {
            // Not by this process: it could not be started while a child of another test holds it open.
            Cli::of_program("cp", self.store)
                .args([program.as_ref(), programs.as_os_str()])
                .run()
                .succeeded();
        }
        let scheduler = programs.join("go-cron").to_str().expect("UTF-8").to_owned();
        self.env("GOCRON_BIN", scheduler).program(programs.join("backupgram-api"), uid)
    }

    /// Starts `program`, a copy of ours that this user can read, as that user.
    pub fn program(mut self, program: PathBuf, uid: u32) -> Self {
        self.user = Some((program, uid));
        self
    }

    fn command(&self) -> Command {
        if let Some((program, uid)) = &self.user {
            let mut command = Command::new(program);
            command.uid(*uid).gid(*uid);
            return command;
        }
        match (self.first, self.limit) {
            (true, _) => {
                let mut command = Command::new("unshare");
                command.args(["--pid", "--fork", "--mount-proc", "--kill-child", PROGRAM]);
                command
            }
            (false, Some(limit)) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", &format!("ulimit {limit} && exec \"$0\""), PROGRAM]);
                command
            }
            (false, None) => Command::new(PROGRAM),
        }
    }

    /// Starts it, and waits until it answers.
    #[track_caller]
    pub fn start(self) -> Daemon<'s> {
        let mut command = self.command();
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("daemon-{}.log", NEXT.fetch_add(1, Ordering::Relaxed));
        let log = self.store.root().join(name);
        let file = File::create(&log).expect("make a log");
        command
            .env_clear()
            .envs(coverage())
            .envs(&self.env)
            .current_dir(self.store.root())
            .stdin(Stdio::null());
        command.stdout(file.try_clone().expect("share the log")).stderr(file);
        let line = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("start {line}: {error}"));
        guardian::watch(child.id(), if self.first { "KILL" } else { "TERM" });
        let number = |key: &str| self.env[key].parse().expect("a port");
        let mut daemon = Daemon {
            store: self.store,
            port: number("REST_API_PORT"),
            health_port: number("HEALTHCHECK_PORT"),
            token: self.env.get("REST_API_TOKEN").cloned().unwrap_or_default(),
            launcher: child.id(),
            child,
            first: self.first,
            line,
            log,
            status: None,
            env: self.env,
            user: self.user,
        };
        daemon.wait_until_it_answers();
        daemon
    }

    /// Starts it, expecting that it ends by itself.
    #[track_caller]
    pub fn run(self) -> Outcome {
        let mut cli = Cli::of_program(PROGRAM, self.store);
        for (key, value) in &self.env {
            cli = cli.env(key, value);
        }
        let mut running = cli.start();
        wait_until("a daemon that cannot start to end", SOON, || running.poll().is_some());
        running.wait()
    }
}

/// A daemon that answers.
pub struct Daemon<'s> {
    /// Its backup directory.
    pub store: &'s Store,
    /// The port of the API.
    pub port: u16,
    /// The port of go-cron.
    pub health_port: u16,
    /// The token of the API.
    pub token: String,
    /// What it was started with.
    pub(super) env: BTreeMap<String, String>,
    /// Its program and the user whose it is, if that is another one.
    pub(super) user: Option<(PathBuf, u32)>,
    child: Child,
    launcher: u32,
    first: bool,
    line: String,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Daemon<'_> {
    fn wait_until_it_answers(&mut self) {
        let port = self.port;
        wait_until("the daemon to answer", SOON, || {
            assert!(self.poll().is_none(), "the daemon ended at once");
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert_eq!(self.anonymous("GET", "/healthz").status, 200);
    }

    /// The process id of the daemon itself, as we see it.
    pub fn pid(&self) -> u32 {
        match self.first {
            true => {
                wait_for("unshare to start the daemon", SOON, || {
                    Process::all().into_iter().find(|process| process.parent == self.launcher)
                })
                .pid
            }
            false => self.launcher,
        }
    }

    /// Everything that it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a request with the token.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Response {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        exchange(self.port, &request(method, path, &all, body))
    }

    /// Sends a request without the token.
    #[track_caller]
    pub fn anonymous(&self, method: &str, path: &str) -> Response {
        exchange(self.port, &request(method, path, &[], None))
    }

    /// GET with the token.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], None)
    }

    /// DELETE with the token.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], None)
    }

    /// POST of a body with the token.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[], Some(body.to_string().as_bytes()))
    }

    /// POST of nothing with the token.
    #[track_caller]
    pub fn post_nothing(&self, path: &str) -> Response {
        self.send("POST", path, &[], Some(b""))
    }

    /// GET /status.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.get("/status").expect(200).json()
    }

    /// The entries of GET /backups with this query.
    #[track_caller]
    pub fn backups(&self, query: &str) -> Vec<Value> {
        let json = self.get(&format!("/backups{query}")).expect(200).json();
        json["backups"].as_array().expect("a list of backups").clone()
    }

    /// Asks for a backup and answers the job's id.
    #[track_caller]
    pub fn start_backup(&self) -> String {
        job_id(&self.post_nothing("/backup").expect(202))
    }

    /// Asks for a restore and answers the job's id.
    #[track_caller]
    pub fn start_restore(&self, file: &str, target: &str) -> String {
        let body = json!({"file": file, "target_db": target, "confirm": true});
        job_id(&self.post("/restore", &body).expect(202))
    }

    /// Asks for a backup and waits until it has succeeded.
    #[track_caller]
    pub fn back_up(&self) -> Value {
        let id = self.start_backup();
        self.succeeded(&id)
    }

    /// What GET /jobs/{id} says.
    #[track_caller]
    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/jobs/{id}")).expect(200).json()
    }

    /// Waits until the job is in this state.
    #[track_caller]
    pub fn reached(&self, id: &str, state: &str) -> Value {
        wait_for(&format!("job {id} to be {state}"), LONG, || {
            let job = self.job(id);
            let now = job["state"].as_str().expect("a state").to_owned();
            let over = matches!(now.as_str(), "succeeded" | "failed");
            assert!(now == state || !over, "job {id} is not {state}: {job:#}");
            (now == state).then_some(job)
        })
    }

    /// Waits until the job has succeeded.
    #[track_caller]
    pub fn succeeded(&self, id: &str) -> Value {
        self.reached(id, "succeeded")
    }

    /// Waits until the job has failed.
    #[track_caller]
    pub fn failed(&self, id: &str) -> Value {
        self.reached(id, "failed")
    }

    /// Waits for a process of this name below the daemon.
    #[track_caller]
    pub fn descendant(&self, name: &str) -> Process {
        Process::descendant(self.pid(), name)
    }

    /// Sends the daemon itself a signal.
    pub fn signal(&self, signal: Signal) {
        signal_pid(self.pid(), signal);
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("ask for the daemon");
            if self.status.is_some() {
                guardian::forget(self.launcher);
            }
        }
        self.status
    }

    /// Waits for its end, at most `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_for("the daemon to end", limit, || self.poll())
    }

    /// Stops it and asserts that it went in time and in order.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait(STOP_LIMIT);
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.poll();
            eprintln!("command:   {}", self.line);
            eprintln!("directory: {}", self.store.root().display());
            eprintln!("status:    {status:?}\nlog:\n{}", self.log());
        }
        if self.poll().is_some() {
            return;
        }
        let pid = if self.first { None } else { Some(self.launcher) };
        if let Some(pid) = pid {
            signal_pid(pid, Signal::SIGTERM);
            let start = std::time::Instant::now();
            while self.poll().is_none() && start.elapsed() < STOP_LIMIT {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.poll().is_none() {
            // With --kill-child this ends the whole namespace.
            let _ = self.child.kill();
            let _ = self.child.wait();
            guardian::forget(self.launcher);
        }
    }
}

/// The id in a 202, which its Location names too.
#[track_caller]
pub fn job_id(response: &Response) -> String {
    let json = response.json();
    let id = json["job_id"].as_str().unwrap_or_else(|| panic!("no job_id in {json}")).to_owned();
    assert_eq!(response.header("location"), Some(format!("/jobs/{id}").as_str()));
    id
}
