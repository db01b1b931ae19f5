//! The properties of a database recorded in a manifest.

use serde::{Deserialize, Serialize};

/// The properties of a database, as `pg_dump --create` would write them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// The owner's role.
    pub owner: String,
    /// The character encoding.
    pub encoding: String,
    /// Collation and character classification.
    pub locale: Locale,
    /// The default tablespace.
    pub tablespace: String,
    /// Maximum number of sessions; -1 for no limit, -2 for an invalid database.
    pub connection_limit: i64,
    /// Whether connections are allowed.
    pub allows_connections: bool,
    /// Whether it is a template for other databases.
    pub is_template: bool,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its security labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Privileges in the order of `datacl`; `None` if nothing was ever granted or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Grant>>,
    /// Its settings, and settings of roles in it.
    pub settings: Settings,
    /// Size in bytes on the server; unknown if our role may not connect to it.
    #[serde(default, skip_serializing)]
    pub size: Option<u64>,
}

impl Properties {
    /// Properties with this encoding and locale, and the defaults of `CREATE DATABASE` for the rest.
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
    /// The locale provider. Always libc, and absent, before PostgreSQL 15.
    #[serde(default)]
    pub provider: Provider,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// The provider's locale name, for providers other than libc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Additional ICU rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
}

/// A locale provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The C library.
    #[default]
    Libc,
    /// ICU.
    Icu,
    /// PostgreSQL's built-in provider, since version 17.
    Builtin,
}

impl Provider {
    /// Its keyword in `CREATE DATABASE`.
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
    /// The label provider.
    pub provider: String,
    /// Its text.
    pub label: String,
}

/// The settings of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Settings {
    /// Plain text.
    Clear(Vec<Setting>),
    /// Encrypted by gpg with the key of the backup, ASCII-armoured: a [`SealedSettings`] in JSON.
    Sealed(String),
}

impl Settings {
    /// Whether there are none in plain text and none are encrypted.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Clear(settings) if settings.is_empty())
    }
}

/// The encrypted part of a manifest. Settings may contain secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSettings {
    /// The settings.
    pub settings: Vec<Setting>,
    /// SQL statements that apply them, for use with psql alone.
    pub sql: String,
}

/// An `ALTER DATABASE … SET`, or with a role `ALTER ROLE … IN DATABASE … SET`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The role; `None` for all roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `name=value`, as the server stores it.
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
    /// The role that granted it.
    pub grantor: String,
    /// The role that holds it; `None` for PUBLIC.
    pub grantee: Option<String>,
    /// The privilege.
    pub privilege: String,
    /// Whether it has the grant option.
    pub grantable: bool,
}

/// The properties in a manifest, with SQL statements that recreate them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The properties.
    #[serde(flatten)]
    pub properties: Properties,
    /// SQL that recreates the database with its properties, except encrypted settings, for use with psql alone.
    pub sql: String,
}

impl Properties {
    /// Every role the properties refer to, except in encrypted settings.
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
