//! Questions on the terminal.

use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::system::process::{Interrupted, Runner};
use crate::util::terminal;

/// Asks on standard error and reads the answers from standard input.
pub(super) struct Questions {
    runner: Runner,
    wanted: Sender<()>,
    answers: Receiver<Option<String>>,
}

impl Questions {
    /// Nothing is read before something is asked.
    pub fn new(runner: Runner) -> Self {
        let (wanted, wishes) = bounded::<()>(0);
        let (tell, answers) = bounded(1);
        // Read on a thread of its own, as a signal does not end a read from the terminal. Without the thread there is
        // no answer.
        let _ = thread::Builder::new().name("answers".into()).spawn(move || {
            for () in wishes {
                let mut line = String::new();
                let read = io::stdin().lock().read_line(&mut line);
                let answer = matches!(read, Ok(1..)).then(|| line.trim_end_matches(['\n', '\r']).to_owned());
                if tell.send(answer).is_err() {
                    break;
                }
            }
        });
        Self { runner, wanted, answers }
    }

    /// Prints a text, in which control characters are escaped.
    pub fn say(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", terminal::printable(text));
    }

    /// The answer to a question, or nothing when there is no more to be read.
    ///
    /// # Errors
    /// When a stop signal comes first.
    pub fn ask(&self, question: &str) -> Result<Option<String>, Interrupted> {
        let _ = write!(io::stderr(), "{}", terminal::printable(question));
        if self.wanted.send(()).is_err() {
            return Ok(None);
        }
        loop {
            self.runner.check()?;
            match self.answers.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}
