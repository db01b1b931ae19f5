//! The table of all settings: default, rule, and who may change or see each.
//!
//! `check-env`, the override file, `GET /config` and the test of the documentation use this table.

use super::rule::Rule;

/// The values of `WEBHOOK_FORMAT`, in the order of [`super::WebhookFormat`].
pub const WEBHOOK_FORMATS: [&str; 6] = ["json", "slack", "discord", "teams", "ntfy", "text"];

/// Who may change a variable while the daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No one; it is set when the container starts.
    Fixed,
    /// The API, which also shows it.
    Mutable,
    /// The API, which never shows it.
    WriteOnly,
}

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// Whether `NAME_FILE`, a path, may replace it; that takes precedence.
    pub has_file_twin: bool,
    /// Its default; "" for none.
    pub default: &'static str,
    /// Who may change it.
    pub access: Access,
    /// Whether its value is secret.
    pub secret: bool,
    /// The form of its value.
    pub rule: Rule,
}

impl Variable {
    /// Name of the variable that holds the path of a file with the value.
    pub fn file_twin(&self) -> String {
        format!("{}_FILE", self.name)
    }

    /// The variable of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        VARIABLES.iter().find(|variable| variable.name == name)
    }

    /// Whether a variable with this name, or a `_FILE` twin, exists.
    pub fn is_known(name: &str) -> bool {
        let of_file = name.strip_suffix("_FILE").and_then(Self::named);
        Self::named(name).is_some() || of_file.is_some_and(|variable| variable.has_file_twin)
    }

    /// The variables that the API may change.
    pub fn mutable() -> impl Iterator<Item = &'static Self> {
        VARIABLES.iter().filter(|variable| variable.access != Access::Fixed)
    }

    const fn fixed(name: &'static str, default: &'static str, rule: Rule) -> Self {
        Self { name, has_file_twin: false, default, access: Access::Fixed, secret: false, rule }
    }

    const fn mutable_with(name: &'static str, default: &'static str, rule: Rule) -> Self {
        Self { access: Access::Mutable, ..Self::fixed(name, default, rule) }
    }

    const fn write_only(name: &'static str, rule: Rule) -> Self {
        Self { access: Access::WriteOnly, secret: true, ..Self::fixed(name, "", rule) }
    }

    const fn secret(name: &'static str, rule: Rule) -> Self {
        Self { secret: true, ..Self::fixed(name, "", rule) }
    }

    const fn or_file(self) -> Self {
        Self { has_file_twin: true, ..self }
    }
}

/// All variables, in the order of `GET /config` and the documentation.
pub const VARIABLES: &[Variable] = &[
    Variable::fixed("POSTGRES_HOST", "", Rule::Text),
    Variable::fixed("POSTGRES_PORT", "5432", Rule::ServerPort),
    Variable::fixed("POSTGRES_PORT_5432_TCP_ADDR", "", Rule::Text),
    Variable::fixed("POSTGRES_PORT_5432_TCP_PORT", "", Rule::ServerPort),
    Variable::fixed("POSTGRES_USER", "", Rule::Text).or_file(),
    Variable::secret("POSTGRES_PASSWORD", Rule::Text).or_file(),
    Variable::fixed("POSTGRES_PASSFILE_STORE", "", Rule::Text),
    Variable::mutable_with("SCHEDULE", "@daily", Rule::Schedule),
    Variable::fixed("TZ", "", Rule::Text),
    Variable::mutable_with("BACKUP_KEEP_MINS", "1440", Rule::Keep),
    Variable::mutable_with("BACKUP_KEEP_DAYS", "7", Rule::Keep),
    Variable::mutable_with("BACKUP_KEEP_WEEKS", "4", Rule::Keep),
    Variable::mutable_with("BACKUP_KEEP_MONTHS", "6", Rule::Keep),
    Variable::fixed("BACKUP_KEEP_AT_LEAST", "1", Rule::Count),
    Variable::fixed("BACKUP_KEEP_YEARS", "0", Rule::Whole),
    Variable::mutable_with("POSTGRES_DB", "", Rule::DatabaseNames).or_file(),
    Variable::mutable_with("POSTGRES_DB_AUTODISCOVER", "FALSE", Rule::Flag),
    Variable::mutable_with("POSTGRES_DB_EXCLUDE", "", Rule::DatabaseNames),
    Variable::fixed("POSTGRES_CLUSTER", "FALSE", Rule::Flag),
    Variable::mutable_with("POSTGRES_EXTRA_OPTS", "-Z1", Rule::DumpOptions),
    Variable::mutable_with("POSTGRES_EXCLUDE_TABLES", "", Rule::Text),
    Variable::fixed("POSTGRES_CONNECT_TIMEOUT", "30", Rule::Whole),
    Variable::fixed("BACKUP_ON_START", "FALSE", Rule::Flag),
    Variable::fixed("VALIDATE_ON_START", "TRUE", Rule::Flag),
    Variable::fixed("BACKUP_DIR", "/backups", Rule::Text),
    Variable::fixed("BACKUP_SUFFIX", ".sql.gz", Rule::Suffix),
    Variable::fixed("BACKUP_LATEST_TYPE", "symlink", Rule::OneOf(&["symlink", "hardlink", "none"])),
    Variable::fixed("BACKUP_LOCK_WAIT", "0", Rule::Whole),
    Variable::fixed("RESTORE_JOBS", "0", Rule::Whole),
    Variable::fixed("BACKUP_GLOBALS", "FALSE", Rule::Flag),
    Variable::secret("BACKUP_ENCRYPTION_KEY", Rule::Passphrase).or_file(),
    Variable::fixed("BACKUP_VERIFY", "checksum", Rule::OneOf(&["checksum", "restore"])),
    Variable::fixed("BACKUP_VERIFY_EVERY", "0s", Rule::Span),
    Variable::fixed("BACKUP_MAX_UNPROVEN_DAYS", "0", Rule::Whole),
    Variable::mutable_with("BACKUP_MIN_DISK_SPACE", "100", Rule::Whole),
    Variable::mutable_with("BACKUP_MAX_AGE_HOURS", "48", Rule::Whole),
    Variable::fixed("BACKUP_MAX_RUN_HOURS", "0", Rule::Hours),
    Variable::fixed("HEALTHCHECK_PORT", "8080", Rule::Port),
    Variable::fixed("REST_API_ENABLE", "FALSE", Rule::Flag),
    Variable::fixed("REST_API_BIND", "::", Rule::Address),
    Variable::fixed("REST_API_PORT", "8081", Rule::Port),
    Variable::secret("REST_API_TOKEN", Rule::Token).or_file(),
    Variable::secret("REST_API_READ_TOKEN", Rule::Token).or_file(),
    Variable::fixed("GOCRON_BIN", "", Rule::Text),
    Variable::fixed("SCRIPTS_DIR", "", Rule::Text),
    Variable::fixed("HOOKS_DIR", "/hooks", Rule::Text),
    Variable::fixed("HOOK_TIMEOUT", "1h", Rule::Limit),
    Variable::write_only("TELEGRAM_BOT_TOKEN", Rule::Text).or_file(),
    Variable::mutable_with("TELEGRAM_CHAT_ID", "", Rule::Text).or_file(),
    Variable::mutable_with("TELEGRAM_THREAD_ID", "", Rule::Text),
    Variable::mutable_with("TELEGRAM_API_URL", "https://api.telegram.org", Rule::Url),
    Variable::mutable_with("TELEGRAM_NOTIFY_ON", "all", Rule::OneOf(&["all", "success", "failure", "none"])),
    Variable::write_only("TELEGRAM_API_ID", Rule::Whole).or_file(),
    Variable::write_only("TELEGRAM_API_HASH", Rule::Text).or_file(),
    Variable::mutable_with("TELEGRAM_UPLOAD_METHOD", "smart", Rule::OneOf(&["smart", "botapi", "mtproto"])),
    Variable::write_only("WEBHOOK_URL", Rule::Url),
    Variable::secret("WEBHOOK_ERROR_URL", Rule::Url),
    Variable::secret("WEBHOOK_PRE_BACKUP_URL", Rule::Url),
    Variable::secret("WEBHOOK_POST_BACKUP_URL", Rule::Url),
    Variable::fixed("WEBHOOK_FORMAT", "json", Rule::OneOf(&WEBHOOK_FORMATS)),
    Variable::mutable_with("WEBHOOK_EXTRA_ARGS", "", Rule::CurlOptions),
    Variable::fixed("PROJECT_NAME", "", Rule::Text),
    Variable::fixed("LOG_FORMAT", "text", Rule::OneOf(&["text", "json"])),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_keeps_its_own_rule() {
        for variable in VARIABLES {
            if !variable.default.is_empty() {
                assert_eq!(variable.rule.check(variable.default), Ok(()), "{}", variable.name);
            }
        }
    }

    #[test]
    fn the_api_may_change_the_documented_keys_and_no_others() {
        let mutable: Vec<_> = Variable::mutable().map(|variable| variable.name).collect();
        assert_eq!(mutable.len(), 22);
        for name in ["POSTGRES_HOST", "POSTGRES_PASSWORD", "BACKUP_DIR", "REST_API_TOKEN", "POSTGRES_CLUSTER"]
        {
            assert!(!mutable.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_the_api_never_shows_is_secret() {
        assert!(
            Variable::mutable().all(|variable| variable.secret == (variable.access == Access::WriteOnly))
        );
    }
}
