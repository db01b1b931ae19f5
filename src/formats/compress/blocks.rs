//! The blocked gzip format (BGZF): a gzip file of members that hold 64 KiB of text at most, the last of them
//! an empty one.
//!
//! Members that small can be compressed whole, which is faster and packs tighter than a stream can be at the
//! same level, and the empty one tells a file that ends between two members from a whole one. What reads
//! gzip reads it too.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use libdeflater::{CompressionLvl, Compressor, Decompressor, crc32};

/// Bytes of text in a member: so few that one which cannot be compressed still is under 64 KiB in all.
const TEXT: usize = 0xff00;

/// How a member begins: a gzip header (RFC 1952, 2.3) without name and time, whose extra field `BC` holds
/// the member's own length less one in the two bytes that follow.
const HEAD: [u8; 16] = *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0";

/// The empty member.
const END: [u8; 28] = *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0\0";

/// Bytes before and after the compressed text of a member.
const BEFORE: usize = HEAD.len() + 2;
const AFTER: usize = 8;

/// Writes a text as blocked gzip.
pub struct BlockWriter<W> {
    writer: W,
    compressor: Compressor,
    /// Text that does not fill a member yet.
    text: Vec<u8>,
    /// Room for a member.
    member: Vec<u8>,
}

impl<W: Write> BlockWriter<W> {
    /// A writer of members into `writer`.
    pub fn new(writer: W, level: CompressionLvl) -> Self {
        let mut compressor = Compressor::new(level);
        let member = vec![0; BEFORE + compressor.deflate_compress_bound(TEXT) + AFTER];
        Self { writer, compressor, text: Vec::with_capacity(TEXT), member }
    }

    /// Writes what is left and the empty member.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_collected()?;
        self.writer.write_all(&END)?;
        Ok(self.writer)
    }

    fn write_collected(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.write_member(&text)?;
            self.text = text;
            self.text.clear();
        }
        Ok(())
    }

    fn write_member(&mut self, text: &[u8]) -> io::Result<()> {
        let compressed = self.compressor.deflate_compress(text, &mut self.member[BEFORE..]);
        let length = BEFORE + compressed.map_err(io::Error::other)? + AFTER;
        let less_one = u16::try_from(length - 1).map_err(io::Error::other)?;
        let text_length = u32::try_from(text.len()).map_err(io::Error::other)?;
        self.member[..HEAD.len()].copy_from_slice(&HEAD);
        self.member[HEAD.len()..BEFORE].copy_from_slice(&less_one.to_le_bytes());
        self.member[length - 8..length - 4].copy_from_slice(&crc32(text).to_le_bytes());
        self.member[length - 4..length].copy_from_slice(&text_length.to_le_bytes());
        self.writer.write_all(&self.member[..length])
    }
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.is_empty() && bytes.len() >= TEXT {
            self.write_member(&bytes[..TEXT])?;
            return Ok(TEXT);
        }
        let taken = bytes.len().min(TEXT - self.text.len());
        self.text.extend_from_slice(&bytes[..taken]);
        if self.text.len() == TEXT {
            self.write_collected()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a text from blocked gzip, member by member: each is decompressed whole, in half the time of a stream.
pub struct BlockReader<R> {
    reader: R,
    decompressor: Decompressor,
    /// A member behind its head.
    member: Vec<u8>,
    /// The text of a member, of which the bytes from `at` to `end` have not been read.
    text: Vec<u8>,
    at: usize,
    end: usize,
}

impl<R: BufRead> BlockReader<R> {
    /// A reader of blocked gzip, if that is what comes next.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(mut reader: R) -> io::Result<Result<Self, R>> {
        if !reader.fill_buf()?.starts_with(&HEAD) {
            return Ok(Err(reader));
        }
        // One of text, so that a file of no members is not taken for a whole one.
        let (member, text, end) = (Vec::with_capacity(1 << 16), vec![0; 1 << 16], 1);
        Ok(Ok(Self { reader, decompressor: Decompressor::new(), member, text, at: 1, end }))
    }

    /// Reads text. Where something else than a blocked member comes, it answers the bytes that have been read of that.
    ///
    /// # Errors
    /// When a member is damaged or cut off, the empty one is missing at the end, or the file cannot be read.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Result<usize, Vec<u8>>> {
        while self.at == self.end && !buffer.is_empty() {
            let mut head = Vec::with_capacity(BEFORE);
            self.reader.by_ref().take(BEFORE as u64).read_to_end(&mut head)?;
            let length = match head.strip_prefix(&HEAD) {
                Some([low, high]) => usize::from(u16::from_le_bytes([*low, *high])) + 1,
                _ => 0,
            };
            match () {
                // No member is shorter than the empty one.
                () if length >= END.len() => self.take(length - BEFORE)?,
                () if !head.is_empty() => return Ok(Err(head)),
                () if self.end == 0 => return Ok(Ok(0)),
                () => return Err(cut_off()),
            }
        }
        let length = buffer.len().min(self.end - self.at);
        buffer[..length].copy_from_slice(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(Ok(length))
    }

    pub fn into_inner(self) -> R {
        self.reader
    }

    fn take(&mut self, length: usize) -> io::Result<()> {
        self.member.resize(length, 0);
        self.reader.read_exact(&mut self.member)?;
        let (compressed, after) = self.member.split_at(length - AFTER);
        let end = self.decompressor.deflate_decompress(compressed, &mut self.text);
        let end = end.map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
        let text_length = u32::try_from(end).map_err(io::Error::other)?;
        if after != [crc32(&self.text[..end]), text_length].map(u32::to_le_bytes).concat() {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the checksum of a gzip member does not match",
            ));
        }
        (self.at, self.end) = (0, end);
        Ok(())
    }
}

/// What is said of a blocked gzip file without its empty member.
pub fn cut_off() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the end of the gzip file is missing")
}

/// Watches a gzip file go by on its way to a decompressor that does not know of blocks.
pub struct Watched<R> {
    reader: R,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl<R: BufRead> Watched<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, head: Vec::with_capacity(HEAD.len()), tail: Vec::with_capacity(2 * END.len()) }
    }

    /// One for the rest of a file that began as a blocked one.
    pub fn after_blocks(reader: R) -> Self {
        Self { head: HEAD.to_vec(), ..Self::new(reader) }
    }

    /// Whether the file, read to its end, lacks members: it began as a blocked one and has not ended so.
    pub fn is_cut_between_members(&self) -> bool {
        self.head == HEAD && self.tail != END
    }
}

impl<R: BufRead> BufRead for Watched<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed has been read, so this neither reads nor fails.
        if let Ok(bytes) = self.reader.fill_buf() {
            let bytes = &bytes[..amount.min(bytes.len())];
            let wanted = (HEAD.len() - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(END.len())..]);
            let surplus = self.tail.len().saturating_sub(END.len());
            self.tail.drain(..surplus);
        }
        self.reader.consume(amount);
    }
}

impl<R: BufRead> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
