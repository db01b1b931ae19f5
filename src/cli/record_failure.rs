//! `backupgram record-failure`: what the daemon and the scheduler call when a backup that they have started has died.

use jiff::Timestamp;
use lexopt::{Arg, Parser, ValueExt};

use super::context::{Outcome, runner};
use super::telling::Telling;
use crate::engine::backup::Death;
use crate::engine::recorder;
use crate::settings::{Reader, Subject};
use crate::store::catalog::DatabaseName;
use crate::store::records::history;
use crate::system::process::Runner;
use crate::system::run_note::OwnNote;

pub(super) const HELP: &str = "\
backupgram record-failure --started 1776349800 --error 'killed' -- app

usage: backupgram record-failure --started SECONDS --error TEXT
                                 [-- DATABASE...]

Records a backup run as FAILED that could not do so itself, because it was
killed or could not be started, and notifies hooks, webhooks and Telegram. The
API and the scheduler call it for the runs that they start; you need not.

  --started SECONDS    when the run was started, in Unix seconds
  --error TEXT         how it ended

environment: that of `backupgram backup`.

exit status: 0 recorded and notified, as far as the settings allow; 1 it could
not be recorded; 2 usage error.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let (mut start, mut error, mut only) = (None, None, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("started") => start = Some(arguments.value()?.parse()?),
            Arg::Long("error") => error = Some(arguments.value()?.string()?),
            Arg::Value(name) => only.extend(DatabaseName::parse(&name.string()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    let error = error.ok_or_else(|| lexopt::Error::from("missing option --error".to_owned()))?;
    let start = start.unwrap_or_else(|| Timestamp::now().as_second());
    // A stop signal ends hooks and curl, but the result is recorded all the same.
    let (telling, settings) = Telling::new(&runner()?);
    if let Err(failure) = settings {
        failure.lines.iter().for_each(|line| log::error!("{line}"));
    }
    record(&telling, start, error, &only);
    Ok(())
}

/// Records runs that died together with what had started them, and notifies. `backupgram sweep` calls this.
pub(super) fn record_orphans(runner: &Runner) {
    let (mut telling, _) = Telling::new(runner);
    let Some(directory) = telling.directory() else { return };
    for (note, started) in OwnNote::orphans(directory.root()) {
        let only: Vec<DatabaseName> =
            started.databases.iter().flat_map(|name| DatabaseName::parse(name)).collect();
        (telling.note, telling.trigger) = (note, started.trigger);
        record(&telling, started.start, recorder::ORPHANED.into(), &only);
    }
}

fn record(telling: &Telling, start: i64, error: String, only: &[DatabaseName]) {
    let subject = Reader::resolve(&telling.environment, Subject::read);
    let names = subject.map(|subject| subject.databases.names(only)).unwrap_or_default();
    let found = telling.directory().map(|directory| history::find(&directory, telling.note.id()));
    let recorded = found.transpose().unwrap_or_else(|error| {
        log::warn!("the history cannot be read: {error}");
        None
    });
    let death = Death { note: telling.note.clone(), start, error };
    let report = death.report(&names, recorded.flatten().as_ref());
    telling.record_and_notify(report, start, !only.is_empty(), true);
}
