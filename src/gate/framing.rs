//! Where the body of a request ends: by its length, or by chunks. Pure; nothing here does I/O.

use super::error::ApiError;
use super::limits::BODY;
use super::message::Headers;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A body of this many bytes; 0 for none.
    Length(usize),
    /// A chunked body.
    Chunked,
}

impl Framing {
    /// Reads it from the header fields of a request of HTTP/1.1 or 1.0 (RFC 9112, 6).
    ///
    /// # Errors
    /// 400 when it is ambiguous, 413 when too long, 501 when not supported.
    pub fn of(headers: &Headers, is_1_1: bool) -> Result<Self, ApiError> {
        let mut codings = members(headers, "Transfer-Encoding").peekable();
        match codings.peek() {
            None => length(headers).map(Self::Length),
            Some(_) if !is_1_1 => {
                Err(ApiError::bad_request("a request of HTTP/1.0 cannot have a Transfer-Encoding"))
            }
            // A proxy in front may have used the other one.
            Some(_) if headers.all("Content-Length").next().is_some() => {
                Err(ApiError::bad_request("the request has both a Transfer-Encoding and a Content-Length"))
            }
            Some(_) => chunked(codings),
        }
    }
}

/// Accepts `chunked` as the only coding. RFC 9112, 6.3: it must come last, or the length is unknown; 7: it comes once.
fn chunked<'a>(codings: impl Iterator<Item = &'a str>) -> Result<Framing, ApiError> {
    let is_chunked: Vec<bool> = codings.map(|coding| coding.eq_ignore_ascii_case("chunked")).collect();
    match is_chunked[..] {
        [true] => Ok(Framing::Chunked),
        [.., true] if is_chunked.iter().filter(|is| **is).count() == 1 => {
            Err(ApiError::new(501, "the only supported transfer coding is chunked"))
        }
        _ => Err(ApiError::bad_request("Transfer-Encoding must end with chunked, exactly once")),
    }
}

/// Reads Content-Length, which must be there at most once.
fn length(headers: &Headers) -> Result<usize, ApiError> {
    let mut values = headers.all("Content-Length");
    let Some(value) = values.next() else { return Ok(0) };
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if values.next().is_some() || !digits {
        return Err(ApiError::bad_request("Content-Length must be given once, as a number"));
    }
    // A number that does not fit is too long as well.
    match value.parse() {
        Ok(length) if length <= BODY => Ok(length),
        _ => Err(too_long()),
    }
}

/// The answer to a body that is too long.
pub fn too_long() -> ApiError {
    ApiError::new(413, format!("the body is longer than {BODY} bytes"))
}

/// The members of a list field, which may be split over several fields (RFC 9110, 5.3).
pub fn members<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.all(name).flat_map(|value| value.split(',')).map(|member| member.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(fields: &[(&str, &str)]) -> Result<Framing, u16> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Framing::of(&Headers(fields.iter().map(own).collect()), true).map_err(|error| error.status)
    }

    #[test]
    fn lengths_that_two_servers_could_read_differently_are_refused() {
        for value in ["3, 3", "1,1", "+5", "-5", "0x5", "", "5 5", "5\u{e9}"] {
            assert_eq!(framing(&[("Content-Length", value)]), Err(400), "{value:?}");
        }
        for other in ["3", "4"] {
            assert_eq!(framing(&[("Content-Length", "3"), ("Content-Length", other)]), Err(400));
        }
        for length in ["65537", "1000000000000000", "9223372036854775808", "18446744073709551616"] {
            assert_eq!(framing(&[("Content-Length", length)]), Err(413), "{length}");
        }
        assert_eq!(framing(&[("Content-Length", "65536")]), Ok(Framing::Length(65_536)));
        assert_eq!(framing(&[]), Ok(Framing::Length(0)));
    }

    #[test]
    fn chunked_is_the_one_coding_and_ends_the_list() {
        for value in ["chunked", "Chunked", " chunked\t"] {
            assert_eq!(framing(&[("Transfer-Encoding", value)]), Ok(Framing::Chunked), "{value:?}");
        }
        for value in ["gzip, chunked", "identity,chunked", "chunked;q=1, chunked", ", chunked"] {
            assert_eq!(framing(&[("Transfer-Encoding", value)]), Err(501), "{value:?}");
        }
        for value in [
            "",
            "identity",
            "gzip",
            "chunked, identity",
            "chunked, chunked",
            "gzip, chunked, chunked",
            "chunked,",
            "chunked;q=1",
            "\"chunked\"",
            "xchunked",
            "chunked\u{b}",
            "chunked chunked",
        ] {
            assert_eq!(framing(&[("Transfer-Encoding", value)]), Err(400), "{value:?}");
        }
        let two = |first, second| framing(&[("Transfer-Encoding", first), ("transfer-encoding", second)]);
        assert_eq!(
            [two("gzip", "chunked"), two("chunked", "x"), two("chunked", "chunked")],
            [Err(501), Err(400), Err(400)]
        );
    }

    #[test]
    fn a_coding_goes_with_no_length_and_no_older_version() {
        for coding in ["chunked", "identity", "gzip, chunked", ""] {
            for length in ["0", "3", "x", ""] {
                let fields = [("Content-Length", length), ("Transfer-Encoding", coding)];
                assert_eq!(framing(&fields), Err(400), "{coding} {length}");
            }
            let headers = Headers(vec![("Transfer-Encoding".into(), coding.into())]);
            assert_eq!(Framing::of(&headers, false).unwrap_err().status, 400, "{coding}");
        }
    }
}
