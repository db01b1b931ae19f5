//! Errors in schedules, each in one line that names the invalid part and the rule.

use thiserror::Error;

use super::field::Field;

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// There is nothing in the text.
    #[error("the schedule is empty")]
    Empty,
    /// The text has this many fields instead of five or six.
    #[error("expected 5 or 6 fields, got {0}")]
    FieldCount(usize),
    /// A part of a field is not a value that the field can have.
    #[error("{} is not {} {} ({})", quoted(text), field.article(), field.name, field.rule)]
    Value {
        /// The invalid part.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// A part of a field is neither a value nor a range nor a step over one.
    #[error("{} in the {} field is not a value, a range a-b or a step a-b/n", quoted(text), field.name)]
    Shape {
        /// The invalid part.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// A range ends before it begins.
    #[error("range {} in the {} field ends before it begins", quoted(text), field.name)]
    Backwards {
        /// The range.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// The number after a slash is not a whole number from 1.
    #[error("{} in the {} field needs a step of at least 1", quoted(text), field.name)]
    Step {
        /// The part with the slash.
        text: String,
        /// Its field.
        field: &'static Field,
    },
    /// A field holds nothing but commas.
    #[error("{} has no value in the {} field", quoted(text), field.name)]
    NoValue {
        /// The field's text.
        text: String,
        /// The field.
        field: &'static Field,
    },
    /// A word after `@` that is not known, in this spelling at least.
    #[error(
        "{} is not @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every DURATION",
        quoted(.0)
    )]
    Descriptor(String),
    /// What follows `@every` is not a duration.
    #[error("{} is not a duration (like 90s or 1h30m)", quoted(.0))]
    Duration(String),
    /// `@every` with less than a second.
    #[error("@every {} is shorter than a second", .0.escape_debug())]
    TooShort(String),
    /// The time zone of a `TZ=` prefix is not known.
    #[error("{} is not a time zone", quoted(.0))]
    Zone(String),
    /// A time zone prefix that no schedule follows.
    #[error("{} is a time zone without a schedule", quoted(.0))]
    OnlyZone(String),
    /// Well formed, but no day of any year fits.
    #[error("{} matches no date", quoted(.0))]
    Never(String),
}

/// The text in quotes, with control characters escaped so that a message stays one line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.escape_debug().to_string().replace("\\'", "'"))
}
