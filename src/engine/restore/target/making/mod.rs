//! What the database that a backup is loaded into is made like: the target, the database that was backed up, or nothing
//! in particular.

mod dump;

use serde_json::{Value, json};

use crate::engine::content::DecryptionContext;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::options::PropertyChoice;
use crate::engine::restore::source::Checked;
use crate::postgres::quote::identifier;
use crate::postgres::{Client, DatabaseError, changes_rights, setting_statements, setting_value};
use crate::store::catalog::{DatabaseName, Locale, Properties, Provider, SealedSettings, Setting, Settings};
use crate::system::gpg::Gpg;
use crate::system::process::ProgramError;
use dump::{Described, loads};

/// What a database is made like.
#[derive(Debug, Clone)]
pub struct Making {
    basis: Basis,
    /// The server's major version.
    major: u32,
}

#[derive(Debug, Clone)]
enum Basis {
    /// The target, which is there and keeps what it has.
    Target(Box<Properties>),
    /// The database that was backed up.
    Backup(Box<Properties>),
    /// The same, as the dump says it.
    Dump(Box<Described>),
    /// The encoding and the locale of that.
    Encoding(Box<Properties>),
    /// The server's defaults.
    Defaults,
}

/// The encoding of a database that is made by the server's defaults.
const DEFAULT_ENCODING: &str =
    "SELECT to_json(pg_encoding_to_char(encoding)) FROM pg_database WHERE datname = 'template0';";

/// What a new database asks of its server.
#[derive(Debug, Default)]
pub struct MakingNeeds<'a> {
    /// Roles that must be there.
    pub roles: Vec<&'a str>,
    /// Those of them that the role must be a member of.
    pub owners: Vec<&'a str>,
    /// The one of them that the database is given to, where it is not the role itself.
    pub owner: Option<&'a str>,
    /// The tablespace that must be there.
    pub tablespace: Option<&'a str>,
    /// Settings that the role must be allowed to set.
    pub settings: Vec<String>,
    /// Roles that get settings of their own.
    pub set_roles: Vec<&'a str>,
}

/// What nobody has written down about a backup that has only the encoding of its database.
const UNKNOWN: &str =
    "its owner, locale provider, tablespace, connection limit, grants, settings, comment and labels";

impl Making {
    /// Chooses by whether there is a target, and by what is known of the backup.
    ///
    /// # Errors
    /// When the settings in the manifest cannot be decrypted.
    pub fn choose(
        existing: Option<&Properties>,
        backup: &Checked,
        choice: PropertyChoice,
        decryption: &DecryptionContext,
        major: u32,
    ) -> Result<Self, RestoreError> {
        let basis = match (existing, choice) {
            (Some(properties), _) => Basis::Target(Box::new(properties.clone())),
            (None, PropertyChoice::None) => Basis::Defaults,
            (None, choice) => Self::of_backup(backup, choice, decryption)?,
        };
        Ok(Self { basis, major })
    }

    /// Whether all properties of the database are known that was backed up.
    pub fn is_known(backup: &Checked) -> bool {
        backup.properties().is_some() || Described::of(backup.needs()).is_some()
    }

    fn of_backup(
        backup: &Checked,
        choice: PropertyChoice,
        decryption: &DecryptionContext,
    ) -> Result<Basis, RestoreError> {
        if let Some(properties) = backup.properties() {
            check_text(backup, properties)?;
            return match choice {
                PropertyChoice::Encoding => Ok(Basis::Encoding(Box::new(properties.clone()))),
                _ => Ok(Basis::Backup(Box::new(opened(backup, properties, decryption)?))),
            };
        }
        if let Some(described) = Described::of(backup.needs()) {
            return Ok(match choice {
                PropertyChoice::Encoding => Basis::Encoding(Box::new(described.properties)),
                _ => Basis::Dump(Box::new(described)),
            });
        }
        let label = backup.label();
        let Some(origin) = backup.origin() else {
            log::warn!(
                "{label} does not say what its database was like: the new one is made by the server's defaults"
            );
            return Ok(Basis::Defaults);
        };
        if choice == PropertyChoice::All {
            log::warn!(
                "{label} says only the encoding and the locale of its database; not known are {UNKNOWN}"
            );
        }
        let (collate, ctype) = (origin.collate.clone(), origin.ctype.clone());
        let locale = Locale { provider: Provider::Libc, collate, ctype, name: None, rules: None };
        let properties = Properties::of_encoding(origin.encoding.clone(), locale);
        Ok(Basis::Encoding(Box::new(Properties { size: origin.size, ..properties })))
    }

    /// Whether it is made like a database that is there.
    pub fn is_of_target(&self) -> bool {
        matches!(self.basis, Basis::Target(_))
    }

    /// All properties that it will have; none where they are not known, or not wanted.
    fn properties(&self) -> Option<&Properties> {
        match &self.basis {
            Basis::Target(properties) | Basis::Backup(properties) => Some(properties),
            Basis::Dump(_) | Basis::Encoding(_) | Basis::Defaults => None,
        }
    }

    /// The properties whose encoding and locale it will have.
    pub fn encoding(&self) -> Option<&Properties> {
        match &self.basis {
            Basis::Target(properties) | Basis::Backup(properties) | Basis::Encoding(properties) => {
                Some(properties)
            }
            Basis::Dump(described) => Some(&described.properties),
            Basis::Defaults => None,
        }
    }

    /// Its locale as `pg_database` has it, where it is libc's.
    pub fn libc_locale(&self) -> Option<Value> {
        let locale = &self.encoding()?.locale;
        let mut row = json!({"datcollate": locale.collate, "datctype": locale.ctype});
        if self.major >= 15 {
            row["datlocprovider"] = "c".into();
        }
        (locale.provider == Provider::Libc).then_some(row)
    }

    /// What it asks of the server: roles, those of them that the role must be a member of, a tablespace, settings.
    pub fn needs(&self) -> MakingNeeds<'_> {
        let mut needs = MakingNeeds::default();
        if let Basis::Dump(described) = &self.basis {
            needs.roles.extend(described.roles());
            needs.owners.extend(described.owners());
            needs.owner = described.owner();
            needs.tablespace = Some(&described.properties.tablespace);
            needs.settings.extend(described.settings());
            needs.set_roles.extend(described.set_roles());
        }
        let Some(properties) = self.properties() else { return needs };
        needs.roles = properties.roles();
        needs.owners.push(&properties.owner);
        needs.owner = Some(&properties.owner);
        needs.owners.extend(properties.grants.iter().flatten().map(|grant| grant.grantor.as_str()));
        needs.tablespace = Some(&properties.tablespace);
        if let Settings::Clear(settings) = &properties.settings {
            needs.settings.extend(settings.iter().map(|setting| setting.parts().0.to_owned()));
            needs.set_roles.extend(settings.iter().filter_map(|setting| setting.role.as_deref()));
        }
        needs
    }

    /// Sees that a backup in SQL_ASCII, which may hold any bytes, does not become text of another encoding. Any other
    /// pair is the server's conversion to judge.
    ///
    /// # Errors
    /// When it would.
    pub fn check_encoding(
        &self,
        backup: &Checked,
        target: &DatabaseName,
        client: &Client,
    ) -> Result<(), RestoreError> {
        let encoding = match backup.encoding() {
            Some("SQL_ASCII") => match self.encoding() {
                Some(properties) => properties.encoding.clone(),
                None => client.ask(DEFAULT_ENCODING, &[])?,
            },
            _ => return Ok(()),
        };
        match encoding.as_str() {
            "SQL_ASCII" => Ok(()),
            _ => Err(RestoreError::Encoding(target.clone(), encoding)),
        }
    }

    /// Gives an empty database, which the client talks to, the settings that it is loaded under: what functions of its
    /// contents answer, and so what is computed of them, may depend on them. Before, it is given all that it is to be like
    /// when it has taken the place of `target`, and that is taken back: what cannot be given fails before the load.
    ///
    /// # Errors
    /// When it cannot be given.
    pub fn prepare(&self, client: &Client, target: &DatabaseName) -> Result<(), RestoreError> {
        let name = client.database().as_str();
        let settings = self.before_load(name);
        let all =
            [settings.clone(), self.after_load(name), self.access(name, false).into_bytes()].join(&b'\n');
        if all.trim_ascii().is_empty() {
            return Ok(());
        }
        let sql = [&b"BEGIN;\n"[..], &all, b"\nROLLBACK;\n", &settings].concat();
        client.execute(sql, &[]).map(drop).map_err(|error| match error {
            DatabaseError::Program(ProgramError::Failed(_, _, said)) => self.refusal(target, said),
            error => error.into(),
        })
    }

    /// Why the target cannot be made so, with the way out if there is one.
    pub fn refusal(&self, target: &DatabaseName, why: String) -> RestoreError {
        match self.is_of_target() {
            true => RestoreError::Missing(format!(
                "the new database {target} cannot be like the present one: {why}; let a superuser restore it, or restore \
                 into a name that is not there"
            )),
            false if matches!(self.basis, Basis::Defaults) => {
                RestoreError::Missing(format!("database {target} cannot be made: {why}"))
            }
            false => RestoreError::Unlike(target.clone(), why),
        }
    }

    /// The rest of `CREATE DATABASE name TEMPLATE template0`.
    pub fn clauses(&self) -> String {
        match &self.basis {
            Basis::Target(properties) | Basis::Backup(properties) => properties.create_clauses(self.major),
            Basis::Encoding(properties) => properties.encoding_clauses(self.major),
            Basis::Dump(described) => {
                let encoding = described.properties.encoding_clauses(self.major);
                encoding + &described.properties.tablespace_clause()
            }
            Basis::Defaults => String::new(),
        }
    }

    /// The same without an owner and a tablespace.
    pub fn encoding_clauses(&self) -> Option<String> {
        self.encoding().map(|properties| properties.encoding_clauses(self.major))
    }

    /// The statements that an empty database gets.
    fn before_load(&self, database: &str) -> Vec<u8> {
        match (self.properties(), &self.basis) {
            (Some(properties), _) => properties.setting_statements(database, false).into_bytes(),
            (None, Basis::Dump(described)) => described.settings_before(database),
            (None, _) => Vec::new(),
        }
    }

    /// The settings as those of the current role: whether the server takes them.
    pub fn settings_of_current_role(&self) -> Vec<u8> {
        let of_role = |setting: &Setting| {
            let (name, value) = (identifier(setting.parts().0), setting_value(setting));
            format!("ALTER ROLE CURRENT_USER SET {name} TO {value};\n")
        };
        match (self.properties(), &self.basis) {
            (Some(Properties { settings: Settings::Clear(settings), .. }), _) => {
                settings.iter().map(of_role).collect::<String>().into_bytes()
            }
            (None, Basis::Dump(described)) => described.settings_of_current_role(),
            _ => Vec::new(),
        }
    }

    /// The settings of the database for everybody, each by a statement of its own.
    pub fn settings(&self, database: &str) -> Vec<Vec<u8>> {
        match (self.properties(), &self.basis) {
            (Some(Properties { settings: Settings::Clear(settings), .. }), _) => {
                let chosen = settings.iter().filter(|setting| {
                    setting.role.is_none() && !changes_rights(setting.parts().0) && !loads(setting.parts().0)
                });
                setting_statements(chosen, database).into_iter().map(String::into_bytes).collect()
            }
            (None, Basis::Dump(described)) => described.each_setting(database),
            _ => Vec::new(),
        }
    }

    /// The statements that a loaded database gets.
    pub fn after_load(&self, database: &str) -> Vec<u8> {
        match (self.properties(), &self.basis) {
            (Some(properties), _) => {
                let (settings, grants) =
                    (properties.setting_statements(database, true), properties.grant_statements(database));
                format!("{settings}\n{grants}").into_bytes()
            }
            (None, Basis::Dump(described)) => described.after_load(database),
            (None, _) => Vec::new(),
        }
    }

    /// The statements that change the settings of a loaded database that is made like the target, which had others when
    /// the load began.
    pub fn changed_settings(&self, before: &Self, database: &str) -> Vec<u8> {
        match (&self.basis, &before.basis) {
            (Basis::Target(now), Basis::Target(before)) if now.settings != before.settings => {
                let (reset, set) =
                    (before.reset_statements(database), now.setting_statements(database, false));
                format!("{reset}\n{set}").into_bytes()
            }
            _ => Vec::new(),
        }
    }

    /// The statements that say who gets into a complete database, where that is not what a new one has. One that `is_shut`
    /// was made so that nobody gets in.
    pub fn access(&self, database: &str, is_shut: bool) -> String {
        match self.properties() {
            Some(properties) => properties.access_statements(database, is_shut),
            None => {
                let limit = match &self.basis {
                    Basis::Dump(described) => described.properties.connection_limit,
                    _ => -1,
                };
                let limited = format!("ALTER DATABASE {} CONNECTION LIMIT {limit};", identifier(database));
                Some(limited).filter(|_| is_shut || limit != -1).unwrap_or_default()
            }
        }
    }

    /// The statement that gives a database its comment.
    pub fn comment(&self, database: &str) -> Vec<u8> {
        let none = || format!("COMMENT ON DATABASE {} IS NULL;", identifier(database)).into_bytes();
        match (self.properties(), &self.basis) {
            (Some(properties), _) => properties.comment_statement(database).into_bytes(),
            (None, Basis::Dump(described)) => described.comment(database).unwrap_or_else(none),
            (None, _) => none(),
        }
    }
}

/// Sees that no text of a manifest has a NUL in it, which no server has written, and in which SQL would end.
fn check_text(backup: &Checked, properties: &Properties) -> Result<(), RestoreError> {
    let text = serde_json::to_string(properties).unwrap_or_default();
    if text.contains("\\u0000") { Err(RestoreError::Manifest(backup.label().to_owned())) } else { Ok(()) }
}

/// Properties with their settings in clear.
fn opened(
    backup: &Checked,
    properties: &Properties,
    decryption: &DecryptionContext,
) -> Result<Properties, RestoreError> {
    let Settings::Sealed(sealed) = &properties.settings else { return Ok(properties.clone()) };
    let failed = |error: std::io::Error| RestoreError::Sealed(backup.label().to_owned(), error);
    let missing = || failed(std::io::Error::other("BACKUP_ENCRYPTION_KEY must be set"));
    let passphrase = decryption.passphrase.clone().ok_or_else(missing)?;
    let text = Gpg::new(passphrase, decryption.runner.clone()).decrypt_text(sealed).map_err(failed)?;
    let sealed: SealedSettings = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    Ok(Properties { settings: Settings::Clear(sealed.settings), ..properties.clone() })
}
