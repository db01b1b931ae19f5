//! `POSTGRES_EXTRA_OPTS`: options for pg_dump, and how we compress its output.

mod compression;
mod error;
mod grammar;

use crate::formats::compress::Compression;
use crate::settings::words::split_words;
pub use error::OptionError;
use grammar::{Grammar, OF_PG_DUMP, OF_PG_DUMPALL, REFUSED, REFUSED_FLAGS};

/// The output format of pg_dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// SQL text, which we compress.
    Plain,
    /// An archive that pg_dump compresses itself.
    Custom,
    /// An uncompressed archive.
    Tar,
    /// A directory with one file per table.
    Directory,
}

/// The options of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpOptions {
    /// The output format.
    pub format: DumpFormat,
    /// How we compress plain text.
    pub compression: Compression,
    /// The compression option passed to pg_dump for archives, if any.
    pub archive_compression: Option<String>,
    /// The number of parallel jobs for the directory format, if any.
    pub jobs: Option<String>,
    /// The other options, passed to pg_dump.
    pub rest: Vec<String>,
    /// Remarks on what is not carried out exactly. Each completes a sentence that starts with the variable.
    pub remarks: Vec<&'static str>,
}

impl DumpOptions {
    /// Splits the text as a shell would and parses the options.
    ///
    /// # Errors
    /// When a quote is not closed, an option would change the output or the connection, or something is not supported.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        Self::parse_as(text, &OF_PG_DUMP)
    }

    /// The same for pg_dumpall.
    ///
    /// # Errors
    /// As for [`Self::parse`].
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

    /// Checked last, because the number of jobs allowed depends on the format.
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

    /// Checked last, because the meaning of `-Z` depends on the format.
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
            // pg_dump supports more methods and levels there than we do, depending on its version.
            (DumpFormat::Custom | DumpFormat::Directory, Some(_)) => {}
        }
        Ok(())
    }

    /// Compression for the SQL of roles, which is plain text in every format.
    pub fn text_compression(&self) -> Compression {
        match self.format {
            DumpFormat::Plain => self.compression,
            _ => compression::DEFAULT,
        }
    }

    /// Refuses options that make pg_dump read a file, because its errors would show the contents.
    ///
    /// # Errors
    /// When there is such an option.
    pub fn check_reads_no_file(text: &str) -> Result<(), OptionError> {
        let reads = |word: &&String| word.strip_prefix("--").is_some_and(|long| long.starts_with("fi"));
        let read_alike = [Ok(Self::parse(text)?), Self::parse_for_server(text)];
        match read_alike.iter().flatten().flat_map(|options| &options.rest).find(reads) {
            Some(word) => Err(OptionError::Refused(word.split('=').next().unwrap_or(word).to_owned())),
            None => Ok(()),
        }
    }

    /// A restore goes into an empty database, where DROP without IF EXISTS fails.
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
        // getopt accepts any unambiguous prefix of a long option, so prefixes are judged like the full name.
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
            // In one word, so that the value cannot be taken for an option.
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
            // pg_dump would take it as a database name or as a connection string with a password.
            return Err(OptionError::Refused("a word without an option".into()));
        };
        for (at, letter) in letters.char_indices() {
            if letter == '-' {
                // A lone `--` would end the options, so that our own options after it are ignored.
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
