//! Which entries of an archive pg_restore loads, where that is not all of them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::RestoreError;
use super::convert::Converter;
use super::load::Archive;
use crate::process::Runner;

/// A list for pg_restore. It is there as long as the value.
#[derive(Debug)]
pub struct Selection {
    /// Lies in memory, and is left open in the programs that are started.
    list: File,
}

impl Selection {
    /// All entries of an archive but the one that makes the schema `public`, which every new database has.
    ///
    /// # Errors
    /// When pg_restore cannot list them.
    pub fn without_public_schema(archive: Archive, runner: &Runner) -> Result<Self, RestoreError> {
        let mut listed = Vec::new();
        Converter::list(archive, runner)?
            .hand_on(|list| list.read_to_end(&mut listed).map(drop).map_err(RestoreError::Read))?;
        Self::of(&without_public_schema(&listed)).map_err(RestoreError::Convert)
    }

    fn of(lines: &[u8]) -> io::Result<Self> {
        let mut list = File::from(memfd_create("list", MFdFlags::empty())?);
        list.write_all(lines)?;
        Ok(Self { list })
    }

    /// Gives it to pg_restore.
    pub fn add_to(&self, command: &mut Command) {
        command.arg(format!("--use-list=/dev/fd/{}", self.list.as_raw_fd()));
    }
}

/// A line of the list is `ID; CLASS OID KIND SCHEMA NAME OWNER`.
fn without_public_schema(listed: &[u8]) -> Vec<u8> {
    let makes_public = |line: &&[u8]| {
        let mut words = line.split(|byte| *byte == b' ').skip(3);
        let of_schema = [&b"SCHEMA"[..], b"-", b"public"];
        of_schema.into_iter().all(|word| words.next() == Some(word))
    };
    listed
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !makes_public(line))
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_is_left_out_of_the_list() {
        let listed = "; comment\n5; 2615 2200 SCHEMA - public a b\n6; 2615 2201 SCHEMA - public2 a\n\
                      7; 0 0 COMMENT - SCHEMA public a\n8; 1259 9 TABLE public SCHEMA a\n9; 0 0 ACL - SCHEMA public a\n";
        let kept = String::from_utf8(without_public_schema(listed.as_bytes())).unwrap();
        assert_eq!(kept, listed.replace("5; 2615 2200 SCHEMA - public a b\n", ""));
    }
}
