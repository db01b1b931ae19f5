//! Compression of a dump's text on its way to the file and back: gzip and zstd, with nothing kept but a
//! few blocks.
//!
//! What is written is a standard file that `gunzip` or `zstd -d` take. What is read is taken to its last
//! byte: an end before its time, a bit that has changed and bytes after the end are all errors.

mod blocks;
mod compressor;
mod decompressor;

pub use compressor::Compressor;
pub use decompressor::Decompressor;

/// How a dump is compressed on its way to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip at this level, 1 to 9.
    Gzip(u32),
    /// zstd at this level, up to 19; those below 1 are faster than 1.
    Zstd(i32),
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// As gzip, in one member or several.
    Gzip,
    /// As zstd, in one frame or several.
    Zstd,
}

impl Packing {
    /// How a file is packed, by the numbers that it begins with.
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
