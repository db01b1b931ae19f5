//! Reads standard error of psql and pg_restore during the load.

use std::io::Read;
use std::thread::JoinHandle;

use super::complaints::{Complaint, Mark, Parser};
use super::places::Places;
use crate::engine::restore::error::RestoreError;
use crate::system::process::{ProgramError, Tail, for_each_line};

/// The failed statements that a program has reported.
#[derive(Debug, Default)]
pub struct Heard {
    /// The first statement that failed.
    pub first: Option<Complaint>,
    /// The number of failed statements.
    pub count: u64,
    /// The loss of the connection, if any.
    lost: Option<Complaint>,
    /// Whether pg_restore went on to its end after errors.
    pub is_whole: bool,
}

impl Heard {
    fn note(&mut self, complaint: Complaint) {
        self.count += 1;
        if self.lost.is_none() && complaint.is_of_connection() {
            self.lost = Some(complaint.clone());
        }
        self.first.get_or_insert(complaint);
    }

    /// Whether pg_restore went on to its end, and the connection was not lost.
    pub fn is_of_statements(&self) -> bool {
        self.lost.is_none() && self.is_whole
    }

    /// The error of a load whose program has failed.
    pub fn load_error(&self, error: ProgramError) -> RestoreError {
        match error {
            ProgramError::Failed(..) if self.first.as_ref().is_some_and(Complaint::is_unresolved) => {
                RestoreError::Unresolved(error)
            }
            error => RestoreError::Program(error),
        }
    }

    /// The cause of the program's failure: the loss of the connection, or the first failed statement.
    pub fn tail(&self) -> Tail {
        let mut tail = Tail::new(1);
        let cause = self.lost.as_ref().or(self.first.as_ref());
        tail.push(cause.map(ToString::to_string).unwrap_or_default());
        tail
    }
}

/// Reads messages on a thread of its own. Notices are logged as they come.
#[derive(Debug)]
pub struct Listener(Option<JoinHandle<Heard>>);

impl Listener {
    /// Starts reading `errors`. With `lists`, failures are logged as well.
    pub fn start(errors: Option<impl Read + Send + 'static>, places: Places, lists: bool) -> Self {
        Self::start_with_mark(errors, places, lists, None)
    }

    /// The same, for a psql that is sent marks.
    pub fn start_with_mark(
        errors: Option<impl Read + Send + 'static>,
        places: Places,
        lists: bool,
        mark: Option<Mark>,
    ) -> Self {
        let listen = |errors| {
            std::thread::spawn(move || {
                let (mut parser, mut heard) = (Parser::new(places, mark), Heard::default());
                let mut note = |complaint: Option<Complaint>| {
                    let Some(complaint) = complaint else { return };
                    if lists {
                        log::warn!("failed: {complaint}");
                    }
                    heard.note(complaint);
                };
                for_each_line(errors, |line| note(parser.take(line)));
                note(parser.end());
                heard.is_whole = parser.ignored.is_some();
                heard.count = parser.ignored.unwrap_or(heard.count);
                heard
            })
        };
        Self(errors.map(listen))
    }

    /// Waits for the end of the messages.
    pub fn finish(self) -> Heard {
        self.0.and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_connection_is_the_cause_whatever_has_failed_before() {
        let mut heard = Heard::default();
        for error in [
            "ERROR: duplicate key",
            "server closed the connection unexpectedly",
            "no connection to the server",
        ] {
            heard.note(Complaint { place: "entry 1".into(), error: error.into(), ..Complaint::default() });
        }
        heard.is_whole = true;
        assert!(!heard.is_of_statements());
        assert_eq!(
            (heard.count, heard.tail().joined()),
            (3, "entry 1: server closed the connection unexpectedly".into())
        );
    }
}
