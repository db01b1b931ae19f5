//! What the database that a backup is loaded into is made like: the target, the database that was backed up, or nothing
//! in particular.

mod dump;

use super::RestoreError;
use super::options::PropertyChoice;
use super::source::Checked;
use crate::catalog::{DatabaseName, Locale, Properties, Provider, SealedSettings, Settings};
use crate::content::Keys;
use crate::gpg::Gpg;
use crate::postgres::quote::identifier;
use crate::postgres::{Client, DatabaseError};
use crate::process::ProgramError;
use dump::Described;

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
        keys: &Keys,
        major: u32,
    ) -> Result<Self, RestoreError> {
        let basis = match (existing, choice) {
            (Some(properties), _) => Basis::Target(Box::new(properties.clone())),
            (None, PropertyChoice::None) => Basis::Defaults,
            (None, choice) => Self::of_backup(backup, choice, keys)?,
        };
        Ok(Self { basis, major })
    }

    fn of_backup(backup: &Checked, choice: PropertyChoice, keys: &Keys) -> Result<Basis, RestoreError> {
        if let Some(properties) = backup.properties() {
            return match choice {
                PropertyChoice::Encoding => Ok(Basis::Encoding(Box::new(properties.clone()))),
                _ => Ok(Basis::Backup(Box::new(opened(backup, properties, keys)?))),
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
        Ok(Basis::Encoding(Box::new(Properties {
            owner: String::new(),
            encoding: origin.encoding.clone(),
            locale,
            tablespace: "pg_default".into(),
            connection_limit: -1,
            allows_connections: true,
            is_template: false,
            comment: None,
            labels: Vec::new(),
            grants: None,
            settings: Settings::Clear(Vec::new()),
            size: origin.size,
        })))
    }

    /// What it means that the database cannot be made so, with the way out.
    pub fn refusal(&self, target: &DatabaseName, why: String) -> RestoreError {
        match self.is_of_target() {
            true => RestoreError::UnlikeTarget(target.clone(), why),
            false => RestoreError::Unlike(target.clone(), why),
        }
    }

    /// Whether it is made like the database that was backed up, in anything.
    fn is_of_backup(&self) -> bool {
        !self.is_of_target() && !matches!(self.basis, Basis::Defaults)
    }

    /// The error of a database that could not be made.
    pub fn create_error(&self, error: DatabaseError) -> RestoreError {
        match self.is_of_backup() {
            true => RestoreError::Create(error),
            false => RestoreError::Database(error),
        }
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

    /// What it asks of the server: roles, those of them that the role must be a member of, a tablespace, settings.
    pub fn needs(&self) -> MakingNeeds<'_> {
        let mut needs = MakingNeeds::default();
        if let Basis::Dump(described) = &self.basis {
            needs.roles.extend(described.roles());
            needs.owners.extend(described.owners());
            needs.tablespace = Some(&described.properties.tablespace);
            needs.settings.extend(described.settings());
            needs.set_roles.extend(described.set_roles());
        }
        let Some(properties) = self.properties() else { return needs };
        needs.roles = properties.roles();
        needs.owners.push(&properties.owner);
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

    /// Gives an empty database what it is to be like when it has taken the place of `target`, and takes it back: what
    /// cannot be given fails before the load.
    ///
    /// # Errors
    /// When it cannot be given.
    pub fn rehearse(
        &self,
        client: &Client,
        database: &DatabaseName,
        target: &DatabaseName,
    ) -> Result<(), RestoreError> {
        let statements = self.statements(database.as_str());
        let tried = client.execute(format!("BEGIN;\n{statements}\nROLLBACK;\n"), &[]);
        tried.map(drop).map_err(|error| match error {
            DatabaseError::Program(ProgramError::Failed(_, _, said)) => self.refusal(target, said),
            error => error.into(),
        })
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

    /// The statements that give a loaded database the rest.
    pub fn statements(&self, database: &str) -> String {
        match (self.properties(), &self.basis) {
            (Some(properties), _) => properties.statements(database),
            (None, Basis::Dump(described)) => described.statements(database),
            (None, _) => format!("ALTER DATABASE {} CONNECTION LIMIT -1;", identifier(database)),
        }
    }

    /// The statement that gives a database its comment.
    pub fn comment_statement(&self, database: &str) -> String {
        let none = || format!("COMMENT ON DATABASE {} IS NULL;", identifier(database));
        match (self.properties(), &self.basis) {
            (Some(properties), _) => properties.comment_statement(database),
            (None, Basis::Dump(described)) => described.comment(database).unwrap_or_else(none),
            (None, _) => none(),
        }
    }
}

/// Properties with their settings in clear.
fn opened(backup: &Checked, properties: &Properties, keys: &Keys) -> Result<Properties, RestoreError> {
    let Settings::Sealed(sealed) = &properties.settings else { return Ok(properties.clone()) };
    let failed = |error: std::io::Error| RestoreError::Sealed(backup.label().to_owned(), error);
    let missing = || failed(std::io::Error::other("BACKUP_ENCRYPTION_KEY must be set"));
    let passphrase = keys.passphrase.clone().ok_or_else(missing)?;
    let text = Gpg::new(passphrase, keys.runner.clone()).decrypt_text(sealed).map_err(failed)?;
    let sealed: SealedSettings = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    Ok(Properties { settings: Settings::Clear(sealed.settings), ..properties.clone() })
}
