//! `backupgram restore`.

mod picker;
mod question;

use std::io::IsTerminal;

use lexopt::{Arg, Parser, ValueExt};

use self::question::Questions;
use crate::cli::context::{Failure, Outcome, environment, runner};
use crate::delivery::telegram::{Chat, TelegramSettings};
use crate::engine::restore::{
    Options, Place, Plan, PropertyChoice, Request, Restore, RestoreError, SearchPath,
};
use crate::postgres::Server;
use crate::settings::{Reader, Storage};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::system::lock::LockError;
use crate::system::process::Interrupted;

pub(super) const HELP: &str = "\
backupgram restore                                   choose one, at a terminal
backupgram restore last/app-20260416-143000.sql.gz   into the database it is of
backupgram restore --keep-previous last/app-latest.sql.gz app
backupgram restore --dry-run /backups/other.dump app_copy
backupgram restore --from-telegram 4521 app

usage: backupgram restore [--dry-run] [--keep-previous] [--ignore-space]
                          [--yes] [OPTIONS] [FILE [TARGET]]
       backupgram restore --from-telegram ID [--chat CHAT] [OPTIONS] [TARGET]

Restores a backup, all or nothing: it is checked, loaded into a new database,
and only when all of it is in does that take the target's place. On a terminal
it asks first, without FILE also for the database and its backup, by number or
part of the name. A dump of a whole server, or of its roles, makes what is in
it and replaces nothing.

  FILE               SLOT/NAME as `backupgram list -q` prints it, or the path
                     of a dump
  TARGET             the database to replace or make; without it, the one that
                     the backup is of
  --from-telegram ID
                     fetch the backup of the message with this restore id
  --chat CHAT        the chat that the message is in; without it, whichever of
                     TELEGRAM_CHAT_ID has it
  --dry-run          check the backup, the server and the role, and say what
                     would happen
  --keep-previous    keep the replaced database under another name
  --ignore-space     go on even where the server's disk seems to have too
                     little room
  --ignore-manifest  go on as if nothing had been written down about the backup
  --properties all|encoding|none
                     what a database that is not there is made like: the
                     backup's with all properties, the same in encoding and
                     locale only, or the server's defaults
  --before FILE      run this SQL in the new database before anything is loaded
  --after FILE       run this SQL in it after the load, before it takes the
                     target's name
  --drop-replication drop the target's subscriptions and replication slots,
                     with which it is refused else
  --keep-going       go on after statements that fail, list them, and end with
                     exit status 3; only into a database that is not there
  --search-path LIST search these schemas while loading, where pg_dump says
                     that none is searched
  --yes, -y          do not ask

environment: POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD and
POSTGRES_PASSFILE_STORE say into which server; BACKUP_DIR where the backups
are, BACKUP_ENCRYPTION_KEY what opens them; RESTORE_JOBS how many load at once;
TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID and TELEGRAM_API_URL where --from-telegram
looks.

exit status: 0 restored; 1 not, and the target is as it was; 2 wrong call;
3 restored with errors; 75 another backup or restore is running; 128 + N
stopped by signal N.";

/// What the arguments say.
#[derive(Default)]
struct Call {
    file: Option<String>,
    message: Option<i64>,
    chat: Option<Chat>,
    target: Option<DatabaseName>,
    options: Options,
    ignore_space: bool,
    dry_run: bool,
    yes: bool,
}

/// The exit status of a restore that went on after errors.
const WITH_ERRORS: u8 = 3;

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
    let (options, ignore_space, dry_run) = (call.options, call.ignore_space, call.dry_run);
    let request = Request { backup, target, options, ignore_space, dry_run };
    let restore =
        Restore { storage: &storage, server: &server, runner: &runner, telegram: telegram.as_ref() };
    let confirm = |plan: &Plan| if is_asked { confirm(plan, &questions) } else { Ok(true) };
    restore.run(&request, confirm).map_err(|error| match error {
        RestoreError::Locked(error @ LockError::Held(_)) => Failure::busy(error),
        error @ RestoreError::WithErrors(..) => Failure::with_status(WITH_ERRORS, error),
        error => error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted),
    })
}

fn parse(mut arguments: Parser) -> Result<Call, Failure> {
    let mut call = Call::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("from-telegram") => call.message = Some(arguments.value()?.parse()?),
            Arg::Long("chat") => {
                let chat = arguments.value()?.string()?;
                let wrong = || lexopt::Error::from(format!("{chat:?} is not the number or @name of a chat"));
                call.chat = Some(Chat::parse(&chat).ok_or_else(wrong)?);
            }
            Arg::Long("keep-previous") => call.options.keep_previous = true,
            Arg::Long("drop-replication") => call.options.drop_replication = true,
            Arg::Long("keep-going") => call.options.keep_going = true,
            Arg::Long("ignore-manifest") => call.options.ignore_manifest = true,
            Arg::Long("properties") => {
                let word = arguments.value()?.string()?;
                let wrong = || lexopt::Error::from(format!("{word:?} is none of all, encoding and none"));
                call.options.properties = PropertyChoice::of_word(&word).ok_or_else(wrong)?;
            }
            Arg::Long("search-path") => {
                let list = arguments.value()?.string()?;
                let wrong = || lexopt::Error::from(format!("{list:?} is not a list of schemas"));
                call.options.search_path = Some(SearchPath::parse(&list).ok_or_else(wrong)?);
            }
            Arg::Long("before") => call.options.before = Some(arguments.value()?.into()),
            Arg::Long("after") => call.options.after = Some(arguments.value()?.into()),
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
