//! What a database is besides its contents, as a manifest records it.

use serde::{Deserialize, Serialize};

/// The properties of a database: what `pg_dump --create` would write about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// The role that owns it.
    pub owner: String,
    /// The encoding of its text.
    pub encoding: String,
    /// How it sorts and classifies text.
    pub locale: Locale,
    /// Where its tables lie unless told otherwise.
    pub tablespace: String,
    /// Sessions that it takes at once; -1 for any number, -2 for an invalid database.
    pub connection_limit: i64,
    /// Whether anybody may connect.
    pub allows_connections: bool,
    /// Whether others may be made from it.
    pub is_template: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its security labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// In the order of `datacl`; `None` where nothing was ever granted or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Grant>>,
    /// Its settings, and those of roles in it.
    pub settings: Settings,
    /// Its bytes on the server; unknown to roles that may not connect to it.
    #[serde(default, skip_serializing)]
    pub size: Option<u64>,
}

impl Properties {
    /// Of a database of which the encoding and the locale are known alone; the rest is as `CREATE DATABASE` has it.
    pub fn of_encoding(encoding: String, locale: Locale) -> Self {
        Self {
            owner: String::new(),
            encoding,
            locale,
            tablespace: "pg_default".into(),
            connection_limit: -1,
            allows_connections: true,
            is_template: false,
            comment: None,
            labels: Vec::new(),
            grants: None,
            settings: Settings::Clear(Vec::new()),
            size: None,
        }
    }
}

/// The locale of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locale {
    /// Whose it is. Servers before PostgreSQL 15 do not say: all of them have libc's.
    #[serde(default)]
    pub provider: Provider,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// The provider's own name for it, of another provider than libc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Rules on top of it, of ICU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
}

/// Whose locales a database uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The C library's.
    #[default]
    Libc,
    /// ICU's.
    Icu,
    /// PostgreSQL's own, since version 17.
    Builtin,
}

impl Provider {
    /// The word for it in `CREATE DATABASE`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Libc => "libc",
            Self::Icu => "icu",
            Self::Builtin => "builtin",
        }
    }
}

/// A security label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Whose label it is.
    pub provider: String,
    /// Its text.
    pub label: String,
}

/// The settings of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Settings {
    /// As they are.
    Clear(Vec<Setting>),
    /// Encrypted by gpg with the key of the backup, in ASCII armour: a [`SealedSettings`] in JSON.
    Sealed(String),
}

impl Settings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Clear(settings) if settings.is_empty())
    }
}

/// What is encrypted of a manifest: values of settings can be secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSettings {
    /// The settings.
    pub settings: Vec<Setting>,
    /// The statements that make them, for whoever has nothing but psql.
    pub sql: String,
}

/// `ALTER DATABASE … SET`, or `ALTER ROLE … IN DATABASE … SET` with a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Whose setting it is; everybody's without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `name=value`, as the server keeps it.
    pub assignment: String,
}

impl Setting {
    /// The name and the value.
    pub fn parts(&self) -> (&str, &str) {
        self.assignment.split_once('=').unwrap_or((&self.assignment, ""))
    }
}

/// A privilege on the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who has granted it.
    pub grantor: String,
    /// Who has it; `None` for PUBLIC.
    pub grantee: Option<String>,
    /// Which it is.
    pub privilege: String,
    /// Whether it may be granted on.
    pub grantable: bool,
}

/// The properties in a manifest, with the statements that make them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The properties.
    #[serde(flatten)]
    pub properties: Properties,
    /// The statements that make a database like it, but for encrypted settings, for whoever has nothing but psql.
    pub sql: String,
}

impl Properties {
    /// Every role that a database like this one needs, but for those of sealed settings.
    pub fn roles(&self) -> Vec<&str> {
        let mut roles = vec![self.owner.as_str()];
        for grant in self.grants.iter().flatten() {
            roles.push(&grant.grantor);
            roles.extend(grant.grantee.as_deref());
        }
        if let Settings::Clear(settings) = &self.settings {
            roles.extend(settings.iter().filter_map(|setting| setting.role.as_deref()));
        }
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}
