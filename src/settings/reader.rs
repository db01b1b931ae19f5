//! Converts raw text to typed settings, by the table of variables, and collects all faults.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::environment::{Environment, Source};
use super::rule::{self, Rule};
use super::secrets::Secret;
use super::variable::{VARIABLES, Variable};

/// A fault in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable.
    pub variable: &'static str,
    /// Its value, if it may be shown.
    pub value: Option<String>,
    /// The problem; it completes a sentence that starts with the variable.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?} {}", self.variable, self.problem),
            None => write!(f, "{} {}", self.variable, self.problem),
        }
    }
}

/// All faults in the settings, displayed one per line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Fault::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Reads variables and collects faults.
pub struct Reader<'a> {
    environment: &'a Environment,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// Resolves a part of the settings with `read`.
    ///
    /// # Errors
    /// Every fault that `read` found.
    pub fn resolve<T>(
        environment: &'a Environment,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Faults> {
        let mut reader = Self { environment, faults: Vec::new() };
        match read(&mut reader) {
            Some(value) if reader.faults.is_empty() => Ok(value),
            _ => Err(Faults(reader.faults)),
        }
    }

    /// Checks every variable by itself, without resolving any part.
    pub fn check_all(environment: &'a Environment) -> Faults {
        let mut reader = Self { environment, faults: Vec::new() };
        for variable in VARIABLES {
            reader.checked(variable);
        }
        Faults(reader.faults)
    }

    /// Adds a fault that does not concern the form of a single value.
    pub fn fault(&mut self, variable: &'static str, problem: impl Into<String>) {
        self.note(Fault { variable, value: None, problem: problem.into() });
    }

    fn note(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Adds a fault for a missing required variable, unless it already has one.
    pub fn missing(&mut self, variable: &'static str, problem: &str) {
        if !self.faults.iter().any(|fault| fault.variable == variable) {
            self.fault(variable, problem);
        }
    }

    /// The effective value, checked by the variable's rule, or the default. `None` if that is empty or the value is
    /// invalid.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let variable = Variable::named(name)?;
        self.checked(variable).filter(|text| !text.is_empty())
    }

    /// Like [`Self::text`], for a secret.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// TRUE or FALSE.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        rule::parse_flag(&self.text(name)?).ok()
    }

    /// A whole number.
    pub fn whole(&mut self, name: &str) -> Option<u32> {
        rule::parse_whole(&self.text(name)?).ok()
    }

    /// A whole number that is at least 1.
    pub fn count(&mut self, name: &str) -> Option<u32> {
        rule::parse_count(&self.text(name)?).ok()
    }

    /// A whole number; the inner `None` means that it is set to nothing.
    pub fn keep(&mut self, name: &str) -> Option<Option<u32>> {
        rule::parse_keep(&self.checked(Variable::named(name)?)?).ok()
    }

    /// A duration in seconds.
    pub fn span(&mut self, name: &str) -> Option<u64> {
        rule::parse_span(&self.text(name)?).ok()
    }

    /// A time limit, if any.
    pub fn limit(&mut self, name: &str) -> Option<Option<Duration>> {
        let limit = rule::parse_limit(&self.text(name)?).ok()?;
        Some(limit.map(Duration::from_secs))
    }

    /// A time limit in hours, if any.
    pub fn hours(&mut self, name: &str) -> Option<Option<Duration>> {
        rule::parse_hours(&self.text(name)?).ok()
    }

    /// A port to listen on.
    pub fn port(&mut self, name: &str) -> Option<u16> {
        rule::parse_port(&self.text(name)?).ok()
    }

    /// A port to connect to.
    pub fn server_port(&mut self, name: &str) -> Option<u16> {
        rule::parse_server_port(&self.text(name)?).ok()
    }

    /// An address to listen on.
    pub fn address(&mut self, name: &str) -> Option<IpAddr> {
        rule::parse_address(&self.text(name)?).ok()
    }

    /// One of the words listed by the variable's rule.
    pub fn word(&mut self, name: &str) -> Option<&'static str> {
        let text = self.text(name)?;
        match Variable::named(name)?.rule {
            Rule::OneOf(words) => rule::parse_word(&text, words).ok(),
            _ => None,
        }
    }

    fn checked(&mut self, variable: &'static Variable) -> Option<String> {
        let (text, source) = match self.environment.find(variable) {
            Ok(Some(found)) => (found.text, Some(found.source)),
            Ok(None) => (variable.default.to_owned(), None),
            Err(problem) => {
                self.fault(variable.name, problem);
                return None;
            }
        };
        if text.is_empty() && variable.default.is_empty() {
            return Some(text);
        }
        match variable.rule.check(&text) {
            Ok(()) => Some(text),
            // Values from files are not shown either: the wrong secret may have been mounted.
            Err(problem)
                if variable.secret || variable.rule.may_hold_secret() || source == Some(Source::File) =>
            {
                self.fault(variable.name, problem);
                None
            }
            Err(problem) => {
                self.note(Fault { variable: variable.name, value: Some(text), problem });
                None
            }
        }
    }
}
