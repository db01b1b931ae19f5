//! One pass from pg_dump's output to a finished file: checked, compressed, encrypted, hashed and written. Nothing is
//! read back, and nothing that is to be encrypted is on the disk in clear.

use std::fs::File;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::engine::content::{ContentError, DumpChecker, Watcher};
use crate::formats::compress::{Compression, Compressor};
use crate::system::gpg::{Encryptor, Gpg};
use crate::system::process::ProgramError;
use crate::util::units::hexadecimal;

/// What a stream wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Bytes in the file.
    pub size: u64,
    /// Bytes of the dump itself.
    pub dumped: u64,
}

/// Bytes moved at a time: a pipe's capacity.
const CHUNK: usize = 64 * 1024;

/// Copies a dump into `file`, compressed and, if there is a `gpg`, encrypted, and flushes the file to disk. `watcher` sees
/// all of it.
///
/// # Errors
/// When reading or writing fails, or what was read is no whole dump; the error says which.
pub fn copy(
    mut dump: impl Read,
    file: File,
    compression: Compression,
    gpg: Option<&Gpg>,
    mut inspector: DumpChecker,
    watcher: &mut dyn Watcher,
) -> Result<Written, StreamError> {
    let sink = Sink::new(HashingFile { file, digest: Sha256::new(), size: 0 }, gpg)?;
    let mut compressor = Compressor::new(sink, compression).map_err(StreamError::Write)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match dump.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StreamError::Read(error)),
        };
        inspector.take(&chunk[..length], watcher).map_err(StreamError::Dump)?;
        compressor.write_all(&chunk[..length]).map_err(StreamError::Write)?;
    }
    let findings = inspector.finish(watcher).map_err(StreamError::Dump)?;
    let written = compressor.finish().and_then(Sink::finish).map_err(StreamError::Write)?;
    written.file.sync_all().map_err(StreamError::Write)?;
    let sha256 = hexadecimal(&written.digest.finalize());
    Ok(Written { sha256, size: written.size, dumped: findings.bytes })
}

/// Which part of the stream failed.
#[derive(Debug, Error)]
pub enum StreamError {
    /// Reading the dump.
    #[error("cannot read the dump: {0}")]
    Read(#[source] io::Error),
    /// The dump itself.
    #[error("the new dump {0}")]
    Dump(#[source] ContentError),
    /// Starting gpg.
    #[error(transparent)]
    Encrypt(ProgramError),
    /// Writing the file.
    #[error("cannot write the dump: {0}")]
    Write(#[source] io::Error),
}

struct HashingFile {
    file: File,
    digest: Sha256,
    size: u64,
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where compressed bytes go.
enum Sink {
    File(HashingFile),
    Encrypted(Encryptor<HashingFile>),
}

impl Sink {
    fn new(file: HashingFile, gpg: Option<&Gpg>) -> Result<Self, StreamError> {
        match gpg {
            None => Ok(Self::File(file)),
            Some(gpg) => gpg.encrypt(file).map(Self::Encrypted).map_err(StreamError::Encrypt),
        }
    }

    fn finish(self) -> io::Result<HashingFile> {
        match self {
            Self::File(file) => Ok(file),
            Self::Encrypted(encryptor) => encryptor.finish(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Encrypted(encryptor) => encryptor.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::content::Nobody;
    use crate::formats::compress::Decompressor;
    use crate::settings::Secret;
    use crate::system::process::test_runner;

    const DUMP: &[u8] = b"--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n\n--\n-- PostgreSQL database dump complete\n--\n\n";

    fn written(
        dump: &[u8],
        compression: Compression,
        key: Option<&str>,
    ) -> (Result<Written, StreamError>, Vec<u8>) {
        let runner = test_runner();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump");
        let gpg = key.map(|key| Gpg::new(Secret::new(key), runner.clone()));
        let file = File::create(&path).unwrap();
        let written = copy(dump, file, compression, gpg.as_ref(), DumpChecker::new(runner), &mut Nobody);
        (written, std::fs::read(path).unwrap())
    }

    #[test]
    fn a_dump_arrives_whole_and_its_checksum_is_the_files() {
        for compression in [Compression::None, Compression::Gzip(1), Compression::Zstd(1)] {
            for key in [None, Some("p\u{e4}ss w'ord")] {
                let (written, bytes) = written(DUMP, compression, key);
                let written = written.unwrap();
                assert_eq!(written.size, bytes.len() as u64);
                assert_eq!(written.sha256, hexadecimal(&Sha256::digest(&bytes)));
                if key.is_none() {
                    let mut plain = Vec::new();
                    Decompressor::new(&bytes[..], compression.into())
                        .unwrap()
                        .read_to_end(&mut plain)
                        .unwrap();
                    assert_eq!(plain, DUMP);
                }
            }
        }
    }

    #[test]
    fn a_dump_that_ends_early_is_told_from_a_whole_one() {
        for length in [0, 1, DUMP.len() - 10, DUMP.len() - 50] {
            let (written, _) = written(&DUMP[..length], Compression::Gzip(1), None);
            assert!(matches!(written, Err(StreamError::Dump(_))), "{length}");
        }
    }
}
