//! Conditional requests (RFC 9110, 13).

use crate::gate::date;
use crate::gate::{ApiError, Headers};
use crate::store::catalog::{Manifest, Opened};

/// The current version of a backup.
#[derive(Debug)]
pub struct Version {
    /// A strong ETag: the checksum, or else inode, size and time of modification. A directory has none.
    pub tag: Option<String>,
    /// When it was last changed, in Unix seconds.
    pub modified: i64,
}

impl Version {
    /// The version of an opened backup.
    pub fn of(opened: &Opened, manifest: Option<&Manifest>) -> Self {
        let status = &opened.status;
        let sum = manifest.filter(|manifest| manifest.size == status.st_size.cast_unsigned());
        let tag = match sum {
            _ if opened.is_directory() => None,
            Some(manifest) => Some(format!("\"{}\"", manifest.sha256)),
            None => {
                let (inode, size) = (status.st_ino, status.st_size);
                Some(format!("\"{inode:x}-{size:x}-{:x}.{:x}\"", status.st_mtime, status.st_mtime_nsec))
            }
        };
        Self { tag, modified: status.st_mtime }
    }

    /// Whether [`Version::check`] has something to check.
    pub fn is_asked_for(headers: &Headers) -> bool {
        ["If-Match", "If-Unmodified-Since"].iter().any(|name| headers.all(name).next().is_some())
    }

    /// Checks If-Match, or else If-Unmodified-Since (13.2.2). An invalid date is ignored (13.1.4).
    ///
    /// # Errors
    /// 412 when the client means another version.
    pub fn check(&self, headers: &Headers) -> Result<(), ApiError> {
        let mut tags = headers.all("If-Match").flat_map(|tags| tags.split(',')).map(str::trim).peekable();
        let is_meant = match tags.peek() {
            Some(_) => tags.any(|other| other == "*" || Some(other) == self.tag.as_deref()),
            None => {
                let since = headers.get("If-Unmodified-Since").and_then(date::parse);
                since.is_none_or(|since| self.modified <= since)
            }
        };
        match is_meant {
            true => Ok(()),
            false => Err(ApiError::new(
                412,
                "the backup is not the version that If-Match or If-Unmodified-Since asks for",
            )),
        }
    }

    /// Whether the client's copy is current: If-None-Match, or else If-Modified-Since (13.2.2).
    pub fn is_unchanged(&self, headers: &Headers) -> bool {
        let mut tags =
            headers.all("If-None-Match").flat_map(|tags| tags.split(',')).map(str::trim).peekable();
        match tags.peek() {
            Some(_) => {
                tags.any(|other| other == "*" || Some(other.trim_start_matches("W/")) == self.tag.as_deref())
            }
            None => {
                let since = headers.get("If-Modified-Since").and_then(date::parse);
                since.is_some_and(|since| self.modified <= since)
            }
        }
    }

    /// Whether If-Range allows a partial response (13.1.5: a strong tag, or the same date). Several fields never do.
    pub fn has_range(&self, headers: &Headers) -> bool {
        let mut conditions = headers.all("If-Range");
        match (conditions.next(), conditions.next()) {
            (None, _) => true,
            (Some(condition), None) => {
                Some(condition.trim()) == self.tag.as_deref() || date::parse(condition) == Some(self.modified)
            }
            (Some(_), Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_meant(version: &Version, fields: &[(&str, &str)]) -> bool {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        version.check(&Headers(fields.iter().map(own).collect())).is_ok()
    }

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn another_version_than_the_one_that_is_meant_is_refused() {
        let version = Version { tag: Some("\"a\"".into()), modified: 784_111_777 };
        for fields in [
            &[][..],
            &[("If-Match", "\"a\"")],
            &[("If-Match", "*")],
            &[("If-Match", "\"b\", \"a\"")],
            &[("If-Match", "\"b\""), ("if-match", "\"a\"")],
            &[("If-Match", "\"a\""), ("If-Unmodified-Since", BEFORE)],
            &[("If-Unmodified-Since", DATE)],
            &[("If-Unmodified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")],
            &[("If-Unmodified-Since", "soon")],
        ] {
            assert!(is_meant(&version, fields), "{fields:?}");
        }
        for fields in [
            &[("If-Match", "\"b\"")][..],
            &[("If-Match", "W/\"a\"")],
            &[("If-Match", "a")],
            &[("If-Match", "")],
            &[("If-Match", "\"b\""), ("If-Unmodified-Since", DATE)],
            &[("If-Unmodified-Since", BEFORE)],
            &[("If-Unmodified-Since", "Sunday, 06-Nov-94 08:49:36 GMT")],
            &[("If-Unmodified-Since", "Sun Nov  6 08:49:36 1994")],
        ] {
            assert!(!is_meant(&version, fields), "{fields:?}");
        }
    }

    #[test]
    fn a_directory_has_no_tag_that_could_be_meant() {
        let version = Version { tag: None, modified: 784_111_777 };
        assert!(
            is_meant(&version, &[("If-Match", "*")]) && is_meant(&version, &[("If-Unmodified-Since", DATE)])
        );
        assert!(!is_meant(&version, &[("If-Match", "\"a\"")]));
        assert!(!version.is_unchanged(&Headers(vec![("If-None-Match".into(), "\"a\"".into())])));
    }
}
