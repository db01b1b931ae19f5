//! The one thread that runs the jobs one after the other, each as a child process.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::registry::Jobs;
use super::{JobId, Task};
use crate::engine::recorder::{self, WatchedRun};
use crate::settings::{Redactor, remove_api_settings};
use crate::store::records::history::Trigger;
use crate::system::logger;
use crate::system::process::{Child, Exit, Reaper, Redacted, for_each_line};
use crate::util::unwind;

/// Seconds that a job waits for a scheduled backup, or another restore, to end.
const LOCK_WAIT: &str = "3600";
/// How long to wait for the end of an ended job's output, which a process that it left may hold open.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// The programs that do the jobs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The directory of `backup.sh`, `restore.sh` and `verify.sh`, if they are to be used.
    pub scripts: Option<PathBuf>,
    /// `backupgram`, which is run if there are no scripts.
    pub command: PathBuf,
}

impl Programs {
    /// A command that backs up.
    pub fn backup(&self) -> Command {
        self.program("backup")
    }

    /// A command that removes what killed runs have left.
    pub fn sweep(&self) -> Command {
        let mut command = Command::new(&self.command);
        command.arg("sweep");
        command
    }

    fn program(&self, action: &str) -> Command {
        match &self.scripts {
            Some(scripts) => Command::new(scripts.join(format!("{action}.sh"))),
            None => {
                let mut command = Command::new(&self.command);
                command.arg(action);
                command
            }
        }
    }

    fn command(&self, task: &Task) -> Command {
        match task {
            Task::Backup(databases) => {
                let mut command = self.backup();
                command.arg("--").args(databases.iter().map(|name| name.as_str()));
                command
            }
            Task::Restore { slot, name, target, options } => {
                let mut command = self.program("restore");
                command.args(options.arguments());
                command.arg("--").arg(format!("{slot}/{name}")).arg(target.as_str());
                command
            }
            Task::RestoreFromTelegram { message, chat, target, options } => {
                let mut command = self.program("restore");
                command.args(options.arguments());
                command.args(chat.iter().map(|chat| format!("--chat={chat}")));
                command.arg(format!("--from-telegram={message}")).arg("--").arg(target.as_str());
                command
            }
            Task::TestTelegram => {
                let mut command = self.program("telegram");
                command.arg("test");
                command
            }
            Task::Verify { slot, name, restores } => {
                let mut command = self.program("verify");
                if *restores {
                    command.arg("--restore");
                }
                command.arg("--").arg(format!("{slot}/{name}"));
                command
            }
        }
    }
}

/// The worker thread.
pub struct Worker {
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        jobs: Arc<Jobs>,
        woken: Receiver<()>,
        programs: Programs,
        reaper: Reaper,
        redactor: Redactor,
        directory: PathBuf,
    ) -> io::Result<Self> {
        let bench = Bench { jobs, programs, reaper, redactor, directory };
        let thread = thread::Builder::new().name("worker".into()).spawn(move || {
            while woken.recv().is_ok() {
                if let Some((id, task)) = bench.jobs.begin_next() {
                    // A panic must not end the thread, as it is the only one.
                    if let Err(panic) = unwind::catch(|| bench.work(&id, &task)) {
                        log::error!("job {id}: {panic}");
                        bench.jobs.fail(&id, &panic);
                    }
                }
                if bench.jobs.is_stopping() {
                    break;
                }
            }
        })?;
        Ok(Self { thread })
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

struct Bench {
    jobs: Arc<Jobs>,
    programs: Programs,
    reaper: Reaper,
    redactor: Redactor,
    directory: PathBuf,
}

impl Bench {
    fn work(&self, id: &JobId, task: &Task) {
        log::info!("job {id}: {} started", task.kind());
        let watched = match task {
            Task::Backup(databases) => {
                let names = databases.iter().map(|name| name.as_str().to_owned()).collect();
                Some(WatchedRun::new(Trigger::Api, names))
            }
            _ => None,
        };
        match self.run(id, task, watched.as_ref()) {
            Ok(exit) => match watched.filter(|run| run.has_died(exit)) {
                Some(run) => {
                    let error = self.error_of_end(id, exit);
                    self.record(id, &run, &error);
                    // A script may have exited with 0 all the same.
                    if exit.success() { self.jobs.fail(id, &error) } else { self.jobs.end(id, exit) }
                }
                None => self.jobs.end(id, exit),
            },
            Err(error) => {
                log::error!("job {id}: cannot be started: {error}");
                if let Some(run) = watched {
                    self.record(id, &run, &recorder::error_of_start(&error));
                }
                self.jobs.fail(id, &format!("the program could not be started: {error}"));
            }
        }
        if let Some(job) = self.jobs.get(id) {
            match job.error.as_str() {
                "" => log::info!("job {id}: {} succeeded", job.kind),
                error => log::error!("job {id}: {} failed: {error}", job.kind),
            }
        }
    }

    fn run(&self, id: &JobId, task: &Task, watched: Option<&WatchedRun>) -> io::Result<Exit> {
        let mut command = self.programs.command(task);
        command.env(Trigger::VARIABLE, Trigger::Api.word()).env("BACKUP_LOCK_WAIT", LOCK_WAIT);
        if let Some(run) = watched {
            run.prepare(&mut command);
        }
        let (child, done) = self.start(id, &mut command)?;
        // Closes our copies of the pipe's writing end, so that the output ends with the child.
        drop(command);
        self.jobs.attach(id, child.signaller());
        let exit = child.wait();
        // A process that left the job's group may hold the pipe open for as long as it likes.
        let _ = done.recv_timeout(OUTPUT_GRACE);
        Ok(exit)
    }

    /// Starts a program of a job. The channel ends with its output.
    fn start(&self, id: &JobId, command: &mut Command) -> io::Result<(Child, Receiver<()>)> {
        let (output, stdout) = io::pipe()?;
        command.stdin(Stdio::null()).stderr(stdout.try_clone()?).stdout(stdout);
        command.env(logger::PLAIN_VARIABLE, "plain");
        remove_api_settings(command);
        let (drained, done) = bounded::<()>(0);
        let (jobs, redactor, name) = (Arc::clone(&self.jobs), self.redactor.clone(), id.clone());
        let directory = self.directory.clone();
        // Started before the child, so that no child runs without a reader.
        thread::Builder::new().name("job output".into()).spawn(move || {
            for_each_line(Redacted::new(output, redactor.clone()), |line| {
                log::info!("job {name}: {line}");
                jobs.add_line(&name, &redactor.clean_for_api(line, &directory));
            });
            drop(drained);
        })?;
        Ok((self.reaper.spawn_group(command)?, done))
    }

    /// Records a run that has died, as part of its job.
    fn record(&self, id: &JobId, run: &WatchedRun, error: &str) {
        let mut output = None;
        let start = |command: &mut Command| {
            let (child, done) = self.start(id, command)?;
            self.jobs.attach_recorder(id, child.signaller());
            output = Some(done);
            Ok(child)
        };
        run.record(&self.programs.command, error, start, || !self.jobs.is_cancelled(id));
        let _ = output.map(|done| done.recv_timeout(OUTPUT_GRACE));
    }

    fn error_of_end(&self, id: &JobId, exit: Exit) -> String {
        if self.jobs.is_cancelled(id) {
            recorder::error_of_cancellation(exit)
        } else {
            recorder::error_of_end(exit, self.jobs.last_error(id).as_deref())
        }
    }
}
