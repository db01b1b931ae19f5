//! Records the backup runs that die, on behalf of their starters: `backupgram record-failure` writes status and history
//! and notifies as the run would have done. If it cannot be started, as under a limit on processes, status and history
//! are written here, so that the failure shows at once, and the program is tried again for half a minute.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::engine::backup::{self, Death};
use crate::postgres::Server;
use crate::settings::{self, Environment, Reader, Redactor, Storage, Subject};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::store::records::Report;
use crate::store::records::history::{self, Run, Trigger};
use crate::system::process::{Child, Exit};
use crate::system::run_note::{OwnNote, RunNote, Started};

/// The pauses between attempts, in seconds; half a minute in all.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 15];
/// How often to see whether there is still time for another attempt.
const STEP: Duration = Duration::from_millis(100);

/// A backup run that this process starts.
#[derive(Debug)]
pub struct WatchedRun {
    note: RunNote,
    started: Started,
}

/// The error of a run that died together with its starter, as when the machine does.
pub const ORPHANED: &str = "the run died together with the process that started it";

impl WatchedRun {
    /// A run that is about to be started, of these databases only if there are any.
    pub fn new(trigger: Trigger, databases: Vec<String>) -> Self {
        let environment = Environment::of_process();
        let directory = environment.plain("BACKUP_DIR").ok().flatten().unwrap_or("/backups").into();
        let started = Started { directory, start: jiff::Timestamp::now().as_second(), trigger, databases };
        Self { note: RunNote::make(&started), started }
    }

    /// Sets the environment by which the run finds its note and knows its trigger.
    pub fn prepare(&self, command: &mut Command) {
        self.note.pass_to(command);
        command.env(Trigger::VARIABLE, self.started.trigger.word());
    }

    /// Whether a run that ended like this has died without recording its result.
    pub fn has_died(&self, exit: Exit) -> bool {
        self.note.is_left(exit) && !self.has_recorded(exit)
    }

    /// Whether a run without a note has recorded its result, by its line in the history.
    fn has_recorded(&self, exit: Exit) -> bool {
        let Some(id) = self.note.bare_id() else { return false };
        let directory = BackupDirectory::new(&self.started.directory);
        matches!(exit, Exit::Code(_)) && history::find(&directory, id).is_ok_and(|run| run.is_some())
    }

    /// Records that the run has failed with `error`, by `program`, which is `backupgram`, and which `start` starts.
    /// While `may_go_on` says so, it is tried again where that fails. Returns when all have been told.
    pub fn record(
        &self,
        program: &Path,
        error: &str,
        mut start: impl FnMut(&mut Command) -> std::io::Result<Child>,
        may_go_on: impl Fn() -> bool,
    ) {
        let (mut pauses, mut is_kept) = (PAUSES.map(Duration::from_secs).into_iter(), false);
        loop {
            let problem = match start(&mut self.command(program, error)).map(|child| child.wait()) {
                Ok(exit) if exit.success() || !self.note.is_left(exit) => return,
                Ok(exit) => exit.to_string(),
                Err(error) => error.to_string(),
            };
            log::error!("cannot record with {} that a run died: {problem}", program.display());
            if !is_kept {
                self.keep(error);
                is_kept = true;
            }
            let Some(pause) = pauses.next().filter(|pause| wait(*pause, &may_go_on)) else { break };
            log::info!("trying again after {} s", pause.as_secs());
        }
        log::error!("hooks, webhooks and Telegram were not notified that a run died: {error}");
    }

    fn command(&self, program: &Path, error: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("record-failure").arg(format!("--started={}", self.started.start));
        command.arg(format!("--error={error}")).arg("--").args(&self.started.databases);
        self.prepare(&mut command);
        command
    }

    /// Writes status and history without any other program.
    fn keep(&self, error: &str) {
        let environment = match settings::effective_environment() {
            Ok(environment) => environment,
            Err(error) => return log::error!("{error}"),
        };
        let Ok(storage) = Reader::resolve(&environment, Storage::read) else { return };
        let directory = BackupDirectory::new(storage.directory);
        let only: Vec<DatabaseName> =
            self.started.databases.iter().flat_map(|name| DatabaseName::parse(name)).collect();
        let subject = Reader::resolve(&environment, Subject::read);
        let names = subject.map(|subject| subject.databases.names(&only)).unwrap_or_default();
        let note = OwnNote::parse(&self.note.text());
        let recorded = history::find(&directory, note.id()).unwrap_or_default();
        let (id, start, trigger) = (note.id().to_owned(), self.started.start, self.started.trigger);
        let report = Death { note, start, error: error.to_owned() }.report(&names, recorded.as_ref());
        let report = Report { server: Server::address_in(&environment).unwrap_or_default(), ..report };
        let report = report.cleaned(|error| Redactor::of_process().clean(error));
        let run = Run { id, ..Run::of_report(start, trigger, &report) };
        backup::record(&directory, &report, &run, !only.is_empty());
    }
}

/// Waits while `may_go_on`. Answers whether it still may.
fn wait(pause: Duration, may_go_on: &impl Fn() -> bool) -> bool {
    let end = Instant::now() + pause;
    while may_go_on() && Instant::now() < end {
        thread::sleep(STEP);
    }
    may_go_on()
}

/// The error of a run that ended like this; `said` is the last error that it printed.
pub fn error_of_end(exit: Exit, said: Option<&str>) -> String {
    match (exit, said) {
        (Exit::Code(0), _) => "the run died, but its script exited with status 0".into(),
        // What it printed before it was killed is not the cause.
        (Exit::Code(_), Some(said)) => format!("the run died: {exit}: {said}"),
        _ => format!("the run died: {exit}"),
    }
}

/// The error of a run that could not be started.
pub fn error_of_start(error: &std::io::Error) -> String {
    format!("the run could not be started: {error}")
}

/// The error of a run that was cancelled and could not record that itself.
pub fn error_of_cancellation(exit: Exit) -> String {
    match exit {
        Exit::Signal(Signal::SIGKILL) => format!("cancelled: {exit}, because it did not stop"),
        _ => format!("cancelled: {exit}"),
    }
}

/// The databases that a command backs up, if it is a backup command of ours. An empty list means all.
pub fn databases_of<'a>(program: &Path, mut arguments: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    match program.file_name()?.to_str()? {
        "backup.sh" | "backup" => {}
        "backupgram" if arguments.next() == Some("backup") => {}
        _ => return None,
    }
    Some(arguments.filter(|argument| !argument.starts_with('-')).map(String::from).collect())
}

/// The path of `backupgram`, which lies beside all programs of ours.
///
/// # Errors
/// When the kernel does not say where this program is.
pub fn program() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("backupgram"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_told_from_other_commands() {
        let of = |program: &str, arguments: &[&str]| {
            databases_of(Path::new(program), arguments.iter().copied()).map(|names| names.join(" "))
        };
        assert_eq!(of("/backup.sh", &[]).as_deref(), Some(""));
        assert_eq!(of("backup", &["--", "a", "b"]).as_deref(), Some("a b"));
        assert_eq!(of("/usr/local/bin/backupgram", &["backup", "a"]).as_deref(), Some("a"));
        for (program, arguments) in [("backupgram", &["sweep"][..]), ("backupgram", &[]), ("sh", &["backup"])]
        {
            assert_eq!(of(program, arguments), None, "{program}");
        }
    }

    #[test]
    fn how_a_run_ended_is_said_in_one_line() {
        let killed = Exit::Signal(Signal::SIGKILL);
        assert_eq!(error_of_end(killed, Some("x")), "the run died: killed by SIGKILL");
        assert_eq!(error_of_end(Exit::Code(1), Some("x")), "the run died: exit status 1: x");
        assert_eq!(error_of_end(Exit::Code(101), None), "the run died: exit status 101");
        assert!(error_of_end(Exit::Code(0), Some("x")).ends_with("exited with status 0"));
        assert_eq!(error_of_cancellation(killed), "cancelled: killed by SIGKILL, because it did not stop");
        assert_eq!(error_of_cancellation(Exit::Signal(Signal::SIGTERM)), "cancelled: killed by SIGTERM");
    }
}
