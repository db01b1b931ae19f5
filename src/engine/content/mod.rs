//! What is in a backup, told by its bytes and never by its name, and whether all of it is there.

mod directory;
mod examine;
mod header;
mod inspector;
mod reading;
mod snapshot;
mod tar_walk;
mod unpacked;

use std::fmt;
use std::io;

use memchr::memmem;

use crate::formats::compress::Packing;
use crate::postgres::Version;
use crate::store::catalog::Format;
use crate::system::process::{Interrupted, ProgramError};
use header::is_contents;

pub(crate) use header::without_compression;
pub(crate) use tar_walk::TarWalk;

pub use directory::{Listing, inspect_directory};
pub use examine::{Examination, Nobody, Watcher, Whole, bytes_to_examine, examine, examine_watched, peek};
pub use inspector::{Findings, Inspector};
pub use snapshot::Snapshot;
pub use unpacked::{Keys, Unpacked};

/// Bytes of a beginning by which its kind is told. A tar archive's first member begins after 512.
const HEAD: usize = 1024;

/// What a backup holds, once nothing is wrapped around it.
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
    /// A tar archive with a dump in directory format in it.
    PackedDirectory,
}

impl Content {
    /// How a dump that is wrapped so is stored.
    fn format(self, wrappings: &[Wrapping]) -> Format {
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
    fn of(head: &[u8]) -> Option<Self> {
        match (head, Packing::of(head)) {
            // OpenPGP's symmetric-key and public-key packets in both of its framings (RFC 9580, 4.2).
            ([0x84 | 0x85 | 0x8c | 0x8d | 0xc1 | 0xc3, ..], _) => Some(Self::Gpg),
            _ if head.starts_with(b"-----BEGIN PGP MESSAGE-----") => Some(Self::Gpg),
            (_, Packing::None) => None,
            (_, packing) => Some(Self::Packed(packing)),
        }
    }
}

/// What is wrong with a backup's content; the message goes on where the backup's name stands.
#[derive(Debug)]
pub enum ContentError {
    /// It cannot be read.
    Read(io::Error),
    /// It has no bytes.
    Empty,
    /// It cannot be decompressed.
    Damaged(io::Error),
    /// gpg cannot decrypt it.
    Decrypt(io::Error),
    /// It is encrypted, and there is no passphrase.
    NoKey,
    /// It is no dump at all.
    Foreign,
    /// It is a dump in UTF-16, which this name of iconv's says more of.
    Utf16(&'static str),
    /// It is an archive that was written as text in UTF-16.
    GarbledArchive,
    /// It has no end.
    Truncated,
    /// It is another file than the one that its manifest speaks of.
    Checksum,
    /// pg_restore cannot read it.
    Archive(ProgramError),
    /// It is by a newer pg_dump than the pg_restore that is here.
    Newer {
        /// pg_dump's version.
        dump: Version,
        /// pg_restore's version.
        tool: Version,
    },
    /// A program that is needed failed, or a stop signal came.
    Program(ProgramError),
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => f.write_str("is empty"),
            Self::Damaged(error) => write!(f, "is damaged: {error}"),
            Self::Decrypt(error) => {
                write!(f, "is damaged, or encrypted with another key than BACKUP_ENCRYPTION_KEY: {error}")
            }
            Self::NoKey => f.write_str("is encrypted: BACKUP_ENCRYPTION_KEY must be set"),
            Self::Foreign => f.write_str("is not a dump by pg_dump"),
            Self::Utf16(encoding) => write!(
                f,
                "is in UTF-16, as PowerShell's > writes it: convert it with iconv -f {encoding} -t UTF-8"
            ),
            Self::GarbledArchive => f.write_str(
                "is an archive that PowerShell's > converted to UTF-16 text, which destroyed it: dump again \
                 with pg_dump --file",
            ),
            Self::Truncated => f.write_str("is cut off: the end of the dump is missing"),
            Self::Checksum => f.write_str("is damaged: its checksum does not match its manifest"),
            Self::Archive(error) => write!(f, "is damaged: {error}"),
            Self::Newer { dump, tool } => write!(
                f,
                "is by pg_dump {dump}, and pg_restore {tool} is older: use an image for PostgreSQL {} or newer",
                dump.major
            ),
            Self::Program(error) => write!(f, "cannot be checked: {error}"),
        }
    }
}

impl std::error::Error for ContentError {}

impl From<Interrupted> for ContentError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Program(ProgramError::Interrupted(interrupted))
    }
}

impl ContentError {
    /// Whether the backup itself is at fault, and not what it was read with.
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            Self::Read(_) | Self::Decrypt(_) | Self::NoKey | Self::Newer { .. } | Self::Program(_)
        )
    }

    /// The stop signal behind the error, if that is what ended the reading.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Program(ProgramError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }
}

/// What the table of contents is called in a tar archive and in a directory.
pub(crate) const CONTENTS_NAME: &str = "toc.dat";
/// Where in a tar archive by pg_dump that begins.
const CONTENTS_AT: usize = 512;

/// Whether pg_dump began this tar archive. One that somebody has made of a directory has its table of contents
/// at another place, or under a path.
fn is_pg_dumps_tar(head: &[u8]) -> bool {
    let (name, end) = head.split_at_checked(CONTENTS_NAME.len()).unwrap_or_default();
    name == CONTENTS_NAME.as_bytes()
        && end.first() == Some(&0)
        && head.get(CONTENTS_AT..).is_some_and(is_contents)
}

/// What something is whose wrappings are off, by its first [`HEAD`] bytes.
fn recognise(head: &[u8]) -> Option<Content> {
    let is_tar = head.get(257..262) == Some(b"ustar");
    match () {
        () if head.starts_with(header::MAGIC) => Some(Content::Custom),
        () if is_tar && is_pg_dumps_tar(head) => Some(Content::Tar),
        () if is_tar => Some(Content::PackedDirectory),
        () if has_line(head, b"-- PostgreSQL database cluster dump") => Some(Content::Cluster),
        () if has_line(head, b"-- PostgreSQL database dump") => Some(Content::Database),
        () => None,
    }
}

/// Whether a line is this one. A terminal in between ends lines with CR and LF.
fn has_line(head: &[u8], line: &[u8]) -> bool {
    memmem::find_iter(head, line)
        .any(|at| matches!(&head[at + line.len()..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// What something is that is no dump as it is, by its first [`HEAD`] bytes.
fn foreign(head: &[u8]) -> ContentError {
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
