//! The SQL text of a dump: trailer, own database, statements, the server objects they name, and edits.

mod cursor;
mod edit;
mod mentions;
mod removal;
mod routine;
mod scanner;
mod tokens;
mod words;

pub use edit::{Edit, Edited, Editor, HEAD, Refusal, Surveyed};
pub use mentions::{Extension, Mentions};
pub use removal::{drops_public_schema, makes_public_schema, removes};
pub use routine::quoted_for_psql;
pub use scanner::{Edge, Scanner};
pub use tokens::{Kind, Token, tokens};

use memchr::memmem;

/// The last comment of pg_dump.
const COMPLETE: &[u8] = b"\n--\n-- PostgreSQL database dump complete\n--\n";
/// The last comment of pg_dumpall.
const COMPLETE_CLUSTER: &[u8] = b"\n--\n-- PostgreSQL database cluster dump complete\n--\n";

/// Checks the end of a streamed dump.
#[derive(Debug, Default)]
pub struct Trailer {
    tail: Vec<u8>,
}

/// Bytes kept of the end. The trailer and a following `\unrestrict` line take less than 200.
const TAIL: usize = 512;

impl Trailer {
    /// Adds the next bytes of the dump.
    pub fn take(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// Whether the dump ends with the trailer of pg_dump, followed at most by `\unrestrict`.
    pub fn is_complete(&self) -> bool {
        self.ends_with(COMPLETE)
    }

    /// The same for the trailer of pg_dumpall.
    pub fn is_complete_cluster(&self) -> bool {
        self.ends_with(COMPLETE_CLUSTER)
    }

    fn ends_with(&self, comment: &[u8]) -> bool {
        // A terminal in between converts line ends to CR and LF.
        let tail: Vec<u8> = self.tail.iter().copied().filter(|byte| *byte != b'\r').collect();
        let Some(at) = memmem::rfind(&tail, comment) else { return false };
        let after = &tail[at + comment.len()..];
        let harmless = |line: &[u8]| line.is_empty() || line.starts_with(b"\\unrestrict ");
        after.split(|byte| *byte == b'\n').all(harmless)
    }
}

/// Bytes at the start of a dump that include the statements of `pg_dump --create`, before any contents.
pub const PREAMBLE: usize = 64 * 1024;

/// Whether a dump creates its own database and connects to it, judged by its start.
pub fn makes_database(preamble: &[u8]) -> bool {
    let create = memmem::find(preamble, b"\nCREATE DATABASE ");
    create.is_some_and(|at| memmem::find(&preamble[at..], b"\n\\connect ").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str, chunk: usize) -> bool {
        let mut trailer = Trailer::default();
        text.as_bytes().chunks(chunk).for_each(|chunk| trailer.take(chunk));
        trailer.is_complete()
    }

    #[test]
    fn a_dump_is_complete_when_it_ends_with_the_trailer_however_it_is_cut() {
        let trailer = "\n--\n-- PostgreSQL database dump complete\n--\n\n";
        let body = "x".repeat(2000);
        for chunk in [1, 7, 100, 10_000] {
            assert!(complete(&format!("{body}{trailer}"), chunk));
            assert!(complete(&format!("{body}{trailer}\\unrestrict abc\n\n"), chunk));
            assert!(complete(&format!("{body}{trailer}\\unrestrict abc\n\n").replace('\n', "\r\n"), chunk));
            assert!(!complete(&format!("{body}{trailer}SELECT 1;\n"), chunk));
            assert!(!complete(&format!("{body}{}", &trailer[..30]), chunk));
            assert!(!complete("", chunk));
        }
    }

    #[test]
    fn the_end_of_a_cluster_is_not_that_of_one_of_its_databases() {
        let mut trailer = Trailer::default();
        trailer.take(b"x\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict a\n\n");
        assert!(trailer.is_complete() && !trailer.is_complete_cluster());
        trailer.take(b"--\n-- PostgreSQL database cluster dump complete\n--\n\n");
        assert!(trailer.is_complete_cluster() && !trailer.is_complete());
    }

    #[test]
    fn a_dump_that_makes_its_own_database_is_told_from_one_that_speaks_of_it() {
        assert!(makes_database(
            b"SET x = 1;\n\nCREATE DATABASE app WITH TEMPLATE = template0;\n\n\\connect app\n"
        ));
        for text in
            ["\n\\connect app\n", "\n-- CREATE DATABASE app\n\\connect app\n", "\nCREATE DATABASE app\n"]
        {
            assert!(!makes_database(text.as_bytes()), "{text}");
        }
    }
}
