//! Raw settings from the environment, secret files and the override file, not yet validated.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use super::rule::Rule;
use super::variable::{VARIABLES, Variable};
use crate::settings::overrides::Overrides;

/// Where an effective value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The file named by the variable's `_FILE` twin.
    File,
    /// The override file in the backup directory.
    Override,
    /// The environment of this process.
    Environment,
}

/// A raw value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The text; from a `_FILE` without its trailing newline.
    pub text: String,
    /// Its source.
    pub source: Source,
}

/// The environment of the process and the overrides. Only this type reads either.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    overrides: Overrides,
}

impl Environment {
    /// The environment of this process, without overrides.
    pub fn of_process() -> Self {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self { variables: std::env::vars_os().filter_map(named).collect(), overrides: Overrides::default() }
    }

    /// This environment with these overrides applied.
    pub fn with_overrides(&self, overrides: Overrides) -> Self {
        Self { variables: self.variables.clone(), overrides }
    }

    /// The overrides in force.
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Name and value of every environment variable of the process.
    pub fn variables(&self) -> impl Iterator<Item = (&String, &OsString)> {
        self.variables.iter()
    }

    /// The effective value of every variable, defaults included, for user programs. The settings of the HTTP API are
    /// withheld.
    pub fn effective(&self) -> impl Iterator<Item = (&'static str, String)> {
        let theirs = VARIABLES.iter().filter(|variable| !variable.name.starts_with("REST_API_"));
        theirs.filter_map(|variable| {
            let text = match self.find(variable).ok()? {
                Some(found) => found.text,
                None => variable.default.to_owned(),
            };
            (!text.is_empty()).then_some((variable.name, text))
        })
    }

    /// The effective value of a variable: from its `_FILE` twin, else the override, else the environment. A variable
    /// set to nothing counts as unset, as compose files leave it, except where it means no limit or no options, as in
    /// the original images.
    ///
    /// # Errors
    /// When the file cannot be read or the text is not UTF-8. The message does not contain the value.
    pub fn find(&self, variable: &Variable) -> Result<Option<Found>, String> {
        if let Some(text) = self.secret_file(variable)? {
            return Ok(Some(Found { text, source: Source::File }));
        }
        if let Some(text) = self.overrides.get(variable.name) {
            return Ok(Some(Found { text: text.to_owned(), source: Source::Override }));
        }
        let text = self.plain(variable.name)?.or_else(|| self.is_set_to_nothing(variable).then_some(""));
        Ok(text.map(|text| Found { text: text.to_owned(), source: Source::Environment }))
    }

    /// Unknown variables in the override file.
    pub fn unknown_overrides(&self) -> impl Iterator<Item = &str> {
        self.overrides.unknown()
    }

    /// The value of a variable in the environment of the process; `None` if unset or empty.
    ///
    /// # Errors
    /// When the value is not UTF-8.
    pub fn plain(&self, name: &str) -> Result<Option<&str>, String> {
        match self.variables.get(name).filter(|value| !value.is_empty()) {
            Some(value) => value.to_str().map(Some).ok_or_else(|| "is not UTF-8 text".into()),
            None => Ok(None),
        }
    }

    fn is_set_to_nothing(&self, variable: &Variable) -> bool {
        let is_empty = self.variables.get(variable.name).is_some_and(|value| value.is_empty());
        matches!(variable.rule, Rule::Keep | Rule::DumpOptions) && is_empty
    }

    fn secret_file(&self, variable: &Variable) -> Result<Option<String>, String> {
        if !variable.has_file_twin {
            return Ok(None);
        }
        let twin = variable.file_twin();
        let Some(path) = self.variables.get(&twin).filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let text = fs::read_to_string(path)
            .map_err(|error| format!("cannot be read from the file that {twin} names: {error}"))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let is_passphrase = matches!(variable.rule, Rule::Passphrase);
        if is_passphrase && line.ends_with('\r') {
            return Err(format!(
                "has a Windows line end (CRLF) in the file that {twin} names, which gpg takes as part of \
                 the key: save the file with LF"
            ));
        }
        let text = match variable.rule {
            // HTTP header fields cannot have leading or trailing white space.
            Rule::Token => text.trim(),
            _ => line.strip_suffix('\r').unwrap_or(line),
        };
        if text.is_empty() {
            return Err(format!("is empty: the file that {twin} names has no value"));
        }
        Ok(Some(text.to_owned()))
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        Self { variables: owned.collect(), overrides: Overrides::default() }
    }
}
