//! Header fields and responses.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io;
use std::iter;

use serde_json::json;

use super::error::ApiError;

/// Header fields, with their names as received.
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

    /// The value of a header field that occurs once; `None` when it is missing or occurs twice.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value.as_str())
    }
}

/// A response body.
#[derive(Debug)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// Parts that are sent one after the other, file contents by sendfile(2).
    Parts(Parts),
}

/// A body of several parts.
pub struct Parts {
    /// The length of all parts together in bytes: the response's `Content-Length`.
    pub length: u64,
    /// The parts in order, each made when its turn comes. An error cuts the response off and ends the connection.
    pub parts: Box<dyn Iterator<Item = io::Result<Part>> + Send>,
    /// Dropped when the response has been sent or given up; a permit, for example.
    pub guard: Option<Box<dyn Send>>,
}

/// One part of a body.
#[derive(Debug)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A range of a file.
    File(FilePart),
}

impl Parts {
    /// A body that is one range of a file.
    pub fn of_file(part: FilePart) -> Self {
        let length = part.length;
        Self { length, parts: Box::new(iter::once(Ok(Part::File(part)))), guard: None }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A range of a file.
#[derive(Debug)]
pub struct FilePart {
    /// The file.
    pub file: File,
    /// The offset of the first byte.
    pub start: u64,
    /// How many bytes.
    pub length: u64,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its header fields, without those that the gate adds: Content-Length, Date and Connection.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// Its body.
    pub body: Body,
}

impl Response {
    /// A response of one JSON value and a line end.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        Self::json_of_length(status, value, 128)
    }

    /// As [`Response::json`], with the expected length of the body in bytes.
    pub fn json_of_length(status: u16, value: &impl serde::Serialize, length: usize) -> Self {
        let mut bytes = Vec::with_capacity(length);
        // Cannot fail for our types: no map has keys other than strings.
        if serde_json::to_writer(&mut bytes, value).is_err() {
            bytes = b"{}".to_vec();
        }
        bytes.push(b'\n');
        Self::of_json_text(status, bytes)
    }

    /// A response of JSON text, which includes its line end.
    pub fn of_json_text(status: u16, text: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".into(), "application/json".to_owned())];
        Self { status, headers, body: Body::Bytes(text) }
    }

    /// Adds a header field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Self {
        let mut response = Self::json(error.status, &json!({ "error": error.message }));
        response.headers.extend(error.headers.into_iter().map(|(name, value)| (name.into(), value)));
        response
    }
}
