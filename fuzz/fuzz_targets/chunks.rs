//! A body in chunks: what is taken is what a plain reading of the lines finds, however its bytes are split.

#![no_main]

use backupgram::gate::Chunks;
use backupgram::gate::limits::{BODY, CHUNK_EXTRAS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = take(bytes.len().max(1), bytes);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(take(size, bytes), whole, "in pieces of {size}");
    }
    match whole {
        Ok(Some((body, length))) => {
            assert!(body.len() <= BODY && length <= bytes.len());
            assert_eq!(by_the_book(&bytes[..length]).as_deref(), Some(&body[..]));
        }
        Ok(None) => assert_eq!(by_the_book(bytes), None, "what is whole is waited for"),
        Err(status) => assert!([400, 413].contains(&status), "{status}"),
    }
});

/// The body and how far it goes, `None` as long as some of it is missing, or the status of the answer to it.
fn take(size: usize, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, u16> {
    let (mut chunks, mut length) = (Chunks::default(), 0);
    for piece in bytes.chunks(size) {
        length += chunks.take(piece).map_err(|error| error.status)?;
        if let Some(body) = chunks.whole() {
            return Ok(Some((body, length)));
        }
    }
    Ok(None)
}

/// RFC 9112, 7.1.3, line by line; `None` for what breaks off or is not of that form.
fn by_the_book(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(&mut bytes)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let zeros = line[..digits].iter().take_while(|byte| **byte == b'0').count();
        assert!(zeros <= CHUNK_EXTRAS + 8);
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let rest = line[digits..].trim_ascii_start();
        if !(rest.is_empty() && line.len() == digits || rest.starts_with(b";")) {
            return None;
        }
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
    while !line(&mut bytes)?.is_empty() {}
    bytes.is_empty().then_some(body)
}

fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    Some(line)
}
