//! Schedules against the real scheduler's answers, against a brute-force search, and across changes of clocks.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeMap;

use backupgram::formats::schedule::{Schedule, rfc3339};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    schedule: String,
    tz: String,
    from: String,
    valid: bool,
    #[serde(default)]
    next: Vec<String>,
    crosses_dst: bool,
}

/// Rows of `vectors/cron.jsonl` (by line) that are answered differently, and why.
const SUNDAY_IS_SEVEN_TOO: [usize; 3] = [25, 26, 27];
const NEVER_COMES: [usize; 3] = [130, 131, 132];
const UNDER_A_SECOND: [usize; 5] = [103, 104, 105, 150, 151];
/// Berlin, `0 1-3 * * *`: robfig/cron runs the fixed 02:00 in both of the repeated hours.
const REPEATED_HOUR: [usize; 1] = [127];
/// Lord Howe, `0 0 * * 0`: robfig/cron loses the Sunday after the change by half an hour.
const LOST_SUNDAY: [usize; 1] = [22];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn schedule(text: &str, tz: &str) -> Schedule {
    Schedule::parse_in(text, &zone(tz)).unwrap()
}

/// The next `count` times after `from`, in RFC 3339.
fn times(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let first = schedule.next_after(from.parse().unwrap());
    std::iter::successors(first, |time| schedule.next_after(time.timestamp()))
        .take(count)
        .map(|time| rfc3339(&time))
        .collect()
}

fn shown(text: &str, tz: &str, from: &str, count: usize) -> Vec<String> {
    times(&schedule(text, tz), from, count)
}

#[test]
fn every_answer_of_the_real_scheduler_is_given_but_for_the_listed_exceptions() {
    let rows: Vec<Row> =
        include_str!("vectors/cron.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 374);
    let mut different = Vec::new();
    for (line, row) in (1..).zip(&rows) {
        let answer = Schedule::parse_in(&row.schedule, &zone(&row.tz));
        let same = match &answer {
            Ok(schedule) => row.valid && times(schedule, &row.from, row.next.len().max(1)) == row.next,
            Err(_) => !row.valid,
        };
        if !same {
            different.push(line);
        }
        let by_clocks = REPEATED_HOUR.contains(&line) || LOST_SUNDAY.contains(&line);
        assert!(!by_clocks || row.crosses_dst, "line {line} crosses no change of clocks");
        if NEVER_COMES.contains(&line) || UNDER_A_SECOND.contains(&line) {
            assert!(answer.is_err(), "line {line}: '{}' was accepted", row.schedule);
        }
    }
    let mut expected =
        [&SUNDAY_IS_SEVEN_TOO[..], &NEVER_COMES, &UNDER_A_SECOND, &REPEATED_HOUR, &LOST_SUNDAY].concat();
    expected.sort_unstable();
    assert_eq!(different, expected);
}

#[test]
fn seven_is_sunday() {
    let from = "2026-01-01T00:00:00Z";
    assert_eq!(
        times(&schedule("0 0 * * 7", "UTC"), from, 9),
        times(&schedule("0 0 * * SUN", "UTC"), from, 9)
    );
}

#[test]
fn a_refusal_names_the_faulty_part_and_the_rule_in_one_line() {
    for (text, message) in [
        ("", "the schedule is empty"),
        ("* * * *", "expected 5 or 6 fields, got 4"),
        ("61 * * * *", "'61' is not a minute (0-59)"),
        ("60 0 0 * * *", "'60' is not a second (0-59)"),
        ("0 24 * * *", "'24' is not an hour (0-23)"),
        ("0 0 0 * *", "'0' is not a day of the month (1-31)"),
        ("0 0 L * *", "'L' is not a day of the month (1-31)"),
        ("0 0 * 13 *", "'13' is not a month (1-12 or jan-dec)"),
        ("0 0 * * 5#2", "'5#2' is not a day of the week (0-7 or sun-sat)"),
        ("0 0 * * SAT-SUN", "range 'SAT-SUN' in the day of the week field ends before it begins"),
        ("1- * * * *", "'1-' in the minute field is not a value, a range a-b or a step a-b/n"),
        ("0 */0 * * *", "'*/0' in the hour field needs a step of at least 1"),
        (", * * * *", "',' has no value in the minute field"),
        ("@every 1h 30m", "'1h 30m' is not a duration (like 90s or 1h30m)"),
        ("@every 0.5s", "@every 0.5s is shorter than a second"),
        ("TZ=Mars/Olympus 0 3 * * *", "'Mars/Olympus' is not a time zone"),
        ("CRON_TZ=europe/berlin 0 3 * * *", "'europe/berlin' is not a time zone"),
        ("TZ=UTC", "'TZ=UTC' is a time zone without a schedule"),
        ("0 0 30 2 *", "'0 0 30 2 *' matches no date"),
        ("a\nb * * * *", "expected 5 or 6 fields, got 6"),
        ("\u{1b}[31m * * * *", "'\\u{1b}[31m' is not a minute (0-59)"),
    ] {
        let message = if text.starts_with("a\n") { "'a' is not a second (0-59)" } else { message };
        assert_eq!(Schedule::parse_in(text, &TimeZone::UTC).unwrap_err().to_string(), message, "{text}");
    }
    let error = Schedule::parse_in("@DAILY", &TimeZone::UTC).unwrap_err().to_string();
    assert!(
        error.starts_with("'@DAILY' is not @yearly,") && error.ends_with("or @every DURATION"),
        "{error}"
    );
}

#[test]
fn a_zone_before_the_schedule_wins_over_the_default_and_the_answer_is_in_the_default() {
    assert_eq!(
        shown("CRON_TZ=Asia/Tashkent  @midnight ", "Europe/Berlin", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T20:00:00+01:00"]
    );
    assert_eq!(
        shown("TZ= 0 3 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T08:30:00+05:30"]
    );
    assert_eq!(
        shown("TZ=Local 0 3 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1),
        ["2026-01-02T03:00:00+05:30"]
    );
}

#[test]
fn a_schedule_keeps_its_text() {
    assert_eq!(schedule("TZ=UTC  0 3 * * *", "UTC").text(), "TZ=UTC  0 3 * * *");
}

#[test]
fn a_fixed_time_in_the_gap_comes_once_right_after_the_gap() {
    let from = "2026-03-29T00:30:00Z";
    assert_eq!(
        shown("30 2 * * *", "Europe/Berlin", from, 2),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    assert_eq!(
        shown("0,15,30 2,14 * * *", "Europe/Berlin", from, 2),
        ["2026-03-29T03:00:00+02:00", "2026-03-29T14:00:00+02:00"]
    );
    // Half an hour on Lord Howe: 02:00 becomes 02:30.
    assert_eq!(
        shown("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", 2),
        ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]
    );
}

#[test]
fn a_gap_at_the_end_of_a_day_loses_no_run_of_that_day() {
    // Nuuk goes from 23:00 on Saturday to 00:00 on Sunday.
    assert_eq!(
        shown("30 23 * * SAT", "America/Nuuk", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T00:00:00-01:00", "2026-04-04T23:30:00-01:00"]
    );
}

#[test]
fn a_whole_day_that_a_zone_skipped_is_made_up_for_right_after() {
    // Samoa had no 30 December 2011.
    assert_eq!(
        shown("0 3 * * *", "Pacific/Apia", "2011-12-29T20:00:00Z", 3),
        ["2011-12-31T00:00:00+14:00", "2011-12-31T03:00:00+14:00", "2012-01-01T03:00:00+14:00"]
    );
}

#[test]
fn a_fixed_time_in_the_repeated_hour_comes_the_first_time_only() {
    let from = "2026-10-25T00:00:00+02:00";
    assert_eq!(
        shown("30 2 * * *", "Europe/Berlin", from, 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    assert_eq!(
        shown("0 1-3 * * *", "Europe/Berlin", from, 3),
        ["2026-10-25T01:00:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00"]
    );
    // Asked during the second round, when it has been.
    assert_eq!(
        shown("45 2 * * *", "Europe/Berlin", "2026-10-25T02:30:00+01:00", 1),
        ["2026-10-26T02:45:00+01:00"]
    );
}

#[test]
fn wildcard_hours_and_intervals_follow_elapsed_time() {
    assert_eq!(
        shown("30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", 2),
        ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"]
    );
    for text in ["30 * * * *", "30 0-23 * * *", "30 */1 * * *"] {
        assert_eq!(
            shown(text, "Europe/Berlin", "2026-10-25T01:45:00+02:00", 3),
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"],
            "{text}"
        );
    }
    // A star with a step is a wildcard too, as it is to cron daemons at large.
    assert_eq!(
        shown("0 */2 * * *", "Europe/Berlin", "2026-10-25T01:00:00+02:00", 3),
        ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T04:00:00+01:00"]
    );
    assert_eq!(
        shown("@every 45m", "Europe/Berlin", "2026-10-25T02:00:00+02:00", 3),
        ["2026-10-25T02:45:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:15:00+01:00"]
    );
}

#[test]
fn an_interval_counts_from_now_in_whole_seconds() {
    assert_eq!(
        shown("@every 1.9s", "UTC", "2026-01-01T00:00:00.999Z", 2),
        ["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"]
    );
}

#[test]
fn a_daily_schedule_runs_exactly_once_on_each_civil_day_of_ten_years() {
    // The last three change at midnight, or did in these years.
    let zones = [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "America/Havana",
        "Asia/Beirut",
    ];
    for tz in zones {
        for text in ["30 2 * * *", "0 0 * * *", "15 0 * * *", "0 1 * * *", "59 59 23 * * *", "0 3 * * *"] {
            let schedule = schedule(text, tz);
            let first = Date::constant(2012, 1, 1);
            let from = first.to_zoned(zone(tz)).unwrap().timestamp() - SignedDuration::from_secs(1);
            let end = first.saturating_add(10.years());
            let mut runs: BTreeMap<Date, usize> = BTreeMap::new();
            let mut time = schedule.next_after(from).unwrap();
            while time.date() < end {
                *runs.entry(time.date()).or_default() += 1;
                time = schedule.next_after(time.timestamp()).unwrap();
            }
            let days = first.series(1.day()).take_while(|day| *day < end);
            for day in days {
                assert_eq!(runs.remove(&day), Some(1), "'{text}' in {tz} on {day}");
            }
            assert_eq!(runs, BTreeMap::new());
        }
    }
}

#[test]
fn a_rare_day_is_found_and_a_search_ends() {
    assert_eq!(shown("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"]);
    assert_eq!(shown("@yearly", "UTC", "9998-06-01T00:00:00Z", 3).len(), 0);
}

/// One field as it is written, and the values that it must mean.
#[derive(Debug, Clone)]
struct Written {
    text: String,
    values: Vec<i8>,
    star: bool,
}

fn written(min: i8, max: i8) -> impl Strategy<Value = Written> {
    let star = Just(Written { text: "*".into(), values: (min..=max).collect(), star: true });
    let step = (2..=max).prop_map(move |step| Written {
        text: format!("*/{step}"),
        values: (min..=max).step_by(step as usize).collect(),
        star: false,
    });
    let onward = (min..=max, 1..=max).prop_map(move |(start, step)| Written {
        text: format!("{start}/{step}"),
        values: (start..=max).step_by(step as usize).collect(),
        star: false,
    });
    let range = (min..=max, min..=max, 1..=max).prop_map(|(a, b, step)| Written {
        text: format!("{}-{}/{step}", a.min(b), a.max(b)),
        values: (a.min(b)..=a.max(b)).step_by(step as usize).collect(),
        star: false,
    });
    let list = prop::collection::vec(min..=max, 1..5).prop_map(|values| Written {
        text: values.iter().map(i8::to_string).collect::<Vec<_>>().join(","),
        values,
        star: false,
    });
    prop_oneof![3 => star, 1 => step, 1 => onward, 2 => range, 3 => list]
}

fn fields() -> impl Strategy<Value = [Written; 5]> {
    (written(0, 59), written(0, 23), written(1, 31), written(1, 12), written(0, 6))
        .prop_map(|(minute, hour, day, month, weekday)| [minute, hour, day, month, weekday])
}

fn text_of(fields: &[Written; 5]) -> String {
    fields.each_ref().map(|field| &*field.text).join(" ")
}

/// Whether the fields allow this minute, by the rule in go-cron's manual.
fn matches(fields: &[Written; 5], time: &Zoned) -> bool {
    let [minute, hour, day, month, weekday] = fields;
    let by_day = day.values.contains(&time.day());
    let by_weekday = weekday.values.contains(&time.weekday().to_sunday_zero_offset());
    let on_day = if day.star || weekday.star { by_day && by_weekday } else { by_day || by_weekday };
    on_day
        && time.second() == 0
        && minute.values.contains(&time.minute())
        && hour.values.contains(&time.hour())
        && month.values.contains(&time.month())
}

/// A moment of the years 2026 to 2028.
fn moments() -> impl Strategy<Value = Timestamp> {
    (1_767_225_600i64..1_861_920_000, 0..1_000_000_000)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_time_is_later_and_fits_the_fields_and_no_fitting_minute_is_skipped(
        fields in fields(), from in moments()
    ) {
        let Ok(schedule) = Schedule::parse_in(&text_of(&fields), &zone("Asia/Tashkent")) else {
            // Only days that no year has are refused.
            prop_assert!(fields[2].values.iter().all(|day| *day > 29));
            return Ok(());
        };
        let next = schedule.next_after(from).unwrap();
        prop_assert!(next.timestamp() > from);
        prop_assert!(matches(&fields, &next), "{next} does not fit {}", text_of(&fields));
        // At most forty days back: a search over years would take too long.
        let earliest = next.timestamp() - SignedDuration::from_hours(40 * 24);
        let mut minute = next.timestamp() - SignedDuration::from_mins(1);
        while minute > from && minute > earliest {
            let skipped = minute.to_zoned(next.time_zone().clone());
            prop_assert!(!matches(&fields, &skipped), "{skipped} was skipped by {}", text_of(&fields));
            minute -= SignedDuration::from_mins(1);
        }
    }

    #[test]
    fn across_a_change_of_clocks_wildcard_hours_come_at_every_minute_that_fits(
        minute in written(0, 59), hours_from in -30i64..30
    ) {
        for change in ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"] {
            let change: Timestamp = change.parse().unwrap();
            let schedule = schedule(&format!("{} * * * *", minute.text), "Europe/Berlin");
            let from = change + SignedDuration::from_mins(hours_from * 7);
            let next = schedule.next_after(from).unwrap();
            let expected = (1..)
                .map(|minutes| (from + SignedDuration::from_mins(minutes)).to_zoned(zone("Europe/Berlin")))
                .find(|time| minute.values.contains(&time.minute()))
                .unwrap();
            prop_assert_eq!(next, expected);
        }
    }

    #[test]
    fn no_text_panics_and_no_refusal_has_a_second_line(text in "\\PC{0,40}|(TZ=|CRON_TZ=|@every )?[-*/?,0-9a-zA-Z@ \n]{0,30}") {
        if let Err(error) = Schedule::parse_in(&text, &TimeZone::UTC) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
