//! `backupgram restore`.

mod picker;
mod question;

use std::io::IsTerminal;

use lexopt::{Arg, Parser, ValueExt};

use self::question::Questions;
use crate::cli::context::{Failure, Outcome, environment, runner};
use crate::delivery::telegram::{self, Chat, FetchError, TelegramSettings};
use crate::engine::restore::{
    Options, Plan, PropertyChoice, Request, Restore, RestoreError, SearchPath, Source,
};
use crate::postgres::Server;
use crate::settings::{Reader, Storage};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::system::lock::LockError;
use crate::system::process::Interrupted;
use crate::util::open_dir::OpenDir;

pub(super) const HELP: &str = "\
backupgram restore                                   choose one, at a terminal
backupgram restore last/app-20260416-143000.sql.gz   into the database it is of
backupgram restore --keep-previous last/app-latest.sql.gz app
backupgram restore --dry-run /backups/other.dump app_copy
backupgram restore --from-telegram 4521 app

usage: backupgram restore [--dry-run] [--keep-previous] [--ignore-space]
                          [--yes] [OPTIONS] [FILE [TARGET]]
       backupgram restore --from-telegram ID [--chat CHAT] [OPTIONS] [TARGET]

Restores a backup, all or nothing: it is checked and loaded into a new database,
which takes the target's place when the load is complete. On a terminal it asks
first; without FILE it also asks for the database and its backup, by number or
part of the name. A dump of a whole server, or of its roles, creates what is in
it and replaces nothing.

  FILE               SLOT/NAME as `backupgram list -q` prints it, or the path
                     of a dump
  TARGET             the database to replace or create; without it, the one that
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
  --ignore-manifest  restore without the backup's manifest
  --properties all|encoding|none
                     the properties of a new database: all those of the backup,
                     only its encoding and locale, or the server's defaults
  --before FILE      run this SQL in the new database before anything is loaded
  --after FILE       run this SQL in it after the load, before it takes the
                     target's name
  --drop-replication drop the target's subscriptions and replication slots; a
                     target that has any is refused otherwise
  --keep-going       go on after statements that fail, list them, and end with
                     exit status 3; only into a new database
  --search-path LIST search these schemas while loading, instead of the empty
                     search path that pg_dump sets
  --yes, -y          do not ask

environment: POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD and
POSTGRES_PASSFILE_STORE say into which server; BACKUP_DIR where the backups
are, BACKUP_ENCRYPTION_KEY what opens them; RESTORE_JOBS how many load at once;
TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID and TELEGRAM_API_URL where --from-telegram
looks.

exit status: 0 restored; 1 not, and the target is unchanged; 2 usage error;
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
        (Some(id), _) => (Place::Telegram { id, chat: call.chat, settings: telegram }, call.target),
        (None, Some(file)) => (Place::File(file), call.target),
        (None, None) => {
            let (file, target) = picker::choose(&BackupDirectory::new(&storage.directory), &questions)?;
            (Place::File(file), target)
        }
    };
    let (options, ignore_space, dry_run) = (call.options, call.ignore_space, call.dry_run);
    let request = Request { target, options, ignore_space, dry_run };
    let restore = Restore::new(&storage, &server, &runner, &request).map_err(failure)?;
    let confirm = |plan: &Plan| if is_asked { confirm(plan, &questions) } else { Ok(true) };
    match backup {
        Place::File(file) => {
            restore.open(&file).and_then(|source| restore.run(source, None, confirm)).map_err(failure)
        }
        Place::Telegram { id, chat, settings } => {
            let lock = restore.lock().map_err(failure)?;
            let place = restore.directory().place_for(0).map_err(RestoreError::from).map_err(failure)?;
            let fetched = FetchDirectory::make(place).map_err(fetch_failure)?;
            let backup = telegram::fetch(settings.as_ref(), chat.as_ref(), id, &fetched.directory, &runner);
            let (file, name) = backup.map_err(fetch_failure)?;
            let source = Source::fetched(file, &fetched.directory.path().join(name));
            restore.run(source, Some(&lock), confirm).map_err(failure)
        }
    }
}

/// Where a backup is.
enum Place {
    /// `SLOT/NAME`, or a path.
    File(String),
    /// A message on Telegram, and its chat; without one, any chat of the settings.
    Telegram { id: i64, chat: Option<Chat>, settings: Option<TelegramSettings> },
}

fn failure(error: RestoreError) -> Failure {
    match error {
        RestoreError::Locked(error @ LockError::Held(_)) => Failure::busy(error),
        error @ RestoreError::WithErrors(..) => Failure::with_status(WITH_ERRORS, error),
        error => error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted),
    }
}

fn fetch_failure(error: FetchError) -> Failure {
    error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted)
}

/// A directory for a backup that is fetched, in the place for temporary files. It is removed when dropped. Only the holder
/// of the run lock may have one.
struct FetchDirectory {
    place: OpenDir,
    directory: OpenDir,
}

impl FetchDirectory {
    const NAME: &str = "telegram";

    fn make(place: OpenDir) -> Result<Self, FetchError> {
        place.remove_all(Self::NAME).map_err(FetchError::Write)?;
        let directory = place.make_private(Self::NAME, 0o700).map_err(FetchError::Write)?;
        Ok(Self { place, directory })
    }
}

impl Drop for FetchDirectory {
    fn drop(&mut self) {
        let removed = self.directory.clear().and_then(|()| self.place.remove_all(Self::NAME));
        if let Err(error) = removed {
            log::warn!("cannot remove {} now; the next run does: {error}", self.directory.path().display());
        }
    }
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
                let wrong = || lexopt::Error::from(format!("{word:?} is not one of all, encoding, none"));
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
        (Some(_), Some(_)) => Err(lexopt::Error::from("FILE and --from-telegram cannot be combined").into()),
        (None, _) if call.chat.is_some() => Err(lexopt::Error::from("--chat needs --from-telegram").into()),
        _ => Ok(call),
    }
}

/// Asks on the terminal. Only the whole name of the target counts as a yes.
fn confirm(plan: &Plan, questions: &Questions) -> Result<bool, Interrupted> {
    let name = plan.goal.name();
    questions.say(&plan.to_string());
    Ok(questions.ask(&format!("type {name} to go on: "))?.is_some_and(|answer| answer == name))
}
