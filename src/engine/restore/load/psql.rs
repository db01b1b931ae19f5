//! Runs psql and feeds it SQL.

use std::io::{ErrorKind, Read, Write};
use std::process::{ChildStdin, Stdio};
use std::thread;

use crossbeam_channel::{Receiver, bounded, unbounded};
use memchr::memmem;
use nix::sys::signal::Signal;

use super::complaints::Mark;
use super::listener::{Heard, Listener};
use super::places::{Entries, OwnLines};
use crate::engine::restore::error::RestoreError;
use crate::postgres::{Client, Setting, Version, WRITES};
use crate::system::process::{Child, Interrupted, ProgramError, Runner, for_each_line};
use crate::util::units::hexadecimal;

/// Bytes at the beginning of the SQL that have pg_dump's session settings.
const PREAMBLE: usize = 8 * 1024;
/// A setting that pg_dump writes since version 17, for any server, and that older servers do not know.
const TRANSACTION_TIMEOUT: &[u8] = b"\nSET transaction_timeout = 0;";
/// Commits need not be flushed during the load: the renaming at its end is flushed, and with it everything before.
const IN_NO_HURRY: Setting = ("synchronous_commit", "off");

/// The settings of a loading session.
pub(super) const LOADS: [Setting; 5] = [WRITES[0], WRITES[1], WRITES[2], WRITES[3], IN_NO_HURRY];

/// Marks a session behind a pooler, and fails in an unmarked one. A session without the beginning of the dump lacks
/// its settings, such as tablespace and owner, which would go unnoticed.
const MARK_SESSION: &str = "SET backupgram.session = on; ";
const CHECK_SESSION: &str = "
DO $$ BEGIN
    IF pg_catalog.current_setting('backupgram.session', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'a pooler changed the session during the load: connect to the server directly, or use session pooling';
    END IF;
END $$;
";

/// The command at the beginning of dumps by recent versions of pg_dump.
const RESTRICT: &[u8] = b"\\restrict ";

/// A running psql.
#[derive(Debug)]
pub struct Psql {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Listener,
    runner: Runner,
    /// The key of `\restrict` and `\unrestrict`. `None` if this psql does not have these commands.
    key: Option<String>,
    /// SQL to send before everything else.
    set_up: String,
    /// Whether a pooler may change the session between statements.
    is_pooled: bool,
    answers: Option<Answers>,
    marks: Option<Marks>,
    own_lines: OwnLines,
    ignores_stop: bool,
}

/// Answers on psql's standard output.
#[derive(Debug)]
struct Answers {
    /// Random prefix of lines that are answers.
    mark: String,
    /// The answers. Disconnected at the end of the output.
    lines: Receiver<String>,
}

impl Answers {
    fn listen(output: impl Read + Send + 'static) -> Result<Self, RestoreError> {
        let (mark, (told, lines)) = (random_key()?, bounded(1));
        let prefix = mark.clone();
        thread::spawn(move || {
            for_each_line(output, |line| {
                if let Some(answer) = line.trim().strip_prefix(&prefix) {
                    let _ = told.try_send(answer.to_owned());
                }
            });
        });
        Ok(Self { mark, lines })
    }
}

/// Detects on standard error whether added statements have failed, for a psql that goes on after errors.
#[derive(Debug)]
struct Marks {
    text: String,
    failed: Receiver<bool>,
}

/// Options of a psql.
#[derive(Debug, Default)]
pub struct Manner {
    /// Whether it goes on after failed statements and logs them. Otherwise the first failure ends it.
    pub goes_on: bool,
    /// Whether it can be asked for the values of queries.
    pub answers: bool,
    /// The entries of the archive, if its SQL is from one.
    pub entries: Option<Entries>,
}

impl Psql {
    /// Starts psql, connected to the client's database.
    ///
    /// # Errors
    /// When it cannot be started, or a stop signal has come.
    pub fn start(client: &Client, manner: Manner, runner: &Runner) -> Result<Self, RestoreError> {
        let key = if client.psql_version()?.knows_restrict() { Some(random_key()?) } else { None };
        let mut command = client.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password"]);
        // Errors are told apart by their SQLSTATE.
        command.args(["--set", "VERBOSITY=verbose", "--file", "-"]);
        if !manner.goes_on {
            command.args(["--set", "ON_ERROR_STOP=1"]);
        }
        let mut set_up = client.server().set_up(&mut command, &LOADS);
        let is_pooled = !set_up.is_empty();
        if is_pooled {
            set_up.push_str(MARK_SESSION);
        }
        command.env("LC_ALL", "C");
        let stdout = if manner.answers { Stdio::piped() } else { Stdio::null() };
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = runner.spawn(&mut command)?;
        let (stdin, errors) = (child.stdin.take(), child.stderr.take());
        let own_lines = OwnLines::default();
        let (marks, mark) = if manner.goes_on {
            let (text, (told, failed)) = (random_key()?, unbounded());
            (Some(Marks { text: text.clone(), failed }), Some(Mark { text, told }))
        } else {
            (None, None)
        };
        let said = Listener::start_with_mark(errors, own_lines.places(manner.entries), manner.goes_on, mark);
        let answers = child.stdout.take().map(Answers::listen).transpose()?;
        Ok(Self {
            child,
            stdin,
            said,
            runner: runner.clone(),
            key,
            set_up,
            is_pooled,
            answers,
            marks,
            own_lines,
            ignores_stop: false,
        })
    }

    /// Sends a whole dump. [`Self::finish`] ends the input.
    ///
    /// # Errors
    /// When the SQL cannot be read, or psql stops reading.
    pub fn feed(&mut self, sql: &mut dyn Read, server: &Version) -> Result<(), RestoreError> {
        let preamble = self.prepare(sql, server)?;
        self.send(&preamble)?;
        self.feed_as_it_is(sql)?;
        self.send(if self.is_pooled { CHECK_SESSION } else { "" })
    }

    /// Reads the beginning of a dump, and returns the SQL to send instead.
    ///
    /// # Errors
    /// When the SQL cannot be read, or psql stops reading.
    pub fn prepare(&mut self, sql: &mut dyn Read, server: &Version) -> Result<Vec<u8>, RestoreError> {
        let mut preamble = Vec::with_capacity(PREAMBLE);
        sql.take(PREAMBLE as u64).read_to_end(&mut preamble).map_err(RestoreError::Read)?;
        if !server.knows_transaction_timeout() {
            blank(&mut preamble, TRANSACTION_TIMEOUT);
        }
        if memmem::find(&preamble, RESTRICT).is_none() && self.key.is_some() {
            self.own_lines.note(1);
            self.restrict()?;
        }
        Ok(preamble)
    }

    /// The lines of the input that are not part of the dump.
    pub fn own_lines(&self) -> OwnLines {
        self.own_lines.clone()
    }

    /// Disables psql's own commands for the following input.
    ///
    /// # Errors
    /// When psql stops reading.
    pub fn restrict(&mut self) -> Result<(), RestoreError> {
        let command = self.key.as_ref().map(|key| format!("\\restrict {key}\n")).unwrap_or_default();
        self.send(command)
    }

    /// Wraps a command of psql so that it is run although commands are disabled.
    pub fn unrestricted(&self) -> impl Fn(&str) -> String + use<> {
        let key = self.key.clone();
        move |command| match &key {
            Some(key) => format!("\\unrestrict {key}\n{command}\\restrict {key}\n"),
            None => command.to_owned(),
        }
    }

    /// Sends SQL.
    ///
    /// # Errors
    /// When psql stops reading.
    pub fn send(&mut self, sql: impl AsRef<[u8]>) -> Result<(), RestoreError> {
        let set_up = std::mem::take(&mut self.set_up);
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let written = stdin.write_all(set_up.as_bytes()).and_then(|()| stdin.write_all(sql.as_ref()));
        written.map_err(RestoreError::Feed)
    }

    /// Sends all SQL of a reader, unchanged.
    ///
    /// # Errors
    /// When the SQL cannot be read, or psql stops reading.
    pub fn feed_as_it_is(&mut self, sql: &mut dyn Read) -> Result<(), RestoreError> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match sql.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => self.send(&chunk[..length])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(RestoreError::Read(error)),
            }
        }
    }

    /// Waits until all input is processed, and returns the value of a query.
    ///
    /// # Errors
    /// When it has ended; [`Self::finish`] says why.
    pub fn ask(&mut self, query: &str) -> Result<String, RestoreError> {
        let ended = || RestoreError::Feed(ErrorKind::BrokenPipe.into());
        let mark = self.answers.as_ref().map(|answers| answers.mark.clone()).ok_or_else(ended)?;
        self.send(format!("SELECT '{mark}' OPERATOR(pg_catalog.||) ({query});\n"))?;
        let answer = self.answers.as_ref().and_then(|answers| answers.lines.recv().ok());
        answer.ok_or_else(ended)
    }

    /// Waits until all input is processed, and returns whether any added line has failed since the last call. Adds one
    /// more line itself. Only for a psql that goes on after errors.
    ///
    /// # Errors
    /// When it has ended; [`Self::finish`] says why.
    pub fn own_lines_have_failed(&mut self) -> Result<bool, RestoreError> {
        let ended = || RestoreError::Feed(ErrorKind::BrokenPipe.into());
        let mark = self.marks.as_ref().map(|marks| marks.text.clone()).ok_or_else(ended)?;
        self.send(format!("SELECT '{mark}'::pg_catalog.int4;\n"))?;
        self.marks.as_ref().and_then(|marks| marks.failed.recv().ok()).ok_or_else(ended)
    }

    /// Exempts this psql from stop signals.
    ///
    /// # Errors
    /// When one has come.
    pub fn ignore_stop(&mut self) -> Result<(), Interrupted> {
        self.runner.exempt_from_stop(&self.child)?;
        self.ignores_stop = true;
        Ok(())
    }

    /// Terminates it, so that its transaction is rolled back.
    pub fn abandon(mut self) {
        self.child.signaller().signal(Signal::SIGTERM);
        drop(self.stdin.take());
        self.child.wait();
    }

    /// Ends the input, waits for psql's end, and returns the failed statements. `fed` is the result of feeding it.
    ///
    /// # Errors
    /// What `fed` says, or psql's failure.
    pub fn finish(mut self, fed: Result<(), RestoreError>) -> Result<Heard, RestoreError> {
        if fed.is_err() {
            // The end of the input would look like the end of the dump.
            self.child.signaller().signal(Signal::SIGTERM);
        }
        drop(self.stdin.take());
        let exit = self.child.wait();
        let said = self.said.finish();
        if !self.ignores_stop {
            self.runner.check().map_err(ProgramError::Interrupted)?;
        }
        match fed {
            // psql's message says more than that it stopped reading.
            Err(RestoreError::Feed(_)) | Ok(()) if !exit.success() => {
                Err(said.load_error(self.runner.failure("psql".as_ref(), exit, &said.tail())))
            }
            fed => fed.map(|()| said),
        }
    }
}

fn random_key() -> Result<String, RestoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| RestoreError::Random(error.to_string()))?;
    Ok(hexadecimal(&random))
}

/// Overwrites a line with spaces, which keeps the line numbers in psql's messages.
fn blank(text: &mut [u8], line: &[u8]) {
    if let Some(at) = memmem::find(text, line) {
        text[at + 1..at + line.len()].fill(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_an_old_server_does_not_know_is_blanked_and_nothing_else() {
        let mut text = b"SET a = 0;\nSET transaction_timeout = 0;\nSET b = 0;\n".to_vec();
        blank(&mut text, TRANSACTION_TIMEOUT);
        assert_eq!(text, b"SET a = 0;\n                            \nSET b = 0;\n");
    }
}
