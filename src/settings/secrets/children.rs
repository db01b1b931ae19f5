//! Which settings the programs that are started do not inherit.

use std::process::Command;

use crate::settings::variable::VARIABLES;

/// Removes the settings of the API, its tokens among them, from the environment of a program that is about to be started.
pub(crate) fn remove_api_settings(command: &mut Command) {
    for variable in VARIABLES.iter().filter(|variable| variable.name.starts_with("REST_API_")) {
        command.env_remove(variable.name).env_remove(variable.file_twin());
    }
}
