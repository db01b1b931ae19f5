//! The blocked gzip format (BGZF): a gzip file of members with at most 64 KiB of text each, ending with an empty one.
//!
//! Small members can be compressed in one call, which is faster and smaller than a stream at the same level. The empty
//! member shows that a file was not cut off between two members. Any gzip reader can read the format.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use libdeflater::{CompressionLvl, Compressor, Decompressor, crc32};

/// Bytes of text per member. Even incompressible text then makes a member of less than 64 KiB.
const TEXT: usize = 0xff00;

/// Start of a member: a gzip header (RFC 1952, section 2.3) without name and time. Its extra field `BC` contains the
/// length of the member minus one in the two bytes that follow.
const HEAD: [u8; 16] = *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0";

/// The empty member at the end.
const END: [u8; 28] = *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0\0";

/// Bytes before and after the compressed text of a member.
const BEFORE: usize = HEAD.len() + 2;
const AFTER: usize = 8;

/// Compresses text to blocked gzip.
pub struct BlockWriter<W> {
    writer: W,
    compressor: Compressor,
    /// Text collected for the next member.
    text: Vec<u8>,
    /// Buffer for a compressed member.
    member: Vec<u8>,
}

impl<W: Write> BlockWriter<W> {
    /// Creates a writer into `writer`.
    pub fn new(writer: W, level: CompressionLvl) -> Self {
        let mut compressor = Compressor::new(level);
        let member = vec![0; BEFORE + compressor.deflate_compress_bound(TEXT) + AFTER];
        Self { writer, compressor, text: Vec::with_capacity(TEXT), member }
    }

    /// Writes the remaining text and the empty member.
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

/// Reads blocked gzip. Each member is decompressed in one call, in half the time of a stream.
pub struct BlockReader<R> {
    reader: R,
    decompressor: Decompressor,
    /// The rest of a member after its header.
    member: Vec<u8>,
    /// The text of a member; bytes `at` to `end` are unread.
    text: Vec<u8>,
    at: usize,
    end: usize,
}

impl<R: BufRead> BlockReader<R> {
    /// Creates a reader if the input starts with a blocked member; otherwise returns the input.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn of(mut reader: R) -> io::Result<Result<Self, R>> {
        if !reader.fill_buf()?.starts_with(&HEAD) {
            return Ok(Err(reader));
        }
        // `end` is not 0, so that a file without members counts as cut off.
        let (member, text, end) = (Vec::with_capacity(1 << 16), vec![0; 1 << 16], 1);
        Ok(Ok(Self { reader, decompressor: Decompressor::new(), member, text, at: 1, end }))
    }

    /// Reads text. If something other than a blocked member follows, returns the bytes already read of it.
    ///
    /// # Errors
    /// When a member is damaged or cut off, the empty member is missing, or the file cannot be read.
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

/// The error for a blocked gzip file without the empty member.
pub fn cut_off() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the end of the gzip file is missing")
}

/// Passes a gzip file on to a decompressor that does not know blocks, remembering its start and end.
pub struct Watched<R> {
    reader: R,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl<R: BufRead> Watched<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, head: Vec::with_capacity(HEAD.len()), tail: Vec::with_capacity(2 * END.len()) }
    }

    /// Creates one for the rest of a file that started with blocks.
    pub fn after_blocks(reader: R) -> Self {
        Self { head: HEAD.to_vec(), ..Self::new(reader) }
    }

    /// Whether the file, read to its end, started with blocks but does not end with the empty member.
    pub fn is_cut_between_members(&self) -> bool {
        self.head == HEAD && self.tail != END
    }
}

impl<R: BufRead> BufRead for Watched<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // Consumed bytes are already buffered, so this neither reads nor fails.
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
