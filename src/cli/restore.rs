//! `backupgram restore`.

use std::io::IsTerminal;

use lexopt::{Arg, Parser, ValueExt};

use super::picker;
use super::question::Questions;
use super::{Failure, Outcome, environment, runner};
use crate::catalog::{BackupDirectory, DatabaseName};
use crate::lock::LockError;
use crate::postgres::Server;
use crate::process::Interrupted;
use crate::restore::{Place, Plan, Request, Restore, RestoreError};
use crate::settings::{self, Reader, Storage};
use crate::telegram::{Chat, TelegramSettings};

pub(super) const HELP: &str = "\
backupgram restore                                             choose one, at a terminal
backupgram restore last/app-20260416-143000.sql.gz             into the database that it is of
backupgram restore --keep-previous last/app-latest.sql.gz app  ... keeping what is there
backupgram restore --dry-run /backups/other.dump app_copy      only see whether this would work
backupgram restore --from-telegram 4521 app                    a backup that was sent to Telegram

usage: backupgram restore [--dry-run] [--keep-previous] [--ignore-space] [--yes] [FILE [TARGET]]
       backupgram restore --from-telegram ID [--chat CHAT] [FLAGS] [TARGET]

Restores a backup, all or nothing: it is checked, loaded into a new database, and only when all of it is
in does that take the target's place. On a terminal it asks first, without FILE also which backup. A dump
of a whole server, or of its roles, makes what is in it and replaces nothing.

  FILE               SLOT/NAME as `backupgram list` shows it, or the path of a dump
  TARGET             the database to replace or make; without it, the one that the backup is of
  --from-telegram ID
                     fetch the backup of the message with this restore id
  --chat CHAT        the chat that the message is in; without it, whichever of TELEGRAM_CHAT_ID has it
  --dry-run          check the backup, the server and the role, and say what would happen
  --keep-previous    keep the replaced database under another name
  --ignore-space     go on even where the server's disk seems to have too little room
  --yes, -y          do not ask

environment: POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_PASSFILE_STORE say
into which server; BACKUP_DIR where the backups are, BACKUP_ENCRYPTION_KEY what opens them; RESTORE_JOBS
how many load at once; TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID and TELEGRAM_API_URL where --from-telegram looks.

exit status: 0 restored; 1 not, and the target is as it was; 2 wrong call;
75 another backup or restore is running; 128 + N stopped by signal N.";

/// What the arguments say.
struct Call {
    file: Option<String>,
    message: Option<i64>,
    chat: Option<Chat>,
    target: Option<DatabaseName>,
    keep_previous: bool,
    ignore_space: bool,
    dry_run: bool,
    yes: bool,
}

pub(super) fn run(arguments: Parser) -> Outcome {
    let call = parse(arguments)?;
    let is_asked = std::io::stdin().is_terminal() && !call.yes;
    if call.file.is_none() && call.message.is_none() && !is_asked {
        return Err(lexopt::Error::from("FILE is missing").into());
    }
    let runner = runner()?;
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let server = Reader::resolve(&environment, Server::read)?;
    let jobs = Reader::resolve(&environment, settings::restore_jobs)?;
    let telegram = match call.message {
        Some(_) => Reader::resolve(&environment, TelegramSettings::read)?,
        None => None,
    };
    let questions = Questions::new(runner.clone());
    let (backup, target) = match (call.message, call.file) {
        (Some(message), _) => (Place::Telegram(message, call.chat), call.target),
        (None, Some(file)) => (Place::File(file), call.target),
        (None, None) => {
            let (file, target) = picker::choose(&BackupDirectory::new(&storage.directory), &questions)?;
            (Place::File(file), target)
        }
    };
    let (keep_previous, ignore_space, dry_run) = (call.keep_previous, call.ignore_space, call.dry_run);
    let request = Request { backup, target, keep_previous, ignore_space, dry_run };
    let restore =
        Restore { storage: &storage, server: &server, jobs, runner: &runner, telegram: telegram.as_ref() };
    let confirm = |plan: &Plan| if is_asked { confirm(plan, &questions) } else { Ok(true) };
    restore.run(&request, confirm).map_err(|error| match error {
        RestoreError::Locked(error @ LockError::Held(_)) => Failure::busy(error),
        error => error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted),
    })
}

fn parse(mut arguments: Parser) -> Result<Call, Failure> {
    let mut call = Call {
        file: None,
        message: None,
        chat: None,
        target: None,
        keep_previous: false,
        ignore_space: false,
        dry_run: false,
        yes: false,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("from-telegram") => call.message = Some(arguments.value()?.parse()?),
            Arg::Long("chat") => {
                let chat = arguments.value()?.string()?;
                let wrong = || lexopt::Error::from(format!("{chat:?} is not the number or @name of a chat"));
                call.chat = Some(Chat::parse(&chat).ok_or_else(wrong)?);
            }
            Arg::Long("keep-previous") => call.keep_previous = true,
            Arg::Long("ignore-space") => call.ignore_space = true,
            Arg::Long("dry-run") => call.dry_run = true,
            Arg::Long("yes") | Arg::Short('y') => call.yes = true,
            Arg::Value(value) if call.file.is_none() && call.message.is_none() => {
                call.file = Some(value.string()?)
            }
            Arg::Value(value) if call.target.is_none() => {
                let name = DatabaseName::parse(&value.string()?);
                call.target = Some(name.map_err(|error| Failure::new(format!("TARGET {error}")))?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    match (call.message, &call.file) {
        (Some(_), Some(_)) => Err(lexopt::Error::from("FILE and --from-telegram exclude each other").into()),
        (None, _) if call.chat.is_some() => {
            Err(lexopt::Error::from("--chat goes with --from-telegram").into())
        }
        _ => Ok(call),
    }
}

/// Asks on the terminal. Only the whole name of the target counts as a yes.
fn confirm(plan: &Plan, questions: &Questions) -> Result<bool, Interrupted> {
    let name = plan.goal.name();
    questions.say(&plan.to_string());
    Ok(questions.ask(&format!("type {name} to go on: "))?.is_some_and(|answer| answer == name))
}
