//! From raw text to typed settings: reads variables by the table and collects every fault on the way.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::environment::{Environment, Source};
use super::rule::{self, Rule};
use super::secrets::Secret;
use super::variable::{VARIABLES, Variable};

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable.
    pub variable: &'static str,
    /// Its value, where that may be seen.
    pub value: Option<String>,
    /// What is wrong, as the rest of a sentence that begins with the variable's name.
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

/// Everything wrong with the settings; one line each when displayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Fault::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Reads variables and remembers what was wrong with them.
pub struct Reader<'a> {
    environment: &'a Environment,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// Resolves a part of the settings with `read`.
    ///
    /// # Errors
    /// Every fault that `read` met.
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

    /// Every fault that a single variable can show, without resolving anything.
    pub fn check_all(environment: &'a Environment) -> Faults {
        let mut reader = Self { environment, faults: Vec::new() };
        for variable in VARIABLES {
            reader.checked(variable);
        }
        Faults(reader.faults)
    }

    /// Notes a fault that is not in the form of one value.
    pub fn fault(&mut self, variable: &'static str, problem: impl Into<String>) {
        self.note(Fault { variable, value: None, problem: problem.into() });
    }

    fn note(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Notes that a variable that is needed has no value, unless what is wrong with it is known already.
    pub fn missing(&mut self, variable: &'static str, problem: &str) {
        if !self.faults.iter().any(|fault| fault.variable == variable) {
            self.fault(variable, problem);
        }
    }

    /// The effective text, checked by the variable's rule; the default when nobody sets it, `None` when
    /// that is nothing or the value was at fault.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let variable = Variable::named(name)?;
        self.checked(variable).filter(|text| !text.is_empty())
    }

    /// Like [`Self::text`], for a value that must not be seen.
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

    /// A whole number, or nothing where it is set to nothing.
    pub fn keep(&mut self, name: &str) -> Option<Option<u32>> {
        rule::parse_keep(&self.checked(Variable::named(name)?)?).ok()
    }

    /// A span of time, in seconds.
    pub fn span(&mut self, name: &str) -> Option<u64> {
        rule::parse_span(&self.text(name)?).ok()
    }

    /// A limit, if there is one.
    pub fn limit(&mut self, name: &str) -> Option<Option<Duration>> {
        let limit = rule::parse_limit(&self.text(name)?).ok()?;
        Some(limit.map(Duration::from_secs))
    }

    /// A limit in hours, if there is one.
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

    /// One of the words that the variable's rule lists.
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
            // What comes from a file may be another secret than the one that was meant.
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
