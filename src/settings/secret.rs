//! Values that must not be seen: they cannot be printed, and what others print is cleaned of them.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// A password, token or key. It has no `Display`, and its `Debug` shows three stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value into custody.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that hands it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Replaces every known secret in a line of text by `***`. Its clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret that contains another one is replaced whole.
    secrets: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    /// A redactor of these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let redactor = Self::default();
        redactor.learn(secrets);
        redactor
    }

    /// Looks for these secrets, too. One of several lines is looked for line by line, as output is.
    pub fn learn<'a>(&self, secrets: impl IntoIterator<Item = &'a Secret>) {
        let lines = secrets.into_iter().flat_map(|secret| secret.0.lines());
        let mut known = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(lines.filter(|line| !line.is_empty()).map(String::from));
        known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
    }

    /// The line without its secrets and with `$BACKUP_DIR` for the path of that directory: what the API
    /// shows names no place in the container.
    pub fn clean_for_api(&self, line: &str, directory: &Path) -> String {
        let line = self.clean(line);
        match directory.to_str() {
            Some(path) if path.len() > 1 => line.replace(path.trim_end_matches('/'), "$BACKUP_DIR"),
            _ => line,
        }
    }

    /// The line without its secrets.
    pub fn clean(&self, line: &str) -> String {
        let known = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(line.to_owned(), |line, secret| line.replace(secret, "***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }

    #[test]
    fn the_longer_of_two_nested_secrets_is_replaced_whole() {
        let secrets = [Secret::new("abc"), Secret::new("abcdef"), Secret::new("")];
        let redactor = Redactor::new(&secrets);
        assert_eq!(redactor.clean("x abcdef y abc z"), "x *** y *** z");
        redactor.clone().learn(&[Secret::new("x")]);
        assert_eq!(redactor.clean("x abc"), "*** ***");
    }
}
