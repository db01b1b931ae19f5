//! Dispatches to the commands of `backupgram`, one file each, and turns their failures into exit statuses.

mod backup;
mod check_env;
mod context;
mod health;
mod history;
mod list;
mod record_failure;
mod restore;
mod schedule;
mod status;
mod sweep;
mod table;
mod telegram;
mod telling;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use lexopt::{Arg, Parser};

use self::context::{Failure, Outcome, WRONG_CALL, print};

/// A command. Its help and its code are in a file of its own.
struct Command {
    name: &'static str,
    /// How to call it, without the program.
    usage: &'static str,
    /// What it does, for the list of all commands.
    summary: &'static str,
    /// Examples, usage, flags, what it reads of the environment, and the exit status.
    help: &'static str,
    run: fn(Parser) -> Outcome,
}

const COMMANDS: [Command; 11] = [
    Command {
        name: "backup",
        usage: "backup [DATABASE...]",
        summary: "back up now, all databases or these",
        help: backup::HELP,
        run: backup::run,
    },
    Command {
        name: "restore",
        usage: "restore [--dry-run] [--keep-previous] [--yes] [OPTIONS] [FILE [TARGET]]",
        summary: "restore SLOT/NAME or a path, all or nothing",
        help: restore::HELP,
        run: restore::run,
    },
    Command {
        name: "list",
        usage: "list [--all] [--slot SLOT] [-q] [--cleanup-preview] [--json] [DATABASE]",
        summary: "list the backups, or what the next run deletes",
        help: list::HELP,
        run: list::run,
    },
    Command {
        name: "verify",
        usage: "verify [--restore] [--json] [--all | SLOT/NAME...]",
        summary: "read backups from end to end, or restore them",
        help: verify::HELP,
        run: verify::run,
    },
    Command {
        name: "status",
        usage: "status [--json]",
        summary: "what runs, what is next, how the last run went",
        help: status::HELP,
        run: status::run,
    },
    Command {
        name: "history",
        usage: "history [--json] [--limit N]",
        summary: "the last runs, the newest first",
        help: history::HELP,
        run: history::run,
    },
    Command {
        name: "health",
        usage: "health [--json]",
        summary: "whether all is well, in one line",
        help: health::HELP,
        run: health::run,
    },
    Command {
        name: "telegram",
        usage: "telegram test",
        summary: "send a test message to the chats",
        help: telegram::HELP,
        run: telegram::run,
    },
    Command {
        name: "schedule",
        usage: "schedule EXPRESSION [--from TIME] [--count N]",
        summary: "show the next times of a schedule",
        help: schedule::HELP,
        run: schedule::run,
    },
    Command {
        name: "sweep",
        usage: "sweep",
        summary: "remove what killed runs left behind",
        help: sweep::HELP,
        run: sweep::run,
    },
    Command {
        name: "check-env",
        usage: "check-env [--print NAME]",
        summary: "list what is wrong with the settings",
        help: check_env::HELP,
        run: check_env::run,
    },
];

/// Commands that the daemon and the scheduler call; not in the list.
const INTERNAL: [Command; 1] = [Command {
    name: "record-failure",
    usage: "record-failure --started SECONDS --error TEXT [-- DATABASE...]",
    summary: "record a run that died",
    help: record_failure::HELP,
    run: record_failure::run,
}];

/// Not in the table, as it prints the table.
const HELP: &str = "help";

const EXAMPLES: &str = "\
backupgram backup                    back up every database of the settings now
backupgram list                      list the backups
backupgram restore last/NAME         restore a backup into its database
backupgram restore last/NAME OTHER   ... into another one

usage: backupgram COMMAND [ARGUMENTS]
";

const EPILOGUE: &str = "
`backupgram help COMMAND` says more.
environment: every setting comes from there; `backupgram check-env` says what
is wrong with yours, and docs/configuration.md lists them. RUST_LOG (error,
warn, info, debug) is how much is logged.
exit status: 0 done; 1 failed; 2 usage error; 75 another backup or restore is
running; 128 + N stopped by signal N.";

/// The list of all commands.
fn usage() -> String {
    let mut text = EXAMPLES.to_owned();
    for Command { usage, summary, .. } in &COMMANDS {
        text += &match usage.len() {
            0..=29 => format!("\n  {usage:<29} {summary}"),
            _ => format!("\n  {usage}\n  {:<29} {summary}", ""),
        };
    }
    text + "\n  help [COMMAND], --version\n" + EPILOGUE
}

/// Runs the command that this program was called by, as the image has links to it of these names, or else the one
/// that the arguments name.
pub fn run() -> ExitCode {
    let mut arguments = Parser::from_env();
    let called = arguments.bin_name().and_then(|path| Path::new(path).file_name()?.to_str());
    let called = called.filter(|name| is_command(name)).map(OsString::from);
    let first = called.map_or_else(|| arguments.next(), |name| Ok(Some(Arg::Value(name))));
    let outcome = match first {
        Ok(Some(Arg::Value(name))) => run_named(&name.to_string_lossy(), arguments),
        Ok(Some(Arg::Long("help") | Arg::Short('h'))) => help(arguments),
        Ok(Some(Arg::Long("version") | Arg::Short('V'))) => {
            print(&format!("backupgram {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Ok(Some(other)) => Err(other.unexpected().into()),
        Ok(None) => {
            let _ = writeln!(io::stderr(), "{}", usage());
            return ExitCode::from(WRONG_CALL);
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.lines.iter().for_each(|line| log::error!("{line}"));
            ExitCode::from(failure.status)
        }
    }
}

fn run_named(name: &str, arguments: Parser) -> Outcome {
    match find(name) {
        Some(command) if wants_help(&arguments) => {
            print(command.help);
            Ok(())
        }
        Some(command) => (command.run)(arguments),
        None if name == HELP => help(arguments),
        None => Err(unknown(name)),
    }
}

fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().chain(&INTERNAL).find(|command| command.name == name)
}

fn is_command(name: &str) -> bool {
    name == HELP || COMMANDS.iter().any(|command| command.name == name)
}

/// Whether `--help` is among the arguments of a command, in front of a `--`.
fn wants_help(arguments: &Parser) -> bool {
    let mut arguments = arguments.clone();
    loop {
        match arguments.next() {
            Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return true,
            // The value of another flag is not an argument.
            Ok(Some(_)) => drop(arguments.optional_value()),
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Prints the help of one command, or the list of all.
fn help(mut arguments: Parser) -> Outcome {
    match arguments.next()? {
        None | Some(Arg::Long("help") | Arg::Short('h')) => print(&usage()),
        Some(Arg::Value(name)) if name == HELP => print(&usage()),
        Some(Arg::Value(name)) => {
            let name = name.to_string_lossy();
            print(find(&name).ok_or_else(|| unknown(&name))?.help);
        }
        Some(other) => return Err(other.unexpected().into()),
    }
    Ok(())
}

fn unknown(command: &str) -> Failure {
    lexopt::Error::from(format!("there is no command {command}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;
    use crate::util::terminal;

    #[test]
    fn every_command_shows_examples_first_and_says_its_usage_its_environment_and_its_exit_status() {
        for Command { name, usage, help, .. } in COMMANDS.iter().chain(&INTERNAL) {
            let (examples, rest) = help.split_once("\n\n").unwrap();
            let call = format!("backupgram {name}");
            assert!(examples.lines().all(|line| line.starts_with(&call)), "{help}");
            assert!(rest.starts_with(&format!("usage: {call}")), "{help}");
            assert!(rest.contains("\nexit status: 0 "), "{help}");
            let (_, environment) = rest.split_once("\nenvironment: ").unwrap();
            for word in environment.split(|c: char| !c.is_ascii_uppercase() && c != '_' && c != '*') {
                let is_known = |variable: &settings::Variable| match word.strip_suffix('*') {
                    Some(prefix) => variable.name.starts_with(prefix),
                    None => variable.name == word || word == "_FILE",
                };
                assert!(
                    !word.contains('_') || settings::VARIABLES.iter().any(is_known),
                    "{name} knows no {word}"
                );
            }
            let flags = usage.split(|c: char| !c.is_ascii_lowercase() && c != '-');
            for flag in flags.filter(|flag| flag.starts_with("--")) {
                assert!(help.contains(&format!("\n  {flag}")), "{name} does not explain {flag}");
            }
        }
    }

    #[test]
    fn every_help_fits_a_terminal() {
        let helps = COMMANDS.iter().chain(&INTERNAL).map(|command| command.help.to_owned());
        let programs =
            [usage(), crate::daemon::USAGE.to_owned(), crate::service::scheduler::USAGE.to_owned()];
        for help in helps.chain(programs) {
            let long: Vec<&str> = help.lines().filter(|line| line.len() > terminal::COLUMNS).collect();
            assert!(long.is_empty(), "{long:#?}");
        }
    }

    #[test]
    fn help_is_asked_for_in_front_of_a_double_dash_only() {
        let wants = |arguments: &[&str]| wants_help(&Parser::from_args(arguments));
        assert!(wants(&["--help"]) && wants(&["app", "-h"]) && wants(&["--limit=3", "--help"]));
        assert!(!wants(&[]) && !wants(&["app", "--", "-h"]) && !wants(&["--limit=--help"]));
    }
}
