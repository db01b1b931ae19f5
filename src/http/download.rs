//! A backup file as an answer: whole, in part, or not at all because the client has it already.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::date;
use super::error::ApiError;
use super::message::{Body, FilePart, Files, Request, Response};
use super::range::Wanted;
use super::version::Version;
use crate::store::catalog::{Archive, Opened};

/// What may stand in an extended parameter without being encoded (RFC 8187, 3.2.1).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Answers a request for an opened backup, to be saved as `name`.
///
/// # Errors
/// 416 when the range lies behind the file's end.
pub fn answer(
    request: &Request,
    opened: Opened,
    version: &Version,
    name: &str,
) -> Result<Response, ApiError> {
    let size = opened.status.st_size.cast_unsigned();
    let tag = version.tag.iter().map(|tag| ("ETag".into(), tag.clone()));
    let shared: Vec<_> = tag.chain([("Last-Modified".into(), date::format(version.modified))]).collect();
    if version.is_unchanged(&request.headers) {
        return Ok(Response { status: 304, headers: shared, body: Body::Bytes(Vec::new()) });
    }
    let wanted = match request.headers.get("Range") {
        Some(range) if version.has_range(&request.headers) => Wanted::parse(range, size),
        _ => Wanted::Whole,
    };
    let (status, start, length) = match wanted {
        Wanted::Whole => (200, 0, size),
        Wanted::Part { start, length } => (206, start, length),
        Wanted::Unsatisfiable => {
            let error =
                ApiError::new(416, format!("the range starts after the end of the backup of {size} bytes"));
            return Err(error.with_header("Content-Range", format!("bytes */{size}")));
        }
    };
    let mut headers = shared;
    headers.push(("Content-Type".into(), "application/octet-stream".into()));
    headers.push(("Content-Disposition".into(), disposition(name)));
    headers.push(("Accept-Ranges".into(), "bytes".into()));
    if status == 206 {
        headers.push(("Content-Range".into(), format!("bytes {start}-{}/{size}", start + length - 1)));
    }
    Ok(Response {
        status,
        headers,
        body: Body::Files(Files::Part(FilePart { file: opened.file, start, length }), None),
    })
}

/// Answers a request for an opened dump in directory format with a tar archive of it.
///
/// # Errors
/// When the directory cannot be read.
pub fn answer_archive(opened: Opened, name: &str) -> Result<Response, ApiError> {
    let modified = opened.status.st_mtime;
    let archive =
        Archive::of(opened, name).map_err(|error| ApiError::internal("the dump cannot be read", error))?;
    let headers = vec![
        ("Last-Modified".into(), date::format(modified)),
        ("Content-Type".into(), "application/octet-stream".into()),
        ("Content-Disposition".into(), disposition(&format!("{name}.tar"))),
    ];
    Ok(Response { status: 200, headers, body: Body::Files(Files::Archive(archive), None) })
}

/// The name to save the file by, in both of the forms of RFC 6266.
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\%".contains(c) || c == ' ' { c } else { '_' })
        .collect();
    match plain == name {
        true => format!("attachment; filename=\"{name}\""),
        false => {
            format!(
                "attachment; filename=\"{plain}\"; filename*=UTF-8''{}",
                utf8_percent_encode(name, ENCODED)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn a_name_that_is_not_plain_comes_in_both_forms() {
        assert_eq!(disposition("app-1.sql.gz"), "attachment; filename=\"app-1.sql.gz\"");
        assert_eq!(
            disposition("caf\u{e9}\"%2F.sql"),
            "attachment; filename=\"caf___2F.sql\"; filename*=UTF-8''caf%C3%A9%22%252F.sql"
        );
    }
}
