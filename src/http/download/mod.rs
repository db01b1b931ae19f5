//! Responses with a backup: whole, a range, or 304.

pub mod range;
pub(super) mod version;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::gate::date;
use crate::gate::{ApiError, Body, FilePart, Part, Parts, Response};
use crate::http::request::Request;
use crate::store::catalog::{Archive, END, Opened};
use range::Wanted;
use version::Version;

/// What is percent-encoded in an extended parameter (RFC 8187, 3.2.1).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The response to a request for an opened backup file, to be saved as `name`.
///
/// # Errors
/// 416 when the range begins behind the end of the file.
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
        body: Body::Parts(Parts::of_file(FilePart { file: opened.file, start, length })),
    })
}

/// The response to a request for an opened dump in directory format: a tar archive of it.
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
    Ok(Response { status: 200, headers, body: Body::Parts(parts_of(archive)) })
}

/// The parts of a tar archive: for each file header, contents and padding. Each file is opened when its turn comes.
fn parts_of(archive: Archive) -> Parts {
    let length = archive.length;
    let parts = (0..=archive.members.len()).flat_map(move |at| match archive.members.get(at) {
        None => vec![Ok(Part::Bytes(END.to_vec()))],
        Some(member) => match archive.open(member) {
            Err(error) => vec![Err(error)],
            Ok(file) => {
                let contents = FilePart { file, start: 0, length: member.size };
                let padding = vec![0; usize::try_from(member.padding()).unwrap_or_default()];
                vec![
                    Ok(Part::Bytes(member.header.clone())),
                    Ok(Part::File(contents)),
                    Ok(Part::Bytes(padding)),
                ]
            }
        },
    });
    Parts { length, parts: Box::new(parts), guard: None }
}

/// Content-Disposition with the file name, in both forms of RFC 6266 if it is not plain ASCII.
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
