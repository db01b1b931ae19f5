//! `backupgram verify`.

use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Value, json};

use super::context::{Failure, Outcome, environment, print, print_line, runner};
use crate::engine::content::DecryptionContext;
use crate::engine::verify::{Verdict, Verifier};
use crate::settings::{Reader, Storage};
use crate::store::catalog::{BackupDirectory, BackupName, Slot};
use crate::system::lock::{Lock, LockError};
use crate::util::terminal::{self, COLUMNS};

pub(super) const HELP: &str = "\
backupgram verify                                   all backups
backupgram verify last/app-latest.sql.gz            this one
backupgram verify --restore last/app-latest.sql.gz  ... by restoring it

usage: backupgram verify [--restore] [--json] [--all | SLOT/NAME...]

Reads backups from end to end, without a database: the checksum, the
decryption, the decompression, and the dump itself, an archive by pg_restore.
The result is recorded beside each backup.

  SLOT/NAME    these backups; without any, all of them
  --all        all of them
  --restore    also restore each into a temporary PostgreSQL server in this
               container, and count its tables and rows; this needs room for
               the database on the backup volume, or in TMPDIR
  --json       for programs

environment: BACKUP_DIR says where the backups are, BACKUP_ENCRYPTION_KEY what
opens them; RESTORE_JOBS how many load at once with --restore.

exit status: 0 all are whole; 1 at least one is not, or could not be checked
(each is named); 2 usage error; 75 --restore cannot run while another backup or
restore is running; 128 + N stopped by signal N.";

pub(super) fn run(arguments: Parser) -> Outcome {
    let Call { chosen, as_json, restores } = parse(arguments)?;
    let runner = runner()?;
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let directory = BackupDirectory::new(&storage.directory);
    let chosen = if chosen.is_empty() { all(&directory)? } else { chosen };
    let patience = Duration::from_secs(storage.lock_wait.into());
    let _lock = if restores {
        directory.prepare_to_read().map_err(Failure::new)?;
        let lock = Lock::take_to_read(directory.root(), "restore proof", patience, &runner);
        let lock = lock.map_err(locked)?;
        directory.sweep_leftovers().map_err(Failure::new)?;
        Some(lock)
    } else {
        None
    };
    let keys = DecryptionContext { passphrase: storage.passphrase, runner };
    let mut verifier = Verifier::new(&directory, keys, storage.restore_jobs);
    let mut verdicts = Vec::new();
    for (slot, name) in chosen {
        let verdict = if restores { verifier.prove(slot, &name) } else { verifier.verify(slot, &name) };
        let verdict = verdict.map_err(Failure::interrupted)?;
        if !as_json {
            tell(&verdict);
        }
        verdicts.push(verdict);
    }
    let failed = verdicts.iter().filter(|verdict| verdict.finding.error().is_some()).count();
    if as_json {
        let verdicts: Vec<Value> = verdicts.iter().map(as_value).collect();
        print(&json!({ "verified": verdicts }).to_string());
    }
    let count = match verdicts.len() {
        1 => "1 backup".to_owned(),
        count => format!("{count} backups"),
    };
    match failed {
        0 if as_json => Ok(()),
        0 => {
            print(&format!("{count} verified, all whole"));
            Ok(())
        }
        failed => Err(Failure::new(format!("{failed} of {count} failed the check"))),
    }
}

/// What the arguments say.
struct Call {
    chosen: Vec<(Slot, BackupName)>,
    as_json: bool,
    restores: bool,
}

fn locked(error: LockError) -> Failure {
    match error {
        LockError::Held(_) => Failure::busy(error),
        LockError::Interrupted(interrupted) => Failure::interrupted(interrupted),
        error => Failure::new(error),
    }
}

fn parse(mut arguments: Parser) -> Result<Call, Failure> {
    let (mut chosen, mut as_json, mut all, mut restores) = (Vec::new(), false, false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => as_json = true,
            Arg::Long("all") => all = true,
            Arg::Long("restore") => restores = true,
            Arg::Value(label) => chosen.push(parse_label(&label.string()?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    if all && !chosen.is_empty() {
        Err(lexopt::Error::from("--all and SLOT/NAME cannot be combined").into())
    } else {
        Ok(Call { chosen, as_json, restores })
    }
}

fn parse_label(label: &str) -> Result<(Slot, BackupName), Failure> {
    let parts = label.split_once('/').and_then(|(slot, name)| Some((Slot::named(slot)?, name)));
    let (slot, name) =
        parts.ok_or_else(|| lexopt::Error::from(format!("{label:?} is not of the form SLOT/NAME")))?;
    let name = BackupName::parse(name).map_err(|error| lexopt::Error::from(error.to_string()))?;
    Ok((slot, name))
}

fn all(directory: &BackupDirectory) -> Result<Vec<(Slot, BackupName)>, Failure> {
    let entries = directory.list_all().map_err(Failure::new)?;
    let backups = entries.into_iter().filter(|entry| entry.alias_of.is_none());
    Ok(backups.map(|entry| (entry.slot, entry.name)).collect())
}

/// The message for a backup in which nothing is wrong.
const WHOLE: &str = " is whole";

fn tell(Verdict { slot, name, finding }: &Verdict) {
    match finding.error() {
        None => {
            let name = format!("{slot}/{name}");
            let shown = terminal::printable(&name);
            print_line(&format!("{}{WHOLE}", terminal::cut_start(&shown, COLUMNS - WHOLE.len())));
        }
        Some(error) => log::error!("{slot}/{name} {error}"),
    }
}

fn as_value(Verdict { slot, name, finding }: &Verdict) -> Value {
    let error = finding.error();
    json!({ "slot": slot, "name": name, "whole": error.is_none(), "error": error.unwrap_or_default() })
}
