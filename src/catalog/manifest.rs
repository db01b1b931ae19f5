//! The hidden file beside a backup that says what it is.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::name::DatabaseName;

/// How a backup is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SQL text.
    Plain,
    /// SQL text, compressed by gzip.
    Gzip,
    /// SQL text, compressed by zstd.
    Zstd,
}

/// Facts about one backup, written when it was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// SHA-256 of the file, in lower-case hexadecimal.
    #[serde(deserialize_with = "checksum")]
    pub sha256: String,
    /// The file's length in bytes.
    pub size: u64,
    /// The database that was dumped.
    pub database: DatabaseName,
    /// How it is stored.
    pub format: Format,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The server's version.
    pub server_version: String,
    /// The version of the program that made the dump.
    pub tool_version: String,
    /// When the dump began, in Unix seconds.
    pub created_at: i64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
}

/// A manifest lies where others may write, and its checksum becomes a header field of an answer.
fn checksum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match digits && text.len() == 64 {
        true => Ok(text),
        false => Err(D::Error::custom("sha256 must be 64 hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_is_none_makes_no_manifest() {
        let manifest = |sha256: &str| {
            let mut json = serde_json::json!({
                "size": 5, "database": "app", "format": "gzip", "encrypted": false, "server_version": "17.2",
                "tool_version": "17.2", "created_at": 1_776_349_800, "duration_seconds": 1.5,
            });
            json["sha256"] = sha256.into();
            serde_json::from_value::<Manifest>(json)
        };
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(manifest(&good).unwrap().sha256, good);
        for bad in ["", "x\r\nSet-Cookie: a=b", &good[1..], &good.to_uppercase(), &format!("{good}0")] {
            assert!(manifest(bad).is_err(), "{bad:?}");
        }
    }
}
