//! Finds the start and end of each statement in a streamed dump, like psql.
//!
//! It handles what pg_dump and pg_dumpall write: all quotes and comments, unquoted function bodies, COPY rows and psql
//! commands. It does not interpret statements.

use memchr::memchr;

use super::words::{Block, Words, is_of_word};

/// The start or end of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The next byte is the first of a statement or psql command.
    Begins,
    /// The previous byte was its last, including COPY rows.
    Ends,
    /// The next byte is one that no PostgreSQL program would write there.
    Strange,
}

/// Scanner state between pieces of a dump.
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    /// Whether a comment is inside a statement.
    in_statement: bool,
    /// The previous byte, where needed.
    previous: u8,
    /// Whether backslashes escape in every string, because `standard_conforming_strings` is off.
    always_escapes: bool,
    parentheses: u32,
    words: Words,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Code,
    LineComment,
    BlockComment(u32),
    Literal {
        /// Whether a backslash escapes the next character.
        escapes: bool,
    },
    /// After a backslash in a string.
    Escaped,
    Identifier,
    /// After a dollar that may start a quote, with the tag so far.
    DollarTag(Vec<u8>),
    /// In a dollar-quoted string: its closing tag, and how many bytes of that have matched.
    DollarQuote(Vec<u8>, usize),
    /// In a psql command, which ends with the line.
    Command,
    /// After COPY, before its rows.
    BeforeRows,
    /// In a COPY row: how many bytes of the end line have matched.
    Row(Option<usize>),
}

/// The line that ends COPY rows, without the LF; the CR is optional.
const END_OF_ROWS: &[u8] = b"\\.\r";

impl Scanner {
    /// Scans `bytes` up to the next edge. Returns the number of bytes before it, and the edge if there is one.
    pub fn scan(&mut self, bytes: &[u8]) -> (usize, Option<Edge>) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Row(None) {
                // COPY rows are most of a dump, so search only for their ends.
                let Some(end) = memchr(b'\n', &bytes[at..]) else { return (bytes.len(), None) };
                self.state = State::Row(Some(0));
                at += end + 1;
                continue;
            }
            let byte = bytes[at];
            match self.take(byte) {
                None => at += 1,
                Some(Edge::Ends) => return (at + 1, Some(Edge::Ends)),
                Some(edge) => return (at, Some(edge)),
            }
        }
        (at, None)
    }

    /// In a routine: the word that ended with the last byte, and whether it is a name.
    pub(super) fn take_ended_word(&mut self) -> Option<(Block, bool)> {
        self.words.ended.take()
    }

    /// Number of open blocks in an unquoted function body.
    pub(super) fn blocks(&self) -> u32 {
        self.words.blocks
    }

    fn take(&mut self, byte: u8) -> Option<Edge> {
        let previous = std::mem::replace(&mut self.previous, byte);
        match &mut self.state {
            State::Between => return self.take_between(previous, byte),
            State::Code => return self.take_code(previous, byte),
            State::Literal { escapes } => match byte {
                b'\'' => self.state = State::Code,
                b'\\' if *escapes => self.state = State::Escaped,
                _ => {}
            },
            State::Escaped => self.state = State::Literal { escapes: true },
            State::Identifier if byte == b'"' => self.state = State::Code,
            State::LineComment if byte == b'\n' => self.leave_comment(),
            State::BlockComment(depth) => match (previous, byte) {
                (b'/', b'*') => {
                    *depth += 1;
                    self.previous = 0;
                }
                (b'*', b'/') => {
                    *depth -= 1;
                    self.previous = 0;
                    if *depth == 0 {
                        self.leave_comment();
                    }
                }
                _ => {}
            },
            State::DollarTag(_) => return self.take_behind_dollar(byte),
            State::DollarQuote(end, seen) => {
                // The closing tag has dollars at its ends only, so a mismatch restarts at a dollar.
                *seen = if byte == end[*seen] { *seen + 1 } else { usize::from(byte == b'$') };
                if *seen == end.len() {
                    self.state = State::Code;
                    self.previous = 0;
                }
            }
            State::Command if byte == b'\n' => return Some(self.end()),
            State::BeforeRows if byte == b'\n' => self.state = State::Row(Some(0)),
            State::Row(Some(2..)) if byte == b'\n' => return Some(self.end()),
            State::Row(Some(seen)) if END_OF_ROWS.get(*seen) == Some(&byte) => *seen += 1,
            State::Row(seen) => *seen = if byte == b'\n' { Some(0) } else { None },
            _ => {}
        }
        None
    }

    fn take_between(&mut self, previous: u8, byte: u8) -> Option<Edge> {
        match (previous, byte) {
            (b'-', b'-') => self.state = State::LineComment,
            (b'/', b'*') => self.enter_block_comment(),
            (b'-' | b'/', _) => {
                self.previous = previous;
                return Some(Edge::Strange);
            }
            (_, b'-' | b'/' | b' ' | b'\t' | b'\n' | b'\r') => {}
            (_, b'\\') => {
                self.begin(State::Command);
                return Some(Edge::Begins);
            }
            _ => {
                self.begin(State::Code);
                return Some(Edge::Begins);
            }
        }
        None
    }

    fn take_code(&mut self, previous: u8, byte: u8) -> Option<Edge> {
        if self.words.take(byte, self.parentheses) {
            return None;
        }
        match byte {
            b'\'' => {
                // `''` continues the preceding string, whatever its prefix.
                let goes_on = previous == b'\'' && self.words.string_escapes;
                let escapes = self.words.begin_string() || self.always_escapes || goes_on;
                self.words.string_escapes = escapes;
                self.state = State::Literal { escapes };
            }
            b'"' => self.state = State::Identifier,
            b'-' if previous == b'-' => self.state = State::LineComment,
            b'*' if previous == b'/' => self.enter_block_comment(),
            b'$' => self.state = State::DollarTag(Vec::new()),
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b';' if self.parentheses == 0 && self.words.blocks == 0 => return self.end_of_code(),
            b'\\' => {
                self.previous = previous;
                return Some(Edge::Strange);
            }
            _ => {}
        }
        None
    }

    /// A byte after a dollar: part of a tag, its end, or something else, such as in `$1`.
    fn take_behind_dollar(&mut self, byte: u8) -> Option<Edge> {
        let State::DollarTag(tag) = &mut self.state else { return None };
        match byte {
            b'$' => {
                let end = [b"$", tag.as_slice(), b"$"].concat();
                self.state = State::DollarQuote(end, 0);
            }
            byte if is_of_word(byte) && byte != b'$' && (!tag.is_empty() || !byte.is_ascii_digit()) => {
                tag.push(byte)
            }
            _ => {
                self.state = State::Code;
                return self.take_code(b'$', byte);
            }
        }
        None
    }

    fn end_of_code(&mut self) -> Option<Edge> {
        if let Some(escapes) = self.words.sets_escapes() {
            self.always_escapes = escapes;
        }
        match self.words.copies_rows() {
            true => {
                self.state = State::BeforeRows;
                None
            }
            false => Some(self.end()),
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.in_statement = true;
        self.previous = 0;
        self.parentheses = 0;
        self.words = Words::default();
    }

    fn end(&mut self) -> Edge {
        self.state = State::Between;
        self.in_statement = false;
        self.previous = 0;
        Edge::Ends
    }

    fn enter_block_comment(&mut self) {
        self.state = State::BlockComment(1);
        self.previous = 0;
    }

    fn leave_comment(&mut self) {
        self.state = if self.in_statement { State::Code } else { State::Between };
        self.previous = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The statements of a text read in pieces of `step` bytes; `None` if it has an unexpected byte.
    fn statements(text: &str, step: usize) -> Option<Vec<String>> {
        let (mut scanner, mut statements, mut open) = (Scanner::default(), Vec::new(), None::<Vec<u8>>);
        for mut chunk in text.as_bytes().chunks(step) {
            loop {
                let (length, edge) = scanner.scan(chunk);
                let (part, rest) = chunk.split_at(length);
                if let Some(open) = &mut open {
                    open.extend_from_slice(part);
                }
                chunk = rest;
                match edge {
                    Some(Edge::Begins) => open = Some(Vec::new()),
                    Some(Edge::Ends) => statements.extend(open.take()),
                    Some(Edge::Strange) => return None,
                    None => break,
                }
            }
        }
        assert_eq!(open, None, "{text}");
        Some(statements.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect())
    }

    #[track_caller]
    fn check(parts: &[&str]) {
        let expected: Vec<&str> = parts.iter().copied().filter(|part| !part.trim().is_empty()).collect();
        let expected: Vec<&str> = expected.into_iter().filter(|part| !part.starts_with("--\n")).collect();
        let text = parts.concat();
        for step in [1, 2, 3, 7, 4096] {
            assert_eq!(statements(&text, step).unwrap(), expected, "{step}");
        }
    }

    #[test]
    fn statements_end_where_psql_ends_them() {
        check(&[
            "--\n-- PostgreSQL database dump; it's\n--\n\n",
            "\\restrict aB1\n",
            "SET standard_conforming_strings = on;",
            "\n",
            "SELECT 'a;''b\\', E'c\\';''\\'d;', \"e;\"\"f\", $$g;$h$ $$, $x_1$ $$ $x$; $x_1$, $1;",
            "CREATE RULE r AS ON DELETE TO t DO ALSO (DELETE FROM a; DELETE FROM b);",
            "SELECT 1 - 2 /* ; /* ' */ ; */ -- ; '\n + 3;",
            "COPY public.t (a, \"from stdin\") FROM stdin;\nit's\t\\N\n\\.x\n;\n\\\\.\n\\.\n",
            "\n",
            "COPY t FROM stdin;\n\\.\n",
            "\\connect -reuse-previous=on \"dbname='a;b'\"\n",
            ";",
        ]);
    }

    #[test]
    fn a_function_body_without_quotes_ends_with_its_own_end() {
        check(&[
            "CREATE FUNCTION f(i integer) RETURNS integer LANGUAGE sql\n BEGIN ATOMIC\n  SELECT CASE WHEN true THEN 1 \
             END;\n SELECT f.x AS \"end\" FROM f;\nEND;",
            "CREATE FUNCTION during(begin date, finish date) RETURNS TABLE(begin date) LANGUAGE sql AS $$ SELECT 1 $$;",
            "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END;",
            "SELECT 'begin' AS begin;",
        ]);
    }

    #[test]
    fn a_name_is_no_block_whatever_it_is_called() {
        check(&[
            "CREATE FUNCTION public.begin(begin integer) RETURNS integer LANGUAGE sql\n    BEGIN ATOMIC\n SELECT \
             begin AS begin;\nEND;",
            "CREATE FUNCTION begin.f() RETURNS SETOF public.begin LANGUAGE plpgsql AS $$ begin end $$;",
            "CREATE FUNCTION f() RETURNS begin.atomic LANGUAGE sql BEGIN ATOMIC SELECT b.begin, b.atomic FROM begin b \
             WHERE CASE WHEN b.case = 1 THEN b.end END; SELECT 1 AS case; SELECT 2 AS end;\nEND;",
            "CREATE PROCEDURE public.atomic() LANGUAGE sql AS $$select 1$$;",
            "CREATE FUNCTION g() RETURNS integer LANGUAGE sql RETURN 1;",
            "SELECT 1;",
        ]);
    }

    #[test]
    fn backslashes_escape_where_the_dump_says_so() {
        check(&["SET standard_conforming_strings = off;", "SELECT 'it\\'s;', 'x\\\\';", "SELECT 1;"]);
        check(&["SELECT 'x\\';", "SELECT 1;"]);
    }

    #[test]
    fn lines_may_end_with_cr_and_lf() {
        check(&[
            "--\n-- PostgreSQL database dump\r\n--\r\n\r\n",
            "\\restrict aB1\r\n",
            "SET a = 0;",
            "\r\n",
            "COPY t (a) FROM stdin;\r\n1\r\n\\.x\r\n\\.\rx\r\n\\.\r\n",
            "\r\n",
            "COPY t (a) FROM stdin;\r\n\\.\r\n",
            "CREATE FUNCTION f() BEGIN\r\nATOMIC\r\n SELECT 1;\r\nEND;",
            "\r\n",
        ]);
    }

    #[test]
    fn what_psql_would_take_for_its_own_is_strange() {
        for text in ["SELECT 1 \\! id\n;", "- ; \\! id\n", "/ ;", "SELECT 1 \\gexec\n"] {
            assert_eq!(statements(text, 1), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_text_is_cut(text in "([-a-z'\"$\\\\;()/*\n .0E]|COPY x FROM stdin;\n)*", step in 1usize..9) {
            let edges = |step: usize| {
                let (mut scanner, mut edges, mut at) = (Scanner::default(), Vec::new(), 0);
                for mut chunk in text.as_bytes().chunks(step) {
                    while let (length, Some(edge)) = scanner.scan(chunk) {
                        at += length;
                        chunk = &chunk[length..];
                        edges.push((at, edge));
                        if edge == Edge::Strange {
                            return edges;
                        }
                    }
                    at += chunk.len();
                }
                edges
            };
            prop_assert_eq!(edges(step), edges(text.len().max(1)));
        }
    }
}
