//! Durations of `@every` in the syntax of Go, in whole seconds.

use super::ScheduleError;

/// Nanoseconds per unit. The two micro signs are different characters.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a duration such as `90s`, `1h30m` or `1.5h`, truncated to whole seconds as in robfig/cron.
///
/// # Errors
/// When it is not a duration, exceeds Go's 64 bits of nanoseconds, or is shorter than a second.
pub fn seconds(text: &str) -> Result<i64, ScheduleError> {
    let (negative, magnitude) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let nanoseconds = nanoseconds(magnitude).ok_or_else(|| ScheduleError::Duration(text.into()))?;
    if negative || nanoseconds < 1_000_000_000 {
        return Err(ScheduleError::TooShort(text.into()));
    }
    i64::try_from(nanoseconds)
        .map(|nanoseconds| nanoseconds / 1_000_000_000)
        .map_err(|_| ScheduleError::Duration(text.into()))
}

fn nanoseconds(text: &str) -> Option<u128> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    loop {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        let length = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        total = total.checked_add(scaled(whole, fraction, *unit)?)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` times `unit`. Digits after the 18th are less than a nanosecond.
fn scaled(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let number =
        |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok().map(u128::from) };
    let fraction = &fraction[..fraction.len().min(18)];
    let parts = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(number(whole)? * unit + number(fraction)? * unit / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("90s", 90),
            ("1h30m10s", 5410),
            ("1.5h", 5400),
            (".5m", 30),
            ("2.s", 2),
            ("+1m", 60),
            ("1500ms", 1),
            ("3000000\u{b5}s", 3),
            ("2000000000ns1s", 3),
            ("0.00000000000000000000001s1s", 1),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "-", "5", "1", "h", ".", ".h", "1h 30m", " 1h", "1d", "1H", "1h30", "3000000h", "1e3s", "٣s"]
        {
            assert_eq!(seconds(text), Err(ScheduleError::Duration(text.into())), "{text}");
        }
    }

    #[test]
    fn what_is_under_a_second_is_refused() {
        for text in ["0", "-5m", "500ms", "999999999ns", "0s", "0.9s"] {
            assert_eq!(seconds(text), Err(ScheduleError::TooShort(text.into())), "{text}");
        }
    }
}
