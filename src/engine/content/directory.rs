//! Reads and checks dumps in directory format.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::process::Stdio;

use nix::sys::stat::SFlag;
use sha2::{Digest, Sha256};

use super::dump_checker::CheckResult;
use super::error::ContentError;
use super::kind::{CONTENTS_NAME, Content, HEAD};
use super::pg_restore_probe::{judge, read_to_the_end};
use crate::system::process::{Listener, Runner};
use crate::system::progress::Progress;
use crate::util::open_dir::{OpenDir, kind};
use crate::util::units::hexadecimal;

/// Checksum and size of a dump in directory format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryDigest {
    /// The SHA-256 of what `LC_ALL=C sha256sum *` prints in the directory, in hexadecimal.
    pub sha256: String,
    /// The size of all files, in bytes.
    pub size: u64,
}

impl DirectoryDigest {
    /// Reads every file of the directory.
    ///
    /// # Errors
    /// When a file cannot be read, an entry is no regular file, or a stop signal comes.
    pub fn of(directory: &OpenDir, runner: &Runner, progress: &Progress) -> Result<Self, ContentError> {
        let mut names = directory.names().map_err(ContentError::Read)?;
        names.sort();
        let (mut lines, mut size) = (String::new(), 0);
        for name in names {
            let (sha256, length) = digest(directory, &name, runner, progress)?;
            let _ = writeln!(lines, "{sha256}  {}", name.display());
            size += length;
        }
        Ok(Self { sha256: hexadecimal(&Sha256::digest(lines)), size })
    }
}

fn digest(
    directory: &OpenDir,
    name: &OsStr,
    runner: &Runner,
    progress: &Progress,
) -> Result<(String, u64), ContentError> {
    let failed = |error| ContentError::Read(error);
    if kind(&directory.status(name).map_err(failed)?) != SFlag::S_IFREG {
        return Err(ContentError::Foreign);
    }
    let mut file = directory.open_file(name).map_err(failed)?;
    let (mut digest, mut length, mut chunk) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        runner.check()?;
        match file.read(&mut chunk) {
            Ok(0) => return Ok((hexadecimal(&digest.finalize()), length)),
            Ok(read) => {
                digest.update(&chunk[..read]);
                progress.add(read as u64);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Has pg_restore read the whole directory. `size` is that of its files, in bytes.
///
/// # Errors
/// When pg_restore fails, or a stop signal comes.
pub fn inspect_directory(
    directory: &OpenDir,
    size: u64,
    runner: &Runner,
    progress: &Progress,
) -> Result<CheckResult, ContentError> {
    let mut command = read_to_the_end();
    let opened = directory.to_file().map_err(ContentError::Read)?;
    command.args(["--format=directory", "/dev/stdin"]).stdin(opened).stderr(Stdio::piped());
    let judged = |error| judge(error, &head(directory).unwrap_or_default(), runner);
    let mut child = runner.spawn(&mut command).map_err(judged)?;
    let said = Listener::start(child.stderr.take());
    let exit = progress.follow(&child, size, || child.wait());
    let said = said.finish();
    runner.check()?;
    if exit.success() {
        Ok(CheckResult { content: Content::Directory, bytes: size, makes_database: false })
    } else {
        Err(judged(runner.failure(command.get_program(), exit, &said)))
    }
}

/// The first bytes of the table of contents.
fn head(directory: &OpenDir) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    directory.open_file(CONTENTS_NAME)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}
