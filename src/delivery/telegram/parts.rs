//! The document that lists the parts of a backup: `NAME.parts.json`.

use serde::{Deserialize, Serialize};

/// The end of its name.
pub const SUFFIX: &str = ".parts.json";
/// The version that we write, and the newest that we read.
const VERSION: u32 = 1;
/// The most bytes that are read of one.
pub const LONGEST: u64 = 8 << 20;

/// What a backup was cut into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartsManifest {
    /// Of this form.
    pub version: u32,
    /// The backup's name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its parts, in order.
    pub parts: Vec<SentPart>,
}

/// A part that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentPart {
    /// By what it is fetched, or sent again.
    pub file_id: String,
    /// Its message in the chat.
    pub message_id: i64,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256 in hexadecimal.
    pub sha256: String,
}

impl PartsManifest {
    /// A manifest of these parts.
    pub fn new(name: &str, size: u64, sha256: &str, parts: Vec<SentPart>) -> Self {
        Self { version: VERSION, name: name.to_owned(), size, sha256: sha256.to_owned(), parts }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let sum = manifest.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size));
        match manifest.version {
            VERSION if sum == Some(manifest.size) => Ok(manifest),
            VERSION => Err("the sizes of its parts do not add up to the whole".into()),
            version => Err(format!("it is of version {version}, which needs a newer backupgram")),
        }
    }
}

/// The offset and length of each part of `size` bytes.
pub fn cut(size: u64, part: u64) -> Vec<(u64, u64)> {
    (0..size.div_ceil(part)).map(|number| (number * part, part.min(size - number * part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        assert_eq!(cut(0, 10), []);
        assert_eq!(cut(1, 10), [(0, 1)]);
        assert_eq!(cut(10, 10), [(0, 10)]);
        assert_eq!(cut(21, 10), [(0, 10), (10, 10), (20, 1)]);
    }

    #[test]
    fn a_manifest_that_does_not_add_up_is_refused() {
        let part = SentPart { file_id: "f".into(), message_id: 1, size: 5, sha256: "0".into() };
        let manifest = PartsManifest::new("a", 5, "0", vec![part]);
        let text = |manifest: &PartsManifest| serde_json::to_vec(manifest).unwrap();
        assert_eq!(PartsManifest::parse(&text(&manifest)), Ok(manifest.clone()));
        assert!(PartsManifest::parse(&text(&PartsManifest { size: 6, ..manifest.clone() })).is_err());
        assert!(
            PartsManifest::parse(&text(&PartsManifest { version: 2, ..manifest }))
                .unwrap_err()
                .contains("newer")
        );
        assert!(PartsManifest::parse(b"{}").is_err());
    }
}
