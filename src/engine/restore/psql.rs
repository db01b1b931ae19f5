//! psql taking SQL into a database.

use std::io::{ErrorKind, Read, Write};
use std::process::{ChildStdin, Stdio};
use std::thread;

use crossbeam_channel::{Receiver, bounded, unbounded};
use memchr::memmem;
use nix::sys::signal::Signal;

use super::RestoreError;
use super::complaints::Mark;
use super::listener::{Heard, Listener};
use super::places::{Entries, OwnLines};
use crate::postgres::{Client, Setting, Version, WRITES};
use crate::system::process::{Child, Interrupted, ProgramError, Runner, for_each_line};
use crate::util::units::hexadecimal;

/// Bytes of the SQL in which pg_dump's settings of the session stand.
const PREAMBLE: usize = 8 * 1024;
/// A setting that pg_dump writes since version 17, whatever the server, and that older servers do not know.
const TRANSACTION_TIMEOUT: &[u8] = b"\nSET transaction_timeout = 0;";
/// What else than [`WRITES`] holds for a session that loads. The renames at the end are flushed, and with them all that
/// was written before.
const IN_NO_HURRY: Setting = ("synchronous_commit", "off");

/// The settings of a session that loads.
pub(super) const LOADS: [Setting; 5] = [WRITES[0], WRITES[1], WRITES[2], WRITES[3], IN_NO_HURRY];

/// Marks a session behind a pooler, and fails in one that is not marked. One that has not begun with the dump lacks its
/// settings, such as where tables go and who owns them, and nobody would notice.
const MARK_SESSION: &str = "SET backupgram.session = on; ";
const CHECK_SESSION: &str = "
DO $$ BEGIN
    IF pg_catalog.current_setting('backupgram.session', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'the pooler has changed the session within the load: restore past it, or let it pool sessions';
    END IF;
END $$;
";

/// What a dump of a recent pg_dump begins with.
const RESTRICT: &[u8] = b"\\restrict ";

/// A running psql.
#[derive(Debug)]
pub struct Psql {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Listener,
    runner: Runner,
    /// By what it can be told to obey commands of its own again; none where it cannot be kept from it.
    key: Option<String>,
    /// What comes before the first that it is fed.
    set_up: String,
    /// Whether another session may answer from one statement to the next.
    is_pooled: bool,
    answers: Option<Answers>,
    marks: Option<Marks>,
    own_lines: OwnLines,
    outlasts_signals: bool,
}

/// What a psql prints that was asked.
#[derive(Debug)]
struct Answers {
    /// What a line begins with that is an answer. No dump knows it.
    mark: String,
    /// Ends with psql's output.
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

/// How a psql that goes on is asked what has failed: of what it says on standard error, where errors come in their order.
#[derive(Debug)]
struct Marks {
    text: String,
    failed: Receiver<bool>,
}

/// How a psql is to be started.
#[derive(Debug, Default)]
pub struct Manner {
    /// Whether it goes on after statements that fail, and lists them; else the first ends it.
    pub goes_on: bool,
    /// Whether it can be asked.
    pub answers: bool,
    /// The entries of the archive whose SQL it is fed.
    pub entries: Option<Entries>,
}

impl Psql {
    /// Starts it, connected to the client's database.
    ///
    /// # Errors
    /// When it cannot be started, or a stop signal has come.
    pub fn start(client: &Client, manner: Manner, runner: &Runner) -> Result<Self, RestoreError> {
        let key = match client.psql_version()?.knows_restrict() {
            true => Some(random_key()?),
            false => None,
        };
        let mut command = client.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password"]);
        // With their SQLSTATE errors can be told apart.
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
        let (marks, mark) = match manner.goes_on {
            true => {
                let (text, (told, failed)) = (random_key()?, unbounded());
                (Some(Marks { text: text.clone(), failed }), Some(Mark { text, told }))
            }
            false => (None, None),
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
            outlasts_signals: false,
        })
    }

    /// Feeds it a whole dump. Only [`Self::finish`] tells it that this was all.
    ///
    /// # Errors
    /// When the SQL cannot be read, or psql stops reading.
    pub fn feed(&mut self, sql: &mut dyn Read, server: &Version) -> Result<(), RestoreError> {
        let preamble = self.prepare(sql, server)?;
        self.order(&preamble)?;
        self.feed_as_it_is(sql)?;
        self.order(if self.is_pooled { CHECK_SESSION } else { "" })
    }

    /// Takes the beginning off a dump, and answers what is to be fed in its place.
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

    /// The lines that are none of the dump.
    pub fn own_lines(&self) -> OwnLines {
        self.own_lines.clone()
    }

    /// Keeps it from obeying commands of its own in what comes next, whoever wrote that.
    ///
    /// # Errors
    /// When psql stops reading.
    pub fn restrict(&mut self) -> Result<(), RestoreError> {
        let order = self.key.as_ref().map(|key| format!("\\restrict {key}\n")).unwrap_or_default();
        self.order(order)
    }

    /// Makes of a command of ours, in a dump of which nothing else is obeyed, the lines that are.
    pub fn unrestricted(&self) -> impl Fn(&str) -> String + use<> {
        let key = self.key.clone();
        move |command| match &key {
            Some(key) => format!("\\unrestrict {key}\n{command}\\restrict {key}\n"),
            None => command.to_owned(),
        }
    }

    /// Feeds it something of our own.
    ///
    /// # Errors
    /// When psql stops reading.
    pub fn order(&mut self, sql: impl AsRef<[u8]>) -> Result<(), RestoreError> {
        let set_up = std::mem::take(&mut self.set_up);
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let written = stdin.write_all(set_up.as_bytes()).and_then(|()| stdin.write_all(sql.as_ref()));
        written.map_err(RestoreError::Feed)
    }

    /// Feeds it SQL of which nothing need be changed for this server.
    ///
    /// # Errors
    /// When the SQL cannot be read, or psql stops reading.
    pub fn feed_as_it_is(&mut self, sql: &mut dyn Read) -> Result<(), RestoreError> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match sql.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => self.order(&chunk[..length])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(RestoreError::Read(error)),
            }
        }
    }

    /// Waits until it has carried out all that it was fed, and answers the value of a query.
    ///
    /// # Errors
    /// When it has ended; [`Self::finish`] says why.
    pub fn ask(&mut self, query: &str) -> Result<String, RestoreError> {
        let ended = || RestoreError::Feed(ErrorKind::BrokenPipe.into());
        let mark = self.answers.as_ref().map(|answers| answers.mark.clone()).ok_or_else(ended)?;
        self.order(format!("SELECT '{mark}' OPERATOR(pg_catalog.||) ({query});\n"))?;
        let answer = self.answers.as_ref().and_then(|answers| answers.lines.recv().ok());
        answer.ok_or_else(ended)
    }

    /// Waits until a psql that goes on has carried out all that it was fed, and answers whether any of the lines of our own
    /// has failed since the last time. One more line is one.
    ///
    /// # Errors
    /// When it has ended; [`Self::finish`] says why.
    pub fn own_lines_have_failed(&mut self) -> Result<bool, RestoreError> {
        let ended = || RestoreError::Feed(ErrorKind::BrokenPipe.into());
        let mark = self.marks.as_ref().map(|marks| marks.text.clone()).ok_or_else(ended)?;
        self.order(format!("SELECT '{mark}'::pg_catalog.int4;\n"))?;
        self.marks.as_ref().and_then(|marks| marks.failed.recv().ok()).ok_or_else(ended)
    }

    /// Has it run on when a stop signal comes.
    ///
    /// # Errors
    /// When one has come.
    pub fn outlast_signals(&mut self) -> Result<(), Interrupted> {
        self.runner.exempt_from_stop(&self.child)?;
        self.outlasts_signals = true;
        Ok(())
    }

    /// Ends it, and takes back what it has not committed.
    pub fn abandon(mut self) {
        self.child.signaller().signal(Signal::SIGTERM);
        drop(self.stdin.take());
        self.child.wait();
    }

    /// Waits for its end; `fed` is how it went with its input. Answers what it has said of statements that fail.
    ///
    /// # Errors
    /// What `fed` says, or psql's failure.
    pub fn finish(mut self, fed: Result<(), RestoreError>) -> Result<Heard, RestoreError> {
        if fed.is_err() {
            // An end of its input would look like the end of the dump.
            self.child.signaller().signal(Signal::SIGTERM);
        }
        drop(self.stdin.take());
        let exit = self.child.wait();
        let said = self.said.finish();
        if !self.outlasts_signals {
            self.runner.check().map_err(ProgramError::Interrupted)?;
        }
        match fed {
            // psql's own words say more than that it stopped reading.
            Err(RestoreError::Feed(_)) | Ok(()) if !exit.success() => {
                Err(RestoreError::of_load(self.runner.failure("psql".as_ref(), exit, &said.tail()), &said))
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

/// Turns a line into spaces, so that the numbers of the others stay right in psql's messages.
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
