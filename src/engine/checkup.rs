//! What is wrong with the settings as a whole, and what should be known of settings that are accepted.

use jiff::tz::TimeZone;

use crate::delivery::telegram::{self, TelegramSettings};
use crate::postgres::Server;
use crate::settings::{
    ApiSettings, Environment, Faults, Notices, Reader, SchedulerSettings, Secret, Storage, Subject,
};
use crate::store::catalog::Slot;
use crate::store::retention::Policy;

/// Below this many bytes a token is short.
const SHORT_TOKEN: usize = 32;

/// Everything that is wrong with the settings of a scheduled backup, all at once.
pub fn check(environment: &Environment) -> Faults {
    let Faults(mut faults) = Reader::check_all(environment);
    let parts = [
        Reader::resolve(environment, check_ports).map(drop),
        Reader::resolve(environment, Storage::read).map(drop),
        Reader::resolve(environment, Server::read).map(drop),
        Reader::resolve(environment, Subject::read).map(drop),
        Reader::resolve(environment, SchedulerSettings::read).map(drop),
        Reader::resolve(environment, ApiSettings::read_if_enabled).map(drop),
        Reader::resolve(environment, TelegramSettings::read).map(drop),
    ];
    for fault in parts.into_iter().filter_map(Result::err).flat_map(|faults| faults.0) {
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    Faults(faults)
}

/// go-cron listens on every address, so one port cannot serve it and the API.
fn check_ports(reader: &mut Reader) -> Option<()> {
    let api = reader.flag("REST_API_ENABLE")?.then(|| reader.port("REST_API_PORT")).flatten();
    if api.is_some_and(|port| port != 0) && api == reader.port("HEALTHCHECK_PORT") {
        reader.fault("HEALTHCHECK_PORT", "must differ from REST_API_PORT, or be 0 for no port");
    }
    Some(())
}

/// What should be known of settings that are accepted, a line each.
pub fn remarks(environment: &Environment) -> Vec<String> {
    let mut remarks = Vec::new();
    let api = Reader::resolve(environment, ApiSettings::read_if_enabled).ok().flatten();
    if let Some(api) = api {
        let tokens = [("REST_API_TOKEN", Some(api.token)), ("REST_API_READ_TOKEN", api.read_token)];
        let is_short = |token: Option<Secret>| token.is_some_and(|token| token.expose().len() < SHORT_TOKEN);
        let short = tokens.into_iter().filter_map(|(name, token)| is_short(token).then_some(name));
        remarks.extend(short.map(|name| {
            format!("{name} is shorter than {SHORT_TOKEN} bytes; `openssl rand -hex 32` makes a good one")
        }));
    }
    if let Ok(subject) = Reader::resolve(environment, Subject::read) {
        let of_options = subject.options.remarks.iter();
        remarks.extend(of_options.map(|remark| format!("POSTGRES_EXTRA_OPTS {remark}")));
    }
    remarks.extend(environment.unknown_overrides().map(|name| {
        format!(".api-overrides.env sets {name}, which this release does not know; the line is kept")
    }));
    let unlimited = Reader::resolve(environment, |reader| {
        let is_unlimited = |slot: &Slot| reader.keep(Policy::variable(*slot)) == Some(None);
        Some(Slot::ALL.into_iter().filter(is_unlimited).collect::<Vec<_>>())
    });
    remarks.extend(
        unlimited
            .unwrap_or_default()
            .into_iter()
            .map(|slot| format!("{} is empty: backups in {slot} are kept forever", Policy::variable(slot))),
    );
    remarks.extend(remark_on_old_webhook(environment));
    let of_telegram = Reader::resolve(environment, |reader| Some(telegram::remarks(reader)));
    remarks.extend(of_telegram.unwrap_or_default().into_iter().map(String::from));
    remarks
}

/// The original image sends webhooks by a hook of its own, which people have kept beside theirs.
fn remark_on_old_webhook(environment: &Environment) -> Option<String> {
    const NAME: &str = "00-webhook";
    let notices = Reader::resolve(environment, Notices::read).ok()?;
    let urls =
        [&notices.webhook, &notices.webhook_pre_backup, &notices.webhook_post_backup, &notices.webhook_error];
    let is_doubled = urls.iter().any(|url| url.is_some()) && notices.hooks.join(NAME).exists();
    is_doubled.then(|| format!("HOOKS_DIR has {NAME}, which calls every webhook a second time: remove it"))
}

/// What there is to say of the time zone, which the system's library takes from the process' own environment.
pub fn remark_on_time_zone() -> Option<&'static str> {
    let is_set = std::env::var_os("TZ").is_some_and(|name| !name.is_empty());
    (is_set && TimeZone::system().is_unknown()).then_some("TZ is not a known time zone, so UTC is used")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::overrides::Overrides;

    const COMPLETE: [(&str, &str); 3] =
        [("POSTGRES_HOST", "db"), ("POSTGRES_USER", "u"), ("POSTGRES_DB", "a b,c")];

    fn faults(extra: &[(&str, &str)]) -> Vec<String> {
        let environment = Environment::of(&[&COMPLETE, extra].concat());
        check(&environment).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_needed_and_no_more_passes() {
        assert_eq!(faults(&[]), Vec::<String>::new());
        assert_eq!(faults(&[("BACKUP_KEEP_WEEKS", "08"), ("TZ", "")]), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_told_at_once_and_no_secret_with_it() {
        let found = faults(&[
            ("BACKUP_KEEP_DAYS", "x"),
            ("SCHEDULE", "61 99 * * *"),
            ("POSTGRES_USER", ""),
            ("WEBHOOK_URL", "hunter2"),
            ("REST_API_ENABLE", "TRUE"),
            ("POSTGRES_PASSWORD_FILE", "/nonexistent"),
        ]);
        let named: Vec<&str> = found.iter().filter_map(|line| line.split([' ', '=']).next()).collect();
        let expected = [
            "POSTGRES_PASSWORD",
            "SCHEDULE",
            "BACKUP_KEEP_DAYS",
            "WEBHOOK_URL",
            "POSTGRES_USER",
            "REST_API_TOKEN",
        ];
        assert_eq!(named, expected, "{found:?}");
        assert!(!found.concat().contains("hunter2"));
    }

    #[test]
    fn what_may_hold_a_secret_or_comes_from_a_file_is_not_shown_when_it_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        std::fs::write(&file, "hunter2".repeat(10)).unwrap();
        for (variable, value) in [
            ("WEBHOOK_EXTRA_ARGS", "-H 'Authorization: Bearer hunter2"),
            ("TELEGRAM_API_URL", "ftp://bot:hunter2@example.org/"),
            ("POSTGRES_EXTRA_OPTS", "--dbname=postgresql://app:hunter2@db/app"),
            ("POSTGRES_EXTRA_OPTS", "postgresql://app:hunter2@db/app"),
            ("POSTGRES_EXTRA_OPTS", "-Fc 'hunter2"),
            ("POSTGRES_DB_FILE", file.to_str().unwrap()),
        ] {
            let found = faults(&[(variable, value)]).concat();
            assert!(found.starts_with(variable.trim_end_matches("_FILE")), "{variable}={value}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
        assert!(
            faults(&[("BACKUP_KEEP_DAYS", "soon")]).concat().starts_with("BACKUP_KEEP_DAYS=\"soon\" must be")
        );
    }

    #[test]
    fn what_a_dump_of_the_whole_server_does_not_have_is_said_and_not_ignored() {
        for (variable, value) in [("POSTGRES_EXTRA_OPTS", "-Fc"), ("POSTGRES_EXCLUDE_TABLES", "logs")] {
            let cluster = [("POSTGRES_CLUSTER", "TRUE"), (variable, value)];
            let faults = check(&Environment::of(&[&COMPLETE[..], &cluster].concat()));
            let faulty: Vec<_> = faults.0.iter().map(|fault| fault.variable).collect();
            assert_eq!(faulty, [variable]);
        }
    }

    #[test]
    fn a_file_wins_over_an_override_and_that_over_the_environment() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        std::fs::write(&file, "from-file\n").unwrap();
        let file = file.to_str().unwrap();
        let read = |environment: &Environment| {
            Reader::resolve(environment, |reader| reader.text("POSTGRES_DB")).unwrap()
        };
        let overrides = Overrides::parse(b"export POSTGRES_DB='from-override'\n").unwrap();
        let base = Environment::of(&COMPLETE);
        assert_eq!(read(&base), "a b,c");
        assert_eq!(read(&base.with_overrides(overrides.clone())), "from-override");
        let with_file = Environment::of(&[&COMPLETE[..], &[("POSTGRES_DB_FILE", file)]].concat());
        assert_eq!(read(&with_file.with_overrides(overrides)), "from-file");
    }

    #[test]
    fn a_container_link_stands_in_for_the_host() {
        let environment = Environment::of(&[
            ("POSTGRES_PORT_5432_TCP_ADDR", "10.0.0.7"),
            ("POSTGRES_PORT_5432_TCP_PORT", "5433"),
            ("POSTGRES_USER", "u"),
        ]);
        let server = Reader::resolve(&environment, Server::read).unwrap();
        assert_eq!(server.address(), "10.0.0.7:5433");
    }
}
