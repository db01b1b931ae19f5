//! `POSTGRES_EXTRA_OPTS`: which options pg_dump gets, and how we compress what it prints.

use std::fmt;

use crate::compress::Compression;
use crate::settings::split_words;

/// The options of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpOptions {
    /// How the dump is compressed, by us and not by pg_dump.
    pub compression: Compression,
    /// What is left for pg_dump.
    pub rest: Vec<String>,
}

/// An option that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionError {
    /// The words cannot be told apart.
    Words(String),
    /// It would change what pg_dump writes to, or whom it talks to.
    Refused(String),
    /// It would make a dump that names the database to restore into.
    Create,
    /// It needs a value.
    NoValue(String),
    /// The level or method of compression is not one.
    Compression(String),
    /// A format that this version does not write.
    Format(String),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(problem) => f.write_str(problem),
            Self::Refused(option) => {
                write!(f, "must not contain {option}: file, server and login have settings of their own")
            }
            Self::Create => f.write_str("must not contain --create: a restore makes the database by itself"),
            Self::NoValue(option) => write!(f, "has no value for {option}"),
            Self::Compression(value) => write!(f, "has no compression {value}: use -Z0 to -Z9 or gzip:LEVEL"),
            Self::Format(format) => write!(f, "asks for format {format}; this version writes plain SQL only"),
        }
    }
}

impl std::error::Error for OptionError {}

/// pg_dump's options with a value, by letter and word; `REFUSED` first. An option's value may be the next
/// word, so those that have one must be known to tell values from options.
const REFUSED: [(char, &str); 5] =
    [('f', "file"), ('d', "dbname"), ('h', "host"), ('p', "port"), ('U', "username")];
const REFUSED_FLAGS: [(char, &str); 2] = [('w', "no-password"), ('W', "password")];
const WITH_VALUE: [char; 10] = ['e', 'E', 'j', 'n', 'N', 'S', 't', 'T', 'F', 'Z'];
const LONG_WITH_VALUE: [&str; 23] = [
    "extension",
    "encoding",
    "jobs",
    "schema",
    "exclude-schema",
    "superuser",
    "table",
    "exclude-table",
    "exclude-table-data",
    "table-and-children",
    "exclude-table-and-children",
    "exclude-table-data-and-children",
    "exclude-extension",
    "extra-float-digits",
    "filter",
    "include-foreign-data",
    "lock-wait-timeout",
    "restrict-key",
    "role",
    "rows-per-insert",
    "section",
    "snapshot",
    "sync-method",
];

impl DumpOptions {
    /// Splits the text as a shell would and takes it apart.
    ///
    /// # Errors
    /// When a quote is not closed, an option would change where pg_dump writes or whom it talks to, or
    /// asks for what this version cannot do.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let mut options = Self { compression: Compression::None, rest: Vec::new() };
        let mut words = split_words(text).map_err(OptionError::Words)?.into_iter();
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(long) => options.take_long(&word, long, &mut words)?,
                None => options.take_short(&word, &mut words)?,
            }
        }
        options.make_clean_restorable();
        Ok(options)
    }

    /// Refuses options that make pg_dump read a file, whose contents it would show in its errors.
    ///
    /// # Errors
    /// When there is one.
    pub fn check_reads_no_file(text: &str) -> Result<(), OptionError> {
        let reads = |word: &&String| word.strip_prefix("--").is_some_and(|long| long.starts_with("fi"));
        match Self::parse(text)?.rest.iter().find(reads) {
            Some(word) => Err(OptionError::Refused(word.clone())),
            None => Ok(()),
        }
    }

    /// A restore goes into an empty database, where an unconditional DROP fails.
    fn make_clean_restorable(&mut self) {
        let has = |full: &str| self.rest.iter().any(|word| word.len() > 3 && full.starts_with(word.as_str()));
        let cleans = self.rest.iter().any(|word| word == "-c") || has("--clean");
        if cleans && !has("--if-exists") {
            self.rest.push("--if-exists".into());
        }
    }

    fn take_long(
        &mut self,
        word: &str,
        long: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), OptionError> {
        let (name, value) =
            long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
        let mut value_or_next =
            || value.clone().or_else(|| words.next()).ok_or(OptionError::NoValue(format!("--{name}")));
        // getopt takes any unambiguous beginning of a long option, so a beginning is judged like the whole.
        let begins = |full: &str| !name.is_empty() && full.starts_with(name);
        let refused = REFUSED.iter().chain(&REFUSED_FLAGS).any(|(_, full)| begins(full));
        if name.is_empty() || refused {
            return Err(OptionError::Refused(word.to_owned()));
        }
        if name.len() > 1 && begins("create") {
            return Err(OptionError::Create);
        }
        if name.len() > 1 && begins("compress") {
            self.compression = parse_compression(&value_or_next()?)?;
        } else if name.len() > 1 && begins("format") {
            check_format(&value_or_next()?)?;
        } else if LONG_WITH_VALUE.iter().any(|full| begins(full)) && value.is_none() {
            let value = value_or_next()?;
            self.rest.extend([word.to_owned(), value]);
        } else {
            self.rest.push(word.to_owned());
        }
        Ok(())
    }

    fn take_short(
        &mut self,
        word: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), OptionError> {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            // pg_dump would take it for the name of a database.
            return Err(OptionError::Refused(word.to_owned()));
        };
        for (at, letter) in letters.char_indices() {
            if letter == '-' {
                // By itself it would be `--`, and our own options after it no options any more.
                return Err(OptionError::Refused(word.to_owned()));
            }
            if REFUSED.iter().chain(&REFUSED_FLAGS).any(|(short, _)| *short == letter) {
                return Err(OptionError::Refused(format!("-{letter}")));
            }
            if letter == 'C' {
                return Err(OptionError::Create);
            }
            if !WITH_VALUE.contains(&letter) {
                self.rest.push(format!("-{letter}"));
                continue;
            }
            let attached = &letters[at + letter.len_utf8()..];
            let value = match attached {
                "" => words.next().ok_or(OptionError::NoValue(format!("-{letter}")))?,
                attached => attached.to_owned(),
            };
            match letter {
                'Z' => self.compression = parse_compression(&value)?,
                'F' => check_format(&value)?,
                _ => self.rest.extend([format!("-{letter}"), value]),
            }
            return Ok(());
        }
        Ok(())
    }
}

fn parse_compression(value: &str) -> Result<Compression, OptionError> {
    let unknown = || OptionError::Compression(value.to_owned());
    let (method, level) = match value.split_once(':') {
        Some((method, level)) => (method, Some(level.strip_prefix("level=").unwrap_or(level))),
        None if value.bytes().all(|byte| byte.is_ascii_digit()) => ("gzip", Some(value)),
        None => (value, None),
    };
    let level = level.map(|level| level.parse::<u32>().map_err(|_| unknown())).transpose()?;
    match (method, level) {
        ("none", None) | ("gzip", Some(0)) => Ok(Compression::None),
        ("gzip", None) => Ok(Compression::Gzip(6)),
        ("gzip", Some(level @ 1..=9)) => Ok(Compression::Gzip(level)),
        _ => Err(unknown()),
    }
}

fn check_format(value: &str) -> Result<(), OptionError> {
    match value.to_ascii_lowercase().as_str() {
        "p" | "plain" => Ok(()),
        _ => Err(OptionError::Format(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(text: &str) -> Vec<String> {
        DumpOptions::parse(text).unwrap().rest
    }

    #[test]
    fn compression_is_ours_in_every_spelling() {
        for (text, compression) in [
            ("", Compression::None),
            ("-Z0", Compression::None),
            ("-Z1", Compression::Gzip(1)),
            ("-Z 9", Compression::Gzip(9)),
            ("-Zgzip:3", Compression::Gzip(3)),
            ("-Z gzip", Compression::Gzip(6)),
            ("--compress=5", Compression::Gzip(5)),
            ("--compress gzip:level=2", Compression::Gzip(2)),
            ("--compress=none", Compression::None),
            ("-vZ4", Compression::Gzip(4)),
            ("-Z1 -Z2", Compression::Gzip(2)),
        ] {
            assert_eq!(DumpOptions::parse(text).unwrap().compression, compression, "{text}");
        }
        for text in ["-Z10", "-Zlz4", "--compress=gzip:x", "-Z"] {
            assert!(DumpOptions::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_options_and_their_values_reach_pg_dump_as_they_were() {
        assert_eq!(rest("--no-owner -x -Fp --format plain"), ["--no-owner", "-x"]);
        assert_eq!(
            rest("--exclude-table 'my table' --schema=a -n b"),
            ["--exclude-table", "my table", "--schema=a", "-n", "b"]
        );
        assert_eq!(rest("--schema-only -Tlogs"), ["--schema-only", "-T", "logs"]);
        assert_eq!(rest("--table --file"), ["--table", "--file"]);
        assert_eq!(rest("--filter=x"), ["--filter=x"]);
    }

    #[test]
    fn what_would_change_where_or_to_whom_pg_dump_talks_is_refused() {
        for text in [
            "-f /x",
            "-f/x",
            "--file=/x",
            "--file /x",
            "--fil=/x",
            "-d x",
            "--dbname=x",
            "--dbn x",
            "-h x",
            "--host x",
            "-p 1",
            "--port=1",
            "-U x",
            "--username=x",
            "-w",
            "-W",
            "--no-password",
            "--password",
            "-vf/x",
            "x",
            "--",
            "-",
            "-v-",
            "-v-x",
        ] {
            assert!(matches!(DumpOptions::parse(text), Err(OptionError::Refused(_))), "{text}");
        }
    }

    #[test]
    fn a_dump_that_could_not_be_restored_into_a_scratch_database_is_not_made() {
        for text in ["-C", "--create", "-vC", "--crea"] {
            assert_eq!(DumpOptions::parse(text), Err(OptionError::Create), "{text}");
        }
        assert_eq!(rest("--clean"), ["--clean", "--if-exists"]);
        assert_eq!(rest("--cle"), ["--cle", "--if-exists"]);
        assert_eq!(rest("-c --if-exists"), ["-c", "--if-exists"]);
    }

    #[test]
    fn a_format_that_cannot_be_written_is_an_error_and_not_ignored() {
        for text in ["-Fc", "-F d", "--format=tar", "--form=c"] {
            assert!(matches!(DumpOptions::parse(text), Err(OptionError::Format(_))), "{text}");
        }
    }
}
