//! The state of the target on the server, by one query.

use super::preflight::RoleCapabilities;
use super::replication::Replication;
use super::{preflight, replication};
use crate::engine::restore::error::RestoreError;
use crate::postgres::{Client, DatabaseError, PROPERTIES, parsed};
use crate::store::catalog::{DatabaseName, Properties};
use crate::system::process::ProgramError;

/// The current state of a target.
#[derive(Debug)]
pub struct Target {
    /// What the role may do with the target.
    pub capabilities: RoleCapabilities,
    /// Its properties, if it exists.
    pub existing: Option<Properties>,
    /// Its subscriptions and replication slots.
    pub replication: Replication,
}

impl Target {
    /// Queries the server.
    ///
    /// # Errors
    /// When the server cannot be asked, or the target exists and cannot be replaced.
    pub fn of(client: &Client, target: &DatabaseName) -> Result<Self, RestoreError> {
        let capabilities = preflight::question();
        let questions = [&capabilities, PROPERTIES, replication::QUESTION];
        let (capabilities, properties, replication) =
            match client.ask_all(questions, &[("database", target.as_str())]) {
                Ok([capabilities, properties, replication]) => (
                    parsed(capabilities)?,
                    Properties::of_answer(Ok(properties), client, target)?,
                    Replication::of_answer(replication, client, target)?,
                ),
                // The properties may have text that is invalid in this encoding.
                Err(DatabaseError::Program(ProgramError::Failed(..)) | DatabaseError::Answer(_)) => (
                    RoleCapabilities::of(client, target)?,
                    Properties::of(client, target)?,
                    Replication::of(client, target)?,
                ),
                Err(error) => return Err(error.into()),
            };
        match properties {
            Some(properties) if properties.is_template => Err(RestoreError::Template(target.clone())),
            Some(properties) if properties.is_invalid() => Err(RestoreError::Invalid(target.clone())),
            existing => Ok(Self { capabilities, existing, replication }),
        }
    }
}
