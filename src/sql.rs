//! What the text of a dump says of itself: how it begins, how it ends, and whether it leads elsewhere.

use memchr::memmem;

/// The line in the head of a dump of one database.
const DATABASE_HEAD: &[u8] = b"-- PostgreSQL database dump\n";
/// The line in the head of a dump of a whole cluster.
const CLUSTER_HEAD: &[u8] = b"-- PostgreSQL database cluster dump\n";
/// The comment that pg_dump ends with.
const COMPLETE: &[u8] = b"\n--\n-- PostgreSQL database dump complete\n--\n";
/// Bytes of a dump's beginning in which its head is looked for. pg_dump writes it first; since 2025 a
/// `\restrict` line may follow.
pub const HEAD: usize = 512;

/// What a text is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A dump of one database by pg_dump.
    Database,
    /// A dump of a whole cluster by pg_dumpall.
    Cluster,
    /// Something else.
    Foreign,
}

impl Kind {
    /// Judges the first bytes of a text.
    pub fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD)];
        match () {
            () if memmem::find(head, CLUSTER_HEAD).is_some() => Self::Cluster,
            () if memmem::find(head, DATABASE_HEAD).is_some() => Self::Database,
            () => Self::Foreign,
        }
    }
}

/// Watches the end of a dump go by.
#[derive(Debug, Default)]
pub struct Trailer {
    tail: Vec<u8>,
}

/// Bytes of a dump's end that are kept. The trailer and the `\unrestrict` line after it are under 200.
const TAIL: usize = 512;

impl Trailer {
    /// Takes the next bytes of the dump.
    pub fn take(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// Whether what has gone by ends as pg_dump ends a dump, with nothing but `\unrestrict` after it.
    pub fn is_complete(&self) -> bool {
        let Some(at) = memmem::rfind(&self.tail, COMPLETE) else { return false };
        let after = &self.tail[at + COMPLETE.len()..];
        let harmless = |line: &[u8]| line.is_empty() || line.starts_with(b"\\unrestrict ");
        after.split(|byte| *byte == b'\n').all(harmless)
    }
}

/// Looks for the psql command that leaves the database that a dump is loaded into. In the data of a COPY
/// a backslash is doubled, so there the words cannot stand at the beginning of a line.
#[derive(Debug)]
pub struct ConnectScan {
    /// The end of what has gone by, with a line end before the first byte of all.
    carry: Vec<u8>,
    found: bool,
}

const CONNECT: &[u8] = b"\n\\connect ";

impl Default for ConnectScan {
    fn default() -> Self {
        Self { carry: vec![b'\n'], found: false }
    }
}

impl ConnectScan {
    /// Takes the next bytes of the dump.
    pub fn take(&mut self, bytes: &[u8]) {
        let joint = bytes.len().min(CONNECT.len());
        self.carry.extend_from_slice(&bytes[..joint]);
        self.found |= memmem::find(&self.carry, CONNECT).is_some() || memmem::find(bytes, CONNECT).is_some();
        if bytes.len() >= CONNECT.len() {
            self.carry = bytes[bytes.len() - CONNECT.len()..].to_vec();
        } else {
            let surplus = self.carry.len().saturating_sub(CONNECT.len());
            self.carry.drain(..surplus);
        }
    }

    /// Whether it has gone by.
    pub fn found(&self) -> bool {
        self.found
    }
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
            assert!(!complete(&format!("{body}{trailer}SELECT 1;\n"), chunk));
            assert!(!complete(&format!("{body}{}", &trailer[..30]), chunk));
            assert!(!complete("", chunk));
        }
    }

    #[test]
    fn kinds_are_told_by_the_head() {
        assert_eq!(Kind::of(b"--\n-- PostgreSQL database dump\n--\n"), Kind::Database);
        assert_eq!(Kind::of(b"--\n-- PostgreSQL database cluster dump\n--\n"), Kind::Cluster);
        assert_eq!(Kind::of(b"-- MySQL dump"), Kind::Foreign);
    }

    #[test]
    fn a_connect_is_found_at_the_beginning_of_a_line_however_the_text_is_cut() {
        for (text, expected) in [
            ("\\connect app\n", true),
            ("SELECT 1;\n\\connect app\n", true),
            ("COPY t FROM stdin;\nx \\connect app\n", false),
            ("\\\\connect app\n", false),
            ("\\connec", false),
        ] {
            for chunk in [1, 3, 12, 100] {
                let mut scan = ConnectScan::default();
                text.as_bytes().chunks(chunk).for_each(|chunk| scan.take(chunk));
                assert_eq!(scan.found(), expected, "{text:?} by {chunk}");
            }
        }
    }
}
