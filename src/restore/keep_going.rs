//! Feeds SQL to a psql that goes on after statements that fail.
//!
//! When a COPY fails before its first row, psql takes the rows for SQL. So whether a table takes rows is asked first,
//! and the rows are left out when it does not.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};

use super::RestoreError;
use super::complaints::OwnLines;
use super::psql::Psql;
use crate::postgres::Version;
use crate::sql::{Edit, Edited, Editor, Refusal, Token, tokens};

/// Feeds a psql that can be asked and goes on a whole dump, as `editor` leaves it.
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

/// psql, and how far it has been fed.
struct Feeder<'a> {
    psql: &'a mut Psql,
    own_lines: OwnLines,
    /// The lines that it has been fed.
    line: u64,
    failure: Option<RestoreError>,
}

impl Feeder<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.psql.order(bytes)
    }

    /// Whether a query succeeds.
    fn try_query(&mut self, query: &str) -> Result<bool, RestoreError> {
        self.own_lines.note(self.line + 1);
        self.send(format!("{query};\n").as_bytes())?;
        self.own_lines.note(self.line + 1);
        self.line += 1;
        Ok(self.psql.ask(":'ERROR'")? == "false")
    }
}

/// Leaves the rows out of a COPY that fails, and else does what another editor says.
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
        let Some(query) = Some(head).filter(|_| edit == Edit::Keep).and_then(row_query) else { return Ok(edit) };
        let mut feeder = self.feeder.borrow_mut();
        let taken = std::mem::take(ready);
        let tried = feeder.send(&taken).and_then(|()| feeder.try_query(&query));
        match tried {
            Ok(true) => Ok(Edit::Keep),
            Ok(false) => Ok(Edit::Drop),
            Err(error) => {
                feeder.failure = Some(error);
                Ok(Edit::Drop)
            }
        }
    }
}

/// Bytes of a COPY in front of its rows; one that is longer is not tried beforehand.
const LONGEST_COPY: usize = 8 * 1024;

/// A query that fails where `COPY table (columns) FROM stdin` would, in one line.
fn row_query(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"COPY ") {
        return None;
    }
    let tokens = tokens(&head[..head.len().min(LONGEST_COPY)]);
    let tokens = &tokens[..tokens.iter().position(|token| token.is_sign(b';'))?];
    let from = tokens.iter().rposition(|token| token.is("from"))?;
    let text = |tokens: &[Token]| {
        let (first, last) = (tokens.first()?, tokens.last()?);
        std::str::from_utf8(&head[first.at.start..last.at.end]).ok()
    };
    let open = tokens.iter().position(|token| token.is_sign(b'(')).filter(|open| *open < from);
    let table = text(tokens.get(1..open.unwrap_or(from))?)?;
    let columns = open.and_then(|open| text(tokens.get(open + 1..from.checked_sub(1)?)?)).unwrap_or_default();
    Some(format!("SELECT {columns} FROM ONLY {table} LIMIT 0").replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copy_would_fail_at_is_asked_beforehand() {
        for (copy, query) in [
            ("COPY public.t (a, \"b c\") FROM stdin;\n1\t2\n", "SELECT a, \"b c\" FROM ONLY public.t LIMIT 0"),
            ("COPY public.\"from (x)\"  FROM stdin;\n", "SELECT  FROM ONLY public.\"from (x)\" LIMIT 0"),
        ] {
            assert_eq!(row_query(copy.as_bytes()).as_deref(), Some(query), "{copy}");
        }
        assert_eq!(row_query(b"CREATE TABLE copy (x int);"), None);
    }
}
