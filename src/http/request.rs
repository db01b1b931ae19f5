//! A request as handlers see it: method, decoded target, header fields and body.

use percent_encoding::percent_decode_str;

use crate::gate::{ApiError, Headers};

/// A request's method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// Any other.
    Other,
}

impl Method {
    /// Parses a method.
    pub fn named(name: &str) -> Self {
        let known = [Self::Get, Self::Head, Self::Post, Self::Patch, Self::Delete];
        known.into_iter().find(|method| method.name() == name).unwrap_or(Self::Other)
    }

    /// The method's name; "" for any other.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other => "",
        }
    }
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: Target,
    /// Its header fields.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// A decoded request target.
#[derive(Debug)]
pub struct Target {
    /// The segments of the path, each percent-decoded once.
    pub path: Vec<String>,
    /// The parameters of the query in order, decoded.
    pub query: Vec<(String, String)>,
}

impl Target {
    /// Splits and decodes a target.
    ///
    /// # Errors
    /// 400 when it is not percent-encoded UTF-8.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        // One slash only: an empty segment counts, so that `//status` is not `/status`.
        let path = path.strip_prefix('/').unwrap_or(path);
        let segments: Result<Vec<_>, _> = path.split('/').map(decode).collect();
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        });
        Ok(Self { path: segments?, query: parameters.collect::<Result<_, ApiError>>()? })
    }
}

impl Request {
    /// The value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.target.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Result<String, ApiError> {
    let after_percent = text.split('%').skip(1);
    let valid = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !after_percent.into_iter().all(valid) {
        return Err(ApiError::bad_request("the path or query is not percent-encoded right"));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| ApiError::bad_request("the path or query is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_split_before_they_are_decoded_and_decoded_once() {
        let Target { path, query } = Target::parse("/backups/last/a%2Fb%2541?x=1+2&y=%26&z").unwrap();
        assert_eq!(path, ["backups", "last", "a/b%41"]);
        let expected = [("x", "1 2"), ("y", "&"), ("z", "")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(query, expected);
    }

    #[test]
    fn an_empty_segment_is_a_segment() {
        assert_eq!(Target::parse("//status").unwrap().path, ["", "status"]);
        assert_eq!(Target::parse("/status/").unwrap().path, ["status", ""]);
    }

    #[test]
    fn what_is_not_encoded_right_is_refused() {
        for target in ["/%", "/%4", "/%zz", "/%ff", "/?%ff=1"] {
            assert_eq!(Target::parse(target).unwrap_err().status, 400, "{target}");
        }
    }
}
