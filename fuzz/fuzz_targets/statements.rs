//! The statements of a dump, found and edited as they go by, however it is cut. The first byte is how.

#![no_main]

use std::io::Read;

use backupgram::formats::sql::{Edge, Edit, Edited, HEAD, Mentions, Scanner, quoted_for_psql, removes, tokens};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, text)) = bytes.split_first() else { return };
    let cut = usize::from(*cut) % 40 + 1;
    assert_eq!(edges(text, cut), edges(text, text.len().max(1)), "cut every {cut} bytes");
    let (mut statements, mut kept) = (Vec::new(), Vec::new());
    let keep = |head: &[u8]| {
        assert!(!head.is_empty());
        assert!(
            head.len() <= HEAD || head.to_ascii_lowercase().starts_with(b"create"),
            "only routines are longer"
        );
        check_tokens(head);
        let _ = (Mentions::of(head), removes(head));
        statements.push(head.to_vec());
        Ok(Edit::Keep)
    };
    if Edited::new(text, keep).read_to_end(&mut kept).is_err() {
        return;
    }
    if statements.iter().all(|statement| quoted_for_psql(statement).is_none()) {
        assert_eq!(kept, text, "what is kept is as it was");
    }
    let (mut at, mut rest) = (0, Vec::new());
    let drop = |head: &[u8]| {
        assert_eq!(head, statements[at], "the same statements");
        at += 1;
        Ok(Edit::Drop)
    };
    Edited::new(text, drop).read_to_end(&mut rest).expect("it could be read before");
    // What is left is space and comments, in which there is no statement.
    let none = |head: &[u8]| panic!("a statement is left: {}", String::from_utf8_lossy(head));
    let _ = Edited::new(&rest[..], none).read_to_end(&mut Vec::new());
});

fn edges(text: &[u8], cut: usize) -> Vec<(usize, Edge)> {
    let (mut scanner, mut edges, mut at) = (Scanner::default(), Vec::new(), 0);
    for mut chunk in text.chunks(cut) {
        while let (length, Some(edge)) = scanner.scan(chunk) {
            at += length;
            chunk = &chunk[length..];
            edges.push((at, edge));
            if edge == Edge::Strange {
                return edges;
            }
        }
        at += chunk.len();
    }
    edges
}

/// They come one after the other, and none is empty.
fn check_tokens(text: &[u8]) {
    let mut end = 0;
    for token in tokens(text) {
        assert!(token.at.start >= end && token.at.end > token.at.start && token.at.end <= text.len());
        end = token.at.end;
    }
}
