use std::fmt;
use std::io::{self, BufRead, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::Packing;
use super::blocks::{BlockReader, Watched, cut_off};

/// Decompresses what it reads from `R`. The file is complete and undamaged only if a read returns 0.
pub struct Decompressor<R: BufRead>(Kind<R>);

/// The rest of a reader, preceded by bytes already read from it.
type Rest<R> = Chain<Cursor<Vec<u8>>, R>;

enum Kind<R: BufRead> {
    None(R),
    Blocks(BlockReader<R>),
    Gzip(Box<MultiGzDecoder<Watched<R>>>),
    /// Other gzip members after blocks.
    MoreGzip(Box<MultiGzDecoder<Watched<Rest<R>>>>),
    Zstd(ZstdDecoder<'static, R>),
    /// Placeholder while one kind replaces another.
    Nothing,
}

impl<R: BufRead> Decompressor<R> {
    /// Creates a decompressor for the rest of `reader`.
    ///
    /// # Errors
    /// When it cannot be read, or memory runs out.
    pub fn new(reader: R, packing: Packing) -> io::Result<Self> {
        Ok(Self(match packing {
            Packing::None => Kind::None(reader),
            Packing::Gzip => match BlockReader::of(reader)? {
                Ok(blocks) => Kind::Blocks(blocks),
                Err(reader) => Kind::Gzip(Box::new(MultiGzDecoder::new(Watched::new(reader)))),
            },
            Packing::Zstd => Kind::Zstd(ZstdDecoder::with_buffer(reader)?),
        }))
    }

    /// Continues with a decompressor that does not know blocks, starting with the bytes `head`.
    fn leave_blocks(&mut self, head: Vec<u8>) {
        if let Kind::Blocks(blocks) = std::mem::replace(&mut self.0, Kind::Nothing) {
            let rest = Watched::after_blocks(Cursor::new(head).chain(blocks.into_inner()));
            self.0 = Kind::MoreGzip(Box::new(MultiGzDecoder::new(rest)));
        }
    }
}

impl<R: BufRead> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::None(reader) => reader.read(buffer),
            Kind::Blocks(blocks) => match blocks.read(buffer)? {
                Ok(length) => Ok(length),
                Err(head) => {
                    self.leave_blocks(head);
                    self.read(buffer)
                }
            },
            Kind::Gzip(decoder) => read_members(decoder, buffer),
            Kind::MoreGzip(decoder) => read_members(decoder, buffer),
            Kind::Zstd(decoder) => decoder.read(buffer),
            Kind::Nothing => Ok(0),
        }
    }
}

fn read_members<R: BufRead>(
    decoder: &mut MultiGzDecoder<Watched<R>>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match decoder.read(buffer)? {
        0 if !buffer.is_empty() && decoder.get_ref().is_cut_between_members() => Err(cut_off()),
        length => Ok(length),
    }
}

impl<R: BufRead> fmt::Debug for Decompressor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::None(_) => "Decompressor::None",
            Kind::Blocks(_) | Kind::Gzip(_) | Kind::MoreGzip(_) => "Decompressor::Gzip",
            Kind::Zstd(_) => "Decompressor::Zstd",
            Kind::Nothing => "Decompressor::Nothing",
        })
    }
}
