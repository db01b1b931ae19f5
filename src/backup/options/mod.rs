//! `POSTGRES_EXTRA_OPTS`: which options pg_dump gets, and how we compress what it prints.

mod compression;
mod grammar;

use std::fmt;

use crate::compress::Compression;
use crate::settings::split_words;
use grammar::{Grammar, OF_PG_DUMP, OF_PG_DUMPALL, REFUSED, REFUSED_FLAGS};

/// What pg_dump writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// SQL text, which we compress.
    Plain,
    /// An archive that pg_dump compresses by itself.
    Custom,
    /// An archive without compression.
    Tar,
    /// A directory with a file for each table.
    Directory,
}

/// The options of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpOptions {
    /// What pg_dump writes.
    pub format: DumpFormat,
    /// How plain text is compressed, by us and not by pg_dump.
    pub compression: Compression,
    /// What pg_dump is told of the compression of its archives, where that is asked for.
    pub archive_compression: Option<String>,
    /// How many tables are dumped at once into a directory, where that is asked for.
    pub jobs: Option<String>,
    /// What is left for pg_dump.
    pub rest: Vec<String>,
    /// What is not done to the letter, each as the rest of a sentence that begins with the variable's name.
    pub remarks: Vec<&'static str>,
}

/// An option that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionError {
    /// The words cannot be told apart.
    Words(String),
    /// It would change what pg_dump writes to, or whom it talks to. Its value is not told: it may be a secret.
    Refused(String),
    /// It would make a dump that names the database to restore into.
    Create,
    /// It needs a value.
    NoValue(String),
    /// The level or method of compression is not one.
    Compression(String),
    /// A method that pg_dump has for SQL and we have not.
    Lz4,
    /// A format that is none of pg_dump's.
    Format(String),
    /// Several jobs for something else than a directory.
    Jobs,
    /// A number of jobs that is none.
    JobCount(String),
    /// Compression of a tar archive.
    CompressedTar,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(problem) => f.write_str(problem),
            Self::Refused(option) => {
                write!(f, "must not contain {option}: output file, server and login have their own settings")
            }
            Self::Create => f.write_str("must not contain --create: a restore creates the database itself"),
            Self::NoValue(option) => write!(f, "has no value for {option}"),
            Self::Compression(value) => write!(
                f,
                "asks for unknown compression {value}: use -Z0 to -Z9, gzip:LEVEL with 1 to 9 or zstd:LEVEL \
                 with up to 19"
            ),
            Self::Lz4 => f.write_str(
                "asks for plain SQL compressed with lz4, which is not supported: use zstd, or -Fc with lz4",
            ),
            Self::Format(format) => {
                write!(f, "asks for unknown format {format}: use plain, custom, directory or tar")
            }
            Self::Jobs => {
                f.write_str("asks for several jobs, which only the directory format (-Fd) supports")
            }
            Self::JobCount(jobs) => write!(f, "asks for {jobs:?} jobs: use a whole number from 1"),
            Self::CompressedTar => {
                f.write_str("asks for a compressed tar archive, which pg_dump does not support")
            }
        }
    }
}

impl std::error::Error for OptionError {}

impl DumpOptions {
    /// Splits the text as a shell would and takes it apart.
    ///
    /// # Errors
    /// When a quote is not closed, an option would change where pg_dump writes or whom it talks to, or
    /// asks for what this version cannot do.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        Self::parse_as(text, &OF_PG_DUMP)
    }

    /// The same for pg_dumpall.
    ///
    /// # Errors
    /// As there.
    pub fn parse_for_server(text: &str) -> Result<Self, OptionError> {
        Self::parse_as(text, &OF_PG_DUMPALL)
    }

    fn parse_as(text: &str, grammar: &Grammar) -> Result<Self, OptionError> {
        let mut options = Self {
            format: DumpFormat::Plain,
            compression: Compression::None,
            archive_compression: None,
            jobs: None,
            rest: Vec::new(),
            remarks: Vec::new(),
        };
        let mut words = split_words(text).map_err(OptionError::Words)?.into_iter();
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(long) => options.take_long(grammar, &word, long, &mut words)?,
                None => options.take_short(grammar, &word, &mut words)?,
            }
        }
        options.settle_jobs()?;
        options.settle_compression()?;
        options.make_clean_restorable();
        Ok(options)
    }

    /// How many jobs there may be depends on the format, which may come after them.
    fn settle_jobs(&mut self) -> Result<(), OptionError> {
        let Some(jobs) = &self.jobs else { return Ok(()) };
        match (self.format, jobs.parse::<u16>()) {
            (_, Ok(0) | Err(_)) => Err(OptionError::JobCount(jobs.clone())),
            (DumpFormat::Directory, _) => Ok(()),
            (_, Ok(1)) => {
                self.jobs = None;
                Ok(())
            }
            _ => Err(OptionError::Jobs),
        }
    }

    /// What `-Z` means depends on the format, too.
    fn settle_compression(&mut self) -> Result<(), OptionError> {
        match (self.format, &self.archive_compression) {
            (_, None) => {}
            (DumpFormat::Plain, Some(value)) => {
                (self.compression, self.remarks) = compression::parse(value)?;
                self.archive_compression = None;
            }
            (DumpFormat::Tar, Some(value)) => {
                if !matches!(compression::parse(value), Ok((Compression::None, _))) {
                    return Err(OptionError::CompressedTar);
                }
                self.archive_compression = None;
            }
            // pg_dump knows more methods and levels there than we do, depending on its version.
            (DumpFormat::Custom | DumpFormat::Directory, Some(_)) => {}
        }
        Ok(())
    }

    /// How the SQL of roles is compressed, which is plain text whatever the format of the databases is.
    pub fn text_compression(&self) -> Compression {
        match self.format {
            DumpFormat::Plain => self.compression,
            _ => compression::DEFAULT,
        }
    }

    /// Refuses options that make pg_dump read a file, whose contents it would show in its errors.
    ///
    /// # Errors
    /// When there is one.
    pub fn check_reads_no_file(text: &str) -> Result<(), OptionError> {
        let reads = |word: &&String| word.strip_prefix("--").is_some_and(|long| long.starts_with("fi"));
        let read_alike = [Ok(Self::parse(text)?), Self::parse_for_server(text)];
        match read_alike.iter().flatten().flat_map(|options| &options.rest).find(reads) {
            Some(word) => Err(OptionError::Refused(word.split('=').next().unwrap_or(word).to_owned())),
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
        grammar: &Grammar,
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
            return Err(OptionError::Refused(format!("--{name}")));
        }
        if name.len() > 1 && begins("create") {
            return Err(OptionError::Create);
        }
        if name.len() > 1 && begins("compress") {
            self.archive_compression = Some(value_or_next()?);
        } else if name.len() > 1 && begins("format") {
            self.format = parse_format(&value_or_next()?)?;
        } else if begins("jobs") {
            self.jobs = Some(value_or_next()?);
        } else if grammar.words.iter().any(|full| begins(full)) && value.is_none() {
            // In one word, so that the value cannot be taken for an option whatever happens.
            let value = value_or_next()?;
            self.rest.push(format!("{word}={value}"));
        } else {
            self.rest.push(word.to_owned());
        }
        Ok(())
    }

    fn take_short(
        &mut self,
        grammar: &Grammar,
        word: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), OptionError> {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            // pg_dump would take it for the name of a database, or for a URL with a password.
            return Err(OptionError::Refused("a word without an option".into()));
        };
        for (at, letter) in letters.char_indices() {
            if letter == '-' {
                // By itself it would be `--`, and our own options after it no options any more.
                return Err(OptionError::Refused("--".into()));
            }
            if REFUSED.iter().chain(&REFUSED_FLAGS).any(|(short, _)| *short == letter) {
                return Err(OptionError::Refused(format!("-{letter}")));
            }
            if letter == 'C' {
                return Err(OptionError::Create);
            }
            if !grammar.letters.contains(&letter) {
                self.rest.push(format!("-{letter}"));
                continue;
            }
            let attached = &letters[at + letter.len_utf8()..];
            let value = match attached {
                "" => words.next().ok_or(OptionError::NoValue(format!("-{letter}")))?,
                attached => attached.to_owned(),
            };
            match letter {
                'Z' => self.archive_compression = Some(value),
                'F' => self.format = parse_format(&value)?,
                'j' => self.jobs = Some(value),
                _ if value.is_empty() => self.rest.extend([format!("-{letter}"), value]),
                _ => self.rest.push(format!("-{letter}{value}")),
            }
            return Ok(());
        }
        Ok(())
    }
}

fn parse_format(value: &str) -> Result<DumpFormat, OptionError> {
    match value.to_ascii_lowercase().as_str() {
        "p" | "plain" => Ok(DumpFormat::Plain),
        "c" | "custom" => Ok(DumpFormat::Custom),
        "t" | "tar" => Ok(DumpFormat::Tar),
        "d" | "directory" => Ok(DumpFormat::Directory),
        _ => Err(OptionError::Format(value.to_owned())),
    }
}

#[cfg(test)]
mod tests;
