//! The head of a request: what the gate takes, a plain reading of the same lines takes in the same way.

#![no_main]

use backupgram::gate::limits::{BODY, FIELDS, HEAD, REQUEST_LINE};
use backupgram::gate::{Found, Framing, Head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (head, length) = match Head::find(bytes) {
        Ok(Found::Whole(head, length)) => (*head, length),
        Ok(Found::Part) => return waits_only_within_limits(bytes),
        Err(error) => return assert!((400..600).contains(&error.status), "{}", error.status),
    };
    assert!(length <= HEAD && bytes[..length].ends_with(b"\r\n\r\n"));
    is_what_the_lines_say(&head, &bytes[..length]);
    does_not_depend_on_how_it_comes(&head, bytes, length);
});

fn waits_only_within_limits(bytes: &[u8]) {
    assert!(bytes.len() < HEAD, "more is waited for than a head may have");
    assert!(!bytes.windows(4).any(|four| four == b"\r\n\r\n"), "a head that is there is waited for");
}

/// Nothing about a body, a host or the connection may be in the lines that is not in the head.
fn is_what_the_lines_say(head: &Head, bytes: &[u8]) {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    assert!(rest.is_empty() && lines.pop() == Some(b""));
    let lines: Vec<&[u8]> = lines.into_iter().skip_while(|line| line.is_empty()).collect();
    let (request_line, fields) = lines.split_first().expect("a request line");

    assert!(request_line.len() <= REQUEST_LINE, "a request line of {} bytes", request_line.len());
    let words: Vec<&[u8]> = request_line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { panic!("{} words", words.len()) };
    assert_eq!(head.method.as_bytes(), method);
    assert!(!method.is_empty() && method.iter().all(u8::is_ascii_graphic));
    assert!(version == b"HTTP/1.1" || (version == b"HTTP/1.0" && !head.keep_alive));
    assert_eq!(head.target, path_and_query(std::str::from_utf8(target).expect("an ASCII target")));
    assert!(head.target.starts_with('/') || head.target == "*", "{:?} is no path", head.target);
    assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(head.target.starts_with(head.path()) && !head.path().contains('?'));

    assert!(fields.len() <= FIELDS);
    let values = |wanted: &str| -> Vec<String> {
        let named = fields.iter().filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').expect("a colon in a field");
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic), "{name:?} is no name");
            name.eq_ignore_ascii_case(wanted.as_bytes())
                .then(|| String::from_utf8_lossy(value).trim_matches([' ', '\t']).to_owned())
        });
        named.collect()
    };
    let (codings, lengths) = (values("Transfer-Encoding"), values("Content-Length"));
    match (&codings[..], &lengths[..], head.framing) {
        ([], [], Framing::Length(0)) => {}
        ([], [value], Framing::Length(length)) => {
            assert_eq!(value.trim_start_matches('0'), strip_zero(length), "{value:?}");
            assert!(length <= BODY);
        }
        ([coding], [], Framing::Chunked) => {
            assert!(coding.eq_ignore_ascii_case("chunked") && version == b"HTTP/1.1", "{coding:?}");
        }
        other => panic!("{other:?} went by"),
    }
    let hosts = values("Host").len();
    assert!(hosts == 1 || (hosts == 0 && version == b"HTTP/1.0"), "{hosts} hosts went by");
    assert!(!head.expects_continue || !(lengths.is_empty() && codings.is_empty()));
    let closes = values("Connection").iter().any(|value| {
        value.split(',').any(|option| option.trim_matches([' ', '\t']).eq_ignore_ascii_case("close"))
    });
    assert!(!(closes && head.keep_alive), "a connection goes on that was to be closed");
    for (name, value) in &head.headers.0 {
        assert!(!format!("{name}{value}").contains(['\r', '\n', '\0']));
    }
}

fn strip_zero(number: usize) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// RFC 9112, 3.2: the origin form as it is; of the absolute form what follows the authority.
fn path_and_query(target: &str) -> String {
    let (scheme, rest) = target.split_once("://").unwrap_or(("", ""));
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return target.to_owned();
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match &rest[end..] {
        path if path.starts_with('/') => path.to_owned(),
        other => format!("/{other}"),
    }
}

/// A head that comes in pieces is waited for and then the same; what follows it is not looked at.
fn does_not_depend_on_how_it_comes(head: &Head, bytes: &[u8], length: usize) {
    let first = length.min(64);
    let cuts =
        (0..first).chain((1..32).map(|part| length * part / 32)).chain(length.saturating_sub(8)..length);
    for cut in cuts {
        match Head::find(&bytes[..cut]) {
            Ok(Found::Part) => {}
            other => panic!("the first {cut} of {length} bytes: {other:?}"),
        }
    }
    let followed = [&bytes[..length], b"\0\n GET"].concat();
    for again in [&bytes[..length], &followed] {
        match Head::find(again) {
            Ok(Found::Whole(same, end)) => {
                assert_eq!((format!("{same:?}"), end), (format!("{head:?}"), length));
            }
            other => panic!("read again: {other:?}"),
        }
    }
}
