//! Requests and answers as handlers see them, whatever carries them.

use std::borrow::Cow;
use std::fs::File;

use percent_encoding::percent_decode_str;

use super::error::ApiError;
use super::permits::Permit;
use crate::store::catalog::Archive;

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
    /// The method that is written so.
    pub fn named(name: &str) -> Self {
        let known = [Self::Get, Self::Head, Self::Post, Self::Patch, Self::Delete];
        known.into_iter().find(|method| method.name() == name).unwrap_or(Self::Other)
    }

    /// The method as it is written; "" for any other.
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
    /// What it asks for.
    pub target: Target,
    /// Its header fields.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// Header fields, names as they came.
#[derive(Debug)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The values of a header field.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of a header field that comes once; `None` when it is missing or comes twice.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value.as_str())
    }
}

/// A request target, taken apart.
#[derive(Debug)]
pub struct Target {
    /// The segments of the path, each decoded once.
    pub path: Vec<String>,
    /// The parameters of the query, decoded, in order.
    pub query: Vec<(String, String)>,
}

impl Target {
    /// Takes the text of a target apart.
    ///
    /// # Errors
    /// 400 when it is not percent-encoded UTF-8.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        // One slash only: an empty segment is a segment, and no other spelling of a path that we know.
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

/// An answer's body.
#[derive(Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What is sent from files, without passing through here.
    Files(Files, Option<Permit>),
}

/// Where the bytes of a download are.
#[derive(Debug)]
pub enum Files {
    /// In a part of a file.
    Part(FilePart),
    /// In the files of a directory.
    Archive(Archive),
}

impl Files {
    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        match self {
            Self::Part(part) => part.length,
            Self::Archive(archive) => archive.length,
        }
    }
}

/// A part of a file.
#[derive(Debug)]
pub struct FilePart {
    /// The file.
    pub file: File,
    /// The first byte.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its header fields, without those that the connection adds.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// Its body.
    pub body: Body,
}

impl Response {
    /// An answer of one JSON value and a line end.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        Self::json_of_length(status, value, 128)
    }

    /// An answer of one JSON value that is about so many bytes long.
    pub fn json_of_length(status: u16, value: &impl serde::Serialize, length: usize) -> Self {
        let mut bytes = Vec::with_capacity(length);
        // The values are ours: no map with keys that are not strings, nothing that fails to serialise.
        if serde_json::to_writer(&mut bytes, value).is_err() {
            bytes = b"{}".to_vec();
        }
        bytes.push(b'\n');
        Self::of_json_text(status, bytes)
    }

    /// An answer of JSON that is written already, its line end too.
    pub fn of_json_text(status: u16, text: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".into(), "application/json".to_owned())];
        Self { status, headers, body: Body::Bytes(text) }
    }

    /// The answer with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
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
