//! What a restore will do, for the confirmation and the log.

use std::fmt;

use super::error::RestoreError;
use super::source::Source;
use crate::engine::content::{Content, DecryptionContext};
use crate::store::catalog::{DatabaseName, Scope};
use crate::util::units;

/// What a restore will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The backup.
    pub file: String,
    /// The server's address.
    pub server: String,
    /// The database or server to restore into.
    pub goal: Goal,
    /// The size in bytes of the database that will be replaced, if there is one.
    pub replaces: Option<u64>,
    /// The extension by which the database must be loaded under its own name, if it has one.
    pub tied_by: Option<&'static str>,
    /// The subscriptions and replication slots that are dropped with what is replaced, if there are any.
    pub drops: Option<String>,
}

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// One database, which is replaced or created.
    Database(DatabaseName),
    /// A whole server, or its roles.
    Server(Scope),
}

/// Template databases, which are never replaced.
const TEMPLATES: [&str; 2] = ["template0", "template1"];

impl Goal {
    /// The target. For a server, the name that stands for all its databases.
    pub(super) fn database(&self) -> DatabaseName {
        match self {
            Self::Database(target) => target.clone(),
            Self::Server(scope) => DatabaseName::of_scope(*scope),
        }
    }

    /// Determines it from the dump's content and, for one database, from the named target.
    ///
    /// # Errors
    /// When the backup does not fit the target, no target is known, or the backup cannot be read.
    pub(super) fn of(
        source: &Source,
        decryption: &DecryptionContext,
        target: Option<&DatabaseName>,
    ) -> Result<Self, RestoreError> {
        if source.peek(decryption)? == Some(Content::Cluster) {
            let scope = source.scope();
            return if target.is_none_or(|target| *target == DatabaseName::of_scope(scope)) {
                Ok(Self::Server(scope))
            } else {
                Err(RestoreError::NotOneDatabase(source.label.clone(), scope))
            };
        }
        let target = target.cloned().or_else(|| source.database());
        let target = target.ok_or_else(|| RestoreError::NoTarget(source.label.clone()))?;
        if TEMPLATES.contains(&target.as_str()) {
            Err(RestoreError::Protected(target))
        } else {
            Ok(Self::Database(target))
        }
    }

    /// The name to type for a confirmation.
    pub fn name(&self) -> &str {
        match self {
            Self::Database(name) => name.as_str(),
            Self::Server(scope) => scope.name(),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name) => write!(f, "database {name}"),
            Self::Server(scope) => f.write_str(scope.described()),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, server, goal, replaces, tied_by, drops } = self;
        match (goal, replaces) {
            (Goal::Database(name), Some(size)) => {
                write!(
                    f,
                    "database {name} on {server} ({}) will be replaced by {file}",
                    units::bytes(*size)
                )?;
            }
            (Goal::Database(name), None) => {
                write!(f, "database {name} on {server} will be created from {file}")?
            }
            (Goal::Server(scope), _) => write!(
                f,
                "the contents of {file}, {}, will be created on {server}; what exists there is not changed",
                scope.described()
            )?,
        }
        if let Some(drops) = drops {
            write!(f, "; its {drops} will be dropped")?;
        }
        match tied_by {
            Some(extension) => write!(
                f,
                "; because of extension {extension} it is loaded under that name, and only superusers can \
                 connect to {} meanwhile",
                goal.name()
            ),
            None => Ok(()),
        }
    }
}
