//! What a restore of one database requires of the server, compared with what the server has and lets the role do, before
//! anything is loaded.

use serde::Deserialize;
use serde_json::json;

use super::RestoreError;
use super::making::{Making, MakingNeeds};
use super::source::Checked;
use super::tied::Tied;
use crate::catalog::{DatabaseName, Properties, Provider};
use crate::postgres::quote::literal;
use crate::postgres::{Client, DatabaseError};
use crate::process::ProgramError;
use crate::units;

/// A restore that is to be checked.
pub struct Requirements<'a> {
    /// The backup.
    pub backup: &'a Checked,
    /// What the new database will be like.
    pub making: &'a Making,
    /// The database to replace or make.
    pub target: &'a DatabaseName,
    /// Asks the server.
    pub client: &'a Client,
    /// Whether the role is a superuser.
    pub is_superuser: bool,
}

/// What the server answers about the names it was asked for.
#[derive(Debug, Deserialize)]
struct Answer {
    missing_roles: Vec<String>,
    missing_tablespaces: Vec<String>,
    missing_extensions: Vec<String>,
    /// Extensions that only a superuser may create.
    untrusted_extensions: Vec<String>,
    /// Roles to which the role may give nothing, as it is no member.
    foreign_roles: Vec<String>,
    /// Roles whose settings the role may not change.
    foreign_settings: Vec<String>,
    /// Settings that only a superuser may set.
    protected_settings: Vec<String>,
}

/// Since PostgreSQL 15 parameters have privileges, and since 16 the membership in a role does not always allow SET ROLE.
const QUERY: &str = "
    WITH asked AS (SELECT :'names'::jsonb AS names),
    me AS (SELECT * FROM pg_roles WHERE rolname = current_user),
    roles AS (SELECT value AS name, to_regrole(quote_ident(value))::oid AS oid
              FROM asked, jsonb_array_elements_text(names->'roles')),
    settings AS (SELECT value AS name, (SELECT context FROM pg_settings s WHERE lower(s.name) = lower(value)) AS context
                 FROM asked, jsonb_array_elements_text(names->'settings')),
    extensions AS (SELECT value AS name FROM asked, jsonb_array_elements_text(names->'extensions'))
    SELECT json_build_object(
        'missing_roles', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM roles WHERE oid IS NULL),
        'missing_tablespaces', (SELECT coalesce(json_agg(value ORDER BY value), '[]')
            FROM asked, jsonb_array_elements_text(names->'tablespaces')
            WHERE NOT EXISTS (SELECT FROM pg_tablespace WHERE spcname = value)),
        'missing_extensions', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM extensions e
            WHERE NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = e.name)),
        'untrusted_extensions', (SELECT coalesce(json_agg(e.name ORDER BY e.name), '[]') FROM extensions e
            JOIN pg_available_extensions a ON a.name = e.name
            JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
            WHERE v.superuser AND NOT v.trusted),
        'foreign_roles', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM roles
            WHERE oid IS NOT NULL AND name IN (SELECT jsonb_array_elements_text(names->'owners') FROM asked)
              AND NOT pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int < 160000
                                            THEN 'MEMBER' ELSE 'SET' END)),
        'foreign_settings', (SELECT coalesce(json_agg(value ORDER BY value), '[]')
            FROM asked, me, jsonb_array_elements_text(names->'set_roles')
            WHERE value <> me.rolname AND NOT me.rolcreaterole),
        'protected_settings', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM settings
            WHERE context IS DISTINCT FROM 'user' AND NOT :parameter_privilege));
";

/// Whether the role may set a parameter.
const PARAMETER_PRIVILEGE: &str =
    "((context IS NULL OR context = 'superuser') AND has_parameter_privilege(name, 'SET'))";

impl Requirements<'_> {
    /// Sees that the server has what the dump and the new database need, and that the role may make it.
    ///
    /// # Errors
    /// When something is missing, which the error names, or the server cannot be asked.
    pub fn check(&self) -> Result<(), RestoreError> {
        let needs = self.backup.needs();
        if let Some(why) = &needs.unknown {
            log::info!("not all that {} needs can be told beforehand: {why}", self.backup.label());
        }
        if let Some(tied) = Tied::of(needs) {
            tied.check(self.client, self.target)?;
        }
        let answer = self.ask()?;
        self.check_missing(&answer)?;
        if !self.is_superuser {
            self.check_rights(&answer)?;
        }
        match self.making.encoding().filter(|_| !self.making.is_of_target()) {
            Some(properties) => self.check_locale(properties),
            None => Ok(()),
        }
    }

    fn ask(&self) -> Result<Answer, DatabaseError> {
        let needs = self.backup.needs();
        let MakingNeeds { mut roles, mut owners, tablespace, mut settings, mut set_roles } = self.making.needs();
        roles.extend(needs.roles.iter().map(String::as_str));
        owners.extend(needs.owners.iter().map(String::as_str));
        let mut tablespaces: Vec<&str> = needs.tablespaces.iter().map(String::as_str).chain(tablespace).collect();
        let extensions = needs.extensions.iter().map(|extension| extension.name.as_str());
        let extensions: Vec<&str> = extensions.filter(|name| *name != "plpgsql").collect();
        for names in [&mut roles, &mut tablespaces, &mut settings, &mut set_roles] {
            names.sort_unstable();
            names.dedup();
        }
        let names = json!({
            "roles": roles, "owners": owners, "tablespaces": tablespaces, "extensions": extensions,
            "settings": settings, "set_roles": set_roles,
        });
        let has_privileges = self.client.server_version()?.major >= 15;
        let query = QUERY.replace(":parameter_privilege", if has_privileges { PARAMETER_PRIVILEGE } else { "false" });
        // In the query, as a list of names may be longer than an argument.
        let query = query.replace(":'names'", &literal(&names.to_string()));
        self.client.ask(&query, &[])
    }

    fn check_missing(&self, answer: &Answer) -> Result<(), RestoreError> {
        let needs = self.backup.needs();
        let label = self.backup.label().to_owned();
        let (of_contents, of_database): (Vec<_>, Vec<_>) =
            answer.missing_roles.iter().partition(|name| needs.roles.contains(*name));
        if !of_contents.is_empty() {
            return Err(RestoreError::NoRoles(label, units::list(of_contents)));
        }
        if !of_database.is_empty() {
            return Err(self.unlike("roles", &of_database));
        }
        let (of_contents, of_database): (Vec<_>, Vec<_>) =
            answer.missing_tablespaces.iter().partition(|name| needs.tablespaces.contains(*name));
        if !of_contents.is_empty() {
            return Err(RestoreError::NoTablespaces(label, units::list(of_contents)));
        }
        if !of_database.is_empty() {
            return Err(self.unlike("the tablespace", &of_database));
        }
        match answer.missing_extensions.is_empty() {
            true => Ok(()),
            false => Err(RestoreError::NoExtensions(label, units::list(&answer.missing_extensions))),
        }
    }

    /// What the new database cannot be made with, and the way out.
    fn unlike(&self, what: &'static str, names: &[&String]) -> RestoreError {
        RestoreError::Unlike(self.target.clone(), format!("the server lacks {what} {}", units::list(names)))
    }

    fn check_rights(&self, answer: &Answer) -> Result<(), RestoreError> {
        let label = self.backup.label();
        let refused = |what: String| Err(RestoreError::Missing(what));
        let Answer { untrusted_extensions, foreign_roles, foreign_settings, protected_settings, .. } = answer;
        let superusers = &self.backup.needs().superusers;
        if !untrusted_extensions.is_empty() {
            let names = units::list(untrusted_extensions);
            return refused(format!("only a superuser may create these extensions of {label}: {names}"));
        }
        if !superusers.is_empty() {
            let names = units::list(superusers);
            return refused(format!(
                "only a superuser may make the event triggers or foreign-data wrappers of {label}, which belong to \
                 {names}"
            ));
        }
        if !foreign_roles.is_empty() {
            let names = units::list(foreign_roles);
            return refused(format!(
                "{label} gives things to roles, or has grants by roles, that the role is no member of: {names}"
            ));
        }
        let unlike = |what: String| Err(RestoreError::Unlike(self.target.clone(), what));
        if !protected_settings.is_empty() {
            let names = units::list(protected_settings);
            return unlike(format!("only a superuser may set its settings {names}"));
        }
        match foreign_settings.is_empty() {
            true => Ok(()),
            false => {
                unlike(format!("the role may not change the settings of roles {}", units::list(foreign_settings)))
            }
        }
    }

    /// Has the server make a collation of the locale, in a transaction that is taken back: it knows best what it has.
    fn check_locale(&self, properties: &Properties) -> Result<(), RestoreError> {
        let locale = &properties.locale;
        let options = match (locale.provider, &locale.name) {
            (Provider::Icu, Some(name)) => format!("provider = icu, locale = {}", literal(name)),
            (Provider::Builtin, Some(name)) => format!("provider = builtin, locale = {}", literal(name)),
            _ => {
                let (collate, ctype) = (literal(&locale.collate), literal(&locale.ctype));
                format!("provider = libc, lc_collate = {collate}, lc_ctype = {ctype}")
            }
        };
        let sql = format!("BEGIN;\nCREATE COLLATION pg_temp.backupgram_trial ({options});\nROLLBACK;\n");
        let Err(error) = self.client.execute(&sql, &[]) else { return Ok(()) };
        match error {
            // Of another failure, such as an encoding that is not this database's, the making of the database tells.
            DatabaseError::Program(ProgramError::Failed(_, _, said)) if names_locale(&said) => {
                Err(RestoreError::Unlike(self.target.clone(), format!("the server lacks its locale: {said}")))
            }
            DatabaseError::Program(ProgramError::Failed(_, _, said)) => {
                log::debug!("whether the server has the locale is not known: {said}");
                Ok(())
            }
            error => Err(error.into()),
        }
    }
}

/// Whether the server says that it does not have a locale, or a provider (`report_newlocale_failure` and
/// `CREATE COLLATION` in PostgreSQL).
fn names_locale(said: &str) -> bool {
    ["could not create locale", "could not open collator", "ICU is not supported", "invalid locale name"]
        .iter()
        .any(|words| said.contains(words))
        || said.contains("unrecognized collation provider")
        || said.contains("language") && said.contains("unknown")
}
