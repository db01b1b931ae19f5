//! What is in an archive by pg_restore's list of it, and which entries of that it is to take where those are not all.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::convert;
use super::convert::Input;
use crate::engine::restore::error::RestoreError;
use crate::system::process::Runner;

/// An archive's list: of each entry a line `ID; CLASS OID KIND SCHEMA NAME OWNER`, and lines of comment.
#[derive(Debug)]
pub struct Listed(Vec<u8>);

impl Listed {
    /// Has pg_restore list an archive, with what it says about the database itself.
    ///
    /// # Errors
    /// When it cannot.
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

    /// Whether there are rows of tables in it.
    pub fn has_rows(&self) -> bool {
        self.lines().any(is_table_data)
    }

    /// All entries but the rows of tables and large objects.
    ///
    /// # Errors
    /// When there is no memory for the list.
    pub fn definitions(&self) -> io::Result<Selection> {
        Selection::of(self.lines().filter(|line| !is_rows(line)))
    }

    /// All entries but those about the database itself and the one that makes the schema `public`, which every new database
    /// has.
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

/// Entries for pg_restore to take. They are there as long as the value.
#[derive(Debug)]
pub struct Selection {
    /// Lies in memory, and is left open in the programs that are started.
    list: File,
}

impl Selection {
    fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> io::Result<Self> {
        let mut list = File::from(memfd_create("list", MFdFlags::empty())?);
        list.write_all(&lines.flatten().copied().collect::<Vec<u8>>())?;
        Ok(Self { list })
    }

    /// Gives them to pg_restore.
    pub fn add_to(&self, command: &mut Command) {
        command.arg(format!("--use-list=/dev/fd/{}", self.list.as_raw_fd()));
    }
}

fn is_rows(line: &[u8]) -> bool {
    is_table_data(line) || begins(line, &[b"BLOBS"])
}

/// Rows are no object of the catalog, whatever a table is called.
fn is_table_data(line: &[u8]) -> bool {
    line.split(|byte| *byte == b' ').nth(1) == Some(b"0") && begins(line, &[b"TABLE", b"DATA"])
}

/// Whether these words stand where a line says what the entry is.
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
