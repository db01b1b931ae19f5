//! The header of pg_dump's archives, as its `WriteHead` writes it. A directory and a tar archive have it in their table
//! of contents.

use crate::postgres::Version;

/// The first bytes of the header.
pub const MAGIC: &[u8] = b"PGDMP";
/// Offset of the size of an integer, in bytes.
const INTEGER_AT: usize = 8;
/// Offset of the number of the archive's format.
const FORMAT_AT: usize = 10;
/// The number of the tar format, which pg_dump also writes into the table of contents of a directory.
const TAR_FORMAT: u8 = 3;
/// The number of integers of the creation time, from the seconds to the daylight saving flag.
const TIME: usize = 7;

/// Whether this is the beginning of the table of contents of a tar archive or a directory.
pub fn is_contents(head: &[u8]) -> bool {
    head.starts_with(MAGIC) && head.get(FORMAT_AT) == Some(&TAR_FORMAT)
}

/// The first minor version of the header whose compression field is a byte.
const COMPRESSION_IS_BYTE: u8 = 15;
/// Offset of the header's minor version.
const MINOR_AT: usize = 6;

/// The table of contents with its compression field set to none.
#[must_use]
pub fn without_compression(mut contents: Vec<u8>) -> Vec<u8> {
    let integer = usize::from(contents.get(INTEGER_AT).copied().unwrap_or_default());
    let is_byte = contents.get(MINOR_AT).is_some_and(|minor| *minor >= COMPRESSION_IS_BYTE);
    let length = if is_byte { 1 } else { 1 + integer };
    if let Some(compression) = contents.get_mut(FORMAT_AT + 1..FORMAT_AT + 1 + length) {
        compression.fill(0);
    }
    contents
}

/// The version of the pg_dump that wrote an archive with this header.
pub fn dump_version(head: &[u8]) -> Option<Version> {
    let integer = usize::from(*head.get(INTEGER_AT)?);
    // The compression field is a byte since PostgreSQL 16, and was an integer before. Both are tried, as the header's
    // own version may be one that is not known.
    [1, 1 + integer].into_iter().find_map(|compression| {
        let mut fields = Fields { rest: head.get(FORMAT_AT + 1 + compression..)?, integer };
        (0..TIME).try_for_each(|_| fields.integer().map(drop))?;
        let (_database, server, dump) = (fields.text()?, fields.text()?, fields.text()?);
        Version::within(server).and_then(|_| Version::within(dump))
    })
}

/// The rest of the header.
struct Fields<'a> {
    rest: &'a [u8],
    integer: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// A length. `None` inside when it is negative, as for a missing string.
    fn integer(&mut self) -> Option<Option<usize>> {
        let sign = self.take(1)?[0];
        let bytes = self.take(self.integer)?.iter().rev();
        let value = bytes.fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
        Some((sign == 0).then_some(value))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.integer()?.unwrap_or(0);
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose compression takes so many bytes.
    fn header(minor: u8, compression: &[u8], dump: &str) -> Vec<u8> {
        let integer = |value: usize| [0, u8::try_from(value).unwrap(), 0, 0, 0];
        let mut head = [MAGIC, &[1, minor, 0, 4, 8, 1], compression].concat();
        (0..TIME).for_each(|_| head.extend(integer(7)));
        for text in ["the database", "15.18 (Debian 15.18-0+deb12u1)", dump] {
            head.extend(integer(text.len()));
            head.extend(text.as_bytes());
        }
        head
    }

    #[test]
    fn the_compression_is_taken_out_whatever_the_version_of_the_header() {
        assert_eq!(without_compression(header(14, &[0, 6, 0, 0, 0], "15.18")), header(14, &[0; 5], "15.18"));
        assert_eq!(without_compression(header(16, &[3], "18.6")), header(16, &[0], "18.6"));
        assert_eq!(without_compression(MAGIC.to_vec()), MAGIC);
    }

    #[test]
    fn who_wrote_an_archive_is_told_whatever_the_version_of_its_header() {
        let major = |head: &[u8]| dump_version(head).map(|version| version.major);
        for (compression, dump, expected) in [(&[0, 6, 0, 0, 0][..], "15.18", 15), (&[1], "18.6", 18)] {
            for minor in [0, 14, 15, 16, 17, 255] {
                let head = header(minor, compression, dump);
                assert_eq!(major(&head), Some(expected), "{minor} {dump}");
                for length in 0..head.len() - dump.len() {
                    assert_eq!(major(&head[..length]), None, "{length}");
                }
            }
        }
        for size in [0, 1, 8, 255] {
            let mut head = header(16, &[1], "18.6");
            head[INTEGER_AT] = size;
            assert_eq!(major(&head), None, "{size}");
        }
        assert_eq!(major(&header(16, &[1], "devel")), None);
    }
}
