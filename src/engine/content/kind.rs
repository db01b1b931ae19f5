//! What a backup holds and what is wrapped around it, told by its first bytes.

use memchr::memmem;

use super::error::ContentError;
use super::header::{MAGIC, is_contents};
use crate::formats::compress::Packing;
use crate::store::catalog::Format;

/// Number of first bytes that determine the kind. The first member of a tar archive begins at 512.
pub(super) const HEAD: usize = 1024;

/// The kind of a dump, decrypted and decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// SQL of one database, by pg_dump.
    Database,
    /// SQL of a whole server or of its roles, by pg_dumpall.
    Cluster,
    /// An archive in pg_dump's custom format.
    Custom,
    /// An archive in pg_dump's tar format.
    Tar,
    /// A dump in directory format.
    Directory,
    /// A tar archive of a dump in directory format.
    PackedDirectory,
}

impl Content {
    /// The format of a backup with such a dump in these wrappings.
    pub(super) fn format(self, wrappings: &[Wrapping]) -> Format {
        match self {
            Self::Database | Self::Cluster if wrappings.contains(&Wrapping::Packed(Packing::Gzip)) => {
                Format::Gzip
            }
            Self::Database | Self::Cluster if wrappings.contains(&Wrapping::Packed(Packing::Zstd)) => {
                Format::Zstd
            }
            Self::Database | Self::Cluster => Format::Plain,
            Self::Custom => Format::Custom,
            Self::Tar | Self::PackedDirectory => Format::Tar,
            Self::Directory => Format::Directory,
        }
    }
}

/// What is wrapped around a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// Encryption by gpg.
    Gpg,
    /// Compression.
    Packed(Packing),
}

impl Wrapping {
    /// The outermost wrapping of what begins with these bytes.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match (head, Packing::of(head)) {
            // OpenPGP's symmetric-key and public-key packets in both of its framings (RFC 9580, 4.2).
            ([0x84 | 0x85 | 0x8c | 0x8d | 0xc1 | 0xc3, ..], _) => Some(Self::Gpg),
            _ if head.starts_with(b"-----BEGIN PGP MESSAGE-----") => Some(Self::Gpg),
            (_, Packing::None) => None,
            (_, packing) => Some(Self::Packed(packing)),
        }
    }
}

/// File name of the table of contents in a tar archive and in a directory.
pub(crate) const CONTENTS_NAME: &str = "toc.dat";
/// Offset of the table of contents in a tar archive by pg_dump.
pub(super) const CONTENTS_AT: usize = 512;

/// Whether pg_dump wrote this tar archive. In a tar archive that somebody made of a directory dump, the table of
/// contents is elsewhere or under a path.
fn is_pg_dumps_tar(head: &[u8]) -> bool {
    let (name, end) = head.split_at_checked(CONTENTS_NAME.len()).unwrap_or_default();
    name == CONTENTS_NAME.as_bytes()
        && end.first() == Some(&0)
        && head.get(CONTENTS_AT..).is_some_and(is_contents)
}

/// The kind of a dump without wrappings, by its first [`HEAD`] bytes.
pub(super) fn recognise(head: &[u8]) -> Option<Content> {
    let is_tar = head.get(257..262) == Some(b"ustar");
    if head.starts_with(MAGIC) {
        Some(Content::Custom)
    } else if is_tar && is_pg_dumps_tar(head) {
        Some(Content::Tar)
    } else if is_tar {
        Some(Content::PackedDirectory)
    } else if has_line(head, b"-- PostgreSQL database cluster dump") {
        Some(Content::Cluster)
    } else if has_line(head, b"-- PostgreSQL database dump") {
        Some(Content::Database)
    } else {
        None
    }
}

/// Whether there is such a line. After a passage through a terminal, lines end with CR LF.
fn has_line(head: &[u8], line: &[u8]) -> bool {
    memmem::find_iter(head, line)
        .any(|at| matches!(&head[at + line.len()..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// The error for bytes that are no dump, by the first [`HEAD`] of them.
pub(super) fn foreign(head: &[u8]) -> ContentError {
    let encoding = match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        [1..=255, 0, 1..=255, 0, ..] => "UTF-16LE",
        [0, 1..=255, 0, 1..=255, ..] => "UTF-16BE",
        _ => return ContentError::Foreign,
    };
    let text: Vec<u8> = head.iter().copied().filter(|byte| *byte != 0).collect();
    let text = text.strip_prefix(b"\xff\xfe").or(text.strip_prefix(b"\xfe\xff")).unwrap_or(&text);
    match recognise(text) {
        Some(Content::Database | Content::Cluster) => ContentError::Utf16(encoding),
        Some(_) => ContentError::GarbledArchive,
        None => ContentError::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        assert_eq!(recognise(b"--\n-- PostgreSQL database dump\n--\n"), Some(Content::Database));
        assert_eq!(recognise(b"--\n-- PostgreSQL database cluster dump\n--\n"), Some(Content::Cluster));
        assert_eq!(recognise(b"--\r\n-- PostgreSQL database dump\r\n--\r\n"), Some(Content::Database));
        assert_eq!(recognise(b"PGDMP\x01\x0e\x00\x04\x08\x01"), Some(Content::Custom));
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(recognise(&tar), Some(Content::PackedDirectory));
        tar[512..523].copy_from_slice(b"PGDMP\x01\x0e\x00\x04\x08\x03");
        tar[..11].copy_from_slice(b"app/toc.dat");
        assert_eq!(recognise(&tar), Some(Content::PackedDirectory));
        tar[..11].copy_from_slice(b"toc.dat\0\0\0\0");
        assert_eq!(recognise(&tar), Some(Content::Tar));
        for foreign in [&b""[..], b"-- MySQL dump", b"PGDM", b"hello"] {
            assert_eq!(recognise(foreign), None);
        }
    }

    #[test]
    fn what_a_windows_shell_has_made_of_a_dump_is_told() {
        let wide = |text: &str, mark: bool, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let mark = mark.then_some('\u{feff}').into_iter();
            let text: String = mark.chain(text.chars()).collect();
            text.encode_utf16().flat_map(order).collect()
        };
        let dump = "--\r\n-- PostgreSQL database dump\r\n--\r\n";
        for (head, expected) in [
            (wide(dump, true, u16::to_le_bytes), "iconv -f UTF-16 -t"),
            (wide(dump, true, u16::to_be_bytes), "iconv -f UTF-16 -t"),
            (wide(dump, false, u16::to_le_bytes), "iconv -f UTF-16LE -t"),
            (wide(dump, false, u16::to_be_bytes), "iconv -f UTF-16BE -t"),
            (wide("PGDMP\u{1}\u{e}", true, u16::to_le_bytes), "which destroyed it"),
            (wide("hello, world", true, u16::to_le_bytes), "is not a dump"),
            (b"\xff\xfe".to_vec(), "is not a dump"),
        ] {
            assert_eq!(recognise(&head), None);
            let said = foreign(&head).to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn wrappings_are_told_by_their_first_bytes() {
        assert_eq!(Wrapping::of(&[0x8c, 0x0d]), Some(Wrapping::Gpg));
        assert_eq!(Wrapping::of(b"-----BEGIN PGP MESSAGE-----\n"), Some(Wrapping::Gpg));
        assert_eq!(Wrapping::of(&[0x1f, 0x8b, 8]), Some(Wrapping::Packed(Packing::Gzip)));
        assert_eq!(Wrapping::of(b"--\n-- PostgreSQL"), None);
    }
}
