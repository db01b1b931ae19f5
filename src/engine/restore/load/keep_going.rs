//! Feeds SQL to a psql that goes on after failed statements.
//!
//! When a COPY fails before its first row, psql takes the rows for SQL. So each COPY is tried without rows first, and
//! its rows are omitted if that fails. psql's error variables cannot be used: they are not set by every failing COPY.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};

use super::places::OwnLines;
use super::psql::Psql;
use crate::engine::restore::error::RestoreError;
use crate::formats::sql::{Edit, Edited, Editor, Refusal, tokens};
use crate::postgres::Version;

/// Feeds a whole dump, edited by `editor`, to a psql that goes on after errors.
///
/// # Errors
/// When the SQL cannot be read, or psql stops reading.
pub fn feed(
    psql: &mut Psql,
    sql: &mut dyn Read,
    editor: impl Editor,
    server: &Version,
) -> Result<(), RestoreError> {
    let preamble = psql.prepare(sql, server)?;
    let own_lines = psql.own_lines();
    let feeder = RefCell::new(Feeder { line: own_lines.count(), own_lines, psql, failure: None });
    let asking = Asking { feeder: &feeder, inner: editor };
    let mut edited = Edited::new(preamble.as_slice().chain(sql), asking);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = edited.read(&mut chunk);
        let mut feeder = feeder.borrow_mut();
        if let Some(failure) = feeder.failure.take() {
            return Err(failure);
        }
        match read {
            Ok(0) => return Ok(()),
            Ok(length) => feeder.send(&chunk[..length])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(RestoreError::Read(error)),
        }
    }
}

/// psql, and the position in its input.
struct Feeder<'a> {
    psql: &'a mut Psql,
    own_lines: OwnLines,
    /// The number of lines sent.
    line: u64,
    failure: Option<RestoreError>,
}

impl Feeder<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.psql.send(bytes)
    }

    /// Tries a COPY, given up to its semicolon, without rows. Returns whether it succeeded. If not, psql takes the end
    /// of the rows for an unknown command, whose error is suppressed.
    fn try_copy(&mut self, copy: &[u8]) -> Result<bool, RestoreError> {
        for line in 0..=memchr::memchr_iter(b'\n', copy).count() as u64 {
            self.own_lines.note(self.line + 1 + line);
        }
        self.send(&[copy, b"\n"].concat())?;
        self.own_lines.note(self.line + 1);
        self.send(b"\\.\n")?;
        self.own_lines.note(self.line + 1);
        self.line += 1;
        Ok(!self.psql.own_lines_have_failed()?)
    }
}

/// Omits the rows of a COPY that fails, and otherwise edits as `inner` does.
struct Asking<'f, 'a, E> {
    feeder: &'f RefCell<Feeder<'a>>,
    inner: E,
}

impl<E: Editor> Editor for Asking<'_, '_, E> {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        self.inner.edit(head)
    }

    fn edit_behind(&mut self, ready: &mut Vec<u8>, head: &[u8]) -> Result<Edit, Refusal> {
        let edit = self.inner.edit_behind(ready, head)?;
        let Some(copy) = Some(head).filter(|_| edit == Edit::Keep).and_then(copy_of) else { return Ok(edit) };
        let mut feeder = self.feeder.borrow_mut();
        let taken = std::mem::take(ready);
        let tried = feeder.send(&taken).and_then(|()| feeder.try_copy(copy));
        match tried {
            Ok(true) => Ok(Edit::Keep),
            Ok(false) => Ok(Edit::Blank),
            Err(error) => {
                feeder.failure = Some(error);
                Ok(Edit::Blank)
            }
        }
    }
}

/// A COPY FROM stdin, up to its semicolon.
fn copy_of(head: &[u8]) -> Option<&[u8]> {
    if !head.starts_with(b"COPY ") {
        return None;
    }
    let tokens = tokens(head);
    let end = tokens.iter().position(|token| token.is_sign(b';'))?;
    let is_fed = tokens[..end].iter().any(|token| token.is("stdin"));
    is_fed.then(|| &head[..tokens[end].at.end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_tried_without_its_rows() {
        for (copy, tried) in [
            (
                "COPY public.t (a, \"b;c\") FROM stdin;\n1\t;2\n",
                Some("COPY public.t (a, \"b;c\") FROM stdin;"),
            ),
            ("COPY public.\"from\n(x)\"  FROM stdin;\n", Some("COPY public.\"from\n(x)\"  FROM stdin;")),
            ("COPY t (\"stdin\") TO '/x';", None),
            ("CREATE TABLE copy (x int);", None),
        ] {
            assert_eq!(copy_of(copy.as_bytes()), tried.map(str::as_bytes), "{copy}");
        }
    }
}
