//! Backup runs that take too long: those that still go on when the next one is due, or much longer than the ones before.

use jiff::Timestamp;

use crate::formats::schedule::{Schedule, rfc3339};
use crate::postgres::Server;
use crate::settings::{Environment, Reader};
use crate::store::catalog::BackupDirectory;
use crate::store::records::history::{self, Trigger};
use crate::store::records::is_of;
use crate::system::running::{self, Running};
use crate::util::units;

/// A shorter run is only overdue if a scheduled run was skipped because of it.
const SHORTEST: i64 = 3600;
/// How many of the last runs are looked at.
const LAST: usize = 10;
/// How many times the longest of these a run may take.
const FACTOR: i64 = 3;

/// What is to be said of each run that is overdue.
pub fn check(directory: &BackupDirectory, environment: &Environment) -> Vec<String> {
    let server = Server::address_in(environment);
    let mut running = running::list(directory.root());
    running.retain(|run| is_of(&run.server, server.as_deref()));
    if running.is_empty() {
        return Vec::new();
    }
    let schedule = Reader::resolve(environment, |reader| reader.text("SCHEDULE"));
    let schedule = schedule.ok().and_then(|text| Schedule::parse(&text).ok());
    // A history that cannot be read is a problem of its own.
    let last = history::newest(directory, history::REMEMBERED).unwrap_or_default();
    let own = last.iter().filter(|run| run.is_of(server.as_deref())).take(LAST);
    let longest = own.map(|run| run.seconds().ceil() as i64).max();
    let now = Timestamp::now();
    running.iter().filter_map(|run| judge(run, schedule.as_ref(), longest, now)).collect()
}

/// What is wrong with a run, if anything is, when the longest of the last ones took so many seconds.
fn judge(run: &Running, schedule: Option<&Schedule>, longest: Option<i64>, now: Timestamp) -> Option<String> {
    let age = now.as_second().saturating_sub(run.start);
    let next = schedule.filter(|_| run.trigger == Trigger::Schedule);
    let skipped = next.and_then(|schedule| schedule.next_after(run.began()));
    let skipped = skipped.filter(|time| time.timestamp() <= now);
    let cause = match skipped {
        Some(time) => format!("the run due at {} was skipped because of it", rfc3339(&time)),
        None if age <= SHORTEST.max(longest.unwrap_or_default().saturating_mul(FACTOR)) => return None,
        None => match longest {
            Some(longest) => format!("the longest of the last {LAST} runs took {}", units::age(longest)),
            None => "there is no earlier run to compare it with".to_owned(),
        },
    };
    Some(format!(
        "the backup run that started at {} (process {}, requested by {}) is overdue: it has taken {}, and \
         {cause}; current step: {}",
        run.began(),
        run.pid,
        run.trigger.word(),
        units::age(age),
        run.doing
    ))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    const START: i64 = 1_700_000_000;

    fn judged(trigger: Trigger, schedule: &str, longest: impl Into<Option<i64>>, age: i64) -> Option<String> {
        let (server, doing) = (String::new(), "dump of app".into());
        let run = Running { pid: 7, start: START, trigger, server, doing };
        let schedule = Schedule::parse_in(schedule, &TimeZone::UTC).unwrap();
        judge(&run, Some(&schedule), longest.into(), Timestamp::from_second(START + age).unwrap())
    }

    #[test]
    fn a_run_is_overdue_when_it_takes_more_than_an_hour_and_three_times_the_longest_of_the_last() {
        for (longest, age, is_overdue) in [
            (0, 3600, false),
            (0, 3601, true),
            (10, 3600, false),
            (1200, 3601, true),
            (1201, 3603, false),
            (7200, 21_600, false),
            (7200, 21_601, true),
            // The clock was set back.
            (7200, -5, false),
        ] {
            for trigger in [Trigger::Api, Trigger::Cli, Trigger::Schedule] {
                let said = judged(trigger, "@yearly", longest, age);
                assert_eq!(said.is_some(), is_overdue, "{trigger:?} {longest} {age}: {said:?}");
            }
        }
    }

    #[test]
    fn a_scheduled_run_is_overdue_when_the_next_one_is_due() {
        // 22:13:20.
        assert_eq!(judged(Trigger::Schedule, "0 * * * *", 86_400, 2799), None);
        let said = judged(Trigger::Schedule, "0 * * * *", 86_400, 2800).unwrap();
        assert!(
            said.contains("started at 2023-11-14T22:13:20Z") && said.ends_with(": dump of app"),
            "{said}"
        );
        assert!(
            said.contains("has taken 46 min, and the run due at 2023-11-14T23:00:00Z was skipped"),
            "{said}"
        );
        assert!(judged(Trigger::Schedule, "@every 90s", 86_400, 90).is_some());
        // Nobody skips a run for these.
        assert_eq!(judged(Trigger::Api, "* * * * *", 86_400, 2800), None);
        assert_eq!(judged(Trigger::Cli, "* * * * *", 86_400, 2800), None);
    }
}
