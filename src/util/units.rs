//! Human-readable quantities.

/// Bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number of bytes in the largest binary unit that gives at least one.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let power = (count.ilog2() / 10).min(5);
    // Shown with one decimal only.
    #[expect(clippy::cast_precision_loss)]
    let value = count as f64 / f64::from(1u32 << 10).powi(power.cast_signed());
    format!("{value:.1} {}", UNITS[power as usize - 1])
}

/// Seconds as minutes and seconds, with hours if any: `0:05`, `51:12`, `27:46:40`.
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// An age in seconds in one whole unit, rounded down: `45 s`, `12 min`, `47 h`, `90 d`. A time in the future has a
/// minus sign.
pub fn age(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let (count, unit) = match seconds.unsigned_abs() {
        seconds @ 0..60 => (seconds, "s"),
        seconds @ 60..3600 => (seconds / 60, "min"),
        seconds @ 3600..172_800 => (seconds / 3600, "h"),
        seconds => (seconds / 86_400, "d"),
    };
    format!("{sign}{count} {unit}")
}

/// Joins names with commas.
pub fn list<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        let shown = [0, 1023, 1024, 1536, 12_900_000, 3 << 30, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "12.3 MiB", "3.0 GiB", "16384.0 PiB"]);
    }

    #[test]
    fn a_clock_has_hours_when_there_are_any() {
        assert_eq!([0, 5, 3072, 3661, 100_000].map(clock), ["0:00", "0:05", "51:12", "1:01:01", "27:46:40"]);
    }

    #[test]
    fn an_age_is_shown_in_the_unit_that_fits() {
        let shown = [0, 59, 60, 3599, 3600, 172_799, 172_800, 8_000_000, -90].map(age);
        assert_eq!(shown, ["0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d", "92 d", "-1 min"]);
        assert_eq!(age(i64::MIN), "-106751991167300 d");
    }
}
