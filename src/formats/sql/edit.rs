//! Edits the statements of a dump as it is streamed to psql.

use std::io::{self, Read};

use thiserror::Error;

use super::routine::{makes_routine, quoted_for_psql};
use super::scanner::{Edge, Scanner};

/// What to do with a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Keep it unchanged.
    Keep,
    /// Remove it with its COPY rows.
    Drop,
    /// Remove it, but keep its line ends, so that line numbers stay the same.
    Blank,
    /// Replace the part shown to the editor by this.
    Replace(Vec<u8>),
}

/// Why a dump is rejected; completes a sentence that starts with its name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    /// The refusal that caused a read error, if any.
    pub fn behind(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|cause| cause.downcast_ref())
    }
}

/// Decides what to do with each statement.
pub trait Editor {
    /// Decides on a statement or psql command. `head` is all of it, or its first [`HEAD`] bytes if it is longer; of a
    /// function or procedure it may be more.
    ///
    /// # Errors
    /// When the dump is rejected.
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal>;

    /// Like [`Self::edit`], for an editor that needs `ready`: the output before the statement that has not been read
    /// from [`Edited`] yet. It may remove that.
    ///
    /// # Errors
    /// As for [`Self::edit`].
    fn edit_behind(&mut self, ready: &mut Vec<u8>, head: &[u8]) -> Result<Edit, Refusal> {
        let _ = ready;
        self.edit(head)
    }
}

impl<F: FnMut(&[u8]) -> Result<Edit, Refusal>> Editor for F {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        self(head)
    }
}

/// Bytes of a statement shown to an editor. Its first words tell where it belongs.
pub const HEAD: usize = 16 * 1024;
/// Bytes of a function or procedure kept, to find names in its body that psql would misread as part of its syntax.
const ROUTINE: usize = 1024 * 1024;
/// Bytes per read.
const CHUNK: usize = 64 * 1024;

/// A dump as changed by an editor, ready for psql.
pub struct Edited<R, E> {
    dump: R,
    editor: E,
    scanner: Scanner,
    chunk: Vec<u8>,
    ready: Vec<u8>,
    taken: usize,
    place: Place,
}

/// The read position.
enum Place {
    Between,
    /// In a statement not decided on yet, with what was read of it.
    Head(Vec<u8>),
    /// In the rest of a statement that is kept or removed.
    Rest {
        stays: bool,
    },
    /// In the rest of a statement of which only the line ends are kept.
    Blank,
    End,
}

impl<R: Read, E: Editor> Edited<R, E> {
    /// Creates one in which `editor` decides on the statements of `dump`.
    pub fn new(dump: R, editor: E) -> Self {
        Self {
            dump,
            editor,
            scanner: Scanner::default(),
            chunk: vec![0; CHUNK],
            ready: Vec::new(),
            taken: 0,
            place: Place::Between,
        }
    }

    /// Passes the whole dump through the editor and discards the output.
    ///
    /// # Errors
    /// When it cannot be read, or the editor rejects it.
    pub fn survey(mut self) -> io::Result<E> {
        while self.fill()? {
            self.ready.clear();
        }
        Ok(self.editor)
    }

    /// Reads the next bytes. Returns whether there were any.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let filled = match self.dump.read(&mut chunk) {
            Ok(0) => self.finish().map(|()| false),
            Ok(length) => self.follow(&chunk[..length]).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        };
        self.chunk = chunk;
        filled
    }

    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let (length, edge) = self.scanner.scan(bytes);
            let (part, rest) = bytes.split_at(length);
            self.pass(part)?;
            match edge {
                None => return Ok(()),
                Some(Edge::Begins) => self.place = Place::Head(Vec::new()),
                Some(Edge::Ends) => {
                    self.decide()?;
                    self.place = Place::Between;
                }
                Some(Edge::Strange) => return Err(strange()),
            }
            bytes = rest;
        }
    }

    fn pass(&mut self, part: &[u8]) -> io::Result<()> {
        match &mut self.place {
            Place::Between | Place::Rest { stays: true } => self.ready.extend_from_slice(part),
            Place::Head(head) => {
                let limit = if head.len() >= HEAD { ROUTINE } else { HEAD };
                let (beginning, rest) = part.split_at(part.len().min(limit - head.len()));
                head.extend_from_slice(beginning);
                if head.len() == ROUTINE || head.len() == HEAD && !makes_routine(head) {
                    self.decide()?;
                }
                if !rest.is_empty() {
                    return self.pass(rest);
                }
            }
            Place::Blank => self.ready.extend(ends_of_lines(part)),
            Place::Rest { stays: false } | Place::End => {}
        }
        Ok(())
    }

    fn decide(&mut self) -> io::Result<()> {
        let Place::Head(head) = &mut self.place else { return Ok(()) };
        let head = std::mem::take(head);
        let edit = self.editor.edit_behind(&mut self.ready, &head).map_err(io::Error::other)?;
        self.place = match edit {
            Edit::Blank => Place::Blank,
            _ => Place::Rest { stays: edit != Edit::Drop },
        };
        match edit {
            Edit::Keep => match quoted_for_psql(&head) {
                Some(quoted) => self.ready.extend_from_slice(&quoted),
                None => self.ready.extend_from_slice(&head),
            },
            Edit::Replace(text) => self.ready.extend_from_slice(&text),
            Edit::Blank => self.ready.extend(ends_of_lines(&head)),
            Edit::Drop => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if matches!(self.place, Place::Head(_) | Place::Rest { .. } | Place::Blank) {
            return Err(strange());
        }
        self.place = Place::End;
        Ok(())
    }
}

fn ends_of_lines(text: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::repeat_n(b'\n', memchr::memchr_iter(b'\n', text).count())
}

fn strange() -> io::Error {
    io::Error::other(Refusal("is not SQL as pg_dump writes it".into()))
}

/// Passes a dump through an editor in pieces, and discards the output.
pub struct Surveyed<E>(Edited<io::Empty, E>);

impl<E: Editor> Surveyed<E> {
    /// Creates one for a new dump.
    pub fn new(editor: E) -> Self {
        Self(Edited::new(io::empty(), editor))
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// When it is not SQL as written by pg_dump, or the editor rejects it.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.ready.clear();
        self.0.follow(bytes)
    }

    /// The editor, between two pieces.
    pub fn editor_mut(&mut self) -> &mut E {
        &mut self.0.editor
    }

    /// The editor.
    pub fn into_editor(self) -> E {
        self.0.editor
    }
}

impl<R: Read, E: Editor> Read for Edited<R, E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
            if !self.fill()? && self.ready.is_empty() {
                return Ok(0);
            }
        }
        let ready = &self.ready[self.taken..];
        let length = ready.len().min(buffer.len());
        buffer[..length].copy_from_slice(&ready[..length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, editor: impl Editor) -> io::Result<String> {
        let mut out = String::new();
        Edited::new(text.as_bytes(), editor).read_to_string(&mut out).map(|_| out)
    }

    #[test]
    fn statements_are_kept_dropped_with_their_rows_and_replaced() {
        let text = "-- a\nSELECT 1;\nCOPY t FROM stdin;\n1\n\\.\n\nDROP x;\n\\connect y\nEND;\n";
        let mut seen = Vec::new();
        let editor = |head: &[u8]| {
            seen.push(String::from_utf8_lossy(head).into_owned());
            Ok(match head.first() {
                Some(b'C') => Edit::Drop,
                Some(b'D') => Edit::Replace(b"KEEP x;".to_vec()),
                _ => Edit::Keep,
            })
        };
        assert_eq!(edited(text, editor).unwrap(), "-- a\nSELECT 1;\n\nKEEP x;\n\\connect y\nEND;\n");
        assert_eq!(seen, ["SELECT 1;", "COPY t FROM stdin;\n1\n\\.\n", "DROP x;", "\\connect y\n", "END;"]);
    }

    #[test]
    fn of_a_long_statement_the_head_is_shown_and_the_rest_goes_the_same_way() {
        let long = "x".repeat(3 * HEAD);
        let text = format!("SELECT '{long}';\nSELECT 2;\n");
        let with = |edit: Edit| {
            edited(&text, move |head: &[u8]| {
                assert!(head.len() <= HEAD);
                Ok(if head.len() == HEAD { edit.clone() } else { Edit::Keep })
            })
        };
        assert_eq!(with(Edit::Keep).unwrap(), text);
        assert_eq!(with(Edit::Drop).unwrap(), "\nSELECT 2;\n");
        let replaced = with(Edit::Replace(b"SELECT '".to_vec())).unwrap();
        assert!(replaced.len() == text.len() - HEAD + 8 && replaced.ends_with("x';\nSELECT 2;\n"));
    }

    #[test]
    fn names_in_a_long_function_get_quotes_for_psql() {
        let filler = "SELECT 1;\n".repeat(HEAD / 5);
        let text = format!("CREATE FUNCTION f() BEGIN ATOMIC {filler} SELECT begin; END;\nSELECT 2;\n");
        assert_eq!(edited(&text, |_: &[u8]| Ok(Edit::Keep)).unwrap(), text.replace("T begin", "T \"begin\""));
    }

    #[test]
    fn a_refusal_and_an_end_within_a_statement_are_errors() {
        let refused = edited("SELECT 1;", |_: &[u8]| Err(Refusal("is no good".into()))).unwrap_err();
        assert_eq!(Refusal::behind(&refused), Some(&Refusal("is no good".into())));
        for text in ["SELECT 1", "COPY t FROM stdin;\n1\n", "SELECT \\! id\n;"] {
            assert!(
                Refusal::behind(&edited(text, |_: &[u8]| Ok(Edit::Keep)).unwrap_err()).is_some(),
                "{text}"
            );
        }
        assert_eq!(edited("-- only a comment", |_: &[u8]| Ok(Edit::Drop)).unwrap(), "-- only a comment");
    }
}
