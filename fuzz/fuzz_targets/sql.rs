//! What is watched in the text of a dump as it goes by, however it is cut. The first byte is how.

#![no_main]

use backupgram::formats::sql::{Trailer, makes_database};
use libfuzzer_sys::fuzz_target;

const COMPLETE: &str = "\n--\n-- PostgreSQL database dump complete\n--\n";

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, text)) = bytes.split_first() else { return };
    let cut = usize::from(*cut) + 1;
    let complete = is_complete(text, cut);
    assert_eq!(complete, is_complete(text, text.len().max(1)), "the end, cut every {cut} bytes");
    assert_eq!(complete, ends_as_a_dump_ends(text));
    assert_eq!(makes_database(text), makes_and_connects(text));

    // A dump around it changes nothing about the one and decides the other.
    let dump = [b"--\n-- PostgreSQL database dump\n--\n\n", text, COMPLETE.as_bytes()].concat();
    assert!(is_complete(&dump, cut));
    assert!(!is_complete(&[&dump, &b"x"[..]].concat(), cut));
});

fn is_complete(text: &[u8], cut: usize) -> bool {
    let mut trailer = Trailer::default();
    text.chunks(cut).for_each(|chunk| trailer.take(chunk));
    trailer.is_complete()
}

/// A line after the first that makes a database, and one after that which connects.
fn makes_and_connects(text: &[u8]) -> bool {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').skip(1).collect();
    let makes = lines.iter().position(|line| line.starts_with(b"CREATE DATABASE "));
    makes.is_some_and(|at| lines[at + 1..].iter().any(|line| line.starts_with(b"\\connect ")))
}

/// The trailer, and after it nothing but empty lines and `\unrestrict`; all in the last 512 bytes.
fn ends_as_a_dump_ends(text: &[u8]) -> bool {
    let end = &text[text.len().saturating_sub(512)..];
    let Some(at) = end.windows(COMPLETE.len()).rposition(|window| window == COMPLETE.as_bytes()) else {
        return false;
    };
    let lines = end[at + COMPLETE.len()..].split(|byte| *byte == b'\n');
    lines.into_iter().all(|line| line.is_empty() || line.starts_with(b"\\unrestrict "))
}
