use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::Packing;
use super::blocks::Watched;

/// Decompresses what it reads from `R`. It has all been whole only when a read answers 0.
pub struct Decompressor<R: BufRead>(Kind<R>);

enum Kind<R: BufRead> {
    None(R),
    Gzip(Box<MultiGzDecoder<Watched<R>>>),
    Zstd(ZstdDecoder<'static, R>),
}

impl<R: BufRead> Decompressor<R> {
    /// A decompressor of `reader`, from where that stands.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(reader: R, packing: Packing) -> io::Result<Self> {
        Ok(Self(match packing {
            Packing::None => Kind::None(reader),
            Packing::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(Watched::new(reader)))),
            Packing::Zstd => Kind::Zstd(ZstdDecoder::with_buffer(reader)?),
        }))
    }

    /// The reader, from which an unknown part has been read.
    pub fn into_inner(self) -> R {
        match self.0 {
            Kind::None(reader) => reader,
            Kind::Gzip(decoder) => decoder.into_inner().into_inner(),
            Kind::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::None(reader) => reader.read(buffer),
            Kind::Gzip(decoder) => match decoder.read(buffer)? {
                0 if !buffer.is_empty() && decoder.get_ref().is_cut_between_members() => {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the end of the gzip file is missing"))
                }
                length => Ok(length),
            },
            Kind::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl<R: BufRead> fmt::Debug for Decompressor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::None(_) => "Decompressor::None",
            Kind::Gzip(_) => "Decompressor::Gzip",
            Kind::Zstd(_) => "Decompressor::Zstd",
        })
    }
}
