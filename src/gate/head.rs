//! Parses the head of a request. Pure; nothing here does I/O.
//!
//! Whatever two parsers could read differently is rejected, so that no request can be smuggled.

use memchr::memmem;

use super::error::ApiError;
use super::framing::{Framing, members};
use super::limits::{FIELDS, HEAD, REQUEST_LINE};
use super::message::Headers;

/// The fields that decide where a request ends, whose it is and whether the connection goes on.
const FRAMING: [&str; 5] = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect"];

/// A checked head.
#[derive(Debug)]
pub struct Head {
    /// The method, as it came.
    pub method: String,
    /// The request target; of one in absolute form the path and query.
    pub target: String,
    /// The header fields.
    pub headers: Headers,
    /// Where the body that follows ends.
    pub framing: Framing,
    /// Whether the client waits for 100 Continue before it sends the body.
    pub expects_continue: bool,
    /// Whether the connection may go on after the answer.
    pub keep_alive: bool,
}

/// The result of looking for a head.
#[derive(Debug)]
pub enum Found {
    /// No whole head yet.
    Part,
    /// A head of this many bytes.
    Whole(Box<Head>, usize),
}

impl Head {
    /// Looks for a head at the beginning of `bytes`.
    ///
    /// # Errors
    /// The response when it is too long, malformed, ambiguous or not supported.
    pub fn find(bytes: &[u8]) -> Result<Found, ApiError> {
        let seen = &bytes[..bytes.len().min(HEAD)];
        let end = memmem::find(seen, b"\r\n\r\n").map(|at| at + 4);
        check_bytes(&seen[..end.unwrap_or(seen.len())])?;
        check_request_line(seen)?;
        match end {
            Some(end) => Self::parse(&bytes[..end]).map(|head| Found::Whole(Box::new(head), end)),
            None if bytes.len() >= HEAD => {
                Err(ApiError::new(431, format!("the request head is longer than {HEAD} bytes")))
            }
            None => Ok(Found::Part),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(ApiError::bad_request("the request head is incomplete"));
            }
            Err(httparse::Error::TooManyHeaders) => {
                return Err(ApiError::new(431, format!("the request has more than {FIELDS} header fields")));
            }
            Err(httparse::Error::Version) => {
                return Err(ApiError::new(505, "only HTTP/1.0 and HTTP/1.1 are supported"));
            }
            Err(error) => return Err(ApiError::bad_request(format!("this is not an HTTP request: {error}"))),
        }
        let target = request.path.unwrap_or_default();
        if !target.is_ascii() {
            return Err(ApiError::bad_request("the request target is not ASCII"));
        }
        let target =
            path_of(target).ok_or_else(|| ApiError::bad_request("the request target is not a path"))?;
        check_framing(request.headers)?;
        let method = request.method.unwrap_or_default().to_owned();
        // What is not UTF-8 is replaced, not left out: it must not hide a length or a coding.
        let text = |header: &mut httparse::Header| {
            (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
        };
        let headers = Headers(request.headers.iter_mut().map(text).collect());
        let is_1_1 = request.version == Some(1);
        check_host(&headers, is_1_1)?;
        let framing = Framing::of(&headers, is_1_1)?;
        // RFC 9110, 10.1.1: ignored in HTTP/1.0.
        let expects_continue = is_1_1 && expects_continue(&headers)?;
        if expects_continue && framing == Framing::Length(0) && headers.all("Content-Length").next().is_none()
        {
            return Err(ApiError::new(411, "a body needs a Content-Length, or chunks"));
        }
        let keep_alive =
            is_1_1 && !members(&headers, "Connection").any(|option| option.eq_ignore_ascii_case("close"));
        Ok(Self { method, target, headers, framing, expects_continue, keep_alive })
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }
}

/// Rejects NUL, line ends other than CR LF, and continued lines (obs-fold).
fn check_bytes(head: &[u8]) -> Result<(), ApiError> {
    let refuse = |what: &str| Err(ApiError::bad_request(format!("the request head has {what} in it")));
    for at in memchr::memchr3_iter(0, b'\r', b'\n', head) {
        let next = head.get(at + 1);
        match head[at] {
            0 => return refuse("a NUL"),
            b'\r' if next.is_some_and(|next| *next != b'\n') => return refuse("a bare CR"),
            b'\n' if at == 0 || head[at - 1] != b'\r' => return refuse("a bare LF"),
            b'\n' if next.is_some_and(|next| matches!(next, b' ' | b'\t')) => {
                return refuse("a continued line");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the length of the request line, even before all of it has arrived, and then that it has three parts: HTTP/0.9
/// has no version, and sends nothing after it.
fn check_request_line(seen: &[u8]) -> Result<(), ApiError> {
    let line = request_line(seen);
    let end = memchr::memchr(b'\n', line);
    // Its CR is there before its LF.
    if end.unwrap_or(line.len()) > REQUEST_LINE + 1 {
        return Err(ApiError::new(414, format!("the request line is longer than {REQUEST_LINE} bytes")));
    }
    match end {
        Some(end) if memchr::memchr_iter(b' ', &line[..end]).count() < 2 => {
            Err(ApiError::bad_request("the request line is not a method, a target and a version"))
        }
        _ => Ok(()),
    }
}

/// What begins with the request line. An empty line before it does not count (RFC 9112, 2.2).
fn request_line(seen: &[u8]) -> &[u8] {
    seen.strip_prefix(b"\r\n").unwrap_or(seen)
}

/// Whether these bytes begin a HEAD request, valid or not: the response has no body.
pub fn is_head(seen: &[u8]) -> bool {
    request_line(seen).starts_with(b"HEAD ")
}

/// Rejects fields of [`FRAMING`] that are not ASCII: another parser could ignore them.
fn check_framing(fields: &[httparse::Header]) -> Result<(), ApiError> {
    let frames = |name: &str| FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name));
    match fields.iter().find(|field| !field.value.is_ascii() && frames(field.name)) {
        Some(field) => Err(ApiError::bad_request(format!("the field {} is not ASCII", field.name))),
        None => Ok(()),
    }
}

/// RFC 9112, 3.2: at most one Host, and in HTTP/1.1 exactly one.
fn check_host(headers: &Headers, is_1_1: bool) -> Result<(), ApiError> {
    match headers.all("Host").count() {
        1 => Ok(()),
        0 if !is_1_1 => Ok(()),
        _ => Err(ApiError::bad_request("the request needs one Host field")),
    }
}

fn expects_continue(headers: &Headers) -> Result<bool, ApiError> {
    let mut expectations = members(headers, "Expect").peekable();
    let is_there = expectations.peek().is_some();
    match expectations.all(|expectation| expectation.eq_ignore_ascii_case("100-continue")) {
        true => Ok(is_there),
        false => Err(ApiError::new(417, "the only expectation that can be met is 100-continue")),
    }
}

/// RFC 9112, 3.2: the origin form and the asterisk as they are; of the absolute form, which a server must accept, what
/// follows the authority. CONNECT is not supported.
fn path_of(target: &str) -> Option<String> {
    if target == "*" || target.starts_with('/') {
        return Some(target.to_owned());
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match &rest[end..] {
        path if path.starts_with('/') => Some(path.to_owned()),
        // The path may be left out before a query.
        query => Some(format!("/{query}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Head {
        match Head::find(text.as_bytes()) {
            Ok(Found::Whole(head, length)) if length == text.len() => *head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[track_caller]
    fn refused(text: impl AsRef<[u8]>) -> u16 {
        match Head::find(text.as_ref()) {
            Err(error) => error.status,
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(text.as_ref())),
        }
    }

    fn with(fields: &str) -> String {
        format!("POST /backup HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn an_ordinary_head_is_taken_apart() {
        let head = head("GET /backups?slot=last HTTP/1.1\r\nHost: a:1\r\nX-Y:  z \r\n\r\n");
        assert_eq!(
            (head.method.as_str(), head.target.as_str(), head.path()),
            ("GET", "/backups?slot=last", "/backups")
        );
        assert_eq!(head.headers.get("x-y").map(str::trim), Some("z"));
        assert_eq!((head.framing, head.expects_continue, head.keep_alive), (Framing::Length(0), false, true));
    }

    #[test]
    fn an_empty_line_before_the_request_is_ignored() {
        // RFC 9112, 2.2.
        assert_eq!(head("\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n").target, "/a");
    }

    #[test]
    fn a_head_that_has_not_all_come_is_waited_for() {
        let text = with("Content-Length: 3\r\n");
        for length in 0..text.len() {
            assert!(matches!(Head::find(&text.as_bytes()[..length]), Ok(Found::Part)), "{length}");
        }
        let pipelined = format!("{text}abcGET");
        assert!(
            matches!(Head::find(pipelined.as_bytes()), Ok(Found::Whole(_, length)) if length == text.len())
        );
    }

    #[test]
    fn the_head_says_where_its_body_ends() {
        assert_eq!(head(&with("Content-Length: 65536\r\n")).framing, Framing::Length(65_536));
        assert_eq!(head(&with("Transfer-Encoding: \tchunked\r\n")).framing, Framing::Chunked);
        for (fields, status) in [
            ("Content-Length: 3\r\nContent-Length: 3\r\n", 400),
            ("Content-Length: 65537\r\n", 413),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
            ("Transfer-Encoding: \u{b}chunked\r\n", 400),
        ] {
            assert_eq!(refused(with(fields)), status, "{fields:?}");
        }
        assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert!(head(&with("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")).expects_continue);
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET /\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            " / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(refused(text), 400, "{text:?}");
        }
        assert_eq!(refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400);
        assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        for fields in [
            "Expect: 200-maybe\r\n",
            "Expect: \r\n",
            "Expect: 100-continue\r\nExpect: 200-maybe\r\n",
            "Expect: 100-continue, 200-maybe\r\n",
        ] {
            assert_eq!(refused(with(fields)), 417, "{fields:?}");
        }
        assert!(
            head(&with("Expect: 100-Continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"))
                .expects_continue
        );
        assert_eq!(refused(with("Expect: 100-continue\r\n")), 411);
        assert!(!head("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue);
    }

    #[test]
    fn a_request_line_without_a_version_is_refused_at_its_end() {
        for line in ["GET /healthz\r\n", "\r\nGET /healthz\r\n", "GET\r\n", "\r\n\r\n"] {
            assert_eq!(refused(line), 400, "{line:?}");
            let part = &line.as_bytes()[..line.len() - 1];
            assert!(matches!(Head::find(part), Ok(Found::Part)), "{line:?}");
        }
    }

    #[test]
    fn a_head_is_told_from_whatever_else_begins_like_it() {
        for (bytes, is) in
            [("HEAD / HTTP/1.0", true), ("\r\nHEAD \0", true), ("HEAD", false), ("HEADS /", false)]
        {
            assert_eq!(is_head(bytes.as_bytes()), is, "{bytes:?}");
        }
    }

    #[test]
    fn what_does_not_end_is_refused_as_soon_as_it_is_too_long() {
        assert_eq!(refused("GET /".to_owned() + &"a".repeat(REQUEST_LINE)), 414);
        assert_eq!(refused("GET / HTTP/1.1\r\nX: ".to_owned() + &"a".repeat(HEAD)), 431);
        assert_eq!(refused(with(&"X: y\r\n".repeat(FIELDS))), 431);
        assert_eq!(refused(with(&"X: y\r\n".repeat(HEAD))), 431);
        head(&with(&"X: y\r\n".repeat(FIELDS - 1)));
    }

    #[test]
    fn the_connection_goes_on_unless_either_side_says_otherwise() {
        assert!(head(&with("")).keep_alive);
        assert!(!head(&with("Connection: x, Close\r\n")).keep_alive);
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
    }

    #[test]
    fn the_absolute_form_and_the_asterisk_are_taken() {
        assert_eq!(head("GET HTTP://h:1/a?b HTTP/1.1\r\nHost: a\r\n\r\n").target, "/a?b");
        assert_eq!(head("GET http://h HTTP/1.1\r\nHost: a\r\n\r\n").target, "/");
        assert_eq!(head("GET http://h?a=/b HTTP/1.1\r\nHost: a\r\n\r\n").target, "/?a=/b");
        assert_eq!(head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
    }

    #[test]
    fn a_query_right_after_the_authority_is_no_part_of_it() {
        assert_eq!(head("GET http://h?x=/status HTTP/1.1\r\nHost: a\r\n\r\n").target, "/?x=/status");
        assert_eq!(head("GET http://h#/status HTTP/1.1\r\nHost: a\r\n\r\n").target, "/#/status");
    }

    #[test]
    fn a_target_that_is_no_path_is_refused() {
        for target in ["status", "h:80", "ftp://h/x", "file:/x", "**", "?x"] {
            assert_eq!(refused(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), 400, "{target}");
        }
    }

    #[test]
    fn a_field_that_frames_the_request_is_not_passed_over_for_not_being_ascii() {
        for field in
            ["Content-Length: 5", "Transfer-Encoding: chunked", "Host: b", "connection: close", "Expect: x"]
        {
            let bytes = [b"POST / HTTP/1.1\r\nHost: a\r\n", field.as_bytes(), b"\xff\r\n\r\n"].concat();
            assert_eq!(refused(bytes), 400, "{field}");
        }
        let other = [with("").trim_end().as_bytes(), b"\r\nX-Y: \xff\r\n\r\n"].concat();
        assert!(matches!(Head::find(&other), Ok(Found::Whole(..))));
    }

    #[test]
    fn the_limit_of_the_request_line_is_the_same_however_it_comes() {
        let line = |length: usize| format!("GET /{} HTTP/1.1", "a".repeat(length - "GET / HTTP/1.1".len()));
        for before in ["", "\r\n"] {
            let long = format!("{before}{}\r\nHost: a\r\n\r\n", line(REQUEST_LINE + 1));
            assert_eq!(refused(&long), 414);
            let longest = format!("{before}{}\r\nHost: a\r\n\r\n", line(REQUEST_LINE));
            for length in [REQUEST_LINE, REQUEST_LINE + 1, REQUEST_LINE + 2, longest.len() - 1] {
                assert!(matches!(Head::find(&longest.as_bytes()[..length]), Ok(Found::Part)), "{length}");
            }
            head(&longest);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_whole_head_ends_with_an_empty_line(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(Found::Whole(_, length)) = Head::find(&bytes) {
                prop_assert!(bytes[..length].ends_with(b"\r\n\r\n"));
            }
        }
    }
}
