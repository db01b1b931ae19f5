//! The effective settings of this process: its environment with the override file applied.

use std::sync::LazyLock;

use super::environment::Environment;
use super::overrides::{self, Overrides, OverridesError};
use super::secrets::Redactor;
use super::secrets::Secret;
use super::secrets::secrets;

/// The environment of this process with the override file of its backup directory applied. Its secrets are masked in
/// the log of this process from now on.
///
/// # Errors
/// When the override file exists and is not one that the API wrote.
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
    base.check_overrides(&overrides)
        .map_err(|refusal| OverridesError::Refused { path: overrides::path(directory.as_ref()), refusal })?;
    Ok(base.with_overrides(overrides))
}

/// The secrets currently in the settings.
fn current_secrets() -> Vec<Secret> {
    secrets(&read_environment().unwrap_or_else(|_| Environment::of_process()))
}

impl Redactor {
    /// The redactor of this process, for its log and output. It knows the secrets of the settings.
    pub fn of_process() -> Self {
        static OF_PROCESS: LazyLock<Redactor> = LazyLock::new(|| Redactor::with_source(current_secrets));
        OF_PROCESS.clone()
    }
}
