//! What each field of a schedule is called and which values it can have.

/// One field of a schedule: what it is called, and the values that it can have.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// What one of its values is, for messages.
    pub name: &'static str,
    /// Its values, for messages.
    pub rule: &'static str,
    /// The smallest value.
    pub(super) min: u64,
    /// The largest value. Days of the week also take 7, which is Sunday like 0.
    pub(super) max: u64,
    /// Names of values, the first of them for `min`.
    pub(super) names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", rule: "0-59", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", rule: "0-59", min: 0, max: 59, names: &[] };
pub(super) const HOUR: Field = Field { name: "hour", rule: "0-23", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", rule: "1-31", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    rule: "1-12 or jan-dec",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    rule: "0-7 or sun-sat",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// All fields, in the order in which a schedule has them.
pub(super) static FIELDS: [Field; 6] = [SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY];

impl Field {
    /// The article that the name takes.
    pub(super) fn article(&self) -> &'static str {
        if self.name.starts_with('h') { "an" } else { "a" }
    }

    /// Every value of the field, one bit each.
    pub(super) fn all(&self) -> u64 {
        (self.min..=self.max).fold(0, |bits, value| bits | 1 << value)
    }
}
