//! Errors in schedules, each in one line that names the invalid part and the rule.

use std::fmt;

use super::fields::Field;

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleError {
    /// The text is empty.
    Empty,
    /// The text has this many fields instead of five or six.
    FieldCount(usize),
    /// A part is not a valid value of its field.
    Value {
        /// The invalid part.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// A part is not a value, a range, or a step over a range.
    Shape {
        /// The invalid part.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// A range ends before it begins.
    Backwards {
        /// The range.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// The step after a slash is not a whole number from 1.
    Step {
        /// The part with the slash.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// A field contains only commas.
    NoValue {
        /// The field's text.
        text: String,
        /// The field.
        field: &'static Field,
    },
    /// An unknown word after `@`, or one in another spelling.
    Descriptor(String),
    /// The text after `@every` is not a duration.
    Duration(String),
    /// `@every` with less than a second.
    TooShort(String),
    /// Unknown time zone in a `TZ=` prefix.
    Zone(String),
    /// A time zone prefix without a schedule.
    OnlyZone(String),
    /// Valid syntax, but no date ever matches.
    Never(String),
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the schedule is empty"),
            Self::FieldCount(count) => write!(f, "expected 5 or 6 fields, got {count}"),
            Self::Value { text, field } => {
                write!(f, "{} is not {} {} ({})", quoted(text), field.article(), field.name, field.rule)
            }
            Self::Shape { text, field } => write!(
                f,
                "{} in the {} field is not a value, a range a-b or a step a-b/n",
                quoted(text),
                field.name
            ),
            Self::Backwards { text, field } => {
                write!(f, "range {} in the {} field ends before it begins", quoted(text), field.name)
            }
            Self::Step { text, field } => {
                write!(f, "{} in the {} field needs a step of at least 1", quoted(text), field.name)
            }
            Self::NoValue { text, field } => {
                write!(f, "{} has no value in the {} field", quoted(text), field.name)
            }
            Self::Descriptor(text) => write!(
                f,
                "{} is not @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every DURATION",
                quoted(text)
            ),
            Self::Duration(text) => write!(f, "{} is not a duration (like 90s or 1h30m)", quoted(text)),
            Self::TooShort(text) => write!(f, "@every {} is shorter than a second", text.escape_debug()),
            Self::Zone(text) => write!(f, "{} is not a time zone", quoted(text)),
            Self::OnlyZone(text) => write!(f, "{} is a time zone without a schedule", quoted(text)),
            Self::Never(text) => write!(f, "{} matches no date", quoted(text)),
        }
    }
}

impl std::error::Error for ScheduleError {}

/// The text in quotes and on one line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.escape_debug().to_string().replace("\\'", "'"))
}
