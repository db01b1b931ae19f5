//! `backupgram-api`: builds the parts, runs them until a signal comes, and stops them in order.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use thiserror::Error;

use crate::engine::checkup;
use crate::engine::problems::{self, Watch};
use crate::gate::listen;
use crate::http::{self, App, AuthLimiter, Planned, Semaphore, Server, Token, Traffic, VolumeReader};
use crate::service::jobs::{Jobs, Programs, Worker};
use crate::service::live_settings::LiveSettings;
use crate::service::supervisor::Supervisor;
use crate::service::sweeper::Sweeper;
use crate::settings::overrides::OverridesError;
use crate::settings::{self, ApiSettings, Environment, Faults, Reader, Redactor, SchedulerSettings, Storage};
use crate::store::catalog::{BackupDirectory, DirectoryError};
use crate::store::records::status;
use crate::system::process::{Reaper, Signals};

/// How it is called, for `--help`.
pub const USAGE: &str = "\
REST_API_TOKEN_FILE=/run/secrets/token POSTGRES_HOST=db backupgram-api

usage: backupgram-api

Serves the HTTP API, runs its jobs and keeps the scheduler running, until
SIGTERM or SIGINT comes. It is what the image starts when REST_API_ENABLE is
TRUE.

environment: every setting comes from there; `backupgram check-env` says what
is wrong with yours, and docs/configuration.md lists them. RUST_LOG (error,
warn, info, debug) is how much is logged.

exit status: 0 stopped by a signal; 1 it cannot start; 2 usage error.";

/// Seconds that everything has to end after a stop signal; `docker stop` allows ten.
const GRACE: Duration = Duration::from_secs(8);

/// Why the daemon does not start.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] Faults),
    /// The override file is not one that we wrote.
    #[error(transparent)]
    Overrides(OverridesError),
    /// The backup directory cannot be used.
    #[error(transparent)]
    Directory(DirectoryError),
    /// Something of the system failed, with what was being done.
    #[error("cannot {0}: {1}")]
    Io(String, #[source] io::Error),
}

/// Runs the daemon until a stop signal comes and everything that it started has ended.
///
/// # Errors
/// When it cannot start.
pub fn run() -> Result<(), DaemonError> {
    let mut signals = Signals::catch().map_err(failed("catch signals"))?;
    let environment = settings::effective_environment().map_err(DaemonError::Overrides)?;
    let daemon = Daemon::start(&environment)?;
    let signal = signals.wait();
    log::info!("{signal}: stopping");
    daemon.stop();
    Ok(())
}

struct Daemon {
    reaper: Reaper,
    jobs: Arc<Jobs>,
    worker: Worker,
    supervisor: Arc<Supervisor>,
    server: Server,
    sweeper: Option<Sweeper>,
}

impl Daemon {
    fn start(environment: &Environment) -> Result<Self, DaemonError> {
        let api = Reader::resolve(environment, ApiSettings::read)?;
        let scheduler = Reader::resolve(environment, SchedulerSettings::read)?;
        let storage = Reader::resolve(environment, Storage::read)?;
        validate(environment)?;
        let directory = BackupDirectory::new(&storage.directory);
        directory.prepare().map_err(DaemonError::Directory)?;
        status::reserve(&directory);
        let port = Some(scheduler.health_port).filter(|port| *port != 0);
        let watch = Watch::new(directory.clone(), port);
        let redactor = Redactor::of_process();
        redactor.learn(&settings::secrets(environment));
        let programs = programs(&scheduler)?;
        // First of all that can fail: what is started by then would have to be stopped again.
        let listener = listen(api.listen).map_err(failed(format!("listen on {}", api.listen)))?;
        let address = listener.local_addr().unwrap_or(api.listen);
        let reaper = Reaper::start().map_err(failed("start the reaper"))?;
        reaper.adopt_orphans().map_err(failed("adopt orphaned processes"))?;
        let (jobs, worker) = start_worker(&programs, &reaper, &redactor, storage.directory)?;
        let schedule = scheduler.schedule.text().to_owned();
        let supervisor = Supervisor::start(scheduler, &programs, reaper.clone(), redactor.clone())
            .map_err(failed("start the supervisor"))?;
        let supervisor = Arc::new(supervisor);
        let app = App {
            settings: LiveSettings::new(
                environment.clone(),
                directory.clone(),
                Arc::clone(&supervisor),
                redactor.clone(),
            ),
            redactor: redactor.clone(),
            directory,
            watch,
            jobs: Arc::clone(&jobs),
            supervisor: Arc::clone(&supervisor),
            auth_limiter: Arc::new(AuthLimiter::default()),
            traffic: Arc::new(Traffic::new(http::paths())),
            planned: Planned::default(),
            volume: VolumeReader::default(),
            lock_waiters: Semaphore::new(http::LOCK_WAITERS),
        };
        let server = Server::start(listener, Arc::new(app), Token::new(&api.token, api.read_token.as_ref()));
        let server = server.inspect_err(|_| supervisor.stop()).map_err(failed("start the API"))?;
        log::info!("backupgram {}: API on {}, schedule {schedule}", env!("CARGO_PKG_VERSION"), address);
        let sweeper = Sweeper::start(&programs, &reaper, redactor);
        let sweeper = sweeper.inspect_err(|error| log::warn!("cannot start backupgram sweep: {error}"));
        Ok(Self { reaper, jobs, worker, supervisor, server, sweeper: sweeper.ok() })
    }

    /// No new requests, then no new jobs, then an end to what runs; after the grace period by force.
    fn stop(self) {
        let deadline = Instant::now() + GRACE;
        self.server.stop();
        self.jobs.stop();
        self.supervisor.stop();
        self.sweeper.iter().for_each(Sweeper::stop);
        self.reaper.signal_adopted(Signal::SIGTERM);
        let ended =
            || self.worker.is_finished() && self.supervisor.is_finished() && self.reaper.is_childless();
        if !wait_until(deadline, ended) {
            log::warn!("killing programs that did not stop within {} s", GRACE.as_secs());
            // Again and again: what one of them has started is ours only when that one has ended.
            wait_until(Instant::now() + Duration::from_secs(1), || {
                self.reaper.kill_all();
                ended()
            });
        }
        log::info!("stopped");
    }
}

/// The programs that do the work: `backupgram`, which lies beside this one, and the scripts of the settings.
fn programs(scheduler: &SchedulerSettings) -> Result<Programs, DaemonError> {
    let own = std::env::current_exe().map_err(failed("find the path of this program"))?;
    Ok(Programs { scripts: scheduler.scripts.clone(), command: own.with_file_name("backupgram") })
}

/// Starts the worker on an empty queue of jobs.
fn start_worker(
    programs: &Programs,
    reaper: &Reaper,
    redactor: &Redactor,
    directory: PathBuf,
) -> Result<(Arc<Jobs>, Worker), DaemonError> {
    let (jobs, woken) = Jobs::new();
    let jobs = Arc::new(jobs);
    let (programs, reaper, redactor) = (programs.clone(), reaper.clone(), redactor.clone());
    let worker = Worker::start(Arc::clone(&jobs), woken, programs, reaper, redactor, directory);
    Ok((jobs, worker.map_err(failed("start the worker"))?))
}

fn validate(environment: &Environment) -> Result<(), DaemonError> {
    let wanted = Reader::resolve(environment, |reader| reader.flag("VALIDATE_ON_START"))?;
    let faults = if wanted { checkup::check(environment) } else { Faults::default() };
    checkup::remarks(environment).iter().for_each(|remark| log::warn!("{remark}"));
    problems::warning(environment).iter().for_each(|warning| log::warn!("{warning}"));
    if faults.0.is_empty() { Ok(()) } else { Err(faults.into()) }
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> DaemonError {
    let what = what.into();
    move |error| DaemonError::Io(what, error)
}

fn wait_until(deadline: Instant, condition: impl Fn() -> bool) -> bool {
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}
