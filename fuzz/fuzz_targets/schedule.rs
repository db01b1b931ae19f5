//! Cron schedules: the first byte chooses a time zone, the next eight a time, the rest is the schedule.

#![no_main]

use std::sync::LazyLock;

use backupgram::formats::schedule::{Schedule, rfc3339};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;

/// Zones whose clocks change in different ways: not at all, by an hour, by half of one, at midnight, and by
/// leaving out a day.
static ZONES: LazyLock<Vec<TimeZone>> = LazyLock::new(|| {
    let names =
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"];
    let zones = names.map(|name| TimeZone::get(name).expect("the system's time zones"));
    [TimeZone::UTC].into_iter().chain(zones).collect()
});

/// Two hundred years around today, in seconds: clocks change by no rule that is known outside of them.
const SPAN: i64 = 200 * 366 * 86_400;

fuzz_target!(|bytes: &[u8]| {
    let Some(([zone, time @ ..], text)) = bytes.split_first_chunk::<9>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let zone = &ZONES[usize::from(*zone) % ZONES.len()];
    let schedule = match Schedule::parse_in(text, zone) {
        Ok(schedule) => schedule,
        Err(error) => {
            let said = error.to_string();
            return assert!(!said.is_empty() && !said.contains(char::is_control), "{said:?}");
        }
    };
    assert_eq!(schedule.text(), text);
    let second = (i64::from_le_bytes(*time) % SPAN).abs();
    let from = Timestamp::from_second(second).expect("a time in the calendar");
    let next = schedule.next_after(from).expect("a time before the end of the calendar");
    let comes = next.timestamp();
    assert!(comes > from, "{text:?} after {from} comes at {comes}");
    assert_eq!(comes.subsec_nanosecond(), 0);
    assert_eq!(rfc3339(&next).parse().ok(), Some(comes));
    if !text.contains("@every") {
        comes_at_no_earlier_time(&schedule, second, comes);
    }
    let after = schedule.next_after(comes).expect("a second time");
    assert!(after.timestamp() > comes);
});

/// From anywhere between then and the next time, that is the next time still.
fn comes_at_no_earlier_time(schedule: &Schedule, from: i64, comes: Timestamp) {
    let until = comes.as_second();
    for between in [from + 1, from + (until - from) / 2, until - 3600, until - 1] {
        if (from..until).contains(&between) {
            let between = Timestamp::from_second(between).expect("a time in the calendar");
            let next = schedule.next_after(between).map(|next| next.timestamp());
            assert_eq!(next, Some(comes), "{:?} after {between}", schedule.text());
        }
    }
}
