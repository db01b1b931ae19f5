//! Properties of the new database: those of the target, those of the database that was backed up, or the server's
//! defaults.

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

/// The properties of a new database.
#[derive(Debug, Clone)]
pub struct Making {
    basis: Basis,
    /// The server's major version.
    major: u32,
}

#[derive(Debug, Clone)]
enum Basis {
    /// Those of the existing target.
    Target(Box<Properties>),
    /// Those of the database that was backed up, by the manifest.
    Backup(Box<Properties>),
    /// The same, by the statements of the dump.
    Dump(Box<Described>),
    /// Encoding and locale only of the database that was backed up.
    Encoding(Box<Properties>),
    /// The server's defaults.
    Defaults,
}

/// Query for the encoding of a new database by the server's defaults.
const DEFAULT_ENCODING: &str =
    "SELECT to_json(pg_encoding_to_char(encoding)) FROM pg_database WHERE datname = 'template0';";

/// What a new database needs of its server.
#[derive(Debug, Default)]
pub struct MakingNeeds<'a> {
    /// Roles that must exist.
    pub roles: Vec<&'a str>,
    /// Those that the restoring role must be a member of.
    pub owners: Vec<&'a str>,
    /// The new owner of the database, if it is another role.
    pub owner: Option<&'a str>,
    /// The tablespace, which must exist.
    pub tablespace: Option<&'a str>,
    /// Settings that the restoring role must be allowed to set.
    pub settings: Vec<String>,
    /// Roles with settings of their own.
    pub set_roles: Vec<&'a str>,
}

/// What is unknown about a backup whose manifest has only encoding and locale.
const UNKNOWN: &str =
    "its owner, locale provider, tablespace, connection limit, grants, settings, comment and labels";

impl Making {
    /// Chooses the properties: the target's if it exists, else what is known of the backup.
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

    /// Whether all properties of the database that was backed up are known.
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
                "{label} does not record the properties of its database: the new one gets the server's \
                 defaults"
            );
            return Ok(Basis::Defaults);
        };
        if choice == PropertyChoice::All {
            log::warn!("{label} records only the encoding and locale of its database; unknown are {UNKNOWN}");
        }
        let (collate, ctype) = (origin.collate.clone(), origin.ctype.clone());
        let locale = Locale { provider: Provider::Libc, collate, ctype, name: None, rules: None };
        let properties = Properties::of_encoding(origin.encoding.clone(), locale);
        Ok(Basis::Encoding(Box::new(Properties { size: origin.size, ..properties })))
    }

    /// Whether the properties are those of an existing target.
    pub fn is_of_target(&self) -> bool {
        matches!(self.basis, Basis::Target(_))
    }

    /// All properties, if they are known and wanted.
    fn properties(&self) -> Option<&Properties> {
        match &self.basis {
            Basis::Target(properties) | Basis::Backup(properties) => Some(properties),
            Basis::Dump(_) | Basis::Encoding(_) | Basis::Defaults => None,
        }
    }

    /// The properties with its encoding and locale. `None` for the server's defaults.
    pub fn encoding(&self) -> Option<&Properties> {
        match &self.basis {
            Basis::Target(properties) | Basis::Backup(properties) | Basis::Encoding(properties) => {
                Some(properties)
            }
            Basis::Dump(described) => Some(&described.properties),
            Basis::Defaults => None,
        }
    }

    /// Its locale as in `pg_database`, if libc provides it.
    pub fn libc_locale(&self) -> Option<Value> {
        let locale = &self.encoding()?.locale;
        let mut row = json!({"datcollate": locale.collate, "datctype": locale.ctype});
        if self.major >= 15 {
            row["datlocprovider"] = "c".into();
        }
        (locale.provider == Provider::Libc).then_some(row)
    }

    /// What the new database needs of the server.
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

    /// Checks that a backup in SQL_ASCII, which may have any bytes, is not loaded into another encoding. Other pairs
    /// are left to the server's conversion.
    ///
    /// # Errors
    /// When it would be.
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

    /// Sets the settings of the empty database under which it is loaded, as results of its functions may depend on
    /// them. Before that, all properties are set in a transaction that is rolled back, so that what cannot be set
    /// fails before the load.
    ///
    /// # Errors
    /// When a property cannot be set.
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

    /// The error when the target cannot be created with these properties.
    pub fn refusal(&self, target: &DatabaseName, why: String) -> RestoreError {
        match self.is_of_target() {
            true => RestoreError::Missing(format!(
                "the new database {target} cannot have the properties of the present one: {why}; restore as \
                 a superuser, or into a new name"
            )),
            false if matches!(self.basis, Basis::Defaults) => {
                RestoreError::Missing(format!("database {target} cannot be created: {why}"))
            }
            false => RestoreError::Unlike(target.clone(), why),
        }
    }

    /// The options of `CREATE DATABASE name TEMPLATE template0`.
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

    /// The same without owner and tablespace.
    pub fn encoding_clauses(&self) -> Option<String> {
        self.encoding().map(|properties| properties.encoding_clauses(self.major))
    }

    /// The statements for the empty database.
    fn before_load(&self, database: &str) -> Vec<u8> {
        match (self.properties(), &self.basis) {
            (Some(properties), _) => properties.setting_statements(database, false).into_bytes(),
            (None, Basis::Dump(described)) => described.settings_before(database),
            (None, _) => Vec::new(),
        }
    }

    /// The settings as those of the current role, to try whether the server accepts them.
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

    /// The settings of the database for all roles, each as a statement of its own.
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

    /// The statements for the loaded database.
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

    /// The statements for settings of the target that were changed during the load.
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

    /// The statements that set who may connect to the complete database, if that differs from a new one. `is_shut`: it
    /// was created with a connection limit of 0.
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

    /// The statement that sets the database's comment.
    pub fn comment(&self, database: &str) -> Vec<u8> {
        let none = || format!("COMMENT ON DATABASE {} IS NULL;", identifier(database)).into_bytes();
        match (self.properties(), &self.basis) {
            (Some(properties), _) => properties.comment_statement(database).into_bytes(),
            (None, Basis::Dump(described)) => described.comment(database).unwrap_or_else(none),
            (None, _) => none(),
        }
    }
}

/// Checks that no text in a manifest has a NUL, which no server writes, and at which SQL would end.
fn check_text(backup: &Checked, properties: &Properties) -> Result<(), RestoreError> {
    let text = serde_json::to_string(properties).unwrap_or_default();
    if text.contains("\\u0000") { Err(RestoreError::Manifest(backup.label().to_owned())) } else { Ok(()) }
}

/// The properties with decrypted settings.
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
