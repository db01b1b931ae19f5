//! Cron schedules: parsing and the next time.
//!
//! Accepts what prodrigestivill/go-cron accepts (the parser of robfig/cron v3.0.1 with optional seconds and
//! descriptors), with these exceptions: 7 is Sunday too, and schedules that never run, or run more than once a second,
//! are refused. Nothing here reads the clock.

mod clock_change;
mod error;
mod every;
mod field;
mod fields;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

pub use error::ScheduleError;
pub use field::Field;
use fields::Fields;

/// A recurring time.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    /// The time zone of the results.
    shown: TimeZone,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    /// At this interval in seconds from the time of the query.
    Every(i64),
    /// At times of the calendar in a time zone.
    Calendar { cron: Box<Cron>, zone: TimeZone, wild_hours: bool },
}

impl Schedule {
    /// Parses a schedule in the time zone of the process, from `TZ` or the system.
    ///
    /// # Errors
    /// When `text` is not a schedule, or never runs.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        Self::parse_in(text, &TimeZone::system())
    }

    /// Parses a schedule in time zone `default`, unless the text names one with `TZ=` or `CRON_TZ=`.
    ///
    /// # Errors
    /// When `text` is not a schedule, or never runs.
    pub fn parse_in(text: &str, default: &TimeZone) -> Result<Self, ScheduleError> {
        let (zone, body) = split_zone(text, default)?;
        let rule = if let Some(word) = body.strip_prefix('@') {
            match word.strip_prefix("every ") {
                Some(duration) => Rule::Every(every::seconds(duration)?),
                None => calendar(descriptor(body)?, zone)?,
            }
        } else {
            calendar(body, zone)?
        };
        Ok(Self { text: text.into(), shown: default.clone(), rule })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The next time after `now`, a whole second, in the default time zone at parsing. `None` only at the end of the
    /// calendar, thousands of years ahead.
    pub fn next_after(&self, now: Timestamp) -> Option<Zoned> {
        let now = Timestamp::from_second(now.as_second()).ok()?;
        let next = match &self.rule {
            Rule::Every(seconds) => now.checked_add(SignedDuration::from_secs(*seconds)).ok()?,
            Rule::Calendar { cron, zone, wild_hours: true } => clock_change::next_elapsed(cron, zone, now)?,
            Rule::Calendar { cron, zone, wild_hours: false } => clock_change::next_fixed(cron, zone, now)?,
        };
        Some(next.to_zoned(self.shown.clone()))
    }
}

/// The time as RFC 3339, in whole seconds, with its offset.
pub fn rfc3339(time: &Zoned) -> String {
    if time.offset().is_zero() {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

/// Splits off a `TZ=` or `CRON_TZ=` prefix. With a prefix, spaces around the rest are ignored.
fn split_zone<'a>(text: &'a str, default: &TimeZone) -> Result<(TimeZone, &'a str), ScheduleError> {
    let Some(named) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) else {
        return Ok((default.clone(), text));
    };
    match named.split_once(' ') {
        Some((name, body)) if !body.trim().is_empty() => Ok((zone(name, default)?, body.trim())),
        _ => Err(ScheduleError::OnlyZone(text.trim_end().into())),
    }
}

fn zone(name: &str, default: &TimeZone) -> Result<TimeZone, ScheduleError> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(default.clone()),
        _ => match TimeZone::get(name) {
            // Go looks up a zone by its file name, so `europe/berlin` would not work there.
            Ok(zone) if !zone.is_unknown() && zone.iana_name() == Some(name) => Ok(zone),
            _ => Err(ScheduleError::Zone(name.into())),
        },
    }
}

fn descriptor(word: &str) -> Result<&'static str, ScheduleError> {
    match word {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(ScheduleError::Descriptor(word.into())),
    }
}

fn calendar(text: &str, zone: TimeZone) -> Result<Rule, ScheduleError> {
    let fields = Fields::parse(text)?;
    if !fields.ever_come() {
        return Err(ScheduleError::Never(text.into()));
    }
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
    // The fields are plain lists here. Should croner refuse them all the same, the schedule has no time.
    let cron = parser.parse(&fields.to_croner()).map_err(|_| ScheduleError::Never(text.into()))?;
    Ok(Rule::Calendar { cron: Box::new(cron), zone, wild_hours: fields.wild_hours() })
}
