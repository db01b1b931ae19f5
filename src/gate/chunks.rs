//! Decodes a chunked body (RFC 9112, 7.1) as it arrives. Pure; nothing here does I/O.
//!
//! Anything that the grammar does not allow is rejected, so that no proxy in front can see a chunk end elsewhere.

use std::mem;

use super::error::ApiError;
use super::framing::too_long;
use super::limits::{BODY, CHUNK_EXTRAS};

/// Digits of a size that do not count as overhead. More are leading zeros, or a size that is too large.
const DIGITS: usize = 8;

/// The decoder's state.
#[derive(Debug, Default)]
pub struct Chunks {
    next: Next,
    body: Vec<u8>,
    /// Overhead so far, in bytes.
    extras: usize,
}

/// What is expected next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    /// The first digit of a size.
    #[default]
    Size,
    /// More of a size: its value and number of digits so far.
    MoreSize(usize, usize),
    /// After white space behind a size, the semicolon of an extension.
    Semicolon(usize),
    /// More of the extensions of a chunk of this size.
    Extension(usize),
    /// The LF behind the size of a chunk.
    SizeEnd(usize),
    /// This many bytes of a chunk; at least one.
    Data(usize),
    /// The CR behind a chunk.
    DataCr,
    /// The LF behind a chunk.
    DataEnd,
    /// A trailer field, or the end of all.
    Trailer,
    /// More of the name of a trailer field.
    TrailerName,
    /// More of the value of a trailer field.
    TrailerValue,
    /// The LF behind a trailer field.
    TrailerEnd,
    /// The last LF.
    LastEnd,
    /// Nothing; the body is complete.
    Nothing,
}

impl Chunks {
    /// Decodes more bytes, up to the end of the body at most. Returns how many.
    ///
    /// # Errors
    /// 400 when they are malformed, 413 when they are too many.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, ApiError> {
        let mut at = 0;
        while at < bytes.len() && self.next != Next::Nothing {
            if let Next::Data(left) = self.next {
                let count = left.min(bytes.len() - at);
                self.body.extend_from_slice(&bytes[at..at + count]);
                self.next = if count == left { Next::DataCr } else { Next::Data(left - count) };
                at += count;
            } else {
                self.next = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Takes the body when it is complete.
    pub fn whole(&mut self) -> Option<Vec<u8>> {
        (self.next == Next::Nothing).then(|| mem::take(&mut self.body))
    }

    /// The state after a byte that is not of the body.
    fn step(&mut self, byte: u8) -> Result<Next, ApiError> {
        match (self.next, byte) {
            (Next::Size, _) => self.size(0, 0, byte),
            (Next::MoreSize(size, digits), _) if byte.is_ascii_hexdigit() => self.size(size, digits, byte),
            (Next::MoreSize(size, _) | Next::Extension(size), b'\r') => Ok(Next::SizeEnd(size)),
            (Next::MoreSize(size, _) | Next::Semicolon(size), b';') => self.extra(Next::Extension(size)),
            (Next::MoreSize(size, _) | Next::Semicolon(size), b' ' | b'\t') => {
                self.extra(Next::Semicolon(size))
            }
            (Next::Extension(size), _) if is_text(byte) => self.extra(Next::Extension(size)),
            (Next::SizeEnd(0), b'\n') => Ok(Next::Trailer),
            (Next::SizeEnd(size), b'\n') => Ok(Next::Data(size)),
            (Next::DataCr, b'\r') => Ok(Next::DataEnd),
            (Next::DataEnd, b'\n') => Ok(Next::Size),
            (Next::Trailer, b'\r') => Ok(Next::LastEnd),
            (Next::Trailer | Next::TrailerName, _) if is_of_name(byte) => self.extra(Next::TrailerName),
            (Next::TrailerName, b':') => self.extra(Next::TrailerValue),
            (Next::TrailerValue, b'\r') => self.extra(Next::TrailerEnd),
            (Next::TrailerValue, _) if is_text(byte) => self.extra(Next::TrailerValue),
            (Next::TrailerEnd, b'\n') => self.extra(Next::Trailer),
            (Next::LastEnd, b'\n') => Ok(Next::Nothing),
            _ => Err(ApiError::bad_request("the chunks of the body are malformed")),
        }
    }

    /// The state after one more digit of a size.
    fn size(&mut self, size: usize, digits: usize, digit: u8) -> Result<Next, ApiError> {
        let Some(value) = char::from(digit).to_digit(16) else {
            return Err(ApiError::bad_request("the chunks of the body are malformed"));
        };
        // The value so far is at most BODY, so this does not overflow.
        let size = size * 16 + value as usize;
        if self.body.len() + size > BODY {
            return Err(too_long());
        }
        let next = Next::MoreSize(size, digits + 1);
        if digits < DIGITS { Ok(next) } else { self.extra(next) }
    }

    /// Counts a byte of overhead.
    fn extra(&mut self, next: Next) -> Result<Next, ApiError> {
        self.extras += 1;
        match self.extras <= CHUNK_EXTRAS {
            true => Ok(next),
            false => {
                let message = format!("the chunks of the body have more than {CHUNK_EXTRAS} bytes of extras");
                Err(ApiError::new(413, message))
            }
        }
    }
}

/// Whether a byte may stand in an extension or in the value of a field: no control character but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// Whether a byte may stand in the name of a field (RFC 9110, 5.6.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes of these pieces: the body and the bytes it took.
    fn taken<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let (mut chunks, mut count) = (Chunks::default(), 0);
        for piece in pieces {
            let took = chunks.take(piece).map_err(|error| error.status)?;
            count += took;
            if let Some(body) = chunks.whole() {
                return Ok(Some((body, count)));
            }
            assert_eq!(took, piece.len(), "what is not the end is all taken");
        }
        Ok(None)
    }

    fn refused(bytes: impl AsRef<[u8]>) -> u16 {
        let whole = taken([bytes.as_ref()]).unwrap_err();
        let one_by_one = taken(bytes.as_ref().chunks(1)).unwrap_err();
        assert_eq!(whole, one_by_one, "{}", bytes.as_ref().escape_ascii());
        whole
    }

    const BODIES: [(&str, &str); 9] = [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("2\r\n{}\r\n0\r\n\r\n", "{}"),
        ("1\r\n{\r\n00000000000000000001\r\n}\r\n0\r\n\r\n", "{}"),
        ("a\r\n0\r\n\r\nGET /\r\nB;a\r\n0123456789a\r\n0\r\n\r\n", "0\r\n\r\nGET /0123456789a"),
        ("2;a=b;c=\"d;e\\\"\"\r\n{}\r\n0;x\r\n\r\n", "{}"),
        ("2 \t; a = b\r\n{}\r\n0\t;\r\n\r\n", "{}"),
        ("2\r\n{}\r\n0\r\nA-b: c\r\nDigest:\r\nX: \u{e9}\t \r\n\r\n", "{}"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
    ];

    #[test]
    fn a_body_is_the_same_however_its_bytes_are_split() {
        for (bytes, body) in BODIES {
            let rest = format!("{bytes}GET / HTTP/1.1\r\n");
            let expected = Ok(Some((body.as_bytes().to_vec(), bytes.len())));
            for first in 0..=rest.len() {
                for second in first..=rest.len() {
                    let all = rest.as_bytes();
                    let pieces = [&all[..first], &all[first..second], &all[second..]];
                    assert_eq!(taken(pieces), expected, "{bytes:?} {first} {second}");
                }
            }
            assert_eq!(taken(rest.as_bytes().chunks(1)), expected, "{bytes:?}");
            for length in 0..bytes.len() {
                assert_eq!(taken([&bytes.as_bytes()[..length]]), Ok(None), "{bytes:?} {length}");
            }
        }
    }

    #[test]
    fn what_another_could_read_otherwise_is_refused() {
        for bytes in [
            "\r\n0\r\n\r\n",
            " 0\r\n\r\n",
            ";a\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1_0\r\n",
            "2\n{}\r\n0\r\n\r\n",
            "2\r{}",
            "2 \r\n{}",
            "2 3\r\n{}",
            "2;a\n{}\r\n0\r\n\r\n",
            "2;a\rb\r\n{}",
            "2;a\0\r\n{}",
            "2;a\u{b}\r\n{}",
            "2\r\n{}\n0\r\n\r\n",
            "2\r\n{}0\r\n\r\n",
            "2\r\n{}x\r\n",
            "2\r\n{}\r0",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\nX\r\n\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: y\rz\r\n\r\n",
            "0\r\nX: y\r\n z\r\n\r\n",
            "0\r\nX: y\0\r\n\r\n",
            "0\r\n\u{e9}: y\r\n\r\n",
        ] {
            assert_eq!(refused(bytes), 400, "{bytes:?}");
        }
    }

    #[test]
    fn no_more_is_taken_than_a_body_may_have() {
        let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "a".repeat(size));
        let longest = [chunk(1), chunk(BODY - 1), "0\r\n\r\n".into()].concat();
        assert_eq!(taken([longest.as_bytes()]).unwrap().map(|(body, _)| body.len()), Some(BODY));
        let each = chunk(1).repeat(BODY) + "0\r\n\r\n";
        assert_eq!(taken([each.as_bytes()]).unwrap().map(|(body, _)| body.len()), Some(BODY));
        for size in ["10001", "ffffffff", "ffffffffffffffff", "10000000000000000", &"f".repeat(100)] {
            assert_eq!(refused(size), 413, "{size}");
        }
        assert_eq!(refused([&chunk(BODY), "1"].concat()), 413);
    }

    #[test]
    fn what_nobody_needs_has_a_limit_of_its_own() {
        let most = CHUNK_EXTRAS;
        for (before, after) in [("0;", "\r\n\r\n"), ("0\r\nX:", "\r\n\r\n")] {
            // The name, colon and line end of a field count; so does the semicolon.
            let spent = if before.ends_with(';') { 1 } else { 4 };
            let with = |count: usize| [before, &"x".repeat(count), after].concat();
            assert!(taken([with(most - spent).as_bytes()]).unwrap().is_some(), "{before}");
            assert_eq!(refused(with(most - spent + 1)), 413, "{before}");
        }
        assert!(
            taken([["0".repeat(DIGITS + most).as_str(), "\r\n\r\n"].concat().as_bytes()]).unwrap().is_some()
        );
        assert_eq!(refused("0".repeat(DIGITS + most + 1)), 413);
        // It is one for all of them.
        assert_eq!(refused("1;x\r\na\r\n".repeat(most / 2 + 1)), 413);
    }

    proptest! {
        #[test]
        fn any_body_in_any_chunks_comes_out_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            split in 1_usize..20,
        ) {
            let mut bytes = Vec::new();
            for piece in &pieces {
                bytes.extend(format!("{:X}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"));
            }
            bytes.extend(b"0\r\n\r\n");
            prop_assert_eq!(taken(bytes.chunks(split)), Ok(Some((pieces.concat(), bytes.len()))));
        }

        #[test]
        fn no_bytes_panic_and_none_mean_another_thing_when_they_are_split(
            bytes in prop::collection::vec(prop::sample::select(&b"0012aF;= \t\r\r\r\n\n\nx:\x00\xe9"[..]), 0..60),
            split in 1_usize..8,
        ) {
            prop_assert_eq!(taken([&bytes[..]]), taken(bytes.chunks(split)));
        }
    }
}
