//! Parses `-Z` and `--compress` in every spelling that pg_dump accepts (its `compression.c`), for our own compression.

use super::error::OptionError;
use crate::formats::compress::Compression;

/// Levels that pg_dump uses by default.
const DEFAULT_GZIP: u32 = 6;
const DEFAULT_ZSTD: i32 = 3;

/// Range of zstd levels. Levels above 19 need more memory than we allow.
const LOWEST_ZSTD: i32 = -131_072;
const HIGHEST_ZSTD: i32 = 22;
const HIGHEST_DONE: i32 = 19;

/// Remarks on requests that are not carried out exactly. Each completes a sentence that starts with the variable.
const NO_WORKERS: &str = "asks for zstd workers, which are not supported: the option is ignored";
const NO_LONG_WINDOW: &str =
    "asks for a long zstd window, which takes too much memory: the option is ignored";
const NO_HIGHER_LEVEL: &str = "asks for a zstd level that takes too much memory: level 19 is used";

/// Compression of text other than the SQL of a plain dump.
pub(super) const DEFAULT: Compression = Compression::Gzip(DEFAULT_GZIP);

/// The detail after the name of a method.
#[derive(Default)]
struct Detail {
    level: Option<i32>,
    has_workers: bool,
    is_long: bool,
}

/// Parses a gzip level, a method, or `METHOD:DETAIL`. Also returns remarks on what is not carried out exactly.
///
/// # Errors
/// When pg_dump would reject it, or the method is not supported.
pub(super) fn parse(value: &str) -> Result<(Compression, Vec<&'static str>), OptionError> {
    let unknown = || OptionError::Compression(value.to_owned());
    let (method, detail) = match value.split_once(':') {
        Some((method, detail)) => (method, Some(detail)),
        None if value.parse::<i32>().is_ok() => ("gzip", Some(value)),
        None => (value, None),
    };
    let detail = detail.map_or(Some(Detail::default()), Detail::parse).ok_or_else(unknown)?;
    let is_level_only = !detail.has_workers && !detail.is_long;
    let compression = match (method.to_ascii_lowercase().as_str(), detail.level) {
        ("lz4", _) => return Err(OptionError::Lz4),
        ("none", None | Some(0)) | ("gzip", Some(0)) if is_level_only => Compression::None,
        ("gzip", None | Some(-1)) if is_level_only => DEFAULT,
        ("gzip", Some(level @ 1..=9)) if is_level_only => Compression::Gzip(level.cast_unsigned()),
        ("zstd", None | Some(0)) => Compression::Zstd(DEFAULT_ZSTD),
        ("zstd", Some(level @ LOWEST_ZSTD..=HIGHEST_ZSTD)) => Compression::Zstd(level.min(HIGHEST_DONE)),
        _ => return Err(unknown()),
    };
    let remarks = [
        (detail.has_workers, NO_WORKERS),
        (detail.is_long, NO_LONG_WINDOW),
        (detail.level.is_some_and(|level| level > HIGHEST_DONE), NO_HIGHER_LEVEL),
    ];
    let remarks = remarks.into_iter().filter(|(applies, _)| *applies).map(|(_, remark)| remark);
    Ok((compression, remarks.collect()))
}

impl Detail {
    /// Parses a level, or `KEYWORD` and `KEYWORD=VALUE` separated by commas.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(level) = text.parse() {
            return Some(Self { level: Some(level), ..Self::default() });
        }
        let mut detail = Self::default();
        for word in text.split(',') {
            match word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value))) {
                ("level", Some(level)) => detail.level = Some(level.parse().ok()?),
                ("workers", Some(workers)) => detail.has_workers = workers.parse::<i32>().ok()? != 0,
                ("long", value) => detail.is_long = is_true(value.unwrap_or("on"))?,
                _ => return None,
            }
        }
        Some(detail)
    }
}

fn is_true(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "on" | "1" => Some(true),
        "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pg_dump_takes_is_taken_and_what_is_not_done_to_the_letter_is_said() {
        for (value, compression, remarks) in [
            ("none:0", Compression::None, &[][..]),
            ("gzip:-1", Compression::Gzip(6), &[]),
            ("gzip:level=3", Compression::Gzip(3), &[]),
            ("zstd:0", Compression::Zstd(3), &[]),
            ("zstd:-5", Compression::Zstd(-5), &[]),
            ("zstd:19", Compression::Zstd(19), &[]),
            ("zstd:22", Compression::Zstd(19), &[NO_HIGHER_LEVEL]),
            ("zstd:long", Compression::Zstd(3), &[NO_LONG_WINDOW]),
            ("zstd:level=3,long=off", Compression::Zstd(3), &[]),
            ("zstd:long=YES,level=4", Compression::Zstd(4), &[NO_LONG_WINDOW]),
            ("ZSTD:level=3,workers=2", Compression::Zstd(3), &[NO_WORKERS]),
            ("zstd:workers=0", Compression::Zstd(3), &[]),
            (
                "zstd:level=20,workers=2,long",
                Compression::Zstd(19),
                &[NO_WORKERS, NO_LONG_WINDOW, NO_HIGHER_LEVEL],
            ),
        ] {
            assert_eq!(parse(value), Ok((compression, remarks.to_vec())), "{value}");
        }
    }

    #[test]
    fn what_pg_dump_refuses_is_refused() {
        for value in [
            "",
            ":",
            "10",
            "-2",
            "none:1",
            "none:long",
            "gzip:",
            "gzip:10",
            "gzip:long",
            "gzip:level=3,workers=2",
            "zstd:",
            "zstd:23",
            "zstd:-131073",
            "zstd:level",
            "zstd:level=3,",
            "zstd:workers",
            "zstd:long=perhaps",
            "zstd:3,long",
            "zstd:fast",
            "brotli",
        ] {
            assert_eq!(parse(value), Err(OptionError::Compression(value.to_owned())), "{value}");
        }
        assert_eq!(parse("lz4:1"), Err(OptionError::Lz4));
    }
}
