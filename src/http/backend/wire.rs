//! Heads of requests on their way through tiny_http: written by the gate's side, read by the pool's.

use std::fmt::Write as _;

use crate::gate::{ApiError, Head, Headers};
use crate::http::request::{Method, Request, Target};

/// The header field with the request's number. Nothing that a client sends gets into it.
const NUMBER: &str = "X-Request-Number";
/// The header fields that handlers read; the others are left out.
const FORWARDED: [&str; 6] =
    ["Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"];

/// The head as tiny_http gets it. HEAD becomes GET, as the gate leaves the body out; its ranges are to be ignored
/// (RFC 9110, 14.2).
pub fn encode(head: &Head, number: u64) -> String {
    let is_head = head.method == "HEAD";
    let method = if is_head { "GET" } else { &head.method };
    let mut text =
        format!("{method} {} HTTP/1.1\r\nConnection: close\r\n{NUMBER}: {number}\r\n", head.target);
    for name in FORWARDED.into_iter().filter(|name| !(is_head && name.ends_with("Range"))) {
        for value in head.headers.all(name) {
            // tiny_http takes ASCII only. Any other value matches nothing, but the field is there.
            let value = if value.is_ascii() { value } else { "?" };
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    text + "\r\n"
}

/// The number of a request.
pub fn number(incoming: &tiny_http::Request) -> Option<u64> {
    let field = incoming.headers().iter().find(|header| header.field.equiv(NUMBER))?;
    field.value.as_str().parse().ok()
}

/// The request as handlers get it.
///
/// # Errors
/// 400 when the target is not percent-encoded UTF-8.
pub fn decode(incoming: &tiny_http::Request, body: Vec<u8>) -> Result<Request, ApiError> {
    let fields = incoming.headers().iter();
    let headers = Headers(fields.map(|field| (field.field.to_string(), field.value.to_string())).collect());
    let method = Method::named(incoming.method().as_str());
    Ok(Request { method, target: Target::parse(incoming.url())?, headers, body })
}
