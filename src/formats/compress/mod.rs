//! Streaming compression and decompression of dumps with gzip and zstd, with only a few blocks in memory.
//!
//! The output is a standard file for `gunzip` or `zstd -d`. The input is read to its last byte: a premature end, a
//! flipped bit and bytes after the end are errors.

mod blocks;
mod compressor;
mod decompressor;

pub use compressor::Compressor;
pub use decompressor::Decompressor;

/// The compression of a new dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    None,
    /// gzip at this level, 1 to 9.
    Gzip(u32),
    /// zstd at this level, up to 19; negative levels are faster than 1.
    Zstd(i32),
}

/// The compression of an existing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// No compression.
    None,
    /// gzip with one or more members.
    Gzip,
    /// zstd with one or more frames.
    Zstd,
}

impl Packing {
    /// Detects the compression by the magic number at the start of a file.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl From<Compression> for Packing {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip(_) => Self::Gzip,
            Compression::Zstd(_) => Self::Zstd,
        }
    }
}

#[cfg(test)]
mod tests;
