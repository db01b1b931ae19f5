//! `backupgram schedule`: shows when a schedule comes next, or why it is none.

use std::fmt::Display;
use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lexopt::{Arg, ValueExt};

use super::context::{Failure, Outcome, WRONG_CALL};
use crate::formats::schedule::{Schedule, rfc3339};

/// How many times are shown unless `--count` says otherwise.
const COUNT: usize = 5;

pub(super) const HELP: &str = "\
backupgram schedule '0 3 * * 1-5'
backupgram schedule @daily --from 2026-04-16T14:30:00Z --count 3

usage: backupgram schedule EXPRESSION [--from TIME] [--count N]

Shows the next times of a schedule, one per line, in the zone of TZ.

  EXPRESSION     as in SCHEDULE, quoted for the shell
  --from TIME    look from this time on instead of from now, such as
                 2026-04-16T14:30:00Z
  --count N      show N times, 5 without it

environment: TZ says in which zone.

exit status: 0 shown; 2 invalid schedule, or usage error.";

/// Prints the next times of the schedule in `arguments`. Any error in them exits with 2.
pub(super) fn run(mut arguments: lexopt::Parser) -> Outcome {
    let refused = |error: &dyn Display| Failure { status: WRONG_CALL, ..Failure::new(error) };
    let request = Request::parse(&mut arguments).map_err(|error| refused(&error))?;
    print(request.times(&TimeZone::system()).map_err(|error| refused(&error))?);
    Ok(())
}

fn print(times: impl Iterator<Item = String>) {
    let mut output = std::io::stdout().lock();
    for time in times {
        // A reader such as `head` may have closed the pipe.
        if writeln!(output, "{time}").is_err() {
            break;
        }
    }
}

#[derive(Debug)]
struct Request {
    expression: String,
    from: Option<Timestamp>,
    count: usize,
}

impl Request {
    fn parse(arguments: &mut lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut expression = None;
        let mut from = None;
        let mut count = COUNT;
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("from") => from = Some(arguments.value()?.parse()?),
                Arg::Long("count") => count = arguments.value()?.parse()?,
                Arg::Value(value) if expression.is_none() => expression = Some(value.string()?),
                other => return Err(other.unexpected()),
            }
        }
        let expression = expression.ok_or("no schedule given, for example '0 3 * * *'")?;
        Ok(Self { expression, from, count })
    }

    fn times(
        &self,
        zone: &TimeZone,
    ) -> Result<impl Iterator<Item = String> + use<>, crate::formats::schedule::ScheduleError> {
        let schedule = Schedule::parse_in(&self.expression, zone)?;
        let from = self.from.unwrap_or_else(Timestamp::now);
        let first = schedule.next_after(from);
        let times = std::iter::successors(first, move |time| schedule.next_after(time.timestamp()));
        Ok(times.map(|time| rfc3339(&time)).take(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(arguments: &[&str]) -> Result<Request, String> {
        Request::parse(&mut lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string())
    }

    fn times(arguments: &[&str]) -> Result<Vec<String>, String> {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let times = request(arguments)?.times(&zone).map_err(|error| error.to_string())?;
        Ok(times.collect())
    }

    #[test]
    fn the_next_times_come_in_the_zone_whatever_zone_they_are_asked_from() {
        let shown = times(&["30 2 * * *", "--from", "2026-03-28T00:00:00Z", "--count", "3"]).unwrap();
        assert_eq!(
            shown,
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
        );
    }

    #[test]
    fn five_times_are_shown_unless_told_otherwise() {
        assert_eq!(times(&["@hourly"]).unwrap().len(), 5);
        assert_eq!(times(&["--count=0", "@hourly"]).unwrap(), [""; 0]);
    }

    #[test]
    fn bad_arguments_and_bad_schedules_are_told_in_one_line() {
        for (arguments, message) in [
            (&["61 * * * *"][..], "'61' is not a minute (0-59)"),
            (&[], "no schedule given, for example '0 3 * * *'"),
            (&["@daily", "@hourly"], "unexpected argument \"@hourly\""),
            (&["@daily", "--count", "x"], "cannot parse argument \"x\": invalid digit found in string"),
        ] {
            assert_eq!(times(arguments).unwrap_err(), message);
        }
    }
}
