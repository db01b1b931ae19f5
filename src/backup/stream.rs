//! The one pass from pg_dump's output to a finished file: checked, compressed, hashed and written, with
//! nothing read back. Encryption will sit between the compressor and the digest.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use crate::compress::{Compression, Compressor};
use crate::sql::Trailer;

/// What a stream wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Bytes in the file.
    pub size: u64,
    /// Whether the dump ended as a whole dump ends.
    pub complete: bool,
}

/// Bytes moved at a time: a pipe's capacity.
const CHUNK: usize = 64 * 1024;

/// Copies a dump into `file`, compressed, and flushes the file to disk.
///
/// # Errors
/// When reading or writing fails; the error says which.
pub fn copy(mut dump: impl Read, file: File, compression: Compression) -> Result<Written, StreamError> {
    let mut trailer = Trailer::default();
    let file = HashingFile { file, digest: Sha256::new(), size: 0 };
    let mut compressor = Compressor::new(file, compression).map_err(StreamError::Write)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match dump.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StreamError::Read(error)),
        };
        trailer.take(&chunk[..length]);
        compressor.write_all(&chunk[..length]).map_err(StreamError::Write)?;
    }
    let written = compressor.finish().map_err(StreamError::Write)?;
    written.file.sync_all().map_err(StreamError::Write)?;
    let sha256 = hexadecimal(&written.digest.finalize());
    Ok(Written { sha256, size: written.size, complete: trailer.is_complete() })
}

/// Which end of the stream failed.
#[derive(Debug)]
pub enum StreamError {
    /// Reading the dump.
    Read(io::Error),
    /// Writing the file.
    Write(io::Error),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read the dump: {error}"),
            Self::Write(error) => write!(f, "cannot write the dump: {error}"),
        }
    }
}

impl std::error::Error for StreamError {}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Decompressor;

    const DUMP: &[u8] = b"--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n\n--\n-- PostgreSQL database dump complete\n--\n\n";

    fn written(dump: impl Read, compression: Compression) -> (Written, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump");
        let written = copy(dump, File::create(&path).unwrap(), compression).unwrap();
        (written, std::fs::read(path).unwrap())
    }

    #[test]
    fn a_dump_arrives_whole_and_its_checksum_is_the_files() {
        for compression in [Compression::None, Compression::Gzip(1), Compression::Zstd(1)] {
            let (written, bytes) = written(DUMP, compression);
            assert_eq!(written.size, bytes.len() as u64);
            assert_eq!(written.sha256, hexadecimal(&Sha256::digest(&bytes)));
            assert!(written.complete);
            let mut plain = Vec::new();
            Decompressor::new(&bytes[..], compression.into()).unwrap().read_to_end(&mut plain).unwrap();
            assert_eq!(plain, DUMP);
        }
    }

    #[test]
    fn a_dump_that_ends_early_is_told_from_a_whole_one() {
        for length in [0, 1, DUMP.len() - 10, DUMP.len() - 50] {
            assert!(!written(&DUMP[..length], Compression::Gzip(1)).0.complete, "{length}");
        }
    }
}
