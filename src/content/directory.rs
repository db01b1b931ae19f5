//! A dump in directory format: what is in it, and whether all of it is there.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::reading::{judge, read_to_the_end};
use super::{CONTENTS_NAME, Content, ContentError, Findings, HEAD};
use crate::backup::hexadecimal;
use crate::process::Runner;

/// The files of a dump in directory format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The SHA-256 of what `LC_ALL=C sha256sum *` prints in the directory, in hexadecimal.
    pub sha256: String,
    /// The sum of their bytes.
    pub size: u64,
}

impl Listing {
    /// Reads every file of a directory.
    ///
    /// # Errors
    /// When one cannot be read, something else than a file is among them, or a stop signal comes.
    pub fn of(directory: &Path, runner: &Runner) -> Result<Self, ContentError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(ContentError::Read)? {
            names.push(entry.map_err(ContentError::Read)?.file_name());
        }
        names.sort();
        let (mut lines, mut size) = (String::new(), 0);
        for name in names {
            let (sha256, length) = digest(&directory.join(&name), runner)?;
            let _ = writeln!(lines, "{sha256}  {}", name.display());
            size += length;
        }
        Ok(Self { sha256: hexadecimal(&Sha256::digest(lines)), size })
    }
}

fn digest(path: &Path, runner: &Runner) -> Result<(String, u64), ContentError> {
    let failed = |error| ContentError::Read(error);
    if !fs::symlink_metadata(path).map_err(failed)?.is_file() {
        return Err(ContentError::Foreign);
    }
    let mut file = File::open(path).map_err(failed)?;
    let (mut digest, mut length, mut chunk) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        runner.check()?;
        match file.read(&mut chunk) {
            Ok(0) => return Ok((hexadecimal(&digest.finalize()), length)),
            Ok(read) => {
                digest.update(&chunk[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Has pg_restore read all of a directory, whose files have this `size`.
///
/// # Errors
/// When it cannot, or a stop signal comes.
pub fn inspect_directory(directory: &Path, size: u64, runner: &Runner) -> Result<Findings, ContentError> {
    let mut command = read_to_the_end();
    command.arg("--format=directory").arg(directory);
    match runner.run(&mut command, b"") {
        Ok(_) => Ok(Findings { content: Content::Directory, bytes: size, makes_database: false }),
        Err(error) => Err(judge(error, &head(directory).unwrap_or_default(), runner)),
    }
}

/// What the table of contents begins with.
fn head(directory: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(directory.join(CONTENTS_NAME))?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}
