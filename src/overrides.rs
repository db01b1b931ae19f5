//! The override file, `.api-overrides.env` in the backup directory: settings changed through the API.
//!
//! The backup volume may be writable by others, so the file is data and never executed. It holds only
//! `export KEY='value'` lines that the API could have written; anything else is refused with its line.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::backup::DumpOptions;
use crate::catalog::BackupDirectory;
use crate::catalog::DirectoryError;
use crate::durable;
use crate::settings::{Environment, Rule, Variable};

/// Bytes of the longest override file: more than every variable at the length of a request's body can take.
const LONGEST: u64 = 8 << 20;

/// The file in a backup directory.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(".api-overrides.env")
}

/// Overridden values by variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, String>);

/// Why an override is not taken, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Why the override file is not used.
#[derive(Debug)]
pub enum OverridesError {
    /// The file is there and cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The overrides do not go together with the container's own settings.
    Refused(PathBuf, Refusal),
    /// A line is not one that the API could have written.
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for OverridesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let directory = path.parent().unwrap_or(path).to_path_buf();
                DirectoryError::NotWritable(directory).fmt(f)
            }
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Refused(path, refusal) => {
                write!(
                    f,
                    "{}: {refusal}; remove its line, or the file to drop every override",
                    path.display()
                )
            }
            Self::BadLine { path, line, problem } => write!(
                f,
                "{} line {line}: {problem}; remove the line, or the file to drop every override",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OverridesError {}

impl Overrides {
    /// Reads the override file of a backup directory; without one there are no overrides.
    ///
    /// # Errors
    /// When it cannot be read or holds a line that the API could not have written.
    pub fn load(directory: &Path) -> Result<Self, OverridesError> {
        let path = path(directory);
        let bytes = match read_regular(&path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(OverridesError::Unreadable(path, error)),
        };
        Self::parse(&bytes).map_err(|(line, problem)| OverridesError::BadLine { path, line, problem })
    }

    /// Replaces the override file of a backup directory, whole or not at all. Without overrides there is none,
    /// as before the first.
    ///
    /// # Errors
    /// When it cannot be written; the old one stays.
    pub fn save(&self, directory: &BackupDirectory) -> io::Result<()> {
        let path = path(directory.root());
        if self.0.is_empty() {
            return match durable::remove_if_there(&path)? {
                true => durable::sync_parent(&path),
                false => Ok(()),
            };
        }
        durable::replace_file(directory.root(), &path, self.render().as_bytes(), 0o600)
    }

    /// The overrides with some of them set or cleared.
    ///
    /// # Errors
    /// When a value is wrong.
    pub fn changed(&self, changes: &BTreeMap<String, Option<String>>) -> Result<Self, Refusal> {
        let mut values = self.0.clone();
        for (key, value) in changes {
            match value {
                None => drop(values.remove(key)),
                Some(value) => {
                    let variable = check(key, value)?;
                    values.insert(variable.name.to_owned(), value.clone());
                }
            }
        }
        Ok(Self(values))
    }

    /// Sees that the overrides do not lead the bot token, which only the container's owner knows, to a server
    /// that somebody else chose.
    ///
    /// # Errors
    /// When they would.
    pub fn check_against(&self, environment: &Environment) -> Result<(), Refusal> {
        const URL: &str = "TELEGRAM_API_URL";
        const TOKEN: &str = "TELEGRAM_BOT_TOKEN";
        let Some(url) = self.get(URL) else { return Ok(()) };
        let default = Variable::named(URL).map_or("", |variable| variable.default);
        let base = environment.plain(URL).ok().flatten().unwrap_or(default);
        let own_token = self.get(TOKEN).is_some_and(|token| !token.is_empty());
        let file = Variable::named(TOKEN).map(Variable::file_twin).unwrap_or_default();
        let shadowed = !matches!(environment.plain(&file), Ok(None));
        match url == default || url == base || (own_token && !shadowed) {
            true => Ok(()),
            false => Err(Refusal(format!(
                "{URL} may only be another than the container's own when {TOKEN} is an override, too: \
                 it would send the container's token there"
            ))),
        }
    }

    /// The file's contents.
    pub fn render(&self) -> String {
        self.0
            .iter()
            .map(|(key, value)| format!("export {key}='{}'\n", value.replace('\'', r"'\''")))
            .collect()
    }

    /// The overridden value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Parses the file's contents.
    ///
    /// # Errors
    /// The number of the first bad line, from 1, and what is wrong with it.
    pub fn parse(contents: &[u8]) -> Result<Self, (usize, String)> {
        let mut values = BTreeMap::new();
        let mut rest = contents;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let end = memchr::memchr(b'\n', rest).ok_or((number, "is cut off".to_owned()))?;
            let line = std::str::from_utf8(&rest[..end]).map_err(|_| (number, "is not UTF-8".to_owned()))?;
            let (key, value) = parse_line(line).map_err(|problem| (number, problem))?;
            if values.insert(key.to_owned(), value).is_some() {
                return Err((number, format!("sets {key} a second time")));
            }
            rest = &rest[end + 1..];
        }
        Ok(Self(values))
    }
}

/// The contents of a file that is one and not too long. A pipe would hold the reader up for ever, a device or a
/// link to one would fill its memory, and a link could lead to a file that is none of this directory's.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits()).open(path);
    let file = opened.map_err(|error| match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::ELOOP => io::Error::other("is a symbolic link"),
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(io::Error::other(format!("is longer than {LONGEST} bytes"))),
        false => Ok(bytes),
    }
}

fn parse_line(line: &str) -> Result<(&'static str, String), String> {
    const FORM: &str = "is not of the form export KEY='value'";
    let assignment = line.strip_prefix("export ").ok_or(FORM)?;
    let (key, quoted) = assignment.split_once('=').ok_or(FORM)?;
    let inner = quoted.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).ok_or(FORM)?;
    // In single quotes a shell takes everything as it is; a quote itself is written '\''.
    let value = inner.replace(r"'\''", "\u{0}");
    if value.contains('\'') || inner.contains('\u{0}') {
        return Err(FORM.into());
    }
    let value = value.replace('\u{0}', "'");
    let variable = check(key, &value).map_err(|Refusal(problem)| problem)?;
    Ok((variable.name, value))
}

/// Judges one override by the variable's own rule and by what is not for the API: its users are trusted less
/// than whoever starts the container.
fn check(key: &str, value: &str) -> Result<&'static Variable, Refusal> {
    let refuse = |problem: String| Refusal(format!("{key} {problem}"));
    let variable = Variable::mutable().find(|variable| variable.name == key);
    let variable =
        variable.ok_or_else(|| Refusal(format!("{key:?} is not a setting that the API may change")))?;
    Rule::Text.check(value).map_err(refuse)?;
    if value.is_empty() && variable.default.is_empty() {
        return Ok(variable);
    }
    variable.rule.check(value).map_err(refuse)?;
    match variable.rule {
        Rule::CurlOptions => crate::notify::check_trusted_options(value).map_err(refuse)?,
        Rule::DumpOptions => {
            DumpOptions::check_reads_no_file(value).map_err(|error| refuse(error.to_string()))?
        }
        _ => {}
    }
    Ok(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_api_wrote_is_read_back() {
        let text = b"export BACKUP_KEEP_DAYS='14'\nexport POSTGRES_EXCLUDE_TABLES='it'\\''s $(x) `y`'\n";
        let overrides = Overrides::parse(text).unwrap();
        assert_eq!(overrides.get("BACKUP_KEEP_DAYS"), Some("14"));
        assert_eq!(overrides.get("POSTGRES_EXCLUDE_TABLES"), Some("it's $(x) `y`"));
        assert_eq!(overrides.get("SCHEDULE"), None);
        assert_eq!(overrides.render().as_bytes(), text);
    }

    #[test]
    fn the_api_may_not_name_files_for_curl_or_pg_dump() {
        for (key, good) in
            [("WEBHOOK_EXTRA_ARGS", "-H 'X: y' -m 5 -k"), ("POSTGRES_EXTRA_OPTS", "-Z3 --no-owner")]
        {
            assert!(check(key, good).is_ok(), "{good}");
        }
        for (key, bad) in [
            ("WEBHOOK_EXTRA_ARGS", "-d @/run/secrets/x"),
            ("WEBHOOK_EXTRA_ARGS", "-o /x"),
            ("WEBHOOK_EXTRA_ARGS", "-K /x"),
            ("WEBHOOK_EXTRA_ARGS", "-H @/run/secrets/x"),
            ("WEBHOOK_EXTRA_ARGS", "-H@/run/secrets/x"),
            ("WEBHOOK_EXTRA_ARGS", "--header=@/x"),
            ("WEBHOOK_EXTRA_ARGS", "-ko /x"),
            ("WEBHOOK_EXTRA_ARGS", "http://elsewhere"),
            ("POSTGRES_EXTRA_OPTS", "--filter=/run/secrets/x"),
            ("POSTGRES_EXTRA_OPTS", "--filt /run/secrets/x"),
            ("POSTGRES_EXTRA_OPTS", "-f /x"),
        ] {
            assert!(check(key, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_telegram_server_needs_a_token_of_the_apis_own() {
        let url = Overrides::parse(b"export TELEGRAM_API_URL='http://elsewhere'\n").unwrap();
        let both = b"export TELEGRAM_API_URL='http://elsewhere'\nexport TELEGRAM_BOT_TOKEN='t'\n";
        let both = Overrides::parse(both).unwrap();
        let base = Environment::of(&[("TELEGRAM_BOT_TOKEN", "secret")]);
        assert!(url.check_against(&base).is_err());
        assert!(both.check_against(&base).is_ok());
        assert!(both.check_against(&Environment::of(&[("TELEGRAM_BOT_TOKEN_FILE", "/x")])).is_err());
        assert!(url.check_against(&Environment::of(&[("TELEGRAM_API_URL", "http://elsewhere")])).is_ok());
    }

    #[test]
    fn anything_that_the_api_could_not_have_written_is_refused_with_its_line() {
        let good = "export BACKUP_KEEP_DAYS='14'\n";
        for bad in [
            "touch /tmp/owned\n",
            "export BACKUP_KEEP_DAYS='1'; touch /tmp/owned\n",
            "export BACKUP_KEEP_WEEKS=$(id)\n",
            "export BACKUP_KEEP_WEEKS=\"4\"\n",
            "export POSTGRES_PASSWORD='x'\n",
            "export PATH='/tmp'\n",
            "export BACKUP_KEEP_WEEKS='x'\n",
            "export BACKUP_KEEP_DAYS='15'\n",
            "export POSTGRES_EXCLUDE_TABLES='a'b'\n",
            "export POSTGRES_EXCLUDE_TABLES='a\tb'\n",
            "export POSTGRES_EXCLUDE_TABLES='a",
            "export BACKUP_KEEP_WEEKS='4'\r\n",
            "\n",
            "# a comment\n",
        ] {
            let (line, problem) = Overrides::parse(format!("{good}{bad}").as_bytes()).unwrap_err();
            assert_eq!(line, 2, "{bad:?}: {problem}");
        }
        assert_eq!(Overrides::parse(b"\xff\n").unwrap_err().0, 1);
    }
}
