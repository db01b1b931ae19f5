//! Parses the five or six fields as robfig/cron v3.0.1 does, into plain sets of values.
//!
//! Croner has a different dialect: it accepts `L`, `W`, `#` and `SAT-SUN`, which go-cron rejects, and rejects `5/15`,
//! `*-5` and `?` in the minutes, which go-cron accepts. So all fields are parsed here, and croner only gets `*` and
//! lists of numbers.

use super::error::ScheduleError;
use super::field::{FIELDS, Field, HOUR};

/// Maximum number of days of each month.
const LONGEST: [u64; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// The values of one field. A star is remembered, as it decides how the two day fields combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values {
    bits: u64,
    star: bool,
    /// Whether any part contains a star, with or without a step.
    wild: bool,
}

/// The parsed fields of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields([Values; 6]);

impl Fields {
    /// Parses five fields, with second 0, or six.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let texts: Vec<&str> = text.split_whitespace().collect();
        let texts: [&str; 6] = match texts[..] {
            [] => return Err(ScheduleError::Empty),
            [minute, hour, day, month, weekday] => ["0", minute, hour, day, month, weekday],
            [second, minute, hour, day, month, weekday] => [second, minute, hour, day, month, weekday],
            _ => return Err(ScheduleError::FieldCount(texts.len())),
        };
        let mut values = [Values { bits: 0, star: false, wild: false }; 6];
        for ((value, text), field) in values.iter_mut().zip(texts).zip(&FIELDS) {
            *value = field.parse(text)?;
        }
        Ok(Self(values))
    }

    /// The fields in croner's syntax: six, each `*` or a list of numbers.
    pub fn to_croner(&self) -> String {
        let fields: Vec<String> = self.0.iter().map(|values| values.croner_text()).collect();
        fields.join(" ")
    }

    /// Whether any date can match. February 30 cannot.
    pub fn ever_come(&self) -> bool {
        let [.., days, months, weekdays] = &self.0;
        // If neither is a star, matching one of the two is enough, and any weekday occurs.
        if !days.star && !weekdays.star {
            return true;
        }
        (1..=12u64).filter(|month| months.has(*month)).any(|month| {
            let longest = LONGEST[month as usize - 1];
            (1..=longest).any(|day| days.has(day))
        })
    }

    /// Whether the schedule runs in every hour or its hours contain a star. Then it follows elapsed time at clock
    /// changes; otherwise it has fixed times of day.
    pub fn wild_hours(&self) -> bool {
        let hours = self.0[2];
        hours.wild || hours.bits == HOUR.all()
    }
}

impl Values {
    fn has(self, value: u64) -> bool {
        self.bits & (1 << value) != 0
    }

    fn croner_text(self) -> String {
        if self.star {
            return "*".into();
        }
        let numbers: Vec<String> =
            (0..60u64).filter(|value| self.has(*value)).map(|value| value.to_string()).collect();
        numbers.join(",")
    }
}

impl Field {
    fn parse(&'static self, text: &str) -> Result<Values, ScheduleError> {
        let mut values = Values { bits: 0, star: false, wild: false };
        // robfig/cron ignores empty parts, so `1,,2` is `1,2`.
        for part in text.split(',').filter(|part| !part.is_empty()) {
            self.add_part(part, &mut values)?;
        }
        if values.bits == 0 {
            return Err(ScheduleError::NoValue { text: text.into(), field: self });
        }
        Ok(values)
    }

    /// Adds a part: `a`, `a-b`, `a/n` or `a-b/n`, with `*` or `?` for all values.
    fn add_part(&'static self, part: &str, values: &mut Values) -> Result<(), ScheduleError> {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => (range, Some(self.step(part, step)?)),
        };
        let (low, high) = match range.split_once('-') {
            None => (range, None),
            Some((low, high)) => (low, Some(high)),
        };
        if range.is_empty()
            || low.is_empty()
            || high.is_some_and(|high| high.is_empty() || high.contains('-'))
        {
            return Err(ScheduleError::Shape { text: part.into(), field: self });
        }
        let wild = low == "*" || low == "?";
        let (start, end) = if wild {
            // robfig/cron ignores the end of a range after a star, as in `*-5`.
            high.map(|high| self.value(high)).transpose()?;
            (self.min, self.max)
        } else {
            let start = self.value(low)?;
            let end = match high {
                Some(high) => self.value(high)?,
                None if step.is_some() => self.max.max(start),
                None => start,
            };
            (start, end)
        };
        if start > end {
            return Err(ScheduleError::Backwards { text: part.into(), field: self });
        }
        let step = step.unwrap_or(1);
        for value in (start..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            // Only the day of the week accepts a value above its maximum: 7 is Sunday too.
            values.bits |= 1 << (if value > self.max { self.min } else { value });
        }
        values.wild |= wild;
        // For robfig/cron `*/1` is a star, `*/2` is not.
        values.star |= wild && step == 1;
        if values.star {
            values.bits = self.all();
        }
        Ok(())
    }

    fn step(&'static self, part: &str, step: &str) -> Result<u64, ScheduleError> {
        match step.parse() {
            Ok(step) if step > 0 => Ok(step),
            _ => Err(ScheduleError::Step { text: part.into(), field: self }),
        }
    }

    fn value(&'static self, text: &str) -> Result<u64, ScheduleError> {
        if let Some(index) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.min + index as u64);
        }
        let sunday_too = self.names.len() == 7;
        match text.parse() {
            Ok(value) if (self.min..=self.max).contains(&value) || (sunday_too && value == 7) => Ok(value),
            _ => Err(ScheduleError::Value { text: text.into(), field: self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn croner(text: &str) -> String {
        Fields::parse(text).unwrap().to_croner()
    }

    #[test]
    fn spellings_of_one_set_of_values_become_one_list() {
        assert_eq!(croner("5/15 * * * *"), "0 5,20,35,50 * * * *");
        assert_eq!(croner("*-5 ? */1 ?/1 * ?"), "* * * * * *");
        assert_eq!(croner("1,,2 */10 1-7/3 jan,MAR fri-6"), "0 1,2 0,10,20 1,4,7 1,3 5,6");
        assert_eq!(croner("1-59/70 20/99 * * *"), "0 1 20 * * *");
    }

    #[test]
    fn a_star_among_the_days_stays_a_star_and_a_full_list_stays_a_list() {
        assert_eq!(croner("0 0 3,* * 0-6"), "0 0 0 * * 0,1,2,3,4,5,6");
        assert_eq!(croner("0 0 */2 * */1"), "0 0 0 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31 * *");
    }

    #[test]
    fn seven_is_sunday_at_the_end_of_a_range_too() {
        assert_eq!(croner("0 0 * * 7"), "0 0 0 * * 0");
        assert_eq!(croner("0 0 * * 5-7"), "0 0 0 * * 0,5,6");
        assert_eq!(croner("0 0 * * 1-7/3"), "0 0 0 * * 0,1,4");
        assert_eq!(croner("0 0 * * 4/2"), "0 0 0 * * 4,6");
        assert_eq!(croner("0 0 * * 7/2"), "0 0 0 * * 0");
    }

    #[test]
    fn days_that_no_year_has_never_come() {
        let comes = |text: &str| Fields::parse(text).unwrap().ever_come();
        assert!(!comes("0 0 30 2 *"));
        assert!(!comes("0 0 31 2,4,6,9,11 ?"));
        assert!(comes("0 0 29 2 *"));
        assert!(comes("0 0 31 2,3 *"));
        assert!(comes("0 0 30 2 MON"));
        assert!(comes("0 0 * 2 MON"));
    }
}
