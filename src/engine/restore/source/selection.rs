//! Lists the entries of an archive by pg_restore, and selects some of them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::convert;
use super::convert::Input;
use crate::engine::restore::error::RestoreError;
use crate::system::process::Runner;

/// The list of an archive: a line `ID; CLASS OID KIND SCHEMA NAME OWNER` for each entry, and comment lines.
#[derive(Debug)]
pub struct Listed(Vec<u8>);

impl Listed {
    /// Has pg_restore list an archive, including the entries about the database itself.
    ///
    /// # Errors
    /// When pg_restore fails.
    pub fn of(archive: Input, runner: &Runner) -> Result<Self, RestoreError> {
        let mut listed = Vec::new();
        let list = |command: &mut Command| {
            command.args(["--list", "--create"]);
        };
        convert::hand_on(archive, list, runner, |list| {
            list.read_to_end(&mut listed).map(drop).map_err(RestoreError::Read)
        })?;
        Ok(Self(listed))
    }

    /// Whether it has rows of tables.
    pub fn has_rows(&self) -> bool {
        self.lines().any(is_table_data)
    }

    /// Selects all entries but rows of tables and large objects.
    ///
    /// # Errors
    /// When there is no memory for the list.
    pub fn definitions(&self) -> io::Result<Selection> {
        Selection::of(self.lines().filter(|line| !is_rows(line)))
    }

    /// Selects all entries but those about the database itself and the creation of the schema `public`, which every
    /// new database has.
    ///
    /// # Errors
    /// When there is no memory for the list.
    pub fn without_public_schema(&self) -> io::Result<Selection> {
        Selection::of(self.lines().filter(|line| !begins(line, &[b"SCHEMA", b"-", b"public"])))
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|byte| *byte == b'\n')
    }
}

/// Entries for pg_restore to restore, valid as long as this value.
#[derive(Debug)]
pub struct Selection {
    /// A file in memory, inherited by the programs that are started.
    list: File,
}

impl Selection {
    fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> io::Result<Self> {
        let mut list = File::from(memfd_create("list", MFdFlags::empty())?);
        list.write_all(&lines.flatten().copied().collect::<Vec<u8>>())?;
        Ok(Self { list })
    }

    /// Passes the selection to pg_restore.
    pub fn add_to(&self, command: &mut Command) {
        command.arg(format!("--use-list=/dev/fd/{}", self.list.as_raw_fd()));
    }
}

fn is_rows(line: &[u8]) -> bool {
    is_table_data(line) || begins(line, &[b"BLOBS"])
}

/// Rows have the catalog number 0, which tells them from a table that is called like that.
fn is_table_data(line: &[u8]) -> bool {
    line.split(|byte| *byte == b' ').nth(1) == Some(b"0") && begins(line, &[b"TABLE", b"DATA"])
}

/// Whether the kind and name of a line's entry begin with these words.
fn begins(line: &[u8], expected: &[&[u8]]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').skip(3);
    expected.iter().all(|word| words.next() == Some(word))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn kept(selection: &Selection) -> String {
        fs::read_to_string(format!("/dev/fd/{}", selection.list.as_raw_fd())).unwrap()
    }

    const LISTED: &str = "; comment\n5; 2615 2200 SCHEMA - public a b\n6; 2615 2201 SCHEMA - public2 a\n\
                          7; 0 0 COMMENT - SCHEMA public a\n8; 1259 9 TABLE public SCHEMA a\n\
                          9; 0 0 ACL - SCHEMA public a\n";
    const ROWS: &str = "8; 0 9 TABLE DATA public SCHEMA a\n3; 0 0 BLOBS - BLOBS a\n4; 0 0 BLOBS - 7 a\n";

    #[test]
    fn the_schema_public_is_left_out_of_a_list_and_nothing_else() {
        let listed = Listed(LISTED.into());
        let expected = LISTED.replace("5; 2615 2200 SCHEMA - public a b\n", "");
        assert_eq!(kept(&listed.without_public_schema().unwrap()), expected);
        assert_eq!(kept(&listed.definitions().unwrap()), LISTED);
        assert!(!listed.has_rows());
    }

    #[test]
    fn rows_are_told_from_tables_that_are_called_like_them() {
        let listed = Listed([LISTED, ROWS].concat().into());
        assert!(listed.has_rows());
        assert_eq!(kept(&listed.definitions().unwrap()), LISTED);
        let of_schema = "8; 1259 9 TABLE DATA t a\n9; 2613 7 BLOB METADATA - 7 a\n";
        assert!(!Listed(of_schema.into()).has_rows());
        assert!(!Listed("3; 0 0 BLOBS - BLOBS a\n".into()).has_rows());
    }
}
