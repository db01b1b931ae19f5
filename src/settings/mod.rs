//! Settings: raw in [`Environment`], resolved and typed in the parts below. Each part is resolved on its
//! own, so that listing backups does not fail for want of a server's name.

mod api;
mod children;
mod curl_options;
mod environment;
mod notices;
pub mod overrides;
mod reader;
mod redactor;
mod remarks;
mod rule;
mod secrecy;
mod secret;
mod variable;

use std::path::PathBuf;
use std::time::Duration;

use crate::delivery::telegram::TelegramSettings;
use crate::engine::backup::{DumpFormat, DumpOptions};
use crate::postgres::Server;
use crate::store::catalog::{DatabaseName, Latest, Scope, Suffix};
use crate::store::retention::Policy;
use overrides::{Overrides, OverridesError};

pub use api::{ApiSettings, SchedulerSettings};
pub(crate) use children::remove_api_settings;
pub(crate) use curl_options::{check_trusted_options, config_lines, without_value};
pub use environment::{Environment, Found, Source};
pub use notices::{Notices, WebhookFormat};
pub use reader::{Fault, Faults, Reader};
pub use redactor::Redactor;
pub use remarks::{remark_on_time_zone, remarks};
pub use rule::Rule;
pub(crate) use rule::split_words;
pub(crate) use secrecy::remove_secrets;
pub use secrecy::{has_mask, secrets, shown};
pub use secret::Secret;
pub use variable::{Access, VARIABLES, Variable};

/// Where backups are kept, and for how long.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The backup directory.
    pub directory: PathBuf,
    /// The end of a backup's file name.
    pub suffix: Suffix,
    /// What a `-latest` pointer is.
    pub latest: Latest,
    /// What is deleted after a backup.
    pub policy: Policy,
    /// Bytes that must be free before a dump.
    pub minimum_free: u64,
    /// Seconds that a run waits for another one to end.
    pub lock_wait: u32,
    /// What new backups are encrypted with, and encrypted ones are opened with.
    pub passphrase: Option<Secret>,
    /// How many seconds after the last restore proof of a database its new backup is proven, if ever.
    pub proof_interval: Option<u64>,
    /// How many jobs restore at once.
    pub restore_jobs: usize,
    /// How long a backup run may take, if there is a limit.
    pub longest_run: Option<Duration>,
}

/// What to dump, and how.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The databases.
    pub databases: Databases,
    /// Whether roles and tablespaces are dumped, too.
    pub globals: bool,
    /// Options for pg_dump.
    pub options: DumpOptions,
    /// Patterns of tables to leave out.
    pub excluded_tables: Vec<String>,
}

/// Which databases to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Databases {
    /// These.
    Named(Vec<DatabaseName>),
    /// The whole server as one dump.
    Cluster,
    /// All that the server has, but for these.
    Discovered {
        /// Databases to leave out.
        except: Vec<DatabaseName>,
    },
}

impl Databases {
    /// The names that are known beforehand, or `only` those.
    pub fn names(&self, only: &[DatabaseName]) -> Vec<String> {
        let names = match (self, only) {
            (Self::Named(names), []) => names,
            (Self::Cluster, []) => return vec![Scope::Cluster.name().into()],
            _ => only,
        };
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }
}

/// The environment of this process under the override file of its backup directory. Whatever is secret in it is kept out
/// of this process's log from now on.
///
/// # Errors
/// When the override file is there and is not one that the API wrote.
pub fn effective_environment() -> Result<Environment, OverridesError> {
    let environment = read_environment();
    Redactor::of_process().learn(&match &environment {
        Ok(environment) => secrets(environment),
        Err(_) => secrets(&Environment::of_process()),
    });
    environment
}

fn read_environment() -> Result<Environment, OverridesError> {
    let base = Environment::of_process();
    let directory = base.plain("BACKUP_DIR").ok().flatten().unwrap_or("/backups");
    let overrides = Overrides::load(directory.as_ref())?;
    overrides
        .check_against(&base)
        .map_err(|refusal| OverridesError::Refused(overrides::path(directory.as_ref()), refusal))?;
    Ok(base.with_overrides(overrides))
}

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
        reader.fault("HEALTHCHECK_PORT", "must be another than REST_API_PORT, or 0 for none");
    }
    Some(())
}

/// How many jobs pg_restore may do at once: as many as there are processors, unless `RESTORE_JOBS` says.
fn restore_jobs(reader: &mut Reader) -> Option<usize> {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    match reader.whole("RESTORE_JOBS")? {
        0 => Some(processors()),
        jobs => usize::try_from(jobs).ok(),
    }
}

impl Storage {
    /// Reads the part.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let mebibytes = reader.whole("BACKUP_MIN_DISK_SPACE");
        let suffix = reader.text("BACKUP_SUFFIX");
        let latest = reader.word("BACKUP_LATEST_TYPE");
        let policy = Policy::read(reader);
        let lock_wait = reader.whole("BACKUP_LOCK_WAIT");
        let passphrase = reader.secret("BACKUP_ENCRYPTION_KEY");
        let restore_jobs = restore_jobs(reader);
        let longest_run = reader.hours("BACKUP_MAX_RUN_HOURS");
        let (verify, interval) = (reader.word("BACKUP_VERIFY"), reader.span("BACKUP_VERIFY_EVERY"));
        Some(Self {
            directory: reader.text("BACKUP_DIR")?.into(),
            suffix: Suffix::parse(&suffix?).ok()?,
            latest: Latest::from_word(latest?),
            policy: policy?,
            minimum_free: u64::from(mebibytes?) << 20,
            lock_wait: lock_wait?,
            passphrase,
            proof_interval: interval.filter(|_| verify == Some("restore")),
            restore_jobs: restore_jobs?,
            longest_run: longest_run?,
        })
    }

    /// The end of the names of new backups.
    pub fn ending(&self) -> String {
        let encrypted = if self.passphrase.is_some() { ".gpg" } else { "" };
        format!("{}{encrypted}", self.suffix.as_str())
    }
}

impl Subject {
    /// Whether a run may be asked for this one, as far as that is known without the server.
    pub fn may_include(&self, name: &DatabaseName) -> bool {
        let is = |scope| *name == DatabaseName::of_scope(scope);
        match &self.databases {
            _ if self.globals && is(Scope::Globals) => true,
            Databases::Named(names) => names.contains(name),
            Databases::Cluster => is(Scope::Cluster),
            Databases::Discovered { except } => !except.contains(name),
        }
    }

    /// Reads the part.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let named = names(reader, "POSTGRES_DB");
        let except = names(reader, "POSTGRES_DB_EXCLUDE");
        let discover = reader.flag("POSTGRES_DB_AUTODISCOVER")?;
        let cluster = reader.flag("POSTGRES_CLUSTER")?;
        let globals = reader.flag("BACKUP_GLOBALS")?;
        if !discover && !cluster && named.is_empty() {
            reader.missing(
                "POSTGRES_DB",
                "is not set: name the databases to back up, or set POSTGRES_DB_AUTODISCOVER=TRUE",
            );
        }
        let options = reader.text("POSTGRES_EXTRA_OPTS").unwrap_or_default();
        let excluded_tables = reader.text("POSTGRES_EXCLUDE_TABLES").unwrap_or_default();
        let patterns = excluded_tables.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
        let excluded_tables: Vec<String> = patterns.map(String::from).collect();
        let parsed =
            if cluster { DumpOptions::parse_for_server(&options) } else { DumpOptions::parse(&options) };
        let options = parsed.map_err(|error| reader.fault("POSTGRES_EXTRA_OPTS", error.to_string())).ok()?;
        if cluster && options.format != DumpFormat::Plain {
            reader.fault("POSTGRES_EXTRA_OPTS", "asks for a format that POSTGRES_CLUSTER=TRUE does not have");
        }
        if cluster && !excluded_tables.is_empty() {
            reader.fault(
                "POSTGRES_EXCLUDE_TABLES",
                "is set, but pg_dumpall (POSTGRES_CLUSTER=TRUE) leaves out no tables",
            );
        }
        Some(Self {
            databases: match (cluster, discover) {
                (true, _) => Databases::Cluster,
                (false, true) => Databases::Discovered { except },
                (false, false) => Databases::Named(named),
            },
            // A dump of the whole server has them.
            globals: globals && !cluster,
            options,
            excluded_tables,
        })
    }
}

fn names(reader: &mut Reader, variable: &str) -> Vec<DatabaseName> {
    let text = reader.text(variable).unwrap_or_default();
    DatabaseName::parse_list(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
