use std::fmt;
use std::io::{self, Write};

use libdeflater::CompressionLvl;
use zstd::stream::write::Encoder as ZstdEncoder;
use zstd::zstd_safe::CParameter;

use super::Compression;
use super::blocks::BlockWriter;

/// Compresses what is written to it into `W`. The file is complete only after [`finish`](Self::finish).
pub struct Compressor<W: Write>(Kind<W>);

enum Kind<W: Write> {
    None(W),
    Gzip(BlockWriter<W>),
    Zstd(ZstdEncoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Creates a compressor into `writer`.
    ///
    /// # Errors
    /// When the level is invalid.
    pub fn new(writer: W, compression: Compression) -> io::Result<Self> {
        let no_level = || io::Error::new(io::ErrorKind::InvalidInput, "not a valid compression level");
        Ok(Self(match compression {
            Compression::None => Kind::None(writer),
            Compression::Gzip(level @ 1..=9) => {
                // Levels 1 to 9 of libdeflate take about as long as those of zlib.
                let level = CompressionLvl::new(level as i32).map_err(|_| no_level())?;
                Kind::Gzip(BlockWriter::new(writer, level))
            }
            Compression::Zstd(level @ (..=-1 | 1..=19)) => Kind::Zstd(zstd_encoder(writer, level)?),
            Compression::Gzip(_) | Compression::Zstd(_) => return Err(no_level()),
        }))
    }

    /// Writes the rest and the end of the compressed file, and returns the writer.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Kind::None(writer) => Ok(writer),
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// From this level on zstd's tables are limited to 2^21 entries. Its defaults take up to 94 MiB. With the limit it
/// needs less than 32 MiB and half the time, and compresses a dump as well.
const LEVEL_WITH_LARGE_TABLES: i32 = 11;

fn zstd_encoder<W: Write>(writer: W, level: i32) -> io::Result<ZstdEncoder<'static, W>> {
    let mut encoder = ZstdEncoder::new(writer, level)?;
    // As gzip has one. Without a checksum a flipped bit could yield other text.
    encoder.include_checksum(true)?;
    if level >= LEVEL_WITH_LARGE_TABLES {
        for parameter in [CParameter::WindowLog(21), CParameter::HashLog(21), CParameter::ChainLog(21)] {
            encoder.set_parameter(parameter)?;
        }
    }
    Ok(encoder)
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::None(writer) => writer.write(bytes),
            Kind::Gzip(encoder) => encoder.write(bytes),
            Kind::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing: ending a block early compresses worse.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::None(_) => "Compressor::None",
            Kind::Gzip(_) => "Compressor::Gzip",
            Kind::Zstd(_) => "Compressor::Zstd",
        })
    }
}
